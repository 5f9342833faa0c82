"""Several runs on one page: what they became, their numbers, and which of their differences are larger than luck."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.dates import date2num
from matplotlib.figure import Figure

from quantlr.backtest.inference.differences import Difference
from quantlr.backtest.metrics import drawdown
from quantlr.report.compare import Comparison
from quantlr.report.figures.several import (
    LETTERS,
    Interval,
    drawdowns_of_several,
    equity_of_several,
    forest,
    multiples_of_first,
    pair_matrix,
    run_table,
)
from quantlr.report.figures.style import GREY, INK, NORMAL, SMALL, bare, dated, heading
from quantlr.report.pages.frame import headed, own_looks, png
from quantlr.report.pairs import Pair, profit_judged, signed, skill_judged
from quantlr.report.shared import HEADINGS, headline_cells
from quantlr.types import day

MOST_ROWS = 10
"""Pairs that are drawn a row each; more are a matrix."""
LONGEST_NAME, LONGEST_LINE = 21, 96
"""Letters for which there is room: of a name, and of a setting with its values."""
THOUSANDTH = 1e-3
"""Of a nat: what a difference of log losses is counted in."""
EDGES = (0.42, 0.53, 0.605, 0.725, 0.805, 0.91, 1.0)
FEW_SETTINGS, LEAST_HEIGHT = 7, 0.24
"""Lines of settings that leave room for a picture below them, and what that needs, with its heading."""
LINE = 0.0215
"""Height of a line of text on the page, as a fraction of its height."""


@own_looks()
def comparison_page(found: Comparison) -> bytes:
    """Return the page as PNG bytes, the same for the same runs."""
    under = (
        "Differences are the second run's number less the first's, and larger than luck where the adjusted p is below "
        "0.05; a lower log loss is a better forecast."
    )
    figure = headed(finding(found), _method(found), under=under, notes=found.cautions, file="compare.json")
    many = len(found.pairs) > MOST_ROWS
    floor = 0.4 if many else 0.115 + 0.026 * len(found.pairs)
    _draw_curves(figure, found, bottom=floor + 0.03)
    _write_numbers(figure, found)
    _write_settings(figure, found, bottom=floor)
    (_draw_matrices if many else _draw_rows)(figure, found, floor)
    return png(figure)


def finding(found: Comparison) -> str:
    """Return what the comparison shows, in few words."""
    claims = [claim for pair in found.pairs for claim in _claims(pair)]
    if all(pair.same_returns and pair.same_forecasts for pair in found.pairs):
        return "The runs are the same"
    if not found.tests:
        return "Nothing here could be tested"
    if not claims:
        return "No difference here is larger than luck"
    if len(claims) == 1:
        return f"{claims[0]}, by more than luck"
    return f"{len(claims)} of {found.tests} differences are larger than luck"


def _claims(pair: Pair) -> list[str]:
    first, second = LETTERS[pair.first], LETTERS[pair.second]
    claims = []
    if pair.pays and pair.sharpe:
        more, less = (second, first) if pair.sharpe.value > 0 else (first, second)
        claims.append(f"{more} earned more for its risk than {less}")
    if pair.knows and pair.log_loss:
        more, less = (second, first) if pair.log_loss.value < 0 else (first, second)
        claims.append(f"{more} knew more than {less}")
    return claims


def _method(found: Comparison) -> str:
    span = f"{len(found.dates):,} common sessions, {day(found.dates[0])} to {day(found.dates[-1])}"
    if not found.tests:
        return f"Over {span}."
    returns, forecasts = _blocks(pair.sharpe for pair in found.pairs), _blocks(pair.log_loss for pair in found.pairs)
    parts = [f"over {span}, in blocks of {returns}"] if returns else []
    parts += [f"over {found.forecasts:,} common forecasts, in blocks of {forecasts}"] if forecasts else []
    return (
        f"Paired stationary bootstrap, {found.draws:,} draws: {'; '.join(parts)} on average. Each interval is 95%; p "
        f"values are adjusted by Holm's method for all {found.tests} tests: the chance of any false claim is about 5%."
    )


def _blocks(differences: Iterable[Difference | None]) -> str:
    """Return the lengths of blocks, in sessions, from the shortest to the longest."""
    lengths = sorted({found.block for found in differences if found is not None})
    return " to ".join(f"{length:g}" for length in dict.fromkeys([lengths[0], lengths[-1]])) if lengths else ""


def _draw_curves(figure: Figure, found: Comparison, *, bottom: float) -> None:
    grid = figure.add_gridspec(
        2, 1, left=0.042, right=0.50, top=0.81, bottom=bottom, height_ratios=(2.2, 1.0), hspace=0.19
    )
    equity = figure.add_subplot(grid[0])
    below = figure.add_subplot(grid[1], sharex=equity)
    for ax in (equity, below):
        bare(ax)
    equity_of_several(equity, found.dates, found.equity, found.benchmark)
    held = ", buy and hold in grey" if found.benchmark is not None else ""
    heading(equity, f"What one unit of capital became after costs (log scale){held}")
    falls = np.stack([drawdown(column) for column in found.equity.T], axis=1)
    drawdowns_of_several(below, found.dates, falls)
    heading(below, "Drawdown from the highest so far")
    dated(below)
    if len(found.dates) > 1:
        equity.set_xlim(date2num(found.dates[0]), date2num(found.dates[-1]))
    equity.tick_params(axis="x", labelbottom=False)


def _write_numbers(figure: Figure, found: Comparison) -> None:
    rows = [
        (LETTERS[at], _shortened(name, LONGEST_NAME), *headline_cells(values))
        for at, (name, values) in enumerate(zip(found.names, found.numbers, strict=True))
    ]
    if any(value is not None for value in found.to_beat.values()):
        rows.append(("", "to beat", *headline_cells(found.to_beat)))
    height = LINE * (len(rows) + 1)
    ax = figure.add_axes((0.535, 0.81 - height, 0.445, height))
    run_table(ax, HEADINGS, rows, edges=EDGES)
    text = "What all runs share, in numbers; growth, volatility, traded (x equity): a year"
    figure.text(0.535, 0.826, text, fontsize=NORMAL, fontweight="bold", color=INK, va="center")


def _shortened(text: str, longest: int) -> str:
    """Return a text that fits; its two ends tell more than its beginning alone."""
    if len(text) <= longest:
        return text
    tail = longest // 2 - 1
    return f"{text[: longest - tail - 1]}…{text[-tail:]}"


def _write_settings(figure: Figure, found: Comparison, *, bottom: float) -> None:
    """Write which settings differ, and who has which; below them draw, where there is room, what came of it when."""
    top = 0.81 - LINE * (len(found.names) + 2) - 0.03
    figure.text(0.535, top, "Settings that differ", fontsize=NORMAL, fontweight="bold", color=INK, va="center")
    lines = [_setting(key.key, key.values) for key in found.settings] or ["none: the configs are the same"]
    room = max(int((top - bottom) / LINE), 1)
    if len(lines) > FEW_SETTINGS and top - bottom - LINE * FEW_SETTINGS >= LEAST_HEIGHT:
        room = FEW_SETTINGS
    if len(lines) > room:
        lines = [*lines[: room - 1], f"and {len(lines) - room + 1} more, in compare.json"]
    for at, line in enumerate(lines):
        figure.text(0.535, top - LINE * (at + 1), line, fontsize=SMALL, color=INK, va="center", parse_math=False)
    left = top - LINE * (len(lines) + 1) - 0.045
    if left - bottom >= LEAST_HEIGHT - 0.07:
        _draw_multiples(figure, found, top=left, bottom=bottom + 0.03)


def _draw_multiples(figure: Figure, found: Comparison, *, top: float, bottom: float) -> None:
    """Draw what each run had become as a multiple of the first, where none of them was ruined."""
    if len(found.dates) < 2 or not (found.equity > 0).all():
        return
    ax = figure.add_axes((0.565, bottom, 0.415, top - bottom))
    bare(ax)
    multiples_of_first(ax, found.dates, found.equity / found.equity[:, :1])
    dated(ax)
    heading(ax, "Equity as a multiple of A's (log scale)")


def _setting(key: str, values: Sequence[str | None]) -> str:
    """Return a setting's values and who has each, in one line."""
    owners: dict[str, str] = {}
    for letter, value in zip(LETTERS, values, strict=False):
        text = "none" if value is None else _shortened(value, 28)
        owners[text] = owners.get(text, "") + letter
    line = "   ".join([key, *(f"{letters}: {text}" for text, letters in owners.items())])
    return line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE - 1]}…"


def _draw_rows(figure: Figure, found: Comparison, floor: float) -> None:
    panels = (
        (0.065, "Did it pay more? Difference of Sharpe ratios a year", _profit),
        (0.56, "Did it know more? Difference of log losses, in thousandths", _skill),
    )
    for left, text, interval in panels:
        rows = [interval(pair) for pair in found.pairs]
        ax = figure.add_axes((left, 0.04, 0.17, floor - 0.085))
        bare(ax)
        ax.grid(visible=False)
        forest(ax, rows)
        figure.text(left - 0.035, floor - 0.025, text, fontsize=NORMAL, fontweight="bold", color=INK, va="center")


def _profit(pair: Pair) -> Interval:
    shown = None if pair.same_returns else pair.sharpe
    return _interval(pair, shown, profit_judged(pair), strong=pair.pays)


def _skill(pair: Pair) -> Interval:
    shown = None if pair.same_forecasts or pair.log_loss is None else pair.log_loss.times(1.0 / THOUSANDTH)
    return _interval(pair, shown, skill_judged(pair, unit=THOUSANDTH, decimals=2), strong=pair.knows)


def _interval(pair: Pair, found: Difference | None, words: str, *, strong: bool) -> Interval:
    label = f"{LETTERS[pair.second]} less {LETTERS[pair.first]}"
    if found is None:
        return Interval(label, None, 0.0, 0.0, words, strong)
    return Interval(label, found.value, found.low95, found.high95, words, strong)


def _draw_matrices(figure: Figure, found: Comparison, floor: float) -> None:
    runs = len(found.names)
    panels = (
        (0.042, "sharpe", "pays", 1, 1.0, "Did it pay more? Sharpe ratio a year, row less column"),
        (0.55, "log_loss", "knows", -1, 1.0 / THOUSANDTH, "Did it know more? Log loss in thousandths, row less column"),
    )
    for left, measure, claim, better, scale, text in panels:
        values, strong = np.full((runs, runs), np.nan), np.zeros((runs, runs), dtype=np.bool_)
        texts = [["–"] * runs for _ in range(runs)]
        for pair in found.pairs:
            difference: Difference | None = getattr(pair, measure)
            if difference is not None:
                at = pair.second, pair.first
                values[at], strong[at] = difference.value, getattr(pair, claim)
                texts[pair.second][pair.first] = signed(difference.value * scale, decimals=2)
        ax = figure.add_axes((left, 0.05, 0.43, floor - 0.1))
        pair_matrix(ax, values, strong, texts, better=better)
        figure.text(left, floor - 0.03, text, fontsize=NORMAL, fontweight="bold", color=INK, va="center")
    text = (
        "Framed: larger than luck; all else may be luck. Blue: the row's run is better. Intervals, p values and a "
        "sentence for each pair are in compare.json."
    )
    figure.text(0.042, 0.015, text, fontsize=SMALL, color=GREY)
