"""The bars of all tickers as one stack of rows, on which a validation rule is one array operation."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from quantlr.core.known_series import DateArray
from quantlr.core.timing import iso_date
from quantlr.core.values import Array, BoolArray, IntArray
from quantlr.data.csv.headings import BAR_FIELDS
from quantlr.data.csv.raw_table import DATE_DTYPE
from quantlr.data.csv.reader import BarFrame


@dataclass(frozen=True, slots=True)
class PriceRows:
    """Bars of several tickers, all rows of a ticker together, in the order of `tickers`.

    Attributes
    ----------
    tickers : (tickers,) names.
    ticker_index : (rows,) index into `tickers`, ascending.
    date : (rows,) session of each row; with the time of day as written until `stamps.resolve_stamps`.
    columns : by field (open, high, low, close, adj_close, volume) the (rows,) numbers, NaN where missing.
    line_number : (rows,) line in the file; 0 where it is not known.
    utc_offset_minutes : (rows,) minutes ahead of UTC that the row's time was written in; NaN without a zone.
    file_paths : by ticker the file it was read from, if there is one.
    """

    tickers: tuple[str, ...]
    ticker_index: IntArray
    date: DateArray
    columns: Mapping[str, Array]
    line_number: IntArray
    utc_offset_minutes: Array
    file_paths: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_bars(cls, bars: Mapping[str, BarFrame], *, file_paths: Mapping[str, str] | None = None) -> PriceRows:
        """Return the rows of bars by ticker."""
        table = pd.concat(list(bars.values())).reindex(columns=[*BAR_FIELDS, "line", "utc_offset"]).astype(np.float64)
        return cls(
            tickers=tuple(bars),
            ticker_index=np.repeat(np.arange(len(bars), dtype=np.int64), list(map(len, bars.values()))),
            date=table.index.to_numpy().astype(DATE_DTYPE),
            columns={name: table[name].to_numpy() for name in BAR_FIELDS},
            line_number=table["line"].fillna(0).to_numpy(dtype=np.int64),
            utc_offset_minutes=table["utc_offset"].to_numpy(),
            file_paths=file_paths or {},
        )

    def __len__(self) -> int:
        return len(self.ticker_index)

    @property
    def n_rows_by_ticker(self) -> IntArray:
        """(tickers,) number of rows of each ticker."""
        return np.bincount(self.ticker_index, minlength=len(self.tickers)).astype(np.int64)

    @property
    def same_ticker_as_previous_row(self) -> BoolArray:
        """(rows,) whether the row before is of the same ticker; there must be a row."""
        return np.concatenate([[False], self.ticker_index[1:] == self.ticker_index[:-1]])

    def take_rows(self, row_selection: BoolArray | IntArray) -> PriceRows:
        """Return some of the rows, in the order given."""
        return replace(
            self,
            ticker_index=self.ticker_index[row_selection],
            date=self.date[row_selection],
            columns={name: column[row_selection] for name, column in self.columns.items()},
            line_number=self.line_number[row_selection],
            utc_offset_minutes=self.utc_offset_minutes[row_selection],
        )

    def slice_dates(self, start: dt.date | None, end: dt.date | None) -> PriceRows:
        """Return the rows from `start` to `end`, both included; None leaves that side open."""
        if start is None and end is None:
            return self
        first, last = np.datetime64(start or dt.date.min), np.datetime64(end or dt.date.max)
        return self.take_rows((self.date >= first) & (self.date <= last))

    def sort_by_date(self) -> PriceRows:
        """Return the rows by date within each ticker; rows of one date stay in their order."""
        return self.take_rows(np.lexsort([self.date, self.ticker_index]))

    def for_ticker_mask(self, ticker_mask: Sequence[bool] | BoolArray) -> PriceRows:
        """Return the rows of the tickers where the mask is true, as rows of those tickers only."""
        keep = np.asarray(ticker_mask, dtype=np.bool_)
        rows = self.take_rows(keep[self.ticker_index])
        tickers = tuple(np.array(self.tickers, dtype=object)[keep])
        return replace(rows, tickers=tickers, ticker_index=(np.cumsum(keep) - 1)[rows.ticker_index])

    def ticker_of_row(self, row: int) -> str:
        """Return the ticker of a row."""
        return self.tickers[int(self.ticker_index[row])]

    def date_text_of_row(self, row: int) -> str:
        """Return the date of a row as ``YYYY-MM-DD``."""
        return iso_date(self.date[row])

    def location_text_of_row(self, row: int) -> str:
        """Return the place of a row for an error: file and line where they are known, ticker and date."""
        file, line = self.file_paths.get(self.ticker_of_row(row)), int(self.line_number[row])
        place = f"{file}:{line}: " if file and line else f"{file}: " if file else ""
        return f"{place}{self.ticker_of_row(row)} {self.date_text_of_row(row)}"
