"""Files as rows and columns of cells: CSV, gzipped or not, and Parquet, with the line that each row stands on."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv as arrow_csv

from quantlr.errors import DataError
from quantlr.types import IntArray

SUFFIXES = (".csv", ".txt", ".csv.gz", ".txt.gz", ".parquet")
"""How the names of files end that can be read."""
TOP = 3
"""Lines that tell a file's layout: the longest header known has so many."""
KEY = "data.source.path"
LONGEST_SHOWN = 60

Top = tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Cells:
    """The cells below a file's header.

    Attributes
    ----------
    columns : Arrow arrays of one length; text where the file is text.
    lines : (rows,) line of each row in its file, counted from 1; in Parquet, which has no lines, the row's number.
    """

    columns: tuple[pa.Array, ...]
    lines: IntArray


@dataclass(frozen=True, slots=True)
class Sheet:
    """A file, its header not yet understood.

    Attributes
    ----------
    path : its name, for messages.
    top : its first lines, cell by cell, less empty ones.
    below : returns the cells below so many lines of header.
    """

    path: Path
    top: Top
    below: Callable[[int], Cells]

    def heading(self, column: int, *, head: int) -> str:
        """Return what the header calls a column."""
        words = [line[column].strip() for line in self.top[:head] if column < len(line)]
        return " ".join(word for word in words if word) or f"column {column + 1}"


def known_suffix(path: Path) -> str | None:
    """Return the ending of a file's name if it is one that can be read, the longest that fits."""
    name = path.name.casefold()
    return max((suffix for suffix in SUFFIXES if name.endswith(suffix)), key=len, default=None)


def read_sheet(content: bytes, *, path: Path) -> Sheet:
    """Return a file's first lines, and the way to the rest.

    Raises
    ------
    DataError : the file is empty, or not what its name says.
    """
    if path.suffix.casefold() == ".parquet":
        return _parquet(content, path)
    if path.suffix.casefold() == ".gz":
        content = _unzipped(content, path)
    return _text(content.removeprefix(b"\xef\xbb\xbf"), path)


def _unzipped(content: bytes, path: Path) -> bytes:
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} can't be unzipped: {error}; fetch it again", key=KEY) from error


def _parquet(content: bytes, path: Path) -> Sheet:
    try:
        table = pd.read_parquet(BytesIO(content))
        if not isinstance(table.index, pd.RangeIndex):
            table = table.reset_index()
    except (OSError, ValueError) as error:
        raise DataError(f"{path} can't be read as Parquet: {error}", key=KEY) from error
    nested = isinstance(table.columns, pd.MultiIndex)
    names = [name if nested else (name,) for name in table.columns]
    top = tuple(tuple(str(cell) for cell in level) for level in zip(*names, strict=True))
    columns = tuple(_whole(pa.array(table.iloc[:, at], from_pandas=True)) for at in range(len(names)))
    lines = np.arange(1, len(table) + 1, dtype=np.int64)
    return Sheet(path, top, lambda _: Cells(columns, lines))


def _whole(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _text(content: bytes, path: Path) -> Sheet:
    if b"\n" not in content:
        content = content.replace(b"\r", b"\n")  # as old Macs wrote it
    tops: list[tuple[str, ...]] = []
    ends: list[tuple[int, int]] = []
    for number, (line, end) in enumerate(_lines(content), start=1):
        if line:
            tops.append(tuple(next(csv.reader([_decoded(line, path)]))))
            ends.append((end, number))
        if len(tops) == TOP:
            break
    if not tops:
        raise DataError(f"{path} is empty; needed a header line and prices", key=KEY)

    def below(head: int) -> Cells:
        end, number = ends[min(head, len(ends)) - 1]
        return _cells(content[end:], path, width=len(tops[0]), above=number)

    return Sheet(path, tuple(tops), below)


def _lines(content: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield each line without its end, and where the next one begins."""
    begin = 0
    while begin < len(content):
        at = content.find(b"\n", begin)
        end = len(content) if at < 0 else at + 1
        yield content[begin:end].rstrip(b"\r\n"), end
        begin = end


def _decoded(line: bytes, path: Path) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start})", key=KEY) from error


def _cells(body: bytes, path: Path, *, width: int, above: int) -> Cells:
    """Return the cells of the lines below a header that ends at line `above`, as text."""
    if not body.strip():
        return Cells((pa.array([], pa.string()),) * width, np.empty(0, dtype=np.int64))
    names = [str(at) for at in range(width)]
    refused: list[arrow_csv.InvalidRow] = []

    def refuse(row: arrow_csv.InvalidRow) -> str:
        refused.append(row)
        return "error"

    try:
        table = arrow_csv.read_csv(
            pa.BufferReader(body),
            read_options=arrow_csv.ReadOptions(column_names=names, use_threads=False),
            parse_options=arrow_csv.ParseOptions(invalid_row_handler=refuse),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        if refused:
            raise _uneven(refused[0], path, body, above) from error
        _decoded(body, path)
        raise DataError(f"{path} can't be read as CSV: {error}", key=KEY) from error
    columns = tuple(_whole(column) for column in table.columns)
    return Cells(columns, above + _numbered(body, table.num_rows))


def _uneven(row: arrow_csv.InvalidRow, path: Path, body: bytes, above: int) -> DataError:
    line = above + int(_numbered(body, row.number)[row.number - 1])
    shown = row.text if len(row.text) <= LONGEST_SHOWN else f"{row.text[:LONGEST_SHOWN]}…"
    why = "; a number is written without separators: 1234.5" if row.actual_columns > row.expected_columns else ""
    return DataError(
        f"{path}:{line}: needed {row.expected_columns} columns, as the header has, found {row.actual_columns}: "
        f"{shown!r}{why}",
        key=KEY,
    )


def _numbered(body: bytes, rows: int) -> IntArray:
    """Return the line of each of the first rows, counted from 1; an empty line is no row."""
    if b"\n\n" not in body and b"\n\r\n" not in body and not body.startswith((b"\n", b"\r")):
        return np.arange(1, rows + 1, dtype=np.int64)
    full = [number for number, (line, _) in enumerate(_lines(body), start=1) if line]
    return np.array(full[:rows], dtype=np.int64)
