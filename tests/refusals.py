"""Configs written for a test, and what is said of those that are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from quantlr.config.run_config import load_config
from quantlr.core.errors import ConfigError

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
SMALL = "data: {source: {kind: sample}, tickers: [AAPL]}\nfeatures:\n  - {kind: lagged_returns}\n"


def written(tmp_path: Path, text: str | bytes, name: str = "exp.yaml") -> Path:
    """Write a config into a folder, and return its path."""
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def problems(path: Path, **keys: Any) -> list[str]:
    """Return what is said of a config that is refused, each problem's file by its name alone."""
    with pytest.raises(ConfigError) as caught:
        load_config(path, **keys)
    assert caught.value.exit_status == 2
    return [problem.replace(str(path), path.name) for problem in caught.value.problems]
