"""The tear sheet: verdict, growth of 1, drawdowns, rolling Sharpe ratio, headline numbers and monthly returns."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from quantlr.backtest.metrics import drawdown_series
from quantlr.backtest.rolling import deepest_drawdowns, monthly_returns, rolling_sharpe, yearly_returns
from quantlr.report.context import PageContext
from quantlr.report.curves import draw_drawdown, draw_growth, draw_rolling_sharpe
from quantlr.report.pages.layout import Page, Panel, PlacedPanel, Table, fields_table
from quantlr.report.style import TableRow, draw_monthly_returns, draw_text_table
from quantlr.report.summary import headline_tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

N_MARKED_DRAWDOWNS = 3
"""Number of the deepest drawdowns that are shaded and numbered."""
MAX_CALENDAR_ROW_HEIGHT = 0.0205
"""Height of a row of the calendar, as a fraction of the page, where there is room."""
CALENDAR_TOP = 0.29


def growth_table(context: PageContext) -> Table:
    """Return the growth of 1 from the first fill on, and the deepest drawdowns.

    Everything is (sessions + 1,): `dates`, `net_equity`, `gross_equity` and `benchmark_equity`, which begin at 1, and
    `net_drawdown` and `benchmark_drawdown`, the relative distances from the highest value so far, <= 0. `drawdowns`
    is a table of the deepest (see `DrawdownPeriod`), the deepest first.
    """
    result = context.run_data.result
    net, benchmark = (np.append(1.0, equity) for equity in (result.equity, (result.benchmark or result).equity))
    return {
        "dates": result.fill_dates,
        "net_equity": net,
        "gross_equity": np.append(1.0, np.maximum(np.cumprod(1.0 + result.gross_return), 0.0)),
        "benchmark_equity": benchmark,
        "net_drawdown": drawdown_series(net),
        "benchmark_drawdown": drawdown_series(benchmark),
        "drawdowns": pd.DataFrame(deepest_drawdowns(result, max_count=N_MARKED_DRAWDOWNS)),
    }


def rolling_sharpe_table(context: PageContext) -> Table:
    """Return the Sharpe ratio over a trailing window with its band under no skill (see `RollingSharpe`)."""
    result, per_year = context.run_data.result, context.config.report.sessions_per_year
    return fields_table(rolling_sharpe(result, sessions_per_year=per_year), date_range=result.fill_dates[[0, -1]])


def headline_rows_table(context: PageContext) -> Table:
    """Return the headline tables as rows of one table, separated by empty rows."""
    rows: list[TableRow] = []
    for table in headline_tables(context.metrics):
        rows += [TableRow(""), TableRow(table.title.upper(), table.columns)]
        rows += [TableRow(label, cells) for label, cells in table.rows]
    return {"rows": rows[1:]}


def monthly_return_table(context: PageContext) -> Table:
    """Return the net returns by calendar month (years, 12) and year (years,); NaN without sessions."""
    months, years = monthly_returns(context.run_data.result), yearly_returns(context.run_data.result)
    returns = months.to_numpy(dtype=np.float64)
    return {"years": months.index.to_numpy(), "monthly_returns": returns, "yearly_returns": years}


GROWTH_PANEL = Panel("Growth of 1 (log scale)", growth_table, draw_growth, 22.0)
DRAWDOWN_PANEL = Panel("Drawdown", growth_table, draw_drawdown)
ROLLING_SHARPE_PANEL = Panel(
    "Rolling Sharpe ratio ({window} sessions, annualised)", rolling_sharpe_table, draw_rolling_sharpe
)
HEADLINE_PANEL = Panel("", headline_rows_table, partial(draw_text_table, column_right_edges=(0.66, 1.0)))
MONTHLY_RETURNS_PANEL = Panel("Monthly returns after costs (%)", monthly_return_table, draw_monthly_returns, 16.0)


def tearsheet_panels(context: PageContext) -> tuple[PlacedPanel, ...]:
    """Return the panels of the tear sheet; the calendar's height follows from the number of its years."""
    n_years = len(context.run_data.result.sessions.year.unique())
    height = min(MAX_CALENDAR_ROW_HEIGHT * n_years, CALENDAR_TOP - 0.03)
    return (
        PlacedPanel(GROWTH_PANEL, (0.042, 0.4309, 0.558, 0.3561), has_x_labels=False),
        PlacedPanel(DRAWDOWN_PANEL, (0.042, 0.2609, 0.558, 0.1263), has_x_labels=False),
        PlacedPanel(ROLLING_SHARPE_PANEL, (0.042, 0.045, 0.558, 0.1723)),
        PlacedPanel(HEADLINE_PANEL, (0.645, 0.345, 0.335, 0.48)),
        PlacedPanel(MONTHLY_RETURNS_PANEL, (0.645, CALENDAR_TOP - height, 0.335, height)),
    )


def verdict_title_and_text(context: PageContext) -> tuple[str, str]:
    """Return the verdict's first clause as the title, and the rest of it."""
    sentence: Any = context.metrics["verdict"]["sentence"]
    title, _, text = sentence.partition(": ")
    return title, text[:1].upper() + text[1:]


TEARSHEET_PAGE = Page("tearsheet.png", "Performance", verdict_title_and_text, tearsheet_panels)


def tearsheet_figure(context: PageContext) -> Figure:
    """Return the tear sheet of a run as a figure."""
    return TEARSHEET_PAGE.draw_figure(context)
