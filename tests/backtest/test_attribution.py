"""Each ticker's part: all parts are the whole, and one alone is a backtest of its own."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from quantlr.backtest.attribution import (
    active_sessions,
    cumulative_contribution,
    expected_order_statistics,
    forecasts_of_ticker,
    ticker_attribution,
    ticker_backtest,
)
from quantlr.backtest.costs import ExecutionSpec
from quantlr.backtest.engine import backtest_positions
from quantlr.backtest.metrics import BacktestView, EvaluatedForecasts, evaluate_forecasts, sharpe, turnover_per_year
from quantlr.core.values import BacktestResult, Forecasts, Positions

from markets import random_forecasts, random_walk_prices

YEAR = 252


@pytest.fixture(scope="module")
def ran() -> tuple[BacktestResult, Forecasts, EvaluatedForecasts]:
    """Four tickers that start late, skip days and end early, at both sides, with interest and fees."""
    prices = random_walk_prices(4, n_sessions=200, n_tickers=4, with_gaps=True)
    there = ~np.isnan(prices.bars_to_sessions(prices.close))
    there[:9] = False
    ticker, session = np.nonzero(there.T)
    rng = np.random.default_rng(4)
    n = len(ticker)
    found = replace(
        random_forecasts(1),
        tickers=prices.tickers,
        sessions=prices.sessions,
        ticker=ticker,
        session=session,
        probability=rng.uniform(0.4, 0.6, n),
        base_rate=rng.uniform(0.45, 0.55, n),
        up=np.where(rng.random(n) < 0.05, np.nan, rng.integers(0, 2, n).astype(float)),
        log_odds=np.zeros(n),
        horizon_return=np.zeros(n),
        mean_gain=np.zeros(n),
        mean_loss=np.zeros(n),
        std=np.zeros(n),
        fold=np.zeros(n, dtype=np.int64),
        horizon=3,
    )
    weight = np.where(there, rng.choice([-0.25, 0.0, 0.25], there.shape), np.nan)
    execution = ExecutionSpec(cash_rate=0.03, per_share=0.01, borrow_bps_per_year=200.0)
    positions = Positions(prices.tickers, prices.sessions, weight)
    return backtest_positions(positions, prices, execution, sessions_per_year=YEAR), found, evaluate_forecasts(found)


def test_the_parts_add_up_to_the_whole(ran: Any) -> None:
    result, forecasts, rows = ran
    found = ticker_attribution(result, forecasts, rows, sessions_per_year=YEAR)
    excess = result.net_return - result.cash
    assert found.annual_contribution.sum() == pytest.approx(excess.mean() * YEAR, rel=1e-12)
    np.testing.assert_allclose(
        cumulative_contribution(result, found.ticker_index).sum(axis=1), np.cumsum(excess), rtol=1e-9, atol=1e-15
    )
    all_of_it = slice(0, len(excess))
    parts = [ticker_backtest(result, int(ticker), all_of_it) for ticker in found.ticker_index]
    np.testing.assert_allclose(sum(part.net_return for part in parts), excess, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(sum(part.turnover for part in parts), result.turnover, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(sum(part.exposure for part in parts), result.exposure, rtol=1e-12)


def test_the_numbers_of_a_ticker_are_those_of_its_part_and_its_own_forecasts(ran: Any) -> None:
    result, forecasts, rows = ran
    found = ticker_attribution(result, forecasts, rows, sessions_per_year=YEAR)
    table = pd.DataFrame({"ticker": rows.ticker, "hit": rows.hits, "base": rows.base_hits})
    for at, ticker in enumerate(np.unique(rows.ticker).tolist()):
        own = table[table["ticker"] == ticker]
        assert found.ticker_index[at] == ticker
        assert found.n_forecasts[at] == len(own)
        assert found.accuracy[at] == pytest.approx(own["hit"].mean())
        assert found.baseline_accuracy[at] == pytest.approx(own["base"].mean())
        differ = (own["hit"] != own["base"]).mean()
        assert found.accuracy_band_half_width[at] == pytest.approx(
            1.959964 * math.sqrt(differ / (len(own) / 3)), rel=1e-6
        )
        span = active_sessions(result, forecasts, ticker)
        part = BacktestView.from_result(ticker_backtest(result, ticker, span), sessions_per_year=YEAR)
        assert found.sharpe[at] == pytest.approx(sharpe(part))
        assert found.sharpe_band_half_width[at] == pytest.approx(
            1.959964 * math.sqrt(YEAR / (span.stop - span.start)), rel=1e-6
        )
        assert found.mean_absolute_weight[at] == pytest.approx(np.abs(result.weight[span, ticker]).mean())
        assert found.mean_weight[at] == pytest.approx(result.weight[span, ticker].mean())
        mine = forecasts_of_ticker(rows, ticker)
        assert (len(mine.up), mine.is_clustered) == (len(own), True)
        alone = ticker_attribution(
            result, forecasts, mine, sessions_per_year=YEAR, ticker_indices=np.array([ticker], dtype=np.int64)
        )
        assert alone.annual_contribution[0] == found.annual_contribution[at]
        assert alone.accuracy_band_half_width[0] == found.accuracy_band_half_width[at]
        assert turnover_per_year(part) >= 0


def test_a_ticker_lives_from_its_first_forecast_to_its_last_bar(ran: Any) -> None:
    result, forecasts, _ = ran
    for ticker in range(4):
        span = active_sessions(result, forecasts, ticker)
        first = forecasts.sessions[forecasts.session[forecasts.ticker == ticker].min()]
        assert span.start == 0 or result.fills[span.start] <= first
        assert result.fills[span.start + 1] > first
        assert not np.isnan(result.price[span.stop, ticker])
        assert np.isnan(result.price[span.stop + 1 :, ticker]).all()
        assert not result.weight[: span.start, ticker].any()
        assert not result.weight[span.stop :, ticker].any()


def test_a_coin_is_called_better_than_luck_allows_once_in_forty() -> None:
    """What luck allows, against many coins: calls that are tossed, and a base rate that always calls up."""
    rng = np.random.default_rng(1)
    tickers, calls = 2_000, 400
    ticker = np.repeat(np.arange(tickers), calls)
    n = len(ticker)
    rows = EvaluatedForecasts(
        log_odds=np.zeros(n),
        probability=rng.choice([0.4, 0.6], n),
        up=rng.integers(0, 2, n).astype(float),
        base_rate=np.full(n, 0.55),
        ticker=ticker,
        session=np.tile(np.arange(calls), tickers),
        is_clustered=False,
        horizon=1,
    )
    differ = np.bincount(ticker, weights=rows.hits != rows.baseline_hits)
    edge = np.bincount(ticker, weights=rows.hits.astype(float) - rows.baseline_hits) / calls
    luck = 1.959964 * np.sqrt(differ) / calls
    assert (edge > luck).mean() == pytest.approx(0.025, abs=0.012)
    np.testing.assert_allclose(np.sort(edge)[::-1][20:-20], expected_order_statistics(luck)[20:-20], atol=0.006)


def test_the_order_of_luck_is_the_median_of_many_draws() -> None:
    half = 1.959964 * np.array([1.0, 1.0, 1.0, 3.0, 3.0, 0.5])
    drawn = np.random.default_rng(2).normal(0.0, half / 1.959964, (40_000, 6))
    middle = np.median(np.sort(drawn, axis=1)[:, ::-1], axis=0)
    found = expected_order_statistics(half)
    np.testing.assert_allclose(found, middle, atol=0.25)
    np.testing.assert_allclose(found, -found[::-1], atol=1e-9)
    assert expected_order_statistics(np.zeros(3)).tolist() == [0.0, 0.0, 0.0]
