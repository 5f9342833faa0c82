from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import quantlr
from hypothesis import given
from hypothesis import strategies as st
from quantlr.backtest.benchmark import Benchmark, BenchmarkTicker
from quantlr.backtest.costs import ExecutionSpec
from quantlr.backtest.engine import backtest_with_benchmark
from quantlr.config.run_config import load_config
from quantlr.core.errors import ConfigError, DataError
from quantlr.core.values import BacktestResult, Positions, Prices
from quantlr.data.scenarios import apply_scenario
from quantlr.pipeline.stages import load_run_prices

from markets import random_walk_prices
from oracles import buy_and_hold

FILLS = ("next_close", "next_open", "close")
EXTERNAL = BenchmarkTicker(ticker="SPY")
CONFIG: dict[str, Any] = {
    "data": {"source": {"kind": "sample"}, "tickers": ["AAPL", "IBM"], "start": "2005-01-03", "end": "2007-12-31"},
    "features": [{"kind": "lagged_returns", "lags": [1]}],
    "walk_forward": {"train": 250, "refit_every": 100},
}


def positions_for(prices: Prices, seed: int) -> Positions:
    rng = np.random.default_rng(seed)
    has_decision = ~np.isnan(prices.bars_to_sessions(prices.close)) & (rng.random((len(prices.sessions), 1)) < 0.9)
    first_decision = rng.integers(3, 15, len(prices.tickers))
    has_decision &= np.arange(len(prices.sessions))[:, None] >= first_decision
    weight = rng.uniform(-0.3, 0.3, has_decision.shape)
    return Positions(prices.tickers, prices.sessions, np.where(has_decision, weight, np.nan))


def with_external(prices: Prices, seed: int) -> Prices:
    """Add a benchmark with bars on Saturdays, that begins late, ends early and misses some sessions of the run."""
    context = random_walk_prices(seed + 1, n_sessions=len(prices.sessions), context_tickers=["SPY"]).context
    assert context is not None
    rng = np.random.default_rng(seed)
    keep = np.flatnonzero(rng.random(len(context.sessions)) > 0.1)[int(rng.integers(0, 12)) :]
    arrays = ("open", "high", "low", "close", "volume", "raw_close", "adjustment")
    columns: dict[str, Any] = {name: getattr(context, name)[keep] for name in arrays}
    session = np.arange(len(keep))[:, None]
    return replace(prices, benchmark=replace(context, sessions=context.sessions[keep], session=session, **columns))


def benchmark_backtest(
    positions: Positions, prices: Prices, benchmark: Benchmark, **execution: Any
) -> tuple[BacktestResult, BacktestResult]:
    spec = ExecutionSpec.model_validate(execution)
    result = backtest_with_benchmark(positions, prices, spec, sessions_per_year=252, benchmark=benchmark)
    assert result.benchmark is not None
    return result, result.benchmark


@given(seed=st.integers(0, 100_000), fill=st.sampled_from(FILLS), tickers=st.integers(1, 4))
def test_equal_weight_equals_share_counts_that_are_made_equal_every_session(seed: int, fill: str, tickers: int) -> None:
    prices = random_walk_prices(seed, n_sessions=60, n_tickers=tickers, with_gaps=True)
    positions = positions_for(prices, seed)
    _, benchmark = benchmark_backtest(positions, prices, "equal_weight", fill=fill)
    execution = ExecutionSpec.model_validate({"fill": fill})
    weight, turnover = buy_and_hold(positions, prices, execution, equal_every_session=True)
    np.testing.assert_allclose(benchmark.weight, weight, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(benchmark.turnover, turnover, rtol=1e-9, atol=1e-12)


@given(seed=st.integers(0, 100_000), cash_rate=st.sampled_from([0.0, 0.05]))
def test_cash_earns_the_cash_rate_and_nothing_else(seed: int, cash_rate: float) -> None:
    prices = random_walk_prices(seed, n_sessions=40, n_tickers=2)
    _, benchmark = benchmark_backtest(positions_for(prices, seed), prices, "cash", cash_rate=cash_rate)
    np.testing.assert_allclose(benchmark.equity, (1 + cash_rate / 252) ** np.arange(1, len(benchmark.equity) + 1))
    assert (benchmark.cost == 0).all()


def held_by_share_count(prices: Prices, result: BacktestResult, *, fill: str, bps: float) -> list[float]:
    """Net returns of one purchase with all capital at the ticker's first bar, cost deducted from the return."""
    assert prices.benchmark is not None
    quoted = (prices.benchmark.open if fill == "next_open" else prices.benchmark.close)[:, 0].tolist()
    price_on = dict(zip(prices.benchmark.sessions, quoted, strict=True))
    dates = [date for date in prices.sessions if date in price_on]
    last_price, is_held, returns = math.nan, False, []
    for date in prices.sessions:
        if date <= result.fill_dates[0] and date in price_on:
            last_price = price_on[date]
    for date, next_date in zip(result.fill_dates[:-1], result.fill_dates[1:], strict=True):
        last_price = price_on.get(date, last_price)
        cost = 0.0
        if not is_held and date in price_on and date < dates[-1]:
            is_held, cost = True, bps / 1e4
        elif is_held and date == dates[-1]:
            is_held, cost = False, bps / 1e4
        growth = price_on[next_date] / last_price - 1.0 if is_held and next_date in price_on else 0.0
        returns.append(growth - cost)
    return returns


@given(seed=st.integers(0, 100_000), fill=st.sampled_from(FILLS))
def test_ticker_of_another_market_equals_one_purchase_held(seed: int, fill: str) -> None:
    prices = with_external(random_walk_prices(seed, n_sessions=60, n_tickers=2, with_gaps=True), seed)
    positions = positions_for(prices, seed)
    costs = {"fill": fill, "commission_bps": 7.0, "slippage_bps": 0.0}
    result, benchmark = benchmark_backtest(positions, prices, EXTERNAL, **costs)
    assert benchmark.tickers == ("SPY",)
    assert (benchmark.fill_dates == result.fill_dates).all()
    expected = held_by_share_count(prices, result, fill=fill, bps=7.0)
    np.testing.assert_allclose(benchmark.net_return, expected, rtol=1e-11, atol=1e-13)
    has_gap = not set(result.fill_dates) <= set(getattr(prices.benchmark, "sessions", ()))
    assert any(note.key == "report.benchmark" and note.ticker == "SPY" for note in result.notes) == has_gap


@given(seed=st.integers(0, 1_000), cut=st.integers(20, 55), benchmark=st.sampled_from(["equal_weight", EXTERNAL]))
def test_returns_of_a_benchmark_do_not_depend_on_later_prices(seed: int, cut: int, benchmark: Benchmark) -> None:
    prices = with_external(random_walk_prices(seed, n_sessions=60, n_tickers=2), seed)
    positions = positions_for(prices, seed)
    altered = apply_scenario(prices, "noise", after_session=cut)
    was, became = (benchmark_backtest(positions, market, benchmark)[1] for market in (prices, altered))
    past = was.sessions <= prices.sessions[cut]
    np.testing.assert_array_equal(was.net_return[past], became.net_return[past])
    if past.sum() < len(past) - 3:
        assert (was.net_return != became.net_return).any()


def test_strategy_does_not_depend_on_the_benchmark() -> None:
    prices = with_external(random_walk_prices(3, n_sessions=60, n_tickers=2), 3)
    positions = positions_for(prices, 3)
    choices: tuple[Benchmark, ...] = ("buy_and_hold", "cash", "equal_weight", EXTERNAL)
    for result in (benchmark_backtest(positions, prices, choice)[0] for choice in choices):
        np.testing.assert_array_equal(
            result.net_return, benchmark_backtest(positions, prices, "buy_and_hold")[0].net_return
        )


def test_every_number_and_sentence_names_the_benchmark() -> None:
    default = quantlr.run(CONFIG)
    run = quantlr.run(CONFIG, overrides={"report.benchmark": {"ticker": "^GSPC"}})
    assert run.metrics["backtest"]["benchmark_name"] == run.benchmark_returns.name == "^GSPC"
    assert default.metrics["backtest"]["benchmark_name"] == "buy and hold"
    for section in ("forecast", "model"):
        assert run.metrics[section] == default.metrics[section]
    for metrics in (run.metrics, default.metrics):
        assert metrics["backtest"]["strategy"].pop("sharpe_ci95")  # from resamples that the benchmark shares
    assert run.metrics["backtest"]["strategy"] == default.metrics["backtest"]["strategy"]
    assert run.metrics["backtest"]["benchmark"] != default.metrics["backtest"]["benchmark"]
    close = load_run_prices(load_config({**CONFIG, "data": {**CONFIG["data"], "tickers": ["^GSPC"]}}).run)
    index = close.bars_to_sessions(close.close)[:, 0]
    dates = run.run_data.result.fill_dates[[0, -1]]
    first, last = (index[close.sessions.get_loc(date)] for date in dates)
    growth = run.metrics["backtest"]["benchmark"]["final_equity"] / (last / first)
    assert growth == pytest.approx(1 - 3e-4, abs=1e-5)


def test_traded_ticker_can_be_the_benchmark() -> None:
    run = quantlr.run(CONFIG, overrides={"report.benchmark": {"ticker": "IBM"}})
    assert run.run_data.prices.tickers == ("AAPL", "IBM")
    assert run.run_data.result.benchmark is not None
    assert run.run_data.result.benchmark.tickers == ("IBM",)


def test_features_cannot_read_the_benchmark() -> None:
    features = [{"kind": "context_returns", "ticker": "^GSPC"}]
    overrides = {"report.benchmark": {"ticker": "^GSPC"}, "features": features}
    with pytest.raises((DataError, ConfigError), match=r"\^GSPC"):
        quantlr.run(CONFIG, overrides=overrides)


def test_unknown_ticker_of_the_benchmark_is_an_error_of_its_key() -> None:
    with pytest.raises(DataError, match=r"report\.benchmark: the sample has no ticker 'XYZ'"):
        quantlr.run(CONFIG, overrides={"report.benchmark": {"ticker": "XYZ"}})
