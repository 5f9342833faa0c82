"""Detection of separated classes, for which the log loss has no minimum and the weights grow without bound.

Source: A. Albert and J. A. Anderson, "On the existence of maximum likelihood estimates in logistic regression models",
Biometrika 71 (1984).
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import comb

import numpy as np

from quantlr.core.values import Array
from quantlr.model.logistic import LogisticLoss
from quantlr.model.solvers import MIN_EIGENVALUE_RATIO, inverse_hessian, newton

MIN_SUSPICIOUS_LOG_ODDS = 4.0
"""Largest log odds of a training row from which weights are checked for separation."""
SEPARATION_TOL = 1e-6
"""Tolerance at which a solver cannot have converged while the weights still grow."""
MAX_SEPARATION_ITERATIONS = 200
"""Largest number of Newton steps of the check."""
MAX_CONVERGED_LOG_ODDS_STEP, MAX_CONVERGED_LOG_ODDS_STEP_RATIO = 0.1, 0.01
"""Largest change of a training row's log odds by the next Newton step after convergence: in log odds, and relative to
the largest log odds."""

COMPLETE_SEPARATION = "a hyperplane in the features separates its ups from its downs"
"""Reason of classes that are separated completely, rather than along one direction."""
MAX_CHANCE_OF_SEPARATION = 1e-6
"""Largest probability of a separation by chance at which look-ahead is the first suspect."""


def find_separation(loss: LogisticLoss, theta: Array, base_rate_start: Array, *, tol: float) -> str | None:
    """Return why the weights of one refit have no finite optimum; None if they have one, or if it is not known.

    The optimum is sought from `theta` (p,), where a solver with tolerance `tol` has ended, or from the base rate,
    whichever has the lower loss, and then from the base rate.
    """
    if _is_clearly_not_separated(*min_margin_and_max_abs_log_odds(loss, theta)):
        return None
    start = min(theta, base_rate_start, key=loss.loss)
    # Rounding may prevent convergence to a tight tolerance; growing weights also show at the looser one.
    for tolerance in (min(tol, SEPARATION_TOL), SEPARATION_TOL):
        result = newton(loss, start, tol=tolerance, max_iter=MAX_SEPARATION_ITERATIONS)
        if result.converged:
            return separation_reason(loss, result.theta)
        start = base_rate_start
    return None


def min_margin_and_max_abs_log_odds(loss: LogisticLoss, theta: Array) -> tuple[float, float]:
    """Return the smallest margin (2y - 1) theta.x and the largest |theta.x| of a single refit's rows with a weight."""
    counts = loss.sample_weight > 0
    z = loss.log_odds(theta)[counts]
    return float(((2.0 * loss.y[counts] - 1.0) * z).min()), float(np.abs(z).max())


def _is_clearly_not_separated(min_margin: float, max_abs_log_odds: float) -> bool:
    """Return whether a row is misclassified and no log odds are large."""
    return min_margin < 0 and max_abs_log_odds <= MIN_SUSPICIOUS_LOG_ODDS


def separation_reason(loss: LogisticLoss, theta: Array) -> str | None:
    """Return why the weights of one refit have no finite optimum, None if they have one.

    `theta` (p,) is where its solver has converged. The classes are separated if a hyperplane does so, min (2y - 1)
    theta.x >= 0 over the training rows; or if the gradient is small and the next Newton step is not: where the loss
    falls for ever along some direction, the log odds grow by about 1 per step.
    """
    if loss.l2 > 0:
        return None
    min_margin, max_log_odds = min_margin_and_max_abs_log_odds(loss, theta)
    if max_log_odds <= MIN_EIGENVALUE_RATIO or _is_clearly_not_separated(min_margin, max_log_odds):
        return None
    if min_margin >= 0:
        return COMPLETE_SEPARATION
    # The step along directions in which the Hessian is nearly flat is needed too.
    step = inverse_hessian(replace(loss, hessian_row_stride=1), theta, min_eigenvalue_ratio=0.0) @ loss.gradient(theta)
    change = np.abs(loss.log_odds(step))[loss.sample_weight > 0].max()
    if change > max(MAX_CONVERGED_LOG_ODDS_STEP, MAX_CONVERGED_LOG_ODDS_STEP_RATIO * max_log_odds):
        return "the features separate its classes along some direction, and the weights grow without bound"
    return None


def chance_of_separation(n_rows: int, n_weights: int) -> float:
    """Return the probability that a hyperplane separates random classes of rows in general position.

    It is 2^(1 - n) times the sum of C(n - 1, k) over k < p, for n rows and p weights, the intercept included (Cover,
    "Geometrical and statistical properties of systems of linear inequalities", IEEE Transactions on Electronic
    Computers 14, 1965).
    """
    n_separable = sum(comb(n_rows - 1, k) for k in range(min(n_weights, n_rows)))
    return float(Fraction(n_separable, 2 ** (n_rows - 1)))
