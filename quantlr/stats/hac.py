"""Sums over sessions, their variance under heteroskedasticity and autocorrelation (HAC), and the tests' constants.

Forecasts overlap in time where the horizon exceeds one session, and share sessions where there are several tickers.
Their statistics are therefore summed by session first; the variance of the total is then that of Newey and West (1987).
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from quantlr.core.values import Array, IntArray

STANDARD_NORMAL = NormalDist()
Z95 = STANDARD_NORMAL.inv_cdf(0.975)
SIGNIFICANCE_LEVEL = 0.05
TEST_POWER = 0.80
INTERVAL_95_QUANTILES = (0.025, 0.975)
Interval = tuple[float, float]
"""Lower and upper bound."""


def horizon_block_index(session: IntArray, *, horizon: int) -> IntArray:
    """Return the block of `horizon` sessions that each row belongs to, counted from 0 over the sessions that occur.

    Parameters
    ----------
    session : (n,) position of the session of each row, in any order.
    horizon : sessions in a block; at 1 each session that occurs is a block of its own.
    """
    _, position = np.unique(session, return_inverse=True)
    return np.asarray(position // horizon, dtype=np.int64)


def sum_by_session(session: IntArray, *columns: Array) -> Array:
    """Return the sum of each column over each session that occurs, in ascending order: (sessions, columns)."""
    block = horizon_block_index(session, horizon=1)
    return np.stack([np.bincount(block, weights=column) for column in columns], axis=1)


def pivot_sums(row_index: IntArray, column_index: IntArray, values: Array) -> Array:
    """Return the sums of the values that share a row and a column, both counted from 0: (rows, columns)."""
    n_rows, n_columns = int(row_index.max()) + 1, int(column_index.max()) + 1
    sums = np.bincount(row_index * n_columns + column_index, weights=values, minlength=n_rows * n_columns)
    return np.asarray(sums.reshape(n_rows, n_columns), dtype=np.float64)


def weighted_pivot_sums(weights: Array, row_index: IntArray, column_index: IntArray, values: Array) -> Array:
    """Return the sums of `pivot_sums` with each of several weights of its rows: (draws, rows) to (draws, columns).

    Every column has a value. With about one value a row nearly all of the matrix is 0: the values alone are added up.
    The two bands of the forecast page take 0.11 CPU seconds in place of 0.16.
    """
    if len(values) > 2 * weights.shape[1]:
        return np.asarray(weights @ pivot_sums(row_index, column_index, values))
    order = np.argsort(column_index, kind="stable")
    starts = np.unique(column_index[order], return_index=True)[1]
    return np.asarray(np.add.reduceat(weights[:, row_index[order]] * values[order], starts, axis=1))


def newey_west_variance(session_sums: Array, *, horizon: int) -> Array:
    """Return the variance of the total of each column with 2 `horizon` lags and Bartlett weights, (k,).

    Parameters
    ----------
    session_sums : (sessions, k) sums by session, in order, of values less their mean: each column adds up to 0.
    horizon : sessions that a forecast spans; 0 for independent sessions.
    """
    variance: Array = (session_sums**2).sum(axis=0)
    for lag in range(1, min(2 * horizon, len(session_sums) - 1) + 1):
        variance += 2 * (1 - lag / (2 * horizon + 1)) * (session_sums[lag:] * session_sums[:-lag]).sum(axis=0)
    return variance


def clustered_mean_variance(values: Array, session: IntArray, *, horizon: int) -> float:
    """Return the variance of the mean of values that overlap in time or share a session.

    Parameters
    ----------
    values, session : (n,) the values, and the session of each.
    horizon : as in `newey_west_variance`.
    """
    session_sums = sum_by_session(session, values - values.mean())
    return float(newey_west_variance(session_sums, horizon=horizon)[0]) / len(values) ** 2
