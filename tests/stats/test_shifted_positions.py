"""The permutation test against positions shifted in time: against a loop over the shifts, and its size on noise."""

from __future__ import annotations

import numpy as np
import pytest
from quantlr.core.values import Array
from quantlr.stats.shifted_positions import shifted_positions_test


def test_equals_a_loop_over_the_shifts() -> None:
    rng = np.random.default_rng(3)
    weight, returns = rng.choice([0.0, 0.3, 1.0], (401, 3)), rng.normal(0.001, 0.01, (401, 3))
    returns[:50, 1], returns[360:, 2] = np.nan, np.nan
    listed = ~np.isnan(returns)
    w, r = (np.where(listed, x - np.nanmean(np.where(listed, x, np.nan), axis=0), 0.0) for x in (weight, returns))

    def statistic(shift: int) -> float:
        products = np.roll(w, shift, axis=0) * r
        return float(products.sum() / np.sqrt((products**2).sum()))

    for horizon, first in ((1, 63), (100, 100)):
        shifted = np.array([statistic(shift) for shift in range(first, 401 - first + 1)])
        test = shifted_positions_test(weight, returns, horizon=horizon)
        assert test.shifts == len(shifted)
        assert test.statistic == pytest.approx(statistic(0))
        assert test.p_value == pytest.approx((1 + (shifted >= statistic(0)).sum()) / (1 + len(shifted)))


def test_perfect_timing_has_the_smallest_p_value_and_its_reverse_the_largest() -> None:
    returns = np.random.default_rng(4).normal(0.0, 0.01, (300, 1))
    long_before_ups = (returns > 0).astype(np.float64)
    test = shifted_positions_test(long_before_ups, returns, horizon=1)
    assert test.p_value == pytest.approx(1 / (1 + test.shifts))
    assert shifted_positions_test(1.0 - long_before_ups, returns, horizon=1).p_value == 1.0


@pytest.mark.parametrize(
    ("weight", "n_shifts"), [(np.ones((200, 2)), 75), (np.random.default_rng(0).random((120, 2)), 0)]
)
def test_constant_positions_and_short_samples_are_not_tested(weight: Array, n_shifts: int) -> None:
    returns = np.random.default_rng(1).normal(0.0, 0.01, weight.shape)
    test = shifted_positions_test(weight, returns, horizon=1)
    assert (test.statistic, test.p_value, test.shifts) == (None, None, n_shifts)


def test_positions_by_volatility_without_timing_are_found_in_about_5_percent() -> None:
    rng, p_values = np.random.default_rng(11), []
    for _ in range(400):
        log_volatility = np.zeros(500)
        for t in range(1, 500):
            log_volatility[t] = 0.98 * log_volatility[t - 1] + rng.normal(0, 0.15)
        volatility = 0.01 * np.exp(log_volatility)[:, None]
        returns = 0.0003 + volatility * rng.standard_normal((500, 1))
        p_values.append(shifted_positions_test(0.01 / volatility, returns, horizon=1).p_value)
    assert 0.02 < np.mean(np.array(p_values) <= 0.05) < 0.085
