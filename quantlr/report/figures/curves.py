"""What a strategy became over time: equity, drawdown and how often it was right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from quantlr.backtest.series import HitRates
from quantlr.report.figures.style import BAND, BLUE, INK, ORANGE, SKY, SMALL, in_percent, multiple, nice_ticks
from quantlr.types import Array

LOWEST_EQUITY = 1e-3
"""Where the equity axis ends, however much is lost."""


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


def drawdowns(ax: Axes, curves: Curves) -> None:
    """Draw how far each stands below its highest so far."""
    ax.fill_between(curves.dates, curves.net_drawdown, 0.0, color=BLUE, alpha=0.35, linewidth=0)
    ax.plot(curves.dates, curves.net_drawdown, color=BLUE, linewidth=0.9)
    ax.plot(curves.dates, curves.benchmark_drawdown, color=ORANGE, linewidth=0.9)
    ax.set_ylim(min(float(curves.net_drawdown.min()), float(curves.benchmark_drawdown.min()), -0.01) * 1.08, 0.0)
    ax.yaxis.set_major_formatter(in_percent())
    ax.locator_params(axis="y", nbins=4)


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
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(
        handles[::-1], labels[::-1], loc="upper left", ncols=3, frameon=False, fontsize=SMALL, labelcolor=INK,
        borderaxespad=0.1, columnspacing=1.5,
    )  # fmt: skip
