"""Source of daily prices from Stooq, as CSV over HTTPS."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import build_opener

import pandas as pd

from quantlr.core.errors import DataError
from quantlr.data.cache import FetchResponse
from quantlr.data.csv.raw_table import ReadingOptions
from quantlr.data.csv.reader import read_bars
from quantlr.data.download import (
    DownloadClient,
    DownloadedSource,
    FetchError,
    full_days_response,
    raw_bars_from_columns,
)
from quantlr.data.markets import hours_of_suffix
from quantlr.data.network import network_error_text, read_response

STOOQ_ADDRESS = "https://stooq.com"
MAX_RESPONSE_BYTES = 64 << 20
LIMIT_TEXTS = ("Exceeded the daily hits limit", "Przekroczony dzienny limit")
UNKNOWN_TEXTS = ("No data", "Brak danych")
MAX_QUOTED_CHARACTERS = 80


class StooqSource(DownloadedSource):
    """Daily prices from Stooq, adjusted there for splits and dividends; cached on this machine.

    A later dividend or split changes all earlier prices, so that the whole history is requested each time, and a
    revision is noted.
    """

    service_name: ClassVar[str] = "Stooq"
    symbol_pattern: ClassVar[re.Pattern[str]] = re.compile(r"[A-Za-z0-9.^_-]+")
    symbol_examples: ClassVar[str] = "spy.us or ^spx or 7203.jp"

    kind: Literal["stooq"] = "stooq"

    example_parameters = ({}, {"on_failure": "drop", "deadline": 20.0})

    @contextmanager
    def open_client(self, *, timeout_seconds: float) -> Iterator[DownloadClient]:
        """Yield the client."""
        opener = self._environment.http_session or build_opener()
        yield StooqClient(self._environment, timeout_seconds, opener)

    def calendar_of_ticker(self, ticker: str, exchange_code: str) -> str | None:
        """Return the calendar of a ticker's suffix; New York's for the indices of its stocks."""
        hours = "XNYS" if ticker.casefold() in ("^spx", "^dji", "^ndq", "^ndx") else hours_of_suffix(ticker)
        return hours if isinstance(hours, str) else None


@dataclass(slots=True)
class StooqClient(DownloadClient):
    """Requests of whole histories.

    Attributes
    ----------
    opener : opens addresses, as `urllib.request.build_opener` returns it.
    """

    opener: Any

    def request_ticker(self, ticker: str, *, since: dt.date | None, now: dt.datetime) -> FetchResponse:
        """Return all sessions of a ticker: those before `since` may have been adjusted since."""
        url = f"{STOOQ_ADDRESS}/q/d/l/?{urlencode({'s': ticker.casefold(), 'i': 'd'})}"
        content = self._read(url)
        text = content[:200].decode("utf-8", "replace").strip()
        if any(text.startswith(known) for known in UNKNOWN_TEXTS) or not text:
            raise FetchError("unknown", f"Stooq says {text!r}")
        if any(known in text for known in LIMIT_TEXTS):
            raise FetchError("limited", f"Stooq limits the number of requests a day: {text!r}")
        if not text.startswith(("Date,", "Data,")):
            line = text.partition("\n")[0][:MAX_QUOTED_CHARACTERS]
            raise FetchError("server", f"Stooq answers with no table of prices: {line!r}")
        try:
            bars = read_bars(content, path=Path(f"{ticker}.csv"), tickers=[ticker], options=ReadingOptions())[0][ticker]
        except DataError as error:
            raise FetchError("server", f"Stooq answers with prices that can't be read: {error.message}") from error
        columns = {name: bars[name] if name in bars else bars["close"] for name in ("open", "high", "low", "close")}
        columns["volume"] = bars["volume"] if "volume" in bars else 0.0 * bars["close"]
        raw_bars = raw_bars_from_columns(pd.DatetimeIndex(bars.index), columns)
        return full_days_response(raw_bars, exchange="Stooq", is_full_history=True, now=now)

    def _read(self, url: str) -> bytes:
        try:
            return read_response(self.opener, url, timeout_seconds=self.timeout_seconds, max_bytes=MAX_RESPONSE_BYTES)
        except HTTPError as error:
            error.close()
            if error.code == 429:
                raise FetchError("limited", "Stooq limits the rate of requests (status 429)") from error
            raise FetchError("server", f"Stooq answers with status {error.code}, and with no prices") from error
        except OSError as error:
            raise FetchError("network", f"Stooq can't be reached: {network_error_text(error)}") from error
