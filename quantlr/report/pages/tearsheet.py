"""The tear sheet: the finding, what capital became, and the numbers that a professional asks for first."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.dates import date2num
from matplotlib.figure import Figure

from quantlr.backtest.metrics import drawdown
from quantlr.backtest.rolling import deepest_drawdowns, monthly_returns, rolling_sharpe, yearly_returns
from quantlr.core.values import BacktestResult
from quantlr.report.context import PageContext
from quantlr.report.curves import (
    GrowthCurves,
    draw_drawdown_curves,
    draw_equity_curves,
    draw_rolling_sharpe,
    number_drawdowns,
    shade_drawdowns,
)
from quantlr.report.headline import headline_tables
from quantlr.report.pages.layout import new_page
from quantlr.report.style import BLACK, NORMAL_SIZE, format_date_axis, set_panel_title, style_axes
from quantlr.report.tables import TableRow, draw_monthly_returns, draw_text_table

N_MARKED_DRAWDOWNS = 3
"""Drawdowns that are shaded and numbered, the deepest."""
COLUMN_RIGHT_EDGES = (0.66, 1.0)
MAX_CALENDAR_ROW_HEIGHT = 0.0205
"""Height of a calendar's row, as a fraction of the page, where there is room."""


def tearsheet_page(context: PageContext) -> Figure:
    """Return the one page that a professional would hand on."""
    result, per_year = context.run_data.result, context.config.report.sessions_per_year
    figure = new_page(context, *_verdict_title_and_text(context))
    left = figure.add_gridspec(3, 1, left=0.042, right=0.60, top=0.787, bottom=0.045, height_ratios=(3.1, 1.1, 1.5),
                               hspace=0.2)  # fmt: skip
    equity = figure.add_subplot(left[0])
    below = figure.add_subplot(left[1], sharex=equity)
    ratios = figure.add_subplot(left[2], sharex=equity)
    curves, falls, end = (
        _growth_curve_values(result),
        deepest_drawdowns(result, max_count=N_MARKED_DRAWDOWNS),
        result.fill_dates[-1],
    )
    for ax in (equity, below, ratios):
        style_axes(ax)
    draw_equity_curves(equity, curves)
    set_panel_title(equity, "What one unit of capital became (log scale)", padding_points=22.0)
    draw_drawdown_curves(below, curves)
    for ax in (equity, below):
        shade_drawdowns(ax, falls, end_date=end)
    number_drawdowns(below, falls, end_date=end)
    set_panel_title(below, "Drawdown")
    rolling = rolling_sharpe(result, sessions_per_year=per_year)
    draw_rolling_sharpe(ratios, rolling)
    set_panel_title(ratios, f"Sharpe ratio of the last {rolling.window} sessions, per year")
    format_date_axis(ratios)
    ratios.set_xlim(date2num(curves.dates[0]), date2num(end))
    for ax in (equity, below):
        ax.tick_params(axis="x", labelbottom=False)
    table = figure.add_axes((0.645, 0.345, 0.335, 0.48))
    draw_text_table(table, _headline_table_rows(context.metrics), column_right_edges=COLUMN_RIGHT_EDGES)
    _draw_monthly_returns_panel(figure, result)
    return figure


def _verdict_title_and_text(context: PageContext) -> tuple[str, str]:
    """Return the verdict as a title and what it rests on."""
    title, _, rest = context.metrics["verdict"]["sentence"].partition(": ")
    return title, rest[:1].upper() + rest[1:]


def _growth_curve_values(result: BacktestResult) -> GrowthCurves:
    held = result.benchmark or result
    net, benchmark = (np.concatenate([[1.0], curve]) for curve in (result.equity, held.equity))
    return GrowthCurves(
        dates=result.fill_dates,
        net_equity=net,
        gross_equity=np.concatenate([[1.0], np.maximum(np.cumprod(1.0 + result.gross_return), 0.0)]),
        benchmark_equity=benchmark,
        net_drawdown=drawdown(net),
        benchmark_drawdown=drawdown(benchmark),
    )


def _headline_table_rows(metrics: dict[str, Any]) -> list[TableRow]:
    """Return the headline tables as one, a heading and an empty line between them."""
    rows: list[TableRow] = []
    for table in headline_tables(metrics):
        rows += [TableRow(""), TableRow(table.title.upper(), table.columns)]
        rows += [TableRow(label, cells) for label, cells in table.rows]
    return rows[1:]


def _draw_monthly_returns_panel(figure: Figure, result: BacktestResult) -> None:
    months = monthly_returns(result)
    top = 0.29
    height = min(MAX_CALENDAR_ROW_HEIGHT * len(months), top - 0.03)
    ax = figure.add_axes((0.675, top - height, 0.305, height))
    draw_monthly_returns(ax, months, yearly_returns(result))
    title = "Monthly returns after costs, percent"
    figure.text(0.645, top + 0.03, title, fontsize=NORMAL_SIZE, fontweight="bold", color=BLACK, va="center")
