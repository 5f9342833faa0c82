"""An engine of Dask workers: a cluster on this machine, or that of a running scheduler.

A Dask scheduler and workers that are started without a host listen on all addresses, and anyone who can connect to them
can run any code. Here they are started on the loopback interface only, and a remote scheduler is used only where one is
named.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any, TypeVar

from quantlr.core.engines.local import Engine, installed_versions
from quantlr.core.errors import Fault, UserError

ResultT = TypeVar("ResultT")
LOOPBACK_HOST = "127.0.0.1"
MALLOC_ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": 4_194_304, "MALLOC_TRIM_THRESHOLD_": 16_777_216}
"""Memory that the C library keeps: with Dask's setting each array is returned to the system, and loops take 10 times
longer."""
MAX_TASK_RETRIES = 2
CONNECT_TIMEOUT_SECONDS = 30.0
"""Seconds within which a scheduler must answer and have a worker."""
MAX_REPORTED_VERSIONS = 3
"""Differing versions that an error names."""


class DaskEngine(Engine):
    """Dask workers: a cluster on this machine, or that of a running scheduler.

    Parameters
    ----------
    workers : processes of a cluster on this machine.
    scheduler : address of a running scheduler, as tcp://127.0.0.1:8786; None to start a cluster here.
    scheduler_file : file to which a running scheduler wrote its address.
    required_versions : package versions that every worker must have.
    connect_timeout : seconds within which the scheduler must answer and have a worker.

    Raises
    ------
    UserError : Dask is not installed, the address is malformed, or a worker has other versions than required.
    Fault : the scheduler does not answer, or has no worker.
    """

    def __init__(
        self,
        workers: int,
        *,
        scheduler: str | None = None,
        scheduler_file: Path | None = None,
        required_versions: Mapping[str, str] | None = None,
        connect_timeout: float = CONNECT_TIMEOUT_SECONDS,
    ) -> None:
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
        # Worker processes inherit neither setting; Dask passes it on when it starts them.
        environment = dask.config.get("distributed.nanny.pre-spawn-environ", default={})
        dask.config.set({"distributed.nanny.pre-spawn-environ": {**environment, **MALLOC_ENVIRONMENT}})
        dask.config.set({"distributed.comm.timeouts.connect": f"{connect_timeout:.0f}s"})
        try:
            if scheduler is None and scheduler_file is None:
                self._cluster = distributed.LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    host=LOOPBACK_HOST,
                    dashboard_address=f"{LOOPBACK_HOST}:0",
                    silence_logs=logging.CRITICAL,
                )
            self._client = distributed.Client(
                address=self._cluster or scheduler,
                scheduler_file=None if scheduler_file is None else str(scheduler_file),
                timeout=connect_timeout,
                set_as_default=False,
            )
            self._client.wait_for_workers(1, timeout=connect_timeout)
            self._require_worker_versions(required_versions or {})
        except (OSError, TimeoutError, ValueError) as error:
            self.stop()
            where = scheduler or scheduler_file or "this machine"
            raise Fault(
                f"no Dask workers could be reached at {where} within {connect_timeout:.0f} seconds "
                f"({type(error).__name__}: {error}); check that its scheduler is running and has workers"
            ) from error
        except RuntimeError as error:  # of LocalCluster, whose workers ended while they were started
            self.stop()
            raise UserError(
                f"the Dask workers ended while they were started ({error}); a script must start them under "
                '`if __name__ == "__main__":`, since each worker imports it'
            ) from error
        except BaseException:
            self.stop()
            raise
        self.workers = max(1, sum(self._client.nthreads().values()))
        self.dashboard_url = self._client.dashboard_link or None
        self._executor: Executor = self._client.get_executor(retries=MAX_TASK_RETRIES, pure=False)

    def submit(self, function: Callable[..., ResultT], *arguments: Any) -> Future[ResultT]:
        """Send the function to the scheduler, which sends it to another worker if one is lost."""
        return self._executor.submit(function, *arguments)

    def stop(self) -> None:
        """Cancel what is not done, and end what was started here; a scheduler that was running keeps running."""
        for part in (self._client, self._cluster):
            if part is not None:
                with contextlib.suppress(Exception):  # it may have ended already
                    part.close(timeout=1)
        self._client = self._cluster = None

    def _require_worker_versions(self, required_versions: Mapping[str, str]) -> None:
        """Refuse workers with other versions, whose numbers could differ."""
        try:
            by_worker = self._client.run(installed_versions, list(required_versions))
        except ModuleNotFoundError as error:
            raise UserError(f"the Dask workers lack quantlr ({error}); install it in their environment") from error
        differences = {
            address: f"{address} has {name} {installed[name]}, and this program {required}"
            for address, installed in sorted(by_worker.items())
            for name, required in required_versions.items()
            if installed[name] != required
        }
        if differences:
            examples = "; ".join(list(differences.values())[:MAX_REPORTED_VERSIONS])
            raise UserError(
                f"{len(differences)} of {len(by_worker)} Dask workers have other versions: {examples}; give all "
                "workers the same environment"
            )


def _validate_scheduler_location(scheduler: str | None, scheduler_file: Path | None) -> None:
    if scheduler is not None and scheduler_file is not None:
        raise UserError("--scheduler and --scheduler-file name two schedulers; keep one of them")
    if scheduler is not None and not re.fullmatch(r"([a-z]+://)?[^\s/]+:\d{1,5}", scheduler):
        raise UserError(f"--scheduler needs an address like tcp://127.0.0.1:8786, found {scheduler!r}")
    if scheduler_file is not None and not scheduler_file.is_file():
        raise UserError(
            f"--scheduler-file: {scheduler_file} does not exist; `dask scheduler --scheduler-file` writes it"
        )
