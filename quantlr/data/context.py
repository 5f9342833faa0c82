"""Another ticker beside those that are forecast: where its bars are."""

from __future__ import annotations

from quantlr.errors import DataError
from quantlr.types import Prices


def find_ticker(prices: Prices, ticker: str) -> tuple[Prices, int]:
    """Return the prices in which a ticker is, traded or context, and its column there.

    Raises
    ------
    DataError : it is in neither.
    """
    for held in (prices, prices.context):
        if held is not None and ticker in held.tickers:
            return held, held.tickers.index(ticker)
    known = (*prices.tickers, *(prices.context.tickers if prices.context else ()))
    raise DataError(f"{ticker!r} is looked at and was not fetched, {', '.join(known)} were; add it", key="data.context")
