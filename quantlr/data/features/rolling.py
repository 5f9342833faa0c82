"""Rolling statistics, each computed from the values of its own window only.

The statistic of a window of w values is merged from those of two windows of half its length, which takes about log2(w)
passes over the data. There is no running sum: an outlier leaves no rounding error once it has left the window, a
constant window has a standard deviation of exactly 0, and a value does not depend on where the history starts.
Rows are bars; results have the shape of the input, NaN until a window is full and where it contains a NaN.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from quantlr.core.values import Array
from quantlr.data.features.base import safe_divide

DECAY_BLOCK_ROWS = 64
"""Rows of a block of decaying sums, near the root of the number of bars of a long history."""
BLOCK_VALUES = 65_536
"""Values processed at a time: half a megabyte, which fits the cache of a core."""

WindowState = tuple[Array, ...]
"""Statistics of windows of equal length, one row per window."""
MergeStates = Callable[[WindowState, int, WindowState, int], WindowState]
"""(older windows, their length, the windows that follow, their length) to the states of the joined windows."""


def rolling_mean(values: Array, *, window: int) -> Array:
    """Return the mean of the newest `window` values."""
    return _apply_in_blocks(lambda block: _reduce_windows(block, window, np.add) / window, values, window)


def rolling_max(values: Array, *, window: int) -> Array:
    """Return the maximum of the newest `window` values."""
    return _apply_in_blocks(lambda block: _reduce_windows(block, window, np.maximum), values, window)


def rolling_min(values: Array, *, window: int) -> Array:
    """Return the minimum of the newest `window` values."""
    return _apply_in_blocks(lambda block: _reduce_windows(block, window, np.minimum), values, window)


def rolling_std(values: Array, *, window: int, ddof: int = 1) -> Array:
    """Return the standard deviation of the newest `window` values; the divisor is `window` - `ddof`."""
    return _apply_in_blocks(lambda block: np.sqrt(_window_moments(block, window)[1] / (window - ddof)), values, window)


def rolling_zscore(values: Array, *, window: int) -> Array:
    """Return the z-score (ddof 1) of each value within the window that it ends.

    It is 0 in a constant window, and at most (window - 1) / sqrt(window) in absolute value.
    """

    def zscores_of_full_windows(block: Array) -> Array:
        mean, squared_deviations = _window_moments(block, window)
        return safe_divide(block[window - 1 :] - mean, np.sqrt(squared_deviations / (window - 1)), fill_value=0.0)

    return _apply_in_blocks(zscores_of_full_windows, values, window)


def _apply_in_blocks(block_statistic: Callable[[Array], Array], values: Array, window: int) -> Array:
    """Return a rolling statistic, computed for a block of tickers at a time; it returns a row per full window."""
    result = np.full(values.shape, np.nan)
    bars, tickers = values.shape
    if bars < window:
        return result
    step = max(1, BLOCK_VALUES // bars)
    for first in range(0, tickers, step):
        block = np.ascontiguousarray(values[:, first : first + step])
        result[window - 1 :, first : first + step] = block_statistic(block)
    return result


def _window_states(single_value_states: WindowState, window: int, merge_states: MergeStates) -> WindowState:
    """Return the state of each full window from those of single values; row i is the window that starts at i."""
    if window == 1:
        return single_value_states
    half = window // 2
    halves = _window_states(single_value_states, half, merge_states)
    even = merge_states(halves, half, halves, half)
    return merge_states(even, window - 1, single_value_states, 1) if window % 2 else even


def _reduce_windows(block: Array, window: int, binary_operation: Callable[[Array, Array], Array]) -> Array:
    """Return the reduction of each full window by an associative operation."""

    def merge(older: WindowState, older_length: int, newer: WindowState, _: int) -> WindowState:
        return (binary_operation(older[0][: len(newer[0]) - older_length], newer[0][older_length:]),)

    return _window_states((block,), window, merge)[0]


def _window_moments(block: Array, window: int) -> WindowState:
    """Return the mean, and the sum of squared deviations from it, of each full window."""
    return _window_states((block, np.zeros_like(block)), window, _merge_moments)


def _merge_moments(older: WindowState, older_length: int, newer: WindowState, newer_length: int) -> WindowState:
    """Return mean and sum of squared deviations of joined windows, from those of the a older and b newer values.

    The joint mean is m1 + d b/(a + b) and the joint sum of squares q1 + q2 + d^2 ab/(a + b), d = m2 - m1 (Chan, Golub
    and LeVeque 1983), which avoids the difference of large numbers.
    """
    (older_mean, older_squares), (newer_mean, newer_squares) = older, newer
    rows, total = len(newer_mean) - older_length, older_length + newer_length
    gap = newer_mean[older_length:] - older_mean[:rows]
    mean = older_mean[:rows] + gap * (newer_length / total)
    squares = older_squares[:rows] + newer_squares[older_length:] + gap * gap * (older_length * newer_length / total)
    return mean, squares


def recursive_average(values: Array, *, window: int, weight: float, first_row: int) -> Array:
    """Return the recursive average a + weight (value - a) of (bars, tickers) values, NaN before row `first_row`.

    It starts at `first_row` with the mean of the `window` values up to that row, so every later value depends, with
    exponentially decaying weight, on a ticker's first bars.
    """
    averages = np.full(values.shape, np.nan)
    if first_row >= len(values):
        return averages
    # A running sum, since the order in which sum() adds depends on the number of tickers.
    start = np.cumsum(values[first_row - window + 1 : first_row + 1], axis=0)[-1] / window
    deviations = values[first_row:] - start
    deviations[0] = 0.0
    averages[first_row:] = start + _decaying_sums(weight * deviations, decay=1.0 - weight)
    return averages


def _decaying_sums(values: Array, *, decay: float) -> Array:
    """Return s[t] = values[t] + decay s[t-1] of (bars, tickers) values.

    Blocks of rows are summed side by side, and each then adds what the one before has left: with few tickers this takes
    a twentieth of the time of a loop over the rows.
    """
    n_rows, n_tickers = values.shape
    n_blocks = -(-n_rows // DECAY_BLOCK_ROWS)
    sums = np.zeros((n_blocks * DECAY_BLOCK_ROWS, n_tickers))
    sums[:n_rows] = values
    blocks = sums.reshape(n_blocks, DECAY_BLOCK_ROWS, n_tickers)
    for row in range(1, DECAY_BLOCK_ROWS):
        blocks[:, row] += decay * blocks[:, row - 1]
    remaining = decay ** np.arange(1.0, DECAY_BLOCK_ROWS + 1.0)[:, None]
    for block in range(1, n_blocks):
        blocks[block] += remaining * blocks[block - 1, -1]
    return sums[:n_rows]


def wilder_average(values: Array, *, window: int) -> Array:
    """Return Wilder's average, of weight 1/window, of values whose first row is NaN, such as changes."""
    return recursive_average(values, window=window, weight=1.0 / window, first_row=window)


def exponential_average(values: Array, *, window: int, first_row: int) -> Array:
    """Return the exponential average, of weight 2/(window + 1), from `first_row` on."""
    return recursive_average(values, window=window, weight=2.0 / (window + 1.0), first_row=first_row)
