"""The bid-ask spread that highs and lows give away, for who has no quotes."""

from __future__ import annotations

import numpy as np
import pandas as pd

from quantlr.errors import DataError
from quantlr.types import Array, BoolArray, Prices

SPREAD_WINDOW_SESSIONS = 20
"""Two-session estimates that are averaged: a month, as in the paper."""
_CORWIN_SCHULTZ_DENOMINATOR = 3.0 - 2.0 * np.sqrt(2.0)


def corwin_schultz_spread(high: Array, low: Array, close: Array) -> Array:
    """Return the trailing bid-ask spread as a fraction of the price, (bars, tickers), >= 0.

    A session's high is mostly bought at the ask and its low sold at the bid, so its range is the price's own plus the
    spread; over two sessions the first grows and the second doesn't (Corwin and Schultz 2012, equations 14 and 18)::

        beta  = ln(H0 / L0)^2 + ln(H1 / L1)^2
        gamma = ln(max(H0, H1) / min(L0, L1))^2
        alpha = (sqrt(2 beta) - sqrt(beta)) / (3 - 2 sqrt 2) - sqrt(gamma / (3 - 2 sqrt 2))
        S     = 2 (e^alpha - 1) / (1 + e^alpha)

    Where the price jumped overnight past the second session's range, that range is moved back to the close before.
    Negative estimates are 0, as the paper has it. Row t is the mean of the newest 20 estimates, or of as many as there
    are; it uses bars t and older ones only. NaN at a first bar, and where highs or lows are missing.
    """
    top, bottom, last = np.log(high), np.log(low), np.log(close)
    jump = np.maximum(last[:-1] - top[1:], 0.0) + np.minimum(last[:-1] - bottom[1:], 0.0)
    beta = (top[1:] - bottom[1:]) ** 2 + (top[:-1] - bottom[:-1]) ** 2
    widest = np.maximum(top[1:] + jump, top[:-1]) - np.minimum(bottom[1:] + jump, bottom[:-1])
    alpha = (np.sqrt(2.0 * beta) - np.sqrt(beta)) / _CORWIN_SCHULTZ_DENOMINATOR - widest / np.sqrt(
        _CORWIN_SCHULTZ_DENOMINATOR
    )
    estimate = np.full_like(close, np.nan)
    estimate[1:] = np.maximum(2.0 * np.tanh(alpha / 2.0), 0.0)
    trailing = pd.DataFrame(estimate).rolling(SPREAD_WINDOW_SESSIONS, min_periods=1).mean().to_numpy()
    return np.asarray(np.maximum(trailing, 0.0))


def half_spread(prices: Prices, *, traded_mask: BoolArray) -> Array:
    """Return half the trailing spread, what crossing it costs once, as known at each close, (sessions, tickers).

    Where a ticker has no bar its newest estimate stands; 0 before its second bar.

    Parameters
    ----------
    traded : (tickers,) which are traded; each needs highs and lows.

    Raises
    ------
    DataError : a traded ticker has no highs or lows.
    """
    without = traded_mask & (np.isnan(prices.high) | np.isnan(prices.low)).all(axis=0)
    if without.any():
        raise DataError(
            f"spread corwin_schultz needs highs and lows, and {prices.tickers[int(without.argmax())]} has none; fetch "
            "prices that have them, or leave execution.spread out",
            key="execution.spread",
        )
    spread = prices.bars_to_sessions(corwin_schultz_spread(prices.high, prices.low, prices.close))
    return pd.DataFrame(spread).ffill().fillna(0.0).to_numpy() / 2.0
