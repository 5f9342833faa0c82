"""The probability of backtest overfitting against a slow and obvious loop, and in cases that are known."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from quantlr.core.arrays import Array
from quantlr.stats.multiple_testing import n_cscv_blocks, out_of_sample_ranks, probability_of_overfitting
from scipy.stats import rankdata


def slow_ranks(excess: Array, blocks: int) -> list[float]:
    """Bailey and others (2017), as it is written: form every J and its complement, rank the best of J in the other."""
    length = len(excess) // blocks
    excess = excess[len(excess) - length * blocks :]
    parts = [excess[at * length : (at + 1) * length] for at in range(blocks)]
    omegas = []
    for chosen in combinations(range(blocks), blocks // 2):
        inside = np.concatenate([parts[at] for at in chosen])
        outside = np.concatenate([parts[at] for at in range(blocks) if at not in chosen])
        in_sample, out_of_sample = (
            np.array([column.mean() / column.std(ddof=1) if column.any() else 0.0 for column in half.T]).round(12)
            for half in (inside, outside)
        )
        best = int(np.argmax(in_sample))
        omegas.append(float(rankdata(out_of_sample)[best]) / (excess.shape[1] + 1))
    return omegas


@pytest.mark.parametrize(("sessions", "settings", "blocks"), [(64, 5, 4), (203, 7, 8), (121, 2, 6), (40, 30, 2)])
def test_ranks_are_those_of_the_obvious_loop(sessions: int, settings: int, blocks: int) -> None:
    excess = np.random.default_rng(sessions).normal(0.0002, 0.01, (sessions, settings))
    assert out_of_sample_ranks(excess, n_blocks=blocks) == pytest.approx(slow_ranks(excess, blocks))


def test_settings_that_are_the_same_share_their_rank_and_one_that_never_trades_has_a_ratio_of_nothing() -> None:
    rng = np.random.default_rng(3)
    excess = rng.normal(0.0, 0.01, (96, 6))
    excess[:, 2] = excess[:, 4]
    excess[:, 5] = 0.0
    assert out_of_sample_ranks(excess, n_blocks=6) == pytest.approx(slow_ranks(excess, 6))
    same = np.repeat(excess[:, :1], 5, axis=1)
    assert (out_of_sample_ranks(same, n_blocks=6) == 0.5).all()


def test_a_choice_among_noise_is_worth_nothing_and_one_that_is_always_best_is_never_wrong() -> None:
    rng = np.random.default_rng(1)
    noise = [probability_of_overfitting(rng.normal(0.0, 0.01, (800, 20))) for _ in range(12)]
    assert np.mean([share for share in noise if share is not None]) == pytest.approx(0.5, abs=0.12)
    skilled = rng.normal(0.0, 0.01, (800, 20))
    skilled[:, 7] += 0.01
    assert probability_of_overfitting(skilled) == 0.0


def test_what_is_best_in_one_half_because_it_is_worst_in_the_other_is_overfitted() -> None:
    """Each setting gains in some blocks what it loses in the others, as it is with fitting to a fixed total."""
    rng = np.random.default_rng(2)
    level = rng.normal(0.0, 0.01, (16, 20))
    level -= level.mean(axis=0)
    excess = np.repeat(level, 20, axis=0) + rng.normal(0.0, 1e-3, (320, 20))
    found = probability_of_overfitting(excess)
    assert found is not None
    assert found > 0.95


def test_too_little_to_tell() -> None:
    assert probability_of_overfitting(np.ones((100, 1))) is None
    assert probability_of_overfitting(np.ones((19, 3))) is None
    assert [n_cscv_blocks(sessions) for sessions in (19, 20, 59, 159, 160, 5000)] == [None, 2, 4, 14, 16, 16]
    with pytest.raises(ValueError, match="even number of blocks"):
        out_of_sample_ranks(np.ones((100, 3)), n_blocks=5)


def test_many_settings_are_ranked_in_parts_and_the_splits_are_all_of_them() -> None:
    excess = np.random.default_rng(5).normal(0.0, 0.01, (170, 400))
    assert len(out_of_sample_ranks(excess)) == 12_870
