"""How values become the bytes of a report's files, the same for the same values."""

from __future__ import annotations

import io
import json
import math
from typing import Any

import pandas as pd


def nonfinite_to_none(value: Any) -> Any:
    """Return nested values with None for what is not a finite number."""
    if isinstance(value, dict):
        return {key: nonfinite_to_none(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [nonfinite_to_none(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def json_bytes(value: Any) -> bytes:
    """Return JSON for people and programs."""
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def parquet_bytes(table: pd.DataFrame) -> bytes:
    """Return a table as Parquet, without its index."""
    stream = io.BytesIO()
    table.to_parquet(stream, index=False, compression="zstd")
    return stream.getvalue()
