"""Platt's sigmoid is fitted to the forecasts whose outcome was known at each refit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from quantlr.core.values import Array, Dataset, Folds, Forecasts
from quantlr.data.dataset import build_dataset, compute_feature_columns
from quantlr.data.features import LaggedReturns, Volatility
from quantlr.data.labels import Direction
from quantlr.model.calibration import fit_platt_calibration_by_refit
from quantlr.model.config import LogisticRegression
from quantlr.model.splits import WalkForwardSpec
from quantlr.model.walk_forward import walk_forward
from scipy.special import expit
from sklearn.calibration import _SigmoidCalibration

from markets import random_walk_prices


def example_data(*, tickers: int = 1, horizon: int = 1, sessions: int = 600) -> Dataset:
    prices = random_walk_prices(3, n_sessions=sessions, n_tickers=tickers, with_gaps=tickers > 1)
    features = compute_feature_columns(prices, [LaggedReturns(lags=(1, 2, 3)), Volatility(windows=(10,))])
    label = Direction.model_validate({"horizon": horizon, "ties": "drop"})
    return build_dataset(prices, features, label.compute_labels(prices), horizon=horizon)


def forecast(dataset: Dataset, walk_config: dict[str, Any], **model: Any) -> Forecasts:
    spec = WalkForwardSpec.model_validate(walk_config)
    return walk_forward(dataset, spec, LogisticRegression.model_validate({"tol": 1e-12, **model}))


def fit_by_scikit_learn(log_odds: Array, up: Array, newest: Array) -> Array:
    """Return new forecasts corrected by scikit-learn's sigmoid, fitted to forecasts with known outcomes."""
    sigmoid = _SigmoidCalibration().fit(log_odds, up)
    return np.asarray(expit(-(sigmoid.a_ * newest + sigmoid.b_)))


@pytest.mark.parametrize("window", ["expanding", "rolling"])
@pytest.mark.parametrize("horizon", [1, 3])
@pytest.mark.parametrize("embargo", [0, 5])
def test_calibration_uses_only_forecasts_with_known_outcomes(window: str, horizon: int, embargo: int) -> None:
    dataset = example_data(horizon=horizon)
    walk_config = {"train": 100, "refit_every": 10, "window": window, "embargo": embargo}
    raw, result = (forecast(dataset, walk_config, calibration=kind) for kind in (None, "platt"))
    first, calibrated = 0, 0
    for refit in range(int(raw.fold[-1]) + 1):
        selected = np.flatnonzero(raw.fold == refit)
        first = int(selected[0])
        known = np.arange(max(first - horizon - embargo + 1, 0))
        known = known[~np.isnan(raw.up[known])]
        if len(known) < 250:
            np.testing.assert_array_equal(result.probability[selected], raw.probability[selected])
            np.testing.assert_array_equal(result.refits.platt_coefficients[refit], [0.0, 1.0])
            continue
        calibrated += len(selected)
        expected = fit_by_scikit_learn(raw.log_odds[known], raw.up[known], raw.log_odds[selected])
        np.testing.assert_allclose(result.probability[selected], expected, atol=2e-6)
    assert calibrated > 100
    (note,) = (note for note in result.notes if "uncalibrated" in note.text)
    assert note.count == len(raw.fold) - calibrated


def test_pooled_forecasts_are_calibrated_together() -> None:
    dataset = example_data(tickers=3, sessions=260)
    walk_config = {"train": 60, "refit_every": 20}
    raw, result = (forecast(dataset, walk_config, scope="pooled", calibration=kind) for kind in (None, "platt"))
    known_at = {
        (t, s): known
        for t, s, known in zip(
            dataset.ticker.tolist(), dataset.session.tolist(), dataset.label_known_at.tolist(), strict=True
        )
    }
    known_at_row = np.array([known_at[key] for key in zip(raw.ticker.tolist(), raw.session.tolist(), strict=True)])
    checked = 0
    for refit in range(int(raw.fold.max()) + 1):
        selected = raw.fold == refit
        known = (known_at_row <= raw.session[selected].min()) & ~np.isnan(raw.up)
        if known.sum() >= 250:
            expected = fit_by_scikit_learn(raw.log_odds[known], raw.up[known], raw.log_odds[selected])
            np.testing.assert_allclose(result.probability[selected], expected, atol=2e-6)
            checked += 1
        else:
            np.testing.assert_array_equal(result.probability[selected], raw.probability[selected])
    assert checked >= 3


def test_calibration_recovers_planted_intercept_and_slope() -> None:
    """Planted: the log odds are three times too large and one half too high."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=4000)
    up = (rng.random(4000) < expit(truth)).astype(np.float64)
    begins = np.arange(0, 4000, 500)
    folds = Folds(train_start=np.zeros_like(begins), train_stop=begins, test_start=begins, test_stop=begins + 500)
    line = fit_platt_calibration_by_refit(3.0 * truth + 0.5, up, [folds], LogisticRegression()).coefficients
    np.testing.assert_allclose(line[-1], [-0.5 / 3.0, 1.0 / 3.0], atol=0.05)
