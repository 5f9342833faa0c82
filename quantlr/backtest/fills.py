"""The same decisions under each fill convention: at the next close, the next open, or the decision's own close.

The last is the textbook's convention, and nobody can trade so. A profit that occurs under it alone is no edge.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import numpy as np

from quantlr.backtest.costs import ExecutionSpec, Fill
from quantlr.backtest.engine import backtest_positions, truncate_backtest
from quantlr.backtest.metric_types import BacktestView
from quantlr.backtest.metrics import metrics_shown_in
from quantlr.core.errors import DataError
from quantlr.core.values import BacktestResult, Note, Positions, Prices
from quantlr.stats.hac import SIGNIFICANCE_LEVEL
from quantlr.stats.sharpe import probabilistic_sharpe

FILL_CONVENTIONS: tuple[Fill, ...] = get_args(Fill)
FillComparison = dict[str, dict[str, Any] | None]
"""Metrics by fill; None for a fill that is not available."""


def backtest_by_fill(
    positions: Positions, prices: Prices, execution: ExecutionSpec, *, sessions_per_year: int
) -> dict[Fill, BacktestResult | None]:
    """Return the backtest of the same decisions under each fill, over the sessions that all of them share.

    None where opens are missing, or prices end before the first return.

    At the same close, the first decision would be filled a session before the other fills. It is therefore made with
    the next one, so that each fill pays for its own first trade, and none has a session more than another.
    """
    results: dict[Fill, BacktestResult | None] = {}
    for fill in FILL_CONVENTIONS:
        decisions = _postpone_first_decision(positions) if fill == "close" else positions
        spec = execution.model_copy(update={"fill": fill})
        try:
            results[fill] = backtest_positions(decisions, prices, spec, sessions_per_year=sessions_per_year)
        except DataError:
            results[fill] = None
    n_sessions = min((len(result.equity) for result in results.values() if result), default=0)
    return {fill: truncate_backtest(result, n_sessions) if result else None for fill, result in results.items()}


def _postpone_first_decision(positions: Positions) -> Positions:
    """Return positions whose first session's decisions are made one session later, unless there are others then."""
    first = int(np.flatnonzero(~np.isnan(positions.weight).all(axis=1))[0])
    weight = positions.weight.copy()
    next_session = weight[first + 1 : first + 2]
    next_session[:] = np.where(np.isnan(next_session), weight[first : first + 1], next_session)
    weight[first] = np.nan
    return replace(positions, weight=weight)


def compare_fill_metrics(
    positions: Positions, prices: Prices, execution: ExecutionSpec, *, sessions_per_year: int
) -> FillComparison:
    """Return metrics of the same decisions under each fill; see `backtest_by_fill`.

    For each fill: tradable, whether one can trade so (never at the decision's own close, nor at opens that repeat the
    close before); sessions; the metrics that are shown by fill, as in ``metrics.json``; probabilistic_sharpe against 0.
    None for a fill that is not available.
    """
    has_decision = ~np.isnan(positions.weight).all(axis=0)
    tradable = {"next_close": True, "next_open": bool(prices.tradable_opens_mask[has_decision].all()), "close": False}
    comparison: FillComparison = {}
    results = backtest_by_fill(positions, prices, execution, sessions_per_year=sessions_per_year)
    for fill, result in results.items():
        comparison[fill] = None
        if result is not None:
            view = BacktestView(result, sessions_per_year)
            metrics = {"tradable": tradable[fill], "sessions": len(result.equity)}
            metrics |= {metric.key: metric.compute(view) for metric in metrics_shown_in("by_fill", "fills")}
            comparison[fill] = metrics | {"probabilistic_sharpe": probabilistic_sharpe(view.excess_returns)}
    return comparison


def is_significant_only_at_same_close(comparison: FillComparison) -> bool | None:
    """Return whether the Sharpe ratio is significantly positive at the decision's own close and at no tradable fill.

    Significant is a probabilistic Sharpe ratio of at least 95 %. None without a tradable fill to compare with.
    """
    tradable = [metrics for metrics in comparison.values() if metrics and metrics["tradable"]]
    same_close = comparison["close"]
    if same_close is None or not tradable:
        return None
    probabilities = (metrics["probabilistic_sharpe"] for metrics in (same_close, *tradable))
    significant = [probability is not None and probability >= 1 - SIGNIFICANCE_LEVEL for probability in probabilities]
    return bool(significant[0]) and not any(significant[1:])


def same_close_edge_notes(comparison: FillComparison) -> tuple[Note, ...]:
    """Return a note if the Sharpe ratio is significant only at the close that nobody can trade at."""
    if not is_significant_only_at_same_close(comparison):
        return ()
    text = "the Sharpe ratio is significant only with a fill at the decision's own close, where nobody can trade"
    return (Note("backtest", f"{text}: {sharpe_by_fill_text(comparison)}"),)


def sharpe_by_fill_text(comparison: FillComparison) -> str:
    """Return the Sharpe ratio under each available fill, as a line of text."""
    names = {"next_close": "the next close", "next_open": "the next open", "close": "the same close"}
    ratios = [
        f"{metrics['sharpe']:.2f} at {names[fill]}{'' if metrics['tradable'] else ' (not tradable)'}"
        for fill, metrics in comparison.items()
        if metrics and metrics["sharpe"] is not None
    ]
    return f"Sharpe {', '.join(ratios)}" if ratios else "Sharpe undefined"
