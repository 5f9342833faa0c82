"""Sums over the training rows of many refits: of rows, of outer products, and of the gradient's tanh terms.

Consecutive refits train on nearly the same rows. One matrix holds the union of them. Column j of Theta belongs to refit
j, and one matrix product gives the log odds of all rows under all refits. Rows on which refit j does not train are set
to zero in its column; these are only rows at the edges, as the other rows are common to all refits.

Sums are kept by class where classes have weights, which differ between refits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from quantlr.core.values import Array, BoolArray, Float32Array, IntArray
from quantlr.model.windows import RowDelta, TrainingWindows

LOG_ODDS_BLOCK_BYTES = 3 * 2**16
"""Bytes of log odds, of pairs of a row and a refit, per block, so that they stay in the cache.

`Float32Rows.nonlinear_tanh_row_sums` has three arrays of this size at once. With 2^18 the allocator returns their
memory after every block, and a walk-forward takes up to 10 % longer.
"""
FLOAT32_SUM_ROWS = 2**10
"""Rows whose sum is taken in single precision, at most; such sums are added up in double precision."""
FLOAT32_COLUMN_MULTIPLE = 4
"""The columns of weighted rows in single precision are padded to a multiple of this: 5 columns take 1.4 times as long
as 8."""
MIN_TANH_CHANGE_DENOMINATOR = 0.25
"""Smallest denominator at which the formula of `Float32Rows.nonlinear_tanh_row_sums` keeps its digits."""


@dataclass(frozen=True)
class LocalRows:
    """Rows of one ticker in local units, and the rows on which each refit trains.

    Attributes
    ----------
    X : (rows, p) the union of the training rows, the first column ones.
    y : (rows,) labels, 0 or 1.
    weighted_rows_by_class : (rows, classes * p) each row times its weight in the sum of each class; one class if
        classes have no weights.
    windows : the training rows of each refit.
    """

    X: Array
    y: Array
    weighted_rows_by_class: Array
    windows: TrainingWindows

    @classmethod
    def from_sample_weights(
        cls, X: Array, y: Array, sample_weight: Array | None, windows: TrainingWindows, *, by_class: bool
    ) -> LocalRows:
        """Return rows with sample weights (rows,), None for all 1, whose sums are kept by class or not."""
        if sample_weight is None and not by_class:
            return cls(X, y, X, windows)
        weight = np.ones((len(y), 1)) if sample_weight is None else sample_weight[:, None]
        weight_by_class = weight * np.column_stack([1.0 - y, y]) if by_class else weight
        return cls(X, y, (weight_by_class[:, :, None] * X[:, None, :]).reshape(len(X), -1), windows)

    @cached_property
    def _row_delta_arrays(self) -> list[tuple[RowDelta, Array, Array]]:
        """The rows outside the common rows: X (runs, longest, p), and the weighted rows times their sign."""
        arrays = []
        for delta, sign in self.windows.signed_row_deltas:
            rows = delta.padded_row_indices
            weighted = self.weighted_rows_by_class[rows] * (sign * delta.nonpadding_weights[:, :, None])
            arrays.append((delta, self.X[rows], weighted))
        return arrays

    def row_sums_by_class(self, row_values: Array) -> Array:
        """Return the sums of values (v, rows) times each row, by class, (refits, v, classes, p)."""
        common = self.windows.common_rows
        common_sum = row_values[:, common] @ self.weighted_rows_by_class[common]
        total = np.repeat(common_sum[None], len(self.windows.start), axis=0)
        for delta, _, weighted in self._row_delta_arrays:
            values = row_values[:, delta.padded_row_indices].transpose(1, 0, 2)
            total += delta.sum_runs_by_refit(_batched_matmul(values, weighted))
        return total.reshape(*total.shape[:2], -1, self.X.shape[1])

    def second_moments_by_class(self, row_values: Array, *, row_stride: int = 1) -> Array:
        """Return the sums of values (rows,) times x x', by class, (refits, classes, p, p).

        With a stride over 1, the sum over the common rows is estimated from every n-th of them.
        """
        common, p = self.windows.common_rows, self.X.shape[1]
        sample = slice(common.start, common.stop, row_stride)
        common_sum = (row_values[sample, None] * self.weighted_rows_by_class[sample]).T @ self.X[sample]
        if row_stride > 1 and common.stop > common.start:
            common_sum *= (common.stop - common.start) / len(range(common.start, common.stop, row_stride))
        total = np.repeat(common_sum[None], len(self.windows.start), axis=0)
        for delta, X, weighted in self._row_delta_arrays:
            values = row_values[delta.padded_row_indices][:, :, None]
            total += delta.sum_runs_by_refit(_batched_matmul((values * weighted).transpose(0, 2, 1), X))
        return total.reshape(len(total), -1, p, p)

    def tanh_row_sums(self, half_theta: Array, refits: IntArray | slice) -> Array:
        """Return the sums of tanh(x.theta / 2) x over the rows of some refits, (refits, classes * p)."""
        X, weighted, windows = self.X, self.weighted_rows_by_class, self.windows
        return _blockwise_row_sums(X, weighted, windows, half_theta, refits, lambda half, _: np.tanh(half, out=half))

    def float32_rows_around(self, theta: Array) -> Float32Rows:
        """Return these rows in single precision, with the values at `theta` (p,) that `Float32Rows` needs."""
        tanh64 = np.tanh(0.5 * (self.X @ theta))
        X = self.X.astype(np.float32, order="F")
        n_sums = self.weighted_rows_by_class.shape[1]
        n_columns = -(-n_sums // FLOAT32_COLUMN_MULTIPLE) * FLOAT32_COLUMN_MULTIPLE
        sloped = np.zeros((len(X), n_columns), dtype=np.float32, order="F")
        tanh, slope = (values.astype(np.float32) for values in (tanh64, 1.0 - tanh64**2))
        sloped[:, :n_sums] = X if self.weighted_rows_by_class is self.X else self.weighted_rows_by_class
        sloped[:, :n_sums] *= slope[:, None]
        return Float32Rows(X, sloped, tanh, n_sums, self.windows)


@dataclass(frozen=True, slots=True)
class Float32Rows:
    """Rows of one ticker in single precision, for the gradient's change from a point where it is known.

    Rounding errors are a share of what is summed. Near a point whose gradient and Hessian are known, only the change of
    the gradient beyond its linear term is summed; it is small, and single precision then leaves an error below the
    tolerance, in half the time.

    Attributes
    ----------
    X, windows : as in `LocalRows`.
    slope_weighted_rows : (rows, classes * p or more) the weighted rows times 1 - tanh^2 at the
        point; further columns are 0.
    tanh_half_log_odds : (rows,) tanh(x.theta / 2) at the point.
    n_sums : number of sums, classes * p.
    """

    X: Float32Array
    slope_weighted_rows: Float32Array
    tanh_half_log_odds: Float32Array
    n_sums: int
    windows: TrainingWindows

    def is_accurate_for_step(self, half_step: Float32Array) -> BoolArray:
        """Return whether the `nonlinear_tanh_row_sums` of each refit keep their digits for a move, (refits,)."""
        is_large = np.abs(self.tanh_half_log_odds) > 1.0 - MIN_TANH_CHANGE_DENOMINATOR
        denominator = 1.0 + np.tanh(half_step @ self.X[is_large].T) * self.tanh_half_log_odds[is_large]
        return np.asarray(denominator.min(axis=1, initial=1.0) >= MIN_TANH_CHANGE_DENOMINATOR)

    def nonlinear_tanh_row_sums(self, half_step: Float32Array, refits: IntArray | slice) -> Array:
        """Return the change of `LocalRows.tanh_row_sums` by moves 2 * `half_step` (refits, p), less its linear term.

        tanh(a + b) - tanh(a) = (1 - tanh(a)^2) tanh(b) / (1 + tanh(a) tanh(b)), where digits are lost if the
        denominator is small. To first order in b this is (1 - tanh(a)^2) b, whose sum the caller adds.
        """

        def nonlinear_part(half_change: Any, rows: slice) -> Any:
            values = np.tanh(half_change)
            denominator = values * self.tanh_half_log_odds[rows]
            denominator += 1.0
            values /= denominator
            values -= half_change
            return values

        sums = _blockwise_row_sums(self.X, self.slope_weighted_rows, self.windows, half_step, refits, nonlinear_part)
        return sums[:, : self.n_sums]


def _blockwise_row_sums(
    X: Any,
    weighted_rows_by_class: Any,
    windows: TrainingWindows,
    half_theta: Any,
    refits: IntArray | slice,
    transform: Callable[[Any, slice], Any],
) -> Array:
    """Return the sums of f(x.theta / 2) x over the rows of some refits, (refits, classes * p).

    Parameters
    ----------
    X, weighted_rows_by_class, windows : as in `LocalRows`.
    half_theta : (refits, p) theta / 2 of those refits.
    refits : which refits they are, in ascending order.
    transform : the function f, of x.theta / 2 (refits, rows) and the slice of rows; it may overwrite its argument.
    """
    common = windows.common_rows
    before, after = windows.trained_mask_before_common[refits], windows.trained_mask_after_common[refits]
    start, stop = windows.start[refits], windows.stop[refits]
    total = np.zeros((len(half_theta), weighted_rows_by_class.shape[1]))
    block = max(LOG_ODDS_BLOCK_BYTES // max(len(half_theta) * half_theta.itemsize, 1), 1)
    if half_theta.dtype == np.float32:
        block = min(block, FLOAT32_SUM_ROWS)
    edges = np.append(np.arange(0, len(X), block), len(X))
    # Windows ascend, so that the refits with rows in a block are consecutive. To leave out the others takes a sixth off
    # a gradient with a refit a month.
    first_refit, refit_stop = np.searchsorted(stop, edges[:-1], side="right"), np.searchsorted(start, edges[1:])
    some_refits = map(slice, first_refit.tolist(), refit_stop.tolist())
    for (first, last), some in zip(pairwise(edges.tolist()), some_refits, strict=True):
        values = transform(half_theta[some] @ X[first:last].T, slice(first, last))
        if first < common.start:
            values[:, : common.start - first] *= before[some, first:last]
        if last > common.stop:
            edge = max(first, common.stop)
            values[:, edge - first :] *= after[some, edge - common.stop : last - common.stop]
        total[some] += values @ weighted_rows_by_class[first:last]
    return total


def _batched_matmul(A: Array, B: Array) -> Array:
    """Return the products of many small matrices, (runs, m, rows) by (runs, rows, p)."""
    return A * B if A.shape[2] == 1 else np.matmul(A, B)
