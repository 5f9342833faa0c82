"""Contributions of the features to the log odds of forecasts."""

from __future__ import annotations

import numpy as np

from quantlr.core.values import Array, Dataset, Forecasts
from quantlr.model.candidates import SelectedForecasts
from quantlr.model.standardize import fold_scaling


def log_odds_contributions(dataset: Dataset, forecasts: Forecasts, ticker_index: int) -> Array:
    """Return the contribution of each feature to the log odds of a ticker's forecasts, (forecasts, k).

    A contribution is the coefficient times the feature's distance from its mean over the refit's labelled training
    rows, and times Platt's slope where forecasts are calibrated, as `quantlr.predict` gives it for the newest forecast.
    With the log odds at the means the contributions of a forecast sum to its log odds. They are NaN where a refit has
    no finite coefficients, and there are no columns for a model without coefficients, or a mean over candidates.
    """
    refits, is_own = forecasts.refits, forecasts.ticker == ticker_index
    if not refits.has_coefficients or isinstance(forecasts, SelectedForecasts):
        return np.empty((int(is_own.sum()), 0))
    model_ticker, model_folds = -1, forecasts.folds
    if ticker_index in refits.ticker:
        model_ticker = ticker_index
        model_folds = (model_folds[int(np.searchsorted(np.unique(forecasts.ticker), ticker_index))],)
    mean = fold_scaling(dataset.features, model_folds, has_label=~np.isnan(dataset.up)).mean
    refit_rows = np.flatnonzero(refits.ticker == model_ticker)
    weights = refits.platt_coefficients[refit_rows, 1:] * refits.coefficients[refit_rows, 1:]
    rows = dataset.ticker_slice(ticker_index)
    feature_row = rows.start + np.searchsorted(dataset.session[rows], forecasts.session[is_own])
    fold = forecasts.fold[is_own]
    return np.asarray(weights[fold] * (dataset.features[feature_row] - mean[fold]))
