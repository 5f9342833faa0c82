"""Cells as dates and numbers, or the line of the first that is neither and what to write instead."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from pyarrow import compute

from quantlr.core.arrays import Array, BoolArray, IntArray
from quantlr.core.errors import DataError
from quantlr.data.csv.table import SOURCE_PATH_KEY

DateArray = npt.NDArray[np.datetime64]
_MISSING_VALUE_MARKERS = pa.array(["", "nan", "na", "n/a", "null", "none", "-"])
"""What exporters write where there is no number, in small letters."""
_TIME_SUFFIX_PATTERN = r"(?:[ T](?P<time>.*))?"
_DATE_PATTERNS = (
    rf"(?P<year>\d{{4}})-(?P<month>\d\d)-(?P<day>\d\d){_TIME_SUFFIX_PATTERN}",
    r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)",
    rf"(?P<year>\d{{4}})[/.](?P<month>\d\d?)[/.](?P<day>\d\d?){_TIME_SUFFIX_PATTERN}",
    rf"(?P<one>\d\d?)[/.-](?P<two>\d\d?)[/.-](?P<year>\d{{4}}){_TIME_SUFFIX_PATTERN}",
)
"""How a date is written: by year, month and day, or by two numbers whose order the column must tell, and the year."""
_TIME_ZONE_PATTERN = r"(?:(?P<utc>Z|UTC|GMT)|(?P<sign>[+-])(?P<hours>\d\d):?(?P<minutes>\d\d))"


@dataclass(frozen=True, slots=True)
class CellColumn:
    """A column of cells, and what its errors name.

    Attributes
    ----------
    cells : (rows,) Arrow array.
    lines : (rows,) line of each cell.
    file : name of the file.
    heading : what the header calls the column.
    """

    cells: pa.Array
    line_numbers: IntArray
    file_name: str
    heading: str

    def cell_error(self, row: int, reason: str) -> DataError:
        """Return the error for one of its cells."""
        return DataError(f"{self.file_name}:{self.line_numbers[row]}: {self.heading}: {reason}", key=SOURCE_PATH_KEY)


@dataclass(frozen=True, slots=True)
class ParsedDates:
    """The session of each row.

    Attributes
    ----------
    dates : (rows,) the date as written, whatever time or zone follows it.
    utc_offset : (rows,) minutes ahead of UTC that the time is written in, NaN where no zone is.
    """

    dates: DateArray
    utc_offset_minutes: Array


def cells_to_text(cells: pa.Array) -> pa.Array:
    """Return cells as text without outer blanks, "" where there is nothing."""
    if pa.types.is_dictionary(cells.type):
        cells = cells.dictionary_decode()
    return compute.utf8_trim_whitespace(compute.fill_null(compute.cast(cells, pa.string()), ""))


def parse_numbers(column: CellColumn, *, prefix: str = "") -> Array:
    """Return a column as numbers, NaN for an empty cell; `sign` is text that may stand before one.

    Raises
    ------
    DataError : naming the line of the first cell that is no number.
    """
    kind = column.cells.type
    if pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind) or pa.types.is_decimal(kind):
        return _cells_to_floats(column.cells)
    text = cells_to_text(column.cells)
    if prefix:
        text = compute.replace_substring_regex(text, f"^{re.escape(prefix)}", "")
    text = compute.if_else(compute.is_in(compute.utf8_lower(text), value_set=_MISSING_VALUE_MARKERS), None, text)
    try:
        return _cells_to_floats(text)
    except pa.ArrowInvalid:
        raise _not_a_number_error(column, text) from None


def _cells_to_floats(cells: pa.Array) -> Array:
    return np.asarray(compute.cast(cells, pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)


def _is_number(cell: str | None) -> bool:
    try:
        compute.cast(pa.array([cell], pa.string()), pa.float64())
    except pa.ArrowInvalid:
        return False
    return True


def _not_a_number_error(column: CellColumn, texts: pa.Array) -> DataError:
    """Return the error for the first text that Arrow can't read as a number."""
    row, cell = next((row, cell) for row, cell in enumerate(texts.to_pylist()) if not _is_number(cell))
    if re.search(r"\d,\d", cell):
        hint = "write it with a decimal point and no separators"
    elif re.match(r"[^\w.+-]\s*\d", cell):
        hint = f"write it without the {cell[0]!r}"
    else:
        hint = "mend the cell"
    return column.cell_error(row, f"needed a number, found {cell!r}; {hint}")


def parse_dates(column: CellColumn) -> ParsedDates:
    """Return a column as dates.

    A date is written 2020-12-31, 20201231 or 2020/12/31, a time and a zone may follow; or 31/12/2020 or 12/31/2020,
    where some date of the column has a day above 12 and so tells which of the two it is.

    Raises
    ------
    DataError : naming the line of the first cell that is no date, is written otherwise than the first, or whose day
        and month can't be told apart.
    """
    if pa.types.is_timestamp(column.cells.type) or pa.types.is_date(column.cells.type):
        written = pd.DatetimeIndex(column.cells.to_pandas(date_as_object=False)).tz_localize(None).normalize()
        _raise_on_invalid_dates(column, np.asarray(written.isna()), pa.array(np.full(len(written), "")))
        return ParsedDates(_to_microsecond_dates(written), np.full(len(written), np.nan))
    distinct = compute.dictionary_encode(cells_to_text(column.cells))
    codes, texts = distinct.indices.to_numpy(zero_copy_only=False), distinct.dictionary
    first = texts[codes[0]].as_py()
    form = next((form for form in _DATE_PATTERNS if re.fullmatch(form, first)), _DATE_PATTERNS[0])
    parts = _extract_regex_groups(texts, form)
    if "one" in parts:
        parts |= _resolve_day_and_month(
            column, _digits_to_integers(parts["one"]), _digits_to_integers(parts["two"]), codes
        )
    dates = _build_dates(*(_digits_to_integers(parts[unit]) for unit in ("year", "month", "day")))
    _raise_on_invalid_dates(column, np.isnat(dates)[codes], texts.take(distinct.indices))
    return ParsedDates(
        dates[codes],
        _parse_utc_offset_minutes(parts["time"])[codes] if "time" in parts else np.full(len(codes), np.nan),
    )


def _extract_regex_groups(texts: pa.Array, pattern: str) -> dict[str, pa.Array]:
    """Return the named groups of a pattern in each text, null where it doesn't fit."""
    found = compute.extract_regex(texts, f"^(?:{pattern})$")
    valid = found.is_valid()
    groups = zip(found.type, found.flatten(), strict=True)
    return {group.name: compute.if_else(valid, cells, None) for group, cells in groups}


def _digits_to_integers(digit_cells: pa.Array) -> IntArray:
    """Return digits as a number; 0 where there are none."""
    return np.asarray(compute.fill_null(compute.cast(digit_cells, pa.int64()), 0).to_numpy(zero_copy_only=False))


def _build_dates(year: IntArray, month: IntArray, day: IntArray) -> DateArray:
    """Return dates, not a time where there is no such day."""
    months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    dates = months.astype("datetime64[D]") + (day - 1)
    real = (month >= 1) & (month <= 12) & (day >= 1) & (dates.astype("datetime64[M]") == months)
    return np.where(real, dates, np.datetime64("NaT")).astype("datetime64[us]")


def _to_microsecond_dates(dates: pd.DatetimeIndex) -> DateArray:
    return dates.to_numpy().astype("datetime64[us]")


def _raise_on_invalid_dates(column: CellColumn, is_invalid: BoolArray, texts: pa.Array) -> None:
    if not is_invalid.any():
        return
    row = int(is_invalid.argmax())
    found = texts[row].as_py()
    first = "" if row == 0 or not found else f" like the first, {texts[0].as_py()!r}"
    why = " (day and month can't be told apart)" if re.fullmatch(r"\d\d?[/.-]\d\d?[/.-]\d{2,4}", found) else ""
    raise column.cell_error(
        row, f"needed a date as YYYY-MM-DD{first}, found {found!r}{why}; rewrite the dates as 2005-12-31"
    )


def _resolve_day_and_month(
    column: CellColumn, first_numbers: IntArray, second_numbers: IntArray, dictionary_codes: IntArray
) -> dict[str, pa.Array]:
    """Return day and month of dates that are written as two numbers and a year, `codes` saying which row has which."""
    first_is_day, second_is_day = (first_numbers > 12)[dictionary_codes], (second_numbers > 12)[dictionary_codes]
    if first_is_day.any() and second_is_day.any():
        row, other = sorted((int(first_is_day.argmax()), int(second_is_day.argmax())))
        raise column.cell_error(
            other,
            f"found {_cell_text(column, other)!r}, and {_cell_text(column, row)!r} in line {column.line_numbers[row]}: day and month "
            "stand in both orders; rewrite the dates as 2005-12-31",
        )
    if not first_is_day.any() and not second_is_day.any():
        raise column.cell_error(
            0,
            f"found {_cell_text(column, 0)!r}: day and month can't be told apart, since no number of the column is above "
            "12; rewrite the dates as 2005-12-31",
        )
    day, month = (first_numbers, second_numbers) if first_is_day.any() else (second_numbers, first_numbers)
    return {"day": pa.array(day), "month": pa.array(month)}


def _cell_text(column: CellColumn, row: int) -> str:
    return str(column.cells[row].as_py()).strip()


def _parse_utc_offset_minutes(time_texts: pa.Array) -> Array:
    """Return the minutes ahead of UTC that each time is written in, NaN where no zone is."""
    if len(compute.unique(time_texts)) == 1 and not time_texts[0].as_py():
        return np.full(len(time_texts), np.nan)
    zone = _extract_regex_groups(time_texts, f".*?{_TIME_ZONE_PATTERN}")
    minutes = 60.0 * _digits_to_integers(compute.if_else(compute.equal(zone["hours"], ""), None, zone["hours"]))
    minutes += _digits_to_integers(compute.if_else(compute.equal(zone["minutes"], ""), None, zone["minutes"]))
    behind = compute.fill_null(compute.equal(zone["sign"], "-"), fill_value=False).to_numpy(zero_copy_only=False)
    written = zone["sign"].is_valid().to_numpy(zero_copy_only=False)
    return np.where(written, np.where(behind, -minutes, minutes), np.nan)
