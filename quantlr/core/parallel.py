"""Other processes that share the work: how many, how they start and end, and results in the order of the jobs."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process
from typing import TypeVar

from quantlr.core.errors import Fault

Job = TypeVar("Job")
Result = TypeVar("Result")


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def do_nothing() -> None:
    """Do nothing."""


@contextmanager
def process_pool(pool_size: int, *, initializer: Callable[[], None] = do_nothing) -> Iterator[ProcessPoolExecutor]:
    """Start so many other processes at once; they end with the block, whatever ends it.

    Parameters
    ----------
    others : number of processes, this one not included.
    ready : what each does before its first job, such as importing what it will need; a function of a module.
    """
    # A fresh interpreter each: a fork would copy the locks of threads that it does not copy.
    pool = ProcessPoolExecutor(
        pool_size, mp_context=get_context("spawn"), initializer=init_worker, initargs=(initializer,)
    )
    before = set(active_children())
    try:
        with _defer_interrupts():
            for _ in range(pool_size):
                pool.submit(do_nothing)
        yield pool
    finally:
        # They hold nothing that could be lost, and to leave by themselves takes them half a second.
        for process in set(active_children()) - before:
            process.terminate()
        pool.shutdown(cancel_futures=True)


def parallel_map(
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    pool: ProcessPoolExecutor,
    *,
    pool_size: int,
    queued_per_process: int,
) -> Iterator[Result]:
    """Yield `work` of each job, in their order, done here and by a pool.

    This process works too, from the first moment on: others may still be starting, and need their jobs sent. Meanwhile
    the pool's own thread sends the next job wherever one is done.

    Parameters
    ----------
    work : a function of a module, which other processes can find; its jobs and results travel to them and back.
    jobs : what to do.
    others : number of processes in the pool.
    ahead : jobs that each of them has before it; what waits is in memory twice.

    Raises
    ------
    BrokenProcessPool : a process was killed.
    """
    left, sent, next_up = deque(range(len(jobs))), dict[int, Future[Result]](), 0
    lock = threading.Lock()

    def next_job_index() -> int | None:
        return left.popleft() if left else None

    def submit_next_job(finished: Future[Result] | None = None) -> None:
        if finished is not None and (finished.cancelled() or finished.exception() is not None):
            return
        with lock:
            at = next_job_index()
            if at is None:
                return
            sent[at] = result = pool.submit(function, jobs[at])
        result.add_done_callback(submit_next_job)

    for _ in range(queued_per_process * pool_size):
        submit_next_job()
    while True:
        with lock:
            at = next_job_index()
        if at is None:
            break
        sent[at] = _completed_future(function(jobs[at]))
        while next_up in sent and sent[next_up].done():
            yield sent.pop(next_up).result()
            next_up += 1
    for at in range(next_up, len(jobs)):
        yield sent.pop(at).result()


def _completed_future(result: Result) -> Future[Result]:
    future: Future[Result] = Future()
    future.set_result(result)
    return future


@contextmanager
def _defer_interrupts() -> Iterator[None]:
    """Let Ctrl-C wait; a process started meanwhile does not hear of it, not even while it is still starting."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def init_worker(initializer: Callable[[], None] = do_nothing) -> None:
    """Make a process leave Ctrl-C to its parent, end when that is gone, keep to one thread, and be ready."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    import numpy as np
    from threadpoolctl import threadpool_limits

    # A library can only be held to one thread once it is loaded.
    np.dot(np.ones(1), np.ones(1))
    threadpool_limits(1, user_api="blas")
    initializer()


def _exit_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


QUEUED_JOBS_PER_WORKER = 2
"""Jobs that each other process has before it: what waits is in memory twice."""


def map_in_processes(function: Callable[[Job], Result], jobs: Sequence[Job], *, workers: int) -> Iterator[Result]:
    """Yield `work` of each job, in their order, done here and by other processes.

    Parameters
    ----------
    work : a function of a module, which other processes can find; its jobs and results travel to them and back.
    jobs : what to do.
    workers : number of processes, this one included.

    Raises
    ------
    Fault : a process was killed.
    """
    try:
        with process_pool(workers - 1) as pool:
            yield from parallel_map(
                function, jobs, pool, pool_size=workers - 1, queued_per_process=QUEUED_JOBS_PER_WORKER
            )
    except BrokenProcessPool as error:
        raise Fault("a worker process was killed, perhaps for want of memory; try again with --jobs 1") from error
