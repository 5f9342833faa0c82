"""Rows of measurements: a benchmark prints them as a table and writes them as JSON, and a page shows that file."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from quantlr.core.parallel import available_core_count

Row = dict[str, str | float]
"""What was measured, by heading; headings name the unit."""


def parse_options(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Return the options of a benchmark, with --output, and the load of the machine before it starts."""
    parser.add_argument("--output", type=Path, metavar="DIR", help="also write the rows as JSON, to docs/measurements")
    options = parser.parse_args()
    options.load_before = os.getloadavg()[0]
    return options


def report_rows(name: str, rows: Sequence[Row], options: argparse.Namespace) -> None:
    """Print the rows as a table; with --output write them to NAME.json, with the machine that they are of."""
    print(rows_table(rows))
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        content = {"machine": machine() | {"load_before": round(options.load_before, 1)}, "rows": rows}
        (options.output / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def with_entries(path: Path, key: str, entries: Sequence[dict[str, Any]], *, by: str) -> dict[str, Any]:
    """Return the content of a file, if there is one, with these entries of a list replaced or added."""
    content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    by_name = {entry[by]: entry for entry in [*content.get(key, ()), *entries]}
    return content | {key: list(by_name.values())}


def machine() -> dict[str, Any]:
    """Return the processor, its cores, the version of Python, and the date."""
    known = Path("/proc/cpuinfo")
    names = [line for line in known.read_text().splitlines() if line.startswith("model name")] if known.exists() else []
    return {
        "processor": names[0].split(":")[1].strip() if names else platform.processor(),
        "cores": available_core_count(),
        "python": platform.python_version(),
        "date": str(dt.datetime.now(dt.UTC).date()),
    }


def rounded(value: float, digits: int = 2) -> float:
    """Return a number with its first significant digits."""
    return float(f"{value:.{digits}g}")


def rows_table(rows: Sequence[Row]) -> str:
    """Return rows as a Markdown table; a cell is empty where a row lacks the heading."""
    headings = list(dict.fromkeys(heading for row in rows for heading in row))
    return markdown_table(headings, [[_cell_text(row.get(heading, "")) for heading in headings] for row in rows])


def _cell_text(cell: str | float) -> str:
    return cell if isinstance(cell, str) else f"{cell:,.10g}"


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; bars in cells are escaped."""
    lines = [headings, ["---"] * len(headings), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
