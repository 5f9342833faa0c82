"""All refits of a walk-forward: chunks of neighbours that descend together, and what can't be fitted told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from quantlr.errors import DegenerateFold, LearningRateTooLarge
from quantlr.model.descent import (
    Descent,
    Step,
    condition_number,
    descend,
    descend_alone,
    descend_together,
    fixed_step,
    momentum_step,
    rate_matrix,
    steepest,
)
from quantlr.model.logistic import log_odds
from quantlr.model.neighbours import Neighbours
from quantlr.model.objective import Objective
from quantlr.model.scaling import overlapping
from quantlr.model.separation import TIGHT, why_unbounded
from quantlr.model.specs import LogisticRegression
from quantlr.model.start import base_rate, first_guess
from quantlr.model.training import PIECE, Material, Training
from quantlr.types import Array, BoolArray, IntArray

PAIRS = 2**19
"""Pairs of a row and a refit that descend at once: enough to make one product of many, few enough to be near."""
MOST = 96
"""Refits of a chunk, at most."""
SHARE = 0.5
"""Rows that refits of a chunk have in common, at least, as a share of the first one's."""

Describe = Callable[[int], str]
"""From the number of a refit to words for a message."""
Advance = Callable[[int], None]
"""Hears how many refits have just ended."""


@dataclass(frozen=True, slots=True)
class Fits:
    """What all refits learnt; see `Refits` for the fields."""

    coefficients: Array
    iterations: IntArray
    gradient: Array
    converged: BoolArray
    degenerate: BoolArray
    condition: float


def ignore(refits: int) -> None:
    """Hear that refits have ended, and do nothing."""


def fit_folds(
    training: Training,
    model: LogisticRegression,
    *,
    describe: Describe = str,
    advance: Advance = ignore,
) -> Fits:
    """Return the weights of every refit, descending chunk by chunk, each chunk from where the last one ended.

    What a refit learns comes from its own training rows and from where an earlier refit has come to: nothing that
    later rows say can reach it.

    Parameters
    ----------
    training : rows, labels, and which of them train which refit.
    model : how to descend.
    describe : names a refit for a message.
    advance : hears how many refits have just ended.

    Raises
    ------
    DegenerateFold : training rows of one class, or classes that a plane separates, unless `model.degenerate` allows.
    LearningRateTooLarge : `model.learning_rate` would not go downhill.
    """
    return fit_abreast([training], model, describe=[describe], advance=advance)[0]


def fit_abreast(
    trainings: Sequence[Training],
    model: LogisticRegression,
    *,
    describe: Sequence[Describe],
    advance: Advance = ignore,
) -> list[Fits]:
    """Return what `fit_folds` returns of each training; where their chunks are alike, they descend side by side.

    What is learnt from one training does not depend on the others: only the time that it takes does.
    """
    walks = [_Walk(training, model, words) for training, words in zip(trainings, describe, strict=True)]
    going = [walk for walk in walks if not walk.over]
    while going:
        chunk = min((walk.chunk() for walk in going), key=_start)
        abreast = [walk for walk in going if walk.chunk() == chunk]
        before = sum(walk.at for walk in abreast)
        _descend(abreast, chunk)
        advance(sum(walk.at for walk in abreast) - before)
        going = [walk for walk in going if not walk.over]
    return [walk.fits() for walk in walks]


def _start(chunk: slice) -> int:
    return int(chunk.start)


def _descend(walks: list[_Walk], chunk: slice) -> None:
    """Let the same refits of several models descend side by side, as far as each can."""
    ready = [walk for walk in walks if not walk.ends_otherwise(chunk)]
    for alike in _alike(ready):
        objectives = [walk.material.objective(chunk, start=walk.weights) for walk in alike]
        starts = [walk.starts(objective)[0] for walk, objective in zip(alike, objectives, strict=True)]
        model = alike[0].model
        found = descend_together(Neighbours.of(objectives, starts), tol=model.tol, max_iter=model.max_iter)
        each = chunk.stop - chunk.start
        for at, (walk, objective) in enumerate(zip(alike, objectives, strict=True)):
            walk.take(found.part(slice(at * each, (at + 1) * each)), objective, chunk)


def _alike(walks: list[_Walk]) -> list[list[_Walk]]:
    """Return walks in groups that have as many weights in their next refit."""
    groups: dict[int, list[_Walk]] = {}
    for walk in walks:
        groups.setdefault(walk.active(), []).append(walk)
    return list(groups.values())


class _Walk:
    """A walk from refit to refit, and what it has found so far."""

    def __init__(self, training: Training, model: LogisticRegression, describe: Describe) -> None:
        self.training, self.model, self.describe = training, model, describe
        self.material = Material(training, model)
        rows, ups = training.counts()
        refits = len(rows)
        self.rows, self.ups = rows, ups
        self.one_class = rows < 2 if training.smoothed else (ups == 0) | (ups == rows)
        self.fallback = _base_rate_log_odds(rows, ups)
        self.coefficients = np.zeros((refits, 1 + training.X.shape[1]))
        self.iterations = np.zeros(refits, dtype=np.int64)
        self.gradient = np.zeros(refits)
        self.converged = np.ones(refits, dtype=np.bool_)
        self.degenerate = np.zeros(refits, dtype=np.bool_)
        self.stride = MOST
        self.weights: Array | None = None
        self.newest: tuple[int, Objective] | None = None
        self.at = 0
        self.runs = list(self._runs())

    @property
    def over(self) -> bool:
        """Whether every refit has been fitted."""
        return self.at == len(self.rows)

    def fits(self) -> Fits:
        """Return what the refits learnt."""
        return Fits(
            self.coefficients,
            self.iterations,
            self.gradient,
            self.converged,
            self.degenerate,
            self._condition(),
        )

    def _condition(self) -> float:
        """Return the condition number of the newest refit's features; of very many rows, a sample is looked at."""
        trained = np.flatnonzero(self.rows)
        if not len(trained):
            return np.nan
        sample = self.training.sampled(int(trained[-1]))
        if sample is not None:
            return condition_number(Material(sample, self.model).objective(slice(0, 1)))
        return condition_number(self._seen(int(trained[-1])))

    def _seen(self, refit: int) -> Objective:
        """Return the objective of one refit, out of that of the last chunk where it is one of them."""
        if self.newest is not None and self.newest[0] <= refit < self.newest[0] + self.newest[1].refits:
            first, objective = self.newest
            return objective.alone(refit - first) if objective.refits > 1 else objective
        return self.material.objective(slice(refit, refit + 1))

    def chunk(self) -> slice:
        """Return the next refits that may descend together."""
        while self.at >= self.runs[0].stop:
            self.runs.pop(0)
        stop = self.runs[0].stop
        if self.one_class[self.at]:
            return slice(self.at, stop)
        rows_at_once = min(int(self.rows[self.at]) // len(self.training.folds) + 1, PIECE)
        most = min(max(PAIRS // rows_at_once, 1), MOST)
        if self.model.descent == "preconditioned":
            most = min(self.stride, most) if self._has_start() else 1
        return slice(self.at, min(self.at + most, stop))

    def active(self) -> int:
        """Return how many features the next refit has that are not constant."""
        return int((self.training.scaling.deviation[self.at] > 0).sum())

    def ends_otherwise(self, chunk: slice) -> bool:
        """Return whether a chunk needs, and has now had, another way than to descend by its curvature at the start."""
        if self.one_class[chunk.start]:
            for at in range(chunk.start, chunk.stop):
                self._give_up(at, self._one_class(at))
            self.at = chunk.stop
        elif self.model.descent != "preconditioned":
            self._by_rate(self.material.objective(chunk), chunk)
        return bool(self.at == chunk.stop)

    def _runs(self) -> Iterator[slice]:
        """Yield runs of refits that share most of their rows, the features that are constant, and both classes."""
        span = np.inf if self.model.half_life is None else self.model.half_life * len(self.training.folds)
        kind = np.column_stack([self.training.scaling.deviation > 0, self.one_class])
        for run in overlapping(self.training.folds, at_most=MOST, share=SHARE, rows=span):
            breaks = np.flatnonzero((kind[run][1:] != kind[run][:-1]).any(axis=1)) + 1 + run.start
            for first, last in pairwise([run.start, *breaks.tolist(), run.stop]):
                yield slice(first, last)

    def _has_start(self) -> bool:
        """Return whether there are weights to start from: the last refit's, or those that a sample leads to."""
        if self.weights is None:
            self.weights = first_guess(self.training, self.model, self.at)
        return self.weights is not None

    def take(self, found: Descent, objective: Objective, chunk: slice) -> None:
        """Keep those neighbours that settled, before the first that did not."""
        settled = len(found.converged) if found.converged.all() else int(found.converged.argmin())
        self.stride = min(2 * self.stride, MOST) if settled == len(found.converged) else max(settled, 1)
        self._keep(slice(chunk.start, chunk.start + settled), found, objective)
        if self.model.tol > TIGHT:
            self._look_for_unbounded(objective, chunk.start, settled)
        self.at = chunk.start + settled
        # A curvature that never had to be renewed has not been lost: weights that grow without bound lose it.
        if not settled:
            self._alone(spent=int(found.iterations[0]))

    def _alone(self, *, spent: int) -> None:
        """Let one refit descend from the best of the last weights and its own base rate."""
        refit = self.at
        objective = self.material.objective(slice(refit, refit + 1))
        budget = max(self.model.max_iter - spent, 0)
        found = descend_alone(objective, self.starts(objective), tol=self.model.tol, max_iter=budget)
        self._keep(slice(refit, refit + 1), replace(found, iterations=found.iterations + spent), objective)
        self._look_for_unbounded(objective, refit, 1)
        self.at = refit + 1

    def _by_rate(self, objective: Objective, chunk: slice) -> None:
        """Descend by one number per refit, 1/L or the user's."""
        start = self.starts(objective)[0]
        columns = np.repeat(start[:, None], objective.refits, axis=1)
        step = step_by_rate(objective, self.model, columns, lambda at: self.describe(chunk.start + at))
        found = descend(objective, columns, step, tol=self.model.tol, max_iter=self.model.max_iter)
        self._keep(chunk, found, objective)
        self._look_for_unbounded(objective, chunk.start, objective.refits)
        self.at = int(chunk.stop)

    def starts(self, objective: Objective) -> list[Array]:
        """Return where a refit may begin: at the last weights, and at its own base rate."""
        flat = base_rate(objective)
        return [flat] if self.weights is None else [objective.units.from_raw(self.weights), flat]

    def _keep(self, refits: slice, found: Descent, objective: Objective) -> None:
        count = refits.stop - refits.start
        self.newest = refits.start, objective
        if count:
            self.coefficients[refits] = objective.units.to_raw(found.theta[:, :count])
            self.iterations[refits] = found.iterations[:count]
            self.gradient[refits] = found.gradient[:count]
            self.converged[refits] = found.converged[:count]
            self.weights = self.coefficients[refits.stop - 1]

    def _look_for_unbounded(self, objective: Objective, first: int, count: int) -> None:
        """Give up those refits whose best weights would be infinite; `objective` starts with refit `first`."""
        if self.model.l2 > 0 or self.training.smoothed:
            return
        for at in range(count):
            one = objective.alone(at) if objective.refits > 1 else objective
            theta = one.units.from_raw(self.coefficients[first + at])
            why = why_unbounded(one, theta, base_rate(one), tol=self.model.tol)
            if why:
                self._give_up(
                    first + at,
                    f"{why}, so that no best fit exists; set model.l2 above 0 (0.01, say), train "
                    "on more rows, or use fewer features",
                    key="model.l2",
                )

    def _one_class(self, refit: int) -> str:
        rows = self.rows[refit]
        if rows < 2:
            return "fewer than 2 training rows have a label; lengthen walk_forward.train or don't drop ties"
        return (
            f"all {rows} training rows are {'ups' if self.ups[refit] else 'downs'}; needed both; lengthen "
            "walk_forward.train, or see whether the closes ever change"
        )

    def _give_up(self, refit: int, why: str, *, key: str = "walk_forward.train") -> None:
        if self.model.degenerate == "error":
            raise DegenerateFold(f"{self.describe(refit)}: {why}; or set model.degenerate to base_rate", key=key)
        self.coefficients[refit] = 0.0
        self.coefficients[refit, 0] = self.fallback[refit]
        self.iterations[refit], self.gradient[refit], self.converged[refit] = 0, 0.0, True
        self.degenerate[refit] = True
        self.weights = None


def _base_rate_log_odds(rows: IntArray, ups: IntArray) -> Array:
    """Return the log odds of each refit's share of ups; of one class, Laplace's (ups + 1) / (rows + 2) instead."""
    both = (ups > 0) & (ups < rows)
    share = np.where(both, ups / np.maximum(rows, 1), (ups + 1.0) / (rows + 2.0))
    return log_odds(share)


def step_by_rate(objective: Objective, model: LogisticRegression, start: Array, describe: Describe) -> Step:
    """Return the plain or the accelerated step of each refit from `start` (p, refits).

    Raises
    ------
    LearningRateTooLarge : the model names a rate that would not go downhill for one of the refits.
    """
    limit = steepest(objective)
    rate = 1.0 / limit
    if model.learning_rate != "auto":
        largest, sign, name = (rate, "<=", "1/L") if model.descent == "accelerated" else (2.0 * rate, "<", "2/L")
        too_large = model.learning_rate > largest if sign == "<=" else model.learning_rate >= largest
        if too_large.any():
            at = int(too_large.argmax())
            raise LearningRateTooLarge(
                f"{describe(at)}: {model.learning_rate:g} would not go downhill; the {model.descent} descent needs a "
                f"rate {sign} {name} = {largest[at]:.4g} here; lower it or write auto",
                key="model.learning_rate",
            )
        rate = np.full_like(rate, model.learning_rate)
    P = rate_matrix(objective, rate)
    return momentum_step(P, start) if model.descent == "accelerated" else fixed_step(P)
