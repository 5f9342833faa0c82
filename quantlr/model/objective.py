"""What many refits minimise at once: the loss of ``logistic.py``, one column of weights per refit.

Neighbouring refits train on nearly the same rows. One matrix holds the union of them; column j of Theta belongs to
refit j, and one product with the matrix gives the log odds of all rows under all refits. Rows that refit j doesn't
train on are cleared from its column: only those at the edges, since the core is common to all.

A row counts by its weight, and by the weight of its class, which may differ from refit to refit. What is summed is
therefore kept apart by class where classes have weights, and each refit takes its own share of either sum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from quantlr.model.logistic import pointwise_log_loss, sigmoid, sigmoid_derivative
from quantlr.model.rows import LocalRows, RawRows, Scaling, LocalScaling
from quantlr.types import Array, IntArray

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
            labels=LabelSums.from_row_sums(everything, ups, class_weight, use_platt_targets=use_platt_targets),
            local_scaling=local_scaling,
            mean=(scaling.mean[:, local_scaling.nonconstant_mask] - local_scaling.center) / local_scaling.scale,
            deviation=scaling.std[:, local_scaling.nonconstant_mask] / local_scaling.scale,
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
        total += self.labels.mean_x[:, at] - 2.0 * self.labels.mean_x_times_target[:, at]
        total *= 0.5
        return self.add_penalty_gradient(total, theta, at)

    def gradient_and_hessian(self, theta: Array) -> tuple[Array, Array]:
        """Return gradients (p, refits) and curvatures (refits, p, p) of all refits at one common point (p,)."""
        look = self.start_evaluation
        if look is None or not np.array_equal(look.theta, theta):
            look = self._evaluate(theta)
        share = self.labels.mean_factor_by_class.T
        gradient = (share[:, :, None] * look.probability_row_sums).sum(axis=1).T - self.labels.mean_x_times_target
        moments = (share[:, :, None, None] * look.hessian_sums).sum(axis=1)
        return self.add_penalty_gradient(gradient, theta[:, None], slice(None)), self._add_penalty_hessian(moments)

    def hessian_bound(self) -> Array:
        """Return what no refit's curvature exceeds, (refits, p, p): Boehning and Lindsay's X'X / (4n), and the l2."""
        second = _sum_arrays(
            self._iter_over_rows(lambda rows: rows.second_moments_by_class(np.full(len(rows.y), 0.25)))
        )
        return self._add_penalty_hessian((self.labels.mean_factor_by_class.T[:, :, None, None] * second).sum(axis=1))

    def select_refit(self, refit_index: int) -> Objective:
        """Return the objective of one of the refits."""
        one = slice(refit_index, refit_index + 1)
        labels = LabelSums(*(getattr(self.labels, name)[:, one] for name in LabelSums.__slots__))
        parts = [partial(_make_rows_of_refit, make, refit_index) for make in self.row_factories]
        return Objective(
            labels,
            self.mean[one],
            self.deviation[one],
            self.l2,
            row_factories=parts,
            local_scaling=self.local_scaling,
            hessian_row_stride=self.hessian_row_stride,
        )

    def loss(self, theta: Array) -> float:
        """Return the objective of a single refit at `theta` (p,)."""
        share, target = self.labels.mean_factor_by_class[:, 0], self.labels.target_by_class[:, 0]

        def row_loss_sum(rows: TrainingRows) -> float:
            said = target[0] + rows.y * (target[1] - target[0])
            counts = share[0] if rows.weight_by_class is None else rows.weight_by_class @ share
            return float(np.sum(counts * pointwise_log_loss(rows.log_odds(theta), said)))

        penalty = 0.5 * self.l2 * float(np.sum((self.deviation[0] * theta[1:]) ** 2))
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
        hessian[:, diagonal, diagonal] += self.l2 * self.deviation**2
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
