"""Platt's sigmoid: probabilities corrected by how the earlier forecasts turned out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from quantlr.core.arrays import Array, BoolArray, IntArray
from quantlr.core.values import Folds
from quantlr.model.batched.fit import fit_folds
from quantlr.model.batched.training import TrainingData
from quantlr.model.config import LogisticRegression
from quantlr.model.splits import fold_sums
from quantlr.model.standardize import fold_scaling

MIN_CALIBRATION_FORECASTS = 250
"""Known forecasts from which a sigmoid is fitted to them."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What corrects the log odds of each refit's forecasts.

    Attributes
    ----------
    line : (refits, 2) intercept and slope; 0 and 1 where too few forecasts were known.
    fitted : (refits,) whether enough were.
    converged : (refits,) whether the descent that fitted it did.
    """

    platt_coefficients: Array
    is_fitted: BoolArray
    converged: BoolArray

    def apply(self, log_odds: Array, refit_index: IntArray) -> Array:
        """Return the corrected log odds (rows,) of forecasts by the refits `fold` (rows,)."""
        return np.asarray(self.platt_coefficients[refit_index, 0] + self.platt_coefficients[refit_index, 1] * log_odds)


def fit_platt_calibration(log_odds: Array, up: Array, folds: Sequence[Folds], model: LogisticRegression) -> Calibration:
    """Return Platt's sigmoid for every refit, learnt from the forecasts of the refits before it.

    A logistic regression of what came on the log odds that were forecast, with the smoothed targets
    1 / (downs + 2) and (ups + 1) / (ups + 2) (Platt 1999). Every refit takes the forecasts whose outcome is known by
    the session at which its training rows end.

    Parameters
    ----------
    log_odds, up : (rows,) of all forecasts, ticker after ticker; `up` is NaN where it was dropped or is not known.
    folds : of each ticker; its forecasts begin at its first `test_start` and have no hole.
    model : whose tolerance and number of updates hold here too.
    """
    first = np.cumsum([0, *(int(ticker.test_stop[-1] - ticker.test_start[0]) for ticker in folds)])
    known = [
        Folds(
            train_start=np.full_like(ticker.train_stop, begins),
            train_stop=begins + np.maximum(ticker.train_stop - ticker.test_start[0], 0),
            test_start=ticker.test_start,
            test_stop=ticker.test_stop,
        )
        for ticker, begins in zip(folds, first.tolist(), strict=False)
    ]
    refits = len(folds[0])
    counts = fold_sums(lambda rows: ~np.isnan(up[None, rows]), known)[0]
    fitted = np.asarray(counts >= MIN_CALIBRATION_FORECASTS)
    line, converged = np.tile([0.0, 1.0], (refits, 1)), np.ones(refits, dtype=np.bool_)
    if fitted.any():
        late = slice(int(fitted.argmax()), refits)
        X, later = log_odds[:, None], [ticker.slice_refits(late) for ticker in known]
        scaling = fold_scaling(X, later, has_label=~np.isnan(up))
        plain = LogisticRegression(tol=model.tol, max_iter=model.max_iter)
        fits = fit_folds(TrainingData(X, up, later, scaling, use_platt_targets=True), plain)
        line[late], converged[late] = fits.coefficients, fits.converged
    return Calibration(line, fitted, converged)
