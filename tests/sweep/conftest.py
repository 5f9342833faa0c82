from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from quantlr.sweeps import worker

Files = Callable[[Path], dict[str, bytes]]


@pytest.fixture(autouse=True)
def clear_bench(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test a worker's bench with nothing on it."""
    monkeypatch.setattr(worker, "WORKER_CACHE", worker.StageCache())


@pytest.fixture
def files() -> Files:
    """Return a function that reads what a sweep has left in a folder, but for the ledger, which has the time."""

    def read(output: Path) -> dict[str, bytes]:
        return {
            str(path.relative_to(output)): path.read_bytes()
            for path in sorted(output.rglob("*"))
            if path.is_file() and path.suffix in (".npz", ".json", ".csv", ".png", ".yaml")
        }

    return read
