"""Coefficient paths over the refits, and their standard errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from quantlr.core.values import Array, BoolArray, Dataset
from quantlr.model.batched.fit import fit_folds
from quantlr.model.config import LogisticRegression
from quantlr.model.diagnostics import (
    CoefficientPaths,
    coefficient_paths,
    diagnose_model,
    evenly_spaced_indices,
    sign_stability,
)
from quantlr.model.splits import WalkForwardSpec, make_folds
from quantlr.model.standardize import fold_scaling
from quantlr.model.training import TrainingData

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


def paths_of(X: Array, y: Array, **model: Any) -> CoefficientPaths:
    """The path of one refit that is fitted as tightly as it can be."""
    training, kind = single_refit_data(X, y), LogisticRegression.model_validate({"tol": 1e-12, **model})
    fits = fit_folds(training, kind)
    return coefficient_paths(training, kind, coefficients=fits.coefficients, degenerate=fits.degenerate)


def trained_by(dataset: Dataset, session: int, number: int) -> BoolArray:
    """Whether a row trains the refit that first forecasts at that session: its label is known by then."""
    is_of_model = np.ones(len(dataset.up), dtype=np.bool_) if number < 0 else dataset.ticker == number
    return np.asarray(is_of_model & (dataset.label_known_at <= session) & ~np.isnan(dataset.up))


def errors_row_by_row(dataset: Dataset, train: BoolArray, raw: Array, model: LogisticRegression) -> tuple[Array, Array]:
    """Standardised and raw errors from a loop over training rows, each from the formula in its own units."""
    X, y = dataset.features[train], dataset.up[train]
    mean, deviation = X.mean(axis=0), X.std(axis=0)
    age = np.searchsorted(np.unique(dataset.session), dataset.session)[train]
    if model.scope == "per_ticker":
        first = dataset.ticker_slice(int(dataset.ticker[train][0])).start
        age = np.flatnonzero(train) - first
    by_class = {0.0: 1.0, 1.0: 1.0}
    decay = [0.5 ** ((age.max() - a) / model.half_life) if model.half_life else 1.0 for a in age.tolist()]
    if model.class_weight == "balanced":
        total = {
            label: sum(d for d, row_label in zip(decay, y, strict=True) if row_label == label) for label in (0.0, 1.0)
        }
        by_class = {label: sum(total.values()) / (2 * total[label]) for label in total}
    elif model.class_weight is not None:
        by_class = {0.0: model.class_weight.down, 1.0: model.class_weight.up}
    whole = sum(d * by_class[row_label] for d, row_label in zip(decay, y.tolist(), strict=True))
    clustered, lags = dataset.horizon > 1 or model.scope == "pooled", 2 * dataset.horizon
    result = []
    for standardised in (True, False):
        k = X.shape[1]
        A = np.diag(np.r_[0.0, model.l2 * (np.ones(k) if standardised else deviation**2)])
        B, by_session = np.zeros((k + 1, k + 1)), np.zeros((int(age.max() - age.min()) + 1, k + 1))
        for values, row_label, d, a in zip(X, y.tolist(), decay, age.tolist(), strict=True):
            g = 1 / (1 + np.exp(-(raw[0] + raw[1:] @ values)))
            x = np.r_[1.0, (values - mean) / deviation if standardised else values]
            A += d * by_class[row_label] / whole * g * (1 - g) * np.outer(x, x)
            B += d**2 * by_class[0.0] * by_class[1.0] / whole**2 * g * (1 - g) * np.outer(x, x)
            by_session[a - age.min()] += d * by_class[row_label] / whole * (g - row_label) * x
        if clustered:
            away = by_session - by_session.mean(axis=0)
            pairs = [(s, t) for s in range(len(away)) for t in range(len(away)) if abs(s - t) <= lags]
            B = np.sum([(1 - abs(s - t) / (lags + 1)) * np.outer(away[s], away[t]) for s, t in pairs], axis=0)
        P = np.linalg.inv(A)
        result.append(np.sqrt(np.diag(P @ B @ P)))
    return result[0], result[1]


@pytest.mark.parametrize("window", ["expanding", "rolling"])
def test_sp500_coefficients_and_errors_equal_statsmodels(sp500: Dataset, window: str) -> None:
    forecasts, spec, model = run_walk_forward(sp500, {"refit_every": 50, "window": window}, tol=1e-12)
    result = diagnose_model(sp500, forecasts, model, max_coefficient_refits=5).coefficient_paths
    assert result.refit_index.tolist() == [0, 20, 40, 60, 80]
    folds = make_folds(len(sp500.up), spec, horizon=1)
    for index, refit in enumerate(result.refit_index.tolist()):
        X, y = sp500.features[folds[refit].train], sp500.up[folds[refit].train]
        standardised, raw = fit_by_statsmodels(standardized_design(X), y), fit_by_statsmodels(sm.add_constant(X), y)
        np.testing.assert_allclose(result.standardized_coefficients[index], standardised.params, rtol=1e-6)
        np.testing.assert_allclose(result.standardized_standard_errors[index], standardised.bse, rtol=1e-6)
        np.testing.assert_allclose(result.raw_coefficients[index], raw.params, rtol=1e-6)
        np.testing.assert_allclose(result.raw_standard_errors[index], raw.bse, rtol=1e-6)


@pytest.mark.parametrize(("scope", "horizon"), [("per_ticker", 1), ("per_ticker", 2), ("pooled", 2)])
@pytest.mark.parametrize(
    "model",
    [
        {"l2": 0.05},
        {"half_life": 40.0},
        {"class_weight": "balanced", "half_life": 70.0},
        {"class_weight": {"up": 3.0, "down": 0.5}},
        {"class_weight": {"up": 0.2}, "half_life": 90.0, "l2": 0.01},
    ],
    ids=str,
)
def test_weighted_errors_equal_a_loop_over_rows(scope: str, horizon: int, model: dict[str, Any]) -> None:
    # Chosen so that a first forecast one session earlier would make one more refit.
    prices = random_walk_prices(11, n_sessions=213, n_tickers=3, with_gaps=True)
    dataset = dataset_from(prices, [LAGS], horizon=horizon, ties="drop")
    forecasts, _, kind = run_walk_forward(dataset, {"train": 90, "refit_every": 40}, scope=scope, **model)
    result = diagnose_model(dataset, forecasts, kind)
    assert result.hac_lags == (None if scope == "per_ticker" and horizon == 1 else 2 * horizon)
    number = -1 if scope == "pooled" else 0
    assert result.name == ("pooled" if scope == "pooled" else "T0")
    assert len(result.coefficient_paths.refit_index) == (forecasts.refits.ticker == number).sum() > 2
    for index in range(len(result.coefficient_paths.refit_index)):
        train = trained_by(dataset, int(result.first_session[index]), number)
        standardised, raw = errors_row_by_row(dataset, train, result.coefficient_paths.raw_coefficients[index], kind)
        np.testing.assert_allclose(
            result.coefficient_paths.standardized_standard_errors[index], standardised, rtol=1e-9
        )
        np.testing.assert_allclose(result.coefficient_paths.raw_standard_errors[index], raw, rtol=1e-9)


@pytest.mark.parametrize("horizon", [1, 5])
def test_hac_errors_equal_statsmodels_by_session(horizon: int) -> None:
    dataset = dataset_from(random_walk_prices(31, n_sessions=400, n_tickers=3), [LAGS], horizon=horizon)
    forecasts, _, model = run_walk_forward(dataset, {"train": 200, "refit_every": 60}, scope="pooled", tol=1e-12)
    result = diagnose_model(dataset, forecasts, model)
    for index in range(len(result.coefficient_paths.refit_index)):
        train = trained_by(dataset, int(result.first_session[index]), -1)
        order = np.flatnonzero(train)[np.argsort(dataset.session[train], kind="stable")]
        S, y = standardized_design(dataset.features[order]), dataset.up[order]
        kinds = {
            "time": dataset.session[order],
            "maxlags": 2 * horizon,
            "use_correction": False,
            "df_correction": False,
        }
        fit = sm.Logit(y, S).fit(
            method="newton", tol=1e-13, maxiter=100, disp=0, cov_type="hac-groupsum", cov_kwds=kinds
        )
        np.testing.assert_allclose(result.coefficient_paths.standardized_coefficients[index], fit.params, rtol=1e-6)
        np.testing.assert_allclose(result.coefficient_paths.standardized_standard_errors[index], fit.bse, rtol=1e-6)


@pytest.mark.parametrize("weights", [{"up": 4.0}, {"down": 4.0}, {"up": 6.0, "down": 0.5}], ids=str)
def test_class_weighted_errors_approach_whites(weights: dict[str, float]) -> None:
    """The variance of the weighted score as the rows show it (White 1982), which does not ask the model."""
    X, y = example_data(12, rows=40_000, k=2)
    result = paths_of(X, y, class_weight=weights)
    S = standardized_design(X)
    weight = np.where(y > 0, weights.get("up", 1.0), weights.get("down", 1.0))
    g = 1 / (1 + np.exp(-S @ result.standardized_coefficients[0]))
    P = np.linalg.inv((S.T * (weight * g * (1 - g))) @ S)
    white = np.sqrt(np.diag(P @ (S.T * (weight * (y - g)) ** 2) @ S @ P))
    np.testing.assert_allclose(result.standardized_standard_errors[0], white, rtol=0.03)


def test_constant_feature_has_zero_weight_and_no_error() -> None:
    X, y = example_data(13)
    result, without = paths_of(np.insert(X, 1, 5.0, axis=1), y), paths_of(X, y)
    for name in ("standardized", "raw"):
        weights, errors = (getattr(result, f"{name}_{kind}")[0] for kind in ("coefficients", "standard_errors"))
        assert weights[2] == 0
        assert np.isnan(errors[2])
        np.testing.assert_allclose(np.delete(weights, 2), getattr(without, f"{name}_coefficients")[0], rtol=1e-9)
        np.testing.assert_allclose(np.delete(errors, 2), getattr(without, f"{name}_standard_errors")[0], rtol=1e-9)


def test_duplicated_feature_has_half_the_weight_and_error() -> None:
    X, y = example_data(14, k=2)
    result, single = paths_of(X[:, [0, 1, 0]], y), paths_of(X, y)
    half = np.r_[1.0, 0.5, 1.0]
    np.testing.assert_allclose(
        result.standardized_standard_errors[0, :3], half * single.standardized_standard_errors[0], rtol=1e-6
    )
    np.testing.assert_allclose(result.raw_standard_errors[0, :3], half * single.raw_standard_errors[0], rtol=1e-6)
    np.testing.assert_allclose(
        result.standardized_standard_errors[0, 3], result.standardized_standard_errors[0, 1], rtol=1e-6
    )
    np.testing.assert_allclose(
        result.standardized_coefficients[0, 1] + result.standardized_coefficients[0, 3],
        single.standardized_coefficients[0, 1],
    )


def test_many_rows_have_errors_at_first_and_last_refit_only() -> None:
    X, y = example_data(15, rows=300, k=2)
    folds = make_folds(300, WalkForwardSpec(train=60, refit_every=20), horizon=1)
    training, model = (
        TrainingData(X, y, [folds], fold_scaling(X, [folds], has_label=~np.isnan(y))),
        LogisticRegression(),
    )
    fits = fit_folds(training, model)
    kept: dict[str, Any] = {"coefficients": fits.coefficients, "degenerate": fits.degenerate}
    every, selected = (
        coefficient_paths(training, model, **kept),
        coefficient_paths(training, model, max_refits_with_standard_errors=3, **kept),
    )
    np.testing.assert_array_equal(selected.standardized_coefficients, every.standardized_coefficients)
    measured = ~np.isnan(selected.standardized_standard_errors).any(axis=1)
    assert np.flatnonzero(measured).tolist() == [0, 6, 11]
    np.testing.assert_array_equal(selected.raw_standard_errors[measured], every.raw_standard_errors[measured])
    assert selected.newest_index == 11
    np.testing.assert_array_equal(
        selected.z_statistic[11], every.standardized_coefficients[11] / every.standardized_standard_errors[11]
    )


def test_sign_stability_ignores_degenerate_refits() -> None:
    coefficients = np.array([[1.0, 2.0, 0.0], [9.0, 9.0, 9.0], [-1.0, -3.0, 1.0], [2.0, -1.0, 0.0], [1.0, 1.0, 1.0]])
    degenerate = np.array([False, True, False, False, True])
    np.testing.assert_array_equal(sign_stability(coefficients, degenerate), [2 / 3, 2 / 3, np.nan])
    assert np.isnan(sign_stability(coefficients, np.ones(5, dtype=np.bool_))).all()


@given(count=st.integers(0, 2000), at_most=st.integers(2, 300))
def test_evenly_spaced_includes_both_ends(count: int, at_most: int) -> None:
    result = evenly_spaced_indices(count, max_points=at_most)
    assert len(result) == min(count, at_most)
    if count:
        assert (result[0], result[-1]) == (0, count - 1)
    if count > 1:
        gaps = np.diff(result)
        assert gaps.min() > 0
        assert gaps.max() - gaps.min() <= 1
