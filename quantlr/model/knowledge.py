"""What each refit's training rows say of the returns to come, beside its weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from quantlr.types import Array, Folds


def fold_knowledge(up: Array, span: Array, folds: Sequence[Folds]) -> Array:
    """Return base rate, mean gain, mean loss and deviation of each refit's training rows, (4, refits).

    Only rows with a label count. A mean over nothing is NaN.
    """
    there = ~np.isnan(up)
    first = next((ticker for ticker in folds if ticker.train_stop[0] > ticker.train_start[0]), folds[0])
    near = slice(first.train_start[0], first.train_stop[0])
    center = span[near][there[near]].mean() if there[near].any() else 0.0
    away = np.where(there, span - center, 0.0)
    ups = np.where(there, up, 0.0)

    def total(values: Array) -> Array:
        return np.asarray(sum(_sums(values, ticker) for ticker in folds))

    rows, rose = total(there.astype(np.float64)), total(ups)
    with np.errstate(invalid="ignore", divide="ignore"):
        gain, loss = center + total(ups * away) / rose, center + total((there - ups) * away) / (rows - rose)
        variance = (total(away**2) - total(away) ** 2 / rows) / (rows - 1)
        return np.stack([rose / rows, gain, loss, np.sqrt(np.maximum(variance, 0.0))])


def _sums(values: Array, ticker: Folds) -> Array:
    """Return the sum of (rows,) values over each refit's training rows of one ticker, (refits,).

    The running sum goes over these rows alone: a huge number elsewhere would cost every later sum its last digits.
    """
    first = int(ticker.train_start.min())
    sums = np.concatenate([[0.0], np.cumsum(values[first : int(ticker.train_stop.max())])])
    return np.asarray(sums[ticker.train_stop - first] - sums[ticker.train_start - first])
