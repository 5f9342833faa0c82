"""Worker processes: results in the order of the jobs, errors of jobs and of killed processes, no process left."""

from __future__ import annotations

import os
import signal
import sys
import threading
from concurrent.futures import wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children
from typing import Any, ClassVar

import pytest
from quantlr.core.errors import Fault
from quantlr.core.parallel import map_in_processes, parallel_map, process_pool


def square(number: int) -> int:
    """Return the square; 13 raises, 99 ends its process."""
    if number == 13:
        raise ValueError("thirteen")
    if number == 99:
        os._exit(1)
    return number**2


def killed_while_sending() -> bytes:
    """Return 50 MB, and kill the process once its main thread sends them."""
    main_thread = threading.get_ident()

    def kill() -> None:
        while sys._current_frames()[main_thread].f_code.co_name not in ("_send", "_send_bytes"):
            pass
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=kill).start()
    return bytes(50_000_000)


class PickledBy:
    """The identity, which notes the threads that pickle it."""

    threads: ClassVar[set[int]] = set()

    def __reduce__(self) -> tuple[Any, ...]:
        self.threads.add(threading.get_ident())
        return PickledBy, ()

    def __call__(self, job: int) -> int:
        return job


def test_function_is_pickled_by_the_thread_that_may_change_it() -> None:
    with process_pool(1) as pool:
        assert list(parallel_map(PickledBy(), range(6), pool, pool_size=1, n_queued=2)) == list(range(6))
    assert PickledBy.threads == {threading.get_ident()}


def test_parallel_map_gives_results_in_order_and_raises_errors_of_jobs_and_killed_processes() -> None:
    with process_pool(1) as pool:
        for n_queued in (1, 2):
            results = parallel_map(square, range(12), pool, pool_size=1, n_queued=n_queued)
            assert list(results) == [number**2 for number in range(12)]
        assert list(parallel_map(square, (), pool, pool_size=1, n_queued=1)) == []
        with pytest.raises(ValueError, match="thirteen"):
            list(parallel_map(square, (13, 1, 2, 3), pool, pool_size=1, n_queued=1))
        with pytest.raises(BrokenProcessPool):
            list(parallel_map(square, (99, 1, 2), pool, pool_size=1, n_queued=1))
    assert not active_children()


def test_killed_process_of_map_in_processes_is_a_fault() -> None:
    with pytest.raises(Fault, match="--jobs 1"):
        list(map_in_processes(square, (99, 1, 2), workers=2))
    assert not active_children()


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_pool_ends_though_a_process_was_killed_while_it_sent_a_result() -> None:
    with process_pool(2) as pool:
        workers = active_children()
        future = pool.submit(killed_while_sending)
        while all(worker.is_alive() for worker in workers):
            wait([future], timeout=0.05)
    assert not active_children()
    assert isinstance(future.exception(timeout=60), BrokenProcessPool)
