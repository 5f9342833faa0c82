"""All refits of a walk-forward: chunks of neighbours that descend together, and what can't be fitted told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from quantlr.core.arrays import Array, BoolArray, IntArray
from quantlr.core.errors import DegenerateFold, LearningRateTooLarge
from quantlr.model.batched.loss import Objective, RefitBatch
from quantlr.model.batched.training import BLOCK_ROWS, SAMPLE_ROWS, ObjectiveBuilder, TrainingData
from quantlr.model.config import LogisticRegression
from quantlr.model.logistic import logit
from quantlr.model.separation import SEPARATION_TOL, find_separation
from quantlr.model.solvers import (
    SolverResult,
    StepFunction,
    condition_number,
    iterate_steps,
    lipschitz,
    make_nesterov_step,
    make_preconditioned_step,
    newton_batch,
    newton_single,
    step_matrix,
)
from quantlr.model.standardize import overlapping_refit_slices

WARM_START_SAMPLE_ROWS = (SAMPLE_ROWS // 8, SAMPLE_ROWS, 8 * SAMPLE_ROWS)
"""Rows of the samples that a first guess is learnt from, each starting from where the one before has led to."""
MIN_SAMPLE_ROWS_PER_WEIGHT = 64
"""Rows to learn from that a sample has for each weight, at least: fewer would lead astray."""
WARM_START_TOL_TIMES_SQRT_ROWS = 0.1
"""Tolerance for the weights of a sample, times the root of its rows: it knows no better."""
WARM_START_MAX_ITER = 200
"""Updates that a sample is descended by at most."""


def base_rate_weights(objective: Objective) -> Array:
    """Return the weights (p,) that give the first refit's share of ups to every row, in local units."""
    flat = np.zeros(objective.n_weights)
    flat[0] = logit(objective.label_sums.mean_x_times_target[0, :1])[0]
    return flat


def warm_start(training_data: TrainingData, model: LogisticRegression, refit_index: int) -> Array | None:
    """Return the weights (1 + k,), in raw units, that samples of a refit's rows lead to.

    None where it has so few rows, or so few of either class, that they are better gone through from the base rate.
    """
    guess: Array | None = None
    weights = 1 + int((training_data.scaling.std[refit_index] > 0).sum())
    for enough in WARM_START_SAMPLE_ROWS:
        sample, tol = (
            training_data.subsample_refit(refit_index, min_rows=enough),
            WARM_START_TOL_TIMES_SQRT_ROWS / np.sqrt(enough),
        )
        if sample is None:
            break
        (rows,), (ups,) = sample.row_and_up_counts()
        if rows < MIN_SAMPLE_ROWS_PER_WEIGHT * weights or ups in (0, rows):
            continue
        objective = ObjectiveBuilder(sample, model).build_objective(
            slice(0, 1), start_weights=guess, min_hessian_rows=SAMPLE_ROWS
        )
        if guess is None:
            found = newton_single(objective, [base_rate_weights(objective)], tol=tol, max_iter=WARM_START_MAX_ITER)
        else:
            there = RefitBatch.from_objectives([objective], [objective.local_scaling.to_local_weights(guess)])
            found = newton_batch(there, tol=tol, max_iter=WARM_START_MAX_ITER)
        guess = np.asarray(objective.local_scaling.to_raw_weights(found.theta)[0])
    return guess


TRAINING_PAIRS_PER_CHUNK = 2**19
"""Pairs of a row and a refit that descend at once: enough to make one product of many, few enough to be near."""
MAX_REFITS_PER_CHUNK = 96
"""Refits of a chunk, at most."""
MIN_CHUNK_ROW_OVERLAP = 0.5
"""Rows that refits of a chunk have in common, at least, as a share of the first one's."""

DescribeRefit = Callable[[int], str]
"""From the number of a refit to words for a message."""
RefitProgressCallback = Callable[[int], None]
"""Hears how many refits have just ended."""


@dataclass(frozen=True, slots=True)
class FitResults:
    """What all refits learnt; see `Refits` for the fields."""

    coefficients: Array
    iterations: IntArray
    max_abs_gradient: Array
    converged: BoolArray
    degenerate: BoolArray
    condition_number: float


def no_refit_progress(n_refits: int) -> None:
    """Hear that refits have ended, and do nothing."""


def fit_folds(
    training_data: TrainingData,
    model: LogisticRegression,
    *,
    describe_refit: DescribeRefit = str,
    on_refits_done: RefitProgressCallback = no_refit_progress,
) -> FitResults:
    """Return the weights of every refit, descending chunk by chunk, each chunk from where the last one ended.

    What a refit learns comes from its own training rows and from where an earlier refit has come to: nothing that
    later rows say can reach it.

    Parameters
    ----------
    training : rows, labels, and which of them train which refit.
    model : how to descend.
    describe : names a refit for a message.
    advance : hears how many refits have just ended.

    Raises
    ------
    DegenerateFold : training rows of one class, or classes that a plane separates, unless `model.degenerate` allows.
    LearningRateTooLarge : `model.learning_rate` would not go downhill.
    """
    return fit_many([training_data], model, describe_refits=[describe_refit], on_refits_done=on_refits_done)[0]


def fit_many(
    training_sets: Sequence[TrainingData],
    model: LogisticRegression,
    *,
    describe_refits: Sequence[DescribeRefit],
    on_refits_done: RefitProgressCallback = no_refit_progress,
) -> list[FitResults]:
    """Return what `fit_folds` returns of each training; where their chunks are alike, they descend side by side.

    What is learnt from one training does not depend on the others: only the time that it takes does.
    """
    walks = [
        _SequentialRefitter(training, model, words)
        for training, words in zip(training_sets, describe_refits, strict=True)
    ]
    going = [walk for walk in walks if not walk.is_done]
    while going:
        chunk = min((walk.next_refit_slice() for walk in going), key=_slice_start)
        abreast = [walk for walk in going if walk.next_refit_slice() == chunk]
        before = sum(walk.next_refit for walk in abreast)
        _fit_chunk(abreast, chunk)
        on_refits_done(sum(walk.next_refit for walk in abreast) - before)
        going = [walk for walk in going if not walk.is_done]
    return [walk.results() for walk in walks]


def _slice_start(refit_slice: slice) -> int:
    return int(refit_slice.start)


def _fit_chunk(fitters: list[_SequentialRefitter], refit_slice: slice) -> None:
    """Let the same refits of several models descend side by side, as far as each can."""
    ready = [walk for walk in fitters if not walk.fit_without_newton(refit_slice)]
    for alike in _group_by_n_active_features(ready):
        objectives = [
            walk.objective_builder.build_objective(refit_slice, start_weights=walk.last_raw_weights) for walk in alike
        ]
        starts = [walk.start_candidates(objective)[0] for walk, objective in zip(alike, objectives, strict=True)]
        model = alike[0].model
        found = newton_batch(RefitBatch.from_objectives(objectives, starts), tol=model.tol, max_iter=model.max_iter)
        each = refit_slice.stop - refit_slice.start
        for at, (walk, objective) in enumerate(zip(alike, objectives, strict=True)):
            walk.store_newton_batch(found.slice_refits(slice(at * each, (at + 1) * each)), objective, refit_slice)


def _group_by_n_active_features(fitters: list[_SequentialRefitter]) -> list[list[_SequentialRefitter]]:
    """Return walks in groups that have as many weights in their next refit."""
    groups: dict[int, list[_SequentialRefitter]] = {}
    for walk in fitters:
        groups.setdefault(walk.n_active_features(), []).append(walk)
    return list(groups.values())


class _SequentialRefitter:
    """A walk from refit to refit, and what it has found so far."""

    def __init__(self, training_data: TrainingData, model: LogisticRegression, describe_refit: DescribeRefit) -> None:
        self.training_data, self.model, self.describe_refit = training_data, model, describe_refit
        self.objective_builder = ObjectiveBuilder(training_data, model)
        rows, ups = training_data.row_and_up_counts()
        refits = len(rows)
        self.n_rows, self.n_ups = rows, ups
        self.unfittable_mask = rows < 2 if training_data.use_platt_targets else (ups == 0) | (ups == rows)
        self.base_rate_log_odds = _base_rate_log_odds(rows, ups)
        self.coefficients = np.zeros((refits, 1 + training_data.X.shape[1]))
        self.iterations = np.zeros(refits, dtype=np.int64)
        self.max_abs_gradient = np.zeros(refits)
        self.converged = np.ones(refits, dtype=np.bool_)
        self.degenerate = np.zeros(refits, dtype=np.bool_)
        self.max_newton_chunk_refits = MAX_REFITS_PER_CHUNK
        self.last_raw_weights: Array | None = None
        self.last_refit_and_objective: tuple[int, Objective] | None = None
        self.next_refit = 0
        self.pending_refit_slices = list(self._iter_similar_refit_slices())

    @property
    def is_done(self) -> bool:
        """Whether every refit has been fitted."""
        return self.next_refit == len(self.n_rows)

    def results(self) -> FitResults:
        """Return what the refits learnt."""
        return FitResults(
            self.coefficients,
            self.iterations,
            self.max_abs_gradient,
            self.converged,
            self.degenerate,
            self._last_condition_number(),
        )

    def _last_condition_number(self) -> float:
        """Return the condition number of the newest refit's features; of very many rows, a sample is looked at."""
        trained = np.flatnonzero(self.n_rows)
        if not len(trained):
            return np.nan
        sample = self.training_data.subsample_refit(int(trained[-1]))
        if sample is not None:
            return condition_number(ObjectiveBuilder(sample, self.model).build_objective(slice(0, 1)))
        return condition_number(self._objective_of_refit(int(trained[-1])))

    def _objective_of_refit(self, refit_index: int) -> Objective:
        """Return the objective of one refit, out of that of the last chunk where it is one of them."""
        if (
            self.last_refit_and_objective is not None
            and self.last_refit_and_objective[0]
            <= refit_index
            < self.last_refit_and_objective[0] + self.last_refit_and_objective[1].n_refits
        ):
            first, objective = self.last_refit_and_objective
            return objective.select_refit(refit_index - first) if objective.n_refits > 1 else objective
        return self.objective_builder.build_objective(slice(refit_index, refit_index + 1))

    def next_refit_slice(self) -> slice:
        """Return the next refits that may descend together."""
        while self.next_refit >= self.pending_refit_slices[0].stop:
            self.pending_refit_slices.pop(0)
        stop = self.pending_refit_slices[0].stop
        if self.unfittable_mask[self.next_refit]:
            return slice(self.next_refit, stop)
        rows_at_once = min(int(self.n_rows[self.next_refit]) // len(self.training_data.folds) + 1, BLOCK_ROWS)
        most = min(max(TRAINING_PAIRS_PER_CHUNK // rows_at_once, 1), MAX_REFITS_PER_CHUNK)
        if self.model.solver == "newton":
            most = min(self.max_newton_chunk_refits, most) if self._ensure_start_weights() else 1
        return slice(self.next_refit, min(self.next_refit + most, stop))

    def n_active_features(self) -> int:
        """Return how many features the next refit has that are not constant."""
        return int((self.training_data.scaling.std[self.next_refit] > 0).sum())

    def fit_without_newton(self, refit_slice: slice) -> bool:
        """Return whether a chunk needs, and has now had, another way than to descend by its curvature at the start."""
        if self.unfittable_mask[refit_slice.start]:
            for at in range(refit_slice.start, refit_slice.stop):
                self._handle_degenerate_refit(at, self._unfittable_reason(at))
            self.next_refit = refit_slice.stop
        elif self.model.solver != "newton":
            self._fit_by_learning_rate(self.objective_builder.build_objective(refit_slice), refit_slice)
        return bool(self.next_refit == refit_slice.stop)

    def _iter_similar_refit_slices(self) -> Iterator[slice]:
        """Yield runs of refits that share most of their rows, the features that are constant, and both classes."""
        span = np.inf if self.model.half_life is None else self.model.half_life * len(self.training_data.folds)
        kind = np.column_stack([self.training_data.scaling.std > 0, self.unfittable_mask])
        for run in overlapping_refit_slices(
            self.training_data.folds,
            max_refits=MAX_REFITS_PER_CHUNK,
            min_overlap=MIN_CHUNK_ROW_OVERLAP,
            max_row_change=span,
        ):
            breaks = np.flatnonzero((kind[run][1:] != kind[run][:-1]).any(axis=1)) + 1 + run.start
            for first, last in pairwise([run.start, *breaks.tolist(), run.stop]):
                yield slice(first, last)

    def _ensure_start_weights(self) -> bool:
        """Return whether there are weights to start from: the last refit's, or those that a sample leads to."""
        if self.last_raw_weights is None:
            self.last_raw_weights = warm_start(self.training_data, self.model, self.next_refit)
        return self.last_raw_weights is not None

    def store_newton_batch(self, result: SolverResult, objective: Objective, refit_slice: slice) -> None:
        """Keep those neighbours that settled, before the first that did not."""
        settled = len(result.converged) if result.converged.all() else int(result.converged.argmin())
        self.max_newton_chunk_refits = (
            min(2 * self.max_newton_chunk_refits, MAX_REFITS_PER_CHUNK)
            if settled == len(result.converged)
            else max(settled, 1)
        )
        self._store_results(slice(refit_slice.start, refit_slice.start + settled), result, objective)
        if self.model.tol > SEPARATION_TOL:
            self._handle_separated_refits(objective, refit_slice.start, settled)
        self.next_refit = refit_slice.start + settled
        # A curvature that never had to be renewed has not been lost: weights that grow without bound lose it.
        if not settled:
            self._fit_single_refit(iterations_spent=int(result.iterations[0]))

    def _fit_single_refit(self, *, iterations_spent: int) -> None:
        """Let one refit descend from the best of the last weights and its own base rate."""
        refit = self.next_refit
        objective = self.objective_builder.build_objective(slice(refit, refit + 1))
        budget = max(self.model.max_iter - iterations_spent, 0)
        found = newton_single(objective, self.start_candidates(objective), tol=self.model.tol, max_iter=budget)
        self._store_results(
            slice(refit, refit + 1), replace(found, iterations=found.iterations + iterations_spent), objective
        )
        self._handle_separated_refits(objective, refit, 1)
        self.next_refit = refit + 1

    def _fit_by_learning_rate(self, objective: Objective, refit_slice: slice) -> None:
        """Descend by one number per refit, 1/L or the user's."""
        start = self.start_candidates(objective)[0]
        columns = np.repeat(start[:, None], objective.n_refits, axis=1)
        step = make_learning_rate_step(
            objective, self.model, columns, lambda at: self.describe_refit(refit_slice.start + at)
        )
        found = iterate_steps(objective, columns, step, tol=self.model.tol, max_iter=self.model.max_iter)
        self._store_results(refit_slice, found, objective)
        self._handle_separated_refits(objective, refit_slice.start, objective.n_refits)
        self.next_refit = int(refit_slice.stop)

    def start_candidates(self, objective: Objective) -> list[Array]:
        """Return where a refit may begin: at the last weights, and at its own base rate."""
        flat = base_rate_weights(objective)
        return (
            [flat]
            if self.last_raw_weights is None
            else [objective.local_scaling.to_local_weights(self.last_raw_weights), flat]
        )

    def _store_results(self, refit_slice: slice, result: SolverResult, objective: Objective) -> None:
        count = refit_slice.stop - refit_slice.start
        self.last_refit_and_objective = refit_slice.start, objective
        if count:
            self.coefficients[refit_slice] = objective.local_scaling.to_raw_weights(result.theta[:, :count])
            self.iterations[refit_slice] = result.iterations[:count]
            self.max_abs_gradient[refit_slice] = result.max_abs_gradient[:count]
            self.converged[refit_slice] = result.converged[:count]
            self.last_raw_weights = self.coefficients[refit_slice.stop - 1]

    def _handle_separated_refits(self, objective: Objective, first_refit: int, n_refits: int) -> None:
        """Give up those refits whose best weights would be infinite; `objective` starts with refit `first`."""
        if self.model.l2 > 0 or self.training_data.use_platt_targets:
            return
        for at in range(n_refits):
            one = objective.select_refit(at) if objective.n_refits > 1 else objective
            theta = one.local_scaling.to_local_weights(self.coefficients[first_refit + at])
            why = find_separation(one, theta, base_rate_weights(one), tol=self.model.tol)
            if why:
                self._handle_degenerate_refit(
                    first_refit + at,
                    f"{why}, so that no best fit exists; set model.l2 above 0 (0.01, say), train "
                    "on more rows, or use fewer features",
                    config_key="model.l2",
                )

    def _unfittable_reason(self, refit_index: int) -> str:
        rows = self.n_rows[refit_index]
        if rows < 2:
            return "fewer than 2 training rows have a label; lengthen walk_forward.train or don't drop ties"
        return (
            f"all {rows} training rows are {'ups' if self.n_ups[refit_index] else 'downs'}; needed both; lengthen "
            "walk_forward.train, or see whether the closes ever change"
        )

    def _handle_degenerate_refit(
        self, refit_index: int, reason: str, *, config_key: str = "walk_forward.train"
    ) -> None:
        if self.model.degenerate == "error":
            raise DegenerateFold(
                f"{self.describe_refit(refit_index)}: {reason}; or set model.degenerate to base_rate", key=config_key
            )
        self.coefficients[refit_index] = 0.0
        self.coefficients[refit_index, 0] = self.base_rate_log_odds[refit_index]
        self.iterations[refit_index], self.max_abs_gradient[refit_index], self.converged[refit_index] = 0, 0.0, True
        self.degenerate[refit_index] = True
        self.last_raw_weights = None


def _base_rate_log_odds(n_rows: IntArray, n_ups: IntArray) -> Array:
    """Return the log odds of each refit's share of ups; of one class, Laplace's (ups + 1) / (rows + 2) instead."""
    both = (n_ups > 0) & (n_ups < n_rows)
    share = np.where(both, n_ups / np.maximum(n_rows, 1), (n_ups + 1.0) / (n_rows + 2.0))
    return logit(share)


def make_learning_rate_step(
    objective: Objective, model: LogisticRegression, start_theta: Array, describe_refit: DescribeRefit
) -> StepFunction:
    """Return the plain or the accelerated step of each refit from `start` (p, refits).

    Raises
    ------
    LearningRateTooLarge : the model names a rate that would not go downhill for one of the refits.
    """
    limit = lipschitz(objective)
    rate = 1.0 / limit
    if model.learning_rate != "auto":
        largest, sign, name = (rate, "<=", "1/L") if model.solver == "nesterov" else (2.0 * rate, "<", "2/L")
        too_large = model.learning_rate > largest if sign == "<=" else model.learning_rate >= largest
        if too_large.any():
            at = int(too_large.argmax())
            raise LearningRateTooLarge(
                f"{describe_refit(at)}: {model.learning_rate:g} would not go downhill; the {model.solver} descent needs a "
                f"rate {sign} {name} = {largest[at]:.4g} here; lower it or write auto",
                key="model.learning_rate",
            )
        rate = np.full_like(rate, model.learning_rate)
    P = step_matrix(objective, rate)
    return make_nesterov_step(P, start_theta) if model.solver == "nesterov" else make_preconditioned_step(P)
