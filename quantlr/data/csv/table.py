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

from quantlr.core.arrays import IntArray
from quantlr.core.errors import DataError

READABLE_SUFFIXES = (".csv", ".txt", ".csv.gz", ".txt.gz", ".parquet")
"""How the names of files end that can be read."""
MAX_HEADER_LINES = 3
"""Lines that tell a file's layout: the longest header known has so many."""
SOURCE_PATH_KEY = "data.source.path"
MAX_SHOWN_CHARACTERS = 60

LineCells = tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class BodyCells:
    """The cells below a file's header.

    Attributes
    ----------
    columns : Arrow arrays of one length; text where the file is text.
    lines : (rows,) line of each row in its file, counted from 1; in Parquet, which has no lines, the row's number.
    """

    columns: tuple[pa.Array, ...]
    line_numbers: IntArray


@dataclass(frozen=True, slots=True)
class RawTable:
    """A file, its header not yet understood.

    Attributes
    ----------
    path : its name, for messages.
    top : its first lines, cell by cell, less empty ones.
    below : returns the cells below so many lines of header.
    """

    path: Path
    first_lines: LineCells
    read_body: Callable[[int], BodyCells]

    def column_heading(self, column_index: int, *, n_header_lines: int) -> str:
        """Return what the header calls a column."""
        words = [line[column_index].strip() for line in self.first_lines[:n_header_lines] if column_index < len(line)]
        return " ".join(word for word in words if word) or f"column {column_index + 1}"


def readable_suffix(path: Path) -> str | None:
    """Return the ending of a file's name if it is one that can be read, the longest that fits."""
    name = path.name.casefold()
    return max((suffix for suffix in READABLE_SUFFIXES if name.endswith(suffix)), key=len, default=None)


def read_raw_table(content: bytes, *, path: Path) -> RawTable:
    """Return a file's first lines, and the way to the rest.

    Raises
    ------
    DataError : the file is empty, or not what its name says.
    """
    if path.suffix.casefold() == ".parquet":
        return _read_parquet_table(content, path)
    if path.suffix.casefold() == ".gz":
        content = _gunzip_bytes(content, path)
    return _read_csv_table(content.removeprefix(b"\xef\xbb\xbf"), path)


def _gunzip_bytes(content: bytes, path: Path) -> bytes:
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} can't be unzipped: {error}; fetch it again", key=SOURCE_PATH_KEY) from error


def _read_parquet_table(content: bytes, path: Path) -> RawTable:
    try:
        table = pd.read_parquet(BytesIO(content))
        if not isinstance(table.index, pd.RangeIndex):
            table = table.reset_index()
    except (OSError, ValueError) as error:
        raise DataError(f"{path} can't be read as Parquet: {error}", key=SOURCE_PATH_KEY) from error
    nested = isinstance(table.columns, pd.MultiIndex)
    names = [name if nested else (name,) for name in table.columns]
    top = tuple(tuple(str(cell) for cell in level) for level in zip(*names, strict=True))
    columns = tuple(_combine_chunks(pa.array(table.iloc[:, at], from_pandas=True)) for at in range(len(names)))
    lines = np.arange(1, len(table) + 1, dtype=np.int64)
    return RawTable(path, top, lambda _: BodyCells(columns, lines))


def _combine_chunks(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _read_csv_table(content: bytes, path: Path) -> RawTable:
    if b"\n" not in content:
        content = content.replace(b"\r", b"\n")  # as old Macs wrote it
    tops: list[tuple[str, ...]] = []
    ends: list[tuple[int, int]] = []
    for number, (line, end) in enumerate(_iter_lines_and_end_offsets(content), start=1):
        if line:
            tops.append(tuple(next(csv.reader([_decode_utf8(line, path)]))))
            ends.append((end, number))
        if len(tops) == MAX_HEADER_LINES:
            break
    if not tops:
        raise DataError(f"{path} is empty; needed a header line and prices", key=SOURCE_PATH_KEY)

    def read_body(n_header_lines: int) -> BodyCells:
        end, number = ends[min(n_header_lines, len(ends)) - 1]
        return _parse_csv_body(content[end:], path, n_columns=len(tops[0]), header_end_line=number)

    return RawTable(path, tuple(tops), read_body)


def _iter_lines_and_end_offsets(content: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield each line without its end, and where the next one begins."""
    begin = 0
    while begin < len(content):
        at = content.find(b"\n", begin)
        end = len(content) if at < 0 else at + 1
        yield content[begin:end].rstrip(b"\r\n"), end
        begin = end


def _decode_utf8(content: bytes, path: Path) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start})", key=SOURCE_PATH_KEY) from error


def _parse_csv_body(body: bytes, path: Path, *, n_columns: int, header_end_line: int) -> BodyCells:
    """Return the cells of the lines below a header that ends at line `above`, as text."""
    if not body.strip():
        return BodyCells((pa.array([], pa.string()),) * n_columns, np.empty(0, dtype=np.int64))
    names = [str(at) for at in range(n_columns)]
    refused: list[arrow_csv.InvalidRow] = []

    def collect_invalid_row(invalid_row: arrow_csv.InvalidRow) -> str:
        refused.append(invalid_row)
        return "error"

    try:
        table = arrow_csv.read_csv(
            pa.BufferReader(body),
            read_options=arrow_csv.ReadOptions(column_names=names, use_threads=False),
            parse_options=arrow_csv.ParseOptions(invalid_row_handler=collect_invalid_row),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        if refused:
            raise _column_count_error(refused[0], path, body, header_end_line) from error
        _decode_utf8(body, path)
        raise DataError(f"{path} can't be read as CSV: {error}", key=SOURCE_PATH_KEY) from error
    columns = tuple(_combine_chunks(column) for column in table.columns)
    return BodyCells(columns, header_end_line + _row_line_numbers(body, table.num_rows))


def _column_count_error(invalid_row: arrow_csv.InvalidRow, path: Path, body: bytes, header_end_line: int) -> DataError:
    line = header_end_line + int(_row_line_numbers(body, invalid_row.number)[invalid_row.number - 1])
    shown = (
        invalid_row.text
        if len(invalid_row.text) <= MAX_SHOWN_CHARACTERS
        else f"{invalid_row.text[:MAX_SHOWN_CHARACTERS]}…"
    )
    why = (
        "; a number is written without separators: 1234.5"
        if invalid_row.actual_columns > invalid_row.expected_columns
        else ""
    )
    return DataError(
        f"{path}:{line}: needed {invalid_row.expected_columns} columns, as the header has, found {invalid_row.actual_columns}: "
        f"{shown!r}{why}",
        key=SOURCE_PATH_KEY,
    )


def _row_line_numbers(body: bytes, n_rows: int) -> IntArray:
    """Return the line of each of the first rows, counted from 1; an empty line is no row."""
    if b"\n\n" not in body and b"\n\r\n" not in body and not body.startswith((b"\n", b"\r")):
        return np.arange(1, n_rows + 1, dtype=np.int64)
    full = [number for number, (line, _) in enumerate(_iter_lines_and_end_offsets(body), start=1) if line]
    return np.array(full[:n_rows], dtype=np.int64)
