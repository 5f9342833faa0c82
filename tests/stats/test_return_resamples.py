"""Bootstrap intervals of returns: against Lo's standard error, slow resampling, and arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from quantlr.core.values import Array
from quantlr.stats.hac import Interval
from quantlr.stats.return_resamples import ReturnResamples
from quantlr.stats.sharpe import sharpe_per_session, sharpe_standard_error_per_session


def sharpe_interval(returns: Array) -> Interval | None:
    return ReturnResamples(returns[:, None], seed=0).sharpe_interval(0)


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
    """Of two series that differ by a constant only, every resample has the same difference."""
    returns = np.random.default_rng(3).normal(0.001, 0.01, 500)
    resamples = ReturnResamples(np.stack([returns + 0.002, returns], axis=1), seed=4)
    assert resamples.mean_lower_bound_95((1.0, -1.0)) == pytest.approx(0.002, abs=1e-15)
    same = ReturnResamples(np.stack([returns, returns], axis=1), seed=4)
    assert same.sharpe_interval(0) == same.sharpe_interval(1)
    assert same.sharpe_interval(0) != ReturnResamples(np.stack([returns, returns], axis=1), seed=5).sharpe_interval(0)


def test_lower_bound_of_a_mean_of_independent_returns_is_normal() -> None:
    values = np.random.default_rng(2).normal(0.1, 1.0, (4000, 2))
    combined = values @ [1.0, -0.5]
    expected = combined.mean() - 1.6448536 * combined.std() / np.sqrt(4000)
    assert ReturnResamples(values, seed=0).mean_lower_bound_95((1.0, -0.5)) == pytest.approx(expected, abs=0.003)
    assert ReturnResamples(np.full((30, 1), 0.25), seed=0).mean_lower_bound_95((1.0,)) == pytest.approx(0.25)


def test_blocks_are_long_enough_for_the_difference() -> None:
    """Two noisy series whose difference is a slow wave: its bound allows for the dependence."""
    rng = np.random.default_rng(5)
    noise, slow = rng.normal(0, 20, 3000), np.convolve(rng.normal(0, 0.2, 3019), np.ones(20), "valid")
    resamples = ReturnResamples(np.stack([noise + slow, noise], axis=1), seed=0)
    independent_error = slow.std() / np.sqrt(3000)
    assert slow.mean() - resamples.mean_lower_bound_95((1.0, -1.0)) > 1.645 * 2.5 * independent_error
