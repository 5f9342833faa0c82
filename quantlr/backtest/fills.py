"""The three fills side by side: what the same decisions earn, filled at the next close, the next open, or at once.

Filling at the very close that a decision is made from is the textbook's convention, and nobody can do it. Where only
that fill pays, what was found is the convention and not an edge.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pandas as pd

from quantlr.backtest.costs import ExecutionSpec, Fill
from quantlr.backtest.engine import backtest_positions, truncate_backtest
from quantlr.backtest.metrics import BacktestView, cagr, cost_total, sharpe, total_return
from quantlr.core.errors import DataError
from quantlr.core.progress import Note
from quantlr.core.values import BacktestResult, Positions, Prices
from quantlr.stats.hac import SIGNIFICANCE_LEVEL
from quantlr.stats.sharpe import probabilistic_sharpe

FILL_CONVENTIONS: tuple[Fill, ...] = get_args(Fill)
FillComparison = dict[str, dict[str, Any] | None]
"""Headline numbers by fill; None for a fill that can't be had."""


def backtest_by_fill(
    positions: Positions, prices: Prices, execution: ExecutionSpec, *, sessions_per_year: int
) -> dict[Fill, BacktestResult | None]:
    """Return the backtest of the same decisions at each fill, over the sessions that all of them share.

    None where opens are missing, or prices end before anything is earned.

    The first decision is the same close's too early: made with the others' next one, it is filled when theirs is, so
    that each fill pays for its own first trade, and none has a session more than another.
    """
    found: dict[Fill, BacktestResult | None] = {}
    for fill in FILL_CONVENTIONS:
        decided = _postpone_first_decision(positions) if fill == "close" else positions
        spec = execution.model_copy(update={"fill": fill})
        try:
            found[fill] = backtest_positions(decided, prices, spec, sessions_per_year=sessions_per_year)
        except DataError:
            found[fill] = None
    common = min((len(result.equity) for result in found.values() if result), default=0)
    return {fill: truncate_backtest(result, common) if result else None for fill, result in found.items()}


def compare_fills(
    positions: Positions, prices: Prices, execution: ExecutionSpec, *, sessions_per_year: int
) -> FillComparison:
    """Return what decisions earn at each fill; see `fill_results`.

    For each fill: sessions; sharpe, cagr, total_return and cost_total as in `metrics`; probabilistic_sharpe against 0;
    and whether one can trade there: never at the close of the decision, and not at opens that repeat the close before.
    None for a fill that can't be had.
    """
    found = backtest_by_fill(positions, prices, execution, sessions_per_year=sessions_per_year)
    return {
        fill: _headline_metrics(result, sessions_per_year, is_tradable=_is_fill_tradable(fill, positions, prices))
        if result
        else None
        for fill, result in found.items()
    }


def is_significant_only_at_same_close(comparison: FillComparison) -> bool | None:
    """Return whether the Sharpe ratio is shown to be positive at the decision's own close and at no fill that is real.

    Shown is a probabilistic Sharpe ratio of at least 95 %. None where no real fill is there to compare with.
    """
    real = [numbers for numbers in comparison.values() if numbers and numbers["tradable"]]
    same = comparison["close"]
    if same is None or not real:
        return None
    return _is_sharpe_significant(same) and not any(_is_sharpe_significant(numbers) for numbers in real)


def same_close_edge_notes(comparison: FillComparison) -> tuple[Note, ...]:
    """Return a note where an edge lives only at the close that nobody can trade at."""
    if not is_significant_only_at_same_close(comparison):
        return ()
    text = "it pays only at the very close that it is decided from, where nobody can trade"
    return (Note("backtest", f"{text}: {sharpe_by_fill_text(comparison)}"),)


def sharpe_by_fill_text(comparison: FillComparison) -> str:
    """Return the Sharpe ratio of each fill that can be had, for a line of text."""
    places = {"next_close": "the next close", "next_open": "the next open", "close": "the same close"}
    ratios = [
        f"{numbers['sharpe']:.2f} at {places[fill]}{'' if numbers['tradable'] else ' (not tradable)'}"
        for fill, numbers in comparison.items()
        if numbers and numbers["sharpe"] is not None
    ]
    return f"Sharpe {', '.join(ratios)}" if ratios else "Sharpe undefined"


def _is_sharpe_significant(fill_metrics: dict[str, Any]) -> bool:
    probability = fill_metrics["probabilistic_sharpe"]
    return probability is not None and bool(probability >= 1 - SIGNIFICANCE_LEVEL)


def _is_fill_tradable(fill: Fill, positions: Positions, prices: Prices) -> bool:
    if fill == "next_open":
        decided = ~np.isnan(positions.weight).all(axis=0)
        return bool(prices.has_tradable_opens[decided].all())
    return fill == "next_close"


def _headline_metrics(result: BacktestResult, sessions_per_year: int, *, is_tradable: bool) -> dict[str, Any]:
    run = BacktestView(result, pd.DataFrame(), sessions_per_year)
    numbers = {metric.__name__: metric(run) for metric in (sharpe, cagr, total_return, cost_total)}
    return {
        "tradable": is_tradable,
        "sessions": len(result.equity),
        **numbers,
        "probabilistic_sharpe": probabilistic_sharpe(run.excess_returns),
    }


def _postpone_first_decision(positions: Positions) -> Positions:
    """Return decisions of which those of the first session stand from the next one on, where there is none then."""
    first = int(np.flatnonzero(~np.isnan(positions.weight).all(axis=1))[0])
    weight = positions.weight.copy()
    both = weight[first : first + 2]
    weight[first + 1 : first + 2] = np.where(np.isnan(both[1:]), both[:1], both[1:])
    weight[first] = np.nan
    return replace(positions, weight=weight)
