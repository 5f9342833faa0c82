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

from quantlr.data.cells import Dates
from quantlr.disk import home, put
from quantlr.errors import DataError

UNIT = "datetime64[us]"
AHEAD = np.timedelta64(366, "D")
"""Days of a calendar that are kept beyond those asked for: the next run has newer prices."""


@dataclass(frozen=True, slots=True)
class Sessions:
    """The days on which an exchange was open.

    Attributes
    ----------
    dates : (sessions,) from `first` to `last`.
    first, last : the days between which its holidays are recorded; of others nothing is known.
    """

    dates: Dates
    first: np.datetime64
    last: np.datetime64


def sessions_of(calendar: str, *, first: np.datetime64, last: np.datetime64) -> Sessions:
    """Return the sessions that an exchange held from `first` to `last`, both included, as far as they are recorded.

    They are kept between runs, since to work them out takes longer than to load a stock.

    Raises
    ------
    DataError : there is no such calendar.
    """
    # By version: a newer one may know of other holidays.
    place = home() / "calendars" / f"{version('exchange_calendars')}-{quote(calendar, safe='')}.json"
    known = _kept(place, first, last)
    if known is None:
        until = last + AHEAD
        known = _recorded(calendar, first, until)
        _keep(place, known, first, until)
    first, last = max(first, known.first), min(last, known.last)
    return Sessions(known.dates[(known.dates >= first) & (known.dates <= last)], first, last)


def _kept(place: Path, first: np.datetime64, last: np.datetime64) -> Sessions | None:
    """Return what was kept of a calendar, None if that is less than the span asked for."""
    try:
        kept = json.loads(place.read_bytes())
        since, until, *recorded = (np.datetime64(day, "us") for day in (*kept["asked"], *kept["recorded"]))
        dates = np.array(kept["dates"], dtype=UNIT)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Sessions(dates, *recorded) if since <= first and last <= until else None


def _keep(place: Path, sessions: Sessions, first: np.datetime64, last: np.datetime64) -> None:
    """Keep a calendar for the next run; where nothing can be written, that one works it out again."""
    kept = {
        "asked": _days([first, last]),
        "recorded": _days([sessions.first, sessions.last]),
        "dates": _days(sessions.dates),
    }
    with suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        put(place, json.dumps(kept).encode())


def _days(dates: Iterable[np.datetime64]) -> list[str]:
    return [str(date.astype("datetime64[D]")) for date in dates]


def _recorded(calendar: str, first: np.datetime64, last: np.datetime64) -> Sessions:
    """Return the sessions of a span by exchange_calendars."""
    start, end = pd.Timestamp(first), pd.Timestamp(last)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it uses of pandas is its own concern
        import exchange_calendars

        names = exchange_calendars.get_calendar_names(include_aliases=True)
        if calendar not in names:
            near = get_close_matches(calendar.upper(), names, n=1, cutoff=0.4)
            guess = f"; did you mean {near[0]}?" if near else ""
            raise DataError(
                f"needs a calendar of exchange_calendars, like XNYS, found {calendar!r}{guess}", key="data.calendar"
            )
        try:
            sessions = _held(calendar, start, end)
        except ValueError:  # the span begins before its holidays are recorded, or ends after
            recorded = exchange_calendars.get_calendar(calendar)
            start, end = max(start, recorded.bound_min() or start), min(end, recorded.bound_max() or end)
            sessions = _held(calendar, start, end)
    dates = np.asarray(sessions.to_numpy().astype(UNIT))
    first, last = np.datetime64(start, "us"), np.datetime64(end, "us")
    return Sessions(dates[(dates >= first) & (dates <= last)], first, last)


def _held(calendar: str, start: pd.Timestamp, end: pd.Timestamp) -> pd.DatetimeIndex:
    """Return the sessions of a span, which the library wants to be longer than a day and to hold one."""
    import exchange_calendars

    if end < start:
        return pd.DatetimeIndex([])
    try:
        found = exchange_calendars.get_calendar(calendar, start=min(start, end - pd.Timedelta(days=1)), end=end)
    except exchange_calendars.errors.NoSessionsError:
        return pd.DatetimeIndex([])
    return pd.DatetimeIndex(found.sessions)
