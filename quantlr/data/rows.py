"""The bars of all tickers as one stack of rows, so that a rule looks at all of them at once."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from quantlr.data.calendars import UNIT
from quantlr.data.cells import Dates
from quantlr.data.layouts import FIELDS
from quantlr.data.tables import Bars
from quantlr.types import Array, BoolArray, IntArray, day


@dataclass(frozen=True, slots=True)
class Rows:
    """Bars of several tickers, a ticker's rows together, in the order of `tickers`.

    Attributes
    ----------
    tickers : (tickers,) names.
    ticker : (rows,) position in `tickers`, ascending.
    date : (rows,) session of each row.
    columns : by field (open, high, low, close, adj_close, volume) the (rows,) numbers, NaN where there is none.
    line : (rows,) line in the file; 0 where it isn't known.
    utc_offset : (rows,) minutes ahead of UTC that the row's time was written in; NaN where no zone was.
    files : by ticker the file it was read from, where there is one.
    """

    tickers: tuple[str, ...]
    ticker: IntArray
    date: Dates
    columns: Mapping[str, Array]
    line: IntArray
    utc_offset: Array
    files: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, bars: Mapping[str, Bars], *, files: Mapping[str, str] | None = None) -> Rows:
        """Return the rows of bars by ticker."""
        frames = list(bars.values())
        counts = [len(frame) for frame in frames]
        return cls(
            tickers=tuple(bars),
            ticker=np.repeat(np.arange(len(frames), dtype=np.int64), counts),
            date=np.concatenate([frame.index.to_numpy().astype(UNIT) for frame in frames]),
            columns={name: _stacked(frames, name, np.nan) for name in FIELDS},
            line=_stacked(frames, "line", 0).astype(np.int64),
            utc_offset=_stacked(frames, "utc_offset", np.nan),
            files=files or {},
        )

    def __len__(self) -> int:
        return len(self.ticker)

    @property
    def counts(self) -> IntArray:
        """(tickers,) number of rows of each ticker."""
        return np.bincount(self.ticker, minlength=len(self.tickers)).astype(np.int64)

    @property
    def follows(self) -> BoolArray:
        """(rows,) whether the row before is of the same ticker; there must be a row."""
        return np.concatenate([[False], self.ticker[1:] == self.ticker[:-1]])

    @property
    def adjusted(self) -> Array:
        """(rows,) closes adjusted for splits and dividends, where the source has them; else as they are."""
        return np.where(np.isnan(self.columns["adj_close"]), self.columns["close"], self.columns["adj_close"])

    def taken(self, rows: BoolArray | IntArray) -> Rows:
        """Return some of the rows, in the order given."""
        return replace(
            self,
            ticker=self.ticker[rows],
            date=self.date[rows],
            columns={name: column[rows] for name, column in self.columns.items()},
            line=self.line[rows],
            utc_offset=self.utc_offset[rows],
        )

    def between(self, start: dt.date | None, end: dt.date | None) -> Rows:
        """Return the rows from `start` to `end`, both included; None leaves that side open."""
        if start is None and end is None:
            return self
        keep = np.ones(len(self), dtype=np.bool_)
        if start is not None:
            keep &= self.date >= np.datetime64(start)
        if end is not None:
            keep &= self.date <= np.datetime64(end)
        return self.taken(keep)

    def in_order(self) -> Rows:
        """Return the rows by date within each ticker; rows of one date stay in their order."""
        return self.taken(np.lexsort([self.date, self.ticker]))

    def only(self, tickers: Sequence[bool] | BoolArray) -> Rows:
        """Return the rows of some of the tickers, and forget the others."""
        keep = np.asarray(tickers, dtype=np.bool_)
        kept = self.taken(keep[self.ticker])
        names = tuple(name for name, stays in zip(self.tickers, keep, strict=True) if stays)
        return replace(kept, tickers=names, ticker=(np.cumsum(keep) - 1)[kept.ticker])

    def name(self, row: int) -> str:
        """Return the ticker of a row."""
        return self.tickers[int(self.ticker[row])]

    def day(self, row: int) -> str:
        """Return the date of a row as ``YYYY-MM-DD``."""
        return day(pd.Timestamp(self.date[row]))

    def place(self, row: int) -> str:
        """Return what names a row in an error: file and line where they are known, ticker and date."""
        file, line = self.files.get(self.name(row)), int(self.line[row])
        where = f"{file}:{line}: " if file and line else f"{file}: " if file else ""
        return f"{where}{self.name(row)} {self.day(row)}"


def _stacked(frames: Sequence[Bars], name: str, missing: float) -> Array:
    parts = [
        frame[name].to_numpy(dtype=np.float64, na_value=np.nan) if name in frame else np.full(len(frame), missing)
        for frame in frames
    ]
    return np.concatenate(parts)
