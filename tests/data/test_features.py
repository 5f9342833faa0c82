"""The catalogue's contract, walked part by part, and each feature against plain Python."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quantlr.data.features import FEATURES, Feature, LaggedReturns, Momentum, Volatility, Volume
from quantlr.types import Prices

from markets import FUTURES, random_walk, with_future

EXAMPLES = [example for feature in FEATURES for example in feature.examples() if isinstance(example, Feature)]
IDS = [f"{example.kind}-{at}" for at, example in enumerate(EXAMPLES)]
walk = pytest.mark.parametrize("feature", EXAMPLES, ids=IDS)


def closes(prices: Prices, ticker: int = 0) -> list[float]:
    return [float(close) for close in prices.close[: prices.bars[ticker], ticker]]


def change(before: float, after: float, kind: str) -> float:
    return math.log(after / before) if kind == "log" else after / before - 1


@walk
@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), cut=st.integers(30, 88), future=st.sampled_from(FUTURES))
def test_feature_never_looks_ahead(feature: Feature, seed: int, cut: int, future: str) -> None:
    prices = random_walk(seed, sessions=90, tickers=3, holes=True)
    now = feature.compute(prices)
    other = feature.compute(with_future(prices, after=cut, kind=future, seed=seed))
    for name, values in now.items():
        past = (prices.session >= 0) & (prices.session <= cut)
        rows = min(len(values), len(other[name]))
        np.testing.assert_allclose(other[name][:rows][past[:rows]], values[:rows][past[:rows]], rtol=1e-9, atol=1e-9)
        assert not past[rows:].any()


@walk
def test_feature_is_a_number_from_its_warm_up_to_the_last_bar(feature: Feature) -> None:
    prices = random_walk(1, sessions=120, tickers=3, holes=True)
    for values in feature.compute(prices).values():
        assert values.shape == prices.close.shape
        for ticker, bars in enumerate(prices.bars):
            there = np.isfinite(values[:bars, ticker])
            assert there.any()
            assert there[int(there.argmax()) :].all()


@walk
def test_feature_gives_the_same_twice_and_leaves_prices_alone(feature: Feature) -> None:
    prices = random_walk(2, sessions=60)
    before = prices.close.copy()
    once, twice = feature.compute(prices), feature.compute(prices)
    np.testing.assert_array_equal(prices.close, before)
    assert once.keys() == twice.keys()
    for name in once:
        np.testing.assert_array_equal(once[name], twice[name])


@walk
def test_feature_does_not_depend_on_the_currencys_unit(feature: Feature) -> None:
    prices = random_walk(3, sessions=60)
    dearer = replace(prices, **{name: getattr(prices, name) * 100 for name in ("open", "high", "low", "close")})
    for name, values in feature.compute(dearer).items():
        np.testing.assert_allclose(values, feature.compute(prices)[name], rtol=1e-9, atol=1e-12)


@walk
def test_feature_is_documented(feature: Feature) -> None:
    assert (type(feature).__doc__ or "").strip()
    for name, field in type(feature).model_fields.items():
        assert name == "kind" or field.description, f"{feature.kind}.{name} has no description"


@pytest.mark.parametrize("kind", ["log", "simple"])
def test_lag_one_is_the_return_of_the_session_itself(kind: str) -> None:
    prices = random_walk(4, sessions=40)
    columns = LaggedReturns.model_validate({"lags": [1, 3], "returns": kind}).compute(prices)
    close = closes(prices)
    assert list(columns) == ["lagged_returns_1", "lagged_returns_3"]
    for t in range(5, 40):
        assert columns["lagged_returns_1"][t, 0] == pytest.approx(change(close[t - 1], close[t], kind), abs=1e-14)
        assert columns["lagged_returns_3"][t, 0] == pytest.approx(change(close[t - 3], close[t - 2], kind), abs=1e-14)


@pytest.mark.parametrize("kind", ["log", "simple"])
def test_momentum_and_volatility_against_plain_python(kind: str) -> None:
    prices = random_walk(5, sessions=60)
    close = closes(prices)
    momentum = Momentum.model_validate({"windows": [7], "returns": kind}).compute(prices)["momentum_7"][:, 0]
    volatility = Volatility.model_validate({"windows": [20], "returns": kind}).compute(prices)["volatility_20"][:, 0]
    steps = [change(before, after, kind) for before, after in pairwise(close)]
    assert np.isnan(momentum[:7]).all()
    assert np.isnan(volatility[:20]).all()
    for t in range(20, 60):
        assert momentum[t] == pytest.approx(change(close[t - 7], close[t], kind), abs=1e-13)
        assert volatility[t] == pytest.approx(statistics.stdev(steps[t - 20 : t]), abs=1e-13)


def test_volume_counts_in_the_unit_asked_for() -> None:
    prices = random_walk(6, sessions=10)
    np.testing.assert_allclose(Volume().compute(prices)["volume"] * 1e9, prices.volume)
    np.testing.assert_array_equal(Volume(unit="shares").compute(prices)["volume"], prices.volume)


def test_lags_skip_the_days_a_ticker_did_not_trade() -> None:
    prices = random_walk(7, sessions=80, tickers=2, holes=True)
    own = closes(prices, 1)
    lag = LaggedReturns(lags=(2,)).compute(prices)["lagged_returns_2"][:, 1]
    for bar in range(2, len(own)):
        assert lag[bar] == pytest.approx(math.log(own[bar - 1] / own[bar - 2]), abs=1e-14)
