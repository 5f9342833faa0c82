"""The settings of a sweep: how the Sharpe ratio changes over the grid, and how high luck alone would reach."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.patches import Rectangle

from quantlr.report.figures.style import BAND, BLUE, GREY, INK, ORANGE, SMALL, VERMILION, bare, number
from quantlr.report.figures.tables import LOSS_TO_GAIN
from quantlr.types import Array, BoolArray, IntArray

MOST_LABELLED = 16
"""Values of a key whose names have room along one axis."""
MOST_CELLS = 150
"""Cells of a heat map whose numbers have room."""
INSET = 0.06
"""Where the winner's frame lies within its cell."""
LONGEST_LABEL = 22
"""Letters of a value's name."""


@dataclass(frozen=True, slots=True)
class Landscape:
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

    keys: tuple[str, ...]
    labels: tuple[tuple[str, ...], ...]
    place: IntArray
    sharpe: Array
    low: Array
    high: Array
    failed: BoolArray
    winner: int | None
    luck: float | None
    benchmark: float | None


def short(label: str, *, longest: int = LONGEST_LABEL) -> str:
    """Return a value's name in so many letters."""
    return label if len(label) <= longest else f"{label[: longest - 1]}…"


def thresholds(ax: Axes, shown: Landscape, *, named: bool = True) -> None:
    """Draw how high luck alone would reach, and buy and hold."""
    for value, colour, style, name in (
        (shown.luck, VERMILION, "--", "best of luck"),
        (shown.benchmark, ORANGE, "-", "buy and hold"),
    ):
        if value is not None:
            label = f"{name}: {number(value)}" if named else None
            ax.axhline(value, color=colour, linestyle=style, linewidth=1.3, label=label, zorder=1.5)


def one_key(ax: Axes, shown: Landscape) -> None:
    """Draw the ratio of each value of the only key, with its interval."""
    bare(ax)
    place = shown.place[:, 0].astype(float)
    there = ~np.isnan(shown.sharpe)
    ax.vlines(place[there], shown.low[there], shown.high[there], color=BLUE, alpha=0.35, linewidth=_width(shown, 5.0))
    ax.plot(place[there], shown.sharpe[there], "o", color=BLUE, markersize=_width(shown, 6.0), label="95% interval")
    _mark_failed(ax, place[shown.failed])
    if not there.any():
        ax.set_yticks([])
    if shown.winner is not None:
        ax.plot(place[shown.winner], shown.sharpe[shown.winner], "o", color=INK, markersize=11, fillstyle="none",
                markeredgewidth=1.8, label="winner")  # fmt: skip
    thresholds(ax, shown)
    _named(ax, shown.labels[0], along="x")
    ax.set_xlim(-0.6, len(shown.labels[0]) - 0.4)
    ax.set_ylabel("Sharpe ratio a year", fontsize=SMALL, color=INK)
    ax.set_xlabel(shown.keys[0], fontsize=SMALL, color=INK)


def _width(shown: Landscape, most: float) -> float:
    return max(1.2, min(most, 240.0 / max(len(shown.labels[0]), 1)))


def _mark_failed(ax: Axes, place: Array) -> None:
    if len(place):
        ax.plot(place, np.full(len(place), 0.02), "x", color=VERMILION, markersize=6, label="failed",
                transform=ax.get_xaxis_transform(), clip_on=False)  # fmt: skip


def two_keys(ax: Axes, shown: Landscape) -> None:
    """Draw the ratio of each pair of values as a cell: white where it is what luck alone would reach, blue above."""
    rows, columns = len(shown.labels[0]), len(shown.labels[1])
    grid = np.full((rows, columns), np.nan)
    grid[shown.place[:, 0], shown.place[:, 1]] = shown.sharpe
    middle = shown.luck or 0.0
    reach = max(float(np.nanmax(np.abs(grid - middle), initial=0.0)), 0.1)
    ax.imshow(grid, cmap=LOSS_TO_GAIN, norm=TwoSlopeNorm(middle, middle - reach, middle + reach), aspect="auto")
    ax.set_facecolor("#F2F2F2")
    if rows * columns <= MOST_CELLS:
        _numbers(ax, shown, rows=rows)
    for trial in np.flatnonzero(shown.failed).tolist():
        ax.plot(shown.place[trial, 1], shown.place[trial, 0], "x", color=VERMILION, markersize=7)
    if shown.winner is not None:
        row, column = shown.place[shown.winner].tolist()
        corner = (column - 0.5 + INSET, row - 0.5 + INSET)
        ax.add_patch(Rectangle(corner, 1 - 2 * INSET, 1 - 2 * INSET, fill=False, edgecolor=INK, linewidth=2.4))
    _named(ax, shown.labels[0], along="y")
    _named(ax, shown.labels[1], along="x")
    for side in ax.spines.values():
        side.set_visible(False)
    ax.tick_params(length=0, labelsize=SMALL, labelcolor=INK)
    ax.set_ylabel(shown.keys[0], fontsize=SMALL, color=INK)
    ax.set_xlabel(shown.keys[1], fontsize=SMALL, color=INK)


def _numbers(ax: Axes, shown: Landscape, *, rows: int) -> None:
    for (row, column), value, high in zip(shown.place.tolist(), shown.sharpe, shown.high, strict=True):
        if not np.isnan(value):
            around = f"\n±{number(high - value)}" if rows <= 9 else ""
            ax.text(column, row, number(value) + around, ha="center", va="center", fontsize=SMALL, color=INK,
                    linespacing=1.15)  # fmt: skip


def _named(ax: Axes, labels: tuple[str, ...], *, along: str, most: int = MOST_LABELLED, longest: int = 0) -> None:
    """Name the values along an axis: every one, or some of many."""
    step = -(-len(labels) // most)
    places = list(range(0, len(labels), step))
    letters = longest or (LONGEST_LABEL if along == "y" else max(4, min(LONGEST_LABEL, 96 // len(places))))
    names = [_name(labels[at], letters, along=along) for at in places]
    (ax.set_xticks if along == "x" else ax.set_yticks)(places, names)


def _name(label: str, letters: int, *, along: str) -> str:
    """Return a value's name in so many letters, along the horizontal axis on two lines where one is too short."""
    if along == "y" or len(label) <= letters or " " not in label:
        return short(label, longest=letters)
    first, _, rest = label.partition(" ")
    return f"{short(first, longest=letters)}\n{short(rest, longest=letters)}"


@dataclass(frozen=True, slots=True)
class Marginal:
    """The ratios of all trials that share a value of one key, for each of its values.

    Attributes
    ----------
    key : of the grid.
    labels : (values,) names.
    low, middle, high : (values,) 5 %, 50 % and 95 % quantiles of the trials' ratios; NaN where there are none.
    best : (values,) the highest.
    winner : position of the winner's value; None where there is none.
    """

    key: str
    labels: tuple[str, ...]
    low: Array
    middle: Array
    high: Array
    best: Array
    winner: int | None


def marginal(ax: Axes, found: Marginal, shown: Landscape, *, letters: int) -> None:
    """Draw the middle and the spread of the trials of each value, and the best of them."""
    bare(ax)
    place = np.arange(len(found.labels))
    there = ~np.isnan(found.middle)
    width = max(1.2, min(9.0, 90.0 / len(place)))
    ax.vlines(place[there], found.low[there], found.high[there], color=BLUE, alpha=0.35, linewidth=width)
    ax.plot(place[there], found.middle[there], "-o", color=BLUE, markersize=min(5.0, width), linewidth=1.0)
    ax.plot(place[there], found.best[there], "^", color=INK, markersize=min(5.0, width + 1), zorder=3)
    thresholds(ax, shown, named=False)
    if found.winner is not None:
        ax.plot(found.winner, found.best[found.winner], "o", color=INK, markersize=10, fillstyle="none",
                markeredgewidth=1.6)  # fmt: skip
    widest = min(max(map(len, found.labels)), 10) + 2
    most = max(2, letters // widest)
    _named(ax, found.labels, along="x", most=most, longest=max(4, letters // min(most, len(place)) - 1))
    ax.set_xlim(-0.6, len(place) - 0.4)


def ranking(ax: Axes, shown: Landscape) -> None:
    """Draw the ratios of all trials, the highest first, with their intervals and what luck alone would reach."""
    bare(ax)
    if np.isnan(shown.sharpe).all():
        ax.set_yticks([])
        ax.set_xticks([])
        return
    order = np.argsort(-shown.sharpe[~np.isnan(shown.sharpe)], kind="stable")
    values, low, high = (each[~np.isnan(shown.sharpe)][order] for each in (shown.sharpe, shown.low, shown.high))
    rank = np.arange(1, len(values) + 1)
    ax.fill_between(rank, low, high, color=BAND, alpha=0.45, linewidth=0, step="mid", label="95% interval")
    ax.plot(rank, values, color=BLUE, linewidth=1.6, marker="o" if len(values) <= 60 else None, markersize=3)
    thresholds(ax, shown)
    ax.set_xlim(0.5, max(len(values), 1) + 0.5)
    ax.locator_params(axis="x", integer=True, nbins=7)
    ax.set_xlabel("rank among the trials", fontsize=SMALL, color=GREY)
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(handles, labels, loc="lower left", bbox_to_anchor=(0, 0.99), ncols=3, frameon=False, fontsize=SMALL,
              labelcolor=INK, borderaxespad=0.1, handlelength=1.4, columnspacing=1.2)  # fmt: skip
