"""What a walk costs beside its seconds: the least that its arithmetic can take, its memory, and how both grow."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

import numpy as np
from quantlr.core.values import Dataset
from quantlr.model.splits import WalkForwardSpec
from threadpoolctl import threadpool_limits

from benchmarks.jobs import Job, Memory, bytes_of, catalogue, first_tickers, models_of, pairs_of, walked

BLOCKS = (2**13, 2**14, 2**15, 2**16)
"""Pairs of a row and a refit in a block; the cheapest counts."""
WIDTHS = (1, 8, 16, 32, 64)
"""Refits whose passes are taken together; the cheapest counts."""
REFIT_EVERY = (210, 63, 21, 10, 5, 2, 1)
"""From few refits to many."""
PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Point:
    """What one walk of the cost curve took."""

    refit_every: int
    refits: int
    pairs: int
    seconds: float


def seconds_of(work: Callable[[], object]) -> float:
    """Return the seconds that some work takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def pass_cost(weights: int, *, refits: int) -> float:
    """Return the seconds of one pass of one pair: X @ Theta, tanh, X' @ R, in blocks that stay in cache.

    A pass goes over every pair of a refit and a row that trains it, and a descent needs at least one.
    """
    with threadpool_limits(1, user_api="blas"):
        return min(
            _block_seconds(weights, width, block // width) / block
            for width in sorted({min(width, refits) for width in WIDTHS})
            for block in BLOCKS
        )


def _block_seconds(weights: int, width: int, rows: int) -> float:
    rng = np.random.default_rng(0)
    X, theta = rng.standard_normal((rows, weights)), 0.05 * rng.standard_normal((weights, width))
    pull, sums = np.empty((rows, width)), np.empty((weights, width))

    times = max(2**19 // (rows * width), 1)

    def passes() -> None:
        for _ in range(times):
            np.matmul(X, theta, out=pull)
            np.tanh(pull, out=pull)
            np.matmul(X.T, pull, out=sums)

    return median(seconds_of(passes) for _ in range(7)) / times


def memory_of(name: str, *, quick: bool) -> Memory | None:
    """Return the memory of a job's walk in a fresh process, None where the system does not tell."""
    if not (PROC / "self" / "statm").exists():
        return None
    context = get_context("spawn")
    here, there = context.Pipe()
    child = context.Process(target=_walk_and_tell, args=(name, quick, there))
    child.start()
    there.close()
    panel, features = here.recv()
    pid = child.pid or 0
    before = peak = _resident(pid)
    here.send("go")
    while not here.poll(0.01):
        peak = max(peak, _resident(pid))
    forecasts = here.recv()
    child.join()
    return Memory(panel, features, forecasts, before, peak)


def _walk_and_tell(name: str, quick: bool, pipe: Connection) -> None:
    job = catalogue(quick=quick)[name]
    dataset = job.data()
    pipe.send((bytes_of(dataset), dataset.features.nbytes))
    pipe.recv()
    forecasts = walked(job, dataset)
    arrays = (getattr(forecasts, field) for field in forecasts.__slots__)
    pipe.send(sum(array.nbytes for array in arrays if isinstance(array, np.ndarray)))


def _resident(pid: int) -> int:
    """Return the resident bytes of a process and of all that it started; 0 of those that have just ended."""
    try:
        pages = int((PROC / str(pid) / "statm").read_text().split()[1])
        started = [child for of in (PROC / str(pid) / "task").glob("*/children") for child in of.read_text().split()]
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(_resident(int(child)) for child in started)


def cost_curve(job: Job, dataset: Dataset, *, repeats: int = 3) -> list[Point]:
    """Return what a few tickers take, by one process, as they are refitted more and more often."""
    few = first_tickers(dataset, job.curve)
    points = []
    for every in REFIT_EVERY:
        often = Job(job.text, job.data, WalkForwardSpec(refit_every=every), {}, model=job.model)
        models = models_of(often, few)
        taken = median(seconds_of(partial(walked, often, few)) for _ in range(repeats))
        points.append(Point(every, sum(len(folds[0]) for folds in models), pairs_of(models), taken))
    return points


def log_slope(points: list[Point]) -> float:
    """Return the power of the number of pairs that the seconds grow by."""
    pairs, seconds = ([np.log(getattr(point, name)) for point in points] for name in ("pairs", "seconds"))
    return float(np.polyfit(pairs, seconds, 1)[0])
