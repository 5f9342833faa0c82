"""The lower part of the tear sheet: returns by year and by month, volatility-matched growth, risk and drawdowns."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from quantlr.backtest.benchmark_metrics import volatility_match, volatility_matched_equity
from quantlr.backtest.metric_types import BacktestView
from quantlr.backtest.naive_rules import NAIVE_RULES
from quantlr.backtest.return_metrics import returns_by_period
from quantlr.backtest.trades import histogram_around_zero
from quantlr.core.values import Array
from quantlr.report.context import PageContext
from quantlr.report.fonts import fit_text, text_width
from quantlr.report.pages.layout import Panel, PlacedPanel, Table, panel
from quantlr.report.style import (
    BLACK,
    BLUE,
    GREY,
    LEGEND_ROW_POINTS,
    ORANGE,
    Axes,
    TableRow,
    add_legend_above,
    axes_width_points,
    draw_equity_curves,
    draw_text_table,
    number_text,
    percent_text,
    set_fixed_ticks,
    set_percent_ticks,
)
from quantlr.report.summary import TextTable, basis_text, benchmark_label, drawdown_table, risk_table

MAX_MONTH_BINS = 24
RULE_MARKERS = ("o", "^", "v", "s")
"""Markers of the naive rules, in their order."""
MIN_HISTOGRAM_MONTHS = 3
YEAR_LABEL_SIZE, BASIS_SIZES = 8.5, ((8.2, 3), (7.2, 3), (6.4, 4))


def yearly_return_bars_table(context: PageContext) -> Table:
    """Return the compound net returns of each calendar year: `years` (n,), and `strategy` and `benchmark` (n,).

    `rules` maps the names of the naive rules to theirs, (n,), NaN where a rule has ended.
    """
    by_side = {side: context.metrics["backtest"][side]["returns_by_year"] for side in ("strategy", "benchmark")}
    years = list(by_side["strategy"])
    returns = {side: np.array([values[year] for year in years], dtype=np.float64) for side, values in by_side.items()}
    by_rule = {rule.name: context.metrics["naive_rules"][rule.key]["returns_by_year"] for rule in NAIVE_RULES}
    rules = {name: np.array([values.get(year) for year in years], np.float64) for name, values in by_rule.items()}
    return {"years": years, "benchmark_name": benchmark_label(context.metrics), "rules": rules, **returns}


@panel("Returns by year after costs", yearly_return_bars_table, LEGEND_ROW_POINTS)
def yearly_returns_panel(ax: Axes, table: Table) -> None:
    """Draw a bar per year for the strategy and one for its benchmark beside it, and a point for each naive rule."""
    years, rows = table["years"], np.arange(len(table["years"]))
    sides = (("strategy", "strategy after costs", BLUE, -0.2), ("benchmark", table["benchmark_name"], ORANGE, 0.2))
    for side, label, color, offset in sides:
        ax.bar(rows + offset, table[side], width=0.38, color=color, linewidth=0, label=label)
    for (name, returns), marker in zip(table["rules"].items(), RULE_MARKERS, strict=True):
        style: dict[str, Any] = {"markersize": 4.0, "color": BLACK, "fillstyle": "none", "markeredgewidth": 0.9}
        ax.plot(rows, returns, marker, label=name, **style)
    ax.axhline(0, color=GREY, linewidth=0.8)
    ax.margins(y=0.08)
    ax.set_xlim(-0.6, len(years) - 0.4)
    room = axes_width_points(ax) / (1.3 * text_width("2000", font_size=YEAR_LABEL_SIZE))
    step = -(-len(years) // int(room))
    set_fixed_ticks(ax.xaxis, rows[::step], years[::step])
    set_percent_ticks(ax.yaxis, max_intervals=5)
    bars, points = ax.containers, ax.lines[: len(RULE_MARKERS)]
    add_legend_above(ax, n_columns=6, font_size=7.5, handles=[*bars, *points])


def monthly_histogram_table(context: PageContext) -> Table:
    """Return the months of strategy and benchmark by return: `count` and `benchmark_count` (bins,) by `bin_edges`."""
    result, metrics = context.run_data.result, context.metrics
    returns = returns_by_period(result, n_months=1)[1]
    if len(returns) < MIN_HISTOGRAM_MONTHS:
        return {"message": "There are too few months.", "remark": ""}
    benchmark = returns_by_period(result.benchmark or result, n_months=1)[1]
    edges = histogram_around_zero(
        np.append(returns, benchmark[~np.isnan(benchmark)]), max_bins=MAX_MONTH_BINS
    ).bin_edges
    months = np.append(returns, benchmark)
    is_clipped = bool(((months < edges[0]) | (months > edges[-1])).any())
    counts = [_clipped_histogram(values, edges) for values in (returns, benchmark)]
    return {
        "bin_edges": edges,
        "remark": " (outer bars: and beyond)" if is_clipped else "",
        "count": counts[0],
        "benchmark_count": counts[1],
        "highest_count": float(np.max(counts)),
        "mean": float(returns.mean()),
        "benchmark_mean": float(benchmark.mean()),
        "benchmark_name": benchmark_label(metrics),
    }


def _clipped_histogram(values: Array, bin_edges: Array) -> Array:
    """Return the counts of values by bin, (bins,); the outermost bins have those beyond them too, and none NaN."""
    known = values[~np.isnan(values)]
    return np.histogram(np.clip(known, bin_edges[0], bin_edges[-1]), bin_edges)[0].astype(np.float64)


@panel("Months by return{remark}", monthly_histogram_table, LEGEND_ROW_POINTS)
def monthly_histogram_panel(ax: Axes, table: Table) -> None:
    """Draw the histogram of the strategy's months, and the outline of the benchmark's."""
    edges, count = table["bin_edges"], table["count"]
    label = f"strategy: mean {percent_text(table['mean'], decimals=2)}"
    ax.stairs(count, edges, fill=True, color=BLUE, alpha=0.5, label=label)
    label = f"{table['benchmark_name']}: mean {percent_text(table['benchmark_mean'], decimals=2)}"
    ax.stairs(table["benchmark_count"], edges, color=ORANGE, linewidth=1.5, label=label)
    ax.axvline(0, color=GREY, linewidth=0.8)
    ax.set(xlim=(edges[0], edges[-1]), ylim=(0.0, 1.06 * table["highest_count"]))
    set_percent_ticks(ax.xaxis, max_intervals=7)
    ax.locator_params(axis="y", nbins=4, integer=True)
    add_legend_above(ax, n_columns=2)


def volatility_matched_table(context: PageContext) -> Table:
    """Return the growth of 1 of the strategy with its positions multiplied by `factor`, beside the benchmark's.

    `matched_equity` and `benchmark_equity` are (sessions + 1,), from 1 on (see `volatility_matched_equity`).
    """
    result = context.run_data.result
    view = BacktestView(result, context.sessions_per_year, context.config.seed)
    equity = volatility_matched_equity(view)
    if equity is None or result.benchmark is None:
        return {"factor": "–", "message": "Strategy or benchmark has no volatility."}
    return {
        "factor": number_text(volatility_match(view)),
        "dates": result.fill_dates,
        "matched_equity": np.append(1.0, equity),
        "benchmark_equity": np.append(1.0, result.benchmark.equity),
        "benchmark_name": benchmark_label(context.metrics),
    }


@panel("Volatility-matched growth (positions × {factor})", volatility_matched_table, LEGEND_ROW_POINTS)
def volatility_matched_panel(ax: Axes, table: Table) -> None:
    """Draw the equity of strategy and benchmark at the same volatility."""
    curves = (
        (table["dates"], table["benchmark_equity"], table["benchmark_name"], {"color": ORANGE, "linewidth": 1.1}),
        (table["dates"], table["matched_equity"], "strategy", {"color": BLUE, "linewidth": 1.5}),
    )
    draw_equity_curves(ax, curves)
    add_legend_above(ax, n_columns=2, is_reversed=True)


def _text_rows(table: TextTable) -> Table:
    heading = TableRow(table.title, table.columns, is_heading=True)
    return {"rows": [heading, *(TableRow(label, cells) for label, cells in table.rows)]}


def _draw_basis(ax: Axes, table: Table) -> None:
    """Write in grey how the numbers of the tables are computed."""
    ax.set_axis_off()
    text, size = fit_text(table["text"], max_width=axes_width_points(ax), sizes=BASIS_SIZES)
    ax.text(0, 1, text, transform=ax.transAxes, va="top", fontsize=size, color=GREY, linespacing=1.3)


RISK_PANEL = Panel(
    "risk_numbers",
    "",
    lambda context: _text_rows(risk_table(context.metrics)),
    partial(draw_text_table, column_right_edges=(0.66, 1.0)),
)
DRAWDOWN_ROWS_PANEL = Panel(
    "drawdown_rows",
    "",
    lambda context: _text_rows(drawdown_table(context.metrics)),
    partial(draw_text_table, column_right_edges=(0.46, 0.73, 1.0)),
)
BASIS_PANEL = Panel("basis", "", lambda context: {"text": basis_text(context.metrics)}, _draw_basis)

RETURNS_HEIGHT, ROW_HEIGHT = 0.48, 0.016
"""Height of these panels below those of a standard page, and of a row of the tables, as fractions of such a page."""


def returns_panels(context: PageContext) -> tuple[PlacedPanel, ...]:
    """Return the panels below those of a standard page; rows of the tables have equal heights."""
    n_risk, n_drawdowns = (1 + len(table(context.metrics).rows) for table in (risk_table, drawdown_table))
    top = -0.02
    risk: Any = (0.645, top - n_risk * ROW_HEIGHT, 0.335, n_risk * ROW_HEIGHT)
    drawdowns: Any = (0.645, risk[1] - (n_drawdowns + 1) * ROW_HEIGHT, 0.335, n_drawdowns * ROW_HEIGHT)
    return (
        PlacedPanel(yearly_returns_panel, (0.042, -0.185, 0.558, 0.13)),
        PlacedPanel(volatility_matched_panel, (0.042, -0.435, 0.262, 0.145)),
        PlacedPanel(monthly_histogram_panel, (0.342, -0.435, 0.258, 0.145)),
        PlacedPanel(RISK_PANEL, risk),
        PlacedPanel(DRAWDOWN_ROWS_PANEL, drawdowns),
        PlacedPanel(BASIS_PANEL, (0.645, -0.47, 0.335, 0.04)),
    )
