"""What many refits minimise at once: the loss of ``logistic.py``, one column of weights per refit.

Neighbouring refits train on nearly the same rows. One matrix holds the union of them; column j of Theta belongs to
refit j, and one product with the matrix gives the log odds of all rows under all refits. Rows that refit j doesn't
train on are cleared from its column: only those at the edges, since the core is common to all.

A row counts by its weight, and by the weight of its class, which may differ from refit to refit. What is summed is
therefore kept apart by class where classes have weights, and each refit takes its own share of either sum.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np

from quantlr.core.arrays import Array, IntArray
from quantlr.model.batched.sums import Float32Rows, LocalRows, LocalScaling, RawRows, Scaling
from quantlr.model.logistic import pointwise_log_loss, sigmoid, sigmoid_derivative

TrainingRows = LocalRows | RawRows
"""Rows that are asked the same questions."""
TrainingRowsFactory = Callable[[], TrainingRows]
"""Gives one ticker's rows."""
ClassWeightOption = Literal["balanced"] | tuple[float, float] | None
"""Weights of the classes: such that both weigh the same, or those of downs and ups, or one each."""


@dataclass(frozen=True, slots=True)
class LabelSums:
    """What each refit's labels come to.

    Attributes
    ----------
    totals : (2, refits) summed weight of its downs and of its ups.
    share : (classes, refits) what one unit of weight counts in the mean, by class or in all.
    target : (2, refits) what stands for a down and for an up; 0 and 1 unless smoothed.
    mean : (p, refits) weighted mean of the rows.
    said : (p, refits) weighted mean of the rows times their targets.
    """

    total_weight_by_class: Array
    mean_factor_by_class: Array
    target_by_class: Array
    mean_x: Array
    mean_x_times_target: Array

    @classmethod
    def from_row_sums(
        cls, row_sums: Array, up_row_sums: Array, class_weight: ClassWeightOption, *, use_platt_targets: bool
    ) -> LabelSums:
        """Return the labels of several refits.

        Parameters
        ----------
        sums, ups : (refits, p) sums of the weighted rows, and of those that went up; the first column is a count.
        class_weight : of downs and ups.
        smoothed : whether targets are Platt's, 1 / (downs + 2) and (ups + 1) / (ups + 2), instead of 0 and 1.
        """
        by_class = np.stack([row_sums - up_row_sums, up_row_sums])
        totals = by_class[:, :, 0]
        if class_weight is None and not use_platt_targets:
            share = 1.0 / row_sums[:, 0]
            target = np.broadcast_to([[0.0], [1.0]], totals.shape)
            return cls(totals, share[None], target, row_sums.T * share, up_row_sums.T * share)
        all_of = totals.sum(axis=0)
        factor = np.ones_like(totals)
        if class_weight == "balanced":
            with np.errstate(divide="ignore", invalid="ignore"):
                factor = np.where(totals > 0, all_of / (2.0 * totals), 1.0)
        elif class_weight is not None:
            factor = np.repeat(np.asarray(class_weight)[:, None], totals.shape[1], axis=1)
        share = factor / (factor * totals).sum(axis=0)
        target = np.repeat([[0.0], [1.0]], totals.shape[1], axis=1)
        if use_platt_targets:
            target = np.stack([1.0 / (totals[0] + 2.0), (totals[1] + 1.0) / (totals[1] + 2.0)])
        mean = np.einsum("cj,cjp->pj", share, by_class)
        said = np.einsum("cj,cjp->pj", share * target, by_class)
        return cls(totals, share if class_weight is not None else share[:1], target, mean, said)


@dataclass(frozen=True, slots=True)
class RefitBlock:
    """What each of several refits minimises, apart from its rows: one column of weights per refit.

    Attributes
    ----------
    labels : what each refit's labels come to.
    mean, deviation : (refits, k) what standardises each refit's features, in local units.
    l2 : penalty.
    """

    label_sums: LabelSums
    feature_mean: Array
    feature_std: Array
    l2: float

    @property
    def n_refits(self) -> int:
        """Number of refits."""
        return int(self.feature_mean.shape[0])

    @property
    def n_weights(self) -> int:
        """Number of weights, the intercept among them."""
        return 1 + int(self.feature_mean.shape[1])

    def standardize_gradient(self, gradient: Array, refit_indices: IntArray | slice = slice(None)) -> Array:
        """Return a gradient (p, refits) as that of each refit's own standardised weights."""
        slopes = (gradient[1:] - self.feature_mean[refit_indices].T * gradient[0]) / self.feature_std[refit_indices].T
        return np.concatenate([gradient[:1], slopes])

    def max_abs_standardized_gradient(self, gradient: Array, refit_indices: IntArray | None = None) -> Array:
        """Return the largest component of each refit's standardised gradient, (columns,)."""
        at = slice(None) if refit_indices is None or len(refit_indices) == self.n_refits else refit_indices
        return np.asarray(np.abs(self.standardize_gradient(gradient, at)).max(axis=0))

    def standardized_to_local_matrix(self) -> Array:
        """Return A (refits, p, p): theta = A @ theta_standardised, and a standardised gradient is A' @ gradient."""
        A = np.zeros((self.n_refits, self.n_weights, self.n_weights))
        A[:, 0, 0] = 1.0
        A[:, 0, 1:] = -self.feature_mean / self.feature_std
        A[:, np.arange(1, self.n_weights), np.arange(1, self.n_weights)] = 1.0 / self.feature_std
        return A

    def combine_class_sums(self, class_sums: Array, refit_indices: IntArray | slice) -> Array:
        """Return sums kept apart by class (classes * p, columns) as each refit's mean, (p, columns)."""
        by_class = (
            class_sums.reshape(-1, self.n_weights, class_sums.shape[1])
            * self.label_sums.mean_factor_by_class[:, None, refit_indices]
        )
        return np.asarray(by_class.sum(axis=0) if len(by_class) > 1 else by_class[0])

    def add_penalty_gradient(self, gradient: Array, theta: Array, refit_indices: IntArray | slice) -> Array:
        """Return a gradient (p, columns), to which the penalty's at `theta` is added in place."""
        if self.l2:
            gradient[1:] += self.l2 * self.feature_std[refit_indices].T ** 2 * theta[1:]
        return gradient


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What one look at all rows from one point sees, before the classes are put together.

    Attributes
    ----------
    theta : (p,) the point.
    first : (refits, classes, p) sums of probability times row.
    second : (refits, classes, p, p) sums of probability's slope times x x'.
    """

    theta: Array
    probability_row_sums: Array
    hessian_sums: Array


@dataclass(frozen=True, slots=True)
class Objective(RefitBlock):
    """Mean weighted log loss + l2/2 * sum of squared standardised weights, for several refits; the intercept is free.

    Attributes
    ----------
    parts : the tickers' rows, in local units; gone through again at every look.
    units : the local units.
    thin : curvatures are estimated from every so many rows; gradients and losses never are.
    look : what was seen from where a descent is to start; None if that was not known.
    """

    row_factories: Sequence[TrainingRowsFactory]
    local_scaling: LocalScaling
    hessian_row_stride: int = 1
    start_evaluation: Evaluation | None = None

    @classmethod
    def from_row_factories(
        cls,
        row_factories: Sequence[TrainingRowsFactory],
        local_scaling: LocalScaling,
        scaling: Scaling,
        *,
        l2: float,
        class_weight: ClassWeightOption = None,
        use_platt_targets: bool = False,
        hessian_row_stride: int = 1,
        start_theta: Array | None = None,
    ) -> Objective:
        """Return the objective of the refits that `parts` train and `scaling` standardises.

        Where it is known at which point (p,) a descent is to `start`, rows are looked at from there on the same way.
        """

        def label_and_start_sums(rows: TrainingRows) -> tuple[Array, ...]:
            counted = np.ones(len(rows.y)), rows.y
            if start_theta is None:
                return (rows.row_sums_by_class(np.stack(counted)),)
            g = sigmoid(rows.log_odds(start_theta))
            return rows.row_sums_by_class(np.stack([*counted, g])), rows.second_moments_by_class(
                sigmoid_derivative(g), row_stride=hessian_row_stride
            )

        sums, *second = (
            _sum_arrays(found) for found in zip(*(label_and_start_sums(make()) for make in row_factories), strict=True)
        )
        everything, ups = sums[:, :2].sum(axis=2).transpose(1, 0, 2)
        return cls(
            row_factories=row_factories,
            label_sums=LabelSums.from_row_sums(everything, ups, class_weight, use_platt_targets=use_platt_targets),
            local_scaling=local_scaling,
            feature_mean=(scaling.mean[:, local_scaling.nonconstant_mask] - local_scaling.center) / local_scaling.scale,
            feature_std=scaling.std[:, local_scaling.nonconstant_mask] / local_scaling.scale,
            l2=l2,
            hessian_row_stride=hessian_row_stride,
            start_evaluation=None if start_theta is None else Evaluation(start_theta, sums[:, 2], second[0]),
        )

    def gradient(self, theta: Array, refit_indices: IntArray | None = None) -> Array:
        """Return the gradient of some refits, all unless `columns` says which, at their columns `theta` (p, columns).

        g - y is (tanh(z/2) + 1 - 2y) / 2: all but the tanh does not depend on theta, and is there already.
        """
        at = slice(None) if refit_indices is None or len(refit_indices) == self.n_refits else refit_indices
        half = 0.5 * theta
        total = self.combine_class_sums(
            _sum_arrays(self._iter_over_rows(lambda rows: rows.tanh_row_sums(half, at))), at
        )
        total += self.label_sums.mean_x[:, at] - 2.0 * self.label_sums.mean_x_times_target[:, at]
        total *= 0.5
        return self.add_penalty_gradient(total, theta, at)

    def gradient_and_hessian(self, theta: Array) -> tuple[Array, Array]:
        """Return gradients (p, refits) and curvatures (refits, p, p) of all refits at one common point (p,)."""
        look = self.start_evaluation
        if look is None or not np.array_equal(look.theta, theta):
            look = self._evaluate(theta)
        share = self.label_sums.mean_factor_by_class.T
        gradient = (share[:, :, None] * look.probability_row_sums).sum(axis=1).T - self.label_sums.mean_x_times_target
        moments = (share[:, :, None, None] * look.hessian_sums).sum(axis=1)
        return self.add_penalty_gradient(gradient, theta[:, None], slice(None)), self._add_penalty_hessian(moments)

    def hessian_bound(self) -> Array:
        """Return what no refit's curvature exceeds, (refits, p, p): Boehning and Lindsay's X'X / (4n), and the l2."""
        second = _sum_arrays(
            self._iter_over_rows(lambda rows: rows.second_moments_by_class(np.full(len(rows.y), 0.25)))
        )
        return self._add_penalty_hessian(
            (self.label_sums.mean_factor_by_class.T[:, :, None, None] * second).sum(axis=1)
        )

    def select_refit(self, refit_index: int) -> Objective:
        """Return the objective of one of the refits."""
        one = slice(refit_index, refit_index + 1)
        labels = LabelSums(*(getattr(self.label_sums, name)[:, one] for name in LabelSums.__slots__))
        parts = [partial(_make_rows_of_refit, make, refit_index) for make in self.row_factories]
        return Objective(
            labels,
            self.feature_mean[one],
            self.feature_std[one],
            self.l2,
            row_factories=parts,
            local_scaling=self.local_scaling,
            hessian_row_stride=self.hessian_row_stride,
        )

    def loss(self, theta: Array) -> float:
        """Return the objective of a single refit at `theta` (p,)."""
        share, target = self.label_sums.mean_factor_by_class[:, 0], self.label_sums.target_by_class[:, 0]

        def row_loss_sum(rows: TrainingRows) -> float:
            said = target[0] + rows.y * (target[1] - target[0])
            counts = share[0] if rows.weight_by_class is None else rows.weight_by_class @ share
            return float(np.sum(counts * pointwise_log_loss(rows.log_odds(theta), said)))

        penalty = 0.5 * self.l2 * float(np.sum((self.feature_std[0] * theta[1:]) ** 2))
        return float(sum(self._iter_over_rows(row_loss_sum))) + penalty

    def min_margin_and_max_abs_log_odds(self, theta: Array) -> tuple[float, float]:
        """Return the smallest log odds on the right side, (2y - 1) theta.x, and the largest on either side.

        Of a single refit's rows, at `theta` (p,).
        """

        def min_margin_and_negated_max(rows: TrainingRows) -> tuple[float, float]:
            z = rows.log_odds(theta)
            return _min_over_weighted_rows((2.0 * rows.y - 1.0) * z, rows), _min_over_weighted_rows(-np.abs(z), rows)

        margins, reaches = zip(*self._iter_over_rows(min_margin_and_negated_max), strict=True)
        return min(margins), -min(reaches)

    def max_abs_log_odds_change(self, direction: Array) -> float:
        """Return by how much a move along `direction` (p,) changes any log odds of a single refit's rows, at most."""
        return -float(
            min(self._iter_over_rows(lambda rows: _min_over_weighted_rows(-np.abs(rows.log_odds(direction)), rows)))
        )

    def _evaluate(self, theta: Array) -> Evaluation:
        def evaluation_sums(rows: TrainingRows) -> tuple[Array, Array]:
            g = sigmoid(rows.log_odds(theta))
            return rows.row_sums_by_class(g[None])[:, 0], rows.second_moments_by_class(
                sigmoid_derivative(g), row_stride=self.hessian_row_stride
            )

        return Evaluation(
            theta, *(_sum_arrays(found) for found in zip(*self._iter_over_rows(evaluation_sums), strict=True))
        )

    def _iter_over_rows(self, compute_values: Callable[[TrainingRows], Any]) -> Iterable[Any]:
        return (compute_values(make()) for make in self.row_factories)

    def _add_penalty_hessian(self, hessian: Array) -> Array:
        diagonal = np.arange(1, self.n_weights)
        hessian[:, diagonal, diagonal] += self.l2 * self.feature_std**2
        return hessian


def _make_rows_of_refit(make_rows: TrainingRowsFactory, refit_index: int) -> TrainingRows:
    return make_rows().select_refit(refit_index)


def _sum_arrays(arrays: Iterable[Array]) -> Array:
    """Return the sum of arrays, in their order."""
    found = iter(arrays)
    total = next(found)
    for part in found:
        total = total + part
    return total


def _min_over_weighted_rows(values: Array, rows: TrainingRows) -> float:
    """Return the smallest of values (rows,) over the rows that have a weight; infinity where there are none."""
    if rows.weight_by_class is not None:
        values = values[rows.weight_by_class.any(axis=1)]
    return float(np.min(values, initial=np.inf))


FLOAT32_UNIT_ROUNDOFF = 2.0**-24
"""Largest relative error of rounding a number to single precision."""
FLOAT32_TANH_ERROR = 3.0 * FLOAT32_UNIT_ROUNDOFF
"""Largest relative error of NumPy's single-precision tanh.

Measured over all numbers from 1e-4 to 20: 1.83 unit roundoffs with AVX2 kernels, 2.83 without.
"""


def float32_gradient_error(length: float) -> float:
    """Return what a component of a gradient is off by at most, if `Nearby` sums what its move leaves to be summed.

    Parameters
    ----------
    length : sqrt(move' H move), with H the curvature where the move starts.

    Notes
    -----
    With w the share of a row in the mean times its probability's slope at the start, and z = x.move, a component of
    the gradient changes by sum(w x f), where f = 2 tanh(z/2) / (1 + t tanh(z/2)) and t is tanh at the start. Here
    sum(w x z) is taken in double precision, and only sum(w x (f - z)) in single precision. An error of e |z| in each
    f, of whatever sign, changes the component by at most

        e sum(w |x z|) <= e sqrt(sum(w x^2)) sqrt(sum(w z^2)) <= e length / 2,

    by Cauchy and Schwarz, since w sums to at most 1/4 and features are standardised. With u the unit roundoff:

    tanh        2 u |z|: `FLOAT32_TANH_ERROR`. A function's error can have one sign in all rows: u length.
    1 + ., /    u |z| each. Their sign changes from row to row, so their mean over n rows is smaller by about sqrt(n):
                less than 0.1 u length from 100 rows on, which the measured error of tanh leaves room for.
    - z         u |f - z|; it is exact while f is between z/2 and 2z.
    z, t, w x   a few u, times |z| times the relative difference of f and z: again of the size of u |f - z|.
    sum         a few u times sum(w |x (f - z)|).

    f - z is about -t z^2 / 2, so the last three are a few u times sum(w |x| t z^2 / 2), which is of the size of
    length^2 / 2, and partly cancel: u length^2 covers what is left of them. The bound is u length (1 + length). The
    largest error measured is 0.7 of it (20 seeds; 1, 4 and 12 features; with and without class weights; moves of
    length 1e-4 to 8; with AVX2 kernels and without).
    """
    linear = 0.5 * FLOAT32_TANH_ERROR * length
    return linear + FLOAT32_UNIT_ROUNDOFF * length**2


@dataclass(frozen=True, slots=True)
class RefitBatch:
    """Refits that set out together: as many of each model.

    Attributes
    ----------
    objectives : one for each model.
    columns : what belongs to each refit of all models, in their order.
    start : (p, refits) where each refit starts.
    gradient_there, curvature_there : (p, refits), (refits, p, p) at the start.
    near : what each model's rows say near its start; () where rounding would tell.
    tol : error of a gradient's component up to which it is summed in single precision.
    """

    objectives: tuple[Objective, ...]
    refit_block: RefitBlock
    start_theta: Array
    start_gradient: Array
    start_hessian: Array
    float32_rows_by_model: tuple[tuple[Float32Rows, ...], ...]
    tol: float = 0.0

    @classmethod
    def from_objectives(cls, objectives: Sequence[Objective], start_thetas: Sequence[Array]) -> RefitBatch:
        """Return the refits of each objective where they start, one point (p,) for each model."""
        found = [
            objective.gradient_and_hessian(start) for objective, start in zip(objectives, start_thetas, strict=True)
        ]
        return cls(
            objectives=tuple(objectives),
            refit_block=_concatenate_refit_blocks(objectives),
            start_theta=np.repeat(np.stack(start_thetas, axis=1), objectives[0].n_refits, axis=1),
            start_gradient=np.concatenate([gradient for gradient, _ in found], axis=1),
            start_hessian=np.concatenate([curvature for _, curvature in found]),
            float32_rows_by_model=((),) * len(objectives),
        )

    @property
    def n_models(self) -> int:
        """Number of models that go abreast."""
        return len(self.objectives)

    @property
    def n_refits(self) -> int:
        """Number of refits of all models."""
        return self.refit_block.n_refits

    def with_float32_rows(self, expected_theta: Array, *, tol: float) -> RefitBatch:
        """Return the same refits on their way to about `theta` (p, refits), in single precision if that will do.

        Copies of the rows are made only where the whole way is short enough; `gradient` decides again at each point.
        Near a minimum the length of the way in the curvature is about sqrt(-way' gradient).
        """
        length = np.sqrt(np.maximum(np.sum((self.start_theta - expected_theta) * self.start_gradient, axis=0), 0.0))
        longest = length.reshape(self.n_models, -1).max(axis=1)
        exact = [float32_gradient_error(each) <= tol for each in longest.tolist()]
        starts = self.start_theta[:, :: self.n_refits // self.n_models].T
        near = tuple(
            _make_float32_rows(objective, start) if enough else ()
            for objective, start, enough in zip(self.objectives, starts, exact, strict=True)
        )
        return replace(self, float32_rows_by_model=near, tol=tol)

    def gradient(self, theta: Array, refit_indices: IntArray) -> Array:
        """Return the gradient of some refits at their columns `theta` (p, columns), (p, columns).

        It is off by at most `tol`: by `float32_gradient_error` where rows are summed in single precision.
        """
        some = slice(None) if len(refit_indices) == self.n_refits else refit_indices
        move = theta - self.start_theta[:, some]
        linear = np.matvec(self.start_hessian[some], move.T).T
        squared_length = np.einsum("pj,pj->j", move, linear)
        half = (0.5 * move).astype(np.float32)
        sums = np.zeros(
            (len(self.refit_block.label_sums.mean_factor_by_class) * self.refit_block.n_weights, len(refit_indices))
        )
        far: list[tuple[Objective, slice, IntArray]] = []
        for objective, near, mine, at in self._iter_models(refit_indices):
            length = math.sqrt(max(float(squared_length[mine].max()), 0.0))
            if near and float32_gradient_error(length) <= self.tol and near[0].is_accurate_for_step(half[:, mine]):
                sums[:, mine] = near[0].remainders(half[:, mine], at)
            else:
                far.append((objective, mine, at))
        gradient = self.start_gradient[:, some] + linear
        gradient += 0.5 * self.refit_block.combine_class_sums(sums, some)
        for objective, mine, at in far:
            gradient[:, mine] = objective.gradient(theta[:, mine], at)
        return np.asarray(gradient)

    def max_abs_standardized_gradient(self, gradient: Array, refit_indices: IntArray) -> Array:
        """Return the largest component of each refit's standardised gradient, (columns,)."""
        return self.refit_block.max_abs_standardized_gradient(gradient, refit_indices)

    def _iter_models(
        self, refit_indices: IntArray
    ) -> Iterator[tuple[Objective, tuple[Float32Rows, ...], slice, IntArray]]:
        """Yield for each model where its refits stand among `columns`, and which of its own they are."""
        each = self.n_refits // self.n_models
        edges = np.searchsorted(refit_indices, np.arange(self.n_models + 1) * each).tolist()
        for model, (objective, near) in enumerate(zip(self.objectives, self.float32_rows_by_model, strict=True)):
            mine = slice(edges[model], edges[model + 1])
            if mine.start < mine.stop:
                yield objective, near, mine, refit_indices[mine] - model * each


def _make_float32_rows(objective: Objective, start_theta: Array) -> tuple[Float32Rows, ...]:
    """Return what a lone ticker's rows say near the start; () where they are too many for copies to pay.

    `Neighbours.gradient` takes the linear term from the curvature, which must not be an estimate.
    """
    rows = (
        objective.row_factories[0]()
        if len(objective.row_factories) == 1 and objective.hessian_row_stride == 1
        else None
    )
    return (rows.float32_rows_around(start_theta),) if isinstance(rows, LocalRows) else ()


def _concatenate_refit_blocks(objectives: Sequence[Objective]) -> RefitBlock:
    if len(objectives) == 1:
        return objectives[0]
    labels = [objective.label_sums for objective in objectives]
    return RefitBlock(
        label_sums=LabelSums(
            *(np.concatenate([getattr(each, name) for each in labels], axis=1) for name in LabelSums.__slots__)
        ),
        feature_mean=np.concatenate([objective.feature_mean for objective in objectives]),
        feature_std=np.concatenate([objective.feature_std for objective in objectives]),
        l2=objectives[0].l2,
    )
