"""Simulated classification data, and the weights that scikit-learn fits to them."""

from __future__ import annotations

from typing import Any

import numpy as np
from quantlr.core.values import Array
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

SOLVERS: Any = ("gradient_descent", "nesterov", "newton")


def example_data(seed: int = 0, *, rows: int = 400, k: int = 4) -> tuple[Array, Any]:
    """Correlated features of very different scales, far from 0, and labels that depend on them."""
    rng = np.random.default_rng(seed)
    S = rng.normal(size=(rows, k)) @ (np.eye(k) + 0.4 * rng.normal(size=(k, k)))
    X = S * 10.0 ** rng.uniform(-3, 3, k) + 3 * rng.normal(size=k)
    z = (X - X.mean(axis=0)) / X.std(axis=0) @ rng.normal(size=k) * 0.6 + 0.4
    return X, np.asarray(rng.random(rows) < 1 / (1 + np.exp(-z)), dtype=np.int64)


def fit_by_scikit_learn(
    X: Array, y: Any, *, l2: float, weight: Array | None = None, class_weight: Any = None, intercept: bool = True
) -> Array:
    """Return the weights, intercept first, that scikit-learn fits to features that it has standardised by itself."""
    scaler = StandardScaler(with_mean=intercept).fit(X, sample_weight=weight)
    row_weight = np.ones(len(y)) if weight is None else weight
    by_class = {0: 1.0, 1: 1.0}
    if class_weight == "balanced":
        by_class = {label: row_weight.sum() / (2 * row_weight[y == label].sum()) for label in (0, 1)}
    elif class_weight:
        by_class = class_weight
    n = sum(row_weight[y == label].sum() * by_class[label] for label in (0, 1))
    model = LogisticRegression(
        C=1 / (n * l2) if l2 else 1e12, solver="newton-cholesky", tol=1e-12, max_iter=1000,
        class_weight=by_class, fit_intercept=intercept,
    )  # fmt: skip
    model.fit(scaler.transform(X), y, sample_weight=weight)
    weights = model.coef_[0] / scaler.scale_
    constant = model.intercept_[0] - (weights @ scaler.mean_ if intercept else 0.0)
    return np.concatenate([[constant], weights])


def raw_weights(model: Any) -> Array:
    return np.concatenate([model.intercept_, model.coef_[0]])


def assert_weights_close(weights: Array, expected: Array, X: Array, *, atol: float = 1e-7) -> None:
    """Compare weights in standardised units."""
    units = np.r_[1, X.std(axis=0)]
    np.testing.assert_allclose(weights[1:] * units[1:], expected[1:] * units[1:], atol=atol)
    np.testing.assert_allclose(X @ weights[1:] + weights[0], X @ expected[1:] + expected[0], atol=10 * atol)


WEIGHT = np.random.default_rng(9).exponential(size=400)
