"""Ticker by ticker: what each added, how well it was called, what it weighed."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import date2num
from matplotlib.figure import Figure

from quantlr.backtest.tickers import TickerNumbers, added, ranked_luck, ticker_numbers
from quantlr.report.figures.style import GREY, INK, bare, dated, heading, number, percent
from quantlr.report.figures.tickers import (
    Bars,
    added_lines,
    bars_by_ticker,
    beside,
    dots_by_ticker,
    named_rows,
    ranked,
)
from quantlr.report.pages.frame import framed
from quantlr.report.shown import Shown
from quantlr.types import Array, IntArray

FEW = 15
"""Tickers whose rows leave room below them."""
MOST_NAMED = 60
"""Tickers that have a row each; of more, only the first and the last are named."""
EXTREMES = 3
ROW = 16.0
"""Points that a row of a legend takes between a heading and its axes."""
ONE_TAIL = 0.025
"""Share of tickers that luck lifts above its 95 % reach."""


def several_tickers(shown: Shown) -> bool:
    """Return whether there are tickers to compare."""
    return len(shown.traded) > 1


def tickers_page(shown: Shown) -> Figure:
    """Return the page that sets tickers side by side."""
    per_year = shown.config.report.sessions_per_year
    found = ticker_numbers(shown.course.result, shown.course.forecasts, shown.rows, sessions_per_year=per_year)
    names = shown.traded
    order = np.argsort(-found.contribution, kind="stable")
    figure = framed(shown, *_finding(found, names, order))
    if len(names) <= MOST_NAMED:
        _by_row(figure, shown, found, names, order)
    else:
        _by_rank(figure, shown, found, names, order)
    return figure


def _finding(found: TickerNumbers, names: list[str], order: IntArray) -> tuple[str, str]:
    """Return how many tickers added to the return and were called better than luck, and which did most."""
    count, better = len(names), int((found.accuracy - found.base_rate > found.accuracy_luck).sum())
    gained = int((found.contribution > 0).sum())
    expected = ONE_TAIL * count
    by_luck = f"{expected:.0f}" if expected >= 1 else "fewer than one"
    best, worst = int(order[0]), int(order[-1])
    if not found.weight.any():
        return "No ticker was ever held", f"Of {count} tickers {better} were called better than luck allows."
    title = f"{gained} of {count} tickers added to the return; {better} called better than luck allows"
    text = (
        f"{names[best]} added most ({percent(found.contribution[best], decimals=2)} of equity a year, after costs and "
        f"above cash), {names[worst]} least ({percent(found.contribution[worst], decimals=2)}); all together "
        f"{percent(float(found.contribution.sum()), decimals=2)}. By luck alone {by_luck} of {count} would be called "
        "so much better than the base rate's call."
    )
    return title, text


def _by_row(figure: Figure, shown: Shown, found: TickerNumbers, names: list[str], order: IntArray) -> None:
    """Give each ticker a row; what they added over time stands below few rows, and beside many."""
    few = len(names) <= FEW
    height = min(0.1 + 0.022 * len(names), 0.36) if few else 0.735
    top, left = 0.78, min(0.03 + 0.0055 * max(len(name[:14]) for name in names), 0.11)
    grid = figure.add_gridspec(1, 4, left=left, right=0.98 if few else 0.66, top=top, bottom=top - height,
                               width_ratios=(1.2, 1.0, 0.8, 1.0), wspace=0.1)  # fmt: skip
    axes = [figure.add_subplot(grid[at]) for at in range(4)]
    for ax in axes:
        bare(ax)
    nothing = np.zeros(len(names))
    bars_by_ticker(axes[0], Bars(found.contribution[order]))
    dots_by_ticker(axes[1], Bars(found.accuracy[order], found.base_rate[order], found.accuracy_luck[order]))
    bars_by_ticker(axes[2], Bars(found.weight[order]))
    bars_by_ticker(axes[3], Bars(found.sharpe[order], nothing, found.sharpe_luck[order], percents=False))
    named_rows(axes[0], [names[ticker] for ticker in order])
    for ax, text in zip(
        axes,
        (
            "Added a year, of equity" if few else "Added a year",
            "Right calls, and luck" if few else "Right calls",
            "Mean |weight|",
            "Sharpe ratio, and luck" if few else "Sharpe ratio",
        ),
        strict=True,
    ):
        heading(ax, text)
    if few:
        key = "orange: base rate's call; grey: 95% of luck"
        figure.text(0.98, top - height - 0.043, key, fontsize=8.2, color=GREY, ha="right", va="center")
        _over_time(figure.add_axes((0.055, 0.045, 0.925, top - height - 0.145)), shown, names, found, order, columns=6)
        return
    figure.text(0.30, top + 0.037, "orange: base rate's call; grey: 95% of luck", fontsize=8.2, color=GREY)
    _over_time(figure.add_axes((0.715, 0.45, 0.265, 0.28)), shown, names, found, order, columns=2)
    _edge_and_gain(figure.add_axes((0.715, 0.065, 0.265, 0.29)), found)


def _by_rank(figure: Figure, shown: Shown, found: TickerNumbers, names: list[str], order: IntArray) -> None:
    """Rank very many tickers, beside what luck would make of their order."""
    grid = figure.add_gridspec(2, 3, left=0.05, right=0.98, top=0.755, bottom=0.065, wspace=0.2, hspace=0.48)
    axes = [figure.add_subplot(grid[at]) for at in range(6)]
    for ax in axes:
        bare(ax)
    edge = found.accuracy - found.base_rate
    for ax, values, luck, percents, text in (
        (axes[0], found.contribution, None, True, "Added a year, of equity"),
        (axes[1], edge, found.accuracy_luck, True, "Right calls less the base rate's"),
        (axes[3], found.weight, None, True, "Mean |weight|"),
        (axes[4], found.sharpe, found.sharpe_luck, False, "Sharpe ratio of its part"),
    ):
        known = values[~np.isnan(values)]
        ranked(ax, values, ranked_luck(luck[~np.isnan(values)]) if luck is not None and len(known) else None,
               percents=percents)  # fmt: skip
        ax.set_xlabel(_extremes(values, names, percents=percents), fontsize=8.2, color=INK, linespacing=1.3)
        heading(ax, text, room=ROW)
    _over_time(axes[2], shown, names, found, order, columns=3)
    _edge_and_gain(axes[5], found)


def _extremes(values: Array, names: list[str], *, percents: bool) -> str:
    """Return the names of the highest and the lowest, with their numbers."""
    order = np.argsort(-values, kind="stable")
    known = order[~np.isnan(values[order])]

    def told(chosen: IntArray) -> str:
        return ", ".join(
            f"{names[at]:.10} {percent(values[at], decimals=2) if percents else number(values[at])}" for at in chosen
        )

    return f"highest: {told(known[:EXTREMES])}\nlowest: {told(known[::-1][:EXTREMES])}"


def _over_time(
    ax: Axes, shown: Shown, names: list[str], found: TickerNumbers, order: IntArray, *, columns: int
) -> None:
    """Draw what the tickers have added so far, naming those that added most and least."""
    result = shown.course.result
    sums = added(result, found.ticker)
    named = order if len(order) <= 2 * EXTREMES else np.append(order[:EXTREMES], order[-EXTREMES:])
    others = np.setdiff1d(order, named)
    bare(ax)
    added_lines(ax, result.sessions, {names[at]: sums[:, at] for at in named}, sums[:, others], columns=columns)
    heading(ax, "Added so far, sums of percent of equity", room=ROW * -(-len(named) // columns))
    dated(ax)
    ax.set_xlim(*date2num(result.fills[[0, -1]]))


def _edge_and_gain(ax: Axes, found: TickerNumbers) -> None:
    """Draw whether what was called better added more."""
    bare(ax)
    beside(ax, found.accuracy - found.base_rate, found.contribution)
    ax.set_xlabel("right calls less the base rate's, in points", fontsize=8.2, color=INK)
    heading(ax, "Added a year, by how well it was called")
