"""Other processes that share the work: how many, how they start and end, and results in the order of the jobs."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process
from typing import TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


def available() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def nothing() -> None:
    """Do nothing."""


@contextmanager
def spawned(others: int, *, ready: Callable[[], None] = nothing) -> Iterator[ProcessPoolExecutor]:
    """Start so many other processes at once; they end with the block, whatever ends it.

    Parameters
    ----------
    others : number of processes, this one not included.
    ready : what each does before its first job, such as importing what it will need; a function of a module.
    """
    # A fresh interpreter each: a fork would copy the locks of threads that it does not copy.
    pool = ProcessPoolExecutor(others, mp_context=get_context("spawn"), initializer=leave_to_parent, initargs=(ready,))
    before = set(active_children())
    try:
        with _interrupts_later():
            for _ in range(others):
                pool.submit(nothing)
        yield pool
    finally:
        # They hold nothing that could be lost, and to leave by themselves takes them half a second.
        for process in set(active_children()) - before:
            process.terminate()
        pool.shutdown(cancel_futures=True)


def shared_out(
    work: Callable[[Job], Result], jobs: Sequence[Job], pool: ProcessPoolExecutor, *, others: int, ahead: int
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

    def take() -> int | None:
        return left.popleft() if left else None

    def send(former: Future[Result] | None = None) -> None:
        if former is not None and (former.cancelled() or former.exception() is not None):
            return
        with lock:
            at = take()
            if at is None:
                return
            sent[at] = result = pool.submit(work, jobs[at])
        result.add_done_callback(send)

    for _ in range(ahead * others):
        send()
    while True:
        with lock:
            at = take()
        if at is None:
            break
        sent[at] = _done(work(jobs[at]))
        while next_up in sent and sent[next_up].done():
            yield sent.pop(next_up).result()
            next_up += 1
    for at in range(next_up, len(jobs)):
        yield sent.pop(at).result()


def _done(result: Result) -> Future[Result]:
    future: Future[Result] = Future()
    future.set_result(result)
    return future


@contextmanager
def _interrupts_later() -> Iterator[None]:
    """Let Ctrl-C wait; a process started meanwhile does not hear of it, not even while it is still starting."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def leave_to_parent(ready: Callable[[], None] = nothing) -> None:
    """Make a process leave Ctrl-C to its parent, end when that is gone, keep to one thread, and be ready."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import numpy as np
    from threadpoolctl import threadpool_limits

    # A library can only be held to one thread once it is loaded.
    np.dot(np.ones(1), np.ones(1))
    threadpool_limits(1, user_api="blas")
    ready()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
