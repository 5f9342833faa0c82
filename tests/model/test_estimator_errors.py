"""Warnings and errors of the estimator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from quantlr import GradientDescentClassifier
from quantlr.core.errors import LearningRateTooLarge
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from model.classification_data import SOLVERS, WEIGHT, example_data, raw_weights


@pytest.mark.parametrize(("solver", "factor", "name"), [("gradient_descent", 2.0, "2/L"), ("nesterov", 1.0, "1/L")])
def test_too_large_learning_rate_raises_with_its_limit(solver: Any, factor: float, name: str) -> None:
    X, y = example_data()
    limit = factor * GradientDescentClassifier().fit(X, y).learning_rate_
    model = GradientDescentClassifier(solver=solver, learning_rate=limit * 1.001)
    with pytest.raises(LearningRateTooLarge, match=f"^learning_rate: .* diverges.* {name} = {limit:.4g}"):
        model.fit(X, y)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("tol", [1e-8, 1e-3])
def test_separated_classes_warn(solver: Any, tol: float) -> None:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(60, 2))
    y = X[:, 0] > 0
    with pytest.warns(ConvergenceWarning, match=r"no best weights exist.*set l2 above 0 \(0\.01, say\)") as caught:
        model = GradientDescentClassifier(solver=solver, tol=tol).fit(X, y)
    assert len(caught) == 1
    assert np.isfinite(raw_weights(model)).all()
    assert model.score(X, y) == 1.0
    GradientDescentClassifier(solver=solver, tol=tol, l2=0.01, max_iter=10_000).fit(X, y)


def test_warning_points_to_the_line_that_fits() -> None:
    X = np.random.default_rng(1).normal(size=(60, 2))
    with pytest.warns(ConvergenceWarning) as caught:
        GradientDescentClassifier().fit(X, X[:, 0] > 0)
    assert caught[0].filename == __file__


def test_quasi_complete_separation_warns() -> None:
    rng = np.random.default_rng(2)
    y = rng.random(200) < 0.5
    X = np.column_stack([rng.normal(size=200), y & (rng.random(200) < 0.3)])
    with pytest.warns(ConvergenceWarning, match="or along some direction: no best weights exist"):
        GradientDescentClassifier().fit(X, y)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("tol", [1e-8, 1e-3])
def test_uninformative_features_are_not_separation(solver: Any, tol: float) -> None:
    """The best log odds are exactly 0: on the edge of either side, and the best all the same."""
    y = np.repeat([0, 1], 20)
    for X in (np.tile([[-1.0], [1.0]], (20, 1)), np.full((40, 1), 3.0)):
        model = GradientDescentClassifier(solver=solver, tol=tol).fit(X, y)
        np.testing.assert_allclose(raw_weights(model), 0, atol=1e-12)


@pytest.mark.parametrize("solver", SOLVERS)
def test_outlier_and_loose_tolerance_are_not_separation(solver: Any) -> None:
    rng = np.random.default_rng(4)
    X = rng.normal(size=(200, 1))
    y = rng.random(200) < 1 / (1 + np.exp(-0.5 * X[:, 0]))
    X[0], y[0] = 100.0, True
    GradientDescentClassifier(solver=solver, tol=0.01).fit(X, y)


@pytest.mark.parametrize("solver", SOLVERS)
def test_reaching_max_iter_warns(solver: Any) -> None:
    X, y = example_data()
    text = rf"{solver} stopped after 2 .*above tol=1e-08; raise max_iter"
    with pytest.warns(ConvergenceWarning, match=text) as caught:
        GradientDescentClassifier(solver=solver, max_iter=2).fit(X, y)
    assert ("set solver to 'newton'" in str(caught[0].message)) == (solver != "newton")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("l2", -1.0, "l2=-1.0 is no value for l2: .*greater than or equal to 0"),
        ("l2", "much", "l2='much' is no value for l2: .*number"),
        ("l2", np.inf, "l2=inf is no value for l2"),
        ("tol", 0.0, "tol=0.0 is no value for tol: .*greater than 0"),
        ("max_iter", 0, "max_iter=0 is no value for max_iter"),
        ("max_iter", 2.5, "max_iter=2.5 is no value for max_iter"),
        ("solver", "sgd", "solver='sgd' is no value for solver: .*'gradient_descent', 'nesterov'"),
        ("learning_rate", 0.1, "takes no learning rate, found learning_rate=0.1; write 'auto', or set solver"),
        ("fit_intercept", "yes", "fit_intercept needs to be True or False, found 'yes'"),
        ("warm_start", None, "warm_start needs to be True or False"),
        ("class_weight", "heavy", "class_weight"),
        ("class_weight", {0: 1.0, 1: 0.0}, "class_weight needs a number above 0 for both classes"),
        ("class_weight", {0: 1.0, 2: 1.0}, "The classes, .*1.*, are not in class_weight"),
    ],
)
def test_invalid_parameters_raise_value_error(name: str, value: Any, message: str) -> None:
    X, y = example_data()
    with pytest.raises(ValueError, match=message):
        GradientDescentClassifier(**{name: value}).fit(X, y)
    if value == "much":
        with pytest.raises(
            ValueError, match=r"learning_rate='much' is no value for learning_rate: .*'auto' or .*number"
        ):
            GradientDescentClassifier(solver="gradient_descent", learning_rate=value).fit(X, y)


def test_invalid_data_raise_value_error() -> None:
    X, y = example_data()
    model = GradientDescentClassifier()
    with pytest.raises(
        ValueError, match=r"needed rows of 2 classes, found 1 class among the 400 rows .*: 1; give rows"
    ):
        model.fit(X, np.ones(400, dtype=int))
    with pytest.raises(ValueError, match="Only binary classification is supported"):
        model.fit(X, np.arange(400) % 3)
    with pytest.raises(ValueError, match=r"[Nn]egative"):
        model.fit(X, y, sample_weight=-WEIGHT)
    with pytest.raises(ValueError, match="needed a feature that is not 0, found none"):
        GradientDescentClassifier(fit_intercept=False).fit(np.zeros((400, 2)), y)
    with pytest.raises(NotFittedError):
        GradientDescentClassifier().save("nowhere")
