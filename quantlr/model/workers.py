"""Walks shared out over processes, with results in the order of the jobs whatever their number."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool

from quantlr.errors import Fault
from quantlr.processes import Job, Result, parallel_map, process_pool

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
