"""Lists of tickers: read from a file, one a line or a column of a CSV, and matched with those that a source has."""

from __future__ import annotations

import csv
import datetime as dt
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from quantlr.core.components import MAX_TICKER_CHARACTERS, resolve_config_path
from quantlr.core.errors import DataError, did_you_mean_text
from quantlr.core.file_reading import UnreadableContentError, library_errors_translated, read_file
from quantlr.core.known_series import DateArray

MAX_TICKERS_FILE_BYTES = 16 << 20
"""Size of a list of tickers with several columns; a million tickers alone need a third of it."""
MAX_LINE_CHARACTERS = 100_000
"""Characters of a line of a list; Python's reader of CSV allows 131,072 in a cell."""
MAX_LISTED_TICKERS = 20
"""Number of tickers that an error lists."""
TICKER_HEADINGS = ("ticker", "symbol", "tic", "ts_code", "code", "股票代码", "代码", "证券代码", "permno", "name")
"""Headings of a column of tickers, in lower case; the first one present is used: a code is one, a name may not be."""
DATE_HEADINGS = ("from", "to")
"""Headings of the columns of a member's first and last date."""
MemberDates = tuple[dt.date | None, dt.date | None]
"""First and last date, both included, on which a ticker is a member of the universe; None leaves that side open."""
STOOQ_US_SUFFIX = ".us"
"""Suffix that Stooq appends to the ticker of an American stock, and that a user may omit."""


def read_ticker_list(path: object) -> dict[str, MemberDates]:
    """Return the tickers that a file lists, with their dates: the first cell of each line, or columns with headings.

    Columns headed Symbol or Ticker, From and To are found in any order; without the last two every date is None. Text
    after a # is a comment. A ticker is its text: 0700 is not 700.

    Raises
    ------
    ValueError : naming the line, where the file is not a list of tickers, each once.
    """
    if not isinstance(path, (str, Path)):
        raise ValueError(f"needs the path of a file with one ticker a line, found {type(path).__name__}")
    file = Path(resolve_config_path(path))
    try:
        text = read_file(file, max_bytes=MAX_TICKERS_FILE_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8 text (byte {error.start})") from None
    except UnreadableContentError as error:
        raise ValueError(f"{file}: {error}; name a text file with one ticker a line") from None
    except OSError as error:
        raise ValueError(f"{file} can't be read: {error.strerror}; a path is relative to its config") from None
    line_by_ticker: dict[str, int] = {}
    dates_by_ticker: dict[str, MemberDates] = {}
    for number, (ticker, from_text, to_text) in _iter_line_numbers_and_cells(text, file):
        place = f"{file}:{number}: "
        if len(ticker) > MAX_TICKER_CHARACTERS:
            raise ValueError(f"{place}needs at most {MAX_TICKER_CHARACTERS} characters, found {len(ticker)}")
        if ticker in line_by_ticker:
            hint = "; a member has one period: join the two, or leave one out" if from_text or to_text else ""
            raise ValueError(f"{place}{ticker} is there already, in line {line_by_ticker[ticker]}{hint}")
        line_by_ticker[ticker] = number
        first, last = _date_or_none(from_text, place), _date_or_none(to_text, place)
        dates_by_ticker[ticker] = first, last
        if first and last and last < first:
            raise ValueError(f"{place}{ticker} is a member from {first} to {last}, which is earlier; correct the dates")
    if not line_by_ticker:
        raise ValueError(f"{file} lists no ticker; write one a line")
    return dates_by_ticker


def _iter_line_numbers_and_cells(text: str, path: Path) -> Iterator[tuple[int, tuple[str, str, str]]]:
    """Yield number, ticker, first and last date of each line that is neither blank, nor a comment, nor the heading."""
    columns: list[int | None] = []
    for number, line in enumerate(text.splitlines(), start=1):
        content = line.partition("#")[0].strip()
        if not content:
            continue
        if len(content) > MAX_LINE_CHARACTERS:
            needed = f"needs a line of at most {MAX_LINE_CHARACTERS:,} characters"
            raise ValueError(f"{path}:{number}: {needed}, found {len(content):,}; leave out the column of long text")
        try:
            with library_errors_translated("a ticker, or cells separated by commas"):
                cells = [cell.strip() for cell in next(csv.reader([content], skipinitialspace=True))]
        except UnreadableContentError as error:
            raise ValueError(f"{path}:{number}: {error}; correct the line") from None
        if not columns:
            columns, is_heading = _find_columns(cells, f"{path}:{number}: ")
            if is_heading:
                continue
        ticker, first, last = (cells[index] if index is not None and index < len(cells) else "" for index in columns)
        if not ticker:
            raise ValueError(f"{path}:{number}: names no ticker: {content!r}")
        yield number, (ticker, first, last)


def _find_columns(cells: Sequence[str], place: str) -> tuple[list[int | None], bool]:
    """Return the columns of ticker, first and last date, None for a missing one, and whether the line is a heading."""
    headings = [cell.casefold() for cell in cells]
    dates = [headings.index(name) if name in headings else None for name in DATE_HEADINGS]
    ticker_heading = next((heading for heading in TICKER_HEADINGS if heading in headings), None)
    if ticker_heading:
        return [headings.index(ticker_heading), *dates], True
    if dates != [None, None]:
        needed = " or ".join(TICKER_HEADINGS[:2])
        raise ValueError(f"{place}needs a column headed {needed} beside the dates, found {', '.join(cells)}")
    return [0, None, None], False


def _date_or_none(cell: str, place: str) -> dt.date | None:
    """Return the date in a cell, None for an empty one."""
    try:
        return dt.date.fromisoformat(cell) if cell else None
    except ValueError:
        raise ValueError(f"{place}needs a date as YYYY-MM-DD, or nothing for an open end, found {cell!r}") from None


def member_dates_of_tickers(
    tickers: Sequence[str], membership: Mapping[str, MemberDates]
) -> tuple[DateArray, DateArray]:
    """Return the first and the last date of each ticker, (tickers,) each; the earliest and the latest where open."""
    members = [membership.get(ticker, (None, None)) for ticker in tickers]
    first = np.array([date or dt.date.min for date, _ in members], dtype="datetime64[D]")
    return first, np.array([date or dt.date.max for _, date in members], dtype="datetime64[D]")


def find_matching_ticker(ticker: str, known_tickers: Collection[str]) -> str | None:
    """Return the known ticker that equals `ticker`, or equals it with Stooq's suffix; None if there is none."""
    if ticker in known_tickers:
        return ticker
    return next((name for name in known_tickers if name.casefold() == ticker.casefold() + STOOQ_US_SUFFIX), None)


def require_known_tickers(tickers: Sequence[str], known_tickers: Sequence[str], location: str) -> None:
    """Raise an error if a ticker is not among those of `location`, a file, a folder or a source.

    Raises
    ------
    DataError : naming all unknown tickers, and a similar one for a single unknown ticker.
    """
    unknown = [ticker for ticker in tickers if find_matching_ticker(ticker, known_tickers) is None]
    if len(unknown) == 1:
        text = f"{location} has no ticker {unknown[0]!r}, it has {shortened_list_text(known_tickers)}"
        raise DataError(text + did_you_mean_text(unknown[0].upper(), known_tickers), key="data.tickers")
    if unknown:
        text = f"{location} lacks {len(unknown)} of {len(tickers)} tickers: {shortened_list_text(unknown)}"
        raise DataError(f"{text}; add their prices, or leave them out", key="data.tickers")


def shortened_list_text(names: Sequence[str]) -> str:
    """Return the first names of a list, and the number of the others."""
    n_more = len(names) - MAX_LISTED_TICKERS
    return ", ".join(names[:MAX_LISTED_TICKERS]) + (f" and {n_more} more" if n_more > 0 else "")
