"""Progress reports of long stages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")


class Progress(Protocol):
    """A callback that is given the progress of a stage."""

    def __call__(self, stage: str, *, done: int, total: int) -> None:
        """Report that `done` of the `total` steps of `stage` are complete."""


def ignore_progress(stage: str, *, done: int, total: int) -> None:
    """Discard a progress report; the default where no callback is given."""


class ProgressCounter:
    """Counts the steps of a stage and reports each, and the start, to a progress callback."""

    def __init__(self, stage: str, total: int, progress: Progress) -> None:
        self._stage, self._total, self._callback = stage, total, progress
        self._n_done = 0
        progress(stage, done=0, total=total)

    def step(self, n_steps: int = 1) -> None:
        """Count and report completed steps."""
        self._n_done += n_steps
        self._callback(self._stage, done=self._n_done, total=self._total)

    def iter_items(self, items: Iterable[T]) -> Iterator[T]:
        """Yield items, and count a step when the loop body of each is complete."""
        for item in items:
            yield item
            self.step()
