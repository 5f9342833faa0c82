"""What trading earned and cost, and what it would have at other costs and other fills."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from quantlr.core.arrays import Array
from quantlr.report.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    VERMILION,
    add_legend_above,
    draw_message,
    format_multiple,
    nice_ticks,
    number_text,
    percent_formatter,
    percent_text,
)

COST_PART_COLORS = {"commission": ORANGE, "slippage": VERMILION, "spread and fees": PURPLE, "borrow": GREEN}
FILL_COLORS = {"next_close": BLUE, "next_open": GREEN, "close": ORANGE}


@dataclass(frozen=True, slots=True)
class CumulativeCosts:
    """What was earned and paid so far, as sums of fractions of each session's equity.

    Attributes
    ----------
    dates : (sessions,) session that ends each return.
    earned : (sessions,) before costs, in excess of cash.
    parts : name to (sessions,) costs so far, those that came to anything.
    """

    dates: pd.DatetimeIndex
    cumulative_gross_excess: Array
    cumulative_cost_by_part: dict[str, Array]


@dataclass(frozen=True, slots=True)
class SharpeByCost:
    """The Sharpe ratio by cost per trade.

    Attributes
    ----------
    bps, sharpe : (m,) cost per traded side in basis points, and the ratio at it; NaN where undefined.
    own_bps, own_sharpe : of this run.
    break_even_bps : where the gross returns above cash would be used up.
    borrows : whether borrow costs something besides, which that leaves aside.
    held_sharpe : of buy and hold at its own costs; None where undefined.
    """

    cost_bps: Array
    sharpe: Array
    run_cost_bps: float
    run_sharpe: float | None
    break_even_cost_bps: float
    has_borrow_cost: bool
    benchmark_sharpe: float | None


@dataclass(frozen=True, slots=True)
class FillEquityCurve:
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
    label: str
    dates: pd.DatetimeIndex
    equity: Array
    is_run_fill: bool
    is_tradable: bool


def draw_cumulative_costs(ax: Axes, cumulative_costs: CumulativeCosts) -> None:
    """Draw what was earned before costs, and what costs took of it, one upon the other."""
    if not cumulative_costs.cumulative_cost_by_part and not cumulative_costs.cumulative_gross_excess.any():
        draw_message(ax, "Nothing was earned above cash, and nothing was paid.")
        return
    marker = "." if len(cumulative_costs.dates) < 40 else None
    base = np.zeros(len(cumulative_costs.dates))
    for name, values in cumulative_costs.cumulative_cost_by_part.items():
        label = f"{name} {percent_text(values[-1])}"
        ax.fill_between(
            cumulative_costs.dates,
            base,
            base + values,
            color=COST_PART_COLORS[name],
            alpha=0.75,
            linewidth=0,
            label=label,
        )
        base = base + values
    label = f"earned before costs {percent_text(cumulative_costs.cumulative_gross_excess[-1])}"
    ax.plot(
        cumulative_costs.dates,
        cumulative_costs.cumulative_gross_excess,
        color=BLUE,
        linewidth=1.4,
        marker=marker,
        label=label,
    )
    ax.axhline(0, color=GREY, linewidth=0.8)
    ax.yaxis.set_major_formatter(percent_formatter())
    ax.locator_params(axis="y", nbins=5)
    add_legend_above(ax, n_columns=5)


def draw_sharpe_by_cost(ax: Axes, sharpe_by_cost: SharpeByCost) -> None:
    """Draw the Sharpe ratio against the cost of a trade, with the run's own cost and where it breaks even."""
    if sharpe_by_cost.benchmark_sharpe is not None:
        text = f"buy and hold: {number_text(sharpe_by_cost.benchmark_sharpe)}"
        ax.axhline(sharpe_by_cost.benchmark_sharpe, color=ORANGE, linewidth=1.2, label=text)
    ax.plot(sharpe_by_cost.cost_bps, sharpe_by_cost.sharpe, color=BLUE, linewidth=1.8, label="strategy")
    ax.axhline(0, color=GREY, linewidth=0.8)
    if sharpe_by_cost.run_sharpe is not None:
        text = f"this run: {number_text(sharpe_by_cost.run_cost_bps, decimals=1)} bps, {number_text(sharpe_by_cost.run_sharpe)}"
        ax.plot(
            [sharpe_by_cost.run_cost_bps],
            [sharpe_by_cost.run_sharpe],
            color=BLACK,
            marker="o",
            markersize=6,
            linestyle="none",
            label=text,
        )
    if 0 <= sharpe_by_cost.break_even_cost_bps <= sharpe_by_cost.cost_bps[-1]:
        text = f"breaks even{', borrow aside' if sharpe_by_cost.has_borrow_cost else ''}: {number_text(sharpe_by_cost.break_even_cost_bps, decimals=1)} bps"
        ax.axvline(sharpe_by_cost.break_even_cost_bps, color=VERMILION, linewidth=1.2, linestyle="--", label=text)
    ax.set_xlim(0, sharpe_by_cost.cost_bps[-1])
    ax.locator_params(axis="y", nbins=5)
    ax.locator_params(axis="x", nbins=7)
    ax.set_xlabel("cost of a trade, one side, in basis points of what is traded", fontsize=8.2, color=BLACK, labelpad=1)
    add_legend_above(ax, n_columns=2)


def draw_equity_by_fill(ax: Axes, equity_curves: list[FillEquityCurve]) -> None:
    """Draw equity at each fill on a log scale; dashed where nobody can trade."""
    for curve in equity_curves:
        alive = np.where(curve.equity > 0, curve.equity, np.nan)
        label = f"{curve.label}: {format_multiple(curve.equity[-1])}"
        ax.plot(
            curve.dates, alive, color=FILL_COLORS[curve.fill], linewidth=1.9 if curve.is_run_fill else 1.2,
            linestyle="-" if curve.is_tradable else (0, (4, 1.5)), label=label, zorder=3 if curve.is_run_fill else 2,
        )  # fmt: skip
    ax.set_yscale("log")
    together = np.concatenate([curve.equity for curve in equity_curves])
    together = together[together > 0]
    ax.set_ylim(max(float(together.min()), 1e-3) * 0.98, float(together.max()) * 1.02)
    ax.yaxis.set_major_locator(FixedLocator(nice_ticks(*ax.get_ylim())))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    add_legend_above(ax, n_columns=1)
