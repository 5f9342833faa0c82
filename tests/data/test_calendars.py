"""A calendar is worked out once and kept: it says the same, for less and more than was asked before."""

from __future__ import annotations

import json
import sys
import warnings
from functools import cache
from pathlib import Path

import exchange_calendars
import numpy as np
import pandas as pd
import pytest
from quantlr.core.errors import DataError
from quantlr.data.calendars import load_sessions


def at(date: str) -> np.datetime64:
    return np.datetime64(date, "us")


@cache
def known(calendar: str) -> pd.DatetimeIndex:
    """Return the library's own sessions over all years that are asked about; they take it most of a second."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sessions: pd.DatetimeIndex = exchange_calendars.get_calendar(
            calendar, start="1990-01-01", end="2027-06-30"
        ).sessions
    return sessions


def held(calendar: str, first: str, last: str) -> list[np.datetime64]:
    sessions = known(calendar)
    return list(sessions[sessions.slice_indexer(first, last)].to_numpy().astype("datetime64[us]"))


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QUANTLR_HOME", str(tmp_path))
    return tmp_path / "calendars" / f"{exchange_calendars.__version__}-XNYS.json"


@pytest.mark.parametrize(
    ("first", "last"), [("2015-01-02", "2020-06-30"), ("2016-03-01", "2016-03-31"), ("2015-01-02", "2021-03-31")]
)
def test_what_is_kept_is_what_the_library_says(
    kept: Path, monkeypatch: pytest.MonkeyPatch, first: str, last: str
) -> None:
    load_sessions("XNYS", first_date=at("2015-01-02"), last_date=at("2020-06-30"))
    expected = held("XNYS", first, last)
    monkeypatch.setitem(sys.modules, "exchange_calendars", None)
    found = load_sessions("XNYS", first_date=at(first), last_date=at(last))
    assert list(found.dates) == expected
    assert (found.first_recorded_date, found.last_recorded_date) == (at(first), at(last))


def test_what_is_not_kept_is_asked_for_and_kept_then(kept: Path) -> None:
    load_sessions("XNYS", first_date=at("2015-01-02"), last_date=at("2016-06-30"))
    for first, last in (("2010-01-04", "2015-06-30"), ("2010-01-04", "2024-12-31")):
        assert list(load_sessions("XNYS", first_date=at(first), last_date=at(last)).dates) == held("XNYS", first, last)
    assert json.loads(kept.read_text())["asked"] == ["2010-01-04", "2026-01-01"]


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"asked": ["2015"]}', '{"asked": [1, 2], "recorded": [], "dates": 3}']
)
def test_what_is_damaged_is_worked_out_again(kept: Path, content: str) -> None:
    kept.parent.mkdir()
    kept.write_text(content)
    found = load_sessions("XNYS", first_date=at("2015-01-02"), last_date=at("2015-12-31"))
    assert list(found.dates) == held("XNYS", "2015-01-02", "2015-12-31")
    assert json.loads(kept.read_text())["dates"][0] == "2015-01-02"


@pytest.mark.usefixtures("kept")
def test_days_before_the_records_stay_unknown_when_kept() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bound = exchange_calendars.get_calendar("XTKS").bound_min()
    assert bound is not None
    early = bound.to_datetime64().astype("datetime64[us]") - np.timedelta64(400, "D")
    once, again = (load_sessions("XTKS", first_date=early, last_date=at("2000-12-29")) for _ in range(2))
    assert once.first_recorded_date == again.first_recorded_date == bound.to_datetime64()
    np.testing.assert_array_equal(once.dates, again.dates)


def test_a_folder_that_cant_be_written_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("QUANTLR_HOME", str(tmp_path / "file"))
    found = load_sessions("XNYS", first_date=at("2015-01-02"), last_date=at("2015-12-31"))
    assert list(found.dates) == held("XNYS", "2015-01-02", "2015-12-31")
    with pytest.raises(DataError, match="did you mean XNYS"):
        load_sessions("XNYC", first_date=at("2015-01-02"), last_date=at("2015-12-31"))
