"""ISLR, chapter 4, from the S&P 500's own bars through the program's own pipeline.

James, Witten, Hastie and Tibshirani, "An Introduction to Statistical Learning", section 4.7 (4.6 in the first
edition): does the market go up tomorrow? The book's data are this index, 2001 to 2005, in rounded percent.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import quantlr
from quantlr.config.run_config import load_config
from quantlr.core.values import Array
from quantlr.data.prices import load_prices
from quantlr.model.batched.fit import fit_folds
from quantlr.model.config import LogisticRegression
from quantlr.model.logistic import sigmoid
from quantlr.model.splits import WalkForwardSpec, make_folds
from quantlr.model.standardize import fold_scaling
from quantlr.model.training import TrainingData
from quantlr.pipeline.stages import dataset_from_config

SIX: list[dict[str, Any]] = [
    {"kind": "lagged_returns", "lags": [1, 2, 3, 4, 5], "returns": "simple"},
    {"kind": "volume", "unit": "billions"},
]
TWO: list[dict[str, Any]] = [{"kind": "lagged_returns", "lags": [1, 2], "returns": "simple"}]


def smarket(features: list[dict[str, Any]], start: str) -> dict[str, Any]:
    """Return the config whose first row forecasts 2001-01-10, the first day of the book's data."""
    return {
        "data": {"source": {"kind": "sample"}, "tickers": ["^GSPC"], "start": start, "end": "2005-12-30"},
        "features": features,
        "label": {"ties": "up"},
        "walk_forward": {"train": 998, "refit_every": "never"},
    }


def in_percent(coefficients: dict[str, float]) -> Array:
    """Return the weights for returns in percent: a fraction's weight over 100; volume is in billions already."""
    return np.array([weight / 100 if "return" in name else weight for name, weight in coefficients.items()])


def test_islr_fit_on_all_1250_days() -> None:
    config = load_config(smarket(SIX, "2001-01-02")).run
    dataset = dataset_from_config(config, load_prices(config.data))
    known = ~np.isnan(dataset.up)
    X, y = dataset.features[known], dataset.up[known]
    assert len(y) == 1250
    folds = make_folds(1251, WalkForwardSpec(train=1250, refit_every="never"), horizon=1)
    fits = fit_folds(
        TrainingData(X, y, [folds], fold_scaling(X, [folds], has_label=~np.isnan(y))), LogisticRegression(tol=1e-12)
    )
    weights = in_percent(dict(zip(("intercept", *dataset.columns), fits.coefficients[0].tolist(), strict=True)))
    np.testing.assert_allclose(weights[[0, 1, 6]], [-0.125995, -0.073058, 0.135437], atol=1e-6, rtol=0)
    np.testing.assert_allclose(weights[[0, 1, 6]], [-0.126000, -0.073074, 0.135441], atol=2e-5, rtol=0)
    np.testing.assert_allclose(weights[2:6], [-0.042301, 0.011085, 0.009359, 0.010313], atol=2e-5, rtol=0)
    calls = sigmoid(fits.coefficients[0, 0] + X @ fits.coefficients[0, 1:]) > 0.5
    assert np.mean(calls == (y == 1)) == 0.5216
    table = [[int(np.sum((calls == c) & (y == u))) for u in (0, 1)] for c in (False, True)]
    assert table == [[145, 141], [457, 507]]


@pytest.mark.parametrize(
    ("features", "start", "right", "table"),
    [(SIX, "2001-01-02", 121, [[77, 97], [34, 44]]), (TWO, "2001-01-05", 141, [[35, 35], [76, 106]])],
    ids=["six predictors", "Lag1 and Lag2"],
)
def test_fitted_on_2001_to_2004_and_tested_on_2005(
    features: list[dict[str, Any]], start: str, right: int, table: list[list[int]]
) -> None:
    done = quantlr.run(smarket(features, start))
    forecasts = done.forecasts
    assert str(forecasts["date"].iloc[0].date()) == "2004-12-31"
    known = forecasts["up"].notna()
    calls, up = (forecasts["probability"] > 0.5)[known], forecasts["up"][known].astype(bool)
    assert [[int(((calls == c) & (up == u)).sum()) for u in (False, True)] for c in (False, True)] == table
    assert done.metrics["forecast"]["n"] == 252
    assert done.metrics["forecast"]["accuracy"] == right / 252
    assert round(right / 252, 4) in (0.4802, 0.5595)
