"""Gradient descent: theta <- theta - alpha * gradient, and what makes it trustworthy.

The step is derived, not guessed. The loss curves nowhere more than L = lambda_max(X'X) / (4n) + l2 (its features
standardised), so a rate of 1/L always goes downhill, and one of 2/L or more need not: it is refused. Three ways to
descend share one loop:

``gradient_descent``
    the lesson's update, with alpha = 1/L.
``nesterov``
    Nesterov's momentum on the same step, restarted where it points uphill (O'Donoghue and Candes 2015).
``newton``
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

from quantlr.core.arrays import Array, BoolArray, IntArray
from quantlr.model.batched.loss import Objective, RefitBatch

StepFunction = Callable[[Array, Array, IntArray], Array]
"""From weights (p, n), their gradient, and the numbers (n,) of their refits, to the weights one step downhill."""

MAX_BATCH_ITERATIONS = 8
"""Updates that neighbours take together at most."""
MAX_GRADIENT_RATIO = 0.3
"""Share that a gradient must fall to with each of them for the curvature to be good enough."""
MAX_DIFFERENCE_FOR_ONE_NEWTON_SCHULZ_STEP, MAX_DIFFERENCE_FOR_TWO_NEWTON_SCHULZ_STEPS = 0.1, 0.3
"""How far, relatively, curvatures may differ for one inverse to be corrected into the others by one step, or by two."""
MAX_HALVINGS = 30
"""Times that a step is halved before the bound's is taken instead."""
LOSS_RELATIVE_ROUNDING = 4e-15
"""Relative difference of two losses that is no difference."""
MAX_STALLED_ITERATIONS = 10
"""Updates that may pass without the loss or the gradient falling, before a lone descent is given up."""
MAX_CONDITION_ESTIMATE = 1e6
"""Largest element of an inverse times that of its matrix up to which no direction is flat."""
MAX_ANDERSON_COEFFICIENT = 0.5
"""Share of the way from one arrival to the next by which an update is corrected at most."""
SMALLEST_NORMAL_FLOAT = float(np.finfo(np.float64).tiny)
"""The smallest number that has all its digits: what nothing is divided by."""
MIN_EIGENVALUE_RATIO = 1e-12
"""Curvature, relative to the largest, below which a direction counts as flat: features that repeat one another."""


@dataclass(frozen=True, slots=True)
class SolverResult:
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
    max_abs_gradient: Array
    converged: BoolArray
    losses: Array = field(default_factory=lambda: np.empty(0))

    def slice_refits(self, refit_slice: slice) -> SolverResult:
        """Return some of the refits."""
        return SolverResult(
            self.theta[:, refit_slice],
            self.iterations[refit_slice],
            self.max_abs_gradient[refit_slice],
            self.converged[refit_slice],
        )


def iterate_steps(
    objective: Objective | RefitBatch,
    start_theta: Array,
    step_function: StepFunction,
    *,
    tol: float,
    max_iter: int,
    max_gradient_ratio: float = np.inf,
) -> SolverResult:
    """Step until every refit's largest standardised gradient component is at most `tol`, or `max_iter` times.

    The step that follows the last gradient is taken too: it costs nothing, and goes downhill. A refit whose gradient
    does not fall below the share `hopeful` of what it was is given up. Each refit leaves when it is done, so that
    where it ends is its own affair and not that of its neighbours.
    """
    theta = start_theta.copy()
    iterations = np.zeros(objective.n_refits, dtype=np.int64)
    size = np.full(objective.n_refits, np.inf)
    going = np.arange(objective.n_refits)
    for taken in range(1, max_iter + 1):
        here = theta if len(going) == objective.n_refits else theta[:, going]
        gradient = objective.gradient(here, going)
        theta[:, going] = step_function(here, gradient, going)
        now = objective.max_abs_standardized_gradient(gradient, going)
        before, size[going] = size[going], now
        iterations[going[now > tol]] = taken
        going = going[(now > tol) & (now <= max_gradient_ratio * before)]
        if not len(going):
            break
    return SolverResult(theta, iterations, size, size <= tol)


def identity_step_wrapper(step_function: StepFunction) -> StepFunction:
    """Return a step as it is."""
    return step_function


def make_preconditioned_step(preconditioner: Array) -> StepFunction:
    """Return the update theta - P gradient, with one P per refit, (refits, p, p)."""

    def step(theta: Array, gradient: Array, refit_indices: IntArray) -> Array:
        P = preconditioner if len(refit_indices) == len(preconditioner) else preconditioner[refit_indices]
        return np.asarray(theta - np.matvec(P, gradient.T).T)

    return step


def make_anderson_step(preconditioner: Array, start_theta: Array, first_theta: Array) -> StepFunction:
    """Return the update theta - P gradient, less what the one before shows it to miss.

    The one before the first has led from `start` to `first`, (p, refits). Where P is nearly the inverse curvature, an
    update leaves a small share of the way that it found, and mostly along one direction: two in a row tell that share
    (Anderson 1965, with a memory of one).
    """
    plain = make_preconditioned_step(preconditioner)
    arrived, way = first_theta.copy(), start_theta - first_theta

    def step(theta: Array, gradient: Array, refit_indices: IntArray) -> Array:
        at = slice(None) if len(refit_indices) == len(preconditioner) else refit_indices
        there = plain(theta, gradient, refit_indices)
        found = theta - there
        change = found - way[:, at]
        share = np.sum(found * change, axis=0) / np.maximum(np.sum(change * change, axis=0), SMALLEST_NORMAL_FLOAT)
        moved = there - np.clip(share, -MAX_ANDERSON_COEFFICIENT, MAX_ANDERSON_COEFFICIENT) * (there - arrived[:, at])
        arrived[:, at], way[:, at] = there, found
        return np.asarray(moved)

    return step


def make_nesterov_step(preconditioner: Array, start_theta: Array) -> StepFunction:
    """Return Nesterov's update, which steps from ahead of where it stands; per refit it forgets its speed uphill."""
    plain = make_preconditioned_step(preconditioner)
    here, pace = start_theta.copy(), np.ones(start_theta.shape[1])

    def step(lookahead_theta: Array, gradient: Array, refit_indices: IntArray) -> Array:
        arrived = plain(lookahead_theta, gradient, refit_indices)
        uphill = np.sum(gradient * (arrived - here[:, refit_indices]), axis=0) > 0
        slow = np.where(uphill, 1.0, pace[refit_indices])
        quicker = 0.5 + np.sqrt(0.25 + slow**2)
        speed = np.where(uphill, 0.0, (slow - 1.0) / quicker)
        moved = arrived + speed * (arrived - here[:, refit_indices])
        here[:, refit_indices], pace[refit_indices] = arrived, quicker
        return moved

    return step


def standardized_hessian_bound(objective: Objective) -> Array:
    """Return the bound on each refit's curvature in its own standardised units, (refits, p, p)."""
    A = objective.standardized_to_local_matrix()
    return np.asarray(np.matmul(np.matmul(A.transpose(0, 2, 1), objective.hessian_bound()), A))


def condition_number(objective: Objective) -> float:
    """Return the ratio of largest to smallest singular value of a single refit's standardised rows.

    Infinity where features repeat one another exactly (Belsley, Kuh and Welsch 1980).
    """
    size = np.linalg.eigvalsh(standardized_hessian_bound(replace(objective, l2=0.0))[0])
    return float(np.sqrt(size[-1] / size[0])) if size[0] > MIN_EIGENVALUE_RATIO * size[-1] else math.inf


def lipschitz(objective: Objective) -> Array:
    """Return L of each refit, (refits,): the largest curvature its standardised loss can have."""
    return np.asarray(np.linalg.eigvalsh(standardized_hessian_bound(objective))[:, -1])


def step_matrix(objective: Objective, learning_rate: Array) -> Array:
    """Return the P (refits, p, p) that is a learning rate (refits,) for the standardised weights."""
    A = objective.standardized_to_local_matrix()
    return np.asarray(learning_rate[:, None, None] * np.matmul(A, A.transpose(0, 2, 1)))


def pseudo_inverse(hessian: Array) -> Array:
    """Return the inverse of symmetric matrices (..., p, p), flat directions left out."""
    try:
        P = np.asarray(np.linalg.inv(hessian), dtype=np.float64)
        flat = np.asarray(~(condition_estimate(P, hessian) < MAX_CONDITION_ESTIMATE))
    except np.linalg.LinAlgError:
        if hessian.ndim > 2:
            return np.stack([pseudo_inverse(one) for one in hessian])
        P, flat = np.empty_like(hessian), np.array(True)
    if flat.any():
        P[flat] = np.linalg.pinv(hessian[flat], rcond=MIN_EIGENVALUE_RATIO, hermitian=True)
    return np.asarray(P)


def condition_estimate(inverse_hessian: Array, hessian: Array) -> Array:
    """Return how near matrices (..., p, p) are to having no inverse, of which `P` is what was found."""
    return np.asarray(np.abs(inverse_hessian).max(axis=(-2, -1)) * np.abs(hessian).max(axis=(-2, -1)))


def whitening_matrix(hessian_bound: Array) -> Array:
    """Return W (p, r), in whose coordinates u, theta = W u, the bound on a curvature is 1 in every direction.

    Features that nearly repeat one another are apart there; those that repeat one another exactly are one.
    """
    size, directions = np.linalg.eigh(hessian_bound)
    seen = size > MIN_EIGENVALUE_RATIO * size[-1]
    return np.asarray(directions[:, seen] / np.sqrt(size[seen]))


def newton_schulz_inverses(hessians: Array, *, n_models: int = 1) -> Array:
    """Return the inverses of neighbours' curvatures, (refits, p, p), where each of the models has as many.

    The first of a model is inverted, and corrected into its others by a step of Newton's iteration for the inverse,
    2P - P H P (Schulz 1933), which squares a small relative difference; by two steps where one is not enough. Where
    they differ too much for that, each is inverted.
    """
    refits, p, _ = hessians.shape
    each = refits // n_models
    of_model = hessians.reshape(n_models, each, p, p)
    P = pseudo_inverse(of_model[:, 0])
    difference = np.matmul(P[:, None], of_model - of_model[:, :1])
    found = (P[:, None] - np.matmul(difference, P[:, None])).reshape(refits, p, p)
    size = np.abs(difference).sum(axis=3).max(axis=2).ravel()
    again, far = (
        (size >= MAX_DIFFERENCE_FOR_ONE_NEWTON_SCHULZ_STEP) & (size < MAX_DIFFERENCE_FOR_TWO_NEWTON_SCHULZ_STEPS),
        size >= MAX_DIFFERENCE_FOR_TWO_NEWTON_SCHULZ_STEPS,
    )
    if again.any():
        once = found[again]
        found[again] = 2.0 * once - np.matmul(np.matmul(once, hessians[again]), once)
    if far.any():
        found[far] = pseudo_inverse(hessians[far])
    return np.asarray(found)


def newton_batch(
    batch: RefitBatch,
    *,
    tol: float,
    max_iter: int,
    wrap_step: Callable[[StepFunction], StepFunction] = identity_step_wrapper,
) -> SolverResult:
    """Descend by the inverse curvatures where the refits of each model start.

    Where that is too far from where a refit is going, it ends unconverged and may try again from nearer by. Every
    step after the first is taken as `heard` makes it, which may look at where it is taken from.
    """
    P = newton_schulz_inverses(batch.start_hessian, n_models=batch.n_models)
    first = make_preconditioned_step(P)(batch.start_theta, batch.start_gradient, np.arange(batch.n_refits))
    step = make_anderson_step(P, batch.start_theta, first)
    near = batch.with_float32_rows(first, tol=tol)
    result = iterate_steps(
        near,
        first,
        wrap_step(step),
        tol=tol,
        max_iter=min(max_iter, MAX_BATCH_ITERATIONS),
        max_gradient_ratio=MAX_GRADIENT_RATIO,
    )
    return replace(result, iterations=result.iterations + 1)


def newton_single(objective: Objective, start_candidates: list[Array], *, tol: float, max_iter: int) -> SolverResult:
    """Descend with one refit by the curvature where it stands, from the best of several starts (p,).

    A step that would raise the loss is halved; where no fraction of it helps, the bound on the curvature gives one
    that does. Where rounding leaves nothing to go down, the descent ends unconverged before its time.
    """
    objective = replace(objective, hessian_row_stride=1)
    loss, at = min((objective.loss(start), at) for at, start in enumerate(start_candidates))
    theta, losses, sizes = start_candidates[at], [loss], list[float]()
    W = whitening_matrix(objective.hessian_bound()[0])
    for iterations in range(max_iter + 1):
        gradient, curvature = objective.gradient_and_hessian(theta)
        size = objective.max_abs_standardized_gradient(gradient)
        slope = W.T @ gradient[:, 0]
        theta, loss = _backtracking_step(
            objective, theta, loss, W @ pseudo_inverse(W.T @ curvature[0] @ W) @ slope, W @ slope
        )
        losses.append(loss)
        sizes.append(float(size[0]))
        if size[0] <= tol or iterations == max_iter or _is_stalled(losses, sizes):
            break
    return SolverResult(theta[:, None], np.array([iterations]), size, size <= tol, np.array(losses))


def _is_stalled(losses: list[float], max_abs_gradients: list[float]) -> bool:
    """Return whether neither the loss nor the gradient has fallen over the last updates."""
    if len(max_abs_gradients) <= MAX_STALLED_ITERATIONS:
        return False
    same_loss = losses[-1] >= losses[-1 - MAX_STALLED_ITERATIONS] * (
        1 - MAX_STALLED_ITERATIONS * LOSS_RELATIVE_ROUNDING
    )
    return same_loss and min(max_abs_gradients[-MAX_STALLED_ITERATIONS:]) > 0.5 * min(
        max_abs_gradients[:-MAX_STALLED_ITERATIONS]
    )


def _backtracking_step(
    objective: Objective, theta: Array, loss: float, newton_step: Array, hessian_bound_step: Array
) -> tuple[Array, float]:
    """Return where a step leads that does not raise the loss, and the loss there."""
    for _ in range(MAX_HALVINGS):
        ahead = theta - newton_step
        ahead_loss = objective.loss(ahead)
        if ahead_loss <= loss * (1 + LOSS_RELATIVE_ROUNDING):
            return ahead, ahead_loss
        newton_step = newton_step / 2
    ahead = theta - hessian_bound_step
    return ahead, objective.loss(ahead)
