"""Rules that find suspect bars: one function per rule, by its key in ``data.quality``.

A rule looks at the rows of all tickers at once (there is at least one) and returns which are suspect and a text on
each. It changes nothing: the config decides whether suspect rows are an error, a note, or dropped. What is dropped is
judged by prices up to the row itself: which bars a run sees must not depend on later prices.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd

from quantlr.core.frequency import MAX_DAILY_GAP_DAYS, median_gap_days
from quantlr.core.values import Array, BoolArray, IntArray
from quantlr.data.bars import SATURDAY, SUNDAY, intraday_ticker_mask, weekday_numbers
from quantlr.data.calendars import CalendarSessions, load_sessions
from quantlr.data.csv.reader import PRICE_FIELDS
from quantlr.data.markets import unfinished_reason
from quantlr.data.price_rows import PriceRows
from quantlr.data.rule_results import RuleResult, ValidationContext, ValidationRule, pair_mask_to_row_mask
from quantlr.data.stamps import shifted_ticker_mask

MAX_GAP_DAYS = 10
"""Calendar days between two bars above which bars are missing, where no calendar is known."""
MIN_BARS_FOR_FREQUENCY = 10
"""Bars of a ticker from which on they may be taken for weekly or monthly ones."""
MAX_GAP_MEDIAN_GAPS = 1.5
"""The same in median gaps of the ticker, for weekly and monthly bars."""
MIN_STALE_BARS = 10
"""Number of bars with the same close from which on the close is suspect."""
MAX_STALE_OPEN_FRACTION = 0.10
"""Fraction of a ticker's opens equal to the close before, above which they are suspect."""
MIN_PRICE, MAX_PRICE = 1e-30, 1e30
"""Prices between which the fourth power of any return can be calculated."""
OHLC_RELATIVE_TOLERANCE = 1e-6
"""Relative difference up to which a low above another price of its bar is due to rounding."""
MIN_OTHER_BASIS_ROWS = 20
"""Consecutive rows with the close on one side of the bar from which on the columns differ in their adjustment."""
RECENT_TIME = dt.timedelta(days=100)
"""Age of a last bar above which its session, week, month or quarter is over."""
MAX_DST_SHIFT_MINUTES = 60
"""Minutes by which daylight saving time changes a zone's offset from UTC."""
LARGE_RETURN = 0.40
"""Absolute return of one session above which a price is suspect."""
HUNDREDFOLD_RATIO_RANGE = (75.0, 133.0)
"""Ratio of two closes that suggests a change of unit by a factor of 100, as between dollars and cents."""
SPLIT_FACTORS = (2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 25, 50)
SPLITS = (*((factor, 1) for factor in SPLIT_FACTORS), (5, 2), (7, 2), *((1, factor) for factor in SPLIT_FACTORS))
SPLIT_RATIOS = {f"{new}:{old}": new / old for new, old in SPLITS}
"""New shares per old share of the splits that move the price by more than `LARGE_RETURN`."""
SPIKE_FACTOR = 4.0
"""Factor by which a close differs from the one before and the one after that no market price has shown."""
SPLIT_RATIO_TOLERANCE = 0.03
"""Relative difference up to which a ratio of prices looks like a split's."""


def flag_empty_rows(rows: PriceRows, context: ValidationContext) -> RuleResult:
    """Rows without any price: holidays, and a last bar that is not available yet."""
    is_empty = np.all([np.isnan(rows.columns[name]) for name in PRICE_FIELDS], axis=0)
    return RuleResult(is_empty, lambda row: "has no price")


def flag_mixed_time_zones(rows: PriceRows, context: ValidationContext) -> RuleResult:
    """Times in another zone than the ticker's first row, beyond daylight saving time, or with and without a zone."""
    offsets = rows.utc_offset_minutes
    first = offsets[np.searchsorted(rows.ticker_index, rows.ticker_index)]  # of the first row of each row's ticker
    suspect = (np.abs(offsets - first) > MAX_DST_SHIFT_MINUTES) | (np.isnan(offsets) != np.isnan(first))

    def reason_text(row: int) -> str:
        zone, first_zone = _utc_offset_text(float(offsets[row])), _utc_offset_text(float(first[row]))
        return f"time zones are mixed, {zone} here and {first_zone} in the first row: the session of the bar is unclear"

    return RuleResult(suspect, reason_text)


def _utc_offset_text(minutes: float) -> str:
    if np.isnan(minutes):
        return "none"
    return f"UTC{'-' if minutes < 0 else '+'}{abs(int(minutes)) // 60:02d}:{abs(int(minutes)) % 60:02d}"


def flag_unsorted_rows(rows: PriceRows, context: ValidationContext) -> RuleResult:
    """Rows that follow a row of a later date, as in files with the newest row first."""
    suspect = pair_mask_to_row_mask(rows, rows.date[1:] < rows.date[:-1])
    is_newest_first = _count_rows_by_ticker(rows, suspect) == np.asarray(rows.n_rows_by_ticker) - 1
    if is_newest_first[rows.ticker_index[suspect]].all():
        return RuleResult(suspect, lambda row: "rows were newest first", is_row_specific=False)
    text = "rows were not in the order of their dates"
    return RuleResult(suspect, lambda row: f"comes after {rows.date_text_of_row(row - 1)}: {text}")


def flag_duplicate_rows(rows: PriceRows, context: ValidationContext) -> RuleResult:
    """Rows that equal the row before them, date and all numbers."""
    suspect = pair_mask_to_row_mask(rows, rows.date[1:] == rows.date[:-1])
    for column in rows.columns.values():
        suspect[1:] &= (column[1:] == column[:-1]) | (np.isnan(column[1:]) & np.isnan(column[:-1]))
    return RuleResult(suspect, lambda row: "duplicate row")


def flag_conflicting_rows(rows: PriceRows, context: ValidationContext) -> RuleResult:
    """Several rows of one date with different numbers."""
    same_date = pair_mask_to_row_mask(rows, rows.date[1:] == rows.date[:-1])
    suspect = same_date | np.append(same_date[1:], False)
    is_intraday = intraday_ticker_mask(rows) if suspect.any() else suspect

    def reason_text(row: int) -> str:
        if is_intraday[rows.ticker_index[row]]:
            n_rows = int(((rows.date == rows.date[row]) & (rows.ticker_index == rows.ticker_index[row])).sum())
            return f"intraday bars, {n_rows} of this date; write data.bars: daily to make one bar of each date"
        pairs = ((name, *column[row : row + 2]) for name, column in rows.columns.items())
        name, value, other = next(pair for pair in pairs if not np.array_equal(pair[1], pair[2], equal_nan=True))
        return f"two rows of one date, with {name} {value:g} in one and {other:g} in the other"

    return RuleResult(suspect, reason_text)


def flag_future_dates(rows: PriceRows, context: ValidationContext) -> RuleResult:
    """Bars of dates after today."""
    today = context.latest_date
    text = f"date is after today ({today} in the time zone where it is latest, by this machine's clock)"
    return RuleResult(rows.date > np.datetime64(today), lambda row: text)


def flag_unfinished_last_bars(rows: PriceRows, context: ValidationContext) -> RuleResult:
    """A ticker's last bar that has no close yet, or whose session, week or month is not over."""
    is_last = np.append(~rows.same_ticker_as_previous_row[1:], True)
    suspect = is_last & np.isnan(rows.columns["close"])
    reasons = dict.fromkeys(np.flatnonzero(suspect).tolist(), "the last bar has no close: it isn't finished")
    now = context.now or dt.datetime.max.replace(tzinfo=dt.UTC)
    is_recent = rows.date >= np.datetime64((now - RECENT_TIME).replace(tzinfo=None))
    for row in np.flatnonzero(is_last & is_recent & ~suspect).tolist():
        if reason := unfinished_reason(rows, row, context.market_sources, now):
            suspect[row], reasons[row] = True, reason
    return RuleResult(suspect, reasons.__getitem__)


def flag_shifted_weekdays(rows: PriceRows, context: ValidationContext) -> RuleResult:
    """Bars on Sundays of a ticker without any on Fridays, or on Saturdays without Mondays: dates are a day off."""
    is_explained = np.array([context.market_sources.sunday_zone(ticker) is not None for ticker in rows.tickers])
    is_daily = np.array(_median_gap_days_by_ticker(rows)) <= MAX_DAILY_GAP_DAYS
    is_shifted = shifted_ticker_mask(rows) & ~is_explained & is_daily
    weekday = weekday_numbers(rows.date)
    suspect = is_shifted[rows.ticker_index] & (weekday >= SATURDAY)

    def reason_text(row: int) -> str:
        days, missing = ("Sundays", "Fridays") if weekday[row] == SUNDAY else ("Saturdays", "Mondays")
        advice = "" if np.isnan(rows.utc_offset_minutes[row]) else "; the market's zone as data.timezone moves them"
        if weekday[row] == SUNDAY:
            advice += "; of an exchange that is open on Sundays, state its data.calendar, as XTAE"
        return f"bars on {days} and none on {missing}: the dates are a day off, as local days written in UTC{advice}"

    return RuleResult(suspect, reason_text)


def flag_invalid_prices(rows: PriceRows, context: ValidationContext) -> RuleResult:
    """A price that is missing beside others, zero, negative, infinite, or of a size that no price has.

    Only the close must be there: another field may be missing on all bars of a ticker, but not on some. Rows before the
    first that has a field are therefore invalid, and dropping them is as a later `data.start`.
    """
    invalid: dict[str, BoolArray] = {}
    for name in PRICE_FIELDS:
        column = rows.columns[name]
        invalid[name] = ~((column >= MIN_PRICE) & (column <= MAX_PRICE))
        if name != "close":
            invalid[name] &= (_count_rows_by_ticker(rows, ~np.isnan(column)) > 0)[rows.ticker_index]

    def reason_text(row: int) -> str:
        name = next(name for name in PRICE_FIELDS if invalid[name][row])
        value = rows.columns[name][row]
        limits = f" from {MIN_PRICE:g} to {MAX_PRICE:g}" if 0 < value < np.inf else ""
        return f"{name} needs a positive number{limits}, found {'none' if np.isnan(value) else value}"

    return RuleResult(np.any(list(invalid.values()), axis=0), reason_text)


def flag_invalid_volumes(rows: PriceRows, context: ValidationContext) -> RuleResult:
    """A volume that is negative or infinite."""
    volume = rows.columns["volume"]
    return RuleResult((volume < 0) | np.isinf(volume), lambda row: f"volume can't be {volume[row]}")


def flag_inconsistent_ohlc(rows: PriceRows, context: ValidationContext) -> RuleResult:
    """A low above another price of the bar, or a high below one."""
    opens, high, low, close = (rows.columns[name] for name in ("open", "high", "low", "close"))
    max_price, min_price = np.fmax(np.fmax(opens, close), low), np.fmin(np.fmin(opens, close), high)
    is_high_too_low = high < max_price * (1 - OHLC_RELATIVE_TOLERANCE)
    is_low_too_high = low > min_price * (1 + OHLC_RELATIVE_TOLERANCE)

    def reason_text(row: int) -> str:
        if is_high_too_low[row]:
            text, limit = f"high {high[row]:g} is below", max_price[row]
        else:
            text, limit = f"low {low[row]:g} is above", min_price[row]
        return f"{text} {next(name for name in PRICE_FIELDS if rows.columns[name][row] == limit)} {limit:g}"

    return RuleResult(is_high_too_low | is_low_too_high, reason_text)


def flag_other_basis(rows: PriceRows, context: ValidationContext) -> RuleResult:
    """Runs of rows with the close outside low to high on one side: prices of different adjustment in one row."""
    high, low, close = (rows.columns[name] for name in ("high", "low", "close"))
    side = (close > high * (1 + OHLC_RELATIVE_TOLERANCE)).astype(np.int64)
    side -= close < low * (1 - OHLC_RELATIVE_TOLERANCE)
    run = np.cumsum(~pair_mask_to_row_mask(rows, side[1:] == side[:-1])) - 1
    length = np.bincount(run)[run]

    def reason_text(row: int) -> str:
        place, limit = ("above the high", high[row]) if side[row] > 0 else ("below the low", low[row])
        text = f"the close {close[row]:g} is {place} {limit:g}, and so for {length[row]} rows in a row"
        return f"{text}: an adjusted close beside unadjusted prices; name it adj_close and add the close as traded"

    return RuleResult((side != 0) & (length >= MIN_OTHER_BASIS_ROWS), reason_text)


def flag_off_calendar_dates(rows: PriceRows, context: ValidationContext) -> RuleResult:
    """Bars of dates on which the exchange was closed."""
    suspect = np.zeros(len(rows), dtype=np.bool_)
    for row_mask, sessions in _row_masks_by_calendar(rows, context):
        dates = rows.date[row_mask]
        suspect[row_mask] = sessions.recorded_dates_mask(dates) & ~np.isin(dates, sessions.dates)
    calendars = context.calendar_by_ticker
    return RuleResult(suspect, lambda row: f"{calendars[rows.ticker_of_row(row)]} held no session on that day")


def flag_stale_closes(rows: PriceRows, context: ValidationContext) -> RuleResult:
    """Runs of `MIN_STALE_BARS` or more bars with the same close, without the first bar of each.

    Dropped are the bars from the one on that makes a run so long.
    """
    close = rows.columns["close"]
    repeats = pair_mask_to_row_mask(rows, close[1:] == close[:-1])
    run = np.cumsum(~repeats) - 1
    length, row = np.bincount(run)[run], np.arange(len(rows))
    length_so_far = row - np.maximum.accumulate(np.where(repeats, 0, row)) + 1

    def make_stale_close_text(n_bars: IntArray) -> Callable[[int], str]:
        return lambda index: f"the close stays {close[index]:g} for {n_bars[index]} bars"

    to_drop = RuleResult(length_so_far >= MIN_STALE_BARS, make_stale_close_text(length_so_far))
    return RuleResult(repeats & (length >= MIN_STALE_BARS), make_stale_close_text(length), to_drop=to_drop)


def flag_missing_sessions(rows: PriceRows, context: ValidationContext) -> RuleResult:
    """Bars before a gap: missing sessions of the exchange's calendar or, where none is known, many days."""
    n_days = np.append(np.diff(rows.date).astype("timedelta64[D]").astype(np.int64), 0)
    has_next = np.append(rows.same_ticker_as_previous_row[1:], False)
    median_gap = np.array(_median_gap_days_by_ticker(rows))
    suspect = has_next & (n_days > np.maximum(MAX_GAP_DAYS, MAX_GAP_MEDIAN_GAPS * median_gap)[rows.ticker_index])
    n_missing = np.zeros(len(rows), dtype=np.int64)
    for row_mask, sessions in _row_masks_by_calendar(rows, context):
        dates = rows.date[row_mask]
        start, stop = (np.searchsorted(sessions.dates, dates, side=side) for side in ("left", "right"))
        n_missing[row_mask] = np.append(start[1:] - stop[:-1], 0)
        has_gap = has_next[row_mask] & (n_missing[row_mask] > 0)
        suspect[row_mask] = np.where(sessions.recorded_dates_mask(dates), has_gap, suspect[row_mask])

    def reason_text(row: int) -> str:
        gap = f"{n_days[row]} days later"
        if n_missing[row]:
            calendar = context.calendar_by_ticker[rows.ticker_of_row(row)]
            gap = f"{n_missing[row]} session{'s' if n_missing[row] > 1 else ''} of {calendar} later"
        return f"no bar until {rows.date_text_of_row(row + 1)}, {gap}: a gap in the prices, or a halt"

    return RuleResult(suspect, reason_text)


def flag_stale_opens(rows: PriceRows, context: ValidationContext) -> RuleResult:
    """Opens of a ticker that equal the close before so often that they can't be prices of trades."""
    opens, close = rows.columns["open"], rows.columns["close"]
    is_stale = pair_mask_to_row_mask(rows, np.isclose(opens[1:], close[:-1], rtol=1e-9, atol=0))
    n_opens = _count_rows_by_ticker(rows, rows.same_ticker_as_previous_row & ~np.isnan(opens))
    stale_fraction = _count_rows_by_ticker(rows, is_stale) / np.maximum(n_opens, 1)
    suspect = is_stale & (stale_fraction > MAX_STALE_OPEN_FRACTION)[rows.ticker_index]

    def reason_text(row: int) -> str:
        return f"opens not tradable: {stale_fraction[rows.ticker_index[row]]:.0%} of them equal the close before"

    return RuleResult(suspect, reason_text, is_row_specific=False)


def _count_rows_by_ticker(rows: PriceRows, row_mask: BoolArray) -> Array:
    """(tickers,) number of rows where the mask is true."""
    return np.bincount(rows.ticker_index, weights=row_mask, minlength=len(rows.tickers)).astype(np.float64)


def _median_gap_days_by_ticker(rows: PriceRows) -> list[float]:
    """Return the median gap between the dates of each ticker, in days; 1 for too few bars; rows are sorted by date."""
    stops = np.cumsum(rows.n_rows_by_ticker).tolist()
    days = rows.date.astype("datetime64[D]").astype(np.int64)
    spans = [days[start:stop] for start, stop in pairwise([0, *stops])]
    return [median_gap_days(span) if len(span) >= MIN_BARS_FOR_FREQUENCY else 1.0 for span in spans]


def _row_masks_by_calendar(rows: PriceRows, context: ValidationContext) -> Iterator[tuple[BoolArray, CalendarSessions]]:
    """Yield the mask of the rows of each calendar, and its sessions from their first date to their last.

    Weekly and monthly bars have no row for each session of a calendar.
    """
    gaps = _median_gap_days_by_ticker(rows)
    names = np.array(
        [
            context.calendar_by_ticker.get(ticker, "") if gap <= MAX_DAILY_GAP_DAYS else ""
            for ticker, gap in zip(rows.tickers, gaps, strict=True)
        ]
    )
    for name in sorted(set(names.tolist()) - {""}):
        row_mask = (names == name)[rows.ticker_index]
        if row_mask.any():
            dates = rows.date[row_mask]
            yield row_mask, load_sessions(name, first_date=dates.min(), last_date=dates.max())


def flag_hundredfold_prices(rows: PriceRows, context: ValidationContext) -> RuleResult:
    """Prices 100 times as large or as small as most of the ticker's, as cents among dollars; adjusted where they are.

    A reverse split of that size is none where the adjusted closes are continuous. Which are most is known only at the
    end: those that are dropped differ from the ticker's first row instead.
    """
    close = _adjusted_closes(rows)
    ratio = _ratio_to_previous_row(rows, close)
    smallest, largest = HUNDREDFOLD_RATIO_RANGE
    jump = ((ratio > smallest) & (ratio < largest)).astype(np.int64)
    jump -= (ratio > 1 / largest) & (ratio < 1 / smallest)
    if not jump.any():
        return RuleResult(jump != 0, lambda row: "")
    level = pd.Series(np.cumsum(jump))  # the power of 100 relative to the first row of all
    levels_by_ticker = level.groupby(rows.ticker_index)
    to_drop = _hundredfold_result(close, level - levels_by_ticker.transform("first"), "the ticker's first close")
    most_frequent = levels_by_ticker.transform(lambda levels: levels.mode()[0])
    return replace(_hundredfold_result(close, level - most_frequent, "most of the ticker's"), to_drop=to_drop)


def _hundredfold_result(close: Array, excess_level: pd.Series[int], reference: str) -> RuleResult:
    """Return the rows whose power of 100 exceeds that of a reference, which the text names, or is below it."""
    excess = excess_level.to_numpy()

    def reason_text(row: int) -> str:
        size = f"a hundred times as {'large' if excess[row] > 0 else 'small'}"
        return f"close {close[row]:g} is {size} as {reference}: other units, or a split"

    return RuleResult(excess != 0, reason_text)


def flag_spikes(rows: PriceRows, context: ValidationContext) -> RuleResult:
    """Closes of a single bar that are several times both adjacent closes, or a fraction: a misplaced decimal."""
    close = _adjusted_closes(rows)
    ratio = _ratio_to_previous_row(rows, close)
    next_ratio = np.append(ratio[1:], 1.0)
    suspect = (ratio > SPIKE_FACTOR) & (next_ratio < 1 / SPIKE_FACTOR)
    suspect |= (ratio < 1 / SPIKE_FACTOR) & (next_ratio > SPIKE_FACTOR)

    def reason_text(row: int) -> str:
        before, at, after = close[row - 1 : row + 2]
        return f"the close is {at:g} between {before:g} and {after:g}: an error, as of a decimal point"

    return RuleResult(suspect, reason_text)


def flag_large_moves(rows: PriceRows, context: ValidationContext) -> RuleResult:
    """Returns of a session so large that they may be unadjusted splits, or errors."""
    opens, close, adj_close = (rows.columns[name] for name in ("open", "close", "adj_close"))
    returns = _ratio_to_previous_row(rows, _adjusted_closes(rows)) - 1.0
    is_unadjusted = np.isnan(adj_close) | (adj_close == close)

    def reason_text(row: int) -> str:
        # A split shows in the close before over the open or, after a move within the session, over the close.
        ratios = close[row - 1] / np.array([opens[row], close[row]])
        splits = [
            name
            for ratio in ratios
            for name, split in SPLIT_RATIOS.items()
            if abs(ratio / split - 1.0) < SPLIT_RATIO_TOLERANCE
        ]
        cause = "a crash, a split that was not adjusted, or an error"
        if splits and is_unadjusted[row]:
            cause = f"looks like a {splits[0]} split that was not adjusted; use adjusted closes"
        return f"moved by {returns[row]:+.0%} in a session: {cause}"

    return RuleResult(np.abs(returns) > LARGE_RETURN, reason_text)


def _adjusted_closes(rows: PriceRows) -> Array:
    """(rows,) adjusted closes, and closes where there are none."""
    close, adj_close = rows.columns["close"], rows.columns["adj_close"]
    return np.where(np.isnan(adj_close), close, adj_close)


def _ratio_to_previous_row(rows: PriceRows, values: Array) -> Array:
    """(rows,) value over that of the ticker's row before; 1 for its first row."""
    ratio = np.ones(len(rows))
    ratio[1:] = np.where(rows.same_ticker_as_previous_row[1:], values[1:] / values[:-1], 1.0)
    return ratio


RULES_IN_FILE_ORDER: dict[str, ValidationRule] = {
    "empty_rows": flag_empty_rows,
    "time_zones": flag_mixed_time_zones,
    "order": flag_unsorted_rows,
}
"""Rules that look at rows in the order of their file, by their key in `data.quality`."""
RULES_IN_DATE_ORDER: dict[str, ValidationRule] = {
    "repeated_rows": flag_duplicate_rows,
    "conflicting_rows": flag_conflicting_rows,
    "future": flag_future_dates,
    "weekdays": flag_shifted_weekdays,
    "unfinished": flag_unfinished_last_bars,
    "positive": flag_invalid_prices,
    "volume": flag_invalid_volumes,
    "off_calendar": flag_off_calendar_dates,
    "basis": flag_other_basis,
    "ohlc": flag_inconsistent_ohlc,
    "scale": flag_hundredfold_prices,
    "spikes": flag_spikes,
    "stale": flag_stale_closes,
    "gaps": flag_missing_sessions,
    "large_moves": flag_large_moves,
    "opens": flag_stale_opens,
}
"""Rules that look at rows in the order of their dates; each sees the rows that the rules before it have kept."""
