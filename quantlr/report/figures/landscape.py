"""The settings of a sweep: how the Sharpe ratio changes over the grid, and how high luck alone would reach."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.patches import Rectangle

from quantlr.core.arrays import Array, BoolArray, IntArray
from quantlr.report.style import BAND_GREY, BLACK, BLUE, GREY, ORANGE, SMALL_SIZE, VERMILION, number_text, style_axes
from quantlr.report.tables import LOSS_GAIN_COLORMAP

MAX_AXIS_LABELS = 16
"""Values of a key whose names have room along one axis."""
MAX_ANNOTATED_CELLS = 150
"""Cells of a heat map whose numbers have room."""
WINNER_FRAME_INSET = 0.06
"""Where the winner's frame lies within its cell."""
MAX_LABEL_CHARS = 22
"""Letters of a value's name."""


@dataclass(frozen=True, slots=True)
class ParameterSurface:
    """Sharpe ratios per year over a grid.

    Attributes
    ----------
    keys : of the grid.
    labels : (keys,) names of each key's values, in the grid's order.
    place : (trials, keys) which value of each key a trial has.
    sharpe, low, high : (trials,) the ratio and its 95 % interval; NaN where undefined.
    failed : (trials,) whether it failed.
    winner : position of the highest ratio; None where there is none.
    luck : what the best of so many trials without skill is expected to show; None where unknown.
    benchmark : buy and hold's, of the winner's tickers; None where unknown.
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


def shorten_end(text: str, *, max_chars: int = MAX_LABEL_CHARS) -> str:
    """Return a value's name in so many letters."""
    return text if len(text) <= max_chars else f"{text[: max_chars - 1]}…"


def draw_sharpe_thresholds(ax: Axes, surface: ParameterSurface, *, with_labels: bool = True) -> None:
    """Draw how high luck alone would reach, and buy and hold."""
    for value, colour, style, name in (
        (surface.expected_max_sharpe, VERMILION, "--", "best of luck"),
        (surface.benchmark_sharpe, ORANGE, "-", "buy and hold"),
    ):
        if value is not None:
            label = f"{name}: {number_text(value)}" if with_labels else None
            ax.axhline(value, color=colour, linestyle=style, linewidth=1.3, label=label, zorder=1.5)


def draw_sharpe_by_one_key(ax: Axes, surface: ParameterSurface) -> None:
    """Draw the ratio of each value of the only key, with its interval."""
    style_axes(ax)
    place = surface.value_index[:, 0].astype(float)
    there = ~np.isnan(surface.sharpe)
    ax.vlines(
        place[there],
        surface.sharpe_low[there],
        surface.sharpe_high[there],
        color=BLUE,
        alpha=0.35,
        linewidth=_capped_line_width(surface, 5.0),
    )
    ax.plot(
        place[there],
        surface.sharpe[there],
        "o",
        color=BLUE,
        markersize=_capped_line_width(surface, 6.0),
        label="95% interval",
    )
    _mark_failed_trials(ax, place[surface.failed_mask])
    if not there.any():
        ax.set_yticks([])
    if surface.winner_index is not None:
        ax.plot(place[surface.winner_index], surface.sharpe[surface.winner_index], "o", color=BLACK, markersize=11, fillstyle="none",
                markeredgewidth=1.8, label="winner")  # fmt: skip
    draw_sharpe_thresholds(ax, surface)
    _set_value_tick_labels(ax, surface.value_labels[0], axis_name="x")
    ax.set_xlim(-0.6, len(surface.value_labels[0]) - 0.4)
    ax.set_ylabel("Sharpe ratio a year", fontsize=SMALL_SIZE, color=BLACK)
    ax.set_xlabel(surface.grid_keys[0], fontsize=SMALL_SIZE, color=BLACK)


def _capped_line_width(surface: ParameterSurface, max_width: float) -> float:
    return max(1.2, min(max_width, 240.0 / max(len(surface.value_labels[0]), 1)))


def _mark_failed_trials(ax: Axes, x_positions: Array) -> None:
    if len(x_positions):
        ax.plot(x_positions, np.full(len(x_positions), 0.02), "x", color=VERMILION, markersize=6, label="failed",
                transform=ax.get_xaxis_transform(), clip_on=False)  # fmt: skip


def draw_sharpe_by_two_keys(ax: Axes, surface: ParameterSurface) -> None:
    """Draw the ratio of each pair of values as a cell: white where it is what luck alone would reach, blue above."""
    rows, columns = len(surface.value_labels[0]), len(surface.value_labels[1])
    grid = np.full((rows, columns), np.nan)
    grid[surface.value_index[:, 0], surface.value_index[:, 1]] = surface.sharpe
    middle = surface.expected_max_sharpe or 0.0
    reach = max(float(np.nanmax(np.abs(grid - middle), initial=0.0)), 0.1)
    ax.imshow(grid, cmap=LOSS_GAIN_COLORMAP, norm=TwoSlopeNorm(middle, middle - reach, middle + reach), aspect="auto")
    ax.set_facecolor("#F2F2F2")
    if rows * columns <= MAX_ANNOTATED_CELLS:
        _draw_cell_texts(ax, surface, n_rows=rows)
    for trial in np.flatnonzero(surface.failed_mask).tolist():
        ax.plot(surface.value_index[trial, 1], surface.value_index[trial, 0], "x", color=VERMILION, markersize=7)
    if surface.winner_index is not None:
        row, column = surface.value_index[surface.winner_index].tolist()
        corner = (column - 0.5 + WINNER_FRAME_INSET, row - 0.5 + WINNER_FRAME_INSET)
        ax.add_patch(
            Rectangle(
                corner,
                1 - 2 * WINNER_FRAME_INSET,
                1 - 2 * WINNER_FRAME_INSET,
                fill=False,
                edgecolor=BLACK,
                linewidth=2.4,
            )
        )
    _set_value_tick_labels(ax, surface.value_labels[0], axis_name="y")
    _set_value_tick_labels(ax, surface.value_labels[1], axis_name="x")
    for side in ax.spines.values():
        side.set_visible(False)
    ax.tick_params(length=0, labelsize=SMALL_SIZE, labelcolor=BLACK)
    ax.set_ylabel(surface.grid_keys[0], fontsize=SMALL_SIZE, color=BLACK)
    ax.set_xlabel(surface.grid_keys[1], fontsize=SMALL_SIZE, color=BLACK)


def _draw_cell_texts(ax: Axes, surface: ParameterSurface, *, n_rows: int) -> None:
    for (row, column), value, high in zip(
        surface.value_index.tolist(), surface.sharpe, surface.sharpe_high, strict=True
    ):
        if not np.isnan(value):
            around = f"\n±{number_text(high - value)}" if n_rows <= 9 else ""
            ax.text(column, row, number_text(value) + around, ha="center", va="center", fontsize=SMALL_SIZE, color=BLACK,
                    linespacing=1.15)  # fmt: skip


def _set_value_tick_labels(
    ax: Axes, labels: tuple[str, ...], *, axis_name: str, max_labels: int = MAX_AXIS_LABELS, max_chars: int = 0
) -> None:
    """Name the values along an axis: every one, or some of many."""
    step = -(-len(labels) // max_labels)
    places = list(range(0, len(labels), step))
    letters = max_chars or (MAX_LABEL_CHARS if axis_name == "y" else max(4, min(MAX_LABEL_CHARS, 96 // len(places))))
    names = [_fit_tick_label(labels[at], letters, axis_name=axis_name) for at in places]
    (ax.set_xticks if axis_name == "x" else ax.set_yticks)(places, names)


def _fit_tick_label(label: str, max_chars: int, *, axis_name: str) -> str:
    """Return a value's name in so many letters, along the horizontal axis on two lines where one is too short."""
    if axis_name == "y" or len(label) <= max_chars or " " not in label:
        return shorten_end(label, max_chars=max_chars)
    first, _, rest = label.partition(" ")
    return f"{shorten_end(first, max_chars=max_chars)}\n{shorten_end(rest, max_chars=max_chars)}"


@dataclass(frozen=True, slots=True)
class ParameterMarginal:
    """The ratios of all trials that share a value of one key, for each of its values.

    Attributes
    ----------
    key : of the grid.
    labels : (values,) names.
    low, middle, high : (values,) 5 %, 50 % and 95 % quantiles of the trials' ratios; NaN where there are none.
    best : (values,) the highest.
    winner : position of the winner's value; None where there is none.
    """

    grid_key: str
    value_labels: tuple[str, ...]
    sharpe_q05: Array
    sharpe_median: Array
    sharpe_q95: Array
    best_sharpe: Array
    winner_index: int | None


def draw_parameter_marginal(
    ax: Axes, marginal: ParameterMarginal, surface: ParameterSurface, *, max_total_label_chars: int
) -> None:
    """Draw the middle and the spread of the trials of each value, and the best of them."""
    style_axes(ax)
    place = np.arange(len(marginal.value_labels))
    there = ~np.isnan(marginal.sharpe_median)
    width = max(1.2, min(9.0, 90.0 / len(place)))
    ax.vlines(
        place[there], marginal.sharpe_q05[there], marginal.sharpe_q95[there], color=BLUE, alpha=0.35, linewidth=width
    )
    ax.plot(place[there], marginal.sharpe_median[there], "-o", color=BLUE, markersize=min(5.0, width), linewidth=1.0)
    ax.plot(place[there], marginal.best_sharpe[there], "^", color=BLACK, markersize=min(5.0, width + 1), zorder=3)
    draw_sharpe_thresholds(ax, surface, with_labels=False)
    if marginal.winner_index is not None:
        ax.plot(marginal.winner_index, marginal.best_sharpe[marginal.winner_index], "o", color=BLACK, markersize=10, fillstyle="none",
                markeredgewidth=1.6)  # fmt: skip
    widest = min(max(map(len, marginal.value_labels)), 10) + 2
    most = max(2, max_total_label_chars // widest)
    _set_value_tick_labels(
        ax,
        marginal.value_labels,
        axis_name="x",
        max_labels=most,
        max_chars=max(4, max_total_label_chars // min(most, len(place)) - 1),
    )
    ax.set_xlim(-0.6, len(place) - 0.4)


def draw_trial_ranking(ax: Axes, surface: ParameterSurface) -> None:
    """Draw the ratios of all trials, the highest first, with their intervals and what luck alone would reach."""
    style_axes(ax)
    if np.isnan(surface.sharpe).all():
        ax.set_yticks([])
        ax.set_xticks([])
        return
    order = np.argsort(-surface.sharpe[~np.isnan(surface.sharpe)], kind="stable")
    values, low, high = (
        each[~np.isnan(surface.sharpe)][order] for each in (surface.sharpe, surface.sharpe_low, surface.sharpe_high)
    )
    rank = np.arange(1, len(values) + 1)
    ax.fill_between(rank, low, high, color=BAND_GREY, alpha=0.45, linewidth=0, step="mid", label="95% interval")
    ax.plot(rank, values, color=BLUE, linewidth=1.6, marker="o" if len(values) <= 60 else None, markersize=3)
    draw_sharpe_thresholds(ax, surface)
    ax.set_xlim(0.5, max(len(values), 1) + 0.5)
    ax.locator_params(axis="x", integer=True, nbins=7)
    ax.set_xlabel("rank among the trials", fontsize=SMALL_SIZE, color=GREY)
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(handles, labels, loc="lower left", bbox_to_anchor=(0, 0.99), ncols=3, frameon=False, fontsize=SMALL_SIZE,
              labelcolor=BLACK, borderaxespad=0.1, handlelength=1.4, columnspacing=1.2)  # fmt: skip
