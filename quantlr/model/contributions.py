"""Contributions of the features to the log odds of forecasts."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from quantlr.core.values import Array, Dataset, Folds, Forecasts
from quantlr.model.candidates import SelectedForecasts
from quantlr.model.standardize import fold_scaling


class LogOddsContributions:
    """Contributions of the features to the log odds of forecasts.

    A contribution is the coefficient times the feature's distance from its mean over the refit's labelled training
    rows, and times Platt's slope where forecasts are calibrated, as `quantlr.predict` gives it for the newest forecast.
    With the log odds at the means the contributions of a forecast sum to its log odds. They are NaN where a refit has
    no finite coefficients.

    Of a choice among candidates they are the mean of the candidates' contributions, weighted as their probabilities
    are; where one candidate has all the weight, they are its own.

    Parameters
    ----------
    dataset, forecasts : of a run.
    """

    def __init__(self, dataset: Dataset, forecasts: Forecasts) -> None:
        self._dataset, self._forecasts = dataset, forecasts
        self._mean_by_training_rows: dict[bytes, Array] = {}

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the features, of a choice those of all candidates; none where log odds are not linear in them."""
        forecasts, refits, names = self._forecasts, [self._forecasts.refits], [self._dataset.columns]
        if isinstance(forecasts, SelectedForecasts):
            selection = forecasts.selection
            refits = [candidate.refits for candidate in selection.candidates]
            names = [own_names for _, own_names in selection.dataset_columns]
        is_linear = all(one.has_coefficients for one in refits)
        return tuple(dict.fromkeys(itertools.chain(*names))) if is_linear else ()

    def of_ticker(self, ticker_index: int) -> Array:
        """Return the contributions to each of a ticker's forecasts, (forecasts, k)."""
        forecasts = self._forecasts
        if not self.columns or not isinstance(forecasts, SelectedForecasts):
            return self._of_model(forecasts, range(len(self.columns)), ticker_index)
        selection, sessions = forecasts.selection, forecasts.session[forecasts.ticker == ticker_index]
        weights = selection.weights[np.searchsorted(selection.session, sessions)]
        total = np.zeros((len(sessions), len(self.columns)))
        for index, (columns, names) in enumerate(selection.dataset_columns):
            weight = weights[:, index, None]
            own = self._of_model(forecasts.of_candidate(index), columns, ticker_index)
            total[:, [self.columns.index(name) for name in names]] += np.where(weight > 0, weight * own, 0.0)
        return total

    def _of_model(self, forecasts: Forecasts, columns: Sequence[int], ticker_index: int) -> Array:
        """Return the contributions of some columns of the dataset, which are those of the model, (forecasts, k)."""
        refits, is_own = forecasts.refits, forecasts.ticker == ticker_index
        if not columns:
            return np.empty((int(is_own.sum()), 0))
        model_ticker, model_folds = -1, forecasts.folds
        if ticker_index in refits.ticker:
            model_ticker = ticker_index
            model_folds = (model_folds[int(np.searchsorted(np.unique(forecasts.ticker), ticker_index))],)
        refit_rows = np.flatnonzero(refits.ticker == model_ticker)
        weights = refits.platt_coefficients[refit_rows, 1:] * refits.coefficients[refit_rows, 1:]
        rows = self._dataset.ticker_slice(ticker_index)
        feature_row = rows.start + np.searchsorted(self._dataset.session[rows], forecasts.session[is_own])
        fold = forecasts.fold[is_own]
        distance = self._dataset.features[feature_row] - self._training_means(model_folds)[fold]
        return np.asarray(weights[fold] * distance[:, list(columns)])

    def _training_means(self, folds: Sequence[Folds]) -> Array:
        """Return the mean of every column over each refit's labelled training rows, (refits, k), computed once."""
        key = b"".join(bounds.tobytes() for one in folds for bounds in (one.train_start, one.train_stop))
        if key not in self._mean_by_training_rows:
            has_label = ~np.isnan(self._dataset.up)
            self._mean_by_training_rows[key] = fold_scaling(self._dataset.features, folds, has_label=has_label).mean
        return self._mean_by_training_rows[key]
