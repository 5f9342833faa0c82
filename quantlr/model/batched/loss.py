"""The logistic loss of many refits at once, one column of weights per refit; see ``logistic.py`` for the formulas.

Consecutive refits train on nearly the same rows. One design matrix holds the union of them. Column j of Theta belongs
to refit j, and one matrix product gives the log odds of all rows under all refits. Rows on which refit j does not train
are set to zero in its column; these are only rows at the edges, as the other rows are common to all refits.

A row counts by its own weight and by that of its class, which may differ between refits. Sums are therefore kept by
class where classes have weights, and combined with the class weights of each refit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from operator import add
from typing import Any, Literal

import numpy as np

from quantlr.core.values import Array, IntArray
from quantlr.model.batched.sums import LocalRows, RawRows
from quantlr.model.logistic import pointwise_log_loss, sigmoid, sigmoid_derivative
from quantlr.model.standardize import LocalScaling, Scaling

TrainingRows = LocalRows | RawRows
"""Training rows of one ticker; both classes have the same methods."""
TrainingRowsFactory = Callable[[], TrainingRows]
"""Returns the rows of one block of one ticker, computed at each call or kept in memory."""
ClassWeightOption = Literal["balanced"] | tuple[float, float] | None
"""Class weights: equal totals for both classes, those of downs and of ups, or none."""


@dataclass(frozen=True, slots=True)
class LabelSums:
    """Sums over each refit's labels, which do not depend on the weights theta.

    Attributes
    ----------
    total_weight_by_class : (2, refits) total sample weight of downs and of ups.
    mean_factor_by_class : (classes, refits) factor by which a sum over rows enters the mean, by class or for all rows.
    target_by_class : (2, refits) target of a down and of an up; 0 and 1 unless they are Platt's.
    mean_x : (p, refits) weighted mean of the rows.
    mean_x_times_target : (p, refits) weighted mean of the rows times their targets.
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
        """Return the label sums of several refits.

        Parameters
        ----------
        row_sums, up_row_sums : (refits, p) sums of the weighted rows, and of those labelled up; the first column is
            the total weight.
        class_weight : of downs and ups.
        use_platt_targets : whether targets are 1 / (downs + 2) and (ups + 1) / (ups + 2) (Platt 1999) instead of 0
            and 1.
        """
        by_class = np.stack([row_sums - up_row_sums, up_row_sums])
        totals = by_class[:, :, 0]
        if class_weight is None and not use_platt_targets:
            factor = 1.0 / row_sums[:, 0]
            target = np.broadcast_to([[0.0], [1.0]], totals.shape)
            return cls(totals, factor[None], target, row_sums.T * factor, up_row_sums.T * factor)
        weight = np.ones_like(totals)
        if class_weight == "balanced":
            with np.errstate(divide="ignore", invalid="ignore"):
                weight = np.where(totals > 0, totals.sum(axis=0) / (2.0 * totals), 1.0)
        elif class_weight is not None:
            weight = np.repeat(np.asarray(class_weight)[:, None], totals.shape[1], axis=1)
        factor = weight / (weight * totals).sum(axis=0)
        target = np.repeat([[0.0], [1.0]], totals.shape[1], axis=1)
        if use_platt_targets:
            target = np.stack([1.0 / (totals[0] + 2.0), (totals[1] + 1.0) / (totals[1] + 2.0)])
        mean_x = np.einsum("cj,cjp->pj", factor, by_class)
        mean_x_times_target = np.einsum("cj,cjp->pj", factor * target, by_class)
        return cls(totals, factor if class_weight is not None else factor[:1], target, mean_x, mean_x_times_target)


@dataclass(frozen=True, slots=True)
class RefitBlock:
    """The parts of several refits' losses that do not depend on the rows: one column of weights per refit.

    Attributes
    ----------
    label_sums : sums over each refit's labels.
    feature_mean, feature_std : (refits, k) mean and standard deviation of each refit's features, in local units.
    l2 : penalty on the standardised weights.
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
        """Number of weights, the intercept included."""
        return 1 + int(self.feature_mean.shape[1])

    def refit_selector(self, refit_indices: IntArray | None) -> IntArray | slice:
        """Return the indices, or a full slice for None or all refits, which makes no copy."""
        return slice(None) if refit_indices is None or len(refit_indices) == self.n_refits else refit_indices

    def max_abs_standardized_gradient(self, gradient: Array, refit_indices: IntArray | None = None) -> Array:
        """Return the largest component of each refit's standardised gradient, (columns,)."""
        refits = self.refit_selector(refit_indices)
        slopes = (gradient[1:] - self.feature_mean[refits].T * gradient[0]) / self.feature_std[refits].T
        return np.asarray(np.abs(np.concatenate([gradient[:1], slopes])).max(axis=0))

    def standardized_to_local_matrix(self) -> Array:
        """Return A (refits, p, p): theta = A @ standardised theta, and a standardised gradient is A' @ gradient."""
        A = np.zeros((self.n_refits, self.n_weights, self.n_weights))
        diagonal = np.arange(1, self.n_weights)
        A[:, 0, 0] = 1.0
        A[:, 0, 1:] = -self.feature_mean / self.feature_std
        A[:, diagonal, diagonal] = 1.0 / self.feature_std
        return A

    def combine_class_sums(self, class_sums: Array, refits: IntArray | slice) -> Array:
        """Return sums by class (classes * p, columns) as the mean of each refit, (p, columns)."""
        by_class = class_sums.reshape(-1, self.n_weights, class_sums.shape[1])
        by_class = by_class * self.label_sums.mean_factor_by_class[:, None, refits]
        return np.asarray(by_class.sum(axis=0) if len(by_class) > 1 else by_class[0])

    def add_penalty_gradient(self, gradient: Array, theta: Array, refits: IntArray | slice) -> Array:
        """Add the gradient of the penalty at `theta` to a gradient (p, columns) in place, and return it."""
        if self.l2:
            gradient[1:] += self.l2 * self.feature_std[refits].T ** 2 * theta[1:]
        return gradient

    def add_penalty_hessian(self, hessian: Array) -> Array:
        """Add the Hessian of the penalty to Hessians (refits, p, p) in place, and return them."""
        diagonal = np.arange(1, self.n_weights)
        hessian[:, diagonal, diagonal] += self.l2 * self.feature_std**2
        return hessian


@dataclass(frozen=True, slots=True)
class DerivativeSums:
    """Sums over all rows at one point theta, from which gradients and Hessians are combined.

    Attributes
    ----------
    theta : (p,) the point.
    probability_row_sums : (refits, classes, p) sums of g x, with g the probability of an up.
    hessian_sums : (refits, classes, p, p) sums of g (1 - g) x x'.
    """

    theta: Array
    probability_row_sums: Array
    hessian_sums: Array


@dataclass(frozen=True, slots=True)
class Objective(RefitBlock):
    """Mean weighted log loss + l2/2 * sum of squared standardised weights, for several refits; the intercept is free.

    Attributes
    ----------
    row_factories : return the blocks of rows, in local units; called again for every pass over the rows.
    local_scaling : the local units.
    hessian_row_stride : Hessians are estimated from every n-th row; gradients and losses use all rows.
    start_sums : sums at the point where a solver is to start; None if that was not known.
    """

    row_factories: Sequence[TrainingRowsFactory]
    local_scaling: LocalScaling
    hessian_row_stride: int = 1
    start_sums: DerivativeSums | None = None

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
        """Return the loss of the refits that train on some blocks of rows and are standardised by `scaling`.

        With `start_theta` (p,), the sums at that point are computed in the same pass over the rows as those of labels.
        """

        def label_and_start_sums(rows: TrainingRows) -> tuple[Array, ...]:
            counts = np.ones(len(rows.y)), rows.y
            if start_theta is None:
                return (rows.row_sums_by_class(np.stack(counts)),)
            g = sigmoid(rows.log_odds(start_theta))
            hessian_sums = rows.scaled_second_moments_by_class(sigmoid_derivative(g), row_stride=hessian_row_stride)
            return rows.row_sums_by_class(np.stack([*counts, g])), hessian_sums

        sums_by_block = zip(*(label_and_start_sums(make_rows()) for make_rows in row_factories), strict=True)
        sums, *hessian_sums = (reduce(add, block_sums) for block_sums in sums_by_block)
        row_sums, up_row_sums = sums[:, :2].sum(axis=2).transpose(1, 0, 2)
        label_sums = LabelSums.from_row_sums(row_sums, up_row_sums, class_weight, use_platt_targets=use_platt_targets)
        mask = local_scaling.nonconstant_mask
        return cls(
            row_factories=row_factories,
            label_sums=label_sums,
            local_scaling=local_scaling,
            feature_mean=(scaling.mean[:, mask] - local_scaling.center) / local_scaling.scale,
            feature_std=scaling.std[:, mask] / local_scaling.scale,
            l2=l2,
            hessian_row_stride=hessian_row_stride,
            start_sums=None if start_theta is None else DerivativeSums(start_theta, sums[:, 2], hessian_sums[0]),
        )

    def gradient(self, theta: Array, refit_indices: IntArray | None = None) -> Array:
        """Return the gradients (p, columns) of some refits, by default all, at their weights (p, columns).

        g - y is (tanh(z/2) + 1 - 2y) / 2. All but the tanh does not depend on theta, and is in `label_sums`.
        """
        refits = self.refit_selector(refit_indices)
        half_theta = 0.5 * theta
        tanh_sums = reduce(add, self._map_row_blocks(lambda rows: rows.tanh_row_sums(half_theta, refits)))
        gradient = self.combine_class_sums(tanh_sums, refits)
        gradient += self.label_sums.mean_x[:, refits] - 2.0 * self.label_sums.mean_x_times_target[:, refits]
        gradient *= 0.5
        return self.add_penalty_gradient(gradient, theta, refits)

    def gradient_and_hessian(self, theta: Array) -> tuple[Array, Array]:
        """Return gradients (p, refits) and Hessians (refits, p, p) of all refits at one common point (p,)."""
        sums = self.start_sums
        if sums is None or not np.array_equal(sums.theta, theta):
            sums = self._derivative_sums_at(theta)
        factor = self.label_sums.mean_factor_by_class.T
        mean_x_times_g = (factor[:, :, None] * sums.probability_row_sums).sum(axis=1).T
        hessian = (factor[:, :, None, None] * sums.hessian_sums).sum(axis=1)
        gradient = mean_x_times_g - self.label_sums.mean_x_times_target
        return self.add_penalty_gradient(gradient, theta[:, None], slice(None)), self.add_penalty_hessian(hessian)

    def hessian_bound(self) -> Array:
        """Return the Boehning-Lindsay bound on each refit's Hessian, X'X / (4n) + penalty, (refits, p, p)."""
        quarters = self._map_row_blocks(lambda rows: rows.scaled_second_moments_by_class(np.full(len(rows.y), 0.25)))
        factor = self.label_sums.mean_factor_by_class.T[:, :, None, None]
        return self.add_penalty_hessian((factor * reduce(add, quarters)).sum(axis=1))

    def select_refit(self, refit_index: int) -> Objective:
        """Return the loss of one of the refits."""
        if self.n_refits == 1:
            return self
        refit = slice(refit_index, refit_index + 1)

        def make_refit_rows(make_rows: TrainingRowsFactory) -> TrainingRows:
            return make_rows().select_refit(refit_index)

        return Objective(
            LabelSums(*(getattr(self.label_sums, name)[:, refit] for name in LabelSums.__slots__)),
            self.feature_mean[refit],
            self.feature_std[refit],
            self.l2,
            row_factories=[partial(make_refit_rows, make_rows) for make_rows in self.row_factories],
            local_scaling=self.local_scaling,
            hessian_row_stride=self.hessian_row_stride,
        )

    def row_shares(self, rows: TrainingRows) -> Array:
        """Return the share of each row in a single refit's mean loss, (rows,)."""
        factor = self.label_sums.mean_factor_by_class[:, 0]
        return np.full(len(rows.y), factor[0]) if rows.weight_by_class is None else rows.weight_by_class @ factor

    def loss(self, theta: Array) -> float:
        """Return the loss of a single refit at `theta` (p,)."""
        factor, target = self.label_sums.mean_factor_by_class[:, 0], self.label_sums.target_by_class[:, 0]

        def row_loss_sum(rows: TrainingRows) -> float:
            targets = target[0] + rows.y * (target[1] - target[0])
            weight = factor[0] if rows.weight_by_class is None else rows.weight_by_class @ factor
            return float(np.sum(weight * pointwise_log_loss(rows.log_odds(theta), targets)))

        penalty = 0.5 * self.l2 * float(np.sum((self.feature_std[0] * theta[1:]) ** 2))
        return float(sum(self._map_row_blocks(row_loss_sum))) + penalty

    def min_margin_and_max_abs_log_odds(self, theta: Array) -> tuple[float, float]:
        """Return the smallest margin (2y - 1) theta.x and the largest |theta.x| of a single refit's rows."""

        def margin_and_negated_log_odds(rows: TrainingRows) -> tuple[float, float]:
            z = rows.log_odds(theta)
            return _min_over_weighted_rows((2.0 * rows.y - 1.0) * z, rows), _min_over_weighted_rows(-np.abs(z), rows)

        margins, negated_log_odds = zip(*self._map_row_blocks(margin_and_negated_log_odds), strict=True)
        return min(margins), -min(negated_log_odds)

    def max_abs_log_odds_change(self, direction: Array) -> float:
        """Return the largest |direction.x| of a single refit's rows."""
        changes = self._map_row_blocks(lambda rows: _min_over_weighted_rows(-np.abs(rows.log_odds(direction)), rows))
        return -float(min(changes))

    def _derivative_sums_at(self, theta: Array) -> DerivativeSums:
        def evaluation_sums(rows: TrainingRows) -> tuple[Array, Array]:
            g = sigmoid(rows.log_odds(theta))
            hessian_sums = rows.scaled_second_moments_by_class(
                sigmoid_derivative(g), row_stride=self.hessian_row_stride
            )
            return rows.row_sums_by_class(g[None])[:, 0], hessian_sums

        sums_by_block = zip(*self._map_row_blocks(evaluation_sums), strict=True)
        return DerivativeSums(theta, *(reduce(add, block_sums) for block_sums in sums_by_block))

    def _map_row_blocks(self, compute_values: Callable[[TrainingRows], Any]) -> Iterator[Any]:
        return (compute_values(make_rows()) for make_rows in self.row_factories)


def rows_in_memory(rows: TrainingRows) -> TrainingRowsFactory:
    """Return a factory that returns these rows."""
    return lambda: rows


def _min_over_weighted_rows(values: Array, rows: TrainingRows) -> float:
    """Return the smallest of values (rows,) over the rows that have a weight; infinity where there are none."""
    if rows.weight_by_class is not None:
        values = values[rows.weight_by_class.any(axis=1)]
    return float(np.min(values, initial=np.inf))
