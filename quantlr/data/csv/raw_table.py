"""Price files as tables of cells, with the line number of each row, and the cells as dates."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.api.types import is_datetime64_any_dtype, is_string_dtype

from quantlr.core.errors import DataError
from quantlr.core.file_reading import UnreadableContentError, library_errors_translated
from quantlr.core.known_series import DateArray, FileColumn
from quantlr.core.values import Array, BoolArray, IntArray, Note
from quantlr.data.csv.date_texts import to_iso_texts
from quantlr.data.csv.headings import has_bar_headings, has_wide_headings
from quantlr.data.ticker_list import shortened_list_text

MAX_HEADER_LINES = 3
"""Number of lines from which a file's layout is detected: no known header is longer."""
MAX_PREAMBLE_LINES = 20
"""Number of lines among which a header is looked for."""
MAX_HEADING_CHARACTERS = 40
"""Characters of a heading that an error quotes."""
MAX_FILE_BYTES = 2 << 30
MAX_TABLE_BYTES = 4 << 30
MAX_COLUMNS = 20_000
MAX_ROWS = 100_000_000


@dataclass(frozen=True, slots=True)
class ReadingOptions:
    """How a file is to be read; None, or no entry, leaves it to the file's content.

    Attributes
    ----------
    columns : by field (date, ticker, open, high, low, close, adj_close, volume) the heading of its column.
    separator : text between the cells of a line.
    decimal : the decimal mark.
    encoding : of text, by its name in Python.
    date_format : of dates, as for Python's strptime; or one of `date_texts.BARE_NUMBER_UNITS`.
    sheet : name of the sheet of a workbook.
    file_columns : columns to read beside those of the bars.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    separator: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    date_format: str | None = None
    sheet: str | None = None
    file_columns: tuple[FileColumn, ...] = ()


@dataclass(frozen=True, slots=True)
class CellTable:
    """The cells below a file's header.

    Attributes
    ----------
    path : path of the file, for messages.
    cells : (rows, columns); text where the file is text. Its columns are the headings, which may be equal, and its
        index is the line of each row in the file, counted from 1; in Parquet the number of the row.
    decimal_mark : the decimal mark of numbers in text; None if it is not known.
    date_format : as in `ReadingOptions`.
    refuses_serial_dates : whether bare numbers of days are no dates, since it is not known from which day they count.
    """

    path: Path
    cells: pd.DataFrame
    decimal_mark: str | None = None
    date_format: str | None = None
    refuses_serial_dates: bool = False

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
    first_lines : the cells of its first `MAX_HEADER_LINES` lines that are not empty, from its header on.
    read_body_cells : returns the cells below a header of the given number of lines, indexed by line.
    decimal_mark, refuses_serial_dates : as in `CellTable`.
    notes : what was left out.
    format_text : how the file was read, in words; see `description.FileReading`.
    """

    path: Path
    first_lines: tuple[tuple[str, ...], ...]
    read_body_cells: Callable[[int], pd.DataFrame]
    decimal_mark: str | None = None
    refuses_serial_dates: bool = False
    notes: tuple[Note, ...] = ()
    format_text: str = ""

    def read_cell_table(self, *, n_header_lines: int, options: ReadingOptions) -> CellTable:
        """Return the cells below a header of `n_header_lines` lines."""
        body = self.read_body_cells(n_header_lines)
        header = zip(*self.first_lines[:n_header_lines], strict=True) if n_header_lines else [()] * body.shape[1]
        headings = [" ".join(filter(None, map(str.strip, cells))) for cells in header]
        names = [printable(heading) or f"column {number}" for number, heading in enumerate(headings, start=1)]
        cells = body.set_axis(names, axis=1)
        return CellTable(self.path, cells, self.decimal_mark, options.date_format, self.refuses_serial_dates)

    def column_positions(self, headings: Sequence[str], *, key: str) -> list[int]:
        """Return the position of the column of each heading; DataError with that key if one is not there once."""
        header = [cell.strip() for cell in self.first_lines[0]]
        for heading in headings:
            if header.count(heading) != 1:
                listed = shortened_list_text([printable(cell) for cell in header])
                text = f"{self.path} needs one column {heading!r}, found {header.count(heading)} among {listed}"
                raise DataError(text, key=key)
        return [header.index(heading) for heading in headings]


def printable(text: str) -> str:
    """Return a heading as an error quotes it: on one line, without characters that control a terminal, and cut."""
    if text.isprintable() and len(text) <= MAX_HEADING_CHARACTERS:
        return text
    return "".join(character if character.isprintable() else "?" for character in text[:MAX_HEADING_CHARACTERS])


def source_path_error(message: str) -> DataError:
    """Return an error about a file, which the key `data.source.path` of the config names."""
    return DataError(message, key="data.source.path")


def require_table_size(path: Path, *, n_rows: int, n_columns: int) -> None:
    """Raise an error if a table has more rows, columns or cells than are read."""
    for n_found, limit, name in ((n_columns, MAX_COLUMNS, "columns"), (n_rows, MAX_ROWS, "rows")):
        if n_found > limit:
            text = f"needed at most {limit:,} {name}, found {n_found:,}; split the file, one for each ticker"
            raise source_path_error(f"{path}: {text}")
    n_bytes = 8 * n_rows * n_columns
    if n_bytes > MAX_TABLE_BYTES:
        text = f"needed a table of at most {MAX_TABLE_BYTES:,} bytes, found {n_rows:,} rows of {n_columns:,} columns"
        raise source_path_error(f"{path}: {text}, {n_bytes:,} bytes; split the file, one for each ticker")


def empty_file_error(path: Path) -> DataError:
    """Return the error about a file without any cell."""
    return source_path_error(f"{path} is empty; needed a header line and prices")


HEADER_TESTS: tuple[Callable[[Sequence[str]], bool], ...] = (has_bar_headings, has_wide_headings)
"""Functions that tell whether a row is a header, in the order in which they are tried on all rows."""


def find_header_row(
    rows: Iterable[Sequence[str]], options: ReadingOptions, is_header: Callable[[Sequence[str]], bool]
) -> int | None:
    """Return the position of the first row that is a header, None if none is; headings in `options` must be in it."""
    named = set(options.columns.values())
    if named:
        return next((index for index, row in enumerate(rows) if named <= {cell.strip() for cell in row}), None)
    return next((index for index, row in enumerate(rows) if is_header(row)), None)


DATE_DTYPE = "datetime64[us]"
DATES_ADVICE = "rewrite the dates as 2005-12-31, or set data.source.date_format"
EARLIEST_DATE = np.datetime64("1600-01-01", "us")
TIME_SUFFIX_PATTERN = r"\.?(?:(?:T| +)(?P<time>.*))?"
DATE_PATTERNS = (
    rf"(?P<year>\d{{4}})[-/.] ?(?P<month>\d\d?)[-/.] ?(?P<day>\d\d?){TIME_SUFFIX_PATTERN}",
    rf"(?P<year>\d{{4}})(?P<month>\d\d)(?P<day>\d\d){TIME_SUFFIX_PATTERN}",
    rf"(?P<first>\d\d?)[-/.] ?(?P<second>\d\d?)[-/.] ?(?P<year>\d{{4}}){TIME_SUFFIX_PATTERN}",
)
"""Date formats: year, month and day; or two numbers, whose order the whole column decides, and the year."""
TIME_PATTERN = (
    r"(?:(?P<hour>\d\d?)(?::?(?P<minute>\d\d)(?::?(?P<second>\d\d)(?:[.,]\d*)?)?)?)?"
    r" ?(?:(?P<half>[AaPp])\.?[Mm]\b\.?)? ?"
    r"(?:(?P<utc>Z|UTC|GMT)?(?:(?P<sign>[+-])(?P<ahead_hours>\d\d):?(?P<ahead_minutes>\d\d)?)?(?:\[.*\])?"
    r"|[A-Za-z]{2,}[\w/+-]*)"
)
"""A time of day and its zone: an offset from UTC, or a name, of which only UTC states an offset."""


def cells_to_text(cells: pd.Series[Any]) -> pd.Series[str]:
    """Return cells as text without leading or trailing blanks, "" for a missing cell."""
    return cells.astype("str").fillna("").str.strip()


def blank_cell_mask(cells: pd.Series[Any]) -> BoolArray:
    """(rows,) whether a cell is missing or, in a column of text, consists of blanks only."""
    return np.asarray(cells_to_text(cells) == "" if is_string_dtype(cells.dtype) else cells.isna())


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
    texts = to_iso_texts(texts, table.date_format, reads_serials=not table.refuses_serial_dates)
    pattern = next((pattern for pattern in DATE_PATTERNS if re.fullmatch(pattern, texts[0])), DATE_PATTERNS[0])
    groups = pd.Series(texts).str.extract(f"^(?:{pattern})$")
    numbers = groups.drop(columns="time", errors="ignore").apply(pd.to_numeric).fillna(0).astype(np.int64)
    if "first" in numbers:
        numbers = _name_day_and_month(table, column_index, numbers, text_ids)
    calendar_days = pd.to_datetime(numbers[["year", "month", "day"]], errors="coerce")
    dates = calendar_days.to_numpy().astype(DATE_DTYPE)[text_ids]
    _require_dates(table, column_index, dates)
    times = groups["time"].fillna("")
    if not times.any():
        return dates, np.full(len(dates), np.nan)
    time_of_day, offset = _times_and_offsets(table, column_index, times, text_ids)
    return dates + time_of_day[text_ids], offset[text_ids]


def _require_dates(table: CellTable, column_index: int, dates: DateArray) -> None:
    """Raise the error for the first cell that is not a date, or one before any prices."""
    early = np.flatnonzero(dates < EARLIEST_DATE)
    if len(early):
        needed = f"needed a date from {EARLIEST_DATE.astype('datetime64[Y]')} on"
        raise table.cell_error(column_index, int(early[0]), f"{needed}, found {str(dates[early[0]])[:10]}; correct it")
    invalid = np.isnat(dates)
    if not invalid.any():
        return
    row = int(invalid.argmax())
    texts = cells_to_text(table.cells.iloc[:, column_index])
    text, valid_texts = texts.iloc[row], texts[~invalid]
    example = valid_texts.iloc[0] if len(valid_texts) else ""
    if not text.isdigit() and re.sub(r"\d+", "0", text) == re.sub(r"\d+", "0", example):
        raise table.cell_error(column_index, row, f"found {text!r}, which is not a day of the calendar; correct it")
    expected = f"a date like {example!r}" if example and text else "a date as YYYY-MM-DD"
    advice = DATES_ADVICE + (" to excel, s, ms, us or ns" if text.isdigit() and len(text) > 6 else "")
    if table.date_format:
        expected, advice = f"a date in the format {table.date_format!r}", "correct data.source.date_format"
    is_two_numbers = re.fullmatch(r"\d\d?[/.-]\d\d?[/.-]\d{2,4}", text)
    reason = " (day and month can't be distinguished)" if is_two_numbers else ""
    raise table.cell_error(column_index, row, f"needed {expected}, found {text!r}{reason}; {advice}")


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
    text = f"found {texts.iloc[row]!r}{other}: {reason}; {DATES_ADVICE}"
    raise table.cell_error(column_index, row, text)


def _times_and_offsets(
    table: CellTable, column_index: int, times: pd.Series[str], text_ids: IntArray
) -> tuple[npt.NDArray[np.timedelta64], Array]:
    """Return the time of day of each text, 0 where none is, and the minutes ahead of UTC, NaN without a zone.

    Raises
    ------
    DataError : a text is no time of day.
    """
    parts = times.str.strip().str.extract(f"^(?P<all>{TIME_PATTERN})$")
    names = ["hour", "minute", "second", "ahead_hours", "ahead_minutes"]
    hour, minute, second, *ahead = parts[names].apply(pd.to_numeric).fillna(0).to_numpy(dtype=np.int64).T
    has_half = parts["half"].notna().to_numpy()
    is_valid = parts["all"].notna() & (hour < 24) & (minute < 60) & (second <= 60) & (~has_half | (hour % 13 == hour))
    if not is_valid.all():
        invalid = int(np.argmin(is_valid))
        needed = "needed a time of day after the date, as 16:30 or 16:30+01:00"
        row = int(np.argmax(text_ids == invalid))
        raise table.cell_error(column_index, row, f"{needed}, found {times[invalid]!r}; {DATES_ADVICE}")
    is_afternoon = parts["half"].str.lower().eq("p").to_numpy(dtype=np.bool_)
    hour = np.where(has_half, hour % 12 + 12 * is_afternoon, hour)
    minutes = np.where(parts["sign"] == "-", -1.0, 1.0) * (np.array(ahead).T @ [60, 1])
    minutes[(parts["sign"].isna() & parts["utc"].isna()).to_numpy()] = np.nan
    return (hour * 3600 + minute * 60 + second).astype("timedelta64[s]"), minutes
