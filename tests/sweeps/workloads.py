"""Functions of workers, importable by other processes: some kill their worker; and a small sweep of several tests."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

SMALL: dict[str, Any] = {
    "name": "small",
    "base": {
        "data": {"source": {"kind": "sample"}, "tickers": ["MSFT"], "end": "2003-06-30"},
        "features": [{"kind": "lagged_returns", "lags": [1, 2]}],
        "walk_forward": {"train": 250},
    },
    "grid": {
        "features.0.lags": [[1], [1, 2]],
        "walk_forward.train": [250, 5000],
        "policy.long_above": [0.5, 0.51, 0.52],
    },
}
"""Four models with three policies each; half of the trials fail because their history is too short."""

HalvingTask = tuple[Path, list[int]]
"""A folder for marker files, and the numbers to halve."""


def halve(task: HalvingTask) -> list[float]:
    """Return halves of numbers; 13 always kills its process, 7 does so once and leaves a marker file."""
    folder, numbers = task
    for number in numbers:
        marker = folder / f"{number}"
        if number == 13 or (number == 7 and not marker.exists()):
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return [number / 2 for number in numbers]


def split_numbers(task: HalvingTask) -> Iterable[HalvingTask]:
    """Return each number as a task of its own."""
    return [(task[0], [number]) for number in task[1]]


def sleep_an_hour(marker: Path) -> None:
    """Leave a marker file at the start, and sleep for an hour."""
    marker.touch()
    time.sleep(3600.0)
