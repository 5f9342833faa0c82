"""Fits all refits of a walk-forward, in batches of consecutive refits and of several models at once.

A batch starts at the weights of the refit before it and takes Newton's steps with the inverse Hessians at that point.
Refits that do not converge so start a later batch, and a refit that does not converge from the weights of the one just
before it is fitted alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from quantlr.core.errors import DegenerateFold
from quantlr.core.values import Array
from quantlr.model.base import DescribeRefit, FittedModel, RefitProgressCallback, ignore_refit_progress
from quantlr.model.batched.loss import BatchedLoss, make_batched_loss
from quantlr.model.batched.rows import BLOCK_ROWS, ModelRows
from quantlr.model.logistic import LogisticLoss, logit
from quantlr.model.separation import (
    COMPLETE_SEPARATION,
    MAX_CHANCE_OF_SEPARATION,
    SEPARATION_TOL,
    chance_of_separation,
    find_separation,
)
from quantlr.model.solvers import (
    FIRST_ORDER_SOLVERS,
    SolverResult,
    condition_number_and_lipschitz,
    learning_rates,
    newton,
    pseudo_inverse,
)
from quantlr.model.training import TrainingData, base_rate_weights, make_loss, warm_start_weights
from quantlr.model.windows import overlapping_refit_slices

if TYPE_CHECKING:
    from quantlr.model.config import LogisticRegression

MAX_BATCH_ITERATIONS = 8
"""Largest number of updates of a batch with one inverse Hessian."""
MAX_GRADIENT_RATIO = 0.3
"""Largest ratio of consecutive gradients for the inverse Hessian of the start to be good enough."""
MAX_ANDERSON_COEFFICIENT = 0.5
"""Largest absolute value of the mixing coefficient of Anderson acceleration."""
SMALLEST_NORMAL_FLOAT = float(np.finfo(np.float64).tiny)
"""Smallest float with all its digits: the smallest denominator."""
TRAINING_PAIRS_PER_CHUNK = 2**20
"""Pairs of a row and a refit per batch: many enough for large matrix products, few enough to be near the start."""
MAX_REFITS_PER_CHUNK = 192
"""Largest number of refits of a model in a batch."""
MIN_CHUNK_ROW_OVERLAP = 0.5
"""Smallest ratio of the rows common to a batch to those of its first refit."""


def fit_folds(training_data: TrainingData, model: LogisticRegression) -> FittedModel:
    """Return the weights of every refit of one model.

    Weights depend on the refit's own training rows and on the weights of earlier refits, from which a solver starts:
    never on later rows.

    Parameters
    ----------
    training_data : rows, labels and folds.
    model : penalty, solver and its settings.

    Raises
    ------
    DegenerateFold : training rows of one class, or separated classes, unless `model.degenerate` allows them.
    LearningRateTooLarge : gradient descent with `model.learning_rate` may diverge.
    """
    return fit_many([training_data], model, describe_refits=[str])[0]


def fit_many(
    training_sets: Sequence[TrainingData],
    model: LogisticRegression,
    *,
    describe_refits: Sequence[DescribeRefit],
    on_refits_done: RefitProgressCallback = ignore_refit_progress,
) -> list[FittedModel]:
    """Return the results of `fit_folds` for each model; models with equal folds share their batches.

    The results of a model do not depend on the others, only the time does. `describe_refits` describe the refits of
    each model for a message, and `on_refits_done` receives the number of refits that have just been fitted.
    """
    described_sets = zip(training_sets, describe_refits, strict=True)
    fitters = [_SequentialRefitter(training_data, model, describe) for training_data, describe in described_sets]
    while active := [fitter for fitter in fitters if fitter.next_refit < len(fitter.n_rows)]:
        chunk = min((fitter.next_refit_slice() for fitter in active), key=lambda refits: int(refits.start))
        fitters_of_chunk = [fitter for fitter in active if fitter.next_refit_slice() == chunk]
        n_done = sum(fitter.next_refit for fitter in fitters_of_chunk)
        _fit_chunk(fitters_of_chunk, chunk)
        on_refits_done(sum(fitter.next_refit for fitter in fitters_of_chunk) - n_done)
    return [fitter.results() for fitter in fitters]


def _fit_chunk(fitters: list[_SequentialRefitter], refit_slice: slice) -> None:
    """Fit the same refits of several models; a fitter's `next_refit` says how many of them are done."""
    group = [fitter for fitter in fitters if not fitter.fit_without_newton(refit_slice)]
    if not group:
        return
    model = group[0].model
    rows = [(fitter.training_data, fitter.model_rows, fitter.start_weights(refit_slice.start)) for fitter in group]
    result = newton_from_common_start(
        make_batched_loss(rows, model, refit_slice), tol=model.tol, max_iter=model.max_iter
    )
    n_refits = refit_slice.stop - refit_slice.start
    for index, fitter in enumerate(group):
        columns = slice(index * n_refits, (index + 1) * n_refits)
        fitter.store_converged_prefix(result, columns, refit_slice)


def newton_from_common_start(loss: BatchedLoss, *, tol: float, max_iter: int) -> SolverResult:
    """Return the weights after theta <- theta - learning_rate * gradient, with the inverse Hessians of the start.

    Steps from the second on are corrected by Anderson acceleration with a memory of one step (Anderson 1965). Refits
    that are too far from the start for this to converge quickly end unconverged. Every refit stops by itself, so that
    its result does not depend on the others.
    """
    learning_rate = pseudo_inverse(loss.start_hessian)
    last_step = -np.matvec(learning_rate, loss.start_gradient.T).T
    last_image = theta = loss.start_theta + last_step
    loss = loss.with_float32_rows(theta, tol=tol)
    n_refits = theta.shape[1]
    iterations, max_abs_gradient = np.ones(n_refits, dtype=np.int64), np.full(n_refits, np.inf)
    is_active = np.ones(n_refits, dtype=np.bool_)
    for _ in range(min(max_iter, MAX_BATCH_ITERATIONS)):
        gradient = loss.gradient(theta, is_active)
        step = -np.matvec(learning_rate, gradient.T).T
        image, change = theta + step, step - last_step
        mixing = (step * change).sum(axis=0) / np.maximum((change * change).sum(axis=0), SMALLEST_NORMAL_FLOAT)
        mixing = np.clip(mixing, -MAX_ANDERSON_COEFFICIENT, MAX_ANDERSON_COEFFICIENT)
        theta = np.where(is_active, image - mixing * (image - last_image), theta)
        last_step, last_image, last_size = step, image, max_abs_gradient
        max_abs_gradient = np.where(is_active, np.abs(gradient).max(axis=0), last_size)
        is_active &= max_abs_gradient > tol
        iterations += is_active
        is_active &= max_abs_gradient <= MAX_GRADIENT_RATIO * last_size
        if not is_active.any():
            break
    return SolverResult(theta, iterations, max_abs_gradient, max_abs_gradient <= tol)


class _SequentialRefitter:
    """Fits the refits of one model in order, and holds the results so far."""

    def __init__(self, training_data: TrainingData, model: LogisticRegression, describe_refit: DescribeRefit) -> None:
        self.training_data, self.model, self.describe_refit = training_data, model, describe_refit
        self.model_rows = ModelRows(training_data, model)
        self.n_rows, self.n_ups = n_rows, n_ups = training_data.row_and_up_counts()
        self.unfittable_mask = n_rows < 2 if training_data.use_platt_targets else (n_ups == 0) | (n_ups == n_rows)
        n_refits = len(n_rows)
        coefficients, gradient = np.zeros((n_refits, 1 + training_data.X.shape[1])), np.zeros(n_refits)
        iterations, degenerate = np.zeros(n_refits, dtype=np.int64), np.zeros(n_refits, dtype=np.bool_)
        self.coefficients, self.iterations, self.max_abs_gradient = coefficients, iterations, gradient
        self.converged, self.degenerate = ~degenerate, degenerate
        self.max_newton_chunk_refits = MAX_REFITS_PER_CHUNK
        self.last_raw_weights: Array | None = None
        self.last_learning_rate = np.nan
        self.next_refit = 0
        self.pending_refit_slices = list(self._iter_similar_refit_slices())

    def results(self) -> FittedModel:
        """Return the results, with condition number and Lipschitz constant of the last refit, and its learning rate."""
        fits = (self.converged, self.degenerate, self.coefficients, self.iterations, self.max_abs_gradient)
        refits = np.flatnonzero(self.n_rows)
        if not len(refits):
            return FittedModel(*fits)
        refit = int(refits[-1])
        sample = self.training_data.subsample_refit(refit)
        loss = self._make_loss(refit) if sample is None else make_loss(sample, self.model, slice(0, 1))
        return FittedModel(*fits, *condition_number_and_lipschitz(loss), self.last_learning_rate)

    def next_refit_slice(self) -> slice:
        """Return the next refits that may be fitted in one batch."""
        first = self.next_refit
        while first >= self.pending_refit_slices[0].stop:
            self.pending_refit_slices.pop(0)
        stop = self.pending_refit_slices[0].stop
        if self.unfittable_mask[first]:
            return slice(first, stop)
        block_rows = min(int(self.n_rows[first]) // len(self.training_data.folds) + 1, BLOCK_ROWS)
        max_refits = min(max(TRAINING_PAIRS_PER_CHUNK // block_rows, 1), MAX_REFITS_PER_CHUNK)
        if self.model.solver == "newton":
            if self.last_raw_weights is None:
                self.last_raw_weights = self._warm_start(first)
            max_refits = 1 if self.last_raw_weights is None else min(self.max_newton_chunk_refits, max_refits)
        return slice(first, min(first + max_refits, stop))

    def fit_without_newton(self, refit_slice: slice) -> bool:
        """Fit a chunk without a solution, or by a first-order solver; return whether it was one of these."""
        if self.unfittable_mask[refit_slice.start]:
            for refit in range(refit_slice.start, refit_slice.stop):
                self._handle_degenerate_refit(refit, self._unfittable_reason(refit))
        elif self.model.solver != "newton":
            self._fit_first_order(refit_slice)
        else:
            return False
        self.next_refit = refit_slice.stop
        return True

    def start_weights(self, refit: int) -> Array:
        """Return the raw weights (1 + k,) where a refit starts: the last weights, or its base rate."""
        if self.last_raw_weights is not None:
            return self.last_raw_weights
        start = base_rate_weights(self._make_loss(refit))
        return np.asarray(self.training_data.scaling[refit : refit + 1].to_raw_weights(start[:, None])[0])

    def store_converged_prefix(self, result: SolverResult, columns: slice, refit_slice: slice) -> None:
        """Store the refits before the first that has not converged; fit that one alone if it is the first."""
        first, converged = refit_slice.start, result.converged[columns]
        n_converged = len(converged) if converged.all() else int(converged.argmin())
        doubled = min(2 * self.max_newton_chunk_refits, MAX_REFITS_PER_CHUNK)
        self.max_newton_chunk_refits = doubled if n_converged == len(converged) else max(n_converged, 1)
        self._store_results(slice(first, first + n_converged), result, columns.start)
        # At a tight tolerance the Hessian of the start shows separation by itself: growing weights do not converge.
        if self.model.tol > SEPARATION_TOL:
            self._handle_separated_refits(first, n_converged)
        self.next_refit = first + n_converged
        if not n_converged:
            self._fit_single_refit(iterations_spent=int(result.iterations[columns.start]))

    def _iter_similar_refit_slices(self) -> Iterator[slice]:
        """Yield runs of refits that share most rows, the constant features, and whether they can be fitted."""
        training, half_life = self.training_data, self.model.half_life
        kind = np.column_stack([training.scaling.std > 0, self.unfittable_mask])
        for run in overlapping_refit_slices(
            training.folds,
            max_refits=MAX_REFITS_PER_CHUNK,
            min_overlap=MIN_CHUNK_ROW_OVERLAP,
            max_row_change=np.inf if half_life is None else half_life * len(training.folds),
        ):
            breaks = np.flatnonzero((kind[run][1:] != kind[run][:-1]).any(axis=1)) + 1 + run.start
            for first, last in pairwise([run.start, *breaks.tolist(), run.stop]):
                yield slice(first, last)

    def _warm_start(self, refit: int) -> Array | None:
        theta = warm_start_weights(self.training_data, self.model, refit)
        if theta is None:
            return None
        return np.asarray(self.training_data.scaling[refit : refit + 1].to_raw_weights(theta[:, None])[0])

    def _make_loss(self, refit: int) -> LogisticLoss:
        return make_loss(self.training_data, self.model, slice(refit, refit + 1))

    def _best_start(self, loss: LogisticLoss, refit: int) -> Array:
        """Return the last weights or the base rate (p,), whichever has the lower loss."""
        base_rate = base_rate_weights(loss)
        if self.last_raw_weights is None:
            return base_rate
        last = self.training_data.scaling[refit : refit + 1].to_standardized_weights(self.last_raw_weights)[:, 0]
        return min(last, base_rate, key=loss.loss)

    def _fit_single_refit(self, *, iterations_spent: int) -> None:
        """Fit the next refit by Newton's method with a line search."""
        refit, loss = self.next_refit, self._make_loss(self.next_refit)
        max_iter = max(self.model.max_iter - iterations_spent, 1)
        result = newton(loss, self._best_start(loss, refit), tol=self.model.tol, max_iter=max_iter)
        columns = {name: np.atleast_1d(getattr(result, name)) for name in ("max_abs_gradient", "converged")}
        iterations = np.atleast_1d(result.iterations + iterations_spent)
        self._store_results(
            slice(refit, refit + 1), SolverResult(result.theta[:, None], iterations, **columns), first_column=0
        )
        self._handle_separated_refits(refit, 1)
        self.next_refit = refit + 1

    def _fit_first_order(self, refit_slice: slice) -> None:
        first, model, training = refit_slice.start, self.model, self.training_data
        n_refits = refit_slice.stop - first
        loss = make_loss(training, model, refit_slice)
        start = base_rate_weights(loss)
        if self.last_raw_weights is not None:
            start = training.scaling[refit_slice].to_standardized_weights(self.last_raw_weights).reshape(start.shape)
        learning_rate = learning_rates(loss, model, lambda index: self.describe_refit(first + index))
        self.last_learning_rate = float(learning_rate.flat[-1])
        solver = FIRST_ORDER_SOLVERS[model.solver]
        result = solver(loss, start, learning_rate=learning_rate, tol=model.tol, max_iter=model.max_iter)
        self._store_results(refit_slice, result, first_column=0)
        self._handle_separated_refits(first, n_refits)

    def _store_results(self, refit_slice: slice, result: SolverResult, first_column: int) -> None:
        n_refits = refit_slice.stop - refit_slice.start
        if n_refits:
            columns = slice(first_column, first_column + n_refits)
            theta = result.theta.reshape(len(result.theta), -1)[:, columns]
            self.coefficients[refit_slice] = self.training_data.scaling[refit_slice].to_raw_weights(theta)
            for name in ("iterations", "max_abs_gradient", "converged"):
                getattr(self, name)[refit_slice] = np.atleast_1d(getattr(result, name))[columns]
            self.last_raw_weights = self.coefficients[refit_slice.stop - 1]

    def _handle_separated_refits(self, first_refit: int, n_refits: int) -> None:
        """Handle the refits whose classes are separated as degenerate."""
        if self.model.resolved_l2 > 0 or self.training_data.use_platt_targets:
            return
        for refit in range(first_refit, first_refit + n_refits):
            loss = self._make_loss(refit)
            scaling = self.training_data.scaling[refit : refit + 1]
            theta = scaling.to_standardized_weights(self.coefficients[refit])[:, 0]
            reason = find_separation(loss, theta, base_rate_weights(loss), tol=self.model.tol)
            if reason:
                hint, key = "set model.l2 above 0 (0.01, say), train on more rows, or use fewer features", "model.l2"
                if reason == COMPLETE_SEPARATION and self._is_separated_beyond_chance(refit):
                    hint = (
                        "look-ahead in a feature is the first suspect, since so many rows are not separated by chance"
                    )
                    hint, key = f"{hint}: run quantlr audit", "features"
                text = f"{reason}, so that no best fit exists; {hint}"
                self._handle_degenerate_refit(refit, text, config_key=key)

    def _is_separated_beyond_chance(self, refit: int) -> bool:
        """Return whether so many rows of both classes are hardly ever separated by chance."""
        n_of_smaller_class = int(min(self.n_ups[refit], self.n_rows[refit] - self.n_ups[refit]))
        n_weights = 1 + self.training_data.X.shape[1]
        return chance_of_separation(2 * n_of_smaller_class, n_weights) < MAX_CHANCE_OF_SEPARATION

    def _unfittable_reason(self, refit_index: int) -> str:
        n_rows = self.n_rows[refit_index]
        if n_rows < 2:
            return "fewer than 2 training rows have a label; lengthen walk_forward.train or don't drop ties"
        return (
            f"all {n_rows} training rows are {'ups' if self.n_ups[refit_index] else 'downs'}; needed both; lengthen "
            "walk_forward.train, or check whether the closes ever change"
        )

    def _handle_degenerate_refit(self, refit: int, reason: str, *, config_key: str = "walk_forward.train") -> None:
        """Raise, or let the refit forecast its base rate; with one class, Laplace's (ups + 1) / (rows + 2)."""
        if self.model.degenerate == "error":
            text = f"{self.describe_refit(refit)}: {reason}; or set model.degenerate to base_rate"
            raise DegenerateFold(text, key=config_key)
        n_rows, n_ups = self.n_rows[refit : refit + 1], self.n_ups[refit : refit + 1]
        has_both = (n_ups > 0) & (n_ups < n_rows)
        base_rate = np.where(has_both, n_ups / np.maximum(n_rows, 1), (n_ups + 1.0) / (n_rows + 2.0))
        self.coefficients[refit] = 0.0
        self.coefficients[refit, 0] = logit(base_rate)[0]
        self.iterations[refit], self.max_abs_gradient[refit], self.converged[refit] = 0, 0.0, True
        self.degenerate[refit] = True
        self.last_raw_weights = None
