"""Worker processes: how many, how they start and end, and results in the order of the jobs."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, parent_process
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.queues import SimpleQueue
from multiprocessing.reduction import ForkingPickler
from typing import Any, TypeVar

from quantlr.core.errors import Fault, UserError
from quantlr.core.memory import collect_garbage_rarely

Job = TypeVar("Job")
Result = TypeVar("Result")

QUEUED_JOBS_PER_WORKER = 2
"""Jobs sent ahead to each worker process of `map_in_processes`; each queued job is in memory twice."""
MAX_SHUTDOWN_SECONDS = 3.0
"""Seconds after which a pool whose processes were terminated no longer waits for their results."""


WORKER_NAME = "quantlr-worker"
"""Name of the worker processes, by which one knows itself before it has imported anything."""
DASK_WORKER_NAME = "Dask Worker process (from Nanny)"
"""Name of the processes of a Dask cluster on this machine."""
MISSING_MAIN_GUARD_EXIT_STATUS = 77
"""Exit status of a worker process that came to start workers itself while it imported the script."""
MISSING_MAIN_GUARD_TEXT = (
    "worker processes import this script and came to the same call: needed the call under "
    '`if __name__ == "__main__":`, found it outside; move it there'
)


def available_core_count() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def allowed_worker_count(workers: int) -> int:
    """Return the number of processes to use where `workers` are asked for: one in a process that may start none."""
    return 1 if multiprocessing.current_process().daemon else workers


def do_nothing() -> None:
    """Do nothing: the default initializer, and the job that starts a process."""


class _ResultQueue(SimpleQueue[Any]):
    """Queue that two threads may close at the same time."""

    _close_lock = threading.Lock()

    def close(self) -> None:
        with self._close_lock:
            super().close()


class PoolContext(SpawnContext):
    """Start method of a pool's processes: each is a fresh interpreter; keeps them and the queue of their results.

    A fork would copy the locks of threads, but not the threads that release them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.result_queue: _ResultQueue | None = None
        self.processes: list[SpawnProcess] = []

    def Process(self, *args: Any, **kwargs: Any) -> SpawnProcess:  # type: ignore[override]  # noqa: N802 - as in multiprocessing
        """Return a process that is not started yet, with the name of a worker."""
        self.processes.append(SpawnProcess(*args, **{**kwargs, "name": WORKER_NAME}))
        return self.processes[-1]

    def require_main_guard(self) -> None:
        """Raise a UserError if a process has ended because the script starts workers wherever it is imported."""
        if any(process.exitcode == MISSING_MAIN_GUARD_EXIT_STATUS for process in self.processes):
            raise UserError(MISSING_MAIN_GUARD_TEXT)

    def close_result_queue(self) -> None:
        """Close the queue of results, if the pool has made it."""
        if self.result_queue is not None:
            self.result_queue.close()

    def SimpleQueue(self) -> _ResultQueue:  # noqa: N802 - the name that multiprocessing calls
        """Return a queue that two threads may close."""
        self.result_queue = _ResultQueue(ctx=self)
        return self.result_queue


class WorkerPool(ProcessPoolExecutor):
    """Worker processes that take jobs; `context` starts them and keeps them."""

    def __init__(self, pool_size: int, *, initializer: Callable[[], None]) -> None:
        self.context = PoolContext()
        super().__init__(pool_size, self.context, init_worker, initargs=(initializer,))


@contextmanager
def process_pool(pool_size: int, *, initializer: Callable[[], None] = do_nothing) -> Iterator[WorkerPool]:
    """Start worker processes at once; they end with the block, however it is left.

    Any other child process that is started within the block is terminated with them.

    Parameters
    ----------
    pool_size : number of processes, this one not included.
    initializer : function of a module that each process calls before its first job, such as to import what it needs.

    Raises
    ------
    UserError : the script that started this lacks ``if __name__ == "__main__":``.
    """
    end_if_worker_imports_script()
    pool = WorkerPool(pool_size, initializer=initializer)
    other_children = set(active_children())
    try:
        with _defer_interrupts():
            for _ in range(pool_size):
                pool.submit(do_nothing)
        yield pool
    finally:
        # A worker holds nothing that could be lost, and takes half a second to exit by itself.
        for process in set(active_children()) - other_children:
            process.terminate()
        # One that ends while it sends a result leaves a part of it in the pipe. The pool's thread would wait for the
        # rest for ever, because this process has the pipe's other end open too.
        timer = threading.Timer(MAX_SHUTDOWN_SECONDS, pool.context.close_result_queue)
        timer.start()
        pool.shutdown(cancel_futures=True)
        timer.cancel()
        timer.join()
        pool.context.require_main_guard()


def end_if_worker_imports_script() -> None:
    """End this process if it is a worker that still imports the script of the process that started it.

    The script then starts workers wherever it is imported, and would so without end. Its first process learns it from
    the exit status.
    """
    process = multiprocessing.current_process()
    # What multiprocessing itself asks before it starts a process; there is no public name for it.
    if process.name in (WORKER_NAME, DASK_WORKER_NAME) and getattr(process, "_inheriting", False):
        os._exit(MISSING_MAIN_GUARD_EXIT_STATUS)


@contextmanager
def _defer_interrupts() -> Iterator[None]:
    """Block SIGINT in this thread; a process started meanwhile inherits that, and ignores Ctrl-C while it starts."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def init_worker(initializer: Callable[[], None] = do_nothing) -> None:
    """Prepare a worker process: ignore Ctrl-C, exit with the parent, use one BLAS thread, call the initializer.

    It also looks for garbage rarely.
    """
    collect_garbage_rarely()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    import numpy as np
    from threadpoolctl import threadpool_limits

    np.dot(np.ones(1), np.ones(1))  # a library can be limited to one thread only once it is loaded
    threadpool_limits(1, user_api="blas")
    initializer()


def _exit_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def parallel_map(
    function: Callable[[Job], Result], jobs: Sequence[Job], pool: ProcessPoolExecutor, *, pool_size: int, n_queued: int
) -> Iterator[Result]:
    """Return an iterator over `function` of each job, in the order of the jobs, computed by this process and by a pool.

    The pool begins at once. This process computes too, from the moment on that the first result is asked for, while the
    others may still be starting. Meanwhile the pool's own thread sends the next job whenever one is done.

    Parameters
    ----------
    function : of a module, so that other processes can import it; its jobs and results are pickled.
    jobs : its arguments.
    pool, pool_size : worker processes, and their number.
    n_queued : jobs sent ahead to each of them; each queued job is in memory twice.

    Raises
    ------
    BrokenProcessPool : a process was killed; the iterator raises it.
    """
    indices, futures, lock = iter(range(len(jobs))), dict[int, Future[Result]](), threading.Lock()
    # Pickled here, since this thread computes too, and so caches properties, while a thread of the pool pickles jobs.
    pickled = bytes(ForkingPickler.dumps(function))

    def submit_next_job(finished: Future[Result] | None = None) -> None:
        if finished is not None and (finished.cancelled() or finished.exception() is not None):
            return
        with lock:
            index = next(indices, None)
            if index is None:
                return
            futures[index] = future = _submit(pool, pickled, jobs[index])
        future.add_done_callback(submit_next_job)

    def iter_results() -> Iterator[Result]:
        n_yielded = 0
        while True:
            with lock:
                index = next(indices, None)
            if index is None:
                break
            result = function(jobs[index])
            futures[index] = Future()
            futures[index].set_result(result)
            while n_yielded in futures and futures[n_yielded].done():
                yield futures.pop(n_yielded).result()
                n_yielded += 1
        for index in range(n_yielded, len(jobs)):
            yield futures.pop(index).result()

    for _ in range(n_queued * pool_size):
        submit_next_job()
    return iter_results()


def _submit(pool: ProcessPoolExecutor, pickled: bytes, job: Any) -> Future[Any]:
    """Return the future of a job; it has failed where a process of the pool was killed."""
    try:
        return pool.submit(_call_pickled, pickled, job)
    except BrokenProcessPool as error:
        future: Future[Any] = Future()
        future.set_exception(error)
        return future


def _call_pickled(pickled: bytes, job: Any) -> Any:
    return ForkingPickler.loads(pickled)(job)


def map_in_processes(function: Callable[[Job], Result], jobs: Sequence[Job], *, workers: int) -> Iterator[Result]:
    """Yield `function` of each job, in the order of the jobs, computed by this process and by others.

    Parameters
    ----------
    function : of a module, so that other processes can import it; its jobs and results are pickled.
    jobs : its arguments.
    workers : number of processes, this one included.

    Raises
    ------
    Fault : a process was killed.
    """
    n_others = workers - 1
    try:
        with process_pool(n_others) as pool:
            yield from parallel_map(function, jobs, pool, pool_size=n_others, n_queued=QUEUED_JOBS_PER_WORKER)
    except BrokenProcessPool as error:
        raise Fault("a worker process was killed, perhaps for want of memory; try again with --jobs 1") from error
