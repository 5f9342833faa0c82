"""What a model learnt: its weights over the refits, and the sigmoid that makes probabilities of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.ticker import FuncFormatter, MaxNLocator

from quantlr.report.figures.style import BLUE, FAINT, GREY, INK, MINUS, ORANGE, SKY, SMALL, heading, in_percent
from quantlr.types import Array, BoolArray

FAR = 6.0
"""Log odds to which the whole sigmoid is drawn: a probability of 1/400."""
FLOOR = 0.14
"""Height of the forecasts' histogram, as a fraction of the axes."""


@dataclass(frozen=True, slots=True)
class WeightPath:
    """What one feature weighed over the refits.

    Attributes
    ----------
    name : of the feature, short enough for a heading.
    words : its newest weight and how steady its sign was.
    told : whether the newest weight can be told from zero.
    dates : (m,) of the refits.
    weight : (m,) log odds per standard deviation; NaN where a refit had no best fit.
    low, high : (m,) its 95 % interval, NaN where errors were not measured.
    """

    name: str
    words: str
    told: bool
    dates: pd.DatetimeIndex
    weight: Array
    low: Array
    high: Array


@dataclass(frozen=True, slots=True)
class SigmoidView:
    """The sigmoid, where the forecasts lie on it.

    Attributes
    ----------
    z, g : (m,) log odds over the range that is drawn, and their probabilities.
    bin_z, share, low, high : (b,) log odds of the mean forecast of each bin, the share of ups that came, its interval.
    edges, count : (h + 1,), (h,) histogram of the log odds that were forecast.
    span : log odds between which 99 % of forecasts lie.
    far_z, far_g, far_slope : (f,) the whole curve: log odds, probability, slope g (1 - g).
    """

    z: Array
    g: Array
    bin_z: Array
    share: Array
    low: Array
    high: Array
    edges: Array
    count: Array
    span: tuple[float, float]
    far_z: Array
    far_g: Array
    far_slope: Array


def taught(ax: Axes, title: str, line: str) -> None:
    """Say above the axes what is shown and, below that, the formula or the sentence that it teaches."""
    heading(ax, title, room=39.0)
    ax.annotate(line, (0, 1), (0, 22), xycoords="axes fraction", textcoords="offset points", fontsize=SMALL + 0.5,
                color=INK, annotation_clip=False)  # fmt: skip


def key_above(ax: Axes, *, columns: int) -> None:
    """Set the key of the axes' lines above it, below what it teaches."""
    ax.legend(
        loc="lower left", bbox_to_anchor=(0, 1.0), ncols=columns, frameon=False, fontsize=SMALL - 0.3, labelcolor=INK,
        borderaxespad=0.25, borderpad=0, handlelength=1.4, handletextpad=0.5, columnspacing=1.2,
    )  # fmt: skip


def said(ax: Axes, text: str) -> None:
    """Say in words why nothing is drawn."""
    ax.set_axis_off()
    ax.text(0.5, 0.5, text, ha="center", va="center", fontsize=SMALL + 0.5, color=GREY, transform=ax.transAxes)


def weight_path(ax: Axes, path: WeightPath) -> None:
    """Draw one feature's weight over the refits with its interval: blue where it can be told from zero by now."""
    colour = BLUE if path.told else GREY
    ax.axhline(0.0, color=INK, linewidth=0.8)
    # The band passes over refits whose error was not measured, and breaks where there was no best fit.
    kept = np.isnan(path.weight) | ~np.isnan(path.low)
    dates, low, high = path.dates[kept], path.low[kept], path.high[kept]
    ax.fill_between(dates, low, high, color=SKY if path.told else FAINT, alpha=0.45 if path.told else 1.0, linewidth=0)
    ax.plot(path.dates, path.weight, color=colour, linewidth=1.5)
    lone = _alone(path.weight)
    ax.plot(path.dates[lone], path.weight[lone], color=colour, linestyle="", marker="o", markersize=2.5)
    lone = _alone(low)
    ax.vlines(dates[lone], low[lone], high[lone], color=colour, linewidth=0.6)
    locator = AutoDateLocator(minticks=2, maxticks=5)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    ax.yaxis.set_major_locator(MaxNLocator(4))
    ax.yaxis.set_major_formatter(_signed())
    for text, above, weight in ((path.name, 13.5, "bold"), (path.words, 3.5, "normal")):
        ax.annotate(text, (0, 1), (0, above), xycoords="axes fraction", textcoords="offset points",
                    fontsize=SMALL - 0.7, color=INK, fontweight=weight, annotation_clip=False)  # fmt: skip


def weights_once(ax: Axes, paths: Sequence[WeightPath]) -> None:
    """Draw the weights of a single refit, one feature a line, with their intervals."""
    ax.axvline(0.0, color=INK, linewidth=0.8)
    for at, path in enumerate(paths):
        colour = BLUE if path.told else GREY
        ax.plot([path.low[-1], path.high[-1]], [at, at], color=colour, linewidth=2.0, solid_capstyle="butt")
        ax.plot(path.weight[-1], at, color=colour, marker="o", markersize=6)
    ax.set_ylim(len(paths) - 0.5, -0.5)
    ax.set_yticks(range(len(paths)), [path.name for path in paths])
    for at, path in enumerate(paths):
        ax.text(1.02, at, path.words, transform=ax.get_yaxis_transform(), va="center", fontsize=SMALL, color=INK)
    ax.grid(axis="y", visible=False)
    ax.grid(axis="x", color=FAINT, linewidth=0.8)
    ax.xaxis.set_major_formatter(_signed())


def sigmoid_at_work(ax: Axes, view: SigmoidView) -> None:
    """Draw the sigmoid where the forecasts lie, and how often ups came, on it if forecasts are right."""
    bottom, top = min(view.g[0], float(view.low.min())), max(view.g[-1], float(view.high.max()))
    bottom -= (top - bottom) * (FLOOR + 0.06)
    top += 0.04 * (top - bottom)
    tallest = max(int(view.count.max()), 1)
    height = FLOOR * (top - bottom) * view.count / tallest
    ax.bar(view.edges[:-1], height, np.diff(view.edges), bottom=bottom, align="edge", color=FAINT, linewidth=0,
           label="forecasts made")  # fmt: skip
    ax.plot(view.z, view.g, color=BLUE, linewidth=2.0, label="sigmoid")
    ax.vlines(view.bin_z, view.low, view.high, color=ORANGE, linewidth=1.3)
    ax.plot(view.bin_z, view.share, color=ORANGE, linestyle="", marker="o", markersize=5, label="ups that came, 95%")
    ax.axhline(0.5, color=GREY, linewidth=0.7, linestyle=":")
    ax.set_xlim(view.z[0], view.z[-1])
    ax.set_ylim(bottom, top)
    ax.yaxis.set_major_formatter(in_percent())
    ax.xaxis.set_major_locator(MaxNLocator(6))
    ax.xaxis.set_major_formatter(_signed())


def whole_sigmoid(curve: Axes, slope: Axes, view: SigmoidView) -> None:
    """Draw all of the sigmoid and of its slope, and mark what part of them the forecasts use."""
    within = (view.far_z >= view.span[0]) & (view.far_z <= view.span[1])
    for ax, values, top in ((curve, view.far_g, 1.0), (slope, view.far_slope, 0.25)):
        ax.plot(view.far_z, values, color=BLUE, linewidth=1.2)
        ax.plot(view.far_z[within], values[within], color=ORANGE, linewidth=3.6, solid_capstyle="butt")
        ax.set_xlim(view.far_z[0], view.far_z[-1])
        ax.set_ylim(0.0, 1.08 * top)
        ax.set_yticks([0.0, top / 2, top])
        ax.set_xticks([-FAR, 0, FAR])
        ax.xaxis.set_major_formatter(_signed())
        ax.tick_params(labelsize=SMALL - 1.5)
    curve.tick_params(axis="x", labelbottom=False)
    slope.set_yticks([0.0, 0.25], ["0", "¼"])
    curve.set_yticks([0.0, 0.5, 1.0], ["0", "½", "1"])


def _alone(values: Array) -> BoolArray:
    """Return which values have no neighbour that they could be joined to."""
    there = np.concatenate([[False], ~np.isnan(values), [False]])
    return np.asarray(there[1:-1] & ~there[:-2] & ~there[2:])


def _signed() -> FuncFormatter:
    """Return what labels an axis of numbers, with a real minus sign."""
    return FuncFormatter(lambda value, _: f"{value:g}".replace("-", MINUS))
