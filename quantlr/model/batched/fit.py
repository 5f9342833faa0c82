"""Fits all refits of a walk-forward, in batches of consecutive refits and of several models at once.

A batch starts at the weights of the refit before it and uses the inverse Hessians at that point. Refits that do not
converge so start a later batch, and a refit that does not converge from the weights of the one just before it is fitted
alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from quantlr.core.errors import DegenerateFold, LearningRateTooLarge
from quantlr.core.values import Array, BoolArray, IntArray
from quantlr.model.batched.loss import Objective
from quantlr.model.batched.refit_batch import RefitBatch
from quantlr.model.batched.training import BLOCK_ROWS, SAMPLE_ROWS, ObjectiveBuilder, TrainingData
from quantlr.model.config import LogisticRegression
from quantlr.model.logistic import logit
from quantlr.model.separation import SEPARATION_TOL, find_separation
from quantlr.model.solvers import (
    FIRST_ORDER_SOLVERS,
    SolverResult,
    condition_number,
    lipschitz,
    newton_batch,
    newton_single,
)
from quantlr.model.windows import overlapping_refit_slices

WARM_START_SAMPLE_ROWS = (SAMPLE_ROWS // 8, SAMPLE_ROWS, 8 * SAMPLE_ROWS)
"""Rows of the samples that are fitted for a warm start, each starting from the weights of the one before."""
MIN_SAMPLE_ROWS_PER_WEIGHT = 64
"""Smallest number of labelled rows per weight for a sample to be fitted."""
WARM_START_TOL_TIMES_SQRT_ROWS = 0.1
"""Tolerance for the fit of a sample, times the square root of its rows: of the size of its sampling error."""
WARM_START_MAX_ITER = 200
"""Largest number of updates for the fit of a sample."""
TRAINING_PAIRS_PER_CHUNK = 2**19
"""Pairs of a row and a refit per batch: many enough for large matrix products, few enough to be near the start."""
MAX_REFITS_PER_CHUNK = 96
"""Largest number of refits of a model in a batch."""
MIN_CHUNK_ROW_OVERLAP = 0.5
"""Smallest ratio of the rows common to a batch to those of its first refit."""

DescribeRefit = Callable[[int], str]
"""Takes the index of a refit and returns its description for a message."""
RefitProgressCallback = Callable[[int], None]
"""Receives the number of refits that have just been fitted."""


@dataclass(frozen=True, slots=True)
class FitResults:
    """Weights and convergence of all refits of a model; see `quantlr.core.values.Refits` for the fields."""

    coefficients: Array
    iterations: IntArray
    max_abs_gradient: Array
    converged: BoolArray
    degenerate: BoolArray
    condition_number: float = np.nan


def ignore_refit_progress(n_refits: int) -> None:
    """Do nothing; the default progress callback."""


def fit_folds(training_data: TrainingData, model: LogisticRegression) -> FitResults:
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
) -> list[FitResults]:
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
    groups: dict[int, list[_SequentialRefitter]] = {}
    for fitter in fitters:
        if not fitter.fit_without_newton(refit_slice):
            n_varying_features = int((fitter.training_data.scaling.std[refit_slice.start] > 0).sum())
            groups.setdefault(n_varying_features, []).append(fitter)
    n_refits = refit_slice.stop - refit_slice.start
    for group in groups.values():
        builders = [(fitter.objective_builder, fitter.last_raw_weights) for fitter in group]
        objectives = [builder.build_objective(refit_slice, start_weights=weights) for builder, weights in builders]
        starts = [fitter.start_candidates(objective)[0] for fitter, objective in zip(group, objectives, strict=True)]
        model = group[0].model
        result = newton_batch(RefitBatch.from_objectives(objectives, starts), tol=model.tol, max_iter=model.max_iter)
        for index, (fitter, objective) in enumerate(zip(group, objectives, strict=True)):
            refits = slice(index * n_refits, (index + 1) * n_refits)
            fitter.store_converged_prefix(result.slice_refits(refits), objective, refit_slice)


def base_rate_weights(objective: Objective) -> Array:
    """Return the weights (p,), in local units, that give every row the base rate of the first refit."""
    weights = np.zeros(objective.n_weights)
    weights[0] = logit(objective.label_sums.mean_x_times_target[0, :1])[0]
    return weights


def warm_start_weights(training_data: TrainingData, model: LogisticRegression, refit_index: int) -> Array | None:
    """Return the weights (1 + k,), in raw units, of increasing samples of a refit's rows.

    None where the refit, or a class in the samples, has so few rows that the base rate is the better start.
    """
    weights: Array | None = None
    n_weights = 1 + int((training_data.scaling.std[refit_index] > 0).sum())
    for min_rows in WARM_START_SAMPLE_ROWS:
        tol = WARM_START_TOL_TIMES_SQRT_ROWS / np.sqrt(min_rows)
        sample = training_data.subsample_refit(refit_index, min_rows=min_rows)
        if sample is None:
            break
        (n_rows,), (n_ups,) = sample.row_and_up_counts()
        if n_rows < MIN_SAMPLE_ROWS_PER_WEIGHT * n_weights or n_ups in (0, n_rows):
            continue
        builder = ObjectiveBuilder(sample, model)
        objective = builder.build_objective(slice(0, 1), start_weights=weights, min_hessian_rows=SAMPLE_ROWS)
        if weights is None:
            result = newton_single(objective, [base_rate_weights(objective)], tol=tol, max_iter=WARM_START_MAX_ITER)
        else:
            batch = RefitBatch.from_objectives([objective], [objective.local_scaling.to_local_weights(weights)])
            result = newton_batch(batch, tol=tol, max_iter=WARM_START_MAX_ITER)
        weights = np.asarray(objective.local_scaling.to_raw_weights(result.theta)[0])
    return weights


class _SequentialRefitter:
    """Fits the refits of one model in order, and holds the results so far."""

    def __init__(self, training_data: TrainingData, model: LogisticRegression, describe_refit: DescribeRefit) -> None:
        self.training_data, self.model, self.describe_refit = training_data, model, describe_refit
        self.objective_builder = ObjectiveBuilder(training_data, model)
        self.n_rows, self.n_ups = n_rows, n_ups = training_data.row_and_up_counts()
        self.unfittable_mask = n_rows < 2 if training_data.use_platt_targets else (n_ups == 0) | (n_ups == n_rows)
        n_refits = len(n_rows)
        coefficients, gradient = np.zeros((n_refits, 1 + training_data.X.shape[1])), np.zeros(n_refits)
        iterations, degenerate = np.zeros(n_refits, dtype=np.int64), np.zeros(n_refits, dtype=np.bool_)
        self.fits = FitResults(coefficients, iterations, gradient, ~degenerate, degenerate)
        self.max_newton_chunk_refits = MAX_REFITS_PER_CHUNK
        self.last_raw_weights: Array | None = None
        self.last_refit_and_objective: tuple[int, Objective] | None = None
        self.next_refit = 0
        self.pending_refit_slices = list(self._iter_similar_refit_slices())

    def results(self) -> FitResults:
        """Return the results, with the condition number of the last refit's features."""
        refits = np.flatnonzero(self.n_rows)
        if not len(refits):
            return self.fits
        return replace(self.fits, condition_number=condition_number(self._sample_objective(int(refits[-1]))))

    def _sample_objective(self, refit: int) -> Objective:
        """Return the objective of a refit, of a sample if its rows are many."""
        sample = self.training_data.subsample_refit(refit)
        if sample is not None:
            return ObjectiveBuilder(sample, self.model).build_objective(slice(0, 1))
        if self.last_refit_and_objective is not None:
            first, objective = self.last_refit_and_objective
            if first <= refit < first + objective.n_refits:
                return objective.select_refit(refit - first)
        return self.objective_builder.build_objective(slice(refit, refit + 1))

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
                self.last_raw_weights = warm_start_weights(self.training_data, self.model, first)
            max_refits = 1 if self.last_raw_weights is None else min(self.max_newton_chunk_refits, max_refits)
        return slice(first, min(first + max_refits, stop))

    def fit_without_newton(self, refit_slice: slice) -> bool:
        """Fit a chunk without a solution, or by a first-order solver; return whether it was one of these."""
        if self.unfittable_mask[refit_slice.start]:
            for refit in range(refit_slice.start, refit_slice.stop):
                self._handle_degenerate_refit(refit, self._unfittable_reason(refit))
        elif self.model.solver != "newton":
            self._fit_and_store_first_order(self.objective_builder.build_objective(refit_slice), refit_slice)
        else:
            return False
        self.next_refit = refit_slice.stop
        return True

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

    def store_converged_prefix(self, result: SolverResult, objective: Objective, refit_slice: slice) -> None:
        """Store the refits before the first that has not converged; fit that one alone if it is the first."""
        first, converged = refit_slice.start, result.converged
        n_converged = len(converged) if converged.all() else int(converged.argmin())
        doubled = min(2 * self.max_newton_chunk_refits, MAX_REFITS_PER_CHUNK)
        self.max_newton_chunk_refits = doubled if n_converged == len(converged) else max(n_converged, 1)
        self._store_results(slice(first, first + n_converged), result, objective)
        # At a tight tolerance the Hessian of the start shows separation by itself: growing weights do not converge.
        if self.model.tol > SEPARATION_TOL:
            self._handle_separated_refits(objective, first, n_converged)
        self.next_refit = first + n_converged
        if not n_converged:
            self._fit_single_refit(iterations_spent=int(result.iterations[0]))

    def _fit_single_refit(self, *, iterations_spent: int) -> None:
        """Fit the next refit by Newton's method, from the last weights or its base rate, whichever is better."""
        refit = self.next_refit
        objective = self.objective_builder.build_objective(slice(refit, refit + 1))
        max_iter = max(self.model.max_iter - iterations_spent, 0)
        result = newton_single(objective, self.start_candidates(objective), tol=self.model.tol, max_iter=max_iter)
        result = replace(result, iterations=result.iterations + iterations_spent)
        self._store_results(slice(refit, refit + 1), result, objective)
        self._handle_separated_refits(objective, refit, 1)
        self.next_refit = refit + 1

    def _fit_and_store_first_order(self, objective: Objective, refit_slice: slice) -> None:
        start = np.repeat(self.start_candidates(objective)[0][:, None], objective.n_refits, axis=1)
        first, model = refit_slice.start, self.model
        learning_rate = learning_rates(objective, model, lambda index: self.describe_refit(first + index))
        solver = FIRST_ORDER_SOLVERS[model.solver]
        result = solver(objective, start, learning_rate=learning_rate, tol=model.tol, max_iter=model.max_iter)
        self._store_results(refit_slice, result, objective)
        self._handle_separated_refits(objective, refit_slice.start, objective.n_refits)

    def start_candidates(self, objective: Objective) -> list[Array]:
        """Return the starts of a refit: the last weights, if there are any, and its base rate."""
        base_rate = base_rate_weights(objective)
        if self.last_raw_weights is None:
            return [base_rate]
        return [objective.local_scaling.to_local_weights(self.last_raw_weights), base_rate]

    def _store_results(self, refit_slice: slice, result: SolverResult, objective: Objective) -> None:
        n_refits = refit_slice.stop - refit_slice.start
        self.last_refit_and_objective = refit_slice.start, objective
        if n_refits:
            self.fits.coefficients[refit_slice] = objective.local_scaling.to_raw_weights(result.theta[:, :n_refits])
            for name in ("iterations", "max_abs_gradient", "converged"):
                getattr(self.fits, name)[refit_slice] = getattr(result, name)[:n_refits]
            self.last_raw_weights = self.fits.coefficients[refit_slice.stop - 1]

    def _handle_separated_refits(self, objective: Objective, first_refit: int, n_refits: int) -> None:
        """Handle the refits whose classes are separated as degenerate; `objective` starts with `first_refit`."""
        if self.model.l2 > 0 or self.training_data.use_platt_targets:
            return
        for index in range(n_refits):
            refit_objective = objective.select_refit(index)
            theta = objective.local_scaling.to_local_weights(self.fits.coefficients[first_refit + index])
            start = base_rate_weights(refit_objective)
            reason = find_separation(refit_objective, theta, start, tol=self.model.tol)
            if reason:
                hint = "set model.l2 above 0 (0.01, say), train on more rows, or use fewer features"
                text = f"{reason}, so that no best fit exists; {hint}"
                self._handle_degenerate_refit(first_refit + index, text, config_key="model.l2")

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
        fits = self.fits
        fits.coefficients[refit] = 0.0
        fits.coefficients[refit, 0] = logit(base_rate)[0]
        fits.iterations[refit], fits.max_abs_gradient[refit], fits.converged[refit] = 0, 0.0, True
        fits.degenerate[refit] = True
        self.last_raw_weights = None


def learning_rates(objective: Objective, model: LogisticRegression, describe_refit: DescribeRefit) -> Array:
    """Return the learning rate of each refit, (refits,): 1/L, or that of the model.

    Raises
    ------
    LearningRateTooLarge : with the model's rate, steps may raise the loss of one of the refits.
    """
    derived = 1.0 / lipschitz(objective)
    learning_rate = model.learning_rate
    if learning_rate == "auto":
        return derived
    is_nesterov = model.solver == "nesterov"
    limit = derived if is_nesterov else 2.0 * derived
    too_large = learning_rate > limit if is_nesterov else learning_rate >= limit
    if too_large.any():
        index = int(too_large.argmax())
        raise LearningRateTooLarge(
            f"{describe_refit(index)}: a learning rate of {learning_rate:g} diverges: for {model.solver} it must be "
            f"{'at most 1/L' if is_nesterov else 'below 2/L'} = {limit[index]:.4g}; lower it or write auto",
            key="model.learning_rate",
        )
    return np.full_like(derived, learning_rate)
