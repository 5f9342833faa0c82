from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from quantlr.cli import main

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


@pytest.fixture(autouse=True)
def _undrawn(without_drawing: None) -> None:
    """Draw nothing: these tests are about texts and files."""
