"""Paired differences against another implementation of the bootstrap, and on simulated runs whose truth is known."""

from __future__ import annotations

import warnings
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantlr.core.values import Array
from quantlr.stats.bootstrap import stationary_bootstrap_matrix_sums, stationary_bootstrap_sums
from quantlr.stats.paired import (
    PairedDifference,
    holm_adjusted_p_values,
    holm_test_counts,
    n_draws_for_tests,
    paired_return_differences,
    paired_score_differences,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from arch.bootstrap import StationaryBootstrap


def paired_returns(seed: int, *, n: int, runs: int = 2) -> Array:
    """Return the returns of runs without skill that hold the same market on random days."""
    rng = np.random.default_rng(seed)
    market = rng.standard_t(5, size=(n, 1)) * 0.01
    return market * (rng.random((n, runs)) < 0.7) + rng.normal(0, 0.003, (n, runs))


def difference_of(
    differences: dict[tuple[int, int], PairedDifference | None], pair: tuple[int, int] = (0, 1)
) -> PairedDifference:
    first = differences[pair]
    assert first is not None
    return first


def sharpe(values: Array) -> Any:
    return values.mean(axis=0) / values.std(axis=0, ddof=1)


@pytest.mark.parametrize(("block", "columns"), [(1.0, 3), (2.5, 5), (9.0, 12), (30.0, 2)])
def test_sums_of_many_columns_equal_sums_of_few(block: float, columns: int) -> None:
    values = np.random.default_rng(0).normal(size=(211, columns))
    first, second = (
        resampled(values, block_length=block, rng=np.random.default_rng(3), n_draws=500)
        for resampled in (stationary_bootstrap_sums, stationary_bootstrap_matrix_sums)
    )
    np.testing.assert_allclose(first, second, atol=1e-11)


def test_paired_return_intervals_equal_arch() -> None:
    excess = paired_returns(4, n=700) + np.array([0.0, 0.0006])
    means, ratios = paired_return_differences(excess, n_draws=5000, seed=0)
    length: Any = difference_of(ratios).block_length  # typed as whole, used as a chance
    resampled = StationaryBootstrap(length, excess, seed=np.random.default_rng(1)).apply(
        lambda sample: np.array([np.diff(sample.mean(axis=0))[0], np.diff(sharpe(sample))[0]]), 5000
    )
    for difference, column, value in (
        (difference_of(means), resampled[:, 0], np.diff(excess.mean(axis=0))[0]),
        (difference_of(ratios), resampled[:, 1], np.diff(sharpe(excess))[0]),
    ):
        assert difference.value == pytest.approx(value, rel=1e-12)
        spread = float(column.std())
        np.testing.assert_allclose(difference.interval(), np.quantile(column, [0.025, 0.975]), atol=0.12 * spread)
        beyond = 2 * min((column <= 0).mean(), (column >= 0).mean())
        assert difference.p_value == pytest.approx(beyond, abs=0.02)


def test_paired_score_differences_resample_whole_sessions() -> None:
    """A slow loop that draws sessions in blocks, with all forecasts of a session."""
    rng = np.random.default_rng(2)
    session = np.sort(rng.integers(0, 100, 300)).astype(np.int64)
    shared = rng.normal(size=100)[session, None] * np.array([0.05, -0.05])
    losses = 0.69 + shared + rng.normal(0, 0.05, (300, 2))
    hits = rng.random((300, 2)) < np.array([0.5, 0.58])
    loss, accuracy = (difference_of(first) for first in paired_score_differences(
        (losses, hits.astype(np.float64)), session=session, horizon=5, n_draws=4000, seed=0
    ))  # fmt: skip
    assert loss.value == pytest.approx(losses[:, 1].mean() - losses[:, 0].mean(), rel=1e-12)
    assert accuracy.value == pytest.approx(hits[:, 1].mean() - hits[:, 0].mean(), rel=1e-12)
    assert loss.block_length >= 5
    sessions, resampled = np.unique(session), []
    for _ in range(800):
        rows, position = [], 0
        for step in range(len(sessions)):
            position = (
                int(rng.integers(len(sessions)))
                if step == 0 or rng.random() < 1 / loss.block_length
                else (position + 1) % len(sessions)
            )
            rows.append(sessions[position])
        indices = np.concatenate([np.flatnonzero(session == first) for first in rows])
        resampled.append(losses[indices, 1].mean() - losses[indices, 0].mean())
    spread = float(np.std(resampled))
    np.testing.assert_allclose(loss.interval(), np.quantile(resampled, [0.025, 0.975]), atol=0.3 * spread)


def test_equal_scores_differ_by_0_in_each_resample_and_change_no_other_pair() -> None:
    rng = np.random.default_rng(5)
    losses = rng.random((120, 2))[:, [0, 1, 0]]
    options: dict[str, Any] = {"session": np.arange(120), "horizon": 2, "n_draws": 300, "seed": 0}
    (three,), (two,) = (paired_score_differences([columns], **options) for columns in (losses, losses[:, :2]))
    equal = difference_of(three, (0, 2))
    assert (equal.value, equal.p_value, equal.interval()) == (0.0, 1.0, (0.0, 0.0))
    assert equal.sorted_draws.shape == (300,)
    np.testing.assert_allclose(difference_of(three).sorted_draws, difference_of(two).sorted_draws, atol=1e-14)


def test_paired_tests_have_size_of_about_5_percent() -> None:
    rng = np.random.default_rng(11)
    n_markets, n = 150, 250
    rejected = np.zeros(4)
    for market in range(n_markets):
        excess = paired_returns(1000 + market, n=n)
        up = rng.random((n, 1)) < 0.54
        probability = (0.54 + rng.normal(0, 0.03, (n, 2))).clip(0.01, 0.99)
        losses = -np.log(np.where(up, probability, 1 - probability))
        hits = (probability > 0.5) == up
        tests = (
            *paired_return_differences(excess, n_draws=200, seed=market),
            *paired_score_differences((losses, hits * 1.0), session=np.arange(n), horizon=1, n_draws=200, seed=market),
        )
        rejected += [difference_of(test).p_value < 0.05 for test in tests]
    assert (rejected / n_markets < 0.12).all(), rejected / n_markets
    assert (rejected / n_markets > 0.01).all(), rejected / n_markets


def test_paired_tests_find_a_true_difference() -> None:
    excess = paired_returns(3, n=1500) + np.array([0.0, 0.0012])
    means, ratios = paired_return_differences(excess, n_draws=2000, seed=0)
    assert difference_of(means).p_value < 0.01
    assert difference_of(ratios).p_value < 0.01
    assert difference_of(ratios).interval()[0] > 0


def test_paired_difference_does_not_depend_on_other_runs() -> None:
    excess = paired_returns(5, n=300, runs=4)
    pair_only = paired_return_differences(excess[:, [1, 3]], n_draws=400, seed=0)
    among_others = paired_return_differences(excess, n_draws=400, seed=0)
    for first, second in zip(pair_only, among_others, strict=True):
        difference, other_difference = difference_of(first), difference_of(second, (1, 3))
        np.testing.assert_allclose(
            list(difference.to_dict().values()), list(other_difference.to_dict().values()), rtol=1e-9
        )


def test_pairs_that_are_named_have_the_differences_of_all_pairs() -> None:
    excess = paired_returns(5, n=300, runs=4)
    hits, session = excess > 0, np.arange(300)
    options: dict[str, Any] = {"n_draws": 200, "seed": 0}
    named: dict[str, Any] = {**options, "pairs": [(0, 1), (0, 3)]}
    forecasts: dict[str, Any] = {"session": session, "horizon": 1}
    some_and_all = [
        (
            *paired_return_differences(excess, **values),
            *paired_score_differences((excess, hits.astype(np.float64)), **forecasts, **values),
        )
        for values in (named, options)
    ]
    for some, every in zip(*some_and_all, strict=True):
        assert list(some) == [(0, 1), (0, 3)]
        for pair in some:
            assert difference_of(some, pair).to_dict() == pytest.approx(difference_of(every, pair).to_dict())


@given(
    shift=st.floats(-4, 4),
    n_tests=st.integers(1, 12),
    n_draws=st.sampled_from([200, 999, 2000]),
    seed=st.integers(0, 9),
)
def test_interval_leaves_out_0_exactly_where_p_times_tests_is_significant(
    shift: float, n_tests: int, n_draws: int, seed: int
) -> None:
    draws = np.sort(np.random.default_rng(seed).normal(shift, 1.0, n_draws))
    difference = PairedDifference(shift, 1.0, draws)
    low, high = difference.interval(n_tests)
    assert (low > 0 or high < 0) == (difference.p_value * n_tests < 0.05)
    level = 0.05 / n_tests
    if level * n_draws > 20:
        np.testing.assert_allclose((low, high), np.quantile(draws, [level / 2, 1 - level / 2]), atol=0.1)


def test_too_few_draws_for_any_significance_give_an_unbounded_interval() -> None:
    difference = PairedDifference(9.0, 1.0, np.linspace(8, 10, 100))
    assert difference.p_value * 3 > 0.05
    assert difference.interval(3) == (-np.inf, np.inf)


def test_identical_runs_have_zero_difference_and_constant_runs_no_sharpe_difference() -> None:
    excess = np.repeat(paired_returns(6, n=100)[:, :1], 3, axis=1)
    excess[:, 2] = 0.0
    means, ratios = paired_return_differences(excess, n_draws=200, seed=0)
    assert (difference_of(means).value, difference_of(means).p_value) == (0.0, 1.0)
    assert difference_of(ratios).p_value == 1.0
    assert ratios[0, 2] is None
    assert difference_of(means, (0, 2)).value == pytest.approx(-excess[:, 0].mean())


def test_change_of_unit_scales_value_and_interval_alone() -> None:
    draws = np.linspace(-0.2, 0.4, 200)
    original = PairedDifference(0.1, 8.0, draws)
    scaled = original.scaled(10.0)
    assert (scaled.value, scaled.block_length, scaled.p_value) == (1.0, 8.0, original.p_value)
    assert scaled.interval() == pytest.approx([10.0 * end for end in original.interval()])


@given(p_values=st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_holm_adjustment_equals_closed_bonferroni_test(p_values: list[float]) -> None:
    """A hypothesis is rejected if every set of hypotheses that contains it is rejected."""
    indices = range(len(p_values))
    expected = [
        max(
            min(1.0, len(subset) * min(p_values[second] for second in subset))
            for size in range(1, len(p_values) + 1)
            for subset in combinations(indices, size)
            if position in subset
        )
        for position in indices
    ]
    np.testing.assert_allclose(holm_adjusted_p_values(p_values), expected, atol=1e-12)


@given(p_values=st.lists(st.floats(0, 0.08), min_size=1, max_size=6))
def test_holm_counts_reject_what_the_adjusted_p_values_reject(p_values: list[float]) -> None:
    counts = holm_test_counts(p_values)
    rejected = [p * count < 0.05 for p, count in zip(p_values, counts, strict=True)]
    assert rejected == [p < 0.05 for p in holm_adjusted_p_values(p_values)]
    assert max(counts) == len(p_values)
    assert len(p_values) - min(counts) == min(sum(rejected), len(p_values) - 1)


@pytest.mark.parametrize("runs", range(2, 13))
def test_number_of_draws_allows_significance_after_adjustment(runs: int) -> None:
    tests = runs * (runs - 1)
    assert 2 / (n_draws_for_tests(tests) + 1) * tests < 0.05
