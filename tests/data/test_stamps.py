"""Stamps in UTC are the local days that they were written from; a bar whose market is open is left out."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from quantlr.core.errors import DataError
from quantlr.core.values import Prices
from quantlr.data.markets import MarketSources
from quantlr.data.price_rows import PriceRows
from quantlr.data.prices import DataSpec, load_prices
from quantlr.data.rule_results import ValidationContext
from quantlr.data.sources import FileSource
from quantlr.data.stamps import resolve_stamps
from quantlr.data.validation import QualitySpec, validate_price_rows
from quantlr.testing.contract import random_walk_bars

WEEKDAYS = pd.bdate_range("2019-01-07", periods=260).as_unit("us")


def rows_of(stamps: pd.DatetimeIndex, ticker: str = "X") -> PriceRows:
    """Return rows with stamps as a file writes them, in UTC or with the zone's own offset."""
    local = stamps.tz_localize(None)
    bars = random_walk_bars(np.random.default_rng(1), local)
    if stamps.tz is not None:
        bars["utc_offset"] = (local - stamps.tz_convert(None)) / pd.Timedelta(minutes=1)
    return PriceRows.from_bars({ticker: bars})


def dates_of(rows: PriceRows) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(rows.date)


ZONES = ["America/New_York", "America/Sao_Paulo", "Europe/London", "Europe/Paris", "Asia/Kolkata", "Asia/Tokyo",
         "Asia/Hong_Kong", "Australia/Sydney", "Pacific/Auckland", "America/Toronto"]  # fmt: skip


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("clock", ["00:00", "16:00", "09:30"])
def test_local_days_in_utc_get_their_dates_back(zone: str, clock: str) -> None:
    local = WEEKDAYS + pd.Timedelta(f"{clock}:00")
    rows, notes = resolve_stamps(rows_of(local.tz_localize(zone).tz_convert("UTC")), None)
    assert dates_of(rows).equals(WEEKDAYS)
    if clock == "00:00":
        expected = (WEEKDAYS - WEEKDAYS.tz_localize(zone).tz_convert(None)) / pd.Timedelta(minutes=1)
        moved = WEEKDAYS.tz_localize(zone).tz_convert(None).normalize() != WEEKDAYS.tz_localize(zone).tz_convert(None)
        if moved.any():
            assert rows.utc_offset_minutes.tolist() == expected.tolist()
            assert [note.key for note in notes] == ["data.timezone"]


def test_closes_in_utc_with_half_days_need_the_zone_of_the_market() -> None:
    """New York closes at 13:00 on some days, so that no zone has all stamps at one time of day."""
    is_half_day = WEEKDAYS.day_of_year.isin([184, 333])
    closes = WEEKDAYS + pd.to_timedelta(np.where(is_half_day, 13, 16), unit="h")
    rows = rows_of(closes.as_unit("us").tz_localize("America/New_York").tz_convert("UTC"))
    with pytest.raises(DataError, match="are the days of no time zone"):
        resolve_stamps(rows, None)
    assert dates_of(resolve_stamps(rows, "America/New_York")[0]).equals(WEEKDAYS)


def test_one_hour_of_utc_does_not_tell_the_market() -> None:
    """06:00 UTC is the close of Tokyo as well as midnight of a zone without daylight saving time in America."""
    rows, notes = resolve_stamps(
        rows_of((WEEKDAYS + pd.Timedelta("15:00:00")).tz_localize("Asia/Tokyo").tz_convert("UTC")), None
    )
    assert dates_of(rows).equals(WEEKDAYS)
    assert np.isnan(rows.utc_offset_minutes).all()
    assert [note.key for note in notes] == ["data.timezone"]


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York", "Europe/London"])
def test_an_offset_keeps_the_local_date(zone: str) -> None:
    for stamps in (WEEKDAYS.tz_localize(zone), (WEEKDAYS + pd.Timedelta("15:00:00")).tz_localize(zone)):
        rows, notes = resolve_stamps(rows_of(stamps), None)
        assert dates_of(rows).equals(WEEKDAYS)
        assert not notes


def test_naive_times_and_midnights_in_utc_keep_the_written_date() -> None:
    for stamps in (WEEKDAYS, WEEKDAYS + pd.Timedelta("21:00:00"), WEEKDAYS.tz_localize("UTC")):
        rows, notes = resolve_stamps(rows_of(stamps), None)
        assert dates_of(rows).equals(WEEKDAYS)
        assert not notes


def test_days_without_weekends_missing_are_asked_for_and_taken_from_the_config() -> None:
    days = pd.date_range("2019-01-07", periods=260).as_unit("us")
    rows = rows_of(days.tz_localize("Asia/Tokyo").tz_convert("UTC"))
    with pytest.raises(DataError, match="Asia/Tokyo") as error:
        resolve_stamps(rows, None)
    assert error.value.key == "data.timezone"
    assert dates_of(resolve_stamps(rows, "Asia/Tokyo")[0]).equals(days)
    assert dates_of(resolve_stamps(rows, "UTC")[0]).equals(days - pd.Timedelta(days=1))


def validate(rows: PriceRows, *, now: str = "2030-01-01", calendars: Any = None, **quality: Any) -> Any:
    time = pd.Timestamp(now, tz="UTC").to_pydatetime()
    sources = MarketSources(by_ticker=calendars or {})
    context = ValidationContext(dt.date(2031, 1, 1), {}, time, sources)
    return validate_price_rows(rows, QualitySpec(**quality), context)


def test_plain_dates_a_day_early_are_an_error_unless_the_exchange_opens_on_sundays() -> None:
    early = WEEKDAYS - pd.Timedelta(days=1)
    with pytest.raises(DataError, match="Sundays and none on Fridays") as error:
        validate(rows_of(early))
    assert error.value.key == "data.quality.weekdays"
    late = WEEKDAYS + pd.Timedelta(days=1)
    with pytest.raises(DataError, match="Saturdays and none on Mondays"):
        validate(rows_of(late))
    validate(rows_of(WEEKDAYS))
    validate(rows_of(pd.date_range("2019-01-07", periods=260).as_unit("us")))
    validate(rows_of(early, ticker="X.SR"))
    validate(rows_of(early), calendars={"X": "XTAE"})
    _, notes = validate(rows_of(early), weekdays="warn")
    assert "data.quality.weekdays" in [note.key for note in notes]


@pytest.mark.parametrize(
    ("ticker", "calendars", "now", "is_dropped"),
    [
        ("X", {"X": "XNYS"}, "2019-07-03 17:29", True),  # an early close at 17:00
        ("X", {"X": "XNYS"}, "2019-07-03 17:31", False),
        ("X.T", {}, "2019-07-03 06:29", True),
        ("X.T", {}, "2019-07-03 06:31", False),
        ("BTC-USD", {}, "2019-07-04 00:15", True),
        ("BTC-USD", {}, "2019-07-04 00:31", False),
        ("X", {}, "2019-07-03 01:00", False),  # its market is not known
    ],
)
def test_a_bar_is_left_out_until_half_an_hour_after_its_close(
    ticker: str, calendars: dict[str, str], now: str, is_dropped: bool
) -> None:
    dates = pd.bdate_range("2019-06-03", "2019-07-03").as_unit("us")
    rows, notes = validate(rows_of(dates, ticker), now=now, calendars=calendars)
    assert len(rows) == len(dates) - is_dropped
    assert ("data.quality.unfinished" in [note.key for note in notes]) == is_dropped


def test_a_bar_of_an_offset_is_left_out_until_its_day_is_over() -> None:
    dates = pd.bdate_range("2019-06-03", "2019-07-03").as_unit("us").tz_localize("Asia/Tokyo")
    resolved, _ = resolve_stamps(rows_of(dates), None)
    for now, is_dropped in (("2019-07-03 15:29", True), ("2019-07-03 15:31", False)):
        rows, _ = validate(resolved, now=now)
        assert len(rows) == len(dates) - is_dropped


def load_file(path: Path, **data: Any) -> Prices:
    return load_prices(DataSpec.model_validate({"source": FileSource(path=path), "tickers": ("X",), **data}))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_file_of_tokyo_in_utc_has_tokyo_dates(tmp_path: Path, suffix: str) -> None:
    bars = random_walk_bars(np.random.default_rng(2), WEEKDAYS.tz_localize("Asia/Tokyo").tz_convert("UTC"))
    path = tmp_path / f"X{suffix}"
    bars.index.name = "Date"
    bars.to_csv(path) if suffix == ".csv" else bars.to_parquet(path)
    prices = load_file(path)
    assert prices.sessions.equals(pd.DatetimeIndex(WEEKDAYS, name="date"))
    assert load_file(path, timezone="UTC", quality={"weekdays": "warn"}).sessions[0] == pd.Timestamp("2019-01-06")


def test_days_in_utc_of_a_market_that_is_open_on_sundays_are_those_of_its_zone() -> None:
    days = pd.date_range("2019-01-06", periods=364).as_unit("us")
    days = days[~days.day_of_week.isin([4, 5])]
    rows = rows_of(days.tz_localize("Asia/Jerusalem").tz_convert("UTC"), "POLI.TA")
    zone = MarketSources().sunday_zone("POLI.TA")
    assert zone == MarketSources(calendar="XTAE").sunday_zone("X") == "Asia/Jerusalem"
    resolved, notes = resolve_stamps(rows, None, {"POLI.TA": zone})
    assert dates_of(resolved).equals(days)
    assert [note.key for note in notes] == ["data.timezone"]
    with pytest.raises(DataError, match="name the zone of the market"):
        resolve_stamps(rows, None)
    assert MarketSources().sunday_zone("7203.T") is MarketSources().sunday_zone("BTC-USD") is None


@pytest.mark.parametrize(
    ("zone", "hours", "is_divided"),
    [
        ("Australia/Sydney", range(10, 17), True),
        ("America/New_York", range(4, 21), True),
        ("America/New_York", range(9, 17), False),
        ("Asia/Tokyo", (9, 10, 12, 13, 14), False),
        ("UTC", range(24), False),
    ],
)
def test_intraday_bars_in_utc_need_a_zone_where_sessions_go_on_over_midnight(
    zone: str, hours: Any, is_divided: bool
) -> None:
    local = pd.DatetimeIndex([day + pd.Timedelta(hours=hour) for day in WEEKDAYS[:60] for hour in hours])
    rows = rows_of(local.tz_localize(zone).tz_convert("UTC").as_unit("us"))
    if is_divided:
        with pytest.raises(DataError, match=r"go on over midnight.*data\.timezone"):
            resolve_stamps(rows, None)
    else:
        assert len(np.unique(resolve_stamps(rows, None)[0].date)) == 60
    assert len(np.unique(resolve_stamps(rows, zone)[0].date)) == 60
