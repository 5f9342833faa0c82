"""A saved report taken along: its figures, its tables and its pages in the formats of other programs.

A report holds its numbers as Parquet files, not the fitted models. What a figure needs besides is computed again, from
the report's config and the stored prices, without the network; the digest of the prices must be the report's. The
metrics, and with them the count of trials, are those of the report.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from quantlr.backtest.metrics import METRICS
from quantlr.config.run_config import load_config
from quantlr.core.errors import UserError
from quantlr.core.file_reading import UnreadableContentError, read_json
from quantlr.core.progress import Progress, ignore_progress
from quantlr.experiment.run import Run, run_config
from quantlr.report.file_formats import csv_bytes
from quantlr.report.storage import CONFIG_FILE, MAX_JSON_BYTES, METRICS_FILE
from quantlr.report.summary import baseline_name
from quantlr.report.workbook import MAX_SHEET_ROWS, workbook_bytes

WORKBOOK_FILE, PDF_FILE = "report.xlsx", "report.pdf"


def recompute_run(report_dir: Path, *, workers: int = 1, progress: Progress = ignore_progress) -> Run:
    """Return the run of a saved report, with the metrics of the report.

    Parameters
    ----------
    report_dir : folder of the report.
    workers, progress : as in `quantlr.run`.

    Raises
    ------
    UserError : the config can't be run again, the prices or the version are others than the report's.
    """
    config = load_config(report_dir / CONFIG_FILE)
    try:
        metrics = read_json(report_dir / METRICS_FILE, max_bytes=MAX_JSON_BYTES)
        digest = metrics["data"]["sha256"]
    except (OSError, UnreadableContentError, LookupError, TypeError) as error:
        raise UserError(f"{report_dir / METRICS_FILE} can't be read as this version writes it; run it again") from error
    run = run_config(config, offline=True, workers=workers, progress=progress)
    if run.metrics["data"]["sha256"] != digest:
        raise UserError(f"{report_dir}: the prices have changed since the report was written; run its config again")
    if _section_keys(metrics) != _section_keys(run.metrics):
        raise UserError(f"{report_dir} was written by another version of quantlr; run its config again")
    return replace(run, metrics=metrics)


def _section_keys(metrics: dict[str, Any]) -> dict[str, list[str]]:
    """Return the keys of the sections of a run's metrics, without what only some runs have."""
    return {key: sorted(section) for key, section in metrics.items() if isinstance(section, dict)}


def exported_tables(run: Run) -> dict[str, pd.DataFrame]:
    """Return the tables of a run by name: those of its files, its metrics as text and numbers, settings and notes."""
    return {
        "summary": _summary_table(run.metrics),
        "metrics": pd.DataFrame(_iter_leaves(run.metrics), columns=["key", "value"]),
        "forecasts": run.forecasts,
        "backtest": run.backtest,
        "positions": run.positions,
        "trades": run.trades,
        "coefficients": run.coefficients,
        "settings": pd.DataFrame(_iter_leaves(run.config.model_dump(mode="json")), columns=["key", "value"]),
        "notes": pd.DataFrame(run.provenance["notes"], columns=["stage", "text", "ticker", "date", "count", "key"]),
    }


def _summary_table(metrics: dict[str, Any]) -> pd.DataFrame:
    """Return every metric that has a name and one number, with the baseline's or benchmark's value beside it."""
    rows = []
    for metric in METRICS:
        value = metric.value(metrics) if metric.name else None
        if isinstance(value, (int, float)):
            name = baseline_name(metric, metrics)
            rows.append((metric.label, value, metric.baseline_value(metrics) if name else None, name))
    return pd.DataFrame(rows, columns=["metric", "value", "baseline", "baseline_name"])


def _iter_leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted key of every value in nested mappings and lists, and the value."""
    if not isinstance(value, (dict, list, tuple)):
        yield prefix, value
        return
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        yield from _iter_leaves(item, f"{prefix}.{key}" if prefix else str(key))


def table_files(run: Run) -> tuple[dict[str, bytes], list[str]]:
    """Return ``report.xlsx`` and a CSV for each table, and the names of the tables that are too long for a sheet."""
    tables = exported_tables(run)
    too_long = [name for name, table in tables.items() if len(table) >= MAX_SHEET_ROWS]
    files = {WORKBOOK_FILE: workbook_bytes({name: tables[name] for name in tables if name not in too_long})}
    return files | {f"{name}.csv": csv_bytes(table) for name, table in tables.items()}, too_long
