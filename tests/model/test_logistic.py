from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantlr.core.values import Array
from quantlr.model.logistic import LogisticLoss, logit, pointwise_log_loss, sigmoid, sigmoid_derivative
from scipy.optimize import approx_fprime
from scipy.special import expit
from sklearn.metrics import log_loss as sklearn_log_loss


def problem(seed: int, *, rows: int = 40, k: int = 3) -> tuple[Array, Array, Array]:
    """Return features, labels and weights, the intercept first."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, k)), (rng.random(rows) < 0.5).astype(np.float64), rng.normal(size=1 + k)


def design(X: Array) -> Array:
    return np.column_stack([np.ones(len(X)), X])


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
    z = design(X) @ theta
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
    expected = pointwise_log_loss(design(X) @ theta, y).mean() + l2 / 2 * np.sum(theta[1:] ** 2)
    assert loss.loss(theta) == pytest.approx(expected, abs=1e-14)
    np.testing.assert_allclose(loss.gradient(theta), approx_fprime(theta, loss.loss, 1e-7), atol=1e-5)
    steps = 1e-6 * np.eye(len(theta))
    numeric = [(loss.gradient(theta + step) - loss.gradient(theta - step)) / 2e-6 for step in steps]
    np.testing.assert_allclose(loss.hessian(theta), numeric, atol=1e-8)


@given(seed=st.integers(0, 10_000), l2=st.sampled_from([0.0, 0.3]), rows=st.sampled_from([40, 5000]))
def test_several_weight_vectors_at_once_equal_each_alone(seed: int, l2: float, rows: int) -> None:
    X, y, _ = problem(seed, rows=rows)
    rng = np.random.default_rng(seed)
    theta, mean, std = rng.normal(size=(4, 3)), rng.normal(size=3), rng.exponential(size=3) + 0.5
    loss = LogisticLoss(X, y, rng.dirichlet(np.ones(len(y))), mean, std, l2)
    losses, gradients, hessians = loss.loss(theta), loss.gradient(theta), loss.hessian(theta)
    for column in range(3):
        np.testing.assert_allclose(losses[column], loss.loss(theta[:, column]), atol=1e-14)
        np.testing.assert_allclose(gradients[:, column], loss.gradient(theta[:, column]), atol=1e-14)
        np.testing.assert_allclose(hessians[column], loss.hessian(theta[:, column]), atol=1e-14)
        np.testing.assert_allclose(loss.log_odds(theta)[:, column], loss.log_odds(theta[:, column]), atol=1e-13)


@given(seed=st.integers(0, 10_000), l2=st.sampled_from([0.0, 0.3]))
def test_several_refits_at_once_equal_each_alone(seed: int, l2: float) -> None:
    """A refit has its own shares, zero outside its training rows, its own scaling, and its own targets."""
    X, y, _ = problem(seed)
    rng = np.random.default_rng(seed)
    mask = np.arange(40)[:, None] < np.array([20, 30, 40])
    weight = rng.exponential(size=(40, 3)) * mask
    weight /= weight.sum(axis=0)
    mean, std, theta = rng.normal(size=(3, 3)), rng.exponential(size=(3, 3)) + 0.5, rng.normal(size=(4, 3))
    target = np.clip(y[:, None], [0.0, 0.1, 0.2], [1.0, 0.9, 0.8])
    loss = LogisticLoss(X, target, weight, mean, std, l2)
    for refit in range(3):
        rows = mask[:, refit]
        alone = LogisticLoss(
            (X[rows] - mean[refit]) / std[refit],
            target[rows, refit],
            weight[rows, refit],
            np.zeros(3),
            np.ones(3),
            l2,
        )
        np.testing.assert_allclose(loss.loss(theta)[refit], alone.loss(theta[:, refit]), atol=1e-13)
        np.testing.assert_allclose(loss.gradient(theta)[:, refit], alone.gradient(theta[:, refit]), atol=1e-13)
        np.testing.assert_allclose(loss.hessian(theta)[refit], alone.hessian(theta[:, refit]), atol=1e-13)
        assert loss.lipschitz()[refit] == pytest.approx(alone.lipschitz(), rel=1e-12)


def test_weights_belong_to_standardized_features() -> None:
    X, y, theta = problem(5)
    X = X * [1e-3, 1.0, 1e4] + [5.0, 0.0, -2e4]
    mean, std = X.mean(axis=0), X.std(axis=0)
    loss = LogisticLoss(X, y, np.full(40, 1 / 40), mean, std)
    S = (X - mean) / std
    np.testing.assert_allclose(loss.gradient(theta), LogisticLoss.unweighted(S, y).gradient(theta), atol=1e-13)
    np.testing.assert_allclose(loss.standardized_rows(slice(3, 9)), design(S)[3:9], atol=1e-12)


def test_constant_feature_and_missing_intercept_have_no_effect() -> None:
    X, y, theta = problem(6)
    constant = np.column_stack([X, np.full(40, 7.0)])
    scaling = np.zeros(4), np.array([1.0, 1.0, 1.0, 0.0])
    loss = LogisticLoss(constant, y, np.full(40, 1 / 40), *scaling)
    plain = LogisticLoss.unweighted(X, y)
    np.testing.assert_allclose(loss.gradient(np.append(theta, 3.0)), [*plain.gradient(theta), 0.0], atol=1e-14)
    assert loss.hessian(np.append(theta, 3.0))[-1].tolist() == [0.0] * 5
    free, theta[0] = replace(plain, fit_intercept=False), 0.0
    assert free.gradient(theta)[0] == 0.0
    np.testing.assert_allclose(free.gradient(theta)[1:], plain.gradient(theta)[1:], atol=1e-15)
    assert not free.hessian(theta)[0].any()
    np.testing.assert_allclose(free.hessian(theta)[1:, 1:], plain.hessian(theta)[1:, 1:], atol=1e-15)


def test_hessian_of_every_third_row_is_that_of_these_rows() -> None:
    X, y, theta = problem(7, rows=13_000)
    weight = np.random.default_rng(7).dirichlet(np.ones(13_000))
    loss = LogisticLoss(X, y, weight, np.zeros(3), np.ones(3), 0.1, hessian_row_stride=3)
    third = LogisticLoss(X[::3], y[::3], weight[::3] / weight[::3].sum(), np.zeros(3), np.ones(3), 0.1)
    np.testing.assert_allclose(loss.hessian(theta), third.hessian(theta), atol=1e-13)
    assert loss.lipschitz() == replace(loss, hessian_row_stride=1).lipschitz() != third.lipschitz(), "of all rows"


def test_gradient_has_the_form_of_linear_regressions() -> None:
    """Cross-entropy's sum((g(theta.x) - y) x) against squares' sum((theta.x - y) x): only the forecast differs."""
    X, y, theta = problem(3)
    by_hand = sum((expit(theta @ x) - label) * x for x, label in zip(design(X), y, strict=True)) / len(y)
    np.testing.assert_allclose(LogisticLoss.unweighted(X, y).gradient(theta), by_hand, atol=1e-15)


@given(seed=st.integers(0, 10_000), l2=st.sampled_from([0.0, 0.3]))
def test_no_hessian_exceeds_the_lipschitz_constant(seed: int, l2: float) -> None:
    """L is the largest eigenvalue of X'X / 4n + l2 D."""
    X, y, theta = problem(seed)
    loss = LogisticLoss.unweighted(X, y, l2=l2)
    Z = design(X)
    assert loss.lipschitz() == pytest.approx(
        np.linalg.eigvalsh(Z.T @ Z / 160 + l2 * np.diag([0, 1, 1, 1]))[-1], rel=1e-12
    )
    assert loss.lipschitz() >= np.linalg.eigvalsh(loss.hessian(theta))[-1] - 1e-15
