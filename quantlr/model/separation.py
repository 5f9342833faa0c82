"""Whether best weights exist: where features tell the classes apart without fail, the loss falls for ever."""

from __future__ import annotations

import numpy as np

from quantlr.core.arrays import Array
from quantlr.model.batched.loss import Objective
from quantlr.model.solvers import (
    MAX_CONDITION_ESTIMATE,
    MIN_EIGENVALUE_RATIO,
    condition_estimate,
    newton_single,
    whitening_matrix,
)

MIN_SUSPICIOUS_LOG_ODDS = 4.0
"""Log odds of a training row from which it is asked whether weights grow without bound."""
SEPARATION_TOL = 1e-6
"""Tolerance at which a descent can't pass for converged while its weights still grow."""
MAX_SEPARATION_ITERATIONS = 200
"""Updates in which a refit whose best weights may be infinite is followed."""
MAX_CONVERGED_LOG_ODDS_STEP, MAX_CONVERGED_LOG_ODDS_STEP_RATIO = 0.1, 0.01
"""Log odds that the next step may still move a training row by, once a descent has converged; and the same as a
share of the largest log odds there are."""


def find_separation(objective: Objective, theta: Array, base_rate_start: Array, *, tol: float) -> str | None:
    """Return why the best weights of one refit would be infinite, None where they are finite or it can't be told.

    They are sought from where a descent of tolerance `tol` has ended, `theta`, and from the base rate, `flat`.
    """
    if _is_clearly_not_separated(*objective.min_margin_and_max_abs_log_odds(theta)):
        return None
    starts = [theta, base_rate_start]
    # Rounding may keep a descent from a tight tolerance; weights that grow are seen on the way there too.
    for limit in (min(tol, SEPARATION_TOL), SEPARATION_TOL):
        best = newton_single(objective, starts, tol=limit, max_iter=MAX_SEPARATION_ITERATIONS)
        if best.converged[0]:
            return separation_reason(objective, best.theta[:, 0])
        starts = [base_rate_start]
    return None


def _is_clearly_not_separated(min_margin: float, max_abs_log_odds: float) -> bool:
    """Return whether log odds are on the wrong side of some row, and none of them large; see `Objective.sides`."""
    return min_margin < 0 and max_abs_log_odds <= MIN_SUSPICIOUS_LOG_ODDS


def separation_reason(
    objective: Objective, theta: Array, gradient_and_hessian: tuple[Array, Array] | None = None
) -> str | None:
    """Return why the best weights of one refit would be infinite, None where they are finite.

    `theta` (p,) is where its descent has converged, and `slopes` its gradient and curvature there, `Objective.at`, if
    they are known. Either a plane separates the classes, min (2y - 1) theta.x >= 0 over the training rows; or the
    gradient has become small though the next step is not, as happens where the loss falls for ever along some
    direction: its log odds then grow by about 1 a step.
    """
    if objective.l2 > 0:
        return None
    margin, reach = objective.min_margin_and_max_abs_log_odds(theta)
    if reach <= MIN_EIGENVALUE_RATIO or _is_clearly_not_separated(margin, reach):
        return None
    if margin >= 0:
        return "a plane through the features separates its ups from its downs"
    gradient, curvature = (
        objective.gradient_and_hessian(theta) if gradient_and_hessian is None else gradient_and_hessian
    )
    if objective.max_abs_log_odds_change(_newton_step(objective, gradient[:, 0], curvature[0])) > max(
        MAX_CONVERGED_LOG_ODDS_STEP, MAX_CONVERGED_LOG_ODDS_STEP_RATIO * reach
    ):
        return "along some direction the features separate its classes, and weights grow without bound"
    return None


def _newton_step(objective: Objective, gradient: Array, hessian: Array) -> Array:
    """Return where the curvature leads next, (p,), however little of it there is in some direction."""
    try:
        P = np.asarray(np.linalg.inv(hessian), dtype=np.float64)
        if condition_estimate(P, hessian) < MAX_CONDITION_ESTIMATE:
            return np.asarray(P @ gradient)
    except np.linalg.LinAlgError:
        pass
    W = whitening_matrix(objective.hessian_bound()[0])
    return np.asarray(W @ np.linalg.pinv(W.T @ hessian @ W, rcond=0) @ W.T @ gradient)
