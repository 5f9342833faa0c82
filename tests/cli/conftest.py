from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from quantlr.cli import main

from markets import random_walk_bars

CONFIG = """\
data: {source: {kind: sample}, tickers: [MSFT], end: 2003-06-30}
features:
  - {kind: lagged_returns, lags: [1, 2]}
walk_forward: {train: 250}
"""
Call = Callable[..., Result]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Return a function that runs the program in a folder with exp.yaml."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "exp.yaml").write_text(CONFIG)
    return lambda *arguments: CliRunner().invoke(main, arguments)


def settings_of_random_prices(n_tickers: int) -> list[str]:
    """Write prices.csv with random prices of several tickers, and return the options that make a config use it."""
    rng, dates = np.random.default_rng(0), pd.bdate_range("2018-01-01", periods=300)
    tickers = [f"T{number}" for number in range(n_tickers)]
    bars = pd.concat([random_walk_bars(rng, dates).assign(ticker=ticker) for ticker in tickers])
    bars.to_csv("prices.csv", index_label="date")
    settings = ("data.source={kind: file, path: prices.csv}", f"data.tickers=[{','.join(tickers)}]", "data.end=null")
    return [word for setting in settings for word in ("--set", setting)]


@pytest.fixture(autouse=True)
def _undrawn(without_drawing: None) -> None:
    """Draw nothing: these tests are about texts and files."""
