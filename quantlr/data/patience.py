"""Waiting for work that may never end, without being held by it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


class OutOfPatience(Exception):
    """Nothing came for so long that the rest was abandoned."""


THREAD = "quantlr: waiting for an answer"
"""Name of the threads that may be abandoned."""


@dataclass(frozen=True, slots=True)
class _Came(Generic[T]):
    """A result, which may itself be None or an error."""

    value: T


class Work(Generic[T]):
    """An iterator that runs in a thread of its own, ahead of the one who reads it, and can be abandoned.

    The thread is a daemon: a call that hangs holds up neither the reader nor the end of the program. It is abandoned
    where its `with` block ends.
    """

    def __init__(self, produce: Callable[[threading.Event], Iterator[T]]) -> None:
        """Begin; `produce` gets an event that is set once nobody waits any more."""
        self._abandoned = threading.Event()
        self._came: queue.SimpleQueue[_Came[T] | BaseException | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, args=(produce,), name=THREAD, daemon=True).start()

    def _run(self, produce: Callable[[threading.Event], Iterator[T]]) -> None:
        try:
            for item in produce(self._abandoned):
                self._came.put(_Came(item))
                if self._abandoned.is_set():
                    return
            self._came.put(None)
        except BaseException as error:
            self._came.put(error)

    def __enter__(self) -> Work[T]:
        return self

    def __exit__(self, *raised: object) -> None:
        self._abandoned.set()

    def results(self, *, patience: float) -> Iterator[T]:
        """Yield what comes, until it is over.

        Raises
        ------
        OutOfPatience : nothing came for `patience` seconds.
        """
        try:
            while True:
                came = self._came.get(timeout=patience)
                if came is None:
                    return
                if isinstance(came, BaseException):
                    raise came
                yield came.value
        except queue.Empty:
            raise OutOfPatience from None
