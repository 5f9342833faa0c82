"""Where a ticker's market is taken from, and when it closes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from quantlr.config.run_config import load_config
from quantlr.core.errors import DataError
from quantlr.core.timing import latest_known_bar_index
from quantlr.core.values import Prices
from quantlr.data.calendars import RegularClose
from quantlr.data.markets import CRYPTO_CLOSE, FOREX_AND_FUTURES_CLOSE, hours_of_suffix, market_with_closes
from quantlr.pipeline.stages import load_run_prices
from quantlr.testing.contract import random_walk_bars

DATES = pd.bdate_range("2019-01-07", periods=160).as_unit("us")


@pytest.mark.parametrize(
    ("ticker", "expected"),
    [
        ("7203.T", "XTKS"),
        ("hsba.l", "XLON"),
        ("AAPL.US", "XNYS"),
        ("600519.SS", "XSHG"),
        ("BTC-USD", CRYPTO_CLOSE),
        ("EURUSD=X", FOREX_AND_FUTURES_CLOSE),
        ("ES=F", FOREX_AND_FUTURES_CLOSE),
        ("BRK.B", None),
        ("BRK-B", None),
        ("AAPL", None),
        ("^N225", None),
        (".T", None),
    ],
)
def test_a_suffix_states_the_market(ticker: str, expected: Any) -> None:
    assert hours_of_suffix(ticker) == expected


def closes(calendar: str | RegularClose, *dates: str) -> list[str]:
    market, _ = market_with_closes("market", calendar, np.array(dates, dtype="datetime64[us]"))
    return [str(pd.Timestamp(close, unit="s"))[:16] for close in market.latest_close.tolist()]


def test_closes_are_those_of_the_calendar_with_early_ones() -> None:
    expected = ["2024-07-02 20:00", "2024-07-03 17:00", "2024-07-04 20:00", "2024-12-02 21:00"]
    assert closes("XNYS", "2024-07-02", "2024-07-03", "2024-07-04", "2024-12-02") == expected
    assert closes("XNYS", "2024-07-04") == ["2024-07-04 20:00"]
    assert closes("XTKS", "2024-11-01", "2024-11-05") == ["2024-11-01 06:00", "2024-11-05 06:30"]
    assert closes(CRYPTO_CLOSE, "2024-11-01") == ["2024-11-02 00:00"]
    assert closes(FOREX_AND_FUTURES_CLOSE, "2024-07-02", "2024-12-02") == ["2024-07-02 21:00", "2024-12-02 22:00"]


def test_a_calendar_that_cannot_be_computed_has_the_regular_close_and_a_note() -> None:
    market, notes = market_with_closes("ASEX", "ASEX", np.array(["2024-07-02"], dtype="datetime64[us]"))
    assert market.latest_close.tolist() == [pd.Timestamp("2024-07-02 14:20").timestamp()]
    assert [note.key for note in notes] == ["data.calendars"]
    with pytest.raises(DataError):
        market_with_closes("X", "XNOWHERE", np.array(["2024-07-02"], dtype="datetime64[us]"))


@pytest.mark.parametrize("early", [True, False])
def test_an_early_close_in_new_zealand_lies_before_midnight_utc(early: bool) -> None:
    """And so is known at the close of a day of crypto that has the date before."""
    date = pd.DatetimeIndex(["2024-12-24" if early else "2024-12-23"])
    new_zealand, _ = market_with_closes("XNZE", "XNZE", date.to_numpy())
    crypto, _ = market_with_closes("24:00 UTC", CRYPTO_CLOSE, date.to_numpy())
    day_before = date - pd.Timedelta(days=1)
    known = latest_known_bar_index(date, day_before, bar_market=new_zealand, market=crypto)
    assert known.tolist() == ([0] if early else [-1])


def write_prices(folder: Path, ticker: str, dates: pd.DatetimeIndex, *, seed: int, zone: str | None = None) -> None:
    bars = random_walk_bars(np.random.default_rng(seed), dates)
    if zone:
        bars.index = dates.tz_localize(zone)
    bars.drop(columns="adj_close").to_csv(folder / f"{ticker}.csv", index_label="Date")


def load(folder: Path, tickers: list[str], *, context: bool = False, **data: Any) -> Prices:
    names = {"tickers": tickers[:1], "context": tickers[1:]} if context else {"tickers": tickers}
    feature = {"kind": "context_returns", "ticker": tickers[1], "max_age": 30}
    config = {"data": {"source": {"kind": "file", "path": str(folder)}, **names, **data}, "features": [feature]}
    return load_run_prices(load_config(config).run)


def market_notes(prices: Prices) -> list[str]:
    return [note.text for note in prices.notes if note.key == "data.calendars"]


def test_markets_come_from_data_calendars_then_data_calendar_then_the_suffix(tmp_path: Path) -> None:
    for seed, ticker in enumerate(["A", "B", "C.T", "D.T"]):
        write_prices(tmp_path, ticker, DATES, seed=seed)
    prices = load(tmp_path, ["A", "B", "C.T", "D.T"], calendars={"A": "NASDAQ", "C.T": "XLON"})
    assert [market.name for market in prices.markets] == ["XNYS", "", "XLON", "XTKS"]
    assert any("B is not known" in text for text in market_notes(prices))
    prices = load(tmp_path, ["A", "B", "C.T", "D.T"], calendars={"A": "XLON"}, calendar="XNYS")
    assert [market.name for market in prices.markets] == ["XLON", "XNYS", "XNYS", "XNYS"]
    assert not market_notes(prices)


def test_offsets_of_a_file_state_the_market(tmp_path: Path) -> None:
    for seed, (ticker, zone) in enumerate(
        {"A": "America/New_York", "B": "Asia/Tokyo", "C": "America/New_York"}.items()
    ):
        write_prices(tmp_path, ticker, DATES[seed:], seed=seed, zone=zone)
    prices = load(tmp_path, ["A", "B", "C"])
    names = [market.name for market in prices.markets]
    assert names[0] == names[2] != names[1]
    assert not market_notes(prices)
    new_york, tokyo, _ = prices.markets
    assert latest_known_bar_index(DATES, DATES, bar_market=tokyo, market=new_york).tolist() == list(range(160))
    # New York's day may end at 05:00 UTC, and Tokyo's next one may close at 03:00 UTC.
    midweek = pd.DatetimeIndex(["2019-07-08", "2019-07-09", "2019-07-10"])
    assert latest_known_bar_index(midweek, midweek, bar_market=new_york, market=tokyo).tolist() == [-1, -1, 0]


@pytest.mark.parametrize("context", [True, False])
def test_tickers_of_unknown_markets_with_other_holidays_need_calendars(tmp_path: Path, context: bool) -> None:
    write_prices(tmp_path, "A", DATES.delete([10, 50, 90]), seed=1)
    write_prices(tmp_path, "B", DATES.delete([20, 60, 100]), seed=2)
    write_prices(tmp_path, "C", DATES.delete([20, 60]), seed=3)
    with pytest.raises(DataError, match=r"data\.calendars") as error:
        load(tmp_path, ["A", "B"], context=context)
    assert error.value.key == "data.calendars"
    (text,) = market_notes(load(tmp_path, ["A", "C"], context=context))
    assert "not known" in text
    assert not market_notes(load(tmp_path, ["A", "B"], calendars={"A": "XNYS", "B": "XTKS"}))


def test_one_market_computes_no_calendar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quantlr.data.markets.load_sessions", None)
    for seed, ticker in enumerate(["A.T", "B.T"]):
        write_prices(tmp_path, ticker, DATES, seed=seed)
    prices = load(tmp_path, ["A.T", "B.T"])
    assert {market.name for market in prices.markets} == {"XTKS"}
