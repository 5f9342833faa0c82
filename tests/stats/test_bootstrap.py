from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantlr.core.arrays import Array, IntArray
from quantlr.stats import bootstrap
from quantlr.stats.bootstrap import mean_lower_bound_95, optimal_block_length, stationary_bootstrap_sums, sum_by_session

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from arch.bootstrap import StationaryBootstrap
    from arch.bootstrap import optimal_block_length as arch_block_length


def moving(seed: int, n: int, width: int) -> Array:
    noise = np.random.default_rng(seed).normal(size=n + width)
    return np.convolve(noise, np.ones(width), "valid")[:n]


@given(seed=st.integers(0, 10_000), n=st.integers(15, 800), width=st.integers(1, 25), digits=st.integers(0, 8))
def test_block_length_is_archs(seed: int, n: int, width: int, digits: int) -> None:
    values = np.round(moving(seed, n, width), digits)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        expected = float(arch_block_length(values)["stationary"].iloc[0])
    assert optimal_block_length(values) == pytest.approx(max(expected, 1.0), rel=1e-9)


@pytest.mark.parametrize("values", [np.zeros(0), np.ones(1), np.array([1.0, 2.0]), np.full(50, 0.3), np.arange(3.0)])
def test_a_series_too_short_or_flat_to_judge_is_drawn_session_by_session(values: Array) -> None:
    assert optimal_block_length(values) == 1.0


@pytest.mark.parametrize("block", [1.0, 1.7, 8.0, 40.0])
def test_resampled_sums_are_spread_as_archs(block: float) -> None:
    """The variance of resampled means, and their quantiles, by another implementation of the same bootstrap."""
    values = moving(3, 250, 6)
    found = (
        stationary_bootstrap_sums(values[:, None], mean_block_length=block, rng=np.random.default_rng(0), n_draws=8000)[
            :, 0
        ]
        / 250
    )
    length: Any = block  # typed as whole, used as a chance
    expected = StationaryBootstrap(length, values, seed=np.random.default_rng(1)).apply(np.mean, 8000)[:, 0]
    spread = float(expected.std())
    assert found.mean() == pytest.approx(expected.mean(), abs=4 * spread * np.sqrt(2 / 8000))
    assert found.std() == pytest.approx(spread, rel=0.04)
    levels = [0.05, 0.5, 0.95]
    np.testing.assert_allclose(np.quantile(found, levels), np.quantile(expected, levels), atol=0.12 * spread)


@pytest.mark.parametrize("block", [1.0, 3.0, 200.0])
@pytest.mark.parametrize("sessions", [1, 2, 57])
def test_every_resample_has_as_many_sessions_as_there_are(sessions: int, block: float) -> None:
    sums = stationary_bootstrap_sums(
        np.ones((sessions, 1)), mean_block_length=block, rng=np.random.default_rng(0), n_draws=300
    )
    np.testing.assert_allclose(sums, sessions, rtol=1e-12)


def test_columns_are_drawn_together_and_the_same_seed_draws_the_same() -> None:
    values = np.random.default_rng(0).normal(size=(40, 1)) @ np.array([[1.0, -2.0]])
    sums = stationary_bootstrap_sums(values, mean_block_length=3.0, rng=np.random.default_rng(5), n_draws=100)
    np.testing.assert_allclose(sums[:, 1], -2 * sums[:, 0], atol=1e-12)
    np.testing.assert_array_equal(
        sums, stationary_bootstrap_sums(values, mean_block_length=3.0, rng=np.random.default_rng(5), n_draws=100)
    )


def test_memory_is_bounded_and_drawing_in_portions_changes_no_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []
    real = bootstrap._sums_over_blocks

    def counted(running: Array, first: IntArray, length: IntArray) -> Array:
        held.append(first.size)
        return real(running, first, length)

    monkeypatch.setattr(bootstrap, "MAX_BLOCKS_PER_CHUNK", 5000)
    monkeypatch.setattr(bootstrap, "_sums_over_blocks", counted)
    values = moving(1, 300, 4)[:, None]
    sums = stationary_bootstrap_sums(values, mean_block_length=2.0, rng=np.random.default_rng(0), n_draws=3000)
    assert max(held) <= 5000
    assert sums.shape == (3000, 1)
    monkeypatch.undo()
    whole = stationary_bootstrap_sums(values, mean_block_length=2.0, rng=np.random.default_rng(1), n_draws=3000)
    assert sums.std() == pytest.approx(whole.std(), rel=0.06)


def test_sums_by_session_are_in_the_order_of_sessions() -> None:
    session = np.array([5, 2, 5, 9])
    np.testing.assert_array_equal(
        sum_by_session(session, np.array([1.0, 2, 3, 4]), np.ones(4)), [[2.0, 1.0], [4.0, 2.0], [4.0, 1.0]]
    )


def test_the_lower_bound_of_a_mean_is_that_of_the_normal_where_returns_are_independent() -> None:
    values = np.random.default_rng(2).normal(0.1, 1.0, 4000)
    expected = values.mean() - 1.6448536 * values.std() / np.sqrt(4000)
    assert mean_lower_bound_95(values, np.random.default_rng(0)) == pytest.approx(expected, abs=0.003)
    assert mean_lower_bound_95(np.full(30, 0.25), np.random.default_rng(0)) == pytest.approx(0.25)
