"""Source of daily prices from Yahoo Finance."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from typing import ClassVar, Literal

from quantlr.data.download import DownloadClient, DownloadedSource
from quantlr.data.yahoo_client import CALENDAR_BY_EXCHANGE_CODE, open_yahoo_client


class YahooSource(DownloadedSource):
    """Daily prices from Yahoo Finance, cached on this machine as quoted; splits and dividends are adjusted here."""

    service_name: ClassVar[str] = "Yahoo"
    symbol_pattern: ClassVar[re.Pattern[str]] = re.compile(r"[A-Za-z0-9.^=&_-]+")
    symbol_examples: ClassVar[str] = "SPY or ^GSPC or BRK-B"

    kind: Literal["yahoo"] = "yahoo"

    example_parameters = ({}, {"on_failure": "drop", "deadline": 20.0})

    def open_client(self, *, timeout_seconds: float) -> AbstractContextManager[DownloadClient]:
        """Return a context manager of yfinance's client, which restores the settings of yfinance."""
        return open_yahoo_client(self._environment, timeout_seconds=timeout_seconds)

    def calendar_of_ticker(self, ticker: str, exchange_code: str) -> str | None:
        """Return the calendar of the exchange that Yahoo names."""
        return CALENDAR_BY_EXCHANGE_CODE.get(exchange_code)
