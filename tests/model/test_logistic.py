from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantlr.core.values import Array
from quantlr.model.logistic import LogisticLoss, logit, pointwise_log_loss, sigmoid, sigmoid_derivative
from scipy.optimize import approx_fprime
from scipy.special import expit
from sklearn.metrics import log_loss as sklearn_log_loss


def problem(seed: int, *, rows: int = 40, p: int = 4) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.ones(rows), rng.normal(size=(rows, p - 1))])
    return X, (rng.random(rows) < 0.5).astype(np.float64), rng.normal(size=p)


@given(z=st.floats(-1e300, 1e300))
def test_sigmoid_equals_scipys_and_never_overflows(z: float) -> None:
    assert sigmoid(np.array([z]))[0] == pytest.approx(expit(z), abs=3e-16)


def test_sigmoid_derivative_equals_the_numeric_derivative() -> None:
    z = np.linspace(-5, 5, 41)
    numeric = (sigmoid(z + 1e-6) - sigmoid(z - 1e-6)) / 2e-6
    np.testing.assert_allclose(sigmoid_derivative(sigmoid(z)), numeric, atol=1e-9)


def test_logit_is_the_inverse_of_the_sigmoid() -> None:
    z = np.linspace(-9, 9, 19)
    np.testing.assert_allclose(logit(sigmoid(z)), z, atol=1e-11)


def test_log_loss_equals_scikit_learns_and_is_finite_at_large_log_odds() -> None:
    X, y, theta = problem(1)
    z = X @ theta
    assert pointwise_log_loss(z, y).mean() == pytest.approx(sklearn_log_loss(y, expit(z)), abs=1e-14)
    np.testing.assert_array_equal(pointwise_log_loss(np.array([-1e4, 1e4]), np.array([1.0, 1.0])), [1e4, 0.0])


@given(z=st.floats(-1e300, 1e300), y=st.sampled_from([0.0, 0.25, 1.0]))
def test_log_loss_equals_numpys_logaddexp(z: float, y: float) -> None:
    assert pointwise_log_loss(np.array([z]), np.array([y]))[0] == pytest.approx(
        np.logaddexp(0.0, z) - y * z, rel=1e-14, abs=1e-300
    )


@given(seed=st.integers(0, 10_000), l2=st.sampled_from([0.0, 0.3]))
def test_gradient_and_hessian_are_the_derivatives_of_the_loss(seed: int, l2: float) -> None:
    X, y, theta = problem(seed)
    loss = LogisticLoss.unweighted(X, y, l2=l2)
    expected = pointwise_log_loss(X @ theta, y).mean() + l2 / 2 * np.sum(theta[1:] ** 2)
    assert loss.loss(theta) == pytest.approx(expected, abs=1e-14)
    np.testing.assert_allclose(loss.gradient(theta), approx_fprime(theta, loss.loss, 1e-7), atol=1e-5)
    steps = 1e-6 * np.eye(len(theta))
    numeric = [(loss.gradient(theta + step) - loss.gradient(theta - step)) / 2e-6 for step in steps]
    np.testing.assert_allclose(loss.hessian(theta), numeric, atol=1e-8)


@given(seed=st.integers(0, 10_000), l2=st.sampled_from([0.0, 0.3]))
def test_several_weight_vectors_at_once_equal_each_alone(seed: int, l2: float) -> None:
    X, y, _ = problem(seed)
    weight = np.random.default_rng(seed).dirichlet(np.ones(len(y)))
    loss, theta = LogisticLoss(X, y, weight, l2), np.random.default_rng(seed).normal(size=(X.shape[1], 3))
    losses, gradients = loss.loss_and_gradient(theta)
    for column in range(3):
        assert losses[column] == pytest.approx(loss.loss(theta[:, column]), abs=1e-14)
        np.testing.assert_allclose(gradients[:, column], loss.gradient(theta[:, column]), atol=1e-14)


def test_gradient_has_the_form_of_linear_regressions() -> None:
    """Cross-entropy's sum((g(theta.x) - y) x) against squares' sum((theta.x - y) x): only the forecast differs."""
    X, y, theta = problem(3)
    by_hand = sum((expit(theta @ x) - label) * x for x, label in zip(X, y, strict=True)) / len(y)
    np.testing.assert_allclose(LogisticLoss.unweighted(X, y).gradient(theta), by_hand, atol=1e-15)


@given(seed=st.integers(0, 10_000), l2=st.sampled_from([0.0, 0.3]))
def test_no_hessian_exceeds_the_bound(seed: int, l2: float) -> None:
    X, y, theta = problem(seed)
    loss = LogisticLoss.unweighted(X, y, l2=l2)
    assert np.linalg.eigvalsh(loss.hessian_bound() - loss.hessian(theta)).min() >= -1e-15
