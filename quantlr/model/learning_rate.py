"""What a learning rate does: too small, right, near the limit, beyond it, on rows that a walk has learnt from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from quantlr.core.arrays import Array
from quantlr.core.errors import DegenerateFold
from quantlr.model.batched.loss import Objective, TrainingRows
from quantlr.model.batched.training import ObjectiveBuilder, TrainingData
from quantlr.model.config import LogisticRegression
from quantlr.model.logistic import pointwise_log_loss, sigmoid
from quantlr.model.separation import separation_reason
from quantlr.model.solvers import lipschitz, newton_single

LEARNING_RATE_NAMES = ("too small", "derived", "near the limit", "beyond the limit")
"""What the study calls its four learning rates."""
TOO_SMALL_FACTOR, NEAR_LIMIT_FACTOR, BEYOND_LIMIT_FACTOR = 0.01, 1.95, 2.5
"""The first and the third as a share of 1/L, and the last as one of 1/(the largest curvature at the optimum)."""
LEARNING_RATE_GRID_FACTORS = (
    0.01, 0.018, 0.032, 0.056, 0.1, 0.18, 0.32, 0.56, 0.8, 1.0, 1.2, 1.4, 1.6, 1.75, 1.88, 1.96, 2.0, 2.04, 2.12, 2.25,
    2.5, 3.0, 4.0,
)  # fmt: skip
"""Learning rates from far too small to far too large, as shares of 1/L: closest together about the limit."""
COMPARED_ITERATIONS = (5, 20, 50)
"""Updates after which all of these are compared."""
MAX_LOSS_RATIO = 1e6
"""Times the loss at the start above which a curve has run away and ends."""
OPTIMUM_TOL, OPTIMUM_MAX_ITER = 1e-12, 200
"""Gradient and updates at which the best weights are looked for: an excess loss is then right to about 1e-16."""
STUDY_SAMPLE_ROWS = 2**13
"""Rows that are enough to see a descent by: of twice as many or more, every so many are looked at."""


@dataclass(frozen=True, slots=True)
class LearningRateStudy:
    """What plain descent with several learning rates does to the loss of one refit.

    Attributes
    ----------
    refit : number of the refit.
    every : which of its training rows were looked at: 1 all of them, 2 every second.
    steepest : L, the largest curvature that the standardised loss can have anywhere.
    curvature : the largest that it has at the best weights, at most L.
    name : (rates,) what each rate stands for.
    rate : (rates,) learning rates, ascending.
    loss : (rates, steps + 1) mean log loss and penalty, in nats, from zero weights on; NaN once it has run away.
    swept : (m,) more learning rates, ascending.
    after : (a,) numbers of updates.
    loss_after : (a, m) loss after so many updates with each of these; NaN once it has run away.
    optimum : the loss of the best weights.
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
        """2/L, below which a rate always goes downhill."""
        return 2.0 / self.lipschitz

    @property
    def excess_loss(self) -> Array:
        """(rates, steps + 1) how far the loss is above the optimum's; under about 1e-15 it is rounding."""
        return np.maximum(self.loss - self.min_loss, 0.0)

    @property
    def grid_excess_loss_after_iterations(self) -> Array:
        """(a, m) the same after so many updates with each of the rates that were swept."""
        return np.maximum(self.grid_loss_after_iterations - self.min_loss, 0.0)


def compute_learning_rate_study(
    training_data: TrainingData, model: LogisticRegression, *, refit_index: int, n_iterations: int = 100
) -> LearningRateStudy:
    """Return what theta <- theta - alpha * gradient does with a rate that is too small, right, near the limit, beyond.

    The weights are those of the standardised features, and all start at zero, the intercept's too. There every
    probability is 1/2 and the loss curves as much as it ever does: its largest curvature is L, the largest eigenvalue
    of X'SX / (4n) + l2 D (S the weights of the rows, D the identity but for a 0 at the intercept; Boehning and
    Lindsay 1988). Any rate below 2/L goes downhill at every step, and 1/L is the one that promises the largest fall
    (Nesterov 2004, section 1.2.3).

    From 2/L on that is no longer promised, but it may still happen: where the classes are told apart well, the loss
    is flatter about its optimum than at the start. From 2 over the curvature *at the optimum* on it can't: however
    near the weights come, the next steps take them away again. The last rate is therefore 2.5 over that curvature,
    which is at least 2.5/L, and on returns, where all probabilities stay near 1/2, hardly more. Such a descent need
    not run off to infinity: a log loss is never steeper than its features are large, and flattens on the way out, so
    that without a penalty the weights end up leaping to and fro across the valley, at a loss that does not fall. A
    penalty keeps its curvature, and where it is large the leaps grow without end. A curve ends, NaN from there on,
    where its loss exceeds a million times that of the start.

    Only this study goes beyond the limit; a config's rate there is refused.

    Parameters
    ----------
    training : rows, labels, and which of them train which refit.
    model : whose penalty and weights of rows hold; its own way downhill does not matter.
    refit : number of the refit whose training rows to use; of 16,384 or more, evenly spread ones.
    steps : updates with each of the four rates.

    Raises
    ------
    DegenerateFold : the refit's best weights are infinite, so that there is no optimum to be above.
    """
    objective, every = make_study_objective(training_data, model, refit_index)
    best = newton_single(objective, [np.zeros(objective.n_weights)], tol=OPTIMUM_TOL, max_iter=OPTIMUM_MAX_ITER)
    one_class = not 0.0 < objective.label_sums.mean_x_times_target[0, 0] < 1.0
    why = "its training rows are of one class" if one_class else separation_reason(objective, best.theta[:, 0])
    if why:
        raise DegenerateFold(f"refit {refit_index}: {why}, so that no best loss exists; study another", key="model.l2")
    lesson = _StandardizedLoss.from_objective(objective)
    A = objective.standardized_to_local_matrix()[0]
    L = float(lipschitz(objective)[0])
    curvature = float(np.linalg.eigvalsh(A.T @ objective.gradient_and_hessian(best.theta[:, 0])[1][0] @ A)[-1])
    rate = np.array([TOO_SMALL_FACTOR / L, 1.0 / L, NEAR_LIMIT_FACTOR / L, BEYOND_LIMIT_FACTOR / curvature])
    swept = np.array(LEARNING_RATE_GRID_FACTORS) / L
    return LearningRateStudy(
        refit_index=refit_index,
        row_stride=every,
        lipschitz=L,
        max_curvature_at_optimum=curvature,
        learning_rate_names=LEARNING_RATE_NAMES,
        learning_rates=rate,
        loss=lesson.losses_at_iterations(rate, iterations=range(n_iterations + 1)),
        learning_rate_grid=swept,
        compared_iterations=COMPARED_ITERATIONS,
        grid_loss_after_iterations=lesson.losses_at_iterations(swept, iterations=COMPARED_ITERATIONS).T,
        min_loss=float(best.losses.min()),
    )


def make_study_objective(
    training_data: TrainingData, model: LogisticRegression, refit_index: int
) -> tuple[Objective, int]:
    """Return the objective of one refit, and which of its rows make it up: 1 all, 2 every second, and so on."""
    sample = training_data.subsample_refit(refit_index, min_rows=STUDY_SAMPLE_ROWS)
    if sample:
        rows = sum(
            int(ticker.train_stop[refit_index] - ticker.train_start[refit_index]) for ticker in training_data.folds
        )
        return ObjectiveBuilder(sample, model).build_objective(slice(0, 1)), rows // STUDY_SAMPLE_ROWS
    objective = ObjectiveBuilder(training_data, model).build_objective(slice(refit_index, refit_index + 1))
    # So few rows are brought into local units once, however often they are looked at.
    return replace(objective, row_factories=[partial(_identity, make()) for make in objective.row_factories]), 1


def _identity(rows: TrainingRows) -> TrainingRows:
    return rows


@dataclass(frozen=True, slots=True)
class _StandardizedLoss:
    """The problem of the lesson: rows, labels, and what each row counts in the mean.

    Attributes
    ----------
    X : (p, n) standardised rows, transposed, the first feature one.
    y, weight : (n,) labels, and shares of the mean.
    penalty : (p, 1) l2, but 0 for the intercept.
    """

    X: Array
    y: Array
    normalized_weight: Array
    l2_by_coefficient: Array

    @classmethod
    def from_objective(cls, objective: Objective) -> _StandardizedLoss:
        """Return the problem of a single refit, in its own standardised units."""
        A, share = objective.standardized_to_local_matrix()[0], objective.label_sums.mean_factor_by_class[:, 0]
        parts = [make() for make in objective.row_factories]
        weights = [
            np.full(len(rows.y), share[0]) if rows.weight_by_class is None else rows.weight_by_class @ share
            for rows in parts
        ]
        return cls(
            X=A.T @ np.concatenate([rows.X for rows in parts]).T,
            y=np.concatenate([rows.y for rows in parts]),
            normalized_weight=np.concatenate(weights),
            l2_by_coefficient=np.where(np.arange(objective.n_weights) > 0, objective.l2, 0.0)[:, None],
        )

    def losses_at_iterations(self, learning_rates: Array, *, iterations: Sequence[int]) -> Array:
        """Return the losses (rates, len(at)) after so many updates, ascending, from zero weights with each rate."""
        theta, found = (
            np.zeros((len(self.X), len(learning_rates))),
            np.full((len(learning_rates), len(iterations)), np.nan),
        )
        for step in range(max(iterations) + 1):
            z = theta.T @ self.X
            if step in iterations:
                loss = pointwise_log_loss(z, self.y) @ self.normalized_weight + 0.5 * (
                    self.l2_by_coefficient * theta**2
                ).sum(axis=0)
                found[:, list(iterations).index(step)] = loss
                theta[:, loss > MAX_LOSS_RATIO * np.log(2.0)] = np.nan
            gradient = self.X @ ((sigmoid(z) - self.y) * self.normalized_weight).T + self.l2_by_coefficient * theta
            theta = theta - learning_rates * gradient
        return np.where(found > MAX_LOSS_RATIO * np.log(2.0), np.nan, found)
