"""Requests to servers: answers read whole within a size and a time, and work in a thread that can be abandoned."""

from __future__ import annotations

import queue
from collections.abc import Callable, Generator, Iterator
from http.client import HTTPException
from threading import Event, Thread
from time import monotonic
from typing import Any, TypeVar
from urllib.error import HTTPError

BLOCK_BYTES = 1 << 16
DEADLINE_SECONDS = 120.0
"""Longest time for a whole answer: a server may send a byte now and then without end."""
MAX_ERROR_BYTES = 10_000
BACKGROUND_THREAD_NAME = "quantlr: waiting for an answer"
"""Name of the threads that may be abandoned."""
T = TypeVar("T")


def read_response(opener: Any, url: str, *, timeout_seconds: float, max_bytes: int) -> bytes:
    """Return the content of the answer to a GET request.

    Parameters
    ----------
    opener : as `urllib.request.build_opener` returns it.
    timeout_seconds : longest wait for a part of the answer.
    max_bytes : largest content.

    Raises
    ------
    HTTPError : the server answers with a status of an error.
    OSError : it can't be reached, its answer is not HTTP, is incomplete, too slow or too large.
    """
    end, content = monotonic() + DEADLINE_SECONDS, bytearray()
    try:
        with opener.open(url, timeout=timeout_seconds) as response:
            while block := response.read1(BLOCK_BYTES):
                content += block
                if len(content) > max_bytes:
                    raise OSError(f"its answer is larger than {max_bytes:,} bytes")
                if monotonic() > end:
                    raise TimeoutError(f"its answer takes longer than {DEADLINE_SECONDS:g} seconds")
            if getattr(response, "length", None):
                raise OSError(f"its answer ends {response.length:,} bytes too early")
    except (HTTPException, ValueError) as error:  # no HTTP, or a redirection to what is no address
        raise OSError(f"its answer is not HTTP as it should be ({type(error).__name__})") from error
    return bytes(content)


def read_error_text(error: HTTPError) -> str:
    """Return the beginning of the content that came with a status of an error; "" where there is none."""
    try:
        with error:
            return error.read(MAX_ERROR_BYTES).decode("utf-8", "replace")
    except (OSError, HTTPException, ValueError):
        return ""


def network_error_text(error: OSError) -> str:
    """Return why there is no answer."""
    return str(getattr(error, "reason", None) or error.strerror or error or type(error).__name__)


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
