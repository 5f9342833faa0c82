from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from quantlr.sweeps import worker

ReadFiles = Callable[[Path], dict[str, bytes]]


@pytest.fixture(autouse=True)
def empty_worker_cache() -> None:
    """Give each test a worker without results of earlier trials."""
    worker.NEWEST_RESULTS.clear()


@pytest.fixture
def read_files() -> ReadFiles:
    """Return a function that reads the files of a sweep in a folder, but for the ledger, which contains the time."""

    def read(output: Path) -> dict[str, bytes]:
        return {
            str(path.relative_to(output)): path.read_bytes()
            for path in sorted(output.rglob("*"))
            if path.is_file() and path.suffix in (".npz", ".json", ".csv", ".png", ".yaml")
        }

    return read
