"""What may be wrong with bars: one function per rule, named as its key in ``data.quality``.

A rule looks at the rows of all tickers at once (there is at least one), says which are suspect, and what to tell of
the first. It changes nothing: whether suspect rows are an error, a note, or dropped is for the config to say.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from quantlr.core.arrays import Array, BoolArray, IntArray
from quantlr.core.values import MAX_STALE_OPEN_FRACTION
from quantlr.data.calendars import CalendarSessions, load_sessions
from quantlr.data.csv.bars import PRICE_FIELDS
from quantlr.data.csv.cells import DateArray
from quantlr.data.price_rows import PriceRows

MAX_GAP_DAYS = 10
"""Calendar days between two bars beyond which something is missing, where no calendar says better."""
LARGE_RETURN = 0.40
"""Return of one session beyond which a price is doubted."""
MIN_STALE_BARS = 10
"""Bars with one and the same close at which it is no longer taken for a price."""
HUNDREDFOLD_RATIO_RANGE = (75.0, 133.0)
"""Ratio of two closes at which one of them is taken for a hundred times the price, as cents are of dollars."""
SPLIT_RATIOS = tuple((f"{new}:{old}", new / old) for new, old in (
    (2, 1), (3, 1), (4, 1), (5, 1), (6, 1), (7, 1), (8, 1), (10, 1), (15, 1), (20, 1), (25, 1), (50, 1), (5, 2), (7, 2),
    (1, 2), (1, 3), (1, 4), (1, 5), (1, 6), (1, 7), (1, 8), (1, 10), (1, 15), (1, 20), (1, 25), (1, 50),
))  # fmt: skip
"""How many shares become of how many in a split that moves the price by more than `LARGE_MOVE`."""
SPLIT_RATIO_TOLERANCE = 0.03
"""How far, as a fraction, a ratio of prices may lie from a split's to look like it."""
OHLC_RELATIVE_TOLERANCE = 1e-6
"""How far, as a fraction, a low may lie above another price of its bar and be a matter of rounding."""
MAX_DST_SHIFT_MINUTES = 60
"""Minutes that summer time moves a zone's distance from UTC by."""


@dataclass(frozen=True, slots=True)
class ValidationContext:
    """What bars are judged by beside themselves.

    Attributes
    ----------
    today : the latest date that it is anywhere.
    calendars : by ticker the name of its exchange's calendar, where one is known.
    """

    latest_date: dt.date
    calendar_by_ticker: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RuleResult:
    """What a rule found.

    Attributes
    ----------
    suspect : (rows,) whether the rule doubts the row.
    text : what to tell of a suspect row.
    dated : whether it is about that row rather than about the ticker.
    """

    suspect_mask: BoolArray
    describe_row: Callable[[int], str]
    is_row_specific: bool = True


ValidationRule = Callable[[PriceRows, ValidationContext], RuleResult]


def flag_empty_rows(rows: PriceRows, context: ValidationContext) -> RuleResult:
    """Rows without any price: holidays, and a last bar that has not come yet."""
    return RuleResult(
        ~np.any([~np.isnan(rows.columns[name]) for name in PRICE_FIELDS], axis=0), lambda row: "has no price"
    )


def flag_mixed_time_zones(rows: PriceRows, context: ValidationContext) -> RuleResult:
    """Times written in several zones, more than summer time explains, or only now and then with a zone."""
    if np.isnan(rows.utc_offset_minutes).all():
        return RuleResult(np.zeros(len(rows), dtype=np.bool_), lambda row: "")
    first = rows.utc_offset_minutes[_first_row_by_ticker(rows)][rows.ticker]
    apart = np.abs(rows.utc_offset_minutes - first)
    suspect = (apart > MAX_DST_SHIFT_MINUTES) | (np.isnan(rows.utc_offset_minutes) != np.isnan(first))

    def describe_row(row: int) -> str:
        here, there = (_utc_offset_text(float(offset)) for offset in (rows.utc_offset_minutes[row], first[row]))
        return f"time zones are mixed, {here} here and {there} in the first row: which session a bar is of isn't sure"

    return RuleResult(suspect, describe_row)


def _utc_offset_text(minutes: float) -> str:
    if np.isnan(minutes):
        return "none"
    return f"UTC{'-' if minutes < 0 else '+'}{abs(int(minutes)) // 60:02d}:{abs(int(minutes)) % 60:02d}"


def flag_unsorted_rows(rows: PriceRows, context: ValidationContext) -> RuleResult:
    """Rows that come after a later one, as where the newest comes first."""
    earlier = rows.same_ticker_as_previous_row & _prepend_false(rows.date[1:] < rows.date[:-1])
    return RuleResult(
        earlier, lambda row: f"comes after {rows.row_date_text(row - 1)}: rows were not in the order of their dates"
    )


def flag_duplicate_rows(rows: PriceRows, context: ValidationContext) -> RuleResult:
    """The same row twice."""
    same = _same_date_as_previous_row_mask(rows)
    for column in rows.columns.values():
        same &= _prepend_false((column[1:] == column[:-1]) | (np.isnan(column[1:]) & np.isnan(column[:-1])))
    return RuleResult(same, lambda row: "stands there twice, the same both times")


def flag_conflicting_rows(rows: PriceRows, context: ValidationContext) -> RuleResult:
    """Several rows of one date that differ."""
    second = _same_date_as_previous_row_mask(rows)
    suspect = second | np.concatenate([second[1:], [False]])

    def describe_row(row: int) -> str:
        pairs = ((name, column[row], column[row + 1]) for name, column in rows.columns.items())
        name, one, other = next(pair for pair in pairs if not np.array_equal(pair[1], pair[2], equal_nan=True))
        return f"two rows of one date, with {name} {one:g} in one and {other:g} in the other"

    return RuleResult(suspect, describe_row)


def flag_future_dates(rows: PriceRows, context: ValidationContext) -> RuleResult:
    """Bars of days that have not come."""
    today = np.datetime64(context.latest_date)
    return RuleResult(rows.date > today, lambda row: f"lies in the future, it is {context.latest_date}")


def flag_unfinished_last_bars(rows: PriceRows, context: ValidationContext) -> RuleResult:
    """A last bar that has prices but no close yet."""
    last = np.concatenate([~rows.same_ticker_as_previous_row[1:], [True]])
    return RuleResult(
        last & np.isnan(rows.columns["close"]), lambda row: "the last bar has no close: it isn't finished"
    )


def flag_invalid_prices(rows: PriceRows, context: ValidationContext) -> RuleResult:
    """A price that is missing beside others, zero, negative or infinite."""
    bad = {name: _invalid_price_mask(rows, name) for name in PRICE_FIELDS}

    def describe_row(row: int) -> str:
        name = next(name for name in PRICE_FIELDS if bad[name][row])
        return f"{name} needs a positive number, found {rows.columns[name][row]}"

    return RuleResult(np.any(list(bad.values()), axis=0), describe_row)


def _invalid_price_mask(rows: PriceRows, field_name: str) -> BoolArray:
    """Return where a price is none; a ticker that has no such column lacks nothing, unless it is the close."""
    column = rows.columns[field_name]
    bad: BoolArray = ~((column > 0) & np.isfinite(column))
    if field_name == "close":
        return bad
    has = np.bincount(rows.ticker, weights=~np.isnan(column), minlength=len(rows.tickers)) > 0
    return bad & has[rows.ticker]


def flag_invalid_volumes(rows: PriceRows, context: ValidationContext) -> RuleResult:
    """A volume that is negative or infinite."""
    column = rows.columns["volume"]
    return RuleResult((column < 0) | np.isinf(column), lambda row: f"volume can't be {column[row]}")


def flag_inconsistent_ohlc(rows: PriceRows, context: ValidationContext) -> RuleResult:
    """A low above another price of the bar, or a high below one."""
    opens, high, low, close = (rows.columns[name] for name in ("open", "high", "low", "close"))
    over = np.fmax(np.fmax(opens, close), low)
    under = np.fmin(np.fmin(opens, close), high)
    too_low, too_high = high < over * (1 - OHLC_RELATIVE_TOLERANCE), low > under * (1 + OHLC_RELATIVE_TOLERANCE)

    def describe_row(row: int) -> str:
        name, value, than = ("high", high, over) if too_low[row] else ("low", low, under)
        other = next(other for other in PRICE_FIELDS if rows.columns[other][row] == than[row])
        return f"{name} {value[row]:g} is {'below' if too_low[row] else 'above'} {other} {than[row]:g}"

    return RuleResult(too_low | too_high, describe_row)


def flag_off_calendar_dates(rows: PriceRows, context: ValidationContext) -> RuleResult:
    """Bars of days on which the exchange was closed."""
    suspect = np.zeros(len(rows), dtype=np.bool_)
    for mine, sessions in _iter_row_masks_by_calendar(rows, context):
        suspect[mine] = _within_recorded_dates_mask(rows.date[mine], sessions) & ~np.isin(
            rows.date[mine], sessions.dates
        )
    return RuleResult(
        suspect, lambda row: f"{context.calendar_by_ticker[rows.row_ticker(row)]} held no session on that day"
    )


def flag_hundredfold_prices(rows: PriceRows, context: ValidationContext) -> RuleResult:
    """Prices a hundred times as large or as small as the ticker's others, as when cents stand among dollars."""
    ratio = _ratio_to_previous_row(rows, rows.columns["close"])
    jump = ((ratio > HUNDREDFOLD_RATIO_RANGE[0]) & (ratio < HUNDREDFOLD_RATIO_RANGE[1])).astype(np.int64)
    jump -= (ratio > 1 / HUNDREDFOLD_RATIO_RANGE[1]) & (ratio < 1 / HUNDREDFOLD_RATIO_RANGE[0])
    if not jump.any():
        return RuleResult(jump != 0, lambda row: "")
    level = np.cumsum(jump)
    usual = np.zeros(len(rows.tickers), dtype=np.int64)
    for at, mine in enumerate(np.split(level, np.cumsum(rows.n_rows_by_ticker)[:-1])):
        if len(mine):
            levels, counts = np.unique(mine, return_counts=True)
            usual[at] = levels[counts.argmax()]
    off = level - usual[rows.ticker]

    def describe_row(row: int) -> str:
        how = "a hundred times as large" if off[row] > 0 else "a hundred times as small"
        return f"close {rows.columns['close'][row]:g} is {how} as most of the ticker's: other units, or a split"

    return RuleResult(off != 0, describe_row)


def flag_stale_closes(rows: PriceRows, context: ValidationContext) -> RuleResult:
    """A close that does not move for so long that nobody can have traded."""
    close = rows.columns["close"]
    begins = ~(rows.same_ticker_as_previous_row & _prepend_false(close[1:] == close[:-1]))
    run = np.cumsum(begins) - 1
    length = np.bincount(run) if len(run) else run
    suspect = ~begins & (length[run] >= MIN_STALE_BARS)
    return RuleResult(suspect, lambda row: f"the close stays {close[row]:g} for {length[run[row]]} bars")


def flag_missing_sessions(rows: PriceRows, context: ValidationContext) -> RuleResult:
    """Bars after which some are missing: sessions of the exchange's calendar or, where none is known, many days."""
    nearest = np.concatenate([np.diff(rows.date).astype("timedelta64[D]").astype(np.int64), [0]])
    before = np.concatenate([rows.same_ticker_as_previous_row[1:], [False]])
    suspect = before & (nearest > MAX_GAP_DAYS)
    missed = np.zeros(len(rows), dtype=np.int64)
    for mine, sessions in _iter_row_masks_by_calendar(rows, context):
        at = np.searchsorted(sessions.dates, rows.date[mine], side="left")
        after = np.searchsorted(sessions.dates, rows.date[mine], side="right")
        missed[mine] = np.concatenate([at[1:] - after[:-1], [0]])
        known = _within_recorded_dates_mask(rows.date[mine], sessions)
        suspect[mine] = np.where(known, before[mine] & (missed[mine] > 0), suspect[mine])

    def describe_row(row: int) -> str:
        if missed[row]:
            held = f"{missed[row]} session{'s' if missed[row] > 1 else ''} of {context.calendar_by_ticker[rows.row_ticker(row)]} later"
        else:
            held = f"{nearest[row]} days on"
        return f"no bar until {rows.row_date_text(row + 1)}, {held}: a hole in the prices, or a halt"

    return RuleResult(suspect, describe_row)


def flag_large_moves(rows: PriceRows, context: ValidationContext) -> RuleResult:
    """Moves of a session so large that they may be splits that were not adjusted, or errors."""
    move = _ratio_to_previous_row(rows, rows.adjusted_close) - 1.0
    raw = np.isnan(rows.columns["adj_close"]) | (rows.columns["adj_close"] == rows.columns["close"])
    former = np.concatenate([[np.nan], rows.columns["close"][:-1]])

    def describe_row(row: int) -> str:
        moved = f"moved by {move[row]:+.0%} in a session"
        today = (rows.columns["open"][row], rows.columns["close"][row])
        split = _matching_split_name(former[row] / np.array(today)) if raw[row] else None
        if split:
            return f"{moved}: looks like a {split} split that was not adjusted"
        return f"{moved}: a crash, a split that was not adjusted, or an error"

    return RuleResult(np.abs(move) > LARGE_RETURN, describe_row)


def _matching_split_name(price_ratios: Array) -> str | None:
    """Return the split that a close over the next open, or over the next close, is nearly the ratio of."""
    for ratio in price_ratios[np.isfinite(price_ratios)]:
        for name, of in SPLIT_RATIOS:
            if abs(ratio / of - 1.0) < SPLIT_RATIO_TOLERANCE:
                return name
    return None


def flag_stale_opens(rows: PriceRows, context: ValidationContext) -> RuleResult:
    """Opens of a ticker that are so often the close before that nobody can have traded there."""
    column, close = rows.columns["open"], rows.columns["close"]
    same = rows.same_ticker_as_previous_row & _prepend_false(np.isclose(column[1:], close[:-1], rtol=1e-9, atol=0))
    seen = np.bincount(
        rows.ticker, weights=rows.same_ticker_as_previous_row & ~np.isnan(column), minlength=len(rows.tickers)
    )
    share = np.bincount(rows.ticker, weights=same, minlength=len(rows.tickers)) / np.maximum(seen, 1)
    suspect = same & (share > MAX_STALE_OPEN_FRACTION)[rows.ticker]

    def describe_row(row: int) -> str:
        return f"opens not tradable: {share[rows.ticker[row]]:.0%} of them equal the close before"

    return RuleResult(suspect, describe_row, is_row_specific=False)


def _prepend_false(pair_mask: BoolArray) -> BoolArray:
    """Return what holds of each row and the one before, for all rows; of the first there is nothing to say."""
    return np.concatenate([[False], pair_mask])


def _same_date_as_previous_row_mask(rows: PriceRows) -> BoolArray:
    return rows.same_ticker_as_previous_row & _prepend_false(rows.date[1:] == rows.date[:-1])


def _first_row_by_ticker(rows: PriceRows) -> IntArray:
    """Return the first row of each ticker."""
    return np.minimum(np.searchsorted(rows.ticker, np.arange(len(rows.tickers))), len(rows) - 1)


def _ratio_to_previous_row(rows: PriceRows, values: Array) -> Array:
    """Return each row's value over that of the ticker's row before; 1 for its first."""
    ratio = np.ones(len(rows))
    if len(rows):
        ratio[1:] = np.where(rows.same_ticker_as_previous_row[1:], values[1:] / values[:-1], 1.0)
    return ratio


def _within_recorded_dates_mask(dates: DateArray, sessions: CalendarSessions) -> BoolArray:
    """Return of which dates a calendar knows whether there was a session."""
    known: BoolArray = (dates >= sessions.first_recorded_date) & (dates <= sessions.last_recorded_date)
    return known


def _iter_row_masks_by_calendar(
    rows: PriceRows, context: ValidationContext
) -> Iterator[tuple[BoolArray, CalendarSessions]]:
    """Yield the rows of tickers that share a calendar, with its sessions from their first date to their last."""
    names = [context.calendar_by_ticker.get(ticker, "") for ticker in rows.tickers]
    for name in sorted(set(names) - {""}):
        mine = np.array([other == name for other in names])[rows.ticker]
        if mine.any():
            dates = rows.date[mine]
            yield mine, load_sessions(name, first_date=dates.min(), last_date=dates.max())


RULES_IN_FILE_ORDER: dict[str, ValidationRule] = {
    "empty_rows": flag_empty_rows,
    "time_zones": flag_mixed_time_zones,
    "order": flag_unsorted_rows,
}
"""Rules that look at rows in the order of their file, by the key of `data.quality` that decides on each."""
RULES_IN_DATE_ORDER: dict[str, ValidationRule] = {
    "repeated_rows": flag_duplicate_rows,
    "conflicting_rows": flag_conflicting_rows,
    "future": flag_future_dates,
    "unfinished": flag_unfinished_last_bars,
    "positive": flag_invalid_prices,
    "volume": flag_invalid_volumes,
    "off_calendar": flag_off_calendar_dates,
    "ohlc": flag_inconsistent_ohlc,
    "scale": flag_hundredfold_prices,
    "stale": flag_stale_closes,
    "gaps": flag_missing_sessions,
    "large_moves": flag_large_moves,
    "opens": flag_stale_opens,
}
"""Rules of rows in the order of their dates, each seeing what those before it have left."""
