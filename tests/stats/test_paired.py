"""Differences of paired runs: against another implementation of the bootstrap, and in worlds whose truth is known."""

from __future__ import annotations

import warnings
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantlr.core.arrays import Array
from quantlr.stats.bootstrap import stationary_bootstrap_sums, stationary_bootstrap_sums_many_columns
from quantlr.stats.paired import (
    PairedDifference,
    holm_adjusted_p_values,
    n_draws_for_tests,
    paired_forecast_differences,
    paired_return_differences,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from arch.bootstrap import StationaryBootstrap


def paired_returns(seed: int, *, n: int, runs: int = 2) -> Array:
    """Return runs without any skill that hold the same market, each on its own days."""
    rng = np.random.default_rng(seed)
    market = rng.standard_t(5, size=(n, 1)) * 0.01
    return market * (rng.random((n, runs)) < 0.7) + rng.normal(0, 0.003, (n, runs))


def found(
    differences: dict[tuple[int, int], PairedDifference | None], pair: tuple[int, int] = (0, 1)
) -> PairedDifference:
    one = differences[pair]
    assert one is not None
    return one


def sharpe(values: Array) -> Any:
    return values.mean(axis=0) / values.std(axis=0, ddof=1)


@pytest.mark.parametrize(("block", "columns"), [(1.0, 3), (2.5, 5), (9.0, 12), (30.0, 2)])
def test_many_columns_are_summed_as_few_are(block: float, columns: int) -> None:
    values = np.random.default_rng(0).normal(size=(211, columns))
    one, other = (
        resampled(values, mean_block_length=block, rng=np.random.default_rng(3), n_draws=500)
        for resampled in (stationary_bootstrap_sums, stationary_bootstrap_sums_many_columns)
    )
    np.testing.assert_allclose(one, other, atol=1e-11)


def test_intervals_of_paired_returns_are_those_of_archs_bootstrap() -> None:
    excess = paired_returns(4, n=700) + np.array([0.0, 0.0006])
    means, ratios = paired_return_differences(excess, n_draws=5000, seed=0)
    length: Any = found(ratios).block  # typed as whole, used as a chance
    drawn = StationaryBootstrap(length, excess, seed=np.random.default_rng(1)).apply(
        lambda sample: np.array([np.diff(sample.mean(axis=0))[0], np.diff(sharpe(sample))[0]]), 5000
    )
    for mine, column, value in (
        (found(means), drawn[:, 0], np.diff(excess.mean(axis=0))[0]),
        (found(ratios), drawn[:, 1], np.diff(sharpe(excess))[0]),
    ):
        assert mine.value == pytest.approx(value, rel=1e-12)
        spread = float(column.std())
        np.testing.assert_allclose([mine.low95, mine.high95], np.quantile(column, [0.025, 0.975]), atol=0.12 * spread)
        beyond = 2 * min((column <= 0).mean(), (column >= 0).mean())
        assert mine.p_value == pytest.approx(beyond, abs=0.02)


def test_forecasts_are_drawn_by_whole_sessions() -> None:
    """A slow loop: sessions are drawn in blocks, and every forecast of a session comes with it."""
    rng = np.random.default_rng(2)
    session = np.sort(rng.integers(0, 100, 300)).astype(np.int64)
    shared = rng.normal(size=100)[session, None] * np.array([0.05, -0.05])
    losses = 0.69 + shared + rng.normal(0, 0.05, (300, 2))
    hits = rng.random((300, 2)) < np.array([0.5, 0.58])
    loss, right = (found(one) for one in paired_forecast_differences(
        losses, hits, session=session, horizon=5, n_draws=4000, seed=0
    ))  # fmt: skip
    assert loss.value == pytest.approx(losses[:, 1].mean() - losses[:, 0].mean(), rel=1e-12)
    assert right.value == pytest.approx(hits[:, 1].mean() - hits[:, 0].mean(), rel=1e-12)
    assert loss.block >= 5
    there, drawn = np.unique(session), []
    for _ in range(800):
        rows, at = [], 0
        for step in range(len(there)):
            at = int(rng.integers(len(there))) if step == 0 or rng.random() < 1 / loss.block else (at + 1) % len(there)
            rows.append(there[at])
        taken = np.concatenate([np.flatnonzero(session == one) for one in rows])
        drawn.append(losses[taken, 1].mean() - losses[taken, 0].mean())
    spread = float(np.std(drawn))
    np.testing.assert_allclose([loss.low95, loss.high95], np.quantile(drawn, [0.025, 0.975]), atol=0.3 * spread)


def test_runs_of_equal_skill_are_told_apart_in_about_one_case_of_twenty() -> None:
    rng = np.random.default_rng(11)
    worlds, n = 150, 250
    rejected = np.zeros(4)
    for world in range(worlds):
        excess = paired_returns(1000 + world, n=n)
        up = rng.random((n, 1)) < 0.54
        probability = (0.54 + rng.normal(0, 0.03, (n, 2))).clip(0.01, 0.99)
        losses = -np.log(np.where(up, probability, 1 - probability))
        hits = (probability > 0.5) == up
        tests = (
            *paired_return_differences(excess, n_draws=200, seed=world),
            *paired_forecast_differences(losses, hits, session=np.arange(n), horizon=1, n_draws=200, seed=world),
        )
        rejected += [found(test).p_value < 0.05 for test in tests]
    assert (rejected / worlds < 0.12).all(), rejected / worlds
    assert (rejected / worlds > 0.01).all(), rejected / worlds


def test_a_true_difference_is_found() -> None:
    excess = paired_returns(3, n=1500) + np.array([0.0, 0.0012])
    means, ratios = paired_return_differences(excess, n_draws=2000, seed=0)
    assert found(means).p_value < 0.01
    assert found(ratios).p_value < 0.01
    assert found(ratios).low95 > 0


def test_a_pair_is_judged_alike_whatever_stands_beside_it() -> None:
    excess = paired_returns(5, n=300, runs=4)
    alone = paired_return_differences(excess[:, [1, 3]], n_draws=400, seed=0)
    beside = paired_return_differences(excess, n_draws=400, seed=0)
    for one, other in zip(alone, beside, strict=True):
        mine, theirs = found(one), found(other, (1, 3))
        np.testing.assert_allclose(
            [mine.value, mine.low95, mine.high95, mine.p_value, mine.block],
            [theirs.value, theirs.low95, theirs.high95, theirs.p_value, theirs.block],
            rtol=1e-9,
        )


def test_the_same_run_twice_differs_by_nothing_and_a_run_without_a_trade_has_no_sharpe_ratio() -> None:
    excess = np.repeat(paired_returns(6, n=100)[:, :1], 3, axis=1)
    excess[:, 2] = 0.0
    means, ratios = paired_return_differences(excess, n_draws=200, seed=0)
    assert (found(means).value, found(means).p_value) == (0.0, 1.0)
    assert found(ratios).p_value == 1.0
    assert ratios[0, 2] is None
    assert found(means, (0, 2)).value == pytest.approx(-excess[:, 0].mean())


@given(p_values=st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_holms_adjustment_is_the_closed_test_by_bonferroni(p_values: list[float]) -> None:
    """A claim holds if every set of hypotheses that it belongs to is refused as a whole."""
    every = range(len(p_values))
    expected = [
        max(
            min(1.0, len(together) * min(p_values[other] for other in together))
            for size in range(1, len(p_values) + 1)
            for together in combinations(every, size)
            if at in together
        )
        for at in every
    ]
    np.testing.assert_allclose(holm_adjusted_p_values(p_values), expected, atol=1e-12)


@pytest.mark.parametrize("runs", range(2, 13))
def test_there_are_enough_draws_to_claim_anything_at_all(runs: int) -> None:
    tests = runs * (runs - 1)
    assert 2 / (n_draws_for_tests(tests) + 1) * tests < 0.05
