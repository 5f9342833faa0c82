"""The formats of a report's files: JSON, CSV, Parquet and Excel, with the same bytes for the same values."""

from __future__ import annotations

import datetime as dt
import io
import json
import math
import unicodedata
from collections.abc import Mapping
from typing import Any

import pandas as pd
from pandas.api.types import is_datetime64_any_dtype

from quantlr.core.text import escape_unsafe_characters

MAX_SHEET_ROWS = 1_048_576
"""Rows of a sheet, its heading included: Excel's limit."""
MAX_COLUMN_CHARS, MEASURED_ROWS, DATE_COLUMN_CHARS = 60, 500, 11
WORKBOOK_CREATED = dt.datetime(2000, 1, 1)  # noqa: DTZ001 - a constant, so that the bytes repeat
WORKBOOK_OPTIONS = {"strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}
"""A ticker that begins with "=" is text."""


def nonfinite_to_none(value: Any) -> Any:
    """Return nested values with None in place of numbers that are not finite."""
    if isinstance(value, dict):
        return {key: nonfinite_to_none(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [nonfinite_to_none(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def json_bytes(value: Any) -> bytes:
    """Return a value as indented JSON, control characters as escapes; numbers that are not finite are an error."""
    return (escape_unsafe_characters(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)) + "\n").encode()


def csv_bytes(table: pd.DataFrame) -> bytes:
    """Return a table as CSV without its index, control characters as escapes, dates as YYYY-MM-DD."""
    text = table.to_csv(index=False, date_format="%Y-%m-%d", lineterminator="\n")
    return escape_unsafe_characters(text).encode()


def parquet_bytes(table: pd.DataFrame) -> bytes:
    """Return a table as Parquet, without its index."""
    stream = io.BytesIO()
    table.to_parquet(stream, index=False, compression="zstd")
    return stream.getvalue()


def workbook_bytes(tables: Mapping[str, pd.DataFrame]) -> bytes:
    """Return tables as an .xlsx file, a sheet each by its name; the same bytes for the same tables.

    Dates are dates, missing values empty cells, and texts are never formulas. Columns are as wide as their contents.

    Parameters
    ----------
    tables : by name, of at most `MAX_SHEET_ROWS` - 1 rows each.
    """
    stream = io.BytesIO()
    options = {
        "engine_kwargs": {"options": WORKBOOK_OPTIONS},
        "date_format": "yyyy-mm-dd",
        "datetime_format": "yyyy-mm-dd",
    }
    with pd.ExcelWriter(stream, engine="xlsxwriter", **options) as writer:  # type: ignore[call-overload]
        writer.book.set_properties({"created": WORKBOOK_CREATED})
        for name, table in tables.items():
            table.to_excel(writer, sheet_name=name, index=False, freeze_panes=(1, 0))
            for index, column in enumerate(table.columns):
                writer.sheets[name].set_column(index, index, _column_chars(table[column]) + 2)
    return stream.getvalue()


def _column_chars(column: pd.Series) -> int:
    """Return the width of a column in digits: that of its longest text, where East Asian letters take two."""
    if is_datetime64_any_dtype(column):
        return DATE_COLUMN_CHARS
    values = [value for value in column.head(MEASURED_ROWS) if pd.notna(value)]
    texts = [f"{value:.9g}" if isinstance(value, float) else str(value) for value in values]
    widths = [sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text) for text in texts]
    return min(max([len(str(column.name)), *widths]), MAX_COLUMN_CHARS)
