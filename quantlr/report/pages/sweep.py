"""The page of a sweep: the Sharpe ratio over the grid, the ranked trials, the winner's equity, and the statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from quantlr.core.values import Array, BoolArray, IntArray
from quantlr.report.fonts import fit_text, text_width
from quantlr.report.pages.layout import (
    PAGE_WIDTH_POINTS,
    Panel,
    PlacedPanel,
    Table,
    draw_panels,
    fields_table,
    figure_png,
    grid_rectangles,
    page_figure,
    panel,
    use_matplotlib_defaults,
)
from quantlr.report.style import (
    BAND_STYLE,
    BLACK,
    BLUE,
    CELL_GAP_POINTS,
    GREY,
    LABEL_STYLE,
    LEGEND_ROW_POINTS,
    ORANGE,
    SKY,
    SMALL_SIZE,
    VERMILION,
    Axes,
    TableRow,
    add_legend_above,
    axes_width_points,
    draw_equity_curves,
    draw_loss_gain_image,
    draw_text_table,
    label_rows,
    number_text,
    style_axes,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_MARGINAL_CHARTS = 6
"""Keys that have a chart each; of more, those that change the Sharpe ratio most."""
TITLE_PADDING = LEGEND_ROW_POINTS + 3
MAX_LABELS, MAX_ROW_LABEL_POINTS, X_LABEL_SIZES = 16, 200.0, ((SMALL_SIZE, 1), (7.6, 2), (6.6, 2))
MAX_TOTAL_LABEL_CHARS = 96
"""Characters of all labels along a horizontal axis of the full width."""
TEXT_ROW_HEIGHT = 0.0215
"""Height of a row of text, as a fraction of the page."""


@dataclass(frozen=True, slots=True)
class ParameterSurface:
    """Annual Sharpe ratios over the grid of a sweep.

    Attributes
    ----------
    grid_keys : keys of the config that vary.
    value_labels : for each key, the labels of its values, in the grid's order.
    value_index : (trials, keys) index of each trial's value of each key.
    sharpe, sharpe_low, sharpe_high : (trials,) the ratio and its 95% interval; NaN where undefined.
    failed_mask : (trials,) whether the trial failed.
    winner_index : trial with the highest ratio; None where there is none.
    expected_max_sharpe : of as many trials without skill; None where unknown.
    benchmark_sharpe : of the winner's benchmark; None where unknown.
    benchmark_name : of the trials' benchmark.
    """

    grid_keys: tuple[str, ...]
    value_labels: tuple[tuple[str, ...], ...]
    value_index: IntArray
    sharpe: Array
    sharpe_low: Array
    sharpe_high: Array
    failed_mask: BoolArray
    winner_index: int | None
    expected_max_sharpe: float | None
    benchmark_sharpe: float | None
    benchmark_name: str


@dataclass(frozen=True, slots=True)
class SweepPageContext:
    """The results of a sweep as its page needs them.

    Attributes
    ----------
    title, subtitle, setup_text, notes : of the header.
    surface : the trials.
    marginals : a table for each key, those that change the Sharpe ratio most first. The Sharpe ratios of all trials
        that share a value of the key are `sharpe_q05`, `sharpe_median` and `sharpe_q95`, quantiles, and `best_sharpe`,
        (values,) each, NaN where there are none; `grid_key`, `value_labels` and `winner_index` are the key, the labels
        of its values and the index of the winner's, None where there is none.
    winner_curve : the winner's table, None where there is no winner. `dates` (sessions + 1,) are from the first fill
        on, `winner_equity` and `benchmark_equity` begin at 1, the hold-out included, which begins at `holdout_start`,
        None without one; `summary_text` has the winner's Sharpe ratio before it and in it.
    failure_rows : errors of failed trials as rows of a table, drawn where there is no winner.
    statistics_rows : the statistics of all trials, likewise.
    best_trial_rows : the best trials: values by key, Sharpe ratio and half the width of its interval.
    """

    title: str
    subtitle: str
    setup_text: str
    notes: tuple[str, ...]
    surface: ParameterSurface
    marginals: tuple[Table, ...]
    winner_curve: Table | None
    failure_rows: tuple[TableRow, ...]
    statistics_rows: tuple[TableRow, ...]
    best_trial_rows: tuple[TableRow, ...]


def parameter_surface_table(context: SweepPageContext) -> dict[str, Any]:
    """Return the fields of the `ParameterSurface`, and `center`, the Sharpe ratio that is white on the heat map."""
    expected = context.surface.expected_max_sharpe
    center_text = "0" if expected is None else f"expected maximum under no skill, {number_text(expected)}"
    keys = context.surface.grid_keys
    return fields_table(context.surface, center=expected or 0.0, center_text=center_text, first_key=keys[0])


@panel("Sharpe ratio by {first_key}", parameter_surface_table, TITLE_PADDING)
def sharpe_by_value_panel(ax: Axes, table: Table) -> None:
    """Draw the Sharpe ratio of each value of the only key with its interval."""
    sharpe, positions, labels = table["sharpe"], table["value_index"][:, 0].astype(float), table["value_labels"][0]
    is_known, width = ~np.isnan(sharpe), 240.0 / len(labels)
    low, high = table["sharpe_low"][is_known], table["sharpe_high"][is_known]
    ax.vlines(positions[is_known], low, high, color=BLUE, alpha=0.35, linewidth=float(np.clip(width, 1.2, 5.0)))
    size = float(np.clip(width, 1.2, 6.0))
    ax.plot(positions[is_known], sharpe[is_known], "o", color=BLUE, markersize=size, label="95% interval")
    failed = positions[table["failed_mask"]]
    if len(failed):
        ax.plot(failed, np.full(len(failed), 0.02), "x", color=VERMILION, markersize=6, label="failed",
                transform=ax.get_xaxis_transform(), clip_on=False)  # fmt: skip
    if not is_known.any():
        ax.set_yticks([])
    winner = table["winner_index"]
    if winner is not None:
        ax.plot(positions[winner], sharpe[winner], "o", color=BLACK, markersize=11, fillstyle="none",
                markeredgewidth=1.8, label="winner")  # fmt: skip
    _draw_sharpe_thresholds(ax, table)
    _label_x_values(ax, labels)
    ax.set_xlim(-0.6, len(labels) - 0.4)
    ax.set_ylabel("Sharpe ratio (annualised)", **LABEL_STYLE)
    ax.set_xlabel(table["grid_keys"][0], **LABEL_STYLE)
    add_legend_above(ax, n_columns=5)


def _draw_sharpe_thresholds(ax: Axes, table: Table, *, has_labels: bool = True) -> None:
    """Draw the expected maximum under no skill, and the benchmark."""
    for value, color, style, name in (
        (table["expected_max_sharpe"], VERMILION, "--", "expected maximum under no skill"),
        (table["benchmark_sharpe"], ORANGE, "-", table["benchmark_name"]),
    ):
        if value is not None:
            label = f"{name}: {number_text(value)}" if has_labels else None
            ax.axhline(value, color=color, linestyle=style, linewidth=1.3, label=label, zorder=1.5)


@panel("Sharpe ratio ±95% (annualised)", parameter_surface_table, TITLE_PADDING)
def sharpe_surface_panel(ax: Axes, table: Table) -> None:
    """Draw a heat map, white at the expected maximum under no skill and blue above; the winner is framed.

    Numbers are written in at most 150 cells.
    """
    from matplotlib.patches import Rectangle

    (rows, columns), index, sharpe = table["value_labels"], table["value_index"], table["sharpe"]
    matrix = np.full((len(rows), len(columns)), np.nan)
    matrix[index[:, 0], index[:, 1]] = sharpe
    half_range = max(float(np.nanmax(np.abs(matrix - table["center"]), initial=0.0)), 0.1)
    draw_loss_gain_image(ax, matrix, center=table["center"], half_range=half_range)
    ax.set_facecolor("#F2F2F2")
    if matrix.size <= 150:
        style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": SMALL_SIZE, "linespacing": 1.15}
        for trial in np.flatnonzero(~np.isnan(sharpe)):
            text = number_text(sharpe[trial])
            if len(rows) <= 9:
                text += f"\n±{number_text(table['sharpe_high'][trial] - sharpe[trial])}"
            ax.text(index[trial, 1], index[trial, 0], text, color=BLACK, **style)
    for row, column in index[table["failed_mask"]]:
        ax.plot(column, row, "x", color=VERMILION, markersize=7)
    if table["winner_index"] is not None:
        row, column = index[table["winner_index"]]
        ax.add_patch(Rectangle((column - 0.44, row - 0.44), 0.88, 0.88, fill=False, edgecolor=BLACK, linewidth=2.4))
    ax.text(0.0, 1.015, f"white: {table['center_text']}; frame: winner", transform=ax.transAxes, va="bottom",
            fontsize=SMALL_SIZE, color=BLACK)  # fmt: skip
    labelled_rows = range(0, len(rows), -(-len(rows) // MAX_LABELS))
    label_rows(ax, labelled_rows, [rows[index] for index in labelled_rows], label_width=_row_label_width(rows))
    _label_x_values(ax, columns)
    ax.grid(visible=False)
    ax.spines["bottom"].set_visible(False)
    ax.tick_params(length=0)
    ax.set_ylabel(table["grid_keys"][0], **LABEL_STYLE)
    ax.set_xlabel(table["grid_keys"][1], **LABEL_STYLE)


def _label_x_values(ax: Axes, labels: tuple[str, ...], *, max_labels: int = MAX_LABELS) -> None:
    """Label the values along the horizontal axis: every one, or some of many; long ones take two lines."""
    positions = range(0, len(labels), -(-len(labels) // max_labels))
    room = axes_width_points(ax) / len(positions) - CELL_GAP_POINTS
    fitted = [fit_text(labels[index], max_width=room, sizes=X_LABEL_SIZES) for index in positions]
    ax.set_xticks(positions, [text for text, _ in fitted])
    ax.tick_params(axis="x", labelsize=min((size for _, size in fitted), default=SMALL_SIZE))


def marginals_table(context: SweepPageContext) -> Table:
    """Return `charts`, the marginals of some keys with the thresholds, and their common vertical limits."""
    surface, marginals = context.surface, context.marginals[:MAX_MARGINAL_CHARTS]
    thresholds = {"expected_max_sharpe": surface.expected_max_sharpe, "benchmark_sharpe": surface.benchmark_sharpe}
    low = min(float(np.nanmin(marginal["sharpe_q05"], initial=0.0)) for marginal in marginals)
    high = max(float(np.nanmax(marginal["best_sharpe"], initial=0.0)) for marginal in marginals)
    high = max([high, *(value for value in thresholds.values() if value is not None)])
    margin = 0.08 * max(high - low, 0.1)
    shared = {**thresholds, "benchmark_name": surface.benchmark_name}
    return {"charts": [{**marginal, **shared} for marginal in marginals], "limits": (low - margin, high + margin)}


@panel("Sharpe ratio by key: median, 5% to 95%, best (triangle); ring: winner", marginals_table)
def sharpe_marginals_panel(ax: Axes, table: Table) -> None:
    """Draw a small chart for each key."""
    charts = table["charts"]
    n_columns = 1 if len(charts) == 1 else 2 if len(charts) <= 4 else 3
    n_rows = -(-len(charts) // n_columns)
    ax.set_axis_off()
    cells = grid_rectangles((0.0, 0.0, 1.0, 0.94), n_rows, n_columns, hspace=0.2 + 0.25 * n_rows, wspace=0.14)
    for chart, cell in zip(charts, cells, strict=False):
        chart_ax = ax.inset_axes(cell)
        style_axes(chart_ax)
        _draw_marginal(chart_ax, chart, max_total_label_chars=MAX_TOTAL_LABEL_CHARS // n_columns)
        chart_ax.set_ylim(table["limits"])
        chart_ax.locator_params(axis="y", nbins=5)
        chart_ax.set_title(chart["grid_key"], loc="left", fontsize=SMALL_SIZE, color=BLACK, pad=3)


def _draw_marginal(ax: Axes, table: Table, *, max_total_label_chars: int) -> None:
    """Draw median and 5% to 95% of the trials that share each value, and the best of them."""
    labels, median, best = table["value_labels"], table["sharpe_median"], table["best_sharpe"]
    positions = np.flatnonzero(~np.isnan(median))
    width = float(np.clip(90.0 / len(labels), 1.2, 9.0))
    interval = (table["sharpe_q05"][positions], table["sharpe_q95"][positions])
    ax.vlines(positions, *interval, color=BLUE, alpha=0.35, linewidth=width)
    ax.plot(positions, median[positions], "-o", color=BLUE, markersize=min(5.0, width), linewidth=1.0)
    ax.plot(positions, best[positions], "^", color=BLACK, markersize=min(5.0, width + 1), zorder=3)
    _draw_sharpe_thresholds(ax, table, has_labels=False)
    winner = table["winner_index"]
    if winner is not None:
        style: dict[str, Any] = {"color": BLACK, "markersize": 10, "fillstyle": "none", "markeredgewidth": 1.6}
        ax.plot(winner, best[winner], "o", **style)
    max_labels = max(2, max_total_label_chars // (min(max(map(len, labels)), 10) + 2))
    _label_x_values(ax, labels, max_labels=max_labels)
    ax.set_xlim(-0.6, len(labels) - 0.4)


def trial_ranking_table(context: SweepPageContext) -> Table:
    """Return `sharpe`, `sharpe_low` and `sharpe_high` of the evaluated trials, the highest Sharpe ratio first."""
    surface = context.surface
    order = np.argsort(-surface.sharpe, kind="stable")[: int((~np.isnan(surface.sharpe)).sum())]
    if not len(order):
        return {"message": "No trial could be evaluated."}
    columns = {name: getattr(surface, name)[order] for name in ("sharpe", "sharpe_low", "sharpe_high")}
    return fields_table(surface, **columns)


@panel("Trials ranked by Sharpe ratio (annualised)", trial_ranking_table, 2 * TITLE_PADDING)
def trial_ranking_panel(ax: Axes, table: Table) -> None:
    """Draw the ranked Sharpe ratios over their 95% intervals."""
    sharpe = table["sharpe"]
    ranks = np.arange(1, len(sharpe) + 1)
    ax.fill_between(ranks, table["sharpe_low"], table["sharpe_high"], step="mid", label="95% interval", **BAND_STYLE)
    ax.plot(ranks, sharpe, color=BLUE, linewidth=1.6, marker="o" if len(sharpe) <= 60 else None, markersize=3)
    _draw_sharpe_thresholds(ax, table)
    ax.set_xlim(0.5, len(sharpe) + 0.5)
    ax.locator_params(axis="x", integer=True, nbins=7)
    ax.set_xlabel("rank among the trials", fontsize=SMALL_SIZE, color=GREY)
    add_legend_above(ax, n_columns=2)


@panel("Growth of 1 of the winner (log scale); shaded: hold-out", lambda context: context.winner_curve, TITLE_PADDING)
def winner_growth_panel(ax: Axes, table: Table) -> None:
    """Draw the equity of the winner and of the benchmark, and shade the hold-out."""
    dates, start = table["dates"], table["holdout_start"]
    curves = (
        (dates, table["benchmark_equity"], table["benchmark_name"], {"color": ORANGE, "linewidth": 1.3}),
        (dates, table["winner_equity"], "winner after costs", {"color": BLUE, "linewidth": 1.8}),
    )
    draw_equity_curves(ax, curves, margins=(0.94, 1.25))
    if start is not None:
        ax.axvspan(start, dates[-1], color=SKY, alpha=0.16, linewidth=0)
    ax.text(1.0, 1.035, table["summary_text"], transform=ax.transAxes, ha="right", va="bottom", fontsize=SMALL_SIZE,
            color=BLACK)  # fmt: skip
    add_legend_above(ax, n_columns=2, is_reversed=True)


def _text_table_panel(rows_field: str, column_right_edges: tuple[float, ...], max_rows: int | None = None) -> Panel:
    """Return a panel without title of the rows of text in a field of the context, at most `max_rows`."""
    draw = partial(draw_text_table, column_right_edges=column_right_edges)
    return Panel(rows_field, "", lambda context: {"rows": getattr(context, rows_field)[:max_rows]}, draw)


FAILURES_PANEL = _text_table_panel("failure_rows", ())
STATISTICS_PANEL = _text_table_panel("statistics_rows", (1.0,))


def sweep_panels(context: SweepPageContext) -> list[PlacedPanel]:
    """Return the panels of the page: the grid by one, two or each of several keys; ranking, winner and tables."""
    panels = [_placed_grid_panel(context), PlacedPanel(trial_ranking_panel, (0.655, 0.605, 0.325, 0.165))]
    if context.winner_curve is not None:
        panels.append(PlacedPanel(winner_growth_panel, (0.055, 0.06, 0.525, 0.22)))
    elif context.failure_rows:
        height = TEXT_ROW_HEIGHT * len(context.failure_rows)
        panels.append(PlacedPanel(FAILURES_PANEL, (0.045, 0.31 - height, 0.55, height)))
    height = TEXT_ROW_HEIGHT * len(context.statistics_rows)
    panels.append(PlacedPanel(STATISTICS_PANEL, (0.655, 0.54 - height, 0.325, height)))
    room = 0.54 - height - 0.055
    n_best = min(max(2, int(room / TEXT_ROW_HEIGHT)), len(context.best_trial_rows))
    if n_best:
        best_trials = _text_table_panel("best_trial_rows", (0.88, 1.0), n_best)
        height = TEXT_ROW_HEIGHT * n_best
        panels.append(PlacedPanel(best_trials, (0.655, 0.035 + room - height, 0.325, height)))
    return panels


def _row_label_width(labels: Sequence[str]) -> float:
    """Return the room for the labels of the rows of the heat map, in points."""
    return min(max(text_width(label, font_size=SMALL_SIZE) for label in labels) + 2.0, MAX_ROW_LABEL_POINTS)


def _placed_grid_panel(context: SweepPageContext) -> PlacedPanel:
    surface = context.surface
    if len(surface.grid_keys) == 1:
        return PlacedPanel(sharpe_by_value_panel, (0.055, 0.405, 0.525, 0.395))
    n_cells = len(surface.value_labels[0]) * len(surface.value_labels[1])
    if len(surface.grid_keys) > 2 or len(surface.sharpe) < 0.5 * n_cells:
        return PlacedPanel(sharpe_marginals_panel, (0.045, 0.395, 0.535, 0.425))
    left = 0.055 + _row_label_width(surface.value_labels[0]) / PAGE_WIDTH_POINTS
    return PlacedPanel(sharpe_surface_panel, (left, 0.405, 0.58 - left, 0.395))


def sweep_figure(context: SweepPageContext) -> Figure:
    """Return the page of a sweep as a figure."""
    figure = page_figure(
        context.title, context.subtitle, setup_text=context.setup_text, notes=context.notes, notes_file="sweep.json"
    )
    draw_panels(figure, sweep_panels(context), context)
    note = "Sharpe ratios are of net returns in excess of cash; intervals by Lo (2002)."
    figure.text(0.655, 0.014, note, fontsize=7.5, color=GREY, va="center")
    return figure


def sweep_page_png(context: SweepPageContext) -> bytes:
    """Return the page of a sweep as PNG bytes, the same for the same sweep."""
    with use_matplotlib_defaults():
        return figure_png(sweep_figure(context))
