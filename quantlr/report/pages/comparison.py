"""Several runs on one page: what they became, their numbers, and which of their differences are larger than luck."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.dates import date2num
from matplotlib.figure import Figure

from quantlr.backtest.metrics import drawdown
from quantlr.core.progress import iso_date
from quantlr.report.compare import Comparison
from quantlr.report.figures.several import (
    RUN_LETTERS,
    DifferenceInterval,
    draw_drawdowns_by_run,
    draw_equity_by_run,
    draw_forest_plot,
    draw_pair_matrix,
    draw_relative_equity,
    draw_run_table,
)
from quantlr.report.pages.layout import default_style, figure_png, page_header
from quantlr.report.pairs import (
    HEADLINE_COLUMNS,
    RunPair,
    format_signed,
    headline_cell_texts,
    log_loss_difference_text,
    sharpe_difference_text,
)
from quantlr.report.style import BLACK, GREY, NORMAL_SIZE, SMALL_SIZE, format_date_axis, set_panel_title, style_axes
from quantlr.stats.paired import PairedDifference

MAX_FOREST_PAIRS = 10
"""Pairs that are drawn a row each; more are a matrix."""
MAX_RUN_NAME_CHARS, MAX_SETTING_LINE_CHARS = 21, 96
"""Letters for which there is room: of a name, and of a setting with its values."""
LOG_LOSS_UNIT_NATS = 1e-3
"""Of a nat: what a difference of log losses is counted in."""
COLUMN_RIGHT_EDGES = (0.42, 0.53, 0.605, 0.725, 0.805, 0.91, 1.0)
MAX_SETTING_LINES_ABOVE_PLOT, MIN_PLOT_HEIGHT = 7, 0.24
"""Lines of settings that leave room for a picture below them, and what that needs, with its heading."""
LINE_HEIGHT = 0.0215
"""Height of a line of text on the page, as a fraction of its height."""


@default_style()
def comparison_page(comparison: Comparison) -> bytes:
    """Return the page as PNG bytes, the same for the same runs."""
    under = (
        "Differences are the second run's number less the first's, and larger than luck where the adjusted p is below "
        "0.05; a lower log loss is a better forecast."
    )
    figure = page_header(
        comparison_title(comparison),
        _method_text(comparison),
        setup_text=under,
        notes=comparison.caveats,
        notes_file="compare.json",
    )
    many = len(comparison.pairs) > MAX_FOREST_PAIRS
    floor = 0.4 if many else 0.115 + 0.026 * len(comparison.pairs)
    _draw_equity_panels(figure, comparison, bottom=floor + 0.03)
    _draw_run_table_panel(figure, comparison)
    _draw_config_differences(figure, comparison, bottom=floor)
    (_draw_matrix_panels if many else _draw_forest_panels)(figure, comparison, floor)
    return figure_png(figure)


def comparison_title(comparison: Comparison) -> str:
    """Return what the comparison shows, in few words."""
    claims = [claim for pair in comparison.pairs for claim in _significant_claims(pair)]
    if all(pair.has_same_returns and pair.has_same_forecasts for pair in comparison.pairs):
        return "The runs are the same"
    if not comparison.n_tests:
        return "Nothing here could be tested"
    if not claims:
        return "No difference here is larger than luck"
    if len(claims) == 1:
        return f"{claims[0]}, by more than luck"
    return f"{len(claims)} of {comparison.n_tests} differences are larger than luck"


def _significant_claims(pair: RunPair) -> list[str]:
    first, second = RUN_LETTERS[pair.first_index], RUN_LETTERS[pair.second_index]
    claims = []
    if pair.is_sharpe_significant and pair.sharpe_difference:
        more, less = (second, first) if pair.sharpe_difference.value > 0 else (first, second)
        claims.append(f"{more} earned more for its risk than {less}")
    if pair.is_log_loss_significant and pair.log_loss_difference:
        more, less = (second, first) if pair.log_loss_difference.value < 0 else (first, second)
        claims.append(f"{more} knew more than {less}")
    return claims


def _method_text(comparison: Comparison) -> str:
    span = f"{len(comparison.dates):,} common sessions, {iso_date(comparison.dates[0])} to {iso_date(comparison.dates[-1])}"
    if not comparison.n_tests:
        return f"Over {span}."
    returns, forecasts = (
        _block_lengths_text(pair.sharpe_difference for pair in comparison.pairs),
        _block_lengths_text(pair.log_loss_difference for pair in comparison.pairs),
    )
    parts = [f"over {span}, in blocks of {returns}"] if returns else []
    parts += [f"over {comparison.n_common_forecasts:,} common forecasts, in blocks of {forecasts}"] if forecasts else []
    return (
        f"Paired stationary bootstrap, {comparison.n_bootstrap_draws:,} draws: {'; '.join(parts)} on average. Each interval is 95%; p "
        f"values are adjusted by Holm's method for all {comparison.n_tests} tests: the chance of any false claim is about 5%."
    )


def _block_lengths_text(differences: Iterable[PairedDifference | None]) -> str:
    """Return the lengths of blocks, in sessions, from the shortest to the longest."""
    lengths = sorted({found.block for found in differences if found is not None})
    return " to ".join(f"{length:g}" for length in dict.fromkeys([lengths[0], lengths[-1]])) if lengths else ""


def _draw_equity_panels(figure: Figure, comparison: Comparison, *, bottom: float) -> None:
    grid = figure.add_gridspec(
        2, 1, left=0.042, right=0.50, top=0.81, bottom=bottom, height_ratios=(2.2, 1.0), hspace=0.19
    )
    equity = figure.add_subplot(grid[0])
    below = figure.add_subplot(grid[1], sharex=equity)
    for ax in (equity, below):
        style_axes(ax)
    draw_equity_by_run(equity, comparison.dates, comparison.equity, comparison.benchmark)
    held = ", buy and hold in grey" if comparison.benchmark is not None else ""
    set_panel_title(equity, f"What one unit of capital became after costs (log scale){held}")
    falls = np.stack([drawdown(column) for column in comparison.equity.T], axis=1)
    draw_drawdowns_by_run(below, comparison.dates, falls)
    set_panel_title(below, "Drawdown from the highest so far")
    format_date_axis(below)
    if len(comparison.dates) > 1:
        equity.set_xlim(date2num(comparison.dates[0]), date2num(comparison.dates[-1]))
    equity.tick_params(axis="x", labelbottom=False)


def _draw_run_table_panel(figure: Figure, comparison: Comparison) -> None:
    rows = [
        (RUN_LETTERS[at], _shorten_middle(name, MAX_RUN_NAME_CHARS), *headline_cell_texts(values))
        for at, (name, values) in enumerate(zip(comparison.run_names, comparison.metrics_by_run, strict=True))
    ]
    if any(value is not None for value in comparison.baseline_metrics.values()):
        rows.append(("", "to beat", *headline_cell_texts(comparison.baseline_metrics)))
    height = LINE_HEIGHT * (len(rows) + 1)
    ax = figure.add_axes((0.535, 0.81 - height, 0.445, height))
    draw_run_table(ax, HEADLINE_COLUMNS, rows, column_right_edges=COLUMN_RIGHT_EDGES)
    text = "What all runs share, in numbers; growth, volatility, traded (x equity): a year"
    figure.text(0.535, 0.826, text, fontsize=NORMAL_SIZE, fontweight="bold", color=BLACK, va="center")


def _shorten_middle(text: str, max_chars: int) -> str:
    """Return a text that fits; its two ends tell more than its beginning alone."""
    if len(text) <= max_chars:
        return text
    tail = max_chars // 2 - 1
    return f"{text[: max_chars - tail - 1]}…{text[-tail:]}"


def _draw_config_differences(figure: Figure, comparison: Comparison, *, bottom: float) -> None:
    """Write which settings differ, and who has which; below them draw, where there is room, what came of it when."""
    top = 0.81 - LINE_HEIGHT * (len(comparison.run_names) + 2) - 0.03
    figure.text(0.535, top, "Settings that differ", fontsize=NORMAL_SIZE, fontweight="bold", color=BLACK, va="center")
    lines = [_config_difference_line(key.key, key.values_by_run) for key in comparison.config_differences] or [
        "none: the configs are the same"
    ]
    room = max(int((top - bottom) / LINE_HEIGHT), 1)
    if (
        len(lines) > MAX_SETTING_LINES_ABOVE_PLOT
        and top - bottom - LINE_HEIGHT * MAX_SETTING_LINES_ABOVE_PLOT >= MIN_PLOT_HEIGHT
    ):
        room = MAX_SETTING_LINES_ABOVE_PLOT
    if len(lines) > room:
        lines = [*lines[: room - 1], f"and {len(lines) - room + 1} more, in compare.json"]
    for at, line in enumerate(lines):
        figure.text(
            0.535, top - LINE_HEIGHT * (at + 1), line, fontsize=SMALL_SIZE, color=BLACK, va="center", parse_math=False
        )
    left = top - LINE_HEIGHT * (len(lines) + 1) - 0.045
    if left - bottom >= MIN_PLOT_HEIGHT - 0.07:
        _draw_relative_equity_panel(figure, comparison, top=left, bottom=bottom + 0.03)


def _draw_relative_equity_panel(figure: Figure, comparison: Comparison, *, top: float, bottom: float) -> None:
    """Draw what each run had become as a multiple of the first, where none of them was ruined."""
    if len(comparison.dates) < 2 or not (comparison.equity > 0).all():
        return
    ax = figure.add_axes((0.565, bottom, 0.415, top - bottom))
    style_axes(ax)
    draw_relative_equity(ax, comparison.dates, comparison.equity / comparison.equity[:, :1])
    format_date_axis(ax)
    set_panel_title(ax, "Equity as a multiple of A's (log scale)")


def _config_difference_line(config_key: str, values_by_run: Sequence[str | None]) -> str:
    """Return a setting's values and who has each, in one line."""
    owners: dict[str, str] = {}
    for letter, value in zip(RUN_LETTERS, values_by_run, strict=False):
        text = "none" if value is None else _shorten_middle(value, 28)
        owners[text] = owners.get(text, "") + letter
    line = "   ".join([config_key, *(f"{letters}: {text}" for text, letters in owners.items())])
    return line if len(line) <= MAX_SETTING_LINE_CHARS else f"{line[: MAX_SETTING_LINE_CHARS - 1]}…"


def _draw_forest_panels(figure: Figure, comparison: Comparison, top: float) -> None:
    panels = (
        (0.065, "Did it pay more? Difference of Sharpe ratios a year", _sharpe_interval),
        (0.56, "Did it know more? Difference of log losses, in thousandths", _log_loss_interval),
    )
    for left, text, interval in panels:
        rows = [interval(pair) for pair in comparison.pairs]
        ax = figure.add_axes((left, 0.04, 0.17, top - 0.085))
        style_axes(ax)
        ax.grid(visible=False)
        draw_forest_plot(ax, rows)
        figure.text(left - 0.035, top - 0.025, text, fontsize=NORMAL_SIZE, fontweight="bold", color=BLACK, va="center")


def _sharpe_interval(pair: RunPair) -> DifferenceInterval:
    shown = None if pair.has_same_returns else pair.sharpe_difference
    return _pair_interval(pair, shown, sharpe_difference_text(pair), is_significant=pair.is_sharpe_significant)


def _log_loss_interval(pair: RunPair) -> DifferenceInterval:
    shown = (
        None
        if pair.has_same_forecasts or pair.log_loss_difference is None
        else pair.log_loss_difference.scaled(1.0 / LOG_LOSS_UNIT_NATS)
    )
    return _pair_interval(
        pair,
        shown,
        log_loss_difference_text(pair, unit_nats=LOG_LOSS_UNIT_NATS, decimals=2),
        is_significant=pair.is_log_loss_significant,
    )


def _pair_interval(
    pair: RunPair, difference: PairedDifference | None, text: str, *, is_significant: bool
) -> DifferenceInterval:
    label = f"{RUN_LETTERS[pair.second_index]} less {RUN_LETTERS[pair.first_index]}"
    if difference is None:
        return DifferenceInterval(label, None, 0.0, 0.0, text, is_significant)
    return DifferenceInterval(label, difference.value, difference.low95, difference.high95, text, is_significant)


def _draw_matrix_panels(figure: Figure, comparison: Comparison, top: float) -> None:
    runs = len(comparison.run_names)
    panels = (
        (
            0.042,
            "sharpe_difference",
            "is_sharpe_significant",
            1,
            1.0,
            "Did it pay more? Sharpe ratio a year, row less column",
        ),
        (
            0.55,
            "log_loss_difference",
            "is_log_loss_significant",
            -1,
            1.0 / LOG_LOSS_UNIT_NATS,
            "Did it know more? Log loss in thousandths, row less column",
        ),
    )
    for left, measure, claim, better, scale, text in panels:
        values, strong = np.full((runs, runs), np.nan), np.zeros((runs, runs), dtype=np.bool_)
        texts = [["–"] * runs for _ in range(runs)]
        for pair in comparison.pairs:
            difference: PairedDifference | None = getattr(pair, measure)
            if difference is not None:
                at = pair.second_index, pair.first_index
                values[at], strong[at] = difference.value, getattr(pair, claim)
                texts[pair.second_index][pair.first_index] = format_signed(difference.value * scale, decimals=2)
        ax = figure.add_axes((left, 0.05, 0.43, top - 0.1))
        draw_pair_matrix(ax, values, strong, texts, better_sign=better)
        figure.text(left, top - 0.03, text, fontsize=NORMAL_SIZE, fontweight="bold", color=BLACK, va="center")
    text = (
        "Framed: larger than luck; all else may be luck. Blue: the row's run is better. Intervals, p values and a "
        "sentence for each pair are in compare.json."
    )
    figure.text(0.042, 0.015, text, fontsize=SMALL_SIZE, color=GREY)
