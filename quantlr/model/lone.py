"""One fit of rows in memory, for the scikit-learn estimator: no folds, any weights, with an intercept or without."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from quantlr.model.descent import (
    NEGLIGIBLE,
    Descent,
    Step,
    descend,
    descend_alone,
    descend_together,
    inverse,
    steepest,
)
from quantlr.model.fit import step_by_rate
from quantlr.model.neighbours import Neighbours
from quantlr.model.objective import Make, Objective
from quantlr.model.rows import Rows, Scaling, Units
from quantlr.model.scaling import EPSILON
from quantlr.model.specs import LogisticRegression
from quantlr.model.start import base_rate, first_guess
from quantlr.model.training import LONG, Material, Training
from quantlr.model.windows import Windows
from quantlr.types import Array, BoolArray, Folds, IntArray

ROWS = 2048
"""Rows that are gone through at once: few enough for what is computed of them to stay in cache."""
IN_SIGHT = 1e-6
"""Share of a weight that may lie along a direction of which the rows say nothing, before it counts as unknown."""


def lone_objective(
    X: np.ndarray[Any, Any],
    up: BoolArray,
    weight: Array,
    counts: Array,
    model: LogisticRegression,
    *,
    fit_intercept: bool,
    before: Array | None,
) -> Objective:
    """Return what is minimised; of X it holds one standardised copy, in blocks of rows.

    Very many rows stay as they are where they can, and are looked at from weights that the preconditioned descent is
    to start from: those `before` (1 + k,), or where samples of the rows have led.
    """
    blocks = [slice(first, first + ROWS) for first in range(0, len(X), ROWS)]
    mean, deviation = _moments(X, counts, blocks)
    scaling = Scaling(mean[None], deviation[None])
    if not fit_intercept:
        # What is not centred has its say even where it is constant, in units of its own, as in StandardScaler.
        scaling = Scaling(np.zeros_like(scaling.mean), np.where(deviation > 0, deviation, mean != 0)[None])
        if not scaling.deviation.any():
            raise ValueError("needed a feature that is not 0, found none; give one, or set fit_intercept to True")
    # Rows that all count the same need no weights: the objective is a mean.
    y, each = up.astype(np.float64), None if weight.min() == weight.max() else weight
    if fit_intercept and model.descent == "preconditioned" and len(X) > LONG:
        return _of_many_rows(X, y, each, scaling, model, before)
    units = Units.of(scaling, 0)
    local = [units.local(X[block]) for block in blocks]

    def part(rows: Array, block: slice) -> Make:
        windows = Windows(np.array([0]), np.array([len(rows)]))
        return partial(Rows.of, rows, y[block], None if each is None else each[block], windows, by_class=False)

    parts = [part(rows, block) for rows, block in zip(local, blocks, strict=True)]
    objective = Objective.of(parts, units, scaling, l2=model.l2)
    return objective if fit_intercept else _through_origin(objective, local)


def _of_many_rows(
    X: np.ndarray[Any, Any],
    y: Array,
    weight: Array | None,
    scaling: Scaling,
    model: LogisticRegression,
    before: Array | None,
) -> Objective:
    """Return the objective of very many rows as a walk with a single refit has it, looked at from where to start."""
    first, last = np.zeros(1, dtype=np.int64), np.full(1, len(X))
    training = Training(X, y, [Folds(first, last, last, last)], scaling, weight=weight)
    known = before is not None and len(before) == 1 + X.shape[1]
    start = before if known else first_guess(training, model, 0)
    return Material(training, model).objective(slice(0, 1), start=start)


def _through_origin(objective: Objective, local: list[Array]) -> Objective:
    """Return the objective without its intercept, whose column in the `local` rows it clears.

    The loss is then flat in the intercept: no gradient moves it, and its inverse curvature is left out as that of
    any flat direction.
    """
    for rows in local:
        rows[:, 0] = 0.0
    cleared = np.arange(objective.p)[:, None] > 0
    labels = objective.labels
    return replace(objective, labels=replace(labels, mean=labels.mean * cleared, said=labels.said * cleared))


def _moments(X: np.ndarray[Any, Any], counts: Array, blocks: list[slice]) -> tuple[Array, Array]:
    """Return the weighted mean and ddof-0 deviation of each feature, (k,); exactly 0 where it is constant.

    The mean is taken first and the squares about it, block by block, with what rounding left in it taken out again
    (Chan, Golub and LeVeque 1983).
    """
    total, rows = counts.sum(), np.count_nonzero(counts)
    mean = sum(counts[block] @ X[block] for block in blocks) / total
    shift, spread = np.zeros_like(mean), np.zeros_like(mean)
    for block in blocks:
        away = X[block] - mean
        shift += counts[block] @ away
        spread += counts[block] @ (away * away)
    shift /= total
    mean, variance = mean + shift, np.maximum(spread / total - shift**2, 0.0)
    # What rounding alone would leave of a constant's variance, as in `fold_scaling`.
    constant = variance <= rows * EPSILON * variance + (rows * np.abs(mean) * EPSILON) ** 2
    return mean, np.where(constant, 0.0, np.sqrt(variance))


def starts_of(objective: Objective, before: Array | None, *, fit_intercept: bool) -> list[Array]:
    """Return where the descent may begin, in local units: at the last weights, and at the base rate."""
    flat = base_rate(objective) if fit_intercept else np.zeros(objective.p)
    if before is None or len(before) != 1 + len(objective.units.active):
        return [flat]
    last = objective.units.from_raw(before)
    last[0] *= fit_intercept
    return [last, flat]


def descended(objective: Objective, model: LogisticRegression, starts: list[Array]) -> tuple[Descent, float]:
    """Return where the descent ended, with the loss along the way, and its learning rate."""
    if model.descent == "preconditioned":
        return _by_curvature(objective, starts, model), float(1.0 / steepest(objective)[0])
    start = min(starts, key=objective.loss)[:, None]
    step = step_by_rate(objective, model, start, lambda _: "learning_rate")
    losses: list[float] = []
    found = descend(objective, start, _noting(objective, losses)(step), tol=model.tol, max_iter=model.max_iter)
    losses.append(objective.loss(found.theta[:, 0]))
    rate = 1.0 / steepest(objective)[0] if model.learning_rate == "auto" else model.learning_rate
    return replace(found, losses=np.array(losses)), float(rate)


def _by_curvature(objective: Objective, starts: list[Array], model: LogisticRegression) -> Descent:
    """Descend from where all rows have been looked at; alone, from the best of all starts, if that leads nowhere."""
    if objective.look is None:
        return descend_alone(objective, starts, tol=model.tol, max_iter=model.max_iter)
    start = objective.look.theta
    losses = [objective.loss(start)]
    there, heard = Neighbours.of([objective], [start]), _noting(objective, losses)
    found = descend_together(there, tol=model.tol, max_iter=model.max_iter - 1, heard=heard)
    losses.append(objective.loss(found.theta[:, 0]))
    if not found.converged[0]:
        spent, starts = found.iterations, [found.theta[:, 0], *starts]
        found = descend_alone(objective, starts, tol=model.tol, max_iter=model.max_iter - int(spent[0]))
        losses += found.losses.tolist()
        found = replace(found, iterations=found.iterations + spent)
    return replace(found, losses=np.array(losses))


def _noting(objective: Objective, losses: list[float]) -> Callable[[Step], Step]:
    """Return what makes a step note the loss where it stands before it is taken."""

    def heard(step: Step) -> Step:
        def noted(theta: Array, gradient: Array, refits: IntArray) -> Array:
            losses.append(objective.loss(theta[:, 0]))
            return step(theta, gradient, refits)

        return noted

    return heard


def slopes_at(objective: Objective, theta: Array) -> tuple[Array, Array]:
    """Return gradient and curvature of all rows at `theta` (p,), as `Objective.at`; no curvature is estimated."""
    return replace(objective, thin=1, look=None).at(theta)


def standard_errors(objective: Objective, curvature: Array, total: float) -> Array:
    """Return the standard errors (1 + k,) in raw units from the curvature (p, p) at the best weights of one refit.

    The rows weigh `total`.
    """
    information = curvature.copy()
    penalised = np.arange(1, objective.p)
    information[penalised, penalised] -= objective.l2 * objective.deviation[0] ** 2
    P = inverse(curvature)
    to_raw = objective.units.to_raw(np.eye(objective.p)).T
    variance = np.einsum("ij,ij->i", to_raw @ (P @ information @ P), to_raw) / total
    size, directions = np.linalg.eigh(curvature)
    blind = np.abs(to_raw @ directions[:, size <= NEGLIGIBLE * size[-1]]).max(axis=1, initial=0.0)
    length = np.linalg.norm(to_raw, axis=1)
    known = (length > 0) & (blind <= IN_SIGHT * length)
    return np.sqrt(np.where(known, np.maximum(variance, 0.0), np.nan))
