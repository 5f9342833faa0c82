"""The folder of a report: built beside its place, swapped in whole, under a lock.

Files are written to ``.NAME.new``, and flushed to the disk. Then the old folder becomes ``.NAME.old`` and the new one
takes its place. Whoever comes next and finds the old one without a new one, because something ended the swap half-way,
puts it back. Files in the folder that quantlr did not write are carried over: at its top, all whose names are not ours;
in the folder of the tickers' pages, all that its index does not list.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import math
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from quantlr.core.atomic import fsync_path, write_and_fsync
from quantlr.core.errors import Fault, OutputError
from quantlr.core.values import Report
from quantlr.report.summary import headline_changes

TICKER_PAGES_DIR = "tickers"
"""Folder of these pages, in that of the report."""
TICKER_INDEX_FILE = f"{TICKER_PAGES_DIR}/index.json"
"""Which ticker is on which page: file names there to tickers."""
MAX_FILE_STEM_CHARS = 80
"""Letters of a name without its ending."""
WINDOWS_DEVICE_NAMES = frozenset(
    {"con", "prn", "aux", "nul", *(f"{port}{at}" for port in ("com", "lpt") for at in range(10))}
)
"""Names that Windows keeps for devices, whatever stands after a dot."""


def ticker_page_paths(tickers: Iterable[str]) -> dict[str, str]:
    """Return the path of each ticker's page within the report, by ticker, in their order.

    Letters that some system refuses are written as in a URL, BRK/B as BRK%2FB. A digest tells apart what is too long,
    and what differs in upper and lower case only; it depends on the ticker alone where it is long, and else on whether
    such a pair is there, never on their order.
    """
    stems = {ticker: _safe_file_stem(ticker) for ticker in tickers}
    alike = Counter(stem.casefold() for stem in stems.values())
    return {
        ticker: f"{TICKER_PAGES_DIR}/{stem if alike[stem.casefold()] == 1 else _stem_with_digest(stem, ticker)}.png"
        for ticker, stem in stems.items()
    }


def make_ticker_index_file(tickers: Iterable[str], report_files: Iterable[str]) -> dict[str, bytes]:
    """Return the index of those tickers' pages that are among the files of a report; nothing where there are none."""
    there = frozenset(report_files)
    pages = {
        path.removeprefix(f"{TICKER_PAGES_DIR}/"): ticker
        for ticker, path in ticker_page_paths(tickers).items()
        if path in there
    }
    return {TICKER_INDEX_FILE: json_bytes(pages)} if pages else {}


def _safe_file_stem(ticker: str) -> str:
    """Return a ticker in letters that are safe, cut where it is too long."""
    stem = quote(ticker, safe="^=&").replace("~", "%7E")  # that sign is the digest's
    if not stem or stem.startswith(".") or stem.partition(".")[0].casefold() in WINDOWS_DEVICE_NAMES:
        stem = f"_{stem}"
    return stem if len(stem) <= MAX_FILE_STEM_CHARS else _stem_with_digest(stem, ticker)


def _stem_with_digest(stem: str, ticker: str) -> str:
    digest = hashlib.sha256(ticker.encode()).hexdigest()[:8]
    return f"{stem[: MAX_FILE_STEM_CHARS - len(digest) - 1]}~{digest}"


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


LOCK_TIMEOUT_SECONDS = 60.0
REPORT_FILE_NAMES = frozenset(
    {
        "tearsheet.png", "forecast.png", "model.png", "positions.png", "tickers.png", "report.html", "metrics.json",
        "config.yaml", "provenance.json", "forecasts.parquet", "backtest.parquet", "positions.parquet", "trades.csv",
        "audit.json", "thumbnail.png", "compare.png", "compare.json", "sweep.json",
        "trials.csv", "sweep.png", "winner.yaml",
    }
)  # fmt: skip
"""Every file that quantlr may write at the top of the folder; all else there belongs to the user.

An audit is written beside a run's files and goes with them: of another run it would say nothing.
"""


def write_report(report: Report, reports_dir: Path) -> Path:
    """Write a report to ``output/NAME`` and return that folder; the former one stays whole until the new one is.

    Raises
    ------
    OutputError : the place is not a folder, or leads out of `output`.
    Fault : the disk is full or read-only, or another run holds the lock for a minute.
    """
    target = reports_dir / report.name
    with _locked_report_dir(target):
        _replace_report_dir(report, target)
    return target


def write_report_file(content: bytes, file_name: str, report_name: str, reports_dir: Path) -> Path:
    """Write one of our files into ``output/NAME``, whole or not at all, whatever else is there; return its path.

    Raises
    ------
    OutputError, Fault : as for a report.
    """
    target = reports_dir / report_name
    with _locked_report_dir(target):
        target.mkdir(exist_ok=True)
        fresh = target.with_name(f".{report_name}.{file_name}.new")
        try:
            write_and_fsync(fresh, content)
            fresh.replace(target / file_name)
        finally:
            fresh.unlink(missing_ok=True)
        fsync_path(target)
    return target / file_name


@contextmanager
def _locked_report_dir(report_dir: Path) -> Iterator[None]:
    """Hold a report's folder, mended if need be, for someone who writes."""
    make_reports_dir(report_dir.parent, report_dir.name)
    with _translate_write_errors(report_dir), hold_file_lock(report_dir):
        recover_interrupted_swap(report_dir)
        yield


def check_report_target(reports_dir: Path, report_name: str) -> None:
    """Refuse a place that no report can be written to, as far as can be told without writing.

    Raises
    ------
    OutputError : the place is not a folder, or leads out of `output`.
    """
    target = reports_dir / report_name
    if reports_dir.exists() and not reports_dir.is_dir():
        raise OutputError(f"{reports_dir} is a file; the output must be a folder; choose another --output")
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise OutputError(f"{target} is not a folder of its own; move it away or choose another name")


def make_reports_dir(reports_dir: Path, report_name: str) -> None:
    """Make the folder that reports go into, if it is not there.

    Raises
    ------
    OutputError, Fault : as `write_report` does.
    """
    with _translate_write_errors(reports_dir / report_name):
        check_report_target(reports_dir, report_name)
        reports_dir.mkdir(parents=True, exist_ok=True)


@contextmanager
def _translate_write_errors(report_dir: Path) -> Iterator[None]:
    """Tell what is wrong with a place in words that help."""
    try:
        yield
    except ValueError as error:
        raise OutputError(f"{report_dir.parent!s:.80} can't be a folder: {error}; choose another --output") from error
    except OSError as error:
        what = f"{report_dir!s:.200} could not be written: {error.strerror or error}"
        if error.errno in (errno.ENOTDIR, errno.ENAMETOOLONG):
            raise OutputError(f"{what}; choose another --output or --name") from error
        raise Fault(f"{what}; the former report is untouched") from error


@contextmanager
def hold_file_lock(path: Path) -> Iterator[None]:
    """Hold the lock of one report's folder."""
    from filelock import FileLock, Timeout

    lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=LOCK_TIMEOUT_SECONDS)
    try:
        with lock:
            yield
    except Timeout:
        raise Fault(f"another run has been writing {path} for {LOCK_TIMEOUT_SECONDS:.0f} seconds; try again") from None


def recover_interrupted_swap(report_dir: Path) -> None:
    """Put back what an interrupted swap left aside, and clear away what it left half done."""
    fresh, old = _staging_and_backup_dirs(report_dir)
    if old.exists():
        if report_dir.exists():
            shutil.rmtree(old)
        else:
            old.rename(report_dir)
    if fresh.exists():
        shutil.rmtree(fresh)


def _staging_and_backup_dirs(report_dir: Path) -> tuple[Path, Path]:
    return report_dir.with_name(f".{report_dir.name}.new"), report_dir.with_name(f".{report_dir.name}.old")


def _replace_report_dir(report: Report, report_dir: Path) -> None:
    fresh, old = _staging_and_backup_dirs(report_dir)
    try:
        fresh.mkdir()
        for name, content in report.files.items():
            (fresh / name).parent.mkdir(exist_ok=True)
            write_and_fsync(fresh / name, content)
        if report_dir.exists():
            _copy_user_files(report_dir, fresh)
            shutil.copymode(report_dir, fresh)
        for folder in {fresh, *((fresh / name).parent for name in report.files)}:
            fsync_path(folder)
    except (OSError, OutputError):
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    if report_dir.exists():
        report_dir.rename(old)
    try:
        fresh.rename(report_dir)
    except BaseException:
        recover_interrupted_swap(report_dir)
        raise
    fsync_path(report_dir.parent)
    shutil.rmtree(old, ignore_errors=True)


def _copy_user_files(old_dir: Path, new_dir: Path) -> None:
    """Copy what the user put into the folder: what has none of our names, and every folder."""
    former = _listed_ticker_files(old_dir)
    for item in old_dir.iterdir():
        folder = item.is_dir() and not item.is_symlink()
        if item.name in REPORT_FILE_NAMES and not folder:
            continue
        if item.name in REPORT_FILE_NAMES:
            raise OutputError(f"{item} is a folder where a file of the report belongs; move it away")
        place = new_dir / item.name
        if place.exists() and not folder:
            raise OutputError(f"{item} is no folder, where a folder of the report belongs; move it away")
        if folder and item.name == TICKER_PAGES_DIR:
            _copy_missing_entries(item, place, excluded_names=former)
        elif folder:
            shutil.copytree(item, place, symlinks=True)
        else:
            shutil.copy2(item, place, follow_symlinks=False)
    for copied in new_dir.rglob("*"):
        if copied.is_file() and not copied.is_symlink():
            fsync_path(copied)


def _copy_missing_entries(source_dir: Path, target_dir: Path, *, excluded_names: frozenset[str]) -> None:
    """Copy what is in a folder, but for some files and for what is at the place already; make no empty folder."""
    kept = [
        inner
        for inner in source_dir.iterdir()
        if inner.name not in excluded_names and not (target_dir / inner.name).exists()
    ]
    for inner in kept:
        target_dir.mkdir(exist_ok=True)
        if inner.is_dir() and not inner.is_symlink():
            shutil.copytree(inner, target_dir / inner.name, symlinks=True)
        else:
            shutil.copy2(inner, target_dir / inner.name, follow_symlinks=False)


def _listed_ticker_files(report_dir: Path) -> frozenset[str]:
    """Return the names of the tickers' pages that a former report wrote, and of their index; none without an index."""
    try:
        listed = json.loads((report_dir / TICKER_INDEX_FILE).read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return frozenset()
    return frozenset({*map(str, listed), Path(TICKER_INDEX_FILE).name})
