"""Mean and deviation of each refit's own training rows: what standardises its features."""

from __future__ import annotations

import numpy as np

from quantlr.model.objective import Scaling, Windows
from quantlr.types import Array, Folds

TOGETHER = 256
"""Refits whose moments are taken from one pass over the rows that they share."""
EPSILON = float(np.finfo(np.float64).eps)


def fold_scaling(X: Array, folds: Folds) -> Scaling:
    """Return the mean and ddof-0 deviation of every fold's training rows, (refits, k) each.

    Rows that neighbouring folds share are summed once, about their own mean; what each has besides is added to it
    (Chan, Golub and LeVeque 1983), so that nothing cancels where a feature's level or scale jumps.
    """
    parts = [_scaling(X, folds, refits) for refits in overlapping(folds, at_most=TOGETHER)]
    return Scaling(
        mean=np.concatenate([part.mean for part in parts]),
        deviation=np.concatenate([part.deviation for part in parts]),
    )


def overlapping(folds: Folds, *, at_most: int) -> list[slice]:
    """Return runs of neighbouring refits, each sharing most of its training rows."""
    runs, first = [], 0
    while first < len(folds):
        room = (folds.train_stop[first] - folds.train_start[first]) // 2
        newest = int(np.searchsorted(folds.train_stop, folds.train_stop[first] + room, side="right"))
        oldest = int(np.searchsorted(folds.train_start, folds.train_start[first] + room, side="right"))
        last = max(first + 1, min(newest, oldest, first + at_most, len(folds)))
        runs.append(slice(first, last))
        first = last
    return runs


def _scaling(X: Array, folds: Folds, refits: slice) -> Scaling:
    first, last = int(folds.train_start[refits][0]), int(folds.train_stop[refits][-1])
    windows = Windows(folds.train_start[refits] - first, folds.train_stop[refits] - first)
    core, rows = windows.core, windows.rows[:, None]
    center = X[first:last][core].mean(axis=0)
    away = X[first:last] - center
    squares = away**2
    inner = away[core].sum(axis=0)
    shift = windows.sums(inner, away[: core.start], away[core.stop :]) / rows
    spread = windows.sums(squares[core].sum(axis=0), squares[: core.start], squares[core.stop :]) / rows
    mean, variance = center + shift, np.maximum(spread - shift**2, 0.0)
    # What rounding alone would leave of a constant's variance (the bound of scikit-learn's StandardScaler).
    constant = variance <= rows * EPSILON * variance + (rows * np.abs(mean) * EPSILON) ** 2
    return Scaling(mean, np.where(constant, 0.0, np.sqrt(variance)))
