"""Interest on cash: a yearly rate, or a series of rates by date, read from a CSV."""

from __future__ import annotations

import csv
import datetime as dt
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import BeforeValidator, WithJsonSchema

from quantlr.core.components import UNIT_KEY, Unit, resolve_config_path
from quantlr.core.errors import DataError
from quantlr.core.file_reading import UnreadableContentError, library_errors_translated, read_file
from quantlr.core.values import Array

if TYPE_CHECKING:
    import pandas as pd

CASH_RATE_UNIT = "fraction per year (0.03 is 3 percent)"
MIN_CASH_RATE, MAX_CASH_RATE = -0.5, 1.0
MISSING_RATES = ("", ".", "NA", "NaN", "nan")
"""Texts of a missing rate, as exporters write it; the last known rate is carried forward."""
MAX_RATES_FILE_BYTES = 16 << 20
"""Size of a CSV of rates; a century of daily ones is a sixteenth of it."""
DatedRates = tuple[tuple[dt.date, float], ...]
"""Dates in ascending order, and the yearly rate that is known from each on."""


def read_cash_rate(value: Any) -> float | DatedRates:
    """Return a yearly rate, or the dated rates of the CSV file that a text names, or of a list of pairs.

    The CSV has two columns, date (YYYY-MM-DD) and yearly rate as a fraction, and may have a heading. Dates ascend. A
    missing rate is left out, and so is one that equals the rate before.

    Raises
    ------
    ValueError : naming file and line.
    """
    if isinstance(value, (str, Path)):
        file = Path(resolve_config_path(value))
        try:
            content = read_file(file, max_bytes=MAX_RATES_FILE_BYTES)
            with library_errors_translated("a CSV of dates and rates"):
                rows = list(csv.reader(content.decode("utf-8-sig").splitlines()))
        except UnreadableContentError as error:
            raise ValueError(f"{file}: {error}") from None
        except OSError as error:
            reason = "a rate is a number or the path of a CSV of dates and rates, relative to its config"
            raise ValueError(f"{file} can't be read: {error.strerror}; {reason}") from None
        return _dated_rates([(f"{file}:{number}: ", row) for number, row in enumerate(rows, 1)])
    if isinstance(value, (list, tuple)):
        return _dated_rates([(f"entry {number}: ", row) for number, row in enumerate(value, 1)])
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"needs a number or the path of a CSV of dates and rates, found {type(value).__name__}")
    return _rate_in_range(float(value), "")


def _dated_rates(rows: list[tuple[str, Any]]) -> DatedRates:
    """Return the dates and rates of rows, each with its place for errors; a first row without a date is a heading."""
    rates: list[tuple[dt.date, float]] = []
    last_date: dt.date | None = None
    for place, row in rows:
        cells = [str(cell).strip() for cell in row] if isinstance(row, (list, tuple)) else [str(row)]
        if not any(cells):
            continue
        if len(cells) != 2:
            raise ValueError(f"{place}needs a date and a rate, found {len(cells)} value{'s'[: len(cells) != 1]}")
        date = _date_or_none(cells[0])
        if date is None and place == rows[0][0]:
            continue
        if date is None:
            raise ValueError(f"{place}needs a date as YYYY-MM-DD, found {cells[0]!r}")
        if last_date is not None and date <= last_date:
            raise ValueError(f"{place}needs a date after the one before, {last_date}, found {date}")
        last_date = date
        rate = rates[-1][1] if rates else None
        if cells[1] not in MISSING_RATES and (new_rate := _rate_in_range(_number(cells[1], place), place)) != rate:
            rates.append((date, new_rate))
    if not rates:
        raise ValueError(f"{rows[-1][0] if rows else ''}needs at least one date with its rate, found none")
    return tuple(rates)


def _date_or_none(text: str) -> dt.date | None:
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        return None


def _number(text: str, place: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{place}needs a number, found {text!r}") from None


def _rate_in_range(rate: float, place: str) -> float:
    if not (math.isfinite(rate) and MIN_CASH_RATE <= rate <= MAX_CASH_RATE):
        limits = f"a fraction per year from {MIN_CASH_RATE:g} to {MAX_CASH_RATE:g}"
        raise ValueError(f"{place}needs {limits} (0.03 is 3 percent), found {rate:g}")
    return rate


CashRate = Annotated[
    float | DatedRates,
    Unit(CASH_RATE_UNIT),
    BeforeValidator(read_cash_rate),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": MIN_CASH_RATE, "maximum": MAX_CASH_RATE, UNIT_KEY: CASH_RATE_UNIT},
                {"type": "string", "format": "path"},
                {"type": "array", "minItems": 1},
            ]
        }
    ),
]
"""A yearly rate, or rates by date; a config names a CSV of them, and a resolved config lists them."""


def annual_cash_rates(cash_rate: float | DatedRates, dates: pd.DatetimeIndex) -> Array | float:
    """Return the yearly rate that is known before each date: the newest of an earlier date, (dates,), or the number.

    Raises
    ------
    DataError : the first rate is not of before the first date.
    """
    if isinstance(cash_rate, (int, float)):
        return cash_rate
    rate_dates = np.array([date for date, _ in cash_rate], dtype="datetime64[us]")
    index = np.searchsorted(rate_dates, dates.to_numpy().astype("datetime64[us]"), side="left") - 1
    if (index < 0).any():
        text = f"the first rate is of {cash_rate[0][0]}, and one before {dates[int((index < 0).argmax())]:%Y-%m-%d}"
        raise DataError(f"{text} is needed; add earlier rates", key="execution.cash_rate")
    return np.array([rate for _, rate in cash_rate])[index]
