"""The cosine test against a loop over the formula, SciPy's t distribution, and its size on autocorrelated series."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantlr.core.values import Array
from quantlr.stats.cosine_test import cosine_interval_95, cosine_test, student_t_upper_quantile, student_t_upper_tail
from scipy import stats


def loop_statistic(values: list[float], *, horizon: int) -> tuple[float, int]:
    """Return t and its degrees of freedom, term by term."""
    n = len(values)
    n_frequencies = min(math.floor(0.4 * n ** (2 / 3)), n // (2 * horizon))
    total = 0.0
    for j in range(1, n_frequencies + 1):
        transform = math.sqrt(2 / n) * sum(
            value * math.cos(math.pi * j * (t - 0.5) / n) for t, value in enumerate(values, start=1)
        )
        total += transform**2
    return sum(values) / math.sqrt(n * total / n_frequencies), n_frequencies


@pytest.mark.parametrize(("n", "horizon"), [(32, 1), (33, 2), (60, 5), (168, 21), (250, 1), (251, 21)])
def test_statistic_equals_the_formula_term_by_term(n: int, horizon: int) -> None:
    values = np.random.default_rng(n).normal(0.1, 1, n)
    statistic, degrees_of_freedom = loop_statistic(values.tolist(), horizon=horizon)
    test = cosine_test(values, horizon=horizon)
    assert test.statistic == pytest.approx(statistic, rel=1e-10)
    assert (test.degrees_of_freedom, test.sessions) == (degrees_of_freedom, n)
    assert test.p_value == pytest.approx(stats.t.sf(statistic, degrees_of_freedom), abs=1e-12)


@given(statistic=st.floats(-40, 40), degrees_of_freedom=st.integers(1, 400))
def test_upper_tail_equals_scipy(statistic: float, degrees_of_freedom: int) -> None:
    expected = stats.t.sf(statistic, degrees_of_freedom)
    assert student_t_upper_tail(statistic, degrees_of_freedom) == pytest.approx(expected, abs=1e-13)


@given(probability=st.floats(1e-6, 0.5), degrees_of_freedom=st.integers(1, 400))
def test_upper_quantile_equals_scipy(probability: float, degrees_of_freedom: int) -> None:
    expected = stats.t.isf(probability, degrees_of_freedom)
    assert student_t_upper_quantile(probability, degrees_of_freedom) == pytest.approx(expected, rel=1e-6, abs=1e-11)


@pytest.mark.parametrize(("n", "horizon", "needed"), [(31, 1, 32), (39, 5, 40), (167, 21, 168)])
def test_too_short_a_series_is_not_tested(n: int, horizon: int, needed: int) -> None:
    values = np.random.default_rng(1).normal(1, 1, n + 1)
    test = cosine_test(values[:n], horizon=horizon)
    assert (test.statistic, test.p_value, test.sessions, test.min_sessions) == (None, None, n, needed)
    longer = cosine_test(values, horizon=horizon)
    assert longer.p_value is not None
    assert longer.degrees_of_freedom == 4


@pytest.mark.parametrize("values", [np.zeros(100), np.full(100, 0.3), np.zeros(0)])
def test_constant_series_is_not_tested(values: Array) -> None:
    assert cosine_test(values, horizon=1).p_value is None


def test_shifting_the_mean_does_not_change_the_standard_error() -> None:
    values = np.random.default_rng(2).normal(0, 1, 500)
    centred, shifted = cosine_test(values, horizon=1).statistic, cosine_test(values + 3.0, horizon=1).statistic
    assert centred is not None
    assert shifted is not None
    assert values.sum() / centred == pytest.approx((values + 3.0).sum() / shifted)


@pytest.mark.parametrize(("n", "horizon"), [(60, 1), (250, 5), (250, 21), (1000, 21)])
def test_size_on_overlapping_sums_is_close_to_5_percent(n: int, horizon: int) -> None:
    """Moving sums of noise over the horizon: 10 to 17 % with Newey and West and normal quantiles."""
    rng = np.random.default_rng([n, horizon])
    noise = np.cumsum(rng.normal(size=(2000, n + horizon)), axis=1)
    sums = noise[:, horizon:] - noise[:, :-horizon]
    rejected = np.mean([(cosine_test(row, horizon=horizon).p_value or 1.0) < 0.05 for row in sums])
    assert 0.03 < rejected < 0.07


@pytest.mark.parametrize("horizon", [1, 5])
def test_interval_holds_the_means_that_the_test_does_not_reject(horizon: int) -> None:
    values = np.random.default_rng(11).normal(0.1, 1, 300)
    interval = cosine_interval_95(values, horizon=horizon)
    assert interval is not None
    for bound, p_value in zip(interval, (0.025, 0.975), strict=True):
        assert cosine_test(values - bound, horizon=horizon).p_value == pytest.approx(p_value, abs=1e-9)
    assert cosine_interval_95(values[:20], horizon=horizon) is None
