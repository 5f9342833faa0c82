"""The formats of a report's files: JSON, CSV and Parquet with the same bytes for the same values."""

from __future__ import annotations

import io
import json
import math
from typing import Any

import pandas as pd

from quantlr.core.text import escape_unsafe_characters


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
