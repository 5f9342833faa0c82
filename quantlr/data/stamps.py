"""The session of each bar, from the date, the time and the zone that its row is stamped with.

- A date, or a time without a zone: the date as written. With an offset from UTC that is not 0: the local date, as
  written. UTC at midnight: the date as written.
- Other times in UTC are those of local days, as when Tokyo's midnight is written as 15:00 of the day before. Each time
  zone in which all are midnight, or all of one time of day, gives a column of dates. Columns with Sundays and no
  Fridays, or Saturdays and no Mondays, are left out; if one column is left, or only one of them without a day of the
  weekend, it is taken.
"""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from quantlr.core.errors import DataError
from quantlr.core.known_series import DateArray
from quantlr.core.values import Array, BoolArray, IntArray, Note
from quantlr.data.bars import FRIDAY, MONDAY, SATURDAY, SUNDAY, intraday_ticker_mask, weekday_numbers
from quantlr.data.price_rows import PriceRows

MINUTES_PER_DAY = 24 * 60
MIN_WEEKEND_BARS = 3
"""Bars on a day of the weekend from which on the missing weekday beside it counts."""
WELL_KNOWN_ZONES = (
    "UTC", "America/New_York", "Europe/London", "Europe/Berlin", "Asia/Tokyo", "Asia/Hong_Kong", "Asia/Kolkata",
    "Australia/Sydney", "Pacific/Auckland", "America/Toronto", "America/Sao_Paulo", "America/Santiago",
    "Europe/Istanbul", "Africa/Johannesburg",
)  # fmt: skip
"""Zones that are named before others with the same days."""
MIN_DIVIDED_DAY_FRACTION = 0.25
"""Fraction of the days with bars on both sides of midnight UTC from which on sessions are taken to be divided by it."""
N_SAMPLED_STAMPS = 40
"""Stamps, spread over the history, by which most zones are ruled out."""


def resolve_stamps(
    rows: PriceRows, timezone: str | None, sunday_zone_by_ticker: Mapping[str, str] | None = None
) -> tuple[PriceRows, list[Note]]:
    """Return the rows with the date of their session, and a note on days that were written in UTC.

    Parameters
    ----------
    rows : rows whose `date` has the time of day as written.
    timezone : zone whose dates are the sessions, for rows with an offset from UTC; None finds it.
    sunday_zone_by_ticker : the same for times in UTC of tickers whose market is known to be open on Sundays and closed
        on Fridays, so that their weekdays do not show it.

    Raises
    ------
    DataError : times in UTC fit the days of no zone, or of several that give other dates.
    """
    days = rows.date.astype("datetime64[D]").astype(rows.date.dtype)
    minutes = ((rows.date - days) / np.timedelta64(1, "m")).astype(np.int64)
    offset = rows.utc_offset_minutes
    if np.isnan(offset).all() or not (minutes.any() or timezone):
        return replace(rows, date=days), []
    date, new_offset = days.copy(), offset.copy()
    is_intraday = intraday_ticker_mask(replace(rows, date=days))
    notes: list[Note] = []
    for ticker in range(len(rows.tickers)):
        own = np.flatnonzero(rows.ticker_index == ticker)
        is_in_utc = bool(len(own) and (offset[own] == 0).all() and minutes[own].any())
        sunday_zone = (sunday_zone_by_ticker or {}).get(rows.tickers[ticker]) if is_in_utc else None
        zone = timezone or sunday_zone
        if zone is not None:
            own = own[~np.isnan(offset[own])]
            utc = rows.date[own] - (offset[own] * 60).astype("timedelta64[s]")
            new_offset[own] = _zone_offset_minutes(utc, zone)
            date[own] = _local_days(utc, new_offset[own])
        elif is_in_utc and is_intraday[ticker]:
            _require_sessions_within_days(rows, own)
        elif is_in_utc:
            date[own], new_offset[own], zone = _find_local_days(rows, own)
        if timezone is None and zone is not None:
            text = "its times are in UTC; dated as they are written"
            text = text if zone == "UTC" else f"its days are written in UTC; dated by those of {zone}"
            notes.append(Note("data", text, ticker=rows.tickers[ticker], key="data.timezone"))
    return replace(rows, date=date, utc_offset_minutes=new_offset), notes


def _require_sessions_within_days(rows: PriceRows, own: IntArray) -> None:
    """Raise an error if a ticker's intraday bars in UTC go on over midnight and pause at another time of most days."""
    times = np.sort(rows.date[own])
    days, gaps = times.astype("datetime64[D]"), np.diff(times)
    is_new_day, is_long = days[1:] > days[:-1], gaps > np.median(gaps[gaps > np.timedelta64(0)])
    n_over_midnight, n_pauses = int((is_new_day & ~is_long).sum()), int((~is_new_day & is_long).sum())
    if min(n_over_midnight, n_pauses) > MIN_DIVIDED_DAY_FRACTION * len(np.unique(days)):
        place = rows.location_text_of_row(int(own[0]))
        text = f"{place}: intraday bars in UTC that go on over midnight, and pause at another time of the day"
        raise DataError(f"{text}; name the zone of the market, as data.timezone: Asia/Tokyo", key="data.timezone")


def _zone_offset_minutes(utc: DateArray, zone: str) -> Array:
    """Return the minutes that a zone is ahead of UTC at each instant."""
    instants = pd.DatetimeIndex(utc, tz="UTC")
    local = instants.tz_convert(zone).tz_localize(None)
    return np.asarray((local - instants.tz_localize(None)) / pd.Timedelta(minutes=1), dtype=np.float64)


def _local_days(utc: DateArray, offset_minutes: Array) -> DateArray:
    local = utc + (offset_minutes * 60).astype("timedelta64[s]")
    return np.asarray(local.astype("datetime64[D]").astype(utc.dtype))


def _find_local_days(rows: PriceRows, own: IntArray) -> tuple[DateArray, Array, str]:
    """Return the dates of a ticker's rows, minutes ahead of UTC where they are known, and the zone's name."""
    utc = rows.date[own]
    columns: dict[bytes, tuple[DateArray, Array, str]] = {}
    for zone, offset, is_midnight in sorted(_iter_fitting_zones(utc), key=lambda fitting: not fitting[2]):
        days = _local_days(utc, offset)
        if not is_shifted_by_a_day(days):
            # The same hour of UTC on the same date may be an Asian close as well as an American midnight.
            is_known = is_midnight and not (offset[0] < 0 and (offset == offset[0]).all())
            column = (
                (days, offset, zone) if is_known else (days, np.full(len(utc), np.nan), "UTC" if is_midnight else zone)
            )
            columns.setdefault(days.tobytes(), column)
    weekday_columns = [column for column in columns.values() if weekday_numbers(column[0]).max() < SATURDAY]
    for candidates in (list(columns.values()), weekday_columns):
        if len(candidates) == 1:
            return candidates[0]
    found = f"times in UTC that {'give several columns of dates' if columns else 'are the days of no time zone'}"
    examples = ", ".join(zone for *_, zone in list(columns.values())[:3])
    found += f" ({examples})" if examples else ""
    text = f"{rows.location_text_of_row(int(own[0]))}: {str(utc[0])[:16]} UTC: {found}"
    raise DataError(f"{text}; name the zone of the market, as data.timezone: Asia/Tokyo", key="data.timezone")


def _iter_fitting_zones(utc: DateArray) -> Iterator[tuple[str, Array, bool]]:
    """Yield name and offsets of each zone in which all times are midnight, and of those with one time of day."""
    sample = utc[np.unique(np.linspace(0, len(utc) - 1, N_SAMPLED_STAMPS).astype(np.int64))]
    seen: set[bytes] = set()
    others = sorted(zoneinfo.available_timezones() - {*WELL_KNOWN_ZONES}, key=lambda name: ("/" not in name, name))
    for name in (*WELL_KNOWN_ZONES, *others):
        if not _has_one_time_of_day(sample, _zone_offset_minutes(sample, name)):
            continue
        offset = _zone_offset_minutes(utc, name)
        if offset.tobytes() not in seen and _has_one_time_of_day(utc, offset):
            seen.add(offset.tobytes())
            yield name, offset, bool(_minute_of_day(utc, offset)[0] == 0)


def _minute_of_day(utc: DateArray, offset_minutes: Array) -> Array:
    minutes = (utc - np.datetime64(0, "us")) / np.timedelta64(1, "m") + offset_minutes
    return np.asarray(minutes % MINUTES_PER_DAY, dtype=np.float64)


def _has_one_time_of_day(utc: DateArray, offset_minutes: Array) -> bool:
    minute = _minute_of_day(utc, offset_minutes)
    return bool((minute == minute[0]).all())


def is_shifted_by_a_day(days: DateArray) -> bool:
    """Return whether daily dates have Sundays and no Fridays, or Saturdays and no Mondays."""
    count = np.bincount(weekday_numbers(days), minlength=7)
    pairs = ((SUNDAY, FRIDAY), (SATURDAY, MONDAY))
    return any(count[weekend] >= MIN_WEEKEND_BARS and count[needed] == 0 for weekend, needed in pairs)


def shifted_ticker_mask(rows: PriceRows) -> BoolArray:
    """(tickers,) whether a ticker's dates are shifted by a day; see `is_shifted_by_a_day`."""
    return np.array([is_shifted_by_a_day(rows.date[rows.ticker_index == index]) for index in range(len(rows.tickers))])
