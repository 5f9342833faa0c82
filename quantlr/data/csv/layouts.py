"""Where an exporter puts what: one function per shape of file; the closing tuple is the catalogue.

Each function looks at a file's first lines and returns its layout, or None if the file is not of that shape. The first
in the tuple that recognises a file is believed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from quantlr.core.errors import DataError
from quantlr.data.csv.table import SOURCE_PATH_KEY, RawTable

COLUMN_SPELLINGS = {
    "date": ("date", "datetime", "timestamp", "day", "session", "index"),
    "ticker": ("ticker", "symbol", "name"),
    "open": ("open",),
    "high": ("high",),
    "low": ("low",),
    "close": ("close", "closelast"),
    "adj_close": ("adjclose", "adjustedclose", "closeadj", "closeadjusted"),
    "volume": ("volume", "vol"),
}
"""What a column is called here, and how others write it, without case, spaces and punctuation; the first one wins."""
BAR_FIELDS = ("open", "high", "low", "close", "adj_close", "volume")
IGNORED_YFINANCE_COLUMNS = {"dividends", "stocksplits", "capitalgains", "repaired"}
"""Columns that yfinance writes beside the prices, and that are not read: its closes are adjusted for them."""
NO_TICKER = ""
"""Stands for the ticker where a file's columns belong to no ticker in particular."""


@dataclass(frozen=True, slots=True)
class TableLayout:
    """Which column of a file holds what; columns count from 0.

    Attributes
    ----------
    head : lines of the header.
    date : the column of dates.
    fields : by ticker the column of each field, where columns belong to tickers; else under `ALONE`.
    ticker : the column of tickers, where each row names its own.
    sign : text that stands before a price.
    period : the column that says how long a bar is, "D" for a day.
    """

    n_header_lines: int
    date_column: int
    field_columns_by_ticker: Mapping[str, Mapping[str, int]]
    ticker_column: int | None = None
    price_prefix: str = ""
    period_column: int | None = None


def detect_layout(raw_table: RawTable) -> TableLayout:
    """Return the layout of a file.

    Raises
    ------
    DataError : none fits; the text says which columns were looked for and which are there.
    """
    for recognise in LAYOUT_DETECTORS:
        layout = recognise(raw_table)
        if layout is not None:
            return layout
    here = ", ".join(raw_table.first_lines[0])
    if len(raw_table.first_lines[0]) == 1 and ";" in here:
        here += " (separated by ';'? needed commas)"
    raise DataError(f"{raw_table.path} has no column of dates ('Date'), it has: {here}", key=SOURCE_PATH_KEY)


def detect_yfinance_layout(raw_table: RawTable) -> TableLayout | None:
    """Yfinance's ``download().to_csv()``: two lines of header, fields and tickers, and a third for the index's name."""
    if len(raw_table.first_lines) < 2:
        return None
    first, second = raw_table.first_lines[0], raw_table.first_lines[1]
    named = (
        len(raw_table.first_lines) > 2
        and _is_date_heading(raw_table.first_lines[2][0])
        and not any(raw_table.first_lines[2][1:])
    )
    flat = _is_date_heading(first[0]) and not second[0].strip() and all(cell.strip() for cell in second[1:])
    if not (named or flat) or len(first) != len(second):
        return None
    for fields, tickers in ((first, second), (second, first)):
        plain = [_normalize_heading(cell) for cell in fields[1:]]
        if set(plain) <= _FIELD_BY_SPELLING.keys() | IGNORED_YFINANCE_COLUMNS and set(plain) & _CLOSE_SPELLINGS:
            return TableLayout(3 if named else 2, 0, _group_columns_by_ticker(raw_table, plain, tickers[1:]))
    return None


def _group_columns_by_ticker(
    raw_table: RawTable, normalized_fields: list[str], tickers: tuple[str, ...]
) -> dict[str, dict[str, int]]:
    fields: dict[str, dict[str, int]] = {}
    for at, (spelling, cell) in enumerate(zip(normalized_fields, tickers, strict=True), start=1):
        if spelling in IGNORED_YFINANCE_COLUMNS:
            continue
        mine, field = fields.setdefault(cell.strip(), {}), _FIELD_BY_SPELLING[spelling]
        if field in mine:
            raise DataError(f"{raw_table.path} has the column {field} of {cell} twice", key=SOURCE_PATH_KEY)
        mine[field] = at
    return fields


def detect_stooq_layout(raw_table: RawTable) -> TableLayout | None:
    """Stooq's database, ``<TICKER>,<PER>,<DATE>,<TIME>,...``: each row says how long its bar is."""
    plain = _normalize_header(raw_table)
    layout = detect_long_layout(raw_table) if "per" in plain else None
    return None if layout is None else replace(layout, period_column=plain.index("per"))


def detect_nasdaq_layout(raw_table: RawTable) -> TableLayout | None:
    """Nasdaq.com, ``Date,Close/Last,...``: a dollar sign stands before each price."""
    layout = detect_long_layout(raw_table) if "closelast" in _normalize_header(raw_table) else None
    return None if layout is None else replace(layout, price_prefix="$")


def detect_long_layout(raw_table: RawTable) -> TableLayout | None:
    """One row per bar, columns by name, with a column of tickers or without: what most write."""
    found = _find_known_columns(raw_table)
    if "date" not in found or not {"close", "adj_close"} & found.keys():
        return None
    fields = {name: found[name] for name in BAR_FIELDS if name in found}
    return TableLayout(1, found["date"], {NO_TICKER: fields}, found.get("ticker"))


def detect_wide_layout(raw_table: RawTable) -> TableLayout | None:
    """One row per date and one column of closes per ticker, named by it."""
    header = raw_table.first_lines[0]
    if not (_is_date_heading(header[0]) or not header[0].strip()) or len(header) < 2:
        return None
    twice = [name for name, count in Counter(header[1:]).items() if count > 1]
    if twice:
        raise DataError(f"{raw_table.path} has the column {twice[0]} twice; keep one", key=SOURCE_PATH_KEY)
    return TableLayout(1, 0, {name.strip(): {"close": at} for at, name in enumerate(header) if at})


def _find_known_columns(raw_table: RawTable) -> dict[str, int]:
    """Return the columns that are known by their names."""
    header, plain = raw_table.first_lines[0], _normalize_header(raw_table)
    found: dict[str, int] = {}
    for name, spellings in COLUMN_SPELLINGS.items():
        for spelling in spellings:
            matches = [at for at, text in enumerate(plain) if text == spelling]
            if len(matches) > 1:
                listed = ", ".join(header[at] for at in matches)
                raise DataError(
                    f"{raw_table.path} has the column {name} twice: {listed}; keep one", key=SOURCE_PATH_KEY
                )
            if matches:
                found[name] = matches[0]
                break
    return found


def _normalize_header(raw_table: RawTable) -> list[str]:
    """Return the first line's cells as they are compared; a first column without a name is an index."""
    plain = [_normalize_heading(cell) for cell in raw_table.first_lines[0]]
    return ["index", *plain[1:]] if plain[0] == "" else plain


def _normalize_heading(heading: str) -> str:
    return re.sub(r"[^a-z0-9]", "", heading.casefold())


def _is_date_heading(heading: str) -> bool:
    return _normalize_heading(heading) in COLUMN_SPELLINGS["date"]


_FIELD_BY_SPELLING = {spelling: field for field in BAR_FIELDS for spelling in COLUMN_SPELLINGS[field]}
_CLOSE_SPELLINGS = {*COLUMN_SPELLINGS["close"], *COLUMN_SPELLINGS["adj_close"]}

LAYOUT_DETECTORS = (
    detect_yfinance_layout,
    detect_stooq_layout,
    detect_nasdaq_layout,
    detect_long_layout,
    detect_wide_layout,
)
