"""Bars from price files: the column layout of each exporter, found by one detector per layout, and the rows read by it.

A detector looks at a file's first lines and returns the layout, or None if the file is of another one. The first
detector of the tuple that returns a layout decides.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from quantlr.core.errors import did_you_mean_text
from quantlr.core.file_reading import UnreadableContentError, library_errors_translated
from quantlr.core.values import Array, Note
from quantlr.data.csv.raw_table import (
    CellTable,
    DateArray,
    RawTable,
    blank_cell_mask,
    cells_to_text,
    parse_dates,
    parse_numbers,
    read_raw_table,
    source_path_error,
)
from quantlr.data.ticker_list import TICKER_HEADINGS, find_matching_ticker, require_known_tickers

BAR_FIELDS = ("open", "high", "low", "close", "adj_close", "volume")
COLUMN_SPELLINGS = {
    "date": ("date", "datetime", "timestamp", "day", "session", "index"),
    "ticker": TICKER_HEADINGS,
    "open": ("open",),
    "high": ("high",),
    "low": ("low",),
    "close": ("close", "closelast"),
    "adj_close": ("adjclose", "adjustedclose", "closeadj", "closeadjusted"),
    "volume": ("volume", "vol"),
    "period": ("per",),
}
"""Spellings of each column's heading, in lower case without blanks and punctuation; the first one present is used."""
FIELD_BY_SPELLING = {spelling: field for field in BAR_FIELDS for spelling in COLUMN_SPELLINGS[field]}
IGNORED_YFINANCE_COLUMNS = {"dividends", "stocksplits", "capitalgains", "repaired"}
"""Columns that yfinance writes beside the prices and that are not read: its adjusted closes include them."""
NO_TICKER = ""
"""Key of `TableLayout.column_indices_by_ticker` in a file whose columns do not belong to tickers."""


@dataclass(frozen=True, slots=True)
class TableLayout:
    """The columns of a file by what they hold; columns are counted from 0.

    Attributes
    ----------
    n_header_lines : number of lines of the header.
    date_column_index : the column of dates.
    column_indices_by_ticker : by ticker the column of each field; under `NO_TICKER` if no column belongs to a ticker.
    ticker_column_index : the column of tickers, if each row names its own.
    price_prefix : text before a price, as a currency sign.
    period_column_index : the column of the bar's length, "D" for a day.
    """

    n_header_lines: int
    date_column_index: int
    column_indices_by_ticker: Mapping[str, Mapping[str, int]]
    ticker_column_index: int | None = None
    price_prefix: str = ""
    period_column_index: int | None = None


def detect_table_layout(raw_table: RawTable) -> TableLayout:
    """Return the layout of a file.

    Raises
    ------
    DataError : no detector recognises it; the text names the column needed and those found.
    """
    for detect in LAYOUT_DETECTORS:
        if layout := detect(raw_table):
            return layout
    headings = ", ".join(raw_table.first_lines[0])
    if len(raw_table.first_lines[0]) == 1 and ";" in headings:
        headings += " (separated by ';'? needed commas)"
    raise source_path_error(f"{raw_table.path} has no column of dates ('Date'), it has: {headings}")


def detect_yfinance_layout(raw_table: RawTable) -> TableLayout | None:
    """Yfinance's ``download().to_csv()``: header lines of fields, of tickers and, often, of the index's name."""
    if len(raw_table.first_lines) < 2:
        return None
    first, second, *others = raw_table.first_lines
    has_index_line = bool(others) and _is_date_heading(others[0][0]) and not any(others[0][1:])
    is_flat = _is_date_heading(first[0]) and not second[0].strip() and all(cell.strip() for cell in second[1:])
    if not (has_index_line or is_flat) or len(first) != len(second):
        return None
    close_spellings = {*COLUMN_SPELLINGS["close"], *COLUMN_SPELLINGS["adj_close"]}
    for field_line, ticker_line in ((first, second), (second, first)):
        spellings = [_normalize_heading(cell) for cell in field_line[1:]]
        known = FIELD_BY_SPELLING.keys() | IGNORED_YFINANCE_COLUMNS
        if set(spellings) <= known and set(spellings) & close_spellings:
            columns = _column_indices_by_ticker(raw_table.path, spellings, ticker_line[1:])
            return TableLayout(3 if has_index_line else 2, 0, columns)
    return None


def _column_indices_by_ticker(path: Path, spellings: list[str], tickers: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return by ticker the column of each field, from a line of fields and one of tickers, both without the dates."""
    columns_by_ticker: dict[str, dict[str, int]] = {}
    for index, (spelling, ticker) in enumerate(zip(spellings, tickers, strict=True), start=1):
        if spelling in IGNORED_YFINANCE_COLUMNS:
            continue
        columns, field = columns_by_ticker.setdefault(ticker.strip(), {}), FIELD_BY_SPELLING[spelling]
        if field in columns:
            raise source_path_error(f"{path} has the column {field} of {ticker} twice")
        columns[field] = index
    return columns_by_ticker


def detect_long_layout(raw_table: RawTable) -> TableLayout | None:
    """One row per bar and one column per field, with or without a column of tickers: the most common layout.

    In Stooq's database, ``<TICKER>,<PER>,<DATE>,<TIME>,...``, each row states the length of its bar. On Nasdaq.com,
    ``Date,Close/Last,...``, a dollar sign precedes each price.
    """
    headings = [_normalize_heading(cell) for cell in raw_table.first_lines[0]]
    headings[0] = headings[0] or "index"  # a first column without a name
    columns: dict[str, int] = {}
    for name, spellings in COLUMN_SPELLINGS.items():
        spelling = next((spelling for spelling in spellings if spelling in headings), None)
        matches = [index for index, heading in enumerate(headings) if heading == spelling]
        if len(matches) > 1:
            names = ", ".join(raw_table.first_lines[0][index] for index in matches)
            raise source_path_error(f"{raw_table.path} has the column {name} twice: {names}; keep one")
        if matches:
            columns[name] = matches[0]
    if "date" not in columns or not {"close", "adj_close"} & columns.keys():
        return None
    fields = {name: columns[name] for name in BAR_FIELDS if name in columns}
    prefix = "$" if "closelast" in headings else ""
    return TableLayout(1, columns["date"], {NO_TICKER: fields}, columns.get("ticker"), prefix, columns.get("period"))


def detect_wide_layout(raw_table: RawTable) -> TableLayout | None:
    """One row per date and one column of closes per ticker, whose heading is the ticker."""
    header = raw_table.first_lines[0]
    if not (_is_date_heading(header[0]) or not header[0].strip()) or len(header) < 2:
        return None
    tickers = [name.strip() for name in header[1:]]
    duplicates = [name for name, count in Counter(tickers).items() if count > 1]
    if duplicates:
        raise source_path_error(f"{raw_table.path} has the column {duplicates[0] or 'without a name'} twice; keep one")
    return TableLayout(1, 0, {ticker: {"close": index} for index, ticker in enumerate(tickers, start=1)})


def _normalize_heading(heading: str) -> str:
    return re.sub(r"[^a-z0-9]", "", heading.casefold())


def _is_date_heading(heading: str) -> bool:
    return _normalize_heading(heading) in COLUMN_SPELLINGS["date"]


LAYOUT_DETECTORS = (detect_yfinance_layout, detect_long_layout, detect_wide_layout)


BarFrame = pd.DataFrame
"""One ticker's bars: index of dates without time zone, columns open, high, low, close, adj_close, volume.

Bars from a file have two more columns: `line`, the line of each row, and `utc_offset`, the minutes ahead of UTC that
its time is written in (NaN if no zone is written).
"""

PRICE_FIELDS = ("open", "high", "low", "close", "adj_close")


def read_bars(content: bytes, *, path: Path, tickers: Sequence[str]) -> tuple[dict[str, BarFrame], list[Note]]:
    """Return the bars of the wanted tickers in a file, and notes on rows that are not bars of theirs.

    Parameters
    ----------
    content, path : the file's bytes, and its path for messages.
    tickers : the tickers wanted; a file without tickers holds the only one that is wanted.

    Raises
    ------
    DataError : a ticker is not in the file, or a cell can't be read; the text names its line.
    """
    try:
        with library_errors_translated("a table of prices"):
            return _read_bars_and_notes(content, path, tickers)
    except UnreadableContentError as error:
        raise source_path_error(f"{path}: {error}; write the file again, as CSV of dates and closes") from error


def _read_bars_and_notes(content: bytes, path: Path, tickers: Sequence[str]) -> tuple[dict[str, BarFrame], list[Note]]:
    raw_table = read_raw_table(content, path=path)
    layout = detect_table_layout(raw_table)
    table, notes = _drop_blank_rows(raw_table.read_cell_table(n_header_lines=layout.n_header_lines), layout)
    _require_daily_bars(table, layout)
    if NO_TICKER in layout.column_indices_by_ticker:
        return _long_table_to_bars_by_ticker(table, layout, tickers), notes
    headings = list(layout.column_indices_by_ticker)
    known = any(find_matching_ticker(name, headings) or did_you_mean_text(name.upper(), headings) for name in tickers)
    if not known and layout.n_header_lines == 1:
        text = f"{path} has no column of closes ('Close'), nor one named {tickers[0]}, it has: "
        raise source_path_error(text + ", ".join(raw_table.first_lines[0]))
    require_known_tickers(tickers, headings, str(path))
    bars = _wide_table_to_bars_by_ticker(table, layout, tickers)
    n_outside = sum(len(table.cells) - len(frame) for frame in bars.values())
    if n_outside:
        text = f"{path.name} has rows before a ticker's first price or after its last, where this ticker has no bar"
        notes.append(Note("data", text, count=n_outside))
    return bars, notes


def _drop_blank_rows(table: CellTable, layout: TableLayout) -> tuple[CellTable, list[Note]]:
    """Return the table without rows of blank cells only, which spreadsheets write, and a note on them."""
    with table.column_errors(layout.date_column_index, needed="dates"):
        blank = blank_cell_mask(table.cells.iloc[:, layout.date_column_index])
    for _, column in table.cells.items() if blank.any() else ():
        blank = blank & blank_cell_mask(column)
    if blank.all():
        raise source_path_error(f"{table.path} has a header line and no rows; needed prices")
    if not blank.any():
        return table, []
    text = f"{table.path.name} has rows without anything in them, which hold no bar"
    return replace(table, cells=table.cells[~blank]), [Note("data", text, count=int(blank.sum()))]


def _require_daily_bars(table: CellTable, layout: TableLayout) -> None:
    """Raise an error if the file states that a bar is not one day long."""
    if layout.period_column_index is None:
        return
    periods = cells_to_text(table.cells.iloc[:, layout.period_column_index])
    if (periods != "D").any():
        row = int((periods != "D").argmax())
        reason = f"needed daily bars ('D'), found {periods.iloc[row]!r}; give the daily file"
        raise table.cell_error(layout.period_column_index, row, reason)


def _long_table_to_bars_by_ticker(table: CellTable, layout: TableLayout, tickers: Sequence[str]) -> dict[str, BarFrame]:
    """Return the bars of a file that has one row per bar."""
    fields = layout.column_indices_by_ticker[NO_TICKER]
    if layout.ticker_column_index is None:
        if len(tickers) > 1:
            text = f"{table.path} has no ticker column, so it can hold one ticker"
            advice = "add a column 'ticker', or give a folder with one file per ticker"
            raise source_path_error(f"{text}, and data.tickers names {len(tickers)}; {advice}")
        return {tickers[0]: _to_bar_frame(table, layout, fields, *parse_dates(table, layout.date_column_index))}
    with table.column_errors(layout.ticker_column_index, needed="tickers"):
        row_tickers = cells_to_text(table.cells.iloc[:, layout.ticker_column_index])
    tickers_in_file = row_tickers.unique().tolist()
    require_known_tickers(tickers, tickers_in_file, str(table.path))
    name_by_ticker = {ticker: str(find_matching_ticker(ticker, tickers_in_file)) for ticker in tickers}
    keep = row_tickers.isin(name_by_ticker.values())
    table = replace(table, cells=table.cells[keep])
    frame = _to_bar_frame(table, layout, fields, *parse_dates(table, layout.date_column_index))
    rows_by_name = frame.groupby(row_tickers[keep].to_numpy()).indices
    return {ticker: frame.iloc[rows_by_name[name]] for ticker, name in name_by_ticker.items()}


def _wide_table_to_bars_by_ticker(table: CellTable, layout: TableLayout, tickers: Sequence[str]) -> dict[str, BarFrame]:
    """Return bars by ticker, from each ticker's first price to its last."""
    columns_by_ticker = layout.column_indices_by_ticker
    dates, utc_offsets = parse_dates(table, layout.date_column_index)
    bars: dict[str, BarFrame] = {}
    for ticker in tickers:
        columns = columns_by_ticker[str(find_matching_ticker(ticker, columns_by_ticker))]
        if not {"close", "adj_close"} & columns.keys():
            text = f"{table.path} has no column of closes of {ticker}, it has its {', '.join(columns)}"
            raise source_path_error(f"{text}; add its closes, or leave the ticker out")
        frame = _to_bar_frame(table, layout, columns, dates, utc_offsets)
        priced = np.flatnonzero(np.any([frame[name].notna() for name in PRICE_FIELDS], axis=0))
        bars[ticker] = frame.iloc[priced[0] : priced[-1] + 1] if len(priced) else frame.iloc[:0]
    return bars


def _to_bar_frame(
    table: CellTable, layout: TableLayout, column_indices: Mapping[str, int], dates: DateArray, utc_offsets: Array
) -> BarFrame:
    """Return all rows as bars; the close is the adjusted close if there is no other, other missing fields are NaN."""
    prefixes = {**dict.fromkeys(PRICE_FIELDS, layout.price_prefix), "volume": ""}
    fields = {name: parse_numbers(table, index, prefix=prefixes[name]) for name, index in column_indices.items()}
    if "close" not in fields:
        fields["close"] = fields["adj_close"]
    values = {name: fields.get(name, np.full(len(table.cells), np.nan)) for name in BAR_FIELDS}
    index = pd.DatetimeIndex(dates, name="date")
    return pd.DataFrame({**values, "line": table.cells.index, "utc_offset": utc_offsets}, index=index)
