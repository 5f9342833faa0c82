"""The folder of a report: written whole or not at all, under a lock, and read back for comparisons.

Files are written to ``.NAME.new`` and flushed to the disk. Then the old folder and the new one exchange their names, so
that ``NAME`` exists at every moment. Where the system cannot exchange names, the old folder is renamed to ``.NAME.old``
and the new one takes its name; if a process ends between the two steps, the next writer finds ``.NAME.old`` without
``NAME`` and puts it back.
Files that quantlr did not write are carried over: in the folder itself all whose names are not in `REPORT_FILE_NAMES`;
in the folder of ticker pages all that its index does not list.

A run replaces the report of the same config. That of another config is kept, with the user's files in it, as
``NAME@1``, ``NAME@2`` and so on, one folder for each config, and none that has files of the user is ever removed.
Files beside a report, such as ``audit.json``, are only written where ``config.yaml`` is of the same config.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import re
import shutil
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from quantlr.core.atomic import (
    exchange_paths,
    fsync_path,
    remove_abandoned_temp_files,
    remove_file_or_dir,
    temp_path,
    write_and_fsync,
)
from quantlr.core.errors import Fault, OutputError
from quantlr.core.file_reading import UnreadableContentError, library_errors_translated, read_file, read_json
from quantlr.core.values import Report
from quantlr.report.file_formats import json_bytes, nonfinite_to_none
from quantlr.report.summary import headline_changes

TICKER_PAGES_DIR = "tickers"
"""Folder of the ticker pages within the report."""
TICKER_INDEX_FILE = f"{TICKER_PAGES_DIR}/index.json"
"""Index of the ticker pages: file names in that folder to tickers."""
MAX_FILE_STEM_CHARS = 80
"""Characters of a ticker page's file name without its extension."""
WINDOWS_DEVICE_NAMES = frozenset(
    {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(10))}
)
"""Names that Windows reserves for devices, whatever the extension."""
METRICS_FILE, SWEEP_FILE, COMPARISON_FILE, CONFIG_FILE = "metrics.json", "sweep.json", "compare.json", "config.yaml"
THUMBNAIL_FILE = "thumbnail.png"
SUMMARY_FILES = (METRICS_FILE, SWEEP_FILE, COMPARISON_FILE)
"""Files of which every report has one: of a run, a sweep or a comparison."""
MAX_JSON_BYTES = 50_000_000
"""Size above which a file is not taken for ours: the coefficients of ten thousand tickers need a tenth of that."""
LOCK_TIMEOUT_SECONDS = 60.0
EXPORTED_TABLES = ("summary", "metrics", "forecasts", "backtest", "positions", "coefficients", "settings", "notes")
"""Tables of a run that are exported, besides that of its trades, which every report has."""
REPORT_FILE_NAMES = frozenset({
    "tearsheet.png", "forecast.png", "model.png", "selection.png", "positions.png", "tickers.png", "report.html",
    METRICS_FILE,
    CONFIG_FILE, "provenance.json", "forecasts.parquet", "backtest.parquet", "positions.parquet", "trades.csv",
    "audit.json", "features.png", "features.csv", "features_elimination.csv", "race.png", "race.csv", THUMBNAIL_FILE,
    "compare.png",
    "compare.json", "sweep.json", "trials.csv", "sweep.png", "winner.yaml", "robustness.png", "robustness.csv",
    "report.pdf", "report.xlsx", *(f"{name}.csv" for name in EXPORTED_TABLES),
})  # fmt: skip
"""Every file that quantlr may write at the top of the folder, but for exported figures; all others are the user's.

``audit.json``, ``features.*``, ``race.*``, ``robustness.*``, exported tables and figures are written beside a run's
files and are removed with them: they are of that run only.
"""
EXPORTED_FIGURE_PATTERN = re.compile(r"figure_[a-z0-9_]+(\..+)?\.(png|svg|pdf)")
"""Names of exported figures; those of a ticker have it before the extension."""


def ticker_page_paths(tickers: Iterable[str]) -> dict[str, str]:
    """Return the path of each ticker's page within the report, by ticker, in the given order.

    Characters that some file system refuses are written as in a URL: BRK/B as BRK%2FB. A digest of the ticker is
    appended to names that are too long, and to names that differ in upper and lower case only. The paths do not depend
    on the order of the tickers.
    """
    stems = {ticker: page_file_stem(ticker) for ticker in tickers}
    n_same = Counter(stem.casefold() for stem in stems.values())
    return {
        ticker: f"{TICKER_PAGES_DIR}/{stem if n_same[stem.casefold()] == 1 else _stem_with_digest(stem, ticker)}.png"
        for ticker, stem in stems.items()
    }


def make_ticker_index_file(tickers: Iterable[str], report_files: Iterable[str]) -> dict[str, bytes]:
    """Return the index of the ticker pages among a report's files, as file name and content; empty without pages."""
    files, prefix = frozenset(report_files), f"{TICKER_PAGES_DIR}/"
    paths = ticker_page_paths(tickers)
    ticker_by_file = {path.removeprefix(prefix): ticker for ticker, path in paths.items() if path in files}
    return {TICKER_INDEX_FILE: json_bytes(ticker_by_file)} if ticker_by_file else {}


def page_file_stem(ticker: str) -> str:
    """Return a ticker as the name of a file that every system takes."""
    stem = quote(ticker, safe="^=&").replace("~", "%7E")  # "~" separates the digest
    if not stem or stem.startswith(".") or stem.partition(".")[0].casefold() in WINDOWS_DEVICE_NAMES:
        stem = f"_{stem}"
    return stem if len(stem) <= MAX_FILE_STEM_CHARS else _stem_with_digest(stem, ticker)


def _stem_with_digest(stem: str, ticker: str) -> str:
    digest = hashlib.sha256(ticker.encode()).hexdigest()[:8]
    return f"{stem[: MAX_FILE_STEM_CHARS - len(digest) - 1]}~{digest}"


def read_previous_metrics(report_dir: Path) -> dict[str, Any] | None:
    """Return the metrics of the report in a folder; None where there is none, or none that can be compared.

    No error is raised for a damaged file: the report is about to be replaced.
    """
    try:
        metrics = nonfinite_to_none(read_json(report_dir / METRICS_FILE, max_bytes=MAX_JSON_BYTES))
        with library_errors_translated("the metrics of a run"):
            headline_changes(metrics, metrics)
    except (OSError, UnreadableContentError):
        return None
    return metrics if isinstance(metrics, dict) else None


def has_same_prices(metrics: dict[str, Any], previous_metrics: dict[str, Any]) -> bool:
    """Return whether two runs used the same prices; False where the previous one does not say."""
    return all(metrics["data"][key] == _data_section_value(previous_metrics, key) for key in ("sha256", "sessions"))


def price_dates_text(previous_metrics: dict[str, Any]) -> str:
    """Return the first and last date of a previous run's prices, "" where it does not say."""
    first, last = _data_section_value(previous_metrics, "first"), _data_section_value(previous_metrics, "last")
    return f"{first} to {last}" if isinstance(first, str) and isinstance(last, str) else ""


def _data_section_value(previous_metrics: dict[str, Any], key: str) -> Any:
    data = previous_metrics.get("data")
    return data.get(key) if isinstance(data, dict) else None


def kept_report_dir(report_dir: Path, config_yaml: str) -> Path | None:
    """Return where the report in a folder is kept when a run is written there; None where it is replaced.

    It is replaced where it is of the same config, whatever the name and the contents of the report. It is kept in
    ``NAME@1``, or with the first number that is free or has an earlier report of one of the two configs, so that there
    is one folder for each config. An earlier report with files of the user in it is never replaced.

    Parameters
    ----------
    report_dir : in which the run will be written; it need not exist.
    config_yaml : resolved config of that run, as in its ``config.yaml``.
    """
    if not any((report_dir / name).is_file() for name in (CONFIG_FILE, *SUMMARY_FILES)):
        return None
    former, new = _read_result_settings(report_dir), _result_settings(config_yaml)
    if former == new:
        return None
    for number in itertools.count(1):
        kept = report_dir.with_name(f"{report_dir.name}@{number}")
        if not kept.exists() and not kept.is_symlink():
            break
        is_earlier = not kept.is_symlink() and _read_result_settings(kept) in {former, new} - {""}
        if is_earlier and not any(_iter_user_paths(kept)):
            break
    return kept


def _read_result_settings(report_dir: Path) -> str:
    """Return the settings of a report's config that results depend on; "" where it has no readable config."""
    try:
        return _result_settings(read_file(report_dir / CONFIG_FILE, max_bytes=MAX_JSON_BYTES).decode())
    except (OSError, UnreadableContentError, UnicodeDecodeError):
        return ""


def _result_settings(config_yaml: str) -> str:
    """Return a resolved config without its name and the contents of its report, on which no result depends."""
    lines, is_counted = [], True
    for line in config_yaml.splitlines():
        if not line.startswith((" ", "-")):
            is_counted = not line.startswith(("name:", "report:"))
        if is_counted:
            lines.append(line)
    return "\n".join(lines)


def write_report(report: Report, reports_dir: Path, *, keep_other_config: bool = False) -> Path:
    """Write a report to ``reports_dir/NAME`` and return that folder; the previous one stays until the new is complete.

    Parameters
    ----------
    report : with its ``config.yaml``, if `keep_other_config`.
    reports_dir : folder of reports.
    keep_other_config : whether a previous report of another config is kept beside it (see `kept_report_dir`).

    Raises
    ------
    OutputError : the target is not a folder, or is a link out of `reports_dir`.
    Fault : the disk is full or read-only, or another process holds the lock for a minute.
    """
    target = reports_dir / report.name
    with _lock_report_dir(target):
        kept_dir = kept_report_dir(target, report.files[CONFIG_FILE].decode()) if keep_other_config else None
        _replace_report_dir(report, target, kept_dir)
    return target


def write_report_files(
    files: Mapping[str, bytes],
    report_dir: Path,
    *,
    config_yaml: str | None = None,
    edits: Mapping[str, Callable[[bytes], bytes]] | None = None,
) -> list[Path]:
    """Write files into the folder of a report, each whole or not at all, beside those there; return their paths.

    Parameters
    ----------
    files : contents by name.
    report_dir : made if it does not exist.
    config_yaml : resolved config that the files are of. Where the folder has none it is written as ``config.yaml``, so
        that a run of another config keeps the files. None for files of any config.
    edits : functions that take the contents of a file there and return what replaces it, by name; of a file that is not
        there none is called.

    Raises
    ------
    OutputError : the folder has the report of another config; or as for `write_report`.
    Fault : as for `write_report`.
    """
    with _lock_report_dir(report_dir):
        own_config: dict[str, bytes] = {}
        if config_yaml is not None:
            require_report_of_config(report_dir, config_yaml)
            own_config = {} if (report_dir / CONFIG_FILE).exists() else {CONFIG_FILE: config_yaml.encode()}
        report_dir.mkdir(exist_ok=True)
        edited = {name: edit((report_dir / name).read_bytes()) for name, edit in (edits or {}).items()
                  if (report_dir / name).is_file()}  # fmt: skip
        contents = {**own_config, **files, **edited}
        fresh_paths = {name: temp_path(report_dir / name) for name in contents}
        try:
            for name, fresh in fresh_paths.items():
                write_and_fsync(fresh, contents[name])
            for name, fresh in fresh_paths.items():
                fresh.replace(report_dir / name)
        finally:
            for fresh in fresh_paths.values():
                fresh.unlink(missing_ok=True)
            with suppress(OSError):  # the folder holds files
                report_dir.rmdir()
        fsync_path(report_dir)
    return [report_dir / name for name in (*files, *edited)]


def require_report_of_config(report_dir: Path, config_yaml: str) -> None:
    """Raise an OutputError if the report in a folder is of another config than the resolved one."""
    if kept_report_dir(report_dir, config_yaml):
        advice = "run this one first (`quantlr run`, which keeps that report), or choose another --name"
        raise OutputError(f"{report_dir} is the report of another config; {advice}")


@contextmanager
def _lock_report_dir(report_dir: Path) -> Iterator[None]:
    """Hold the lock of a report's folder, after an interrupted swap has been undone."""
    make_reports_dir(report_dir.parent, report_dir.name)
    with _translate_write_errors(report_dir), hold_file_lock(report_dir):
        recover_interrupted_swap(report_dir)
        remove_abandoned_temp_files(report_dir, REPORT_FILE_NAMES)
        yield


def check_report_target(reports_dir: Path, report_name: str) -> None:
    """Refuse a target that no report can be written to, as far as can be seen without writing.

    Raises
    ------
    OutputError : the target is not a folder, or is a link out of `reports_dir`.
    """
    target = reports_dir / report_name
    try:
        target.stat()
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) == errno.ELOOP:
            text = f"{target} is below a link that leads back to itself; choose another --output"
            raise OutputError(text) from error
    if not reports_dir.is_dir() and (reports_dir.is_symlink() or reports_dir.exists()):
        found = "a file" if reports_dir.exists() else "a link that leads nowhere"
        raise OutputError(f"{reports_dir} is {found}; the output must be a folder; choose another --output")
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise OutputError(f"{target} is not a folder of its own; move it away or choose another name")


def make_reports_dir(reports_dir: Path, report_name: str) -> None:
    """Make the folder of reports if it does not exist.

    Raises
    ------
    OutputError, Fault : as for `write_report`.
    """
    with _translate_write_errors(reports_dir / report_name):
        check_report_target(reports_dir, report_name)
        reports_dir.mkdir(parents=True, exist_ok=True)


@contextmanager
def _translate_write_errors(report_dir: Path) -> Iterator[None]:
    """Turn the system's errors into ours, with the path and what to change."""
    try:
        yield
    except ValueError as error:
        raise OutputError(f"{report_dir.parent!s:.80} can't be a folder: {error}; choose another --output") from error
    except OSError as error:
        reason = f"{report_dir!s:.200} could not be written: {error.strerror or error}"
        if error.errno in (errno.ENOTDIR, errno.ENAMETOOLONG):
            raise OutputError(f"{reason}; choose another --output or --name") from error
        raise Fault(f"{reason}; the former report is untouched") from error


@contextmanager
def hold_file_lock(path: Path) -> Iterator[None]:
    """Hold the lock of a report's folder, or of another path."""
    from filelock import FileLock, Timeout

    lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=LOCK_TIMEOUT_SECONDS)
    try:
        with warnings.catch_warnings(action="ignore"):  # that a disk without locks gets a file as one
            lock.acquire()
        with lock:
            lock.release()  # one of the two
            yield
    except NotImplementedError as error:
        text = f"{path.parent}: this disk has no file locks, which keep two runs apart; choose another --output"
        raise Fault(text) from error
    except Timeout:
        raise Fault(f"another run has been writing {path} for {LOCK_TIMEOUT_SECONDS:.0f} seconds; try again") from None


def recover_interrupted_swap(report_dir: Path) -> None:
    """Restore the old folder where a swap was interrupted, and remove an incomplete new one."""
    fresh, old = _new_and_old_dirs(report_dir)
    if old.is_dir() and not old.is_symlink() and not report_dir.exists():
        old.rename(report_dir)
    for leftover in (old, fresh):
        remove_file_or_dir(leftover)


def _new_and_old_dirs(report_dir: Path) -> tuple[Path, Path]:
    return report_dir.with_name(f".{report_dir.name}.new"), report_dir.with_name(f".{report_dir.name}.old")


def _replace_report_dir(report: Report, report_dir: Path, kept_dir: Path | None) -> None:
    """Write a report into a folder; the previous one is moved to `kept_dir`, or without it replaced."""
    fresh, old = _new_and_old_dirs(report_dir)
    try:
        fresh.mkdir()
        for name, content in report.files.items():
            (fresh / name).parent.mkdir(exist_ok=True)
            write_and_fsync(fresh / name, content)
        if report_dir.exists():
            if kept_dir is None:
                _copy_user_files(report_dir, fresh)
            shutil.copymode(report_dir, fresh)
        for folder in {fresh, *((fresh / name).parent for name in report.files)}:
            fsync_path(folder)
    except (OSError, OutputError):
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    if kept_dir is not None:
        _move_report_dir(report_dir, kept_dir, fresh)
        return
    if report_dir.exists() and exchange_paths(fresh, report_dir):
        fsync_path(report_dir.parent)
        shutil.rmtree(fresh, ignore_errors=True)
        return
    if report_dir.exists():
        report_dir.rename(old)
    try:
        fresh.rename(report_dir)
    except BaseException:
        recover_interrupted_swap(report_dir)
        raise
    fsync_path(report_dir.parent)
    shutil.rmtree(old, ignore_errors=True)


def _move_report_dir(report_dir: Path, kept_dir: Path, fresh: Path) -> None:
    """Move a report to `kept_dir` and the new one in its place; if the process ends meanwhile, both are complete."""
    if not (kept_dir.exists() and exchange_paths(fresh, kept_dir)):
        remove_file_or_dir(kept_dir)
        fresh.rename(kept_dir)
    if not exchange_paths(kept_dir, report_dir):
        remove_file_or_dir(fresh)
        kept_dir.rename(fresh)
        report_dir.rename(kept_dir)
        fresh.rename(report_dir)
    fsync_path(report_dir.parent)
    remove_file_or_dir(fresh)  # the earlier report that was in `kept_dir`


def _copy_user_files(old_dir: Path, new_dir: Path) -> None:
    """Copy the user's files and folders: everything but our own files and listed ticker pages."""
    for item in _iter_user_paths(old_dir):
        target = new_dir / item.relative_to(old_dir)
        if item.parent != old_dir:  # among the ticker pages
            if target.exists():
                continue
            target.parent.mkdir(exist_ok=True)
        elif item.name in REPORT_FILE_NAMES:
            raise OutputError(f"{item} is a folder where a file of the report belongs; move it away")
        elif target.exists():
            raise OutputError(f"{item} is not a folder, and the report needs one at this path: move or rename the file")
        _copy_file_or_dir(item, target)
    for copied in new_dir.rglob("*"):
        if copied.is_file() and not copied.is_symlink():
            fsync_path(copied)


def _iter_user_paths(report_dir: Path) -> Iterator[Path]:
    """Yield the user's files and folders in a report's folder, and those among its ticker pages."""
    for item in report_dir.iterdir():
        is_folder = item.is_dir() and not item.is_symlink()
        if is_folder and item.name == TICKER_PAGES_DIR:
            own_files = _listed_ticker_file_names(report_dir)
            yield from (page for page in item.iterdir() if page.name not in own_files)
        elif is_folder or not (item.name in REPORT_FILE_NAMES or EXPORTED_FIGURE_PATTERN.fullmatch(item.name)):
            yield item


def _copy_file_or_dir(source: Path, target: Path) -> None:
    """Copy a file or a folder, and links as links."""
    if source.is_dir() and not source.is_symlink():
        shutil.copytree(source, target, symlinks=True)
    else:
        shutil.copy2(source, target, follow_symlinks=False)


def _listed_ticker_file_names(report_dir: Path) -> frozenset[str]:
    """Return the names of the ticker pages that a report wrote, and of their index; none without a valid index."""
    try:
        listed = read_json(report_dir / TICKER_INDEX_FILE, max_bytes=MAX_JSON_BYTES)
    except (FileNotFoundError, NotADirectoryError, UnreadableContentError):
        return frozenset()
    return frozenset({*listed, Path(TICKER_INDEX_FILE).name} if isinstance(listed, dict) else ())
