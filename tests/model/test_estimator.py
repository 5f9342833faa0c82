"""The estimator's weights equal scikit-learn's, and its standard errors statsmodels'."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from quantlr import GradientDescentClassifier
from quantlr.core.values import Array
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler

from model.classification_data import (
    SOLVERS,
    WEIGHT,
    assert_weights_close,
    example_data,
    fit_by_scikit_learn,
    raw_weights,
)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("l2", [0.0, 0.05])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["alike", "weighted"])
@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 0.3, 1: 2.0}], ids=["one", "balanced", "dict"])
def test_every_solver_reaches_scikit_learns_weights(
    solver: Any, l2: float, intercept: bool, weight: Array | None, class_weight: Any
) -> None:
    X, y = example_data()
    if not intercept:
        X = X - X.mean(axis=0) + 0.5 * X.std(axis=0)
    model = GradientDescentClassifier(
        solver=solver, l2=l2, tol=1e-11, max_iter=100_000, fit_intercept=intercept, class_weight=class_weight
    )
    model.fit(X, y, sample_weight=weight)
    expected = fit_by_scikit_learn(X, y, l2=l2, weight=weight, class_weight=class_weight, intercept=intercept)
    assert_weights_close(raw_weights(model), expected, X)
    if not intercept:
        assert model.intercept_[0] == 0.0


@pytest.mark.parametrize("seed", range(1, 6))
@pytest.mark.parametrize("rows", [60, 5000])
def test_weights_do_not_depend_on_block_size_or_dtype(seed: int, rows: int) -> None:
    X, y = example_data(seed, rows=rows, k=3)
    model = GradientDescentClassifier(l2=0.01, tol=1e-11).fit(X, y)
    assert_weights_close(raw_weights(model), fit_by_scikit_learn(X, y, l2=0.01), X)
    halves = GradientDescentClassifier(l2=0.01, tol=1e-11).fit(np.asfortranarray(X.astype(np.float32)), y)
    assert_weights_close(
        raw_weights(halves), fit_by_scikit_learn(X.astype(np.float32).astype(np.float64), y, l2=0.01), X
    )


def test_warm_start_without_intercept_resets_it() -> None:
    X, y = example_data()
    X -= X.mean(axis=0)
    model = GradientDescentClassifier(warm_start=True, tol=1e-11).fit(X, y)
    assert abs(model.intercept_[0]) > 0.1
    model.set_params(fit_intercept=False).fit(X, y)
    assert model.intercept_[0] == 0.0
    assert_weights_close(raw_weights(model), fit_by_scikit_learn(X, y, l2=0.0, intercept=False), X, atol=1e-6)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), l2=st.sampled_from([0.0, 0.1]), solver=st.sampled_from(SOLVERS))
def test_integer_weight_equals_repeated_rows_and_zero_drops_them(seed: int, l2: float, solver: Any) -> None:
    X, y = example_data(seed, rows=200, k=2)
    counts = np.random.default_rng(seed).integers(0, 4, len(y))
    one, other = (GradientDescentClassifier(l2=l2, solver=solver, max_iter=20_000) for _ in range(2))
    one.fit(X, y, sample_weight=counts)
    other.fit(X.repeat(counts, axis=0), y.repeat(counts))
    assert_weights_close(raw_weights(one), raw_weights(other), X)
    np.testing.assert_allclose(one.standard_errors_, other.standard_errors_, rtol=1e-6)
    assert one.n_samples_fit_ == np.count_nonzero(counts)
    assert other.n_samples_fit_ == counts.sum()


def test_rows_of_zero_weight_add_no_class() -> None:
    X, y = example_data()
    three = np.r_[y, np.full(10, 7)]
    model = GradientDescentClassifier().fit(np.r_[X, X[:10] + 1e6], three, sample_weight=three < 7)
    np.testing.assert_array_equal(model.classes_, [0, 1])
    assert_weights_close(raw_weights(model), raw_weights(GradientDescentClassifier().fit(X, y)), X)


def test_standard_errors_equal_statsmodels() -> None:
    X, y = example_data()
    model = GradientDescentClassifier(tol=1e-12).fit(X, y)
    by_logit = sm.Logit(y, sm.add_constant(X)).fit(disp=0, method="newton", tol=1e-12)
    np.testing.assert_allclose(model.standard_errors_, by_logit.bse, rtol=1e-7)
    model.fit(X, y, sample_weight=WEIGHT)
    by_glm = sm.GLM(y, sm.add_constant(X), family=sm.families.Binomial(), freq_weights=WEIGHT).fit(tol=1e-13)
    np.testing.assert_allclose(model.standard_errors_, by_glm.bse, rtol=1e-6)
    model.set_params(fit_intercept=False).fit(X, y)
    by_logit = sm.Logit(y, X).fit(disp=0, method="newton", tol=1e-12)
    np.testing.assert_allclose(model.standard_errors_[1:], by_logit.bse, rtol=1e-6)
    assert np.isnan(model.standard_errors_[0])


def test_standard_errors_with_penalty_equal_the_formula() -> None:
    """The formula in raw units, where the penalty on a weight is l2 times the square of its deviation."""
    X, y = example_data()
    l2 = 0.05
    model = GradientDescentClassifier(l2=l2, tol=1e-12).fit(X, y, sample_weight=WEIGHT)
    rows, n = sm.add_constant(X), WEIGHT.sum()
    p = model.predict_proba(X)[:, 1]
    mean = WEIGHT @ X / n
    B = (rows.T * (WEIGHT * p * (1 - p))) @ rows
    A = B + np.diag(np.r_[0, n * l2 * (WEIGHT @ (X - mean) ** 2 / n)])
    expected = np.sqrt(np.diag(np.linalg.solve(A, np.linalg.solve(A, B).T)))
    np.testing.assert_allclose(model.standard_errors_, expected, rtol=1e-6)
    nearly = GradientDescentClassifier(l2=1e-10, tol=1e-12).fit(X, y, sample_weight=WEIGHT)
    none = GradientDescentClassifier(tol=1e-12).fit(X, y, sample_weight=WEIGHT)
    np.testing.assert_allclose(nearly.standard_errors_, none.standard_errors_, rtol=1e-6)


def test_standard_errors_equal_the_std_over_simulated_labels() -> None:
    X, y = example_data(rows=300, k=2)
    model = GradientDescentClassifier(l2=0.3).fit(X, y)
    p = model.predict_proba(X)[:, 1]
    rng = np.random.default_rng(0)
    drawn = [raw_weights(clone(model).fit(X, rng.random(len(p)) < p)) for _ in range(300)]
    np.testing.assert_allclose(np.std(drawn, axis=0, ddof=1), model.standard_errors_, rtol=0.15)


def test_unidentified_weights_have_no_standard_error() -> None:
    X, y = example_data(k=3)
    wide = np.column_stack([X, np.full(len(X), 0.1), 2 * X[:, 1]])
    model = GradientDescentClassifier(tol=1e-11).fit(wide, y, sample_weight=WEIGHT)
    narrow = GradientDescentClassifier(tol=1e-11).fit(X, y, sample_weight=WEIGHT)
    np.testing.assert_array_equal(np.isnan(model.standard_errors_), [False, False, True, False, True, True])
    np.testing.assert_allclose(model.standard_errors_[[0, 1, 3]], narrow.standard_errors_[[0, 1, 3]], rtol=1e-6)
    assert model.coef_[0, 3] == 0.0
    np.testing.assert_allclose(model.decision_function(wide), narrow.decision_function(X), atol=1e-7)


def test_constant_up_to_rounding_has_zero_weight() -> None:
    X, y = example_data(k=2)
    nearly = np.where(np.arange(len(X)) % 3, 1e8, np.nextafter(1e8, np.inf))
    model = GradientDescentClassifier().fit(np.column_stack([X, nearly]), y)
    assert model.coef_[0, 2] == 0.0
    assert StandardScaler().fit(nearly[:, None]).scale_ == 1.0


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("l2", [0.0, 0.1])
def test_loss_curve_falls_from_the_base_rate_to_the_final_loss(solver: Any, l2: float) -> None:
    X, y = example_data(3)
    model = GradientDescentClassifier(solver=solver, l2=l2, max_iter=20_000).fit(X, y, sample_weight=WEIGHT)
    deviation = np.sqrt(np.cov(X.T, aweights=WEIGHT, ddof=0).diagonal())
    share = np.average(y, weights=WEIGHT)
    first = -share * np.log(share) - (1 - share) * np.log(1 - share)
    last = (
        log_loss(y, model.predict_proba(X), sample_weight=WEIGHT) + l2 / 2 * ((model.coef_[0] * deviation) ** 2).sum()
    )
    assert model.loss_curve_[0] == pytest.approx(first, abs=1e-12)
    assert model.loss_curve_[-1] == pytest.approx(last, abs=1e-12)
    assert (np.diff(model.loss_curve_) <= 0).all()
    assert model.loss_curve_[1] < first - 1e-3
    assert len(model.loss_curve_) == model.n_iter_[0] + 2  # where it began, and the step after the last gradient
    assert (np.diff(model.loss_curve_)[:3] < 0).all()


def test_learning_rate_is_one_over_the_lipschitz_constant() -> None:
    X, y = example_data()
    S = np.column_stack([np.ones(len(X)), StandardScaler().fit_transform(X)])
    L = np.linalg.eigvalsh(S.T @ S / (4 * len(X)))[-1]
    for solver in SOLVERS:
        assert GradientDescentClassifier(solver=solver).fit(X, y).learning_rate_ == pytest.approx(1 / L, rel=1e-12)
    penalised = GradientDescentClassifier(l2=2.0).fit(X, y)
    D = np.diag([0.0] + 4 * [2.0])
    assert penalised.learning_rate_ == pytest.approx(1 / np.linalg.eigvalsh(S.T @ S / (4 * len(X)) + D)[-1], rel=1e-12)
    asked = GradientDescentClassifier(solver="gradient_descent", learning_rate=1.5 / L, max_iter=10_000).fit(X, y)
    assert asked.learning_rate_ == 1.5 / L
    by_hand = np.zeros(5)
    by_hand[0] = np.log(y.mean() / (1 - y.mean()))
    with pytest.warns(ConvergenceWarning):
        once = GradientDescentClassifier(solver="gradient_descent", learning_rate=0.3, max_iter=1).fit(X, y)
    by_hand -= 0.3 * S.T @ (1 / (1 + np.exp(-S @ by_hand)) - y) / len(y)
    np.testing.assert_allclose(once.coef_[0] * X.std(axis=0), by_hand[1:], rtol=1e-10)


@pytest.mark.parametrize("solver", SOLVERS)
def test_warm_start_needs_fewer_iterations(solver: Any) -> None:
    X, y = example_data()
    model = GradientDescentClassifier(solver=solver, max_iter=20_000).fit(X[:350], y[:350])
    cold = clone(model).fit(X, y)
    first = raw_weights(model)
    warm = model.set_params(warm_start=True).fit(X, y)
    assert warm.n_iter_[0] < cold.n_iter_[0]
    assert_weights_close(raw_weights(warm), raw_weights(cold), X, atol=1e-6)
    assert not np.array_equal(first, raw_weights(warm))
    again = model.fit(X, y)
    assert again.n_iter_[0] <= 1
    fewer = model.fit(X[:, :2], y)
    assert fewer.coef_.shape == (1, 2)


def test_constant_feature_replaces_a_missing_intercept() -> None:
    X, y = example_data(k=2)
    one = GradientDescentClassifier(fit_intercept=False, tol=1e-11).fit(np.column_stack([X, np.full(len(X), 2.0)]), y)
    other = GradientDescentClassifier(tol=1e-11).fit(X, y)
    assert 2 * one.coef_[0, 2] == pytest.approx(other.intercept_[0], rel=1e-6)


def test_log_probabilities_are_those_of_scikit_learn_and_finite_where_the_probability_is_0() -> None:
    X, y = example_data()
    model = GradientDescentClassifier(l2=0.1).fit(X, y)
    log_probability = model.predict_log_proba(X)
    np.testing.assert_allclose(np.exp(log_probability), model.predict_proba(X), rtol=1e-13)
    reference = LogisticRegression(C=1.0).fit(X, y)
    reference.coef_, reference.intercept_ = model.coef_, model.intercept_
    np.testing.assert_allclose(log_probability, reference.predict_log_proba(X), rtol=1e-9)
    model.coef_, model.intercept_ = np.zeros_like(model.coef_), np.array([1000.0])
    np.testing.assert_array_equal(model.predict_log_proba(X[:1]), [[-1000.0, 0.0]])
    assert model.predict_proba(X[:1])[0, 0] == 0.0
