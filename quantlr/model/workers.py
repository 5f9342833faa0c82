"""Work shared out over processes, with results in the order of the jobs whatever their number."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from typing import TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from quantlr.errors import Fault

Job = TypeVar("Job")
Result = TypeVar("Result")

AHEAD = 2
"""Jobs that each other process has before it: what waits is in memory twice."""


def available() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_processes(work: Callable[[Job], Result], jobs: Sequence[Job], *, workers: int) -> Iterator[Result]:
    """Yield `work` of each job, in their order, done here and by other processes.

    This process works too, from the first moment on: others take a second to start, and need their jobs sent.

    Parameters
    ----------
    work : a function of a module, which other processes can find; its jobs and results travel to them and back.
    jobs : what to do.
    workers : number of processes, this one included.

    Raises
    ------
    Fault : a process was killed.
    """
    # A fresh interpreter each: a fork would copy the locks of threads that it does not copy.
    pool = ProcessPoolExecutor(workers - 1, mp_context=get_context("spawn"), initializer=leave_to_parent)
    waiting: deque[Future[Result]] = deque()
    try:
        for job in jobs:
            if sum(not result.done() for result in waiting) < AHEAD * (workers - 1):
                waiting.append(pool.submit(work, job))
                continue
            waiting.append(_done(work(job)))
            while waiting and waiting[0].done():
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise Fault("a worker process was killed, perhaps for want of memory; try again with --jobs 1") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _done(result: Result) -> Future[Result]:
    future: Future[Result] = Future()
    future.set_result(result)
    return future


def leave_to_parent() -> None:
    """Make a worker leave Ctrl-C to its parent, end when that is gone, and keep to one thread."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # A library can only be held to one thread once it is loaded.
    np.dot(np.ones(1), np.ones(1))
    threadpool_limits(1, user_api="blas")


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
