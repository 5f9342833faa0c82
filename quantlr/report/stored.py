"""A run read back from its report's folder, for whoever sets several runs side by side."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from quantlr.config.loader import read_config_file
from quantlr.core.errors import Fault, UserError

BACKTEST_COLUMNS = ("gross_return", "cost", "net_return", "exposure", "turnover", "benchmark_equity")
FORECAST_COLUMNS = ("date", "ticker", "probability", "up", "base_rate")
REQUIRED_FILES = ("config.yaml", "backtest.parquet", "forecasts.parquet")
MAX_LISTED_REPORTS = 20
"""Reports that are named to someone who has named none of them."""


@dataclass(frozen=True, slots=True)
class SavedRun:
    """A run as its files tell of it.

    Attributes
    ----------
    name : what it goes by among those it is compared with.
    folder : where its report is.
    config : the resolved config, as it is written there.
    version : of the quantlr that wrote it.
    prices : digest of the prices it ran on.
    backtest : the columns of ``backtest.parquet`` by date, ascending.
    forecasts : columns of ``forecasts.parquet``; a row for each date and ticker.
    """

    name: str
    report_dir: Path
    config: dict[str, Any]
    quantlr_version: str
    price_digest: str
    backtest_frame: pd.DataFrame
    forecast_frame: pd.DataFrame

    @property
    def sessions_per_year(self) -> int:
        """How a year is counted."""
        return int(self.config["report"]["sessions_per_year"])

    @property
    def cash_return_per_session(self) -> float:
        """Interest on one unit of cash over one session, as a fraction."""
        return float(self.config["execution"]["cash_rate"]) / self.sessions_per_year

    @property
    def fill(self) -> str:
        """The kind of price that it trades at."""
        return str(self.config["execution"]["fill"])

    @property
    def horizon(self) -> int:
        """Sessions that a forecast spans."""
        return int(self.config["label"]["horizon"])


def find_run_dir(name_or_path: str, reports_dir: Path) -> Path:
    """Return the folder of a run that is named by its report's folder, or by its name in a folder of reports.

    Raises
    ------
    UserError : there is no report of that name; those that there are, are told.
    """
    for folder in (Path(name_or_path), reports_dir / name_or_path):
        if (folder / "metrics.json").is_file():
            return folder
    there = sorted(
        found.parent.name for found in reports_dir.glob("*/metrics.json") if not found.parent.name.startswith(".")
    )
    more = f" and {len(there) - MAX_LISTED_REPORTS} more" if len(there) > MAX_LISTED_REPORTS else ""
    known = f"; there are {', '.join(there[:MAX_LISTED_REPORTS])}{more}" if there else ""
    raise UserError(f"{name_or_path}: no report of a run, neither as a folder nor by that name in {reports_dir}{known}")


def read_saved_run(report_dir: Path, *, name: str) -> SavedRun:
    """Return a run from its report's folder.

    Raises
    ------
    UserError : the folder is not whole, or laid out as another version does.
    Fault : the disk is in the way.
    """
    lacking = [name for name in REQUIRED_FILES if not (report_dir / name).is_file()]
    if lacking:
        raise UserError(f"{report_dir} is no whole report: it lacks {', '.join(lacking)}; run its config again")
    try:
        provenance = json.loads((report_dir / "provenance.json").read_bytes())
        version = str(provenance["versions"]["quantlr"])
    except (OSError, ValueError, LookupError, TypeError):
        provenance, version = {}, "unknown"
    try:
        config, problems = read_config_file(report_dir / "config.yaml", default_kinds={})
        if problems:
            raise ValueError("\n".join(map(str, problems)))
        found = SavedRun(
            name=name,
            report_dir=report_dir,
            config=config.value,
            quantlr_version=version,
            price_digest=str(provenance.get("data", {}).get("sha256", "")),
            backtest_frame=_read_backtest(report_dir / "backtest.parquet"),
            forecast_frame=_read_forecasts(report_dir / "forecasts.parquet"),
        )
        _ = found.cash_return_per_session, found.fill, found.horizon
    except OSError as error:
        raise Fault(f"{report_dir} can't be read: {error.strerror or error}") from error
    except (ValueError, LookupError, TypeError, AttributeError, UserError) as error:
        raise UserError(
            f"{report_dir}, written by quantlr {version}, can't be read as this version writes it: {error}; run its config "
            "again"
        ) from error
    return found


def _read_backtest(path: Path) -> pd.DataFrame:
    table = pd.read_parquet(path, columns=["date", *BACKTEST_COLUMNS]).set_index("date")
    if not isinstance(table.index, pd.DatetimeIndex):
        raise ValueError(f"{path.name}: its dates are no dates")
    if not table.index.is_monotonic_increasing or not table.index.is_unique or table.empty:
        raise ValueError(f"{path.name}: dates must ascend, and there must be some")
    if not np.isfinite(table["net_return"].to_numpy(dtype=np.float64)).all():
        raise ValueError(f"{path.name}: net_return holds what is not a number")
    return table


def _read_forecasts(path: Path) -> pd.DataFrame:
    table = pd.read_parquet(path, columns=list(FORECAST_COLUMNS))
    if table.duplicated(["date", "ticker"]).any():
        raise ValueError(f"{path.name}: a ticker is forecast twice on one date")
    return table
