"""What trading cost, part by part, and what the same trades would have earned at other costs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quantlr.backtest.costs import BASIS_POINT, ExecutionSpec, borrow_cost
from quantlr.backtest.inference.sharpe import sharpe_per_session
from quantlr.types import Array, BacktestResult


@dataclass(frozen=True, slots=True)
class CostBreakdown:
    """What costs were made of, each (sessions,), as fractions of the session's equity, >= 0; their sum is the cost.

    Attributes
    ----------
    commission, slippage : in proportion to what was traded.
    fees : commission per share, the least fee of an order and half the spread, together.
    borrow : on what was held short.
    """

    commission: Array
    slippage: Array
    fees_and_spread: Array
    borrow: Array


def cost_breakdown(result: BacktestResult, execution: ExecutionSpec, *, sessions_per_year: int) -> CostBreakdown:
    """Return what the costs of a backtest with `execution` were made of."""
    commission = execution.commission_bps * BASIS_POINT * result.turnover
    slippage = execution.slippage_bps * BASIS_POINT * result.turnover
    borrow = _borrow_cost_by_session(result, execution, sessions_per_year)
    fees = np.zeros_like(borrow)
    if execution.per_share or execution.min_per_order or execution.spread:
        fees = np.maximum(result.cost - commission - slippage - borrow, 0.0)
    return CostBreakdown(commission, slippage, fees, borrow)


def average_trade_cost_bps(result: BacktestResult, execution: ExecutionSpec, *, sessions_per_year: int) -> float | None:
    """Return what a trade cost on average, in basis points of what was traded, one side; borrow is no part of it.

    Commission and slippage, unless there are fees per share or spreads. None where nothing was traded.
    """
    turnover = float(result.turnover.sum())
    borrow = _borrow_cost_by_session(result, execution, sessions_per_year)
    return float((result.cost - borrow).sum()) / turnover / BASIS_POINT if turnover > 0 else None


def sharpe_at_cost(
    result: BacktestResult, cost_bps: Array, execution: ExecutionSpec, *, sessions_per_year: int
) -> Array:
    """Return the Sharpe ratio after costs, per year, had each trade cost so much; NaN where it is undefined.

    The weights stay as they are, so that gross returns and turnover do: at c basis points the net return is

        gross return - c turnover - borrow

    which is what the engine finds with a commission of c and nothing else a trade: neither slippage nor spread, no fee
    per share, none per order. Ruin ends the sessions as it does there; sessions after a ruin at the run's own costs
    are not known.

    Parameters
    ----------
    bps : (m,) costs per traded side, in basis points of what is traded.
    """
    before = result.gross_return - _borrow_cost_by_session(result, execution, sessions_per_year)
    ratios = (
        _sharpe_until_ruin(before - cost * BASIS_POINT * result.turnover, result.session_cash_rate)
        for cost in cost_bps.tolist()
    )
    root = float(np.sqrt(sessions_per_year))
    return np.array([np.nan if ratio is None else ratio * root for ratio in ratios])


def _sharpe_until_ruin(net_return: Array, cash_return: float) -> float | None:
    ruin = np.flatnonzero(1.0 + net_return <= 0)
    lived = net_return[: ruin[0] + 1] if len(ruin) else net_return
    return sharpe_per_session(lived - cash_return)


def _borrow_cost_by_session(result: BacktestResult, execution: ExecutionSpec, sessions_per_year: int) -> Array:
    """Return what borrowing cost each session, (sessions,)."""
    return np.asarray(borrow_cost(result.weight, execution, sessions_per_year=sessions_per_year).sum(axis=1))
