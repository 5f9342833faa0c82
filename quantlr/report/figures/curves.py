"""What a strategy became over time: equity, drawdown and how often it was right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import date2num
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from quantlr.backtest.series import Drawdown, HitRates, RollingSharpe
from quantlr.report.figures.style import (
    BAND,
    BLUE,
    FAINT,
    GREY,
    INK,
    MINUS,
    ORANGE,
    SKY,
    SMALL,
    in_percent,
    multiple,
    nice_ticks,
    percent,
)
from quantlr.types import Array

LOWEST_EQUITY = 1e-3
"""Where the equity axis ends, however much is lost."""
ROOM_BELOW = 1.25
"""How far the axis of drawdowns goes below the deepest, so that the numbers of the deepest stand clear of it."""
FEW = 40
"""Points of a line below which each is marked: of one alone there would be nothing to see."""


@dataclass(frozen=True, slots=True)
class Curves:
    """Values of one unit of capital over time.

    Attributes
    ----------
    dates : (sessions + 1,) from the first fill on.
    net, gross, benchmark : (sessions + 1,) beginning at 1.
    net_drawdown, benchmark_drawdown : (sessions + 1,) fall from the highest so far, <= 0.
    """

    dates: pd.DatetimeIndex
    net: Array
    gross: Array
    benchmark: Array
    net_drawdown: Array
    benchmark_drawdown: Array


def equity_curves(ax: Axes, curves: Curves) -> None:
    """Draw equity after and before costs beside buy and hold, on a log scale: equal steps are equal gains."""
    ax.set_yscale("log")
    for values, name, colour, width in (
        (curves.benchmark, "buy and hold", ORANGE, 1.3),
        (curves.gross, "strategy before costs", SKY, 1.2),
        (curves.net, "strategy after costs", BLUE, 1.9),
    ):
        alive = np.where(values > 0, values, np.nan)
        ax.plot(curves.dates, alive, color=colour, linewidth=width, label=f"{name}: 1 became {multiple(values[-1])}")
    together = np.concatenate([curves.net, curves.gross, curves.benchmark])
    alive = together[together > 0]
    ax.set_ylim(max(float(alive.min()), LOWEST_EQUITY) * 0.97, float(alive.max()) * 1.06)
    ax.yaxis.set_major_locator(FixedLocator(nice_ticks(*ax.get_ylim())))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(
        handles[::-1], labels[::-1], loc="lower left", bbox_to_anchor=(0, 0.99), ncols=3, frameon=False,
        fontsize=SMALL + 0.5, labelcolor=INK, borderaxespad=0.1, borderpad=0, handlelength=1.6, columnspacing=1.6,
    )  # fmt: skip


def shaded(ax: Axes, falls: Sequence[Drawdown], *, end: pd.Timestamp) -> None:
    """Shade each fall from its high until that is regained, or to the end."""
    for fall in falls:
        ax.axvspan(date2num(fall.high), date2num(fall.regained or end), color=FAINT, alpha=0.55, linewidth=0, zorder=0)


def numbered(ax: Axes, falls: Sequence[Drawdown], *, end: pd.Timestamp) -> None:
    """Number the falls at the foot of the axes; say at the right above them how deep each was, and how long it took."""
    for place, fall in enumerate(falls, start=1):
        middle = (date2num(fall.high) + date2num(fall.regained or end)) / 2
        ax.annotate(
            str(place), (middle, 0.0), (0, 2), xycoords=("data", "axes fraction"), textcoords="offset points",
            ha="center", va="bottom", fontsize=SMALL, color=INK, fontweight="bold",
        )  # fmt: skip
    said = [f"{place}: {percent(fall.depth)}, {_span(fall)}" for place, fall in enumerate(falls, start=1)]
    ax.annotate(
        "     ".join(said), (1.0, 1.0), (0, 6), xycoords="axes fraction", textcoords="offset points", ha="right",
        va="baseline", fontsize=SMALL, color=INK,
    )  # fmt: skip


def _span(fall: Drawdown) -> str:
    return f"{fall.high:%b %Y} to {fall.regained:%b %Y}" if fall.regained is not None else f"since {fall.high:%b %Y}"


def drawdowns(ax: Axes, curves: Curves) -> None:
    """Draw how far each stands below its highest so far."""
    ax.fill_between(curves.dates, curves.net_drawdown, 0.0, color=BLUE, alpha=0.35, linewidth=0)
    ax.plot(curves.dates, curves.net_drawdown, color=BLUE, linewidth=0.9)
    ax.plot(curves.dates, curves.benchmark_drawdown, color=ORANGE, linewidth=0.9)
    lowest = min(float(curves.net_drawdown.min()), float(curves.benchmark_drawdown.min()), -0.01)
    ax.set_ylim(lowest * ROOM_BELOW, 0.0)
    ax.yaxis.set_major_formatter(in_percent())
    ax.locator_params(axis="y", nbins=4)


def sharpe_ratios(ax: Axes, ratios: RollingSharpe) -> None:
    """Draw the trailing Sharpe ratios on the band that luck alone would keep to."""
    dots = "o" if len(ratios.dates) < FEW else ""
    luck = "95% of luck, if the true ratio is 0"
    ends = ratios.dates[[0, -1]]
    ax.fill_between(ends, -ratios.luck, ratios.luck, color=BAND, alpha=0.45, linewidth=0, label=luck)
    for values, name, colour, width in (
        (ratios.benchmark, "buy and hold", ORANGE, 1.3),
        (ratios.strategy, "strategy after costs", BLUE, 1.6),
    ):
        ax.plot(
            ratios.dates, values, color=colour, linewidth=width, marker=dots, markersize=3, clip_on=not dots, label=name
        )  # fmt: skip
    ax.axhline(0.0, color=GREY, linewidth=0.8)
    ax.locator_params(axis="y", nbins=6)
    seen = np.concatenate([ratios.strategy, ratios.benchmark, [-ratios.luck, ratios.luck]])
    low, high = float(np.nanmin(seen)), float(np.nanmax(seen))
    ax.set_ylim(low - 0.05 * (high - low), high + 0.25 * (high - low))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", MINUS)))
    _legend_inside(ax)


def hit_rates(ax: Axes, rates: HitRates) -> None:
    """Draw the trailing share of right calls inside the band that luck alone would keep to."""
    luck = "95% of luck (binomial)" if rates.independent else "95% of luck, if calls were independent"
    ax.fill_between(
        rates.dates,
        rates.low,
        rates.high,
        color=BAND,
        alpha=0.45,
        linewidth=0,
        label=luck,
    )
    ax.plot(rates.dates, rates.base_rate, color=ORANGE, linewidth=1.3, label="base rate's call")
    ax.plot(rates.dates, rates.accuracy, color=BLUE, linewidth=1.6, label="the model's calls")
    ax.yaxis.set_major_formatter(in_percent())
    ax.locator_params(axis="y", nbins=5)
    low, high = min(rates.low.min(), rates.accuracy.min()), max(rates.high.max(), rates.accuracy.max())
    ax.set_ylim(float(low - 0.02), float(high + 0.3 * max(high - low, 0.02)))
    _legend_inside(ax)


def _legend_inside(ax: Axes) -> None:
    """Name the lines in a row at the top of the axes, the last drawn first."""
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(
        handles[::-1], labels[::-1], loc="upper left", ncols=3, frameon=False, fontsize=SMALL, labelcolor=INK,
        borderaxespad=0.1, columnspacing=1.5,
    )  # fmt: skip
