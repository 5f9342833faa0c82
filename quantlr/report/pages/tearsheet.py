"""The tear sheet: verdict, growth of 1, drawdowns, rolling Sharpe ratio, headline numbers and monthly returns."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from quantlr.backtest.drawdowns import deepest_drawdowns, drawdown_series
from quantlr.backtest.return_metrics import returns_by_period
from quantlr.backtest.rolling import monthly_returns, rolling_sharpe
from quantlr.report.context import PageContext
from quantlr.report.pages.layout import Page, Panel, PlacedPanel, Table, fields_table, panel
from quantlr.report.pages.returns import RETURNS_HEIGHT, returns_panels
from quantlr.report.style import (
    BAND_STYLE,
    BLACK,
    BLUE,
    GREY,
    NO_SKILL_LABEL,
    ORANGE,
    SKY,
    SMALL_SIZE,
    Axes,
    TableRow,
    add_legend_above,
    add_legend_at_top,
    axes_height_points,
    axes_width_points,
    draw_equity_curves,
    draw_loss_gain_image,
    draw_text_table,
    marker_for_few_points,
    number_tick_label,
    percent_text,
    set_percent_ticks,
)
from quantlr.report.summary import benchmark_label, headline_tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

N_MARKED_DRAWDOWNS = 3
"""Number of the deepest drawdowns that are marked and numbered."""
STRIP_HEIGHT_POINTS = 3.0
MAX_CALENDAR_ROW_HEIGHT = 0.0205
"""Height of a row of the calendar, as a fraction of the page, where there is room."""
CALENDAR_TOP = 0.29
MONTH_LABELS = ("J", "F", "M", "A", "M", "J", "J", "A", "S", "O", "N", "D", "Year")
YEAR_COLUMN_RIGHT, YEAR_LABEL_LEFT = 13.1, -1.84
"""Horizontal limits of the calendar, in columns: right edge of the annual returns, left edge of the years."""


def growth_table(context: PageContext) -> Table:
    """Return the growth of 1 from the first fill on, and the deepest drawdowns.

    Everything is (sessions + 1,): `dates`, `net_equity`, `gross_equity` and `benchmark_equity`, which begin at 1, and
    `net_drawdown` and `benchmark_drawdown`, the relative distances from the highest value so far, <= 0. `drawdowns`
    is a table of the deepest (see `deepest_drawdowns`).
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
        "benchmark_name": benchmark_label(context.metrics),
        "drawdowns": deepest_drawdowns(result, max_count=N_MARKED_DRAWDOWNS),
    }


@panel("Growth of 1 (log scale)", growth_table, 22.0)
def growth_panel(ax: Axes, table: Table) -> None:
    """Draw equity after and before costs beside the benchmark, and mark the deepest drawdowns."""
    curves = (
        (table["dates"], table["benchmark_equity"], table["benchmark_name"], {"color": ORANGE, "linewidth": 1.3}),
        (table["dates"], table["gross_equity"], "strategy before costs", {"color": SKY, "linewidth": 1.2}),
        (table["dates"], table["net_equity"], "strategy after costs", {"color": BLUE, "linewidth": 1.9}),
    )
    draw_equity_curves(ax, curves)
    add_legend_above(ax, n_columns=3, font_size=SMALL_SIZE + 0.5, is_reversed=True)
    _mark_drawdown_spans(ax, table)


@panel("Drawdown", growth_table)
def drawdown_panel(ax: Axes, table: Table) -> None:
    """Draw the drawdowns of strategy and benchmark; number the deepest, with depth and dates above the axes."""
    dates, net, benchmark = table["dates"], table["net_drawdown"], table["benchmark_drawdown"]
    ax.fill_between(dates, net, 0.0, color=BLUE, alpha=0.35, linewidth=0)
    ax.plot(dates, net, color=BLUE, linewidth=0.9)
    ax.plot(dates, benchmark, color=ORANGE, linewidth=0.9)
    ax.set_ylim(1.25 * min(float(net.min()), float(benchmark.min()), -0.01), 0.0)
    set_percent_ticks(ax.yaxis, max_intervals=4)
    texts: list[str] = []
    middles: list[float] = []
    spans = _mark_drawdown_spans(ax, table)
    points_per_label = SMALL_SIZE * (dates[-1] - dates[0]) / pd.Timedelta(days=1) / axes_width_points(ax)
    for number, (period, span) in enumerate(zip(table["drawdowns"].itertuples(), spans, strict=True), start=1):
        middle = sum(span) / 2
        n_below = sum(abs(middle - other) < points_per_label for other in middles)
        middles.append(middle)
        ax.annotate(
            str(number), (middle, 0.0), (0, 4 + 1.1 * SMALL_SIZE * n_below), xycoords=("data", "axes fraction"),
            textcoords="offset points", ha="center", va="bottom", fontsize=SMALL_SIZE, color=BLACK, fontweight="bold",
        )  # fmt: skip
        peak = f"{period.peak_date:%b %Y}"
        is_open = pd.isna(period.recovery_date)
        dates_text = f"since {peak}" if is_open else f"{peak} to {period.recovery_date:%b %Y}"
        texts.append(f"{number}: {percent_text(period.depth)}, {dates_text}")
    ax.set_title("     ".join(texts), loc="right", fontsize=SMALL_SIZE, color=BLACK, pad=6, y=1.0)


def _mark_drawdown_spans(ax: Axes, table: Table) -> list[tuple[float, float]]:
    """Draw a strip below each drawdown from its peak to its recovery, or to the last date; return (start, end)."""
    from matplotlib.dates import date2num

    spans = []
    for period in table["drawdowns"].itertuples():
        end = table["dates"][-1] if pd.isna(period.recovery_date) else period.recovery_date
        spans.append((float(date2num(period.peak_date)), float(date2num(end))))
        ax.axvspan(*spans[-1], ymax=STRIP_HEIGHT_POINTS / axes_height_points(ax), color=GREY, alpha=0.55, linewidth=0)
    return spans


def rolling_sharpe_table(context: PageContext) -> Table:
    """Return the Sharpe ratio over a trailing window with its band under no skill (see `RollingSharpe`)."""
    result, per_year = context.run_data.result, context.sessions_per_year
    rolling, name = rolling_sharpe(result, sessions_per_year=per_year), benchmark_label(context.metrics)
    return fields_table(rolling, date_range=result.fill_dates[[0, -1]], benchmark_name=name, unit=context.bar_unit)


@panel("Rolling Sharpe ratio ({window} {unit}s, annualised)", rolling_sharpe_table)
def rolling_sharpe_panel(ax: Axes, table: Table) -> None:
    """Draw rolling Sharpe ratios over their band under no skill."""
    dates, half_width = table["dates"], table["band_half_width"]
    marker = marker_for_few_points(dates, "o")
    ax.fill_between(dates[[0, -1]], -half_width, half_width, label=NO_SKILL_LABEL, **BAND_STYLE)
    curves = ((table["benchmark_sharpe"], table["benchmark_name"], ORANGE, 1.3),
              (table["strategy_sharpe"], "strategy after costs", BLUE, 1.6))  # fmt: skip
    for values, name, color, width in curves:
        style: dict[str, Any] = {"color": color, "linewidth": width, "marker": marker, "markersize": 3}
        ax.plot(dates, values, clip_on=not marker, label=name, **style)
    ax.axhline(0.0, color=GREY, linewidth=0.8)
    ax.locator_params(axis="y", nbins=6)
    drawn = np.concatenate([*(curve[0] for curve in curves), [-half_width, half_width]])
    low, high = float(np.nanmin(drawn)), float(np.nanmax(drawn))
    ax.set_ylim(low - 0.05 * (high - low), high + 0.25 * (high - low))
    ax.yaxis.set_major_formatter(number_tick_label)
    add_legend_at_top(ax)


def headline_rows_table(context: PageContext) -> Table:
    """Return the headline tables as rows of one table, separated by empty rows."""
    rows: list[TableRow] = []
    for table in headline_tables(context.metrics, "tear_sheet"):
        rows += [TableRow(""), TableRow(table.title, table.columns, is_heading=True)]
        rows += [TableRow(label, cells) for label, cells in table.rows]
    return {"rows": rows[1:]}


def monthly_return_table(context: PageContext) -> Table:
    """Return the net returns by calendar month (years, 12) and year (years,); NaN without sessions."""
    result = context.run_data.result
    months = monthly_returns(result).to_numpy(dtype=np.float64)
    years, yearly_returns = returns_by_period(result, n_months=12)
    return {"years": years, "monthly_returns": months, "yearly_returns": yearly_returns}


@panel("Monthly returns after costs (%)", monthly_return_table, 16.0)
def monthly_returns_panel(ax: Axes, table: Table) -> None:
    """Write each month's and year's return in percent, coloured from loss to gain.

    Parameters
    ----------
    table : `years` (n,), `monthly_returns` (n, 12) and `yearly_returns` (n,); NaN where there is none.
    """
    years, months = table["years"], table["monthly_returns"]
    known = np.abs(months[~np.isnan(months)])
    half_range = max(float(np.quantile(known, 0.95)) if len(known) else 0.0, 0.01)
    draw_loss_gain_image(ax, months, half_range=half_range)
    sizes = ((17, 7.6), (22, 6.4), (34, 5.2), (math.inf, 3.6))
    size = next(size for max_years, size in sizes if len(years) <= max_years)
    style: dict[str, Any] = {"fontsize": size, "color": BLACK}
    # Written as texts: each tick would be two lines and two texts.
    for (row, month), value in np.ndenumerate(months):
        if not np.isnan(value):
            text = percent_text(value, decimals=1 if abs(value) < 0.2 else 0, suffix="")
            ax.text(month, row, text, ha="center", va="center", **style)
    for row, (year, value) in enumerate(zip(years, table["yearly_returns"], strict=True)):
        text = percent_text(value, suffix="")
        ax.text(YEAR_COLUMN_RIGHT, row, text, ha="right", va="center", fontweight="bold", **style)
        ax.text(-0.65, row, str(year), ha="right", va="center", fontsize=size + 0.4, color=BLACK)
    for column, label in zip((*range(12), 12.75), MONTH_LABELS, strict=True):
        ax.annotate(
            label, (column, -0.5), (0, 1.7), textcoords="offset points", ha="center", va="bottom", fontsize=size + 0.4,
            color=BLACK, annotation_clip=False,
        )  # fmt: skip
    ax.set_axis_off()
    ax.set_xlim(YEAR_LABEL_LEFT, YEAR_COLUMN_RIGHT)


HEADLINE_PANEL = Panel(
    "headline_numbers", "", headline_rows_table, partial(draw_text_table, column_right_edges=(0.66, 1.0))
)


def tearsheet_panels(context: PageContext) -> tuple[PlacedPanel, ...]:
    """Return the panels of the tear sheet; the calendar's height follows from the number of its years."""
    n_years = len(context.run_data.result.sessions.year.unique())
    height = min(MAX_CALENDAR_ROW_HEIGHT * n_years, CALENDAR_TOP - 0.03)
    return (
        PlacedPanel(growth_panel, (0.042, 0.4389, 0.558, 0.3481), has_x_offset=False),
        PlacedPanel(drawdown_panel, (0.042, 0.2609, 0.558, 0.1263), has_x_labels=False),
        PlacedPanel(rolling_sharpe_panel, (0.042, 0.045, 0.558, 0.1723)),
        PlacedPanel(HEADLINE_PANEL, (0.645, 0.345, 0.335, 0.48)),
        PlacedPanel(monthly_returns_panel, (0.645, CALENDAR_TOP - height, 0.335, height)),
        *returns_panels(context),
    )


def verdict_title_and_text(context: PageContext) -> tuple[str, str]:
    """Return the verdict's first clause as the title, and the rest of it."""
    sentence: Any = context.metrics["verdict"]["sentence"]
    title, _, text = sentence.partition(": ")
    return title, text[:1].upper() + text[1:]


TEARSHEET_PAGE = Page(
    "tearsheet.png",
    "Performance",
    verdict_title_and_text,
    tearsheet_panels,
    "The title is the verdict; on the log scale of the growth of 1 equal slopes are equal rates; a Sharpe "
    "ratio inside the grey band, and an interval that contains 0, are no evidence of skill.",
    extra_height=RETURNS_HEIGHT,
    thumbnail_area=(0.0, 0.158, 0.61, 0.586),  # the equity curve
)


def tearsheet_figure(context: PageContext) -> Figure:
    """Return the tear sheet of a run as a figure."""
    return TEARSHEET_PAGE.draw_figure(context)
