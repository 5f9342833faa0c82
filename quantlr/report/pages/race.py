"""The page of a race: growth of 1, metrics, and how each competitor differs from the config's model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from quantlr.backtest.metric_types import Metric
from quantlr.core.timing import iso_date
from quantlr.report.context import PageContext
from quantlr.report.pages.comparison import run_line_style
from quantlr.report.pages.layout import PAGE_HEIGHT_POINTS, Page, Panel, PlacedPanel, Table, grid_rectangles, panel
from quantlr.report.race import RaceEntry, race_metrics
from quantlr.report.style import (
    BLACK,
    BLUE,
    GREY,
    LEGEND_ROW_POINTS,
    SMALL_SIZE,
    VERMILION,
    Axes,
    TableRow,
    add_legend_above,
    count_text,
    draw_text_table,
    format_category_rows,
    format_log_axis,
    number_text,
    number_tick_label,
    p_value_number_text,
)
from quantlr.report.summary import metric_text
from quantlr.stats.paired import n_draws_for_tests

DIFFERENCE_UNITS = {"log_loss": ("1/1,000 nat", 1000.0), "accuracy": ("% points", 100.0), "cagr": ("% points", 100.0)}
"""Unit of the differences of a metric where it is not that of the metric, and its factor."""
N_LEGEND_COLUMNS = 4
MAX_SIZE_RATIO = 20.0
"""Largest ratio of a difference to the median of all at which it is drawn; a larger one is written at the edge."""


@dataclass(frozen=True, slots=True)
class RaceContext:
    """A run of the config's model, and the entries of the race; the first is that model."""

    run_context: PageContext
    entries: Sequence[RaceEntry]


def growth_by_competitor_table(context: RaceContext) -> Table:
    """Return the growth of 1 after costs of each competitor: `curves` maps names to (sessions,)."""
    results = {entry.competitor.name: entry.competitor.backtest.result for entry in context.entries}
    is_naive = [entry.competitor.kind == "naive rule" for entry in context.entries]
    curves = {name: result.equity for name, result in results.items()}
    return {"dates": context.run_context.run_data.result.sessions, "curves": curves, "is_naive": is_naive}


@panel("Growth of 1 after costs (log scale)", growth_by_competitor_table)
def growth_by_competitor_panel(ax: Axes, table: Table) -> None:
    """Draw each competitor's equity on a log scale; naive rules are thin and dashed."""
    equities = list(table["curves"].values())
    for index, (name, equity) in enumerate(table["curves"].items()):
        style: dict[str, Any] = run_line_style(index) | ({"linestyle": "--"} if table["is_naive"][index] else {})
        width = 1.9 if index == 0 else 0.9 if table["is_naive"][index] else 1.3
        style["zorder"] = 3.0 if index == 0 else 2.0
        ax.plot(table["dates"], np.where(equity > 0, equity, np.nan), linewidth=width, label=name, **style)
    format_log_axis(ax, np.concatenate(equities))
    add_legend_above(ax, n_columns=N_LEGEND_COLUMNS)


def competitor_rows_table(context: RaceContext) -> Table:
    """Return a row of metrics for each competitor, and the processor time that it took."""
    metrics = race_metrics()
    heading = TableRow("Competitor", (*(metric.column_heading for metric in metrics), "CPU s"), is_heading=True)
    rows = [
        TableRow(
            entry.competitor.name,
            (
                *(metric_text(metric, entry.metrics[metric.key]) for metric in metrics),
                number_text(entry.competitor.cpu_seconds, decimals=2),
            ),
        )
        for entry in context.entries
    ]
    return {"rows": [heading, *rows]}


def competitor_p_value_rows_table(context: RaceContext) -> Table:
    """Return the adjusted p values of the differences from the model, a row for each competitor."""
    metrics = race_metrics()
    rows = [TableRow("Adjusted p of the difference", tuple(metric.column_heading for metric in metrics), True)]
    for entry in context.entries[1:]:
        tests = [entry.tests[metric.key] for metric in metrics]
        cells = ("same" if test.is_identical else p_value_number_text(test.adjusted_p_value) for test in tests)
        rows.append(TableRow(entry.competitor.name, tuple(cells)))
    return {"rows": rows}


COLUMN_RIGHT_EDGES = (0.46, 0.59, 0.68, 0.79, 0.9, 1.0)
COMPETITORS_PANEL, P_VALUES_PANEL = (
    Panel(key, "", make_table, partial(draw_text_table, column_right_edges=COLUMN_RIGHT_EDGES))
    for key, make_table in (
        ("competitors", competitor_rows_table),
        ("competitor_p_values", competitor_p_value_rows_table),
    )
)


def competitor_differences_table(context: RaceContext, *, metric: Metric) -> Table:
    """Return the differences of a metric from the model's, in the unit of the title, as arrays (competitors,).

    `value`, `low` and `high` of the adjusted interval are NaN where there is none. `color_index` is 1 where the
    competitor is significantly better than the model, -1 where it is significantly worse, else 0. `limit` is where the
    axis ends on either side; differences beyond it are many times as large as the median.
    """
    _, factor = DIFFERENCE_UNITS.get(metric.key, ("", 1.0))
    tests = [entry.tests[metric.key] for entry in context.entries[1:]]
    intervals = [
        (test.difference.value, *test.adjusted_interval)
        if test.difference and test.adjusted_interval
        else (np.nan,) * 3
        for test in tests
    ]
    value, low, high = factor * np.array(intervals).T
    significant = np.array([test.is_significant for test in tests])
    is_first, size = metric is race_metrics()[0], np.abs(value)
    ends = np.maximum(np.abs(low), np.abs(high))
    median = float(np.median(size[size > 0])) if (size > 0).any() else 0.0
    limit = float(ends[size <= MAX_SIZE_RATIO * median].max(initial=0.0))
    return {
        "names": [entry.competitor.name if is_first else "" for entry in context.entries[1:]],
        "value": value,
        "low": low,
        "high": high,
        "color_index": np.where(significant, metric.better_sign * np.sign(value), 0),
        "limit": 1.08 * limit or 1.0,
        "subtitle": f"{metric.better} is better",
    }


def draw_differences(ax: Axes, table: Table) -> None:
    """Draw a row per competitor: its difference from the model with the adjusted interval."""
    format_category_rows(ax, table["names"])
    ax.axvline(0.0, color=BLACK, linewidth=0.8)
    colors = {0: GREY, 1: BLUE, -1: VERMILION}
    for row, sign in enumerate(table["color_index"]):
        value, low, high = (table[name][row] for name in ("value", "low", "high"))
        if abs(value) > table["limit"]:
            edge, side = np.sign(value) * table["limit"], "right" if value > 0 else "left"
            arrow = f"{number_text(value, decimals=0)} →" if value > 0 else f"← {number_text(value, decimals=0)}"
            ax.text(edge, row, arrow, ha=side, va="center", fontsize=SMALL_SIZE, color=colors[int(sign)])
        elif np.isfinite(value):
            ax.plot([low, high], [row, row], color=colors[int(sign)], linewidth=2.0, solid_capstyle="butt")
            ax.plot([value], [row], color=colors[int(sign)], marker="o", markersize=4.5)
    ax.set_xlim(-table["limit"], table["limit"])
    ax.locator_params(axis="x", nbins=4)
    ax.xaxis.set_major_formatter(number_tick_label)


def _differences_panel(metric: Metric) -> Panel:
    unit, _ = DIFFERENCE_UNITS.get(metric.key, ("", 1.0))
    title = metric.column_heading[0].upper() + metric.column_heading[1:] + (f" ({unit})" if unit else "")
    table = partial(competitor_differences_table, metric=metric)
    return Panel(f"race_{metric.key}", title, table, draw_differences, title_padding=16.0)


RACE_DIFFERENCE_PANELS = tuple(map(_differences_panel, race_metrics()))


def race_title_and_text(context: RaceContext) -> tuple[str, str]:
    """Return how many differences are significant, and how they were tested."""
    model, *others = context.entries
    tests = [(entry, test) for entry in others for test in entry.tests.values() if test.adjusted_p_value is not None]
    significant = [(entry, test) for entry, test in tests if test.is_significant and test.difference]
    forecasts = model.competitor.forecasts
    dates = context.run_context.run_data.result.sessions
    n_draws = n_draws_for_tests(len(race_metrics()) * len(others))
    text = (
        f"{len(forecasts.up):,} forecasts and {len(dates):,} sessions, {iso_date(dates[0])} to {iso_date(dates[-1])}, "
        "the same for all. Differences from the config's model by the paired stationary bootstrap, "
        f"{n_draws:,} draws; p values and intervals adjusted for all {len(tests)} tests by Holm's method: the "
        "probability of any false finding is about 5%."
    )
    name = model.competitor.name
    if not significant:
        return f"None of {count_text(len(others), 'competitor')} differs significantly from {name}", text
    better = list(dict.fromkeys(entry.competitor.name for entry, test in significant if _is_better(test)))
    if better:
        return f"Significantly better than {name} in a metric: {', '.join(better)}", text
    n_worse = len({entry.competitor.name for entry, _ in significant})
    return f"No competitor is significantly better than {name}; {n_worse} of {len(others)} are worse", text


def _is_better(test: Any) -> bool:
    return bool(test.metric.better_sign * test.difference.value > 0)


def race_panels(context: RaceContext) -> tuple[PlacedPanel, ...]:
    """Return the panels of the page; p values only where a difference is significant."""
    n_rows = len(context.entries)
    row_height = min(0.026, 0.64 / (3 * n_rows))
    table_height, differences_height = row_height * (n_rows + 1), row_height * (n_rows - 1)
    p_values_height, bottom = row_height * n_rows, 0.16 + differences_height
    has_p_values = any(test.is_significant for entry in context.entries for test in entry.tests.values())
    p_values = PlacedPanel(P_VALUES_PANEL, (0.52, 0.79 - table_height - p_values_height, 0.46, p_values_height))
    n_legend_rows = -(-n_rows // N_LEGEND_COLUMNS)
    growth = replace(growth_by_competitor_panel, title_padding=n_legend_rows * LEGEND_ROW_POINTS + 6.0)
    top = 0.8 - n_legend_rows * LEGEND_ROW_POINTS / PAGE_HEIGHT_POINTS
    cells = grid_rectangles((0.14, 0.06, 0.84, differences_height), 1, len(RACE_DIFFERENCE_PANELS), wspace=0.14)
    return (
        PlacedPanel(growth, (0.042, bottom, 0.44, top - bottom)),
        PlacedPanel(COMPETITORS_PANEL, (0.52, 0.82 - table_height, 0.46, table_height)),
        *((p_values,) if has_p_values else ()),
        *map(PlacedPanel, RACE_DIFFERENCE_PANELS, cells),
    )


def make_race_page(entries: Sequence[RaceEntry]) -> Page:
    """Return the page of a race."""
    return Page(
        "race.png",
        "Race",
        race_title_and_text,
        race_panels,
        "An interval is that of a challenger's difference from the model; where it leaves out 0, the two differ (5%, "
        "adjusted for all tests).",
        make_context=lambda context: RaceContext(context, entries),
    )
