"""Stooq and ccxt keep the contract of sources, against servers on the loopback."""

from __future__ import annotations

import datetime as dt
import importlib.util
import json
import pickle
import socket
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from quantlr.core.errors import DataError, Fault
from quantlr.data.crypto import CcxtSource
from quantlr.data.download import DownloadedSource, HttpEnvironment
from quantlr.data.prices import DataSpec, load_prices
from quantlr.data.source import FetchedPrices, FetchRequest
from quantlr.data.stooq import StooqSource
from quantlr.testing import check_source

from price_servers import LoopbackOpener, PriceServer, loopback_session, serving_prices

needs_ccxt = pytest.mark.skipif(importlib.util.find_spec("ccxt") is None, reason="ccxt is not installed")
KINDS = ["stooq", pytest.param("ccxt", marks=needs_ccxt)]


class Shop:
    """One of the sources, with its server; `ticker` is known there, `other` too, and `unknown` is not."""

    def __init__(self, kind: str, server: PriceServer, address: str) -> None:
        self.kind, self.server = kind, server
        self.ticker, self.other, self.unknown = ("spy.us", "^spx", "nope.us")
        session: Any = LoopbackOpener(address)
        if kind == "ccxt":
            self.ticker, self.other, self.unknown = ("BTC/USD", "ETH/USD", "XXX/USD")
            session = loopback_session(address)
        names = {"spy.us": "spy.us", "^spx": "^spx", "BTC/USD": "btcusd", "ETH/USD": "ethusd"}
        rng = np.random.default_rng(0)
        for ticker in (self.ticker, self.other):
            days = pd.bdate_range(end="2024-05-03", periods=260) if kind == "stooq" else pd.date_range(
                end="2024-05-04", periods=260
            )  # fmt: skip
            closes = np.round(50 * np.exp(rng.normal(0, 0.01, len(days)).cumsum()), 2).tolist()
            server.closes[names[ticker]] = dict(zip([day.date() for day in days], closes, strict=True))
        environment = HttpEnvironment(
            http_session=session, clock=lambda: server.now, pause_seconds=0.0, backoff_seconds=0.001
        )
        parameters = {"exchange": "bitstamp"} if kind == "ccxt" else {}
        source_class: type[DownloadedSource] = CcxtSource if kind == "ccxt" else StooqSource
        self._parameters, self._source_class, self._environment = parameters, source_class, environment

    def make_source(self, **keys: Any) -> DownloadedSource:
        values = {"deadline": 20.0, **self._parameters, **keys}
        return self._source_class.model_validate(values).with_environment(self._environment)

    def fetch(self, *tickers: str, offline: bool = False, **keys: Any) -> FetchedPrices:
        dates = {key: keys.pop(key) for key in ("start", "end") if key in keys}
        with warnings.catch_warnings(action="error"):
            return self.make_source(**keys).fetch(FetchRequest(tickers or (self.ticker,), offline=offline, **dates))


@pytest.fixture(params=KINDS)
def shop(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    monkeypatch.setenv("QUANTLR_HOME", str(tmp_path))
    server = PriceServer()
    with serving_prices(server) as address:
        yield Shop(request.param, server, address)


def test_bars_are_those_of_the_server_by_date(shop: Shop, capfd: pytest.CaptureFixture[str]) -> None:
    fetched = shop.fetch(shop.ticker, shop.other)
    assert capfd.readouterr() == ("", ""), "it is silent"
    for ticker, closes in zip((shop.ticker, shop.other), shop.server.closes.values(), strict=True):
        bars = fetched.bars[ticker]
        dates = pd.DatetimeIndex(bars.index)
        assert dates.tz is None
        assert dates.is_monotonic_increasing
        assert dates.is_unique
        finished = {day: close for day, close in closes.items() if day < shop.server.now.date()}
        assert [date.date() for date in dates] == list(finished)
        np.testing.assert_array_equal(bars["close"], list(finished.values()))
        np.testing.assert_array_equal(bars["high"] - bars["low"], 2.0)
    assert set(fetched.calendars) == {shop.ticker, shop.other}, "each ticker has a market"


def test_the_contract_of_sources_is_kept(shop: Shop) -> None:
    source = shop.make_source()
    shop.fetch(shop.ticker, shop.other)
    plain = type(source).model_validate(source.model_dump())
    with pytest.MonkeyPatch.context() as patch:
        fetch = type(source).fetch
        patch.setattr(type(source), "fetch", lambda self, request: fetch(self, replace(request, offline=True)))
        check_source(plain, tickers=[shop.ticker, shop.other], unknown_ticker=shop.unknown)


def test_the_unfinished_day_is_left_out_with_a_note_and_kept_once_it_is_over(shop: Shop) -> None:
    today = shop.server.now.date()
    for closes in shop.server.closes.values():
        closes[today] = 77.0
    (note,) = shop.fetch().notes
    assert (note.date, "not over" in note.text) == (str(today), True)
    shop.server.now += dt.timedelta(days=1)
    fetched = shop.fetch()
    assert fetched.bars[shop.ticker]["close"].iloc[-1] == 77.0
    assert not fetched.notes


def test_the_same_call_has_the_same_digest_and_a_part_is_a_cut_of_the_whole(shop: Shop) -> None:
    whole = shop.fetch()
    n_requests = len(shop.server.paths)
    assert shop.fetch().sha256 == whole.sha256
    assert len(shop.server.paths) == n_requests, "all sessions that are over are cached"
    start, end = dt.date(2024, 1, 8), dt.date(2024, 3, 15)
    part = shop.fetch(start=start, end=end)
    pd.testing.assert_frame_equal(part.bars[shop.ticker], whole.bars[shop.ticker].loc["2024-01-08":"2024-03-15"])
    assert part.bars[shop.ticker].index[[0, -1]].tolist() == [pd.Timestamp(start), pd.Timestamp(end)]
    assert part.sha256 != whole.sha256
    source = shop.make_source()
    copy = pickle.loads(pickle.dumps(type(source).model_validate(source.model_dump())))  # noqa: S301 - our own bytes
    assert copy.fetch(FetchRequest((shop.ticker,), offline=True)).sha256 == whole.sha256


def test_a_revised_history_replaces_the_old_one_with_a_note(shop: Shop) -> None:
    shop.fetch()
    shop.server.now += dt.timedelta(days=3)
    name = next(iter(shop.server.closes))
    days = sorted(shop.server.closes[name])
    shop.server.closes[name] = {day: round(2 * close, 2) for day, close in shop.server.closes[name].items()}
    shop.server.closes[name][dt.date(2024, 5, 6)] = 90.0
    fetched = shop.fetch()
    assert any("revised" in note.text for note in fetched.notes)
    assert fetched.bars[shop.ticker]["close"].iloc[0] == shop.server.closes[name][days[0]]


def test_an_unknown_ticker_is_an_error_of_the_config(shop: Shop) -> None:
    with pytest.raises(DataError, match=shop.unknown) as caught:
        shop.fetch(shop.unknown)
    assert caught.value.key == "data.tickers"
    with pytest.raises(DataError, match="is no symbol of"):
        shop.fetch("a b")
    fetched = shop.fetch(shop.ticker, shop.unknown, on_failure="drop")
    assert list(fetched.bars) == [shop.ticker]
    assert [note.ticker for note in fetched.notes if "left out:" in note.text] == [shop.unknown]


@pytest.mark.parametrize(
    "reply",
    [
        (500, "oops"),
        (503, "<html>down</html>"),
        (429, "slow down"),
        (200, "Will be right back"),
        (200, "<html>captcha</html>"),
        (200, '{"data": 5}'),
        (200, "Date,Open,High,Low,Close,Volume\r\n2024-01-02,x,,1,y,z\r\n"),
    ],
    ids=str,
)
def test_a_server_that_fails_is_a_fault_of_the_network(shop: Shop, reply: Any) -> None:
    shop.server.reply = reply
    with pytest.raises(Fault) as caught:
        shop.fetch()
    assert caught.value.exit_status == 1
    assert shop.ticker in caught.value.message


class FarFuture(PriceServer):
    """An exchange with a bar of a date that no calendar has."""

    def answer(self, path: str) -> tuple[int, str]:
        """Return the bar; the list of markets as any."""
        if not path.startswith("/api/v2/ohlc/"):
            return super().answer(path)
        bar = dict.fromkeys(("open", "high", "low", "close", "volume"), "1") | {"timestamp": "1" + "0" * 15}
        return 200, json.dumps({"data": {"ohlc": [bar]}})


@needs_ccxt
def test_a_bar_of_no_date_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANTLR_HOME", str(tmp_path))
    server = FarFuture()
    with serving_prices(server) as address, pytest.raises(Fault, match="BTC/USD: Bitstamp answers with a bar of no"):
        Shop("ccxt", server, address).fetch()


def test_the_daily_limit_of_stooq_is_named() -> None:
    server = PriceServer(reply=(200, "Exceeded the daily hits limit"))
    with serving_prices(server) as address, pytest.raises(Fault, match="limits the number of requests"):
        Shop("stooq", server, address).fetch()


def test_a_dead_server_is_given_up_at_the_deadline_and_cached_prices_are_named(shop: Shop) -> None:
    shop.fetch()
    shop.server.now += dt.timedelta(days=3)
    shop.server.reply = 30.0
    with pytest.raises(Fault, match=r"gave no answer for 0\.3 seconds.*--offline uses that"):
        shop.fetch(deadline=0.3)
    shop.server.released.set()


def test_offline_opens_no_socket(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = shop.fetch()

    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", fail)
    assert shop.fetch(offline=True).sha256 == whole.sha256
    with pytest.raises(DataError, match="not stored"):
        shop.fetch(shop.other, offline=True)


def test_prices_of_a_config_have_the_market_of_the_ticker(shop: Shop) -> None:
    prices = load_prices(DataSpec(source=shop.make_source(), tickers=(shop.ticker, shop.other)))
    expected = {"XNYS"} if shop.kind == "stooq" else {"24:00 UTC"}
    assert {market.name for market in prices.markets} == expected
    assert str(Path.home()) not in prices.source


@needs_ccxt
def test_pages_of_an_exchange_are_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANTLR_HOME", str(tmp_path))
    server = PriceServer()
    with serving_prices(server) as address:
        shop = Shop("ccxt", server, address)
        assert len(shop.fetch().bars["BTC/USD"]) == 259
        assert sum("/ohlc/btcusd/" in path for path in server.paths) > 2
        server.now += dt.timedelta(days=2)
        server.paths.clear()
        shop.fetch()
        assert sum("/ohlc/btcusd/" in path for path in server.paths) <= 2, "only the newest days are asked for"


def test_an_unknown_exchange_is_an_error_of_the_config() -> None:
    source = CcxtSource(exchange="no_such_exchange")
    key = "data.source.exchange" if importlib.util.find_spec("ccxt") else "data.source.kind"
    with pytest.raises(DataError) as caught:
        source.fetch(FetchRequest(("BTC/USD",)))
    assert caught.value.key == key
