"""Sessions of exchanges: the cache agrees with exchange_calendars for shorter and longer periods."""

from __future__ import annotations

import json
import sys
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import exchange_calendars
import numpy as np
import pandas as pd
import pytest
from quantlr.core.errors import DataError
from quantlr.data.calendars import load_sessions
from quantlr.data.prices import DataSpec, load_prices
from quantlr.data.yahoo import CALENDAR_BY_EXCHANGE_CODE


def to_datetime64(date: str) -> np.datetime64:
    return np.datetime64(date, "us")


@cache
def library_sessions(calendar: str) -> pd.DatetimeIndex:
    """Return the library's sessions of all years in these tests; computing them takes most of a second."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sessions: pd.DatetimeIndex = exchange_calendars.get_calendar(
            calendar, start="1990-01-01", end="2027-06-30"
        ).sessions
    return sessions


def library_dates(calendar: str, first: str, last: str) -> list[np.datetime64]:
    sessions = library_sessions(calendar)
    return list(sessions[sessions.slice_indexer(first, last)].to_numpy().astype("datetime64[us]"))


@pytest.fixture
def cache_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QUANTLR_HOME", str(tmp_path))
    return tmp_path / "calendars" / f"{exchange_calendars.__version__}-XNYS.json"


@pytest.mark.parametrize(
    ("first", "last"), [("2015-01-02", "2020-06-30"), ("2016-03-01", "2016-03-31"), ("2015-01-02", "2021-03-31")]
)
def test_cached_sessions_equal_those_of_the_library(
    cache_path: Path, monkeypatch: pytest.MonkeyPatch, first: str, last: str
) -> None:
    load_sessions("XNYS", first_date=to_datetime64("2015-01-02"), last_date=to_datetime64("2020-06-30"))
    expected = library_dates("XNYS", first, last)
    monkeypatch.setitem(sys.modules, "exchange_calendars", None)
    sessions = load_sessions("XNYS", first_date=to_datetime64(first), last_date=to_datetime64(last))
    assert list(sessions.dates) == expected
    assert (sessions.first_recorded_date, sessions.last_recorded_date) == (to_datetime64(first), to_datetime64(last))


def test_dates_outside_the_cache_are_computed_and_cached(cache_path: Path) -> None:
    load_sessions("XNYS", first_date=to_datetime64("2015-01-02"), last_date=to_datetime64("2016-06-30"))
    for first, last in (("2010-01-04", "2015-06-30"), ("2010-01-04", "2024-12-31")):
        assert list(
            load_sessions("XNYS", first_date=to_datetime64(first), last_date=to_datetime64(last)).dates
        ) == library_dates("XNYS", first, last)
    assert json.loads(cache_path.read_text())["asked"] == ["2010-01-04", "2026-01-01"]


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"asked": ["2015"]}', '{"asked": [1, 2], "recorded": [], "dates": 3}']
)
def test_a_damaged_cache_is_computed_again(cache_path: Path, content: str) -> None:
    cache_path.parent.mkdir()
    cache_path.write_text(content)
    sessions = load_sessions("XNYS", first_date=to_datetime64("2015-01-02"), last_date=to_datetime64("2015-12-31"))
    assert list(sessions.dates) == library_dates("XNYS", "2015-01-02", "2015-12-31")
    assert json.loads(cache_path.read_text())["dates"][0] == "2015-01-02"


@pytest.mark.usefixtures("cache_path")
def test_days_before_the_recorded_dates_are_not_recorded_in_the_cache_either() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bound = exchange_calendars.get_calendar("XTKS").bound_min()
    assert bound is not None
    early = bound.to_datetime64().astype("datetime64[us]") - np.timedelta64(400, "D")
    computed, cached = (
        load_sessions("XTKS", first_date=early, last_date=to_datetime64("2000-12-29")) for _ in range(2)
    )
    assert computed.first_recorded_date == cached.first_recorded_date == bound.to_datetime64()
    np.testing.assert_array_equal(computed.dates, cached.dates)


def test_a_cache_folder_that_can_not_be_written_does_not_change_the_sessions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("QUANTLR_HOME", str(tmp_path / "file"))
    sessions = load_sessions("XNYS", first_date=to_datetime64("2015-01-02"), last_date=to_datetime64("2015-12-31"))
    assert list(sessions.dates) == library_dates("XNYS", "2015-01-02", "2015-12-31")
    with pytest.raises(DataError, match="did you mean XNYS"):
        load_sessions("XNYC", first_date=to_datetime64("2015-01-02"), last_date=to_datetime64("2015-12-31"))


@pytest.mark.parametrize("name", ["ASEX", "XBSE", "XTAE"])
def test_a_calendar_that_the_library_can_not_compute_is_an_error_of_the_config(cache_path: Path, name: str) -> None:
    first, last = np.array(["2015-01-02", "2015-06-30"], dtype="datetime64[D]")
    with pytest.raises(DataError, match=f"the calendar {name} of exchange_calendars can't be used") as caught:
        load_sessions(name, first_date=first, last_date=last)
    assert caught.value.key == "data.calendar"
    assert "Error" not in caught.value.message


@pytest.mark.parametrize("key", [{"calendar": "ASEX"}, {"calendars": {"X": "ASEX"}}])
def test_prices_of_a_calendar_that_can_not_be_computed_are_used_with_one_note(
    cache_path: Path, tmp_path: Path, key: dict[str, Any]
) -> None:
    (tmp_path / "x.csv").write_text("Date,Close\n2015-01-01,5\n2015-01-02,6\n2015-01-05,5\n")
    source = {"kind": "file", "path": tmp_path / "x.csv"}
    prices = load_prices(DataSpec.model_validate({"source": source, "tickers": ["X"], **key}))
    assert [note.key for note in prices.notes] == ["data.calendars"]
    assert "can't compute the calendar ASEX" in prices.notes[0].text


def test_a_calendar_of_one_ticker_is_named_by_its_own_key(cache_path: Path, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("Date,Close\n2015-01-01,5\n2015-01-02,6\n2015-01-05,5\n")
    data: dict[str, Any] = {"source": {"kind": "file", "path": tmp_path / "x.csv"}, "tickers": ["X"]}
    with pytest.raises(DataError, match="did you mean XNYS") as caught:
        load_prices(DataSpec.model_validate({**data, "calendars": {"X": "XNYC"}}))
    assert caught.value.key == "data.calendars"
    (note,) = load_prices(DataSpec.model_validate({**data, "calendars": {"Y": "XNYS"}})).notes
    assert (note.key, note.text) == ("data.calendars", "Y is no ticker or series of this run")


def test_no_exchange_of_yahoo_has_a_calendar_that_can_not_be_computed() -> None:
    assert not {"ASEX", "XBEL", "XBSE", "XCYS", "XTAE"} & {*CALENDAR_BY_EXCHANGE_CODE.values()}
