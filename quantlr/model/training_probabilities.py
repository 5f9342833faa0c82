"""Mean and spread of the probabilities that each refit gives its training rows, which the test of skill needs."""

from __future__ import annotations

from typing import Any

import numpy as np

from quantlr.core.values import Array, Folds, IntArray
from quantlr.model.base import FittedModel
from quantlr.model.calibration import Calibration
from quantlr.model.logistic import sigmoid
from quantlr.model.windows import overlapping_refit_slices

PROBABILITIES_PER_BLOCK = 2**16
"""Probabilities that are computed at once, so that they stay in the cache."""
MIN_BLOCK_ROW_OVERLAP = 0.5
"""Smallest ratio of the rows common to a block's refits to those of its first refit."""
MIN_FLOAT32_STD = 1e-4
"""Smallest standard deviation of a refit's probabilities that is computed in single precision.

Single precision takes a third of the time. It is right to 1e-8 in a probability, and so to 1e-4 of this deviation.
"""


def training_probability_stats(
    X: Array, up: Array, folds: Folds, fitted: FittedModel, calibration: Calibration | None = None
) -> Array:
    """Return up-rate, mean probability and its standard deviation over the training rows of each refit, (3, refits).

    All three are of one ticker's own labelled training rows, whichever rows trained the refit; NaN without any. The
    rows that the refit forecasts are not among them.

    Parameters
    ----------
    X, up : (rows, k) features and (rows,) labels of the model; NaN is no label.
    folds : of the ticker.
    fitted, calibration : what the refits have learnt, and the correction of their forecasts; None: there is none.

    Notes
    -----
    A fit that has an intercept and no weights of rows has the up-rate as its mean probability, to its tolerance. The
    mean is summed all the same: the standard deviation needs the probabilities, of which the sum takes little time.
    The probabilities of a model without coefficients are computed refit by refit.
    """
    first, last = int(folds.train_start.min()), int(folds.train_stop.max())
    labelled = np.flatnonzero(~np.isnan(up[first:last]))
    if not len(labelled):
        return np.full((3, len(folds)), np.nan)
    start, stop = (np.searchsorted(labelled, edge - first) for edge in (folds.train_start, folds.train_stop))
    n_ups = np.concatenate([[0.0], np.cumsum(up[first:last][labelled])])
    with np.errstate(invalid="ignore"):
        up_rate = (n_ups[stop] - n_ups[start]) / (stop - start)
    X = X[first:last][labelled]
    if not fitted.coefficients.size:
        return np.stack([up_rate, *_mean_and_std_by_log_odds(X, fitted, calibration, start, stop)])
    weights = fitted.coefficients if calibration is None else calibration.correct_weights(fitted.coefficients)
    return np.stack([up_rate, *_mean_and_std_by_weights(X, weights, start, stop)])


def _mean_and_std_by_log_odds(
    X: Array, fitted: FittedModel, calibration: Calibration | None, start: IntArray, stop: IntArray
) -> Array:
    """Return mean and standard deviation of each refit's probabilities, (2, refits), of any model."""
    mean_and_std = np.full((2, len(start)), np.nan)
    for refit in np.flatnonzero(stop > start).tolist():
        refit_index = np.full(stop[refit] - start[refit], refit)
        log_odds = fitted.log_odds(X[start[refit] : stop[refit]], refit_index)
        if calibration is not None:
            log_odds = calibration.correct_log_odds(log_odds, refit_index)
        probability = sigmoid(log_odds)
        mean_and_std[:, refit] = probability.mean(), probability.std()
    return mean_and_std


def _mean_and_std_by_weights(X: Array, weights: Array, start: IntArray, stop: IntArray) -> Array:
    """Return the same where the log odds are linear, from (refits, 1 + k) intercepts and weights of raw features."""
    first_refit = int((stop > start).argmax())
    first_rows = X[start[first_refit] : stop[first_refit]]
    center, scale = first_rows.mean(axis=0), first_rows.std(axis=0)
    scale[scale == 0] = 1.0
    X = (X - center) / scale
    local_weights = np.column_stack([weights[:, 0] + weights[:, 1:] @ center, weights[:, 1:] * scale])
    mean_and_std = _probability_mean_and_std(X.astype(np.float32), local_weights, start, stop)
    is_inexact = mean_and_std[1] < MIN_FLOAT32_STD
    if is_inexact.any():
        mean_and_std[:, is_inexact] = _probability_mean_and_std(X, local_weights, start, stop)[:, is_inexact]
    return mean_and_std


def _probability_mean_and_std(X: Any, weights: Array, start: IntArray, stop: IntArray) -> Array:
    """Return mean and standard deviation of each refit's probabilities, (2, refits), in the precision of `X`.

    Parameters
    ----------
    X : (rows, k) features, with means near 0.
    weights : (refits, 1 + k) intercept and weights of these features.
    start, stop : (refits,) first row of each refit, and the row after its last.
    """
    X_T, half_slopes = X.T, (0.5 * weights[:, 1:]).astype(X.dtype)
    half_intercept = 0.5 * weights[:, :1]
    center = np.tanh(half_intercept)
    total, squares = np.zeros(len(start)), np.zeros(len(start))
    max_refits = max(PROBABILITIES_PER_BLOCK // max(int((stop - start).max()), 1), 1)
    windows = Folds(start, stop, start, stop)
    for refits in overlapping_refit_slices([windows], max_refits=max_refits, min_overlap=MIN_BLOCK_ROW_OVERLAP):
        rows = slice(int(start[refits].min()), int(stop[refits].max()))
        # tanh(z / 2) is 2 p - 1; about its value at the mean row, the squares keep their digits.
        values = half_slopes[refits] @ X_T[:, rows]
        values += half_intercept[refits].astype(X.dtype)
        np.tanh(values, out=values)
        values -= center[refits].astype(X.dtype)
        for refit, row_values in enumerate(values, start=refits.start):
            own = row_values[start[refit] - rows.start : stop[refit] - rows.start]
            total[refit], squares[refit] = own.sum(), own @ own
    with np.errstate(invalid="ignore"):
        mean = total / (stop - start)
        variance = squares / (stop - start) - mean**2
    return np.stack([0.5 + 0.5 * (center[:, 0] + mean), 0.5 * np.sqrt(np.maximum(variance, 0.0))])
