"""Costs by kind, and the Sharpe ratio at other costs, against backtests with those costs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quantlr.backtest.costs import ExecutionSpec
from quantlr.backtest.engine import backtest_positions
from quantlr.backtest.metric_types import BacktestView
from quantlr.backtest.metrics import break_even_cost_bps
from quantlr.backtest.rolling import average_trade_cost_bps, costs_by_kind, sharpe_at_cost
from quantlr.core.values import BacktestResult, Positions, Prices

from markets import random_walk_prices, with_unadjusted_quotes

YEAR = 252
COSTS = np.array([0.0, 3.0, 250.0])


def random_positions(prices: Prices, seed: int, *, leverage: float = 1.0) -> Positions:
    rng = np.random.default_rng(seed)
    shape = prices.bars_to_sessions(prices.close).shape
    weight = leverage * rng.choice([-1.0, 0.0, 0.4, 1.0], shape) / shape[1]
    weight[np.isnan(prices.bars_to_sessions(prices.close))] = np.nan
    weight[:4] = np.nan
    return Positions(prices.tickers, prices.sessions, weight)


def random_backtest(seed: int, execution: ExecutionSpec, *, tickers: int = 1, leverage: float = 1.0) -> BacktestResult:
    prices = with_unadjusted_quotes(random_walk_prices(seed, n_sessions=80, n_tickers=tickers, with_gaps=True), seed)
    return backtest_positions(
        random_positions(prices, seed, leverage=leverage), prices, execution, sessions_per_year=YEAR
    )


def sharpe(result: BacktestResult) -> float:
    excess = result.net_return - result.session_cash_rate
    return float(excess.mean() / excess.std(ddof=1) * math.sqrt(YEAR))


PER_SHARE: dict[str, Any] = {"per_share": 0.01, "min_per_order": 2.0, "spread": "corwin_schultz"}


@given(
    seed=st.integers(0, 10_000), tickers=st.integers(1, 3), fees=st.booleans(), cash=st.sampled_from([0.0, 0.04]),
    leverage=st.sampled_from([1.0, 2.5]), fill=st.sampled_from(["next_close", "next_open", "close"]),
)  # fmt: skip
@settings(max_examples=8, deadline=None)
def test_sharpe_at_cost_equals_backtest_with_that_cost(
    seed: int, tickers: int, fees: bool, cash: float, leverage: float, fill: Any
) -> None:
    """For any costs of the run itself: commission and slippage, or a fee per share, a minimum fee and a spread."""
    execution = ExecutionSpec(
        fill=fill, cash_rate=cash, borrow_bps_per_year=300.0, **(PER_SHARE if fees else {"commission_bps": 7.0})
    )
    result = random_backtest(seed, execution, tickers=tickers, leverage=leverage)
    sharpes = sharpe_at_cost(result, COSTS, execution, sessions_per_year=YEAR)
    for cost, value in zip(COSTS, sharpes, strict=True):
        single_cost = ExecutionSpec(
            fill=fill, cash_rate=cash, borrow_bps_per_year=300.0, commission_bps=float(cost), slippage_bps=0.0
        )
        other = random_backtest(seed, single_cost, tickers=tickers, leverage=leverage)
        assert value == pytest.approx(sharpe(other), rel=1e-9, abs=1e-9)


def test_sharpe_at_ruinous_cost_equals_backtest() -> None:
    """At 10 % per side and three times the capital, changing sides costs more than the equity."""
    execution = ExecutionSpec(commission_bps=0.0, slippage_bps=0.0)
    result = random_backtest(2, execution, leverage=6.0)
    (value,) = sharpe_at_cost(result, np.array([1000.0]), execution, sessions_per_year=YEAR)
    other = random_backtest(2, execution.model_copy(update={"commission_bps": 1000.0}), leverage=6.0)
    assert other.equity[-1] == 0.0
    assert len(other.equity) < len(result.equity)
    assert value == pytest.approx(sharpe(other), rel=1e-9)


def test_sharpe_is_zero_at_break_even_cost() -> None:
    execution = ExecutionSpec(
        commission_bps=4.0, slippage_bps=1.0, borrow_bps_per_year=0.0, financing_bps_per_year=0.0, cash_rate=0.02
    )
    result = random_backtest(3, execution, tickers=2)
    average = average_trade_cost_bps(result, execution, sessions_per_year=YEAR)
    break_even = break_even_cost_bps(BacktestView(result, YEAR))
    assert average == pytest.approx(5.0)
    assert break_even is not None
    sharpes = sharpe_at_cost(result, np.array([break_even, 5.0]), execution, sessions_per_year=YEAR)
    assert sharpes[0] == pytest.approx(0.0, abs=1e-9)
    assert sharpes[1] == pytest.approx(sharpe(result), rel=1e-12)


def test_costs_by_kind_equal_backtests_with_single_costs() -> None:
    execution = ExecutionSpec(commission_bps=3.0, slippage_bps=2.0, borrow_bps_per_year=400.0, **PER_SHARE)
    result = random_backtest(5, execution, tickers=2, leverage=2.0)
    breakdown = costs_by_kind(result, execution, sessions_per_year=YEAR)
    names = ("commission_bps", "slippage_bps", "borrow_bps_per_year", "financing_bps_per_year")
    nothing = dict.fromkeys(names, 0.0)
    for values, alone in (
        (breakdown["commission"], {"commission_bps": 3.0}),
        (breakdown["slippage"], {"slippage_bps": 2.0}),
        (breakdown["borrow"], {"borrow_bps_per_year": 400.0}),
        (breakdown["financing"], {"financing_bps_per_year": 150.0}),
    ):
        other = random_backtest(5, ExecutionSpec(**{**nothing, **alone}), tickers=2, leverage=2.0)
        np.testing.assert_allclose(values, other.cost, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(sum(breakdown.values()), result.cost, rtol=1e-12)
    assert (breakdown["spread and fees"] > 0).any()
    average = average_trade_cost_bps(result, execution, sessions_per_year=YEAR)
    carry = breakdown["borrow"] + breakdown["financing"]
    assert average == pytest.approx((result.cost - carry).sum() / result.turnover.sum() * 1e4)
    for fee in ({"per_share": 0.01}, {"min_per_order": 2.0}, {"spread": "corwin_schultz"}):
        one_fee = ExecutionSpec.model_validate(fee)
        assert costs_by_kind(random_backtest(5, one_fee), one_fee, sessions_per_year=YEAR)["spread and fees"].any()
    default = ExecutionSpec()
    assert not costs_by_kind(random_backtest(5, default), default, sessions_per_year=YEAR)["spread and fees"].any()


def test_costs_without_trades_are_undefined() -> None:
    prices = random_walk_prices(1, n_sessions=30)
    weight = np.where(np.arange(30) < 4, np.nan, 0.0)[:, None]
    execution = ExecutionSpec()
    flat = Positions(prices.tickers, prices.sessions, weight)
    result = backtest_positions(flat, prices, execution, sessions_per_year=YEAR)
    assert average_trade_cost_bps(result, execution, sessions_per_year=YEAR) is None
    assert np.isnan(sharpe_at_cost(result, COSTS, execution, sessions_per_year=YEAR)).all()
