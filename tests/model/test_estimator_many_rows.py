"""The estimator on very many rows: started on samples, with an estimated Hessian."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from quantlr import GradientDescentClassifier
from quantlr.core.values import Array
from quantlr.model.training import MIN_HESSIAN_ROWS, MIN_ROWS_KEPT_RAW
from sklearn.exceptions import ConvergenceWarning

from model.classification_data import assert_weights_close, example_data, fit_by_scikit_learn, raw_weights

ROWS = 270_000
"""Enough rows for a Hessian that is estimated from every other row."""
WEIGHT = np.random.default_rng(3).exponential(size=ROWS)


@pytest.fixture(scope="module")
def rows() -> tuple[Array, Any]:
    assert max(MIN_ROWS_KEPT_RAW, 2 * MIN_HESSIAN_ROWS) <= ROWS
    return example_data(2, rows=ROWS)


@pytest.mark.parametrize(
    ("l2", "weight", "class_weight"),
    [(0.0, None, None), (0.05, WEIGHT, None), (0.05, None, "balanced"), (0.0, WEIGHT, "balanced")],
    ids=["plain", "weighted", "balanced", "weighted and balanced"],
)
def test_sampled_start_reaches_the_weights_of_the_base_rate_start(
    rows: tuple[Array, Any], l2: float, weight: Any, class_weight: Any
) -> None:
    """They equal scikit-learn's, and the errors and losses those of a fit of all rows from the base rate."""
    X, y = rows
    model = GradientDescentClassifier(l2=l2, class_weight=class_weight).fit(X, y, sample_weight=weight)
    assert_weights_close(
        raw_weights(model), fit_by_scikit_learn(X, y, l2=l2, weight=weight, class_weight=class_weight), X
    )
    whole = GradientDescentClassifier(l2=l2, class_weight=class_weight, warm_start=True)
    whole.coef_, whole.intercept_ = np.zeros((1, X.shape[1])), np.zeros(1)
    whole.fit(X, y, sample_weight=weight)
    np.testing.assert_allclose(model.standard_errors_, whole.standard_errors_, rtol=1e-6)
    assert model.learning_rate_ == pytest.approx(whole.learning_rate_, rel=1e-9)
    assert model.loss_curve_[-1] == pytest.approx(whole.loss_curve_[-1], abs=1e-12)
    assert model.loss_curve_[0] < whole.loss_curve_[0], "starts at the weights of the samples"
    assert len(model.loss_curve_) == model.n_iter_[0] + 2
    assert (np.diff(model.loss_curve_) <= 0).all()


@pytest.mark.parametrize("level", [0.5, 1e6])
def test_features_far_from_zero_cost_no_digits(level: float) -> None:
    X, y = example_data(4, rows=ROWS)
    X = (X - X.mean(axis=0)) / X.std(axis=0) + level
    model = GradientDescentClassifier(tol=1e-9).fit(X, y)
    assert model.n_iter_[0] < 10
    assert_weights_close(raw_weights(model), fit_by_scikit_learn(X, y, l2=0.0), X, atol=1e-6)


def test_warm_start_uses_previous_weights_if_they_converge(rows: tuple[Array, Any]) -> None:
    X, y = rows
    model = GradientDescentClassifier(warm_start=True).fit(X, y)
    cold, best = model.n_iter_[0], raw_weights(model)
    assert model.fit(X, y).n_iter_[0] < cold
    model.coef_ *= -50.0
    assert_weights_close(raw_weights(model.fit(X, y)), best, X)
    assert_weights_close(
        raw_weights(model.fit(X[:, :2], y)), raw_weights(GradientDescentClassifier().fit(X[:, :2], y)), X[:, :2]
    )


@pytest.mark.parametrize("max_iter", [1, 2])
def test_max_iter_is_not_exceeded_and_warned_of(rows: tuple[Array, Any], max_iter: int) -> None:
    with pytest.warns(ConvergenceWarning, match=f"stopped after {max_iter} updates"):
        model = GradientDescentClassifier(max_iter=max_iter).fit(*rows)
    assert model.n_iter_[0] == max_iter
    assert np.isfinite(raw_weights(model)).all()


def test_rare_class_is_fitted(rows: tuple[Array, Any]) -> None:
    """No sample has any of them."""
    X, _ = rows
    y = np.zeros(ROWS, dtype=np.int64)
    y[[5, 20_001, ROWS - 2]] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = GradientDescentClassifier().fit(X[:, :1], y)
    assert_weights_close(raw_weights(model), fit_by_scikit_learn(X[:, :1], y, l2=0.0), X[:, :1], atol=1e-4)


def test_rows_of_zero_weight_are_not_sampled(rows: tuple[Array, Any]) -> None:
    X, y = rows
    counts = np.zeros(ROWS)
    counts[np.random.default_rng(5).choice(ROWS, 60, replace=False)] = 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = GradientDescentClassifier(l2=0.01).fit(X, y, sample_weight=counts)
    few = GradientDescentClassifier(l2=0.01).fit(X[counts > 0], y[counts > 0])
    assert_weights_close(raw_weights(model), raw_weights(few), X[counts > 0])


@pytest.mark.parametrize("noise", [0.0, 1e-9])
def test_separated_classes_among_many_rows_warn(rows: tuple[Array, Any], noise: float) -> None:
    X, _ = rows
    y = X[:, 0] + noise * X[:, 1] > np.median(X[:, 0])
    with pytest.warns(ConvergenceWarning, match="no best weights exist"):
        GradientDescentClassifier().fit(X, y)


def test_constant_feature_and_float32_input(rows: tuple[Array, Any]) -> None:
    X, y = rows
    X = np.column_stack([(X - X.mean(axis=0)) / X.std(axis=0), np.full(ROWS, 3.0)]).astype(np.float32)
    model = GradientDescentClassifier().fit(X, y)
    assert model.coef_[0, -1] == 0.0
    assert np.isnan(model.standard_errors_[-1])
    narrow = X[:, :-1].astype(np.float64)
    assert_weights_close(raw_weights(model)[:-1], fit_by_scikit_learn(narrow, y, l2=0.0), narrow, atol=1e-6)
