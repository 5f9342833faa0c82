"""Where an exporter puts what: one function per shape of file; the closing tuple is the catalogue.

Each function looks at a file's first lines and returns its layout, or None if the file is not of that shape. The first
in the tuple that recognises a file is believed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from quantlr.data.sheets import KEY, Sheet
from quantlr.errors import DataError

NAMES = {
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
FIELDS = ("open", "high", "low", "close", "adj_close", "volume")
EVENTS = {"dividends", "stocksplits", "capitalgains", "repaired"}
"""Columns that yfinance writes beside the prices, and that are not read: its closes are adjusted for them."""
ALONE = ""
"""Stands for the ticker where a file's columns belong to no ticker in particular."""


@dataclass(frozen=True, slots=True)
class Layout:
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

    head: int
    date: int
    fields: Mapping[str, Mapping[str, int]]
    ticker: int | None = None
    sign: str = ""
    period: int | None = None


def layout_of(sheet: Sheet) -> Layout:
    """Return the layout of a file.

    Raises
    ------
    DataError : none fits; the text says which columns were looked for and which are there.
    """
    for recognise in LAYOUTS:
        layout = recognise(sheet)
        if layout is not None:
            return layout
    here = ", ".join(sheet.top[0])
    if len(sheet.top[0]) == 1 and ";" in here:
        here += " (separated by ';'? needed commas)"
    raise DataError(f"{sheet.path} has no column of dates ('Date'), it has: {here}", key=KEY)


def by_field_and_ticker(sheet: Sheet) -> Layout | None:
    """Yfinance's ``download().to_csv()``: two lines of header, fields and tickers, and a third for the index's name."""
    if len(sheet.top) < 2:
        return None
    first, second = sheet.top[0], sheet.top[1]
    named = len(sheet.top) > 2 and _is_date(sheet.top[2][0]) and not any(sheet.top[2][1:])
    flat = _is_date(first[0]) and not second[0].strip() and all(cell.strip() for cell in second[1:])
    if not (named or flat) or len(first) != len(second):
        return None
    for fields, tickers in ((first, second), (second, first)):
        plain = [_plain(cell) for cell in fields[1:]]
        if set(plain) <= _FIELD_OF.keys() | EVENTS and set(plain) & _CLOSES:
            return Layout(3 if named else 2, 0, _by_ticker(sheet, plain, tickers[1:]))
    return None


def _by_ticker(sheet: Sheet, plain: list[str], tickers: tuple[str, ...]) -> dict[str, dict[str, int]]:
    fields: dict[str, dict[str, int]] = {}
    for at, (spelling, cell) in enumerate(zip(plain, tickers, strict=True), start=1):
        if spelling in EVENTS:
            continue
        mine, field = fields.setdefault(cell.strip(), {}), _FIELD_OF[spelling]
        if field in mine:
            raise DataError(f"{sheet.path} has the column {field} of {cell} twice", key=KEY)
        mine[field] = at
    return fields


def stooq(sheet: Sheet) -> Layout | None:
    """Stooq's database, ``<TICKER>,<PER>,<DATE>,<TIME>,...``: each row says how long its bar is."""
    plain = _plain_header(sheet)
    layout = bar_by_bar(sheet) if "per" in plain else None
    return None if layout is None else replace(layout, period=plain.index("per"))


def nasdaq(sheet: Sheet) -> Layout | None:
    """Nasdaq.com, ``Date,Close/Last,...``: a dollar sign stands before each price."""
    layout = bar_by_bar(sheet) if "closelast" in _plain_header(sheet) else None
    return None if layout is None else replace(layout, sign="$")


def bar_by_bar(sheet: Sheet) -> Layout | None:
    """One row per bar, columns by name, with a column of tickers or without: what most write."""
    found = _recognised(sheet)
    if "date" not in found or not {"close", "adj_close"} & found.keys():
        return None
    fields = {name: found[name] for name in FIELDS if name in found}
    return Layout(1, found["date"], {ALONE: fields}, found.get("ticker"))


def wide(sheet: Sheet) -> Layout | None:
    """One row per date and one column of closes per ticker, named by it."""
    header = sheet.top[0]
    if not (_is_date(header[0]) or not header[0].strip()) or len(header) < 2:
        return None
    twice = [name for name, count in Counter(header[1:]).items() if count > 1]
    if twice:
        raise DataError(f"{sheet.path} has the column {twice[0]} twice; keep one", key=KEY)
    return Layout(1, 0, {name.strip(): {"close": at} for at, name in enumerate(header) if at})


def _recognised(sheet: Sheet) -> dict[str, int]:
    """Return the columns that are known by their names."""
    header, plain = sheet.top[0], _plain_header(sheet)
    found: dict[str, int] = {}
    for name, spellings in NAMES.items():
        for spelling in spellings:
            matches = [at for at, text in enumerate(plain) if text == spelling]
            if len(matches) > 1:
                listed = ", ".join(header[at] for at in matches)
                raise DataError(f"{sheet.path} has the column {name} twice: {listed}; keep one", key=KEY)
            if matches:
                found[name] = matches[0]
                break
    return found


def _plain_header(sheet: Sheet) -> list[str]:
    """Return the first line's cells as they are compared; a first column without a name is an index."""
    plain = [_plain(cell) for cell in sheet.top[0]]
    return ["index", *plain[1:]] if plain[0] == "" else plain


def _plain(cell: str) -> str:
    return re.sub(r"[^a-z0-9]", "", cell.casefold())


def _is_date(cell: str) -> bool:
    return _plain(cell) in NAMES["date"]


_FIELD_OF = {spelling: field for field in FIELDS for spelling in NAMES[field]}
_CLOSES = {*NAMES["close"], *NAMES["adj_close"]}

LAYOUTS = (by_field_and_ticker, stooq, nasdaq, bar_by_bar, wide)
