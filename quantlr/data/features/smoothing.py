"""Averages that never forget: each value is the one before, moved towards the newest by a constant weight."""

from __future__ import annotations

import numpy as np

from quantlr.types import Array


def recursive_average(values: Array, *, window: int, weight: float, first_row: int) -> Array:
    """Return the recursive average a + weight (value - a) of (bars, tickers) values, NaN before row `first`.

    It begins at row `first` with the mean of the `window` values up to there, so it looks back to a ticker's first
    bar, and ever less.
    """
    found = np.full(values.shape, np.nan)
    if first_row >= len(values):
        return found
    average = values[first_row - window + 1 : first_row + 1].mean(axis=0)
    found[first_row] = average
    for row in range(first_row + 1, len(values)):
        average = average + weight * (values[row] - average)
        found[row] = average
    return found


def wilder_average(values: Array, *, window: int) -> Array:
    """Return Wilder's average, of weight 1/window, of values that begin at row 1, as changes do."""
    return recursive_average(values, window=window, weight=1.0 / window, first_row=window)


def exponential_average(values: Array, *, window: int, first_row: int) -> Array:
    """Return the exponential average, of weight 2/(window + 1), from row `first` on."""
    return recursive_average(values, window=window, weight=2.0 / (window + 1.0), first_row=first_row)
