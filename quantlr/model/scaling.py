"""Mean and deviation of each refit's own training rows: what standardises its features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from quantlr.model.rows import Scaling
from quantlr.model.windows import Windows, windows_like
from quantlr.types import Array, BoolArray, Folds, IntArray

TOGETHER = 256
"""Refits whose moments are taken from one pass over the rows that they share."""
SHARE = 0.1
"""Rows that they share, at least: about the mean of these, a variance loses no more than the inverse to rounding."""
ENOUGH, THINNEST = 2**14, 64
"""Rows that tell about where a mean is, and out of how many at most each of them is one."""
BLOCK = 2**12
"""Rows whose terms are there at once."""
EPSILON = float(np.finfo(np.float64).eps)


def fold_scaling(X: Array, folds: Sequence[Folds], *, trained: BoolArray) -> Scaling:
    """Return the mean and ddof-0 deviation of every refit's training rows, (refits, k) each.

    Rows that neighbouring refits share are summed once, about their own mean; what each has besides is added to it
    (Chan, Golub and LeVeque 1983), so that nothing cancels where a feature's level or scale jumps.

    Parameters
    ----------
    X : (rows, k) features.
    folds : which rows train which refit, for each ticker whose rows train together.
    trained : (rows,) whether a row has a label to learn from; the others don't count.
    """
    parts = [_scaling(X, folds, trained, refits) for refits in overlapping(folds, at_most=TOGETHER, share=SHARE)]
    return Scaling(
        mean=np.concatenate([part.mean for part in parts]),
        deviation=np.concatenate([part.deviation for part in parts]),
    )


def overlapping(folds: Sequence[Folds], *, at_most: int, share: float, rows: float = np.inf) -> list[slice]:
    """Return runs of neighbouring refits: what all of a run train on is at least the `share` of what each does.

    A run is of `at_most` refits, and at most `rows` rows come or go between its first and its last.
    """
    start: IntArray = np.sum([ticker.train_start for ticker in folds], axis=0)
    stop: IntArray = np.sum([ticker.train_stop for ticker in folds], axis=0)
    runs: list[slice] = []
    first = 0
    while first < len(start):
        length = int(stop[first] - start[first])
        gone, come = min(int(length * (1 - share)), rows), min(int(length * (1 / share - 1)), rows)
        oldest = int(np.searchsorted(start, start[first] + gone, side="right"))
        newest = int(np.searchsorted(stop, stop[first] + come, side="right"))
        last = max(first + 1, min(newest, oldest, first + at_most, len(start)))
        # Where rows come and go, what is left of the first is less than that share of the last.
        while last > first + 1 and stop[first] - start[last - 1] < share * (stop[last - 1] - start[last - 1]):
            last -= 1
        runs.append(slice(first, last))
        first = last
    return runs


def windows_of(ticker: Folds, refits: slice) -> tuple[slice, Windows]:
    """Return the union of some refits' training rows of one ticker, and each one's own, counted from its start."""
    start, stop = ticker.train_start[refits], ticker.train_stop[refits]
    there = stop > start
    if not there.all():
        # A ticker that has no rows yet: an empty window counts as one at the front.
        first = int(start[there].min()) if there.any() else 0
        start, stop = np.where(there, start, first), np.where(there, stop, first)
    first = int(start.min())
    return slice(first, int(stop.max())), windows_like((start - first).tobytes(), (stop - first).tobytes())


def _scaling(X: Array, folds: Sequence[Folds], trained: BoolArray, refits: slice) -> Scaling:
    parts = [windows_of(ticker, refits) for ticker in folds]
    center = _center(X, [slice(at.start + own.core.start, at.start + own.core.stop) for at, own in parts], trained)
    tiled = np.tile(center, (BLOCK, 1))
    total = np.zeros((1, 1 + 2 * len(center)))
    for rows, windows in parts:
        values, counted, core = X[rows], trained[rows], windows.core
        inside = np.zeros(total.shape[1])
        for first in range(core.start, core.stop, BLOCK):
            block = slice(first, min(first + BLOCK, core.stop))
            inside += _sums(values[block], counted[block], tiled)
        edges = (_terms(values[edge], counted[edge], center) for edge in (slice(0, core.start), slice(core.stop, None)))
        total = total + windows.sums(inside, *edges)
    count = np.maximum(total[:, :1], 1.0)
    shift, spread = np.split(total[:, 1:] / count, 2, axis=1)
    mean, variance = center + shift, np.maximum(spread - shift**2, 0.0)
    # What rounding alone would leave of a constant's variance (the bound of scikit-learn's StandardScaler).
    constant = variance <= count * EPSILON * variance + (count * np.abs(mean) * EPSILON) ** 2
    return Scaling(mean, np.where(constant, 0.0, np.sqrt(variance)))


def _center(X: Array, shared: Sequence[slice], trained: BoolArray) -> Array:
    """Return about the mean of the shared rows, (k,): of every so many, where there are very many.

    The mean of every m-th row is at most the root of m deviations from that of all, so that a variance about it loses
    log2(m) bits at most.
    """
    rows = sum(core.stop - core.start for core in shared)
    thin = min(max(rows // ENOUGH, 1), THINNEST)
    few = [slice(core.start, core.stop, thin) for core in shared]
    values = [X[some] if trained[some].all() else X[some][trained[some]] for some in few]
    # A product is quicker than a sum down columns.
    sums = [np.ones(len(part)) @ part for part in values]
    return np.asarray(np.sum(sums, axis=0) / max(sum(map(len, values)), 1))


def _sums(X: Array, trained: BoolArray, tiled: Array) -> Array:
    """Return the sums of 1, x - center and its square over some rows, (1 + 2k,); `tiled` is the center, row for row."""
    away = X - tiled[: len(X)]
    if not trained.all():
        away[~trained] = 0.0
    each = np.ones(len(X))
    first = each @ away
    np.square(away, out=away)
    return np.concatenate([[np.count_nonzero(trained)], first, each @ away])


def _terms(X: Array, trained: BoolArray, center: Array) -> Array:
    """Return 1, x - center and its square for some rows, (1 + 2k, rows); zeros where a row doesn't count."""
    k = len(center)
    terms = np.empty((1 + 2 * k, len(X)))
    terms[0] = trained
    away = np.subtract(X.T, center[:, None], out=terms[1 : 1 + k])
    if not trained.all():
        away[:, ~trained] = 0.0
    np.square(away, out=terms[1 + k :])
    return terms
