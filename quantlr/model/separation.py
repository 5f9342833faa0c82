"""Whether best weights exist: where features tell the classes apart without fail, the loss falls for ever."""

from __future__ import annotations

import numpy as np

from quantlr.model.descent import NEGLIGIBLE, WELL_POISED, descend_alone, poise, whitening
from quantlr.model.objective import Objective
from quantlr.types import Array

STEEP = 4.0
"""Log odds of a training row from which it is asked whether weights grow without bound."""
TIGHT = 1e-6
"""Tolerance at which a descent can't pass for converged while its weights still grow."""
STEPS_ALONE = 200
"""Updates in which a refit whose best weights may be infinite is followed."""
RESTLESS, FAR = 0.1, 0.01
"""Log odds that the next step may still move a training row by, once a descent has converged; and the same as a
share of the largest log odds there are."""


def why_unbounded(objective: Objective, theta: Array, flat: Array, *, tol: float) -> str | None:
    """Return why the best weights of one refit would be infinite, None where they are finite or it can't be told.

    They are sought from where a descent of tolerance `tol` has ended, `theta`, and from the base rate, `flat`.
    """
    if _clearly_finite(*objective.sides(theta)):
        return None
    starts = [theta, flat]
    # Rounding may keep a descent from a tight tolerance; weights that grow are seen on the way there too.
    for limit in (min(tol, TIGHT), TIGHT):
        best = descend_alone(objective, starts, tol=limit, max_iter=STEPS_ALONE)
        if best.converged[0]:
            return unbounded(objective, best.theta[:, 0])
        starts = [flat]
    return None


def _clearly_finite(margin: float, reach: float) -> bool:
    """Return whether log odds are on the wrong side of some row, and none of them large; see `Objective.sides`."""
    return margin < 0 and reach <= STEEP


def unbounded(objective: Objective, theta: Array, slopes: tuple[Array, Array] | None = None) -> str | None:
    """Return why the best weights of one refit would be infinite, None where they are finite.

    `theta` (p,) is where its descent has converged, and `slopes` its gradient and curvature there, `Objective.at`, if
    they are known. Either a plane separates the classes, min (2y - 1) theta.x >= 0 over the training rows; or the
    gradient has become small though the next step is not, as happens where the loss falls for ever along some
    direction: its log odds then grow by about 1 a step.
    """
    if objective.l2 > 0:
        return None
    margin, reach = objective.sides(theta)
    if reach <= NEGLIGIBLE or _clearly_finite(margin, reach):
        return None
    if margin >= 0:
        return "a plane through the features separates its ups from its downs"
    gradient, curvature = objective.at(theta) if slopes is None else slopes
    if objective.reach(_next_step(objective, gradient[:, 0], curvature[0])) > max(RESTLESS, FAR * reach):
        return "along some direction the features separate its classes, and weights grow without bound"
    return None


def _next_step(objective: Objective, gradient: Array, curvature: Array) -> Array:
    """Return where the curvature leads next, (p,), however little of it there is in some direction."""
    try:
        P = np.asarray(np.linalg.inv(curvature), dtype=np.float64)
        if poise(P, curvature) < WELL_POISED:
            return np.asarray(P @ gradient)
    except np.linalg.LinAlgError:
        pass
    W = whitening(objective.bound()[0])
    return np.asarray(W @ np.linalg.pinv(W.T @ curvature @ W, rcond=0) @ W.T @ gradient)
