"""Training rows as a descent sees them: in units of one size, weighted, and summed for many refits at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from quantlr.core.arrays import Array, BoolArray, Float32Array, IntArray
from quantlr.model.batched.windows import RowDelta, TrainingWindows

SCALING_BLOCK_ROWS = 2**13
"""Rows that are brought into local units at once, feature by feature."""
LOG_ODDS_BLOCK_BYTES = 3 * 2**16
"""Bytes of log odds, of pairs of a row and a refit, that are there at once: few enough to stay in cache.

`Nearby.remainders` has three arrays of this size at once. With 2^18 the allocator gives their memory back after every
block, and a walk takes up to 10 % longer.
"""

ABREAST = 4
"""Columns of weighted rows in single precision come in multiples of so many: 5 columns take 1.4 times as long as 8."""

MIN_TANH_CHANGE_DENOMINATOR = 0.25
"""Smallest denominator with which the formula for changes keeps its digits."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """What standardises each refit's features: the mean and deviation of its own training rows.

    Attributes
    ----------
    mean : (refits, k).
    deviation : (refits, k) with ddof 0; exactly 0 where a feature is constant over the training rows.
    """

    mean: Array
    std: Array

    def __getitem__(self, refit_slice: slice) -> Scaling:
        return Scaling(self.mean[refit_slice], self.std[refit_slice])


@dataclass(frozen=True, slots=True)
class LocalScaling:
    """The units that a descent counts in, so that its numbers are of one size: x_local = (x - center) / scale.

    Attributes
    ----------
    center, scale : (k,) of the active features.
    active : (k_all,) the features that are not constant.
    """

    center: Array
    scale: Array
    nonconstant_mask: BoolArray

    @classmethod
    def from_refit_scaling(cls, scaling: Scaling, refit_index: int) -> LocalScaling:
        """Return the units in which that refit's features are standardised."""
        active = np.asarray(scaling.std[refit_index] > 0)
        return cls(scaling.mean[refit_index, active], scaling.std[refit_index, active], active)

    def is_close_to(self, other: LocalScaling, *, max_factor: float) -> bool:
        """Return whether features in `other`'s units are of one size in these too, up to a factor `within`."""
        if not np.array_equal(self.nonconstant_mask, other.nonconstant_mask):
            return False
        ratio = other.scale / self.scale
        near = np.abs(other.center - self.center) <= max_factor * self.scale
        return bool((near & (ratio <= max_factor) & (ratio >= 1.0 / max_factor)).all())

    def raw_to_local_matrix(self) -> Array:
        """Return A (p, p), where local rows are raw ones with a first column of ones, times A; no feature constant.

        Raw weights are then A times local ones.
        """
        A = np.diag(np.concatenate([[1.0], 1.0 / self.scale]))
        A[0, 1:] = -self.center / self.scale
        return np.asarray(A)

    def is_raw_well_scaled(self, *, max_center_to_scale: float) -> bool:
        """Return whether no feature is constant, and none further from 0 than `within` times its scale."""
        return bool(self.nonconstant_mask.all() and (np.abs(self.center) <= max_center_to_scale * self.scale).all())

    def to_local_rows(self, raw_rows: Array) -> Array:
        """Return rows (n, k_all) in local units, with a first column of ones, (n, p) in column-major order."""
        local = np.empty((1 + len(self.center), len(raw_rows)))
        local[0] = 1.0
        scale = 1.0 / self.scale
        for first in range(0, len(raw_rows), SCALING_BLOCK_ROWS):
            rows = slice(first, first + SCALING_BLOCK_ROWS)
            for at, column in enumerate(np.flatnonzero(self.nonconstant_mask)):
                into = local[1 + at, rows]
                np.subtract(raw_rows[rows, column], self.center[at], out=into)
                into *= scale[at]
        return local.T

    def to_raw_weights(self, local_weights: Array) -> Array:
        """Return local weights (p, refits) in units of the raw features, (refits, 1 + k_all); constants weigh 0."""
        raw = np.zeros((local_weights.shape[1], 1 + len(self.nonconstant_mask)))
        weights = local_weights[1:].T / self.scale
        raw[:, 1:][:, self.nonconstant_mask] = weights
        raw[:, 0] = local_weights[0] - weights @ self.center
        return raw

    def to_local_weights(self, raw_weights: Array) -> Array:
        """Return raw weights (1 + k_all,) in local units, (p,)."""
        weights = raw_weights[1:][self.nonconstant_mask]
        return np.concatenate([[raw_weights[0] + weights @ self.center], weights * self.scale])


@dataclass(frozen=True)
class LocalRows:
    """Rows of one ticker in local units, and which of them each refit trains on.

    Attributes
    ----------
    X : (rows, p) the union of the training rows, the first column ones.
    y : (rows,) labels, 0 or 1.
    weight : (rows, classes) each row's weight in the sum of its class; with one class, in the only sum. None: all 1.
    weighted : (rows, classes * p) the weight of each row in each sum, times the row.
    windows : the rows of each refit.
    """

    X: Array
    y: Array
    weight_by_class: Array | None
    weighted_rows_by_class: Array
    windows: TrainingWindows

    @classmethod
    def from_arrays(
        cls, X: Array, y: Array, sample_weight: Array | None, windows: TrainingWindows, *, by_class: bool
    ) -> LocalRows:
        """Return rows with weights (rows,), None where each counts once; their sums kept apart by class or not."""
        sample_weight = sample_weights_by_class(y, sample_weight, by_class=by_class)
        return cls(X, y, sample_weight, _weighted_rows_by_class(X, sample_weight), windows)

    @cached_property
    def _row_delta_arrays(self) -> list[tuple[RowDelta, Array, Array]]:
        """The rows beside the core: X (runs, longest, p), and the weighted rows, with their sign."""
        return [
            (
                edge,
                self.X[edge.padded_row_indices],
                self.weighted_rows_by_class[edge.padded_row_indices] * (sign * edge.nonpadding_weights[:, :, None]),
            )
            for edge, sign in self.windows.signed_row_deltas
        ]

    def log_odds(self, theta: Array) -> Array:
        """Return theta.x of all rows, (rows,), at `theta` (p,)."""
        return np.asarray(self.X @ theta)

    def row_sums_by_class(self, row_values: Array) -> Array:
        """Return the sums of (v, rows) values times each row, by class, (refits, v, classes, p)."""
        core = self.windows.common_rows
        total = np.repeat(
            (row_values[:, core] @ self.weighted_rows_by_class[core])[None], len(self.windows.start), axis=0
        )
        for edge, _, weighted in self._row_delta_arrays:
            total += edge.sum_runs_by_refit(
                _batched_matmul(row_values[:, edge.padded_row_indices].transpose(1, 0, 2), weighted)
            )
        return total.reshape(*total.shape[:2], -1, self.X.shape[1])

    def second_moments_by_class(self, row_values: Array, *, row_stride: int = 1) -> Array:
        """Return the sums of (rows,) values times x x', by class, (refits, classes, p, p).

        With `thin` over 1, what all refits share is estimated from every so many of its rows.
        """
        core, p = self.windows.common_rows, self.X.shape[1]
        spread = slice(core.start, core.stop, row_stride)
        inner = (row_values[spread, None] * self.weighted_rows_by_class[spread]).T @ self.X[spread]
        if row_stride > 1 and core.stop > core.start:
            inner *= (core.stop - core.start) / len(range(core.start, core.stop, row_stride))
        total = np.repeat(inner[None], len(self.windows.start), axis=0)
        for edge, X, weighted in self._row_delta_arrays:
            total += edge.sum_runs_by_refit(
                _batched_matmul((row_values[edge.padded_row_indices][:, :, None] * weighted).transpose(0, 2, 1), X)
            )
        return total.reshape(len(total), -1, p, p)

    def tanh_row_sums(self, half_theta: Array, refit_indices: IntArray | slice) -> Array:
        """Return sums of tanh(x.half) x over the rows of some refits, (classes * p, columns), at (p, columns)."""
        return _blockwise_row_sums(
            self.X, self.weighted_rows_by_class, self.windows, half_theta, refit_indices, _tanh_in_place
        )

    def float32_rows_around(self, theta: Array) -> Float32Rows:
        """Return what these rows say near `theta` (p,), in single precision."""
        there = np.tanh(0.5 * (self.X @ theta))
        X = self.X.astype(np.float32, order="F")
        sums = self.weighted_rows_by_class.shape[1]
        sloped = np.zeros((len(X), -(-sums // ABREAST) * ABREAST), dtype=np.float32, order="F")
        tanh, slope = (values.astype(np.float32) for values in (there, 1.0 - there**2))
        sloped[:, :sums] = X if self.weighted_rows_by_class is self.X else self.weighted_rows_by_class
        sloped[:, :sums] *= slope[:, None]
        return Float32Rows(X, sloped, tanh, float(np.abs(there).max(initial=0.0)), sums, self.windows)

    def select_refit(self, refit_index: int) -> LocalRows:
        """Return the rows of one refit alone."""
        start, stop = int(self.windows.start[refit_index]), int(self.windows.stop[refit_index])
        weight = None if self.weight_by_class is None else self.weight_by_class[start:stop]
        windows = TrainingWindows(np.array([0]), np.array([stop - start]))
        return LocalRows(
            self.X[start:stop], self.y[start:stop], weight, self.weighted_rows_by_class[start:stop], windows
        )


@dataclass(frozen=True, slots=True)
class RawRows:
    """Rows of one refit alone that stay where they are, in units of the raw features.

    A long history is gone through a few times only, and a copy of it in local units would take as long as several of
    these. What is asked for and told is in local units all the same, as by `Rows`: sums of raw rows become those of
    local ones by (sum(v x) - center sum(v)) / scale, which loses few digits while no center is far from 0 against its
    scale.

    Attributes
    ----------
    raw : (rows, k) the training rows.
    units : the local units; no feature is constant.
    A : (p, p) `Units.from_ones` of these.
    y, weight : as in `Rows`.
    """

    raw_rows: Array
    local_scaling: LocalScaling
    raw_to_local_matrix: Array
    y: Array
    weight_by_class: Array | None

    @property
    def X(self) -> Array:  # noqa: N802 - the matrix of `Rows`
        """The rows in local units, (rows, p), the first column ones; made anew at every look."""
        return self.local_scaling.to_local_rows(self.raw_rows)

    def log_odds(self, theta: Array) -> Array:
        """Return theta.x of all rows, (rows,), at `theta` (p,)."""
        weights = self.raw_to_local_matrix @ theta
        z = self.raw_rows @ weights[1:]
        z += weights[0]
        return np.asarray(z)

    def row_sums_by_class(self, row_values: Array) -> Array:
        """Return the sums of (v, rows) values times each row, by class, (1, v, classes, p)."""
        counted = (
            row_values
            if self.weight_by_class is None
            else (row_values[:, None] * self.weight_by_class.T).reshape(-1, len(self.raw_rows))
        )
        sums = np.empty((len(counted), len(self.raw_to_local_matrix)))
        counted.sum(axis=1, out=sums[:, 0])
        np.matmul(counted, self.raw_rows, out=sums[:, 1:])
        return np.asarray(
            (sums @ self.raw_to_local_matrix).reshape(1, len(row_values), -1, len(self.raw_to_local_matrix))
        )

    def second_moments_by_class(self, row_values: Array, *, row_stride: int = 1) -> Array:
        """Return the sums of (rows,) values times x x', by class, (1, classes, p, p), from every so many rows."""
        few = slice(None, None, row_stride)
        counted = (
            row_values[few, None] if self.weight_by_class is None else row_values[few, None] * self.weight_by_class[few]
        )
        X = np.empty((len(counted), len(self.raw_to_local_matrix)))
        X[:, 0], X[:, 1:] = 1.0, self.raw_rows[few]
        moments = (_weighted_rows_by_class(X, counted).T @ X).reshape(1, -1, *self.raw_to_local_matrix.shape)
        return np.asarray(self.raw_to_local_matrix.T @ moments @ self.raw_to_local_matrix * (len(row_values) / len(X)))

    def tanh_row_sums(self, half_theta: Array, _: IntArray | slice) -> Array:
        """Return sums of tanh(x.half) x, (classes * p, 1), at (p, 1)."""
        return self.row_sums_by_class(np.tanh(self.log_odds(half_theta[:, 0]))[None]).reshape(-1, 1)

    def select_refit(self, _: int) -> RawRows:
        """Return the rows of the only refit there is."""
        return self


@dataclass(frozen=True, slots=True)
class Float32Rows:
    """Rows of one ticker in single precision, and where tanh(x.theta / 2) stands at one common point.

    What rounding makes of a sum is a share of the sum. Near a point whose sums and curvature are known, only what the
    sums have changed by beyond the linear term is summed: it is small, and single precision then leaves less than a
    descent looks for, in half the time.

    Attributes
    ----------
    X, windows : as in `Rows`.
    sloped : (rows, classes * p or more) the weighted rows times 1 - tanh^2 at the point; zeros in columns beyond.
    tanh : (rows,) tanh(x.theta / 2) at the point.
    largest : |tanh| of the row where it is largest.
    sums : classes * p.
    """

    X: Float32Array
    sloped_rows: Float32Array
    tanh_half_log_odds: Float32Array
    max_abs_tanh: float
    sums: int
    windows: TrainingWindows

    def is_accurate_for_step(self, half_step: Float32Array) -> bool:
        """Return whether the denominators in `remainders` keep their digits, for moves 2 * `half` (p, columns)."""
        if self.max_abs_tanh <= 1.0 - MIN_TANH_CHANGE_DENOMINATOR:
            return True
        furthest = np.abs(self.X) @ np.abs(half_step).max(axis=1)
        return bool((np.abs(self.tanh_half_log_odds) * np.tanh(furthest)).max() <= 1.0 - MIN_TANH_CHANGE_DENOMINATOR)

    def remainders(self, half: Float32Array, columns: IntArray | slice) -> Array:
        """Return by how much more than linearly `Rows.tanh_sums` changes by moves 2 * `half` (p, columns).

        tanh(a + b) - tanh(a) = (1 - tanh(a)^2) tanh(b) / (1 + tanh(a) tanh(b)): where the denominator is small, its
        digits are lost. To first order in b this is (1 - tanh(a)^2) b, of which the caller knows the sum.
        """

        def remainder(pull: Any, rows: slice) -> Any:
            values = np.tanh(pull)
            below = values * self.tanh_half_log_odds[rows]
            below += 1.0
            values /= below
            values -= pull
            return values

        sums = _blockwise_row_sums(self.X, self.sloped_rows, self.windows, half, columns, remainder)
        return sums[: self.sums]


def sample_weights_by_class(y: Array, sample_weight: Array | None, *, by_class: bool) -> Array | None:
    """Return weights (rows,) as those in the sum of each class, (rows, classes); None for all 1 in the only sum."""
    if by_class:
        each = np.ones(len(y)) if sample_weight is None else sample_weight
        return np.stack([each * (1.0 - y), each * y], axis=1)
    return None if sample_weight is None else sample_weight[:, None]


def _weighted_rows_by_class(X: Array, weight_by_class: Array | None) -> Array:
    """Return rows (rows, p) times their weight in the sum of each class, (rows, classes * p)."""
    return X if weight_by_class is None else (weight_by_class[:, :, None] * X[:, None, :]).reshape(len(X), -1)


def _blockwise_row_sums(
    X: Any,
    weighted_rows_by_class: Any,
    windows: TrainingWindows,
    half_theta: Any,
    refit_indices: IntArray | slice,
    transform_in_place: Callable[[Any, slice], Any],
) -> Array:
    """Return the sums of values of x.half times x over the rows of some refits, (classes * p, columns).

    Parameters
    ----------
    X, weighted, windows : as in `Rows`.
    half : (p, columns) of those refits.
    columns : which refits they are.
    values : what is summed, (columns, rows), given x.half, (columns, rows), for those rows; it may overwrite x.half.
    """
    core = windows.common_rows
    before, after = windows.trained_mask_before_common[refit_indices], windows.trained_mask_after_common[refit_indices]
    total = np.zeros((half_theta.shape[1], weighted_rows_by_class.shape[1]))
    across, along = np.ascontiguousarray(half_theta.T), X.T
    block = max(LOG_ODDS_BLOCK_BYTES // (half_theta.shape[1] * half_theta.itemsize), 1)
    for first in range(0, len(X), block):
        last = min(first + block, len(X))
        summed = transform_in_place(across @ along[:, first:last], slice(first, last))
        if first < core.start:
            summed[:, : core.start - first] *= before[:, first:last]
        if last > core.stop:
            edge = max(first, core.stop)
            summed[:, edge - first :] *= after[:, edge - core.stop : last - core.stop]
        total += summed @ weighted_rows_by_class[first:last]
    return total.T


def _tanh_in_place(half_log_odds: Any, _: slice) -> Any:
    return np.tanh(half_log_odds, out=half_log_odds)


def _batched_matmul(A: Array, B: Array) -> Array:
    """Return the products of many small matrices, (runs, m, rows) by (runs, rows, p)."""
    return A * B if A.shape[2] == 1 else np.matmul(A, B)
