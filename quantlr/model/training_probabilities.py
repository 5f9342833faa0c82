"""Mean and spread of the probabilities that each refit gives its training rows, which the test of skill needs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from quantlr.core.values import Array, BoolArray, Folds, IntArray
from quantlr.model.base import FittedModel
from quantlr.model.logistic import sigmoid
from quantlr.model.splits import fold_sums
from quantlr.model.windows import overlapping_refit_slices

COVARIANCE_ROWS = 1024
"""Smallest number of evenly spaced rows that a covariance of the features is computed from, if there are as many."""
MIN_WINDOW_OVERLAP = 0.8
"""Smallest ratio of the rows common to the refits that share one covariance of the features."""
MAX_APPROXIMATED_STD = 0.3
"""Largest standard deviation of a refit's log odds at which moments of its probabilities are approximated."""


def training_probability_stats(
    X: Array, up: Array, folds: Folds, fitted: FittedModel, calibration: FittedModel | None = None
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
    Where the log odds are linear in the features and vary little, as on daily prices, mean and standard deviation of
    the probabilities are approximated from the moments of the features; see `_approximate_mean_and_std`. Elsewhere the
    probabilities of all training rows are computed, refit by refit.
    """
    first, last = int(folds.train_start.min()), int(folds.train_stop.max())
    labelled = np.flatnonzero(~np.isnan(up[first:last]))
    if not len(labelled):
        return np.full((3, len(folds)), np.nan)
    start, stop = (np.searchsorted(labelled, edge - first) for edge in (folds.train_start, folds.train_stop))
    n_ups = np.concatenate([[0.0], np.cumsum(up[first:last][labelled])])
    with np.errstate(invalid="ignore"):
        up_rate = (n_ups[stop] - n_ups[start]) / (stop - start)
    X = X[first:last] if len(labelled) == last - first else X[first:last][labelled]
    if not fitted.coefficients.size:

        def log_odds_of_refit(refit: int) -> Array:
            refit_index = np.full(stop[refit] - start[refit], refit)
            log_odds = fitted.log_odds(X[start[refit] : stop[refit]], refit_index)
            return log_odds if calibration is None else calibration.log_odds(log_odds[:, None], refit_index)

        return np.stack([up_rate, *_mean_and_std_by_rows(log_odds_of_refit, stop > start)])
    weights = fitted.coefficients
    if calibration is not None:
        weights = calibration.coefficients[:, 1:] * weights
        weights[:, 0] += calibration.coefficients[:, 0]
    mean, std, log_odds_std = _approximate_mean_and_std(X, weights, start, stop)
    is_wide = ~(log_odds_std <= MAX_APPROXIMATED_STD) & (stop > start)

    def linear_log_odds(refit: int) -> Array:
        return np.asarray(X[start[refit] : stop[refit]] @ weights[refit, 1:] + weights[refit, 0])

    by_rows = _mean_and_std_by_rows(linear_log_odds, is_wide)
    return np.stack([up_rate, *np.where(is_wide, by_rows, [mean, std])])


def unknown_probability_stats(
    X: Array, up: Array, folds: Folds, fitted: FittedModel, calibration: FittedModel | None = None
) -> Array:
    """Return NaN in the shape of `training_probability_stats`, for forecasts whose skill is not tested.

    Most of the time that the statistics of a model without coefficients take is for its probabilities of training rows.
    """
    return np.full((3, len(folds)), np.nan)


def _mean_and_std_by_rows(log_odds_of_refit: Callable[[int], Array], refit_mask: BoolArray) -> Array:
    """Return mean and standard deviation of the probabilities of the refits in a mask, (2, refits); NaN elsewhere."""
    mean_and_std = np.full((2, len(refit_mask)), np.nan)
    for refit in np.flatnonzero(refit_mask).tolist():
        probability = sigmoid(log_odds_of_refit(refit))
        mean_and_std[:, refit] = probability.mean(), probability.std()
    return mean_and_std


def _approximate_mean_and_std(X: Array, weights: Array, start: IntArray, stop: IntArray) -> tuple[Array, Array, Array]:
    """Return mean and standard deviation of each refit's probabilities, and the log odds' standard deviation.

    Parameters
    ----------
    X : (rows, k) features of the labelled rows.
    weights : (refits, 1 + k) intercept and weights.
    start, stop : (refits,) first row of each refit, and the row after its last.

    Returns
    -------
    mean, std, log_odds_std : (refits,) each; NaN of a refit without rows.

    Notes
    -----
    With z the log odds at the mean row, v their variance and g = sigmoid(z), the Taylor expansion about z (the delta
    method) has the mean g + g (1 - g) (1 - 2 g) v / 2 and the standard deviation g (1 - g) sqrt(v). The mean row is
    each refit's own; the covariance of the features, which moves slowly, is that of a sample of the training rows of
    an earlier refit, which has four fifths of the rows in common. Neither looks past the refit's training rows.
    """
    windows = [Folds(start, stop, start, stop)]
    with np.errstate(invalid="ignore"):
        mean_row = (fold_sums(lambda rows: X.T[:, rows], windows) / (stop - start)).T
    intercept, slopes = weights[:, 0], weights[:, 1:]
    g = sigmoid(intercept + np.einsum("ij,ij->i", slopes, mean_row))
    variance = np.full(len(start), np.nan)
    for refits in overlapping_refit_slices(windows, max_refits=len(start), min_overlap=MIN_WINDOW_OVERLAP):
        first, last = start[refits.start], stop[refits.start]
        rows = X[first : last : max((last - first) // COVARIANCE_ROWS, 1)]
        if len(rows):
            # A matrix product is faster than a mean down columns.
            deviation = rows - np.ones(len(rows)) @ rows / len(rows)
            covariance = deviation.T @ deviation / len(rows)
            variance[refits] = np.einsum("ij,ij->i", slopes[refits] @ covariance, slopes[refits])
    log_odds_std = np.sqrt(np.maximum(variance, 0.0))
    return g + g * (1 - g) * (1 - 2 * g) * variance / 2, g * (1 - g) * log_odds_std, log_odds_std
