"""Costs of orders per share, per order and by spread: by arithmetic, and against the simulations of the paper."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from quantlr.backtest.costs import ExecutionSpec, corwin_schultz_spread, half_spread_rates
from quantlr.backtest.engine import backtest_with_benchmark
from quantlr.backtest.metric_types import BacktestView
from quantlr.backtest.metrics import break_even_cost_bps
from quantlr.backtest.trades import trade_table
from quantlr.core.errors import DataError
from quantlr.core.values import Array, BacktestResult, Positions, Prices
from quantlr.data.csv.reader import BarFrame
from quantlr.data.prices import prices_from_ticker_bars

from markets import random_walk_prices, with_unadjusted_quotes
from oracles import corwin_schultz_spread_by_loop

NOTHING: dict[str, Any] = {"commission_bps": 0.0, "slippage_bps": 0.0, "borrow_bps_per_year": 0.0, "fill": "close"}


def prices_of_one_ticker(close: list[float], adj_close: list[float] | None = None) -> Prices:
    dates = pd.bdate_range("2020-01-06", periods=len(close)).as_unit("us")
    columns = dict.fromkeys(("open", "high", "low", "close", "volume"), close)
    frame: BarFrame = pd.DataFrame({**columns, "adj_close": adj_close or close}, index=dates, dtype=float)
    return prices_from_ticker_bars({"X": frame}, source="", sha256="", notes=[])


def backtest(prices: Prices, weight: list[float], **execution: Any) -> BacktestResult:
    positions = Positions(prices.tickers, prices.sessions, np.array(weight)[:, None])
    return backtest_with_benchmark(positions, prices, ExecutionSpec(**{**NOTHING, **execution}), sessions_per_year=252)


def random_positions(prices: Prices, seed: int) -> Positions:
    rng = np.random.default_rng(seed)
    weight = rng.choice([-1.0, 0.0, 1.0], (len(prices.sessions), len(prices.tickers))) / len(prices.tickers)
    weight[np.isnan(prices.bars_to_sessions(prices.close))] = np.nan
    return Positions(prices.tickers, prices.sessions, weight)


def test_share_commission_uses_the_quoted_price() -> None:
    """100,000 buy 1,000 shares quoted at 100, also if a later split halves the adjusted price: 5 at half a cent each.

    They double; 200,000 sell 2,000 shares quoted at 100 after a split by two, for 10 in 200,000.
    """
    prices = prices_of_one_ticker([100, 100, 100], adj_close=[50, 100, 100])
    result = backtest(prices, [1, 0, 0], per_share=0.005)
    np.testing.assert_allclose(result.cost, [5 / 100_000, 10 / 200_000])
    at_open = backtest(prices, [1, 0, 0], per_share=0.005, fill="next_open")
    np.testing.assert_allclose(at_open.cost, [1_000 * 0.005 / 100_000])


def test_minimum_fee_is_relative_to_current_equity() -> None:
    """Equity of 1,000 pays 10 to get in, 1 %; what is left, 990, falls by half; 10 of 495 to get out is 2.02 %."""
    result = backtest(prices_of_one_ticker([100, 50, 50, 50]), [1, 0, 0, 0], min_per_order=10.0, capital=1_000.0)
    equity = 1.0 * (1 - 0.5 - 0.01)
    np.testing.assert_allclose(result.cost, [0.01, 0.01 / equity, 0.0])
    np.testing.assert_allclose(result.equity, [equity, equity - 0.01, equity - 0.01])


def test_share_commission_above_the_minimum_is_charged_in_full() -> None:
    """10 shares of 100 at 3 each are 30, above the least of 10; 1 share is 3, below it."""
    result = backtest(
        prices_of_one_ticker([100, 100, 100]), [0.1, 1.0, 1.0], per_share=3.0, min_per_order=10.0, capital=1_000.0
    )
    np.testing.assert_allclose(result.cost, [10 / 1_000, 9 * 3 / 1_000 / 1.0], rtol=1e-12)


def test_fees_can_cause_ruin() -> None:
    result = backtest(prices_of_one_ticker([100] * 5), [1, 0, 1, 0, 1], min_per_order=400.0, capital=1_000.0)
    np.testing.assert_allclose(result.equity, [0.6, 0.2, 0.0], atol=1e-15)
    assert "equity fell to 0" in result.notes[0].text


def test_rounding_differences_of_weights_are_no_orders() -> None:
    """Buy and hold of three tickers makes three orders; rounding of its drifting weights makes none."""
    prices = random_walk_prices(3, n_sessions=300, n_tickers=3)
    weight = np.full((300, 3), 1 / 3)
    execution = ExecutionSpec(**{**NOTHING, "min_per_order": 1.0, "capital": 1_000.0})
    result = backtest_with_benchmark(
        Positions(prices.tickers, prices.sessions, weight), prices, execution, sessions_per_year=252
    )
    assert result.benchmark is not None
    np.testing.assert_allclose(result.benchmark.cost, [3 / 1_000, *[0.0] * 298], atol=1e-15)
    assert (result.cost > 0).all(), "the strategy goes back to a third each session, and pays for it"


@given(seed=st.integers(0, 10_000), capital=st.sampled_from([3_000.0, 1e6]))
def test_trade_costs_add_up_and_break_even_cost_is_independent_of_costs(seed: int, capital: float) -> None:
    prices = with_unadjusted_quotes(random_walk_prices(seed, n_sessions=60, n_tickers=3, with_gaps=True), seed)
    positions = random_positions(prices, seed)
    execution = ExecutionSpec(per_share=0.01, min_per_order=1.0, capital=capital, spread="corwin_schultz")
    costly = backtest_with_benchmark(positions, prices, execution, sessions_per_year=252)
    free = backtest_with_benchmark(
        positions, prices, ExecutionSpec(**{**NOTHING, "fill": "next_close"}), sessions_per_year=252
    )
    trades = trade_table(costly)
    assert (trades["cost"] * trades["size"]).sum() == pytest.approx(costly.cost.sum(), rel=1e-9)
    break_even, free_break_even = (break_even_cost_bps(BacktestView(result, 252)) for result in (costly, free))
    assert break_even == pytest.approx(free_break_even, rel=1e-9)
    np.testing.assert_array_equal(costly.weight, free.weight)


@given(seed=st.integers(0, 10_000))
def test_minimum_fee_below_every_order_changes_nothing(seed: int) -> None:
    """The loop over sessions, which a minimum fee needs, equals the calculation without it."""
    prices = with_unadjusted_quotes(random_walk_prices(seed, n_sessions=60, n_tickers=3, with_gaps=True), seed)
    positions = random_positions(prices, seed)
    plain, with_minimum = (
        backtest_with_benchmark(
            positions, prices, ExecutionSpec(per_share=0.02, min_per_order=least), sessions_per_year=252
        )
        for least in (0.0, 1e-9)
    )
    np.testing.assert_allclose(with_minimum.equity, plain.equity, rtol=1e-12)


@given(seed=st.integers(0, 10_000))
def test_spread_equals_loop_over_pairs_of_bars(seed: int) -> None:
    prices = random_walk_prices(seed, n_sessions=60, n_tickers=2, with_gaps=True)
    half = half_spread_rates(prices, traded_mask=np.ones(2, dtype=np.bool_))
    for session in (0, 1, 7, 30, 59):
        for ticker in range(2):
            expected = corwin_schultz_spread_by_loop(prices, ticker, session=session) / 2
            assert half[session, ticker] == pytest.approx(expected, abs=1e-12)


def bars_with_a_spread(spread: float, *, sessions: int, seed: int) -> tuple[Array, Array, Array]:
    """Return high, low and close of trades at the bid or the ask of a random walk, as Corwin and Schultz simulate."""
    rng = np.random.default_rng(seed)
    value = np.exp(np.cumsum(rng.normal(0, 0.03 / np.sqrt(390), sessions * 390))).reshape(sessions, 390)
    traded = value * (1 + spread / 2 * rng.choice([-1, 1], value.shape))
    return traded.max(axis=1)[:, None], traded.min(axis=1)[:, None], traded[:, -1:]


@pytest.mark.parametrize("spread", [0.03, 0.08])
def test_spread_estimate_recovers_simulated_spread(spread: float) -> None:
    """With 390 trades a session and 3 % of volatility, as in the paper's simulations, the mean is near the truth.

    Estimates below 0 count as 0, which lifts the mean of a small spread.
    """
    estimated = corwin_schultz_spread(*bars_with_a_spread(spread, sessions=2_000, seed=1))
    assert np.nanmean(estimated) == pytest.approx(spread, rel=0.15)


def test_spread_uses_no_later_bars() -> None:
    prices = random_walk_prices(1, n_sessions=80)
    cut = prices.before_session(50)
    early = corwin_schultz_spread(cut.high, cut.low, cut.close)
    np.testing.assert_allclose(corwin_schultz_spread(prices.high, prices.low, prices.close)[:50], early, atol=1e-12)
    later = replace(prices, high=prices.high * np.where(np.arange(80) > 50, 1.5, 1.0)[:, None])
    weight = np.where(np.arange(80) < 10, np.nan, np.arange(80) % 2)[:, None]
    execution = ExecutionSpec(spread="corwin_schultz", fill="next_close")
    cost, later_cost = (
        backtest_with_benchmark(
            Positions(prices.tickers, prices.sessions, weight), market, execution, sessions_per_year=252
        ).cost
        for market in (prices, later)
    )
    first_seen = 51 + 1 - 11
    np.testing.assert_array_equal(cost[:first_seen], later_cost[:first_seen])
    assert cost[first_seen] != later_cost[first_seen], "known at the close of session 51, it is paid by the next fill"


def test_spread_without_highs_raises() -> None:
    prices = random_walk_prices(1, n_sessions=30, n_tickers=2)
    without_highs = replace(prices, high=np.where(np.arange(2) == 1, np.nan, prices.high))
    execution = ExecutionSpec(spread="corwin_schultz")
    with pytest.raises(DataError, match="spread corwin_schultz needs highs and lows, and T1 has none") as error:
        backtest_with_benchmark(random_positions(prices, 1), without_highs, execution, sessions_per_year=252)
    assert error.value.key == "execution.spread"


@pytest.mark.parametrize("invalid", [{"capital": 0.0}, {"per_share": -0.01}, {"min_per_order": -1.0}, {"spread": "x"}])
def test_invalid_costs_raise(invalid: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ExecutionSpec(**invalid)


def test_trading_costs_text() -> None:
    assert ExecutionSpec().trading_costs_text() == "3 bps per side"
    costly = ExecutionSpec(per_share=0.005, min_per_order=1.0, spread="corwin_schultz")
    assert costly.trading_costs_text() == "3 bps per side, 0.005 a share, at least 1 an order, half the spread"
