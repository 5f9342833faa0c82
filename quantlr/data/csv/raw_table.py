"""Price files as tables of cells, with the line number of each row, and the cells as numbers and dates.

Files are CSV, gzipped or not, or Parquet.
"""

from __future__ import annotations

import csv
import re
import zlib
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from pandas.api.types import is_bool_dtype, is_datetime64_any_dtype, is_numeric_dtype, is_string_dtype
from pyarrow import compute, parquet
from pyarrow import csv as arrow_csv

from quantlr.core.errors import DataError
from quantlr.core.file_reading import UnreadableContentError, library_errors_translated, unzip
from quantlr.core.values import Array, BoolArray, IntArray

READABLE_SUFFIXES = (".csv", ".txt", ".csv.gz", ".txt.gz", ".parquet")
"""Endings of the names of files that can be read."""
MAX_HEADER_LINES = 3
"""Number of lines from which a file's layout is detected: no known header is longer."""
MAX_QUOTED_CHARACTERS = 60
"""Characters of a line that an error quotes."""
MAX_FILE_BYTES = 2 << 30
MAX_UNPACKED_BYTES = 4 << 30
MAX_UNPACKED_RATIO = 200
"""Bytes that one byte of a gzip file may unpack to: prices need 3 to 20, a file made to fill the memory 1,000."""
MIN_UNPACKED_LIMIT_BYTES = 1 << 20
"""Unpacked size up to which the ratio does not matter: a short file of equal prices is packed tightly."""
MAX_COLUMNS = 20_000
MAX_ROWS = 100_000_000
MAX_HEADER_LINE_CHARACTERS = MAX_COLUMNS * 100
MAX_CELL_CHARACTERS = 100_000
"""Characters of a cell in the lines from which the layout is detected; Python's reader of CSV allows 131,072."""


@dataclass(frozen=True, slots=True)
class CellTable:
    """The cells below a file's header.

    Attributes
    ----------
    path : path of the file, for messages.
    cells : (rows, columns); text where the file is text. Its columns are the headings, which may be equal, and its
        index is the line of each row in the file, counted from 1; in Parquet the number of the row.
    """

    path: Path
    cells: pd.DataFrame

    def cell_error(self, column_index: int, row: int, reason: str) -> DataError:
        """Return the error for one cell, with its file, line and column."""
        place = f"{self.path}:{self.cells.index[row]}: {self.cells.columns[column_index]}"
        return source_path_error(f"{place}: {reason}")

    @contextmanager
    def column_errors(self, column_index: int, *, needed: str) -> Iterator[None]:
        """Turn what a library raises about the cells of a column into an error with its file and heading."""
        try:
            with library_errors_translated(needed):
                yield
        except UnreadableContentError as error:
            place = f"{self.path}: {self.cells.columns[column_index]}"
            raise source_path_error(f"{place}: {error}; store the column as text, dates or numbers") from error


@dataclass(frozen=True, slots=True)
class RawTable:
    """A file whose layout has not been detected yet.

    Attributes
    ----------
    path : path of the file, for messages.
    first_lines : the cells of its first `MAX_HEADER_LINES` lines that are not empty.
    read_body_cells : returns the cells below a header of the given number of lines, indexed by line.
    """

    path: Path
    first_lines: tuple[tuple[str, ...], ...]
    read_body_cells: Callable[[int], pd.DataFrame]

    def read_cell_table(self, *, n_header_lines: int) -> CellTable:
        """Return the cells below a header of `n_header_lines` lines."""
        body = self.read_body_cells(n_header_lines)
        header = zip(*self.first_lines[:n_header_lines], strict=True)
        headings = [" ".join(filter(None, map(str.strip, cells))) for cells in header]
        names = [heading or f"column {number}" for number, heading in enumerate(headings, start=1)]
        return CellTable(self.path, body.set_axis(names, axis=1))


def source_path_error(message: str) -> DataError:
    """Return an error about a file, which the key `data.source.path` of the config names."""
    return DataError(message, key="data.source.path")


def readable_file_stem(path: Path) -> str | None:
    """Return a file's name without the longest of `READABLE_SUFFIXES` that it ends with, None if it has none."""
    suffixes = [suffix for suffix in READABLE_SUFFIXES if path.name.casefold().endswith(suffix)]
    return path.name[: -len(max(suffixes, key=len))] if suffixes else None


def read_raw_table(content: bytes, *, path: Path) -> RawTable:
    """Return a file's first lines and a reader of the rest.

    Raises
    ------
    DataError : the file is empty, its content is not of the format that its name states, or it has too many columns
        or rows, or unpacks to too much.
    """
    suffix = path.suffix.casefold()
    if suffix == ".parquet":
        return _read_parquet(content, path)
    if suffix == ".gz":
        limit = min(MAX_UNPACKED_BYTES, max(MAX_UNPACKED_RATIO * len(content), MIN_UNPACKED_LIMIT_BYTES))
        try:
            content = unzip(content, max_bytes=limit)
        except UnreadableContentError as error:
            raise source_path_error(f"{path}: {error}; unzip it yourself if it is what it should be") from error
        except (OSError, EOFError, zlib.error) as error:
            raise source_path_error(f"{path} can't be unzipped: {error}; fetch it again") from error
    return _read_csv(content.removeprefix(b"\xef\xbb\xbf"), path)


def _read_parquet(content: bytes, path: Path) -> RawTable:
    try:
        with library_errors_translated("a table of prices"):
            metadata = parquet.read_metadata(BytesIO(content))
            _require_table_size(path, n_rows=metadata.num_rows, n_columns=metadata.num_columns)
            table = pd.read_parquet(BytesIO(content))
            if not isinstance(table.index, pd.RangeIndex):
                table = table.reset_index()
            names = table.columns if isinstance(table.columns, pd.MultiIndex) else [(name,) for name in table.columns]
            first_lines = tuple(tuple(map(str, level)) for level in zip(*names, strict=True))
    except UnreadableContentError as error:
        raise source_path_error(f"{path} can't be read as Parquet: {error}; write it again, or as CSV") from error
    if not first_lines:
        raise source_path_error(f"{path} has no columns; needed dates and prices")
    return RawTable(path, first_lines, lambda _: table.set_axis(np.arange(1, len(table) + 1)))


def _require_table_size(path: Path, *, n_rows: int, n_columns: int) -> None:
    """Raise an error if a table has more rows, columns or cells than are read."""
    for n_found, limit, name in ((n_columns, MAX_COLUMNS, "columns"), (n_rows, MAX_ROWS, "rows")):
        if n_found > limit:
            text = f"needed at most {limit:,} {name}, found {n_found:,}; split the file, one for each ticker"
            raise source_path_error(f"{path}: {text}")
    n_bytes = 8 * n_rows * n_columns
    if n_bytes > MAX_UNPACKED_BYTES:
        text = f"needed a table of at most {MAX_UNPACKED_BYTES:,} bytes, found {n_rows:,} rows of {n_columns:,} columns"
        raise source_path_error(f"{path}: {text}, {n_bytes:,} bytes; split the file, one for each ticker")


def _read_csv(content: bytes, path: Path) -> RawTable:
    if content.count(b"\r") > content.count(b"\r\n"):  # line ends of the classic Mac OS
        content = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    lines = ((number, line.rstrip(b"\r\n")) for number, line in enumerate(BytesIO(content), start=1))
    header_lines = list(islice((numbered for numbered in lines if numbered[1]), MAX_HEADER_LINES))
    if not header_lines:
        raise source_path_error(f"{path} is empty; needed a header line and prices")
    # A comma within quotes counts too, which no header has thousands of.
    _require_table_size(path, n_rows=0, n_columns=header_lines[0][1].count(b",") + 1)
    first_lines = tuple(_split_header_line(line, path, number) for number, line in header_lines)
    n_columns = len(first_lines[0])
    return RawTable(
        path, first_lines, lambda n_lines: _parse_csv_cells(content, path, n_columns=n_columns, n_skipped=n_lines)
    )


def _split_header_line(line: bytes, path: Path, line_number: int) -> tuple[str, ...]:
    """Return the cells of one of the lines that the layout is detected from."""
    place = f"{path}:{line_number}"
    if len(line) > MAX_HEADER_LINE_CHARACTERS or max(map(len, line.split(b","))) > MAX_CELL_CHARACTERS:
        needed = f"needed cells of at most {MAX_CELL_CHARACTERS:,} characters"
        raise source_path_error(f"{place}: {needed}, found a line of {len(line):,}; leave out the column of long text")
    try:
        with library_errors_translated("a line of cells separated by commas"):
            return tuple(next(csv.reader([_decode_utf8(line, path)])))
    except UnreadableContentError as error:
        raise source_path_error(f"{place}: {error}; correct the line") from error


def _decode_utf8(content: bytes, path: Path) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise source_path_error(f"{path} is not UTF-8 text (byte {error.start})") from error


def _parse_csv_cells(content: bytes, path: Path, *, n_columns: int, n_skipped: int) -> pd.DataFrame:
    """Return the cells, as text, of the lines after the first `n_skipped` that are not empty."""
    names = [str(index) for index in range(n_columns)]
    invalid_rows: list[arrow_csv.InvalidRow] = []

    def collect_invalid_row(invalid_row: arrow_csv.InvalidRow) -> str:
        invalid_rows.append(invalid_row)
        return "error"

    types = dict.fromkeys(names, pa.string())
    try:
        table = arrow_csv.read_csv(
            pa.BufferReader(content),
            read_options=arrow_csv.ReadOptions(column_names=names, use_threads=False),
            parse_options=arrow_csv.ParseOptions(invalid_row_handler=collect_invalid_row),
            convert_options=arrow_csv.ConvertOptions(column_types=types, strings_can_be_null=False),
        )
    except pa.ArrowInvalid as error:
        if not invalid_rows:
            _decode_utf8(content, path)
            raise source_path_error(f"{path} can't be read as CSV: {error}") from error
        row = invalid_rows[0]
        line_number = _row_line_numbers(content, row.number)[row.number - 1]
        expected, actual = row.expected_columns, row.actual_columns
        text = row.text if len(row.text) <= MAX_QUOTED_CHARACTERS else f"{row.text[:MAX_QUOTED_CHARACTERS]}…"
        hint = "; a number is written without separators: 1234.5" if actual > expected else ""
        needed = f"needed {expected} columns, as the header has, found {actual}"
        raise source_path_error(f"{path}:{line_number}: {needed}: {text!r}{hint}") from error
    cells: pd.DataFrame = table.to_pandas().set_axis(_row_line_numbers(content, table.num_rows))
    return cells.iloc[n_skipped:]


def _row_line_numbers(content: bytes, n_rows: int) -> IntArray:
    """Return the line number of each of the first rows, counted from 1; empty lines are not rows."""
    if b"\n\n" not in content and b"\n\r\n" not in content and not content.startswith((b"\n", b"\r")):
        return np.arange(1, n_rows + 1, dtype=np.int64)
    numbers = [number for number, line in enumerate(content.split(b"\n"), start=1) if line.rstrip(b"\r")]
    return np.array(numbers[:n_rows], dtype=np.int64)


DateArray = npt.NDArray[np.datetime64]
DATE_DTYPE = "datetime64[us]"
MISSING_VALUE_MARKERS = ("", "nan", "na", "n/a", "null", "none", "-")
"""Texts that exporters write for a missing number, in lower case."""
TIME_SUFFIX_PATTERN = r"(?:[ T](?P<time>.*))?"
DATE_PATTERNS = (
    rf"(?P<year>\d{{4}})-(?P<month>\d\d)-(?P<day>\d\d){TIME_SUFFIX_PATTERN}",
    r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)",
    rf"(?P<year>\d{{4}})[/.](?P<month>\d\d?)[/.](?P<day>\d\d?){TIME_SUFFIX_PATTERN}",
    rf"(?P<first>\d\d?)[/.-](?P<second>\d\d?)[/.-](?P<year>\d{{4}}){TIME_SUFFIX_PATTERN}",
)
"""Date formats: year, month and day; or two numbers, whose order the whole column decides, and the year."""
TIME_ZONE_PATTERN = r"(?:(?P<utc>Z|UTC|GMT)|(?P<sign>[+-])(?P<hours>\d\d):?(?P<minutes>\d\d))"


def cells_to_text(cells: pd.Series[Any]) -> pd.Series[str]:
    """Return cells as text without leading or trailing blanks, "" for a missing cell."""
    return cells.astype("str").fillna("").str.strip()


def blank_cell_mask(cells: pd.Series[Any]) -> BoolArray:
    """(rows,) whether a cell is missing or, in a column of text, consists of blanks only."""
    return np.asarray(cells_to_text(cells) == "" if is_string_dtype(cells.dtype) else cells.isna())


def parse_numbers(table: CellTable, column_index: int, *, prefix: str = "") -> Array:
    """Return a column as numbers, NaN for a missing cell; `prefix` is text that may precede a number.

    Raises
    ------
    DataError : naming the line of the first cell that is not a number.
    """
    with table.column_errors(column_index, needed="numbers"):
        return _cells_to_floats(table, column_index, prefix)


def _cells_to_floats(table: CellTable, column_index: int, prefix: str) -> Array:
    cells = table.cells.iloc[:, column_index]
    if is_numeric_dtype(cells.dtype) and not is_bool_dtype(cells.dtype):
        return cells.to_numpy(dtype=np.float64, na_value=np.nan)
    text = cells_to_text(cells)
    if prefix:
        text = text.str.removeprefix(prefix)
    text = text.mask(text.str.lower().isin(MISSING_VALUE_MARKERS))
    try:
        return _text_to_floats(text)
    except pa.ArrowInvalid:
        row = bisect_left(range(len(text)), True, key=lambda row: not _are_numbers(text.iloc[: row + 1]))
    cell = text.iloc[row]
    if re.search(r"\d,\d", cell):
        hint = "write it with a decimal point and no separators"
    elif re.match(r"[^\w.+-]\s*\d", cell):
        hint = f"write it without the {cell[0]!r}"
    else:
        hint = "correct the cell"
    raise table.cell_error(column_index, row, f"needed a number, found {cell!r}; {hint}")


def _are_numbers(text: pd.Series[str]) -> bool:
    try:
        _text_to_floats(text)
    except pa.ArrowInvalid:
        return False
    return True


def parse_dates(table: CellTable, column_index: int) -> tuple[DateArray, Array]:
    """Return a column as dates and times, and the minutes ahead of UTC they are written in, NaN without a zone.

    A date is written 2020-12-31, 20201231 or 2020/12/31, and a time and a zone may follow; or it is written 31/12/2020
    or 12/31/2020, if some date of the column has a day above 12 and so shows which of the two it is.

    Raises
    ------
    DataError : naming the line of the first cell that is not a date, that is not in the format of the first one, or
        whose day and month can't be distinguished.
    """
    with table.column_errors(column_index, needed="dates"):
        return _cells_to_dates_and_offsets(table, column_index)


def _cells_to_dates_and_offsets(table: CellTable, column_index: int) -> tuple[DateArray, Array]:
    cells = table.cells.iloc[:, column_index]
    if is_datetime64_any_dtype(cells.dtype):
        stamps = pd.DatetimeIndex(cells)
        dates = stamps.tz_localize(None).to_numpy().astype(DATE_DTYPE)
        _require_dates(table, column_index, dates)
        if stamps.tz is None:
            return dates, np.full(len(dates), np.nan)
        utc = stamps.tz_convert(None).to_numpy().astype(DATE_DTYPE)
        return dates, np.asarray((dates - utc) / np.timedelta64(1, "m"), dtype=np.float64)
    # Each different text is parsed once: files of many tickers repeat their dates.
    text_ids, texts = pd.factorize(cells_to_text(cells))
    pattern = next((pattern for pattern in DATE_PATTERNS if re.fullmatch(pattern, texts[0])), DATE_PATTERNS[0])
    groups = pd.Series(texts).str.extract(f"^(?:{pattern})$")
    numbers = groups.drop(columns="time", errors="ignore").apply(pd.to_numeric).fillna(0).astype(np.int64)
    if "first" in numbers:
        numbers = _name_day_and_month(table, column_index, numbers, text_ids)
    calendar_days = pd.to_datetime(numbers[["year", "month", "day"]], errors="coerce")
    dates = calendar_days.to_numpy().astype(DATE_DTYPE)[text_ids]
    _require_dates(table, column_index, dates)
    if "time" not in groups:
        return dates, np.full(len(dates), np.nan)
    return dates + _time_of_day(groups["time"])[text_ids], _utc_offset_minutes(groups["time"])[text_ids]


def _text_to_floats(text: pd.Series[str]) -> Array:
    # Arrow parses strictly, and to the last bit.
    floats = compute.cast(pa.array(text, from_pandas=True), pa.float64())
    return np.asarray(floats.to_numpy(zero_copy_only=False), dtype=np.float64)


def _require_dates(table: CellTable, column_index: int, dates: DateArray) -> None:
    """Raise the error for the first cell that is not a date."""
    invalid = np.isnat(dates)
    if not invalid.any():
        return
    row = int(invalid.argmax())
    texts = cells_to_text(table.cells.iloc[:, column_index])
    text = texts.iloc[row]
    expected = f"a date as YYYY-MM-DD{f' like the first, {texts.iloc[0]!r}' if row and text else ''}"
    is_two_numbers = re.fullmatch(r"\d\d?[/.-]\d\d?[/.-]\d{2,4}", text)
    reason = " (day and month can't be distinguished)" if is_two_numbers else ""
    reason = f"needed {expected}, found {text!r}{reason}; rewrite the dates as 2005-12-31"
    raise table.cell_error(column_index, row, reason)


def _name_day_and_month(table: CellTable, column_index: int, numbers: pd.DataFrame, text_ids: IntArray) -> pd.DataFrame:
    """Return the columns `first` and `second` renamed to day and month, by the texts in which one is above 12.

    Parameters
    ----------
    numbers : the numbers in each different text.
    text_ids : (rows,) index of each row's text among the different texts.
    """
    first_is_day, second_is_day = (np.flatnonzero(numbers[name] > 12) for name in ("first", "second"))
    if len(first_is_day) and not len(second_is_day):
        return numbers.rename(columns={"first": "day", "second": "month"})
    if len(second_is_day) and not len(first_is_day):
        return numbers.rename(columns={"first": "month", "second": "day"})
    texts = cells_to_text(table.cells.iloc[:, column_index])
    row, other = 0, ""
    reason = "day and month can't be distinguished, since no number of the column is above 12"
    if len(first_is_day):
        earlier, row = sorted(int(np.argmax(text_ids == index)) for index in (first_is_day[0], second_is_day[0]))
        other = f", and {texts.iloc[earlier]!r} in line {texts.index[earlier]}"
        reason = "day and month stand in both orders"
    text = f"found {texts.iloc[row]!r}{other}: {reason}; rewrite the dates as 2005-12-31"
    raise table.cell_error(column_index, row, text)


def _time_of_day(times: pd.Series[str]) -> npt.NDArray[np.timedelta64]:
    """Return the time of day that each text begins with, 0 where none is."""
    clock = times.str.extract(r"^(\d\d?):(\d\d)(?::(\d\d))?").apply(pd.to_numeric).fillna(0).to_numpy(dtype=np.int64)
    return np.asarray((clock @ [3600, 60, 1]).astype("timedelta64[s]"))


def _utc_offset_minutes(times: pd.Series[str]) -> Array:
    """Return the minutes ahead of UTC that each time of day is written in, NaN where no zone is."""
    zone = times.str.extract(f"^.*?{TIME_ZONE_PATTERN}$")
    minutes = 60.0 * pd.to_numeric(zone["hours"]) + pd.to_numeric(zone["minutes"])
    signed = minutes.where(zone["sign"] != "-", -minutes)
    return signed.where(zone["utc"].isna(), 0.0).to_numpy()
