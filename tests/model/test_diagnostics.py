"""Diagnostics of a walk-forward: loss curves and coefficients of its refits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from quantlr.core.errors import LearningRateTooLarge
from quantlr.core.values import Dataset
from quantlr.model.batched.fit import fit_folds
from quantlr.model.config import LogisticRegression
from quantlr.model.diagnostics import compute_loss_curves, diagnose_model
from quantlr.model.splits import make_folds
from quantlr.model.standardize import Scaling, fold_scaling
from quantlr.model.walk_forward import WalkForwardFunctions, make_model_splits, model_split_of_forecasts

from markets import random_walk_prices
from model.reference_fits import (
    LAGS,
    dataset_from,
    example_data,
    fit_by_statsmodels,
    run_walk_forward,
    single_refit_data,
    standardized_design,
)


@pytest.mark.parametrize("l2", [0.0, 0.2])
@pytest.mark.parametrize(
    ("solver", "rate"), [("gradient_descent", "auto"), ("gradient_descent", 0.7), ("nesterov", "auto")]
)
def test_loss_curve_equals_losses_of_shortened_fits(solver: str, rate: str | float, l2: float) -> None:
    X, y = example_data(6)
    training = single_refit_data(X, y)
    model = LogisticRegression.model_validate({"solver": solver, "learning_rate": rate, "l2": l2})

    def loss_of_a_fit(**other: Any) -> float:
        raw = fit_folds(training, model.model_copy(update=other)).coefficients[0]
        z = raw[0] + X @ raw[1:]
        return float(np.mean(np.logaddexp(0, z) - y * z) + l2 / 2 * np.sum((raw[1:] * X.std(axis=0)) ** 2))

    result = compute_loss_curves(training, model, refit_indices=[0])
    assert result.loss.shape[1] > 12
    for updates in (1, 2, 3, 7, 12):
        assert result.loss[0, updates] == pytest.approx(loss_of_a_fit(max_iter=updates), rel=1e-13)
    assert result.min_loss[0] == pytest.approx(loss_of_a_fit(tol=1e-12), rel=1e-13)


@pytest.mark.parametrize("solver", ["gradient_descent", "nesterov", "newton"])
def test_sp500_loss_falls_from_base_rate_to_minimum(sp500: Dataset, solver: str) -> None:
    forecasts, spec, model = run_walk_forward(sp500, {"refit_every": 100}, solver=solver)
    result = diagnose_model(sp500, forecasts, model, max_loss_curves=4).loss_curves
    assert result.refit_index.tolist() == [0, 13, 27, 40]
    folds = make_folds(len(sp500.up), spec, horizon=1)
    lengths = (~np.isnan(result.loss)).sum(axis=1)
    assert result.loss.shape[1] == lengths.max()
    assert lengths.max() <= (6 if solver == "newton" else 40)
    for index, refit in enumerate(result.refit_index.tolist()):
        X, y = sp500.features[folds[refit].train], sp500.up[folds[refit].train]
        curve = result.loss[index, : lengths[index]]
        up = y.mean()
        assert curve[0] == pytest.approx(-up * np.log(up) - (1 - up) * np.log(1 - up), rel=1e-13)
        assert not np.isnan(curve).any()
        best = -fit_by_statsmodels(standardized_design(X), y).llf / len(y)
        assert result.min_loss[index] == pytest.approx(best, rel=1e-13)
        assert curve[-1] == pytest.approx(best, rel=1e-13)
        if solver != "nesterov":
            assert (np.diff(curve) <= 1e-15).all()
    assert (np.nanmin(result.excess_loss, axis=1) < 1e-15).all()


def test_loss_curve_is_cut_at_max_iterations() -> None:
    X, y = example_data(7)
    training = single_refit_data(X, y)
    slow = LogisticRegression(solver="gradient_descent", learning_rate=1e-3)
    assert compute_loss_curves(training, slow, refit_indices=[0], max_iterations=30).loss.shape == (1, 31)
    short = LogisticRegression(solver="gradient_descent", learning_rate=1e-3, max_iter=12)
    assert compute_loss_curves(training, short, refit_indices=[0], max_iterations=30).loss.shape == (1, 13)


def test_loss_curve_with_too_large_rate_raises() -> None:
    X, y = example_data(8)
    with pytest.raises(LearningRateTooLarge, match="refit 0: a learning rate of 50 diverges"):
        compute_loss_curves(
            single_refit_data(X, y),
            LogisticRegression(solver="gradient_descent", learning_rate=50.0),
            refit_indices=[0],
        )


def test_coefficient_paths_reproduce_the_forecasts(sp500: Dataset) -> None:
    forecasts, spec, model = run_walk_forward(sp500, {"refit_every": 7, "window": "rolling"})
    result = diagnose_model(sp500, forecasts, model, max_loss_curves=2, max_coefficient_refits=40)
    refit = result.coefficient_paths.refit_index
    assert result.feature_names == sp500.columns
    np.testing.assert_array_equal(result.coefficient_paths.raw_coefficients, forecasts.refits.coefficients[refit])
    folds = make_folds(len(sp500.up), spec, horizon=1)
    for index, number in enumerate(refit.tolist()):
        fold = folds[number]
        train, row = sp500.features[fold.train], sp500.features[fold.test.start]
        weights = result.coefficient_paths.standardized_coefficients[index]
        z = weights[0] + weights[1:] @ ((row - train.mean(axis=0)) / train.std(axis=0))
        assert z == pytest.approx(forecasts.log_odds[(forecasts.fold == number).argmax()], abs=1e-10)
        assert result.first_session[number] == sp500.session[fold.test.start]


def test_degenerate_refits_are_nan() -> None:
    dataset = dataset_from(random_walk_prices(21, n_sessions=300), [LAGS])
    dataset.up[:130] = 1.0
    dataset.up[-101:] = 0.0
    walk_config = {"train": 60, "refit_every": 20, "window": "rolling"}
    forecasts, _, model = run_walk_forward(dataset, walk_config, degenerate="base_rate")
    degenerate = forecasts.refits.degenerate
    assert degenerate[[0, -1]].all()
    result = diagnose_model(dataset, forecasts, model)
    for name in (
        "standardized_coefficients",
        "standardized_standard_errors",
        "raw_coefficients",
        "raw_standard_errors",
    ):
        np.testing.assert_array_equal(np.isnan(getattr(result.coefficient_paths, name)).any(axis=1), degenerate)
    np.testing.assert_array_equal(result.loss_curves.refit_index, np.flatnonzero(~degenerate))
    assert result.learning_rate_study is not None
    assert result.learning_rate_study.refit_index == np.flatnonzero(~degenerate)[-1]


def test_only_degenerate_refits_give_no_loss_curves() -> None:
    dataset = dataset_from(random_walk_prices(22, n_sessions=100), [LAGS])
    dataset.up[:] = 1.0
    forecasts, _, model = run_walk_forward(dataset, {"train": 60}, degenerate="base_rate")
    result = diagnose_model(dataset, forecasts, model)
    assert result.learning_rate_study is None
    assert result.loss_curves.excess_loss.shape == (0, 0)
    assert np.isnan(result.coefficient_paths.raw_standard_errors).all()


def test_separation_hidden_by_loose_tolerance_gives_no_study() -> None:
    """The second feature is 1 on some ups and 0 on all else: its best weight is infinite."""
    dataset = dataset_from(random_walk_prices(26, n_sessions=200), [LAGS])
    dataset.features[:, 1] = (dataset.up == 1) & (dataset.features[:, 0] > 0)
    forecasts, _, model = run_walk_forward(dataset, {"train": 100, "refit_every": "never"}, tol=0.1)
    assert not forecasts.refits.degenerate.any()
    result = diagnose_model(dataset, forecasts, model)
    assert result.learning_rate_study is None
    assert not np.isnan(result.coefficient_paths.raw_standard_errors).any()


def test_each_ticker_has_its_own_diagnostics() -> None:
    dataset = dataset_from(random_walk_prices(23, n_sessions=200, n_tickers=3), [LAGS])
    forecasts, _, model = run_walk_forward(dataset, {"train": 100, "refit_every": 30})
    third = diagnose_model(dataset, forecasts, model, ticker="T2")
    selected = forecasts.refits.ticker == 2
    assert third.name == "T2"
    np.testing.assert_array_equal(third.coefficient_paths.raw_coefficients, forecasts.refits.coefficients[selected])
    np.testing.assert_array_equal(third.first_session, forecasts.refits.session[selected])
    assert diagnose_model(dataset, forecasts, model).name == "T0"
    with pytest.raises(ValueError, match="T9 has no model of its own; there are: T0, T1, T2"):
        diagnose_model(dataset, forecasts, model, ticker="T9")


@pytest.mark.parametrize("scope", ["per_ticker", "pooled"])
def test_splits_of_forecasts_are_those_of_the_walk_forward(scope: str) -> None:
    """Also where the first ticker is too short for a model of its own."""
    prices = random_walk_prices(24, n_sessions=300, n_tickers=3)
    member_mask = np.arange(300)[:, None] >= np.array([250, 0, 30])
    dataset = dataset_from(replace(prices, member_mask=member_mask), [LAGS])
    forecasts, spec, model = run_walk_forward(dataset, {"train": 100, "refit_every": 30}, scope=scope)
    splits, notes = make_model_splits(dataset, spec, model)
    assert (scope == "pooled") != bool(notes)
    for split in splits:
        again = model_split_of_forecasts(dataset, forecasts, split.ticker_index, model)
        assert (again.name, again.first_row, again.model) == (split.name, split.first_row, model)
        np.testing.assert_array_equal(again.X, split.X)
        np.testing.assert_array_equal(again.first_session, split.first_session)
        for folds, expected in zip(again.folds, split.folds, strict=True):
            for edge in ("train_start", "train_stop", "test_start", "test_stop"):
                np.testing.assert_array_equal(getattr(folds, edge), getattr(expected, edge))


def test_diagnostics_use_the_replaced_scaling_function() -> None:
    def twice(*arguments: Any, **keywords: Any) -> Scaling:
        result = fold_scaling(*arguments, **keywords)
        return replace(result, std=2 * result.std)

    dataset = dataset_from(random_walk_prices(25, n_sessions=200), [LAGS])
    forecasts, _, model = run_walk_forward(dataset, {"train": 100})
    once = diagnose_model(dataset, forecasts, model).coefficient_paths
    result = diagnose_model(dataset, forecasts, model, WalkForwardFunctions(compute_scaling=twice)).coefficient_paths
    np.testing.assert_allclose(result.standardized_coefficients[:, 1:], 2 * once.standardized_coefficients[:, 1:])
    np.testing.assert_allclose(result.raw_standard_errors, once.raw_standard_errors)
