"""Made-up prices of tickers in New York and Tokyo, with the instants of their closes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from quantlr.core.timing import Market
from quantlr.core.values import Array, Prices
from quantlr.data.calendars import RegularClose
from quantlr.data.markets import market_with_closes
from quantlr.data.prices import prices_from_ticker_bars
from quantlr.testing.contract import random_walk_bars

HOURS = {
    "NY": RegularClose(zone="America/New_York", minutes=16 * 60),
    "TK": RegularClose(zone="Asia/Tokyo", minutes=15 * 60),
}


def market(place: str, dates: pd.DatetimeIndex) -> Market:
    """Return the market of a place, with its close on each date."""
    return market_with_closes(place, HOURS[place], dates.to_numpy())[0]


def two_market_prices(seed: int, *, n_sessions: int = 120, traded: str = "NY,TK,NY,TK", context: str = "") -> Prices:
    """Return tickers NY0, TK1, ... that miss a twentieth of the dates, with holidays of their market's own."""
    rng = np.random.default_rng(seed)
    dates = pd.bdate_range("2015-01-05", periods=n_sessions).as_unit("us")
    open_days = {place: rng.random(n_sessions) > 0.05 for place in HOURS}

    def prices_of(places: list[str]) -> Prices:
        bars = {}
        for index, place in enumerate(places):
            has_bar = open_days[place] & (rng.random(n_sessions) > 0.05)
            bars[f"{place}{index}"] = random_walk_bars(rng, dates[has_bar])
        prices = prices_from_ticker_bars(bars, source="synthetic", sha256="", notes=[])
        return replace(prices, markets=tuple(market(place, dates) for place in places))

    prices = prices_of(traded.split(","))
    return replace(prices, context=prices_of(context.split(","))) if context else prices


def bar_values(prices: Prices, ticker: int, values: Array) -> list[tuple[pd.Timestamp, pd.Timestamp, float]]:
    """Return date, close and value of each bar of a ticker."""
    minutes, zone = HOURS[prices.tickers[ticker][:2]].minutes, HOURS[prices.tickers[ticker][:2]].zone
    rows = []
    for bar in range(int(prices.n_bars[ticker])):
        date = prices.sessions[prices.session[bar, ticker]]
        close = (date + pd.Timedelta(minutes=minutes)).tz_localize(zone).tz_convert("UTC")
        rows.append((date, close, float(values[bar, ticker])))
    return rows
