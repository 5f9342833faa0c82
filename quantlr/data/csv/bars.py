"""Files as exporters write them, read into bars: whose they are, their dates and their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import compute

from quantlr.core.arrays import Array, BoolArray, IntArray
from quantlr.core.errors import DataError
from quantlr.core.progress import Note
from quantlr.data.csv.cells import CellColumn, ParsedDates, cells_to_text, parse_dates, parse_numbers
from quantlr.data.csv.layouts import BAR_FIELDS, NO_TICKER, TableLayout, detect_layout
from quantlr.data.csv.table import SOURCE_PATH_KEY, BodyCells, RawTable, read_raw_table

BarFrame = pd.DataFrame
"""One ticker's bars: index of dates without time zone, columns open, high, low, close, adj_close, volume.

Where they were read from a file there are two columns more: `line`, each row's in the file, and `utc_offset`, the
minutes ahead of UTC that its time is written in (NaN where no zone is written).
"""

PRICE_FIELDS = ("open", "high", "low", "close", "adj_close")
STOOQ_US_SUFFIX = ".us"
"""What Stooq writes behind the ticker of an American stock, and a user need not."""
MAX_LISTED_TICKERS = 20


def read_bars(content: bytes, *, path: Path, tickers: Sequence[str]) -> tuple[dict[str, BarFrame], list[Note]]:
    """Return the bars of each ticker that a file holds, and notes on what in it is no bar of theirs.

    Parameters
    ----------
    content, path : the file's bytes, and its name for messages.
    tickers : the tickers wanted; a file that names none holds the one that is named here.

    Raises
    ------
    DataError : naming the line, where a cell can't be read.
    """
    sheet = read_raw_table(content, path=path)
    layout = detect_layout(sheet)
    table = _PriceTable(sheet, layout, sheet.read_body(layout.n_header_lines))
    if not len(table.cells.line_numbers):
        raise DataError(f"{path} has a header line and no rows; needed prices", key=SOURCE_PATH_KEY)
    table, notes = _drop_blank_rows(table)
    _require_daily_bars(table)
    if NO_TICKER in layout.field_columns_by_ticker:
        return _long_table_to_bars(table, tickers), notes
    bars, outside = _wide_table_to_bars(table, tickers)
    return bars, [*notes, *outside]


def match_ticker(ticker: str, known_tickers: Mapping[str, object] | Sequence[str]) -> str | None:
    """Return how a file writes a ticker: as it is, or with the market behind it; None if it has neither."""
    if ticker in known_tickers:
        return ticker
    return next((name for name in known_tickers if name.casefold() == ticker.casefold() + STOOQ_US_SUFFIX), None)


def closest_ticker(ticker: str, known_tickers: Sequence[str]) -> str | None:
    """Return the name that a ticker may have been meant for."""
    return next(iter(get_close_matches(ticker.upper(), known_tickers, n=1)), None)


def unknown_ticker_error(ticker: str, known_tickers: Sequence[str], location: str) -> DataError:
    """Return the error for a ticker that is not `where` it was looked for, with a near name."""
    near = closest_ticker(ticker, known_tickers)
    guess = f"; did you mean {near}?" if near else ""
    listed = ", ".join(known_tickers[:MAX_LISTED_TICKERS])
    listed += f" and {len(known_tickers) - MAX_LISTED_TICKERS} more" if len(known_tickers) > MAX_LISTED_TICKERS else ""
    return DataError(f"{location} has no ticker {ticker!r}, it has {listed}{guess}", key="data.tickers")


def require_known_tickers(
    tickers: Sequence[str], known_tickers: Mapping[str, object] | Sequence[str], location: str
) -> None:
    """Refuse tickers that are not `where` they were looked for, all of them at once.

    Raises
    ------
    DataError : naming them, with a near name where it is one.
    """
    missing = [ticker for ticker in tickers if match_ticker(ticker, known_tickers) is None]
    if len(missing) == 1:
        raise unknown_ticker_error(missing[0], list(known_tickers), location)
    if missing:
        listed = ", ".join(missing[:MAX_LISTED_TICKERS])
        listed += f" and {len(missing) - MAX_LISTED_TICKERS} more" if len(missing) > MAX_LISTED_TICKERS else ""
        raise DataError(
            f"{location} lacks {len(missing)} of {len(tickers)} tickers: {listed}; add their prices, or leave them out",
            key="data.tickers",
        )


@dataclass(frozen=True, slots=True)
class _PriceTable:
    """A file and what is understood of it."""

    raw_table: RawTable
    layout: TableLayout
    cells: BodyCells

    def cell_column(self, column_index: int) -> CellColumn:
        heading = self.raw_table.column_heading(column_index, n_header_lines=self.layout.n_header_lines)
        return CellColumn(self.cells.columns[column_index], self.cells.line_numbers, str(self.raw_table.path), heading)

    def filter_rows(self, row_mask: BoolArray) -> _PriceTable:
        kept = tuple(column.filter(pa.array(row_mask)) for column in self.cells.columns)
        return _PriceTable(self.raw_table, self.layout, BodyCells(kept, self.cells.line_numbers[row_mask]))

    def parse_fields(self, column_by_field: Mapping[str, int]) -> dict[str, Array]:
        """Return each field as numbers, NaN where there is no column for it; a lone adjusted close is the close."""
        missing = np.full(len(self.cells.line_numbers), np.nan)
        found = {
            name: parse_numbers(self.cell_column(at), prefix="" if name == "volume" else self.layout.price_prefix)
            for name, at in column_by_field.items()
        }
        if "close" not in found:
            found["close"] = found["adj_close"]
        return {name: found.get(name, missing) for name in BAR_FIELDS}

    def to_bar_frame(
        self, values_by_field: Mapping[str, Array], dates: ParsedDates, row_selection: slice | BoolArray | IntArray
    ) -> BarFrame:
        """Return some rows as one ticker's bars."""
        columns = {name: column[row_selection] for name, column in values_by_field.items()}
        index = pd.DatetimeIndex(dates.dates[row_selection], name="date")
        return pd.DataFrame(
            {
                **columns,
                "line": self.cells.line_numbers[row_selection],
                "utc_offset": dates.utc_offset_minutes[row_selection],
            },
            index=index,
        )


def _drop_blank_rows(table: _PriceTable) -> tuple[_PriceTable, list[Note]]:
    """Return the table without rows in which nothing stands at all, as spreadsheets leave them behind."""
    blank = _blank_cell_mask(table.cells.columns[table.layout.date_column])
    if not blank.any():
        return table, []
    for column in table.cells.columns:
        blank &= _blank_cell_mask(column)
    if not blank.any():
        return table, []
    note = Note("data", f"{table.raw_table.path.name} has rows without anything in them, which hold no bar",
                count=int(blank.sum()))  # fmt: skip
    return table.filter_rows(~blank), [note]


def _blank_cell_mask(column: pa.Array) -> BoolArray:
    if pa.types.is_string(column.type):
        return np.asarray(compute.equal(compute.utf8_trim_whitespace(compute.fill_null(column, "")), "").to_numpy(
            zero_copy_only=False))  # fmt: skip
    return np.asarray(column.is_null().to_numpy(zero_copy_only=False))


def _require_daily_bars(table: _PriceTable) -> None:
    """Refuse bars that are not a day long, where the file says how long they are."""
    if table.layout.period_column is None:
        return
    column = table.cell_column(table.layout.period_column)
    period = cells_to_text(column.cells)
    other = np.asarray(compute.not_equal(period, "D").to_numpy(zero_copy_only=False))
    if other.any():
        row = int(other.argmax())
        raise column.cell_error(row, f"needed daily bars ('D'), found {period[row].as_py()!r}; give the daily file")


def _long_table_to_bars(table: _PriceTable, tickers: Sequence[str]) -> dict[str, BarFrame]:
    """Return bars of a file that has one row per bar."""
    layout, path = table.layout, table.raw_table.path
    if layout.ticker_column is None:
        if len(tickers) > 1:
            raise DataError(
                f"{path} has no ticker column, so it can hold one ticker, and data.tickers names {len(tickers)}; "
                "add a column 'ticker', or give a folder with one file per ticker",
                key=SOURCE_PATH_KEY,
            )
        values, when = (
            table.parse_fields(layout.field_columns_by_ticker[NO_TICKER]),
            parse_dates(table.cell_column(layout.date_column)),
        )
        return {tickers[0]: table.to_bar_frame(values, when, slice(None))}
    owners = compute.dictionary_encode(cells_to_text(table.cells.columns[layout.ticker_column]))
    known = {name: code for code, name in enumerate(owners.dictionary.to_pylist())}
    require_known_tickers(tickers, known, str(path))
    wanted = np.array([known[str(match_ticker(ticker, known))] for ticker in tickers])
    codes = owners.indices.to_numpy(zero_copy_only=False)
    keep = np.isin(codes, wanted)
    table, codes = table.filter_rows(keep), codes[keep]
    values, when = (
        table.parse_fields(layout.field_columns_by_ticker[NO_TICKER]),
        parse_dates(table.cell_column(layout.date_column)),
    )
    order = np.argsort(codes, kind="stable")
    first, last = (np.searchsorted(codes[order], wanted, side=side) for side in ("left", "right"))
    return {
        ticker: table.to_bar_frame(values, when, order[first[at] : last[at]]) for at, ticker in enumerate(tickers)
    }  # fmt: skip


def _wide_table_to_bars(table: _PriceTable, tickers: Sequence[str]) -> tuple[dict[str, BarFrame], list[Note]]:
    """Return bars of a file whose columns belong to tickers, each from its first price to its last."""
    fields, path = table.layout.field_columns_by_ticker, table.raw_table.path
    none = not any(match_ticker(ticker, fields) or closest_ticker(ticker, list(fields)) for ticker in tickers)
    if none and table.layout.n_header_lines == 1:
        raise DataError(
            f"{path} has no column of closes ('Close'), nor one named {tickers[0]}, it has: "
            f"{', '.join(table.raw_table.first_lines[0])}",
            key=SOURCE_PATH_KEY,
        )
    require_known_tickers(tickers, fields, str(path))
    when = parse_dates(table.cell_column(table.layout.date_column))
    bars: dict[str, BarFrame] = {}
    outside = 0
    for ticker in tickers:
        values = table.parse_fields(fields[str(match_ticker(ticker, fields))])
        priced = np.flatnonzero(~np.all([np.isnan(values[name]) for name in PRICE_FIELDS], axis=0))
        mine = slice(priced[0], priced[-1] + 1) if len(priced) else slice(0, 0)
        outside += len(when.dates) - (mine.stop - mine.start)
        bars[ticker] = table.to_bar_frame(values, when, mine)
    if not outside:
        return bars, []
    text = f"{path.name} has rows before a ticker's first price or after its last, which hold no bar of it"
    return bars, [Note("data", text, count=outside)]
