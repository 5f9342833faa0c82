"""What each refit's training rows say of the returns to come, beside its weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from quantlr.model.folds import fold_sums
from quantlr.types import Array, Folds

CENTER_SAMPLE_RETURNS = 2**10
"""Returns that tell about where their mean is."""


def fold_target_stats(up: Array, horizon_return: Array, folds: Sequence[Folds]) -> Array:
    """Return base rate, mean gain, mean loss and deviation of each refit's training rows, (4, refits).

    Only rows with a label count. A mean over nothing is NaN.
    """
    first = next((ticker for ticker in folds if ticker.train_stop[0] > ticker.train_start[0]), folds[0])
    center = _subsample_mean(horizon_return[first.train_start[0] : first.train_stop[0]])

    def return_moment_terms(row_slice: slice) -> Array:
        values = np.empty((5, len(up[row_slice])))
        counted, ups, gains, away, squares = values
        counted[:], ups[:] = 1.0, up[row_slice]
        np.subtract(horizon_return[row_slice], center, out=away)
        np.multiply(ups, away, out=gains)
        np.square(away, out=squares)
        unknown = np.isnan(ups)
        if unknown.any():
            values[:, unknown] = 0.0
        return values

    rows, rose, gained, moved, squared = fold_sums(return_moment_terms, folds)
    with np.errstate(invalid="ignore", divide="ignore"):
        gain, loss = center + gained / rose, center + (moved - gained) / (rows - rose)
        variance = (squared - moved**2 / rows) / (rows - 1)
        return np.stack([rose / rows, gain, loss, np.sqrt(np.maximum(variance, 0.0))])


def _subsample_mean(horizon_return: Array) -> float:
    """Return about the mean of some returns, from every so many: squares about it lose no digits."""
    few = horizon_return[:: max(len(horizon_return) // CENTER_SAMPLE_RETURNS, 1)]
    known = few[~np.isnan(few)]
    return float(known.mean()) if len(known) else 0.0
