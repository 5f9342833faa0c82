"""Skill piece by piece: returns by probability, right calls by year and by ticker."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from quantlr.backtest.inference.levels import Z95
from quantlr.backtest.skill_groups import GroupRates, ReturnGroups
from quantlr.report.figures.forecast import legend, shares
from quantlr.report.figures.style import BLUE, FAINT, GREY, INK, ORANGE, SMALL, in_percent, percent
from quantlr.types import Array

MOST_YEARS = 20
"""Years that are named below a picture, at most; of more, every second, third or so."""
MOST_DECIMALS = 4
ROOMY, SMALLER = 6, 7.0
"""Tickers that have room for letters of the usual size, and the size for more."""
LONGEST_NAME = 12
"""Letters of a ticker's name."""
FULL = 0.25
"""Calls of a year, relative to the fullest, under which its interval may leave the picture."""
HEADROOM = 0.3
"""Room for a legend, as a fraction of what is drawn."""


def returns_by_probability(ax: Axes, groups: ReturnGroups) -> None:
    """Draw the mean return after forecasts of each group, lowest probability first, beside the mean of all."""
    at = np.arange(1, len(groups.mean) + 1)
    ax.axhline(0, color=GREY, linewidth=0.8)
    ax.axhline(
        groups.mean_all, color=ORANGE, linewidth=1.3, label=f"all forecasts: {percent(groups.mean_all, decimals=2)}"
    )
    ax.errorbar(at, groups.mean, yerr=Z95 * groups.error, fmt="o", color=BLUE, markersize=5, elinewidth=1.4,
                label="mean and 95% interval")  # fmt: skip
    reach = Z95 * groups.error
    _with_headroom(ax, float((groups.mean - reach).min()), float((groups.mean + reach).max()))
    ax.yaxis.set_major_formatter(in_percent())
    labels = _apart(groups.probability)
    ax.set_xticks(at, labels)
    ax.set_xlabel("equal groups of forecasts, by mean probability of up, percent", fontsize=SMALL, color=INK)
    ax.set_ylabel("mean return", fontsize=SMALL, color=INK)
    legend(ax, loc="upper left", columns=2)


def rates_by_year(ax: Axes, rates: GroupRates) -> None:
    """Draw the share of right calls of each year with its interval, beside the base rate's call."""
    first, last = int(rates.group[0]), int(rates.group[-1])
    half = min(0.32, 0.018 * (last - first + 1.4))
    ax.errorbar(rates.group, rates.accuracy, yerr=_reach(rates), fmt="o", color=BLUE, markersize=5, elinewidth=1.4,
                label="the model's calls, 95% interval")  # fmt: skip
    ax.hlines(rates.base_rate, rates.group - half, rates.group + half, color=ORANGE, linewidth=2.2,
              label="base rate's call")  # fmt: skip
    full = rates.count >= FULL * rates.count.max()
    seen = np.concatenate([rates.low[full], rates.high[full], rates.accuracy, rates.base_rate])
    room = 0.06 * max(float(np.ptp(seen)), 0.01)
    ax.set_ylim(float(seen.min()) - room, float(seen.max()) + room)
    ax.set_xlim(first - 0.7, last + 0.7)
    ax.set_xticks(range(first, last + 1, 1 + (last - first) // MOST_YEARS))
    shares(ax.yaxis, ticks=5)
    legend(ax, loc="lower right", columns=2, above=True)


def rates_by_ticker(ax: Axes, rates: GroupRates, names: Sequence[str]) -> None:
    """Draw the share of right calls of a few tickers with its interval, the best on top."""
    order = np.argsort(rates.accuracy, kind="stable")
    at = np.arange(len(order))
    ax.errorbar(rates.accuracy[order], at, xerr=_reach(rates)[:, order], fmt="o", color=BLUE, markersize=4.5,
                elinewidth=1.4, label="the model's calls, 95% interval")  # fmt: skip
    ax.vlines(rates.base_rate[order], at - 0.35, at + 0.35, color=ORANGE, linewidth=2.2, label="base rate's call")
    ax.set_ylim(-0.7, (len(at) - 0.3) * (1.0 + HEADROOM))
    ax.set_yticks(at, [short(names[row]) for row in order])
    ax.tick_params(axis="y", labelsize=SMALL if len(at) <= ROOMY else SMALLER)
    shares(ax.xaxis, ticks=5)
    ax.grid(axis="x", color=FAINT, linewidth=0.8)
    ax.grid(visible=False, axis="y")
    legend(ax, loc="upper left", columns=2)


def ranked_tickers(ax: Axes, rates: GroupRates, *, luck: Array) -> None:
    """Draw how far each of many tickers is ahead of the base rate's call, worst first, beside luck's part in that.

    Parameters
    ----------
    luck : (tickers,) what luck alone puts at each rank.
    """
    ahead = np.sort(rates.ahead)
    rank = np.arange(1, len(ahead) + 1)
    ax.axhline(0, color=ORANGE, linewidth=1.3, label="base rate's call")
    ax.plot(rank, luck, color=GREY, linewidth=1.6, label="luck alone, if tickers were independent")
    ax.plot(rank, ahead, ".", color=BLUE, markersize=5)
    lowest, highest = min(float(ahead[0]), float(luck[0])), max(float(ahead[-1]), float(luck[-1]))
    room = max(highest - lowest, 0.01)
    ax.set_ylim(lowest - 0.08 * room, highest + HEADROOM * room)
    ax.set_xlim(1 - 0.02 * len(rank), 1.02 * len(rank))
    ax.yaxis.set_major_formatter(in_percent())
    ax.yaxis.set_major_locator(MaxNLocator(4))
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.set_xlabel("tickers, worst first", fontsize=SMALL, color=INK)
    ax.set_ylabel("ahead by", fontsize=SMALL, color=INK)
    legend(ax, loc="upper left", columns=2)


def short(name: str) -> str:
    """Return a ticker's name in few letters."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def _apart(values: Array) -> list[str]:
    """Return shares in percent with as many decimals as tell them apart; every other one where that makes them long."""
    for decimals in range(1, MOST_DECIMALS + 1):
        labels = [percent(value, decimals=decimals, unit="") for value in values]
        if len(set(labels)) == len(labels):
            break
    return labels if decimals == 1 else [label if at % 2 == 0 else "" for at, label in enumerate(labels)]


def _reach(rates: GroupRates) -> Array:
    """Return how far intervals reach below and above: (2, groups)."""
    return np.maximum([rates.accuracy - rates.low, rates.high - rates.accuracy], 0.0)


def _with_headroom(ax: Axes, low: float, high: float) -> None:
    """Set limits that hold what is drawn, with room for a legend above."""
    room = max(high - low, 1e-9)
    ax.set_ylim(low - 0.06 * room, high + HEADROOM * room)
