"""What a layer tells while it works, and what it wants known of its result."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar, overload

import numpy as np

T = TypeVar("T")


class Progress(Protocol):
    """A callback that hears how far a stage has come."""

    def __call__(self, stage: str, *, done: int, total: int) -> None:
        """Hear that `done` of `total` steps of `stage` are over."""


def ignore_progress(stage: str, *, done: int, total: int) -> None:
    """Hear it and do nothing."""


class ProgressCounter:
    """The steps of a stage, counted aloud: whoever listens hears of the start, and of each step when it is over."""

    def __init__(self, stage: str, total: int, progress: Progress) -> None:
        self._stage, self._total, self._callback = stage, total, progress
        self._n_done = 0
        progress(stage, done=0, total=total)

    def step(self) -> None:
        """Tell that one more step is over."""
        self._n_done += 1
        self._callback(self._stage, done=self._n_done, total=self._total)

    def iter_items(self, items: Iterable[T]) -> Iterator[T]:
        """Yield items; what is done with one is a step."""
        for item in items:
            yield item
            self.step()


class Told(Sequence[T]):
    """A sequence that tells how far a loop over it has come, whoever loops."""

    def __init__(self, items: Sequence[T], stage: str, progress: Progress) -> None:
        self._items, self._stage, self._progress = items, stage, progress

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, at: int) -> T: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[T]: ...

    def __getitem__(self, at: int | slice) -> T | Sequence[T]:
        return self._items[at]

    def __iter__(self) -> Iterator[T]:
        yield from ProgressCounter(self._stage, len(self), self._progress).iter_items(self._items)


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


def iso_date(date: Any) -> str:
    """Return a date as ``YYYY-MM-DD``."""
    return str(np.datetime64(date).astype("datetime64[D]"))
