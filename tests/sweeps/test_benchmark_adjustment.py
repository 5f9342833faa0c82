"""Trials against their benchmark: leverage alone is not superior to it."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from quantlr.core.values import Array
from quantlr.stats.multiple_testing import spa_test
from quantlr.sweeps.trials import TrialReturns

CASH = 1e-4


def trial(net_return: Array, benchmark: Array) -> TrialReturns:
    return TrialReturns(np.arange(100, 100 + len(benchmark)), net_return, benchmark, CASH)


def rising_market() -> Array:
    return np.random.default_rng(1).normal(1.2e-3, 0.01, 2000)


def test_adjusted_returns_are_intercept_and_residuals_of_the_sessions_asked_for() -> None:
    benchmark = rising_market()
    net = 2e-4 + 0.6 * benchmark + np.random.default_rng(2).normal(0, 0.005, 2000)
    for days, rows in ((np.zeros(0, dtype=np.int64), slice(None)), (np.arange(300, 900), slice(200, 800))):
        excess, adjusted = trial(net, benchmark).excess_and_adjusted_returns(days)
        fit = sm.OLS(net[rows] - CASH, sm.add_constant(benchmark[rows] - CASH)).fit()
        assert excess == pytest.approx(net[rows] - CASH)
        assert adjusted == pytest.approx(fit.params[0] + fit.resid)


def test_leverage_alone_is_not_superior() -> None:
    """At 1.5 and 3 times the benchmark the mean return is higher, and Hansen's test of that difference rejects."""
    benchmark = rising_market()
    noise = np.random.default_rng(3).normal(0, 2e-4, (2, 2000))
    leveraged = [k * (benchmark - CASH) + CASH - 2e-5 + e for k, e in zip((1.5, 3.0), noise, strict=True)]
    no_days = np.zeros(0, dtype=np.int64)
    adjusted = np.stack([trial(net, benchmark).excess_and_adjusted_returns(no_days)[1] for net in leveraged], axis=1)
    result = spa_test(adjusted, np.random.default_rng(0))
    assert result is not None
    assert result.p_value > 0.05
    assert len(result.superior_indices) == 0
    difference = spa_test(np.stack([net - benchmark for net in leveraged], axis=1), np.random.default_rng(0))
    assert difference is not None
    assert difference.p_value < 0.01


def test_the_benchmark_itself_is_not_tested() -> None:
    benchmark = rising_market()
    _, adjusted = trial(benchmark, benchmark).excess_and_adjusted_returns(np.zeros(0, dtype=np.int64))
    assert spa_test(adjusted[:, None], np.random.default_rng(0)) is None
