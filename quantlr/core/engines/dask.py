"""Workers that Dask looks after: on this machine, or wherever a scheduler has them.

A scheduler and workers started without a host listen on all addresses, and whoever reaches them may run anything: here
they are started on the loopback only, and a scheduler elsewhere is asked only where it is named.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any, TypeVar

from quantlr.core.engines.local import Engine
from quantlr.core.errors import Fault, UserError
from quantlr.sweeps import jobs
from quantlr.sweeps.jobs import environment_versions

ResultT = TypeVar("ResultT")
LOOPBACK_HOST = "127.0.0.1"
MALLOC_ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": 4_194_304, "MALLOC_TRIM_THRESHOLD_": 16_777_216}
"""What the C library keeps: Dask's own setting gives each array back to the system, and loops take 10 times longer."""
MAX_TASK_RETRIES = 2
CONNECT_TIMEOUT_SECONDS = 30.0
"""Seconds within which a scheduler answers and has a worker."""


class DaskEngine(Engine):
    """Dask workers: a cluster on this machine, or that of a running scheduler.

    Parameters
    ----------
    workers : processes of a cluster on this machine.
    scheduler : address of a running one, as tcp://127.0.0.1:8786; None to start a cluster here.
    scheduler_file : file in which a running one has written its address.

    Raises
    ------
    UserError : Dask is not installed, the address is none, or a worker has other versions than this program.
    Fault : the scheduler does not answer, or has no worker.
    """

    def __init__(self, workers: int, *, scheduler: str | None = None, scheduler_file: Path | None = None) -> None:
        try:
            import dask
            import distributed
        except ImportError as error:
            raise UserError(
                f"--engine dask needs Dask, which can't be imported ({error}): pip install 'quantlr[dask]'"
            ) from error
        self._cluster: Any = None
        self._client: Any = None
        self.worker_lost_errors = (distributed.KilledWorker,)
        _validate_scheduler_location(scheduler, scheduler_file)
        # Worker processes inherit neither; they are told when they are started.
        spawned = dask.config.get("distributed.nanny.pre-spawn-environ", default={})
        dask.config.set({"distributed.nanny.pre-spawn-environ": {**spawned, **MALLOC_ENVIRONMENT}})
        dask.config.set({"distributed.comm.timeouts.connect": f"{CONNECT_TIMEOUT_SECONDS:.0f}s"})
        try:
            if scheduler is None and scheduler_file is None:
                self._cluster = _start_local_cluster(workers)
            self._client = distributed.Client(
                address=self._cluster or scheduler,
                scheduler_file=None if scheduler_file is None else str(scheduler_file),
                timeout=CONNECT_TIMEOUT_SECONDS,
                set_as_default=False,
            )
            self._client.wait_for_workers(1, timeout=CONNECT_TIMEOUT_SECONDS)
            self._require_same_versions()
        except (OSError, TimeoutError, ValueError) as error:
            self.stop()
            where = scheduler or scheduler_file or "this machine"
            raise Fault(
                f"no Dask workers could be reached at {where} within {CONNECT_TIMEOUT_SECONDS:.0f} seconds ({type(error).__name__}: "
                f"{error}); see that its scheduler runs and has workers"
            ) from error
        except BaseException:
            self.stop()
            raise
        self.workers = max(1, sum(self._client.nthreads().values()))
        self.dashboard_url = self._client.dashboard_link or None
        self._executor: Executor = self._client.get_executor(retries=MAX_TASK_RETRIES, pure=False)

    def submit(self, function: Callable[..., ResultT], *arguments: Any) -> Future[ResultT]:
        """Send it to the scheduler; a job whose worker is lost is sent to others."""
        return self._executor.submit(function, *arguments)

    def restart_workers(self) -> None:
        """Do nothing: the scheduler replaces workers by itself."""

    def stop(self) -> None:
        """Let go of what is not done, and end what was started here; a scheduler that ran before runs on."""
        for part in (self._client, self._cluster):
            if part is not None:
                with contextlib.suppress(Exception):  # it may be gone already
                    part.close(timeout=1)
        self._client = self._cluster = None

    def _require_same_versions(self) -> None:
        """Refuse workers whose numbers could differ."""
        here = environment_versions()
        try:
            there = self._client.run(jobs.environment_versions)
        except ModuleNotFoundError as error:
            raise UserError(f"the Dask workers lack quantlr ({error}); install it in their environment") from error
        wrong = [
            f"{address} has {name} {found[name]}, and this program {here[name]}"
            for address, found in sorted(there.items())
            for name in here
            if found[name] != here[name]
        ]
        if wrong:
            raise UserError(
                f"{len({text.split()[0] for text in wrong})} of {len(there)} Dask workers have other versions: "
                f"{'; '.join(wrong[:3])}; give all workers the same environment"
            )


def _start_local_cluster(workers: int) -> Any:
    """Start a scheduler and workers that only this machine can reach."""
    import logging

    from distributed import LocalCluster

    return LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        host=LOOPBACK_HOST,
        dashboard_address=f"{LOOPBACK_HOST}:0",
        silence_logs=logging.CRITICAL,
    )


def _validate_scheduler_location(scheduler: str | None, scheduler_file: Path | None) -> None:
    if scheduler is not None and scheduler_file is not None:
        raise UserError("--scheduler and --scheduler-file name two schedulers; keep one of them")
    if scheduler is not None and not re.fullmatch(r"([a-z]+://)?[^\s/]+:\d{1,5}", scheduler):
        raise UserError(f"--scheduler needs an address like tcp://127.0.0.1:8786, found {scheduler!r}")
    if scheduler_file is not None and not scheduler_file.is_file():
        raise UserError(f"--scheduler-file: {scheduler_file} is not there; `dask scheduler --scheduler-file` writes it")
