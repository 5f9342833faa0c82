"""Mean and deviation of each refit's own training rows: what standardises its features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from quantlr.core.arrays import Array, BoolArray, IntArray
from quantlr.core.values import Folds
from quantlr.model.batched.sums import Scaling
from quantlr.model.batched.windows import TrainingWindows, cached_training_windows

MAX_REFITS_PER_PASS = 256
"""Refits whose moments are taken from one pass over the rows that they share."""
MIN_PASS_ROW_OVERLAP = 0.1
"""Rows that they share, at least: about the mean of these, a variance loses no more than the inverse to rounding."""
CENTER_SAMPLE_ROWS, MAX_CENTER_ROW_STRIDE = 2**14, 64
"""Rows that tell about where a mean is, and out of how many at most each of them is one."""
MOMENT_BLOCK_ROWS = 2**12
"""Rows whose terms are there at once."""
FLOAT64_EPSILON = float(np.finfo(np.float64).eps)


def fold_scaling(X: Array, folds: Sequence[Folds], *, has_label: BoolArray) -> Scaling:
    """Return the mean and ddof-0 deviation of every refit's training rows, (refits, k) each.

    Rows that neighbouring refits share are summed once, about their own mean; what each has besides is added to it
    (Chan, Golub and LeVeque 1983), so that nothing cancels where a feature's level or scale jumps.

    Parameters
    ----------
    X : (rows, k) features.
    folds : which rows train which refit, for each ticker whose rows train together.
    trained : (rows,) whether a row has a label to learn from; the others don't count.
    """
    parts = [
        _scaling_of_refits(X, folds, has_label, refits)
        for refits in overlapping_refit_slices(folds, max_refits=MAX_REFITS_PER_PASS, min_overlap=MIN_PASS_ROW_OVERLAP)
    ]
    return Scaling(
        mean=np.concatenate([part.mean for part in parts]),
        std=np.concatenate([part.std for part in parts]),
    )


def overlapping_refit_slices(
    folds: Sequence[Folds], *, max_refits: int, min_overlap: float, max_row_change: float = np.inf
) -> list[slice]:
    """Return runs of neighbouring refits: what all of a run train on is at least the `share` of what each does.

    A run is of `at_most` refits, and at most `rows` rows come or go between its first and its last.
    """
    start: IntArray = np.sum([ticker.train_start for ticker in folds], axis=0)
    stop: IntArray = np.sum([ticker.train_stop for ticker in folds], axis=0)
    runs: list[slice] = []
    first = 0
    while first < len(start):
        length = int(stop[first] - start[first])
        gone, come = (
            min(int(length * (1 - min_overlap)), max_row_change),
            min(int(length * (1 / min_overlap - 1)), max_row_change),
        )
        oldest = int(np.searchsorted(start, start[first] + gone, side="right"))
        newest = int(np.searchsorted(stop, stop[first] + come, side="right"))
        last = max(first + 1, min(newest, oldest, first + max_refits, len(start)))
        # Where rows come and go, what is left of the first is less than that share of the last.
        while last > first + 1 and stop[first] - start[last - 1] < min_overlap * (stop[last - 1] - start[last - 1]):
            last -= 1
        runs.append(slice(first, last))
        first = last
    return runs


def union_slice_and_windows(folds: Folds, refit_slice: slice) -> tuple[slice, TrainingWindows]:
    """Return the union of some refits' training rows of one ticker, and each one's own, counted from its start."""
    start, stop = folds.train_start[refit_slice], folds.train_stop[refit_slice]
    there = stop > start
    if not there.all():
        # A ticker that has no rows yet: an empty window counts as one at the front.
        first = int(start[there].min()) if there.any() else 0
        start, stop = np.where(there, start, first), np.where(there, stop, first)
    first = int(start.min())
    return slice(first, int(stop.max())), cached_training_windows((start - first).tobytes(), (stop - first).tobytes())


def _scaling_of_refits(X: Array, folds: Sequence[Folds], has_label: BoolArray, refit_slice: slice) -> Scaling:
    parts = [union_slice_and_windows(ticker, refit_slice) for ticker in folds]
    center = _subsample_feature_mean(
        X, [slice(at.start + own.common_rows.start, at.start + own.common_rows.stop) for at, own in parts], has_label
    )
    tiled = np.tile(center, (MOMENT_BLOCK_ROWS, 1))
    total = np.zeros((1, 1 + 2 * len(center)))
    for rows, windows in parts:
        values, counted, core = X[rows], has_label[rows], windows.common_rows
        inside = np.zeros(total.shape[1])
        for first in range(core.start, core.stop, MOMENT_BLOCK_ROWS):
            block = slice(first, min(first + MOMENT_BLOCK_ROWS, core.stop))
            inside += _centered_moment_sums(values[block], counted[block], tiled)
        edges = (
            _centered_moment_terms(values[edge], counted[edge], center)
            for edge in (slice(0, core.start), slice(core.stop, None))
        )
        total = total + windows.sum_by_refit(inside, *edges)
    count = np.maximum(total[:, :1], 1.0)
    shift, spread = np.split(total[:, 1:] / count, 2, axis=1)
    mean, variance = center + shift, np.maximum(spread - shift**2, 0.0)
    # What rounding alone would leave of a constant's variance (the bound of scikit-learn's StandardScaler).
    constant = variance <= count * FLOAT64_EPSILON * variance + (count * np.abs(mean) * FLOAT64_EPSILON) ** 2
    return Scaling(mean, np.where(constant, 0.0, np.sqrt(variance)))


def _subsample_feature_mean(X: Array, row_slices: Sequence[slice], has_label: BoolArray) -> Array:
    """Return about the mean of the shared rows, (k,): of every so many, where there are very many.

    The mean of every m-th row is at most the root of m deviations from that of all, so that a variance about it loses
    log2(m) bits at most.
    """
    rows = sum(core.stop - core.start for core in row_slices)
    thin = min(max(rows // CENTER_SAMPLE_ROWS, 1), MAX_CENTER_ROW_STRIDE)
    few = [slice(core.start, core.stop, thin) for core in row_slices]
    values = [X[some] if has_label[some].all() else X[some][has_label[some]] for some in few]
    # A product is quicker than a sum down columns.
    sums = [np.ones(len(part)) @ part for part in values]
    return np.asarray(np.sum(sums, axis=0) / max(sum(map(len, values)), 1))


def _centered_moment_sums(X: Array, has_label: BoolArray, tiled_center: Array) -> Array:
    """Return the sums of 1, x - center and its square over some rows, (1 + 2k,); `tiled` is the center, row for row."""
    away = X - tiled_center[: len(X)]
    if not has_label.all():
        away[~has_label] = 0.0
    each = np.ones(len(X))
    first = each @ away
    np.square(away, out=away)
    return np.concatenate([[np.count_nonzero(has_label)], first, each @ away])


def _centered_moment_terms(X: Array, has_label: BoolArray, center: Array) -> Array:
    """Return 1, x - center and its square for some rows, (1 + 2k, rows); zeros where a row doesn't count."""
    k = len(center)
    terms = np.empty((1 + 2 * k, len(X)))
    terms[0] = has_label
    away = np.subtract(X.T, center[:, None], out=terms[1 : 1 + k])
    if not has_label.all():
        away[:, ~has_label] = 0.0
    np.square(away, out=terms[1 + k :])
    return terms
