"""Where a descent begins: at the base rate; of very many rows, where samples of them have led."""

from __future__ import annotations

import numpy as np

from quantlr.model.descent import descend_alone, descend_together
from quantlr.model.logistic import log_odds
from quantlr.model.neighbours import Neighbours
from quantlr.model.objective import Objective
from quantlr.model.specs import LogisticRegression
from quantlr.model.training import SAMPLE, Material, Training
from quantlr.types import Array

SAMPLES = (SAMPLE // 8, SAMPLE, 8 * SAMPLE)
"""Rows of the samples that a first guess is learnt from, each starting from where the one before has led to."""
APIECE = 64
"""Rows to learn from that a sample has for each weight, at least: fewer would lead astray."""
NEAR_ENOUGH = 0.1
"""Tolerance for the weights of a sample, times the root of its rows: it knows no better."""
STEPS = 200
"""Updates that a sample is descended by at most."""


def base_rate(objective: Objective) -> Array:
    """Return the weights (p,) that give the first refit's share of ups to every row, in local units."""
    flat = np.zeros(objective.p)
    flat[0] = log_odds(objective.labels.said[0, :1])[0]
    return flat


def first_guess(training: Training, model: LogisticRegression, refit: int) -> Array | None:
    """Return the weights (1 + k,), in raw units, that samples of a refit's rows lead to.

    None where it has so few rows, or so few of either class, that they are better gone through from the base rate.
    """
    guess: Array | None = None
    weights = 1 + int((training.scaling.deviation[refit] > 0).sum())
    for enough in SAMPLES:
        sample, tol = training.sampled(refit, enough=enough), NEAR_ENOUGH / np.sqrt(enough)
        if sample is None:
            break
        (rows,), (ups,) = sample.counts()
        if rows < APIECE * weights or ups in (0, rows):
            continue
        objective = Material(sample, model).objective(slice(0, 1), start=guess, curved=SAMPLE)
        if guess is None:
            found = descend_alone(objective, [base_rate(objective)], tol=tol, max_iter=STEPS)
        else:
            there = Neighbours.of([objective], [objective.units.from_raw(guess)])
            found = descend_together(there, tol=tol, max_iter=STEPS)
        guess = np.asarray(objective.units.to_raw(found.theta)[0])
    return guess
