"""Panels of the forecast page on groups of forecasts: mean return by probability, accuracy by year and by ticker."""

from __future__ import annotations

from typing import Any

import numpy as np

from quantlr.backtest.forecast_analysis import (
    MIN_GROUP_FORECASTS,
    accuracy_by_group,
    mean_returns_by_probability_group,
)
from quantlr.core.frequency import bar_unit
from quantlr.core.values import Array
from quantlr.report.context import PageContext
from quantlr.report.pages.layout import Table, fields_table, panel
from quantlr.report.style import (
    BLUE,
    GREY,
    ORANGE,
    Axes,
    add_legend,
    count_text,
    format_fraction_axis,
    grid_along_x,
    label_axes,
    label_rows,
    percent_text,
    percent_tick_label,
    set_fixed_ticks,
    set_percent_ticks,
    shorten_end,
)
from quantlr.stats.hac import Z95
from quantlr.stats.multiple_testing import expected_order_statistics

MAX_TICKER_ROWS = 8
"""Tickers up to which each has a row; more are ranked."""
LEGEND_HEADROOM = 0.3
"""Room for a legend above what is drawn, as a fraction of its range."""
MODEL_STYLE: dict[str, Any] = {"fmt": "o", "color": BLUE, "elinewidth": 1.4}
SHORT_PADDING, LONG_PADDING = 19.5, 32.0
"""Points between a title and the axes with a subtitle of one line, and of two."""


def return_by_probability_table(context: PageContext) -> Table:
    """Return the mean return over the horizon by quantile group of the forecast (see `ProbabilityGroupReturns`)."""
    forecasts = context.run_data.forecasts
    groups = mean_returns_by_probability_group(forecasts)
    if groups is None:
        are_few = len(forecasts.probability) < 2 * MIN_GROUP_FORECASTS
        reason = "There are too few forecasts" if are_few else "Nearly all probabilities are equal"
        return {"message": f"{reason}: there are no groups to compare."}
    difference = percent_text(groups.top_minus_bottom, decimals=2)
    half_width = percent_text(Z95 * groups.top_minus_bottom_standard_error, decimals=2)
    horizon = count_text(forecasts.horizon, bar_unit(context.sessions_per_year))
    return fields_table(groups, subtitle=f"highest minus lowest group: {difference} ± {half_width} over {horizon}")


@panel("Mean return by forecast probability", return_by_probability_table, SHORT_PADDING)
def return_by_probability_panel(ax: Axes, table: Table) -> None:
    """Draw the mean return of each group with its 95% interval, and that of all forecasts."""
    mean, half_width = table["mean_return"], Z95 * table["standard_error"]
    positions = np.arange(1, len(mean) + 1)
    ax.axhline(0, color=GREY, linewidth=0.8)
    overall = table["overall_mean_return"]
    ax.axhline(overall, color=ORANGE, linewidth=1.3, label=f"all forecasts: {percent_text(overall, decimals=2)}")
    ax.errorbar(positions, mean, yerr=half_width, markersize=5, label="mean and 95% interval", **MODEL_STYLE)
    _set_y_limits_with_headroom(ax, float((mean - half_width).min()), float((mean + half_width).max()))
    ax.yaxis.set_major_formatter(percent_tick_label)
    set_fixed_ticks(ax.xaxis, positions, _distinct_percent_labels(table["mean_probability"]))
    label_axes(ax, x_label="groups of equal size, by mean probability of up (%)", y_label="mean return")
    add_legend(ax, corner="upper left", n_columns=2)


def _distinct_percent_labels(probabilities: Array) -> list[str]:
    """Return probabilities in percent with as many decimals as make them distinct; every other one if that is long."""
    for decimals in range(1, 5):
        labels = [percent_text(value, decimals=decimals, suffix="") for value in probabilities]
        if len(set(labels)) == len(labels):
            break
    return labels if decimals == 1 else [label if index % 2 == 0 else "" for index, label in enumerate(labels)]


def accuracy_by_year_table(context: PageContext) -> Table:
    """Return accuracy and majority-class baseline by year with Wilson's 95% interval (see `GroupAccuracy`)."""
    years = context.run_data.forecasts.sessions.year.to_numpy(dtype=np.int64)
    return _accuracy_by_group_table(context, years[context.evaluated_forecasts.session], "year")


def accuracy_by_ticker_table(context: PageContext) -> Table:
    """Return accuracy and baseline by ticker (see `GroupAccuracy`), and the expected ranking of random forecasts.

    `expected_by_rank` (tickers,) has the same order as the sorted `accuracy_difference`; it is there for many tickers.
    """
    table = _accuracy_by_group_table(context, context.evaluated_forecasts.ticker, "ticker")
    names = [context.run_data.forecasts.tickers[index] for index in table["group_ids"]]
    table["tickers"] = names
    if len(names) > MAX_TICKER_ROWS:
        difference = table["accuracy_difference"]
        table["expected_by_rank"] = expected_order_statistics(table["difference_standard_error"])
        extremes = (difference.argmax(), difference.argmin())
        best, worst = (
            f"{shorten_end(names[index], max_chars=12)} by {percent_text(difference[index])}" for index in extremes
        )
        table["subtitle"] += f"\nbest {best}, worst {worst}"
    return table


def _accuracy_by_group_table(context: PageContext, group_ids: Any, noun: str) -> dict[str, Any]:
    groups = accuracy_by_group(group_ids, context.evaluated_forecasts)
    difference = groups.accuracy_difference
    subtitle = f"above the majority-class baseline in {(difference > 0).sum():,} of {count_text(len(difference), noun)}"
    return fields_table(groups, accuracy_difference=difference, subtitle=subtitle)


def _error_bar_lengths(table: Table) -> Array:
    """Return the lengths of the intervals below and above the accuracy: (2, groups)."""
    accuracy = table["accuracy"]
    return np.maximum([accuracy - table["accuracy_low"], table["accuracy_high"] - accuracy], 0.0)


@panel("Accuracy by year", accuracy_by_year_table, SHORT_PADDING)
def accuracy_by_year_panel(ax: Axes, table: Table) -> None:
    """Draw the accuracy of each year with its 95% interval, and that of the majority-class baseline."""
    years, accuracy, baseline = table["group_ids"], table["accuracy"], table["baseline_accuracy"]
    first, last = int(years[0]), int(years[-1])
    half_width = min(0.32, 0.018 * (last - first + 1.4))
    bars = _error_bar_lengths(table)
    ax.errorbar(years, accuracy, yerr=bars, markersize=5, label="model, 95% interval", **MODEL_STYLE)
    ax.hlines(baseline, years - half_width, years + half_width, color=ORANGE, linewidth=2.2,
              label="majority-class baseline")  # fmt: skip
    # The interval of a year with a quarter of the forecasts of the fullest may leave the axes.
    is_full = table["count"] >= 0.25 * table["count"].max()
    drawn = np.concatenate([table["accuracy_low"][is_full], table["accuracy_high"][is_full], accuracy, baseline])
    margin = 0.06 * max(float(np.ptp(drawn)), 0.01)
    ax.set(xlim=(first - 0.7, last + 0.7), ylim=(float(drawn.min()) - margin, float(drawn.max()) + margin))
    set_fixed_ticks(ax.xaxis, range(first, last + 1, 1 + (last - first) // 20))
    format_fraction_axis(ax.yaxis, max_ticks=5)
    add_legend(ax, corner="lower right", n_columns=2, is_above_axes=True)


@panel("Accuracy by ticker", accuracy_by_ticker_table, SHORT_PADDING)
def accuracy_by_ticker_panel(ax: Axes, table: Table) -> None:
    """Draw a row per ticker, the most accurate at the top."""
    order = np.argsort(table["accuracy"], kind="stable")
    rows, bars = np.arange(len(order)), _error_bar_lengths(table)[:, order]
    ax.errorbar(table["accuracy"][order], rows, xerr=bars, markersize=4.5, label="model, 95% interval", **MODEL_STYLE)
    ax.vlines(table["baseline_accuracy"][order], rows - 0.35, rows + 0.35, color=ORANGE, linewidth=2.2,
              label="majority-class baseline")  # fmt: skip
    ax.set_ylim(-0.7, (len(rows) - 0.3) * (1.0 + LEGEND_HEADROOM))
    label_rows(ax, range(len(rows)), [table["tickers"][index] for index in order])
    format_fraction_axis(ax.xaxis, max_ticks=5)
    grid_along_x(ax)
    add_legend(ax, corner="upper left", n_columns=2)


@panel("Accuracy by ticker", accuracy_by_ticker_table, LONG_PADDING)
def ranked_excess_accuracy_panel(ax: Axes, table: Table) -> None:
    """Draw accuracy less baseline of many tickers in ascending order."""
    difference, expected = np.sort(table["accuracy_difference"]), table["expected_by_rank"]
    rank = np.arange(1, len(difference) + 1)
    ax.axhline(0, color=ORANGE, linewidth=1.3, label="majority-class baseline")
    ax.plot(rank, expected, color=GREY, linewidth=1.6, label="expected under no skill, if tickers were independent")
    ax.plot(rank, difference, ".", color=BLUE, markersize=5)
    low, high = min(difference[0], expected[0]), max(difference[-1], expected[-1])
    _set_y_limits_with_headroom(ax, float(low), float(high), min_range=0.01)
    ax.set_xlim(1 - 0.02 * len(rank), 1.02 * len(rank))
    set_percent_ticks(ax.yaxis, max_intervals=4)
    ax.locator_params(axis="x", nbins=5, integer=True)
    label_axes(ax, x_label="tickers, worst first", y_label="excess accuracy")
    add_legend(ax, corner="upper left", n_columns=1)


def _set_y_limits_with_headroom(ax: Axes, low: float, high: float, *, min_range: float = 1e-9) -> None:
    """Set vertical limits that contain what is drawn, with room for a legend above."""
    height = max(high - low, min_range)
    ax.set_ylim(low - 0.06 * height, high + LEGEND_HEADROOM * height)
