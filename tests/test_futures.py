"""Another future leaves the past alone, stays a market, and is as extreme as its name says."""

from __future__ import annotations

import numpy as np
import pytest
from quantlr.core.arrays import Array
from quantlr.core.values import Prices
from quantlr.data.features import LaggedReturns
from quantlr.data.scenarios import (
    AUDIT_SCENARIOS,
    CLOSE_PATHS,
    EXTRA_HOLIDAYS,
    LATER_DIVIDEND,
    TRADING_HALT,
    TRUNCATION,
    apply_scenario,
)

from markets import random_walk_prices

FIELDS = ("open", "high", "low", "close", "volume", "raw_close", "adjustment")
AFTER = 60


@pytest.fixture(scope="module")
def prices() -> Prices:
    return random_walk_prices(2, n_sessions=100, n_tickers=3, with_gaps=True)


def known(prices: Prices, values: Array) -> Array:
    return values[(prices.session >= 0) & (prices.session <= AFTER)]


@pytest.mark.parametrize("future", [*CLOSE_PATHS, TRUNCATION, EXTRA_HOLIDAYS, TRADING_HALT])
def test_nothing_up_to_the_cut_changes(prices: Prices, future: str) -> None:
    other = apply_scenario(prices, future, after_session=AFTER, seed=1)
    for name in FIELDS:
        np.testing.assert_array_equal(known(other, getattr(other, name)), known(prices, getattr(prices, name)))
    assert list(other.sessions[: AFTER + 1]) == list(prices.sessions[: AFTER + 1])


@pytest.mark.parametrize("future", AUDIT_SCENARIOS)
def test_it_is_still_a_market(prices: Prices, future: str) -> None:
    other = apply_scenario(prices, future, after_session=AFTER, seed=1)
    there = other.session >= 0
    for name in FIELDS:
        values = getattr(other, name)
        assert np.isnan(values[~there]).all()
        assert (values[there] > 0).all()
        assert np.isfinite(values[there]).all()
    np.testing.assert_allclose(other.raw_close * other.adjustment, other.close, rtol=1e-12)
    rounding = 1.0 + 1e-12
    assert (other.high * rounding >= np.maximum(other.open, other.close))[there].all()
    assert (other.low <= np.minimum(other.open, other.close) * rounding)[there].all()
    assert other.sessions.is_monotonic_increasing
    if future != TRUNCATION:
        np.testing.assert_array_equal(other.session, prices.session)


@pytest.mark.parametrize("future", list(CLOSE_PATHS))
def test_every_price_and_volume_after_the_cut_changes(prices: Prices, future: str) -> None:
    other = apply_scenario(prices, future, after_session=AFTER, seed=1)
    later = prices.session > AFTER
    for name in ("open", "high", "low", "close", "raw_close", "volume"):
        assert (getattr(other, name)[later] != getattr(prices, name)[later]).all()


def test_each_is_what_its_name_says(prices: Prices) -> None:
    later = prices.session > AFTER
    closes = {future: apply_scenario(prices, future, after_session=AFTER, seed=1).close for future in CLOSE_PATHS}
    np.testing.assert_allclose(closes["a hundredfold"][later], 100 * prices.close[later])
    np.testing.assert_allclose(closes["a hundredth"][later], prices.close[later] / 100)
    steps = {future: np.diff(close, axis=0)[later[1:]] for future, close in closes.items()}
    assert (steps["all up"] > 0).all()
    assert (steps["all down"] < 0).all()
    product = closes["mirror image"] * prices.close
    for ticker in range(3):
        column = product[later[:, ticker], ticker]
        last = prices.close[~later[:, ticker] & (prices.session[:, ticker] >= 0), ticker][-1:]
        np.testing.assert_allclose(column, np.full(len(column), last[0] ** 2 if len(last) else column[0]))
    assert len(apply_scenario(prices, TRUNCATION, after_session=AFTER, seed=1).sessions) == AFTER + 1
    dates = apply_scenario(prices, EXTRA_HOLIDAYS, after_session=AFTER, seed=1).sessions
    assert (dates[AFTER + 1] - prices.sessions[AFTER + 1]).days == 4


def test_a_halt_repeats_the_last_close_before_it_and_trades_nothing(prices: Prices) -> None:
    other = apply_scenario(prices, TRADING_HALT, after_session=AFTER)
    later = prices.session > AFTER
    assert (other.volume[later] == 0).all()
    for ticker in range(3):
        before = (prices.session[:, ticker] >= 0) & ~later[:, ticker]
        column = other.close[later[:, ticker], ticker]
        np.testing.assert_array_equal(column, np.full(len(column), prices.close[before, ticker][-1]))


@pytest.mark.parametrize("future", [*CLOSE_PATHS, TRADING_HALT, TRUNCATION])
def test_the_context_has_another_future_too(future: str) -> None:
    prices = random_walk_prices(4, n_sessions=100, context_tickers=["CTX"])
    other = apply_scenario(prices, future, after_session=AFTER)
    assert prices.context is not None
    assert other.context is not None
    before = prices.context.sessions <= prices.sessions[AFTER]
    known = int(before.sum())
    np.testing.assert_array_equal(other.context.close[:known], prices.context.close[:known])
    later = other.context.close[known:]
    assert len(later) == (0 if future == TRUNCATION else len(before) - known)
    assert (later != prices.context.close[known : known + len(later)]).all()


def test_a_dividend_scales_the_past_and_leaves_every_return_up_to_the_cut_as_it_was(prices: Prices) -> None:
    other = apply_scenario(prices, LATER_DIVIDEND, after_session=AFTER, seed=1)
    np.testing.assert_array_equal(known(other, other.close), known(prices, prices.close) / 2)
    np.testing.assert_array_equal(other.raw_close, prices.raw_close)
    for name, was in LaggedReturns().compute(prices).items():
        np.testing.assert_array_equal(known(prices, LaggedReturns().compute(other)[name]), known(prices, was))


def test_the_same_seed_makes_the_same_noise_and_another_one_another(prices: Prices) -> None:
    first, again, other = (apply_scenario(prices, "noise", after_session=AFTER, seed=seed).close for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.nanmax(np.abs(first - other)) > 0.01


def test_a_long_rise_is_still_a_number() -> None:
    prices = random_walk_prices(3, n_sessions=9_000)
    for future in ("all up", "all down"):
        close = apply_scenario(prices, future, after_session=1, seed=0).close
        assert np.isfinite(close).all()
        assert (close > 0).all()
