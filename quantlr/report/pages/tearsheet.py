"""The tear sheet: the finding, what capital became, and the numbers that a professional asks for first."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.dates import date2num
from matplotlib.figure import Figure

from quantlr.backtest.metrics import drawdown
from quantlr.backtest.series import deepest_drawdowns, monthly_returns, rolling_sharpe, yearly_returns
from quantlr.report.figures.curves import Curves, drawdowns, equity_curves, numbered, shaded, sharpe_ratios
from quantlr.report.figures.style import INK, NORMAL, bare, dated, heading
from quantlr.report.figures.tables import TableRow, month_calendar, text_table
from quantlr.report.headline import headline_tables
from quantlr.report.pages.frame import framed
from quantlr.report.shown import Shown
from quantlr.types import BacktestResult

MARKED = 3
"""Drawdowns that are shaded and numbered, the deepest."""
TABLE_EDGES = (0.66, 1.0)
ROW_HEIGHT = 0.0205
"""Height of a calendar's row, as a fraction of the page, where there is room."""


def tear_sheet(shown: Shown) -> Figure:
    """Return the one page that a professional would hand on."""
    result, per_year = shown.course.result, shown.config.report.sessions_per_year
    figure = framed(shown, *_finding(shown))
    left = figure.add_gridspec(3, 1, left=0.042, right=0.60, top=0.787, bottom=0.045, height_ratios=(3.1, 1.1, 1.5),
                               hspace=0.2)  # fmt: skip
    equity = figure.add_subplot(left[0])
    below = figure.add_subplot(left[1], sharex=equity)
    ratios = figure.add_subplot(left[2], sharex=equity)
    curves, falls, end = _curves(result), deepest_drawdowns(result, most=MARKED), result.fills[-1]
    for ax in (equity, below, ratios):
        bare(ax)
    equity_curves(equity, curves)
    heading(equity, "What one unit of capital became (log scale)", room=22.0)
    drawdowns(below, curves)
    for ax in (equity, below):
        shaded(ax, falls, end=end)
    numbered(below, falls, end=end)
    heading(below, "Drawdown")
    rolling = rolling_sharpe(result, sessions_per_year=per_year)
    sharpe_ratios(ratios, rolling)
    heading(ratios, f"Sharpe ratio of the last {rolling.window} sessions, per year")
    dated(ratios)
    ratios.set_xlim(date2num(curves.dates[0]), date2num(end))
    for ax in (equity, below):
        ax.tick_params(axis="x", labelbottom=False)
    table = figure.add_axes((0.645, 0.345, 0.335, 0.48))
    text_table(table, _headline(shown.metrics), edges=TABLE_EDGES)
    _calendar(figure, result)
    return figure


def _finding(shown: Shown) -> tuple[str, str]:
    """Return the verdict as a title and what it rests on."""
    title, _, rest = shown.metrics["verdict"]["sentence"].partition(": ")
    return title, rest[:1].upper() + rest[1:]


def _curves(result: BacktestResult) -> Curves:
    held = result.benchmark or result
    net, benchmark = (np.concatenate([[1.0], curve]) for curve in (result.equity, held.equity))
    return Curves(
        dates=result.fills,
        net=net,
        gross=np.concatenate([[1.0], np.maximum(np.cumprod(1.0 + result.gross_return), 0.0)]),
        benchmark=benchmark,
        net_drawdown=drawdown(net),
        benchmark_drawdown=drawdown(benchmark),
    )


def _headline(metrics: dict[str, Any]) -> list[TableRow]:
    """Return the headline tables as one, a heading and an empty line between them."""
    rows: list[TableRow] = []
    for table in headline_tables(metrics):
        rows += [TableRow(""), TableRow(table.title.upper(), table.columns)]
        rows += [TableRow(label, cells) for label, cells in table.rows]
    return rows[1:]


def _calendar(figure: Figure, result: BacktestResult) -> None:
    months = monthly_returns(result)
    top = 0.29
    height = min(ROW_HEIGHT * len(months), top - 0.03)
    ax = figure.add_axes((0.675, top - height, 0.305, height))
    month_calendar(ax, months, yearly_returns(result))
    title = "Monthly returns after costs, percent"
    figure.text(0.645, top + 0.03, title, fontsize=NORMAL, fontweight="bold", color=INK, va="center")
