"""Whole sessions drawn in blocks of random length, so that what belongs together stays together.

The stationary bootstrap (Politis and Romano 1994) walks through the sessions, and at each step goes on to the next one
or, with a chance of 1 / `block`, jumps to any; the last session is followed by the first. A sum over such a walk is a
sum over its blocks, and a block's is the difference of two running totals: no session is ever looked up twice.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from quantlr.core.arrays import Array, IntArray
from quantlr.stats.hac import INTERVAL_95_QUANTILES, SIGNIFICANCE_LEVEL

N_BOOTSTRAP_DRAWS = 1000
MAX_BLOCKS_PER_CHUNK = 1_000_000
"""Blocks drawn at a time, so that memory stays bounded."""
MAX_SESSION_COUNTS_PER_CHUNK = 50_000
"""Sessions counted at a time, so that they stay near the processor."""
CONSTANT_SERIES_TOLERANCE = 1e-12
"""How far apart values of a series that never changes may lie by rounding, relative to the largest."""
BLOCK_COUNT_MARGIN_STD = 8.0
"""Standard deviations by which more blocks are drawn than are needed on average: enough in all but 1 of 10^14 draws."""


def optimal_block_length(values: Array) -> float:
    """Return the mean block length that serves the mean of a series best, at least 1 session.

    The rule of Politis and White (2004) with the correction of Patton, Politis and White (2009), in the details as
    ``arch.bootstrap.optimal_block_length`` has it; 1 for a series that never changes.

    Parameters
    ----------
    values : (sessions,) in their order.
    """
    n = len(values)
    if n < 3 or np.ptp(values) <= CONSTANT_SERIES_TOLERANCE * np.abs(values).max():
        return 1.0
    away = values - values.mean()
    run = max(5, int(np.log10(n)))
    lags = min(int(np.ceil(np.sqrt(n))) + run, n - 2)
    covariance = np.array([away[lag:] @ away[: n - lag] for lag in range(lags + 1)]) / n
    together = np.concatenate([[0.0], np.cumsum(away**2)])
    after, before = together[n] - together[1 : lags + 2], together[n - 1 - np.arange(lags + 1)]
    with np.errstate(divide="ignore", invalid="ignore"):
        small = np.abs(covariance) * n / np.sqrt(after * before) < 2 * np.sqrt(np.log10(n) / n)
    quiet = [lag for lag in range(lags + 1 - run) if small[lag : lag + run].all()]
    window = min(2 * max(quiet[0], 1), lags) if quiet else lags
    lag = np.arange(1, window + 1)
    weight = 2 * np.minimum(1.0, 2 * (1 - lag / window)) * covariance[1 : window + 1]
    long_run = covariance[0] + float(weight.sum())
    if long_run == 0:
        return 1.0
    optimal = float(np.cbrt((weight @ lag) ** 2 / long_run**2 * n))
    return max(1.0, min(optimal, float(np.ceil(min(3 * np.sqrt(n), n / 3)))))


def stationary_bootstrap_sums(
    values: Array, *, mean_block_length: float, rng: np.random.Generator, n_draws: int = N_BOOTSTRAP_DRAWS
) -> Array:
    """Return sums over as many sessions as there are, drawn in blocks: (draws, k).

    Parameters
    ----------
    values : (sessions, k) in the order of sessions.
    block : mean length of a block, in sessions, at least 1.
    """
    running = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(np.concatenate([values, values]), axis=0)])
    sums = [
        _sums_over_blocks(running, *walk) for walk in _iter_block_draws(len(values), mean_block_length, n_draws, rng)
    ]
    return np.concatenate(sums)


def stationary_bootstrap_counts(
    n_sessions: int, *, mean_block_length: float, rng: np.random.Generator, n_draws: int = N_BOOTSTRAP_DRAWS
) -> Array:
    """Return how often each session is drawn: (draws, sessions); a sum over a walk is a product with it.

    Where there are many columns, that costs less than to add up the blocks of each.
    """
    counts = [
        _session_counts(n_sessions, *walk) for walk in _iter_block_draws(n_sessions, mean_block_length, n_draws, rng)
    ]
    return np.concatenate(counts)


def _session_counts(n_sessions: int, block_start: IntArray, block_length: IntArray) -> Array:
    """Return how often walks visit each session: `first` and `length` are (walks, blocks)."""
    walks = len(block_start)
    width = 2 * n_sessions + 1
    row = np.arange(walks)[:, None] * width
    starts = np.bincount((row + block_start).ravel(), minlength=walks * width)
    stops = np.bincount((row + block_start + block_length).ravel(), minlength=walks * width)
    visits = np.cumsum((starts - stops).reshape(walks, width), axis=1)
    return np.asarray(visits[:, :n_sessions] + visits[:, n_sessions:-1], dtype=np.float64)


def _sums_over_blocks(cumulative_sums: Array, block_start: IntArray, block_length: IntArray) -> Array:
    """Return each walk's sums, a column at a time: `first` and `length` are (walks, blocks)."""
    stop = block_start + block_length
    return np.stack([(column[stop] - column[block_start]).sum(axis=1) for column in cumulative_sums.T], axis=1)


def stationary_bootstrap_sums_many_columns(
    values: Array, *, mean_block_length: float, rng: np.random.Generator, n_draws: int = N_BOOTSTRAP_DRAWS
) -> Array:
    """Return what `resampled_sums` does, fast where many columns are drawn together.

    How often each session is drawn is counted once; one product with the columns then gives all their sums. That pays
    where there are more columns than a block has sessions.
    """
    if values.shape[1] <= mean_block_length:
        return stationary_bootstrap_sums(values, mean_block_length=mean_block_length, rng=rng, n_draws=n_draws)
    counts = _iter_session_counts(len(values), mean_block_length, n_draws, rng)
    return np.concatenate([times @ values for times in counts])


def _iter_session_counts(
    n_sessions: int, mean_block_length: float, n_draws: int, rng: np.random.Generator
) -> Iterator[Array]:
    """Yield how often each session is drawn, (some walks, sessions) each: blocks begin, and end, and are added up."""
    width = 2 * n_sessions + 1
    at_once = max(1, MAX_SESSION_COUNTS_PER_CHUNK // width)
    for first, length in _iter_block_draws(n_sessions, mean_block_length, n_draws, rng):
        stop = first + length
        for at in range(0, len(first), at_once):
            begins, ends = first[at : at + at_once], stop[at : at + at_once]
            row = np.arange(len(begins))[:, None] * width
            edges = np.bincount((row + begins).ravel(), minlength=row.size * width)
            edges -= np.bincount((row + ends).ravel(), minlength=row.size * width)
            running = np.cumsum(edges.reshape(-1, width), axis=1, dtype=np.float64)
            yield running[:, :n_sessions] + running[:, n_sessions : 2 * n_sessions]


def _iter_block_draws(
    n_sessions: int, mean_block_length: float, n_draws: int, rng: np.random.Generator
) -> Iterator[tuple[IntArray, IntArray]]:
    """Yield blocks as their first sessions and lengths, (some walks, blocks) each; spare blocks have length 0."""
    chance = 1.0 / mean_block_length
    spread = np.sqrt(n_sessions * chance * (1 - chance))
    most = min(int(np.ceil(n_sessions * chance + BLOCK_COUNT_MARGIN_STD * spread)) + 1, n_sessions)
    at_once = max(1, MAX_BLOCKS_PER_CHUNK // most)
    for done in range(0, n_draws, at_once):
        shape = (min(at_once, n_draws - done), most)
        first = rng.integers(0, n_sessions, shape)
        yield (
            first,
            np.ones((1, 1), dtype=np.int64)
            if mean_block_length == 1
            else _draw_geometric_lengths(chance, n_sessions, shape, rng),
        )


def _draw_geometric_lengths(
    jump_probability: float, n_sessions: int, shape: tuple[int, int], rng: np.random.Generator
) -> IntArray:
    """Return geometric lengths that add up to the number of sessions in each walk."""
    stop = np.cumsum(rng.geometric(jump_probability, shape), axis=1)
    np.minimum(stop, n_sessions, out=stop)
    stop[:, -1] = n_sessions
    stop[:, 1:] -= stop[:, :-1].copy()
    return stop


def sum_by_session(session: IntArray, *columns: Array) -> Array:
    """Return the sums of columns over each session that occurs, in order: (sessions, columns)."""
    _, where = np.unique(session, return_inverse=True)
    return np.stack([np.bincount(where, weights=column) for column in columns], axis=1)


def horizon_block_index(session: IntArray, *, horizon: int) -> IntArray:
    """Return which span of `horizon` sessions each row belongs to, counted from 0 over the sessions that occur."""
    _, place = np.unique(session, return_inverse=True)
    return np.asarray(place // horizon, dtype=np.int64)


def pivot_sums(row_index: IntArray, column_index: IntArray, values: Array) -> Array:
    """Return the sums of values that share a row and a column, both counted from 0: (rows, columns)."""
    columns = int(column_index.max()) + 1
    sums = np.bincount(
        row_index * columns + column_index, weights=values, minlength=(int(row_index.max()) + 1) * columns
    )
    return np.asarray(sums.reshape(-1, columns), dtype=np.float64)


def percentile_interval(resampled_statistic: Array) -> tuple[float, float]:
    """Return the 95 % interval between the percentiles of a statistic's resamples."""
    low, high = np.quantile(resampled_statistic, INTERVAL_95_QUANTILES)
    return float(low), float(high)


def mean_lower_bound_95(values: Array, rng: np.random.Generator) -> float:
    """Return the lower bound of a mean that is right in 95 % of cases; of a difference, the bootstrap is paired.

    Parameters
    ----------
    values : (sessions,) in their order.
    """
    sums = stationary_bootstrap_sums(values[:, None], mean_block_length=optimal_block_length(values), rng=rng)
    return float(np.quantile(sums[:, 0], SIGNIFICANCE_LEVEL)) / len(values)
