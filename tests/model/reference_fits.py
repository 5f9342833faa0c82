"""Datasets, walk-forwards and single refits, with gradient descent and statsmodels as references."""

from __future__ import annotations

from typing import Any

import numpy as np
import statsmodels.api as sm
from quantlr.core.values import Array, Dataset, Forecasts, Prices
from quantlr.data.dataset import build_dataset, compute_feature_columns
from quantlr.data.features import Feature, LaggedReturns
from quantlr.data.labels import Direction
from quantlr.model.config import LogisticRegression
from quantlr.model.splits import WalkForwardSpec, make_folds
from quantlr.model.standardize import fold_scaling
from quantlr.model.training import TrainingData
from quantlr.model.walk_forward import walk_forward

LAGS = LaggedReturns(lags=(1, 2))


def dataset_from(prices: Prices, features: list[Feature], **label: Any) -> Dataset:
    kind = Direction.model_validate(label)
    return build_dataset(
        prices, compute_feature_columns(prices, features), kind.compute_labels(prices), horizon=kind.horizon
    )


def run_walk_forward(
    dataset: Dataset, walk_config: dict[str, Any], **model: Any
) -> tuple[Forecasts, WalkForwardSpec, Any]:
    spec, kind = WalkForwardSpec.model_validate(walk_config), LogisticRegression.model_validate(model)
    return walk_forward(dataset, spec, kind), spec, kind


def single_refit_data(X: Array, y: Array) -> TrainingData:
    folds = make_folds(len(X) + 1, WalkForwardSpec(train=len(X), refit_every="never"), horizon=1)
    return TrainingData(X, y, [folds], fold_scaling(X, [folds], has_label=~np.isnan(y)))


def example_data(seed: int, *, rows: int = 300, k: int = 3, strength: float = 0.7) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, k)) * 10.0 ** rng.uniform(-3, 3, k) + rng.normal(size=k)
    z = (X - X.mean(axis=0)) / X.std(axis=0) @ rng.normal(size=k) * strength + rng.normal() * 0.5
    return X, (rng.random(rows) < 1 / (1 + np.exp(-z))).astype(np.float64)


def standardized_design(X: Array) -> Array:
    return np.column_stack([np.ones(len(X)), (X - X.mean(axis=0)) / X.std(axis=0)])


def gradient_descent_losses(X: Array, y: Array, alpha: float, steps: int, l2: float = 0.0) -> list[float]:
    """The lesson's descent on a standardised matrix, written from its formula."""
    S, free = standardized_design(X), np.r_[0.0, np.ones(X.shape[1])]
    theta, losses = np.zeros(S.shape[1]), []
    for _ in range(steps + 1):
        z = S @ theta
        losses.append(float(np.mean(np.logaddexp(0, z) - y * z) + l2 / 2 * np.sum(free * theta**2)))
        theta = theta - alpha * (S.T @ (1 / (1 + np.exp(-z)) - y) / len(y) + l2 * free * theta)
    return losses


def fit_by_statsmodels(X: Array, y: Array) -> Any:
    return sm.Logit(y, X).fit(method="newton", tol=1e-13, maxiter=100, disp=0)
