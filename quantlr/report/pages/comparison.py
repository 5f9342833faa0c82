"""The page that compares several runs: growth of 1, metrics, differing settings, and paired differences."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from quantlr.backtest.drawdowns import drawdown_series
from quantlr.core.timing import iso_date
from quantlr.core.values import Array
from quantlr.report.fonts import fit_text, text_width
from quantlr.report.pages.layout import (
    PAGE_WIDTH_POINTS,
    Panel,
    PlacedPanel,
    Table,
    draw_panels,
    figure_png,
    page_figure,
    panel,
    use_matplotlib_defaults,
)
from quantlr.report.pairs import (
    MetricTest,
    RunPair,
    compared_metrics,
    metric_cell_texts,
    signed_number_text,
)
from quantlr.report.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    LIGHT_GREY,
    ORANGE,
    PURPLE,
    SKY,
    SMALL_SIZE,
    SUBTITLE_SIZES,
    VERMILION,
    Axes,
    axes_width_points,
    draw_loss_gain_image,
    format_category_rows,
    format_log_axis,
    number_tick_label,
    set_percent_ticks,
    shorten_middle,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from quantlr.report.compare import Comparison

RUN_COLORS = (BLUE, VERMILION, GREEN, PURPLE, SKY, ORANGE)
RUN_LINE_STYLES = ("-", (0, (4, 1.5)))
RUN_LETTERS = "ABCDEFGHIJKL"
"""Names of the runs where their own are too long."""
MAX_FOREST_PAIRS = 11
"""Pairs that are drawn as rows with intervals; more are a matrix."""
MAX_SETTING_VALUE_CHARS = 28
RUN_NAME_LEFT, METRIC_COLUMNS_LEFT = 0.08, 0.28
"""Where the names of the runs and the columns of metrics begin, as fractions of the table's width."""
TABLE_WIDTH, COLUMN_GAP_POINTS = 0.445, 9.0
"""Width of the table of metrics, as a fraction of the page, and room between its columns."""
MAX_SETTING_LINES_ABOVE_CHART, MIN_CHART_HEIGHT = 7, 0.24
"""Lines of settings that leave room for a chart below them, and the room that it needs with its title."""
LINE_HEIGHT = 0.0215
"""Height of a line of text, as a fraction of the page."""
MATRIX_CAPTION = (
    "Framed: significant after Holm's adjustment. Blue: the run of the row is better. compare.json has the intervals, "
    "the p values and a sentence for each pair."
)


def run_line_style(run_index: int) -> dict[str, Any]:
    """Return colour and dashes of a run's line; twelve runs are distinct."""
    style, color = divmod(run_index, len(RUN_COLORS))
    return {"color": RUN_COLORS[color], "linestyle": RUN_LINE_STYLES[style]}


def equity_by_run_table(comparison: Comparison) -> Table:
    """Return the growth of 1 after costs (sessions, runs), the benchmark (sessions,) or None, and drawdowns <= 0."""
    equity = comparison.equity
    return {
        "dates": comparison.dates,
        "equity": equity,
        "benchmark": comparison.benchmark_equity,
        "drawdown": np.stack([drawdown_series(column) for column in equity.T], axis=1),
        "benchmark_name": comparison.benchmark_name,
        "remark": f"; grey: {comparison.benchmark_name}" if comparison.benchmark_equity is not None else "",
    }


@panel("Growth of 1 after costs (log scale){remark}", equity_by_run_table)
def equity_by_run_panel(ax: Axes, table: Table) -> None:
    """Draw each run's equity on a log scale, with the benchmark in grey."""
    dates, equity, benchmark = table["dates"], table["equity"], table["benchmark"]
    if benchmark is not None:
        positive = np.where(benchmark > 0, benchmark, np.nan)
        ax.plot(dates, positive, color=GREY, linewidth=1.0, label=table["benchmark_name"])
    _draw_run_lines(ax, dates, np.where(equity > 0, equity, np.nan), 1.2)
    format_log_axis(ax, equity.ravel() if benchmark is None else np.append(equity, benchmark))


@panel("Drawdown", equity_by_run_table)
def drawdown_by_run_panel(ax: Axes, table: Table) -> None:
    """Draw each run's drawdown."""
    _draw_run_lines(ax, table["dates"], table["drawdown"], 0.9)
    ax.set_ylim(min(float(table["drawdown"].min()), -0.01) * 1.08, 0.0)
    set_percent_ticks(ax.yaxis, max_intervals=4)


def equity_relative_to_first_table(comparison: Comparison) -> Table:
    """Return the equity of each run divided by that of the first: `relative_equity` (sessions, runs)."""
    return {"dates": comparison.dates, "relative_equity": comparison.equity / comparison.equity[:, :1]}


@panel("Equity relative to run A (log scale)", equity_relative_to_first_table)
def relative_equity_panel(ax: Axes, table: Table) -> None:
    """Draw each run's equity relative to the first run's, on a log scale."""
    _draw_run_lines(ax, table["dates"], table["relative_equity"], 1.2)
    format_log_axis(ax, table["relative_equity"].ravel())


def _draw_run_lines(ax: Axes, dates: pd.DatetimeIndex, values: Array, linewidth: float) -> None:
    for run, column in enumerate(values.T):
        ax.plot(dates, column, linewidth=linewidth, label=RUN_LETTERS[run], **run_line_style(run))


def metrics_by_run_table(comparison: Comparison) -> Table:
    """Return `rows` of letter, name and metrics, one for each run and one for the baseline, and their `columns`.

    The columns are right-aligned at `column_right_edges`, in proportion to the length of their longest text; `scale` is
    below 1 where there are too many for the usual size of text.
    """
    metrics = compared_metrics()
    rows = [
        (letter, name, *metric_cell_texts(values, metrics))
        for letter, name, values in zip(RUN_LETTERS, comparison.run_names, comparison.metrics_by_run, strict=False)
    ]
    if comparison.baseline_name:
        rows.append(("", comparison.baseline_name, *metric_cell_texts(comparison.baseline_metrics, metrics)))
    columns = [metric.column_heading for metric in metrics]
    cells_by_column = zip(columns, *(cells for _, _, *cells in rows), strict=True)
    size = SMALL_SIZE + 0.3
    widths = np.cumsum([COLUMN_GAP_POINTS + max(text_width(cell, font_size=size) for cell in cells)
                        for cells in cells_by_column])  # fmt: skip
    edges = METRIC_COLUMNS_LEFT + (1.0 - METRIC_COLUMNS_LEFT) * widths / widths[-1]
    scale = min(1.0, (1.0 - METRIC_COLUMNS_LEFT) * TABLE_WIDTH * PAGE_WIDTH_POINTS / float(widths[-1]))
    return {"columns": columns, "rows": rows, "column_right_edges": edges, "scale": scale}


@panel("Metrics over the common sessions and forecasts (annual)", metrics_by_run_table, 8.0)
def metrics_by_run_panel(ax: Axes, table: Table) -> None:
    """Draw a row per run: a sample of its line, letter, name and right-aligned cells."""
    rows = table["rows"]
    ax.set_axis_off()
    ax.set(xlim=(0, 1), ylim=(len(rows) + 1, 0))
    style: dict[str, Any] = {"va": "center", "fontsize": SMALL_SIZE + 0.3, "color": BLACK}
    for edge, text in zip(table["column_right_edges"], table["columns"], strict=True):
        ax.text(edge, 0.5, text, ha="right", va="center", fontsize=SMALL_SIZE * table["scale"], color=GREY)
    ax.axhline(0.97, color=GREY, linewidth=0.8)
    for index, (letter, name, *cells) in enumerate(rows):
        middle = index + 1.5
        ax.plot([0.0, 0.035], [middle] * 2, linewidth=1.8, **(run_line_style(index) if letter else {"color": GREY}))
        ax.text(0.05, middle, letter, fontweight="bold", **style)
        name_width = (METRIC_COLUMNS_LEFT - RUN_NAME_LEFT) * axes_width_points(ax)
        text, size = fit_text(name, max_width=name_width, sizes=((SMALL_SIZE + 0.3, 1), (7.6, 1), (6.8, 1)))
        ax.text(RUN_NAME_LEFT, middle, text, parse_math=False, **(style | {"fontsize": size}))
        for edge, cell in zip(table["column_right_edges"], cells, strict=True):
            ax.text(edge, middle, cell, ha="right", **(style | {"fontsize": (SMALL_SIZE + 0.3) * table["scale"]}))


def differing_settings_table(comparison: Comparison) -> dict[str, list[str]]:
    """Return `lines` of text, one per key of the config that differs, with each value and the runs that have it."""
    lines = []
    for key, values_by_run in comparison.config_differences.items():
        letters_by_value: dict[str, str] = {}
        for letter, value in zip(RUN_LETTERS, values_by_run, strict=False):
            text = "none" if value is None else shorten_middle(value, MAX_SETTING_VALUE_CHARS)
            letters_by_value[text] = letters_by_value.get(text, "") + letter
        values = (f"{letters}: {text}" for text, letters in letters_by_value.items())
        lines.append("   ".join([key, *values]))
    return {"lines": lines or ["none: the configs are equal"]}


@panel("Settings that differ", differing_settings_table, 4.0)
def settings_panel(ax: Axes, table: Table) -> None:
    """Write as many lines as fit, and how many others there are."""
    lines, n_rows = table["lines"], max(round(ax.get_position().height / LINE_HEIGHT), 1)
    if len(lines) > n_rows:
        lines = [*lines[: n_rows - 1], f"and {len(lines) - n_rows + 1} more, in compare.json"]
    ax.set_axis_off()
    ax.set_ylim(n_rows, 0)
    for row, line in enumerate(lines):
        text, size = fit_text(line, max_width=axes_width_points(ax), sizes=SUBTITLE_SIZES)
        ax.text(0, row + 0.5, text, fontsize=size, color=BLACK, va="center", parse_math=False)


def metric_difference_table(comparison: Comparison, *, key: Literal["sharpe", "log_loss"], factor: float) -> Table:
    """Return the differences of a metric between the runs of each pair, times `factor`, as arrays (pairs,).

    `value`, `low` and `high` of the adjusted interval are NaN where there is none; `first` and `second` are the indices
    of the runs, `significant_mask` is by adjusted p value; `better_sign` is 1 where a higher value is better, -1 where
    a lower one is.
    """
    tests: list[MetricTest] = [getattr(pair, key) for pair in comparison.pairs]
    first, second = np.array([(pair.first_index, pair.second_index) for pair in comparison.pairs]).T
    intervals = np.array(
        [
            (test.difference.value, *test.adjusted_interval)
            if test.difference and test.adjusted_interval
            else (np.nan,) * 3
            for test in tests
        ]
    )
    return {
        "first": first,
        "second": second,
        **dict(zip(("value", "low", "high"), factor * intervals.T, strict=True)),
        "texts": [test.difference_text(decimals=2, factor=factor) for test in tests],
        "significant_mask": np.array([test.is_significant for test in tests], dtype=np.bool_),
        "better_sign": tests[0].metric.better_sign,
        "caption": MATRIX_CAPTION if key == "sharpe" else "",
    }


def draw_forest_plot(ax: Axes, table: Table) -> None:
    """Draw a row per pair: the difference with its interval around 0, and its text at the right (a forest plot)."""
    is_known = ~np.isnan(table["value"])
    labels = [f"{RUN_LETTERS[b]} − {RUN_LETTERS[a]}" for a, b in zip(table["first"], table["second"], strict=True)]
    format_category_rows(ax, labels)
    ax.grid(visible=False)
    ax.axvline(0.0, color=GREY, linewidth=0.9)
    for row, (value, low, high) in enumerate(zip(table["value"], table["low"], table["high"], strict=True)):
        is_significant = table["significant_mask"][row]
        ax.axhline(row, color=LIGHT_GREY, linewidth=0.7, zorder=0)
        ax.text(1.02, row, table["texts"][row], transform=ax.get_yaxis_transform(), va="center", fontsize=SMALL_SIZE,
                color=BLACK, fontweight="bold" if is_significant else "normal")  # fmt: skip
        if is_known[row]:
            color = BLUE if is_significant else GREY
            ax.plot([low, high], [row, row], color=color, linewidth=2.2, solid_capstyle="butt")
            ax.plot([value], [row], color=color, marker="o", markersize=5)
    if not is_known.any():
        ax.set_xticks([])
        return
    limit = 1.08 * float(np.nanmax(np.abs([table["low"], table["high"]]))) or 1.0
    ax.set_xlim(-limit, limit)
    ax.locator_params(axis="x", nbins=5)
    ax.xaxis.set_major_formatter(number_tick_label)


def draw_difference_matrix(ax: Axes, table: Table) -> None:
    """Write the run of the row minus that of the column in the lower triangle; significant ones are framed."""
    first, second, value = table["first"], table["second"], table["value"]
    n_runs = int(second.max()) + 1
    matrix = np.full((n_runs, n_runs), np.nan)
    matrix[second, first] = table["better_sign"] * value
    half_range = float(np.abs(value[~np.isnan(value)]).max(initial=0.0)) or 1.0
    draw_loss_gain_image(ax, matrix, half_range=half_range)
    for row, column, number, is_significant in zip(second, first, value, table["significant_mask"], strict=True):
        text = "–" if np.isnan(number) else signed_number_text(float(number), decimals=2)
        weight = "bold" if is_significant else "normal"
        ax.text(column, row, text, ha="center", va="center", fontsize=7.2, color=BLACK, fontweight=weight)
        if is_significant:
            x, y = np.array([[-1, 1, 1, -1, -1], [-1, -1, 1, 1, -1]]) * [[0.47], [0.45]]
            ax.plot(column + x, row + y, color=BLACK, linewidth=1.2)
    ax.set(xlim=(-0.5, n_runs - 1.5), ylim=(n_runs - 0.5, 0.5))
    ax.set_xticks(range(n_runs - 1), RUN_LETTERS[: n_runs - 1])
    ax.set_yticks(range(1, n_runs), RUN_LETTERS[1:n_runs])
    ax.grid(visible=False)
    ax.spines["bottom"].set_visible(False)
    ax.tick_params(axis="x", length=0)
    ax.set_xlabel(table.get("caption", ""), fontsize=SMALL_SIZE, color=GREY, loc="left")


SHARPE_TITLE, LOG_LOSS_TITLE = "Difference of annual Sharpe ratios", "Difference of log losses (thousandths of a nat)"
sharpe_difference_table = partial(metric_difference_table, key="sharpe", factor=1.0)
log_loss_difference_table = partial(metric_difference_table, key="log_loss", factor=1000.0)
SHARPE_DIFFERENCES_PANEL = Panel("sharpe_differences", SHARPE_TITLE, sharpe_difference_table, draw_forest_plot)
LOG_LOSS_DIFFERENCES_PANEL = Panel("log_loss_differences", LOG_LOSS_TITLE, log_loss_difference_table, draw_forest_plot)
SHARPE_MATRIX_PANEL = Panel(
    "sharpe_matrix", f"{SHARPE_TITLE}, row − column", sharpe_difference_table, draw_difference_matrix
)
LOG_LOSS_MATRIX_PANEL = Panel(
    "log_loss_matrix", f"{LOG_LOSS_TITLE}, row − column", log_loss_difference_table, draw_difference_matrix
)


def comparison_panels(comparison: Comparison) -> list[PlacedPanel]:
    """Return the panels of the page; differences are rows below the curves, or two matrices for many pairs."""
    has_many_pairs = len(comparison.pairs) > MAX_FOREST_PAIRS
    floor = 0.4 if has_many_pairs else 0.115 + 0.026 * len(comparison.pairs)
    mean_height = (0.78 - floor) / 2.19
    equity_height = 1.375 * mean_height
    table_height = LINE_HEIGHT * (len(metrics_by_run_table(comparison)["rows"]) + 1)
    top = 0.81 - LINE_HEIGHT * (len(comparison.run_names) + 2) - 0.03
    n_rows, n_lines = max(int((top - floor) / LINE_HEIGHT), 1), len(differing_settings_table(comparison)["lines"])
    if n_lines > MAX_SETTING_LINES_ABOVE_CHART:
        has_room = top - floor - LINE_HEIGHT * MAX_SETTING_LINES_ABOVE_CHART >= MIN_CHART_HEIGHT
        n_rows = MAX_SETTING_LINES_ABOVE_CHART if has_room else n_rows
    n_rows = min(n_rows, n_lines)
    panels = [
        PlacedPanel(equity_by_run_panel, (0.042, 0.81 - equity_height, 0.458, equity_height), has_x_labels=False),
        PlacedPanel(drawdown_by_run_panel, (0.042, floor + 0.03, 0.458, 0.625 * mean_height)),
        PlacedPanel(metrics_by_run_panel, (0.535, 0.81 - table_height, TABLE_WIDTH, table_height)),
        PlacedPanel(settings_panel, (0.535, top - LINE_HEIGHT * (n_rows + 0.5), 0.445, LINE_HEIGHT * n_rows)),
    ]
    chart_top = top - LINE_HEIGHT * (n_rows + 1) - 0.045
    has_equity = len(comparison.dates) > 1 and bool((comparison.equity > 0).all())
    if has_equity and chart_top - floor >= MIN_CHART_HEIGHT - 0.07:
        panels.append(PlacedPanel(relative_equity_panel, (0.565, floor + 0.03, 0.415, chart_top - floor - 0.03)))
    if has_many_pairs:
        panels.append(PlacedPanel(SHARPE_MATRIX_PANEL, (0.042, 0.05, 0.43, floor - 0.1)))
        panels.append(PlacedPanel(LOG_LOSS_MATRIX_PANEL, (0.55, 0.05, 0.43, floor - 0.1)))
    else:
        panels.append(PlacedPanel(SHARPE_DIFFERENCES_PANEL, (0.065, 0.04, 0.17, floor - 0.085)))
        panels.append(PlacedPanel(LOG_LOSS_DIFFERENCES_PANEL, (0.56, 0.04, 0.17, floor - 0.085)))
    return panels


def comparison_figure(comparison: Comparison) -> Figure:
    """Return the page as a figure."""
    subject = "each run minus run A" if comparison.has_baseline_run else "the second run minus the first"
    method = (
        f"Differences are {subject}, significant where the Holm-adjusted p value is below 0.05; a lower log loss is "
        "better."
    )
    title, subtitle, notes = comparison_title(comparison), _bootstrap_method_text(comparison), comparison.caveats
    figure = page_figure(title, subtitle, setup_text=method, notes=notes, notes_file="compare.json")
    draw_panels(figure, comparison_panels(comparison), comparison)
    return figure


def comparison_page_png(comparison: Comparison) -> bytes:
    """Return the page as PNG bytes, the same for the same runs."""
    with use_matplotlib_defaults():
        return figure_png(comparison_figure(comparison))


def comparison_title(comparison: Comparison) -> str:
    """Return the finding of the comparison."""
    if all(test.is_identical for pair in comparison.pairs for test in pair.metric_tests):
        return "The runs are the same"
    if not comparison.n_tests:
        return "No difference could be tested"
    findings = [finding for pair in comparison.pairs for finding in _significant_finding_texts(pair)]
    if len(findings) == 1:
        return f"{findings[0]}, significantly"
    tests = [test for pair in comparison.pairs for test in pair.metric_tests if test.adjusted_p_value is not None]
    metrics = " and ".join(dict.fromkeys(test.metric.name for test in tests))
    if comparison.n_tests == 1:
        return f"The difference of {metrics} is not significant"
    return f"{len(findings) or 'None'} of {comparison.n_tests} differences of {metrics} significant"


def _significant_finding_texts(pair: RunPair) -> list[str]:
    first, second = RUN_LETTERS[pair.first_index], RUN_LETTERS[pair.second_index]
    findings = []
    for test in pair.metric_tests:
        if test.is_significant and test.difference:
            sign = test.metric.better_sign
            better, worse = (second, first) if sign * test.difference.value > 0 else (first, second)
            findings.append(f"{better} has a {'higher' if sign > 0 else 'lower'} {test.metric.name} than {worse}")
    return findings


def _bootstrap_method_text(comparison: Comparison) -> str:
    dates = comparison.dates
    sessions = f"{len(dates):,} common sessions, {iso_date(dates[0])} to {iso_date(dates[-1])}"
    if not comparison.n_tests:
        return f"Over {sessions}."
    parts = []
    for index, sample in enumerate((sessions, f"{comparison.n_common_forecasts:,} common forecasts")):
        differences = [pair.metric_tests[index].difference for pair in comparison.pairs]
        lengths = sorted({difference.block_length for difference in differences if difference})
        if lengths:
            range_text = " to ".join(f"{length:g}" for length in dict.fromkeys([lengths[0], lengths[-1]]))
            parts.append(f"over {sample}, mean block length {range_text}")
    levels = "The interval is 95%: a false finding has a probability of about 5%."
    if comparison.n_tests > 1:
        levels = (
            f"P values and intervals are adjusted by Holm's method for all {comparison.n_tests} tests: the "
            "probability of any false finding is about 5%, and an interval contains 0 where its difference is not "
            "significant."
        )
    return f"Paired stationary bootstrap, {comparison.n_bootstrap_draws:,} draws: {'; '.join(parts)}. {levels}"
