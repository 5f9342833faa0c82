"""Gradient descent: theta <- theta - alpha * gradient, and what makes it trustworthy.

The step is derived, not guessed. The loss curves nowhere more than L = lambda_max(X'X) / (4n) + l2 (its features
standardised), so a rate of 1/L always goes downhill, and one of 2/L or more need not: it is refused. Three ways to
descend share one loop:

``plain``
    the lesson's update, with alpha = 1/L.
``accelerated``
    Nesterov's momentum on the same step, restarted where it points uphill (O'Donoghue and Candes 2015).
``preconditioned``
    the same update with a matrix P for alpha: the inverse curvature, in whose coordinates the valley is round and a
    step of 1 is right. P belongs to the point where the refits start together, and is renewed where they have come
    to if that was too far. A refit for which that is not good enough descends alone: P is renewed at every step, and
    a step that would raise the loss is halved, or taken from the bound on the curvature, which always goes downhill
    (Boehning and Lindsay 1988).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from quantlr.model.objective import Objective
from quantlr.types import Array, BoolArray, IntArray

Step = Callable[[Array, Array], Array]
"""From weights (p, refits) and their gradient to the weights one step downhill."""

PASSES = 8
"""Updates that neighbours take together by one curvature."""
HOPEFUL = 0.3
"""Share that a gradient must fall to with each update for that curvature to be worth keeping."""
RENEWALS = 4
"""Times that the curvature is renewed before the refits that have not settled go on alone."""
NEARLY_ALIKE = 0.1
"""How far, relatively, curvatures may differ for one inverse to be corrected into the others."""
HALVINGS = 30
"""Times that a step is halved before the bound's is taken instead."""
ROUNDING = 4e-15
"""Relative difference of two losses that is no difference."""
RESTLESS = 0.1
"""Log odds that the next step may still move a training row by, once a descent has converged."""
WELL_POISED = 1e-3
"""Smallest pivot of a Cholesky root, relative to the largest, from which on no direction is flat."""
NEGLIGIBLE = 1e-12
"""Curvature, relative to the largest, below which a direction counts as flat: features that repeat one another."""


@dataclass(frozen=True, slots=True)
class Descent:
    """Where a descent ended.

    Attributes
    ----------
    theta : (p, refits) weights, in the objective's units.
    iterations : (refits,) updates taken until the gradient was small enough.
    gradient : (refits,) largest component of the last gradient measured, in standardised units.
    converged : (refits,) whether that was at most the tolerance.
    settled_at_once : whether all converged by the curvature that they set out with.
    """

    theta: Array
    iterations: IntArray
    gradient: Array
    converged: BoolArray
    settled_at_once: bool = False


def descend(
    objective: Objective, theta: Array, step: Step, *, tol: float, max_iter: int, hopeful: float = np.inf
) -> Descent:
    """Step until every refit's largest standardised gradient component is at most `tol`, or `max_iter` times.

    The step that follows the last gradient is taken too: it costs nothing, and goes downhill. It ends early when no
    refit that is still open has its gradient fall below the share `hopeful` of what it was.
    """
    iterations = np.zeros(objective.refits, dtype=np.int64)
    before = np.full(objective.refits, np.inf)
    while True:
        gradient = objective.gradient(theta)
        size = np.abs(objective.standardised(gradient)).max(axis=0)
        converged = size <= tol
        theta = step(theta, gradient)
        iterations += ~converged
        hopeless = size / hopeful > before
        if (converged | hopeless).all() or iterations.max() >= max_iter:
            return Descent(theta, iterations, size, converged)
        before = size


def fixed_step(preconditioner: Array) -> Step:
    """Return the update theta - P gradient, with one P per refit, (refits, p, p)."""

    def step(theta: Array, gradient: Array) -> Array:
        return np.asarray(theta - np.matmul(preconditioner, gradient.T[:, :, None])[:, :, 0].T)

    return step


def momentum_step(preconditioner: Array, start: Array) -> Step:
    """Return Nesterov's update, which steps from ahead of where it stands; per refit it forgets its speed uphill."""
    plain = fixed_step(preconditioner)
    here, pace = start, np.ones(start.shape[1])

    def step(ahead: Array, gradient: Array) -> Array:
        nonlocal here, pace
        arrived = plain(ahead, gradient)
        uphill = np.sum(gradient * (arrived - here), axis=0) > 0
        pace = np.where(uphill, 1.0, pace)
        quicker = 0.5 + np.sqrt(0.25 + pace**2)
        speed = np.where(uphill, 0.0, (pace - 1.0) / quicker)
        moved = arrived + speed * (arrived - here)
        here, pace = arrived, quicker
        return moved

    return step


def steepest(objective: Objective) -> Array:
    """Return L of each refit, (refits,): the largest curvature its standardised loss can have."""
    A = objective.from_standardised()
    bound = np.matmul(np.matmul(A.transpose(0, 2, 1), objective.bound()), A)
    return np.asarray(np.linalg.eigvalsh(bound)[:, -1])


def rate_matrix(objective: Objective, rate: Array) -> Array:
    """Return the P (refits, p, p) that is a learning rate (refits,) for the standardised weights."""
    A = objective.from_standardised()
    return np.asarray(rate[:, None, None] * np.matmul(A, A.transpose(0, 2, 1)))


def inverse(curvature: Array) -> Array:
    """Return the inverse of symmetric matrices (..., p, p), flat directions left out."""
    try:
        pivots = np.diagonal(np.linalg.cholesky(curvature), axis1=-2, axis2=-1)
    except np.linalg.LinAlgError:
        pivots = np.zeros(1)
    if pivots.min() > WELL_POISED * pivots.max():
        return np.asarray(np.linalg.inv(curvature), dtype=np.float64)
    return np.asarray(np.linalg.pinv(curvature, rcond=NEGLIGIBLE, hermitian=True), dtype=np.float64)


def inverses(curvatures: Array) -> Array:
    """Return the inverses of neighbours' curvatures, (refits, p, p).

    One is inverted, and corrected into the others by a step of Newton's iteration for the inverse, 2P - P H P
    (Schulz 1933), which squares a small relative difference; where they differ too much, each is inverted.
    """
    middle = len(curvatures) // 2
    P = inverse(curvatures[middle])
    difference = np.matmul(P, curvatures - curvatures[middle])
    if np.abs(difference).sum(axis=2).max() < NEARLY_ALIKE:
        return np.asarray(P - np.matmul(difference, P))
    return inverse(curvatures)


def descend_together(objective: Objective, start: Array, *, tol: float, max_iter: int) -> Descent:
    """Descend by the inverse curvature at `start` (p,), where all refits begin; some may end unconverged.

    Where that is too far from where a refit is going, each one's curvature is renewed at the place it has come to.
    """
    gradient, curvature = objective.at(start)
    step = fixed_step(inverses(curvature))
    first = step(np.repeat(start[:, None], objective.refits, axis=1), gradient)
    result = descend(objective, first, step, tol=tol, max_iter=min(max_iter, PASSES), hopeful=HOPEFUL)
    iterations, settled_at_once = result.iterations + 1, bool(result.converged.all())
    for _ in range(RENEWALS):
        if result.converged.all() or iterations.max() + PASSES > max_iter:
            break
        step = fixed_step(inverse(objective.curvatures(result.theta)))
        result = descend(objective, result.theta, step, tol=tol, max_iter=PASSES, hopeful=HOPEFUL)
        iterations = iterations + result.iterations
    return Descent(result.theta, iterations, result.gradient, result.converged, settled_at_once)


def descend_alone(objective: Objective, starts: list[Array], *, tol: float, max_iter: int) -> Descent:
    """Descend with one refit by the curvature where it stands, from the best of several starts (p,).

    A step that would raise the loss is halved; where no fraction of it helps, the bound on the curvature gives one
    that does.
    """
    loss, at = min((objective.loss(start), at) for at, start in enumerate(starts))
    theta = starts[at]
    safe = inverse(objective.bound()[0])
    for iterations in range(max_iter + 1):
        gradient, curvature = objective.at(theta)
        size = np.abs(objective.standardised(gradient)).max(axis=0)
        theta, loss = _downhill(objective, theta, loss, inverse(curvature[0]) @ gradient[:, 0], safe @ gradient[:, 0])
        if size[0] <= tol or iterations == max_iter:
            break
    return Descent(theta[:, None], np.array([iterations]), size, size <= tol)


def _downhill(objective: Objective, theta: Array, loss: float, step: Array, safe_step: Array) -> tuple[Array, float]:
    """Return where a step leads that does not raise the loss, and the loss there."""
    for _ in range(HALVINGS):
        ahead = theta - step
        ahead_loss = objective.loss(ahead)
        if ahead_loss <= loss * (1 + ROUNDING):
            return ahead, ahead_loss
        step = step / 2
    ahead = theta - safe_step
    return ahead, objective.loss(ahead)


def unbounded(objective: Objective, theta: Array) -> str | None:
    """Return why the best weights of one refit would be infinite, None where they are finite.

    `theta` (p,) is where its descent has converged. Either a plane separates the classes,
    min (2y - 1) theta.x >= 0 over the training rows; or the gradient has become small though the next step is not,
    as happens where the loss falls for ever along some direction: its log odds then grow by about 1 a step.
    """
    if objective.l2 > 0:
        return None
    if float(np.min((2 * objective.y - 1) * (objective.X @ theta))) >= 0:
        return "a plane through the features separates its ups from its downs"
    size, directions = np.linalg.eigh(objective.bound()[0])
    seen = size > NEGLIGIBLE * size[-1]
    whitened = directions[:, seen] / np.sqrt(size[seen])
    gradient, curvature = objective.at(theta)
    next_step = whitened @ np.linalg.pinv(whitened.T @ curvature[0] @ whitened, rcond=0) @ whitened.T @ gradient[:, 0]
    if float(np.abs(objective.X @ next_step).max()) > RESTLESS:
        return "along some direction the features separate its classes, and weights grow without bound"
    return None
