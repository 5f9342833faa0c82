"""How the weights of a walk moved from refit to refit, and how sure each refit could be of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quantlr.model.descent import inverse
from quantlr.model.logistic import sigmoid, sigmoid_slope
from quantlr.model.objective import Objective
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
    standardised_error : (refits, 1 + k) their standard errors, NaN for refits whose errors were not asked for.
    raw, raw_error : (refits, 1 + k) the same per unit of the feature, the intercept where every feature is 0.
    """

    refit: IntArray
    standardised: Array
    standardised_error: Array
    raw: Array
    raw_error: Array

    @property
    def newest(self) -> int | None:
        """Position of the newest refit that has errors, None where none has."""
        known = np.flatnonzero(~np.isnan(self.standardised_error[:, 0]))
        return int(known[-1]) if len(known) else None

    @property
    def ratio(self) -> Array:
        """(refits, 1 + k) weight over standard error, in units of either sort; NaN for a constant."""
        return np.asarray(self.standardised / self.standardised_error)


def same_side(coefficients: Array, degenerate: BoolArray) -> Array:
    """Return in what share of a walk's refits each weight (1 + k,) has the sign that it has at the newest.

    Refits without a best fit don't count; NaN where none is left, and for a feature that weighs nothing at the newest.

    Parameters
    ----------
    coefficients : (refits, 1 + k) intercept and weights, oldest first.
    degenerate : (refits,) whether a refit has no best fit.
    """
    sign = np.sign(coefficients[~degenerate])
    if not len(sign):
        return np.full(coefficients.shape[1], np.nan)
    return np.where(sign[-1] != 0, (sign == sign[-1]).mean(axis=0), np.nan)


def spread(count: int, *, at_most: int) -> IntArray:
    """Return numbers below `count`, spread evenly, the first and the last among them; `at_most` is 2 or more."""
    return np.linspace(0, count - 1, min(count, at_most)).round().astype(np.int64)


def coefficient_paths(
    training: Training,
    model: LogisticRegression,
    *,
    coefficients: Array,
    degenerate: BoolArray,
    lags: int | None = None,
    at_most: int = 250,
    errors: int | None = None,
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

    They take the rows as independent, which labels of a horizon over 1 and tickers of one session are not. For these,
    with `lags`, B is what the rows show instead of what the model says: the gradient's terms w (g - y) x are summed by
    session, and their long-run variance over sessions is Newey and West's (1987; for panels Driscoll and Kraay 1998).

    They say nothing of a ridge's bias. They take scaling and weights as given: `balanced`
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
    lags : sessions after which rows are taken as independent; None takes all of them so.
    at_most : refits to show, 2 or more.
    errors : how many of them to measure errors of, 2 or more, the newest among them; each costs two passes over its
        training rows. None measures all.
    """
    refit = spread(len(coefficients), at_most=at_most)
    raw = np.where(degenerate[refit, None], np.nan, coefficients[refit])
    mean, deviation = training.scaling.mean[refit], training.scaling.deviation[refit]
    standardised = np.column_stack([raw[:, 0] + (raw[:, 1:] * mean).sum(axis=1), raw[:, 1:] * deviation])
    standardised_error, raw_error = (np.full_like(raw, np.nan) for _ in range(2))
    material, sound = Material(training, model), np.flatnonzero(~degenerate[refit])
    for at in sound[spread(len(sound), at_most=errors or at_most)].tolist():
        number = int(refit[at])
        look = _Look(
            material.objective(slice(number, number + 1)),
            None if lags is None else _Sessions.of(material.positions(number), lags),
        )
        standardised_error[at], raw_error[at] = look.errors(coefficients[number])
    return CoefficientPaths(refit, standardised, standardised_error, raw, raw_error)


@dataclass(frozen=True, slots=True)
class _Sessions:
    """The sessions of a refit's rows, part by part, counted from the first; and after how many they are forgotten."""

    of_part: list[IntArray]
    count: int
    lags: int

    @classmethod
    def of(cls, positions: list[IntArray], lags: int) -> _Sessions:
        first = min(int(part.min()) for part in positions)
        last = max(int(part.max()) for part in positions)
        return cls([part - first for part in positions], last + 1 - first, lags)


@dataclass(frozen=True, slots=True)
class _Look:
    """What the rows of a single refit say of its errors; `sessions` None where rows are taken as independent."""

    objective: Objective
    sessions: _Sessions | None

    def errors(self, raw: Array) -> tuple[Array, Array]:
        """Return the errors of standardised and of `raw` weights, (1 + k,) each."""
        units = self.objective.units
        covariance = self._covariance(units.from_raw(raw))
        present = np.concatenate([[True], units.active])
        error, raw_error = np.full(len(raw), np.nan), np.full(len(raw), np.nan)
        error[present] = np.sqrt(np.diagonal(covariance))
        to_raw = units.to_raw(self.objective.from_standardised()[0]).T[present]
        raw_error[present] = np.sqrt(np.diagonal(to_raw @ covariance @ to_raw.T))
        return error, raw_error

    def _covariance(self, theta: Array) -> Array:
        """Return the covariance (p, p) of standardised weights, where the local ones are `theta` (p,)."""
        objective, share = self.objective, self.objective.labels.share[:, 0]
        curvature, variance = np.zeros((objective.p, objective.p)), np.zeros((objective.p, objective.p))
        by_session = np.zeros((self.sessions.count if self.sessions else 0, objective.p))
        for part, make in enumerate(objective.parts):
            rows = make()
            weight = np.ones((len(rows.y), 1)) if rows.weight is None else rows.weight
            g, counts = sigmoid(rows.X @ theta), weight @ share
            curvature += _moments(rows.X, sigmoid_slope(g) * counts)
            if self.sessions is None:
                variance += _moments(rows.X, sigmoid_slope(g) * weight.sum(axis=1) ** 2 * share[0] * share[-1])
            else:  # Within a part, no two rows are of one session.
                by_session[self.sessions.of_part[part]] += rows.X * (counts * (g - rows.y))[:, None]
        if self.sessions is not None:
            variance = _long_run(by_session, self.sessions.lags)
        A = objective.from_standardised()[0]
        curvature, variance = A.T @ curvature @ A, A.T @ variance @ A
        penalised = np.arange(1, objective.p)
        curvature[penalised, penalised] += objective.l2
        P = inverse(curvature)
        return np.asarray(P @ variance @ P)


def _moments(X: Array, weight: Array) -> Array:
    """Return the sum of weight x x', (p, p)."""
    return np.asarray((X.T * weight) @ X)


def _long_run(sums: Array, lags: int) -> Array:
    """Return the variance (p, p) of the total of (sessions, p) sums, with Bartlett's weights (Newey and West 1987)."""
    away = sums - sums.mean(axis=0)
    variance = away.T @ away
    for lag in range(1, min(lags, len(away) - 1) + 1):
        together = away[lag:].T @ away[:-lag]
        variance += (1 - lag / (lags + 1)) * (together + together.T)
    return np.asarray(variance)


def per_deviation(dataset: Dataset, raw: Array, *, rows: slice) -> Array:
    """Return weights (k,) per unit of each feature as log odds per deviation of it over some rows of the dataset."""
    return np.asarray(raw * dataset.features[rows].std(axis=0))
