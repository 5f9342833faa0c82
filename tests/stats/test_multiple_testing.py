"""The test of superior predictive ability against arch on the same resamples, and expected order statistics."""

from __future__ import annotations

import numpy as np
import pytest
from arch.bootstrap import SPA, StationaryBootstrap, StepM
from quantlr.core.values import Array
from quantlr.stats.bootstrap import stationary_bootstrap_counts, stationary_bootstrap_sums
from quantlr.stats.multiple_testing import (
    bootstrap_long_run_variance,
    expected_order_statistics,
    spa_test,
    spa_test_from_resamples,
)

BLOCK, DRAWS = 5, 200


def excess_returns(seed: int, *, better: int = 0, sessions: int = 300, settings: int = 12) -> Array:
    """Return excess returns of settings with unequal variances, the first `better` of them with a positive mean."""
    rng = np.random.default_rng(seed)
    excess = rng.normal(0.0, 0.01, (sessions, settings)) * rng.uniform(0.3, 3.0, settings)
    excess += 0.3 * rng.normal(0.0, 0.01, (sessions, 1))
    excess[:, :better] += 0.35 * excess[:, :better].std(axis=0)
    return excess


def resampled(excess: Array) -> Array:
    """Return the means of arch's resamples."""
    bootstrap = StationaryBootstrap(BLOCK, excess, seed=1)
    return np.stack([data[0][0].mean(axis=0) for data in bootstrap.bootstrap(DRAWS)])


def studentized_losses(excess: Array) -> Array:
    """Return losses divided by their standard deviation: arch does not studentize, as Hansen does."""
    return -excess / np.sqrt(bootstrap_long_run_variance(excess, block_length=BLOCK))


@pytest.mark.parametrize(("seed", "better"), [(0, 0), (1, 0), (2, 1), (3, 4)])
def test_spa_and_stepm_equal_arch(seed: int, better: int) -> None:
    excess = excess_returns(seed, better=better)
    result = spa_test_from_resamples(excess, resampled(excess), block_length=BLOCK)
    test = SPA(np.zeros(len(excess)), studentized_losses(excess), block_size=BLOCK, reps=DRAWS, seed=1)
    test.compute()
    assert [result.p_value_lower, result.p_value, result.p_value_upper] == pytest.approx(
        test.pvalues.to_list(), abs=1e-12
    )
    steps = StepM(np.zeros(len(excess)), studentized_losses(excess), block_size=BLOCK, reps=DRAWS, seed=1)
    steps.compute()
    assert result.superior_indices.tolist() == steps.superior_models
    assert len(result.superior_indices) >= min(better, 1)


def test_long_run_variance_equals_arch() -> None:
    excess = excess_returns(7)
    test = SPA(np.zeros(len(excess)), -excess, block_size=BLOCK, reps=2, seed=1)
    test.compute()
    assert bootstrap_long_run_variance(excess, block_length=BLOCK) == pytest.approx(test._loss_diff_var, rel=1e-9)


def test_all_superior_settings_are_found() -> None:
    excess = excess_returns(0, better=12)
    result = spa_test(excess, np.random.default_rng(0), n_draws=DRAWS)
    assert result is not None
    assert result.superior_indices.tolist() == list(range(12))
    assert result.p_value == 0.0


def test_spa_size_on_noise() -> None:
    results = [
        spa_test(excess_returns(seed, settings=30), np.random.default_rng(seed), n_draws=DRAWS)
        for seed in range(100, 160)
    ]
    rejected = np.mean([result is not None and len(result.superior_indices) > 0 for result in results])
    assert rejected <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 60)


def test_settings_equal_to_the_benchmark_are_excluded() -> None:
    excess = excess_returns(2, better=1)
    excess = np.insert(excess, 0, 0.0, axis=1)
    result, without = (spa_test(columns, np.random.default_rng(0)) for columns in (excess, excess[:, 1:]))
    assert result is not None
    assert without is not None
    assert result.superior_indices.tolist() == (without.superior_indices + 1).tolist()
    assert result.p_value == without.p_value
    assert spa_test(np.zeros((50, 3)), np.random.default_rng(0)) is None


@pytest.mark.parametrize("block", [1.0, 4.0, 40.0])
def test_session_counts_give_the_same_sums_as_blocks(block: float) -> None:
    values = np.random.default_rng(0).normal(size=(60, 3))
    sums = stationary_bootstrap_sums(values, block_length=block, rng=np.random.default_rng(1), n_draws=40)
    counts = stationary_bootstrap_counts(60, block_length=block, rng=np.random.default_rng(1), n_draws=40)
    assert counts @ values == pytest.approx(sums)
    assert (counts.sum(axis=1) == 60).all()


@pytest.mark.parametrize(
    ("error", "tolerance"),
    [
        (np.repeat([0.01, 0.02, 0.05, 0.0, 0.03], 10), 0.003),
        (np.full(50, 0.02), 0.001),
        (np.array([1.0, 1.0, 1.0, 3.0, 3.0, 0.5]), 0.15),
    ],
)
def test_expected_order_statistics_equal_means_of_sorted_draws(error: Array, tolerance: float) -> None:
    draws = np.sort(np.random.default_rng(0).normal(size=(20_000, len(error))) * error, axis=1)
    expected = expected_order_statistics(error)
    assert (np.diff(expected) >= 0).all()
    np.testing.assert_allclose(expected, -expected[::-1], atol=1e-9 * error.max())
    n_outer = max(len(error) // 10, 1)
    inner = slice(n_outer, len(error) - n_outer)
    np.testing.assert_allclose(expected[inner], draws.mean(axis=0)[inner], atol=tolerance)


def test_expected_order_statistics_of_equal_errors_are_those_of_normal_samples() -> None:
    """Expected largest values of normal samples (Harter 1961), which Blom's positions approximate to 1 %."""
    for n, largest in ((2, 0.56419), (5, 1.16296), (10, 1.53875), (50, 2.24907)):
        assert expected_order_statistics(np.ones(n))[-1] == pytest.approx(largest, rel=0.05 if n == 2 else 0.02)
    assert expected_order_statistics(np.zeros(3)).tolist() == [0.0, 0.0, 0.0]
