"""Statistics of trailing windows, each from its window's own values and nothing else.

A window of w is put together from two of half its length, so that it costs about log2(w) passes.
No running sum is carried along: a price that is far off leaves no rounding behind once it has left the window, a
constant window has a deviation of exactly 0, and a value does not depend on where the history began.
Rows are bars; what is returned has the shape of what was given, NaN until a window has filled and where it holds a NaN.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from quantlr.core.arrays import Array

BLOCK_VALUES = 65_536
"""Values that are worked on at a time: half a megabyte, which stays in a core's cache."""

WindowState = tuple[Array, ...]
"""What is known of equally long spans of rows, one row per span."""
MergeStates = Callable[[WindowState, int, WindowState, int], WindowState]
"""From spans of a rows and the spans of b rows that follow them, those of a + b rows."""


def rolling_mean(values: Array, *, window: int) -> Array:
    """Return the mean of the newest `window` values."""
    return _apply_by_ticker_block(lambda block: _reduce_windows(block, window, np.add) / window, values, window)


def rolling_max(values: Array, *, window: int) -> Array:
    """Return the largest of the newest `window` values."""
    return _apply_by_ticker_block(lambda block: _reduce_windows(block, window, np.maximum), values, window)


def rolling_min(values: Array, *, window: int) -> Array:
    """Return the smallest of the newest `window` values."""
    return _apply_by_ticker_block(lambda block: _reduce_windows(block, window, np.minimum), values, window)


def rolling_std(values: Array, *, window: int, ddof: int = 1) -> Array:
    """Return the standard deviation of the newest `window` values; the divisor is `window` - `ddof`."""
    return _apply_by_ticker_block(
        lambda block: np.sqrt(_mean_and_sum_squared_deviations(block, window)[1] / (window - ddof)), values, window
    )


def rolling_zscore(values: Array, *, window: int) -> Array:
    """Return how many deviations (ddof 1) each value is above the mean of its window, itself included.

    It is 0 where the whole window is one value, and never beyond (window - 1) / sqrt(window).
    """

    def zscore_block(block: Array) -> Array:
        mean, squares = _mean_and_sum_squared_deviations(block, window)
        spread = np.sqrt(squares / (window - 1))
        still = spread == 0
        return np.where(still, 0.0, (block[window - 1 :] - mean) / np.where(still, 1.0, spread))

    return _apply_by_ticker_block(zscore_block, values, window)


def _apply_by_ticker_block(block_statistic: Callable[[Array], Array], values: Array, window: int) -> Array:
    """Return a statistic of full windows, some tickers at a time; `statistic` returns a row per full window."""
    found = np.full(values.shape, np.nan)
    bars, tickers = values.shape
    if bars < window:
        return found
    step = max(1, BLOCK_VALUES // bars)
    for first in range(0, tickers, step):
        block = np.ascontiguousarray(values[:, first : first + step])
        found[window - 1 :, first : first + step] = block_statistic(block)
    return found


def _window_states(single_value_states: WindowState, window: int, merge_states: MergeStates) -> WindowState:
    """Return the state of each full window from those of single values; row i is of the window that begins at i."""
    if window == 1:
        return single_value_states
    half = window // 2
    part = _window_states(single_value_states, half, merge_states)
    even = merge_states(part, half, part, half)
    return merge_states(even, window - 1, single_value_states, 1) if window % 2 else even


def _reduce_windows(block: Array, window: int, binary_operation: Callable[[Array, Array], Array]) -> Array:
    """Return `join` over each full window."""

    def merge_spans(older: WindowState, older_length: int, newer: WindowState, _: int) -> WindowState:
        return (binary_operation(older[0][: len(newer[0]) - older_length], newer[0][older_length:]),)

    return _window_states((block,), window, merge_spans)[0]


def _mean_and_sum_squared_deviations(block: Array, window: int) -> WindowState:
    """Return mean and sum of squared deviations of each full window."""
    return _window_states((block, np.zeros_like(block)), window, _merge_moments)


def _merge_moments(older: WindowState, older_length: int, newer: WindowState, newer_length: int) -> WindowState:
    """Return the moments of spans of a + b values, from those of the older a and of the b that follow them.

    The joint mean is m1 + d b/(a + b) and the joint sum of squares q1 + q2 + d^2 ab/(a + b), d = m2 - m1 (Chan, Golub
    and LeVeque 1983): no difference of large numbers.
    """
    rows = len(newer[0]) - older_length
    gap = newer[0][older_length:] - older[0][:rows]
    mean = older[0][:rows] + gap * (newer_length / (older_length + newer_length))
    squares = (
        older[1][:rows]
        + newer[1][older_length:]
        + gap * gap * (older_length * newer_length / (older_length + newer_length))
    )
    return mean, squares


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
