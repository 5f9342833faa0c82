"""The study of a walk: how its losses fell, and what it makes of each of its refits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from quantlr.errors import LearningRateTooLarge
from quantlr.model.fit import fit_folds
from quantlr.model.folds import make_folds
from quantlr.model.journey import Steps
from quantlr.model.rows import Scaling
from quantlr.model.scaling import fold_scaling
from quantlr.model.specs import LogisticRegression
from quantlr.model.study import loss_curves, study
from quantlr.types import Dataset

from markets import random_walk
from model.studied import (
    LAGS,
    by_statsmodels,
    dataset_from,
    made_up,
    one_refit,
    walk_of,
    with_ones,
)


@pytest.mark.parametrize("l2", [0.0, 0.2])
@pytest.mark.parametrize(("descent", "rate"), [("plain", "auto"), ("plain", 0.7), ("accelerated", "auto")])
def test_each_loss_is_that_of_the_weights_a_fit_cut_short_there_ends_with(
    descent: str, rate: str | float, l2: float
) -> None:
    X, y = made_up(6)
    training = one_refit(X, y)
    model = LogisticRegression.model_validate({"descent": descent, "learning_rate": rate, "l2": l2})

    def loss_of_a_fit(**other: Any) -> float:
        raw = fit_folds(training, model.model_copy(update=other)).coefficients[0]
        z = raw[0] + X @ raw[1:]
        return float(np.mean(np.logaddexp(0, z) - y * z) + l2 / 2 * np.sum((raw[1:] * X.std(axis=0)) ** 2))

    found = loss_curves(training, model, refits=[0])
    assert found.loss.shape[1] > 12
    for updates in (1, 2, 3, 7, 12):
        assert found.loss[0, updates] == pytest.approx(loss_of_a_fit(max_iter=updates), rel=1e-13)
    assert found.optimum[0] == pytest.approx(loss_of_a_fit(tol=1e-12), rel=1e-13)


@pytest.mark.parametrize("descent", ["plain", "accelerated", "preconditioned"])
def test_on_the_sp500_a_loss_falls_from_the_base_rates_to_the_best(sp500: Dataset, descent: str) -> None:
    forecasts, spec, model = walk_of(sp500, {"refit_every": 100}, descent=descent)
    found = study(sp500, forecasts, spec, model, curves=4).losses
    assert found.refit.tolist() == [0, 13, 27, 40]
    folds = make_folds(len(sp500.up), spec, horizon=1)
    lengths = (~np.isnan(found.loss)).sum(axis=1)
    assert found.loss.shape[1] == lengths.max()
    assert lengths.max() <= (6 if descent == "preconditioned" else 40)
    for at, refit in enumerate(found.refit.tolist()):
        X, y = sp500.features[folds[refit].train], sp500.up[folds[refit].train]
        curve = found.loss[at, : lengths[at]]
        up = y.mean()
        assert curve[0] == pytest.approx(-up * np.log(up) - (1 - up) * np.log(1 - up), rel=1e-13)
        assert not np.isnan(curve).any()
        best = -by_statsmodels(with_ones(X), y).llf / len(y)
        assert found.optimum[at] == pytest.approx(best, rel=1e-13)
        assert curve[-1] == pytest.approx(best, rel=1e-13)
        if descent != "accelerated":
            assert (np.diff(curve) <= 1e-15).all()
    assert (np.nanmin(found.excess, axis=1) < 1e-15).all()


def test_a_long_descent_is_cut() -> None:
    X, y = made_up(7)
    training = one_refit(X, y)
    slow = LogisticRegression(descent="plain", learning_rate=1e-3)
    assert loss_curves(training, slow, refits=[0], updates=30).loss.shape == (1, 31)
    short = LogisticRegression(descent="plain", learning_rate=1e-3, max_iter=12)
    assert loss_curves(training, short, refits=[0], updates=30).loss.shape == (1, 13)


def test_a_rate_beyond_the_limit_is_refused() -> None:
    X, y = made_up(8)
    with pytest.raises(LearningRateTooLarge, match="refit 0: 50 would not go downhill"):
        loss_curves(one_refit(X, y), LogisticRegression(descent="plain", learning_rate=50.0), refits=[0])


def test_weights_are_the_walks_own_and_forecast_what_it_forecast(sp500: Dataset) -> None:
    forecasts, spec, model = walk_of(sp500, {"refit_every": 7, "window": "rolling"})
    found = study(sp500, forecasts, spec, model, curves=2, points=40)
    refit = found.paths.refit
    assert found.columns == sp500.columns
    np.testing.assert_array_equal(found.paths.raw, forecasts.refits.coefficients[refit])
    folds = make_folds(len(sp500.up), spec, horizon=1)
    for at, number in enumerate(refit.tolist()):
        fold = folds[number]
        train, row = sp500.features[fold.train], sp500.features[fold.test.start]
        weights = found.paths.standardised[at]
        z = weights[0] + weights[1:] @ ((row - train.mean(axis=0)) / train.std(axis=0))
        assert z == pytest.approx(forecasts.log_odds[(forecasts.fold == number).argmax()], abs=1e-10)
        assert found.session[number] == sp500.session[fold.test.start]


def test_refits_without_a_best_fit_are_gaps() -> None:
    dataset = dataset_from(random_walk(21, sessions=300), [LAGS])
    dataset.up[:130] = 1.0
    dataset.up[-101:] = 0.0
    walk = {"train": 60, "refit_every": 20, "window": "rolling"}
    forecasts, spec, model = walk_of(dataset, walk, degenerate="base_rate")
    degenerate = forecasts.refits.degenerate
    assert degenerate[[0, -1]].all()
    found = study(dataset, forecasts, spec, model)
    for name in ("standardised", "standardised_error", "raw", "raw_error"):
        np.testing.assert_array_equal(np.isnan(getattr(found.paths, name)).any(axis=1), degenerate)
    np.testing.assert_array_equal(found.losses.refit, np.flatnonzero(~degenerate))
    assert found.rates is not None
    assert found.rates.refit == np.flatnonzero(~degenerate)[-1]


def test_where_no_refit_has_a_best_fit_there_are_no_losses() -> None:
    dataset = dataset_from(random_walk(22, sessions=100), [LAGS])
    dataset.up[:] = 1.0
    found = study(dataset, *walk_of(dataset, {"train": 60}, degenerate="base_rate"))
    assert found.rates is None
    assert found.losses.excess.shape == (0, 0)
    assert np.isnan(found.paths.raw_error).all()


def test_a_walk_that_stopped_before_its_weights_grew_is_studied_without_rates() -> None:
    """The second feature is 1 on some ups and 0 on all else: its best weight is infinite."""
    dataset = dataset_from(random_walk(26, sessions=200), [LAGS])
    dataset.features[:, 1] = (dataset.up == 1) & (dataset.features[:, 0] > 0)
    forecasts, spec, model = walk_of(dataset, {"train": 100, "refit_every": "never"}, tol=0.1)
    assert not forecasts.refits.degenerate.any()
    found = study(dataset, forecasts, spec, model)
    assert found.rates is None
    assert not np.isnan(found.paths.raw_error).any()


def test_each_ticker_has_a_study_of_its_own() -> None:
    dataset = dataset_from(random_walk(23, sessions=200, tickers=3), [LAGS])
    forecasts, spec, model = walk_of(dataset, {"train": 100, "refit_every": 30})
    third = study(dataset, forecasts, spec, model, ticker="T2")
    mine = forecasts.refits.ticker == 2
    assert third.name == "T2"
    np.testing.assert_array_equal(third.paths.raw, forecasts.refits.coefficients[mine])
    np.testing.assert_array_equal(third.session, forecasts.refits.session[mine])
    assert study(dataset, forecasts, spec, model).name == "T0"
    with pytest.raises(ValueError, match="T9 has no model of its own; there are: T0, T1, T2"):
        study(dataset, forecasts, spec, model, ticker="T9")


def test_the_forecasts_of_another_walk_are_refused() -> None:
    dataset = dataset_from(random_walk(24, sessions=200), [LAGS])
    forecasts, spec, model = walk_of(dataset, {"train": 100, "refit_every": 30})
    with pytest.raises(ValueError, match="of other sessions than these folds'; pass the walk's own spec"):
        study(dataset, forecasts, spec.model_copy(update={"refit_every": 21}), model)


def test_scaling_is_the_walks_own_function() -> None:
    def twice(*arguments: Any, **keywords: Any) -> Scaling:
        found = fold_scaling(*arguments, **keywords)
        return replace(found, deviation=2 * found.deviation)

    dataset = dataset_from(random_walk(25, sessions=200), [LAGS])
    forecasts, spec, model = walk_of(dataset, {"train": 100})
    once = study(dataset, forecasts, spec, model).paths
    found = study(dataset, forecasts, spec, model, Steps(scale=twice)).paths
    np.testing.assert_allclose(found.standardised[:, 1:], 2 * once.standardised[:, 1:])
    np.testing.assert_allclose(found.raw_error, once.raw_error)
