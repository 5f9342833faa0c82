"""How the weights of a walk moved from refit to refit, and how sure each refit could be of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quantlr.model.descent import inverse
from quantlr.model.logistic import sigmoid, sigmoid_slope
from quantlr.model.objective import Objective
from quantlr.model.rows import Rows
from quantlr.model.specs import LogisticRegression
from quantlr.model.training import Material, Training
from quantlr.types import Array, BoolArray, Dataset, IntArray


@dataclass(frozen=True, slots=True)
class CoefficientPaths:
    """What several refits of a walk learnt, and how sure they could be of it.

    Weights are those of the fit, before any calibration, and the intercept comes first. A feature that was constant
    weighs 0, with an error of NaN; of a refit without a best fit everything is NaN.

    Attributes
    ----------
    refit : (refits,) their numbers, ascending.
    standardised : (refits, 1 + k) log odds per deviation of the feature over the refit's training rows; the intercept
        is the log odds where every feature is at its mean.
    standardised_error : (refits, 1 + k) their standard errors.
    raw, raw_error : (refits, 1 + k) the same per unit of the feature, the intercept where every feature is 0.
    """

    refit: IntArray
    standardised: Array
    standardised_error: Array
    raw: Array
    raw_error: Array


def spread(count: int, *, at_most: int) -> IntArray:
    """Return numbers below `count`, spread evenly, the first and the last among them; `at_most` is 2 or more."""
    return np.linspace(0, count - 1, min(count, at_most)).round().astype(np.int64)


def coefficient_paths(
    training: Training,
    model: LogisticRegression,
    *,
    coefficients: Array,
    degenerate: BoolArray,
    at_most: int = 250,
) -> CoefficientPaths:
    """Return weights and standard errors of refits spread evenly over the walk, the first and the last among them.

    The standard errors are the roots of the diagonal of A^-1 B A^-1, with

        A = sum(w s x x') + l2 D        the curvature of the objective
        B = sum(w_up w_down s x x')     the variance of its gradient

    over the training rows x, standardised; s = g (1 - g); D is the identity but for a 0 at the intercept. A row's w is
    its share of the mean: 2^(-age / half_life), times the weight of its class, over the sum of these. w_up and w_down
    are what it would have been for an up and for a down, so that their product is w^2 unless classes have weights.
    Without weights of any kind w is 1/n: the errors are those of ridge regression (le Cessie and van Houwelingen
    1992), and with l2 = 0 the inverse of the observed information. With weights they are those of the weighted score
    (Manski and Lerman 1977), its variance taken from the model: under the probability p that the weighted g stands
    for, p w_up^2 (1-g)^2 + (1-p) w_down^2 g^2 comes to w_up w_down s.

    They take the rows as independent, which labels of a horizon over 1 and tickers of one session are not: there they
    are too small as a rule. They say nothing of a ridge's bias. They take scaling and weights as given: `balanced`
    weights follow the sample, and leave the intercept surer than this says. They belong to the point where the
    descent stopped, converged or not. Neighbouring refits share most of their rows, so that a band of errors about a
    path is no band for its shape.

    Of features that repeat one another only what they weigh together is known. The pseudo-inverse stays put along the
    directions that change no probability, so that an error there is that of the share a feature gets where they are
    split evenly, in standardised units, and not of the split, about which the rows say nothing.

    Parameters
    ----------
    training : rows, labels, and which of them train which refit.
    model : whose penalty and weights of rows hold.
    coefficients : (refits, 1 + k) intercept and weights of every refit, in units of the raw features.
    degenerate : (refits,) whether a refit has no best fit.
    at_most : refits to show, 2 or more; each costs two passes over its training rows.
    """
    refit = spread(len(coefficients), at_most=at_most)
    raw = np.where(degenerate[refit, None], np.nan, coefficients[refit])
    standardised, standardised_error, raw_error = (np.full_like(raw, np.nan) for _ in range(3))
    material = Material(training, model)
    for at, number in enumerate(refit.tolist()):
        if not degenerate[number]:
            objective = material.objective(slice(number, number + 1))
            standardised[at], standardised_error[at], raw_error[at] = _measured(objective, coefficients[number])
    return CoefficientPaths(refit, standardised, standardised_error, raw, raw_error)


def _measured(objective: Objective, raw: Array) -> tuple[Array, Array, Array]:
    """Return a single refit's standardised weights, their errors and those of `raw`, (1 + k,) each."""
    units, from_standardised = objective.units, objective.from_standardised()[0]
    theta = units.from_raw(raw)
    covariance = _covariance(objective, theta)
    present = np.concatenate([[True], units.active])
    weights, error, raw_error = np.zeros(len(raw)), np.full(len(raw), np.nan), np.full(len(raw), np.nan)
    weights[present] = np.linalg.solve(from_standardised, theta)
    error[present] = np.sqrt(np.diagonal(covariance))
    to_raw = units.to_raw(from_standardised).T[present]
    raw_error[present] = np.sqrt(np.diagonal(to_raw @ covariance @ to_raw.T))
    return weights, error, raw_error


def _covariance(objective: Objective, theta: Array) -> Array:
    """Return the covariance (p, p) of a single refit's standardised weights, where its local ones are `theta` (p,)."""
    share = objective.labels.share[:, 0]

    def sums(rows: Rows) -> Array:
        weight = np.ones((len(rows.y), 1)) if rows.weight is None else rows.weight
        slope = sigmoid_slope(sigmoid(rows.X @ theta))
        as_it_is, either_way = weight @ share, weight.sum(axis=1) ** 2 * share[0] * share[-1]
        return np.stack([(rows.X.T * (slope * counts)) @ rows.X for counts in (as_it_is, either_way)])

    from_standardised = objective.from_standardised()[0]
    total = sum(sums(make()) for make in objective.parts)
    curvature, variance = from_standardised.T @ total @ from_standardised
    penalised = np.arange(1, objective.p)
    curvature[penalised, penalised] += objective.l2
    P = inverse(curvature)
    return np.asarray(P @ variance @ P)


def per_deviation(dataset: Dataset, raw: Array, *, rows: slice) -> Array:
    """Return weights (k,) per unit of each feature as log odds per deviation of it over some rows of the dataset."""
    return np.asarray(raw * dataset.features[rows].std(axis=0))
