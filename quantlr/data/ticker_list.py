"""Lists of tickers in a file: one a line, or a column of a CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from quantlr.core.components import resolve_config_path
from quantlr.data.csv.layouts import COLUMN_SPELLINGS

MAX_TICKER_CHARACTERS = 40


@dataclass(frozen=True, slots=True)
class TickerList:
    """A file of tickers, read.

    Attributes
    ----------
    path : the file.
    tickers : what it lists, in its order.
    """

    path: Path
    tickers: tuple[str, ...]


def read_ticker_list(path: object) -> TickerList:
    """Return the tickers that a file lists: the first cell of each line, or the column headed Symbol or Ticker.

    What follows a # is a comment, and a ticker is its text: 0700 is not 700.

    Raises
    ------
    ValueError : naming the line, where it is no list of tickers, each once.
    """
    if not isinstance(path, (str, Path)):
        raise ValueError(f"needs the path of a file with one ticker a line, found {type(path).__name__}")
    file = Path(resolve_config_path(path))
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise ValueError(f"{file} can't be read: {error.strerror}; a path is relative to its config") from None
    listed: dict[str, int] = {}
    for number, ticker in _iter_line_numbers_and_tickers(text, file):
        if len(ticker) > MAX_TICKER_CHARACTERS:
            raise ValueError(f"{file}:{number}: needs at most {MAX_TICKER_CHARACTERS} characters, found {len(ticker)}")
        if ticker in listed:
            raise ValueError(f"{file}:{number}: {ticker} is there already, in line {listed[ticker]}")
        listed[ticker] = number
    if not listed:
        raise ValueError(f"{file} lists no ticker; write one a line")
    return TickerList(file, tuple(listed))


def _iter_line_numbers_and_tickers(text: str, path: Path) -> Iterator[tuple[int, str]]:
    """Yield each line that names a ticker, and the ticker."""
    column: int | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        bare = line.partition("#")[0].strip()
        if not bare:
            continue
        cells = [cell.strip() for cell in next(csv.reader([bare], skipinitialspace=True))]
        if column is None:
            headed = [cell.casefold() for cell in cells]
            column = next((headed.index(name) for name in COLUMN_SPELLINGS["ticker"] if name in headed), -1)
            if column >= 0:
                continue
        ticker = cells[max(column, 0)] if max(column, 0) < len(cells) else ""
        if not ticker:
            raise ValueError(f"{path}:{number}: names no ticker: {bare!r}")
        yield number, ticker
