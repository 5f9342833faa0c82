"""What a layer tells while it works, and what it wants known of its result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import pandas as pd


class Progress(Protocol):
    """A callback that hears how far a stage has come."""

    def __call__(self, stage: str, *, done: int, total: int) -> None:
        """Hear that `done` of `total` steps of `stage` are over."""


def no_progress(stage: str, *, done: int, total: int) -> None:
    """Hear it and do nothing."""


@dataclass(frozen=True, slots=True)
class Note:
    """Something the reader should know: what was dropped, repaired, left out, or did not converge.

    Attributes
    ----------
    stage : the layer that says it: "data", "features", "model" or "backtest".
    text : one sentence.
    ticker, date : what it is about, where it is about one.
    count : how many rows, sessions or fits it stands for.
    key : the key of the config that decides on it, where one does.
    """

    stage: Literal["data", "features", "model", "backtest"]
    text: str
    ticker: str | None = None
    date: str | None = None
    count: int = 1
    key: str | None = None


def day(date: Any) -> str:
    """Return a date as ``YYYY-MM-DD``."""
    return pd.Timestamp(date).strftime("%Y-%m-%d")
