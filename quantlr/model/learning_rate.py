"""Gradient descent with learning rates that are too small, derived, near the limit and beyond it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from quantlr.core.errors import DegenerateFold
from quantlr.core.values import Array
from quantlr.model.config import LogisticRegression
from quantlr.model.logistic import LogisticLoss
from quantlr.model.separation import separation_reason
from quantlr.model.solvers import newton
from quantlr.model.training import TrainingData, make_loss

LEARNING_RATE_NAMES = ("too small", "derived", "near the limit", "beyond the limit")
"""Names of the four learning rates."""
TOO_SMALL_FACTOR, NEAR_LIMIT_FACTOR, BEYOND_LIMIT_FACTOR = 0.01, 1.95, 2.5
"""The first and the third rate times L, and the last times the largest curvature at the optimum."""
LEARNING_RATE_GRID_FACTORS = (
    0.01, 0.018, 0.032, 0.056, 0.1, 0.18, 0.32, 0.56, 0.8, 1.0, 1.2, 1.4, 1.6, 1.75, 1.88, 1.96, 2.0, 2.04, 2.12, 2.25,
    2.5, 3.0, 4.0,
)  # fmt: skip
"""A grid of learning rates times L, densest about the limit."""
COMPARED_ITERATIONS = (5, 20, 50)
"""Numbers of updates after which the rates of the grid are compared."""
MAX_LOSS_RATIO = 1e6
"""Ratio of a loss to that at the start from which the descent counts as diverged."""
OPTIMUM_TOL, OPTIMUM_MAX_ITER = 1e-12, 200
"""Tolerance and number of updates for the minimum of the loss: excess losses are then exact to about 1e-16."""
STUDY_SAMPLE_ROWS = 2**13
"""Rows of the sample that is used where a refit has at least twice as many."""


@dataclass(frozen=True, slots=True)
class LearningRateStudy:
    """The loss of one refit under gradient descent with several learning rates.

    Attributes
    ----------
    refit_index : position of the refit.
    row_stride : every n-th of its training rows is used.
    lipschitz : L, an upper bound on the curvature of the standardised loss.
    max_curvature_at_optimum : the largest curvature at the minimum of the loss, at most L.
    learning_rate_names : (rates,) names of the rates.
    learning_rates : (rates,) learning rates, ascending.
    loss : (rates, iterations + 1) mean log loss and penalty, in nats, from zero weights on; NaN once diverged.
    learning_rate_grid : (m,) further learning rates, ascending.
    compared_iterations : (a,) numbers of updates.
    grid_loss_after_iterations : (a, m) loss after that number of updates with each rate of the grid; NaN once diverged.
    min_loss : the minimum of the loss.
    """

    refit_index: int
    row_stride: int
    lipschitz: float
    max_curvature_at_optimum: float
    learning_rate_names: tuple[str, ...]
    learning_rates: Array
    loss: Array
    learning_rate_grid: Array
    compared_iterations: tuple[int, ...]
    grid_loss_after_iterations: Array
    min_loss: float

    @property
    def max_stable_learning_rate(self) -> float:
        """2/L; below it every update lowers the loss."""
        return 2.0 / self.lipschitz

    @property
    def excess_loss(self) -> Array:
        """(rates, iterations + 1) loss less the minimum; below about 1e-15 it is rounding."""
        return np.maximum(self.loss - self.min_loss, 0.0)

    @property
    def grid_excess_loss_after_iterations(self) -> Array:
        """(a, m) loss less the minimum for the rates of the grid."""
        return np.maximum(self.grid_loss_after_iterations - self.min_loss, 0.0)


def compute_learning_rate_study(
    training_data: TrainingData, model: LogisticRegression, *, refit_index: int, n_iterations: int = 100
) -> LearningRateStudy:
    """Return the losses of theta <- theta - alpha * gradient for four learning rates and a grid of rates.

    Weights are those of standardised features and start at zero, the intercept's too. There every probability is 1/2,
    and the curvature of the loss has its upper bound L, the largest eigenvalue of X'SX / (4n) + l2 D (S the weights of
    the rows, D the identity but for a 0 at the intercept; Boehning and Lindsay 1988). With a rate below 2/L every
    update lowers the loss, and 1/L guarantees the largest decrease (Nesterov 2004, section 1.2.3).

    From 2/L on this is no longer guaranteed, but still possible: where the classes are well separated, the curvature at
    the optimum is smaller than at the start. With a rate of 2 over the curvature *at the optimum* or more, the iterates
    leave any vicinity of the optimum. The last rate is therefore 2.5 over that curvature, which is at least
    2.5/L, and on returns, with all probabilities near 1/2, hardly more. Such iterates need not go to infinity: the
    gradient of a log loss is bounded, so that without a penalty the weights end up oscillating about the optimum, at a
    loss that does not fall. With a penalty the curvature stays, and where it is large the oscillations grow without
    bound. A curve ends, with NaN from there on, where its loss exceeds a million times that of the start.

    Only this study uses rates beyond the limit; in a config they are refused.

    Parameters
    ----------
    training_data : rows, labels and folds.
    model : whose penalty and weights of rows apply; its solver does not.
    refit_index : the refit whose training rows to use; of 16,384 or more, evenly spaced ones.
    n_iterations : updates with each of the four rates.

    Raises
    ------
    DegenerateFold : the refit's weights have no finite optimum.
    """
    loss, row_stride = make_study_loss(training_data, model, refit_index)
    best = newton(loss, np.zeros(loss.n_weights), tol=OPTIMUM_TOL, max_iter=OPTIMUM_MAX_ITER)
    has_one_class = len(np.unique(loss.y[loss.sample_weight > 0])) < 2
    reason = "its training rows are of one class" if has_one_class else separation_reason(loss, best.theta)
    if reason:
        text = f"refit {refit_index}: {reason}, so that no best loss exists; study another"
        raise DegenerateFold(text, key="model.l2")
    L = float(loss.lipschitz())
    curvature = float(np.linalg.eigvalsh(loss.hessian(best.theta))[-1])
    rates = np.array([TOO_SMALL_FACTOR / L, 1.0 / L, NEAR_LIMIT_FACTOR / L, BEYOND_LIMIT_FACTOR / curvature])
    grid = np.array(LEARNING_RATE_GRID_FACTORS) / L
    return LearningRateStudy(
        refit_index=refit_index,
        row_stride=row_stride,
        lipschitz=L,
        max_curvature_at_optimum=curvature,
        learning_rate_names=LEARNING_RATE_NAMES,
        learning_rates=rates,
        loss=_losses_at_iterations(loss, rates, iterations=range(n_iterations + 1)),
        learning_rate_grid=grid,
        compared_iterations=COMPARED_ITERATIONS,
        grid_loss_after_iterations=_losses_at_iterations(loss, grid, iterations=COMPARED_ITERATIONS).T,
        min_loss=float(best.losses.min()),
    )


def make_study_loss(
    training_data: TrainingData, model: LogisticRegression, refit_index: int
) -> tuple[LogisticLoss, int]:
    """Return the loss of one refit, of a sample if its rows are many, and the stride between the sampled rows."""
    sample = training_data.subsample_refit(refit_index, min_rows=STUDY_SAMPLE_ROWS)
    if sample is None:
        return make_loss(training_data, model, slice(refit_index, refit_index + 1)), 1
    return make_loss(sample, model, slice(0, 1)), training_data.n_window_rows(refit_index) // STUDY_SAMPLE_ROWS


def _losses_at_iterations(loss: LogisticLoss, learning_rates: Array, *, iterations: Sequence[int]) -> Array:
    """Return the losses (rates, len(iterations)) of gradient descent from zero weights with each learning rate."""
    theta = np.zeros((loss.n_weights, len(learning_rates)))
    losses = np.full((len(learning_rates), len(iterations)), np.nan)
    max_loss = MAX_LOSS_RATIO * np.log(2.0)
    for iteration in range(max(iterations) + 1):
        if iteration in iterations:
            current_loss = loss.loss(theta)
            losses[:, list(iterations).index(iteration)] = current_loss
            theta[:, current_loss > max_loss] = np.nan
        theta = theta - learning_rates * loss.gradient(theta)
    return np.where(losses > max_loss, np.nan, losses)
