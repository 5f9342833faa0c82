"""One fit of rows in memory, for the scikit-learn estimator: no folds, any weights, with an intercept or without."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from quantlr.core.values import Array, BoolArray, Folds
from quantlr.model.batched.fit import base_rate_weights, learning_rates, warm_start_weights
from quantlr.model.batched.loss import Objective
from quantlr.model.batched.refit_batch import RefitBatch
from quantlr.model.batched.sums import LocalRows
from quantlr.model.batched.training import MIN_ROWS_KEPT_RAW, ObjectiveBuilder, TrainingData
from quantlr.model.config import LogisticRegression
from quantlr.model.solvers import (
    FIRST_ORDER_SOLVERS,
    MIN_EIGENVALUE_RATIO,
    IterationCallback,
    SolverResult,
    lipschitz,
    newton_batch,
    newton_single,
    pseudo_inverse,
)
from quantlr.model.standardize import LocalScaling, Scaling, std_without_rounding
from quantlr.model.windows import TrainingWindows

ESTIMATOR_BLOCK_ROWS = 2048
"""Rows per block, so that what is computed of them stays in the cache."""
MAX_UNIDENTIFIED_SHARE = 1e-6
"""Largest share of a weight along directions that the rows do not identify; beyond it the standard error is NaN."""


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
    """Return the objective of one fit; it holds one standardised copy of X, in blocks of rows.

    Very many rows stay in raw units if they can, and are evaluated at the start of Newton's method: at the previous
    weights, or at those of samples of the rows.

    Parameters
    ----------
    X : (n, k) features.
    up : (n,) whether the label is the second class.
    effective_weight : (n,) sample weight times class weight, which enters the loss.
    sample_weight : (n,) sample weight, which enters the scaling.
    model : penalty and solver.
    fit_intercept : whether there is an intercept, and features are centred.
    previous_weights : (1 + k,) weights of an earlier fit, in raw units; None without one.
    """
    blocks = [slice(first, first + ESTIMATOR_BLOCK_ROWS) for first in range(0, len(X), ESTIMATOR_BLOCK_ROWS)]
    mean, std = _weighted_mean_and_std(X, sample_weight, blocks)
    scaling = Scaling(mean[None], std[None])
    if not fit_intercept:
        # Without centring, a constant feature has an effect too, in units of its own, as in StandardScaler.
        scaling = Scaling(np.zeros_like(scaling.mean), np.where(std > 0, std, mean != 0)[None])
        if not scaling.std.any():
            raise ValueError("needed a feature that is not 0, found none; give one, or set fit_intercept to True")
    # The objective is a mean: equal weights need not be kept.
    y, weight = up.astype(np.float64), None if effective_weight.min() == effective_weight.max() else effective_weight
    if fit_intercept and model.solver == "newton" and len(X) > MIN_ROWS_KEPT_RAW:
        start, stop = np.zeros(1, dtype=np.int64), np.full(1, len(X))
        training = TrainingData(X, y, [Folds(start, stop, stop, stop)], scaling, sample_weight=weight)
        is_usable = previous_weights is not None and len(previous_weights) == 1 + X.shape[1]
        start_weights = previous_weights if is_usable else warm_start_weights(training, model, 0)
        return ObjectiveBuilder(training, model).build_objective(slice(0, 1), start_weights=start_weights)
    local_scaling = LocalScaling.from_refit_scaling(scaling, 0)
    local_X = [local_scaling.to_local_rows(X[block]) for block in blocks]
    factories = []
    for rows, block in zip(local_X, blocks, strict=True):
        windows = TrainingWindows(np.array([0]), np.array([len(rows)]))
        block_weight = None if weight is None else weight[block]
        factories.append(partial(LocalRows.from_arrays, rows, y[block], block_weight, windows, by_class=False))
    objective = Objective.from_row_factories(factories, local_scaling, scaling, l2=model.l2)
    return objective if fit_intercept else _remove_intercept(objective, local_X)


def _remove_intercept(objective: Objective, local_X_blocks: list[Array]) -> Objective:
    """Return the objective without its intercept, whose column in the blocks it sets to zero.

    The loss is then flat in the intercept: its gradient is 0, and the pseudo-inverse of the Hessian leaves it out.
    """
    for X in local_X_blocks:
        X[:, 0] = 0.0
    is_feature = np.arange(objective.n_weights)[:, None] > 0
    sums = objective.label_sums
    mean_x, mean_x_times_target = sums.mean_x * is_feature, sums.mean_x_times_target * is_feature
    return replace(objective, label_sums=replace(sums, mean_x=mean_x, mean_x_times_target=mean_x_times_target))


def _weighted_mean_and_std(X: np.ndarray[Any, Any], sample_weight: Array, blocks: list[slice]) -> tuple[Array, Array]:
    """Return the weighted mean and ddof-0 standard deviation of each feature, (k,); exactly 0 where it is constant.

    The mean comes first and the squares about it second, with the rounding error of the mean taken out again (Chan,
    Golub and LeVeque 1983).
    """
    total_weight, n_rows = sample_weight.sum(), int(np.count_nonzero(sample_weight))
    mean = sum(sample_weight[block] @ X[block] for block in blocks) / total_weight
    shift, squares = np.zeros_like(mean), np.zeros_like(mean)
    for block in blocks:
        centered = X[block] - mean
        shift += sample_weight[block] @ centered
        squares += sample_weight[block] @ (centered * centered)
    shift /= total_weight
    mean, variance = mean + shift, np.maximum(squares / total_weight - shift**2, 0.0)
    return mean, std_without_rounding(variance, mean, n_rows)


def single_fit_starts(objective: Objective, previous_weights: Array | None, *, fit_intercept: bool) -> list[Array]:
    """Return the starts of a solver, in local units: the previous weights, if they fit, and the base rate."""
    base_rate = base_rate_weights(objective) if fit_intercept else np.zeros(objective.n_weights)
    if previous_weights is None or len(previous_weights) != 1 + len(objective.local_scaling.nonconstant_mask):
        return [base_rate]
    previous = objective.local_scaling.to_local_weights(previous_weights)
    previous[0] *= fit_intercept
    return [previous, base_rate]


def run_solver(
    objective: Objective, model: LogisticRegression, start_candidates: list[Array], *, name: str = "learning_rate"
) -> tuple[SolverResult, float]:
    """Return the weights with the loss at every iteration, and the learning rate; for Newton's method, that is 1/L.

    `name` starts the message of an error.
    """
    if model.solver == "newton":
        return _run_newton(objective, start_candidates, model), float(1.0 / lipschitz(objective)[0])
    losses: list[float] = []
    record_loss = _loss_recorder(objective, losses)
    rate = learning_rates(objective, model, lambda _: name)
    start, solver = min(start_candidates, key=objective.loss)[:, None], FIRST_ORDER_SOLVERS[model.solver]
    result = solver(objective, start, learning_rate=rate, tol=model.tol, max_iter=model.max_iter, callback=record_loss)
    record_loss(result.theta)
    return replace(result, losses=np.array(losses)), float(rate[0])


def _loss_recorder(objective: Objective, losses: list[float]) -> IterationCallback:
    """Return a callback that appends the loss of a single refit at its weights (p, 1)."""
    return lambda theta: losses.append(objective.loss(theta[:, 0]))


def _run_newton(objective: Objective, start_candidates: list[Array], model: LogisticRegression) -> SolverResult:
    """Return the weights by steps from the objective's start with one inverse Hessian, if it has a start.

    Without one, or if these steps do not converge, Newton's method runs from the best of all starts.
    """
    tol, max_iter = model.tol, model.max_iter
    if objective.start_sums is None:
        return newton_single(objective, start_candidates, tol=tol, max_iter=max_iter)
    start = objective.start_sums.theta
    losses = [objective.loss(start)]
    record_loss, batch = _loss_recorder(objective, losses), RefitBatch.from_objectives([objective], [start])
    result = newton_batch(batch, tol=tol, max_iter=max_iter - 1, callback=record_loss)
    record_loss(result.theta)
    if not result.converged[0]:
        n_spent, starts = result.iterations, [result.theta[:, 0], *start_candidates]
        result = newton_single(objective, starts, tol=tol, max_iter=max_iter - int(n_spent[0]))
        losses += result.losses.tolist()
        result = replace(result, iterations=result.iterations + n_spent)
    return replace(result, losses=np.array(losses))


def weight_standard_errors(objective: Objective, hessian: Array, total_weight: float) -> Array:
    """Return the standard errors (1 + k,) of raw weights from the Hessian (p, p) at the optimum of a single refit.

    `total_weight` is the sum of the rows' weights.
    """
    information = hessian.copy()
    penalized = np.arange(1, objective.n_weights)
    information[penalized, penalized] -= objective.l2 * objective.feature_std[0] ** 2
    P = pseudo_inverse(hessian)
    to_raw = objective.local_scaling.to_raw_weights(np.eye(objective.n_weights)).T
    variance = np.einsum("ij,ij->i", to_raw @ (P @ information @ P), to_raw) / total_weight
    eigenvalues, eigenvectors = np.linalg.eigh(hessian)
    flat_directions = eigenvectors[:, eigenvalues <= MIN_EIGENVALUE_RATIO * eigenvalues[-1]]
    unidentified = np.abs(to_raw @ flat_directions).max(axis=1, initial=0.0)
    length = np.linalg.norm(to_raw, axis=1)
    is_identified = (length > 0) & (unidentified <= MAX_UNIDENTIFIED_SHARE * length)
    return np.sqrt(np.where(is_identified, np.maximum(variance, 0.0), np.nan))
