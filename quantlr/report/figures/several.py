"""Several runs on the same axes, and how far each stands from each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.dates import date2num
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from quantlr.core.arrays import Array, BoolArray
from quantlr.report.curves import MIN_PLOTTED_EQUITY
from quantlr.report.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    LIGHT_GREY,
    MINUS_SIGN,
    ORANGE,
    PURPLE,
    SKY,
    SMALL_SIZE,
    VERMILION,
    nice_ticks,
    percent_formatter,
)
from quantlr.report.tables import LOSS_GAIN_COLORMAP

RUN_COLORS = (BLUE, VERMILION, GREEN, PURPLE, SKY, ORANGE)
RUN_LINE_STYLES = ("-", (0, (4, 1.5)))
RUN_LETTERS = "ABCDEFGHIJKL"
"""What runs are called on a page, where their names are too long."""


@dataclass(frozen=True, slots=True)
class DifferenceInterval:
    """One difference with its 95 % interval.

    Attributes
    ----------
    label : whose.
    value, low, high : of it; None where there is none.
    words : what is said of it.
    strong : whether it is more than luck.
    """

    label: str
    value: float | None
    low: float
    high: float
    text: str
    is_significant: bool


def run_line_style(run_index: int) -> dict[str, Any]:
    """Return how a run's line is drawn: twelve can be told apart by colour and dashes."""
    return {
        "color": RUN_COLORS[run_index % len(RUN_COLORS)],
        "linestyle": RUN_LINE_STYLES[run_index // len(RUN_COLORS) % len(RUN_LINE_STYLES)],
    }


def draw_equity_by_run(ax: Axes, dates: pd.DatetimeIndex, equity: Array, benchmark: Array | None) -> None:
    """Draw what one unit became in each run, (sessions, runs), on a log scale, beside buy and hold in grey."""
    ax.set_yscale("log")
    if benchmark is not None:
        ax.plot(dates, np.where(benchmark > 0, benchmark, np.nan), color=GREY, linewidth=1.0, label="buy and hold")
    for run in range(equity.shape[1]):
        alive = np.where(equity[:, run] > 0, equity[:, run], np.nan)
        ax.plot(dates, alive, linewidth=1.2, label=RUN_LETTERS[run], **run_line_style(run))
    everything = equity if benchmark is None else np.column_stack([equity, benchmark])
    _set_equity_log_axis(ax, everything[everything > 0])


def draw_relative_equity(ax: Axes, dates: pd.DatetimeIndex, relative_equity: Array) -> None:
    """Draw what each run had become, (sessions, runs) as a multiple of the first: where a difference came from."""
    ax.set_yscale("log")
    for run in range(relative_equity.shape[1]):
        ax.plot(dates, relative_equity[:, run], linewidth=1.2, **run_line_style(run))
    ax.set_xlim(date2num(dates[0]), date2num(dates[-1]))
    _set_equity_log_axis(ax, relative_equity.ravel())


def _set_equity_log_axis(ax: Axes, values: Array) -> None:
    """Give an axis of multiples its range and round ticks."""
    low, high = (float(values.min()), float(values.max())) if len(values) else (1.0, 1.0)
    ax.set_ylim(max(low, MIN_PLOTTED_EQUITY) * 0.97, max(high, MIN_PLOTTED_EQUITY) * 1.06)
    ax.yaxis.set_major_locator(FixedLocator(nice_ticks(*ax.get_ylim())))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def draw_drawdowns_by_run(ax: Axes, dates: pd.DatetimeIndex, drawdowns: Array) -> None:
    """Draw how far each run stands below its highest so far, (sessions, runs), <= 0."""
    for run in range(drawdowns.shape[1]):
        ax.plot(dates, drawdowns[:, run], linewidth=0.9, **run_line_style(run))
    ax.set_ylim(min(float(drawdowns.min()), -0.01) * 1.08, 0.0)
    ax.yaxis.set_major_formatter(percent_formatter())
    ax.locator_params(axis="y", nbins=4)


def draw_run_table(
    ax: Axes, headings: Sequence[str], rows: Sequence[tuple[str, ...]], *, column_right_edges: Sequence[float]
) -> None:
    """Write a line for each run: a sample of its line, its letter and name, and cells right-aligned at `edges`.

    Rows beyond the letters there are lines of, like what is to beat, begin with two cells too; their letter is empty.
    """
    ax.set_axis_off()
    ax.set_xlim(0, 1)
    ax.set_ylim(len(rows) + 1, 0)
    for edge, text in zip(column_right_edges, headings, strict=True):
        ax.text(edge, 0.5, text, ha="right", va="center", fontsize=SMALL_SIZE, color=GREY)
    ax.axhline(0.97, color=GREY, linewidth=0.8)
    for at, (letter, name, *cells) in enumerate(rows):
        middle = at + 1.5
        drawn = run_line_style(at) if letter else {"color": GREY}
        ax.plot([0.0, 0.035], [middle, middle], linewidth=1.8, **drawn)
        ax.text(0.05, middle, letter, va="center", fontsize=SMALL_SIZE + 0.3, color=BLACK, fontweight="bold")
        ax.text(0.08, middle, name, va="center", fontsize=SMALL_SIZE + 0.3, color=BLACK, parse_math=False)
        for edge, cell in zip(column_right_edges, cells, strict=True):
            ax.text(edge, middle, cell, ha="right", va="center", fontsize=SMALL_SIZE + 0.3, color=BLACK)


def draw_forest_plot(ax: Axes, intervals: Sequence[DifferenceInterval]) -> None:
    """Draw differences with their intervals around 0, a row each, and say at the right what is said of them."""
    ax.set_ylim(len(intervals) - 0.5, -0.5)
    ax.axvline(0.0, color=GREY, linewidth=0.9)
    for at, row in enumerate(intervals):
        ax.axhline(at, color=LIGHT_GREY, linewidth=0.7, zorder=0)
        weight = "bold" if row.is_significant else "normal"
        ax.text(1.02, at, row.text, transform=ax.get_yaxis_transform(), va="center", fontsize=SMALL_SIZE, color=BLACK,
                fontweight=weight)  # fmt: skip
        if row.value is not None:
            colour = BLUE if row.is_significant else GREY
            ax.plot([row.low, row.high], [at, at], color=colour, linewidth=2.2, solid_capstyle="butt")
            ax.plot([row.value], [at], color=colour, marker="o", markersize=5)
    ax.set_yticks(range(len(intervals)), [row.label for row in intervals])
    if all(row.value is None for row in intervals):
        ax.set_xticks([])
        return
    bounds = [abs(bound) for row in intervals if row.value is not None for bound in (row.low, row.high)]
    reach = 1.08 * max(bounds) or 1.0
    ax.set_xlim(-reach, reach)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", MINUS_SIGN)))


def draw_pair_matrix(
    ax: Axes, values: Array, significant_mask: BoolArray, texts: Sequence[Sequence[str]], *, better_sign: int
) -> None:
    """Write how far each row's run stands above each column's, (runs, runs), the lower triangle; framed where strong.

    Parameters
    ----------
    values : NaN where there is none.
    better_sign : 1 where more is better, -1 where less is.
    """
    runs = len(values)
    seen = np.abs(values[~np.isnan(values)])
    reach = float(seen.max(initial=0.0)) or 1.0
    ax.imshow(better_sign * values, cmap=LOSS_GAIN_COLORMAP, norm=TwoSlopeNorm(0.0, -reach, reach), aspect="auto")
    for row in range(runs):
        for column in range(row):
            weight = "bold" if significant_mask[row, column] else "normal"
            ax.text(column, row, texts[row][column], ha="center", va="center", fontsize=7.2, color=BLACK,
                    fontweight=weight)  # fmt: skip
            if significant_mask[row, column]:
                ax.plot(
                    column + np.array([-0.47, 0.47, 0.47, -0.47, -0.47]),
                    row + np.array([-0.45, -0.45, 0.45, 0.45, -0.45]),
                    color=BLACK,
                    linewidth=1.2,
                )
    ax.set_xlim(-0.5, runs - 1.5)
    ax.set_ylim(runs - 0.5, 0.5)
    ax.set_xticks(range(runs - 1), RUN_LETTERS[: runs - 1])
    ax.set_yticks(range(1, runs), RUN_LETTERS[1:runs])
    ax.tick_params(length=0, labelsize=SMALL_SIZE, labelcolor=BLACK)
    for side in ax.spines.values():
        side.set_visible(False)
