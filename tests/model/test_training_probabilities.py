"""Mean and spread of training probabilities against a loop over refits, and their independence of later rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from quantlr.config.run_config import load_config
from quantlr.core.values import Array, Dataset, Folds, Forecasts, IntArray
from quantlr.model.base import FittedModel
from quantlr.model.training_probabilities import training_probability_stats
from quantlr.model.walk_forward import walk_forward
from quantlr.pipeline.stages import dataset_from_config
from scipy import integrate, stats

from markets import from_log_returns


def folds_of(start: list[int], stop: list[int]) -> Folds:
    return Folds(np.array(start), np.array(stop), np.array(stop), np.array(stop) + 1)


def stats_of_weights(X: Array, up: Array, folds: Folds, weights: Array) -> Array:
    """Return the statistics of refits with these coefficients of the raw features."""
    yes = np.ones(len(weights), dtype=np.bool_)
    return training_probability_stats(X, up, folds, FittedModel(yes, ~yes, coefficients=weights))


def loop_stats(X: Array, up: Array, folds: Folds, weights: Array) -> Array:
    """Return the statistics refit by refit, in double precision."""
    columns = []
    for refit, fold in enumerate(folds):
        rows = [row for row in range(fold.train.start, fold.train.stop) if not np.isnan(up[row])]
        if not rows:
            columns.append([np.nan] * 3)
            continue
        probability = np.array([1 / (1 + np.exp(-weights[refit, 0] - X[row] @ weights[refit, 1:])) for row in rows])
        columns.append([up[rows].mean(), probability.mean(), np.sqrt(np.mean((probability - probability.mean()) ** 2))])
    return np.array(columns).T


@pytest.mark.parametrize("scale", [10.0, 1.0, 1e-3, 1e-7])
@pytest.mark.parametrize("window", ["expanding", "rolling", "disjoint"])
def test_statistics_are_near_those_of_a_loop_and_equal_where_forecasts_vary_much(window: str, scale: float) -> None:
    rng = np.random.default_rng(1)
    X, up = rng.normal(5.0, [0.01, 1.0, 300.0], (900, 3)), (rng.random(900) < 0.5).astype(np.float64)
    up[rng.random(900) < 0.1] = np.nan
    stop = np.arange(300, 900, 20)
    start = {"expanding": 0 * stop, "rolling": stop - 200, "disjoint": stop - 15}[window]
    folds = folds_of(start.tolist(), stop.tolist())
    slopes = scale * rng.normal(0, [20.0, 0.2, 0.0007], (len(stop), 3))
    weights = np.column_stack([0.3 - slopes @ X.mean(axis=0), slopes])
    actual, expected = stats_of_weights(X, up, folds, weights), loop_stats(X, up, folds, weights)
    np.testing.assert_allclose(actual[0], expected[0], atol=1e-14)
    assert (np.abs(actual[1] - expected[1]) < 0.02 * expected[2]).all()
    np.testing.assert_allclose(actual[2], expected[2], rtol=0.1)
    varies_much = expected[2] > 0.1
    assert varies_much.sum() >= {10.0: 25, 1.0: 2}.get(scale, 0)
    np.testing.assert_allclose(actual[:, varies_much], expected[:, varies_much], rtol=1e-9)


@pytest.mark.parametrize("mean_log_odds", [-2.0, 0.0, 1.0])
def test_approximation_is_the_mean_and_spread_of_normal_log_odds(mean_log_odds: float) -> None:
    """The moments of a logistic-normal variable, by numerical integration."""
    X = stats.norm.ppf((np.arange(100_000) + 0.5) / 100_000)[:, None]
    X = np.random.default_rng(4).permutation(X)
    folds, weights = folds_of([0], [len(X)]), np.array([[mean_log_odds, 0.2]])
    _, mean, std = stats_of_weights(X, np.ones(len(X)), folds, weights)[:, 0]

    def expectation(power: int) -> float:
        def weighted(z: float) -> float:
            return float(stats.norm.pdf(z) / (1 + np.exp(-mean_log_odds - 0.2 * z)) ** power)

        return float(integrate.quad(weighted, -12, 12)[0])

    assert mean == pytest.approx(expectation(1), abs=0.005 * std)
    assert std == pytest.approx((expectation(2) - expectation(1) ** 2) ** 0.5, rel=0.06)


class FittedCloglog(FittedModel):
    """The complementary log-log model, whose log odds are not linear."""

    def log_odds(self, X: Array, refit_index: IntArray) -> Array:
        """Return the log odds of 1 - exp(-exp(x)), x = the first feature - the number of the refit / 10."""
        return np.asarray(np.log(np.expm1(np.exp(X[:, 0] - refit_index / 10))))


@pytest.mark.parametrize("is_calibrated", [False, True])
def test_statistics_of_a_model_without_coefficients_are_of_its_probabilities(is_calibrated: bool) -> None:
    rng = np.random.default_rng(3)
    X, up = rng.normal(size=(60, 2)), (rng.random(60) < 0.5).astype(np.float64)
    up[[0, 7, 33]] = np.nan
    folds, yes = folds_of([0, 0, 5, 20], [1, 30, 40, 60]), np.ones(4, dtype=np.bool_)
    platt = np.array([[0.0, 1.0], [0.0, 1.0], [0.2, 0.5], [-0.1, 2.0]])
    calibration = FittedModel(yes, ~yes, platt) if is_calibrated else None
    actual = training_probability_stats(X, up, folds, FittedCloglog(yes, ~yes), calibration)
    for refit, fold in enumerate(folds):
        rows = np.arange(fold.train.start, fold.train.stop)
        rows = rows[~np.isnan(up[rows])]
        if not len(rows):
            assert np.isnan(actual[:, refit]).all()
            continue
        probability = 1 - np.exp(-np.exp(X[rows, 0] - refit / 10))
        if is_calibrated:
            intercept, slope = platt[refit]
            probability = 1 / (1 + np.exp(-intercept) * (1 / probability - 1) ** slope)
        np.testing.assert_allclose(actual[:, refit], [up[rows].mean(), probability.mean(), probability.std()])


def test_refits_without_labelled_rows_have_no_statistics() -> None:
    X, up = np.ones((20, 1)), np.full(20, np.nan)
    up[10:] = 1.0
    actual = stats_of_weights(X, up, folds_of([0, 0, 5], [0, 10, 15]), np.zeros((3, 2)))
    np.testing.assert_array_equal(np.isnan(actual), [[True, True, False]] * 3)
    assert np.isnan(stats_of_weights(X, np.full(20, np.nan), folds_of([0], [9]), np.zeros((1, 2)))).all()


def test_constant_probabilities_have_no_spread() -> None:
    rng = np.random.default_rng(2)
    X, up = rng.normal(size=(500, 2)), (rng.random(500) < 0.6).astype(np.float64)
    actual = stats_of_weights(X, up, folds_of([0], [400]), np.array([[0.7, 0.0, 0.0]]))
    assert actual[2, 0] < 1e-12
    assert actual[1, 0] == pytest.approx(1 / (1 + np.exp(-0.7)), abs=1e-14)


def noise_dataset(seed: int, **model: Any) -> tuple[Any, Dataset]:
    config = load_config(
        {
            "data": {"source": {"kind": "sample"}, "tickers": ["T0", "T1"]},
            "features": [{"kind": "lagged_returns", "lags": [1, 2]}],
            "walk_forward": {"train": 300, "refit_every": 50},
            "model": model,
        }
    ).run
    prices = from_log_returns(np.random.default_rng(seed).normal([0.0002, 0.001], 0.01, (1000, 2)))
    return config, dataset_from_config(config, prices)


def forecasts_on_noise(seed: int = 1, **model: Any) -> Forecasts:
    config, dataset = noise_dataset(seed, **model)
    return walk_forward(dataset, config.walk_forward, config.model)


@pytest.mark.parametrize("model", [{}, {"l2": 0.1}, {"l2": 100.0}])
def test_mean_of_an_unweighted_fit_is_its_up_rate(model: dict[str, Any]) -> None:
    values = forecasts_on_noise(**model)
    np.testing.assert_array_equal(values.training_up_rate, values.base_rate)
    difference = values.training_probability_mean - values.training_up_rate
    assert (np.abs(difference) < 0.01 * values.training_probability_std).all()


@pytest.mark.parametrize("model", [{"class_weight": "balanced"}, {"scope": "pooled"}, {"calibration": "platt"}])
def test_weighted_pooled_and_calibrated_fits_have_other_means(model: dict[str, Any]) -> None:
    values = forecasts_on_noise(**model)
    difference = np.abs(values.training_probability_mean - values.training_up_rate)
    assert difference.max() > 0.1 * values.training_probability_std.mean()


@pytest.mark.parametrize("model", [{}, {"scope": "pooled"}, {"calibration": "platt"}, {"half_life": 200.0}])
def test_statistics_are_those_of_the_forecasts_own_refit_and_ticker(model: dict[str, Any]) -> None:
    config, dataset = noise_dataset(1, **model)
    values = walk_forward(dataset, config.walk_forward, config.model)
    refits, is_pooled = values.refits, model.get("scope") == "pooled"
    for ticker, folds in enumerate(values.folds):
        own = np.flatnonzero(refits.ticker == (-1 if is_pooled else ticker))
        weights = refits.platt_coefficients[own, 1:] * refits.coefficients[own]
        weights[:, 0] += refits.platt_coefficients[own, 0]
        expected = loop_stats(dataset.features, dataset.up, folds, weights)
        rows = values.ticker == ticker
        fold = values.fold[rows]
        np.testing.assert_allclose(values.training_up_rate[rows], expected[0][fold])
        difference = np.abs(values.training_probability_mean[rows] - expected[1][fold])
        assert (difference < 0.01 * expected[2][fold]).all()
        np.testing.assert_allclose(values.training_probability_std[rows], expected[2][fold], rtol=0.1)
