"""Statistics of trailing windows, each from its window's own values and nothing else.

A window of w is put together from two of half its length, so that it costs about log2(w) passes.
No running sum is carried along: a price that is far off leaves no rounding behind once it has left the window, a
constant window has a deviation of exactly 0, and a value does not depend on where the history began.
Rows are bars; what is returned has the shape of what was given, NaN until a window has filled and where it holds a NaN.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from quantlr.types import Array

CACHED = 65_536
"""Values that are worked on at a time: half a megabyte, which stays in a core's cache."""

State = tuple[Array, ...]
"""What is known of equally long spans of rows, one row per span."""
Merge = Callable[[State, int, State, int], State]
"""From spans of a rows and the spans of b rows that follow them, those of a + b rows."""


def rolling_mean(values: Array, *, window: int) -> Array:
    """Return the mean of the newest `window` values."""
    return _by_block(lambda block: _joined(block, window, np.add) / window, values, window)


def rolling_max(values: Array, *, window: int) -> Array:
    """Return the largest of the newest `window` values."""
    return _by_block(lambda block: _joined(block, window, np.maximum), values, window)


def rolling_min(values: Array, *, window: int) -> Array:
    """Return the smallest of the newest `window` values."""
    return _by_block(lambda block: _joined(block, window, np.minimum), values, window)


def rolling_std(values: Array, *, window: int, ddof: int = 1) -> Array:
    """Return the standard deviation of the newest `window` values; the divisor is `window` - `ddof`."""
    return _by_block(lambda block: np.sqrt(_moments(block, window)[1] / (window - ddof)), values, window)


def rolling_zscore(values: Array, *, window: int) -> Array:
    """Return how many deviations (ddof 1) each value is above the mean of its window, itself included.

    It is 0 where the whole window is one value, and never beyond (window - 1) / sqrt(window).
    """

    def score(block: Array) -> Array:
        mean, squares = _moments(block, window)
        spread = np.sqrt(squares / (window - 1))
        still = spread == 0
        return np.where(still, 0.0, (block[window - 1 :] - mean) / np.where(still, 1.0, spread))

    return _by_block(score, values, window)


def _by_block(statistic: Callable[[Array], Array], values: Array, window: int) -> Array:
    """Return a statistic of full windows, some tickers at a time; `statistic` returns a row per full window."""
    found = np.full(values.shape, np.nan)
    bars, tickers = values.shape
    if bars < window:
        return found
    step = max(1, CACHED // bars)
    for first in range(0, tickers, step):
        block = np.ascontiguousarray(values[:, first : first + step])
        found[window - 1 :, first : first + step] = statistic(block)
    return found


def _full(single: State, window: int, merged: Merge) -> State:
    """Return the state of each full window from those of single values; row i is of the window that begins at i."""
    if window == 1:
        return single
    half = window // 2
    part = _full(single, half, merged)
    even = merged(part, half, part, half)
    return merged(even, window - 1, single, 1) if window % 2 else even


def _joined(block: Array, window: int, join: Callable[[Array, Array], Array]) -> Array:
    """Return `join` over each full window."""

    def merged(older: State, a: int, newer: State, _: int) -> State:
        return (join(older[0][: len(newer[0]) - a], newer[0][a:]),)

    return _full((block,), window, merged)[0]


def _moments(block: Array, window: int) -> State:
    """Return mean and sum of squared deviations of each full window."""
    return _full((block, np.zeros_like(block)), window, _merged_moments)


def _merged_moments(older: State, a: int, newer: State, b: int) -> State:
    """Return the moments of spans of a + b values, from those of the older a and of the b that follow them.

    The joint mean is m1 + d b/(a + b) and the joint sum of squares q1 + q2 + d^2 ab/(a + b), d = m2 - m1 (Chan, Golub
    and LeVeque 1983): no difference of large numbers.
    """
    rows = len(newer[0]) - a
    gap = newer[0][a:] - older[0][:rows]
    mean = older[0][:rows] + gap * (b / (a + b))
    squares = older[1][:rows] + newer[1][a:] + gap * gap * (a * b / (a + b))
    return mean, squares
