"""Inference on the best of several settings: superior ability, overfitting, and order statistics under no skill.

The test of superior predictive ability is Hansen's (2005), with the settings named by StepM (Romano and Wolf 2005).
The probability of backtest overfitting (Bailey, Borwein, Lopez de Prado and Zhu 2017) is by combinatorially symmetric
cross-validation (CSCV): the sessions are cut into S blocks; each choice of half of the blocks selects the setting with
the highest Sharpe ratio there, which is then ranked among all settings on the other half.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.random import Generator

from quantlr.core.values import Array, BoolArray, IntArray
from quantlr.stats.bootstrap import N_DRAWS, optimal_block_length, stationary_bootstrap_counts
from quantlr.stats.hac import SIGNIFICANCE_LEVEL, STANDARD_NORMAL

FFT_COLUMNS_PER_CHUNK = 256
"""Settings whose spectra are computed at a time: bounds the memory."""


def expected_order_statistics(standard_error: Array) -> Array:
    """Return the expected sorted values of estimates whose true values are all 0, (k,), lowest first.

    The quantiles of the mixture of the estimates' normal distributions at Blom's (1958) plotting positions
    (i - 3/8) / (k + 1/4), which approximate expected normal order statistics.

    Parameters
    ----------
    standard_error : (k,) of each estimate, in any order; estimates are taken as independent.
    """
    k = len(standard_error)
    normal = np.array([STANDARD_NORMAL.inv_cdf((index + 0.5) / 999) for index in range(999)])
    return np.asarray(np.quantile(np.outer(standard_error, normal), (np.arange(1, k + 1) - 0.375) / (k + 0.25)))


@dataclass(frozen=True, slots=True)
class SpaResult:
    """Result of the test of superior predictive ability.

    Attributes
    ----------
    p_value : of the hypothesis that no setting is better than the benchmark; Hansen's consistent one.
    p_value_lower, p_value_upper : its bounds; the upper one is that of White's reality check.
    superior_indices : positions of the settings that StepM finds superior, ascending.
    """

    p_value: float
    p_value_lower: float
    p_value_upper: float
    superior_indices: IntArray


def spa_test(excess_over_benchmark: Array, rng: Generator, *, n_draws: int = N_DRAWS) -> SpaResult | None:
    """Return the test of whether any setting has a mean return above the benchmark's, and which have.

    Parameters
    ----------
    excess_over_benchmark : (sessions, settings) net return less beta times the benchmark's, both in excess of cash.
    n_draws : number of resamples.

    Returns
    -------
    None where no setting differs from the benchmark by more than a constant.
    """
    varying = np.flatnonzero(np.ptp(excess_over_benchmark, axis=0) > 0)
    if not len(varying):
        return None
    excess = excess_over_benchmark[:, varying]
    # The median optimal block length of about 20 settings serves for all.
    columns = excess.T[:: max(1, len(varying) // 20)]
    block = float(np.median([optimal_block_length(column) for column in columns]))
    counts = stationary_bootstrap_counts(len(excess), block_length=block, rng=rng, n_draws=n_draws)
    result = spa_test_from_resamples(excess, counts @ excess / len(excess), block_length=block)
    return replace(result, superior_indices=varying[result.superior_indices])


def spa_test_from_resamples(excess_over_benchmark: Array, resampled_means: Array, *, block_length: float) -> SpaResult:
    """Return the same test from given resamples.

    Parameters
    ----------
    excess_over_benchmark : (sessions, settings) net return less the benchmark's; no column is constant.
    resampled_means : (draws, settings) its mean in each resample.
    block_length : of the resamples, in sessions.
    """
    n_sessions = len(excess_over_benchmark)
    mean = excess_over_benchmark.mean(axis=0)
    std = np.sqrt(bootstrap_long_run_variance(excess_over_benchmark, block_length=block_length))
    not_inferior = mean >= -std * np.sqrt(2 * np.log(np.log(n_sessions)) / n_sessions)
    statistics, resampled = mean / std, resampled_means / std
    consistent = np.where(not_inferior, statistics, 0.0)
    centres = consistent, np.maximum(statistics, 0.0), statistics
    exceeds = ((resampled - centre).max(axis=1) > statistics.max() for centre in centres)
    p_value, p_lower, p_upper = (float(mask.mean()) for mask in exceeds)
    superior = np.flatnonzero(_stepm_rejection_mask(statistics, resampled - consistent))
    return SpaResult(p_value, p_lower, p_upper, superior)


def _stepm_rejection_mask(statistics: Array, null_statistics: Array) -> BoolArray:
    """Return which settings exceed the critical value of the maximum of those not yet rejected, step by step.

    Parameters
    ----------
    statistics : (settings,) studentised means.
    null_statistics : (draws, settings) their resamples, centred at the null hypothesis.
    """
    rejected = np.zeros(len(statistics), dtype=np.bool_)
    while not rejected.all():
        critical_value = np.quantile(null_statistics[:, ~rejected].max(axis=1), 1 - SIGNIFICANCE_LEVEL)
        new = (statistics > critical_value) & ~rejected
        if not new.any():
            break
        rejected |= new
    return rejected


def bootstrap_long_run_variance(values: Array, *, block_length: float) -> Array:
    """Return the variance of sqrt(T) times the mean of each column under the stationary bootstrap, (k,).

    Hansen (2005): gamma_0 + 2 sum kappa_i gamma_i over all lags, kappa_i = (1 - i/T) (1 - p)^i + i/T (1 - p)^(T - i),
    p = 1 / `block_length`; the autocovariances by the fast Fourier transform.
    """
    n_sessions = len(values)
    lag, stay = np.arange(1, n_sessions), 1.0 - 1.0 / block_length
    kappa = (1 - lag / n_sessions) * stay**lag + lag / n_sessions * stay ** (n_sessions - lag)
    weights = np.concatenate([[1.0], 2 * kappa])
    width = 1 << (2 * n_sessions - 1).bit_length()
    variances = []
    for first in range(0, values.shape[1], FFT_COLUMNS_PER_CHUNK):
        chunk = values[:, first : first + FFT_COLUMNS_PER_CHUNK]
        spectrum = np.abs(np.fft.rfft(chunk - chunk.mean(axis=0), width, axis=0)) ** 2
        covariance = np.fft.irfft(spectrum, width, axis=0)[:n_sessions] / n_sessions
        variances.append(np.maximum(weights @ covariance, 1e-12 * covariance[0]))
    return np.concatenate(variances)


MAX_CSCV_BLOCKS = 16
"""S: 12,870 choices of half of them."""
MIN_BLOCK_SESSIONS = 10
MAX_SHARPES_PER_CHUNK = 100_000
"""Sharpe ratios computed at a time: they stay in the processor's cache."""
SHARPE_TIE_TOLERANCE = 1e-12
"""Difference of Sharpe ratios up to which they count as equal (rounding)."""


def out_of_sample_ranks(excess_returns: Array, *, n_blocks: int = MAX_CSCV_BLOCKS) -> Array:
    """Return omega of each split, (splits,): the out-of-sample rank of the best setting in sample, over N + 1.

    Ranks ascend, and equal ratios share their mean rank: 1/2 is the median, N / (N + 1) the best. The blocks are of
    equal length; the oldest sessions that are left over are not used. A setting that is constant in the chosen blocks
    has a ratio of 0 there. Of settings that are equally good in sample the first is selected.

    Parameters
    ----------
    excess_returns : (sessions, N) returns in excess of cash, a column per setting.
    n_blocks : S, even.

    Raises
    ------
    ValueError : an odd number of blocks, fewer sessions than blocks, or fewer than 2 settings.
    """
    n_sessions, n_settings = excess_returns.shape
    if n_blocks % 2 or n_blocks < 2 or n_sessions < n_blocks or n_settings < 2:
        needed = "needed an even number of blocks, as many sessions, and 2 settings"
        raise ValueError(f"{needed}; found {n_blocks}, {excess_returns.shape}")
    length = n_sessions // n_blocks
    blocks = excess_returns[n_sessions - length * n_blocks :].reshape(n_blocks, length, n_settings)
    sums, squares = blocks.sum(axis=1), (blocks**2).sum(axis=1)
    # Half of the splits: those whose sample holds the first block. The others are the same with the halves exchanged,
    # in reverse order.
    choices = np.array([(0, *others) for others in combinations(range(1, n_blocks), n_blocks // 2 - 1)])
    in_sample = np.zeros((len(choices), n_blocks))
    np.put_along_axis(in_sample, choices, 1.0, axis=1)
    ranks, exchanged_ranks = [], []
    chunk_size = max(1, MAX_SHARPES_PER_CHUNK // n_settings)
    for first in range(0, len(choices), chunk_size):
        chosen, n = in_sample[first : first + chunk_size], length * n_blocks // 2
        inside, outside = (_sharpe_from_sums(half @ sums, half @ squares, n) for half in (chosen, 1.0 - chosen))
        ranks.append(_relative_rank_of_selected(inside, outside))
        exchanged_ranks.append(_relative_rank_of_selected(outside, inside))
    return np.concatenate([*ranks, np.concatenate(exchanged_ranks)[::-1]])


def _relative_rank_of_selected(selection_sharpes: Array, evaluation_sharpes: Array) -> Array:
    """Return the rank in the evaluation half of the setting that is best in the selection half, over N + 1, (splits,).

    Parameters
    ----------
    selection_sharpes, evaluation_sharpes : (splits, N).
    """
    selected = np.take_along_axis(evaluation_sharpes, selection_sharpes.argmax(axis=1)[:, None], axis=1)
    n_below = (evaluation_sharpes < selected - SHARPE_TIE_TOLERANCE).sum(axis=1)
    n_equal = (np.abs(evaluation_sharpes - selected) <= SHARPE_TIE_TOLERANCE).sum(axis=1)
    return np.asarray((n_below + (n_equal + 1) / 2) / (evaluation_sharpes.shape[1] + 1))


def _sharpe_from_sums(sums: Array, squared_sums: Array, n_sessions: int) -> Array:
    """Return Sharpe ratios from sums of returns and of their squares; 0 where returns are constant."""
    variance = np.maximum(squared_sums - sums**2 / n_sessions, 0.0)
    varies = variance > 1e-14 * squared_sums
    sharpe = sums / n_sessions / np.sqrt(np.where(varies, variance, 1.0) / (n_sessions - 1))
    return np.asarray(np.round(np.where(varies, sharpe, 0.0), 12))


def n_cscv_blocks(n_sessions: int) -> int | None:
    """Return the number of blocks that sessions are cut into; None where they are too few for two blocks."""
    n_blocks = min(MAX_CSCV_BLOCKS, n_sessions // MIN_BLOCK_SESSIONS // 2 * 2)
    return n_blocks if n_blocks >= 2 else None


def probability_of_overfitting(excess_returns: Array) -> float | None:
    """Return the proportion of splits in which the best in sample is below the median out of sample (omega < 1/2).

    A split in which it is the median itself, as the middle one of an odd number of settings can be, counts half. About
    1/2 or more means that selecting the best setting has no value. None for a single setting, or too few
    sessions.

    Parameters
    ----------
    excess_returns : (sessions, N) returns in excess of cash, a column per setting.
    """
    n_blocks = n_cscv_blocks(len(excess_returns))
    if n_blocks is None or excess_returns.shape[1] < 2:
        return None
    ranks = out_of_sample_ranks(excess_returns, n_blocks=n_blocks)
    return float(((ranks < 0.5) + 0.5 * (ranks == 0.5)).mean())
