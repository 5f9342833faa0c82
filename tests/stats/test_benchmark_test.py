"""The tests against a benchmark, by statsmodels' regression, slow loops and markets whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import statsmodels.api as sm
from quantlr.core.values import Array
from quantlr.stats.benchmark_test import (
    alpha_test,
    benchmark_adjusted_returns,
    benchmark_beta,
    timing_returns,
    timing_test,
)
from quantlr.stats.cosine_test import cosine_test


def market(seed: int = 0, *, sessions: int = 600) -> tuple[Array, Array]:
    """Return a strategy's and a benchmark's returns with a beta of 0.7."""
    rng = np.random.default_rng(seed)
    benchmark = rng.normal(4e-4, 0.01, sessions)
    return 2e-4 + 0.7 * benchmark + rng.normal(0, 0.008, sessions), benchmark


def test_alpha_and_beta_equal_those_of_statsmodels() -> None:
    returns, benchmark = market()
    result = alpha_test(returns, benchmark)
    expected = sm.OLS(returns, sm.add_constant(benchmark)).fit().params
    assert (result.alpha, result.beta) == pytest.approx(tuple(expected), rel=1e-10)
    assert benchmark_beta(returns, benchmark) == result.beta


def test_mean_square_of_the_influence_is_the_robust_variance_of_statsmodels() -> None:
    returns, benchmark = market(1)
    result = alpha_test(returns, benchmark)
    robust_error = sm.OLS(returns, sm.add_constant(benchmark)).fit(cov_type="HC0").bse[0]
    n = len(returns)
    assert math.sqrt(((result.influence - result.alpha) ** 2).sum()) / n == pytest.approx(robust_error, rel=1e-10)
    assert result.influence.mean() == pytest.approx(result.alpha, rel=1e-10)


def test_influence_equals_a_loop_over_the_formula() -> None:
    returns, benchmark = market(2, sessions=80)
    R, B, n = returns.tolist(), benchmark.tolist(), len(returns)
    mean_r, mean_b = sum(R) / n, sum(B) / n
    variance = sum((b - mean_b) ** 2 for b in B) / n
    beta = sum((r - mean_r) * (b - mean_b) for r, b in zip(R, B, strict=True)) / n / variance
    alpha = mean_r - beta * mean_b
    psi = [alpha + (r - alpha - beta * b) * (1 - mean_b * (b - mean_b) / variance) for r, b in zip(R, B, strict=True)]
    result = alpha_test(returns, benchmark)
    assert result.influence == pytest.approx(psi, rel=1e-9, abs=1e-15)
    assert result.test == cosine_test(result.influence, horizon=1)


@pytest.mark.parametrize("leverage", [0.5, 2.0])
def test_leverage_alone_has_no_alpha(leverage: float) -> None:
    _, benchmark = market(3)
    result = alpha_test(leverage * benchmark - 1e-5, benchmark)
    assert result.beta == pytest.approx(leverage)
    assert result.alpha == pytest.approx(-1e-5)


def test_against_cash_alpha_is_the_mean_return() -> None:
    returns, benchmark = market(4)
    result = alpha_test(returns, np.zeros_like(benchmark))
    assert (result.beta, result.alpha) == (0.0, returns.mean())
    assert result.influence == pytest.approx(returns, rel=1e-12)


def test_timing_equals_a_loop_with_tickers_that_are_listed_for_a_while() -> None:
    rng = np.random.default_rng(5)
    weight, returns, cost = rng.normal(size=(50, 3)), rng.normal(0.1, 1, (50, 3)), rng.random(50) * 0.01
    returns[:20, 1], returns[35:, 2] = np.nan, np.nan
    weight[np.isnan(returns)] = 0.0
    expected = [-value for value in cost.tolist()]
    for ticker in range(3):
        rows = [row for row in range(50) if not math.isnan(returns[row, ticker])]
        mean_weight = sum(weight[row, ticker] for row in rows) / len(rows)
        mean_return = sum(returns[row, ticker] for row in rows) / len(rows)
        for row in rows:
            expected[row] += (weight[row, ticker] - mean_weight) * (returns[row, ticker] - mean_return)
    assert timing_returns(weight, returns, cost) == pytest.approx(expected, rel=1e-10)
    assert timing_test(weight, returns, cost) == cosine_test(timing_returns(weight, returns, cost), horizon=1)


def test_timing_adds_up_to_the_return_above_the_average_holding() -> None:
    rng = np.random.default_rng(6)
    weight, returns, cost = rng.random((300, 4)), rng.normal(0, 0.01, (300, 4)), rng.random(300) * 1e-3
    net = (weight * returns).sum(axis=1) - cost
    holding = (weight.mean(axis=0) * returns).sum(axis=1)
    assert timing_returns(weight, returns, cost).sum() == pytest.approx(net.sum() - holding.sum())


def test_a_constant_holding_has_no_timing_but_its_costs() -> None:
    returns = np.random.default_rng(7).normal(size=(40, 2))
    d = timing_returns(np.full((40, 2), 0.8), returns, np.full(40, 1e-3))
    assert d == pytest.approx(np.full(40, -1e-3))


@pytest.mark.parametrize("n_listed", [0, 1])
def test_a_ticker_with_at_most_one_session_adds_nothing(n_listed: int) -> None:
    returns = np.column_stack([np.linspace(-1, 1, 40), np.full(40, np.nan)])
    weight = np.column_stack([np.ones(40), np.zeros(40)])
    returns[:n_listed, 1], weight[:n_listed, 1] = 0.3, 0.5
    assert timing_returns(weight, returns, np.zeros(40)) == pytest.approx(np.zeros(40))


def constant_drift_market(rng: np.random.Generator, *, sessions: int = 4000) -> tuple[Array, Array]:
    """Return returns with a constant drift under stochastic volatility, and that volatility as known before each."""
    log_volatility = np.empty(sessions)
    level = 0.0
    for index, shock in enumerate(rng.normal(0, 0.1, sessions).tolist()):
        level = 0.98 * level + shock
        log_volatility[index] = level
    volatility = 0.01 * np.exp(log_volatility)
    return 5e-4 + volatility * rng.normal(size=sessions), volatility


def test_volatility_targeting_passes_alpha_more_often_than_both_tests() -> None:
    n_alpha = n_both = 0
    for seed in range(60):
        returns, volatility = constant_drift_market(np.random.default_rng(seed))
        weight = np.minimum(0.01 / volatility, 2.0)
        passes_alpha = (alpha_test(weight * returns, returns).test.p_value or 0) < 0.05
        timing = timing_test(weight[:, None], returns[:, None], np.zeros(len(returns)))
        n_alpha += passes_alpha
        n_both += passes_alpha and (timing.p_value or 0) < 0.05
    assert n_alpha >= 15
    assert n_both <= 6


def test_a_signal_of_the_direction_passes_both() -> None:
    rng = np.random.default_rng(8)
    signal = rng.normal(size=4000)
    returns = 3e-4 + 0.01 * (0.1 * signal + rng.normal(size=4000))
    weight = (signal > 0).astype(np.float64)
    assert (alpha_test(weight * returns, returns).test.p_value or 1) < 0.001
    assert (timing_test(weight[:, None], returns[:, None], np.zeros(4000)).p_value or 1) < 0.001


@pytest.mark.parametrize("leverage", [1.0, 3.0])
def test_a_multiple_of_the_benchmark_is_not_tested_on_its_rounding(leverage: float) -> None:
    _, benchmark = market(9)
    assert np.ptp(benchmark_adjusted_returns(leverage * benchmark, benchmark)) == 0
    result = alpha_test(leverage * benchmark, benchmark)
    assert (result.test.statistic, result.test.p_value) == (None, None)


def test_adjusted_returns_are_the_intercept_and_residuals_of_statsmodels() -> None:
    returns, benchmark = market(10)
    fit = sm.OLS(returns, sm.add_constant(benchmark)).fit()
    assert benchmark_adjusted_returns(returns, benchmark) == pytest.approx(fit.params[0] + fit.resid)
