"""Opens that are no prices of trades: those that hardly move from the close before.

An index is often opened at the close before, or at a mean of old and new prices of its members. A fill there earns the
move from the close to the true open, which nobody can trade. In a market with true opens, the night has a fair share of
the variance (.30 to .43 for large stocks), and the return from close to close moves with the night's return one to one.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from quantlr.core.values import Array, BoolArray

WINDOW_BARS, WINDOW_STEP_BARS = 252, 126
"""Bars of a window, and from the start of one to that of the next."""
MAX_DEVIATION_MADS = 5.0
"""Median absolute deviations from the median at which returns are clipped."""
MIN_NIGHT_VARIANCE_RATIO = 0.05
"""Variance of the night over that of a session, below which opens are stale."""
MAX_SUSPECT_VARIANCE_RATIO, MAX_NIGHT_SLOPE = 0.15, 1.5
"""The same ratio, below which opens are stale too if the slope is significantly above 1.5: they hold part of a move."""
SLOPE_STANDARD_ERRORS = 2.0
SESSIONS_PER_TRADING_YEAR = 252
AROUND_THE_CLOCK_SESSIONS = 350
"""Sessions per year from which on a market never closes, and an open is the close before."""


def stale_open_windows(opens: Array, closes: Array, *, sessions_per_year: int) -> BoolArray:
    """Return whether the opens of each window of 252 bars are stale, (windows,); empty without enough opens.

    A window begins every 126 bars; fewer than 252 bars are one window, if there are at least 126.

    Parameters
    ----------
    opens, closes : (bars,) adjusted prices of one ticker in order; bars whose open or previous close is NaN are left
        out.
    sessions_per_year : of the bars; markets with 350 or more never close, and have no stale opens.

    Notes
    -----
    With o the log return from the close before to the open, and c that to the close, both clipped at 5 median absolute
    deviations within the window, and k the sessions of a bar (1 for daily ones), the opens are stale where
    v = k var(o) / var(c) < .05, or where v < .15 and the slope of c on o less two standard errors is above 1.5.
    """
    night, full = np.log(opens[1:] / closes[:-1]), np.log(closes[1:] / closes[:-1])
    is_known = ~(np.isnan(night) | np.isnan(full))
    night, full = night[is_known], full[is_known]
    if len(night) < WINDOW_STEP_BARS or sessions_per_year >= AROUND_THE_CLOCK_SESSIONS:
        return np.zeros(0, dtype=np.bool_)
    n = min(WINDOW_BARS, len(night))
    o, c = (_clipped_deviations(sliding_window_view(x, n)[::WINDOW_STEP_BARS]) for x in (night, full))
    sessions_per_bar = max(SESSIONS_PER_TRADING_YEAR / sessions_per_year, 1.0)
    night_variance, variance, covariance = ((x * y).mean(axis=1) for x, y in ((o, o), (c, c), (o, c)))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = sessions_per_bar * night_variance / variance
        slope = covariance / night_variance
        slope_error = np.sqrt((variance / night_variance - slope**2) / (n - 2))
    is_partial = (ratio < MAX_SUSPECT_VARIANCE_RATIO) & (slope - SLOPE_STANDARD_ERRORS * slope_error > MAX_NIGHT_SLOPE)
    return np.asarray((night_variance == 0) | (ratio < MIN_NIGHT_VARIANCE_RATIO) | is_partial)


def _clipped_deviations(windows: Array) -> Array:
    """Return the windows' values, (windows, bars), clipped at 5 MAD of their median, less their mean."""
    median = np.median(windows, axis=1, keepdims=True)
    deviation = windows - median
    limit = MAX_DEVIATION_MADS * np.median(np.abs(deviation), axis=1, keepdims=True)
    clipped = np.clip(deviation, -limit, limit)
    return np.asarray(clipped - clipped.mean(axis=1, keepdims=True))
