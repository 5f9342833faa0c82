"""What a model learnt: its weights over the refits, and the sigmoid that makes probabilities of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.ticker import FuncFormatter, MaxNLocator

from quantlr.core.arrays import Array, BoolArray
from quantlr.report.style import (
    BLACK,
    BLUE,
    GREY,
    LIGHT_GREY,
    MINUS_SIGN,
    ORANGE,
    SKY,
    SMALL_SIZE,
    percent_formatter,
    set_panel_title,
)

MAX_SIGMOID_LOG_ODDS = 6.0
"""Log odds to which the whole sigmoid is drawn: a probability of 1/400."""
HISTOGRAM_HEIGHT_FRACTION = 0.14
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

    feature_name: str
    weight_text: str
    is_significant: bool
    refit_dates: pd.DatetimeIndex
    weights: Array
    weights_low: Array
    weights_high: Array


@dataclass(frozen=True, slots=True)
class SigmoidPanelValues:
    """The sigmoid, where the forecasts lie on it.

    Attributes
    ----------
    z, g : (m,) log odds over the range that is drawn, and their probabilities.
    bin_z, share, low, high : (b,) log odds of the mean forecast of each bin, the share of ups that came, its interval.
    edges, count : (h + 1,), (h,) histogram of the log odds that were forecast.
    span : log odds between which 99 % of forecasts lie.
    far_z, far_g, far_slope : (f,) the whole curve: log odds, probability, slope g (1 - g).
    """

    log_odds: Array
    probability: Array
    bin_log_odds: Array
    bin_observed_frequency: Array
    bin_frequency_low: Array
    bin_frequency_high: Array
    histogram_edges: Array
    histogram_counts: Array
    central_log_odds_range: tuple[float, float]
    full_log_odds: Array
    full_probability: Array
    full_slope: Array


def set_panel_title_and_formula(ax: Axes, title: str, formula: str) -> None:
    """Say above the axes what is shown and, below that, the formula or the sentence that it teaches."""
    set_panel_title(ax, title, padding_points=39.0)
    ax.annotate(formula, (0, 1), (0, 22), xycoords="axes fraction", textcoords="offset points", fontsize=SMALL_SIZE + 0.5,
                color=BLACK, annotation_clip=False)  # fmt: skip


def add_small_legend_above(ax: Axes, *, n_columns: int) -> None:
    """Set the key of the axes' lines above it, below what it teaches."""
    ax.legend(
        loc="lower left", bbox_to_anchor=(0, 1.0), ncols=n_columns, frameon=False, fontsize=SMALL_SIZE - 0.3, labelcolor=BLACK,
        borderaxespad=0.25, borderpad=0, handlelength=1.4, handletextpad=0.5, columnspacing=1.2,
    )  # fmt: skip


def draw_small_message(ax: Axes, text: str) -> None:
    """Say in words why nothing is drawn."""
    ax.set_axis_off()
    ax.text(0.5, 0.5, text, ha="center", va="center", fontsize=SMALL_SIZE + 0.5, color=GREY, transform=ax.transAxes)


def draw_weight_path(ax: Axes, weight_path: WeightPath) -> None:
    """Draw one feature's weight over the refits with its interval: blue where it can be told from zero by now."""
    colour = BLUE if weight_path.is_significant else GREY
    ax.axhline(0.0, color=BLACK, linewidth=0.8)
    # The band passes over refits whose error was not measured, and breaks where there was no best fit.
    kept = np.isnan(weight_path.weights) | ~np.isnan(weight_path.weights_low)
    dates, low, high = weight_path.refit_dates[kept], weight_path.weights_low[kept], weight_path.weights_high[kept]
    ax.fill_between(
        dates,
        low,
        high,
        color=SKY if weight_path.is_significant else LIGHT_GREY,
        alpha=0.45 if weight_path.is_significant else 1.0,
        linewidth=0,
    )
    ax.plot(weight_path.refit_dates, weight_path.weights, color=colour, linewidth=1.5)
    lone = _isolated_point_mask(weight_path.weights)
    ax.plot(
        weight_path.refit_dates[lone], weight_path.weights[lone], color=colour, linestyle="", marker="o", markersize=2.5
    )
    lone = _isolated_point_mask(low)
    ax.vlines(dates[lone], low[lone], high[lone], color=colour, linewidth=0.6)
    locator = AutoDateLocator(minticks=2, maxticks=5)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    ax.yaxis.set_major_locator(MaxNLocator(4))
    ax.yaxis.set_major_formatter(_signed_number_formatter())
    for text, above, weight in ((weight_path.feature_name, 13.5, "bold"), (weight_path.weight_text, 3.5, "normal")):
        ax.annotate(text, (0, 1), (0, above), xycoords="axes fraction", textcoords="offset points",
                    fontsize=SMALL_SIZE - 0.7, color=BLACK, fontweight=weight, annotation_clip=False)  # fmt: skip


def draw_single_refit_weights(ax: Axes, weight_paths: Sequence[WeightPath]) -> None:
    """Draw the weights of a single refit, one feature a line, with their intervals."""
    ax.axvline(0.0, color=BLACK, linewidth=0.8)
    for at, path in enumerate(weight_paths):
        colour = BLUE if path.is_significant else GREY
        ax.plot(
            [path.weights_low[-1], path.weights_high[-1]], [at, at], color=colour, linewidth=2.0, solid_capstyle="butt"
        )
        ax.plot(path.weights[-1], at, color=colour, marker="o", markersize=6)
    ax.set_ylim(len(weight_paths) - 0.5, -0.5)
    ax.set_yticks(range(len(weight_paths)), [path.feature_name for path in weight_paths])
    for at, path in enumerate(weight_paths):
        ax.text(
            1.02,
            at,
            path.weight_text,
            transform=ax.get_yaxis_transform(),
            va="center",
            fontsize=SMALL_SIZE,
            color=BLACK,
        )
    ax.grid(axis="y", visible=False)
    ax.grid(axis="x", color=LIGHT_GREY, linewidth=0.8)
    ax.xaxis.set_major_formatter(_signed_number_formatter())


def draw_sigmoid_with_forecasts(ax: Axes, view: SigmoidPanelValues) -> None:
    """Draw the sigmoid where the forecasts lie, and how often ups came, on it if forecasts are right."""
    bottom, top = (
        min(view.probability[0], float(view.bin_frequency_low.min())),
        max(view.probability[-1], float(view.bin_frequency_high.max())),
    )
    bottom -= (top - bottom) * (HISTOGRAM_HEIGHT_FRACTION + 0.06)
    top += 0.04 * (top - bottom)
    tallest = max(int(view.histogram_counts.max()), 1)
    height = HISTOGRAM_HEIGHT_FRACTION * (top - bottom) * view.histogram_counts / tallest
    ax.bar(view.histogram_edges[:-1], height, np.diff(view.histogram_edges), bottom=bottom, align="edge", color=LIGHT_GREY, linewidth=0,
           label="forecasts made")  # fmt: skip
    ax.plot(view.log_odds, view.probability, color=BLUE, linewidth=2.0, label="sigmoid")
    ax.vlines(view.bin_log_odds, view.bin_frequency_low, view.bin_frequency_high, color=ORANGE, linewidth=1.3)
    ax.plot(
        view.bin_log_odds,
        view.bin_observed_frequency,
        color=ORANGE,
        linestyle="",
        marker="o",
        markersize=5,
        label="ups that came, 95%",
    )
    ax.axhline(0.5, color=GREY, linewidth=0.7, linestyle=":")
    ax.set_xlim(view.log_odds[0], view.log_odds[-1])
    ax.set_ylim(bottom, top)
    ax.yaxis.set_major_formatter(percent_formatter())
    ax.xaxis.set_major_locator(MaxNLocator(6))
    ax.xaxis.set_major_formatter(_signed_number_formatter())


def draw_full_sigmoid(sigmoid_ax: Axes, slope_ax: Axes, view: SigmoidPanelValues) -> None:
    """Draw all of the sigmoid and of its slope, and mark what part of them the forecasts use."""
    within = (view.full_log_odds >= view.central_log_odds_range[0]) & (
        view.full_log_odds <= view.central_log_odds_range[1]
    )
    for ax, values, top in ((sigmoid_ax, view.full_probability, 1.0), (slope_ax, view.full_slope, 0.25)):
        ax.plot(view.full_log_odds, values, color=BLUE, linewidth=1.2)
        ax.plot(view.full_log_odds[within], values[within], color=ORANGE, linewidth=3.6, solid_capstyle="butt")
        ax.set_xlim(view.full_log_odds[0], view.full_log_odds[-1])
        ax.set_ylim(0.0, 1.08 * top)
        ax.set_yticks([0.0, top / 2, top])
        ax.set_xticks([-MAX_SIGMOID_LOG_ODDS, 0, MAX_SIGMOID_LOG_ODDS])
        ax.xaxis.set_major_formatter(_signed_number_formatter())
        ax.tick_params(labelsize=SMALL_SIZE - 1.5)
    sigmoid_ax.tick_params(axis="x", labelbottom=False)
    slope_ax.set_yticks([0.0, 0.25], ["0", "¼"])
    sigmoid_ax.set_yticks([0.0, 0.5, 1.0], ["0", "½", "1"])


def _isolated_point_mask(values: Array) -> BoolArray:
    """Return which values have no neighbour that they could be joined to."""
    there = np.concatenate([[False], ~np.isnan(values), [False]])
    return np.asarray(there[1:-1] & ~there[:-2] & ~there[2:])


def _signed_number_formatter() -> FuncFormatter:
    """Return what labels an axis of numbers, with a real minus sign."""
    return FuncFormatter(lambda value, _: f"{value:g}".replace("-", MINUS_SIGN))
