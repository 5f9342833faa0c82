"""Permutation test of timing: the positions of a strategy against the same positions shifted in time.

A shift keeps exposure, turnover, the autocorrelation of positions, and the relation between tickers, and separates each
position from the returns that it was decided for. How much of the return is due to the timing is then a matter of
ranking the actual positions among the shifted ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quantlr.core.values import Array
from quantlr.stats.benchmark_test import position_and_return_deviations

MIN_SHIFT_SESSIONS = 63
"""Smallest shift, a quarter of a year: positions that move slowly still hold what they held a few sessions before."""
MIN_RELATIVE_SPREAD = 1e-12
"""Root mean square of the deviations of positions, relative to their own, up to which they count as constant."""


@dataclass(frozen=True, slots=True)
class ShiftTest:
    """Result of the permutation test.

    Attributes
    ----------
    statistic : sum of the products of the deviations of positions and returns, over the root of the sum of their
        squares; None where positions are constant, or there are too few sessions for a shift.
    p_value : share of the shifts, the actual positions included, whose statistic is at least as large; None with the
        statistic.
    shifts : number of shifts.
    """

    statistic: float | None
    p_value: float | None
    shifts: int


def shifted_positions_test(weight: Array, ticker_excess_returns: Array, *, horizon: int) -> ShiftTest:
    """Return the one-sided test that positions earn more than the same positions at other times.

    Parameters
    ----------
    weight : (sessions, tickers) fraction of equity held.
    ticker_excess_returns : (sessions, tickers) returns of the tickers in excess of cash; NaN before a ticker's first
        bar and after its last one.
    horizon : sessions that a forecast spans; no shift is shorter than that, nor than 63 sessions.

    Notes
    -----
    With w and r the deviations of positions and returns from the means of each ticker, all tickers are shifted
    circularly by the same k from m = max(63, horizon) to n - m sessions, and

        S_k = sum_ti w_(t-k)i r_ti / sqrt(sum_ti w_(t-k)i^2 r_ti^2),   p = (1 + #{S_k >= S_0}) / (1 + #{k})

    Without the denominator, positions in proportion to the inverse of the volatility are found too often. Both sums of
    all shifts are circular correlations, computed by the fast Fourier transform.
    """
    n, first = len(weight), max(MIN_SHIFT_SESSIONS, horizon)
    n_shifts = max(n - 2 * first + 1, 0)
    w, r = position_and_return_deviations(weight, ticker_excess_returns)
    scale = float(np.sqrt((weight**2).sum()))
    if not n_shifts or float(np.sqrt((w**2).sum())) <= MIN_RELATIVE_SPREAD * scale or not r.any():
        return ShiftTest(None, None, n_shifts)
    products, squares = _circular_correlations(w, r), _circular_correlations(w**2, r**2)
    smallest = np.finfo(np.float64).eps * float(squares.max())
    statistics = products / np.sqrt(np.maximum(squares, smallest))
    statistic = float(statistics[0])
    rounding = 1e-9 * float(np.abs(statistics).max())  # of the transform, by which equal statistics differ
    n_larger = int((statistics[first : n - first + 1] >= statistic - rounding).sum())
    return ShiftTest(statistic, (1 + n_larger) / (1 + n_shifts), n_shifts)


def _circular_correlations(shifted: Array, fixed: Array) -> Array:
    """Return sum_ti shifted[t - k, i] fixed[t, i] of each circular shift k, (sessions,)."""
    n = len(fixed)
    spectrum = np.zeros(n // 2 + 1, dtype=np.complex128)
    for first, second in zip(shifted.T, fixed.T, strict=True):
        spectrum += np.fft.rfft(first).conj() * np.fft.rfft(second)
    return np.fft.irfft(spectrum, n)
