"""Standardisation of features by the mean and standard deviation of each refit's own training rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from quantlr.core.values import Array, BoolArray, Folds
from quantlr.model.windows import overlapping_refit_slices, union_slice_and_windows

MAX_REFITS_PER_PASS = 256
"""Largest number of refits whose moments are computed in one pass over their common rows."""
MIN_PASS_ROW_OVERLAP = 0.1
"""Smallest overlap of the training windows of one pass: a variance about the mean of the common rows loses at most
the inverse of this factor to rounding."""
CENTER_SAMPLE_ROWS, MAX_CENTER_ROW_STRIDE = 2**14, 64
"""Smallest number of rows of the approximate mean, and the largest stride at which they are taken."""
MOMENT_BLOCK_ROWS = 2**12
"""Rows per block of the moment sums."""
SCALING_BLOCK_ROWS = 2**13
"""Rows that are standardised at a time, feature by feature."""
FLOAT64_EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True)
class Scaling:
    """Mean and standard deviation of each feature over the training rows of each refit.

    Attributes
    ----------
    mean : (refits, k).
    std : (refits, k) with ddof 0; exactly 0 where a feature is constant over the training rows.
    """

    mean: Array
    std: Array

    def __getitem__(self, refit_slice: slice) -> Scaling:
        return Scaling(self.mean[refit_slice], self.std[refit_slice])

    def to_raw_weights(self, theta: Array) -> Array:
        """Return the weights (refits, 1 + k) per unit of each feature, from standardised ones (1 + k, refits).

        That of a feature that is constant is 0.
        """
        slopes = theta[1:].T * np.divide(1.0, self.std, out=np.zeros_like(self.std), where=self.std > 0)
        return np.column_stack([theta[0] - (slopes * self.mean).sum(axis=1), slopes])

    def to_standardized_weights(self, raw_weights: Array) -> Array:
        """Return the standardised weights (1 + k, refits) from those per unit, (1 + k,) or (refits, 1 + k)."""
        slopes = np.atleast_2d(raw_weights)[:, 1:]
        return np.column_stack([raw_weights[..., 0] + (slopes * self.mean).sum(axis=1), slopes * self.std]).T

    def in_units_of(self, center: Array, scale: Array) -> Scaling:
        """Return the scaling of the features (x - center) / scale."""
        return Scaling((self.mean - center) / scale, self.std / scale)


def local_units(scaling: Scaling) -> tuple[Array, Array]:
    """Return center and scale (k,) of the units in which the features of the first refit are standardised."""
    return scaling.mean[0], np.where(scaling.std[0] > 0, scaling.std[0], 1.0)


def to_local_units(X: Array, center: Array, scale: Array, *, leading_ones: bool = False) -> Array:
    """Return rows (n, k) as (x - center) / scale in column-major order, after a column of ones if that is asked for."""
    local = np.empty((X.shape[1] + leading_ones, len(X)))
    local[:leading_ones] = 1.0
    inverse_scale = 1.0 / scale
    for first in range(0, len(X), SCALING_BLOCK_ROWS):
        rows = slice(first, first + SCALING_BLOCK_ROWS)
        for column, scaled in enumerate(local[leading_ones:, rows]):
            np.subtract(X[rows, column], center[column], out=scaled)
            scaled *= inverse_scale[column]
    return local.T


def fold_scaling(X: Array, folds: Sequence[Folds], *, has_label: BoolArray) -> Scaling:
    """Return the mean and the ddof-0 standard deviation of every refit's training rows, (refits, k) each.

    Rows that consecutive refits have in common are summed once, about their approximate mean, and the other rows of
    each refit are added (Chan, Golub and LeVeque 1983), so that no digits cancel where the level or the scale of a
    feature jumps.

    Parameters
    ----------
    X : (rows, k) features.
    folds : the folds of each ticker of the model.
    has_label : (rows,) whether the row has a label; other rows are left out.
    """
    slices = overlapping_refit_slices(folds, max_refits=MAX_REFITS_PER_PASS, min_overlap=MIN_PASS_ROW_OVERLAP)
    parts = [_scaling_of_refits(X, folds, has_label, refits) for refits in slices]
    return Scaling(np.concatenate([part.mean for part in parts]), np.concatenate([part.std for part in parts]))


def std_without_rounding(variance: Array, mean: Array, n_rows: Array | int) -> Array:
    """Return the square root of a variance, or 0 where a constant feature's rounding error explains the variance.

    The bound is that of scikit-learn's StandardScaler.
    """
    rounding = n_rows * FLOAT64_EPSILON * variance + (n_rows * np.abs(mean) * FLOAT64_EPSILON) ** 2
    return np.where(variance <= rounding, 0.0, np.sqrt(variance))


def _scaling_of_refits(X: Array, folds: Sequence[Folds], has_label: BoolArray, refit_slice: slice) -> Scaling:
    parts = [union_slice_and_windows(ticker, refit_slice) for ticker in folds]
    offset_slices = [(rows.start, windows.common_rows) for rows, windows in parts]
    common_rows = [slice(offset + common.start, offset + common.stop) for offset, common in offset_slices]
    center = _approximate_feature_mean(X, common_rows, has_label)
    tiled_center = np.tile(center, (MOMENT_BLOCK_ROWS, 1))
    total = np.zeros((1, 1 + 2 * len(center)))
    for rows, windows in parts:
        values, labelled, common = X[rows], has_label[rows], windows.common_rows
        common_sum = np.zeros(total.shape[1])
        for first in range(common.start, common.stop, MOMENT_BLOCK_ROWS):
            block = slice(first, min(first + MOMENT_BLOCK_ROWS, common.stop))
            common_sum += _block_moment_totals(values[block], labelled[block], tiled_center)
        edges = slice(0, common.start), slice(common.stop, None)
        edge_terms = (_centered_moment_terms(values[edge], labelled[edge], center) for edge in edges)
        total = total + windows.sum_by_refit(common_sum, *edge_terms)
    count = np.maximum(total[:, :1], 1.0)
    shift, mean_square = np.split(total[:, 1:] / count, 2, axis=1)
    mean, variance = center + shift, np.maximum(mean_square - shift**2, 0.0)
    return Scaling(mean, std_without_rounding(variance, mean, count))


def _approximate_feature_mean(X: Array, row_slices: Sequence[slice], has_label: BoolArray) -> Array:
    """Return the mean (k,) of the common rows, from every m-th of them if they are many.

    The mean of every m-th row differs from that of all rows by at most sqrt(m) standard deviations, so that a
    variance about it loses at most log2(m) bits.
    """
    n_rows = sum(rows.stop - rows.start for rows in row_slices)
    stride = min(max(n_rows // CENTER_SAMPLE_ROWS, 1), MAX_CENTER_ROW_STRIDE)
    samples = [slice(rows.start, rows.stop, stride) for rows in row_slices]
    values = [X[sample] if has_label[sample].all() else X[sample][has_label[sample]] for sample in samples]
    # A matrix product is faster than a sum down columns.
    sums = [np.ones(len(part)) @ part for part in values]
    return np.asarray(np.sum(sums, axis=0) / max(sum(map(len, values)), 1))


def _block_moment_totals(X: Array, has_label: BoolArray, tiled_center: Array) -> Array:
    """Return the sums of 1, x - center and (x - center)^2 over some rows, (1 + 2k,)."""
    centered = X - tiled_center[: len(X)]
    if not has_label.all():
        centered[~has_label] = 0.0
    ones = np.ones(len(X))
    first_moment = ones @ centered
    np.square(centered, out=centered)
    return np.concatenate([[np.count_nonzero(has_label)], first_moment, ones @ centered])


def _centered_moment_terms(X: Array, has_label: BoolArray, center: Array) -> Array:
    """Return 1, x - center and (x - center)^2 of each row, (1 + 2k, rows); zeros for rows without a label."""
    k = len(center)
    terms = np.empty((1 + 2 * k, len(X)))
    terms[0] = has_label
    centered = np.subtract(X.T, center[:, None], out=terms[1 : 1 + k])
    if not has_label.all():
        centered[:, ~has_label] = 0.0
    np.square(centered, out=terms[1 + k :])
    return terms
