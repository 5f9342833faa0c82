"""What a strategy became over time: equity, drawdown and how often it was right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import date2num
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from quantlr.backtest.rolling import DrawdownPeriod, RollingAccuracy, RollingSharpe
from quantlr.core.arrays import Array
from quantlr.report.style import (
    BAND_GREY,
    BLACK,
    BLUE,
    GREY,
    LIGHT_GREY,
    MINUS_SIGN,
    ORANGE,
    SKY,
    SMALL_SIZE,
    format_multiple,
    nice_ticks,
    percent_formatter,
    percent_text,
)

MIN_PLOTTED_EQUITY = 1e-3
"""Where the equity axis ends, however much is lost."""
DRAWDOWN_AXIS_FACTOR = 1.25
"""How far the axis of drawdowns goes below the deepest, so that the numbers of the deepest stand clear of it."""
MIN_UNMARKED_POINTS = 40
"""Points of a line below which each is marked: of one alone there would be nothing to see."""


@dataclass(frozen=True, slots=True)
class GrowthCurves:
    """Values of one unit of capital over time.

    Attributes
    ----------
    dates : (sessions + 1,) from the first fill on.
    net, gross, benchmark : (sessions + 1,) beginning at 1.
    net_drawdown, benchmark_drawdown : (sessions + 1,) fall from the highest so far, <= 0.
    """

    dates: pd.DatetimeIndex
    net_equity: Array
    gross_equity: Array
    benchmark_equity: Array
    net_drawdown: Array
    benchmark_drawdown: Array


def draw_equity_curves(ax: Axes, growth_curves: GrowthCurves) -> None:
    """Draw equity after and before costs beside buy and hold, on a log scale: equal steps are equal gains."""
    ax.set_yscale("log")
    for values, name, colour, width in (
        (growth_curves.benchmark_equity, "buy and hold", ORANGE, 1.3),
        (growth_curves.gross_equity, "strategy before costs", SKY, 1.2),
        (growth_curves.net_equity, "strategy after costs", BLUE, 1.9),
    ):
        alive = np.where(values > 0, values, np.nan)
        ax.plot(
            growth_curves.dates,
            alive,
            color=colour,
            linewidth=width,
            label=f"{name}: 1 became {format_multiple(values[-1])}",
        )
    together = np.concatenate([growth_curves.net_equity, growth_curves.gross_equity, growth_curves.benchmark_equity])
    alive = together[together > 0]
    ax.set_ylim(max(float(alive.min()), MIN_PLOTTED_EQUITY) * 0.97, float(alive.max()) * 1.06)
    ax.yaxis.set_major_locator(FixedLocator(nice_ticks(*ax.get_ylim())))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(
        handles[::-1], labels[::-1], loc="lower left", bbox_to_anchor=(0, 0.99), ncols=3, frameon=False,
        fontsize=SMALL_SIZE + 0.5, labelcolor=BLACK, borderaxespad=0.1, borderpad=0, handlelength=1.6, columnspacing=1.6,
    )  # fmt: skip


def shade_drawdowns(ax: Axes, drawdowns: Sequence[DrawdownPeriod], *, end_date: pd.Timestamp) -> None:
    """Shade each fall from its high until that is regained, or to the end."""
    for fall in drawdowns:
        ax.axvspan(
            date2num(fall.peak_date),
            date2num(fall.recovery_date or end_date),
            color=LIGHT_GREY,
            alpha=0.55,
            linewidth=0,
            zorder=0,
        )


def number_drawdowns(ax: Axes, drawdowns: Sequence[DrawdownPeriod], *, end_date: pd.Timestamp) -> None:
    """Number the falls at the foot of the axes; say at the right above them how deep each was, and how long it took."""
    for place, fall in enumerate(drawdowns, start=1):
        middle = (date2num(fall.peak_date) + date2num(fall.recovery_date or end_date)) / 2
        ax.annotate(
            str(place), (middle, 0.0), (0, 2), xycoords=("data", "axes fraction"), textcoords="offset points",
            ha="center", va="bottom", fontsize=SMALL_SIZE, color=BLACK, fontweight="bold",
        )  # fmt: skip
    said = [
        f"{place}: {percent_text(fall.depth)}, {_drawdown_dates_text(fall)}"
        for place, fall in enumerate(drawdowns, start=1)
    ]
    ax.annotate(
        "     ".join(said), (1.0, 1.0), (0, 6), xycoords="axes fraction", textcoords="offset points", ha="right",
        va="baseline", fontsize=SMALL_SIZE, color=BLACK,
    )  # fmt: skip


def _drawdown_dates_text(drawdown: DrawdownPeriod) -> str:
    return (
        f"{drawdown.peak_date:%b %Y} to {drawdown.recovery_date:%b %Y}"
        if drawdown.recovery_date is not None
        else f"since {drawdown.peak_date:%b %Y}"
    )


def draw_drawdown_curves(ax: Axes, growth_curves: GrowthCurves) -> None:
    """Draw how far each stands below its highest so far."""
    ax.fill_between(growth_curves.dates, growth_curves.net_drawdown, 0.0, color=BLUE, alpha=0.35, linewidth=0)
    ax.plot(growth_curves.dates, growth_curves.net_drawdown, color=BLUE, linewidth=0.9)
    ax.plot(growth_curves.dates, growth_curves.benchmark_drawdown, color=ORANGE, linewidth=0.9)
    lowest = min(float(growth_curves.net_drawdown.min()), float(growth_curves.benchmark_drawdown.min()), -0.01)
    ax.set_ylim(lowest * DRAWDOWN_AXIS_FACTOR, 0.0)
    ax.yaxis.set_major_formatter(percent_formatter())
    ax.locator_params(axis="y", nbins=4)


def draw_rolling_sharpe(ax: Axes, rolling_sharpe: RollingSharpe) -> None:
    """Draw the trailing Sharpe ratios on the band that luck alone would keep to."""
    dots = "o" if len(rolling_sharpe.dates) < MIN_UNMARKED_POINTS else ""
    luck = "95% of luck, if the true ratio is 0"
    ends = rolling_sharpe.dates[[0, -1]]
    ax.fill_between(
        ends,
        -rolling_sharpe.band_half_width,
        rolling_sharpe.band_half_width,
        color=BAND_GREY,
        alpha=0.45,
        linewidth=0,
        label=luck,
    )
    for values, name, colour, width in (
        (rolling_sharpe.benchmark_sharpe, "buy and hold", ORANGE, 1.3),
        (rolling_sharpe.strategy_sharpe, "strategy after costs", BLUE, 1.6),
    ):
        ax.plot(
            rolling_sharpe.dates, values, color=colour, linewidth=width, marker=dots, markersize=3, clip_on=not dots, label=name
        )  # fmt: skip
    ax.axhline(0.0, color=GREY, linewidth=0.8)
    ax.locator_params(axis="y", nbins=6)
    seen = np.concatenate(
        [
            rolling_sharpe.strategy_sharpe,
            rolling_sharpe.benchmark_sharpe,
            [-rolling_sharpe.band_half_width, rolling_sharpe.band_half_width],
        ]
    )
    low, high = float(np.nanmin(seen)), float(np.nanmax(seen))
    ax.set_ylim(low - 0.05 * (high - low), high + 0.25 * (high - low))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", MINUS_SIGN)))
    _add_legend_inside(ax)


def draw_rolling_accuracy(ax: Axes, rolling_accuracy: RollingAccuracy) -> None:
    """Draw the trailing share of right calls inside the band that luck alone would keep to."""
    luck = "95% of luck (binomial)" if rolling_accuracy.is_independent else "95% of luck, if calls were independent"
    ax.fill_between(
        rolling_accuracy.dates,
        rolling_accuracy.band_low,
        rolling_accuracy.band_high,
        color=BAND_GREY,
        alpha=0.45,
        linewidth=0,
        label=luck,
    )
    ax.plot(
        rolling_accuracy.dates,
        rolling_accuracy.baseline_accuracy,
        color=ORANGE,
        linewidth=1.3,
        label="base rate's call",
    )
    ax.plot(rolling_accuracy.dates, rolling_accuracy.accuracy, color=BLUE, linewidth=1.6, label="the model's calls")
    ax.yaxis.set_major_formatter(percent_formatter())
    ax.locator_params(axis="y", nbins=5)
    low, high = (
        min(rolling_accuracy.band_low.min(), rolling_accuracy.accuracy.min()),
        max(rolling_accuracy.band_high.max(), rolling_accuracy.accuracy.max()),
    )
    ax.set_ylim(float(low - 0.02), float(high + 0.3 * max(high - low, 0.02)))
    _add_legend_inside(ax)


def _add_legend_inside(ax: Axes) -> None:
    """Name the lines in a row at the top of the axes, the last drawn first."""
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(
        handles[::-1], labels[::-1], loc="upper left", ncols=3, frameon=False, fontsize=SMALL_SIZE, labelcolor=BLACK,
        borderaxespad=0.1, columnspacing=1.5,
    )  # fmt: skip
