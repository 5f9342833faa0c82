"""One fit of rows in memory, for the scikit-learn estimator: no folds, any weights, with an intercept or without."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from quantlr.core.arrays import Array, BoolArray, IntArray
from quantlr.core.values import Folds
from quantlr.model.batched.fit import base_rate_weights, make_learning_rate_step, warm_start
from quantlr.model.batched.loss import Objective, RefitBatch, TrainingRowsFactory
from quantlr.model.batched.sums import LocalRows, LocalScaling, Scaling
from quantlr.model.batched.training import MIN_ROWS_KEPT_RAW, ObjectiveBuilder, TrainingData
from quantlr.model.batched.windows import TrainingWindows
from quantlr.model.config import LogisticRegression
from quantlr.model.solvers import (
    MIN_EIGENVALUE_RATIO,
    SolverResult,
    StepFunction,
    iterate_steps,
    lipschitz,
    newton_batch,
    newton_single,
    pseudo_inverse,
)
from quantlr.model.standardize import FLOAT64_EPSILON

ESTIMATOR_BLOCK_ROWS = 2048
"""Rows that are gone through at once: few enough for what is computed of them to stay in cache."""
MAX_UNIDENTIFIED_SHARE = 1e-6
"""Share of a weight that may lie along a direction of which the rows say nothing, before it counts as unknown."""


def make_single_fit_objective(
    X: np.ndarray[Any, Any],
    up: BoolArray,
    effective_weight: Array,
    sample_weight: Array,
    model: LogisticRegression,
    *,
    fit_intercept: bool,
    previous_weights: Array | None,
) -> Objective:
    """Return what is minimised; of X it holds one standardised copy, in blocks of rows.

    Very many rows stay as they are where they can, and are looked at from weights that the preconditioned descent is
    to start from: those `before` (1 + k,), or where samples of the rows have led.
    """
    blocks = [slice(first, first + ESTIMATOR_BLOCK_ROWS) for first in range(0, len(X), ESTIMATOR_BLOCK_ROWS)]
    mean, deviation = _weighted_mean_and_std(X, sample_weight, blocks)
    scaling = Scaling(mean[None], deviation[None])
    if not fit_intercept:
        # What is not centred has its say even where it is constant, in units of its own, as in StandardScaler.
        scaling = Scaling(np.zeros_like(scaling.mean), np.where(deviation > 0, deviation, mean != 0)[None])
        if not scaling.std.any():
            raise ValueError("needed a feature that is not 0, found none; give one, or set fit_intercept to True")
    # Rows that all count the same need no weights: the objective is a mean.
    y, each = up.astype(np.float64), None if effective_weight.min() == effective_weight.max() else effective_weight
    if fit_intercept and model.solver == "newton" and len(X) > MIN_ROWS_KEPT_RAW:
        return _make_large_sample_objective(X, y, each, scaling, model, previous_weights)
    units = LocalScaling.from_refit_scaling(scaling, 0)
    local = [units.to_local_rows(X[block]) for block in blocks]

    def make_rows_factory(local_X: Array, row_slice: slice) -> TrainingRowsFactory:
        windows = TrainingWindows(np.array([0]), np.array([len(local_X)]))
        return partial(
            LocalRows.from_arrays,
            local_X,
            y[row_slice],
            None if each is None else each[row_slice],
            windows,
            by_class=False,
        )

    parts = [make_rows_factory(rows, block) for rows, block in zip(local, blocks, strict=True)]
    objective = Objective.from_row_factories(parts, units, scaling, l2=model.l2)
    return objective if fit_intercept else _remove_intercept(objective, local)


def _make_large_sample_objective(
    X: np.ndarray[Any, Any],
    y: Array,
    sample_weight: Array | None,
    scaling: Scaling,
    model: LogisticRegression,
    previous_weights: Array | None,
) -> Objective:
    """Return the objective of very many rows as a walk with a single refit has it, looked at from where to start."""
    first, last = np.zeros(1, dtype=np.int64), np.full(1, len(X))
    training = TrainingData(X, y, [Folds(first, last, last, last)], scaling, sample_weight=sample_weight)
    known = previous_weights is not None and len(previous_weights) == 1 + X.shape[1]
    start = previous_weights if known else warm_start(training, model, 0)
    return ObjectiveBuilder(training, model).build_objective(slice(0, 1), start_weights=start)


def _remove_intercept(objective: Objective, local_X_blocks: list[Array]) -> Objective:
    """Return the objective without its intercept, whose column in the `local` rows it clears.

    The loss is then flat in the intercept: no gradient moves it, and its inverse curvature is left out as that of
    any flat direction.
    """
    for rows in local_X_blocks:
        rows[:, 0] = 0.0
    cleared = np.arange(objective.n_weights)[:, None] > 0
    labels = objective.label_sums
    return replace(
        objective,
        label_sums=replace(
            labels, mean_x=labels.mean_x * cleared, mean_x_times_target=labels.mean_x_times_target * cleared
        ),
    )


def _weighted_mean_and_std(
    X: np.ndarray[Any, Any], sample_weight: Array, row_slices: list[slice]
) -> tuple[Array, Array]:
    """Return the weighted mean and ddof-0 deviation of each feature, (k,); exactly 0 where it is constant.

    The mean is taken first and the squares about it, block by block, with what rounding left in it taken out again
    (Chan, Golub and LeVeque 1983).
    """
    total, rows = sample_weight.sum(), np.count_nonzero(sample_weight)
    mean = sum(sample_weight[block] @ X[block] for block in row_slices) / total
    shift, spread = np.zeros_like(mean), np.zeros_like(mean)
    for block in row_slices:
        away = X[block] - mean
        shift += sample_weight[block] @ away
        spread += sample_weight[block] @ (away * away)
    shift /= total
    mean, variance = mean + shift, np.maximum(spread / total - shift**2, 0.0)
    # What rounding alone would leave of a constant's variance, as in `fold_scaling`.
    constant = variance <= rows * FLOAT64_EPSILON * variance + (rows * np.abs(mean) * FLOAT64_EPSILON) ** 2
    return mean, np.where(constant, 0.0, np.sqrt(variance))


def estimator_start_candidates(
    objective: Objective, previous_weights: Array | None, *, fit_intercept: bool
) -> list[Array]:
    """Return where the descent may begin, in local units: at the last weights, and at the base rate."""
    flat = base_rate_weights(objective) if fit_intercept else np.zeros(objective.n_weights)
    if previous_weights is None or len(previous_weights) != 1 + len(objective.local_scaling.nonconstant_mask):
        return [flat]
    last = objective.local_scaling.to_local_weights(previous_weights)
    last[0] *= fit_intercept
    return [last, flat]


def run_solver(
    objective: Objective, model: LogisticRegression, start_candidates: list[Array]
) -> tuple[SolverResult, float]:
    """Return where the descent ended, with the loss along the way, and its learning rate."""
    if model.solver == "newton":
        return _run_newton_solver(objective, start_candidates, model), float(1.0 / lipschitz(objective)[0])
    start = min(start_candidates, key=objective.loss)[:, None]
    step = make_learning_rate_step(objective, model, start, lambda _: "learning_rate")
    losses: list[float] = []
    found = iterate_steps(
        objective, start, _make_loss_recorder(objective, losses)(step), tol=model.tol, max_iter=model.max_iter
    )
    losses.append(objective.loss(found.theta[:, 0]))
    rate = 1.0 / lipschitz(objective)[0] if model.learning_rate == "auto" else model.learning_rate
    return replace(found, losses=np.array(losses)), float(rate)


def _run_newton_solver(objective: Objective, start_candidates: list[Array], model: LogisticRegression) -> SolverResult:
    """Descend from where all rows have been looked at; alone, from the best of all starts, if that leads nowhere."""
    if objective.start_evaluation is None:
        return newton_single(objective, start_candidates, tol=model.tol, max_iter=model.max_iter)
    start = objective.start_evaluation.theta
    losses = [objective.loss(start)]
    there, heard = RefitBatch.from_objectives([objective], [start]), _make_loss_recorder(objective, losses)
    found = newton_batch(there, tol=model.tol, max_iter=model.max_iter - 1, wrap_step=heard)
    losses.append(objective.loss(found.theta[:, 0]))
    if not found.converged[0]:
        spent, start_candidates = found.iterations, [found.theta[:, 0], *start_candidates]
        found = newton_single(objective, start_candidates, tol=model.tol, max_iter=model.max_iter - int(spent[0]))
        losses += found.losses.tolist()
        found = replace(found, iterations=found.iterations + spent)
    return replace(found, losses=np.array(losses))


def _make_loss_recorder(objective: Objective, losses: list[float]) -> Callable[[StepFunction], StepFunction]:
    """Return what makes a step note the loss where it stands before it is taken."""

    def record_loss_before_step(step_function: StepFunction) -> StepFunction:
        def recorded_step(theta: Array, gradient: Array, refit_indices: IntArray) -> Array:
            losses.append(objective.loss(theta[:, 0]))
            return step_function(theta, gradient, refit_indices)

        return recorded_step

    return record_loss_before_step


def full_gradient_and_hessian(objective: Objective, theta: Array) -> tuple[Array, Array]:
    """Return gradient and curvature of all rows at `theta` (p,), as `Objective.at`; no curvature is estimated."""
    return replace(objective, hessian_row_stride=1, start_evaluation=None).gradient_and_hessian(theta)


def weight_standard_errors(objective: Objective, hessian: Array, total_weight: float) -> Array:
    """Return the standard errors (1 + k,) in raw units from the curvature (p, p) at the best weights of one refit.

    The rows weigh `total`.
    """
    information = hessian.copy()
    penalised = np.arange(1, objective.n_weights)
    information[penalised, penalised] -= objective.l2 * objective.feature_std[0] ** 2
    P = pseudo_inverse(hessian)
    to_raw = objective.local_scaling.to_raw_weights(np.eye(objective.n_weights)).T
    variance = np.einsum("ij,ij->i", to_raw @ (P @ information @ P), to_raw) / total_weight
    size, directions = np.linalg.eigh(hessian)
    blind = np.abs(to_raw @ directions[:, size <= MIN_EIGENVALUE_RATIO * size[-1]]).max(axis=1, initial=0.0)
    length = np.linalg.norm(to_raw, axis=1)
    known = (length > 0) & (blind <= MAX_UNIDENTIFIED_SHARE * length)
    return np.sqrt(np.where(known, np.maximum(variance, 0.0), np.nan))
