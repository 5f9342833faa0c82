from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quantlr.core.errors import NotEnoughHistory
from quantlr.core.values import Dataset, Forecasts, Prices
from quantlr.data.dataset import build_dataset, compute_feature_columns
from quantlr.data.features import Feature, LaggedReturns, Momentum, Volatility
from quantlr.data.labels import Direction
from quantlr.data.prices import DataSpec, load_prices
from quantlr.model.config import LogisticRegression
from quantlr.model.splits import WalkForwardSpec, make_folds
from quantlr.model.walk_forward import walk_forward

from markets import random_walk_prices
from oracles import rows_of, sklearn_probabilities

TIGHT = {"tol": 1e-12, "max_iter": 200_000}


def dataset_from(prices: Prices, features: list[Feature], **label: Any) -> Dataset:
    kind = Direction.model_validate(label)
    return build_dataset(
        prices, compute_feature_columns(prices, features), kind.compute_labels(prices), horizon=kind.horizon
    )


def forecasts_from(dataset: Dataset, walk_config: dict[str, Any], **model: Any) -> Forecasts:
    return walk_forward(
        dataset,
        WalkForwardSpec.model_validate(walk_config),
        LogisticRegression.model_validate(model),
    )


@pytest.fixture(scope="module")
def sp500() -> Dataset:
    source = {"kind": "sample"}
    prices = load_prices(DataSpec.model_validate({"source": source, "tickers": ["^GSPC"], "end": "2003-12-31"}))
    return dataset_from(prices, [LaggedReturns(lags=(1, 2, 3, 4, 5)), Volatility(windows=(20,))])


_LOOPS: dict[tuple[str, int], tuple[list[int], list[float]]] = {}


def sp500_by_scikit_learn(sp500: Dataset, window: str, every: int) -> tuple[list[int], list[float]]:
    """Return the loop's rows and probabilities, computed once for all descents."""
    if (window, every) not in _LOOPS:
        _LOOPS[window, every] = sklearn_probabilities(
            *rows_of(sp500), train=1000, refit_every=every, rolling=window == "rolling", horizon=1
        )
    return _LOOPS[window, every]


@pytest.mark.parametrize("window", ["expanding", "rolling"])
@pytest.mark.parametrize("every", [1, 21])
@pytest.mark.parametrize("solver", ["gradient_descent", "nesterov", "newton"])
def test_sp500_probabilities_equal_scikit_learn(sp500: Dataset, window: str, every: int, solver: str) -> None:
    walk_config = {"window": window, "train": 1000, "refit_every": every}
    forecasts = forecasts_from(sp500, walk_config, solver=solver, **TIGHT)
    rows, expected = sp500_by_scikit_learn(sp500, window, every)
    np.testing.assert_array_equal(forecasts.session, sp500.session[rows])
    np.testing.assert_allclose(forecasts.probability, expected, atol=1e-8, rtol=0)
    assert forecasts.refits.converged.all()


@settings(max_examples=15)
@given(
    seed=st.integers(0, 100_000),
    window=st.sampled_from(["expanding", "rolling"]),
    every=st.sampled_from([1, 5, 21, 200]),
    horizon=st.integers(1, 6),
    embargo=st.integers(0, 3),
    l2=st.sampled_from([0.0, 0.03]),
    ties=st.sampled_from(["down", "up", "drop"]),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
)
def test_simulated_probabilities_equal_scikit_learn(
    seed: int, window: str, every: int, horizon: int, embargo: int, l2: float, ties: str, scale: float
) -> None:
    prices = random_walk_prices(seed, n_sessions=260)
    dataset = dataset_from(prices, [LaggedReturns(lags=(1, 3)), Momentum(windows=(7,))], horizon=horizon, ties=ties)
    dataset.features[:, 0] *= scale
    walk_config = {"window": window, "train": 120, "refit_every": every, "embargo": embargo}
    forecasts = forecasts_from(dataset, walk_config, l2=l2, **TIGHT)
    X, y = rows_of(dataset)
    rows, expected = sklearn_probabilities(
        X, y, train=120, refit_every=every, rolling=window == "rolling", horizon=horizon, embargo=embargo, l2=l2
    )
    np.testing.assert_array_equal(forecasts.session, dataset.session[rows])
    np.testing.assert_allclose(forecasts.probability, expected, atol=1e-8, rtol=0)


def test_target_stats_use_only_training_rows() -> None:
    dataset = dataset_from(random_walk_prices(5, n_sessions=200), [LaggedReturns(lags=(1,))], horizon=3, ties="drop")
    forecasts = forecasts_from(dataset, {"window": "rolling", "train": 80, "refit_every": 9}, l2=0.1)
    folds = make_folds(len(dataset.up), WalkForwardSpec(window="rolling", train=80, refit_every=9), horizon=3)
    for index in range(len(forecasts.fold)):
        train = folds[int(forecasts.fold[index])].train
        up, span = dataset.up[train], dataset.horizon_return[train]
        kept = ~np.isnan(up)
        assert forecasts.base_rate[index] == pytest.approx(up[kept].mean(), abs=1e-12)
        assert forecasts.mean_gain[index] == pytest.approx(span[up == 1].mean(), abs=1e-12)
        assert forecasts.mean_loss[index] == pytest.approx(span[up == 0].mean(), abs=1e-12)
        assert forecasts.std[index] == pytest.approx(span[kept].std(ddof=1), abs=1e-12)


def test_rows_with_unknown_labels_are_forecast() -> None:
    prices = random_walk_prices(6, n_sessions=150)
    forecasts = forecasts_from(dataset_from(prices, [LaggedReturns(lags=(1,))], horizon=4), {"train": 50})
    assert forecasts.session[-1] == 149
    assert np.isnan(forecasts.up[-4:]).all()
    assert not np.isnan(forecasts.up[:-4]).any()


def test_tickers_are_independent_and_short_ones_noted() -> None:
    prices = random_walk_prices(7, n_sessions=160, n_tickers=4, with_gaps=True)
    dataset = dataset_from(prices, [LaggedReturns(lags=(1, 2))])
    shortest = int(prices.n_bars.min())
    forecasts = forecasts_from(dataset, {"train": shortest}, **TIGHT)
    assert len(forecasts.notes) >= 1
    assert "left out, too short: T" in forecasts.notes[0].text
    for ticker in np.unique(forecasts.ticker):
        X, y = rows_of(dataset, int(ticker))
        _, expected = sklearn_probabilities(X, y, train=shortest, refit_every=21, rolling=False, horizon=1)
        np.testing.assert_allclose(forecasts.probability[forecasts.ticker == ticker], expected, atol=1e-8)


def test_no_long_enough_ticker_raises_for_the_longest() -> None:
    dataset = dataset_from(
        random_walk_prices(8, n_sessions=60, n_tickers=2, with_gaps=True), [LaggedReturns(lags=(1,))]
    )
    with pytest.raises(NotEnoughHistory, match=r"T0: the first fold needs 501 rows .* found 59"):
        forecasts_from(dataset, {"train": 500})


def test_constant_feature_is_left_out_until_it_varies() -> None:
    """A column that is constant over the first folds' training rows takes part as soon as it varies."""
    dataset = dataset_from(random_walk_prices(9, n_sessions=300), [LaggedReturns(lags=(1, 2))])
    dataset.features[:130, 1] = 0.25
    forecasts = forecasts_from(dataset, {"train": 110, "refit_every": 20}, **TIGHT)
    X, y = rows_of(dataset)
    _, expected = sklearn_probabilities(X, y, train=110, refit_every=20, rolling=False, horizon=1)
    np.testing.assert_allclose(forecasts.probability, expected, atol=1e-8)
    weights = forecasts.refits.coefficients[:, 2]
    assert (weights[:2] == 0).all()
    assert weights[2:].all()
    (note,) = forecasts.notes
    assert (note.ticker, note.count) == ("T0", 2)
    assert "lagged_returns_2 was constant" in note.text


def test_unconverged_fits_are_noted() -> None:
    dataset = dataset_from(random_walk_prices(3, n_sessions=200), [LaggedReturns(lags=(1, 2))])
    forecasts = forecasts_from(
        dataset, {"train": 150, "refit_every": 10}, solver="gradient_descent", max_iter=1, tol=1e-12
    )
    assert (~forecasts.refits.converged).sum() == forecasts.notes[0].count > 0
    assert "did not converge" in forecasts.notes[0].text
