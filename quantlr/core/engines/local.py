"""Engines that run functions in this process or in others on this machine, as futures of `concurrent.futures`.

`iter_task_results` keeps a few tasks submitted, however many there are. The tasks of a worker that was lost are run
again one by one, so that a task that kills its worker is identified.
"""

from __future__ import annotations

import platform
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import AbstractContextManager, ExitStack
from importlib.metadata import version
from typing import Any, TypeVar

from quantlr.core.parallel import process_pool

TaskT = TypeVar("TaskT")
ResultT = TypeVar("ResultT")

SUBMITTED_TASKS_PER_WORKER = 2
"""Tasks submitted for each worker, so that none waits for the next."""
WAIT_POLL_SECONDS = 0.5
"""Seconds after which a wait is repeated, so that Ctrl-C is handled on every system."""
WORKER_LOST_MESSAGE = "its worker process was killed each time, perhaps for want of memory; try fewer --jobs"


def installed_versions(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of packages in this process; of "python", its major and minor version."""
    python = ".".join(platform.python_version_tuple()[:2])
    return {name: python if name == "python" else version(name) for name in names}


class Engine(AbstractContextManager["Engine"], ABC):
    """Workers that run functions.

    Attributes
    ----------
    workers : their number, or that at the start.
    dashboard_url : address at which a browser can watch them; None where there is none.
    worker_lost_errors : errors of a future whose worker was lost.
    """

    workers: int
    dashboard_url: str | None = None
    worker_lost_errors: tuple[type[BaseException], ...] = (BrokenExecutor,)

    @abstractmethod
    def submit(self, function: Callable[..., ResultT], *arguments: Any) -> Future[ResultT]:
        """Send a function of a module to a worker."""

    def restart_workers(self) -> None:
        """Replace workers that were lost, unless the engine does so by itself."""
        return

    def stop(self) -> None:
        """End all workers at once, whatever they are doing."""
        return

    def __exit__(self, *_: object) -> None:
        """End the workers."""
        self.stop()


class SerialEngine(Engine):
    """An engine that runs each function in this process when it is submitted."""

    workers = 1

    def submit(self, function: Callable[..., ResultT], *arguments: Any) -> Future[ResultT]:
        """Run the function now."""
        future: Future[ResultT] = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future


class ProcessEngine(Engine):
    """Other processes on this machine, each a fresh interpreter, started when they are first needed."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._executor: Executor | None = None
        self._pool_context = ExitStack()

    def submit(self, function: Callable[..., ResultT], *arguments: Any) -> Future[ResultT]:
        """Send the function to whichever process is free."""
        try:
            if self._executor is None:
                self._executor = self._pool_context.enter_context(process_pool(self.workers))
            return self._executor.submit(function, *arguments)
        except BrokenExecutor as error:
            broken: Future[ResultT] = Future()
            broken.set_exception(error)
            return broken

    def restart_workers(self) -> None:
        """End what is left of the processes; the next function starts others."""
        self.stop()

    def stop(self) -> None:
        """Terminate the processes."""
        self._executor = None
        self._pool_context.close()


def iter_task_results(
    engine: Engine,
    function: Callable[[TaskT], ResultT],
    tasks: Iterable[TaskT],
    *,
    split_task: Callable[[TaskT], Iterable[TaskT]],
    make_failed_result: Callable[[TaskT, str], ResultT],
) -> Iterator[tuple[TaskT, ResultT]]:
    """Yield tasks and their results, in the order in which they are done.

    Parameters
    ----------
    engine : runs the tasks.
    function : of a task.
    tasks : taken one by one, as workers become free.
    split_task : returns the parts of a task that can be run separately.
    make_failed_result : returns the result of a task, given why it failed, whose worker was lost each time.
    """
    remaining = iter(tasks)
    pending: dict[Future[ResultT], TaskT] = {}
    to_isolate: list[TaskT] = []

    def pop_lost_tasks(futures: Iterable[Future[ResultT]]) -> list[TaskT]:
        return [pending.pop(future) for future in futures if isinstance(future.exception(), engine.worker_lost_errors)]

    while True:
        while (
            len(pending) < SUBMITTED_TASKS_PER_WORKER * engine.workers and (task := next(remaining, None)) is not None
        ):
            pending[engine.submit(function, task)] = task
        if not pending:
            break
        finished = wait(pending, timeout=WAIT_POLL_SECONDS, return_when=FIRST_COMPLETED).done
        lost = pop_lost_tasks(finished)
        if lost:  # all workers of the pool are gone; tasks that had ended by then have a result
            to_isolate += lost + pop_lost_tasks(wait(pending).done)
            engine.restart_workers()
        for future in [future for future in pending if future.done()]:
            yield pending.pop(future), future.result()
    for task in to_isolate:
        yield from _iter_results_of_lost_task(engine, function, task, split_task, make_failed_result)


def _iter_results_of_lost_task(
    engine: Engine,
    function: Callable[[TaskT], ResultT],
    task: TaskT,
    split_task: Callable[[TaskT], Iterable[TaskT]],
    make_failed_result: Callable[[TaskT, str], ResultT],
) -> Iterator[tuple[TaskT, ResultT]]:
    """Yield the result of a task that runs alone, or of its parts if it loses its worker again."""
    for part in (task, *split_task(task)):
        future = engine.submit(function, part)
        while not wait([future], timeout=WAIT_POLL_SECONDS).done:
            pass
        if not isinstance(future.exception(), engine.worker_lost_errors):
            yield part, future.result()
            if part is task:
                return
            continue
        engine.restart_workers()
        if part is not task:
            yield part, make_failed_result(part, WORKER_LOST_MESSAGE)
