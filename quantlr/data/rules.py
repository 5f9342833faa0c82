"""What may be wrong with bars: one function per rule, named as its key in ``data.quality``.

A rule looks at the rows of all tickers at once (there is at least one), says which are suspect, and what to tell of
the first. It changes nothing: whether suspect rows are an error, a note, or dropped is for the config to say.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from quantlr.data.calendars import Sessions, sessions_of
from quantlr.data.cells import Dates
from quantlr.data.rows import Rows
from quantlr.data.tables import PRICES
from quantlr.types import STALE_OPENS, Array, BoolArray, IntArray

LONGEST_PAUSE = 10
"""Calendar days between two bars beyond which something is missing, where no calendar says better."""
LARGE_MOVE = 0.40
"""Return of one session beyond which a price is doubted."""
STALE = 10
"""Bars with one and the same close at which it is no longer taken for a price."""
HUNDREDFOLD = (75.0, 133.0)
"""Ratio of two closes at which one of them is taken for a hundred times the price, as cents are of dollars."""
SPLITS = tuple((f"{new}:{old}", new / old) for new, old in (
    (2, 1), (3, 1), (4, 1), (5, 1), (6, 1), (7, 1), (8, 1), (10, 1), (15, 1), (20, 1), (25, 1), (50, 1), (5, 2), (7, 2),
    (1, 2), (1, 3), (1, 4), (1, 5), (1, 6), (1, 7), (1, 8), (1, 10), (1, 15), (1, 20), (1, 25), (1, 50),
))  # fmt: skip
"""How many shares become of how many in a split that moves the price by more than `LARGE_MOVE`."""
NEAR_SPLIT = 0.03
"""How far, as a fraction, a ratio of prices may lie from a split's to look like it."""
ROUNDING = 1e-6
"""How far, as a fraction, a low may lie above another price of its bar and be a matter of rounding."""
LONGEST_DST = 60
"""Minutes that summer time moves a zone's distance from UTC by."""


@dataclass(frozen=True, slots=True)
class World:
    """What bars are judged by beside themselves.

    Attributes
    ----------
    today : the latest date that it is anywhere.
    calendars : by ticker the name of its exchange's calendar, where one is known.
    """

    today: dt.date
    calendars: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Found:
    """What a rule found.

    Attributes
    ----------
    suspect : (rows,) whether the rule doubts the row.
    text : what to tell of a suspect row.
    dated : whether it is about that row rather than about the ticker.
    """

    suspect: BoolArray
    text: Callable[[int], str]
    dated: bool = True


Rule = Callable[[Rows, World], Found]


def empty_rows(rows: Rows, world: World) -> Found:
    """Rows without any price: holidays, and a last bar that has not come yet."""
    return Found(~np.any([~np.isnan(rows.columns[name]) for name in PRICES], axis=0), lambda row: "has no price")


def time_zones(rows: Rows, world: World) -> Found:
    """Times written in several zones, more than summer time explains, or only now and then with a zone."""
    if np.isnan(rows.utc_offset).all():
        return Found(np.zeros(len(rows), dtype=np.bool_), lambda row: "")
    first = rows.utc_offset[_firsts(rows)][rows.ticker]
    apart = np.abs(rows.utc_offset - first)
    suspect = (apart > LONGEST_DST) | (np.isnan(rows.utc_offset) != np.isnan(first))

    def text(row: int) -> str:
        here, there = (_zone(float(offset)) for offset in (rows.utc_offset[row], first[row]))
        return f"time zones are mixed, {here} here and {there} in the first row: which session a bar is of isn't sure"

    return Found(suspect, text)


def _zone(minutes: float) -> str:
    if np.isnan(minutes):
        return "none"
    return f"UTC{'-' if minutes < 0 else '+'}{abs(int(minutes)) // 60:02d}:{abs(int(minutes)) % 60:02d}"


def order(rows: Rows, world: World) -> Found:
    """Rows that come after a later one, as where the newest comes first."""
    earlier = rows.follows & _after(rows.date[1:] < rows.date[:-1])
    return Found(earlier, lambda row: f"comes after {rows.day(row - 1)}: rows were not in the order of their dates")


def repeated_rows(rows: Rows, world: World) -> Found:
    """The same row twice."""
    same = _same_date(rows)
    for column in rows.columns.values():
        same &= _after((column[1:] == column[:-1]) | (np.isnan(column[1:]) & np.isnan(column[:-1])))
    return Found(same, lambda row: "stands there twice, the same both times")


def conflicting_rows(rows: Rows, world: World) -> Found:
    """Several rows of one date that differ."""
    second = _same_date(rows)
    suspect = second | np.concatenate([second[1:], [False]])

    def text(row: int) -> str:
        pairs = ((name, column[row], column[row + 1]) for name, column in rows.columns.items())
        name, one, other = next(pair for pair in pairs if not np.array_equal(pair[1], pair[2], equal_nan=True))
        return f"two rows of one date, with {name} {one:g} in one and {other:g} in the other"

    return Found(suspect, text)


def future(rows: Rows, world: World) -> Found:
    """Bars of days that have not come."""
    today = np.datetime64(world.today)
    return Found(rows.date > today, lambda row: f"lies in the future, it is {world.today}")


def unfinished(rows: Rows, world: World) -> Found:
    """A last bar that has prices but no close yet."""
    last = np.concatenate([~rows.follows[1:], [True]])
    return Found(last & np.isnan(rows.columns["close"]), lambda row: "the last bar has no close: it isn't finished")


def positive(rows: Rows, world: World) -> Found:
    """A price that is missing beside others, zero, negative or infinite."""
    bad = {name: _not_positive(rows, name) for name in PRICES}

    def text(row: int) -> str:
        name = next(name for name in PRICES if bad[name][row])
        return f"{name} needs a positive number, found {rows.columns[name][row]}"

    return Found(np.any(list(bad.values()), axis=0), text)


def _not_positive(rows: Rows, name: str) -> BoolArray:
    """Return where a price is none; a ticker that has no such column lacks nothing, unless it is the close."""
    column = rows.columns[name]
    bad: BoolArray = ~((column > 0) & np.isfinite(column))
    if name == "close":
        return bad
    has = np.bincount(rows.ticker, weights=~np.isnan(column), minlength=len(rows.tickers)) > 0
    return bad & has[rows.ticker]


def volume(rows: Rows, world: World) -> Found:
    """A volume that is negative or infinite."""
    column = rows.columns["volume"]
    return Found((column < 0) | np.isinf(column), lambda row: f"volume can't be {column[row]}")


def ohlc(rows: Rows, world: World) -> Found:
    """A low above another price of the bar, or a high below one."""
    opens, high, low, close = (rows.columns[name] for name in ("open", "high", "low", "close"))
    over = np.fmax(np.fmax(opens, close), low)
    under = np.fmin(np.fmin(opens, close), high)
    too_low, too_high = high < over * (1 - ROUNDING), low > under * (1 + ROUNDING)

    def text(row: int) -> str:
        name, value, than = ("high", high, over) if too_low[row] else ("low", low, under)
        other = next(other for other in PRICES if rows.columns[other][row] == than[row])
        return f"{name} {value[row]:g} is {'below' if too_low[row] else 'above'} {other} {than[row]:g}"

    return Found(too_low | too_high, text)


def off_calendar(rows: Rows, world: World) -> Found:
    """Bars of days on which the exchange was closed."""
    suspect = np.zeros(len(rows), dtype=np.bool_)
    for mine, sessions in _by_calendar(rows, world):
        suspect[mine] = _recorded(rows.date[mine], sessions) & ~np.isin(rows.date[mine], sessions.dates)
    return Found(suspect, lambda row: f"{world.calendars[rows.name(row)]} held no session on that day")


def scale(rows: Rows, world: World) -> Found:
    """Prices a hundred times as large or as small as the ticker's others, as when cents stand among dollars."""
    ratio = _ratio(rows, rows.columns["close"])
    jump = ((ratio > HUNDREDFOLD[0]) & (ratio < HUNDREDFOLD[1])).astype(np.int64)
    jump -= (ratio > 1 / HUNDREDFOLD[1]) & (ratio < 1 / HUNDREDFOLD[0])
    if not jump.any():
        return Found(jump != 0, lambda row: "")
    level = np.cumsum(jump)
    usual = np.zeros(len(rows.tickers), dtype=np.int64)
    for at, mine in enumerate(np.split(level, np.cumsum(rows.counts)[:-1])):
        if len(mine):
            levels, counts = np.unique(mine, return_counts=True)
            usual[at] = levels[counts.argmax()]
    off = level - usual[rows.ticker]

    def text(row: int) -> str:
        how = "a hundred times as large" if off[row] > 0 else "a hundred times as small"
        return f"close {rows.columns['close'][row]:g} is {how} as most of the ticker's: other units, or a split"

    return Found(off != 0, text)


def stale(rows: Rows, world: World) -> Found:
    """A close that does not move for so long that nobody can have traded."""
    close = rows.columns["close"]
    begins = ~(rows.follows & _after(close[1:] == close[:-1]))
    run = np.cumsum(begins) - 1
    length = np.bincount(run) if len(run) else run
    suspect = ~begins & (length[run] >= STALE)
    return Found(suspect, lambda row: f"the close stays {close[row]:g} for {length[run[row]]} bars")


def gaps(rows: Rows, world: World) -> Found:
    """Bars after which some are missing: sessions of the exchange's calendar or, where none is known, many days."""
    nearest = np.concatenate([np.diff(rows.date).astype("timedelta64[D]").astype(np.int64), [0]])
    before = np.concatenate([rows.follows[1:], [False]])
    suspect = before & (nearest > LONGEST_PAUSE)
    missed = np.zeros(len(rows), dtype=np.int64)
    for mine, sessions in _by_calendar(rows, world):
        at = np.searchsorted(sessions.dates, rows.date[mine], side="left")
        after = np.searchsorted(sessions.dates, rows.date[mine], side="right")
        missed[mine] = np.concatenate([at[1:] - after[:-1], [0]])
        known = _recorded(rows.date[mine], sessions)
        suspect[mine] = np.where(known, before[mine] & (missed[mine] > 0), suspect[mine])

    def text(row: int) -> str:
        if missed[row]:
            held = f"{missed[row]} session{'s' if missed[row] > 1 else ''} of {world.calendars[rows.name(row)]} later"
        else:
            held = f"{nearest[row]} days on"
        return f"no bar until {rows.day(row + 1)}, {held}: a hole in the prices, or a halt"

    return Found(suspect, text)


def large_moves(rows: Rows, world: World) -> Found:
    """Moves of a session so large that they may be splits that were not adjusted, or errors."""
    move = _ratio(rows, rows.adjusted) - 1.0
    raw = np.isnan(rows.columns["adj_close"]) | (rows.columns["adj_close"] == rows.columns["close"])
    former = np.concatenate([[np.nan], rows.columns["close"][:-1]])

    def text(row: int) -> str:
        moved = f"moved by {move[row]:+.0%} in a session"
        today = (rows.columns["open"][row], rows.columns["close"][row])
        split = _split_like(former[row] / np.array(today)) if raw[row] else None
        if split:
            return f"{moved}: looks like a {split} split that was not adjusted"
        return f"{moved}: a crash, a split that was not adjusted, or an error"

    return Found(np.abs(move) > LARGE_MOVE, text)


def _split_like(ratios: Array) -> str | None:
    """Return the split that a close over the next open, or over the next close, is nearly the ratio of."""
    for ratio in ratios[np.isfinite(ratios)]:
        for name, of in SPLITS:
            if abs(ratio / of - 1.0) < NEAR_SPLIT:
                return name
    return None


def opens(rows: Rows, world: World) -> Found:
    """Opens of a ticker that are so often the close before that nobody can have traded there."""
    column, close = rows.columns["open"], rows.columns["close"]
    same = rows.follows & _after(np.isclose(column[1:], close[:-1], rtol=1e-9, atol=0))
    seen = np.bincount(rows.ticker, weights=rows.follows & ~np.isnan(column), minlength=len(rows.tickers))
    share = np.bincount(rows.ticker, weights=same, minlength=len(rows.tickers)) / np.maximum(seen, 1)
    suspect = same & (share > STALE_OPENS)[rows.ticker]

    def text(row: int) -> str:
        return f"opens not tradable: {share[rows.ticker[row]]:.0%} of them equal the close before"

    return Found(suspect, text, dated=False)


def _after(pairs: BoolArray) -> BoolArray:
    """Return what holds of each row and the one before, for all rows; of the first there is nothing to say."""
    return np.concatenate([[False], pairs])


def _same_date(rows: Rows) -> BoolArray:
    return rows.follows & _after(rows.date[1:] == rows.date[:-1])


def _firsts(rows: Rows) -> IntArray:
    """Return the first row of each ticker."""
    return np.minimum(np.searchsorted(rows.ticker, np.arange(len(rows.tickers))), len(rows) - 1)


def _ratio(rows: Rows, column: Array) -> Array:
    """Return each row's value over that of the ticker's row before; 1 for its first."""
    ratio = np.ones(len(rows))
    if len(rows):
        ratio[1:] = np.where(rows.follows[1:], column[1:] / column[:-1], 1.0)
    return ratio


def _recorded(dates: Dates, sessions: Sessions) -> BoolArray:
    """Return of which dates a calendar knows whether there was a session."""
    known: BoolArray = (dates >= sessions.first) & (dates <= sessions.last)
    return known


def _by_calendar(rows: Rows, world: World) -> Iterator[tuple[BoolArray, Sessions]]:
    """Yield the rows of tickers that share a calendar, with its sessions from their first date to their last."""
    names = [world.calendars.get(ticker, "") for ticker in rows.tickers]
    for name in sorted(set(names) - {""}):
        mine = np.array([other == name for other in names])[rows.ticker]
        if mine.any():
            dates = rows.date[mine]
            yield mine, sessions_of(name, first=dates.min(), last=dates.max())


AS_WRITTEN: tuple[Rule, ...] = (empty_rows, time_zones, order)
"""Rules of rows in the order of their file."""
IN_ORDER: tuple[Rule, ...] = (
    repeated_rows, conflicting_rows, future, unfinished, positive, volume, off_calendar, ohlc, scale, stale, gaps,
    large_moves, opens,
)  # fmt: skip
"""Rules of rows in the order of their dates, each seeing what those before it have left."""
