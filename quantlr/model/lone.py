"""One fit of rows in memory, for the scikit-learn estimator: no folds, any weights, with an intercept or without."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from quantlr.model.descent import NEGLIGIBLE, Descent, Step, descend, descend_alone, inverse, steepest
from quantlr.model.fit import step_by_rate
from quantlr.model.logistic import log_odds
from quantlr.model.objective import Make, Objective
from quantlr.model.rows import Rows, Scaling, Units
from quantlr.model.scaling import EPSILON
from quantlr.model.specs import LogisticRegression
from quantlr.model.windows import Windows
from quantlr.types import Array, BoolArray, IntArray

ROWS = 2048
"""Rows that are gone through at once: few enough for what is computed of them to stay in cache."""
IN_SIGHT = 1e-6
"""Share of a weight that may lie along a direction of which the rows say nothing, before it counts as unknown."""


def lone_objective(
    X: np.ndarray[Any, Any], up: BoolArray, weight: Array, counts: Array, *, l2: float, fit_intercept: bool
) -> Objective:
    """Return what is minimised; of X it holds one standardised copy, in blocks of rows."""
    blocks = [slice(first, first + ROWS) for first in range(0, len(X), ROWS)]
    mean, deviation = _moments(X, counts, blocks)
    scaling = Scaling(mean[None], deviation[None])
    if not fit_intercept:
        # What is not centred has its say even where it is constant, in units of its own, as in StandardScaler.
        scaling = Scaling(np.zeros_like(scaling.mean), np.where(deviation > 0, deviation, mean != 0)[None])
        if not scaling.deviation.any():
            raise ValueError("needed a feature that is not 0, found none; give one, or set fit_intercept to True")
    units, y = Units.of(scaling, 0), up.astype(np.float64)
    local = [units.local(X[block]) for block in blocks]
    # Rows that all count the same need no weights: the objective is a mean.
    alike = bool(weight.min() == weight.max())

    def part(rows: Array, block: slice) -> Make:
        windows = Windows(np.array([0]), np.array([len(rows)]))
        return partial(Rows.of, rows, y[block], None if alike else weight[block], windows, by_class=False)

    parts = [part(rows, block) for rows, block in zip(local, blocks, strict=True)]
    objective = Objective.of(parts, units, scaling, l2=l2)
    return objective if fit_intercept else _through_origin(objective, local)


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
    flat = np.zeros(objective.p)
    if fit_intercept:
        flat[:1] = log_odds(objective.labels.said[0])
    if before is None or len(before) != 1 + len(objective.units.active):
        return [flat]
    last = objective.units.from_raw(before)
    last[0] *= fit_intercept
    return [last, flat]


def descended(objective: Objective, model: LogisticRegression, starts: list[Array]) -> tuple[Descent, float]:
    """Return where the descent ended, with the loss along the way, and its learning rate."""
    if model.descent == "preconditioned":
        found = descend_alone(objective, starts, tol=model.tol, max_iter=model.max_iter)
        return found, float(1.0 / steepest(objective)[0])
    start = min(starts, key=objective.loss)[:, None]
    step = step_by_rate(objective, model, start, lambda _: "learning_rate")
    losses: list[float] = []
    found = descend(objective, start, _noting(objective, step, losses), tol=model.tol, max_iter=model.max_iter)
    losses.append(objective.loss(found.theta[:, 0]))
    rate = 1.0 / steepest(objective)[0] if model.learning_rate == "auto" else model.learning_rate
    return replace(found, losses=np.array(losses)), float(rate)


def _noting(objective: Objective, step: Step, losses: list[float]) -> Step:
    """Return a step that first notes the loss where it stands."""

    def noted(theta: Array, gradient: Array, refits: IntArray) -> Array:
        losses.append(objective.loss(theta[:, 0]))
        return step(theta, gradient, refits)

    return noted


def standard_errors(objective: Objective, theta: Array, total: float) -> Array:
    """Return the standard errors (1 + k,) in raw units at the best weights (p,), of rows that weigh `total`."""
    curvature = objective.at(theta)[1][0]
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
