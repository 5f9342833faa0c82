"""Whether choosing the best setting in sample means anything out of sample.

The probability of backtest overfitting (Bailey, Borwein, Lopez de Prado and Zhu 2017), by combinatorially symmetric
cross-validation: the sessions are cut into S blocks, and every half of the blocks chooses the setting with the highest
Sharpe ratio, which is then ranked among all settings on the other half.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, islice

import numpy as np

from quantlr.core.arrays import Array, BoolArray, IntArray
from quantlr.stats.bootstrap import N_BOOTSTRAP_DRAWS, optimal_block_length, stationary_bootstrap_counts
from quantlr.stats.hac import SIGNIFICANCE_LEVEL

FFT_COLUMNS_PER_CHUNK = 256
"""Settings whose spectra are held at a time, so that memory stays bounded."""


@dataclass(frozen=True, slots=True)
class SpaResult:
    """What a search among settings has shown.

    Attributes
    ----------
    p_value : that no setting beats the benchmark; Hansen's consistent one.
    p_lower, p_upper : its bounds; the upper one is White's reality check.
    better : positions of the settings that StepM names, ascending.
    """

    p_value: float
    p_value_lower: float
    p_value_upper: float
    superior_indices: IntArray


def spa_test(
    excess_over_benchmark: Array, rng: np.random.Generator, *, n_draws: int = N_BOOTSTRAP_DRAWS
) -> SpaResult | None:
    """Return whether any setting beats the benchmark, and which.

    Parameters
    ----------
    ahead : (sessions, settings) net return less the benchmark's.

    Returns
    -------
    None where no setting ever differs from the benchmark.
    """
    varies = np.flatnonzero(np.ptp(excess_over_benchmark, axis=0) > 0)
    if not len(varies):
        return None
    some = excess_over_benchmark[:, varies]
    block = float(np.median([optimal_block_length(column) for column in some.T[:: max(1, len(varies) // 20)]]))
    counts = stationary_bootstrap_counts(len(some), mean_block_length=block, rng=rng, n_draws=n_draws)
    found = spa_test_from_resamples(some, counts @ some / len(some), mean_block_length=block)
    return SpaResult(found.p_value, found.p_value_lower, found.p_value_upper, varies[found.superior_indices])


def spa_test_from_resamples(
    excess_over_benchmark: Array, resampled_means: Array, *, mean_block_length: float
) -> SpaResult:
    """Return the same from given resamples.

    Parameters
    ----------
    ahead : (sessions, settings) what each is ahead of the benchmark by; none of them constant.
    means : (draws, settings) its mean in each resample.
    block : mean length of the resamples' blocks, in sessions.
    """
    sessions = len(excess_over_benchmark)
    mean = excess_over_benchmark.mean(axis=0)
    scale = np.sqrt(bootstrap_long_run_variance(excess_over_benchmark, mean_block_length=mean_block_length))
    near = mean >= -scale * np.sqrt(2 * np.log(np.log(sessions)) / sessions)
    score, drawn = mean / scale, resampled_means / scale
    centre = {
        "lower": np.maximum(score, 0.0),
        "consistent": np.where(near, score, 0.0),
        "upper": score,
    }
    p_values = {name: float(((drawn - at).max(axis=1) > score.max()).mean()) for name, at in centre.items()}
    better = np.flatnonzero(_stepm_rejection_mask(score, drawn - centre["consistent"]))
    return SpaResult(p_values["consistent"], p_values["lower"], p_values["upper"], better)


def _stepm_rejection_mask(test_statistics: Array, null_statistics: Array) -> BoolArray:
    """Return which settings are above what noise would do to the best of those not yet named, step by step."""
    named = np.zeros(len(test_statistics), dtype=np.bool_)
    while not named.all():
        critical = np.quantile(null_statistics[:, ~named].max(axis=1), 1 - SIGNIFICANCE_LEVEL)
        new = (test_statistics > critical) & ~named
        if not new.any():
            break
        named |= new
    return named


def bootstrap_long_run_variance(values: Array, *, mean_block_length: float) -> Array:
    """Return the variance of the root of T times the mean of each column, under the stationary bootstrap.

    Hansen (2005): gamma_0 + 2 sum kappa_i gamma_i over all lags, kappa_i = (1 - i/T) (1 - p)^i + i/T (1 - p)^(T - i),
    p = 1 / block; the autocovariances by the fast Fourier transform.
    """
    sessions = len(values)
    lag, stay = np.arange(1, sessions), 1.0 - 1.0 / mean_block_length
    kappa = (1 - lag / sessions) * stay**lag + lag / sessions * stay ** (sessions - lag)
    weight = np.concatenate([[1.0], 2 * kappa])
    parts = [
        _weighted_autocovariance_sums(values[:, first : first + FFT_COLUMNS_PER_CHUNK], weight)
        for first in range(0, values.shape[1], FFT_COLUMNS_PER_CHUNK)
    ]
    return np.concatenate(parts)


def _weighted_autocovariance_sums(values: Array, lag_weights: Array) -> Array:
    """Return the sums of weights and autocovariances of some columns."""
    sessions = len(values)
    away = values - values.mean(axis=0)
    width = 1 << (2 * sessions - 1).bit_length()
    spectrum = np.abs(np.fft.rfft(away, width, axis=0)) ** 2
    covariance = np.fft.irfft(spectrum, width, axis=0)[:sessions] / sessions
    return np.asarray(np.maximum(lag_weights @ covariance, 1e-12 * covariance[0]))


MAX_CSCV_BLOCKS = 16
"""S: 12,870 ways to choose half of them."""
MIN_BLOCK_SESSIONS = 10
"""Sessions that a block needs at least."""
MAX_SHARPES_PER_CHUNK = 100_000
"""Sharpe ratios held at a time, so that they stay in the cache."""
SHARPE_TIE_TOLERANCE = 1e-12
"""How far apart Sharpe ratios of one and the same setting may lie by rounding."""


def out_of_sample_ranks(excess_returns: Array, *, n_blocks: int = MAX_CSCV_BLOCKS) -> Array:
    """Return omega of every split: the rank out of sample of what was best in sample, over N + 1.

    Ranks ascend, and ties share their mean rank: 1/2 is the middle, N / (N + 1) the best. The blocks are of equal
    length; sessions that are left over are the oldest ones, and are left out. A setting that does not vary in some
    blocks has a ratio of 0 there. Of settings that are equally good in sample the first is chosen.

    Parameters
    ----------
    excess : (sessions, N) returns in excess of cash, a column per setting.
    blocks : S, even.

    Raises
    ------
    ValueError : an odd number of blocks, fewer sessions than blocks, or no settings to choose among.
    """
    sessions, settings = excess_returns.shape
    if n_blocks % 2 or n_blocks < 2 or sessions < n_blocks or settings < 2:
        raise ValueError(
            f"needed an even number of blocks, as many sessions, and 2 settings; found {n_blocks}, {excess_returns.shape}"
        )
    length = sessions // n_blocks
    parts = excess_returns[sessions - length * n_blocks :].reshape(n_blocks, length, settings)
    sums, squares = parts.sum(axis=1), (parts**2).sum(axis=1)
    half = length * n_blocks // 2
    some = max(1, MAX_SHARPES_PER_CHUNK // settings)
    ranks = [
        _ranks_of_split_and_swap(inside, sums, squares, half)
        for inside in _iter_in_sample_masks(n_blocks, chunk_size=some)
    ]
    there, back = (np.concatenate(one) for one in zip(*ranks, strict=True))
    return np.concatenate([there, back[::-1]])


def _iter_in_sample_masks(n_blocks: int, *, chunk_size: int) -> Iterator[Array]:
    """Yield the choices of half of the blocks that take the first one, (some, blocks) of ones and zeros.

    In the order of all choices they are the first half, and what each leaves is the second half backwards.
    """
    choices = ((0, *others) for others in combinations(range(1, n_blocks), n_blocks // 2 - 1))
    while some := list(islice(choices, chunk_size)):
        inside = np.zeros((len(some), n_blocks))
        np.put_along_axis(inside, np.array(some), 1.0, axis=1)
        yield inside


def _ranks_of_split_and_swap(
    in_sample_mask: Array, block_sums: Array, block_squared_sums: Array, n_sessions: int
) -> tuple[Array, Array]:
    """Return omega of some splits, and of the same with the halves exchanged."""
    outside = 1.0 - in_sample_mask
    one = _sharpe_from_sums(in_sample_mask @ block_sums, in_sample_mask @ block_squared_sums, n_sessions)
    other = _sharpe_from_sums(outside @ block_sums, outside @ block_squared_sums, n_sessions)
    return _relative_rank_of_selected(one, other), _relative_rank_of_selected(other, one)


def _relative_rank_of_selected(selection_sharpes: Array, evaluation_sharpes: Array) -> Array:
    """Return the rank by one half's ratios, (splits, N), of what is best by the other's."""
    chosen = np.take_along_axis(evaluation_sharpes, selection_sharpes.argmax(axis=1)[:, None], axis=1)
    below = (evaluation_sharpes < chosen - SHARPE_TIE_TOLERANCE).sum(axis=1)
    alike = (np.abs(evaluation_sharpes - chosen) <= SHARPE_TIE_TOLERANCE).sum(axis=1)
    return np.asarray((below + (alike + 1) / 2) / (evaluation_sharpes.shape[1] + 1))


def _sharpe_from_sums(sums: Array, squared_sums: Array, n_sessions: int) -> Array:
    """Return Sharpe ratios from sums of returns and of their squares; 0 where nothing varies."""
    variance = np.maximum(squared_sums - sums**2 / n_sessions, 0.0)
    varies = variance > 1e-14 * squared_sums
    ratio = sums / n_sessions / np.sqrt(np.where(varies, variance, 1.0) / (n_sessions - 1))
    return np.asarray(np.round(np.where(varies, ratio, 0.0), 12))


def n_cscv_blocks(n_sessions: int) -> int | None:
    """Return how many blocks so many sessions are cut into, None where they are too few for two of them."""
    most = min(MAX_CSCV_BLOCKS, n_sessions // MIN_BLOCK_SESSIONS // 2 * 2)
    return most if most >= 2 else None


def probability_of_overfitting(excess_returns: Array) -> float | None:
    """Return the share of splits in which the best in sample is in the lower half out of sample (omega <= 1/2).

    About 1/2 or more says that the choice among settings is worth nothing. None for a single setting, or too few
    sessions.

    Parameters
    ----------
    excess : (sessions, N) returns in excess of cash, a column per setting.
    """
    blocks = n_cscv_blocks(len(excess_returns))
    if blocks is None or excess_returns.shape[1] < 2:
        return None
    return float((out_of_sample_ranks(excess_returns, n_blocks=blocks) <= 0.5).mean())
