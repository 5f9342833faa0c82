"""Skill piece by piece: returns by probability, right calls by year and by ticker."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from quantlr.backtest.forecast_analysis import GroupAccuracy, ProbabilityGroupReturns
from quantlr.core.arrays import Array
from quantlr.report.figures.forecast import add_legend, format_share_axis
from quantlr.report.style import BLACK, BLUE, GREY, LIGHT_GREY, ORANGE, SMALL_SIZE, percent_formatter, percent_text
from quantlr.stats.hac import Z95

MAX_YEAR_LABELS = 20
"""Years that are named below a picture, at most; of more, every second, third or so."""
MAX_LABEL_DECIMALS = 4
MAX_NORMAL_FONT_TICKERS, SMALL_TICKER_FONT_SIZE = 6, 7.0
"""Tickers that have room for letters of the usual size, and the size for more."""
MAX_TICKER_CHARS = 12
"""Letters of a ticker's name."""
MIN_RELATIVE_COUNT = 0.25
"""Calls of a year, relative to the fullest, under which its interval may leave the picture."""
LEGEND_HEADROOM = 0.3
"""Room for a legend, as a fraction of what is drawn."""


def draw_returns_by_probability(ax: Axes, return_groups: ProbabilityGroupReturns) -> None:
    """Draw the mean return after forecasts of each group, lowest probability first, beside the mean of all."""
    at = np.arange(1, len(return_groups.mean_return) + 1)
    ax.axhline(0, color=GREY, linewidth=0.8)
    ax.axhline(
        return_groups.overall_mean_return,
        color=ORANGE,
        linewidth=1.3,
        label=f"all forecasts: {percent_text(return_groups.overall_mean_return, decimals=2)}",
    )
    ax.errorbar(at, return_groups.mean_return, yerr=Z95 * return_groups.standard_error, fmt="o", color=BLUE, markersize=5, elinewidth=1.4,
                label="mean and 95% interval")  # fmt: skip
    reach = Z95 * return_groups.standard_error
    _set_y_limits_with_headroom(
        ax, float((return_groups.mean_return - reach).min()), float((return_groups.mean_return + reach).max())
    )
    ax.yaxis.set_major_formatter(percent_formatter())
    labels = _distinct_percent_labels(return_groups.mean_probability)
    ax.set_xticks(at, labels)
    ax.set_xlabel("equal groups of forecasts, by mean probability of up, percent", fontsize=SMALL_SIZE, color=BLACK)
    ax.set_ylabel("mean return", fontsize=SMALL_SIZE, color=BLACK)
    add_legend(ax, corner="upper left", n_columns=2)


def draw_accuracy_by_year(ax: Axes, group_accuracy: GroupAccuracy) -> None:
    """Draw the share of right calls of each year with its interval, beside the base rate's call."""
    first, last = int(group_accuracy.group_ids[0]), int(group_accuracy.group_ids[-1])
    half = min(0.32, 0.018 * (last - first + 1.4))
    ax.errorbar(group_accuracy.group_ids, group_accuracy.accuracy, yerr=_error_bar_lengths(group_accuracy), fmt="o", color=BLUE, markersize=5, elinewidth=1.4,
                label="the model's calls, 95% interval")  # fmt: skip
    ax.hlines(group_accuracy.baseline_accuracy, group_accuracy.group_ids - half, group_accuracy.group_ids + half, color=ORANGE, linewidth=2.2,
              label="base rate's call")  # fmt: skip
    full = group_accuracy.count >= MIN_RELATIVE_COUNT * group_accuracy.count.max()
    seen = np.concatenate(
        [
            group_accuracy.accuracy_low[full],
            group_accuracy.accuracy_high[full],
            group_accuracy.accuracy,
            group_accuracy.baseline_accuracy,
        ]
    )
    room = 0.06 * max(float(np.ptp(seen)), 0.01)
    ax.set_ylim(float(seen.min()) - room, float(seen.max()) + room)
    ax.set_xlim(first - 0.7, last + 0.7)
    ax.set_xticks(range(first, last + 1, 1 + (last - first) // MAX_YEAR_LABELS))
    format_share_axis(ax.yaxis, max_ticks=5)
    add_legend(ax, corner="lower right", n_columns=2, is_above_axes=True)


def draw_accuracy_by_ticker(ax: Axes, group_accuracy: GroupAccuracy, tickers: Sequence[str]) -> None:
    """Draw the share of right calls of a few tickers with its interval, the best on top."""
    order = np.argsort(group_accuracy.accuracy, kind="stable")
    at = np.arange(len(order))
    ax.errorbar(group_accuracy.accuracy[order], at, xerr=_error_bar_lengths(group_accuracy)[:, order], fmt="o", color=BLUE, markersize=4.5,
                elinewidth=1.4, label="the model's calls, 95% interval")  # fmt: skip
    ax.vlines(
        group_accuracy.baseline_accuracy[order],
        at - 0.35,
        at + 0.35,
        color=ORANGE,
        linewidth=2.2,
        label="base rate's call",
    )
    ax.set_ylim(-0.7, (len(at) - 0.3) * (1.0 + LEGEND_HEADROOM))
    ax.set_yticks(at, [shorten_ticker(tickers[row]) for row in order])
    ax.tick_params(axis="y", labelsize=SMALL_SIZE if len(at) <= MAX_NORMAL_FONT_TICKERS else SMALL_TICKER_FONT_SIZE)
    format_share_axis(ax.xaxis, max_ticks=5)
    ax.grid(axis="x", color=LIGHT_GREY, linewidth=0.8)
    ax.grid(visible=False, axis="y")
    add_legend(ax, corner="upper left", n_columns=2)


def draw_ranked_excess_accuracy(ax: Axes, group_accuracy: GroupAccuracy, *, expected_by_rank: Array) -> None:
    """Draw how far each of many tickers is ahead of the base rate's call, worst first, beside luck's part in that.

    Parameters
    ----------
    luck : (tickers,) what luck alone puts at each rank.
    """
    ahead = np.sort(group_accuracy.accuracy_difference)
    rank = np.arange(1, len(ahead) + 1)
    ax.axhline(0, color=ORANGE, linewidth=1.3, label="base rate's call")
    ax.plot(rank, expected_by_rank, color=GREY, linewidth=1.6, label="luck alone, if tickers were independent")
    ax.plot(rank, ahead, ".", color=BLUE, markersize=5)
    lowest, highest = (
        min(float(ahead[0]), float(expected_by_rank[0])),
        max(float(ahead[-1]), float(expected_by_rank[-1])),
    )
    room = max(highest - lowest, 0.01)
    ax.set_ylim(lowest - 0.08 * room, highest + LEGEND_HEADROOM * room)
    ax.set_xlim(1 - 0.02 * len(rank), 1.02 * len(rank))
    ax.yaxis.set_major_formatter(percent_formatter())
    ax.yaxis.set_major_locator(MaxNLocator(4))
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.set_xlabel("tickers, worst first", fontsize=SMALL_SIZE, color=BLACK)
    ax.set_ylabel("ahead by", fontsize=SMALL_SIZE, color=BLACK)
    add_legend(ax, corner="upper left", n_columns=2)


def shorten_ticker(ticker: str) -> str:
    """Return a ticker's name in few letters."""
    return ticker if len(ticker) <= MAX_TICKER_CHARS else f"{ticker[: MAX_TICKER_CHARS - 1]}…"


def _distinct_percent_labels(proportions: Array) -> list[str]:
    """Return shares in percent with as many decimals as tell them apart; every other one where that makes them long."""
    for decimals in range(1, MAX_LABEL_DECIMALS + 1):
        labels = [percent_text(value, decimals=decimals, suffix="") for value in proportions]
        if len(set(labels)) == len(labels):
            break
    return labels if decimals == 1 else [label if at % 2 == 0 else "" for at, label in enumerate(labels)]


def _error_bar_lengths(group_accuracy: GroupAccuracy) -> Array:
    """Return how far intervals reach below and above: (2, groups)."""
    return np.maximum(
        [group_accuracy.accuracy - group_accuracy.accuracy_low, group_accuracy.accuracy_high - group_accuracy.accuracy],
        0.0,
    )


def _set_y_limits_with_headroom(ax: Axes, low: float, high: float) -> None:
    """Set limits that hold what is drawn, with room for a legend above."""
    room = max(high - low, 1e-9)
    ax.set_ylim(low - 0.06 * room, high + LEGEND_HEADROOM * room)
