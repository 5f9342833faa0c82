"""Config files written for a test, and the problems that loading them reports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from quantlr.config.run_config import load_config
from quantlr.core.errors import ConfigError

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
SMALL = "data: {source: {kind: sample}, tickers: [AAPL]}\nfeatures:\n  - {kind: lagged_returns}\n"


def write_config(tmp_path: Path, text: str | bytes, name: str = "exp.yaml") -> Path:
    """Write a config file, and return its path."""
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def config_problems(path: Path, **keys: Any) -> list[str]:
    """Return the problems of an invalid config, with the file's name instead of its path."""
    with pytest.raises(ConfigError) as caught:
        load_config(path, **keys)
    assert caught.value.exit_status == 2
    return [problem.replace(str(path), path.name) for problem in caught.value.problems]
