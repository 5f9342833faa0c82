"""Runs read back from the folders of their reports, those of earlier versions too."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_datetime64_dtype

from quantlr.config.loader import parse_and_merge_config_files
from quantlr.core.errors import Fault, UserError
from quantlr.core.file_reading import UnreadableContentError, library_errors_translated, read_file, read_json
from quantlr.core.frequency import CountedSessionsPerYear
from quantlr.report.storage import MAX_JSON_BYTES, METRICS_FILE

MAX_PARQUET_BYTES = 2 << 30
BACKTEST_COLUMNS = ("gross_return", "cost", "net_return", "exposure", "turnover", "benchmark_equity", "cash_rate")
FORECAST_COLUMNS = ("date", "ticker", "probability", "up", "base_rate")
CONFIG_SECTIONS = ("data", "label", "execution", "report")
"""Sections of a config that a comparison uses."""
MAX_SESSIONS = 10_000
"""Sessions per year, or of a horizon, above which a file is not taken for ours."""
MAX_SAVED_NUMBER = 1e12
"""Size of a number above which a file is not taken for ours: its square and sums of squares stay finite."""
MAX_LISTED_REPORTS = 20
"""Reports that the error about an unknown name lists."""


@dataclass(frozen=True, slots=True)
class SavedRun:
    """A run read back from its report's folder.

    Attributes
    ----------
    name : under which it is compared.
    report_dir : folder of its report.
    config : the resolved config, as written there.
    quantlr_version : that wrote the report.
    price_digest : SHA-256 of the prices.
    backtest_frame : the columns `BACKTEST_COLUMNS` by date, ascending.
    forecast_frame : the columns `FORECAST_COLUMNS`; a row for each date and ticker.
    sessions_per_year : of the config, or as counted from the dates of its prices.
    first_fill : date of the first fill.
    fill : kind of price that orders are filled at.
    horizon : sessions from a forecast to the end of its label.
    """

    name: str
    report_dir: Path
    config: dict[str, Any]
    quantlr_version: str
    price_digest: str
    backtest_frame: pd.DataFrame
    forecast_frame: pd.DataFrame
    sessions_per_year: int
    first_fill: pd.Timestamp
    fill: str
    horizon: int


def find_run_dir(name_or_path: str, reports_dir: Path, file_names: Sequence[str] = (METRICS_FILE,)) -> Path:
    """Return the folder of a run, given as a path or as the name of a folder in `reports_dir`.

    It has one of `file_names`; those of sweeps and comparisons can be looked for too.

    Raises
    ------
    UserError : there is no such report; the message lists those of `reports_dir`.
    """
    for folder in (Path(name_or_path), reports_dir / name_or_path):
        if any((folder / name).is_file() for name in file_names):
            return folder
    names = sorted({path.parent.name for name in file_names for path in reports_dir.glob(f"[!.]*/{name}")})
    more = f" and {len(names) - MAX_LISTED_REPORTS} more" if len(names) > MAX_LISTED_REPORTS else ""
    known = f"; there are {', '.join(names[:MAX_LISTED_REPORTS])}{more}" if names else ""
    kinds = "a run, a sweep or a comparison" if len(file_names) > 1 else "a run"
    raise UserError(
        f"{name_or_path}: no report of {kinds}, neither as a folder nor by that name in {reports_dir}{known}"
    )


def read_saved_run(report_dir: Path, *, name: str) -> SavedRun:
    """Return a run from its report's folder.

    Raises
    ------
    UserError : the folder is incomplete, or laid out as another version does.
    Fault : the disk cannot be read.
    """
    files = ("config.yaml", "backtest.parquet", "forecasts.parquet")
    missing = [file for file in files if not (report_dir / file).is_file()]
    if missing:
        raise UserError(f"{report_dir} is not a complete report: {', '.join(missing)} missing; run its config again")
    try:
        provenance = read_json(report_dir / "provenance.json", max_bytes=MAX_JSON_BYTES)
        version = str(provenance["versions"]["quantlr"])
    except (OSError, ValueError, LookupError, TypeError):
        provenance, version = {}, "unknown"
    try:
        with library_errors_translated("the files of a run", unless=(OSError,)):
            return _read_saved_run(report_dir, name=name, provenance=provenance, version=version)
    except OSError as error:
        raise Fault(f"{report_dir} can't be read: {error.strerror or error}") from error
    except (UnreadableContentError, UserError) as error:
        layout = f"{report_dir}, written by quantlr {version}, can't be read as this version writes it"
        raise UserError(f"{layout}: {error}; run its config again") from error


def _read_saved_run(report_dir: Path, *, name: str, provenance: dict[str, Any], version: str) -> SavedRun:
    parsed, problems = parse_and_merge_config_files(report_dir / "config.yaml", default_kinds={})
    if problems:
        raise ValueError("\n".join(map(str, problems)))
    config, data = parsed.value, read_json(report_dir / METRICS_FILE, max_bytes=MAX_JSON_BYTES)["data"]
    missing = [key for key in CONFIG_SECTIONS if not isinstance(config.get(key), dict)]
    if missing:
        raise UserError(f"config.yaml has no {', '.join(missing)}")
    stated_per_year, fill = config["report"]["sessions_per_year"], str(config["execution"]["fill"])
    per_year = data.get("sessions_per_year", stated_per_year)
    if per_year == "auto":
        raise UserError(f"{METRICS_FILE} has no data.sessions_per_year")
    horizon = int(config["label"]["horizon"])
    if not (0 < int(per_year) <= MAX_SESSIONS and 0 < horizon <= MAX_SESSIONS):
        raise UserError(f"{per_year} sessions per year or a horizon of {horizon} can't be of a run")
    backtest_frame = _read_backtest_frame(report_dir / "backtest.parquet", config, int(per_year))
    forecast_frame = _read_forecast_frame(report_dir / "forecasts.parquet")
    first_fill = pd.Timestamp(data.get("first_fill") or _first_fill_by_forecasts(forecast_frame, backtest_frame, fill))
    if first_fill.tzinfo is not None or not first_fill <= backtest_frame.index[0]:
        raise UserError(f"{METRICS_FILE} has a data.first_fill after the first session of the backtest")
    return SavedRun(
        name=name,
        report_dir=report_dir,
        config=config,
        quantlr_version=version,
        price_digest=str(provenance.get("data", {}).get("sha256", "")),
        backtest_frame=backtest_frame,
        forecast_frame=forecast_frame,
        sessions_per_year=CountedSessionsPerYear(per_year) if stated_per_year == "auto" else int(per_year),
        first_fill=first_fill,
        fill=fill,
        horizon=horizon,
    )


def _first_fill_by_forecasts(forecasts: pd.DataFrame, backtest: pd.DataFrame, fill: str) -> pd.Timestamp:
    """Return the first fill of a report without its date: the first forecast's session, or the one after it.

    Raises
    ------
    UserError : no forecast was made in that session, so that its date is not in the report.
    """
    dates = np.unique(forecasts["date"])[: 1 if fill == "close" else 2]
    if (fill != "close" and len(dates) < 2) or dates[-1] >= backtest.index[0]:
        raise UserError(f"{METRICS_FILE} has no data.first_fill")
    return pd.Timestamp(dates[-1])


def _read_parquet_frame(path: Path, columns: Sequence[str], *, optional: Sequence[str] = ()) -> pd.DataFrame:
    """Return columns of a file: all of `columns`, and those of `optional` that it has.

    Raises
    ------
    UserError : a column is missing; the text names it.
    """
    with library_errors_translated(f"{path.name} with the columns {', '.join(columns)}"):
        table = pd.read_parquet(io.BytesIO(read_file(path, max_bytes=MAX_PARQUET_BYTES)))
    missing = [name for name in columns if name not in table]
    if missing:
        raise UserError(f"{path.name} has no column {', '.join(missing)}")
    table = table[[*columns, *(name for name in optional if name in table)]]
    if not is_datetime64_dtype(table["date"]):
        raise UserError(f"{path.name}: the column date does not hold dates without a time zone")
    numbers = table[[name for name in table if name not in ("date", "ticker")]].astype(np.float64)
    if (numbers.abs() > MAX_SAVED_NUMBER).any(axis=None):
        raise UserError(f"{path.name} has numbers beyond {MAX_SAVED_NUMBER:g}, which no run writes")
    return table


def _read_backtest_frame(path: Path, config: Mapping[str, Any], sessions_per_year: int) -> pd.DataFrame:
    """Return the backtest by date; a report without interest by session has that of the config's yearly rate."""
    table = _read_parquet_frame(path, ["date", *BACKTEST_COLUMNS[:-1]], optional=BACKTEST_COLUMNS[-1:])
    table = table.set_index("date")
    if not table.index.is_monotonic_increasing or not table.index.is_unique or table.empty:
        raise UserError(f"{path.name}: dates must ascend, and there must be at least one")
    if "cash_rate" not in table:
        table["cash_rate"] = float(config["execution"]["cash_rate"]) / sessions_per_year
    for name in table.columns.drop("benchmark_equity"):  # which is NaN where there is no benchmark
        if not np.isfinite(table[name].to_numpy(dtype=np.float64)).all():
            raise UserError(f"{path.name}: {name} has values that are not finite")
    return table


def _read_forecast_frame(path: Path) -> pd.DataFrame:
    table = _read_parquet_frame(path, FORECAST_COLUMNS)
    if table.duplicated(["date", "ticker"]).any():
        raise UserError(f"{path.name}: a ticker has two forecasts on one date")
    for name in ("probability", "base_rate"):
        if not table[name].astype(np.float64).between(0.0, 1.0).all():
            raise UserError(f"{path.name}: {name} has values outside 0 to 1")
    if not table["up"].dropna().astype(np.float64).isin([0.0, 1.0]).all():
        raise UserError(f"{path.name}: up has values other than true and false")
    return table
