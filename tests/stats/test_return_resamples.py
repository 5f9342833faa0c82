"""Bootstrap intervals of returns: against Lo's standard error, slow resampling, and arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from quantlr.core.values import Array
from quantlr.stats.hac import Interval
from quantlr.stats.return_resamples import ReturnResamples
from quantlr.stats.sharpe import sharpe_per_session, sharpe_standard_error_per_session


def sharpe_interval(returns: Array) -> Interval | None:
    return ReturnResamples(returns, seed=0).sharpe_interval()


def test_bootstrap_interval_of_independent_returns_equals_lo() -> None:
    returns = np.random.default_rng(7).normal(0.05, 1, 4000)
    ratio, error = sharpe_per_session(returns), sharpe_standard_error_per_session(returns)
    assert ratio is not None
    assert error is not None
    assert sharpe_interval(returns) == pytest.approx((ratio - 1.96 * error, ratio + 1.96 * error), abs=0.15 * error)


def test_bootstrap_interval_equals_resampled_returns() -> None:
    """Against ratios of resampled returns, with a large and a small mean."""
    for mean in (0.1, 50.0):
        returns = np.random.default_rng(8).standard_t(5, 300) + mean
        rng = np.random.default_rng(9)
        resampled = returns[rng.integers(0, 300, (4000, 300))]
        ratios = resampled.mean(axis=1) / resampled.std(axis=1, ddof=1)
        expected = tuple(np.quantile(ratios, [0.025, 0.975]))
        assert sharpe_interval(returns) == pytest.approx(expected, abs=0.2 * ratios.std())


def test_constant_resamples_count_as_zero() -> None:
    returns = np.zeros(300)
    returns[[50, 200]] = 0.01, 0.02
    actual = sharpe_interval(returns)
    assert actual is not None
    assert actual[0] == 0.0
    assert 0.05 < actual[1] < 0.3
    assert sharpe_interval(np.zeros(300)) is None


def test_strategy_and_benchmark_share_their_resamples() -> None:
    """Of a multiple of the benchmark plus a constant, every resample has the same alpha."""
    returns = np.random.default_rng(3).normal(0.001, 0.01, 500)
    resamples = ReturnResamples(1.5 * returns + 0.002, returns, seed=4)
    assert resamples.alpha_lower_bound_95() == pytest.approx(0.002, abs=1e-15)
    same = ReturnResamples(returns, returns, seed=4)
    assert same.sharpe_interval() == same.benchmark_sharpe_interval()
    assert same.sharpe_interval() != ReturnResamples(returns, returns, seed=5).sharpe_interval()


def test_lower_bound_of_alpha_of_independent_returns_is_normal() -> None:
    returns, benchmark = np.random.default_rng(2).normal(0.1, 1.0, (2, 4000))
    adjusted = returns - np.polyfit(benchmark, returns, 1)[0] * benchmark
    expected = adjusted.mean() - 1.6448536 * adjusted.std() / np.sqrt(4000)
    actual = ReturnResamples(returns, benchmark, seed=0).alpha_lower_bound_95()
    assert actual == pytest.approx(expected, abs=0.003)
    constant = np.full(30, 0.25)
    assert ReturnResamples(constant, np.zeros(30), seed=0).alpha_lower_bound_95() == pytest.approx(0.25)


def test_no_benchmark_has_no_interval_and_no_alpha() -> None:
    resamples = ReturnResamples(np.random.default_rng(2).normal(size=50), seed=0)
    assert resamples.benchmark_sharpe_interval() is None
    assert resamples.alpha_lower_bound_95() is None


def test_blocks_are_long_enough_for_alpha() -> None:
    """Two noisy series whose difference is a slow wave: alpha's bound allows for the dependence."""
    rng = np.random.default_rng(5)
    noise, slow = rng.normal(0, 20, 3000), np.convolve(rng.normal(0, 0.2, 3019), np.ones(20), "valid")
    bound = ReturnResamples(noise + slow, noise, seed=0).alpha_lower_bound_95()
    assert bound is not None
    independent_error = slow.std() / np.sqrt(3000)
    assert slow.mean() - bound > 1.645 * 2.5 * independent_error
