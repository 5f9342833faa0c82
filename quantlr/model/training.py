"""Training data of one model, the loss of some of its refits, and the fit of a single one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from quantlr.core.values import Array, BoolArray, Folds, IntArray
from quantlr.model.logistic import LogisticLoss, logit
from quantlr.model.solvers import FIRST_ORDER_SOLVERS, SolverResult, learning_rates, newton
from quantlr.model.splits import fold_sums
from quantlr.model.standardize import Scaling, local_units, to_local_units

if TYPE_CHECKING:
    from quantlr.model.base import ClassWeights
    from quantlr.model.config import LogisticRegression

SAMPLE_ROWS = 2**14
"""Rows of a sample for the start of a solver."""
MIN_HESSIAN_ROWS = 2**17
"""Smallest number of rows from which a Hessian is estimated; all rows are used up to this number."""
MIN_ROWS_KEPT_RAW = 2**15
"""Number of rows from which a single refit's rows are not copied, if their units allow it."""
MAX_CENTER_TO_SCALE = 8.0
"""Largest ratio of a feature's mean to its standard deviation at which sums in its own units lose no digits."""
WARM_START_SAMPLE_ROWS = (SAMPLE_ROWS // 8, SAMPLE_ROWS, 8 * SAMPLE_ROWS)
"""Rows of the samples that are fitted for a warm start, each starting from the weights of the one before."""
MIN_SAMPLE_ROWS_PER_WEIGHT = 64
"""Smallest number of labelled rows per weight for a sample to be fitted."""
WARM_START_TOL_TIMES_SQRT_ROWS = 0.1
"""Tolerance for the fit of a sample, times the square root of its rows: of the size of its sampling error."""
WARM_START_MAX_ITER = 200
"""Largest number of updates for the fit of a sample."""


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Features and labels of one model, and which rows train which refit.

    Attributes
    ----------
    X : (rows, k) features in their own units.
    y : (rows,) labels, 0 or 1; NaN for rows that train no refit.
    folds : the folds of each ticker of the model, all with the same refits.
    scaling : mean and standard deviation of each refit's training rows.
    session_index : (rows,) session of each row, by which its weight decays; None counts rows.
    sample_weight : (rows,) weight of each row, at least 0; None for all 1.
    use_platt_targets : whether labels are replaced by Platt's smoothed targets.
    """

    X: Array
    y: Array
    folds: Sequence[Folds]
    scaling: Scaling
    session_index: IntArray | None = None
    sample_weight: Array | None = None
    use_platt_targets: bool = False

    def n_window_rows(self, refit_index: int) -> int:
        """Return the number of rows in the training windows of a refit, over all tickers."""
        return sum(int(ticker.train_stop[refit_index] - ticker.train_start[refit_index]) for ticker in self.folds)

    def row_and_up_counts(self) -> tuple[IntArray, IntArray]:
        """Return the number of rows that train each refit, and how many of them are labelled up, (refits,) each."""

        def label_and_up_masks(row_slice: slice) -> BoolArray:
            y = self.y[row_slice]
            masks = np.stack([~np.isnan(y), y > 0])
            return masks if self.sample_weight is None else masks & (self.sample_weight[row_slice] > 0)

        n_rows, n_ups = fold_sums(label_and_up_masks, self.folds).astype(np.int64)
        return n_rows, n_ups

    def refit_rows(self, refit_index: int) -> IntArray:
        """Return the positions of the rows with a label that train a refit, over all tickers."""
        rows = [np.arange(ticker.train_start[refit_index], ticker.train_stop[refit_index]) for ticker in self.folds]
        joined = np.concatenate(rows)
        return np.asarray(joined[~np.isnan(self.y[joined])])

    def row_sessions(self, rows: slice) -> IntArray:
        """Return the session of each of some rows; the position of the row where sessions are not known."""
        return np.arange(rows.start, rows.stop) if self.session_index is None else self.session_index[rows]

    def subsample_refit(self, refit_index: int, *, min_rows: int = SAMPLE_ROWS) -> TrainingData | None:
        """Return evenly spaced rows of one refit, at least `min_rows`; None if it has less than twice as many."""
        step = self.n_window_rows(refit_index) // min_rows
        if step < 2:
            return None
        windows = [(ticker.train_start[refit_index], ticker.train_stop[refit_index]) for ticker in self.folds]
        rows = np.concatenate([np.arange(start, stop, step) for start, stop in windows])
        start, stop = np.zeros(1, dtype=np.int64), np.full(1, len(rows))
        return TrainingData(
            self.X[rows],
            self.y[rows],
            [Folds(start, stop, stop, stop)],
            self.scaling[refit_index : refit_index + 1],
            None if self.session_index is None else self.session_index[rows],
            None if self.sample_weight is None else self.sample_weight[rows],
            self.use_platt_targets,
        )


def refit_row_slices(training_data: TrainingData, refit_slice: slice) -> list[slice]:
    """Return the rows of each ticker from the first to the last that trains one of some consecutive refits."""
    return [
        slice(int(ticker.train_start[refit_slice].min()), int(ticker.train_stop[refit_slice].max()))
        for ticker in training_data.folds
    ]


class RowWeights(Protocol):
    """The settings of a model that weigh its training rows."""

    @property
    def class_weight(self) -> Literal["balanced"] | ClassWeights | None:
        """Weights of ups and downs."""

    @property
    def half_life(self) -> float | None:
        """Age in sessions at which the weight of a row has halved."""


def make_loss(training_data: TrainingData, model: LogisticRegression, refit_slice: slice) -> LogisticLoss:
    """Return the loss of consecutive refits, on the rows of `refit_row_slices` one after the other.

    A row's share in a refit's mean is its weight by `weigh_rows` over the sum of these. Platt's targets are
    1 / (downs + 2) and (ups + 1) / (ups + 2) (Platt 1999). The weights of a single refit are vectors.
    """
    is_single = refit_slice.stop - refit_slice.start == 1
    up, weight, totals = weigh_rows(training_data, model, refit_slice)
    targets = up
    if training_data.use_platt_targets:
        column = up if is_single else up[:, None]
        targets = np.where(column > 0, (totals[1] + 1.0) / (totals[1] + 2.0), 1.0 / (totals[0] + 2.0))
    X, scaling = _take_slices(training_data.X, training_data, refit_slice), training_data.scaling[refit_slice]
    if not (is_single and _can_stay_raw(X, scaling)):
        center, scale = local_units(scaling)
        X, scaling = to_local_units(X, center, scale), scaling.in_units_of(center, scale)
    mean, std = (scaling.mean[0], scaling.std[0]) if is_single else (scaling.mean, scaling.std)
    stride = max(len(X) // MIN_HESSIAN_ROWS, 1)
    return LogisticLoss(
        X, targets, weight / weight.sum(axis=0), mean, std, model.resolved_l2, hessian_row_stride=stride
    )


def weigh_rows(training_data: TrainingData, model: RowWeights, refit_slice: slice) -> tuple[Array, Array, Array]:
    """Return labels and weights of the rows of consecutive refits, those of `refit_row_slices` one after the other.

    Returns
    -------
    up : (rows,) labels, 0 where there is none.
    weight : (rows,) of a single refit, else (rows, refits): the sample weight, times 2^(-age / half_life) in sessions,
        times the weight of the row's class; 0 without a label or outside the refit's window.
    totals : (2,) or (2, refits) sums over downs and ups before the weights of the classes. `balanced` classes have the
        same total afterwards.
    """
    row_slices = refit_row_slices(training_data, refit_slice)
    is_single = refit_slice.stop - refit_slice.start == 1
    y = _take_slices(training_data.y, training_data, refit_slice)
    has_label = ~np.isnan(y)
    up = np.where(has_label, y, 0.0)
    row_weight = has_label.astype(np.float64)
    if training_data.sample_weight is not None:
        row_weight *= _take_slices(training_data.sample_weight, training_data, refit_slice)
    if model.half_life is not None:
        session = np.concatenate([training_data.row_sessions(rows) for rows in row_slices])
        row_weight *= np.exp2((session - session.max()) / model.half_life)
    weight = row_weight if is_single else row_weight[:, None] * _training_masks(training_data, row_slices, refit_slice)
    totals = np.stack([(1.0 - up) @ weight, up @ weight])
    if model.class_weight is not None:
        down_weight, up_weight = class_weight_pair(model, totals)
        weight = weight * np.where((up > 0) if is_single else (up > 0)[:, None], up_weight, down_weight)
    return up, weight, totals


def mean_one_weights(training_data: TrainingData, model: RowWeights, refit_index: int) -> Array:
    """Return the weight of each of the rows `TrainingData.refit_rows` of a refit, with mean 1."""
    refit_slice = slice(refit_index, refit_index + 1)
    weight = weigh_rows(training_data, model, refit_slice)[1]
    weight = weight[~np.isnan(_take_slices(training_data.y, training_data, refit_slice))]
    return np.asarray(weight / weight.mean())


def class_weight_pair(model: RowWeights, total_weight_by_class: Array) -> tuple[Array, Array]:
    """Return the weights of downs and of ups, () or (refits,), from the totals of their rows, (2,) or (2, refits)."""
    if model.class_weight is None:
        return np.ones(()), np.ones(())
    if model.class_weight == "balanced":
        total = total_weight_by_class.sum(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            down, up = np.where(total_weight_by_class > 0, total / (2.0 * total_weight_by_class), 1.0)
        return down, up
    return np.array(model.class_weight.down), np.array(model.class_weight.up)


def _take_slices(values: Array, training_data: TrainingData, refit_slice: slice) -> Array:
    """Return the values of the rows of `refit_row_slices`; a view where there is one slice."""
    row_slices = refit_row_slices(training_data, refit_slice)
    return values[row_slices[0]] if len(row_slices) == 1 else np.concatenate([values[rows] for rows in row_slices])


def _training_masks(training_data: TrainingData, row_slices: list[slice], refit_slice: slice) -> BoolArray:
    """Return whether each row trains each refit, (rows, refits)."""
    masks = []
    for ticker, rows in zip(training_data.folds, row_slices, strict=True):
        row = np.arange(rows.start, rows.stop)[:, None]
        masks.append((row >= ticker.train_start[refit_slice]) & (row < ticker.train_stop[refit_slice]))
    return np.concatenate(masks)


def _can_stay_raw(X: Array, scaling: Scaling) -> bool:
    """Return whether rows need no copy in local units: they are many, and no mean is large against its deviation."""
    is_near_zero = (np.abs(scaling.mean) <= MAX_CENTER_TO_SCALE * scaling.std) | (scaling.std == 0)
    return len(X) > MIN_ROWS_KEPT_RAW and bool(is_near_zero.all())


def base_rate_weights(loss: LogisticLoss) -> Array:
    """Return the weights (p,) or (p, refits) that give every row its refit's base rate; all 0 without an intercept."""
    weights = np.zeros((loss.n_weights, *loss.sample_weight.shape[1:]))
    if loss.fit_intercept:
        weights[0] = logit((loss.sample_weight.T * loss.y.T).sum(axis=-1))
    return weights


def warm_start_weights(training_data: TrainingData, model: LogisticRegression, refit_index: int) -> Array | None:
    """Return the standardised weights (p,) of increasing samples of a refit's rows.

    None where the refit, or a class in the samples, has so few rows that the base rate is the better start.
    """
    weights: Array | None = None
    n_weights = 1 + int((training_data.scaling.std[refit_index] > 0).sum())
    for min_rows in WARM_START_SAMPLE_ROWS:
        sample = training_data.subsample_refit(refit_index, min_rows=min_rows)
        if sample is None:
            break
        (n_rows,), (n_ups,) = sample.row_and_up_counts()
        if n_rows < MIN_SAMPLE_ROWS_PER_WEIGHT * n_weights or n_ups in (0, n_rows):
            continue
        loss = make_loss(sample, model, slice(0, 1))
        tol = WARM_START_TOL_TIMES_SQRT_ROWS / np.sqrt(min_rows)
        start = base_rate_weights(loss) if weights is None else weights
        weights = newton(loss, start, tol=tol, max_iter=WARM_START_MAX_ITER).theta
    return weights


def run_solver(loss: LogisticLoss, model: LogisticRegression, start: Array, *, name: str) -> tuple[SolverResult, float]:
    """Return the weights of one refit with the loss at every point, and the learning rate; 1/L for Newton's method.

    `name` starts the message of an error.
    """
    if model.solver == "newton":
        return newton(loss, start, tol=model.tol, max_iter=model.max_iter), 1.0 / float(loss.lipschitz())
    losses: list[float] = []

    def record_loss(theta: Array) -> None:
        losses.append(float(loss.loss(theta)))

    rate = learning_rates(loss, model, lambda _: name)
    solver = FIRST_ORDER_SOLVERS[model.solver]
    result = solver(loss, start, learning_rate=rate, tol=model.tol, max_iter=model.max_iter, callback=record_loss)
    record_loss(result.theta)
    return replace(result, losses=np.array(losses)), float(rate)
