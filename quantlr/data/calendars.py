"""On which days an exchange was open, by exchange_calendars, which is imported only here and only when asked."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
import pandas as pd

from quantlr.data.cells import Dates
from quantlr.errors import DataError

UNIT = "datetime64[us]"


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

    Raises
    ------
    DataError : there is no such calendar.
    """
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
