"""The difference of two Sharpe ratios, by the paper's gradient, the variance of Jobson and Korkie, and its size."""

from __future__ import annotations

import math

import numpy as np
import pytest
from quantlr.core.values import Array
from quantlr.stats.sharpe_difference import sharpe_difference
from scipy import stats


def pair(seed: int, *, sessions: int = 500, means: tuple[float, float] = (0.05, 0.05)) -> tuple[Array, Array]:
    """Return two series of unit variance with a correlation of 0.6 and fat tails."""
    rng = np.random.default_rng(seed)
    shared, *own = rng.standard_t(6, (3, sessions)) / math.sqrt(1.5)
    first, second = (
        mean + math.sqrt(0.6) * shared + math.sqrt(0.4) * noise for mean, noise in zip(means, own, strict=True)
    )
    return first, second


def gradient_of_paper(first: Array, second: Array) -> tuple[Array, Array]:
    """Return the moments' deviations y (sessions, 4) and the gradient of the difference (Ledoit and Wolf 2008)."""
    columns = np.column_stack([first, second, first**2, second**2])
    mean_a, mean_b, gamma_a, gamma_b = columns.mean(axis=0)
    variance_a, variance_b = gamma_a - mean_a**2, gamma_b - mean_b**2
    gradient = [
        gamma_a / variance_a**1.5,
        -gamma_b / variance_b**1.5,
        -0.5 * mean_a / variance_a**1.5,
        0.5 * mean_b / variance_b**1.5,
    ]
    return columns - columns.mean(axis=0), np.array(gradient)


@pytest.mark.parametrize("seed", [0, 1])
def test_interval_and_p_value_follow_from_the_gradient_of_the_paper(seed: int) -> None:
    first, second = pair(seed, means=(0.12, 0.02))
    n = len(first)
    deviations, gradient = gradient_of_paper(first, second)
    projected = deviations @ gradient
    n_frequencies = math.floor(0.4 * n ** (2 / 3))
    total = 0.0
    for j in range(1, n_frequencies + 1):
        cosine = sum(value * math.cos(math.pi * j * (t + 0.5) / n) for t, value in enumerate(projected.tolist()))
        total += (math.sqrt(2 / n) * cosine) ** 2
    error = math.sqrt(total / n_frequencies / n)
    value = first.mean() / first.std(ddof=1) - second.mean() / second.std(ddof=1)
    result = sharpe_difference(first, second)
    assert result is not None
    assert result.value == pytest.approx(value)
    assert result.interval is not None
    width = stats.t.ppf(0.975, n_frequencies) * error
    assert result.interval == pytest.approx((value - width, value + width), rel=2e-3)
    assert result.p_value == pytest.approx(stats.t.sf(value / error, n_frequencies), rel=1e-2)


def test_standard_error_equals_that_of_normal_returns() -> None:
    """Jobson and Korkie (1981), corrected by Memmel (2003): 2 - 2 rho + (SR1^2 + SR2^2 - 2 SR1 SR2 rho^2) / 2."""
    rng, rho, n = np.random.default_rng(3), 0.5, 400_000
    shared, *own = rng.normal(size=(3, n))
    first, second = (math.sqrt(rho) * shared + math.sqrt(1 - rho) * noise for noise in own)
    first, second = 0.8 + first, 0.3 + second
    result = sharpe_difference(first, second)
    assert result is not None
    assert result.interval is not None
    error = math.sqrt((2 - 2 * rho + (0.8**2 + 0.3**2 - 2 * 0.8 * 0.3 * rho**2) / 2) / n)
    assert (result.interval[1] - result.interval[0]) / 2 / 1.96 == pytest.approx(error, rel=0.05)
    assert result.interval[0] < 0.5 < result.interval[1]


def test_size_of_the_test_is_its_level() -> None:
    p_values = []
    for seed in range(400):
        result = sharpe_difference(*pair(seed, sessions=250))
        assert result is not None
        assert result.p_value is not None
        p_values.append(result.p_value)
    assert 0.03 <= np.mean(np.array(p_values) < 0.05) <= 0.08


def test_the_same_returns_and_multiples_of_them_do_not_differ() -> None:
    returns, _ = pair(5)
    for factor in (1.0, 3.0):
        result = sharpe_difference(factor * returns, returns)
        assert result is not None
        assert result.value == pytest.approx(0.0, abs=1e-12)
        assert (result.interval, result.p_value) == (None, None)


def test_too_few_sessions_have_a_difference_without_interval() -> None:
    first, second = pair(6, sessions=20)
    result = sharpe_difference(first, second)
    assert result is not None
    assert (result.interval, result.p_value) == (None, None)


def test_undefined_ratios_have_no_difference() -> None:
    assert sharpe_difference(np.zeros(100), pair(7, sessions=100)[0]) is None
