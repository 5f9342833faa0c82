"""Lists of tickers: read from a file, one a line or a column of a CSV, and matched with those that a source has."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from quantlr.core.components import MAX_TICKER_CHARACTERS, resolve_config_path
from quantlr.core.errors import DataError, did_you_mean_text
from quantlr.core.file_reading import UnreadableContentError, library_errors_translated, read_file

MAX_TICKERS_FILE_BYTES = 16 << 20
"""Size of a list of tickers with several columns; a million tickers alone need a third of it."""
MAX_LISTED_TICKERS = 20
"""Number of tickers that an error lists."""
TICKER_HEADINGS = ("ticker", "symbol", "tic", "ts_code", "code", "股票代码", "代码", "证券代码", "permno", "name")
"""Headings of a column of tickers, in lower case; the first one present is used: a code is one, a name may not be."""
STOOQ_US_SUFFIX = ".us"
"""Suffix that Stooq appends to the ticker of an American stock, and that a user may omit."""


def read_ticker_list(path: object) -> tuple[str, ...]:
    """Return the tickers that a file lists: the first cell of each line, or the column headed Symbol or Ticker.

    Text after a # is a comment. A ticker is its text: 0700 is not 700.

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
    for number, ticker in _iter_line_numbers_and_tickers(text, file):
        if len(ticker) > MAX_TICKER_CHARACTERS:
            raise ValueError(f"{file}:{number}: needs at most {MAX_TICKER_CHARACTERS} characters, found {len(ticker)}")
        if ticker in line_by_ticker:
            raise ValueError(f"{file}:{number}: {ticker} is there already, in line {line_by_ticker[ticker]}")
        line_by_ticker[ticker] = number
    if not line_by_ticker:
        raise ValueError(f"{file} lists no ticker; write one a line")
    return tuple(line_by_ticker)


def _iter_line_numbers_and_tickers(text: str, path: Path) -> Iterator[tuple[int, str]]:
    """Yield the number and the ticker of each line that is neither blank, nor a comment, nor the heading."""
    column: int | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        content = line.partition("#")[0].strip()
        if not content:
            continue
        try:
            with library_errors_translated("a ticker, or cells separated by commas"):
                cells = [cell.strip() for cell in next(csv.reader([content], skipinitialspace=True))]
        except UnreadableContentError as error:
            raise ValueError(f"{path}:{number}: {error}; correct the line") from None
        if column is None:
            headings = [cell.casefold() for cell in cells]
            heading = next((heading for heading in TICKER_HEADINGS if heading in headings), None)
            column = headings.index(heading) if heading else 0
            if heading:
                continue
        if column >= len(cells) or not cells[column]:
            raise ValueError(f"{path}:{number}: names no ticker: {content!r}")
        yield number, cells[column]


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
