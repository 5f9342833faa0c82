"""Averages that never forget: each value is the one before, moved towards the newest by a constant weight."""

from __future__ import annotations

import numpy as np

from quantlr.types import Array


def smoothed(values: Array, *, window: int, weight: float, first: int) -> Array:
    """Return the recursive average a + weight (value - a) of (bars, tickers) values, NaN before row `first`.

    It begins at row `first` with the mean of the `window` values up to there, so it looks back to a ticker's first
    bar, and ever less.
    """
    found = np.full(values.shape, np.nan)
    if first >= len(values):
        return found
    average = values[first - window + 1 : first + 1].mean(axis=0)
    found[first] = average
    for row in range(first + 1, len(values)):
        average = average + weight * (values[row] - average)
        found[row] = average
    return found


def wilder(values: Array, *, window: int) -> Array:
    """Return Wilder's average, of weight 1/window, of values that begin at row 1, as changes do."""
    return smoothed(values, window=window, weight=1.0 / window, first=window)


def exponential(values: Array, *, window: int, first: int) -> Array:
    """Return the exponential average, of weight 2/(window + 1), from row `first` on."""
    return smoothed(values, window=window, weight=2.0 / (window + 1.0), first=first)
