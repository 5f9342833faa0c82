"""What was held and traded over time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.dates import date2num
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from quantlr.backtest.held import Activity, WeightMap
from quantlr.report.figures.style import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    SMALL,
    VERMILION,
    in_percent,
    in_words,
    legend_above,
    nice_ticks,
    percent,
)
from quantlr.report.figures.tables import LOSS_TO_GAIN
from quantlr.types import Array

LONG, SHORT = SKY, VERMILION
"""Colours of what is held long, and short."""
SHORT_NAME = 8
"""Letters of the longest ticker that is written at full size."""
WIDE = 4.0
"""Ratio of the highest price to the lowest from which a log scale shows more."""


@dataclass(frozen=True, slots=True)
class HeldPrice:
    """A price, and when it was held on which side.

    Attributes
    ----------
    dates : (m,) of the prices.
    price : (m,) in the quote's currency, > 0.
    long, short : (spells, 2) dates that each spell begins and ends with.
    """

    dates: pd.DatetimeIndex
    price: Array
    long: pd.DataFrame
    short: pd.DataFrame


def held_price(ax: Axes, held: HeldPrice) -> None:
    """Draw a price, shaded while it was held long and while it was held short."""
    for spells, colour, alpha, name in ((held.long, LONG, 0.38, "long"), (held.short, SHORT, 0.34, "short")):
        if len(spells):
            first, last = (date2num(spells.iloc[:, at]) for at in (0, 1))
            ax.broken_barh(
                np.column_stack([first, last - first]).tolist(), (0, 1), transform=ax.get_xaxis_transform(),
                facecolor=colour, alpha=alpha, linewidth=0, label=f"held {name}",
            )  # fmt: skip
    ax.plot(held.dates, held.price, color=INK, linewidth=1.0, marker="." if len(held.dates) < 40 else None)
    low, high = float(held.price.min()), float(held.price.max())
    if high > WIDE * low:
        ax.set_yscale("log")
        ax.set_ylim(low / 1.05, high * 1.05)
        ax.yaxis.set_major_locator(FixedLocator(nice_ticks(*ax.get_ylim())))
        ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}" if value < 1e6 else f"{value:.3g}"))
    legend_above(ax, columns=2)


def weights(ax: Axes, held: WeightMap, tickers: list[str]) -> None:
    """Draw the weights of several tickers as a map: one row each, blue for long, orange for short."""
    shown = held.weight.T
    reach = float(np.abs(shown).max()) or 1.0
    left, right = date2num(held.edges[[0, -1]])
    ax.imshow(
        shown, cmap=LOSS_TO_GAIN, norm=TwoSlopeNorm(0.0, -reach, reach), aspect="auto", interpolation="nearest",
        extent=(left, right, len(tickers) - 0.5, -0.5),
    )  # fmt: skip
    ax.set_yticks(range(len(tickers)), [f"{ticker:.12}" for ticker in tickers])
    size = SMALL if max(map(len, tickers)) <= SHORT_NAME else 6.6
    ax.tick_params(axis="y", labelsize=size if len(tickers) <= 20 else 5.6)
    ax.grid(visible=False)
    ends = [(f"{percent(reach, decimals=0)} short", 0.0), ("nothing", 0.5), (f"{percent(reach, decimals=0)} long", 1.0)]
    ends = ends if shown.any() else ends[1:2]
    handles = [Patch(facecolor=LOSS_TO_GAIN(at), edgecolor=GREY, linewidth=0.5, label=text) for text, at in ends]
    ax.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(0, 0.99), ncols=3, frameon=False, fontsize=SMALL,
        labelcolor=INK, borderaxespad=0.1, borderpad=0, handlelength=1.2, columnspacing=1.4,
    )  # fmt: skip


def breadth(ax: Axes, held: WeightMap) -> None:
    """Draw the share of many tickers that was held long above the axis, and short below it."""
    dates = held.edges[:-1]
    ax.fill_between(dates, held.long, step="post", color=LONG, alpha=0.6, linewidth=0, label="held long")
    ax.fill_between(dates, -held.short, step="post", color=SHORT, alpha=0.5, linewidth=0, label="held short")
    ax.axhline(0, color=GREY, linewidth=0.8)
    ax.set_ylim(-max(float(np.max(held.short)), 0.02) * 1.1, max(float(np.max(held.long)), 0.02) * 1.1)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * abs(share):g}%"))
    legend_above(ax, columns=2)


def exposures(ax: Axes, done: Activity) -> None:
    """Draw trailing exposure: what was held on either side, and long less short."""
    if not done.gross.any():
        in_words(ax, "Nothing was held.")
        return
    ax.plot(done.dates, done.gross, color=BLUE, linewidth=1.5, marker=_dots(done), label="long and short together")
    if not np.array_equal(done.gross, done.net):
        ax.plot(done.dates, done.net, color=ORANGE, linewidth=1.2, marker=_dots(done), label="long less short")
        legend_above(ax, columns=2)
    ax.axhline(0, color=GREY, linewidth=0.8)
    low, high = min(float(done.net.min()), 0.0), max(float(done.gross.max()), 0.1)
    ax.set_ylim(low - 0.08 * (high - low) * (low < 0), high + 0.08 * (high - low))
    ax.yaxis.set_major_formatter(in_percent())
    ax.locator_params(axis="y", nbins=4)


def turnovers(ax: Axes, done: Activity) -> None:
    """Draw trailing turnover, in times equity a year."""
    if not done.turnover.any():
        in_words(ax, "Nothing was traded.")
        return
    ax.plot(done.dates, done.turnover, color=PURPLE, linewidth=1.4, marker=_dots(done))
    ax.set_ylim(0, max(float(done.turnover.max()), 0.1) * 1.1)
    ax.locator_params(axis="y", nbins=4)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda times, _: f"{times:g}×"))


def _dots(done: Activity) -> str | None:
    return "." if len(done.dates) < 40 else None
