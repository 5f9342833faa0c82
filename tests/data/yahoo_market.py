"""Prices fetched by yfinance over HTTP from a server on the loopback."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from quantlr.core.values import Array, Prices
from quantlr.data.download import HttpEnvironment
from quantlr.data.prices import DataSpec, load_prices
from quantlr.data.source import FetchedPrices, FetchRequest
from quantlr.data.yahoo import YahooSource
from yfinance.data import YfData

from yahoo_server import Share, Yahoo, adjusted_closes, days

LAST = dt.date(2024, 5, 3)  # a Friday
LONG_AGO = days(300)
PAGE = (500, "<html>oops</html>", "text/html")
LIMIT = (429, "Too Many Requests", "text/plain")


@dataclass
class Market:
    """A server and an HTTP session to it."""

    yahoo: Yahoo
    session: Any

    def source(self, **keys: Any) -> YahooSource:
        environment = HttpEnvironment(
            http_session=self.session, clock=lambda: self.yahoo.now, pause_seconds=0.0, backoff_seconds=0.001
        )
        return YahooSource(**{"deadline": 20.0, **keys}).with_environment(environment)

    def fetch(self, *tickers: str, offline: bool = False, **keys: Any) -> FetchedPrices:
        YfData.cache_get.cache_clear()
        dates = {key: keys.pop(key) for key in ("start", "end") if key in keys}
        return self.source(**keys).fetch(FetchRequest(tickers, offline=offline, **dates))

    def load(self, *tickers: str, offline: bool = False, **keys: Any) -> Prices:
        dates = {key: keys.pop(key) for key in ("start", "end") if key in keys}
        return load_prices(DataSpec(source=self.source(**keys), tickers=tickers, **dates), offline=offline)

    def at(self, when: str) -> None:
        """Set the clock, of the server and of the source: New York's."""
        self.yahoo.now = pd.Timestamp(when, tz="America/New_York").to_pydatetime().astimezone(dt.UTC)


def later_days(count: int) -> list[dt.date]:
    return [day.date() for day in pd.bdate_range(start=LAST + dt.timedelta(days=1), periods=count)]


def reference(share: Share, today: dt.date) -> Array:
    traded_days = [day for day in share.close if day <= today]
    closes_by_day = adjusted_closes(share, traded_days, today)
    return np.array([closes_by_day[day] for day in traded_days])


def closes(fetched: FetchedPrices, ticker: str) -> Array:
    return fetched.bars[ticker]["adj_close"].to_numpy(dtype=np.float64)


def sessions(fetched: FetchedPrices, ticker: str) -> list[dt.date]:
    return [date.date() for date in pd.DatetimeIndex(fetched.bars[ticker].index)]
