"""Prices from Yahoo by yfinance over HTTP, from a server on the loopback: adjustment, calendars and sessions."""

from __future__ import annotations

import datetime as dt

import exchange_calendars
import numpy as np
import pytest
from quantlr.core.errors import DataError
from quantlr.data.source import FetchRequest
from quantlr.data.yahoo import CALENDAR_BY_EXCHANGE_CODE

from data.yahoo_market import LAST, LONG_AGO, Market, closes, reference, sessions
from yahoo_server import Share, days, share


def test_raw_prices_are_adjusted_as_yahoo_adjusts_them(market: Market) -> None:
    stock = share(
        1, LONG_AGO, splits={LONG_AGO[100]: 2.0, LONG_AGO[200]: 0.1}, dividends={LONG_AGO[50]: 1.5, LONG_AGO[150]: 0.25}
    )
    market.yahoo.shares = {"AAA": stock, "^III": share(2, LONG_AGO, exchange="SNP")}
    prices = market.load("AAA", "^III")
    assert prices.tickers == ("AAA", "^III")
    np.testing.assert_allclose(prices.raw_close[:, 0], list(stock.close.values()), rtol=1e-6)
    np.testing.assert_allclose(prices.close[:, 0], reference(stock, LAST), rtol=2e-6)
    np.testing.assert_allclose(
        prices.open[:, 0] / prices.close[:, 0], [(c - 0.05) / c for c in stock.close.values()], rtol=1e-5
    )
    np.testing.assert_allclose(prices.volume[[0, 99, 100, 199, 200], 0], [2e5, 2e5, 1e5, 1e5, 1e6])
    np.testing.assert_allclose(prices.close[:, 1], list(market.yahoo.shares["^III"].close.values()))
    assert prices.source == "yahoo"
    # The made-up market trades on every weekday, the exchange that it names does not; and ^III is a price index.
    assert {note.key for note in prices.notes} == {"data.quality.off_calendar", "data.tickers"}


def test_the_adjusted_close_of_yahoos_published_example(market: Market) -> None:
    """The example of Yahoo's help page: a 2:1 split, then a dividend of 0.08 on a close of 24.96."""
    dates = days(4)
    market.yahoo.shares["EX"] = Share(
        dict(zip(dates, (46.99, 48.30, 24.96, 24.53), strict=True)), splits={dates[2]: 2.0}, dividends={dates[3]: 0.08}
    )
    np.testing.assert_allclose(closes(market.fetch("EX"), "EX"), [23.42, 24.07, 24.88, 24.53], atol=0.005)


def test_a_dividend_on_the_day_of_a_split_is_per_new_share(market: Market) -> None:
    dates = days(3)
    market.yahoo.shares["BOTH"] = Share(
        dict(zip(dates, (100.0, 49.0, 49.0), strict=True)), splits={dates[1]: 2.0}, dividends={dates[1]: 1.0}
    )
    np.testing.assert_allclose(closes(market.fetch("BOTH"), "BOTH"), [49.0, 49.0, 49.0])


def test_a_funds_capital_gain_is_part_of_its_dividend_unless_it_is_larger(market: Market) -> None:
    dates = days(4)
    fund = Share(
        dict.fromkeys(dates, 100.0),
        kind="ETF",
        dividends={dates[1]: 3.0, dates[3]: 1.0},
        gains={dates[1]: 2.0, dates[3]: 4.0},
    )
    market.yahoo.shares["FUND"] = fund
    np.testing.assert_allclose(closes(market.fetch("FUND"), "FUND"), [100 * 0.97 * 0.95, 95.0, 95.0, 100.0])


def test_a_dividend_above_the_price_is_refused_with_its_day(market: Market) -> None:
    dates = days(4)
    market.yahoo.shares["BAD"] = Share(dict.fromkeys(dates, 10.0), dividends={dates[2]: 12.0})
    with pytest.raises(DataError, match=f"BAD {dates[2]}: a dividend of 12 on a close of 10 the session before"):
        market.fetch("BAD")
    assert len(market.fetch("BAD", start=dates[2]).bars["BAD"]) == 2


def test_the_calendar_is_that_of_the_exchange(market: Market) -> None:
    market.yahoo.shares = {
        "AAA": share(1, LONG_AGO),
        "TYO": share(2, LONG_AGO, exchange="JPX"),
        "ODD": share(3, LONG_AGO, exchange="???"),
    }
    assert market.fetch("AAA", "TYO", "ODD").calendars == {"AAA": "XNYS", "TYO": "XTKS"}
    assert set(CALENDAR_BY_EXCHANGE_CODE.values()) <= set(exchange_calendars.get_calendar_names(include_aliases=False))


def test_progress_is_reported_for_each_ticker(market: Market) -> None:
    market.yahoo.shares = {name: share(1, LONG_AGO) for name in ("AAA", "BBB")}
    calls: list[tuple[str, int, int]] = []
    market.source().fetch(
        FetchRequest(("AAA", "BBB"), progress=lambda stage, *, done, total: calls.append((stage, done, total)))
    )
    assert calls == [("fetching", done, 2) for done in range(3)]


def test_sessions_end_by_the_clock_of_the_exchange(market: Market) -> None:
    """At noon in New York Tokyo's Friday is long over; bitcoin's goes on until midnight in London."""
    market.yahoo.shares = {
        "TOK": share(1, LONG_AGO, exchange="JPX", zone="Asia/Tokyo", opens=dt.time(9), closes=dt.time(15, 30)),
        "BIT": share(2, LONG_AGO, exchange="CCC", zone="UTC", opens=dt.time(0), closes=dt.time(23, 59)),
    }
    market.at("2024-05-03 12:00")
    fetched = market.fetch("TOK", "BIT")
    assert {ticker: len(bars) for ticker, bars in fetched.bars.items()} == {"TOK": 300, "BIT": 299}
    assert fetched.calendars == {"TOK": "XTKS", "BIT": "24/7"}


def test_a_dividend_of_a_session_without_prices_is_moved_to_the_next_session(market: Market) -> None:
    market.yahoo.shares["AAA"] = share(
        1, LONG_AGO, lacking={LONG_AGO[150]}, dividends={LONG_AGO[150]: 1.0}, splits={LONG_AGO[150]: 2.0}
    )
    bars = market.fetch("AAA").bars["AAA"]
    quoted = list(market.yahoo.shares["AAA"].close.values())
    np.testing.assert_allclose(bars["close"], np.delete(quoted, 150), rtol=1e-6)
    assert bars["adj_close"].iloc[149] == pytest.approx(quoted[149] / 2 - 1.0, rel=1e-6)


def test_repeated_dates_are_one_session(market: Market) -> None:
    market.yahoo.shares["AAA"] = share(1, LONG_AGO, repeated={LONG_AGO[7], LAST})
    fetched = market.fetch("AAA")
    assert sessions(fetched, "AAA") == LONG_AGO
