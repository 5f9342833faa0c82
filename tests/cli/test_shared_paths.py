"""Nothing that the program writes into a folder of reports names the home folder or its owner."""

from __future__ import annotations

import io
import sqlite3
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from quantlr.cli import main

from markets import random_walk_bars

pytestmark = pytest.mark.usefixtures("without_drawing")
OWNER = "alicewonder"
CONFIG = "name: own\nfeatures: [{kind: lagged_returns, lags: [1]}]\nwalk_forward: {train: 60, refit_every: 20}\n"


def contents(path: Path) -> list[bytes]:
    """Return the bytes of a file as they are, and what is packed in them."""
    content = path.read_bytes()
    if path.suffix == ".parquet":
        return [content, str(pq.read_schema(io.BytesIO(content)).metadata).encode()]
    if path.suffix == ".db":
        with sqlite3.connect(path) as connection:
            return [content, "\n".join(connection.iterdump()).encode()]
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return [archive.read(name) for name in archive.namelist()]
    return [content]


def test_no_file_of_a_report_names_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / OWNER
    home.mkdir()
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(home))
    monkeypatch.chdir(home)
    bars = random_walk_bars(np.random.default_rng(0), pd.bdate_range("2019-01-01", periods=140))
    prices = home / "prices.csv"
    bars.to_csv(prices, index_label="Date")
    config, missing = home / "own.yaml", home / "missing.csv"
    config.write_text(f"{CONFIG}data: {{source: {{kind: file, path: {prices}}}, tickers: [X]}}\n")
    sweep = home / "tries.yaml"
    sweep.write_text(f"base: {config}\nholdout: 0\ngrid: {{data.source.path: [{prices}, {missing}]}}\n")
    for arguments in (["run", str(config)], ["audit", str(config)], ["sweep", str(sweep), "--jobs", "1"]):
        result = CliRunner().invoke(main, [*arguments, "--output", str(home / "reports")])
        assert result.exit_code in (0, 4), result.output
    paths = [path for path in (home / "reports").rglob("*") if path.is_file()]
    assert {"trials.db", "trials.csv", "sweep.json", "config.yaml", "audit.json"} <= {path.name for path in paths}
    assert any(path.parent.name == ".trials" or ".trials" in path.parts for path in paths)
    named = [str(path.relative_to(home)) for path in paths if any(OWNER.encode() in part for part in contents(path))]
    assert not named
