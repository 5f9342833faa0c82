"""An iterator in a thread that can be abandoned, for servers that do not answer."""

from __future__ import annotations

import queue
from collections.abc import Callable, Generator, Iterator
from threading import Event, Thread
from typing import TypeVar

T = TypeVar("T")

BACKGROUND_THREAD_NAME = "quantlr: waiting for an answer"
"""Name of the threads that may be abandoned."""


class ResultTimeoutError(Exception):
    """A background iterator yielded nothing within the time-out."""


def iter_in_background(
    make_items: Callable[[Event], Iterator[T]], *, timeout_seconds: float
) -> Generator[T, None, None]:
    """Yield the items of an iterator that runs in a thread of its own, ahead of the caller, and can be abandoned.

    The thread is a daemon: a request that hangs blocks neither the caller nor the end of the program.

    Parameters
    ----------
    make_items : is called in the thread with an event that is set once the items are no longer wanted.
    timeout_seconds : how long to wait for an item.

    Raises
    ------
    ResultTimeoutError : there was no item for `timeout_seconds`.
    """
    stop_event = Event()
    results: queue.SimpleQueue[tuple[T] | BaseException | None] = queue.SimpleQueue()

    def put_items_on_queue() -> None:
        try:
            for item in make_items(stop_event):
                results.put((item,))
                if stop_event.is_set():
                    return
            results.put(None)
        except BaseException as error:
            results.put(error)

    Thread(target=put_items_on_queue, name=BACKGROUND_THREAD_NAME, daemon=True).start()
    try:
        while (result := results.get(timeout=timeout_seconds)) is not None:
            if isinstance(result, BaseException):
                raise result
            yield result[0]
    except queue.Empty:
        raise ResultTimeoutError from None
    finally:
        stop_event.set()
