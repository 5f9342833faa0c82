"""A run read back from its report's folder, for whoever sets several runs side by side."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from quantlr.config.resolve import read_config
from quantlr.errors import Fault, UserError

BACKTEST = ("gross_return", "cost", "net_return", "exposure", "turnover", "benchmark_equity")
FORECASTS = ("date", "ticker", "probability", "up", "base_rate")
FILES = ("config.yaml", "backtest.parquet", "forecasts.parquet")
LONGEST_LIST = 20
"""Reports that are named to someone who has named none of them."""


@dataclass(frozen=True, slots=True)
class Stored:
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
    folder: Path
    config: dict[str, Any]
    version: str
    prices: str
    backtest: pd.DataFrame
    forecasts: pd.DataFrame

    @property
    def sessions_per_year(self) -> int:
        """How a year is counted."""
        return int(self.config["report"]["sessions_per_year"])

    @property
    def cash(self) -> float:
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


def find_run(run: str, output: Path) -> Path:
    """Return the folder of a run that is named by its report's folder, or by its name in a folder of reports.

    Raises
    ------
    UserError : there is no report of that name; those that there are, are told.
    """
    for folder in (Path(run), output / run):
        if (folder / "metrics.json").is_file():
            return folder
    there = sorted(
        found.parent.name for found in output.glob("*/metrics.json") if not found.parent.name.startswith(".")
    )
    more = f" and {len(there) - LONGEST_LIST} more" if len(there) > LONGEST_LIST else ""
    known = f"; there are {', '.join(there[:LONGEST_LIST])}{more}" if there else ""
    raise UserError(f"{run}: no report of a run, neither as a folder nor by that name in {output}{known}")


def read_run(folder: Path, *, name: str) -> Stored:
    """Return a run from its report's folder.

    Raises
    ------
    UserError : the folder is not whole, or laid out as another version does.
    Fault : the disk is in the way.
    """
    lacking = [name for name in FILES if not (folder / name).is_file()]
    if lacking:
        raise UserError(f"{folder} is no whole report: it lacks {', '.join(lacking)}; run its config again")
    try:
        provenance = json.loads((folder / "provenance.json").read_bytes())
        version = str(provenance["versions"]["quantlr"])
    except (OSError, ValueError, LookupError, TypeError):
        provenance, version = {}, "unknown"
    try:
        config, problems = read_config(folder / "config.yaml", kinds={})
        if problems:
            raise ValueError("\n".join(map(str, problems)))
        found = Stored(
            name=name,
            folder=folder,
            config=config.value,
            version=version,
            prices=str(provenance.get("data", {}).get("sha256", "")),
            backtest=_backtest(folder / "backtest.parquet"),
            forecasts=_forecasts(folder / "forecasts.parquet"),
        )
        _ = found.cash, found.fill, found.horizon
    except OSError as error:
        raise Fault(f"{folder} can't be read: {error.strerror or error}") from error
    except (ValueError, LookupError, TypeError, AttributeError, UserError) as error:
        raise UserError(
            f"{folder}, written by quantlr {version}, can't be read as this version writes it: {error}; run its config "
            "again"
        ) from error
    return found


def _backtest(path: Path) -> pd.DataFrame:
    table = pd.read_parquet(path, columns=["date", *BACKTEST]).set_index("date")
    if not isinstance(table.index, pd.DatetimeIndex):
        raise ValueError(f"{path.name}: its dates are no dates")
    if not table.index.is_monotonic_increasing or not table.index.is_unique or table.empty:
        raise ValueError(f"{path.name}: dates must ascend, and there must be some")
    if not np.isfinite(table["net_return"].to_numpy(dtype=np.float64)).all():
        raise ValueError(f"{path.name}: net_return holds what is not a number")
    return table


def _forecasts(path: Path) -> pd.DataFrame:
    table = pd.read_parquet(path, columns=list(FORECASTS))
    if table.duplicated(["date", "ticker"]).any():
        raise ValueError(f"{path.name}: a ticker is forecast twice on one date")
    return table
