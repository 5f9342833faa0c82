"""What each refit's training rows say of the returns to come, beside its weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from quantlr.model.folds import training_sums
from quantlr.types import Array, Folds

ENOUGH = 2**10
"""Returns that tell about where their mean is."""


def fold_knowledge(up: Array, span: Array, folds: Sequence[Folds]) -> Array:
    """Return base rate, mean gain, mean loss and deviation of each refit's training rows, (4, refits).

    Only rows with a label count. A mean over nothing is NaN.
    """
    first = next((ticker for ticker in folds if ticker.train_stop[0] > ticker.train_start[0]), folds[0])
    center = _center(span[first.train_start[0] : first.train_stop[0]])

    def moments(rows: slice) -> Array:
        values = np.empty((5, len(up[rows])))
        counted, ups, gains, away, squares = values
        counted[:], ups[:] = 1.0, up[rows]
        np.subtract(span[rows], center, out=away)
        np.multiply(ups, away, out=gains)
        np.square(away, out=squares)
        unknown = np.isnan(ups)
        if unknown.any():
            values[:, unknown] = 0.0
        return values

    rows, rose, gained, moved, squared = training_sums(moments, folds)
    with np.errstate(invalid="ignore", divide="ignore"):
        gain, loss = center + gained / rose, center + (moved - gained) / (rows - rose)
        variance = (squared - moved**2 / rows) / (rows - 1)
        return np.stack([rose / rows, gain, loss, np.sqrt(np.maximum(variance, 0.0))])


def _center(span: Array) -> float:
    """Return about the mean of some returns, from every so many: squares about it lose no digits."""
    few = span[:: max(len(span) // ENOUGH, 1)]
    known = few[~np.isnan(few)]
    return float(known.mean()) if len(known) else 0.0
