"""Work that kills its worker, importable by other processes; and a small sweep that several tests do."""

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
"""Four models of three policies each; half of the trials fail for want of history."""


def halve(task: tuple[Path, list[int]]) -> list[float]:
    """Return halves of numbers; 13 kills its process, always; 7 does so once, and leaves a file to tell."""
    folder, numbers = task
    for number in numbers:
        mark = folder / f"{number}"
        if number == 13 or (number == 7 and not mark.exists()):
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return [number / 2 for number in numbers]


def apart(task: tuple[Path, list[int]]) -> Iterable[tuple[Path, list[int]]]:
    """Return each number as a task of its own."""
    return [(task[0], [number]) for number in task[1]]


def doze(seconds: float) -> float:
    """Return after so many seconds."""
    time.sleep(seconds)
    return seconds
