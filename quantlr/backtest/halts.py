"""Bars at which orders wait: trading halts, and days at a price limit.

A halted bar has volume 0 and the close of the bar before, where the ticker usually trades. At a limit a bar has one
price only, far from the close before: nobody sells at an upper limit, nor buys at a lower one.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from quantlr.core.values import Array, BoolArray, IntArray, Prices

MIN_BARS_BEFORE_HALT = 20
"""Bars that a ticker had before the first one that may count as halted."""
MIN_TRADED_FRACTION = 0.5
"""Fraction of the known volumes so far, and of the last bars' ranges, that are above 0 where a ticker trades."""
MIN_LIMIT_MOVE = 0.045
"""Smallest absolute return of a bar at a price limit."""
LIMIT_WINDOW_BARS = 20


def _change_from_previous_bar(values: Array) -> Array:
    ratio = np.full_like(values, np.nan)
    ratio[1:] = values[1:] / values[:-1]
    return ratio - 1.0


def halted_mask(prices: Prices) -> BoolArray:
    """Return whether trading was halted, (bars, tickers): by the volumes up to each bar; unknown ones are no halt."""
    is_zero = prices.volume == 0
    if not is_zero[MIN_BARS_BEFORE_HALT:].any():
        return np.zeros(is_zero.shape, dtype=np.bool_)
    n_known = np.cumsum(~np.isnan(prices.volume), axis=0)
    n_traded = np.cumsum(prices.volume > 0, axis=0)
    is_late = np.arange(len(is_zero))[:, None] >= MIN_BARS_BEFORE_HALT
    is_same_close = _change_from_previous_bar(prices.raw_close) == 0
    return np.asarray(is_zero & is_late & is_same_close & (n_traded >= MIN_TRADED_FRACTION * n_known))


def limit_side(prices: Prices) -> IntArray:
    """Return the price limit that each bar is at, (bars, tickers): 1 the upper, -1 the lower, 0 none."""
    is_one_price = prices.high == prices.low
    change = _change_from_previous_bar(prices.close)
    candidate = is_one_price & (np.abs(change) >= MIN_LIMIT_MOVE)
    if not candidate.any():
        return np.zeros(candidate.shape, dtype=np.int64)
    has_range = pd.DataFrame((prices.high > prices.low).astype(np.float64))
    usual = has_range.shift().rolling(LIMIT_WINDOW_BARS).mean().to_numpy() >= MIN_TRADED_FRACTION
    return np.where(candidate & usual, np.sign(np.nan_to_num(change)), 0.0).astype(np.int64)
