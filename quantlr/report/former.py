"""The run before: what its report in the same place said, read before that is replaced."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from quantlr.report.encoding import nonfinite_to_none
from quantlr.report.summary import headline_changes

METRICS_FILE = "metrics.json"
MAX_METRICS_BYTES = 50_000_000
"""Bytes above which a file is not one of ours: ten thousand tickers' coefficients take a tenth of that."""


def read_previous_metrics(report_dir: Path) -> dict[str, Any] | None:
    """Return the metrics of the report that is in a folder; None where there is none, or none that can be compared.

    Whatever is wrong with it is no matter: it is about to be replaced.
    """
    try:
        path = report_dir / METRICS_FILE
        if path.stat().st_size > MAX_METRICS_BYTES:
            return None
        found = nonfinite_to_none(json.loads(path.read_bytes()))
        headline_changes(found, found)
    except (OSError, ValueError, RecursionError, LookupError, TypeError, ArithmeticError):
        return None
    return found if isinstance(found, dict) else None


def has_same_prices(metrics: dict[str, Any], previous_metrics: dict[str, Any]) -> bool:
    """Return whether two runs saw the same prices; not knowing it of the former one counts as no."""
    digest = metrics["data"]["sha256"]
    return bool(
        digest == _data_field(previous_metrics, "sha256")
        and metrics["data"]["sessions"] == _data_field(previous_metrics, "sessions")
    )


def price_dates_text(previous_metrics: dict[str, Any]) -> str:
    """Return which dates a former run was on, "" where it doesn't say."""
    first, last = _data_field(previous_metrics, "first"), _data_field(previous_metrics, "last")
    return f"{first} to {last}" if isinstance(first, str) and isinstance(last, str) else ""


def _data_field(previous_metrics: dict[str, Any], key: str) -> Any:
    data = previous_metrics.get("data")
    return data.get(key) if isinstance(data, dict) else None
