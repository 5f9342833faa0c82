"""All refits of one ticker: chunks of neighbours that descend together, and what can't be fitted refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, ValidationInfo, field_validator

from quantlr.errors import DegenerateFold, LearningRateTooLarge
from quantlr.model.descent import (
    Descent,
    descend,
    descend_alone,
    descend_together,
    fixed_step,
    momentum_step,
    rate_matrix,
    steepest,
    unbounded,
)
from quantlr.model.logistic import log_odds
from quantlr.model.objective import Objective, Scaling
from quantlr.model.scaling import overlapping
from quantlr.types import Array, BoolArray, Folds, IntArray, Number, Part, Whole

CHUNK = 32
"""Refits that descend at once: enough to make one product of many, few enough to stay in cache."""
STEEP = 4.0
"""Log odds of a training row from which it is asked whether weights grow without bound."""
TIGHT = 1e-6
"""Tolerance at which a descent can't pass for converged while its weights still grow."""

Describe = Callable[[int], str]
"""From the number of a refit to words for a message."""
Advance = Callable[[int], None]
"""Hears how many refits have just ended."""


class LogisticRegression(Part):
    """The classifier: its descent, its penalty, and when to stop."""

    kind: Literal["logistic_regression"] = "logistic_regression"
    descent: Literal["plain", "accelerated", "preconditioned"] = Field(
        "preconditioned", description="The way downhill; all three reach the same weights."
    )
    learning_rate: Literal["auto"] | Annotated[Number, Field(gt=0)] = Field(
        "auto",
        description="Step size of the plain and the accelerated descent; auto derives 1/L from the data.",
    )

    @field_validator("learning_rate")
    @classmethod
    def _of_use(cls, learning_rate: str | float, info: ValidationInfo) -> str | float:
        if learning_rate != "auto" and info.data.get("descent") == "preconditioned":
            raise ValueError("is for the plain and the accelerated descent; write auto, or set model.descent to plain")
        return learning_rate

    l2: Annotated[Number, Field(ge=0)] = Field(
        0.0, description="Penalty on the standardised weights, l2/2 times the sum of their squares."
    )
    tol: Annotated[Number, Field(gt=0, le=0.1)] = Field(
        1e-8, description="Largest component of the mean loss's gradient at which the descent stops."
    )
    max_iter: Annotated[Whole, Field(ge=1)] = Field(1000, description="Updates after which it stops all the same.")
    scope: Literal["per_ticker"] = Field("per_ticker", description="One model for each ticker.")


@dataclass(frozen=True, slots=True)
class Fits:
    """What all refits of one ticker learnt; see `Refits` for the fields."""

    coefficients: Array
    iterations: IntArray
    gradient: Array
    converged: BoolArray


def _ignore(refits: int) -> None:
    pass


@dataclass(frozen=True, slots=True)
class _Problem:
    """What is to be fitted: rows and labels of one ticker, its folds, and how."""

    X: Array
    y: Array
    folds: Folds
    scaling: Scaling
    model: LogisticRegression
    describe: Describe

    def objective(self, refits: slice) -> Objective:
        return Objective.of(self.X, self.y, self.folds, self.scaling, refits=refits, l2=self.model.l2)

    def alone(self, refit: int) -> Objective:
        return self.objective(slice(refit, refit + 1))

    def base_rate(self) -> Array:
        """Return the share of ups among each refit's training rows; both classes are there."""
        counts = np.concatenate([[0.0], np.cumsum(self.y)])
        rows = self.folds.train_stop - self.folds.train_start
        share = (counts[self.folds.train_stop] - counts[self.folds.train_start]) / rows
        one_class = np.flatnonzero((share == 0) | (share == 1))
        if len(one_class):
            at = int(one_class[0])
            raise DegenerateFold(
                f"{self.describe(at)}: all {rows[at]} training rows are {'ups' if share[at] == 1 else 'downs'}; needed "
                "both; lengthen walk_forward.train, or see whether the closes ever change",
                key="walk_forward.train",
            )
        return np.asarray(share)

    def starts(self, objective: Objective, weights: Array) -> list[Array]:
        """Return where a lone refit may begin: at raw weights, or at its own base rate."""
        flat = np.zeros(objective.X.shape[1])
        flat[0] = log_odds(np.asarray(objective.y.mean()))
        return [objective.from_raw(weights), flat]

    def refuse_unbounded(self, refit: int, weights: Array) -> None:
        """Refuse a refit whose best weights, sought from the raw ones given, would be infinite."""
        objective = self.alone(refit)
        tol = min(self.model.tol, TIGHT)
        best = descend_alone(objective, self.starts(objective, weights), tol=tol, max_iter=1000)
        why = unbounded(objective, best.theta[:, 0]) if best.converged[0] else None
        if why:
            raise DegenerateFold(
                f"{self.describe(refit)}: {why}, so that no best fit exists; set model.l2 above 0 (0.01, say), train "
                "on more rows, or use fewer features",
                key="model.l2",
            )


def fit_folds(
    X: Array,
    y: Array,
    folds: Folds,
    scaling: Scaling,
    model: LogisticRegression,
    *,
    describe: Describe = str,
    advance: Advance = _ignore,
) -> Fits:
    """Return the weights of every refit, descending chunk by chunk, each chunk from where the last one ended.

    Parameters
    ----------
    X, y : (rows, k) and (rows,) features in their own units, and labels 0 or 1, of one ticker.
    folds : which rows train which refit.
    scaling : mean and deviation of each refit's training rows.
    model : how to descend.
    describe : names a refit for a message.
    advance : hears how many refits have just ended.

    Raises
    ------
    DegenerateFold : training rows of one class, or classes that a plane separates.
    LearningRateTooLarge : `model.learning_rate` would not go downhill.
    """
    problem = _Problem(X, y, folds, scaling, model, describe)
    weights = np.zeros(1 + X.shape[1])
    weights[0] = log_odds(problem.base_rate()[:1])[0]
    parts, coefficients = [], []
    for refits in _chunks(folds, scaling):
        part, found = _descended(problem, refits, weights)
        parts.append(part)
        coefficients.append(found)
        weights = found[-1]
        advance(len(found))
    return Fits(
        coefficients=np.concatenate(coefficients),
        iterations=np.concatenate([part.iterations for part in parts]),
        gradient=np.concatenate([part.gradient for part in parts]),
        converged=np.concatenate([part.converged for part in parts]),
    )


def _chunks(folds: Folds, scaling: Scaling) -> list[slice]:
    """Return the refits that descend together; the first goes alone, since it starts from nothing.

    Within a chunk the same features are constant, so that all columns have the same weights to find.
    """
    chunks = [slice(0, 1)]
    for run in overlapping(folds, at_most=CHUNK):
        active = scaling.deviation[run] > 0
        breaks = np.flatnonzero((active[1:] != active[:-1]).any(axis=1)) + 1 + run.start
        edges = [max(run.start, 1), *breaks[breaks > 1].tolist(), run.stop]
        chunks += [slice(first, last) for first, last in pairwise(edges) if first < last]
    return chunks


def _descended(problem: _Problem, refits: slice, weights: Array) -> tuple[Descent, Array]:
    """Return the descent of neighbouring refits from common raw weights, and the raw weights it found for each."""
    objective, model = problem.objective(refits), problem.model
    start = objective.from_raw(weights)
    if model.descent != "preconditioned":
        part = _by_rate(problem, objective, start, first=refits.start)
    elif refits.start == 0:
        part = descend_alone(objective, [start], tol=model.tol, max_iter=model.max_iter)
    else:
        part = descend_together(objective, start, tol=model.tol, max_iter=model.max_iter)
    found = objective.to_raw(part.theta)
    if part.settled_at_once and model.tol <= TIGHT:
        # A curvature that never had to be renewed has not been lost: weights that grow without bound lose it.
        return part, found
    suspect = objective.separated(part.theta) | (np.abs(objective.X @ part.theta).max(axis=0) > STEEP)
    if model.descent == "preconditioned":
        part = _stragglers(problem, refits.start, weights, part, found)
    for at in np.flatnonzero(suspect).tolist():
        problem.refuse_unbounded(refits.start + at, found[at])
    return part, found


def _stragglers(problem: _Problem, first: int, weights: Array, part: Descent, found: Array) -> Descent:
    """Let the refits that did not settle among their neighbours go on alone, in the units of their own rows."""
    iterations, gradient, converged = part.iterations.copy(), part.gradient.copy(), part.converged.copy()
    for at in np.flatnonzero(~converged).tolist():
        budget = problem.model.max_iter - int(iterations[at])
        if budget < 1:
            continue
        objective = problem.alone(first + at)
        single = descend_alone(objective, problem.starts(objective, weights), tol=problem.model.tol, max_iter=budget)
        found[at] = objective.to_raw(single.theta)[0]
        iterations[at] += single.iterations[0]
        gradient[at], converged[at] = single.gradient[0], single.converged[0]
    return replace(part, iterations=iterations, gradient=gradient, converged=converged)


def _by_rate(problem: _Problem, objective: Objective, start: Array, *, first: int) -> Descent:
    """Descend by one number per refit, 1/L or the user's; `first` is the number of the first refit."""
    model = problem.model
    limit = steepest(objective)
    rate = 1.0 / limit
    if model.learning_rate != "auto":
        largest = rate if model.descent == "accelerated" else 2.0 * rate
        too_large = np.flatnonzero(
            model.learning_rate > largest if model.descent == "accelerated" else model.learning_rate >= largest
        )
        if len(too_large):
            at = int(too_large[0])
            sign, name = ("<=", "1/L") if model.descent == "accelerated" else ("<", "2/L")
            raise LearningRateTooLarge(
                f"{problem.describe(first + at)}: {model.learning_rate:g} would not go downhill; the "
                f"{model.descent} descent needs a rate {sign} {name} = {largest[at]:.4g} here; lower it or write auto",
                key="model.learning_rate",
            )
        rate = np.full_like(rate, model.learning_rate)
    columns = np.repeat(start[:, None], objective.refits, axis=1)
    P = rate_matrix(objective, rate)
    step = momentum_step(P, columns) if model.descent == "accelerated" else fixed_step(P)
    return descend(objective, columns, step, tol=model.tol, max_iter=model.max_iter)
