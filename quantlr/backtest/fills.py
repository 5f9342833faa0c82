"""The same decisions under each fill convention: at the next close, the next open, or the decision's own close.

The last is the textbook's convention, and nobody can trade so. A profit that occurs under it alone is no edge. Nor can
one trade at the next open where opens are stale: where they are no prices of trades (`stats.stale_opens`).
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
from quantlr.stats.sharpe_difference import sharpe_difference
from quantlr.stats.stale_opens import SESSIONS_PER_TRADING_YEAR, WINDOW_BARS, stale_open_windows

MAX_STALE_OPEN_SHARE = 0.1
"""Share of windows with stale opens above which the next open is no tradable fill."""
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

    For each fill: tradable, whether one can trade so (never at the decision's own close, nor at stale opens); sessions;
    the metrics that are shown by fill, as in ``metrics.json``; probabilistic_sharpe against 0; and
    below_same_close_p_value, of the one-sided test that the Sharpe ratio is lower than at the decision's own close
    (Ledoit and Wolf 2008), None where undefined. The next open has stale_open_share too, see `stale_open_share`. None
    for a fill that is not available.
    """
    stale_share = stale_open_share(positions, prices)
    tradable = {"next_close": True, "next_open": not (stale_share or 0.0) > MAX_STALE_OPEN_SHARE, "close": False}
    comparison: FillComparison = {}
    results = backtest_by_fill(positions, prices, execution, sessions_per_year=sessions_per_year)
    views = {fill: BacktestView(result, sessions_per_year) if result else None for fill, result in results.items()}
    for fill, view in views.items():
        comparison[fill] = None
        if view is not None:
            metrics: dict[str, Any] = {"tradable": tradable[fill], "sessions": len(view.result.equity)}
            metrics |= {metric.key: metric.compute(view) for metric in metrics_shown_in("by_fill", "fills")}
            metrics["probabilistic_sharpe"] = probabilistic_sharpe(view.excess_returns)
            metrics["below_same_close_p_value"] = _below_same_close_p_value(view, views["close"])
            comparison[fill] = metrics | ({"stale_open_share": stale_share} if fill == "next_open" else {})
    return comparison


def _below_same_close_p_value(view: BacktestView, same_close: BacktestView | None) -> float | None:
    if same_close is None:
        return None
    difference = sharpe_difference(same_close.excess_returns, view.excess_returns)
    return None if difference is None else difference.p_value


def stale_open_share(positions: Positions, prices: Prices) -> float | None:
    """Return the share of windows of 252 bars whose opens are stale, over all traded tickers; None without windows.

    Windows begin at the first decision, or at the last 252 bars where fewer follow it.
    """
    has_decision = ~np.isnan(positions.weight)
    sessions_per_year = prices.counted_sessions_per_year or SESSIONS_PER_TRADING_YEAR
    windows = [np.zeros(0, dtype=np.bool_)]
    for ticker in np.flatnonzero(has_decision.any(axis=0)).tolist():
        n_bars, first_session = int(prices.n_bars[ticker]), int(has_decision[:, ticker].argmax())
        first_bar = int(np.searchsorted(prices.session[:n_bars, ticker], first_session))
        bars = slice(max(min(first_bar, n_bars - WINDOW_BARS - 1), 0), n_bars)
        opens, closes = prices.open[bars, ticker], prices.close[bars, ticker]
        windows.append(stale_open_windows(opens, closes, sessions_per_year=sessions_per_year))
    is_stale = np.concatenate(windows)
    return float(is_stale.mean()) if len(is_stale) else None


def is_significant_only_at_same_close(comparison: FillComparison) -> bool | None:
    """Return whether a strategy pays at the decision's own close, and significantly less at every tradable fill.

    It pays where the probabilistic Sharpe ratio is at least 95 %, and pays at no tradable fill; the paired test finds
    each tradable fill's Sharpe ratio lower (5 %). None without a tradable fill to compare with.
    """
    tradable = [metrics for metrics in comparison.values() if metrics and metrics["tradable"]]
    same_close = comparison["close"]
    if same_close is None or not tradable:
        return None
    if not _pays(same_close):
        return False
    p_values = [metrics["below_same_close_p_value"] for metrics in tradable]
    is_lower = all(p_value is not None and p_value < SIGNIFICANCE_LEVEL for p_value in p_values)
    return is_lower and not any(map(_pays, tradable))


def _pays(fill_metrics: dict[str, Any]) -> bool:
    probability = fill_metrics["probabilistic_sharpe"]
    return probability is not None and probability >= 1 - SIGNIFICANCE_LEVEL


def same_close_edge_notes(comparison: FillComparison) -> tuple[Note, ...]:
    """Return a note if the strategy pays only at the close that nobody can trade at."""
    if not is_significant_only_at_same_close(comparison):
        return ()
    text = "the Sharpe ratio is significant, and significantly higher, only with a fill at the decision's own close, "
    text += "where nobody can trade"
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
