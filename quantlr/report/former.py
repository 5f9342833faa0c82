"""The run before: what its report in the same place said, read before that is replaced."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from quantlr.report.encoding import defined
from quantlr.report.summary import headline_changes

FILE = "metrics.json"
LARGEST = 50_000_000
"""Bytes above which a file is not one of ours: ten thousand tickers' coefficients take a tenth of that."""


def former_metrics(folder: Path) -> dict[str, Any] | None:
    """Return the metrics of the report that is in a folder; None where there is none, or none that can be compared.

    Whatever is wrong with it is no matter: it is about to be replaced.
    """
    try:
        path = folder / FILE
        if path.stat().st_size > LARGEST:
            return None
        found = defined(json.loads(path.read_bytes()))
        headline_changes(found, found)
    except (OSError, ValueError, RecursionError, LookupError, TypeError, ArithmeticError):
        return None
    return found if isinstance(found, dict) else None


def same_prices(metrics: dict[str, Any], former: dict[str, Any]) -> bool:
    """Return whether two runs saw the same prices; not knowing it of the former one counts as no."""
    digest = metrics["data"]["sha256"]
    return bool(digest == _data(former, "sha256") and metrics["data"]["sessions"] == _data(former, "sessions"))


def prices_in_words(former: dict[str, Any]) -> str:
    """Return which dates a former run was on, "" where it doesn't say."""
    first, last = _data(former, "first"), _data(former, "last")
    return f"{first} to {last}" if isinstance(first, str) and isinstance(last, str) else ""


def _data(former: dict[str, Any], key: str) -> Any:
    data = former.get("data")
    return data.get(key) if isinstance(data, dict) else None
