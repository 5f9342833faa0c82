"""Whole sessions drawn in blocks of random length, so that what belongs together stays together.

The stationary bootstrap (Politis and Romano 1994) walks through the sessions, and at each step goes on to the next one
or, with a chance of 1 / `block`, jumps to any; the last session is followed by the first. A sum over such a walk is a
sum over its blocks, and a block's is the difference of two running totals: no session is ever looked up twice.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from quantlr.backtest.inference.levels import SIGNIFICANT, TAILS95
from quantlr.types import Array, IntArray

DRAWS = 1000
HELD = 1_000_000
"""Blocks drawn at a time, so that memory stays bounded."""
COUNTED = 50_000
"""Sessions counted at a time, so that they stay near the processor."""
FLAT = 1e-12
"""How far apart values of a series that never changes may lie by rounding, relative to the largest."""
BEYOND = 8.0
"""Standard deviations by which more blocks are drawn than are needed on average: enough in all but 1 of 10^14 draws."""


def block_length(values: Array) -> float:
    """Return the mean block length that serves the mean of a series best, at least 1 session.

    The rule of Politis and White (2004) with the correction of Patton, Politis and White (2009), in the details as
    ``arch.bootstrap.optimal_block_length`` has it; 1 for a series that never changes.

    Parameters
    ----------
    values : (sessions,) in their order.
    """
    n = len(values)
    if n < 3 or np.ptp(values) <= FLAT * np.abs(values).max():
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


def resampled_sums(values: Array, *, block: float, rng: np.random.Generator, draws: int = DRAWS) -> Array:
    """Return sums over as many sessions as there are, drawn in blocks: (draws, k).

    Parameters
    ----------
    values : (sessions, k) in the order of sessions.
    block : mean length of a block, in sessions, at least 1.
    """
    running = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(np.concatenate([values, values]), axis=0)])
    sums = [_block_sums(running, *walk) for walk in _walks(len(values), block, draws, rng)]
    return np.concatenate(sums)


def resampled_counts(sessions: int, *, block: float, rng: np.random.Generator, draws: int = DRAWS) -> Array:
    """Return how often each session is drawn: (draws, sessions); a sum over a walk is a product with it.

    Where there are many columns, that costs less than to add up the blocks of each.
    """
    counts = [_block_counts(sessions, *walk) for walk in _walks(sessions, block, draws, rng)]
    return np.concatenate(counts)


def _block_counts(sessions: int, first: IntArray, length: IntArray) -> Array:
    """Return how often walks visit each session: `first` and `length` are (walks, blocks)."""
    walks = len(first)
    width = 2 * sessions + 1
    row = np.arange(walks)[:, None] * width
    starts = np.bincount((row + first).ravel(), minlength=walks * width)
    stops = np.bincount((row + first + length).ravel(), minlength=walks * width)
    visits = np.cumsum((starts - stops).reshape(walks, width), axis=1)
    return np.asarray(visits[:, :sessions] + visits[:, sessions:-1], dtype=np.float64)


def _block_sums(running: Array, first: IntArray, length: IntArray) -> Array:
    """Return each walk's sums, a column at a time: `first` and `length` are (walks, blocks)."""
    stop = first + length
    return np.stack([(column[stop] - column[first]).sum(axis=1) for column in running.T], axis=1)


def jointly_resampled_sums(values: Array, *, block: float, rng: np.random.Generator, draws: int = DRAWS) -> Array:
    """Return what `resampled_sums` does, fast where many columns are drawn together.

    How often each session is drawn is counted once; one product with the columns then gives all their sums. That pays
    where there are more columns than a block has sessions.
    """
    if values.shape[1] <= block:
        return resampled_sums(values, block=block, rng=rng, draws=draws)
    counts = _counted(len(values), block, draws, rng)
    return np.concatenate([times @ values for times in counts])


def _counted(sessions: int, block: float, draws: int, rng: np.random.Generator) -> Iterator[Array]:
    """Yield how often each session is drawn, (some walks, sessions) each: blocks begin, and end, and are added up."""
    width = 2 * sessions + 1
    at_once = max(1, COUNTED // width)
    for first, length in _walks(sessions, block, draws, rng):
        stop = first + length
        for at in range(0, len(first), at_once):
            begins, ends = first[at : at + at_once], stop[at : at + at_once]
            row = np.arange(len(begins))[:, None] * width
            edges = np.bincount((row + begins).ravel(), minlength=row.size * width)
            edges -= np.bincount((row + ends).ravel(), minlength=row.size * width)
            running = np.cumsum(edges.reshape(-1, width), axis=1, dtype=np.float64)
            yield running[:, :sessions] + running[:, sessions : 2 * sessions]


def _walks(sessions: int, block: float, draws: int, rng: np.random.Generator) -> Iterator[tuple[IntArray, IntArray]]:
    """Yield blocks as their first sessions and lengths, (some walks, blocks) each; spare blocks have length 0."""
    chance = 1.0 / block
    spread = np.sqrt(sessions * chance * (1 - chance))
    most = min(int(np.ceil(sessions * chance + BEYOND * spread)) + 1, sessions)
    at_once = max(1, HELD // most)
    for done in range(0, draws, at_once):
        shape = (min(at_once, draws - done), most)
        first = rng.integers(0, sessions, shape)
        yield first, np.ones((1, 1), dtype=np.int64) if block == 1 else _lengths(chance, sessions, shape, rng)


def _lengths(chance: float, sessions: int, shape: tuple[int, int], rng: np.random.Generator) -> IntArray:
    """Return geometric lengths that add up to the number of sessions in each walk."""
    stop = np.cumsum(rng.geometric(chance, shape), axis=1)
    np.minimum(stop, sessions, out=stop)
    stop[:, -1] = sessions
    stop[:, 1:] -= stop[:, :-1].copy()
    return stop


def by_session(session: IntArray, *columns: Array) -> Array:
    """Return the sums of columns over each session that occurs, in order: (sessions, columns)."""
    _, where = np.unique(session, return_inverse=True)
    return np.stack([np.bincount(where, weights=column) for column in columns], axis=1)


def spans(session: IntArray, *, horizon: int) -> IntArray:
    """Return which span of `horizon` sessions each row belongs to, counted from 0 over the sessions that occur."""
    _, place = np.unique(session, return_inverse=True)
    return np.asarray(place // horizon, dtype=np.int64)


def grouped_sums(row: IntArray, column: IntArray, values: Array) -> Array:
    """Return the sums of values that share a row and a column, both counted from 0: (rows, columns)."""
    columns = int(column.max()) + 1
    sums = np.bincount(row * columns + column, weights=values, minlength=(int(row.max()) + 1) * columns)
    return np.asarray(sums.reshape(-1, columns), dtype=np.float64)


def percentile_interval(statistic: Array) -> tuple[float, float]:
    """Return the 95 % interval between the percentiles of a statistic's resamples."""
    low, high = np.quantile(statistic, TAILS95)
    return float(low), float(high)


def mean_low95(values: Array, rng: np.random.Generator) -> float:
    """Return the lower bound of a mean that is right in 95 % of cases; of a difference, the bootstrap is paired.

    Parameters
    ----------
    values : (sessions,) in their order.
    """
    sums = resampled_sums(values[:, None], block=block_length(values), rng=rng)
    return float(np.quantile(sums[:, 0], SIGNIFICANT)) / len(values)
