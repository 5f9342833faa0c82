"""The folder of a report: built beside its place, swapped in whole, under a lock.

Files are written to ``.NAME.new``, and flushed to the disk. Then the old folder becomes ``.NAME.old`` and the new one
takes its place. Whoever comes next and finds the old one without a new one, because something ended the swap half-way,
puts it back. Files in the folder that quantlr did not write are carried over: at its top, all whose names are not ours;
in the folder of the tickers' pages, all that its index does not list.
"""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from quantlr.disk import fsync_path, write_and_fsync
from quantlr.errors import Fault, OutputError
from quantlr.report.ticker_files import TICKER_PAGES_DIR, TICKER_INDEX_FILE
from quantlr.types import Report

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
