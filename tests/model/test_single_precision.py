"""The error of gradients in single precision, with the CPU kernels that NumPy selects.

`.ci/run` runs this file also with the kernels of older processors, which NPY_DISABLE_CPU_FEATURES asks for.
"""

from __future__ import annotations

import os

import numpy as np
import pytest
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
    """Over 16 million numbers: 1.01 unit roundoffs with AVX2, 1.58 without."""
    for first in range(16):
        z = np.geomspace(1e-7, 20.0, 2**20, dtype=np.float64) * (1.0 + first * 1e-6)
        single = z.astype(np.float32)
        for signed in (single, -single):
            exact = np.tanh(signed.astype(np.float64))
            assert (np.abs(np.tanh(signed) - exact) <= FLOAT32_TANH_ERROR * np.abs(exact)).all()


@pytest.mark.parametrize("scale", [1e-4, 1e-2, 0.1, 1.0, 3.0])
@pytest.mark.parametrize("k", [1, 4, 12])
@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize("window", ["expanding", "rolling"])
def test_float32_gradient_error_is_within_the_bound(
    window: str, class_weight: str | None, k: int, scale: float
) -> None:
    """Of single and of many columns, after moves of a length of 1e-4 to 8."""
    for seed in range(6):
        objective = objective_of(seed, k=k, window=window, class_weight=class_weight, late=seed % 2 == 0)
        batch = RefitBatch.from_objectives([objective], [np.linspace(-0.1, 0.2, objective.n_weights)])
        rng = np.random.default_rng(seed)
        theta = batch.start_theta + rng.normal(scale=scale, size=batch.start_theta.shape)
        move = theta - batch.start_theta
        length = np.sqrt(np.einsum("pj,jpq,qj->j", move, batch.start_hessian, move))
        near = batch.with_float32_rows(theta, tol=LARGE_TOLERANCE)
        for selected in (np.arange(objective.n_refits), np.array([3])):
            error = np.abs(
                near.gradient(theta[:, selected], selected) - objective.gradient(theta[:, selected], selected)
            ).max(axis=0)
            assert error.max() > 0
            assert (error <= [float32_gradient_error(item) for item in length[selected].tolist()]).all()


def test_float32_is_used_only_if_the_bound_is_within_tol() -> None:
    objective = objective_of(0, k=4, window="expanding", class_weight=None, late=False)
    batch = RefitBatch.from_objectives([objective], [np.linspace(-0.1, 0.2, objective.n_weights)])
    theta = batch.start_theta + np.random.default_rng(1).normal(scale=0.01, size=batch.start_theta.shape)
    move = theta - batch.start_theta
    lengths = np.sqrt(np.einsum("pj,jpq,qj->j", move, batch.start_hessian, move))
    bound = float32_gradient_error(float(lengths.max()))
    selected = np.arange(objective.n_refits)
    exact = objective.gradient(theta, selected)
    near = batch.with_float32_rows(batch.start_theta, tol=1.001 * bound)
    assert near.float32_rows_by_model[0]
    assert np.abs(near.gradient(theta, selected) - exact).max() > 1e-14
    too_near = batch.with_float32_rows(batch.start_theta, tol=0.999 * bound)
    assert too_near.float32_rows_by_model[0], "the start is near enough"
    np.testing.assert_array_equal(too_near.gradient(theta, selected), exact)
    far = batch.with_float32_rows(batch.start_theta + 1e3 * move, tol=1e-13)
    np.testing.assert_array_equal(far.gradient(theta, selected), exact)
