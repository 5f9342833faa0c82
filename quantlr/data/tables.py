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

from quantlr.data.cells import Column, Days, days, numbers, text_of
from quantlr.data.layouts import ALONE, FIELDS, Layout, layout_of
from quantlr.data.sheets import KEY, Cells, Sheet, read_sheet
from quantlr.errors import DataError
from quantlr.types import Array, BoolArray, IntArray, Note

Bars = pd.DataFrame
"""One ticker's bars: index of dates without time zone, columns open, high, low, close, adj_close, volume.

Where they were read from a file there are two columns more: `line`, each row's in the file, and `utc_offset`, the
minutes ahead of UTC that its time is written in (NaN where no zone is written).
"""

PRICES = ("open", "high", "low", "close", "adj_close")
MARKET = ".us"
"""What Stooq writes behind the ticker of an American stock, and a user need not."""
LONGEST_LIST = 20


def read_bars(content: bytes, *, path: Path, tickers: Sequence[str]) -> tuple[dict[str, Bars], list[Note]]:
    """Return the bars of each ticker that a file holds, and notes on what in it is no bar of theirs.

    Parameters
    ----------
    content, path : the file's bytes, and its name for messages.
    tickers : the tickers wanted; a file that names none holds the one that is named here.

    Raises
    ------
    DataError : naming the line, where a cell can't be read.
    """
    sheet = read_sheet(content, path=path)
    layout = layout_of(sheet)
    table = _Table(sheet, layout, sheet.below(layout.head))
    if not len(table.cells.lines):
        raise DataError(f"{path} has a header line and no rows; needed prices", key=KEY)
    table, notes = _without_blank_rows(table)
    _require_days_long(table)
    if ALONE in layout.fields:
        return _from_rows(table, tickers), notes
    bars, outside = _from_columns(table, tickers)
    return bars, [*notes, *outside]


def spelling(ticker: str, known: Mapping[str, object] | Sequence[str]) -> str | None:
    """Return how a file writes a ticker: as it is, or with the market behind it; None if it has neither."""
    if ticker in known:
        return ticker
    return next((name for name in known if name.casefold() == ticker.casefold() + MARKET), None)


def near_name(ticker: str, known: Sequence[str]) -> str | None:
    """Return the name that a ticker may have been meant for."""
    return next(iter(get_close_matches(ticker.upper(), known, n=1)), None)


def unknown(ticker: str, known: Sequence[str], where: str) -> DataError:
    """Return the error for a ticker that is not `where` it was looked for, with a near name."""
    near = near_name(ticker, known)
    guess = f"; did you mean {near}?" if near else ""
    listed = ", ".join(known[:LONGEST_LIST])
    listed += f" and {len(known) - LONGEST_LIST} more" if len(known) > LONGEST_LIST else ""
    return DataError(f"{where} has no ticker {ticker!r}, it has {listed}{guess}", key="data.tickers")


def require_known(tickers: Sequence[str], known: Mapping[str, object] | Sequence[str], where: str) -> None:
    """Refuse tickers that are not `where` they were looked for, all of them at once.

    Raises
    ------
    DataError : naming them, with a near name where it is one.
    """
    missing = [ticker for ticker in tickers if spelling(ticker, known) is None]
    if len(missing) == 1:
        raise unknown(missing[0], list(known), where)
    if missing:
        listed = ", ".join(missing[:LONGEST_LIST])
        listed += f" and {len(missing) - LONGEST_LIST} more" if len(missing) > LONGEST_LIST else ""
        raise DataError(
            f"{where} lacks {len(missing)} of {len(tickers)} tickers: {listed}; add their prices, or leave them out",
            key="data.tickers",
        )


@dataclass(frozen=True, slots=True)
class _Table:
    """A file and what is understood of it."""

    sheet: Sheet
    layout: Layout
    cells: Cells

    def column(self, at: int) -> Column:
        heading = self.sheet.heading(at, head=self.layout.head)
        return Column(self.cells.columns[at], self.cells.lines, str(self.sheet.path), heading)

    def rows(self, keep: BoolArray) -> _Table:
        kept = tuple(column.filter(pa.array(keep)) for column in self.cells.columns)
        return _Table(self.sheet, self.layout, Cells(kept, self.cells.lines[keep]))

    def read(self, fields: Mapping[str, int]) -> dict[str, Array]:
        """Return each field as numbers, NaN where there is no column for it; a lone adjusted close is the close."""
        missing = np.full(len(self.cells.lines), np.nan)
        found = {
            name: numbers(self.column(at), sign="" if name == "volume" else self.layout.sign)
            for name, at in fields.items()
        }
        if "close" not in found:
            found["close"] = found["adj_close"]
        return {name: found.get(name, missing) for name in FIELDS}

    def bars(self, values: Mapping[str, Array], when: Days, rows: slice | BoolArray | IntArray) -> Bars:
        """Return some rows as one ticker's bars."""
        columns = {name: column[rows] for name, column in values.items()}
        index = pd.DatetimeIndex(when.dates[rows], name="date")
        return pd.DataFrame(
            {**columns, "line": self.cells.lines[rows], "utc_offset": when.utc_offset[rows]}, index=index
        )


def _without_blank_rows(table: _Table) -> tuple[_Table, list[Note]]:
    """Return the table without rows in which nothing stands at all, as spreadsheets leave them behind."""
    blank = _blank(table.cells.columns[table.layout.date])
    if not blank.any():
        return table, []
    for column in table.cells.columns:
        blank &= _blank(column)
    if not blank.any():
        return table, []
    note = Note("data", f"{table.sheet.path.name} has rows without anything in them, which hold no bar",
                count=int(blank.sum()))  # fmt: skip
    return table.rows(~blank), [note]


def _blank(column: pa.Array) -> BoolArray:
    if pa.types.is_string(column.type):
        return np.asarray(compute.equal(compute.utf8_trim_whitespace(compute.fill_null(column, "")), "").to_numpy(
            zero_copy_only=False))  # fmt: skip
    return np.asarray(column.is_null().to_numpy(zero_copy_only=False))


def _require_days_long(table: _Table) -> None:
    """Refuse bars that are not a day long, where the file says how long they are."""
    if table.layout.period is None:
        return
    column = table.column(table.layout.period)
    period = text_of(column.cells)
    other = np.asarray(compute.not_equal(period, "D").to_numpy(zero_copy_only=False))
    if other.any():
        row = int(other.argmax())
        raise column.refused(row, f"needed daily bars ('D'), found {period[row].as_py()!r}; give the daily file")


def _from_rows(table: _Table, tickers: Sequence[str]) -> dict[str, Bars]:
    """Return bars of a file that has one row per bar."""
    layout, path = table.layout, table.sheet.path
    if layout.ticker is None:
        if len(tickers) > 1:
            raise DataError(
                f"{path} has no ticker column, so it can hold one ticker, and data.tickers names {len(tickers)}; "
                "add a column 'ticker', or give a folder with one file per ticker",
                key=KEY,
            )
        values, when = table.read(layout.fields[ALONE]), days(table.column(layout.date))
        return {tickers[0]: table.bars(values, when, slice(None))}
    owners = compute.dictionary_encode(text_of(table.cells.columns[layout.ticker]))
    known = {name: code for code, name in enumerate(owners.dictionary.to_pylist())}
    require_known(tickers, known, str(path))
    wanted = np.array([known[str(spelling(ticker, known))] for ticker in tickers])
    codes = owners.indices.to_numpy(zero_copy_only=False)
    keep = np.isin(codes, wanted)
    table, codes = table.rows(keep), codes[keep]
    values, when = table.read(layout.fields[ALONE]), days(table.column(layout.date))
    order = np.argsort(codes, kind="stable")
    first, last = (np.searchsorted(codes[order], wanted, side=side) for side in ("left", "right"))
    return {
        ticker: table.bars(values, when, order[first[at] : last[at]]) for at, ticker in enumerate(tickers)
    }  # fmt: skip


def _from_columns(table: _Table, tickers: Sequence[str]) -> tuple[dict[str, Bars], list[Note]]:
    """Return bars of a file whose columns belong to tickers, each from its first price to its last."""
    fields, path = table.layout.fields, table.sheet.path
    none = not any(spelling(ticker, fields) or near_name(ticker, list(fields)) for ticker in tickers)
    if none and table.layout.head == 1:
        raise DataError(
            f"{path} has no column of closes ('Close'), nor one named {tickers[0]}, it has: "
            f"{', '.join(table.sheet.top[0])}",
            key=KEY,
        )
    require_known(tickers, fields, str(path))
    when = days(table.column(table.layout.date))
    bars: dict[str, Bars] = {}
    outside = 0
    for ticker in tickers:
        values = table.read(fields[str(spelling(ticker, fields))])
        priced = np.flatnonzero(~np.all([np.isnan(values[name]) for name in PRICES], axis=0))
        mine = slice(priced[0], priced[-1] + 1) if len(priced) else slice(0, 0)
        outside += len(when.dates) - (mine.stop - mine.start)
        bars[ticker] = table.bars(values, when, mine)
    if not outside:
        return bars, []
    text = f"{path.name} has rows before a ticker's first price or after its last, which hold no bar of it"
    return bars, [Note("data", text, count=outside)]
