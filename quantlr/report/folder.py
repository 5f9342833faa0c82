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

from quantlr.disk import flush, write_flushed
from quantlr.errors import Fault, OutputError
from quantlr.report.ticker_files import FOLDER, INDEX
from quantlr.types import Report

LOCK_SECONDS = 60.0
OURS = frozenset(
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


def write_report(report: Report, output: Path) -> Path:
    """Write a report to ``output/NAME`` and return that folder; the former one stays whole until the new one is.

    Raises
    ------
    OutputError : the place is not a folder, or leads out of `output`.
    Fault : the disk is full or read-only, or another run holds the lock for a minute.
    """
    target = output / report.name
    with _writing(target):
        _swap_in(report, target)
    return target


def write_beside(content: bytes, file: str, name: str, output: Path) -> Path:
    """Write one of our files into ``output/NAME``, whole or not at all, whatever else is there; return its path.

    Raises
    ------
    OutputError, Fault : as for a report.
    """
    target = output / name
    with _writing(target):
        target.mkdir(exist_ok=True)
        fresh = target.with_name(f".{name}.{file}.new")
        try:
            write_flushed(fresh, content)
            fresh.replace(target / file)
        finally:
            fresh.unlink(missing_ok=True)
        flush(target)
    return target / file


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    """Hold a report's folder, mended if need be, for someone who writes."""
    make_output(target.parent, target.name)
    with _told(target), locked(target):
        recover(target)
        yield


def require_place(output: Path, name: str) -> None:
    """Refuse a place that no report can be written to, as far as can be told without writing.

    Raises
    ------
    OutputError : the place is not a folder, or leads out of `output`.
    """
    target = output / name
    if output.exists() and not output.is_dir():
        raise OutputError(f"{output} is a file; the output must be a folder; choose another --output")
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise OutputError(f"{target} is not a folder of its own; move it away or choose another name")


def make_output(output: Path, name: str) -> None:
    """Make the folder that reports go into, if it is not there.

    Raises
    ------
    OutputError, Fault : as `write_report` does.
    """
    with _told(output / name):
        require_place(output, name)
        output.mkdir(parents=True, exist_ok=True)


@contextmanager
def _told(target: Path) -> Iterator[None]:
    """Tell what is wrong with a place in words that help."""
    try:
        yield
    except ValueError as error:
        raise OutputError(f"{target.parent!s:.80} can't be a folder: {error}; choose another --output") from error
    except OSError as error:
        what = f"{target!s:.200} could not be written: {error.strerror or error}"
        if error.errno in (errno.ENOTDIR, errno.ENAMETOOLONG):
            raise OutputError(f"{what}; choose another --output or --name") from error
        raise Fault(f"{what}; the former report is untouched") from error


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """Hold the lock of one report's folder."""
    from filelock import FileLock, Timeout

    lock = FileLock(target.with_name(f".{target.name}.lock"), timeout=LOCK_SECONDS)
    try:
        with lock:
            yield
    except Timeout:
        raise Fault(f"another run has been writing {target} for {LOCK_SECONDS:.0f} seconds; try again") from None


def recover(target: Path) -> None:
    """Put back what an interrupted swap left aside, and clear away what it left half done."""
    fresh, old = _aside(target)
    if old.exists():
        if target.exists():
            shutil.rmtree(old)
        else:
            old.rename(target)
    if fresh.exists():
        shutil.rmtree(fresh)


def _aside(target: Path) -> tuple[Path, Path]:
    return target.with_name(f".{target.name}.new"), target.with_name(f".{target.name}.old")


def _swap_in(report: Report, target: Path) -> None:
    fresh, old = _aside(target)
    try:
        fresh.mkdir()
        for name, content in report.files.items():
            (fresh / name).parent.mkdir(exist_ok=True)
            write_flushed(fresh / name, content)
        if target.exists():
            _carry_over(target, fresh)
            shutil.copymode(target, fresh)
        for folder in {fresh, *((fresh / name).parent for name in report.files)}:
            flush(folder)
    except (OSError, OutputError):
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    if target.exists():
        target.rename(old)
    try:
        fresh.rename(target)
    except BaseException:
        recover(target)
        raise
    flush(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def _carry_over(target: Path, fresh: Path) -> None:
    """Copy what the user put into the folder: what has none of our names, and every folder."""
    former = _listed(target)
    for item in target.iterdir():
        folder = item.is_dir() and not item.is_symlink()
        if item.name in OURS and not folder:
            continue
        if item.name in OURS:
            raise OutputError(f"{item} is a folder where a file of the report belongs; move it away")
        place = fresh / item.name
        if place.exists() and not folder:
            raise OutputError(f"{item} is no folder, where a folder of the report belongs; move it away")
        if folder and item.name == FOLDER:
            _copy_new(item, place, but=former)
        elif folder:
            shutil.copytree(item, place, symlinks=True)
        else:
            shutil.copy2(item, place, follow_symlinks=False)
    for copied in fresh.rglob("*"):
        if copied.is_file() and not copied.is_symlink():
            flush(copied)


def _copy_new(item: Path, place: Path, *, but: frozenset[str]) -> None:
    """Copy what is in a folder, but for some files and for what is at the place already; make no empty folder."""
    kept = [inner for inner in item.iterdir() if inner.name not in but and not (place / inner.name).exists()]
    for inner in kept:
        place.mkdir(exist_ok=True)
        if inner.is_dir() and not inner.is_symlink():
            shutil.copytree(inner, place / inner.name, symlinks=True)
        else:
            shutil.copy2(inner, place / inner.name, follow_symlinks=False)


def _listed(target: Path) -> frozenset[str]:
    """Return the names of the tickers' pages that a former report wrote, and of their index; none without an index."""
    try:
        listed = json.loads((target / INDEX).read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return frozenset()
    return frozenset({*map(str, listed), Path(INDEX).name})
