"""Source of daily prices of cryptocurrencies from an exchange, through ccxt (extra `ccxt`).

ccxt is imported only where prices are requested.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pandas as pd
from pydantic import Field

from quantlr.core.errors import DataError
from quantlr.data.cache import FetchResponse
from quantlr.data.download import (
    DownloadClient,
    DownloadedSource,
    FetchError,
    FetchErrorKind,
    full_days_response,
    raw_bars_from_columns,
)

FIRST_DATE = dt.date(2010, 1, 1)
"""Date from which on bars are requested: no exchange is older."""
MAX_PAGES = 1_000
"""Requests for one ticker: an exchange returns some hundred bars each time."""
MAX_EMPTY_DAYS = 1_000
"""Days by which a request without bars is moved on, where an exchange returns none before a ticker's first."""
MILLISECONDS_PER_DAY = 86_400_000
COLUMNS = ("open", "high", "low", "close", "volume")


class CcxtSource(DownloadedSource):
    """Daily prices of cryptocurrencies from an exchange, through ccxt; a day ends at 24:00 UTC."""

    service_name: ClassVar[str] = "the exchange"
    symbol_pattern: ClassVar[re.Pattern[str]] = re.compile(r"[A-Z0-9]+/[A-Z0-9]+(:[A-Z0-9]+)?")
    symbol_examples: ClassVar[str] = "BTC/USDT or ETH/EUR"

    kind: Literal["ccxt"] = "ccxt"
    exchange: str = Field(
        pattern="^[a-z0-9_]{2,40}$", description="The exchange, by its name in ccxt.", examples=["binance"]
    )

    example_parameters = ({"exchange": "binance"}, {"exchange": "kraken", "on_failure": "drop", "deadline": 20.0})

    @property
    def cache_name(self) -> str:
        """Name of the source in the cache, and for people."""
        return f"{self.kind}-{self.exchange}"

    @contextmanager
    def open_client(self, *, timeout_seconds: float) -> Iterator[DownloadClient]:
        """Yield the client of the exchange.

        Raises
        ------
        DataError : ccxt is not installed, or knows no such exchange.
        """
        try:
            import ccxt
        except ImportError as error:
            raise DataError(
                'prices of exchanges need ccxt; pip install "quantlr[ccxt]"', key="data.source.kind"
            ) from error
        if self.exchange not in ccxt.exchanges:
            raise DataError(f"ccxt knows no exchange {self.exchange!r}", key="data.source.exchange")
        options: dict[str, Any] = {"timeout": int(1000 * timeout_seconds), "enableRateLimit": True}
        if self._environment.http_session is not None:
            options |= {"session": self._environment.http_session, "enableRateLimit": False}
        yield CcxtClient(self._environment, timeout_seconds, getattr(ccxt, self.exchange)(options))

    def calendar_of_ticker(self, ticker: str, exchange_code: str) -> str | None:
        """Return the calendar without holidays."""
        return "24/7"


@dataclass(slots=True)
class CcxtClient(DownloadClient):
    """Requests to one exchange.

    Attributes
    ----------
    exchange : object of ccxt.
    """

    exchange: Any

    def request_ticker(self, ticker: str, *, since: dt.date | None, now: dt.datetime) -> FetchResponse:
        """Return the days of a ticker from `since` on, or all of them, page by page."""
        import ccxt

        try:
            if not self.exchange.has.get("fetchOHLCV"):
                raise FetchError("unknown", f"{self.exchange.name} has no daily bars in ccxt")
            if not self.exchange.load_markets():
                raise FetchError("server", f"{self.exchange.name} answers with no list of markets")
            rows = self._read_pages(ticker, since or FIRST_DATE, now)
        except ccxt.BadSymbol as error:
            raise FetchError("unknown", f"{self.exchange.name} knows no {ticker}") from error
        except (ccxt.RateLimitExceeded, ccxt.DDoSProtection) as error:
            raise FetchError("limited", f"{self.exchange.name} limits the rate of requests") from error
        except ccxt.NetworkError as error:
            text = str(error).partition("\n")[0][:200]
            is_answer = isinstance(error, ccxt.ExchangeNotAvailable)
            kind: FetchErrorKind = "server" if is_answer and " 50" in text else "network"
            raise FetchError(kind, f"{self.exchange.name} can't be reached: {text}") from error
        except (ccxt.BaseError, KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            text = f"{type(error).__name__}: {str(error)[:200]}"
            raise FetchError("server", f"{self.exchange.name} answers with no prices ({text})") from error
        if not rows:
            raise FetchError("empty", f"{self.exchange.name} lists {ticker} and has no bars of it")
        stamps, *columns = zip(*rows, strict=True)
        try:
            dates = pd.DatetimeIndex(pd.to_datetime(list(stamps), unit="ms"))
        except (ValueError, OverflowError) as error:
            raise FetchError("server", f"{self.exchange.name} answers with a bar of no date") from error
        raw_bars = raw_bars_from_columns(dates.normalize(), dict(zip(COLUMNS, columns, strict=True)))
        return full_days_response(raw_bars, exchange=self.exchange.id, is_full_history=since is None, now=now)

    def _read_pages(self, ticker: str, first: dt.date, now: dt.datetime) -> list[list[float]]:
        """Return the bars of all pages from a date on, oldest first; a page begins after the one before."""
        position = int(dt.datetime.combine(first, dt.time(), dt.UTC).timestamp() * 1000)
        end = int(now.timestamp() * 1000)
        rows: list[list[float]] = []
        for _ in range(MAX_PAGES):
            page = self.exchange.fetch_ohlcv(ticker, "1d", since=position)
            page = [row[:6] for row in page if row[0] >= position]
            rows += page
            step = MAX_EMPTY_DAYS * MILLISECONDS_PER_DAY
            position = page[-1][0] + MILLISECONDS_PER_DAY if page else position + step
            if position > end or (rows and not page):
                break
        return rows
