"""Keys of prices: what makes two sets of prices overlap, and what does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from quantlr.core.values import Array, Prices
from quantlr.experiment.price_overlap import price_overlap_keys

from markets import from_log_returns

RETURNS = np.random.default_rng(0).normal(0, 0.01, (1000, 1))


def prices_of(returns: Array, *, ticker: str = "X", start: str = "2001-01-01") -> Prices:
    prices = from_log_returns(returns)
    sessions = pd.bdate_range(start, periods=len(prices.sessions))
    return replace(prices, tickers=(ticker,), sessions=sessions)


def overlap(first: Prices, second: Prices) -> bool:
    return not set(price_overlap_keys(first)).isdisjoint(price_overlap_keys(second))


def scaled(prices: Prices, factor: float) -> Prices:
    return replace(prices, tickers=("ALIAS",), close=prices.close * factor)


@pytest.mark.parametrize("factor", [1.0, 0.37, 1e4])
def test_same_moves_overlap_under_another_name_and_in_another_currency(factor: float) -> None:
    prices = prices_of(RETURNS)
    assert overlap(prices, scaled(prices, factor))
    rounded = replace(prices, tickers=("ALIAS",), close=np.round(prices.close, 2))
    assert overlap(prices, rounded)


def test_parts_of_the_same_prices_overlap_where_they_share_a_quarter() -> None:
    prices = prices_of(RETURNS)
    later = prices_of(RETURNS[500:], ticker="ALIAS", start=f"{prices.sessions[500]:%Y-%m-%d}")
    assert overlap(prices, later)
    assert overlap(prices.before_session(700), later)
    assert not overlap(prices.before_session(500), later)
    assert not overlap(prices.before_session(400), replace(later, tickers=("X",))), "the same name, years apart"


def test_same_name_overlaps_in_the_same_quarter_whatever_the_bars() -> None:
    other = np.random.default_rng(1).normal(0, 0.01, (1000, 1))
    assert overlap(prices_of(RETURNS), prices_of(other))
    assert not overlap(prices_of(RETURNS), prices_of(other, ticker="Y"))


def test_correlated_stocks_do_not_overlap_and_one_ticker_of_several_does() -> None:
    rng = np.random.default_rng(2)
    correlated = np.sqrt(0.8) * rng.normal(0, 0.01, (2500, 1)) + np.sqrt(0.2) * rng.normal(0, 0.01, (2500, 30))
    stocks = replace(from_log_returns(correlated), tickers=tuple(f"S{number}" for number in range(30)))
    keys = price_overlap_keys(stocks)
    n_quarters = len({(date.year, date.quarter) for date in stocks.sessions})
    assert len(keys) <= 2 * 30 * n_quarters
    alias = replace(from_log_returns(correlated[:, 17:18]), tickers=("ALIAS",))
    assert overlap(stocks, alias)
    for number in range(10):
        one = replace(from_log_returns(correlated[:, number : number + 1]), tickers=("ONE",))
        other = replace(from_log_returns(correlated[:, number + 10 : number + 11]), tickers=("OTHER",))
        assert not overlap(one, other)


def test_prices_that_only_rise_are_told_apart_by_name_alone() -> None:
    rising = np.full((1000, 1), 1e-4)
    assert not overlap(prices_of(rising), prices_of(2 * rising, ticker="Y"))
    assert overlap(prices_of(rising), prices_of(2 * rising))
