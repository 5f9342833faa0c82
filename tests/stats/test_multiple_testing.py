"""The search for a better setting against arch, on the same resamples."""

from __future__ import annotations

import numpy as np
import pytest
from arch.bootstrap import SPA, StationaryBootstrap, StepM
from quantlr.core.arrays import Array
from quantlr.stats.bootstrap import stationary_bootstrap_counts, stationary_bootstrap_sums
from quantlr.stats.multiple_testing import bootstrap_long_run_variance, spa_test, spa_test_from_resamples

BLOCK, DRAWS = 5, 200


def some(seed: int, *, better: int = 0, sessions: int = 300, settings: int = 12) -> Array:
    """Return what settings are ahead by, of differing deviation, the first few of them by something."""
    rng = np.random.default_rng(seed)
    ahead = rng.normal(0.0, 0.01, (sessions, settings)) * rng.uniform(0.3, 3.0, settings)
    ahead += 0.3 * rng.normal(0.0, 0.01, (sessions, 1))
    ahead[:, :better] += 0.35 * ahead[:, :better].std(axis=0)
    return ahead


def resampled(ahead: Array) -> Array:
    """Return the means of arch's own resamples."""
    bootstrap = StationaryBootstrap(BLOCK, ahead, seed=1)
    return np.stack([data[0][0].mean(axis=0) for data in bootstrap.bootstrap(DRAWS)])


def scaled(ahead: Array) -> Array:
    """Return the losses that make arch, which studentizes nothing, judge studentized means, as Hansen does."""
    return -ahead / np.sqrt(bootstrap_long_run_variance(ahead, mean_block_length=BLOCK))


@pytest.mark.parametrize(("seed", "better"), [(0, 0), (1, 0), (2, 1), (3, 4)])
def test_p_values_and_names_are_those_of_arch(seed: int, better: int) -> None:
    ahead = some(seed, better=better)
    ours = spa_test_from_resamples(ahead, resampled(ahead), mean_block_length=BLOCK)
    test = SPA(np.zeros(len(ahead)), scaled(ahead), block_size=BLOCK, reps=DRAWS, seed=1)
    test.compute()
    assert [ours.p_value_lower, ours.p_value, ours.p_value_upper] == pytest.approx(test.pvalues.to_list(), abs=1e-12)
    steps = StepM(np.zeros(len(ahead)), scaled(ahead), block_size=BLOCK, reps=DRAWS, seed=1)
    steps.compute()
    assert ours.superior_indices.tolist() == steps.superior_models
    assert len(ours.superior_indices) >= min(better, 1)


def test_the_variance_is_archs_sum_over_all_lags() -> None:
    ahead = some(7)
    test = SPA(np.zeros(len(ahead)), -ahead, block_size=BLOCK, reps=2, seed=1)
    test.compute()
    assert bootstrap_long_run_variance(ahead, mean_block_length=BLOCK) == pytest.approx(test._loss_diff_var, rel=1e-9)


def test_where_every_setting_wins_all_are_named() -> None:
    ahead = some(0, better=12)
    found = spa_test(ahead, np.random.default_rng(0), n_draws=DRAWS)
    assert found is not None
    assert found.superior_indices.tolist() == list(range(12))
    assert found.p_value == 0.0


def test_noise_is_seldom_taken_for_better() -> None:
    named = [spa_test(some(seed, settings=30), np.random.default_rng(seed), n_draws=DRAWS) for seed in range(100, 160)]
    wrong = np.mean([found is not None and len(found.superior_indices) > 0 for found in named])
    assert wrong <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 60)


def test_what_never_differs_from_the_benchmark_is_left_out() -> None:
    ahead = some(2, better=1)
    ahead = np.insert(ahead, 0, 0.0, axis=1)
    found, bare = (spa_test(each, np.random.default_rng(0)) for each in (ahead, ahead[:, 1:]))
    assert found is not None
    assert bare is not None
    assert found.superior_indices.tolist() == (bare.superior_indices + 1).tolist()
    assert found.p_value == bare.p_value
    assert spa_test(np.zeros((50, 3)), np.random.default_rng(0)) is None


@pytest.mark.parametrize("block", [1.0, 4.0, 40.0])
def test_counts_of_sessions_add_up_to_what_blocks_add_up_to(block: float) -> None:
    values = np.random.default_rng(0).normal(size=(60, 3))
    sums = stationary_bootstrap_sums(values, mean_block_length=block, rng=np.random.default_rng(1), n_draws=40)
    counts = stationary_bootstrap_counts(60, mean_block_length=block, rng=np.random.default_rng(1), n_draws=40)
    assert counts @ values == pytest.approx(sums)
    assert (counts.sum(axis=1) == 60).all()
