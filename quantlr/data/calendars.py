"""Sessions and closes of an exchange by exchange_calendars, which is imported here alone, to compute a calendar."""

from __future__ import annotations

import datetime as dt
import warnings
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
from pydantic import ValidationError

from quantlr.core.atomic import atomic_write, cache_dir
from quantlr.core.components import ConfigSection
from quantlr.core.errors import DataError, did_you_mean_text
from quantlr.core.file_reading import UnreadableContentError, library_errors_translated
from quantlr.core.known_series import DateArray
from quantlr.core.values import BoolArray, IntArray
from quantlr.data.csv.raw_table import DATE_DTYPE

EXTRA_CACHED_TIMEDELTA = dt.timedelta(days=366)
"""Time of a calendar that are cached beyond the dates asked for, since the next run has newer prices."""


class RegularClose(ConfigSection):
    """The time of day at which a market usually closes: its zone, and minutes after local midnight."""

    zone: str
    minutes: int

    def closes(self, dates: DateArray) -> IntArray:
        """Return the close of each date, (dates,), in seconds since 1970, UTC."""
        local = pd.DatetimeIndex(dates.astype("datetime64[s]")) + pd.Timedelta(minutes=self.minutes)
        instants = local.tz_localize(
            self.zone, ambiguous=np.zeros(len(local), dtype=np.bool_), nonexistent="shift_forward"
        )
        return np.asarray(instants.as_unit("s").asi8, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class CalendarSessions:
    """The days on which an exchange was open.

    Attributes
    ----------
    dates : (sessions,) sessions from `first_recorded_date` to `last_recorded_date`.
    first_recorded_date, last_recorded_date : dates between which its holidays are recorded.
    closes : (sessions,) the close of each session, in seconds since 1970, UTC.
    hours : its regular close, for dates without a session on record.
    """

    dates: DateArray
    first_recorded_date: np.datetime64
    last_recorded_date: np.datetime64
    closes: IntArray
    hours: RegularClose

    def recorded_dates_mask(self, dates: DateArray) -> BoolArray:
        """(dates,) whether the calendar's recorded range covers each date, so that a session on it would be known."""
        return (dates >= self.first_recorded_date) & (dates <= self.last_recorded_date)


class CachedCalendar(ConfigSection):
    """A calendar in its cache file: the dates asked for and recorded (first and last of each), sessions and closes."""

    asked: tuple[dt.date, dt.date]
    recorded: tuple[dt.date, dt.date]
    dates: list[dt.date]
    closes: list[int]
    hours: RegularClose


def load_sessions(calendar_name: str, *, first_date: np.datetime64, last_date: np.datetime64) -> CalendarSessions:
    """Return the sessions of an exchange from `first_date` to `last_date`, both included, as far as recorded.

    They are cached between runs, since computing them takes longer than loading a stock.

    Raises
    ------
    DataError : there is no such calendar, or the library can't compute it.
    """
    # The version is in the name, since another one may have other holidays.
    name = f"{version('exchange_calendars')}-{quote(calendar_name, safe='')}.json"
    path = cache_dir() / "calendars" / name
    first, last = np.array([first_date, last_date], dtype="datetime64[D]").tolist()
    calendar: CachedCalendar | None = None
    with suppress(OSError, ValidationError):
        calendar = CachedCalendar.model_validate_json(path.read_bytes())
    if calendar is None or first < calendar.asked[0] or last > calendar.asked[1]:
        calendar = _compute_cached_calendar(calendar_name, first, last + EXTRA_CACHED_TIMEDELTA)
        with suppress(OSError):  # without a cache the next run computes it again
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(path, calendar.model_dump_json().encode())
    limits = max(first, calendar.recorded[0]), min(last, calendar.recorded[1])
    first_recorded, last_recorded = np.array(limits, dtype=DATE_DTYPE)
    dates = np.array(calendar.dates, dtype=DATE_DTYPE)
    kept = (dates >= first_recorded) & (dates <= last_recorded)
    closes = np.array(calendar.closes, dtype=np.int64)[kept]
    return CalendarSessions(dates[kept], first_recorded, last_recorded, closes, calendar.hours)


def _compute_cached_calendar(calendar_name: str, first_date: dt.date, last_date: dt.date) -> CachedCalendar:
    """Return the sessions between two dates by exchange_calendars."""
    start, end = pd.Timestamp(first_date), pd.Timestamp(last_date)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings about its own use of pandas
        import exchange_calendars

        names = exchange_calendars.get_calendar_names(include_aliases=True)
        if calendar_name not in names:
            text = f"needs a calendar of exchange_calendars, like XNYS, found {calendar_name!r}"
            raise DataError(text + did_you_mean_text(calendar_name.upper(), names, cutoff=0.4), key="data.calendar")
        try:
            with library_errors_translated("a calendar that can be computed"):
                start, end, closes, hours = _recorded_closes(calendar_name, start, end)
        except UnreadableContentError as error:
            text = (
                f"the calendar {calendar_name} of exchange_calendars can't be used, since the library can't compute it"
            )
            advice = "name one with the same holidays, or null for none"
            raise DataError(f"{text}; {advice}", key="data.calendar") from error
    closes = closes.loc[start:end]
    return CachedCalendar(
        asked=(first_date, last_date),
        recorded=(start.date(), end.date()),
        dates=pd.DatetimeIndex(closes.index).date.tolist(),
        closes=(pd.DatetimeIndex(closes).as_unit("s").asi8).tolist(),
        hours=hours,
    )


def _recorded_closes(
    calendar_name: str, start: pd.Timestamp, end: pd.Timestamp
) -> tuple[pd.Timestamp, pd.Timestamp, pd.Series[Any], RegularClose]:
    """Return the dates, cut to those for which a calendar's holidays are recorded, and the closes between them."""
    import exchange_calendars

    try:
        return start, end, *_exchange_closes(calendar_name, start, end)
    except ValueError:  # the dates are not all within those for which its holidays are recorded
        calendar = exchange_calendars.get_calendar(calendar_name)
        start, end = max(start, calendar.bound_min() or start), min(end, calendar.bound_max() or end)
        return start, end, *_exchange_closes(calendar_name, start, end)


def _exchange_closes(calendar_name: str, start: pd.Timestamp, end: pd.Timestamp) -> tuple[pd.Series[Any], RegularClose]:
    """Return the closes by session, also of one day or of dates without a session, which the library refuses."""
    import exchange_calendars

    nothing = (
        pd.Series([], index=pd.DatetimeIndex([]), dtype="datetime64[ns, UTC]"),
        RegularClose(zone="UTC", minutes=1440),
    )
    if end < start:
        return nothing
    try:
        calendar = exchange_calendars.get_calendar(calendar_name, start=min(start, end - pd.Timedelta(days=1)), end=end)
    except exchange_calendars.errors.NoSessionsError:
        return nothing
    time = calendar.close_times[-1][1]
    minutes = 60 * time.hour + time.minute + 24 * 60 * calendar.close_offset
    return calendar.closes, RegularClose(zone=str(calendar.tz), minutes=minutes)
