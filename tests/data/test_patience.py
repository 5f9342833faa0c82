from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from quantlr.data.yahoo_client import BackgroundIterator, ResultTimeoutError


def test_what_is_made_elsewhere_comes_in_order_and_ends() -> None:
    def produce(_: threading.Event) -> Iterator[int]:
        assert threading.current_thread().daemon
        yield from range(5)

    with BackgroundIterator(produce) as work:
        assert list(work.iter_results(timeout_seconds=10.0)) == [0, 1, 2, 3, 4]


def test_an_error_is_raised_where_it_can_be_seen() -> None:
    def produce(_: threading.Event) -> Iterator[int]:
        yield 1
        raise ValueError("as it happened")

    with BackgroundIterator(produce) as work, pytest.raises(ValueError, match="as it happened"):
        list(work.iter_results(timeout_seconds=10.0))


def test_what_hangs_is_abandoned_and_told_so() -> None:
    told, over = threading.Event(), threading.Event()

    def produce(abandoned: threading.Event) -> Iterator[int]:
        yield 1
        abandoned.wait(30)
        told.set()
        yield 2
        over.set()

    came: list[int] = []
    started = time.monotonic()
    with BackgroundIterator(produce) as work, pytest.raises(ResultTimeoutError):
        came.extend(work.iter_results(timeout_seconds=0.05))
    assert time.monotonic() - started < 20
    assert told.wait(20)
    assert came == [1]
    assert not over.wait(0.05), "nothing more is made than is asked for"
