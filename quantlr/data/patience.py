"""Waiting for work that may never end, without being held by it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


class ResultTimeoutError(Exception):
    """Nothing came for so long that the rest was abandoned."""


BACKGROUND_THREAD_NAME = "quantlr: waiting for an answer"
"""Name of the threads that may be abandoned."""


@dataclass(frozen=True, slots=True)
class _QueuedResult(Generic[T]):
    """A result, which may itself be None or an error."""

    value: T


class BackgroundIterator(Generic[T]):
    """An iterator that runs in a thread of its own, ahead of the one who reads it, and can be abandoned.

    The thread is a daemon: a call that hangs holds up neither the reader nor the end of the program. It is abandoned
    where its `with` block ends.
    """

    def __init__(self, make_iterator: Callable[[threading.Event], Iterator[T]]) -> None:
        """Begin; `produce` gets an event that is set once nobody waits any more."""
        self._stop_event = threading.Event()
        self._result_queue: queue.SimpleQueue[_QueuedResult[T] | BaseException | None] = queue.SimpleQueue()
        threading.Thread(
            target=self._put_results_on_queue, args=(make_iterator,), name=BACKGROUND_THREAD_NAME, daemon=True
        ).start()

    def _put_results_on_queue(self, make_iterator: Callable[[threading.Event], Iterator[T]]) -> None:
        try:
            for item in make_iterator(self._stop_event):
                self._result_queue.put(_QueuedResult(item))
                if self._stop_event.is_set():
                    return
            self._result_queue.put(None)
        except BaseException as error:
            self._result_queue.put(error)

    def __enter__(self) -> BackgroundIterator[T]:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop_event.set()

    def iter_results(self, *, timeout_seconds: float) -> Iterator[T]:
        """Yield what comes, until it is over.

        Raises
        ------
        OutOfPatience : nothing came for `patience` seconds.
        """
        try:
            while True:
                came = self._result_queue.get(timeout=timeout_seconds)
                if came is None:
                    return
                if isinstance(came, BaseException):
                    raise came
                yield came.value
        except queue.Empty:
            raise ResultTimeoutError from None
