"""Whether forecasts knew: reliability, the ROC curve, and the probabilities by what came."""

from __future__ import annotations

import textwrap
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from quantlr.backtest.inference.reliability import Band, ReliabilityCurve
from quantlr.backtest.skill_curves import RocBand, RocCurve, Spread
from quantlr.report.figures.style import BAND, BLUE, GREY, INK, NORMAL, ORANGE, SMALL, VERMILION, heading, in_percent

Corner = Literal["upper left", "lower right"]
FEW_POINTS = 12
"""Distinct forecasts up to which each is marked."""
EDGE = 0.01
"""Share of the forecasts at either end whose curve may leave the picture."""
FLATTEST = 0.25
"""Height of a reliability curve's picture, relative to its width, at least."""
LINE = 12.5
"""Height of a line of words, in points."""


def described(ax: Axes, title: str, words: str = "", *, lines: int = 1) -> None:
    """Say above the axes what is shown, and below that, in grey, what it says in so many lines."""
    room = 7.0 + LINE * lines
    heading(ax, title, room=room)
    ax.annotate(words, (0, 1), (0, room - 3.0), xycoords="axes fraction", textcoords="offset points", fontsize=SMALL,
                color=GREY, va="top", linespacing=1.25)  # fmt: skip


def said_instead(ax: Axes, text: str) -> None:
    """Say in words what there is no picture of."""
    ax.set_axis_off()
    wrapped = "\n".join(textwrap.wrap(text, width=44))
    ax.text(0.5, 0.5, wrapped, transform=ax.transAxes, ha="center", va="center", fontsize=NORMAL, color=GREY,
            linespacing=1.4)  # fmt: skip


def legend(ax: Axes, *, loc: Corner, columns: int = 1, above: bool = False) -> None:
    """Name what is drawn: inside the axes, or above them on the right."""
    ax.legend(
        loc=loc, bbox_to_anchor=(0.0, 1.0, 1.0, 0.2) if above else (0.0, 0.0, 1.0, 1.0), ncols=columns, frameon=True,
        facecolor="white", edgecolor="none", framealpha=0.85, fontsize=SMALL, labelcolor=INK, borderaxespad=0.2,
        borderpad=0.2, handlelength=1.6, columnspacing=1.5,
    )  # fmt: skip


def shares(axis: Axis, *, ticks: int) -> None:
    """Label an axis of shares in percent, and none below 0 or above 1, whatever room there is."""
    low, high = axis.get_view_interval()
    places = MaxNLocator(ticks).tick_values(max(low, 0.0), min(high, 1.0))
    axis.set_major_locator(FixedLocator([place for place in places if max(low, 0.0) <= place <= min(high, 1.0)]))
    axis.set_major_formatter(in_percent())


def reliability(
    ax: Axes, curve: ReliabilityCurve, band: Band, *, base_rate: float, bounds: tuple[float, float]
) -> None:
    """Draw how often ups came by what was forecast, where forecasts that mean what they say would pass, and between."""
    seen = (curve.probability >= bounds[0]) & (curve.probability <= bounds[1])
    marked = "o" if seen.sum() <= FEW_POINTS else None
    ax.plot(bounds, bounds, color=INK, linewidth=1.0, linestyle=(0, (4, 3)), label="as often as forecast")
    ax.axvline(base_rate, color=ORANGE, linewidth=1.2, label="base rate")
    if len(band.probability) == 1:
        ax.vlines(band.probability, band.low, band.high, color=BAND, linewidth=7, alpha=0.6, label="95% of luck")
    else:
        ax.fill_between(band.probability, band.low, band.high, color=BAND, alpha=0.45, linewidth=0, label="95% of luck")
    ax.plot(curve.probability, curve.share, color=BLUE, linewidth=1.8, marker=marked, markersize=5, label="came up")
    ax.set_xlim(*bounds)
    ax.set_ylim(*_heights(curve, band, bounds))
    shares(ax.xaxis, ticks=5)
    shares(ax.yaxis, ticks=5)
    ax.tick_params(axis="x", labelbottom=False)
    ax.set_ylabel("share that came up", fontsize=SMALL, color=INK)
    legend(ax, loc="upper left", columns=2)


def _heights(curve: ReliabilityCurve, band: Band, bounds: tuple[float, float]) -> tuple[float, float]:
    """Return limits that hold what is drawn of nearly all forecasts, with room for a legend above."""
    share = np.cumsum(curve.count) / curve.count.sum()
    most = (share >= EDGE) & (share - curve.count / curve.count.sum() <= 1.0 - EDGE)
    ends = np.clip(curve.probability[most][[0, -1]], *bounds)
    among = (band.probability >= ends[0]) & (band.probability <= ends[1])
    drawn = np.concatenate([ends, curve.share[most], band.low[among], band.high[among]])
    low, high = float(drawn.min()), float(drawn.max())
    low = min(low, high - FLATTEST * (bounds[1] - bounds[0]))
    return low - 0.06 * (high - low), high + 0.34 * (high - low)


def counts(ax: Axes, spread: Spread, *, base_rate: float) -> None:
    """Draw how many forecasts there were of each probability."""
    ax.stairs(spread.count, spread.edges, fill=True, color=BLUE, alpha=0.45)
    ax.axvline(base_rate, color=ORANGE, linewidth=1.2)
    ax.set_xlim(spread.edges[0], spread.edges[-1])
    most = int(spread.count.max())
    ax.set_ylim(0, 1.3 * most)
    ax.set_yticks([tick for tick in MaxNLocator(2, integer=True).tick_values(0, most) if tick <= most])
    ax.yaxis.set_major_formatter(
        FuncFormatter(lambda count, _: f"{count:,.0f}" if count < 10_000 else f"{count / 1000:,g}k")
    )
    shares(ax.xaxis, ticks=5)
    ax.set_ylabel("forecasts", fontsize=SMALL, color=INK)
    ax.set_xlabel("forecast probability of up", fontsize=SMALL, color=INK)


def roc(ax: Axes, curve: RocCurve, band: RocBand | None) -> None:
    """Draw what share of ups is called, by the share of the others that is called up by mistake."""
    if band is not None:
        ax.fill_between(
            band.false_up, band.low, band.high, color=BLUE, alpha=0.2, linewidth=0, label="95% of resamples, pointwise"
        )
    ax.plot((0, 1), (0, 1), color=INK, linewidth=1.0, linestyle=(0, (4, 3)), label="knowing nothing")
    ax.plot(curve.false_up, curve.true_up, color=BLUE, linewidth=1.8, label="the forecasts")
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1)
    ax.xaxis.set_major_formatter(in_percent())
    ax.yaxis.set_major_formatter(in_percent())
    ax.set_xlabel("share of the others called up", fontsize=SMALL, color=INK)
    ax.set_ylabel("share of ups called up", fontsize=SMALL, color=INK)
    legend(ax, loc="lower right")


def by_outcome(ax: Axes, spread: Spread, *, base_rate: float) -> None:
    """Draw how the probabilities lie where up came and where it did not, each as shares of its own."""
    both = ((spread.share_other, VERMILION, "not up"), (spread.share_up, BLUE, "up"))
    drawn = [(part, colour, name) for part, colour, name in both if part is not None]
    for part, colour, name in drawn:
        ax.stairs(part, spread.edges, color=colour, linewidth=1.6, fill=False, label=name)
        ax.stairs(part, spread.edges, color=colour, fill=True, alpha=0.15)
    ax.axvline(base_rate, color=ORANGE, linewidth=1.2, label="base rate")
    ax.set_xlim(spread.edges[0], spread.edges[-1])
    ax.set_ylim(0, 1.25 * max(float(part.max()) for part, *_ in drawn))
    shares(ax.xaxis, ticks=5)
    shares(ax.yaxis, ticks=4)
    ax.set_xlabel("forecast probability of up", fontsize=SMALL, color=INK)
    ax.set_ylabel("share of each", fontsize=SMALL, color=INK)
    legend(ax, loc="upper left", columns=3)
