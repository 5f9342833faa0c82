"""Attribution to tickers: contributions add up, and that of one ticker is a backtest of its own."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from quantlr.backtest.attribution import (
    active_session_slice,
    cumulative_contribution,
    forecasts_of_ticker,
    ticker_attribution,
    ticker_backtest,
)
from quantlr.backtest.costs import ExecutionSpec
from quantlr.backtest.engine import backtest_positions
from quantlr.backtest.metric_types import BacktestView, EvaluatedForecasts, evaluate_forecasts
from quantlr.backtest.metrics import annual_sharpe, annual_turnover
from quantlr.core.values import BacktestResult, Forecasts, Positions
from quantlr.stats.multiple_testing import expected_order_statistics

from markets import random_forecasts, random_walk_prices

YEAR = 252


@pytest.fixture(scope="module")
def backtest_and_forecasts() -> tuple[BacktestResult, Forecasts, EvaluatedForecasts]:
    """Four tickers that start late, have gaps and end early, long and short, with interest and fees."""
    prices = random_walk_prices(4, n_sessions=200, n_tickers=4, with_gaps=True)
    has_bar = ~np.isnan(prices.bars_to_sessions(prices.close))
    has_bar[:9] = False
    ticker, session = np.nonzero(has_bar.T)
    rng = np.random.default_rng(4)
    n = len(ticker)
    attribution = replace(
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
    weight = np.where(has_bar, rng.choice([-0.25, 0.0, 0.25], has_bar.shape), np.nan)
    execution = ExecutionSpec(cash_rate=0.03, per_share=0.01, borrow_bps_per_year=200.0)
    positions = Positions(prices.tickers, prices.sessions, weight)
    return (
        backtest_positions(positions, prices, execution, sessions_per_year=YEAR),
        attribution,
        evaluate_forecasts(attribution),
    )


def test_contributions_add_up_to_the_net_excess_return(backtest_and_forecasts: Any) -> None:
    result, forecasts, evaluated = backtest_and_forecasts
    attribution = ticker_attribution(result, forecasts, evaluated, sessions_per_year=YEAR)
    excess = result.net_return - result.session_cash_rate
    assert attribution.annual_contribution.sum() == pytest.approx(excess.mean() * YEAR, rel=1e-12)
    np.testing.assert_allclose(
        cumulative_contribution(result, attribution.ticker_index).sum(axis=1), np.cumsum(excess), rtol=1e-9, atol=1e-15
    )
    all_sessions = slice(0, len(excess))
    backtests = [ticker_backtest(result, int(ticker), all_sessions) for ticker in attribution.ticker_index]
    np.testing.assert_allclose(sum(view.net_return for view in backtests), excess, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(sum(view.turnover for view in backtests), result.turnover, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(sum(view.exposure for view in backtests), result.exposure, rtol=1e-12)


def test_ticker_statistics_equal_those_of_its_own_backtest_and_forecasts(backtest_and_forecasts: Any) -> None:
    result, forecasts, evaluated = backtest_and_forecasts
    attribution = ticker_attribution(result, forecasts, evaluated, sessions_per_year=YEAR)
    table = pd.DataFrame({"ticker": evaluated.ticker, "hit": evaluated.hits, "base": evaluated.baseline_hits})
    for index, ticker in enumerate(np.unique(evaluated.ticker).tolist()):
        rows = table[table["ticker"] == ticker]
        assert attribution.ticker_index[index] == ticker
        assert attribution.n_forecasts[index] == len(rows)
        assert attribution.accuracy[index] == pytest.approx(rows["hit"].mean())
        assert attribution.baseline_accuracy[index] == pytest.approx(rows["base"].mean())
        differ = (rows["hit"] != rows["base"]).mean()
        assert attribution.accuracy_band_half_width[index] == pytest.approx(
            1.959964 * math.sqrt(differ / (len(rows) / 3)), rel=1e-6
        )
        sessions = active_session_slice(result, forecasts, ticker)
        view = BacktestView(ticker_backtest(result, ticker, sessions), sessions_per_year=YEAR)
        assert attribution.sharpe[index] == pytest.approx(annual_sharpe(view))
        assert attribution.sharpe_band_half_width[index] == pytest.approx(
            1.959964 * math.sqrt(YEAR / (sessions.stop - sessions.start)), rel=1e-6
        )
        assert attribution.mean_absolute_weight[index] == pytest.approx(np.abs(result.weight[sessions, ticker]).mean())
        assert attribution.mean_weight[index] == pytest.approx(result.weight[sessions, ticker].mean())
        of_ticker = forecasts_of_ticker(evaluated, ticker)
        assert (len(of_ticker.up), of_ticker.has_dependent_outcomes) == (len(rows), True)
        single = ticker_attribution(
            result, forecasts, of_ticker, sessions_per_year=YEAR, ticker_indices=np.array([ticker], dtype=np.int64)
        )
        assert single.annual_contribution[0] == attribution.annual_contribution[index]
        assert single.accuracy_band_half_width[0] == attribution.accuracy_band_half_width[index]
        assert annual_turnover(view) >= 0


def test_active_sessions_run_from_first_forecast_to_last_bar(backtest_and_forecasts: Any) -> None:
    result, forecasts, _ = backtest_and_forecasts
    for ticker in range(4):
        sessions = active_session_slice(result, forecasts, ticker)
        first = forecasts.sessions[forecasts.session[forecasts.ticker == ticker].min()]
        assert sessions.start == 0 or result.fill_dates[sessions.start] <= first
        assert result.fill_dates[sessions.start + 1] > first
        assert not np.isnan(result.price[sessions.stop, ticker])
        assert np.isnan(result.price[sessions.stop + 1 :, ticker]).all()
        assert not result.weight[: sessions.start, ticker].any()
        assert not result.weight[sessions.stop :, ticker].any()


def test_accuracy_band_excludes_random_forecasts_in_2_5_percent_on_each_side() -> None:
    """Random forecasts of random outcomes, against a baseline that always forecasts up."""
    rng = np.random.default_rng(1)
    tickers, calls = 2_000, 400
    ticker = np.repeat(np.arange(tickers), calls)
    n = len(ticker)
    evaluated = EvaluatedForecasts(
        log_odds=np.zeros(n),
        probability=rng.choice([0.4, 0.6], n),
        up=rng.integers(0, 2, n).astype(float),
        base_rate=np.full(n, 0.55),
        ticker=ticker,
        session=np.tile(np.arange(calls), tickers),
        has_dependent_outcomes=False,
        horizon=1,
    )
    differ = np.bincount(ticker, weights=evaluated.hits != evaluated.baseline_hits)
    edge = np.bincount(ticker, weights=evaluated.hits.astype(float) - evaluated.baseline_hits) / calls
    half_width = 1.959964 * np.sqrt(differ) / calls
    assert (edge > half_width).mean() == pytest.approx(0.025, abs=0.012)
    np.testing.assert_allclose(
        np.sort(edge)[20:-20], expected_order_statistics(half_width / 1.959964)[20:-20], atol=0.006
    )
