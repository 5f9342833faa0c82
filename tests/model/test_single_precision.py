"""The error of gradients in single precision, with the CPU kernels that NumPy selects.

`.ci/run` runs this file also with the kernels of older processors, which NPY_DISABLE_CPU_FEATURES asks for.
"""

from __future__ import annotations

import os

import numpy as np
import pytest
from quantlr.core.values import Array
from quantlr.model.batched.loss import FLOAT32_TANH_ERROR, BatchedLoss, float32_gradient_error, make_batched_loss
from quantlr.model.batched.rows import ModelRows
from quantlr.model.config import LogisticRegression
from quantlr.model.splits import WalkForwardSpec

from model.example_data import example_data, training

LARGE_TOLERANCE = 1e9
"""Tolerance at which gradients are summed in single precision at any distance from the start."""


def loss_of(
    seed: int, *, k: int, window: str, class_weight: str | None, late: bool, start: Array | None = None
) -> BatchedLoss:
    """Return 15 or 20 refits, early ones of 250 to 400 rows or, in an expanding window, late ones of 4200 or more.

    They start at the weights `start` (1 + k,) of features standardised as for the first of them.
    """
    X, y = example_data(seed, rows=5000 if late else 900, k=k)
    spec = WalkForwardSpec.model_validate({"train": 200, "refit_every": 10, "window": window})
    model = LogisticRegression.model_validate({"class_weight": class_weight, "l2": 0.01})
    data, refits = training(X, y, spec), slice(400, 420) if late else slice(5, 20)
    theta = np.linspace(-0.1, 0.2, 1 + k) if start is None else start
    raw = data.scaling[refits.start : refits.start + 1].to_raw_weights(theta[:, None])[0]
    return make_batched_loss([(data, ModelRows(data, model), raw)], model, refits)


def test_disabled_cpu_features_are_off() -> None:
    """NumPy ignores names that it does not know."""
    names = os.environ.get("NPY_DISABLE_CPU_FEATURES", "").split()
    features = np._core._multiarray_umath.__cpu_features__  # type: ignore[attr-defined]
    assert {name: features[name] for name in names} == dict.fromkeys(names, False)


def test_float32_tanh_error_is_within_the_constant() -> None:
    """Of all numbers from 1e-4 to 20: 1.83 unit roundoffs with AVX2 kernels, 2.83 without."""
    first, last = np.array([1e-4, 20.0], dtype=np.float32).view(np.int32).tolist()
    for bits in range(first, last, 2**22):
        z = np.arange(bits, min(bits + 2**22, last), 3, dtype=np.int32).view(np.float32)
        exact = np.tanh(z.astype(np.float64))
        for sign in (1.0, -1.0):
            assert (np.abs(np.tanh(np.float32(sign) * z) - sign * exact) <= FLOAT32_TANH_ERROR * exact).all()


def bound_of(loss: BatchedLoss, move: Array) -> Array:
    linear = np.einsum("jpq,qj->pj", loss.start_hessian, move)
    length = np.sqrt(np.einsum("pj,pj->j", move, linear))
    return float32_gradient_error(length, np.abs(linear[0]) / np.sqrt(loss.start_hessian[:, 0, 0]))


def assert_error_within_bound(loss: BatchedLoss, theta: Array) -> float:
    """Return the largest error of the gradients of all refits, and of a single one."""
    bound = bound_of(loss, theta - loss.start_theta)
    near = loss.with_float32_rows(theta, tol=LARGE_TOLERANCE)
    largest = 0.0
    for refits in (np.ones(theta.shape[1], dtype=np.bool_), np.arange(theta.shape[1]) == 3):
        difference = near.gradient(theta, refits) - loss.float64_gradient(theta, refits)
        error = np.abs(difference[:, refits]).max(axis=0)
        assert (error <= bound[refits]).all()
        largest = max(largest, float(error.max()))
    return largest


@pytest.mark.parametrize("k", [1, 4, 12])
@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize("window", ["expanding", "rolling"])
def test_float32_gradient_error_is_within_the_bound(window: str, class_weight: str | None, k: int) -> None:
    """After moves of a length of 1e-4 to 8; long moves that would lose digits are summed in double precision."""
    for seed in range(6):
        loss = loss_of(seed, k=k, window=window, class_weight=class_weight, late=seed % 2 == 0)
        rng = np.random.default_rng(seed)
        for scale in (1e-4, 1e-2, 0.1, 1.0, 3.0):
            theta = loss.start_theta + rng.normal(scale=scale, size=loss.start_theta.shape)
            largest = assert_error_within_bound(loss, theta)
            assert largest > 1e-14 or scale > 1e-2, "in single precision"


@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize("intercept", [0.0, 0.3, 1.2])
def test_float32_gradient_error_is_within_the_bound_if_only_the_intercept_moves(
    intercept: float, class_weight: str | None
) -> None:
    """All rows have the same log odds, and are rounded the same way."""
    intercept_vector = np.eye(5)[0]
    for late in (False, True):
        start = intercept_vector * intercept
        loss = loss_of(0, k=4, window="expanding", class_weight=class_weight, late=late, start=start)
        for size in np.geomspace(1e-3, 1.0, 30):
            change = size * np.linspace(1.0, 1.1, loss.start_theta.shape[1])
            assert_error_within_bound(loss, loss.start_theta + intercept_vector[:, None] * change)


def test_float32_is_used_only_for_refits_whose_bound_is_within_tol() -> None:
    loss = loss_of(0, k=4, window="expanding", class_weight=None, late=False)
    theta = loss.start_theta + np.random.default_rng(1).normal(scale=0.01, size=loss.start_theta.shape)
    move = theta - loss.start_theta
    bounds = bound_of(loss, move)
    bound, largest = float(bounds.max()), int(bounds.argmax())
    refits = np.ones(theta.shape[1], dtype=np.bool_)
    exact = loss.float64_gradient(theta, refits)
    near = loss.with_float32_rows(loss.start_theta, tol=1.001 * bound)
    assert near.float32_rows[0]
    assert np.abs(near.gradient(theta, refits) - exact).max() > 1e-14
    too_near = loss.with_float32_rows(loss.start_theta, tol=0.999 * bound)
    assert too_near.float32_rows[0], "the start is near enough"
    error = np.abs(too_near.gradient(theta, refits) - exact).max(axis=0)
    assert error[largest] < 1e-15 < 1e-14 < np.delete(error, largest).max()
    far = loss.with_float32_rows(loss.start_theta + 1e3 * move, tol=1e-13)
    np.testing.assert_array_equal(far.gradient(theta, refits), exact)
