"""A saved report taken along: its figures, its tables and its pages in the formats of other programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from quantlr.backtest.metrics import METRICS
from quantlr.core.errors import UserError
from quantlr.core.progress import Progress, ignore_progress
from quantlr.experiment.run import Run
from quantlr.experiment.saved_pages import SavedPages, open_saved_pages
from quantlr.report.figures import DEFAULT_SIZE_INCHES, THEMES, check_pixels, figure_bytes, pdf_bytes, require_known
from quantlr.report.file_formats import MAX_SHEET_ROWS, csv_bytes, workbook_bytes
from quantlr.report.saved_runs import find_run_dir
from quantlr.report.storage import SUMMARY_FILES, page_file_stem, write_report_files
from quantlr.report.summary import baseline_name

WORKBOOK_FILE, PDF_FILE = "report.xlsx", "report.pdf"
FigureFormat = Literal["png", "svg", "pdf"]
ALL_FIGURES = "all"
"""Stands for all figures, where their names are listed."""


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What is exported; the fields are the parameters of `export`."""

    figures: Sequence[str] = ()
    file_format: FigureFormat = "png"
    size: tuple[float, float] = DEFAULT_SIZE_INCHES
    dpi: int = 200
    theme: str = "light"
    ticker: str | None = None
    tables: bool = False
    pdf: bool = False

    def check(self) -> None:
        """Raise a UserError where nothing is asked for, or what cannot be drawn, before anything is computed."""
        if not (self.figures or self.tables or self.pdf):
            raise UserError(
                "name what to export: --figure NAME, --tables or --pdf; --list has the names of the figures"
            )
        require_known(self.theme, tuple(THEMES), noun="theme")
        check_pixels(self.size, self.dpi)


def export(
    run: str | Path,
    *,
    figures: Sequence[str] = (),
    file_format: FigureFormat = "png",
    size: tuple[float, float] = DEFAULT_SIZE_INCHES,
    dpi: int = 200,
    theme: str = "light",
    ticker: str | None = None,
    tables: bool = False,
    pdf: bool = False,
    output: str | Path = "reports",
    to: str | Path | None = None,
    workers: int = 1,
    progress: Progress = ignore_progress,
) -> list[Path]:
    """Write figures, tables or all pages of a saved report, in the formats of other programs.

    A run is computed again from the report's config and the stored prices, which must be the same.

    Parameters
    ----------
    run : report of a run, a sweep or a comparison: its folder, or its name in `output`.
    figures : names of panels; ``["all"]`` for every one.
    file_format : of the figures: "png", "svg" or "pdf".
    size : width and height of a figure in inches; a PDF has these proportions.
    dpi : pixels per inch of a PNG.
    theme : "light", "dark", or "slides" with larger letters and lines.
    ticker : for the panels of this ticker's own page.
    tables : whether to write ``report.xlsx``, a sheet for each table, and a CSV for each; of a run.
    pdf : whether to write ``report.pdf``, all pages.
    output : folder of reports.
    to : folder for the files; None for the report's.
    workers, progress : as in `quantlr.run`.

    Returns
    -------
    paths : of the files.

    Raises
    ------
    UserError : there is no such report, figure or ticker; or the prices have changed since it was written.
    OutputError : the folder cannot be written.
    Fault : the disk is full or read-only.

    Examples
    --------
    >>> import quantlr
    >>> quantlr.export("sp500_daily", figures=["growth"], file_format="svg")  # doctest: +SKIP
    """
    request = ExportRequest(tuple(figures), file_format, size, dpi, theme, ticker, tables, pdf)
    request.check()
    report_dir = find_run_dir(str(run), Path(output), SUMMARY_FILES)
    files, _ = export_files(open_saved_pages(report_dir, workers=workers, progress=progress), request)
    return write_report_files(files, Path(to).resolve() if to else report_dir)


def export_files(pages: SavedPages, request: ExportRequest) -> tuple[dict[str, bytes], list[str]]:
    """Return what is exported as files by name, and the names of tables that are too long for a sheet.

    Raises
    ------
    UserError : there is no such figure or ticker, or tables of a sweep or a comparison are asked for.
    """
    files, too_long, ticker = dict[str, bytes](), list[str](), request.ticker
    if request.tables and pages.run is None:
        raise UserError("tables are exported of a run; those of a sweep or a comparison are files of its report")
    if request.tables and pages.run:
        files, too_long = table_files(pages.run)
    if request.pdf:
        files[PDF_FILE] = pdf_bytes(pages.draw_pages())
    names = pages.figures.names(ticker) if ALL_FIGURES in request.figures else request.figures
    stem = f".{page_file_stem(ticker)}" if ticker else ""
    for name in names:
        figure = pages.figures.draw(name, size=request.size, theme=request.theme, ticker=ticker)
        content = figure_bytes(figure, request.file_format, size=request.size, dpi=request.dpi)
        files[f"figure_{name}{stem}.{request.file_format}"] = content
    return files, too_long


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
