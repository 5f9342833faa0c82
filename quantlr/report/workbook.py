"""Tables as an Excel workbook, one sheet each."""

from __future__ import annotations

import datetime as dt
import io
import unicodedata
from collections.abc import Mapping

import pandas as pd
from pandas.api.types import is_datetime64_any_dtype

MAX_SHEET_ROWS = 1_048_576
"""Rows of a sheet, its heading included: Excel's limit."""
MAX_COLUMN_CHARS, MEASURED_ROWS, DATE_COLUMN_CHARS = 60, 500, 11
CREATED = dt.datetime(2000, 1, 1)  # noqa: DTZ001 - a constant, so that the bytes repeat
OPTIONS = {"strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}
"""A ticker that begins with "=" is text."""


def workbook_bytes(tables: Mapping[str, pd.DataFrame]) -> bytes:
    """Return tables as an .xlsx file, a sheet each by its name; the same bytes for the same tables.

    Dates are dates, missing values empty cells, and texts are never formulas. Columns are as wide as their contents.

    Parameters
    ----------
    tables : by name, of at most `MAX_SHEET_ROWS` - 1 rows each.
    """
    stream = io.BytesIO()
    options = {"engine_kwargs": {"options": OPTIONS}, "date_format": "yyyy-mm-dd", "datetime_format": "yyyy-mm-dd"}
    with pd.ExcelWriter(stream, engine="xlsxwriter", **options) as writer:  # type: ignore[call-overload]
        writer.book.set_properties({"created": CREATED})
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
