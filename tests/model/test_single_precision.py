"""The error of gradients in single precision, with the CPU kernels that NumPy selects.

`.ci/run` runs this file also with the kernels of older processors, which NPY_DISABLE_CPU_FEATURES asks for.
"""

from __future__ import annotations

import os

import numpy as np
import pytest
from quantlr.core.values import Array
from quantlr.model.batched.loss import Objective
from quantlr.model.batched.refit_batch import FLOAT32_TANH_ERROR, RefitBatch, float32_gradient_error
from quantlr.model.batched.training import ObjectiveBuilder
from quantlr.model.config import LogisticRegression
from quantlr.model.splits import WalkForwardSpec

from model.example_data import example_data, training

LARGE_TOLERANCE = 1e9
"""Tolerance at which gradients are summed in single precision at any distance from the start."""


def objective_of(seed: int, *, k: int, window: str, class_weight: str | None, late: bool) -> Objective:
    """Return 15 or 20 refits, early ones of 250 to 400 rows or, in an expanding window, late ones of 4200 or more."""
    X, y = example_data(seed, rows=5000 if late else 900, k=k)
    spec = WalkForwardSpec.model_validate({"train": 200, "refit_every": 10, "window": window})
    model = LogisticRegression.model_validate({"class_weight": class_weight, "l2": 0.01})
    return ObjectiveBuilder(training(X, y, spec), model).build_objective(slice(400, 420) if late else slice(5, 20))


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


def bound_of(batch: RefitBatch, move: Array) -> Array:
    linear = np.einsum("jpq,qj->pj", batch.start_hessian, move)
    length = np.sqrt(np.einsum("pj,pj->j", move, linear))
    return float32_gradient_error(length, np.abs(linear[0]) / np.sqrt(batch.start_hessian[:, 0, 0]))


def assert_error_within_bound(batch: RefitBatch, theta: Array) -> float:
    """Return the largest error of the gradients of all refits, and of a single one."""
    (objective,) = batch.objectives
    move = theta - batch.start_theta
    bound = bound_of(batch, move)
    near = batch.with_float32_rows(theta, tol=LARGE_TOLERANCE)
    largest = 0.0
    for refits in (np.arange(objective.n_refits), np.array([3])):
        error = np.abs(near.gradient(theta[:, refits], refits) - objective.gradient(theta[:, refits], refits)).max(
            axis=0
        )
        assert (error <= bound[refits]).all()
        largest = max(largest, float(error.max()))
    return largest


@pytest.mark.parametrize("k", [1, 4, 12])
@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize("window", ["expanding", "rolling"])
def test_float32_gradient_error_is_within_the_bound(window: str, class_weight: str | None, k: int) -> None:
    """After moves of a length of 1e-4 to 8; long moves that would lose digits are summed in double precision."""
    for seed in range(6):
        objective = objective_of(seed, k=k, window=window, class_weight=class_weight, late=seed % 2 == 0)
        batch = RefitBatch.from_objectives([objective], [np.linspace(-0.1, 0.2, objective.n_weights)])
        rng = np.random.default_rng(seed)
        for scale in (1e-4, 1e-2, 0.1, 1.0, 3.0):
            theta = batch.start_theta + rng.normal(scale=scale, size=batch.start_theta.shape)
            largest = assert_error_within_bound(batch, theta)
            assert largest > 1e-14 or scale > 1e-2, "in single precision"


@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize("intercept", [0.0, 0.3, 1.2])
def test_float32_gradient_error_is_within_the_bound_if_only_the_intercept_moves(
    intercept: float, class_weight: str | None
) -> None:
    """All rows have the same log odds, and are rounded the same way."""
    for late in (False, True):
        objective = objective_of(0, k=4, window="expanding", class_weight=class_weight, late=late)
        intercept_vector = np.eye(objective.n_weights)[0]
        batch = RefitBatch.from_objectives([objective], [intercept_vector * intercept])
        for size in np.geomspace(1e-3, 1.0, 30):
            change = size * np.linspace(1.0, 1.1, objective.n_refits)
            assert_error_within_bound(batch, batch.start_theta + intercept_vector[:, None] * change)


def test_float32_is_used_only_if_the_bound_is_within_tol() -> None:
    objective = objective_of(0, k=4, window="expanding", class_weight=None, late=False)
    batch = RefitBatch.from_objectives([objective], [np.linspace(-0.1, 0.2, objective.n_weights)])
    theta = batch.start_theta + np.random.default_rng(1).normal(scale=0.01, size=batch.start_theta.shape)
    move = theta - batch.start_theta
    bound = float(bound_of(batch, move).max())
    refits = np.arange(objective.n_refits)
    exact = objective.gradient(theta, refits)
    near = batch.with_float32_rows(batch.start_theta, tol=1.001 * bound)
    assert near.float32_rows_by_model[0]
    assert np.abs(near.gradient(theta, refits) - exact).max() > 1e-14
    too_near = batch.with_float32_rows(batch.start_theta, tol=0.999 * bound)
    assert too_near.float32_rows_by_model[0], "the start is near enough"
    np.testing.assert_array_equal(too_near.gradient(theta, refits), exact)
    far = batch.with_float32_rows(batch.start_theta + 1e3 * move, tol=1e-13)
    np.testing.assert_array_equal(far.gradient(theta, refits), exact)
