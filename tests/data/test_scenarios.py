"""Scenarios keep prices up to the cut, give valid prices after it, and change them as their names say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from quantlr.core.values import PRICE_ARRAYS, Array, Prices
from quantlr.data.features import LaggedReturns
from quantlr.data.features.volumes import RelativeVolume
from quantlr.data.scenarios import (
    AUDIT_SCENARIOS,
    CLOSE_PATHS,
    EXTRA_HOLIDAYS,
    LATER_DIVIDEND,
    LATER_SPLIT,
    TRADING_HALT,
    TRUNCATION,
    apply_scenario,
    apply_scenarios,
)

from markets import random_walk_prices

CUT = 60


@pytest.fixture(scope="module")
def prices() -> Prices:
    return random_walk_prices(2, n_sessions=100, n_tickers=3, with_gaps=True)


def up_to_cut(prices: Prices, values: Array) -> Array:
    return values[(prices.session >= 0) & (prices.session <= CUT)]


@pytest.mark.parametrize("scenario", [*CLOSE_PATHS, TRUNCATION, EXTRA_HOLIDAYS, TRADING_HALT])
def test_prices_up_to_the_cut_are_unchanged(prices: Prices, scenario: str) -> None:
    other = apply_scenario(prices, scenario, after_session=CUT, seed=1)
    for name in PRICE_ARRAYS:
        np.testing.assert_array_equal(up_to_cut(other, getattr(other, name)), up_to_cut(prices, getattr(prices, name)))
    assert list(other.sessions[: CUT + 1]) == list(prices.sessions[: CUT + 1])


@pytest.mark.parametrize("scenario", AUDIT_SCENARIOS)
def test_prices_are_valid(prices: Prices, scenario: str) -> None:
    other = apply_scenario(prices, scenario, after_session=CUT, seed=1)
    has_bar = other.session >= 0
    for name in PRICE_ARRAYS:
        values = getattr(other, name)
        assert np.isnan(values[~has_bar]).all()
        assert (values[has_bar] > 0).all()
        assert np.isfinite(values[has_bar]).all()
    np.testing.assert_allclose(other.raw_close * other.adjustment, other.close, rtol=1e-12)
    rounding = 1.0 + 1e-12
    assert (other.high * rounding >= np.maximum(other.open, other.close))[has_bar].all()
    assert (other.low <= np.minimum(other.open, other.close) * rounding)[has_bar].all()
    assert other.sessions.is_monotonic_increasing
    if scenario != TRUNCATION:
        np.testing.assert_array_equal(other.session, prices.session)


@pytest.mark.parametrize("scenario", list(CLOSE_PATHS))
def test_every_price_and_volume_after_the_cut_changes(prices: Prices, scenario: str) -> None:
    other = apply_scenario(prices, scenario, after_session=CUT, seed=1)
    later = prices.session > CUT
    for name in ("open", "high", "low", "close", "raw_close", "volume"):
        assert (getattr(other, name)[later] != getattr(prices, name)[later]).all()


def test_scenarios_match_their_names(prices: Prices) -> None:
    later = prices.session > CUT
    closes = {scenario: apply_scenario(prices, scenario, after_session=CUT, seed=1).close for scenario in CLOSE_PATHS}
    np.testing.assert_allclose(closes["a hundredfold"][later], 100 * prices.close[later])
    np.testing.assert_allclose(closes["a hundredth"][later], prices.close[later] / 100)
    steps = {scenario: np.diff(close, axis=0)[later[1:]] for scenario, close in closes.items()}
    assert (steps["all up"] > 0).all()
    assert (steps["all down"] < 0).all()
    product = closes["mirror image"] * prices.close
    for ticker in range(3):
        column = product[later[:, ticker], ticker]
        last = prices.close[~later[:, ticker] & (prices.session[:, ticker] >= 0), ticker][-1:]
        np.testing.assert_allclose(column, np.full(len(column), last[0] ** 2 if len(last) else column[0]))
    assert len(apply_scenario(prices, TRUNCATION, after_session=CUT, seed=1).sessions) == CUT + 1
    dates = apply_scenario(prices, EXTRA_HOLIDAYS, after_session=CUT, seed=1).sessions
    assert (dates[CUT + 1] - prices.sessions[CUT + 1]).days == 4


def test_a_halt_repeats_the_last_close_with_volume_zero(prices: Prices) -> None:
    other = apply_scenario(prices, TRADING_HALT, after_session=CUT)
    later = prices.session > CUT
    assert (other.volume[later] == 0).all()
    for ticker in range(3):
        before = (prices.session[:, ticker] >= 0) & ~later[:, ticker]
        column = other.close[later[:, ticker], ticker]
        np.testing.assert_array_equal(column, np.full(len(column), prices.close[before, ticker][-1]))


@pytest.mark.parametrize("scenario", [*CLOSE_PATHS, TRADING_HALT, TRUNCATION])
def test_the_context_changes_after_the_cut_too(scenario: str) -> None:
    prices = random_walk_prices(4, n_sessions=100, context_tickers=["CTX"])
    other = apply_scenario(prices, scenario, after_session=CUT)
    assert prices.context is not None
    assert other.context is not None
    before = prices.context.sessions <= prices.sessions[CUT]
    known = int(before.sum())
    np.testing.assert_array_equal(other.context.close[:known], prices.context.close[:known])
    later = other.context.close[known:]
    assert len(later) == (0 if scenario == TRUNCATION else len(before) - known)
    assert (later != prices.context.close[known : known + len(later)]).all()


@pytest.mark.parametrize("scenario", [LATER_DIVIDEND, LATER_SPLIT])
def test_a_later_dividend_or_split_keeps_ratios_and_reverses_levels(prices: Prices, scenario: str) -> None:
    other = apply_scenario(prices, scenario, after_session=CUT, seed=1)
    factor = other.close / prices.close
    assert (np.nanmax(factor, axis=0) == np.nanmin(factor, axis=0)).all()
    assert (np.log2(factor[0]) % 1 == 0).all()
    for name in ("open", "high", "low", "adjustment"):
        np.testing.assert_array_equal(getattr(other, name), getattr(prices, name) * factor)
    np.testing.assert_array_equal(other.raw_close, prices.raw_close)
    for feature in (LaggedReturns(), RelativeVolume(windows=(5,))):
        for name, values in feature.compute(prices).items():
            np.testing.assert_array_equal(feature.compute(other)[name], values)
    known = (prices.session >= 0) & (prices.session <= CUT)
    value, other_value = (np.where(known, bars.close * bars.volume, 0.0).sum(axis=0) for bars in (prices, other))
    volume, other_volume = (np.where(known, bars.volume, 0.0).sum(axis=0) for bars in (prices, other))
    if scenario == LATER_DIVIDEND:
        np.testing.assert_array_equal(other.volume, prices.volume)
        assert list(np.argsort(other_value)) == list(np.argsort(value)[::-1])
    else:  # shares times price stay the same, which makes them no less a level: see the dividend
        np.testing.assert_array_equal(other.volume, prices.volume / factor)
        np.testing.assert_allclose(other_value, value, rtol=1e-12)
        assert list(np.argsort(other_volume)) == list(np.argsort(volume)[::-1])


def test_an_index_has_no_split(prices: Prices) -> None:
    index = replace(prices, tickers=("^A", "B", "^C"))
    other = apply_scenario(index, LATER_SPLIT, after_session=CUT)
    changed = [bool((other.volume[:5, ticker] != index.volume[:5, ticker]).any()) for ticker in range(3)]
    assert changed == [False, True, False]


@pytest.mark.parametrize("scenario", [*CLOSE_PATHS, LATER_DIVIDEND, LATER_SPLIT, EXTRA_HOLIDAYS, TRUNCATION])
def test_later_sessions_can_be_left_out(scenario: str) -> None:
    prices = random_walk_prices(4, n_sessions=100, n_tickers=2, with_gaps=True, context_tickers=["CTX"])
    other = apply_scenario(prices, scenario, after_session=CUT, last_session=CUT + 7)
    assert len(other.sessions) == (CUT + 1 if scenario == TRUNCATION else CUT + 8)
    assert other.context is not None
    assert other.context.sessions[-1] <= other.sessions[-1]


def test_scenarios_are_applied_one_after_the_other(prices: Prices) -> None:
    both = apply_scenarios(prices, ("mirror image", LATER_SPLIT), after_session=CUT)
    first = apply_scenario(prices, "mirror image", after_session=CUT)
    np.testing.assert_array_equal(both.close, apply_scenario(first, LATER_SPLIT, after_session=CUT).close)


def test_noise_depends_on_the_seed_only(prices: Prices) -> None:
    first, again, other = (apply_scenario(prices, "noise", after_session=CUT, seed=seed).close for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.nanmax(np.abs(first - other)) > 0.01


def test_long_trends_stay_finite() -> None:
    prices = random_walk_prices(3, n_sessions=9_000)
    for scenario in ("all up", "all down"):
        close = apply_scenario(prices, scenario, after_session=1, seed=0).close
        assert np.isfinite(close).all()
        assert (close > 0).all()


def test_holidays_move_the_reference_series_too(prices: Prices) -> None:
    """Both calendars close for the same four days, so that the newest reference bar is as old as before."""
    context = random_walk_prices(5, n_sessions=100, n_tickers=1)
    other = apply_scenario(replace(prices, context=context), EXTRA_HOLIDAYS, after_session=CUT)
    assert other.context is not None
    cut = prices.sessions[CUT]
    moved = [date if date <= cut else date + pd.Timedelta(days=4) for date in context.sessions]
    assert other.context.sessions.tolist() == moved
