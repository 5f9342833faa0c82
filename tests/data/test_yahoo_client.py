"""An iterator in a background thread: order, errors and time-out."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from quantlr.data.network import ResultTimeoutError, iter_in_background


def test_items_are_yielded_in_order_from_a_daemon_thread() -> None:
    def make_items(_: threading.Event) -> Iterator[int]:
        assert threading.current_thread().daemon
        yield from range(5)

    assert list(iter_in_background(make_items, timeout_seconds=10.0)) == [0, 1, 2, 3, 4]


def test_an_error_in_the_thread_is_raised_in_the_caller() -> None:
    def make_items(_: threading.Event) -> Iterator[int]:
        yield 1
        raise ValueError("raised in the thread")

    with pytest.raises(ValueError, match="raised in the thread"):
        list(iter_in_background(make_items, timeout_seconds=10.0))


def test_an_iterator_that_hangs_is_abandoned_after_the_time_out() -> None:
    was_stopped, was_finished = threading.Event(), threading.Event()

    def make_items(stop_event: threading.Event) -> Iterator[int]:
        yield 1
        stop_event.wait(30)
        was_stopped.set()
        yield 2
        was_finished.set()

    items: list[int] = []
    started = time.monotonic()
    with pytest.raises(ResultTimeoutError):
        items.extend(iter_in_background(make_items, timeout_seconds=0.05))
    assert time.monotonic() - started < 20
    assert was_stopped.wait(20)
    assert items == [1]
    assert not was_finished.wait(0.05), "no item is made after the stop"


def test_closing_the_iterator_stops_the_thread() -> None:
    was_stopped = threading.Event()

    def make_items(stop_event: threading.Event) -> Iterator[int]:
        yield 1
        stop_event.wait(30)
        was_stopped.set()

    with closing(iter_in_background(make_items, timeout_seconds=10.0)) as items:
        assert next(items) == 1
    assert was_stopped.wait(20)
