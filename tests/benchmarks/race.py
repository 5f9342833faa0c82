"""One job: first whether the answers agree, then quantlr and its peers timed in turns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from statistics import median

import numpy as np
from quantlr.core.values import Array, Dataset, Folds, Forecasts
from quantlr.model.logistic import sigmoid

from benchmarks.jobs import MEGABYTE, Job, Memory, Refit, models_of, pairs_of, refit_of, spread, walked
from benchmarks.measures import cost_curve, log_slope, memory_of, pass_cost, seconds_of
from benchmarks.peers import NEAR, Contender, at_its_best, gradient_left, optimum
from benchmarks.results import Limit, Result, Rival

LONG = 20.0
"""Seconds from which a walk is not gone through once more to be warm."""

Say = Callable[[str], None]
"""Hears what is going on."""


class Disagreement(Exception):
    """Quantlr is not at the optimum: there is nothing to time."""


def run(name: str, job: Job, *, quick: bool, say: Say) -> Result:
    """Return what a job came to.

    Raises
    ------
    Disagreement : quantlr is not at the optimum.
    """
    dataset = job.data()
    models = models_of(job, dataset)
    fits, pairs = len(models) * len(models[0][0]), pairs_of(models)
    where = spread(models, job.sample)
    sample = [refit_of(dataset, models[model], at) for model, at in where]
    say(f"{name}: {job.text}, {fits:,} fits; comparing answers at {len(sample)} of them")
    optima = [optimum(refit) for refit in sample]
    kept: list[Forecasts] = []
    first = seconds_of(lambda: kept.append(walked(job, dataset)))
    forecasts = kept[0]
    error, gradient = _agreement(job, forecasts, where, sample, optima)
    contenders = []
    for peer in job.bars:
        contenders.append(at_its_best(peer, job, sample, optima))
        say(f"{name}: {_described(contenders[-1])}")
    loops: dict[Contender, list[Refit]] = {}
    for one in contenders:
        if one.tolerance is not None:
            whole = one.loop([sample[len(sample) // 2]]) * fits / job.cores <= job.whole
            loops[one] = _every(dataset, models) if whole else sample
    ours, theirs, costs = _turns(job, dataset, loops, first=first, fits=fits, say=lambda text: say(f"{name}: {text}"))
    seconds, cost = median(ours), median(costs)
    floor = pairs * cost / job.cores
    memory = memory_of(name, quick=quick) if job.peak else None
    curve = cost_curve(job, dataset) if job.curve else []
    slope = log_slope(curve) if curve else None
    return Result(
        job=name,
        text=job.text,
        fits=fits,
        pairs=pairs,
        cores=job.cores,
        compared=len(sample),
        error=error,
        gradient=gradient,
        unconverged=int((~forecasts.refits.converged).sum()),
        repeats=ours,
        seconds=seconds,
        passes=float(forecasts.refits.iterations.mean()),
        pass_cost=cost,
        floor=floor,
        above_floor=seconds / floor,
        rivals=[
            _rival(one, job, timed=len(loops.get(one, [])), fits=fits, repeats=theirs.get(one, []), ours=seconds)
            for one in contenders
        ],
        limits=list(_limits(job, seconds, memory, slope)),
        memory=memory,
        curve=curve,
        slope=slope,
    )


def _every(dataset: Dataset, models: Sequence[Sequence[Folds]]) -> list[Refit]:
    return [refit_of(dataset, folds, at) for folds in models for at in range(len(folds[0]))]


def _agreement(
    job: Job, forecasts: Forecasts, where: Sequence[tuple[int, int]], sample: Sequence[Refit], optima: Sequence[Array]
) -> tuple[float, float | None]:
    """Return how far quantlr's probabilities are from the optima, and the gradient that it leaves if that counts."""
    errors, gradients = [], []
    for (model, at), refit, best in zip(where, sample, optima, strict=True):
        mine = forecasts.fold == at
        if job.model.scope == "per_ticker":
            mine &= forecasts.ticker == model
        errors.append(float(np.abs(forecasts.probability[mine] - best).max()))
        if job.gradient is not None:
            weights = forecasts.refits.coefficients[at]
            gradients.append(gradient_left(refit, sigmoid(weights[0] + refit.X @ weights[1:])))
    error, gradient = max(errors), max(gradients, default=None)
    if error > NEAR or (gradient or 0.0) > (job.gradient or 0.0):
        raise Disagreement(f"quantlr is {error:.1e} from the best probabilities, and leaves a gradient of {gradient}")
    return error, gradient


def _turns(
    job: Job, dataset: Dataset, loops: dict[Contender, list[Refit]], *, first: float, fits: int, say: Say
) -> tuple[list[float], dict[Contender, list[float]], list[float]]:
    """Return the seconds of quantlr's walk, of the peers' loops, and of a pass of a pair, measured in turns.

    What else a machine does then slows down all of them alike.
    """
    ours = [first] if first > LONG else []
    theirs: dict[Contender, list[float]] = {one: [] for one in loops}
    costs: list[float] = []
    with _processes(job.cores) as pool:
        for turn in range(job.repeats):
            costs.append(pass_cost(1 + dataset.features.shape[1], refits=fits))
            if first <= LONG or turn:
                ours.append(seconds_of(lambda: walked(job, dataset)))
            for one, refits in loops.items():
                theirs[one].append(_loop_seconds(one, refits, pool, job.cores) * fits / len(refits))
                if first <= LONG:
                    ours.append(seconds_of(lambda: walked(job, dataset)))
            say(f"turn {turn + 1} of {job.repeats}: quantlr {ours[-1]:.3g} s")
    return ours, theirs, costs


@contextmanager
def _processes(count: int) -> Iterator[ProcessPoolExecutor | None]:
    """Give fresh processes that share out a peer's loop; None for one."""
    if count == 1:
        yield None
        return
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
        yield pool


def _loop_seconds(one: Contender, refits: Sequence[Refit], pool: ProcessPoolExecutor | None, processes: int) -> float:
    """Return the seconds of a peer's loop; of processes that are busy at the same time, as if none had to wait."""
    if pool is None:
        return one.loop(refits)
    return sum(pool.map(partial(_warmed_up, one), [refits[at::processes] for at in range(processes)])) / processes


def _warmed_up(one: Contender, refits: Sequence[Refit]) -> float:
    """Return the seconds of a peer's loop in a process that has fitted before: what it loads at first is no fit."""
    one.loop(refits[:1])
    return one.loop(refits)


def _described(one: Contender) -> str:
    if one.tolerance is None:
        return f"{one.peer} is {one.error:.1e} from the optimum at best, and not timed"
    threads = f"{one.threads} thread{'s' if one.threads > 1 else ''}"
    return f"{one.peer} is {one.error:.1e} from the optimum at a tolerance of {one.tolerance:.0e}, {threads}"


def _rival(one: Contender, job: Job, *, timed: int, fits: int, repeats: list[float], ours: float) -> Rival:
    seconds = median(repeats) if repeats else None
    ratio, bar = seconds / ours if seconds else None, job.bars[one.peer]
    return Rival(
        contender=one,
        processes=job.cores,
        fits_timed=timed,
        estimated=timed < fits,
        repeats=repeats,
        seconds=seconds,
        ratio=ratio,
        bar=bar,
        met=None if bar is None or ratio is None else ratio >= bar,
    )


def _limits(job: Job, seconds: float, memory: Memory | None, slope: float | None) -> Iterator[Limit]:
    if job.seconds is not None:
        yield Limit("time", "s", seconds, job.seconds, seconds <= job.seconds)
    if memory is not None and job.peak is not None:
        bar = job.peak(memory)
        yield Limit("peak memory", "MB", memory.peak / MEGABYTE, bar / MEGABYTE, memory.peak <= bar)
    if slope is not None:
        yield Limit("power of the cost curve", "", slope, 1.0, slope <= 1.0)
