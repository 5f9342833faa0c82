"""On which days an exchange was open, by exchange_calendars, which is imported only here and only when asked."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import version
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd

from quantlr.core.atomic import atomic_write, cache_dir
from quantlr.core.errors import DataError
from quantlr.data.csv.cells import DateArray

DATE_DTYPE = "datetime64[us]"
EXTRA_CACHED_DAYS = np.timedelta64(366, "D")
"""Days of a calendar that are kept beyond those asked for: the next run has newer prices."""


@dataclass(frozen=True, slots=True)
class CalendarSessions:
    """The days on which an exchange was open.

    Attributes
    ----------
    dates : (sessions,) from `first` to `last`.
    first, last : the days between which its holidays are recorded; of others nothing is known.
    """

    dates: DateArray
    first_recorded_date: np.datetime64
    last_recorded_date: np.datetime64


def load_sessions(calendar_name: str, *, first_date: np.datetime64, last_date: np.datetime64) -> CalendarSessions:
    """Return the sessions that an exchange held from `first` to `last`, both included, as far as they are recorded.

    They are kept between runs, since to work them out takes longer than to load a stock.

    Raises
    ------
    DataError : there is no such calendar.
    """
    # By version: a newer one may know of other holidays.
    place = cache_dir() / "calendars" / f"{version('exchange_calendars')}-{quote(calendar_name, safe='')}.json"
    known = _read_cached_sessions(place, first_date, last_date)
    if known is None:
        until = last_date + EXTRA_CACHED_DAYS
        known = _compute_sessions(calendar_name, first_date, until)
        _write_cached_sessions(place, known, first_date, until)
    first_date, last_date = max(first_date, known.first_recorded_date), min(last_date, known.last_recorded_date)
    return CalendarSessions(
        known.dates[(known.dates >= first_date) & (known.dates <= last_date)], first_date, last_date
    )


def _read_cached_sessions(path: Path, first_date: np.datetime64, last_date: np.datetime64) -> CalendarSessions | None:
    """Return what was kept of a calendar, None if that is less than the span asked for."""
    try:
        kept = json.loads(path.read_bytes())
        since, until, *recorded = (np.datetime64(day, "us") for day in (*kept["asked"], *kept["recorded"]))
        dates = np.array(kept["dates"], dtype=DATE_DTYPE)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return CalendarSessions(dates, *recorded) if since <= first_date and last_date <= until else None


def _write_cached_sessions(
    path: Path, sessions: CalendarSessions, first_date: np.datetime64, last_date: np.datetime64
) -> None:
    """Keep a calendar for the next run; where nothing can be written, that one works it out again."""
    kept = {
        "asked": _iso_date_texts([first_date, last_date]),
        "recorded": _iso_date_texts([sessions.first_recorded_date, sessions.last_recorded_date]),
        "dates": _iso_date_texts(sessions.dates),
    }
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, json.dumps(kept).encode())


def _iso_date_texts(dates: Iterable[np.datetime64]) -> list[str]:
    return [str(date.astype("datetime64[D]")) for date in dates]


def _compute_sessions(calendar_name: str, first_date: np.datetime64, last_date: np.datetime64) -> CalendarSessions:
    """Return the sessions of a span by exchange_calendars."""
    start, end = pd.Timestamp(first_date), pd.Timestamp(last_date)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it uses of pandas is its own concern
        import exchange_calendars

        names = exchange_calendars.get_calendar_names(include_aliases=True)
        if calendar_name not in names:
            near = get_close_matches(calendar_name.upper(), names, n=1, cutoff=0.4)
            guess = f"; did you mean {near[0]}?" if near else ""
            raise DataError(
                f"needs a calendar of exchange_calendars, like XNYS, found {calendar_name!r}{guess}",
                key="data.calendar",
            )
        try:
            sessions = _exchange_sessions(calendar_name, start, end)
        except ValueError:  # the span begins before its holidays are recorded, or ends after
            recorded = exchange_calendars.get_calendar(calendar_name)
            start, end = max(start, recorded.bound_min() or start), min(end, recorded.bound_max() or end)
            sessions = _exchange_sessions(calendar_name, start, end)
    dates = np.asarray(sessions.to_numpy().astype(DATE_DTYPE))
    first_date, last_date = np.datetime64(start, "us"), np.datetime64(end, "us")
    return CalendarSessions(dates[(dates >= first_date) & (dates <= last_date)], first_date, last_date)


def _exchange_sessions(calendar_name: str, start: pd.Timestamp, end: pd.Timestamp) -> pd.DatetimeIndex:
    """Return the sessions of a span, which the library wants to be longer than a day and to hold one."""
    import exchange_calendars

    if end < start:
        return pd.DatetimeIndex([])
    try:
        found = exchange_calendars.get_calendar(calendar_name, start=min(start, end - pd.Timedelta(days=1)), end=end)
    except exchange_calendars.errors.NoSessionsError:
        return pd.DatetimeIndex([])
    return pd.DatetimeIndex(found.sessions)
