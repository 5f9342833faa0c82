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
    step of 1 is right. P belongs to the point where neighbouring refits start together, and what a step shows it to
    miss corrects the next; those for which that is too far away start again from where a nearer neighbour has come
    to. A refit that even so does not settle descends alone: P is renewed at every step, and a step that would raise
    the loss is halved, or taken from the bound on the curvature, which always goes downhill (Boehning and Lindsay
    1988).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from quantlr.model.neighbours import Neighbours
from quantlr.model.objective import Objective
from quantlr.types import Array, BoolArray, IntArray

Step = Callable[[Array, Array, IntArray], Array]
"""From weights (p, n), their gradient, and the numbers (n,) of their refits, to the weights one step downhill."""

PASSES = 8
"""Updates that neighbours take together at most."""
HOPEFUL = 0.3
"""Share that a gradient must fall to with each of them for the curvature to be good enough."""
NEARLY_ALIKE, ALIKE = 0.1, 0.3
"""How far, relatively, curvatures may differ for one inverse to be corrected into the others by one step, or by two."""
HALVINGS = 30
"""Times that a step is halved before the bound's is taken instead."""
ROUNDING = 4e-15
"""Relative difference of two losses that is no difference."""
PATIENCE = 10
"""Updates that may pass without the loss or the gradient falling, before a lone descent is given up."""
WELL_POISED = 1e6
"""Largest element of an inverse times that of its matrix up to which no direction is flat."""
TOLD = 0.5
"""Share of the way from one arrival to the next by which an update is corrected at most."""
TINY = float(np.finfo(np.float64).tiny)
"""The smallest number that has all its digits: what nothing is divided by."""
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
    losses : (iterations + 2,) the objective at each point of a lone refit's descent, from its start to the step that
        follows the last gradient; empty for several.
    """

    theta: Array
    iterations: IntArray
    gradient: Array
    converged: BoolArray
    losses: Array = field(default_factory=lambda: np.empty(0))

    def part(self, refits: slice) -> Descent:
        """Return some of the refits."""
        return Descent(self.theta[:, refits], self.iterations[refits], self.gradient[refits], self.converged[refits])


def descend(
    objective: Objective | Neighbours, start: Array, step: Step, *, tol: float, max_iter: int, hopeful: float = np.inf
) -> Descent:
    """Step until every refit's largest standardised gradient component is at most `tol`, or `max_iter` times.

    The step that follows the last gradient is taken too: it costs nothing, and goes downhill. A refit whose gradient
    does not fall below the share `hopeful` of what it was is given up. Each refit leaves when it is done, so that
    where it ends is its own affair and not that of its neighbours.
    """
    theta = start.copy()
    iterations = np.zeros(objective.refits, dtype=np.int64)
    size = np.full(objective.refits, np.inf)
    going = np.arange(objective.refits)
    for taken in range(1, max_iter + 1):
        here = theta if len(going) == objective.refits else theta[:, going]
        gradient = objective.gradient(here, going)
        theta[:, going] = step(here, gradient, going)
        now = objective.size(gradient, going)
        before, size[going] = size[going], now
        iterations[going[now > tol]] = taken
        going = going[(now > tol) & (now <= hopeful * before)]
        if not len(going):
            break
    return Descent(theta, iterations, size, size <= tol)


def unheard(step: Step) -> Step:
    """Return a step as it is."""
    return step


def fixed_step(preconditioner: Array) -> Step:
    """Return the update theta - P gradient, with one P per refit, (refits, p, p)."""

    def step(theta: Array, gradient: Array, refits: IntArray) -> Array:
        P = preconditioner if len(refits) == len(preconditioner) else preconditioner[refits]
        return np.asarray(theta - np.matvec(P, gradient.T).T)

    return step


def secant_step(preconditioner: Array, start: Array, first: Array) -> Step:
    """Return the update theta - P gradient, less what the one before shows it to miss.

    The one before the first has led from `start` to `first`, (p, refits). Where P is nearly the inverse curvature, an
    update leaves a small share of the way that it found, and mostly along one direction: two in a row tell that share
    (Anderson 1965, with a memory of one).
    """
    plain = fixed_step(preconditioner)
    arrived, way = first.copy(), start - first

    def step(theta: Array, gradient: Array, refits: IntArray) -> Array:
        at = slice(None) if len(refits) == len(preconditioner) else refits
        there = plain(theta, gradient, refits)
        found = theta - there
        change = found - way[:, at]
        share = np.sum(found * change, axis=0) / np.maximum(np.sum(change * change, axis=0), TINY)
        moved = there - np.clip(share, -TOLD, TOLD) * (there - arrived[:, at])
        arrived[:, at], way[:, at] = there, found
        return np.asarray(moved)

    return step


def momentum_step(preconditioner: Array, start: Array) -> Step:
    """Return Nesterov's update, which steps from ahead of where it stands; per refit it forgets its speed uphill."""
    plain = fixed_step(preconditioner)
    here, pace = start.copy(), np.ones(start.shape[1])

    def step(ahead: Array, gradient: Array, refits: IntArray) -> Array:
        arrived = plain(ahead, gradient, refits)
        uphill = np.sum(gradient * (arrived - here[:, refits]), axis=0) > 0
        slow = np.where(uphill, 1.0, pace[refits])
        quicker = 0.5 + np.sqrt(0.25 + slow**2)
        speed = np.where(uphill, 0.0, (slow - 1.0) / quicker)
        moved = arrived + speed * (arrived - here[:, refits])
        here[:, refits], pace[refits] = arrived, quicker
        return moved

    return step


def standardised_bound(objective: Objective) -> Array:
    """Return the bound on each refit's curvature in its own standardised units, (refits, p, p)."""
    A = objective.from_standardised()
    return np.asarray(np.matmul(np.matmul(A.transpose(0, 2, 1), objective.bound()), A))


def condition_number(objective: Objective) -> float:
    """Return the ratio of largest to smallest singular value of a single refit's standardised rows.

    Infinity where features repeat one another exactly (Belsley, Kuh and Welsch 1980).
    """
    size = np.linalg.eigvalsh(standardised_bound(replace(objective, l2=0.0))[0])
    return float(np.sqrt(size[-1] / size[0])) if size[0] > NEGLIGIBLE * size[-1] else math.inf


def steepest(objective: Objective) -> Array:
    """Return L of each refit, (refits,): the largest curvature its standardised loss can have."""
    return np.asarray(np.linalg.eigvalsh(standardised_bound(objective))[:, -1])


def rate_matrix(objective: Objective, rate: Array) -> Array:
    """Return the P (refits, p, p) that is a learning rate (refits,) for the standardised weights."""
    A = objective.from_standardised()
    return np.asarray(rate[:, None, None] * np.matmul(A, A.transpose(0, 2, 1)))


def inverse(curvature: Array) -> Array:
    """Return the inverse of symmetric matrices (..., p, p), flat directions left out."""
    try:
        P = np.asarray(np.linalg.inv(curvature), dtype=np.float64)
        flat = np.asarray(~(poise(P, curvature) < WELL_POISED))
    except np.linalg.LinAlgError:
        if curvature.ndim > 2:
            return np.stack([inverse(one) for one in curvature])
        P, flat = np.empty_like(curvature), np.array(True)
    if flat.any():
        P[flat] = np.linalg.pinv(curvature[flat], rcond=NEGLIGIBLE, hermitian=True)
    return np.asarray(P)


def poise(P: Array, curvature: Array) -> Array:
    """Return how near matrices (..., p, p) are to having no inverse, of which `P` is what was found."""
    return np.asarray(np.abs(P).max(axis=(-2, -1)) * np.abs(curvature).max(axis=(-2, -1)))


def whitening(bound: Array) -> Array:
    """Return W (p, r), in whose coordinates u, theta = W u, the bound on a curvature is 1 in every direction.

    Features that nearly repeat one another are apart there; those that repeat one another exactly are one.
    """
    size, directions = np.linalg.eigh(bound)
    seen = size > NEGLIGIBLE * size[-1]
    return np.asarray(directions[:, seen] / np.sqrt(size[seen]))


def inverses(curvatures: Array, *, models: int = 1) -> Array:
    """Return the inverses of neighbours' curvatures, (refits, p, p), where each of the models has as many.

    The first of a model is inverted, and corrected into its others by a step of Newton's iteration for the inverse,
    2P - P H P (Schulz 1933), which squares a small relative difference; by two steps where one is not enough. Where
    they differ too much for that, each is inverted.
    """
    refits, p, _ = curvatures.shape
    each = refits // models
    of_model = curvatures.reshape(models, each, p, p)
    P = inverse(of_model[:, 0])
    difference = np.matmul(P[:, None], of_model - of_model[:, :1])
    found = (P[:, None] - np.matmul(difference, P[:, None])).reshape(refits, p, p)
    size = np.abs(difference).sum(axis=3).max(axis=2).ravel()
    again, far = (size >= NEARLY_ALIKE) & (size < ALIKE), size >= ALIKE
    if again.any():
        once = found[again]
        found[again] = 2.0 * once - np.matmul(np.matmul(once, curvatures[again]), once)
    if far.any():
        found[far] = inverse(curvatures[far])
    return np.asarray(found)


def descend_together(
    neighbours: Neighbours, *, tol: float, max_iter: int, heard: Callable[[Step], Step] = unheard
) -> Descent:
    """Descend by the inverse curvatures where the refits of each model start.

    Where that is too far from where a refit is going, it ends unconverged and may try again from nearer by. Every
    step after the first is taken as `heard` makes it, which may look at where it is taken from.
    """
    P = inverses(neighbours.curvature_there, models=neighbours.models)
    first = fixed_step(P)(neighbours.start, neighbours.gradient_there, np.arange(neighbours.refits))
    step = secant_step(P, neighbours.start, first)
    near = neighbours.towards(first, tol=tol)
    result = descend(near, first, heard(step), tol=tol, max_iter=min(max_iter, PASSES), hopeful=HOPEFUL)
    return replace(result, iterations=result.iterations + 1)


def descend_alone(objective: Objective, starts: list[Array], *, tol: float, max_iter: int) -> Descent:
    """Descend with one refit by the curvature where it stands, from the best of several starts (p,).

    A step that would raise the loss is halved; where no fraction of it helps, the bound on the curvature gives one
    that does. Where rounding leaves nothing to go down, the descent ends unconverged before its time.
    """
    objective = replace(objective, thin=1)
    loss, at = min((objective.loss(start), at) for at, start in enumerate(starts))
    theta, losses, sizes = starts[at], [loss], list[float]()
    W = whitening(objective.bound()[0])
    for iterations in range(max_iter + 1):
        gradient, curvature = objective.at(theta)
        size = objective.size(gradient)
        slope = W.T @ gradient[:, 0]
        theta, loss = _downhill(objective, theta, loss, W @ inverse(W.T @ curvature[0] @ W) @ slope, W @ slope)
        losses.append(loss)
        sizes.append(float(size[0]))
        if size[0] <= tol or iterations == max_iter or _stuck(losses, sizes):
            break
    return Descent(theta[:, None], np.array([iterations]), size, size <= tol, np.array(losses))


def _stuck(losses: list[float], sizes: list[float]) -> bool:
    """Return whether neither the loss nor the gradient has fallen over the last updates."""
    if len(sizes) <= PATIENCE:
        return False
    same_loss = losses[-1] >= losses[-1 - PATIENCE] * (1 - PATIENCE * ROUNDING)
    return same_loss and min(sizes[-PATIENCE:]) > 0.5 * min(sizes[:-PATIENCE])


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
