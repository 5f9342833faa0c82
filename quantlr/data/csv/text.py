"""Text files as tables of cells: their encoding, separator and header line, and the rows below it.

Without the keys `encoding` and `separator` of the config, the encoding is that of the byte order mark, else UTF-8, else
that of gb18030 and cp1252 in which the headings of dates and closes, and more of the others, are known words; and the
separator is the one with which a line among the first is a header. Lines above it are skipped.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv as arrow_csv

from quantlr.core.file_reading import UnreadableContentError, exception_text, library_errors_translated
from quantlr.core.values import IntArray, Note
from quantlr.data.csv.headings import count_known_headings, has_bar_headings
from quantlr.data.csv.raw_table import (
    HEADER_TESTS,
    MAX_COLUMNS,
    MAX_HEADER_LINES,
    MAX_PREAMBLE_LINES,
    RawTable,
    ReadingOptions,
    empty_file_error,
    find_header_row,
    require_table_size,
    source_path_error,
)

SEPARATORS = (",", ";", "\t", "|")
SEPARATOR_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
ENCODING_BY_MARK = {
    b"\xef\xbb\xbf": "utf-8",
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
"""Encodings by their byte order mark, the longer mark of two first."""
ENCODINGS_BY_HEADINGS = ("gb18030", "cp1252")
MAX_QUOTED_CHARACTERS = 60
"""Characters of a line that an error quotes."""
MAX_HEADER_LINE_CHARACTERS = MAX_COLUMNS * 100
MAX_CELL_CHARACTERS = 100_000
"""Characters of a cell in the lines from which the layout is detected; Python's reader of CSV allows 131,072."""
BLOCK_BYTES = 1 << 20
MAX_FOOTER_BYTES = 1000
QUOTED_NUMBER_PATTERN = re.compile(rb'(?m)(?:^|,)"[^"\n]*\d[.,]\d[^"\n]*"')
"""A cell in quotes with digits on both sides of a mark, in a text separated by commas."""


@dataclass(frozen=True, slots=True)
class _Line:
    """A line that is not empty: its number, counted from 1, its first byte's position in the file, and its bytes."""

    number: int
    start: int
    content: bytes


def read_text_table(content: bytes, path: Path, options: ReadingOptions) -> RawTable:
    """Return the first lines of a text file from its header on, and a reader of the rest.

    Raises
    ------
    DataError : the file is empty, its encoding is not known, or it has too many columns.
    """
    content, encoding = _to_utf8(content, path, options)
    if content.count(b"\r") > content.count(b"\r\n"):  # line ends of the classic Mac OS
        content = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    lines = list(islice(_iter_lines(content), MAX_PREAMBLE_LINES + MAX_HEADER_LINES))
    if not lines:
        raise empty_file_error(path)
    separator, header = _find_header(lines, path, options)
    # A separator within quotes counts too, which no header has thousands of.
    n_separators = lines[header].content.count(separator.encode())
    require_table_size(path, n_rows=0, n_columns=n_separators + 1)
    header_lines = lines[header : header + MAX_HEADER_LINES]
    first_lines = tuple(_split_line(line, path, separator) for line in header_lines)
    start, n_before, n_columns = header_lines[0].start, header_lines[0].number - 1, len(first_lines[0])
    body, footer = _without_footer(content[start:] if start else content, separator)
    has_quoted_numbers = b'"' in body and QUOTED_NUMBER_PATTERN.search(body) is not None
    decimal_mark = options.decimal or ("." if separator == "," and not has_quoted_numbers else None)

    def read_body_cells(n_header_lines: int) -> pd.DataFrame:
        cells = _parse_cells(body, path, separator, n_columns=n_columns, n_lines_before=n_before)
        return cells.iloc[n_header_lines:]

    text = f"{path.name} ends with a line that is no row of the table, {footer!r}; left out"
    notes = (Note("data", text, key="data.source.path"),) if footer else ()
    format_text = f"text in {encoding}, cells separated by {SEPARATOR_NAMES.get(separator, repr(separator))}"
    format_text += f", {n_before} line{'s'[: n_before != 1]} above the header skipped" if n_before else ""
    return RawTable(path, first_lines, read_body_cells, decimal_mark, notes=notes, format_text=format_text)


def _without_footer(content: bytes, separator: str) -> tuple[bytes, str]:
    """Return lines without a last one that is one cell of words, as Barchart writes, and its first characters."""
    rows = content.rstrip()
    start = rows.rfind(b"\n") + 1
    last = rows[start : start + MAX_FOOTER_BYTES].decode("utf-8", "replace")
    is_within_quotes = rows.count(b'"', 0, start) % 2 == 1
    if not start or is_within_quotes or not last.removeprefix('"')[:1].isalpha():
        return content, ""
    if len(next(csv.reader([last], delimiter=separator))) > 1:
        return content, ""
    return rows[:start], last.strip('"')[:MAX_QUOTED_CHARACTERS]


def _to_utf8(content: bytes, path: Path, options: ReadingOptions) -> tuple[bytes, str]:
    """Return the text in UTF-8 without a byte order mark, and the encoding that it was in."""
    marked = next(((mark, name) for mark, name in ENCODING_BY_MARK.items() if content.startswith(mark)), None)
    if options.encoding is None and marked is None:
        if content.isascii() or _decodes(content, "utf-8"):
            return content, "utf-8"
        counts = {name: _count_known_headings(content, name, path, options) for name in ENCODINGS_BY_HEADINGS}
        names = [name for name, count in counts.items() if count and count == max(counts.values())]
        if len(names) != 1:
            position = _first_undecodable_byte(content)
            advice = "set data.source.encoding, or save the file as UTF-8"
            raise source_path_error(f"{path} is not UTF-8 text (byte {position}); {advice}")
        return content.decode(names[0]).encode(), names[0]
    encoding = options.encoding or marked[1] if marked else str(options.encoding)
    try:
        return content.decode(encoding).removeprefix("\ufeff").encode(), encoding
    except (UnicodeError, LookupError) as error:
        found = f"found text that is not {encoding}: {exception_text(error)}"
        raise source_path_error(f"{path}: {found}; save it as UTF-8, or correct data.source.encoding") from error


def _decodes(content: bytes, encoding: str) -> bool:
    """Return whether the whole content is text of an encoding, without holding that text."""
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        for start in range(0, len(content), BLOCK_BYTES):
            decoder.decode(content[start : start + BLOCK_BYTES])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _first_undecodable_byte(content: bytes) -> int:
    try:
        content.decode()
    except UnicodeDecodeError as error:
        return error.start
    return 0


def _count_known_headings(content: bytes, encoding: str, path: Path, options: ReadingOptions) -> int:
    """Return how many known headings the header has in an encoding; 0 if it lacks those of dates and closes.

    It is 0 too if the content is not text of the encoding.
    """
    if not _decodes(content, encoding):
        return 0
    first = [
        line.content.decode(encoding, errors="replace").encode()
        for line in islice(_iter_lines(content), MAX_PREAMBLE_LINES)
    ]
    lines = [_Line(number, 0, line) for number, line in enumerate(first, start=1)]
    separator, header = _find_header(lines, path, options)
    cells = _split_line(lines[header], path, separator)
    return count_known_headings(cells) if has_bar_headings(cells) else 0


def _iter_lines(content: bytes) -> Iterator[_Line]:
    """Yield the lines that are not empty."""
    start, number = 0, 0
    while start < len(content):
        end = content.find(b"\n", start)
        end = len(content) if end < 0 else end
        number += 1
        if line := content[start:end].rstrip(b"\r"):
            yield _Line(number, start, line)
        start = end + 1


def _find_header(lines: Sequence[_Line], path: Path, options: ReadingOptions) -> tuple[str, int]:
    """Return the separator of a file, and the position of its header among its first lines."""
    separators = [options.separator] if options.separator else SEPARATORS
    for is_header in HEADER_TESTS:
        for separator in separators:
            rows = (
                _split_line(line, path, separator) if _may_be_header(line.content, separator) else ()
                for line in lines[:MAX_PREAMBLE_LINES]
            )
            position = find_header_row(rows, options, is_header)
            if position is not None:
                return separator, position
    return max(separators, key=lambda separator: lines[0].content.count(separator.encode())), 0


def _may_be_header(line: bytes, separator: str) -> bool:
    """Return whether a line has several cells of a bounded length."""
    cells = line.split(separator.encode())
    return len(cells) > 1 and len(line) <= MAX_HEADER_LINE_CHARACTERS and max(map(len, cells)) <= MAX_CELL_CHARACTERS


def _split_line(line: _Line, path: Path, separator: str) -> tuple[str, ...]:
    """Return the cells of one of the lines that the layout is detected from."""
    place = f"{path}:{line.number}"
    text = line.content
    if len(text) > MAX_HEADER_LINE_CHARACTERS or max(map(len, text.split(separator.encode()))) > MAX_CELL_CHARACTERS:
        needed = f"needed cells of at most {MAX_CELL_CHARACTERS:,} characters"
        raise source_path_error(f"{place}: {needed}, found a line of {len(text):,}; leave out the column of long text")
    try:
        with library_errors_translated("a line of cells"):
            return tuple(next(csv.reader([text.decode()], delimiter=separator)))
    except UnreadableContentError as error:
        raise source_path_error(f"{place}: {error}; correct the line") from error


def _parse_cells(content: bytes, path: Path, separator: str, *, n_columns: int, n_lines_before: int) -> pd.DataFrame:
    """Return the cells, as text, of all lines that are not empty; the index is the line of each in the file."""
    names = [str(index) for index in range(n_columns)]
    invalid_rows: list[arrow_csv.InvalidRow] = []

    def record_invalid_row_and_stop(invalid_row: arrow_csv.InvalidRow) -> str:
        invalid_rows.append(invalid_row)
        return "error"

    types = dict.fromkeys(names, pa.string())
    try:
        table = arrow_csv.read_csv(
            pa.BufferReader(content),
            read_options=arrow_csv.ReadOptions(column_names=names, use_threads=False),
            parse_options=arrow_csv.ParseOptions(delimiter=separator, invalid_row_handler=record_invalid_row_and_stop),
            convert_options=arrow_csv.ConvertOptions(column_types=types, strings_can_be_null=False),
        )
    except pa.ArrowInvalid as error:
        if not invalid_rows:
            raise source_path_error(f"{path} can't be read as CSV: {error}") from error
        row = invalid_rows[0]
        line_number = _row_line_numbers(content, row.number)[row.number - 1] + n_lines_before
        expected, actual = row.expected_columns, row.actual_columns
        text = row.text if len(row.text) <= MAX_QUOTED_CHARACTERS else f"{row.text[:MAX_QUOTED_CHARACTERS]}…"
        hint = "; a number is written without separators: 1234.5" if actual > expected else ""
        needed = f"needed {expected} columns, as the header has, found {actual}"
        raise source_path_error(f"{path}:{line_number}: {needed}: {text!r}{hint}") from error
    cells: pd.DataFrame = table.to_pandas()
    return cells.set_axis(_row_line_numbers(content, table.num_rows) + n_lines_before)


def _row_line_numbers(content: bytes, n_rows: int) -> IntArray:
    """Return the line number of each of the first rows, counted from 1; empty lines are not rows."""
    if b"\n\n" not in content and b"\n\r\n" not in content and not content.startswith((b"\n", b"\r")):
        return np.arange(1, n_rows + 1, dtype=np.int64)
    numbers = [number for number, line in enumerate(content.split(b"\n"), start=1) if line.rstrip(b"\r")]
    return np.array(numbers[:n_rows], dtype=np.int64)
