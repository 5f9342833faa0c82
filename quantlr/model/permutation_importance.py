"""Permutation importance: what forecasts lose when one feature is shuffled among the rows that they are made for.

It replaces coefficients where a model has none. The rows are those that the refits forecast, never those that they were
trained on, so that a feature that a model merely memorised has no importance (Breiman 2001).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quantlr.core.values import Array, Dataset, Forecasts, IntArray
from quantlr.model.base import Model
from quantlr.model.walk_forward import ModelSplit, model_split_of_forecasts
from quantlr.stats.cosine_test import cosine_interval_95
from quantlr.stats.hac import sum_by_session

MAX_REFITS, N_PERMUTATIONS, MAX_ROWS = 5, 3, 20_000
"""Refits that are fitted once more, permutations of each feature, and rows that they forecast, at most."""


@dataclass(frozen=True, slots=True)
class PermutationImportance:
    """Increase of the log loss when each feature is permuted.

    Attributes
    ----------
    columns : (k,) names of the features.
    loss_increase : (k,) mean increase of the log loss, in nats.
    low95, high95 : (k,) its 95 % interval by sessions; NaN where there are too few.
    n_refits, n_rows : numbers of refits, and of rows that they forecast.
    """

    columns: tuple[str, ...]
    loss_increase: Array
    low95: Array
    high95: Array
    n_refits: int
    n_rows: int


def permutation_importance(
    dataset: Dataset,
    forecasts: Forecasts,
    model: Model,
    *,
    ticker_index: int,
    seed: int,
    n_permutations: int = N_PERMUTATIONS,
) -> PermutationImportance:
    """Return the permutation importance of the features of one model.

    Up to five evenly spaced refits are fitted once more. Each forecasts the rows from its own first to that of the next
    of them, all of which are later than its training rows; a feature is permuted among the rows of one refit.

    Parameters
    ----------
    dataset, forecasts, model : of the walk-forward.
    ticker_index : of the model: position of its ticker, or -1 for that of all tickers.
    seed : of the permutations.
    n_permutations : of each feature, over which the increase is averaged.
    """
    split = model_split_of_forecasts(dataset, forecasts, ticker_index, model)
    step = -(-len(split.first_session) // MAX_REFITS)
    selected = split.slice_refits(slice(None, None, step))
    training = selected.make_training_data()
    (fitted,) = model.fit_many([training], describe_refits=[selected.describe_refit])
    rows, refit_index = _forecast_rows(selected, split)
    X, up, session = split.X[rows], split.up[rows], dataset.session[split.first_row :][rows]

    def log_losses(features: Array) -> Array:
        z = fitted.log_odds(features, refit_index)
        return np.asarray(np.logaddexp(0.0, np.where(up > 0, -z, z)))

    unchanged, rng = log_losses(X), np.random.default_rng(seed)
    starts = np.flatnonzero(np.diff(refit_index, prepend=-1))
    groups = np.split(np.arange(len(rows)), starts[1:])
    increase, interval = np.zeros(X.shape[1]), np.full((2, X.shape[1]), np.nan)
    for column in range(X.shape[1]):
        total = np.zeros(len(rows))
        for _ in range(n_permutations):
            permuted = X.copy()
            permuted[:, column] = X[np.concatenate([rng.permutation(group) for group in groups]), column]
            total += log_losses(permuted) - unchanged
        difference = total / n_permutations
        increase[column] = difference.mean()
        by_session = sum_by_session(session, difference)[:, 0]
        bounds = cosine_interval_95(by_session, horizon=dataset.horizon)
        interval[:, column] = (np.nan, np.nan) if bounds is None else np.array(bounds) * len(by_session) / len(rows)
    (low95, high95), n_refits = interval, len(selected.first_session)
    return PermutationImportance(dataset.columns, increase, low95, high95, n_refits, len(rows))


def _forecast_rows(selected: ModelSplit, split: ModelSplit) -> tuple[IntArray, IntArray]:
    """Return the rows with an outcome that selected refits forecast until the next of them, and each one's refit."""
    rows, refits = [], []
    for ticker, every in zip(selected.folds, split.folds, strict=True):
        stops = np.append(ticker.test_start[1:], every.test_stop[-1])
        for refit, (start, stop) in enumerate(zip(ticker.test_start.tolist(), stops.tolist(), strict=True)):
            rows.append(np.arange(start, stop))
            refits.append(np.full(max(stop - start, 0), refit))
    row, refit_index = np.concatenate(rows), np.concatenate(refits)
    is_known = ~np.isnan(split.up[row])
    row, refit_index = row[is_known], refit_index[is_known]
    order = np.argsort(refit_index, kind="stable")[:: -(-len(row) // MAX_ROWS) or 1]
    return row[order], refit_index[order]
