"""Price files as tables of cells: CSV, gzipped or not, and Parquet, with the line number of each row."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv as arrow_csv

from quantlr.core.errors import DataError
from quantlr.core.values import BoolArray, IntArray

READABLE_SUFFIXES = (".csv", ".txt", ".csv.gz", ".txt.gz", ".parquet")
"""Endings of the names of files that can be read."""
MAX_HEADER_LINES = 3
"""Number of lines from which a file's layout is detected: no known header is longer."""
MAX_QUOTED_CHARACTERS = 60
"""Characters of a line that an error quotes."""
BodyCells = tuple[tuple[pa.Array, ...], IntArray]
"""The columns below a header, and the line number of each row."""


@dataclass(frozen=True, slots=True)
class CellTable:
    """The cells below a file's header.

    Attributes
    ----------
    path : path of the file, for messages.
    headings : (columns,) name of each column in the header.
    columns : (columns,) Arrow arrays of one length; text where the file is text.
    line_numbers : (rows,) line of each row in the file, counted from 1; in Parquet the number of the row.
    """

    path: Path
    headings: tuple[str, ...]
    columns: tuple[pa.Array, ...]
    line_numbers: IntArray

    def __len__(self) -> int:
        return len(self.line_numbers)

    def filter(self, row_mask: BoolArray) -> CellTable:
        """Return the rows where the mask is true."""
        columns = tuple(column.filter(pa.array(row_mask)) for column in self.columns)
        return replace(self, columns=columns, line_numbers=self.line_numbers[row_mask])

    def cell_error(self, column_index: int, row: int, reason: str) -> DataError:
        """Return the error for one cell, with its file, line and column."""
        place = f"{self.path}:{self.line_numbers[row]}: {self.headings[column_index]}"
        return source_path_error(f"{place}: {reason}")


@dataclass(frozen=True, slots=True)
class RawTable:
    """A file whose layout has not been detected yet.

    Attributes
    ----------
    path : path of the file, for messages.
    first_lines : the cells of its first `MAX_HEADER_LINES` lines that are not empty.
    read_body : returns the columns below a header of the given number of lines, and the line number of each row.
    """

    path: Path
    first_lines: tuple[tuple[str, ...], ...]
    read_body: Callable[[int], BodyCells]

    def read_cells(self, *, n_header_lines: int) -> CellTable:
        """Return the cells below a header of `n_header_lines` lines."""
        columns, line_numbers = self.read_body(n_header_lines)
        header = self.first_lines[:n_header_lines]
        headings = []
        for index in range(len(columns)):
            words = [line[index].strip() for line in header if index < len(line)]
            headings.append(" ".join(filter(None, words)) or f"column {index + 1}")
        return CellTable(self.path, tuple(headings), columns, line_numbers)


def source_path_error(message: str) -> DataError:
    """Return an error about a file, which the key `data.source.path` of the config names."""
    return DataError(message, key="data.source.path")


def readable_suffix(path: Path) -> str | None:
    """Return the longest of `READABLE_SUFFIXES` that a file's name ends with, None if there is none."""
    name = path.name.casefold()
    return max((suffix for suffix in READABLE_SUFFIXES if name.endswith(suffix)), key=len, default=None)


def read_raw_table(content: bytes, *, path: Path) -> RawTable:
    """Return a file's first lines and a reader of the rest.

    Raises
    ------
    DataError : the file is empty, or its content is not of the format that its name states.
    """
    suffix = path.suffix.casefold()
    if suffix == ".parquet":
        return _read_parquet(content, path)
    if suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise source_path_error(f"{path} can't be unzipped: {error}; fetch it again") from error
    return _read_csv(content.removeprefix(b"\xef\xbb\xbf"), path)


def _read_parquet(content: bytes, path: Path) -> RawTable:
    try:
        table = pd.read_parquet(BytesIO(content))
        if not isinstance(table.index, pd.RangeIndex):
            table = table.reset_index()
    except (OSError, ValueError) as error:
        raise source_path_error(f"{path} can't be read as Parquet: {error}") from error
    names = table.columns if isinstance(table.columns, pd.MultiIndex) else [(name,) for name in table.columns]
    first_lines = tuple(tuple(map(str, level)) for level in zip(*names, strict=True))
    arrays = [pa.array(table.iloc[:, index], from_pandas=True) for index in range(len(names))]
    columns = tuple(array if isinstance(array, pa.Array) else array.combine_chunks() for array in arrays)
    row_numbers = np.arange(1, len(table) + 1, dtype=np.int64)
    return RawTable(path, first_lines, lambda _: (columns, row_numbers))


def _read_csv(content: bytes, path: Path) -> RawTable:
    if b"\n" not in content:
        content = content.replace(b"\r", b"\n")  # line ends of the classic Mac OS
    first_lines: list[tuple[str, ...]] = []
    line_ends: list[tuple[int, int]] = []  # offset of the byte after each of them, and its line number
    stream = BytesIO(content)
    for line_number, line in enumerate(stream, start=1):
        text = line.rstrip(b"\r\n")
        if text:
            first_lines.append(tuple(next(csv.reader([_decode_utf8(text, path)]))))
            line_ends.append((stream.tell(), line_number))
        if len(first_lines) == MAX_HEADER_LINES:
            break
    if not first_lines:
        raise source_path_error(f"{path} is empty; needed a header line and prices")

    def read_body(n_header_lines: int) -> BodyCells:
        offset, header_end_line = line_ends[min(n_header_lines, len(line_ends)) - 1]
        return _parse_csv_body(content[offset:], path, n_columns=len(first_lines[0]), header_end_line=header_end_line)

    return RawTable(path, tuple(first_lines), read_body)


def _decode_utf8(content: bytes, path: Path) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise source_path_error(f"{path} is not UTF-8 text (byte {error.start})") from error


def _parse_csv_body(body: bytes, path: Path, *, n_columns: int, header_end_line: int) -> BodyCells:
    """Return the columns, as text, and the line numbers of the lines below a header that ends at `header_end_line`."""
    if not body.strip():
        return (pa.array([], pa.string()),) * n_columns, np.empty(0, dtype=np.int64)
    names = [str(index) for index in range(n_columns)]
    invalid_rows: list[arrow_csv.InvalidRow] = []

    def collect_invalid_row(invalid_row: arrow_csv.InvalidRow) -> str:
        invalid_rows.append(invalid_row)
        return "error"

    types = dict.fromkeys(names, pa.string())
    try:
        table = arrow_csv.read_csv(
            pa.BufferReader(body),
            read_options=arrow_csv.ReadOptions(column_names=names, use_threads=False),
            parse_options=arrow_csv.ParseOptions(invalid_row_handler=collect_invalid_row),
            convert_options=arrow_csv.ConvertOptions(column_types=types, strings_can_be_null=False),
        )
    except pa.ArrowInvalid as error:
        if not invalid_rows:
            _decode_utf8(body, path)
            raise source_path_error(f"{path} can't be read as CSV: {error}") from error
        row = invalid_rows[0]
        line_number = header_end_line + _row_line_numbers(body, row.number)[row.number - 1]
        expected, actual = row.expected_columns, row.actual_columns
        text = row.text if len(row.text) <= MAX_QUOTED_CHARACTERS else f"{row.text[:MAX_QUOTED_CHARACTERS]}…"
        hint = "; a number is written without separators: 1234.5" if actual > expected else ""
        needed = f"needed {expected} columns, as the header has, found {actual}"
        raise source_path_error(f"{path}:{line_number}: {needed}: {text!r}{hint}") from error
    columns = tuple(column.combine_chunks() for column in table.columns)
    return columns, header_end_line + _row_line_numbers(body, table.num_rows)


def _row_line_numbers(body: bytes, n_rows: int) -> IntArray:
    """Return the line number of each of the first rows, counted from 1; empty lines are not rows."""
    if b"\n\n" not in body and b"\n\r\n" not in body and not body.startswith((b"\n", b"\r")):
        return np.arange(1, n_rows + 1, dtype=np.int64)
    numbers = [number for number, line in enumerate(body.split(b"\n"), start=1) if line.rstrip(b"\r")]
    return np.array(numbers[:n_rows], dtype=np.int64)
