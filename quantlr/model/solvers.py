"""Solvers: gradient descent, Nesterov's momentum and Newton's method, three updates in one loop.

All three take steps of learning_rate * gradient against the gradient, for weights of standardised features. The config
names one of them in `model.solver`:

``gradient_descent``
    theta <- theta - learning_rate * gradient, with a number as learning rate. As the curvature of the loss is at most L
    (see `LogisticLoss`), a step with a rate alpha lowers the loss by at least alpha (1 - alpha L / 2) |gradient|^2.
    This is positive for every rate below 2/L, and largest for 1/L, the default. A rate of 2/L or more may raise the
    loss at every step and is refused; a smaller rate than 1/L only takes more steps.
``nesterov``
    the same step, from a look-ahead point: the last point, moved on in the direction of the last step (Nesterov's
    momentum), restarted where that leads uphill (O'Donoghue and Candes 2015). Its rate may be at most 1/L.
``newton``, the default
    the same update, with a matrix as learning rate: the inverse Hessian at the current point. A few steps suffice. A
    step that would raise the loss is halved; if no fraction of it lowers the loss, the inverse of the largest Hessian
    is used instead.

In a walk-forward, the first two take the steps of many refits at once, one column of theta each. With the default, the
steps of many refits are taken by ``batched/``, and `newton` fits the few refits that are too far from the one before.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from quantlr.core.errors import LearningRateTooLarge
from quantlr.core.values import Array, BoolArray, IntArray
from quantlr.model.logistic import LogisticLoss

if TYPE_CHECKING:
    from quantlr.model.config import LogisticRegression

MAX_HALVINGS = 30
"""Number of times that a step is halved before that of the Hessian bound is taken."""
LOSS_RELATIVE_ROUNDING = 4e-15
"""Relative difference of two losses that rounding explains."""
MAX_STALLED_ITERATIONS = 10
"""Number of updates without a lower loss or gradient after which Newton's method is stopped."""
MAX_CONDITION_ESTIMATE = 1e6
"""Largest condition estimate of a matrix that is inverted; beyond it the pseudo-inverse is used."""
MIN_EIGENVALUE_RATIO = 1e-12
"""Eigenvalue, relative to the largest, below which a direction counts as flat: duplicate features."""


class GradientFunction(Protocol):
    """A loss whose gradient the loop follows."""

    def gradient(self, theta: Array) -> Array:
        """Return the gradient at weights (p,) or (p, refits), in the same shape."""


UpdateFunction = Callable[[Array, Array], Array]
"""Takes weights (p,) or (p, refits) and their gradients, and returns the next weights."""
IterationCallback = Callable[[Array], None]
"""Receives the weights at which the gradient was computed, before each update."""


@dataclass(frozen=True, slots=True)
class SolverResult:
    """Weights and convergence of one refit or of several.

    Attributes
    ----------
    theta : (p,) or (p, refits) weights of the standardised features.
    iterations : () or (refits,) updates until the gradient was small enough; the one after that is not counted.
    max_abs_gradient : () or (refits,) largest component of the last gradient.
    converged : () or (refits,) whether that was at most the tolerance.
    losses : (updates + 1,) loss at each point that `newton` has tried; empty by other solvers.
    """

    theta: Array
    iterations: IntArray
    max_abs_gradient: Array
    converged: BoolArray
    losses: Array = field(default_factory=lambda: np.empty(0))


def ignore_iteration(theta: Array) -> None:
    """Do nothing; the default callback."""


def iterate_updates(
    loss: GradientFunction,
    theta: Array,
    update: UpdateFunction,
    *,
    tol: float,
    max_iter: int,
    callback: IterationCallback = ignore_iteration,
) -> SolverResult:
    """Update weights until the largest gradient component of every refit is at most `tol`, or `max_iter` times.

    The update that follows the last gradient is made too, as the step is known by then. Every refit stops by itself, so
    that its result does not depend on the others. An update that returns its argument ends the loop.
    """
    is_active = np.ones(theta.shape[1:], dtype=np.bool_)
    iterations = np.zeros(theta.shape[1:], dtype=np.int64)
    max_abs_gradient = np.full(theta.shape[1:], np.inf)
    for _ in range(max_iter):
        gradient = loss.gradient(theta)
        callback(theta)
        next_theta = update(theta, gradient)
        is_stalled = next_theta is theta
        theta = np.where(is_active, next_theta, theta)
        max_abs_gradient = np.where(is_active, np.abs(gradient).max(axis=0), max_abs_gradient)
        is_active = max_abs_gradient > tol
        iterations += is_active
        if is_stalled or not is_active.any():
            break
    return SolverResult(theta, iterations, max_abs_gradient, max_abs_gradient <= tol)


def gradient_descent(
    loss: GradientFunction,
    theta: Array,
    *,
    learning_rate: Array,
    tol: float,
    max_iter: int,
    callback: IterationCallback = ignore_iteration,
) -> SolverResult:
    """Return the weights after theta <- theta - learning_rate * gradient.

    Parameters
    ----------
    loss : of one refit or of several.
    theta : (p,) or (p, refits) weights at the start.
    learning_rate : () or (refits,) step size; below 2/L every step lowers the loss.
    tol, max_iter, callback : see `iterate_updates`.
    """

    def update(theta: Array, gradient: Array) -> Array:
        return theta - learning_rate * gradient

    return iterate_updates(loss, theta, update, tol=tol, max_iter=max_iter, callback=callback)


def nesterov(
    loss: GradientFunction,
    theta: Array,
    *,
    learning_rate: Array,
    tol: float,
    max_iter: int,
    callback: IterationCallback = ignore_iteration,
) -> SolverResult:
    """Return the weights after gradient descent with Nesterov's momentum; parameters as for `gradient_descent`.

    The learning rate may be at most 1/L. Gradients are those of look-ahead points, and so is the result. t is
    Nesterov's sequence, which starts at 1 and grows by about 1/2 with each step since the last restart; the step is
    continued by (t - 1) / (next t) of its length.
    """
    last_theta, t = theta, np.ones(theta.shape[1:])

    def update(lookahead_theta: Array, gradient: Array) -> Array:
        nonlocal last_theta, t
        theta = lookahead_theta - learning_rate * gradient
        step = theta - last_theta
        is_uphill = (gradient * step).sum(axis=0) > 0
        next_t = 0.5 + np.sqrt(0.25 + np.where(is_uphill, 1.0, t) ** 2)
        momentum = np.where(is_uphill, 0.0, (t - 1.0) / next_t)
        last_theta, t = theta, next_t
        return np.asarray(theta + momentum * step)

    return iterate_updates(loss, theta, update, tol=tol, max_iter=max_iter, callback=callback)


def newton(loss: LogisticLoss, theta: Array, *, tol: float, max_iter: int) -> SolverResult:
    """Return the weights (p,) of one refit after Newton's method with a line search, from `theta` (p,).

    The iteration ends unconverged where rounding leaves neither a lower loss nor a smaller gradient.
    """
    losses, sizes = [float(loss.loss(theta))], list[float]()
    learning_rate = np.empty(0)

    def update(theta: Array, gradient: Array) -> Array:
        nonlocal learning_rate
        sizes.append(float(np.abs(gradient).max()))
        # For the last step, of almost no length, the inverse Hessian before it is good enough.
        if sizes[-1] > tol or len(sizes) == 1:
            learning_rate = inverse_hessian(loss, theta)
        next_theta = backtrack(loss, theta, learning_rate @ gradient, gradient, losses)
        return theta if _is_stalled(losses, sizes) else next_theta

    result = iterate_updates(loss, theta, update, tol=tol, max_iter=max_iter)
    return replace(result, losses=np.array(losses))


FIRST_ORDER_SOLVERS = {"gradient_descent": gradient_descent, "nesterov": nesterov}
"""The solvers with a number as learning rate, by their name in `model.solver`."""


def learning_rates(loss: LogisticLoss, model: LogisticRegression, describe_refit: Callable[[int], str]) -> Array:
    """Return the learning rate of each refit, () or (refits,): 1/L, or that of the model.

    `describe_refit` takes the position of a refit in the loss and returns its description for a message.

    Raises
    ------
    LearningRateTooLarge : with the model's rate, steps may raise the loss of one of the refits.
    """
    lipschitz = loss.lipschitz()
    learning_rate = model.learning_rate
    if learning_rate == "auto":
        return np.asarray(1.0 / lipschitz)
    is_nesterov = model.solver == "nesterov"
    limit = np.asarray(learning_rate_limit(model.solver, lipschitz))
    is_too_large = np.asarray(learning_rate > limit if is_nesterov else learning_rate >= limit)
    if is_too_large.any():
        index = int(is_too_large.argmax())
        raise LearningRateTooLarge(
            f"{describe_refit(index)}: a learning rate of {learning_rate:g} diverges: for {model.solver} it must be "
            f"{'at most 1/L' if is_nesterov else 'below 2/L'} = {limit.flat[index]:.4g}; lower it or write auto",
            key="model.learning_rate",
        )
    return np.full_like(lipschitz, learning_rate)


def learning_rate_limit(solver: str, lipschitz: Any) -> Any:
    """Return the limit of the learning rate: a rate must be below 2/L; with Nesterov's momentum, at most 1/L."""
    return (1.0 if solver == "nesterov" else 2.0) / lipschitz


def backtrack(loss: LogisticLoss, theta: Array, step: Array, gradient: Array, losses: list[float]) -> Array:
    """Return theta - step, with the step halved until the loss does not rise, and append the loss there to `losses`.

    Where no fraction of the step lowers the loss, it is replaced by that of the Hessian at weights of 0, the largest
    Hessian in every direction: computed from all rows, that step lowers the loss (Boehning and Lindsay 1988).
    """
    for _ in range(MAX_HALVINGS):
        candidate_loss = float(loss.loss(theta - step))
        if candidate_loss <= losses[-1] * (1 + LOSS_RELATIVE_ROUNDING):
            losses.append(candidate_loss)
            return theta - step
        step = step / 2
    W = whitening_matrix(replace(loss, hessian_row_stride=1))
    theta = theta - W @ (W.T @ gradient)
    losses.append(float(loss.loss(theta)))
    return theta


def _is_stalled(losses: list[float], max_abs_gradients: list[float]) -> bool:
    """Return whether neither the loss nor the gradient has fallen in the last updates."""
    n = MAX_STALLED_ITERATIONS
    if len(max_abs_gradients) <= n:
        return False
    is_same_loss = losses[-1] >= losses[-1 - n] * (1 - n * LOSS_RELATIVE_ROUNDING)
    return is_same_loss and min(max_abs_gradients[-n:]) > 0.5 * min(max_abs_gradients[:-n])


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
    inverse, matrix = (np.abs(values).reshape(*values.shape[:-2], -1) for values in (inverse_hessian, hessian))
    return np.asarray(inverse.max(axis=-1) * matrix.max(axis=-1))


def condition_number_and_lipschitz(loss: LogisticLoss) -> tuple[float, float]:
    """Return the ratio of largest to smallest singular value of a single refit's standardised rows, and L.

    Constant features are left out. The ratio is infinity if features are exactly collinear (Belsley, Kuh and Welsch
    1980).
    """
    # At weights of 0 the Hessian is a quarter of the rows' second moments, and the largest of all Hessians.
    hessian = loss.hessian(np.zeros(loss.n_weights))
    is_present = np.concatenate([[loss.fit_intercept], loss.std > 0])
    penalty = np.diag(np.where(np.arange(loss.n_weights) > 0, loss.l2, 0.0))
    eigenvalues = np.linalg.eigvalsh((hessian - penalty)[np.ix_(is_present, is_present)])
    is_regular = eigenvalues[0] > MIN_EIGENVALUE_RATIO * eigenvalues[-1]
    condition_number = float(np.sqrt(eigenvalues[-1] / eigenvalues[0])) if is_regular else math.inf
    return condition_number, float(np.linalg.eigvalsh(hessian)[-1])


def inverse_hessian(loss: LogisticLoss, theta: Array, *, min_eigenvalue_ratio: float = MIN_EIGENVALUE_RATIO) -> Array:
    """Return the inverse Hessian (p, p) of one refit, without directions that are flatter than the ratio.

    Where it is nearly singular, directions are compared in coordinates that separate nearly collinear features well.
    """
    hessian = loss.hessian(theta)
    try:
        P = np.asarray(np.linalg.inv(hessian), dtype=np.float64)
        if condition_estimate(P, hessian) < MAX_CONDITION_ESTIMATE:
            return P
    except np.linalg.LinAlgError:
        pass
    W = whitening_matrix(loss)
    return np.asarray(W @ np.linalg.pinv(W.T @ hessian @ W, rcond=min_eigenvalue_ratio, hermitian=True) @ W.T)


def whitening_matrix(loss: LogisticLoss) -> Array:
    """Return W (p, r), with theta = W u, such that the Hessian at weights of 0 is the identity in the coordinates u.

    Nearly collinear features are well separated there; exactly collinear ones share one coordinate, and constant ones
    have none.
    """
    eigenvalues, eigenvectors = np.linalg.eigh(loss.hessian(np.zeros(loss.n_weights)))
    is_kept = eigenvalues > MIN_EIGENVALUE_RATIO * eigenvalues[-1]
    return np.asarray(eigenvectors[:, is_kept] / np.sqrt(eigenvalues[is_kept]))
