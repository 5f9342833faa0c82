"""What each refit's training rows say of the returns to come, beside its weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from quantlr.model.folds import training_sums
from quantlr.types import Array, Folds


def fold_knowledge(up: Array, span: Array, folds: Sequence[Folds]) -> Array:
    """Return base rate, mean gain, mean loss and deviation of each refit's training rows, (4, refits).

    Only rows with a label count. A mean over nothing is NaN.
    """
    there = ~np.isnan(up)
    first = next((ticker for ticker in folds if ticker.train_stop[0] > ticker.train_start[0]), folds[0])
    near = slice(first.train_start[0], first.train_stop[0])
    center = span[near][there[near]].mean() if there[near].any() else 0.0
    counted, ups, gains, away, squares = values = np.zeros((5, len(up)))
    counted[:] = there
    np.copyto(ups, up, where=there)
    np.subtract(span, center, out=away, where=there)
    np.multiply(ups, away, out=gains)
    np.square(away, out=squares)
    rows, rose, gained, moved, squared = training_sums(values, folds)
    with np.errstate(invalid="ignore", divide="ignore"):
        gain, loss = center + gained / rose, center + (moved - gained) / (rows - rose)
        variance = (squared - moved**2 / rows) / (rows - 1)
        return np.stack([rose / rows, gain, loss, np.sqrt(np.maximum(variance, 0.0))])
