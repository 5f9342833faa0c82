"""Solvers: gradient descent, theta <- theta - alpha * gradient, Nesterov's momentum and Newton's method.

The learning rate is derived from the data. The Hessian of the loss is nowhere larger than L = lambda_max(X'X) / (4n) +
l2, with standardised features, so that every step with a rate of 1/L lowers the loss; with 2/L or more it need not, and
such rates are refused. Four solvers share the loop `iterate_steps` or its stopping rule:

``gradient_descent``
    the update above, with alpha = 1/L.
``nesterov``
    the same step with Nesterov's momentum, restarted where it points uphill (O'Donoghue and Candes 2015).
``newton_batch``
    the same update with a matrix for alpha: the inverse Hessian P at the point where the refits of a batch start
    together, so that a step of 1 is right. P is not updated; Anderson acceleration corrects the steps for what it
    misses. Refits that are too far from their start for this end unconverged, and start again from a closer point.
``newton_single``
    Newton's method for one refit, with the inverse Hessian of every point. A step that would raise the loss is halved,
    or replaced by the step of the Boehning-Lindsay bound on the Hessian, which always lowers it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from quantlr.core.values import Array, BoolArray, IntArray

if TYPE_CHECKING:
    from quantlr.model.batched.loss import Objective
    from quantlr.model.batched.refit_batch import RefitBatch

StepFunction = Callable[[Array, Array, IntArray], Array]
"""Takes weights (p, n), their gradients (p, n) and the indices (n,) of their refits, and returns the next weights."""
IterationCallback = Callable[[Array], None]
"""Receives the weights (p, n) at which the gradient was computed, before each step."""

MAX_BATCH_ITERATIONS = 8
"""Largest number of updates of a batch with one inverse Hessian."""
MAX_GRADIENT_RATIO = 0.3
"""Largest ratio of consecutive gradients for the inverse Hessian of the start to be good enough."""
MAX_DIFFERENCE_FOR_ONE_NEWTON_SCHULZ_STEP, MAX_DIFFERENCE_FOR_TWO_NEWTON_SCHULZ_STEPS = 0.1, 0.3
"""Largest relative difference of two Hessians for one or two Newton-Schulz steps between their inverses."""
MAX_HALVINGS = 30
"""Number of times that a step is halved before that of the Hessian bound is taken."""
LOSS_RELATIVE_ROUNDING = 4e-15
"""Relative difference of two losses that rounding explains."""
MAX_STALLED_ITERATIONS = 10
"""Number of updates without a lower loss or gradient after which Newton's method is stopped."""
MAX_CONDITION_ESTIMATE = 1e6
"""Largest condition estimate of a matrix that is inverted; beyond it the pseudo-inverse is used."""
MAX_ANDERSON_COEFFICIENT = 0.5
"""Largest absolute value of the mixing coefficient of Anderson acceleration."""
SMALLEST_NORMAL_FLOAT = float(np.finfo(np.float64).tiny)
"""Smallest float with all its digits: the smallest denominator."""
MIN_EIGENVALUE_RATIO = 1e-12
"""Eigenvalue, relative to the largest, below which a direction counts as flat: duplicate features."""


@dataclass(frozen=True, slots=True)
class SolverResult:
    """Weights and convergence of each refit.

    Attributes
    ----------
    theta : (p, refits) weights, in local units.
    iterations : (refits,) updates until the gradient was small enough.
    max_abs_gradient : (refits,) largest component of the last gradient, in standardised units.
    converged : (refits,) whether that was at most the tolerance.
    losses : (iterations + 2,) the loss at each point from the start to the step that follows the last gradient, for a
        single refit; empty for several.
    """

    theta: Array
    iterations: IntArray
    max_abs_gradient: Array
    converged: BoolArray
    losses: Array = field(default_factory=lambda: np.empty(0))

    def slice_refits(self, refits: slice) -> SolverResult:
        """Return some of the refits."""
        iterations, max_abs_gradient = self.iterations[refits], self.max_abs_gradient[refits]
        return SolverResult(self.theta[:, refits], iterations, max_abs_gradient, self.converged[refits])


def ignore_iteration(theta: Array) -> None:
    """Do nothing; the default callback."""


def iterate_steps(
    loss: Objective | RefitBatch,
    start_theta: Array,
    step_function: StepFunction,
    *,
    tol: float,
    max_iter: int,
    max_gradient_ratio: float = np.inf,
    callback: IterationCallback = ignore_iteration,
) -> SolverResult:
    """Step until the largest standardised gradient component of every refit is at most `tol`, or `max_iter` times.

    The step that follows the last gradient is taken too, as it costs nothing and lowers the loss. A refit whose
    gradient does not fall to `max_gradient_ratio` of the one before is stopped. Every refit stops by itself, so that
    its result does not depend on the others.
    """
    theta = start_theta.copy()
    n_refits = loss.n_refits
    iterations = np.zeros(n_refits, dtype=np.int64)
    max_abs_gradient = np.full(n_refits, np.inf)
    active = np.arange(n_refits)
    for iteration in range(1, max_iter + 1):
        active_theta = theta if len(active) == n_refits else theta[:, active]
        gradient = loss.gradient(active_theta, active)
        callback(active_theta)
        theta[:, active] = step_function(active_theta, gradient, active)
        size = loss.max_abs_standardized_gradient(gradient, active)
        previous_size, max_abs_gradient[active] = max_abs_gradient[active], size
        iterations[active[size > tol]] = iteration
        active = active[(size > tol) & (size <= max_gradient_ratio * previous_size)]
        if not len(active):
            break
    return SolverResult(theta, iterations, max_abs_gradient, max_abs_gradient <= tol)


def gradient_descent(
    loss: Objective,
    start_theta: Array,
    *,
    learning_rate: Array,
    tol: float,
    max_iter: int,
    callback: IterationCallback = ignore_iteration,
) -> SolverResult:
    """Return weights after theta <- theta - learning_rate * gradient of the standardised weights.

    Parameters
    ----------
    loss : of one or several refits.
    start_theta : (p, refits) weights at the start, in local units.
    learning_rate : (refits,) step size; below 2/L every step lowers the loss.
    tol, max_iter, callback : see `iterate_steps`.
    """
    step = make_preconditioned_step(step_matrix(loss, learning_rate))
    return iterate_steps(loss, start_theta, step, tol=tol, max_iter=max_iter, callback=callback)


def nesterov(
    loss: Objective,
    start_theta: Array,
    *,
    learning_rate: Array,
    tol: float,
    max_iter: int,
    callback: IterationCallback = ignore_iteration,
) -> SolverResult:
    """Return weights after gradient descent with Nesterov's momentum; parameters as for `gradient_descent`.

    The learning rate may be at most 1/L. The gradient is that of the look-ahead point.
    """
    step = make_nesterov_step(step_matrix(loss, learning_rate), start_theta)
    return iterate_steps(loss, start_theta, step, tol=tol, max_iter=max_iter, callback=callback)


FIRST_ORDER_SOLVERS = {"gradient_descent": gradient_descent, "nesterov": nesterov}
"""The solvers with a learning rate, by their name in `model.solver`."""


def make_preconditioned_step(preconditioner: Array) -> StepFunction:
    """Return the update theta - P gradient, with one P per refit, (refits, p, p)."""

    def step(theta: Array, gradient: Array, refit_indices: IntArray) -> Array:
        P = preconditioner if len(refit_indices) == len(preconditioner) else preconditioner[refit_indices]
        return np.asarray(theta - np.matvec(P, gradient.T).T)

    return step


def make_anderson_step(preconditioner: Array, start_theta: Array, first_theta: Array) -> StepFunction:
    """Return the update theta - P gradient with Anderson acceleration, memory 1 (Anderson 1965).

    The step before the first has led from `start_theta` to `first_theta`, (p, refits). Where P is nearly the inverse
    Hessian, an update leaves a small share of the residual, mostly along one direction; the residuals of two updates
    estimate that share.
    """
    fixed_point_step = make_preconditioned_step(preconditioner)
    last_image, last_residual = first_theta.copy(), start_theta - first_theta

    def step(theta: Array, gradient: Array, refit_indices: IntArray) -> Array:
        refits = slice(None) if len(refit_indices) == len(preconditioner) else refit_indices
        image = fixed_point_step(theta, gradient, refit_indices)
        residual = theta - image
        change = residual - last_residual[:, refits]
        squared_change = np.maximum(np.sum(change * change, axis=0), SMALLEST_NORMAL_FLOAT)
        mixing = np.sum(residual * change, axis=0) / squared_change
        limit = MAX_ANDERSON_COEFFICIENT
        accelerated = image - np.clip(mixing, -limit, limit) * (image - last_image[:, refits])
        last_image[:, refits], last_residual[:, refits] = image, residual
        return np.asarray(accelerated)

    return step


def make_nesterov_step(preconditioner: Array, start_theta: Array) -> StepFunction:
    """Return Nesterov's update from the look-ahead point; the momentum of a refit restarts where it points uphill."""
    gradient_step = make_preconditioned_step(preconditioner)
    last_theta, momentum_parameter = start_theta.copy(), np.ones(start_theta.shape[1])

    def step(lookahead_theta: Array, gradient: Array, refit_indices: IntArray) -> Array:
        theta = gradient_step(lookahead_theta, gradient, refit_indices)
        move = theta - last_theta[:, refit_indices]
        is_uphill = np.sum(gradient * move, axis=0) > 0
        t = np.where(is_uphill, 1.0, momentum_parameter[refit_indices])
        next_t = 0.5 + np.sqrt(0.25 + t**2)
        momentum = np.where(is_uphill, 0.0, (t - 1.0) / next_t)
        last_theta[:, refit_indices], momentum_parameter[refit_indices] = theta, next_t
        return np.asarray(theta + momentum * move)

    return step


def newton_batch(
    batch: RefitBatch, *, tol: float, max_iter: int, callback: IterationCallback = ignore_iteration
) -> SolverResult:
    """Return weights after steps with the inverse Hessians of the batch's start, with Anderson acceleration.

    Refits that are too far from the start for this to converge quickly end unconverged. `callback` receives the
    weights before every step but the first.
    """
    P = newton_schulz_inverses(batch.start_hessian, n_models=batch.n_models)
    first = make_preconditioned_step(P)(batch.start_theta, batch.start_gradient, np.arange(batch.n_refits))
    result = iterate_steps(
        batch.with_float32_rows(first, tol=tol),
        first,
        make_anderson_step(P, batch.start_theta, first),
        tol=tol,
        max_iter=min(max_iter, MAX_BATCH_ITERATIONS),
        max_gradient_ratio=MAX_GRADIENT_RATIO,
        callback=callback,
    )
    return replace(result, iterations=result.iterations + 1)


def newton_single(loss: Objective, start_candidates: list[Array], *, tol: float, max_iter: int) -> SolverResult:
    """Return the weights of one refit by Newton's method with a line search, from the best of several starts (p,).

    A step that would raise the loss is halved; where no fraction of it lowers the loss, the step of the Hessian bound
    is taken. The iteration ends unconverged where rounding leaves neither a lower loss nor a smaller gradient.
    """
    loss = replace(loss, hessian_row_stride=1)
    start_loss, start_index = min((loss.loss(start), index) for index, start in enumerate(start_candidates))
    theta, losses, sizes = start_candidates[start_index], [start_loss], list[float]()
    W = whitening_matrix(loss.hessian_bound()[0])
    for iterations in range(max_iter + 1):
        gradient, hessian = loss.gradient_and_hessian(theta)
        size = loss.max_abs_standardized_gradient(gradient, np.arange(1))
        slope = W.T @ gradient[:, 0]
        newton_step = W @ pseudo_inverse(W.T @ hessian[0] @ W) @ slope
        theta, current_loss = _backtracking_step(loss, theta, losses[-1], newton_step, W @ slope)
        losses.append(current_loss)
        sizes.append(float(size[0]))
        if size[0] <= tol or iterations == max_iter or _is_stalled(losses, sizes):
            break
    return SolverResult(theta[:, None], np.array([iterations]), size, size <= tol, np.array(losses))


def _is_stalled(losses: list[float], max_abs_gradients: list[float]) -> bool:
    """Return whether neither the loss nor the gradient has fallen in the last updates."""
    n = MAX_STALLED_ITERATIONS
    if len(max_abs_gradients) <= n:
        return False
    is_same_loss = losses[-1] >= losses[-1 - n] * (1 - n * LOSS_RELATIVE_ROUNDING)
    return is_same_loss and min(max_abs_gradients[-n:]) > 0.5 * min(max_abs_gradients[:-n])


def _backtracking_step(
    loss: Objective, theta: Array, current_loss: float, newton_step: Array, hessian_bound_step: Array
) -> tuple[Array, float]:
    """Return the weights after a step that does not raise the loss, and the loss there."""
    for _ in range(MAX_HALVINGS):
        candidate = theta - newton_step
        candidate_loss = loss.loss(candidate)
        if candidate_loss <= current_loss * (1 + LOSS_RELATIVE_ROUNDING):
            return candidate, candidate_loss
        newton_step = newton_step / 2
    candidate = theta - hessian_bound_step
    return candidate, loss.loss(candidate)


def standardized_hessian_bound(loss: Objective) -> Array:
    """Return the Boehning-Lindsay bound on each refit's Hessian in its own standardised units, (refits, p, p)."""
    A = loss.standardized_to_local_matrix()
    return np.asarray(np.matmul(np.matmul(A.transpose(0, 2, 1), loss.hessian_bound()), A))


def condition_number(loss: Objective) -> float:
    """Return the ratio of largest to smallest singular value of a single refit's standardised design matrix.

    Infinity if features are exactly collinear (Belsley, Kuh and Welsch 1980).
    """
    eigenvalues = np.linalg.eigvalsh(standardized_hessian_bound(replace(loss, l2=0.0))[0])
    is_regular = eigenvalues[0] > MIN_EIGENVALUE_RATIO * eigenvalues[-1]
    return float(np.sqrt(eigenvalues[-1] / eigenvalues[0])) if is_regular else math.inf


def lipschitz(loss: Objective) -> Array:
    """Return the Lipschitz constant L of each refit's standardised gradient, (refits,)."""
    return np.asarray(np.linalg.eigvalsh(standardized_hessian_bound(loss))[:, -1])


def step_matrix(loss: Objective, learning_rate: Array) -> Array:
    """Return P (refits, p, p): P gradient, in local units, is learning_rate times the standardised gradient."""
    A = loss.standardized_to_local_matrix()
    return np.asarray(learning_rate[:, None, None] * np.matmul(A, A.transpose(0, 2, 1)))


def pseudo_inverse(hessian: Array) -> Array:
    """Return the inverses of symmetric matrices (..., p, p), the pseudo-inverse where one is nearly singular."""
    try:
        P = np.asarray(np.linalg.inv(hessian), dtype=np.float64)
        is_singular = np.asarray(~(condition_estimate(P, hessian) < MAX_CONDITION_ESTIMATE))
    except np.linalg.LinAlgError:
        if hessian.ndim > 2:
            return np.stack([pseudo_inverse(matrix) for matrix in hessian])
        P, is_singular = np.empty_like(hessian), np.array(True)
    if is_singular.any():
        P[is_singular] = np.linalg.pinv(hessian[is_singular], rcond=MIN_EIGENVALUE_RATIO, hermitian=True)
    return np.asarray(P)


def condition_estimate(inverse_hessian: Array, hessian: Array) -> Array:
    """Return the product of the largest absolute entries of matrices (..., p, p) and of their inverses."""
    return np.asarray(np.abs(inverse_hessian).max(axis=(-2, -1)) * np.abs(hessian).max(axis=(-2, -1)))


def whitening_matrix(hessian_bound: Array) -> Array:
    """Return W (p, r), with theta = W u, such that the Hessian bound is the identity in the coordinates u.

    Nearly collinear features are well separated there; exactly collinear ones share one coordinate.
    """
    eigenvalues, eigenvectors = np.linalg.eigh(hessian_bound)
    is_kept = eigenvalues > MIN_EIGENVALUE_RATIO * eigenvalues[-1]
    return np.asarray(eigenvectors[:, is_kept] / np.sqrt(eigenvalues[is_kept]))


def newton_schulz_inverses(hessians: Array, *, n_models: int = 1) -> Array:
    """Return the inverses of Hessians (refits, p, p) that are nearly equal within each model.

    The first Hessian of each model is inverted. Its inverse P gives that of the others by a step of the Newton-Schulz
    iteration, 2P - P H P (Schulz 1933), which squares a small relative difference, or by two steps where one does not
    suffice. Hessians that differ too much are inverted themselves.
    """
    n_refits, p, _ = hessians.shape
    by_model = hessians.reshape(n_models, n_refits // n_models, p, p)
    P = pseudo_inverse(by_model[:, 0])
    difference = np.matmul(P[:, None], by_model - by_model[:, :1])
    inverses = (P[:, None] - np.matmul(difference, P[:, None])).reshape(n_refits, p, p)
    size = np.abs(difference).sum(axis=3).max(axis=2).ravel()
    needs_inversion = size >= MAX_DIFFERENCE_FOR_TWO_NEWTON_SCHULZ_STEPS
    needs_second_step = (size >= MAX_DIFFERENCE_FOR_ONE_NEWTON_SCHULZ_STEP) & ~needs_inversion
    if needs_second_step.any():
        X = inverses[needs_second_step]
        inverses[needs_second_step] = 2.0 * X - np.matmul(np.matmul(X, hessians[needs_second_step]), X)
    if needs_inversion.any():
        inverses[needs_inversion] = pseudo_inverse(hessians[needs_inversion])
    return np.asarray(inverses)
