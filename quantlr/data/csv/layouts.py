"""Layouts of price files: which column holds what, found by one detector per kind of exporter.

A detector looks at a file's first lines and returns the layout, or None if the file is of another one. The first
detector of the tuple that returns a layout decides.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from quantlr.core.errors import DataError
from quantlr.data.csv.headings import (
    BAR_FIELDS,
    CLOSE_SPELLINGS,
    FIELD_BY_SPELLING,
    IGNORED_YFINANCE_COLUMNS,
    KNOWN_DECIMAL_HEADINGS,
    SIGNED_CLOSE_HEADINGS,
    SPELLINGS_BY_FIELD,
    VAGUE_CLOSE_HEADINGS,
    is_date_heading,
    normalize_heading,
)
from quantlr.data.csv.raw_table import RawTable, ReadingOptions, printable, source_path_error
from quantlr.data.ticker_list import shortened_list_text

VAGUE_CLOSE_SPELLINGS = {normalize_heading(heading) for heading in VAGUE_CLOSE_HEADINGS}
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
    period_column_index : the column of the bar's length, "D" for a day.
    has_signed_closes : whether a negative close is the average of bid and ask, as CRSP marks it.
    has_decimal_point : whether the exporter is known to write a decimal point.
    date_format : of its dates, where the exporter is known to write such that do not show it; see `ReadingOptions`.
    """

    n_header_lines: int
    date_column_index: int
    column_indices_by_ticker: Mapping[str, Mapping[str, int]]
    ticker_column_index: int | None = None
    period_column_index: int | None = None
    has_signed_closes: bool = False
    has_decimal_point: bool = False
    date_format: str | None = None

    @property
    def other_columns(self) -> set[int]:
        """The columns that hold dates, tickers and lengths of bars, not numbers."""
        indices = (self.date_column_index, self.ticker_column_index, self.period_column_index)
        return {index for index in indices if index is not None}


COLUMNS_ADVICE = "rename it, or name both in data.source.columns, as {date: ..., close: ...}"
"""What to do where the headings of dates or closes are not known."""


def detect_table_layout(raw_table: RawTable) -> TableLayout:
    """Return the layout of a file.

    Raises
    ------
    DataError : no detector recognises it; the text names the column needed and those found.
    """
    for detect in LAYOUT_DETECTORS:
        if layout := detect(raw_table):
            return layout
    headings = headings_text(raw_table.first_lines[0])
    text = f"{raw_table.path} has no column of dates ('Date'), it has: {headings}; {COLUMNS_ADVICE}"
    raise source_path_error(text)


def headings_text(headings: Sequence[str]) -> str:
    """Return headings for an error: some of them, each cut."""
    return shortened_list_text([printable(heading.strip()) for heading in headings])


def detect_yfinance_layout(raw_table: RawTable) -> TableLayout | None:
    """Yfinance's ``download().to_csv()``: header lines of fields, of tickers and, often, of the index's name."""
    if len(raw_table.first_lines) < 2:
        return None
    first, second, *others = raw_table.first_lines
    has_index_line = bool(others) and is_date_heading(others[0][0]) and not any(others[0][1:])
    is_flat = is_date_heading(first[0]) and not second[0].strip() and all(cell.strip() for cell in second[1:])
    if not (has_index_line or is_flat) or len(first) != len(second):
        return None
    for field_line, ticker_line in ((first, second), (second, first)):
        spellings = [normalize_heading(cell) for cell in field_line[1:]]
        known = FIELD_BY_SPELLING.keys() | {*IGNORED_YFINANCE_COLUMNS}
        if set(spellings) <= known and not CLOSE_SPELLINGS.isdisjoint(spellings):
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

    In Stooq's database, ``<TICKER>,<PER>,<DATE>,<TIME>,...``, each row states the length of its bar.
    """
    headings = [normalize_heading(cell) for cell in raw_table.first_lines[0]]
    headings[0] = headings[0] or "index"  # a first column without a name
    columns: dict[str, int] = {}
    for name, spellings in SPELLINGS_BY_FIELD.items():
        spelling = next((spelling for spelling in spellings if spelling in headings), None)
        matches = [index for index, heading in enumerate(headings) if heading == spelling]
        if len(matches) > 1:
            names = ", ".join(raw_table.first_lines[0][index] for index in matches)
            raise source_path_error(f"{raw_table.path} has the column {name} twice: {names}; keep one")
        if matches:
            columns[name] = matches[0]
    _require_one_vague_close(raw_table, headings, columns)
    if "date" not in columns or not {"close", "adj_close"} & columns.keys():
        return None
    return _long_layout(raw_table, columns)


def _require_one_vague_close(raw_table: RawTable, headings: Sequence[str], columns: Mapping[str, int]) -> None:
    """Raise an error if the close could be either of two columns, as of Price and Last."""
    vague = [index for index, heading in enumerate(headings) if heading in VAGUE_CLOSE_SPELLINGS]
    if columns.get("close") in vague and len(vague) > 1:
        names = " and ".join(repr(raw_table.first_lines[0][index]) for index in vague)
        raise source_path_error(f"{raw_table.path} has {names}; name the close, as data.source.columns: {{close: ...}}")


def _long_layout(raw_table: RawTable, columns: Mapping[str, int]) -> TableLayout:
    """Return the layout of one row per bar, from the column of each field."""
    headings = {heading.strip() for heading in raw_table.first_lines[0]}
    close = columns.get("close", columns.get("adj_close", 0))
    return TableLayout(
        1,
        columns["date"],
        {NO_TICKER: {name: columns[name] for name in BAR_FIELDS if name in columns}},
        columns.get("ticker"),
        columns.get("period"),
        has_signed_closes=raw_table.first_lines[0][close].strip() in SIGNED_CLOSE_HEADINGS,
        has_decimal_point=not headings.isdisjoint(KNOWN_DECIMAL_HEADINGS),
    )


def named_columns_layout(raw_table: RawTable, options: ReadingOptions) -> TableLayout:
    """Return the layout of a file in which the config names columns; the others are found by their headings.

    Raises
    ------
    DataError : a heading is not in the file, or twice, or there is no column of dates or of closes.
    """
    header = [cell.strip() for cell in raw_table.first_lines[0]]
    for name, heading in options.columns.items():
        if header.count(heading) != 1:
            text = f"{raw_table.path} needs one column {heading!r}, it has: {headings_text(header)}"
            raise DataError(text, key=f"data.source.columns.{name}")
    named = {name: header.index(heading) for name, heading in options.columns.items()}
    spellings = {normalize_heading(cell): index for index, cell in enumerate(header) if index not in named.values()}
    others = {
        name: next(spellings[spelling] for spelling in known if spelling in spellings)
        for name, known in SPELLINGS_BY_FIELD.items()
        if name not in named and not spellings.keys().isdisjoint(known)
    }
    columns = {**others, **named}
    if "date" not in columns or not {"close", "adj_close"} & columns.keys():
        needed = "date" if "date" not in columns else "close"
        text = f"{raw_table.path} needs a column of {needed}s, as {needed}: ..., it has: {headings_text(header)}"
        raise DataError(text, key="data.source.columns")
    return _long_layout(raw_table, columns)


def detect_wide_layout(raw_table: RawTable) -> TableLayout | None:
    """One row per date and one column of closes per ticker, whose heading is the ticker."""
    header = raw_table.first_lines[0]
    positions = {index: name.strip() for index, name in enumerate(header) if index and name.strip()}
    if not (is_date_heading(header[0]) or not header[0].strip()) or not positions:
        return None
    duplicates = [name for name, count in Counter(positions.values()).items() if count > 1]
    if duplicates:
        raise source_path_error(f"{raw_table.path} has the column {duplicates[0]} twice; keep one")
    return TableLayout(1, 0, {ticker: {"close": index} for index, ticker in positions.items()})


FIELD_AND_TICKER_PATTERNS = (
    r"\('(?P<field>[^']*)', '(?P<ticker>[^']*)'\)",
    r"(?P<ticker>.+)[._ ](?P<field>adj[._ ]?close|[a-z]+)",
    r"(?P<field>adj[._ ]?close|[a-z]+)[._ ](?P<ticker>.+)",
)
"""Headings of a ticker's field: ('Close', 'X') of pandas, X.Close of R's quantmod, X_close, Close_X."""


def detect_named_fields_layout(raw_table: RawTable) -> TableLayout | None:
    """One row per date and the columns of several fields of each ticker, with both in the heading: R's quantmod."""
    header = raw_table.first_lines[0]
    date = re.fullmatch(r"\('(.*)', ''\)", header[0].strip())
    if not (is_date_heading(date[1] if date else header[0]) or not header[0].strip()) or len(header) < 2:
        return None
    for pattern in FIELD_AND_TICKER_PATTERNS:
        matches = [re.fullmatch(f"(?i){pattern}", heading.strip()) for heading in header[1:]]
        parts = [(match["ticker"], normalize_heading(match["field"])) for match in matches if match]
        spellings = {spelling for _, spelling in parts}
        is_known = spellings <= FIELD_BY_SPELLING.keys() | {*IGNORED_YFINANCE_COLUMNS}
        if len(parts) == len(matches) and is_known and not CLOSE_SPELLINGS.isdisjoint(spellings):
            columns = _column_indices_by_ticker(
                raw_table.path, [spelling for _, spelling in parts], [ticker for ticker, _ in parts]
            )
            return TableLayout(1, 0, columns)
    return None


@dataclass(frozen=True, slots=True)
class HeaderlessExport:
    """An export without a header line.

    Attributes
    ----------
    patterns : of the cells of its first line.
    columns : by field the column.
    date_format : of its dates, where they do not show it; see `ReadingOptions`.
    """

    patterns: tuple[str, ...]
    columns: Mapping[str, int]
    date_format: str | None = None


NUMBER_PATTERN = r"\d+(\.\d+)?"
FIVE_NUMBERS, ANY_CELLS = [NUMBER_PATTERN] * 5, [".*"] * 5
OHLCV_COLUMNS = {"date": 0, "open": 1, "high": 2, "low": 3, "close": 4, "volume": 5}
HEADERLESS_EXPORTS = (
    HeaderlessExport(  # MetaTrader 4: date, time, open, high, low, close, volume
        (r"\d{4}\.\d\d\.\d\d", r"\d\d:\d\d", *FIVE_NUMBERS),
        {"date": 0, "open": 2, "high": 3, "low": 4, "close": 5, "volume": 6},
    ),
    # Binance's klines: open time, open, high, low, close, volume, close time, and five more; since 2025 in microseconds
    HeaderlessExport((r"\d{12,13}", *FIVE_NUMBERS, r"\d{12,13}", *ANY_CELLS), OHLCV_COLUMNS),
    HeaderlessExport((r"\d{15,16}", *FIVE_NUMBERS, r"\d{15,16}", *ANY_CELLS), OHLCV_COLUMNS, "us"),
    HeaderlessExport((r"\d{12,13}", *FIVE_NUMBERS), OHLCV_COLUMNS),  # ccxt's fetch_ohlcv
    HeaderlessExport((r"\d{9,10}", *FIVE_NUMBERS, r"\d+"), OHLCV_COLUMNS),  # Kraken: the number of trades last
    HeaderlessExport((r"\d{8} \d{6}", *FIVE_NUMBERS), OHLCV_COLUMNS),  # HistData
    HeaderlessExport(  # MetaStock: ticker, date, open, high, low, close, volume
        (r"[A-Z][A-Z0-9.]*", r"\d{8}", *FIVE_NUMBERS),
        {"ticker": 0, "date": 1, "open": 2, "high": 3, "low": 4, "close": 5, "volume": 6},
    ),
)


def detect_headerless_layout(raw_table: RawTable) -> TableLayout | None:
    """Exporters that write no header line, as MetaTrader 4 and Binance: known by the cells of the first line."""
    cells = raw_table.first_lines[0]
    for export in HEADERLESS_EXPORTS:
        pairs = zip(export.patterns, cells, strict=False)
        if len(cells) == len(export.patterns) and all(re.fullmatch(pattern, cell) for pattern, cell in pairs):
            return TableLayout(
                0,
                export.columns["date"],
                {NO_TICKER: {name: column for name, column in export.columns.items() if name in BAR_FIELDS}},
                export.columns.get("ticker"),
                has_decimal_point=True,
                date_format=export.date_format,
            )
    return None


LAYOUT_DETECTORS = (
    detect_yfinance_layout,
    detect_headerless_layout,
    detect_long_layout,
    detect_named_fields_layout,
    detect_wide_layout,
)
