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
from operator import add
from typing import TYPE_CHECKING

import numpy as np

from quantlr.core.values import Array, BoolArray, IntArray
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
    float32_rows : for each model, its rows in single precision; None where that is exact enough for no refit.
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

    def gradient(self, theta: Array, is_active: BoolArray) -> Array:
        """Return the gradients (p, refits) at weights (p, refits); rows are summed for active refits only.

        Columns of refits that are not active, by the mask (refits,), have no meaning. Where rows are summed in single
        precision, the error is at most `float32_gradient_error`, which is at most `tol`.
        """
        move = theta - self.start_theta
        linear: Array = np.matvec(self.start_hessian, move.T).T
        errors = self._float32_errors(move, linear)
        half_moves = self._half_local_weights(move).astype(np.float32)
        sums = np.zeros((theta.shape[1], len(self.class_factor) * len(theta)))
        is_float64 = is_active.copy()
        for model, columns, refits in self._iter_models(is_active & (errors <= self.tol)):
            rows = self.float32_rows[model]
            if rows:
                is_accurate = rows.is_accurate_for_step(half_moves[columns])
                columns = columns[is_accurate]
                sums[columns] = rows.nonlinear_tanh_row_sums(half_moves[columns], refits[is_accurate])
                is_float64[columns] = False
        gradient = self.start_gradient + linear + self._mean_gradient(sums)
        if is_float64.any():
            gradient[:, is_float64] = self.float64_gradient(theta, is_float64)[:, is_float64]
        return gradient

    def float64_gradient(self, theta: Array, is_active: BoolArray) -> Array:
        """Return the same gradients in double precision.

        g - y is (tanh(z/2) + 1 - 2y) / 2. All but the tanh does not depend on theta.
        """
        half_theta = self._half_local_weights(theta)
        sums = np.zeros((theta.shape[1], len(self.class_factor) * len(theta)))
        for model, columns, refits in self._iter_models(is_active):
            for make_rows in self.row_factories[model]:
                sums[columns] += make_rows().tanh_row_sums(half_theta[columns], refits)
        return add_penalty(self._mean_gradient(sums, self.label_gradient), self.l2 * theta)

    def with_float32_rows(self, expected_theta: Array, *, tol: float) -> BatchedLoss:
        """Return the loss with single-precision rows for the models with a refit that they suffice for.

        They suffice where the whole way to `expected_theta` (p, refits) is short enough; `gradient` decides again at
        each point, refit by refit.
        """
        move = expected_theta - self.start_theta
        errors = self._float32_errors(move, np.matvec(self.start_hessian, move.T).T)
        start = to_local_weights(self.start_theta, self.feature_mean, self.feature_std)
        float32_rows: list[Float32Rows | None] = []
        for model, columns, _ in self._iter_models(np.ones(len(errors), dtype=np.bool_)):
            factories = self.row_factories[model]
            # The linear term is that of the Hessian of all rows, which are in memory if they are one block.
            is_usable = len(factories) == 1 and errors[columns].min() <= tol
            float32_rows.append(factories[0]().float32_rows_around(start[:, columns[0]]) if is_usable else None)
        return replace(self, float32_rows=tuple(float32_rows), tol=tol)

    def _float32_errors(self, move: Array, linear: Array) -> Array:
        """Return the `float32_gradient_error` of each refit, (refits,), after a move; `linear` is Hessian @ move."""
        length = np.sqrt(np.maximum(np.einsum("pj,pj->j", move, linear), 0.0))
        intercept_curvature = np.maximum(self.start_hessian[:, 0, 0], np.finfo(np.float64).tiny)
        return float32_gradient_error(length, np.abs(linear[0]) / np.sqrt(intercept_curvature))

    def _iter_models(self, is_active: BoolArray) -> Iterator[tuple[int, IntArray, IntArray]]:
        """Yield the index of each model with active refits, their columns, and their indices in the model."""
        for model, is_active_in_model in enumerate(is_active.reshape(len(self.row_factories), -1)):
            refits = np.flatnonzero(is_active_in_model)
            if len(refits):
                yield model, model * len(is_active_in_model) + refits, refits

    def _half_local_weights(self, theta: Array) -> Array:
        """Return half the weights in local units, (refits, p)."""
        return np.ascontiguousarray(0.5 * to_local_weights(theta, self.feature_mean, self.feature_std).T)

    def _mean_gradient(self, tanh_sums: Array, label_gradient: Array | float = 0.0) -> Array:
        """Return the standardised gradient (p, refits) from sums of tanh by class, (refits, classes * p)."""
        by_class = np.ascontiguousarray(tanh_sums.T).reshape(len(self.class_factor), -1, len(tanh_sums))
        gradient = np.add.reduce(by_class * (0.5 * self.class_factor)[:, None]) + label_gradient
        return to_standardized_gradient(gradient, self.feature_mean, self.feature_std)


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
    l2, n_refits = config.resolved_l2, refit_slice.stop - refit_slice.start
    local = [model_rows.local_scaling(refit_slice) for _, model_rows, _ in models]
    factories = tuple(model_rows.make_row_factories(refit_slice) for _, model_rows, _ in models)
    mean = np.ascontiguousarray(np.concatenate([scaling.mean for scaling in local]).T)
    std = np.concatenate([scaling.std for scaling in local]).T
    # Constant features have no effect: their weights are 0, and any deviation and curvature will do.
    is_constant = std == 0
    std = np.ascontiguousarray(np.where(is_constant, 1.0, std))
    starts = [data.scaling[refit_slice].to_standardized_weights(weights) for data, _, weights in models]
    start_theta = np.concatenate(starts, axis=1)
    common_starts = to_local_weights(start_theta, mean, std)[:, ::n_refits].T
    block_sums = []
    for (data, _, _), model_factories, theta in zip(models, factories, common_starts, strict=True):
        row_stride = max(data.n_window_rows(refit_slice.start) // max(SAMPLE_ROWS * n_refits, MIN_HESSIAN_ROWS), 1)
        blocks = (_sums_at_start(make_rows(), theta, row_stride) for make_rows in model_factories)
        block_sums.append([reduce(add, sums) for sums in zip(*blocks, strict=True)])
    row_sums, hessian_sums = (np.concatenate(sums) for sums in zip(*block_sums, strict=True))
    all_sums, up_sums = row_sums[:, :2].sum(axis=2).transpose(1, 2, 0)
    by_class = np.stack([all_sums - up_sums, up_sums])
    totals = by_class[:, 0]
    class_weight = np.stack([np.broadcast_to(weight, totals[0].shape) for weight in class_weight_pair(config, totals)])
    factor = class_weight / (class_weight * totals).sum(axis=0)
    targets = np.array([[0.0], [1.0]])
    if models[0][0].use_platt_targets:
        targets = np.stack([1.0 / (totals[0] + 2.0), (totals[1] + 1.0) / (totals[1] + 2.0)])
    mean_x = np.einsum("cj,cpj->pj", factor, by_class)
    mean_x_times_target = np.einsum("cj,cpj->pj", factor * targets, by_class)
    class_factor = factor if config.class_weight is not None else factor[:1]
    gradient = np.einsum("cj,jcp->pj", class_factor, row_sums[:, 2]) - mean_x_times_target
    hessian = to_standardized_hessian(np.einsum("cj,jcpq->jpq", class_factor, hessian_sums), mean, std)
    slopes = np.arange(1, len(start_theta))
    hessian[:, slopes, slopes] += l2 + is_constant.T
    return BatchedLoss(
        row_factories=factories,
        feature_mean=mean,
        feature_std=std,
        class_factor=class_factor,
        label_gradient=0.5 * mean_x - mean_x_times_target,
        l2=l2,
        start_theta=start_theta,
        start_gradient=add_penalty(to_standardized_gradient(gradient, mean, std), l2 * start_theta),
        start_hessian=hessian,
    )


def _sums_at_start(rows: LocalRows, theta: Array, row_stride: int) -> tuple[Array, Array]:
    """Return each refit's sums by class of 1, y and g times the rows, and of g (1 - g) x x', at weights theta (p,)."""
    g = sigmoid(rows.X @ theta)
    row_sums = rows.row_sums_by_class(np.stack([np.ones(len(g)), rows.y, g]))
    return row_sums, rows.second_moments_by_class(sigmoid_derivative(g), row_stride=row_stride)


def to_local_weights(theta: Array, mean: Array, std: Array) -> Array:
    """Return weights (p, refits) of features x, from those of (x - mean) / std; `mean` and `std` are (k, refits)."""
    local = np.empty_like(theta)
    np.divide(theta[1:], std, out=local[1:])
    # A sum feature by feature, so that its rounding does not depend on the number of refits.
    np.subtract(theta[0], sum(local[1:] * mean), out=local[0])
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
