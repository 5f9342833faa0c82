"""Where a descent begins: at the base rate; of very many rows, where samples of them have led."""

from __future__ import annotations

import numpy as np

from quantlr.model.descent import newton_single, newton_batch
from quantlr.model.logistic import logit
from quantlr.model.neighbours import RefitBatch
from quantlr.model.objective import Objective
from quantlr.model.specs import LogisticRegression
from quantlr.model.training import SAMPLE_ROWS, ObjectiveBuilder, TrainingData
from quantlr.types import Array

WARM_START_SAMPLE_ROWS = (SAMPLE_ROWS // 8, SAMPLE_ROWS, 8 * SAMPLE_ROWS)
"""Rows of the samples that a first guess is learnt from, each starting from where the one before has led to."""
MIN_SAMPLE_ROWS_PER_WEIGHT = 64
"""Rows to learn from that a sample has for each weight, at least: fewer would lead astray."""
WARM_START_TOL_TIMES_SQRT_ROWS = 0.1
"""Tolerance for the weights of a sample, times the root of its rows: it knows no better."""
WARM_START_MAX_ITER = 200
"""Updates that a sample is descended by at most."""


def base_rate_weights(objective: Objective) -> Array:
    """Return the weights (p,) that give the first refit's share of ups to every row, in local units."""
    flat = np.zeros(objective.n_weights)
    flat[0] = logit(objective.labels.mean_x_times_target[0, :1])[0]
    return flat


def warm_start(training_data: TrainingData, model: LogisticRegression, refit_index: int) -> Array | None:
    """Return the weights (1 + k,), in raw units, that samples of a refit's rows lead to.

    None where it has so few rows, or so few of either class, that they are better gone through from the base rate.
    """
    guess: Array | None = None
    weights = 1 + int((training_data.scaling.std[refit_index] > 0).sum())
    for enough in WARM_START_SAMPLE_ROWS:
        sample, tol = (
            training_data.subsample_refit(refit_index, min_rows=enough),
            WARM_START_TOL_TIMES_SQRT_ROWS / np.sqrt(enough),
        )
        if sample is None:
            break
        (rows,), (ups,) = sample.row_and_up_counts()
        if rows < MIN_SAMPLE_ROWS_PER_WEIGHT * weights or ups in (0, rows):
            continue
        objective = ObjectiveBuilder(sample, model).build_objective(
            slice(0, 1), start_weights=guess, min_hessian_rows=SAMPLE_ROWS
        )
        if guess is None:
            found = newton_single(objective, [base_rate_weights(objective)], tol=tol, max_iter=WARM_START_MAX_ITER)
        else:
            there = RefitBatch.from_objectives([objective], [objective.local_scaling.to_local_weights(guess)])
            found = newton_batch(there, tol=tol, max_iter=WARM_START_MAX_ITER)
        guess = np.asarray(objective.local_scaling.to_raw_weights(found.theta)[0])
    return guess
