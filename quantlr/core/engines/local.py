"""Where jobs are done: in this process, in others on this machine, or on a cluster, all as `concurrent.futures` has it.

An engine takes functions and gives futures. `done` keeps a few tasks on their way, and no more however many there are;
what was on its way when a worker was lost is done again, alone, so that a job that kills its worker is found out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from contextlib import AbstractContextManager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from threading import Thread
from types import TracebackType
from typing import Any, TypeVar

from quantlr.core.parallel import init_worker

TaskT = TypeVar("TaskT")
ResultT = TypeVar("ResultT")

SUBMITTED_TASKS_PER_WORKER = 2
"""Tasks that each worker has before it, so that none waits for the next."""
WAIT_POLL_SECONDS = 0.5
"""Seconds after which a wait is begun again, so that Ctrl-C is heard on every system."""


class Engine(AbstractContextManager["Engine"], ABC):
    """Workers that functions are sent to.

    Attributes
    ----------
    workers : how many there are, or were when it began.
    dashboard : where a browser can watch them; None where there is no such thing.
    lost : what a future raises whose worker was lost.
    """

    workers: int
    dashboard_url: str | None = None
    worker_lost_errors: tuple[type[BaseException], ...] = (BrokenExecutor,)

    @abstractmethod
    def submit(self, function: Callable[..., ResultT], *arguments: Any) -> Future[ResultT]:
        """Send a function of a module to a worker."""

    @abstractmethod
    def restart_workers(self) -> None:
        """Replace workers that were lost."""

    @abstractmethod
    def stop(self) -> None:
        """End all workers at once, whatever they are at."""

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        exception_traceback: TracebackType | None,
        /,
    ) -> None:
        """End the workers."""
        self.stop()


class _SynchronousExecutor(Executor):
    """Does everything where it is asked to, before it returns."""

    def submit(self, fn: Callable[..., ResultT], /, *args: Any, **kwargs: Any) -> Future[ResultT]:
        future: Future[ResultT] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class SerialEngine(Engine):
    """The process that asks."""

    workers = 1

    def submit(self, function: Callable[..., ResultT], *arguments: Any) -> Future[ResultT]:
        """Do it now."""
        return _SynchronousExecutor().submit(function, *arguments)

    def restart_workers(self) -> None:
        """Do nothing: this process is here."""

    def stop(self) -> None:
        """Do nothing."""


class ProcessEngine(Engine):
    """Other processes on this machine, each a fresh interpreter; they end with this one."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._executor: Executor | None = None
        self._lifeline_pipe: Connection | None = None

    def submit(self, function: Callable[..., ResultT], *arguments: Any) -> Future[ResultT]:
        """Send it to whichever process is free."""
        try:
            return self._get_executor().submit(function, *arguments)
        except BrokenExecutor as error:
            broken: Future[ResultT] = Future()
            broken.set_exception(error)
            return broken

    def restart_workers(self) -> None:
        """Start other processes."""
        self.stop()

    def stop(self) -> None:
        """End the processes at once: each ends when this end of a pipe is closed."""
        if self._lifeline_pipe is not None:
            self._lifeline_pipe.close()
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
        self._executor = self._lifeline_pipe = None

    def _get_executor(self) -> Executor:
        if self._executor is None:
            spawn = get_context("spawn")  # a fork would copy the locks of threads that it does not copy
            theirs, self._lifeline_pipe = spawn.Pipe(duplex=False)
            self._executor = ProcessPoolExecutor(
                self.workers, mp_context=spawn, initializer=_init_engine_worker, initargs=(theirs,)
            )
        return self._executor


def _init_engine_worker(lifeline_pipe: Connection) -> None:
    init_worker()
    Thread(target=_exit_when_pipe_closes, args=(lifeline_pipe,), daemon=True).start()


def _exit_when_pipe_closes(lifeline_pipe: Connection) -> None:
    import os

    try:
        lifeline_pipe.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)


def iter_task_results(
    engine: Engine,
    function: Callable[[TaskT], ResultT],
    tasks: Iterable[TaskT],
    *,
    split_task: Callable[[TaskT], Iterable[TaskT]],
    make_failed_result: Callable[[TaskT, str], ResultT],
) -> Iterator[tuple[TaskT, ResultT]]:
    """Yield tasks and what came of them, as they are done.

    Parameters
    ----------
    engine : where.
    function : what to do with a task.
    tasks : taken one by one, as workers become free.
    apart : returns the parts of a task that can be done by themselves.
    failed : returns what came of a task, whole or in parts, whose worker was lost every time.
    """
    coming = iter(tasks)
    waiting: dict[Future[ResultT], TaskT] = {}
    suspects: deque[TaskT] = deque()
    while True:
        while len(waiting) < SUBMITTED_TASKS_PER_WORKER * engine.workers and (task := next(coming, None)) is not None:
            waiting[engine.submit(function, task)] = task
        if not waiting:
            break
        finished, _ = wait(waiting, timeout=WAIT_POLL_SECONDS, return_when=FIRST_COMPLETED)
        lost = [waiting.pop(future) for future in finished if isinstance(future.exception(), engine.worker_lost_errors)]
        if lost:  # the pool is gone with all that was in it; what had ended by then has a result
            over, _ = wait(waiting)
            lost += [
                waiting.pop(future) for future in over if isinstance(future.exception(), engine.worker_lost_errors)
            ]
            suspects += lost
            engine.restart_workers()
        for future in [*finished, *waiting]:
            if future in waiting and future.done():
                yield waiting.pop(future), future.result()
    for task in suspects:
        yield from _iter_isolated_results(engine, function, task, split_task, make_failed_result)


def _iter_isolated_results(
    engine: Engine,
    function: Callable[[TaskT], ResultT],
    task: TaskT,
    split_task: Callable[[TaskT], Iterable[TaskT]],
    make_failed_result: Callable[[TaskT, str], ResultT],
) -> Iterator[tuple[TaskT, ResultT]]:
    """Yield a task with no other beside it, and its parts if it loses its worker again."""
    for once in (task, *split_task(task)):
        try:
            yield once, _wait_for_result(engine.submit(function, once))
        except engine.worker_lost_errors:
            engine.restart_workers()
            if once is not task:
                yield once, make_failed_result(once, WORKER_LOST_MESSAGE)
        else:
            if once is task:
                return


WORKER_LOST_MESSAGE = "its worker process was killed each time, perhaps for want of memory; try fewer --jobs"


def _wait_for_result(future: Future[ResultT]) -> ResultT:
    while not wait([future], timeout=WAIT_POLL_SECONDS).done:
        pass
    return future.result()
