"""Numerical edge cases: each gives the right result or is reported."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantlr.core.errors import DegenerateFold
from quantlr.core.values import Array, Dataset, Folds, Forecasts
from quantlr.data.dataset import build_dataset, compute_feature_columns
from quantlr.data.features import LaggedReturns, Momentum
from quantlr.data.labels import Direction
from quantlr.data.prices import DataSpec, load_prices
from quantlr.data.scenarios import TRADING_HALT, apply_scenario
from quantlr.model.batched.fit import fit_folds
from quantlr.model.config import LogisticRegression
from quantlr.model.logistic import LogisticLoss, logit, pointwise_log_loss, sigmoid
from quantlr.model.splits import WalkForwardSpec, make_folds
from quantlr.model.standardize import fold_scaling
from quantlr.model.training import TrainingData
from quantlr.model.walk_forward import walk_forward
from scipy.special import expit

from markets import random_walk_prices


def trained(X: Array, y: Array, folds: Folds) -> TrainingData:
    return TrainingData(X, y, [folds], fold_scaling(X, [folds], has_label=~np.isnan(y)))


def one_fold(rows: int) -> Folds:
    return make_folds(rows + 1, WalkForwardSpec(train=rows, refit_every="never"), horizon=1)


def sp500(lags: int, *, end: str | None = None) -> Dataset:
    prices = load_prices(DataSpec.model_validate({"source": {"kind": "sample"}, "tickers": ["^GSPC"], "end": end}))
    columns = compute_feature_columns(prices, [LaggedReturns(lags=tuple(range(1, lags + 1)))])
    return build_dataset(prices, columns, Direction().compute_labels(prices), horizon=1)


def forecast(dataset: Dataset, walk_config: dict[str, Any], **model: Any) -> Forecasts:
    return walk_forward(dataset, WalkForwardSpec.model_validate(walk_config), LogisticRegression.model_validate(model))


@given(z=st.floats(-1e308, 1e308))
def test_loss_and_sigmoid_do_not_overflow(z: float) -> None:
    index = np.array([z])
    with np.errstate(all="raise", under="ignore"):
        g, down, up = sigmoid(index), pointwise_log_loss(index, np.zeros(1)), pointwise_log_loss(index, np.ones(1))
    assert g[0] == pytest.approx(expit(z), abs=2.3e-16)
    assert down[0] >= max(z, 0.0)
    assert up[0] >= max(-z, 0.0)


def test_learning_rate_of_mean_loss_does_not_depend_on_rows() -> None:
    """The lesson's sum diverges as the window grows, at a rate that is fine for a shorter one; the mean does not."""
    dataset = sp500(10)
    for rows, settles in ((2_500, True), (5_000, False)):
        X, y = dataset.features[:rows], dataset.up[:rows]
        S = (X - X.mean(axis=0)) / X.std(axis=0)
        summed, averaged = np.zeros(11), np.zeros(11)
        for _ in range(500):
            summed = summed - 0.002 * rows * LogisticLoss.unweighted(S, y).gradient(summed)
            averaged = averaged - 3.0 * LogisticLoss.unweighted(S, y).gradient(averaged)
        assert bool(np.abs(LogisticLoss.unweighted(S, y).gradient(summed)).max() < 1e-6) is settles
        assert np.abs(LogisticLoss.unweighted(S, y).gradient(averaged)).max() < 1e-6


def test_gradient_descent_converges_on_unscaled_returns() -> None:
    """A fixed rate of 0.1 on raw returns would be far from convergence after ten thousand steps."""
    dataset = sp500(3)
    X, y = dataset.features[:2_000], dataset.up[:2_000]
    naive = np.zeros(4)
    for _ in range(10_000):
        naive = naive - 0.1 * LogisticLoss.unweighted(X, y).gradient(naive)
    best, plain = (
        fit_folds(trained(X, y, one_fold(2_000)), LogisticRegression.model_validate({"solver": way})).coefficients[0]
        for way in ("newton", "gradient_descent")
    )
    assert (np.abs(naive[1:] / best[1:]) < 0.05).all()
    np.testing.assert_allclose(plain, best, rtol=1e-4)


@pytest.mark.parametrize(("repeated", "off"), [(False, 4e-7), (True, 4e-5)])
def test_default_tolerance_bounds_the_weight_error(repeated: bool, off: float) -> None:
    prices = load_prices(DataSpec.model_validate({"source": {"kind": "sample"}, "tickers": ["^GSPC"]}))
    more = [Momentum(windows=(5,))] if repeated else []
    columns = compute_feature_columns(prices, [LaggedReturns(lags=tuple(range(1, 11))), *more])
    dataset = build_dataset(prices, columns, Direction().compute_labels(prices), horizon=1)
    for solver in ("newton", "gradient_descent"):
        loose, tight = (
            forecast(dataset, {"refit_every": 500}, solver=solver, tol=tol, max_iter=100_000) for tol in (1e-8, 1e-12)
        )
        assert np.abs(loose.probability - tight.probability).max() < off


def test_collinear_features_are_noted_with_condition_number() -> None:
    dataset = sp500(4)
    calm = forecast(dataset, {"refit_every": 1000})
    last = dataset.features[
        : int(make_folds(len(dataset.up), WalkForwardSpec(refit_every=1000), horizon=1).train_stop[-1])
    ]
    S = np.column_stack([np.ones(len(last)), (last - last.mean(axis=0)) / last.std(axis=0)])
    assert calm.refits.condition_number[0] == pytest.approx(np.linalg.cond(S), rel=1e-9)
    assert not calm.notes
    rng = np.random.default_rng(0)
    dataset.features[:, 3] = dataset.features[:, 0] + 1e-5 * rng.normal(size=len(dataset.up))
    (note,) = forecast(dataset, {"refit_every": 1000}).notes
    assert "nearly collinear (condition number 2" in note.text
    dataset.features[:, 3] = dataset.features[:, 0]
    result = forecast(dataset, {"refit_every": 1000})
    assert result.refits.condition_number[0] == np.inf
    assert "condition number inf" in result.notes[0].text


def separable_on_the_way() -> Dataset:
    """Return a ticker whose rolling folds are of one class first, then mixed, then separable, then mixed again."""
    rng = np.random.default_rng(3)
    prices = random_walk_prices(0, n_sessions=420)
    columns = compute_feature_columns(prices, [LaggedReturns(lags=(1, 2))])
    dataset = build_dataset(prices, columns, Direction().compute_labels(prices), horizon=1)
    dataset.up[:-1] = rng.random(len(dataset.up) - 1) < 0.5
    dataset.up[:70] = 1.0
    dataset.up[150:260] = dataset.features[150:260, 0] > 0
    return dataset


@pytest.mark.parametrize("solver", ["newton", "gradient_descent", "nesterov"])
def test_degenerate_folds_forecast_the_base_rate_and_are_counted(solver: str) -> None:
    dataset = separable_on_the_way()
    walk_config = {"window": "rolling", "train": 60, "refit_every": 7}
    model = {"solver": solver, "max_iter": 5000, "tol": 1e-9}
    with pytest.raises(DegenerateFold, match=r"all 60 training rows are ups.*or set model\.degenerate to base_rate"):
        forecast(dataset, walk_config, **model)
    result = forecast(dataset, walk_config, degenerate="base_rate", **model)
    folds = make_folds(len(dataset.up), WalkForwardSpec.model_validate(walk_config), horizon=1)
    expected = 0
    for index, fold in enumerate(folds):
        X, ups = dataset.features[fold.train], dataset.up[fold.train]
        one_class = bool(ups.all())
        simulated_rows = fold.train.start >= 150 and fold.train.stop <= 260
        if one_class or simulated_rows:
            expected += 1
            assert result.refits.degenerate[index]
            share = 61 / 62 if one_class else ups.mean()
            np.testing.assert_allclose(result.probability[result.fold == index], share, atol=1e-12)
        elif result.refits.degenerate[index]:
            # Few rows but the simulated_rows ones: a plane may separate those too. It has to be a real one.
            S = np.column_stack([np.ones(len(X)), X])
            z = S @ np.linalg.lstsq(S, 2 * ups - 1, rcond=None)[0]
            assert ((2 * ups - 1) * z > 0).mean() > 0.9
            expected += 1
    assert result.refits.degenerate.sum() == expected > 8
    assert result.refits.converged[result.refits.degenerate].all()
    (note,) = (note for note in result.notes if "no best fit" in note.text)
    assert note.count == expected
    assert not result.refits.degenerate.all()


def test_refits_without_labels_forecast_one_half() -> None:
    """A halt longer than a rolling window, its ties dropped."""
    prices = random_walk_prices(6, n_sessions=200)
    halted = apply_scenario(prices, TRADING_HALT, after_session=120)
    features = [LaggedReturns(lags=(1, 2))]
    dataset = build_dataset(
        halted, compute_feature_columns(halted, features), Direction(ties="drop").compute_labels(halted), horizon=1
    )
    result = forecast(dataset, {"window": "rolling", "train": 40, "refit_every": 21}, degenerate="base_rate")
    np.testing.assert_array_equal(result.probability[-20:], 0.5)
    folds = make_folds(len(dataset.up), WalkForwardSpec(window="rolling", train=40, refit_every=21), horizon=1)
    windows = [dataset.features[fold.train][~np.isnan(dataset.up[fold.train])] for fold in folds]
    last = [rows for rows in windows if len(rows)][-1]
    z = (last - last.mean(axis=0)) / last.std(axis=0)
    np.testing.assert_allclose(
        result.refits.condition_number, np.linalg.cond(np.column_stack([np.ones(len(z)), z])), rtol=1e-9
    )


def test_refit_after_a_degenerate_fold_is_fitted() -> None:
    dataset = separable_on_the_way()
    walk_config = {"window": "rolling", "train": 60, "refit_every": 7}
    result = forecast(dataset, walk_config, degenerate="base_rate", tol=1e-12)
    last = len(result.refits.iterations) - 1
    assert not result.refits.degenerate[last]
    fold = make_folds(len(dataset.up), WalkForwardSpec.model_validate(walk_config), horizon=1)[last]
    single = fit_folds(
        trained(dataset.features[fold.train], dataset.up[fold.train], one_fold(60)), LogisticRegression(tol=1e-12)
    )
    np.testing.assert_allclose(result.refits.coefficients[last], single.coefficients[0], rtol=1e-8)


def test_platt_targets_keep_one_class_from_certainty() -> None:
    """By arithmetic: thirty ups and nothing else are (30 + 1) / (30 + 2) by Laplace's rule."""
    X, y = np.random.default_rng(0).normal(size=(31, 1)), np.ones(31)
    fits = fit_folds(trained(X, y, one_fold(30)), LogisticRegression(degenerate="base_rate"))
    assert fits.coefficients[0].tolist() == [pytest.approx(float(logit(np.array(31 / 32)))), 0.0]


@pytest.mark.parametrize("max_iter", [1, 3])
@pytest.mark.parametrize("window", ["expanding", "rolling"])
def test_unconverged_weights_do_not_depend_on_later_rows(window: str, max_iter: int) -> None:
    """Refits are fitted in batches; an unconverged one depends on earlier rows only."""
    dataset = sp500(5, end="2009-12-31")
    walk_config = {"window": window, "refit_every": 5}
    whole = forecast(dataset, walk_config, max_iter=max_iter, tol=1e-15)
    assert not whole.refits.converged.all()
    rows = 2_011
    early = make_folds(rows, WalkForwardSpec.model_validate(walk_config), horizon=1)
    X, y = dataset.features[:rows], dataset.up[:rows]
    model = LogisticRegression(max_iter=max_iter, tol=1e-15)
    cut = fit_folds(trained(X, y, early), model)
    np.testing.assert_allclose(whole.refits.coefficients[: len(early)], cut.coefficients, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("solver", ["newton", "gradient_descent", "nesterov"])
def test_zero_log_odds_are_not_separation(solver: str) -> None:
    """Half of either side goes up: the best weights are exactly 0, and no row is on a wrong side or a right one."""
    X, y = np.tile([[-1.0], [1.0]], (20, 1)), np.repeat([0.0, 1.0], 20)
    fits = fit_folds(trained(X, y, one_fold(40)), LogisticRegression.model_validate({"solver": solver, "tol": 1e-5}))
    assert fits.converged.all()
    np.testing.assert_allclose(fits.coefficients, 0.0, atol=1e-6)
