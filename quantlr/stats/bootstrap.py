"""The stationary bootstrap: sessions are drawn in blocks of random length, so that dependence over time is kept.

A resample of the stationary bootstrap (Politis and Romano 1994) is a sequence of as many sessions as the sample has. It
starts at a random session; each next session follows the one before or, with probability 1 / `block_length`, is
drawn anew from all sessions. The last session is followed by the first. The sum over a resample is computed from its
blocks, each the difference of two cumulative sums, without an array of the sessions drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.random import Generator

from quantlr.core.values import Array, IntArray
from quantlr.stats.hac import INTERVAL_95_QUANTILES, Z95, Interval

N_DRAWS = 1000
MAX_DRAWS = 10_000
"""Resamples that `precise_bootstrap_sums` draws at most."""
MAX_MONTE_CARLO_ERROR = 0.1
"""Largest Monte Carlo error of a bound, relative to its distance from the median of the resamples."""
MAX_BLOCKS_PER_CHUNK = 1_000_000
"""Blocks drawn at a time: bounds the memory."""
MAX_SESSION_COUNTS_PER_CHUNK = 25_000
"""Session counts computed at a time: they stay in the processor's cache."""
CONSTANT_SERIES_TOLERANCE = 1e-12
"""Range of a series, relative to its largest absolute value, up to which it counts as constant."""
BLOCK_COUNT_MARGIN_STD = 8.0
"""Standard deviations by which more blocks are drawn than the mean number needed: too few in 1 of 10^14 draws."""


def optimal_block_length(values: Array) -> float:
    """Return the mean block length that is optimal for the mean of a series, in sessions, at least 1.

    The rule of Politis and White (2004) with the correction of Patton, Politis and White (2009), in the details as
    ``arch.bootstrap.optimal_block_length`` has it; 1 for a constant series.

    Parameters
    ----------
    values : (sessions,) in order.
    """
    n = len(values)
    if n < 3 or np.ptp(values) <= CONSTANT_SERIES_TOLERANCE * np.abs(values).max():
        return 1.0
    centred = values - values.mean()
    run_length = max(5, int(np.log10(n)))
    max_lag = min(int(np.ceil(np.sqrt(n))) + run_length, n - 2)
    covariance = np.array([centred[lag:] @ centred[: n - lag] for lag in range(max_lag + 1)]) / n
    squares = np.concatenate([[0.0], np.cumsum(centred**2)])
    squares_after, squares_before = squares[n] - squares[1 : max_lag + 2], squares[n - 1 - np.arange(max_lag + 1)]
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = np.abs(covariance) * n / np.sqrt(squares_after * squares_before)
        insignificant = correlation < 2 * np.sqrt(np.log10(n) / n)
    starts = [lag for lag in range(max_lag + 1 - run_length) if insignificant[lag : lag + run_length].all()]
    window = min(2 * max(starts[0], 1), max_lag) if starts else max_lag
    lag = np.arange(1, window + 1)
    weighted = 2 * np.minimum(1.0, 2 * (1 - lag / window)) * covariance[1 : window + 1]
    long_run_variance = covariance[0] + float(weighted.sum())
    if long_run_variance == 0:
        return 1.0
    optimal = float(np.cbrt((weighted @ lag) ** 2 / long_run_variance**2 * n))
    return max(1.0, min(optimal, float(np.ceil(min(3 * np.sqrt(n), n / 3)))))


def stationary_bootstrap_sums(values: Array, *, block_length: float, rng: Generator, n_draws: int = N_DRAWS) -> Array:
    """Return the column sums of each resample, (draws, k).

    Parameters
    ----------
    values : (sessions, k) in the order of sessions.
    block_length : in sessions, at least 1.
    n_draws : number of resamples.
    """
    cumulative = np.cumsum(np.concatenate([np.zeros((1, values.shape[1])), values, values]), axis=0)
    blocks = _iter_block_bounds(len(values), block_length, n_draws, rng)
    chunks = [[(column[stop] - column[start]).sum(axis=1) for column in cumulative.T] for start, stop in blocks]
    return np.concatenate(chunks, axis=1).T


def stationary_bootstrap_counts(
    n_sessions: int, *, block_length: float, rng: Generator, n_draws: int = N_DRAWS
) -> Array:
    """Return how often each resample holds each session, (draws, sessions).

    A resample's sum is the product of its counts with the values. The parameters are those of
    `stationary_bootstrap_sums`.
    """
    return np.concatenate(list(_iter_session_counts(n_sessions, block_length, n_draws, rng)))


def stationary_bootstrap_matrix_sums(
    values: Array, *, block_length: float, rng: Generator, n_draws: int = N_DRAWS
) -> Array:
    """Return the same as `stationary_bootstrap_sums`, up to rounding, faster where there are many columns.

    The counts of each session are computed once, and one matrix product gives the sums of all columns. This pays where
    there are more columns than sessions in a block.
    """
    if values.shape[1] <= block_length:
        return stationary_bootstrap_sums(values, block_length=block_length, rng=rng, n_draws=n_draws)
    chunks = _iter_session_counts(len(values), block_length, n_draws, rng)
    return np.concatenate([counts @ values for counts in chunks])


def _iter_session_counts(n_sessions: int, block_length: float, n_draws: int, rng: Generator) -> Iterator[Array]:
    """Yield the counts of each session, (draws of the chunk, sessions): cumulative sums of block starts and stops.

    A block that is continued at the first session begins there once more.
    """
    width = n_sessions + 1
    chunk_size = max(1, MAX_SESSION_COUNTS_PER_CHUNK // width)

    def count(positions: IntArray) -> IntArray:
        offset = np.arange(len(positions))[:, None] * width
        return np.bincount((offset + positions).ravel(), minlength=offset.size * width).reshape(-1, width)

    for start, stop in _iter_block_bounds(n_sessions, block_length, n_draws, rng):
        for first in range(0, len(start), chunk_size):
            chunk = slice(first, first + chunk_size)
            changes = count(start[chunk])
            if block_length > 1:
                is_continued = stop[chunk] > n_sessions
                changes -= count(stop[chunk] - n_sessions * is_continued)
                changes[:, 0] += is_continued.sum(axis=1)
                changes = np.cumsum(changes, axis=1)
            yield changes[:, :n_sessions].astype(np.float64)


def _iter_block_bounds(
    n_sessions: int, block_length: float, n_draws: int, rng: Generator
) -> Iterator[tuple[IntArray, IntArray]]:
    """Yield the starts and stops of blocks, (draws of the chunk, blocks) each.

    Lengths are geometric and add up to `n_sessions` in each draw; surplus blocks are empty. A stop may exceed
    `n_sessions`: sessions are counted on from the last to the first.
    """
    restart_probability = 1.0 / block_length
    std = np.sqrt(n_sessions * restart_probability * (1 - restart_probability))
    n_blocks = min(int(np.ceil(n_sessions * restart_probability + BLOCK_COUNT_MARGIN_STD * std)) + 1, n_sessions)
    chunk_size = max(1, MAX_BLOCKS_PER_CHUNK // n_blocks)
    for first in range(0, n_draws, chunk_size):
        shape = (min(chunk_size, n_draws - first), n_blocks)
        start = rng.integers(0, n_sessions, shape)
        if block_length == 1:
            yield start, start + 1
            continue
        total_length = np.minimum(np.cumsum(rng.geometric(restart_probability, shape), axis=1), n_sessions)
        total_length[:, -1] = n_sessions
        yield start, start + np.diff(total_length, axis=1, prepend=0)


def percentile_interval(resampled_statistic: Array) -> Interval:
    """Return the 95 % percentile interval of a statistic from its values in the resamples, (draws,)."""
    low, high = np.quantile(resampled_statistic, INTERVAL_95_QUANTILES)
    return float(low), float(high)


def precise_bootstrap_sums(
    values: Array, *, block_length: float, rng: Generator, compute_statistics: Callable[[Array], Sequence[Array]]
) -> Array:
    """Return the column sums of 1,000 resamples or as many as statistics need, up to 10,000: (draws, k).

    The number is doubled until the 95 % intervals of all statistics are known to a tenth; see
    `has_precise_interval`.

    Parameters
    ----------
    values, block_length, rng : as in `stationary_bootstrap_sums`.
    compute_statistics : from column sums, (draws, k), to the values of each statistic in these resamples, (draws,).
    """
    sums = stationary_bootstrap_sums(values, block_length=block_length, rng=rng)
    while len(sums) < MAX_DRAWS and not all(map(has_precise_interval, compute_statistics(sums))):
        n_more = min(len(sums), MAX_DRAWS - len(sums))
        more = stationary_bootstrap_sums(values, block_length=block_length, rng=rng, n_draws=n_more)
        sums = np.concatenate([sums, more])
    return sums


def has_precise_interval(resampled_statistic: Array) -> bool:
    """Return whether both bounds of a 95 % percentile interval have a small Monte Carlo error.

    Small is less than a tenth of the bound's distance from the median. With N draws, the quantile at level q lies with
    95 % probability between the order statistics N q - d and N q + d, d = 1.96 sqrt(N q (1 - q)) (the binomial
    distribution's normal approximation; David and Nagaraja 2003, section 7.1); the error is half their difference.

    Parameters
    ----------
    resampled_statistic : (draws,).
    """
    n, ordered = len(resampled_statistic), np.sort(resampled_statistic)
    for level in INTERVAL_95_QUANTILES:
        half_width = Z95 * np.sqrt(n * level * (1 - level))
        low, high = np.clip(np.round([n * level - half_width, n * level + half_width]), 0, n - 1).astype(np.int64)
        width = abs(float(np.quantile(ordered, level) - np.median(ordered)))
        if (ordered[high] - ordered[low]) / 2 > MAX_MONTE_CARLO_ERROR * width:
            return False
    return True
