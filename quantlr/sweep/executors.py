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

from quantlr.processes import leave_to_parent

Work = TypeVar("Work")
Result = TypeVar("Result")

AHEAD = 2
"""Tasks that each worker has before it, so that none waits for the next."""
PATIENCE = 0.5
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
    dashboard: str | None = None
    lost: tuple[type[BaseException], ...] = (BrokenExecutor,)

    @abstractmethod
    def submit(self, function: Callable[..., Result], *arguments: Any) -> Future[Result]:
        """Send a function of a module to a worker."""

    @abstractmethod
    def renew(self) -> None:
        """Replace workers that were lost."""

    @abstractmethod
    def stop(self) -> None:
        """End all workers at once, whatever they are at."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """End the workers."""
        self.stop()


class _AtOnce(Executor):
    """Does everything where it is asked to, before it returns."""

    def submit(self, fn: Callable[..., Result], /, *args: Any, **kwargs: Any) -> Future[Result]:
        future: Future[Result] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class Here(Engine):
    """The process that asks."""

    workers = 1

    def submit(self, function: Callable[..., Result], *arguments: Any) -> Future[Result]:
        """Do it now."""
        return _AtOnce().submit(function, *arguments)

    def renew(self) -> None:
        """Do nothing: this process is here."""

    def stop(self) -> None:
        """Do nothing."""


class Processes(Engine):
    """Other processes on this machine, each a fresh interpreter; they end with this one."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._pool: Executor | None = None
        self._held: Connection | None = None

    def submit(self, function: Callable[..., Result], *arguments: Any) -> Future[Result]:
        """Send it to whichever process is free."""
        try:
            return self._opened().submit(function, *arguments)
        except BrokenExecutor as error:
            broken: Future[Result] = Future()
            broken.set_exception(error)
            return broken

    def renew(self) -> None:
        """Start other processes."""
        self.stop()

    def stop(self) -> None:
        """End the processes at once: each ends when this end of a pipe is closed."""
        if self._held is not None:
            self._held.close()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._pool = self._held = None

    def _opened(self) -> Executor:
        if self._pool is None:
            spawn = get_context("spawn")  # a fork would copy the locks of threads that it does not copy
            theirs, self._held = spawn.Pipe(duplex=False)
            self._pool = ProcessPoolExecutor(self.workers, mp_context=spawn, initializer=_begin, initargs=(theirs,))
        return self._pool


def _begin(theirs: Connection) -> None:
    leave_to_parent()
    Thread(target=_end_with_pipe, args=(theirs,), daemon=True).start()


def _end_with_pipe(theirs: Connection) -> None:
    import os

    try:
        theirs.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)


def done(
    engine: Engine,
    function: Callable[[Work], Result],
    tasks: Iterable[Work],
    *,
    apart: Callable[[Work], Iterable[Work]],
    failed: Callable[[Work, str], Result],
) -> Iterator[tuple[Work, Result]]:
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
    waiting: dict[Future[Result], Work] = {}
    suspects: deque[Work] = deque()
    while True:
        while len(waiting) < AHEAD * engine.workers and (task := next(coming, None)) is not None:
            waiting[engine.submit(function, task)] = task
        if not waiting:
            break
        finished, _ = wait(waiting, timeout=PATIENCE, return_when=FIRST_COMPLETED)
        lost = [waiting.pop(future) for future in finished if isinstance(future.exception(), engine.lost)]
        if lost:  # the pool is gone with all that was in it; what had ended by then has a result
            over, _ = wait(waiting)
            lost += [waiting.pop(future) for future in over if isinstance(future.exception(), engine.lost)]
            suspects += lost
            engine.renew()
        for future in [*finished, *waiting]:
            if future in waiting and future.done():
                yield waiting.pop(future), future.result()
    for task in suspects:
        yield from _one_by_one(engine, function, task, apart, failed)


def _one_by_one(
    engine: Engine,
    function: Callable[[Work], Result],
    task: Work,
    apart: Callable[[Work], Iterable[Work]],
    failed: Callable[[Work, str], Result],
) -> Iterator[tuple[Work, Result]]:
    """Yield a task with no other beside it, and its parts if it loses its worker again."""
    for once in (task, *apart(task)):
        try:
            yield once, _awaited(engine.submit(function, once))
        except engine.lost:
            engine.renew()
            if once is not task:
                yield once, failed(once, LOST)
        else:
            if once is task:
                return


LOST = "its worker process was killed each time, perhaps for want of memory; try fewer --jobs"


def _awaited(future: Future[Result]) -> Result:
    while not wait([future], timeout=PATIENCE).done:
        pass
    return future.result()
