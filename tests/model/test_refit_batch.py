"""Batches of refits: single precision and other models in the batch do not change results."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quantlr.core.values import Folds
from quantlr.model.batched.fit import fit_folds, fit_many
from quantlr.model.batched.refit_batch import RefitBatch
from quantlr.model.batched.training import ObjectiveBuilder
from quantlr.model.config import LogisticRegression
from quantlr.model.solvers import newton_batch
from quantlr.model.splits import WalkForwardSpec, fold_sums

from model.example_data import example_data, training


@given(seed=st.integers(0, 10_000), scale=st.sampled_from([1.0, 30.0, 1e3]))
def test_float32_gradient_is_accurate_far_from_the_start(seed: int, scale: float) -> None:
    """Where the formula for small changes loses digits, sums are computed in double precision."""
    X, y = example_data(1, rows=300)
    objective = ObjectiveBuilder(training(X, y), LogisticRegression()).build_objective(slice(0, 3))
    rng = np.random.default_rng(seed)
    batch = RefitBatch.from_objectives([objective], [rng.normal(size=objective.n_weights) * scale])
    near = batch.with_float32_rows(batch.start_theta, tol=1e9)
    assert near.float32_rows_by_model[0]
    theta = batch.start_theta + rng.normal(size=batch.start_theta.shape) * scale
    all_refits = np.arange(3)
    exact = objective.gradient(theta, all_refits)
    np.testing.assert_allclose(near.gradient(theta, all_refits), exact, atol=3e-7)


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000))
def test_fit_many_equals_fit_folds_of_each_model(seed: int) -> None:
    """Models fitted together, one of them hard to fit, one without a fit, get the weights of separate fits."""
    rng = np.random.default_rng(seed)
    trainings = [training(*example_data(seed + index, edge=edge)) for index, edge in enumerate([0.3, 0.0, 3.0])]
    X, y = example_data(seed + 9)
    y[:250] = 1.0
    trainings.append(training(X, y))
    X, y = example_data(seed + 10)
    X[450:] *= 50.0
    trainings.append(training(X, y))
    X, y = example_data(seed + 11)
    X[:400, 2] = 0.01
    trainings.append(training(X, np.where(rng.random(len(y)) < 0.02, np.nan, y)))
    model = LogisticRegression(degenerate="base_rate")
    joint = fit_many(trainings, model, describe_refits=[str] * len(trainings))
    for item, result in zip(trainings, joint, strict=True):
        single = fit_folds(item, model)
        for name in ("coefficients", "iterations", "max_abs_gradient", "converged", "degenerate", "condition_number"):
            np.testing.assert_array_equal(getattr(result, name), getattr(single, name))


def test_batch_of_models_converges_for_each() -> None:
    """The gradient that each column ends with is that of its own model."""
    trainings = [training(*example_data(index)) for index in range(3)]
    model = LogisticRegression()
    refits = slice(20, 28)
    objectives = [ObjectiveBuilder(item, model).build_objective(refits) for item in trainings]
    first = [fit_folds(item, model).coefficients[19] for item in trainings]
    starts = [objective.local_scaling.to_local_weights(raw) for objective, raw in zip(objectives, first, strict=True)]
    result = newton_batch(RefitBatch.from_objectives(objectives, starts), tol=1e-8, max_iter=100)
    assert result.converged.all()
    for index, objective in enumerate(objectives):
        selected = result.slice_refits(slice(8 * index, 8 * index + 8))
        assert objective.max_abs_standardized_gradient(objective.gradient(selected.theta)).max() < 1e-8


@given(
    seed=st.integers(0, 10_000),
    tickers=st.integers(1, 3),
    refits=st.integers(1, 6),
    block=st.sampled_from([1, 3, 7, 39, 40, 2**16]),
)
def test_fold_sums_equal_a_loop(seed: int, tickers: int, refits: int, block: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(2, 40))
    folds = []
    for _ in range(tickers):
        start = np.sort(rng.integers(0, 40, refits))
        stop = np.maximum(np.sort(rng.integers(0, 41, refits)), start)
        folds.append(Folds(start, stop, stop, stop))
    with patch("quantlr.model.splits.SUM_BLOCK_ROWS", block):
        result = fold_sums(lambda rows: values[:, rows], folds)
    for index in range(refits):
        slow = sum(values[:, item.train_start[index] : item.train_stop[index]].sum(axis=1) for item in folds)
        np.testing.assert_allclose(result[:, index], slow, atol=1e-12)


def test_start_evaluation_is_used_only_at_its_point() -> None:
    X, y = example_data(3)
    material = ObjectiveBuilder(training(X, y), LogisticRegression(l2=0.01))
    raw = np.array([0.1, 5.0, -3.0, 0.0, 2.0])
    evaluated, plain = material.build_objective(slice(2, 9), start_weights=raw), material.build_objective(slice(2, 9))
    for theta in (plain.local_scaling.to_local_weights(raw), np.full(plain.n_weights, 0.3)):
        for kept, recomputed in zip(
            evaluated.gradient_and_hessian(theta), plain.gradient_and_hessian(theta), strict=True
        ):
            np.testing.assert_allclose(kept, recomputed, atol=1e-14)


@pytest.mark.parametrize("window", ["expanding", "rolling"])
def test_unlabelled_rows_do_not_change_the_weights(window: str) -> None:
    """Wherever they are among the training rows, the weights are those without them."""
    X, y = example_data(4, rows=400)
    unlabelled = np.arange(400) % 7 == 3
    unlabelled[:150] = False
    spec = WalkForwardSpec.model_validate({"train": 300, "refit_every": "never", "window": window})
    current = training(X, np.where(unlabelled, np.nan, y), spec)
    kept = ~unlabelled[:300]
    fewer = WalkForwardSpec.model_validate({"train": int(kept.sum()), "refit_every": "never", "window": window})
    without = training(X[:301][np.append(kept, True)], y[:301][np.append(kept, True)], fewer)
    model = LogisticRegression(tol=1e-12)
    result, expected = (fit_folds(item, model).coefficients[0] for item in (current, without))
    np.testing.assert_allclose(result, expected, rtol=1e-9)
