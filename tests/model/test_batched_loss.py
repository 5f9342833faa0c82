"""The batched loss equals `LogisticLoss` of each refit; single precision and other models do not change results."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quantlr.core.values import Array, Folds
from quantlr.model.batched.fit import fit_folds, fit_many, newton_from_common_start
from quantlr.model.batched.loss import BatchedLoss, make_batched_loss
from quantlr.model.batched.rows import ModelRows
from quantlr.model.config import LogisticRegression
from quantlr.model.splits import WalkForwardSpec, fold_sums, make_folds
from quantlr.model.standardize import fold_scaling
from quantlr.model.training import TrainingData, make_loss

from model.example_data import example_data, training

RAW_START = np.array([0.1, 5.0, -3.0, 0.0, 2.0])


def batched_loss(
    data: TrainingData, model: LogisticRegression, refits: slice, *, start: Array = RAW_START, block_rows: int = 2**13
) -> BatchedLoss:
    return make_batched_loss([(data, ModelRows(data, model, block_rows=block_rows), start)], model, refits)


def panel(seed: int, spec: WalkForwardSpec) -> TrainingData:
    """Return a pooled model of two tickers with different rows, some without labels, and sessions."""
    X, y = example_data(seed, rows=800)
    y = np.where(np.random.default_rng(seed).random(800) < 0.1, np.nan, y)
    folds = [make_folds(400, spec, horizon=1).shift_rows(first) for first in (0, 400)]
    scaling = fold_scaling(X, folds, has_label=~np.isnan(y))
    weight = np.random.default_rng(seed).exponential(size=800)
    return TrainingData(X, y, folds, scaling, np.tile(np.arange(400), 2), weight)


@pytest.mark.parametrize("window", ["expanding", "rolling"])
@pytest.mark.parametrize(
    "model",
    [
        {},
        {"l2": 0.05, "class_weight": "balanced"},
        {"half_life": 80.0, "class_weight": {"up": 3.0, "down": 0.5}},
    ],
)
@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("use_platt_targets", [False, True])
@pytest.mark.parametrize("block_rows", [17, 2**13])
def test_batched_loss_equals_logistic_loss_of_each_refit(
    window: str, model: dict[str, Any], pooled: bool, use_platt_targets: bool, block_rows: int
) -> None:
    """Gradient and Hessian at the start, and the gradient at any weights, are those of ``logistic.py``."""
    spec = WalkForwardSpec.model_validate({"train": 100, "refit_every": 7, "window": window})
    data = panel(3, spec) if pooled else training(*example_data(3, rows=400), spec)
    config = LogisticRegression.model_validate(model)
    # The walk-forward calibrates without a half-life.
    data = replace(data, use_platt_targets=use_platt_targets and config.half_life is None)
    refits = slice(5, 16)
    loss = batched_loss(data, config, refits, block_rows=block_rows)
    theta = np.random.default_rng(0).normal(size=(5, 11))
    gradient = loss.float64_gradient(theta, np.ones(11, dtype=np.bool_))
    some = np.isin(np.arange(11), [1, 4, 10])
    np.testing.assert_allclose(loss.float64_gradient(theta, some)[:, some], gradient[:, some], atol=1e-14)
    for column, refit in enumerate(range(refits.start, refits.stop)):
        alone = make_loss(data, config, slice(refit, refit + 1))
        start = loss.start_theta[:, column]
        np.testing.assert_allclose(gradient[:, column], alone.gradient(theta[:, column]), atol=1e-13)
        np.testing.assert_allclose(loss.start_gradient[:, column], alone.gradient(start), atol=1e-13)
        np.testing.assert_allclose(loss.start_hessian[column], alone.hessian(start), atol=1e-13)
        raw = data.scaling[refit : refit + 1].to_raw_weights(start[:, None])[0]
        np.testing.assert_allclose(raw, RAW_START, atol=1e-12)


def test_loss_of_several_refits_equals_that_of_each() -> None:
    spec = WalkForwardSpec(train=100, refit_every=7)
    data, model = panel(4, spec), LogisticRegression(class_weight="balanced", half_life=100.0, l2=0.1)
    joint, theta = make_loss(data, model, slice(2, 6)), np.random.default_rng(1).normal(size=(5, 4))
    for column in range(4):
        alone = make_loss(data, model, slice(2 + column, 3 + column))
        np.testing.assert_allclose(joint.gradient(theta)[:, column], alone.gradient(theta[:, column]), atol=1e-13)
        np.testing.assert_allclose(joint.loss(theta)[column], alone.loss(theta[:, column]), atol=1e-13)


def test_shares_of_rows_are_their_weights_by_hand() -> None:
    """Half as much a session earlier, times 3 for an up; only rows of the fold with a label count."""
    data = training(*example_data(5, rows=300), WalkForwardSpec(train=200, refit_every="never"))
    y = data.y.copy()
    y[10] = np.nan
    model = LogisticRegression.model_validate({"half_life": 1.0, "class_weight": {"up": 3.0}})
    loss = make_loss(replace(data, y=y), model, slice(0, 1))
    stop = int(data.folds[0].train_stop[0])
    weight = 0.5 ** (stop - 1 - np.arange(stop)) * np.where(y[:stop] == 1, 3.0, 1.0)
    weight[10] = 0.0
    np.testing.assert_allclose(loss.sample_weight, weight / weight.sum(), rtol=1e-12)


@given(seed=st.integers(0, 10_000), scale=st.sampled_from([1.0, 30.0, 1e3]))
def test_float32_gradient_is_accurate_far_from_the_start(seed: int, scale: float) -> None:
    """Where the formula for small changes loses digits, sums are computed in double precision."""
    rng = np.random.default_rng(seed)
    data = training(*example_data(1, rows=300))
    start = data.scaling[:1].to_raw_weights(rng.normal(size=(5, 1)) * scale)[0]
    loss = batched_loss(data, LogisticRegression(), slice(0, 3), start=start)
    near = loss.with_float32_rows(loss.start_theta, tol=1e9)
    assert near.float32_rows[0]
    theta, refits = loss.start_theta + rng.normal(size=loss.start_theta.shape) * scale, np.ones(3, dtype=np.bool_)
    np.testing.assert_allclose(near.gradient(theta, refits), loss.float64_gradient(theta, refits), atol=3e-7)


@settings(max_examples=5)
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
    model, refits = LogisticRegression(), slice(20, 28)
    parts = [(data, ModelRows(data, model), fit_folds(data, model).coefficients[19]) for data in trainings]
    result = newton_from_common_start(make_batched_loss(parts, model, refits), tol=1e-8, max_iter=100)
    assert result.converged.all()
    for index, data in enumerate(trainings):
        for refit in range(8):
            loss = make_loss(data, model, slice(20 + refit, 21 + refit))
            assert np.abs(loss.gradient(result.theta[:, 8 * index + refit])).max() < 1e-8


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("model", [{}, {"class_weight": "balanced", "half_life": 60.0, "l2": 0.01}])
def test_blocks_and_sampled_hessians_lead_to_the_same_weights(pooled: bool, model: dict[str, Any]) -> None:
    spec, config = WalkForwardSpec(train=100, refit_every=3), LogisticRegression.model_validate(model)
    data = panel(6, spec) if pooled else training(*example_data(6, rows=400), spec)
    start = fit_folds(data, config).coefficients[9]
    whole, blocks = (
        newton_from_common_start(
            batched_loss(data, config, slice(10, 14), start=start, block_rows=size), tol=1e-11, max_iter=20
        )
        for size in (2**13, 17)
    )
    assert blocks.converged.all()
    np.testing.assert_allclose(blocks.theta, whole.theta, atol=1e-10)


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
