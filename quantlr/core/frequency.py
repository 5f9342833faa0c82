"""The frequency of bars, found from their dates: sessions per year, and the years between two dates.

Gaps over ``max(15 days, 4 x the median gap)`` are holes in the data. With c = 365.25 x the other gaps / their days, a
span of two years or more has the nearest of the usual numbers within 1 % of c, else c rounded: Tokyo has 245 sessions.
A shorter span has the number of its kind, by the weekdays with sessions or by the median gap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from quantlr.core.values import Array, IntArray

DAYS_PER_YEAR = 365.25
MIN_COUNTED_DAYS = 2 * DAYS_PER_YEAR
"""Days from the first date to the last from which on sessions are counted."""
USUAL_SESSIONS_PER_YEAR = (252, 312, 365, 52, 12, 260)
"""Five, six and seven days a week with the usual holidays, weekly, monthly, and weekdays without holidays."""
USUAL_COUNT_TOLERANCE = 0.01
MAX_COUNT_DIFFERENCE = 0.10
"""Relative difference between a number in the config and the dates' own count above which the number is an error."""
MIN_HOLE_DAYS, MIN_HOLE_MEDIAN_GAPS = 15.0, 4.0
MIN_WEEKDAY_FRACTION = 0.25
"""Sessions of a weekday, relative to the most frequent one, from which on it is a usual day of trading."""
MAX_DAILY_GAP_DAYS, MAX_WEEKLY_GAP_DAYS, MAX_MONTHLY_GAP_DAYS = 3.5, 15.0, 45.0
"""Median gap up to which bars are daily, weekly and monthly."""


class CountedSessionsPerYear(int):
    """Sessions per year as counted from dates; years between two dates are then those of the calendar.

    Attributes
    ----------
    count : c, before it was rounded to a usual or a whole number.
    by_ticker : (tickers,) the number of each ticker's own bars; empty where it is not needed.
    """

    count: float
    by_ticker: tuple[int, ...]

    def __new__(cls, sessions: int, count: float | None = None, by_ticker: tuple[int, ...] = ()) -> Self:
        """Return the number, with its count and those of the tickers."""
        counted = super().__new__(cls, sessions)
        counted.count, counted.by_ticker = float(sessions) if count is None else count, by_ticker
        return counted


def median_gap_days(days: IntArray) -> float:
    """Return the median gap between ascending dates, given as days since 1970; 1 with fewer than two."""
    return float(np.median(np.diff(days))) if len(days) > 1 else 1.0


def sessions_per_year_of_dates(days: IntArray) -> float:
    """Return c, the sessions per year of ascending dates as counted without holes, or by kind for a short span."""
    gaps = np.diff(days)
    if not len(gaps) or days[-1] - days[0] < MIN_COUNTED_DAYS:
        return float(_sessions_per_year_by_kind(days))
    kept = gaps[gaps <= max(MIN_HOLE_DAYS, MIN_HOLE_MEDIAN_GAPS * median_gap_days(days))]
    return float(DAYS_PER_YEAR * len(kept) / kept.sum())


def usual_sessions_per_year(count: float) -> int:
    """Return the usual number of sessions per year within 1 % of a count, else the count rounded."""
    nearest = min(USUAL_SESSIONS_PER_YEAR, key=lambda usual: abs(count - usual))
    return nearest if abs(count - nearest) <= USUAL_COUNT_TOLERANCE * nearest else max(round(count), 1)


def _sessions_per_year_by_kind(days: IntArray) -> int:
    """Return the usual number for the kind of bars: by their median gap and, if daily, the weekdays of sessions."""
    gap = median_gap_days(days)
    if gap > MAX_MONTHLY_GAP_DAYS:
        return max(round(DAYS_PER_YEAR / gap), 1)
    if gap > MAX_DAILY_GAP_DAYS:
        return 52 if gap <= MAX_WEEKLY_GAP_DAYS else 12
    by_weekday = np.bincount(days % 7, minlength=7)
    n_weekdays = int((by_weekday >= MIN_WEEKDAY_FRACTION * by_weekday.max(initial=1)).sum())
    return {6: 312, 7: 365}.get(n_weekdays, 252)


def count_sessions(sessions: Any, session: IntArray) -> CountedSessionsPerYear:
    """Return the sessions per year of all bars together and of each ticker's own.

    Parameters
    ----------
    sessions : (sessions,) the union of the dates, ascending.
    session : (bars, tickers) position of each bar in `sessions`, negative where there is none.
    """
    days = np.asarray(sessions).astype("datetime64[D]").astype(np.int64)
    count = sessions_per_year_of_dates(days)
    total = usual_sessions_per_year(count)
    by_ticker = [
        total if (column >= 0).sum() == len(days) else _usual_count(days[column[column >= 0]]) for column in session.T
    ]
    return CountedSessionsPerYear(total, count, tuple(by_ticker))


def _usual_count(days: IntArray) -> int:
    return usual_sessions_per_year(sessions_per_year_of_dates(days))


def interest_between_fills(annual_rate: Array | float, fill_dates: Any, sessions_per_year: int) -> Array | float:
    """Return the interest from each fill to the next, as a fraction: (sessions,), or one number for all.

    The annual rate is one number, or (sessions,) where it varies.

    Where the sessions per year were counted, the rate is effective: (1 + rate) ^ (days / 365.25) - 1. Else it is
    rate / sessions per year.
    """
    if not isinstance(sessions_per_year, CountedSessionsPerYear) or not np.any(annual_rate):
        return annual_rate / sessions_per_year
    days = np.diff(np.asarray(fill_dates).astype("datetime64[D]").astype(np.int64))
    return np.asarray(np.expm1(np.log1p(annual_rate) * days / DAYS_PER_YEAR))


def interest_over_sessions(annual_rate: Array | float, n_sessions: int, sessions_per_year: int) -> Array | float:
    """Return the interest over a number of sessions to come, effective where the sessions per year were counted.

    The annual rate is one number, or an array of rates, and so is the interest.
    """
    years = n_sessions / sessions_per_year
    if not isinstance(sessions_per_year, CountedSessionsPerYear):
        return annual_rate * years
    interest: Array | float = (1.0 + annual_rate) ** years - 1.0
    return interest


def bar_unit(sessions_per_year: int) -> str:
    """Return the word for one bar: "session", or "week" or "month"."""
    return {52: "week", 12: "month"}.get(int(sessions_per_year), "session")
