"""Whether forecasts knew: reliability, the ROC curve, and the probabilities by what came."""

from __future__ import annotations

import textwrap
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from quantlr.backtest.forecast_analysis import ProbabilityHistogram, RocBand, RocCurve
from quantlr.report.style import (
    BAND_GREY,
    BLACK,
    BLUE,
    GREY,
    NORMAL_SIZE,
    ORANGE,
    SMALL_SIZE,
    VERMILION,
    percent_formatter,
    set_panel_title,
)
from quantlr.stats.reliability import ReliabilityBand, ReliabilityCurve

LegendCorner = Literal["upper left", "lower right"]
MAX_MARKED_POINTS = 12
"""Distinct forecasts up to which each is marked."""
TAIL_SHARE = 0.01
"""Share of the forecasts at either end whose curve may leave the picture."""
MIN_HEIGHT_TO_WIDTH = 0.25
"""Height of a reliability curve's picture, relative to its width, at least."""
TEXT_LINE_POINTS = 12.5
"""Height of a line of words, in points."""


def set_panel_title_and_text(ax: Axes, title: str, text: str = "", *, n_lines: int = 1) -> None:
    """Say above the axes what is shown, and below that, in grey, what it says in so many lines."""
    room = 7.0 + TEXT_LINE_POINTS * n_lines
    set_panel_title(ax, title, padding_points=room)
    ax.annotate(text, (0, 1), (0, room - 3.0), xycoords="axes fraction", textcoords="offset points", fontsize=SMALL_SIZE,
                color=GREY, va="top", linespacing=1.25)  # fmt: skip


def draw_wrapped_message(ax: Axes, text: str) -> None:
    """Say in words what there is no picture of."""
    ax.set_axis_off()
    wrapped = "\n".join(textwrap.wrap(text, width=44))
    ax.text(0.5, 0.5, wrapped, transform=ax.transAxes, ha="center", va="center", fontsize=NORMAL_SIZE, color=GREY,
            linespacing=1.4)  # fmt: skip


def add_legend(ax: Axes, *, corner: LegendCorner, n_columns: int = 1, is_above_axes: bool = False) -> None:
    """Name what is drawn: inside the axes, or above them on the right."""
    ax.legend(
        loc=corner, bbox_to_anchor=(0.0, 1.0, 1.0, 0.2) if is_above_axes else (0.0, 0.0, 1.0, 1.0), ncols=n_columns, frameon=True,
        facecolor="white", edgecolor="none", framealpha=0.85, fontsize=SMALL_SIZE, labelcolor=BLACK, borderaxespad=0.2,
        borderpad=0.2, handlelength=1.6, columnspacing=1.5,
    )  # fmt: skip


def format_share_axis(axis: Axis, *, max_ticks: int) -> None:
    """Label an axis of shares in percent, and none below 0 or above 1, whatever room there is."""
    low, high = axis.get_view_interval()
    places = MaxNLocator(max_ticks).tick_values(max(low, 0.0), min(high, 1.0))
    axis.set_major_locator(FixedLocator([place for place in places if max(low, 0.0) <= place <= min(high, 1.0)]))
    axis.set_major_formatter(percent_formatter())


def draw_reliability(
    ax: Axes,
    curve: ReliabilityCurve,
    band: ReliabilityBand,
    *,
    base_rate: float,
    probability_range: tuple[float, float],
) -> None:
    """Draw how often ups came by what was forecast, where forecasts that mean what they say would pass, and between."""
    seen = (curve.probability >= probability_range[0]) & (curve.probability <= probability_range[1])
    marked = "o" if seen.sum() <= MAX_MARKED_POINTS else None
    ax.plot(
        probability_range,
        probability_range,
        color=BLACK,
        linewidth=1.0,
        linestyle=(0, (4, 3)),
        label="as often as forecast",
    )
    ax.axvline(base_rate, color=ORANGE, linewidth=1.2, label="base rate")
    if len(band.probability) == 1:
        ax.vlines(band.probability, band.low, band.high, color=BAND_GREY, linewidth=7, alpha=0.6, label="95% of luck")
    else:
        ax.fill_between(
            band.probability, band.low, band.high, color=BAND_GREY, alpha=0.45, linewidth=0, label="95% of luck"
        )
    ax.plot(
        curve.probability,
        curve.observed_frequency,
        color=BLUE,
        linewidth=1.8,
        marker=marked,
        markersize=5,
        label="came up",
    )
    ax.set_xlim(*probability_range)
    ax.set_ylim(*_reliability_y_limits(curve, band, probability_range))
    format_share_axis(ax.xaxis, max_ticks=5)
    format_share_axis(ax.yaxis, max_ticks=5)
    ax.tick_params(axis="x", labelbottom=False)
    ax.set_ylabel("share that came up", fontsize=SMALL_SIZE, color=BLACK)
    add_legend(ax, corner="upper left", n_columns=2)


def _reliability_y_limits(
    curve: ReliabilityCurve, band: ReliabilityBand, probability_range: tuple[float, float]
) -> tuple[float, float]:
    """Return limits that hold what is drawn of nearly all forecasts, with room for a legend above."""
    share = np.cumsum(curve.count) / curve.count.sum()
    most = (share >= TAIL_SHARE) & (share - curve.count / curve.count.sum() <= 1.0 - TAIL_SHARE)
    ends = np.clip(curve.probability[most][[0, -1]], *probability_range)
    among = (band.probability >= ends[0]) & (band.probability <= ends[1])
    drawn = np.concatenate([ends, curve.observed_frequency[most], band.low[among], band.high[among]])
    low, high = float(drawn.min()), float(drawn.max())
    low = min(low, high - MIN_HEIGHT_TO_WIDTH * (probability_range[1] - probability_range[0]))
    return low - 0.06 * (high - low), high + 0.34 * (high - low)


def draw_forecast_counts(ax: Axes, histogram: ProbabilityHistogram, *, base_rate: float) -> None:
    """Draw how many forecasts there were of each probability."""
    ax.stairs(histogram.count, histogram.bin_edges, fill=True, color=BLUE, alpha=0.45)
    ax.axvline(base_rate, color=ORANGE, linewidth=1.2)
    ax.set_xlim(histogram.bin_edges[0], histogram.bin_edges[-1])
    most = int(histogram.count.max())
    ax.set_ylim(0, 1.3 * most)
    ax.set_yticks([tick for tick in MaxNLocator(2, integer=True).tick_values(0, most) if tick <= most])
    ax.yaxis.set_major_formatter(
        FuncFormatter(lambda count, _: f"{count:,.0f}" if count < 10_000 else f"{count / 1000:,g}k")
    )
    format_share_axis(ax.xaxis, max_ticks=5)
    ax.set_ylabel("forecasts", fontsize=SMALL_SIZE, color=BLACK)
    ax.set_xlabel("forecast probability of up", fontsize=SMALL_SIZE, color=BLACK)


def draw_roc_curve(ax: Axes, curve: RocCurve, band: RocBand | None) -> None:
    """Draw what share of ups is called, by the share of the others that is called up by mistake."""
    if band is not None:
        ax.fill_between(
            band.false_positive_rate,
            band.true_positive_rate_low,
            band.true_positive_rate_high,
            color=BLUE,
            alpha=0.2,
            linewidth=0,
            label="95% of resamples, pointwise",
        )
    ax.plot((0, 1), (0, 1), color=BLACK, linewidth=1.0, linestyle=(0, (4, 3)), label="knowing nothing")
    ax.plot(curve.false_positive_rate, curve.true_positive_rate, color=BLUE, linewidth=1.8, label="the forecasts")
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1)
    ax.xaxis.set_major_formatter(percent_formatter())
    ax.yaxis.set_major_formatter(percent_formatter())
    ax.set_xlabel("share of the others called up", fontsize=SMALL_SIZE, color=BLACK)
    ax.set_ylabel("share of ups called up", fontsize=SMALL_SIZE, color=BLACK)
    add_legend(ax, corner="lower right")


def draw_probability_by_outcome(ax: Axes, histogram: ProbabilityHistogram, *, base_rate: float) -> None:
    """Draw how the probabilities lie where up came and where it did not, each as shares of its own."""
    both = ((histogram.fraction_given_not_up, VERMILION, "not up"), (histogram.fraction_given_up, BLUE, "up"))
    drawn = [(part, colour, name) for part, colour, name in both if part is not None]
    for part, colour, name in drawn:
        ax.stairs(part, histogram.bin_edges, color=colour, linewidth=1.6, fill=False, label=name)
        ax.stairs(part, histogram.bin_edges, color=colour, fill=True, alpha=0.15)
    ax.axvline(base_rate, color=ORANGE, linewidth=1.2, label="base rate")
    ax.set_xlim(histogram.bin_edges[0], histogram.bin_edges[-1])
    ax.set_ylim(0, 1.25 * max(float(part.max()) for part, *_ in drawn))
    format_share_axis(ax.xaxis, max_ticks=5)
    format_share_axis(ax.yaxis, max_ticks=4)
    ax.set_xlabel("forecast probability of up", fontsize=SMALL_SIZE, color=BLACK)
    ax.set_ylabel("share of each", fontsize=SMALL_SIZE, color=BLACK)
    add_legend(ax, corner="upper left", n_columns=3)
