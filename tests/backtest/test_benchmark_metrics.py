"""Metrics against a benchmark, by statsmodels, pandas and a loop over the holdings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from quantlr.backtest import benchmark_metrics
from quantlr.backtest.costs import ExecutionSpec
from quantlr.backtest.engine import backtest_with_benchmark
from quantlr.backtest.metric_types import BacktestView
from quantlr.core.values import Positions
from quantlr.stats.sharpe_difference import sharpe_difference

from markets import random_walk_prices

YEAR = 252


def random_view(*, cash_rate: Any = 0.02, benchmark: str = "buy_and_hold", weight: float | None = None) -> BacktestView:
    """Return a backtest of random weights of two tickers, one of which is listed later and delisted."""
    prices = random_walk_prices(4, n_sessions=700, n_tickers=2, with_gaps=True)
    rng = np.random.default_rng(5)
    weights = rng.choice([-0.5, 0.0, 0.5], (700, 2)) if weight is None else np.full((700, 2), weight)
    weights[np.isnan(prices.bars_to_sessions(prices.close))] = np.nan
    weights[:5] = np.nan
    execution = ExecutionSpec(cash_rate=cash_rate(prices.sessions) if callable(cash_rate) else cash_rate)
    positions = Positions(prices.tickers, prices.sessions, weights)
    result = backtest_with_benchmark(
        positions, prices, execution, sessions_per_year=YEAR, benchmark=benchmark,  # type: ignore[arg-type]
    )  # fmt: skip
    return BacktestView(result, YEAR)


def series(view: BacktestView) -> tuple[pd.Series[float], pd.Series[float]]:
    """Return the excess returns of strategy and benchmark."""
    result = view.result
    assert result.benchmark is not None
    cash = result.session_cash_rate
    return pd.Series(result.net_return - cash), pd.Series(result.benchmark.net_return - cash)


def test_regression_metrics_equal_statsmodels_and_pandas() -> None:
    view = random_view()
    returns, benchmark = series(view)
    fit = sm.OLS(returns, sm.add_constant(benchmark)).fit()
    alpha, test = benchmark_metrics.alpha(view), benchmark_metrics.alpha_test(view)
    assert alpha is not None
    assert test is not None
    assert alpha["annual"] == pytest.approx(fit.params.iloc[0] * YEAR)
    error = fit.get_robustcov_results("HC0").bse[0]
    assert alpha["low95"] == pytest.approx((fit.params.iloc[0] - 1.645 * error) * YEAR, abs=0.3 * error * YEAR)
    assert test["statistic"] == pytest.approx(fit.params.iloc[0] / error, rel=0.4)
    assert benchmark_metrics.beta(view) == pytest.approx(fit.params.iloc[1])
    assert benchmark_metrics.benchmark_correlation(view) == pytest.approx(returns.corr(benchmark))
    active = returns - benchmark
    assert benchmark_metrics.information_ratio(view) == pytest.approx(active.mean() / active.std() * np.sqrt(YEAR))


def test_sharpe_difference_is_annual() -> None:
    view = random_view()
    returns, benchmark = series(view)
    expected = sharpe_difference(*(np.asarray(values, dtype=np.float64) for values in (returns, benchmark)))
    assert expected is not None
    assert expected.interval is not None
    difference = (returns.mean() / returns.std() - benchmark.mean() / benchmark.std()) * np.sqrt(YEAR)
    assert benchmark_metrics.sharpe_above_benchmark(view) == pytest.approx(difference)
    interval = tuple(bound * np.sqrt(YEAR) for bound in expected.interval)
    assert benchmark_metrics.sharpe_above_benchmark_interval(view) == pytest.approx(interval)


def test_timing_is_the_net_return_above_the_average_holding() -> None:
    """The average is over the sessions from a ticker's first bar to its last; the holding has no costs."""

    def rising_rates(sessions: pd.DatetimeIndex) -> list[tuple[str, float]]:
        return [("1990-01-01", 0.0), *((f"{date:%Y-%m-%d}", 0.12 * k) for k, date in enumerate(sessions[50::100], 1))]

    view = random_view(cash_rate=rising_rates)
    result, cash = view.result, np.asarray(view.result.session_cash_rate)
    assert np.ptp(cash) > 0
    holding = np.zeros(len(result.equity))
    for ticker in range(2):
        bars = np.flatnonzero(~np.isnan(result.price[:, ticker]))
        listed = slice(bars[0], bars[-1])
        mean = result.weight[listed, ticker].mean()
        holding[listed] += mean * (result.ticker_return[listed, ticker] - cash[listed])
    above = result.net_return - cash - holding
    assert benchmark_metrics.timing(view) == pytest.approx(above.mean() * YEAR)
    test = benchmark_metrics.timing_test(view)
    assert np.sign(test["statistic"]) == np.sign(above.mean())


def test_buy_and_hold_has_neither_alpha_nor_test() -> None:
    held = random_view()
    assert held.result.benchmark is not None
    view = BacktestView(replace(held.result.benchmark, benchmark=held.result.benchmark), YEAR)
    alpha, test = benchmark_metrics.alpha(view), benchmark_metrics.alpha_test(view)
    assert alpha == pytest.approx({"annual": 0.0, "low95": 0.0}, abs=1e-12)
    assert test is not None
    assert test["p_value"] is None
    assert benchmark_metrics.beta(view) == pytest.approx(1.0)
    assert benchmark_metrics.information_ratio(view) is None
    assert benchmark_metrics.sharpe_above_benchmark_interval(view) is None


def test_against_cash_alpha_is_the_excess_return() -> None:
    view = random_view(benchmark="cash")
    alpha = benchmark_metrics.alpha(view)
    assert alpha is not None
    assert alpha["annual"] == pytest.approx(view.excess_returns.mean() * YEAR)
    assert benchmark_metrics.beta(view) == 0.0
    assert benchmark_metrics.benchmark_correlation(view) is None
    assert benchmark_metrics.sharpe_above_benchmark(view) is None


def test_without_a_benchmark_nothing_is_compared() -> None:
    held = random_view()
    assert held.result.benchmark is not None
    undefined = replace(held.result.benchmark, net_return=np.full_like(held.result.net_return, np.nan))
    for benchmark in (None, undefined):
        view = BacktestView(replace(held.result, benchmark=benchmark), YEAR)
        for name in ("alpha", "alpha_test", "beta", "benchmark_correlation", "information_ratio"):
            assert getattr(benchmark_metrics, name)(view) is None
        assert benchmark_metrics.sharpe_above_benchmark(view) is None
        assert benchmark_metrics.sharpe_above_benchmark_interval(view) is None
