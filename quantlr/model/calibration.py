"""Platt scaling: log odds corrected by a logistic regression of the outcomes of earlier forecasts on their log odds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from quantlr.core.values import Array, Folds
from quantlr.model.base import FittedModel, Model
from quantlr.model.batched.fit import fit_folds
from quantlr.model.config import LogisticRegression
from quantlr.model.splits import fold_sums
from quantlr.model.standardize import fold_scaling
from quantlr.model.training import TrainingData

MIN_CALIBRATION_FORECASTS = 250
"""Smallest number of forecasts with a known outcome to which a sigmoid is fitted."""


def fit_platt_calibration_by_refit(log_odds: Array, up: Array, folds: Sequence[Folds], model: Model) -> FittedModel:
    """Return Platt's sigmoid for every refit, fitted to the forecasts of earlier refits.

    A logistic regression of the outcomes on the log odds of the forecasts, with the smoothed targets 1 / (downs + 2)
    and (ups + 1) / (ups + 2) (Platt 1999). Each refit uses the forecasts whose outcome is known when its own training
    rows end, and no later ones.

    Returns
    -------
    A logistic regression on one feature, the log odds: intercept and slope of each refit, 0 and 1 where fewer than
    `MIN_CALIBRATION_FORECASTS` outcomes were known.

    Parameters
    ----------
    log_odds, up : (rows,) of all forecasts, ticker after ticker; `up` is NaN if dropped or not known yet.
    folds : of each ticker; its forecasts start at its first `test_start` and are consecutive.
    model : whose tolerance and number of updates apply, if it is a logistic regression; the defaults if not.
    """
    n_forecasts = [int(ticker.test_stop[-1] - ticker.test_start[0]) for ticker in folds]
    known = []
    for ticker, first in zip(folds, np.cumsum([0, *n_forecasts[:-1]]).tolist(), strict=True):
        start, stop = np.full_like(ticker.train_stop, first), ticker.train_stop - ticker.test_start[0]
        known.append(Folds(start, first + np.maximum(stop, 0), ticker.test_start, ticker.test_stop))
    has_outcome = ~np.isnan(up)
    counts = fold_sums(lambda rows: has_outcome[None, rows], known)[0]
    is_fitted = np.asarray(counts >= MIN_CALIBRATION_FORECASTS)
    n_refits = len(folds[0])
    coefficients, converged = np.tile([0.0, 1.0], (n_refits, 1)), np.ones(n_refits, dtype=np.bool_)
    degenerate = np.zeros(n_refits, dtype=np.bool_)
    if is_fitted.any():
        refits = slice(int(is_fitted.argmax()), n_refits)
        X, fitted_folds = log_odds[:, None], [ticker.slice_refits(refits) for ticker in known]
        scaling = fold_scaling(X, fitted_folds, has_label=has_outcome)
        logistic = model.as_logistic_regression() or LogisticRegression()
        platt_model = LogisticRegression(tol=logistic.tol, max_iter=logistic.max_iter)
        fits = fit_folds(TrainingData(X, up, fitted_folds, scaling, use_platt_targets=True), platt_model)
        coefficients[refits], converged[refits], degenerate[refits] = fits.coefficients, fits.converged, fits.degenerate
    return FittedModel(converged, degenerate, coefficients)
