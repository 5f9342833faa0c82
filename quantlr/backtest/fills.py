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
from quantlr.backtest.engine import execute_alone, first_sessions
from quantlr.backtest.inference.levels import SIGNIFICANT
from quantlr.backtest.inference.sharpe import probabilistic_sharpe
from quantlr.backtest.metrics import Measured, cagr, cost_total, sharpe, total_return
from quantlr.errors import DataError
from quantlr.types import BacktestResult, Note, Positions, Prices

FILLS: tuple[Fill, ...] = get_args(Fill)
Compared = dict[str, dict[str, Any] | None]
"""Headline numbers by fill; None for a fill that can't be had."""


def fill_results(
    positions: Positions, prices: Prices, execution: ExecutionSpec, *, sessions_per_year: int
) -> dict[Fill, BacktestResult | None]:
    """Return the backtest of the same decisions at each fill, over the sessions that all of them share.

    None where opens are missing, or prices end before anything is earned.

    The first decision is the same close's too early: made with the others' next one, it is filled when theirs is, so
    that each fill pays for its own first trade, and none has a session more than another.
    """
    found: dict[Fill, BacktestResult | None] = {}
    for fill in FILLS:
        decided = _first_decision_later(positions) if fill == "close" else positions
        spec = execution.model_copy(update={"fill": fill})
        try:
            found[fill] = execute_alone(decided, prices, spec, sessions_per_year=sessions_per_year)
        except DataError:
            found[fill] = None
    common = min((len(result.equity) for result in found.values() if result), default=0)
    return {fill: first_sessions(result, common) if result else None for fill, result in found.items()}


def compare_fills(
    positions: Positions, prices: Prices, execution: ExecutionSpec, *, sessions_per_year: int
) -> Compared:
    """Return what decisions earn at each fill; see `fill_results`.

    For each fill: sessions; sharpe, cagr, total_return and cost_total as in `metrics`; probabilistic_sharpe against 0;
    and whether one can trade there: never at the close of the decision, and not at opens that repeat the close before.
    None for a fill that can't be had.
    """
    found = fill_results(positions, prices, execution, sessions_per_year=sessions_per_year)
    return {
        fill: _headline(result, sessions_per_year, tradable=_tradable(fill, positions, prices)) if result else None
        for fill, result in found.items()
    }


def only_at_the_close(compared: Compared) -> bool | None:
    """Return whether the Sharpe ratio is shown to be positive at the decision's own close and at no fill that is real.

    Shown is a probabilistic Sharpe ratio of at least 95 %. None where no real fill is there to compare with.
    """
    real = [numbers for numbers in compared.values() if numbers and numbers["tradable"]]
    same = compared["close"]
    if same is None or not real:
        return None
    return _shown(same) and not any(_shown(numbers) for numbers in real)


def fill_notes(compared: Compared) -> tuple[Note, ...]:
    """Return a note where an edge lives only at the close that nobody can trade at."""
    if not only_at_the_close(compared):
        return ()
    text = "it pays only at the very close that it is decided from, where nobody can trade"
    return (Note("backtest", f"{text}: {sharpe_by_fill(compared)}"),)


def sharpe_by_fill(compared: Compared) -> str:
    """Return the Sharpe ratio of each fill that can be had, for a line of text."""
    places = {"next_close": "the next close", "next_open": "the next open", "close": "the same close"}
    ratios = [
        f"{numbers['sharpe']:.2f} at {places[fill]}{'' if numbers['tradable'] else ' (not tradable)'}"
        for fill, numbers in compared.items()
        if numbers and numbers["sharpe"] is not None
    ]
    return f"Sharpe {', '.join(ratios)}" if ratios else "Sharpe undefined"


def _shown(numbers: dict[str, Any]) -> bool:
    probability = numbers["probabilistic_sharpe"]
    return probability is not None and bool(probability >= 1 - SIGNIFICANT)


def _tradable(fill: Fill, positions: Positions, prices: Prices) -> bool:
    if fill == "next_open":
        decided = ~np.isnan(positions.weight).all(axis=0)
        return bool(prices.opens_tradable[decided].all())
    return fill == "next_close"


def _headline(result: BacktestResult, sessions_per_year: int, *, tradable: bool) -> dict[str, Any]:
    run = Measured(result, pd.DataFrame(), sessions_per_year)
    numbers = {metric.__name__: metric(run) for metric in (sharpe, cagr, total_return, cost_total)}
    return {
        "tradable": tradable,
        "sessions": len(result.equity),
        **numbers,
        "probabilistic_sharpe": probabilistic_sharpe(run.excess),
    }


def _first_decision_later(positions: Positions) -> Positions:
    """Return decisions of which those of the first session stand from the next one on, where there is none then."""
    first = int(np.flatnonzero(~np.isnan(positions.weight).all(axis=1))[0])
    weight = positions.weight.copy()
    both = weight[first : first + 2]
    weight[first + 1 : first + 2] = np.where(np.isnan(both[1:]), both[:1], both[1:])
    weight[first] = np.nan
    return replace(positions, weight=weight)
