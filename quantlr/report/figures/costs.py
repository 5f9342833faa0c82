"""What trading earned and cost, and what it would have at other costs and other fills."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from quantlr.report.figures.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    VERMILION,
    in_percent,
    in_words,
    legend_above,
    multiple,
    nice_ticks,
    number,
    percent,
)
from quantlr.types import Array

PART_COLOURS = {"commission": ORANGE, "slippage": VERMILION, "spread and fees": PURPLE, "borrow": GREEN}
FILL_COLOURS = {"next_close": BLUE, "next_open": GREEN, "close": ORANGE}


@dataclass(frozen=True, slots=True)
class Piled:
    """What was earned and paid so far, as sums of fractions of each session's equity.

    Attributes
    ----------
    dates : (sessions,) session that ends each return.
    earned : (sessions,) before costs, in excess of cash.
    parts : name to (sessions,) costs so far, those that came to anything.
    """

    dates: pd.DatetimeIndex
    earned: Array
    parts: dict[str, Array]


@dataclass(frozen=True, slots=True)
class AtCost:
    """The Sharpe ratio by cost per trade.

    Attributes
    ----------
    bps, sharpe : (m,) cost per traded side in basis points, and the ratio at it; NaN where undefined.
    own_bps, own_sharpe : of this run.
    break_even_bps : where the gross returns above cash would be used up.
    borrows : whether borrow costs something besides, which that leaves aside.
    held_sharpe : of buy and hold at its own costs; None where undefined.
    """

    bps: Array
    sharpe: Array
    own_bps: float
    own_sharpe: float | None
    break_even_bps: float
    borrows: bool
    held_sharpe: float | None


@dataclass(frozen=True, slots=True)
class FillCurve:
    """Equity of one fill over the sessions that all share.

    Attributes
    ----------
    fill : its key.
    name : what a reader is told of it.
    dates, equity : (sessions + 1,) beginning at 1.
    own : whether it is the fill of this run.
    tradable : whether one can trade there.
    """

    fill: str
    name: str
    dates: pd.DatetimeIndex
    equity: Array
    own: bool
    tradable: bool


def piled_costs(ax: Axes, piled: Piled) -> None:
    """Draw what was earned before costs, and what costs took of it, one upon the other."""
    if not piled.parts and not piled.earned.any():
        in_words(ax, "Nothing was earned above cash, and nothing was paid.")
        return
    marker = "." if len(piled.dates) < 40 else None
    base = np.zeros(len(piled.dates))
    for name, values in piled.parts.items():
        label = f"{name} {percent(values[-1])}"
        ax.fill_between(
            piled.dates, base, base + values, color=PART_COLOURS[name], alpha=0.75, linewidth=0, label=label
        )
        base = base + values
    label = f"earned before costs {percent(piled.earned[-1])}"
    ax.plot(piled.dates, piled.earned, color=BLUE, linewidth=1.4, marker=marker, label=label)
    ax.axhline(0, color=GREY, linewidth=0.8)
    ax.yaxis.set_major_formatter(in_percent())
    ax.locator_params(axis="y", nbins=5)
    legend_above(ax, columns=5)


def cost_curve(ax: Axes, at: AtCost) -> None:
    """Draw the Sharpe ratio against the cost of a trade, with the run's own cost and where it breaks even."""
    if at.held_sharpe is not None:
        text = f"buy and hold: {number(at.held_sharpe)}"
        ax.axhline(at.held_sharpe, color=ORANGE, linewidth=1.2, label=text)
    ax.plot(at.bps, at.sharpe, color=BLUE, linewidth=1.8, label="strategy")
    ax.axhline(0, color=GREY, linewidth=0.8)
    if at.own_sharpe is not None:
        text = f"this run: {number(at.own_bps, decimals=1)} bps, {number(at.own_sharpe)}"
        ax.plot([at.own_bps], [at.own_sharpe], color=INK, marker="o", markersize=6, linestyle="none", label=text)
    if 0 <= at.break_even_bps <= at.bps[-1]:
        text = f"breaks even{', borrow aside' if at.borrows else ''}: {number(at.break_even_bps, decimals=1)} bps"
        ax.axvline(at.break_even_bps, color=VERMILION, linewidth=1.2, linestyle="--", label=text)
    ax.set_xlim(0, at.bps[-1])
    ax.locator_params(axis="y", nbins=5)
    ax.locator_params(axis="x", nbins=7)
    ax.set_xlabel("cost of a trade, one side, in basis points of what is traded", fontsize=8.2, color=INK, labelpad=1)
    legend_above(ax, columns=2)


def fill_curves(ax: Axes, curves: list[FillCurve]) -> None:
    """Draw equity at each fill on a log scale; dashed where nobody can trade."""
    for curve in curves:
        alive = np.where(curve.equity > 0, curve.equity, np.nan)
        label = f"{curve.name}: {multiple(curve.equity[-1])}"
        ax.plot(
            curve.dates, alive, color=FILL_COLOURS[curve.fill], linewidth=1.9 if curve.own else 1.2,
            linestyle="-" if curve.tradable else (0, (4, 1.5)), label=label, zorder=3 if curve.own else 2,
        )  # fmt: skip
    ax.set_yscale("log")
    together = np.concatenate([curve.equity for curve in curves])
    together = together[together > 0]
    ax.set_ylim(max(float(together.min()), 1e-3) * 0.98, float(together.max()) * 1.02)
    ax.yaxis.set_major_locator(FixedLocator(nice_ticks(*ax.get_ylim())))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    legend_above(ax, columns=1)
