"""The logistic loss of many refits at once, near the weights where they start: `LogisticLoss`, computed faster.

The formulas are those of ``logistic.py``, to which the gradient, the Hessian and the fitted weights are tested to be
equal. Four devices make a walk-forward faster than one `LogisticLoss` per refit. In brackets is how many times longer
it takes without the device: with a refit a day on one index, expanding and rolling, and a refit a month on 60 tickers
(``tests/benchmarks/devices.py``).

many refits at once [24, 21, 9]
    Consecutive refits train on nearly the same rows: one matrix product gives the log odds of all rows under all
    refits, and sums at a common point are taken once for the rows that all have in common, and corrected at the edges
    (``sums.py``). All refits start at the weights of the refit before them. Their gradients and Hessians there take one
    pass over the rows, and the inverse Hessians serve as learning rates for all their steps (``fit.py``).
single precision [2.2, 1.8, 2.0]
    A step is so short that only the part of the gradient's change beyond its linear term is summed in single precision.
    The error is bounded by `float32_gradient_error`, and double precision is used where the bound exceeds the
    tolerance.
several models at once [1, 1, 1.2]
    Models with the same folds, those of several tickers, go through the same calls of NumPy.
Anderson acceleration [1.0, 1.1, 1.1]
    Where the inverse Hessian of the start is nearly that of the current point, a step leaves a small share of the way,
    mostly along one direction; two consecutive steps estimate that share (Anderson 1965; ``fit.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import pairwise
from operator import add
from typing import TYPE_CHECKING, Any

import numpy as np

from quantlr.core.values import Array, IntArray
from quantlr.model.batched.rows import LocalRowsFactory, ModelRows
from quantlr.model.batched.sums import Float32Rows, LocalRows
from quantlr.model.logistic import sigmoid, sigmoid_derivative
from quantlr.model.training import MIN_HESSIAN_ROWS, SAMPLE_ROWS, TrainingData, class_weight_pair

if TYPE_CHECKING:
    from quantlr.model.config import LogisticRegression

FLOAT32_UNIT_ROUNDOFF = 2.0**-24
"""Largest relative error of rounding a number to single precision."""
FLOAT32_TANH_ERROR = 3.0 * FLOAT32_UNIT_ROUNDOFF
"""Largest relative error of NumPy's single-precision tanh.

Measured over all numbers from 1e-4 to 20: 1.83 unit roundoffs with AVX2 kernels, 2.83 without.
"""


def float32_gradient_error(length: Array, shared_length: Array) -> Array:
    """Return the largest error of a gradient's component where its remainder is summed in single precision.

    Parameters
    ----------
    length : (refits,) sqrt(move' H move), with H the Hessian where the move starts.
    shared_length : (refits,) the same of the part of the move that changes the log odds of all rows alike.

    Returns
    -------
    (refits,) bound on the absolute error of each component.

    Notes
    -----
    With w the share of a row in the mean times the slope of its probability at the start, and z = x.move, a component
    of the gradient changes by sum(w x f), where f = 2 tanh(z/2) / (1 + t tanh(z/2)) and t is the tanh at the start.
    sum(w x z) is taken in double precision, and only sum(w x (f - z)) in single precision. An error of e |z| in each f
    changes the component by at most

        e sum(w |x z|) <= e sqrt(sum(w x^2)) sqrt(sum(w z^2)) <= e length / 2

    (Cauchy and Schwarz; w sums to at most 1/4 and features are standardised). With u the unit roundoff, the sources are

    tanh     `FLOAT32_TANH_ERROR`, 3 u |z|
    1 + .    u / 2 or u, relative to f; none where t is 0
    /        u / 2 on average over z, u at most; none where t is 0
    z, t, w  a few u times |f - z|, which is about |t| z^2 / 2
    sum      of up to `FLOAT32_SUM_ROWS` remainders, rounded at each addition

    Where the rows' z differ, these errors have either sign and mostly cancel: the largest error measured is 0.6 u
    length for short moves and 6 u length^2 for long ones. Where all rows have the same z, because only the intercept
    moves, the errors have one sign in all rows: measured are 1.9 u length, and 23 u length^2 at lengths from 0.1 to
    0.5. The bound adds both, each with a margin; the measurements are repeated by the tests, with every kernel of tanh.
    """
    varied = np.maximum(0.8 * length, 8.5 * length**2)
    shared = np.maximum(2.0 * shared_length, 25.0 * shared_length**2)
    return FLOAT32_UNIT_ROUNDOFF * np.asarray(varied + shared)


@dataclass(frozen=True, slots=True)
class BatchedLoss:
    """The loss of the same consecutive refits of one or several models, one column of weights per refit.

    Weights are those of the standardised features, as in `LogisticLoss`. `refits` counts the refits of all models,
    model after model.

    Attributes
    ----------
    row_factories : for each model, the blocks of its rows, in local units.
    feature_mean, feature_std : (k, refits) by which features in local units are standardised.
    class_factor : (classes, refits) factor by which a sum over the rows of a class enters the mean; one class if
        classes have no weights.
    label_gradient : (p, refits) the part of the gradient that does not depend on theta, in local units.
    l2 : penalty on all weights but the intercept.
    start_theta : (p, refits) weights at the start: the same log odds for all refits of a model.
    start_gradient, start_hessian : (p, refits), (refits, p, p) at the start.
    float32_rows : for each model, its rows in single precision; None where that would not be exact enough.
    tol : largest error of a gradient's component that single precision may cause.
    """

    row_factories: tuple[Sequence[LocalRowsFactory], ...]
    feature_mean: Array
    feature_std: Array
    class_factor: Array
    label_gradient: Array
    l2: float
    start_theta: Array
    start_gradient: Array
    start_hessian: Array
    float32_rows: tuple[Float32Rows | None, ...] = ()
    tol: float = 0.0

    def gradient(self, theta: Array, refits: IntArray) -> Array:
        """Return the gradients (p, columns) of some refits, by their ascending indices, at weights (p, columns).

        Where rows are summed in single precision, the error is at most `float32_gradient_error`, which is at most
        `tol`.
        """
        is_all = len(refits) == self.start_theta.shape[1]
        move = theta - self.start_theta[:, refits]
        linear: Array = np.matvec(self.start_hessian if is_all else self.start_hessian[refits], move.T).T
        errors = self._float32_errors(move, linear, refits)
        half_move = (0.5 * self._to_local_weights(move, refits)).astype(np.float32)
        sums = np.zeros((len(self.class_factor) * len(theta), len(refits)))
        float64_columns = np.zeros(len(refits), dtype=np.bool_)
        for model, columns, model_refits in self._iter_models(refits):
            rows = self.float32_rows[model]
            if rows and errors[columns].max() <= self.tol and rows.is_accurate_for_step(half_move[:, columns]):
                sums[:, columns] = rows.nonlinear_tanh_row_sums(half_move[:, columns], model_refits)
            else:
                float64_columns[columns] = True
        gradient = self.start_gradient[:, refits] + linear + self._mean_gradient(0.5 * sums, refits)
        if float64_columns.any():
            gradient[:, float64_columns] = self.float64_gradient(theta[:, float64_columns], refits[float64_columns])
        return np.asarray(gradient)

    def float64_gradient(self, theta: Array, refits: IntArray) -> Array:
        """Return the same gradients in double precision.

        g - y is (tanh(z/2) + 1 - 2y) / 2. All but the tanh does not depend on theta.
        """
        half_theta = 0.5 * self._to_local_weights(theta, refits)
        sums = np.zeros((len(self.class_factor) * len(theta), len(refits)))
        for model, columns, model_refits in self._iter_models(refits):
            for make_rows in self.row_factories[model]:
                sums[:, columns] += make_rows().tanh_row_sums(half_theta[:, columns], model_refits)
        return add_penalty(self._mean_gradient(0.5 * sums, refits, self.label_gradient[:, refits]), self.l2 * theta)

    def with_float32_rows(self, expected_theta: Array, *, tol: float) -> BatchedLoss:
        """Return the loss with single-precision rows for the models that they suffice for.

        Rows are copied only where the whole way to `expected_theta` (p, refits) is short enough; `gradient` decides
        again at each point.
        """
        refits = np.arange(expected_theta.shape[1])
        move = expected_theta - self.start_theta
        errors = self._float32_errors(move, np.matvec(self.start_hessian, move.T).T, refits)
        start = self._to_local_weights(self.start_theta, refits)
        float32_rows: list[Float32Rows | None] = []
        for model, columns, _ in self._iter_models(refits):
            factories = self.row_factories[model]
            # The linear term is that of the Hessian of all rows, which are in memory if they are one block.
            is_usable = len(factories) == 1 and errors[columns].max() <= tol
            float32_rows.append(factories[0]().float32_rows_around(start[:, columns.start]) if is_usable else None)
        return replace(self, float32_rows=tuple(float32_rows), tol=tol)

    def _float32_errors(self, move: Array, linear: Array, refits: IntArray) -> Array:
        """Return the `float32_gradient_error` of some refits, (columns,), after a move; `linear` is Hessian @ move."""
        length = np.sqrt(np.maximum(np.einsum("pj,pj->j", move, linear), 0.0))
        intercept_curvature = np.maximum(self.start_hessian[refits, 0, 0], np.finfo(np.float64).tiny)
        return float32_gradient_error(length, np.abs(linear[0]) / np.sqrt(intercept_curvature))

    def _iter_models(self, refits: IntArray) -> Iterator[tuple[int, slice, IntArray]]:
        """Yield the index of each model with the columns of its refits in `refits`, and their indices in the model."""
        n_models, n_refits = len(self.row_factories), self.start_theta.shape[1] // len(self.row_factories)
        edges = np.searchsorted(refits, np.arange(n_models + 1) * n_refits).tolist()
        for model, (first, last) in enumerate(pairwise(edges)):
            if first < last:
                yield model, slice(first, last), refits[first:last] - model * n_refits

    def _to_local_weights(self, theta: Array, refits: IntArray) -> Array:
        return to_local_weights(theta, self.feature_mean[:, refits], self.feature_std[:, refits])

    def _mean_gradient(self, class_sums: Array, refits: IntArray, label_gradient: Array | float = 0.0) -> Array:
        """Return the standardised gradient (p, columns) from sums by class (classes * p, columns) in local units."""
        by_class = class_sums.reshape(len(self.class_factor), -1, len(refits)) * self.class_factor[:, None, refits]
        local_gradient = np.add.reduce(by_class) + label_gradient
        return to_standardized_gradient(local_gradient, self.feature_mean[:, refits], self.feature_std[:, refits])


def add_penalty(gradient: Array, penalty_gradient: Array) -> Array:
    """Add the gradient of the penalty to that of all weights but the intercept, in place, and return it."""
    gradient[1:] += penalty_gradient[1:]
    return gradient


def make_batched_loss(
    models: Sequence[tuple[TrainingData, ModelRows, Array]], config: LogisticRegression, refit_slice: slice
) -> BatchedLoss:
    """Return the loss of the same refits of several models.

    Parameters
    ----------
    models : training data, rows, and raw weights (1 + k,) where the refits are to start, of each model.
    config : penalty and weights of rows.
    refit_slice : the refits.
    """
    parts = [_make_single_model_loss(*model, config, refit_slice) for model in models]
    if len(parts) == 1:
        return parts[0]
    by_refit = ("feature_mean", "feature_std", "class_factor", "label_gradient", "start_theta", "start_gradient")
    joined: dict[str, Any] = {name: np.concatenate([getattr(p, name) for p in parts], axis=-1) for name in by_refit}
    hessian = np.concatenate([part.start_hessian for part in parts])
    return BatchedLoss(tuple(p.row_factories[0] for p in parts), l2=config.resolved_l2, start_hessian=hessian, **joined)


def _make_single_model_loss(
    training_data: TrainingData, model_rows: ModelRows, start_weights: Array, config: LogisticRegression, refits: slice
) -> BatchedLoss:
    local = model_rows.local_scaling(refits)
    factories = model_rows.make_row_factories(refits)
    start_theta = training_data.scaling[refits].to_standardized_weights(start_weights)
    # Constant features have no effect: their weights are 0, and any deviation and curvature will do.
    is_constant = local.std == 0
    mean, std = local.mean.T, np.where(is_constant, 1.0, local.std).T
    common_start = to_local_weights(start_theta, mean, std)[:, 0]
    row_stride = max(
        training_data.n_window_rows(refits.start) // max(SAMPLE_ROWS * len(local.mean), MIN_HESSIAN_ROWS), 1
    )

    def sums_at_start(rows: LocalRows) -> tuple[Array, Array]:
        g = sigmoid(rows.X @ common_start)
        row_sums = rows.row_sums_by_class(np.stack([np.ones(len(g)), rows.y, g]))
        return row_sums, rows.second_moments_by_class(sigmoid_derivative(g), row_stride=row_stride)

    sums_by_block = zip(*(sums_at_start(make_rows()) for make_rows in factories), strict=True)
    row_sums, hessian_sums = (reduce(add, block_sums) for block_sums in sums_by_block)
    all_sums, up_sums = row_sums[:, :2].sum(axis=2).transpose(1, 2, 0)
    by_class = np.stack([all_sums - up_sums, up_sums])
    totals = by_class[:, 0]
    class_weight = np.stack([np.broadcast_to(weight, totals[0].shape) for weight in class_weight_pair(config, totals)])
    factor = class_weight / (class_weight * totals).sum(axis=0)
    targets = np.array([[0.0], [1.0]])
    if training_data.use_platt_targets:
        targets = np.stack([1.0 / (totals[0] + 2.0), (totals[1] + 1.0) / (totals[1] + 2.0)])
    mean_x = np.einsum("cj,cpj->pj", factor, by_class)
    mean_x_times_target = np.einsum("cj,cpj->pj", factor * targets, by_class)
    class_factor = factor if config.class_weight is not None else factor[:1]
    gradient = np.einsum("cj,jcp->pj", class_factor, row_sums[:, 2]) - mean_x_times_target
    hessian = to_standardized_hessian(np.einsum("cj,jcpq->jpq", class_factor, hessian_sums), mean, std)
    slopes = np.arange(1, len(start_theta))
    hessian[:, slopes, slopes] += config.resolved_l2 + is_constant
    return BatchedLoss(
        row_factories=(factories,),
        feature_mean=mean,
        feature_std=std,
        class_factor=class_factor,
        label_gradient=0.5 * mean_x - mean_x_times_target,
        l2=config.resolved_l2,
        start_theta=start_theta,
        start_gradient=add_penalty(to_standardized_gradient(gradient, mean, std), config.resolved_l2 * start_theta),
        start_hessian=hessian,
    )


def to_local_weights(theta: Array, mean: Array, std: Array) -> Array:
    """Return weights (p, refits) of features x, from those of (x - mean) / std; `mean` and `std` are (k, refits)."""
    local = np.empty_like(theta)
    np.divide(theta[1:], std, out=local[1:])
    np.subtract(theta[0], np.einsum("kj,kj->j", local[1:], mean), out=local[0])
    return local


def to_standardized_gradient(local_gradient: Array, mean: Array, std: Array) -> Array:
    """Return the gradient (p, refits) by the weights of (x - mean) / std, from that by those of x, in place."""
    local_gradient[1:] -= mean * local_gradient[0]
    local_gradient[1:] /= std
    return local_gradient


def to_standardized_hessian(local_hessian: Array, mean: Array, std: Array) -> Array:
    """Return the Hessians (refits, p, p) by the weights of (x - mean) / std, from those by the weights of x."""
    by_columns = local_hessian.transpose(1, 2, 0)
    by_rows = to_standardized_gradient(by_columns.copy(), mean[:, None], std[:, None])
    return np.ascontiguousarray(
        to_standardized_gradient(by_rows.swapaxes(0, 1), mean[:, None], std[:, None]).transpose(2, 0, 1)
    )
