"""The page that compares tickers: contribution to the return, accuracy, weight and Sharpe ratio of each."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from quantlr.backtest.attribution import cumulative_contribution
from quantlr.backtest.metrics import find_metric
from quantlr.report.context import PageContext
from quantlr.report.fonts import text_width
from quantlr.report.pages.layout import PAGE_WIDTH_POINTS, Page, Panel, PlacedPanel, Table, grid_rectangles, panel
from quantlr.report.style import (
    BAND_GREY,
    BLACK,
    BLUE,
    GREEN,
    GREY,
    LABEL_MARGIN_POINTS,
    LABEL_STYLE,
    LEGEND_ROW_POINTS,
    NO_SKILL_LABEL,
    ORANGE,
    PURPLE,
    SKY,
    SMALL_SIZE,
    VERMILION,
    Axes,
    add_legend_above,
    format_category_rows,
    marker_for_few_points,
    number_text,
    percent_text,
    percent_tick_label,
    set_percent_ticks,
    shorten_middle,
)
from quantlr.report.summary import metric_label
from quantlr.stats.hac import Z95
from quantlr.stats.multiple_testing import expected_order_statistics

MAX_TICKER_ROWS = 60
"""Tickers that have a row each; of more, only the highest and the lowest are named."""
N_EXTREME_TICKERS = 3
MEASURE_TITLES = {
    measure: metric_label(find_metric(measure))
    for measure in ("contribution", "accuracy", "mean_absolute_weight", "sharpe")
}
"""Measures by ticker; all but the Sharpe ratio are fractions, written in percent."""


def has_several_tickers(context: PageContext) -> bool:
    """Return whether there are tickers to compare."""
    return len(context.forecast_tickers) > 1


def measure_by_ticker_table(context: PageContext, measure: str) -> dict[str, Any]:
    """Return a measure by ticker, in descending order of contribution.

    `values` is (tickers,), NaN where undefined; accuracy and Sharpe ratio have a 95% band under no skill, `band_center`
    plus and minus `band_half_width`, which is NaN for the others; `tickers` are the names. Only rows of
    the contribution are labelled, as the others stand beside it.
    """
    stats, names = context.attribution, context.forecast_tickers
    order = np.argsort(-stats.annual_contribution, kind="stable")
    zero, unknown = np.zeros(len(order)), np.full(len(order), np.nan)
    columns = {
        "contribution": (stats.annual_contribution, zero, unknown),
        "accuracy": (stats.accuracy, stats.baseline_accuracy, stats.accuracy_band_half_width),
        "mean_absolute_weight": (stats.mean_absolute_weight, zero, unknown),
        "sharpe": (stats.sharpe, zero, stats.sharpe_band_half_width),
    }
    table = dict(zip(("values", "band_center", "band_half_width"), np.array(columns[measure])[:, order], strict=True))
    tickers = [names[index] for index in order]
    row_labels = [ticker if measure == "contribution" else "" for ticker in tickers]
    flags = {"is_percent": measure != "sharpe", "has_baseline": measure == "accuracy"}
    return {**table, **flags, "tickers": tickers, "row_labels": row_labels}


def _draw_ticker_rows(ax: Axes, table: Table) -> None:
    """Draw a bar per ticker, or a dot and a mark for its baseline, over its band under no skill."""
    values, rows, labels = table["values"], np.arange(len(table["values"])), table["row_labels"]
    has_band = ~np.isnan(table["band_half_width"])
    center, half_width = table["band_center"][has_band], table["band_half_width"][has_band]
    style: dict[str, Any] = {"height": 0.86, "color": BAND_GREY, "alpha": 0.5, "linewidth": 0}
    ax.barh(rows[has_band], 2 * half_width, left=center - half_width, **style)
    if table["has_baseline"]:
        ax.plot(table["band_center"], rows, "|", color=BLACK, markersize=9, markeredgewidth=2)
        ax.plot(values, rows, "o", color=BLUE, markersize=5 if len(rows) <= 30 else 3.6)
        ax.set_xlabel(f"black: baseline; grey: {NO_SKILL_LABEL}", fontsize=8.2, color=GREY)
    else:
        colors = [VERMILION if value < 0 else BLUE for value in values]
        ax.barh(rows, np.nan_to_num(values), height=0.5, color=colors, linewidth=0)
        ax.axvline(0, color=GREY, linewidth=0.8)
    format_category_rows(ax, labels)
    ax.locator_params(axis="x", nbins=5)
    if table["is_percent"]:
        ax.xaxis.set_major_formatter(percent_tick_label)


def ranked_measure_table(context: PageContext, measure: str) -> Table:
    """Return a measure by ticker in descending order, and the expected order statistics under no skill.

    `ranked` and `expected_by_rank` are (tickers,), the latter only for accuracy and Sharpe ratio; accuracy is less the
    majority-class baseline. `extremes` names the highest and the lowest tickers.
    """
    table = measure_by_ticker_table(context, measure)
    values, half_width = table["values"] - table["band_center"], table["band_half_width"]
    is_known = ~np.isnan(values)
    order = np.argsort(-values, kind="stable")[: is_known.sum()]
    if not len(order):
        return {"message": "It is undefined for every ticker."}
    format_value = percent_text if table["is_percent"] else number_text
    highest, lowest = (
        ", ".join(f"{shorten_middle(table['tickers'][index], 10)} {format_value(values[index])}" for index in indices)
        for indices in (order[:N_EXTREME_TICKERS], order[::-1][:N_EXTREME_TICKERS])
    )
    table |= {"ranked": values[order], "extremes": f"highest: {highest}\nlowest: {lowest}"}
    if not np.isnan(half_width).all():
        table["expected_by_rank"] = expected_order_statistics(half_width[is_known] / Z95)[::-1]
    return table


def _draw_ranked_measure(ax: Axes, table: Table) -> None:
    ranked = table["ranked"]
    ranks = np.arange(1, len(ranked) + 1)
    if "expected_by_rank" in table:
        expected = table["expected_by_rank"]
        ax.plot(ranks, expected, color=GREY, linewidth=1.4, linestyle="--", label="expected under no skill")
    ax.plot(ranks, ranked, color=BLUE, marker=".", markersize=3, linewidth=0.8, label="tickers, highest first")
    ax.axhline(0, color=GREY, linewidth=0.8)
    ax.set_xlim(1 - 0.02 * len(ranked), 1.02 * len(ranked))
    ax.locator_params(axis="both", nbins=6)
    if table["is_percent"]:
        ax.yaxis.set_major_formatter(percent_tick_label)
    ax.set_xlabel(table["extremes"], fontsize=8.2, color=BLACK, linespacing=1.3)
    add_legend_above(ax, n_columns=2)


def cumulative_contribution_table(context: PageContext) -> Table:
    """Return the cumulative contributions as sums of fractions of equity.

    `named` maps the tickers that contributed most and least to (sessions,); `others` is (sessions, other tickers).
    """
    result, stats, names = context.run_data.result, context.attribution, context.forecast_tickers
    sums = cumulative_contribution(result, stats.ticker_index)
    order = np.argsort(-stats.annual_contribution, kind="stable")
    extremes = np.r_[: min(N_EXTREME_TICKERS, len(order)), max(len(order) - N_EXTREME_TICKERS, 0) : len(order)]
    named = order[np.unique(extremes)]
    table: dict[str, Any] = {
        "dates": result.sessions,
        "named": {names[index]: sums[:, index] for index in named},
        "others": sums[:, np.setdiff1d(order, named)],
        "date_range": result.fill_dates[[0, -1]],
    }
    return table if sums.any() else table | {"message": "No position was held."}


@panel("Cumulative contribution (% of equity)", cumulative_contribution_table, LEGEND_ROW_POINTS)
def cumulative_contribution_panel(ax: Axes, table: Table) -> None:
    """Draw the named tickers in colour and the others in grey, thinned out to some 300 points."""
    dates, others = table["dates"], table["others"]
    marker = marker_for_few_points(dates)
    if others.shape[1]:
        stride = max(len(dates) // 300, 1)
        ax.plot(dates[::stride], others[::stride], color=BAND_GREY, linewidth=0.6, alpha=0.7, marker=marker)
    colors = (BLUE, GREEN, SKY, VERMILION, ORANGE, PURPLE)
    for (name, values), color in zip(table["named"].items(), colors, strict=False):
        label = f"{shorten_middle(name, 22)} {percent_text(values[-1])}"
        ax.plot(dates, values, color=color, linewidth=1.5, marker=marker, label=label)
    ax.axhline(0, color=GREY, linewidth=0.8)
    set_percent_ticks(ax.yaxis, max_intervals=6)
    width_inches = ax.get_window_extent().width / ax.figure.dpi
    add_legend_above(ax, n_columns=6 if width_inches > 8 else 3 if width_inches > 3.8 else 2)


def contribution_by_accuracy_table(context: PageContext) -> Table:
    """Return excess accuracy over the majority-class baseline, and annual contribution, by ticker: (tickers,) each."""
    stats = context.attribution
    excess_accuracy = stats.accuracy - stats.baseline_accuracy
    return {"excess_accuracy": excess_accuracy, "annual_contribution": stats.annual_contribution}


@panel("Contribution by excess accuracy", contribution_by_accuracy_table)
def contribution_by_accuracy_panel(ax: Axes, table: Table) -> None:
    """Draw a dot per ticker."""
    style: dict[str, Any] = {"color": BLUE, "markersize": 3.2, "alpha": 0.6}
    ax.plot(table["excess_accuracy"], table["annual_contribution"], "o", **style)
    ax.axhline(0, color=GREY, linewidth=0.8)
    ax.axvline(0, color=GREY, linewidth=0.8)
    ax.locator_params(axis="both", nbins=6)
    ax.xaxis.set_major_formatter(percent_tick_label)
    ax.yaxis.set_major_formatter(percent_tick_label)
    ax.set_xlabel("accuracy less majority-class baseline", **LABEL_STYLE)


ROW_PANELS = tuple(
    Panel(f"{measure}_by_ticker", title, partial(measure_by_ticker_table, measure=measure), _draw_ticker_rows)
    for measure, title in MEASURE_TITLES.items()
)
RANK_TITLES = MEASURE_TITLES | {"accuracy": "Accuracy less majority-class baseline"}
RANK_PANELS = tuple(
    Panel(
        f"ranked_{measure}",
        title,
        partial(ranked_measure_table, measure=measure),
        _draw_ranked_measure,
        LEGEND_ROW_POINTS,
    )
    for measure, title in RANK_TITLES.items()
)


def tickers_panels(context: PageContext) -> tuple[PlacedPanel, ...]:
    """Return the panels of the page: rows above the cumulative contributions, rows beside them, or ranks."""
    names = context.forecast_tickers
    if len(names) > MAX_TICKER_ROWS:
        cells = grid_rectangles((0.05, 0.065, 0.93, 0.69), 2, 3, wspace=0.2, hspace=0.48)
        first, second, third, fourth = RANK_PANELS
        curves = replace(cumulative_contribution_panel, title_padding=2 * LEGEND_ROW_POINTS)
        panels = (first, second, curves, third, fourth, contribution_by_accuracy_panel)
        return tuple(map(PlacedPanel, panels, cells))
    has_curves_below = len(names) <= 15
    widest = max(text_width(name, font_size=SMALL_SIZE) for name in names)
    top, left = 0.78, min((widest + LABEL_MARGIN_POINTS) / PAGE_WIDTH_POINTS + 0.01, 0.2)
    height = min(0.1 + 0.022 * len(names), 0.36) if has_curves_below else 0.735
    right = 0.98 if has_curves_below else 0.66
    area = (left, top - height, right - left, height)
    cells = grid_rectangles(area, 1, 4, wspace=0.1, width_ratios=(1.2, 1.0, 0.8, 1.0))
    rows = tuple(map(PlacedPanel, ROW_PANELS, cells))
    if has_curves_below:
        return (*rows, PlacedPanel(cumulative_contribution_panel, (0.055, 0.045, 0.925, top - height - 0.145)))
    curves = replace(cumulative_contribution_panel, title_padding=3 * LEGEND_ROW_POINTS)
    return (
        *rows,
        PlacedPanel(curves, (0.715, 0.45, 0.265, 0.28)),
        PlacedPanel(contribution_by_accuracy_panel, (0.715, 0.065, 0.265, 0.29)),
    )


def tickers_title_and_text(context: PageContext) -> tuple[str, str]:
    """Return how many tickers contributed to the return and were forecast with skill, and the extremes."""
    stats, names = context.attribution, context.forecast_tickers
    contribution, excess_accuracy = stats.annual_contribution, stats.accuracy - stats.baseline_accuracy
    n_skilled, n_tickers = int((excess_accuracy > stats.accuracy_band_half_width).sum()), len(names)
    skilled = "accuracy above the no-skill band"
    if not stats.mean_absolute_weight.any():
        return "No position was held", f"{n_skilled} of {n_tickers} tickers have an {skilled} (95%)."
    n_expected = 0.025 * n_tickers  # Of tickers without skill, 2.5% are above their 95% band.
    expected = f"{n_expected:.0f}" if n_expected >= 1 else "fewer than 1"
    best, worst = int(contribution.argmax()), int(np.argsort(-contribution, kind="stable")[-1])
    sum_and_extremes = (contribution.sum(), contribution[best], contribution[worst])
    total, highest, lowest = (percent_text(float(value), decimals=2) for value in sum_and_extremes)
    n_positive = int((contribution > 0).sum())
    text = (
        f"Highest contribution {names[best]} ({highest} of equity a year, after costs and in excess of cash), lowest "
        f"{names[worst]} ({lowest}); total {total}. Under no skill, {expected} of {n_tickers} would exceed the band."
    )
    return f"{n_positive} of {n_tickers} tickers contributed positively; {skilled} in {n_skilled}", text


TICKERS_PAGE = Page(
    "tickers.png",
    "Tickers",
    tickers_title_and_text,
    tickers_panels,
    "A row or a point is a ticker, in the order of its contribution; what is inside a grey band, or on a "
    "dashed line, is what tickers without skill would have.",
    is_applicable=has_several_tickers,
)
