"""Series taken from prices: the closes of one ticker, and values of the members of the universe."""

from __future__ import annotations

import numpy as np
import pandas as pd

from quantlr.core.errors import DataError
from quantlr.core.values import Array, Prices


def find_ticker_closes(prices: Prices, ticker: str, *, is_adjusted: bool = True) -> pd.Series[float]:
    """Return the closes by date of a ticker, one of those traded or of their context; adjusted ones, or as quoted.

    Raises
    ------
    DataError : it is neither.
    """
    container = _prices_with_ticker(prices, ticker)
    column = container.tickers.index(ticker)
    n_bars = container.n_bars[column]
    dates = container.sessions[container.session[:n_bars, column]]
    closes = container.close if is_adjusted else container.raw_close
    return pd.Series(closes[:n_bars, column], dates)


def _prices_with_ticker(prices: Prices, ticker: str) -> Prices:
    containers = [container for container in (prices, prices.context) if container is not None]
    for container in containers:
        if ticker in container.tickers:
            return container
    known = ", ".join(name for container in containers for name in container.tickers)
    raise DataError(f"{ticker!r} is needed and was not fetched, {known} were; add it", key="data.context")


def closes_at_sessions(prices: Prices, ticker: str) -> Array:
    """Return the closes of a ticker, traded or of the context, at the sessions of the prices, (sessions,).

    NaN where it has no bar of that date; of another market, where none is current.

    Raises
    ------
    DataError : it is neither.
    """
    container = _prices_with_ticker(prices, ticker)
    closes = container.bars_to_sessions(container.close)[:, container.tickers.index(ticker)]
    return np.asarray(pd.Series(closes, container.sessions).reindex(prices.sessions), dtype=np.float64)


def keep_member_values(prices: Prices, bar_values: Array) -> Array:
    """Return (bars, tickers) values, NaN where the ticker is no member of the universe."""
    return bar_values if prices.member_mask is None else np.where(prices.member_mask, bar_values, np.nan)
