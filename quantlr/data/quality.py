"""What prices must be before anything is computed from them: dated, in order, positive, and finite."""

from __future__ import annotations

import numpy as np
import pandas as pd

from quantlr.data.tables import Bars
from quantlr.errors import DataError
from quantlr.types import Note, Prices, day

LONGEST_PAUSE = 10
"""Calendar days between two bars beyond which something is missing."""
LARGE_MOVE = 0.40
"""Return of one session beyond which a price is doubted."""


def checked(bars: Bars, *, ticker: str) -> tuple[Bars, list[Note]]:
    """Return one ticker's bars in order, with a note where they had to be sorted.

    Raises
    ------
    DataError : naming the date, for a date that comes twice, a price that is missing, not positive or not finite.
    """
    notes: list[Note] = []
    if not bars.index.is_monotonic_increasing:
        bars = bars.sort_index(kind="stable")
        notes.append(Note("data", "rows were not in the order of their dates and were sorted", ticker=ticker))
    twice = bars.index.duplicated()
    if twice.any():
        raise DataError(
            f"{ticker} has two rows of {day(bars.index[twice][0])} ({int(twice.sum())} such dates); keep one of each"
        )
    prices = bars[["open", "high", "low", "close"]].astype(np.float64)
    prices["adj_close"] = bars["adj_close"].astype(np.float64)
    for name, column in prices.items():
        if column.isna().all() and name != "close":
            continue  # a source without this column
        bad = column.isna() | ~np.isfinite(column) | (column <= 0)
        if bad.any():
            raise DataError(
                f"{ticker} {day(bars.index[bad][0])}: {name} needs a positive number, found {column[bad].iloc[0]}"
                f" ({int(bad.sum())} such rows); mend or remove them"
            )
    if np.isinf(bars["volume"]).any() or (bars["volume"] < 0).any():
        bad = np.isinf(bars["volume"]) | (bars["volume"] < 0)
        raise DataError(f"{ticker} {day(bars.index[bad][0])}: volume can't be {bars['volume'][bad].iloc[0]}")
    return bars, notes


def stale_opens(prices: Prices) -> list[Note]:
    """Return a note for each ticker whose opens are so often the close before that nobody can have traded there."""
    notes = []
    count, of = prices.stale_open.sum(axis=0), (~np.isnan(prices.open[1:])).sum(axis=0)
    for column in np.flatnonzero(~prices.opens_tradable & (of > 0)).tolist():
        text = f"opens not tradable: {count[column] / of[column]:.0%} of them equal the close before"
        notes.append(Note("data", text, ticker=prices.tickers[column], count=int(count[column])))
    return notes


def large_moves(prices: Prices) -> list[Note]:
    """Return a note for each ticker whose close moved so far in a session that it may not be a price."""
    with np.errstate(invalid="ignore"):
        moves = prices.close[1:] / prices.close[:-1] - 1.0
        large = np.abs(moves) > LARGE_MOVE
    notes = []
    for column in np.flatnonzero(large.any(axis=0)).tolist():
        bar = int(large[:, column].argmax())
        text = f"moved by {moves[bar, column]:+.0%} in a session: a crash, a split that was not adjusted, or an error"
        date, count = prices.sessions[prices.session[bar + 1, column]], int(large[:, column].sum())
        notes.append(Note("data", text, ticker=prices.tickers[column], date=day(date), count=count))
    return notes


def holes(prices: Prices) -> list[Note]:
    """Return a note for each ticker that has no bar for so long that a return over it is not one session's."""
    notes = []
    for column, ticker in enumerate(prices.tickers):
        dates = prices.sessions[prices.session[: prices.bars[column], column]]
        days = np.diff(dates.to_numpy()) / np.timedelta64(1, "D")
        long = np.flatnonzero(days > LONGEST_PAUSE)
        if len(long):
            first = long[0]
            text = f"no bar until {day(dates[first + 1])}, {days[first]:.0f} days on: a hole in the prices, or a halt"
            notes.append(Note("data", text, ticker=ticker, date=day(dates[first]), count=len(long)))
    return notes


def require_history(bars: Bars, *, ticker: str, start: object, end: object) -> None:
    """Refuse a ticker that has fewer than two bars in the span asked for."""
    if len(bars) >= 2:
        return
    span = f" between {start or 'the first'} and {end or 'the last'}" if start or end else ""
    raise DataError(f"{ticker} has {len(bars)} bars{span}; at least 2 are needed for one return", key="data.tickers")


def inside(bars: Bars, *, start: object, end: object) -> Bars:
    """Return the bars from `start` to `end`, both included; None leaves that side open."""
    keep = np.ones(len(bars), dtype=np.bool_)
    if start is not None:
        keep &= bars.index >= pd.Timestamp(str(start))
    if end is not None:
        keep &= bars.index <= pd.Timestamp(str(end))
    return bars[keep]
