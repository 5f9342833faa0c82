"""Trailing betas of tickers against a market: the equally weighted tickers of the run, or one ticker."""

from __future__ import annotations

import numpy as np
import pandas as pd

from quantlr.core.price_series import find_ticker_closes, keep_member_values
from quantlr.core.timing import latest_known_bar_index
from quantlr.core.values import Array, Prices

MIN_MARKET_VARIANCE = 1e-16
"""Variance of the market's returns below which they count as constant: rounding alone makes some."""


def market_levels(prices: Prices, *, market: str | None) -> Array:
    """Return the level of the market at each session's close, (sessions,); NaN before its first.

    Without a ticker it grows by the mean of the simple returns of all tickers that have one in the session and are
    members of the universe.

    Raises
    ------
    DataError : the ticker is neither traded nor a reference series.
    """
    if market is not None:
        closes = find_ticker_closes(prices, market)
        index = latest_known_bar_index(pd.DatetimeIndex(closes.index), prices.sessions)
        return np.where(index >= 0, closes.to_numpy()[np.maximum(index, 0)], np.nan)
    closes_by_session = pd.DataFrame(prices.bars_to_sessions(prices.close))
    is_member = ~np.isnan(prices.bars_to_sessions(keep_member_values(prices, prices.close)))
    returns = np.where(is_member, closes_by_session / closes_by_session.ffill().shift() - 1.0, np.nan)
    n_returns = (~np.isnan(returns)).sum(axis=1)
    return np.asarray(np.cumprod(1.0 + np.nansum(returns, axis=1) / np.maximum(n_returns, 1)), dtype=np.float64)


def trailing_betas(prices: Prices, *, window: int, market: str | None) -> Array:
    """Return the slope of a regression of each ticker's returns on the market's, (sessions, tickers).

    It is that of the market model (Sharpe 1963) by least squares with an intercept, over the ticker's newest `window`
    simple returns up to the session's close; the market's returns are between the same closes. NaN where the ticker has
    no bar or fewer returns, or where the market does not move.
    """
    level = np.repeat(market_levels(prices, market=market)[:, None], len(prices.tickers), axis=1)
    own, of_market = (
        pd.DataFrame(_returns_since_previous_bar(values)) for values in (prices.close, prices.sessions_to_bars(level))
    )
    covariance = own.rolling(window).cov(of_market).to_numpy()
    variance = of_market.rolling(window).var().to_numpy()
    beta = np.full_like(covariance, np.nan)
    np.divide(covariance, variance, out=beta, where=variance > MIN_MARKET_VARIANCE)
    return prices.bars_to_sessions(beta)


def _returns_since_previous_bar(values: Array) -> Array:
    """Return the simple returns of (bars, tickers) values, NaN in the first row."""
    returns = np.full_like(values, np.nan)
    returns[1:] = values[1:] / values[:-1] - 1.0
    return returns
