"""Tests of whether probabilities are calibrated: slope and intercept of the log odds, and Spiegelhalter's z.

A calibrated forecast of 60 % comes true in 60 % of cases. Forecasts of an overfitted model lie too far from the base
rate: the outcome's log odds then change by less than the forecast's, and the slope is below 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quantlr.core.values import Array, IntArray
from quantlr.stats.cosine_test import cosine_test
from quantlr.stats.hac import STANDARD_NORMAL, sum_by_session

MIN_RELATIVE_SPREAD = 1e-9
"""Standard deviation of log odds, relative to the largest of them, up to which all count as equal (rounding)."""
MAX_UPDATES = 50
MAX_ABS_UPDATE = 1e-10
"""Largest change of a standardised coefficient at which Newton's method stops."""


@dataclass(frozen=True, slots=True)
class Recalibration:
    """Logistic regression of the outcome on the forecast's log odds (Cox 1958).

    Attributes
    ----------
    slope : 1 if the forecast is calibrated; below 1 where its probabilities are too far from the base rate.
    intercept : log odds of up where the forecast's are 0; 0 if it is calibrated.
    slope_standard_error, intercept_standard_error : as in the test; None where that is undefined.
    p_value : one-sided, that a slope of 1 is estimated as low as this; None where that is undefined.
    """

    slope: float
    intercept: float
    slope_standard_error: float | None
    intercept_standard_error: float | None
    p_value: float | None


def recalibrate(
    log_odds: Array, up: Array, *, session: IntArray, horizon: int, is_dependent: bool
) -> Recalibration | None:
    """Return slope and intercept of the log odds by maximum likelihood; None where there is no finite best fit.

    Parameters
    ----------
    log_odds, up : (n,) log odds of up, and outcomes in {0, 1}.
    session : (n,) session at whose close each forecast was made.
    horizon : sessions that a forecast spans.
    is_dependent : whether forecasts overlap in time or share a session.

    Notes
    -----
    The estimates solve sum (y - g(a + b z)) (1, z)' = 0, g(t) = 1 / (1 + exp(-t)), by Newton's method. For independent
    forecasts the standard errors are those of the inverse information matrix. Otherwise the contributions to the
    estimates, inverse information times (y - g) (1, z)', are summed by session, and the variance of their total is that
    of `cosine_test`, with Student's t quantiles.
    """
    spread = float(log_odds.std())
    if spread <= MIN_RELATIVE_SPREAD * float(np.abs(log_odds).max()):
        return None
    X = np.stack([np.ones(len(up)), (log_odds - log_odds.mean()) / spread], axis=1)
    fit = _fit_logistic(X, up)
    if fit is None:
        return None
    theta, information = fit
    to_raw = np.array([[1.0, -log_odds.mean() / spread], [0.0, 1.0 / spread]])
    intercept, slope = (to_raw @ theta).tolist()
    covariance = to_raw @ np.linalg.inv(information) @ to_raw.T
    errors: list[float | None] = np.sqrt(np.diag(covariance)).tolist()
    p_value: float | None = STANDARD_NORMAL.cdf((slope - 1.0) / np.sqrt(covariance[1, 1]))
    if is_dependent:
        residual = up - _sigmoid(X @ theta)
        influence = (X * residual[:, None]) @ np.linalg.inv(information) @ to_raw.T
        sums = sum_by_session(session, *influence.T)
        tests = [
            cosine_test(distance / len(sums) + column, horizon=horizon)
            for distance, column in zip((-intercept, 1.0 - slope), sums.T, strict=True)
        ]
        p_value = tests[1].p_value
        errors = [
            None if not test.statistic else abs(distance / test.statistic)
            for distance, test in zip((intercept, 1.0 - slope), tests, strict=True)
        ]
    return Recalibration(slope, intercept, errors[1], errors[0], p_value)


def _sigmoid(z: Array) -> Array:
    return np.asarray(0.5 + 0.5 * np.tanh(z / 2))


def _fit_logistic(X: Array, up: Array) -> tuple[Array, Array] | None:
    """Return the weights of a logistic regression, and its information matrix; None where Newton's method diverges."""
    theta = np.zeros(X.shape[1])
    for _ in range(MAX_UPDATES):
        probability = _sigmoid(X @ theta)
        information = (X * (probability * (1 - probability))[:, None]).T @ X
        if np.linalg.cond(information) > 1 / MIN_RELATIVE_SPREAD:
            return None
        update = np.linalg.solve(information, X.T @ (up - probability))
        theta = theta + update
        if np.abs(update).max() <= MAX_ABS_UPDATE:
            return theta, information
    return None


def spiegelhalter_test(
    probability: Array, up: Array, *, session: IntArray, horizon: int, is_dependent: bool
) -> dict[str, float] | None:
    """Return statistic and two-sided p value of the test that probabilities are calibrated (Spiegelhalter 1986).

    Parameters
    ----------
    probability, up, session, horizon, is_dependent : as in `recalibrate`.

    Returns
    -------
    None where the test is undefined: all probabilities are 0, 1/2 or 1, or there are too few sessions.

    Notes
    -----
    z = sum (y - p) (1 - 2p) / sqrt(sum (1 - 2p)^2 p (1 - p)), which is the difference of the Brier score from its
    expected value over its standard deviation; above 0 it is worse than expected. Of dependent forecasts the terms of
    the numerator are summed by session, and tested by `cosine_test`.
    """
    terms = (up - probability) * (1 - 2 * probability)
    if is_dependent:
        test = cosine_test(sum_by_session(session, terms)[:, 0], horizon=horizon)
        if test.statistic is None or test.p_value is None:
            return None
        return {"statistic": test.statistic, "p_value": 2 * min(test.p_value, 1 - test.p_value)}
    variance = float(((1 - 2 * probability) ** 2 * probability * (1 - probability)).sum())
    if variance <= 0:
        return None
    statistic = float(terms.sum() / np.sqrt(variance))
    return {"statistic": statistic, "p_value": 2 * STANDARD_NORMAL.cdf(-abs(statistic))}
