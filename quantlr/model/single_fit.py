"""Fits of a single refit, from a start near its optimum."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from quantlr.core.values import Array
from quantlr.model.logistic import LogisticLoss, logit
from quantlr.model.solvers import FIRST_ORDER_SOLVERS, SolverResult, learning_rates, newton
from quantlr.model.training import SAMPLE_ROWS, TrainingData, make_loss

if TYPE_CHECKING:
    from quantlr.model.config import LogisticRegression

WARM_START_SAMPLE_ROWS = (SAMPLE_ROWS // 8, SAMPLE_ROWS, 8 * SAMPLE_ROWS)
"""Rows of the samples that are fitted for a warm start, each starting from the weights of the one before."""
MIN_SAMPLE_ROWS_PER_WEIGHT = 64
"""Smallest number of labelled rows per weight for a sample to be fitted."""
WARM_START_TOL_TIMES_SQRT_ROWS = 0.1
"""Tolerance for the fit of a sample, times the square root of its rows: of the size of its sampling error."""
WARM_START_MAX_ITER = 200
"""Largest number of updates for the fit of a sample."""


def base_rate_weights(loss: LogisticLoss) -> Array:
    """Return the weights (p,) or (p, refits) that give every row its refit's base rate; all 0 without an intercept."""
    weights = np.zeros((loss.n_weights, *loss.sample_weight.shape[1:]))
    if loss.fit_intercept:
        weights[0] = logit((loss.sample_weight.T * loss.y.T).sum(axis=-1))
    return weights


def warm_start_weights(training_data: TrainingData, model: LogisticRegression, refit_index: int) -> Array | None:
    """Return the standardised weights (p,) of increasing samples of a refit's rows.

    None where the refit, or a class in the samples, has so few rows that the base rate is the better start.
    """
    weights: Array | None = None
    n_weights = 1 + int((training_data.scaling.std[refit_index] > 0).sum())
    for min_rows in WARM_START_SAMPLE_ROWS:
        sample = training_data.subsample_refit(refit_index, min_rows=min_rows)
        if sample is None:
            break
        (n_rows,), (n_ups,) = sample.row_and_up_counts()
        if n_rows < MIN_SAMPLE_ROWS_PER_WEIGHT * n_weights or n_ups in (0, n_rows):
            continue
        loss = make_loss(sample, model, slice(0, 1))
        tol = WARM_START_TOL_TIMES_SQRT_ROWS / np.sqrt(min_rows)
        start = base_rate_weights(loss) if weights is None else weights
        weights = newton(loss, start, tol=tol, max_iter=WARM_START_MAX_ITER).theta
    return weights


def run_solver(loss: LogisticLoss, model: LogisticRegression, start: Array, *, name: str) -> tuple[SolverResult, float]:
    """Return the weights of one refit with the loss at every point, and the learning rate; 1/L for Newton's method.

    `name` starts the message of an error.
    """
    if model.solver == "newton":
        return newton(loss, start, tol=model.tol, max_iter=model.max_iter), 1.0 / float(loss.lipschitz())
    losses: list[float] = []

    def record_loss(theta: Array) -> None:
        losses.append(float(loss.loss(theta)))

    rate = learning_rates(loss, model, lambda _: name)
    solver = FIRST_ORDER_SOLVERS[model.solver]
    result = solver(loss, start, learning_rate=rate, tol=model.tol, max_iter=model.max_iter, callback=record_loss)
    record_loss(result.theta)
    return replace(result, losses=np.array(losses)), float(rate)
