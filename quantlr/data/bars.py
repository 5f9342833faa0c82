"""The period of bars, and the aggregation of finer bars to daily, weekly or monthly ones, by session.

An aggregated bar has the first open, the highest high, the lowest low, the last close and the sum of the volumes of its
rows. Opens, highs and lows are first brought to the adjustment of the last row, so that a split or a dividend within
the period is no move. Its date is the last session of the period, of all tickers.

Vendors date weekly and monthly bars on the first day of the period (Yahoo Finance, TradingView) or on the last one, and
the date alone does not say when the close is known. So tickers that are compared need bars that are dated alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from quantlr.core.errors import DataError
from quantlr.core.frequency import MAX_DAILY_GAP_DAYS, MAX_MONTHLY_GAP_DAYS, MAX_WEEKLY_GAP_DAYS, median_gap_days
from quantlr.core.known_series import DateArray
from quantlr.core.timing import iso_date
from quantlr.core.values import Array, BoolArray, IntArray, Note, Prices
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
MIN_BARS_FOR_PERIOD = 10
"""Bars of a ticker from which on their period is known."""
MAX_START_DAY, MIN_END_DAY = 4, 24
"""Median day of the month up to which monthly bars are dated on its first session, and from which on on its last."""
WEEKDAY_NAMES = ("Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")


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

    Raises
    ------
    DataError : a ticker's bars are longer; or weekly bars are dated on Sundays, beside bars of other dates: it is not
        known of which week they are.
    """
    _require_no_longer_bars(rows, bars)
    if bars == "daily":
        return rows, []
    days, is_moved = _closing_days(rows)
    period = _period_index(days, bars)
    is_session = ~is_moved | is_moved.all()
    last_day = days[is_session].max()
    dates, first_index = np.unique(period, return_inverse=True)
    period_end = np.full(len(dates), np.datetime64("0001-01-01"), dtype=days.dtype)
    np.maximum.at(period_end, first_index[is_session], days[is_session])
    has_no_session = period_end[first_index] < days.min()
    np.maximum.at(period_end, first_index[has_no_session], days[has_no_session])
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


def _require_no_longer_bars(rows: PriceRows, bars: Bars) -> None:
    units = ("week", "month", "quarter")[("daily", "weekly", "monthly").index(bars) :]
    days = rows.date.astype("datetime64[D]")
    for index, ticker in enumerate(rows.tickers):
        period = bar_period(days[slice(*np.searchsorted(rows.ticker_index, [index, index + 1]))])
        if period is not None and period.unit in units:
            text = f"{ticker} has {period.text}, which can't be divided into {bars} ones"
            raise DataError(f"{text}; give finer bars, or leave data.bars out", key="data.bars")


def _closing_days(rows: PriceRows) -> tuple[DateArray, BoolArray]:
    """Return the date of each row, moved to the period's last day for bars that are dated on its first; and which."""
    days, is_moved = rows.date.astype("datetime64[D]"), np.zeros(len(rows), dtype=np.bool_)
    for index in range(len(rows.tickers)):
        own = slice(*np.searchsorted(rows.ticker_index, [index, index + 1]))
        period = bar_period(days[own])
        if period is not None and period.starts_on_date:
            days[own], is_moved[own] = period.last_days(days[own], has_weekends=False), True
        if period is not None and period.dated_on == "Sundays" and len(rows.tickers) > 1:
            text = f"{rows.tickers[index]} has weekly bars dated on Sundays, which may be the first or the last day"
            raise DataError(f"{text}; date them on the last session of their week", key="data.bars")
    return days, is_moved


def weekday_numbers(dates: Array | DateArray | np.datetime64) -> IntArray:
    """Return the day of the week of each date, 0 for Monday."""
    days = np.asarray(dates, dtype="datetime64[D]").astype(np.int64)
    return np.asarray((days + UNIX_EPOCH_WEEKDAY) % 7)


def _period_index(days: Array | DateArray | np.datetime64, bars: Bars) -> IntArray:
    """Return the number of the week, from Monday to Sunday, or of the month of dates."""
    dates = np.asarray(days, dtype="datetime64[D]")
    if bars == "monthly":
        return dates.astype("datetime64[M]").astype(np.int64)
    return np.asarray((dates.astype(np.int64) + UNIX_EPOCH_WEEKDAY) // 7)


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


@dataclass(frozen=True, slots=True)
class BarPeriod:
    """The period of a ticker's bars, and the day that they are dated on.

    Attributes
    ----------
    unit : "week", "month" or "quarter"; a quarter stands for anything longer than a month.
    dated_on : the day, for messages.
    starts_on_date : whether the date is the first day of the period: a Monday, or one of the first four days.
    """

    unit: Literal["week", "month", "quarter"]
    dated_on: str
    starts_on_date: bool

    @property
    def text(self) -> str:
        """The bars in words."""
        return f"{self.unit}ly bars dated on {self.dated_on}"

    def last_days(self, dates: DateArray, *, has_weekends: bool) -> DateArray:
        """Return the last day of each period that starts on a date, (n,); without weekends the last weekday."""
        if self.unit == "week":
            last = dates + (SUNDAY - weekday_numbers(dates)).astype("timedelta64[D]")
        else:
            next_period = dates.astype("datetime64[M]") + np.timedelta64(1 if self.unit == "month" else 3, "M")
            last = next_period.astype("datetime64[D]") - np.timedelta64(1, "D")
        return np.asarray(last if has_weekends else np.busday_offset(last, 0, roll="backward"))


def bar_period(dates: DateArray) -> BarPeriod | None:
    """Return the period of bars with these dates, ascending, as datetime64[D]; None for daily bars and too few.

    Bars with long gaps of which two are of one week, or one month, are daily ones of a ticker that rarely trades.
    """
    gap = median_gap_days(dates.astype(np.int64))
    if len(dates) < MIN_BARS_FOR_PERIOD or gap <= MAX_DAILY_GAP_DAYS:
        return None
    bars: Literal["weekly", "monthly"] = "weekly" if gap <= MAX_WEEKLY_GAP_DAYS else "monthly"
    if len(np.unique(_period_index(dates, bars))) < len(dates):
        return None
    if bars == "weekly":
        weekday = int(np.bincount(weekday_numbers(dates), minlength=7).argmax())
        return BarPeriod("week", WEEKDAY_NAMES[weekday], weekday == MONDAY)
    unit: Literal["month", "quarter"] = "month" if gap <= MAX_MONTHLY_GAP_DAYS else "quarter"
    day_of_month = float(np.median((dates - dates.astype("datetime64[M]")).astype(np.int64) + 1))
    if MAX_START_DAY < day_of_month < MIN_END_DAY:
        return BarPeriod(unit, f"day {day_of_month:.0f}", False)
    is_start = day_of_month <= MAX_START_DAY
    return BarPeriod(unit, f"the {'first' if is_start else 'last'} day", is_start)


def require_equal_periods(prices: Prices, parts: Sequence[str]) -> None:
    """Raise an error if bars of different periods, or dated on different days, meet where tickers are compared.

    Parameters
    ----------
    parts : keys of the parts of a config whose result for a ticker depends on other tickers.

    Raises
    ------
    DataError : naming two such tickers.
    """
    containers = (prices, prices.context) if prices.context else (prices,)
    if not parts or sum(len(container.tickers) for container in containers) < 2:
        return
    periods: dict[BarPeriod | None, str] = {}
    for container in containers:
        dates = container.sessions.to_numpy().astype("datetime64[D]")
        for index, ticker in enumerate(container.tickers):
            periods.setdefault(bar_period(dates[container.session[: container.n_bars[index], index]]), ticker)
    if len(periods) < 2:
        return
    units = {period.unit for period in periods if period is not None}
    described = [f"{ticker} has {period.text if period else 'daily bars'}" for period, ticker in periods.items()]
    text = (
        f"{' and '.join(described[:2])}, and {parts[0]} reads both: their dates do not say which close is known first"
    )
    advice = (
        "give their daily bars"
        if "quarter" in units
        else f"write data.bars: {'monthly' if 'month' in units else 'weekly'}"
    )
    raise DataError(f"{text}; {advice}, or read the longer ones as data.series", key="data.bars")
