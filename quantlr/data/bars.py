"""Aggregation of finer bars to daily, weekly or monthly ones, by session.

A bar has the first open, the highest high, the lowest low, the last close and the sum of the volumes of its rows.
Opens, highs and lows are first brought to the adjustment of the last row, so that a split or a dividend within the
period is no move. Its date is the last session of the period, of all tickers.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from quantlr.core.errors import DataError
from quantlr.core.timing import iso_date
from quantlr.core.values import Array, BoolArray, IntArray, Note
from quantlr.data.csv.raw_table import DateArray
from quantlr.data.csv.reader import PRICE_FIELDS
from quantlr.data.price_rows import PriceRows

Bars = Literal["daily", "weekly", "monthly"]
BARS_DESCRIPTIONS = {
    "daily": "of intraday bars, one bar of each date",
    "weekly": "Monday to Sunday",
    "monthly": "calendar months",
}
MIN_INTRADAY_ROWS_PER_DATE = 1.5
"""Rows of a ticker for each of its dates from which on its bars are intraday bars."""
MONDAY, FRIDAY, SATURDAY, SUNDAY = 0, 4, 5, 6
UNIX_EPOCH_WEEKDAY = 3
"""1970-01-01 was a Thursday, counted from Monday as 0."""


def daily_rows_of_intraday(rows: PriceRows) -> PriceRows:
    """Return one row for each date of the tickers with intraday bars, and the rows of the others as they are.

    Rows are in the order of time or newest first.

    Raises
    ------
    DataError : a ticker has several rows of one date, and its dates are in neither order.
    """
    is_intraday = intraday_ticker_mask(rows)
    if not is_intraday.any():
        return rows
    is_empty = np.all([np.isnan(rows.columns[name]) for name in PRICE_FIELDS], axis=0)
    rows = rows.take_rows(~(is_empty & is_intraday[rows.ticker_index]))
    for ticker in np.flatnonzero(is_intraday).tolist():
        steps = np.diff(rows.date[rows.ticker_index == ticker]).astype(np.int64)
        if (steps < 0).any() and (steps > 0).any():
            text = f"{rows.tickers[ticker]} has intraday bars, and dates in no order"
            raise DataError(f"{text}; sort its rows by time", key="data.bars")
    is_newest_first = np.zeros(len(rows.tickers), dtype=np.bool_)
    descends = rows.same_ticker_as_previous_row & np.append(False, rows.date[1:] < rows.date[:-1])
    is_newest_first[rows.ticker_index[descends]] = True
    position = np.where(is_newest_first[rows.ticker_index], -1, 1) * np.arange(len(rows))
    ordered = rows.take_rows(np.lexsort([position, rows.date, rows.ticker_index]))
    days = ordered.date.astype("datetime64[D]").astype(np.int64)
    own_period = days.max() + 1 + np.arange(len(ordered))
    return _join_rows(ordered, np.where(is_intraday[ordered.ticker_index], days, own_period))


def intraday_ticker_mask(rows: PriceRows) -> BoolArray:
    """(tickers,) whether a ticker has, on average, at least `MIN_INTRADAY_ROWS_PER_DATE` rows for each of its dates."""
    n_dates = np.bincount(
        np.unique(np.column_stack([rows.ticker_index, rows.date.astype(np.int64)]), axis=0)[:, 0],
        minlength=len(rows.tickers),
    )
    return np.asarray(rows.n_rows_by_ticker >= MIN_INTRADAY_ROWS_PER_DATE * np.maximum(n_dates, 1))


def aggregate_rows(rows: PriceRows, bars: Bars) -> tuple[PriceRows, list[Note]]:
    """Return weekly or monthly rows of valid daily ones, sorted by date, and a note on a last period that is not over.

    The last period is over where no later weekday (or day, if the prices have weekends) belongs to it.
    """
    if bars == "daily":
        return rows, []
    days = rows.date.astype("datetime64[D]")
    period = _period_index(days, bars)
    last_day = days.max()
    dates, first_index = np.unique(period, return_inverse=True)
    period_end = np.full(len(dates), np.datetime64("0001-01-01"), dtype=days.dtype)
    np.maximum.at(period_end, first_index, days)
    has_weekends = bool((weekday_numbers(days) > FRIDAY).any())
    next_day = last_day + np.timedelta64(1, "D")
    while not has_weekends and weekday_numbers(next_day) > FRIDAY:
        next_day += np.timedelta64(1, "D")
    joined = _join_rows(replace(rows, date=period_end[first_index].astype(rows.date.dtype)), period)
    if _period_index(next_day, bars) != period.max():
        return joined, []
    unit = "week" if bars == "weekly" else "month"
    text = f"the last {unit}, to {iso_date(last_day)}, is not over; left out"
    is_over = joined.date < period_end[-1].astype(rows.date.dtype)
    return joined.take_rows(is_over), [Note("data", text, date=iso_date(last_day), key="data.bars")]


def weekday_numbers(dates: Array | DateArray | np.datetime64) -> IntArray:
    """Return the day of the week of each date, 0 for Monday."""
    days = np.asarray(dates, dtype="datetime64[D]").astype(np.int64)
    return np.asarray((days + UNIX_EPOCH_WEEKDAY) % 7)


def _period_index(days: Array, bars: Bars) -> IntArray:
    """Return the number of the week, from Monday to Sunday, or of the month of dates."""
    days = np.asarray(days)
    if bars == "monthly":
        return days.astype("datetime64[M]").astype(np.int64)
    return (days.astype(np.int64) + UNIX_EPOCH_WEEKDAY) // 7


def _join_rows(rows: PriceRows, period: IntArray) -> PriceRows:
    """Return one row for each run of rows of one ticker and one period."""
    changes = (np.diff(rows.ticker_index) != 0) | (np.diff(period) != 0)
    start = np.flatnonzero(np.append(True, changes))
    last = np.append(start[1:], len(rows)) - 1
    close, adj_close, volume = (rows.columns[name] for name in ("close", "adj_close", "volume"))
    with np.errstate(invalid="ignore", divide="ignore"):  # prices that are not valid are found afterwards
        adjustment = np.where(np.isnan(adj_close), 1.0, adj_close / close)
        factor = adjustment / np.repeat(adjustment[last], last - start + 1)
    is_known = np.add.reduceat(~np.isnan(volume), start, dtype=np.int64) > 0
    columns = {
        "open": (rows.columns["open"] * factor)[start],
        "high": np.fmax.reduceat(rows.columns["high"] * factor, start),
        "low": np.fmin.reduceat(rows.columns["low"] * factor, start),
        "close": close[last],
        "adj_close": adj_close[last],
        "volume": np.where(is_known, np.add.reduceat(np.nan_to_num(volume), start), np.nan),
    }
    return replace(rows.take_rows(last), columns=columns)
