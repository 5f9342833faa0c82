"""The page of a sweep: which setting won, whether that means anything, and what it did where none had looked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import date2num
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from quantlr.report.figures.landscape import Landscape, Marginal, marginal, one_key, ranking, short, two_keys
from quantlr.report.figures.style import (
    BLUE,
    GREY,
    INK,
    NORMAL,
    ORANGE,
    SKY,
    SMALL,
    bare,
    dated,
    heading,
    multiple,
    nice_ticks,
    number,
)
from quantlr.report.figures.tables import TableRow, text_table
from quantlr.report.pages.frame import headed, own_looks, png
from quantlr.types import Array

MOST_MARGINALS = 6
"""Keys that have room for a picture each; of more, those that matter most are shown."""
LOWEST = 1e-3
"""Where the axis of the winner's capital ends, however much is lost."""


@dataclass(frozen=True, slots=True)
class Course:
    """What one unit of capital became over all dates, those that no trial has seen included.

    Attributes
    ----------
    dates : (sessions + 1,) from the first fill on.
    winner, benchmark : (sessions + 1,) beginning at 1.
    cut : first date that no trial has seen; None where there is none.
    said : of the winner before the cut and from it on.
    """

    dates: pd.DatetimeIndex
    winner: Array
    benchmark: Array
    cut: pd.Timestamp | None
    said: str


@dataclass(frozen=True, slots=True)
class SweepShown:
    """A sweep as its page shows it.

    Attributes
    ----------
    title, text, setting, notes : of its head.
    landscape : the trials.
    marginals : of each key.
    course : the winner's; None where there is none.
    failures : why trials failed, as rows of a table, shown where there is no winner.
    numbers : the findings, likewise.
    best : the best trials: values by key, and the Sharpe ratio with its interval.
    """

    title: str
    text: str
    setting: str
    notes: tuple[str, ...]
    landscape: Landscape
    marginals: tuple[Marginal, ...]
    course: Course | None
    failures: tuple[TableRow, ...]
    numbers: tuple[TableRow, ...]
    best: tuple[TableRow, ...]


@own_looks()
def sweep_page(shown: SweepShown) -> bytes:
    """Return the page of a sweep as PNG bytes, the same for the same sweep."""
    figure = headed(shown.title, shown.text, under=shown.setting, notes=shown.notes, file="sweep.json")
    _grid(figure, shown)
    if shown.course is not None:
        _course(figure.add_axes((0.055, 0.06, 0.525, 0.22)), shown.course)
    elif shown.failures:
        text_table(figure.add_axes((0.045, 0.31 - 0.0215 * len(shown.failures), 0.55, 0.0215 * len(shown.failures))),
                   list(shown.failures), edges=())  # fmt: skip
    ax = figure.add_axes((0.655, 0.605, 0.325, 0.195))
    ranking(ax, shown.landscape)
    heading(ax, "All trials, ranked by Sharpe ratio a year", room=21.0)
    _tables(figure, shown)
    return png(figure)


def _grid(figure: Figure, shown: SweepShown) -> None:
    """Draw the grid: lines for one key, a heat map for two, and a picture of each key for more."""
    found = shown.landscape
    if len(found.keys) > 2 or (len(found.keys) == 2 and _sparse(found)):
        _marginals(figure, shown)
        return
    if len(found.keys) == 1:
        ax = figure.add_axes((0.055, 0.405, 0.525, 0.395))
        one_key(ax, found)
        _legend(ax)
        heading(ax, f"Sharpe ratio by {found.keys[0]}", room=20.0)
        return
    longest = max(len(short(label)) for label in found.labels[0])
    left = 0.05 + 0.0052 * longest
    ax = figure.add_axes((left, 0.405, 0.58 - left, 0.415))
    two_keys(ax, found)
    white = "0" if found.luck is None else f"what the best of luck would show, {number(found.luck)}"
    figure.text(0.045, 0.838, f"Sharpe ratio a year, ±95%; white: {white}; framed: the winner", fontsize=NORMAL,
                fontweight="bold", color=INK, va="center")  # fmt: skip


def _sparse(found: Landscape) -> bool:
    """Return whether a sample leaves most cells of a heat map empty."""
    return len(found.sharpe) < 0.5 * len(found.labels[0]) * len(found.labels[1])


def _legend(ax: Axes) -> None:
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(handles, labels, loc="lower left", bbox_to_anchor=(0, 0.995), ncols=5, frameon=False, fontsize=SMALL,
              labelcolor=INK, borderaxespad=0.1, handlelength=1.6, columnspacing=1.6)  # fmt: skip


def _marginals(figure: Figure, shown: SweepShown) -> None:
    some = shown.marginals[:MOST_MARGINALS]
    columns = 1 if len(some) == 1 else 2 if len(some) <= 4 else 3
    rows = -(-len(some) // columns)
    grid = figure.add_gridspec(rows, columns, left=0.045, right=0.58, top=0.795, bottom=0.395,
                               hspace=0.2 + 0.25 * rows, wspace=0.14)  # fmt: skip
    figure.text(0.045, 0.838, "Sharpe ratio a year by key: middle, 5% to 95%, best (triangle) of its trials; winner "
                "(ring)", fontsize=NORMAL, fontweight="bold", color=INK, va="center")  # fmt: skip
    low = min(float(np.nanmin(found.low, initial=0.0)) for found in some)
    high = max(float(np.nanmax(found.best, initial=0.0)) for found in some)
    high = max(high, *(value for value in (shown.landscape.luck, shown.landscape.benchmark, 0.0) if value is not None))
    room = 0.08 * max(high - low, 0.1)
    for at, found in enumerate(some):
        ax = figure.add_subplot(grid[at // columns, at % columns])
        marginal(ax, found, shown.landscape, letters=96 // columns)
        ax.set_ylim(low - room, high + room)
        ax.locator_params(axis="y", nbins=5)
        ax.set_title(found.key, loc="left", fontsize=SMALL, color=INK, pad=3)


def _course(ax: Axes, course: Course) -> None:
    """Draw what the winner's capital became, the span that no trial has seen apart."""
    bare(ax)
    ax.set_yscale("log")
    for values, name, colour, width in (
        (course.benchmark, "buy and hold", ORANGE, 1.3),
        (course.winner, "the winner, after costs", BLUE, 1.8),
    ):
        alive = np.where(values > 0, values, np.nan)
        ax.plot(course.dates, alive, color=colour, linewidth=width, label=f"{name}: 1 became {multiple(values[-1])}")
    together = np.concatenate([course.winner, course.benchmark])
    alive = together[together > 0]
    ax.set_ylim(max(float(alive.min()), LOWEST) * 0.94, float(alive.max()) * 1.25)
    ax.yaxis.set_major_locator(FixedLocator(nice_ticks(*ax.get_ylim())))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    first, last = (float(date2num(course.dates[at])) for at in (0, -1))
    ax.set_xlim(first, last)
    if course.cut is not None:
        at = float(date2num(course.cut))
        ax.axvspan(at, last, color=SKY, alpha=0.16, linewidth=0)
    ax.text(1.0, 1.035, course.said, transform=ax.transAxes, ha="right", va="bottom", fontsize=SMALL, color=INK)
    dated(ax)
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(handles[::-1], labels[::-1], loc="lower left", bbox_to_anchor=(0, 0.99), ncols=2, frameon=False,
              fontsize=SMALL, labelcolor=INK, borderaxespad=0.1, handlelength=1.6, columnspacing=1.6)  # fmt: skip
    heading(ax, "What one unit of the winner's capital became (log scale); shaded: sessions that no trial has seen",
            room=19.0)  # fmt: skip


def _tables(figure: Figure, shown: SweepShown) -> None:
    row = 0.0215
    height = row * len(shown.numbers)
    top = 0.54
    ax = figure.add_axes((0.655, top - height, 0.325, height))
    text_table(ax, list(shown.numbers), edges=(1.0,))
    room = top - height - 0.02 - 0.035
    best = list(shown.best)[: max(2, int(room / row))]
    if best:
        ax = figure.add_axes((0.655, 0.035 + room - row * len(best), 0.325, row * len(best)))
        text_table(ax, best, edges=(0.88, 1.0))
    figure.text(0.655, 0.014, "Sharpe ratios are of net returns in excess of cash; intervals by Lo (2002).",
                fontsize=7.5, color=GREY, va="center")  # fmt: skip
