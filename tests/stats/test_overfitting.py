"""The probability of backtest overfitting against a slow loop, and in known cases."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from quantlr.core.values import Array
from quantlr.stats.multiple_testing import n_cscv_blocks, out_of_sample_ranks, probability_of_overfitting
from scipy.stats import rankdata


def slow_ranks(excess: Array, blocks: int) -> list[float]:
    """Literal algorithm of Bailey and others (2017): rank the best setting of each half J in its complement."""
    length = len(excess) // blocks
    excess = excess[len(excess) - length * blocks :]
    parts = [excess[block * length : (block + 1) * length] for block in range(blocks)]
    omegas = []
    for chosen in combinations(range(blocks), blocks // 2):
        inside = np.concatenate([parts[block] for block in chosen])
        outside = np.concatenate([parts[block] for block in range(blocks) if block not in chosen])
        in_sample, out_of_sample = (
            np.array([column.mean() / column.std(ddof=1) if column.any() else 0.0 for column in half.T]).round(12)
            for half in (inside, outside)
        )
        best = int(np.argmax(in_sample))
        omegas.append(float(rankdata(out_of_sample)[best]) / (excess.shape[1] + 1))
    return omegas


@pytest.mark.parametrize(("sessions", "settings", "blocks"), [(64, 5, 4), (203, 7, 8), (121, 2, 6), (40, 30, 2)])
def test_out_of_sample_ranks_equal_slow_loop(sessions: int, settings: int, blocks: int) -> None:
    excess = np.random.default_rng(sessions).normal(0.0002, 0.01, (sessions, settings))
    assert out_of_sample_ranks(excess, n_blocks=blocks) == pytest.approx(slow_ranks(excess, blocks))


def test_equal_settings_share_their_rank_and_constant_returns_have_zero_sharpe() -> None:
    rng = np.random.default_rng(3)
    excess = rng.normal(0.0, 0.01, (96, 6))
    excess[:, 2] = excess[:, 4]
    excess[:, 5] = 0.0
    assert out_of_sample_ranks(excess, n_blocks=6) == pytest.approx(slow_ranks(excess, 6))
    same = np.repeat(excess[:, :1], 5, axis=1)
    assert (out_of_sample_ranks(same, n_blocks=6) == 0.5).all()


@pytest.mark.parametrize("settings", [2, 3, 5])
def test_median_out_of_sample_counts_half(settings: int) -> None:
    excess = np.random.default_rng(settings).normal(0.0, 0.01, (100, settings))
    ranks = slow_ranks(excess, 10)
    expected = np.mean([(rank < 0.5) + (rank == 0.5) / 2 for rank in ranks])
    assert probability_of_overfitting(excess) == pytest.approx(expected, abs=1e-12)
    assert probability_of_overfitting(np.repeat(excess[:, :1], settings, axis=1)) == 0.5


def test_overfitting_probability_of_noise_is_half_and_of_a_dominant_setting_zero() -> None:
    rng = np.random.default_rng(1)
    noise = [probability_of_overfitting(rng.normal(0.0, 0.01, (800, 20))) for _ in range(12)]
    assert np.mean([share for share in noise if share is not None]) == pytest.approx(0.5, abs=0.12)
    skilled = rng.normal(0.0, 0.01, (800, 20))
    skilled[:, 7] += 0.01
    assert probability_of_overfitting(skilled) == 0.0


def test_overfitting_probability_of_settings_with_fixed_totals_is_near_one() -> None:
    """Each setting gains in some blocks what it loses in the others."""
    rng = np.random.default_rng(2)
    level = rng.normal(0.0, 0.01, (16, 20))
    level -= level.mean(axis=0)
    excess = np.repeat(level, 20, axis=0) + rng.normal(0.0, 1e-3, (320, 20))
    probability = probability_of_overfitting(excess)
    assert probability is not None
    assert probability > 0.95


def test_overfitting_probability_needs_settings_and_sessions() -> None:
    assert probability_of_overfitting(np.ones((100, 1))) is None
    assert probability_of_overfitting(np.ones((19, 3))) is None
    assert [n_cscv_blocks(sessions) for sessions in (19, 20, 59, 159, 160, 5000)] == [None, 2, 4, 14, 16, 16]
    with pytest.raises(ValueError, match="even number of blocks"):
        out_of_sample_ranks(np.ones((100, 3)), n_blocks=5)


def test_many_settings_are_ranked_in_chunks_over_all_splits() -> None:
    excess = np.random.default_rng(5).normal(0.0, 0.01, (170, 400))
    assert len(out_of_sample_ranks(excess)) == 12_870
