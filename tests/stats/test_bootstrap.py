from __future__ import annotations

import tracemalloc
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantlr.core.values import Array
from quantlr.stats import bootstrap
from quantlr.stats.bootstrap import (
    MAX_DRAWS,
    N_DRAWS,
    has_precise_interval,
    optimal_block_length,
    precise_bootstrap_sums,
    stationary_bootstrap_sums,
)
from quantlr.stats.hac import sum_by_session

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from arch.bootstrap import StationaryBootstrap
    from arch.bootstrap import optimal_block_length as arch_block_length


def moving_average_noise(seed: int, n: int, width: int) -> Array:
    noise = np.random.default_rng(seed).normal(size=n + width)
    return np.convolve(noise, np.ones(width), "valid")[:n]


@given(seed=st.integers(0, 10_000), n=st.integers(15, 800), width=st.integers(1, 25), digits=st.integers(0, 8))
def test_optimal_block_length_equals_arch(seed: int, n: int, width: int, digits: int) -> None:
    values = np.round(moving_average_noise(seed, n, width), digits)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        expected = float(arch_block_length(values)["stationary"].iloc[0])
    assert optimal_block_length(values) == pytest.approx(max(expected, 1.0), rel=1e-9)


@pytest.mark.parametrize("values", [np.zeros(0), np.ones(1), np.array([1.0, 2.0]), np.full(50, 0.3), np.arange(3.0)])
def test_block_length_of_short_or_constant_series_is_one(values: Array) -> None:
    assert optimal_block_length(values) == 1.0


@pytest.mark.parametrize("block", [1.0, 1.7, 8.0, 40.0])
def test_distribution_of_resampled_means_equals_arch(block: float) -> None:
    """The variance of resampled means, and their quantiles, by another implementation of the same bootstrap."""
    values = moving_average_noise(3, 250, 6)
    actual = (
        stationary_bootstrap_sums(values[:, None], block_length=block, rng=np.random.default_rng(0), n_draws=8000)[:, 0]
        / 250
    )
    length: Any = block  # typed as whole, used as a chance
    expected = StationaryBootstrap(length, values, seed=np.random.default_rng(1)).apply(np.mean, 8000)[:, 0]
    std = float(expected.std())
    assert actual.mean() == pytest.approx(expected.mean(), abs=4 * std * np.sqrt(2 / 8000))
    assert actual.std() == pytest.approx(std, rel=0.04)
    levels = [0.05, 0.5, 0.95]
    np.testing.assert_allclose(np.quantile(actual, levels), np.quantile(expected, levels), atol=0.12 * std)


@pytest.mark.parametrize("block", [1.0, 3.0, 200.0])
@pytest.mark.parametrize("sessions", [1, 2, 57])
def test_every_resample_has_as_many_sessions_as_the_sample(sessions: int, block: float) -> None:
    sums = stationary_bootstrap_sums(
        np.ones((sessions, 1)), block_length=block, rng=np.random.default_rng(0), n_draws=300
    )
    np.testing.assert_allclose(sums, sessions, rtol=1e-12)


def test_columns_share_draws_and_seeds_are_reproducible() -> None:
    values = np.random.default_rng(0).normal(size=(40, 1)) @ np.array([[1.0, -2.0]])
    sums = stationary_bootstrap_sums(values, block_length=3.0, rng=np.random.default_rng(5), n_draws=100)
    np.testing.assert_allclose(sums[:, 1], -2 * sums[:, 0], atol=1e-12)
    np.testing.assert_array_equal(
        sums, stationary_bootstrap_sums(values, block_length=3.0, rng=np.random.default_rng(5), n_draws=100)
    )


def test_drawing_in_chunks_bounds_memory_and_keeps_the_distribution() -> None:
    values = moving_average_noise(1, 300, 4)[:, None]
    tracemalloc.start()
    stationary_bootstrap_sums(values, block_length=2.0, rng=np.random.default_rng(0), n_draws=40_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 160 * bootstrap.MAX_BLOCKS_PER_CHUNK
    n_draws = 2 * bootstrap.MAX_BLOCKS_PER_CHUNK // len(values)
    chunked, single = (
        stationary_bootstrap_sums(values, block_length=1.0, rng=np.random.default_rng(seed), n_draws=n)
        for seed, n in ((0, n_draws), (1, n_draws // 3))
    )
    assert chunked.shape == (n_draws, 1)
    assert chunked.std() == pytest.approx(single.std(), rel=0.06)


def test_sums_by_session_are_in_session_order() -> None:
    session = np.array([5, 2, 5, 9])
    np.testing.assert_array_equal(
        sum_by_session(session, np.array([1.0, 2, 3, 4]), np.ones(4)), [[2.0, 1.0], [4.0, 2.0], [4.0, 1.0]]
    )


def test_bounds_are_precise_once_their_error_is_a_tenth_of_their_distance_from_the_median() -> None:
    """A normal quantile's error is 1.96 sqrt(q (1 - q) / N) / density: a tenth of 1.96 needs N = 713 draws."""
    rng = np.random.default_rng(0)
    shares = {n: np.mean([has_precise_interval(rng.normal(size=n)) for _ in range(200)]) for n in (200, 713, 4000)}
    assert shares[200] < 0.05
    assert 0.05 < shares[713] < 0.6  # both bounds must be precise, and each is in about half of the samples
    assert shares[4000] > 0.97
    assert has_precise_interval(np.zeros(1000))


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_bound_in_a_heavy_tail_is_not_precise(side: float) -> None:
    level = (np.arange(MAX_DRAWS - 1) + 0.5) / MAX_DRAWS
    heavy = np.tan(np.pi * (level - 0.5))
    assert not has_precise_interval(np.where(side * heavy > 0, heavy, level))


def test_resamples_are_drawn_until_all_statistics_are_precise() -> None:
    values = np.random.default_rng(0).normal(size=(60, 1))

    def count_draws(*powers: float) -> int:
        def compute_statistics(sums: Array) -> list[Array]:
            return [np.sinh(power * sums[:, 0]) for power in powers]

        rng = np.random.default_rng(1)
        return len(precise_bootstrap_sums(values, block_length=2.0, rng=rng, compute_statistics=compute_statistics))

    easy, hard = count_draws(0.01), count_draws(2.0)
    assert easy in (N_DRAWS, 2 * N_DRAWS)
    assert hard == MAX_DRAWS
    assert count_draws(0.01, 2.0) == hard
