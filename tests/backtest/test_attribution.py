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


def test_backtest_of_a_ticker_has_its_own_returns_prices_and_equity(backtest_and_forecasts: Any) -> None:
    result, _, _ = backtest_and_forecasts
    sessions = slice(20, 90)
    view = ticker_backtest(result, 2, sessions)
    np.testing.assert_array_equal(view.ticker_gross_return[:, 0], result.ticker_gross_return[20:90, 2])
    np.testing.assert_array_equal(view.ticker_return[:, 0], result.ticker_return[20:90, 2])
    np.testing.assert_array_equal(view.cost, result.ticker_cost[20:90, 2])
    np.testing.assert_array_equal(view.ticker_cost[:, 0], view.cost)
    np.testing.assert_array_equal(view.price[:, 0], result.price[20:91, 2])
    assert view.fill_dates.equals(result.fill_dates[20:91])
    assert view.tickers == (result.tickers[2],)
    np.testing.assert_allclose(view.gross_return - view.cost, view.net_return, atol=1e-15)
    np.testing.assert_allclose(view.equity, np.cumprod(1.0 + view.net_return))
    np.testing.assert_allclose(view.cash_return, -result.ticker_interest[20:90, 2])


def test_equity_of_a_ticker_is_never_below_zero(backtest_and_forecasts: Any) -> None:
    result, _, _ = backtest_and_forecasts
    loss = result.ticker_gross_return.copy()
    loss[30, 2] = -1.5
    view = ticker_backtest(replace(result, ticker_gross_return=loss), 2, slice(20, 90))
    assert (view.equity[:10] > 0).all()
    assert (view.equity[10:] == 0).all()


def test_ticker_that_is_never_held_has_weights_of_zero_and_no_sharpe(backtest_and_forecasts: Any) -> None:
    """Its first forecast is of its last bar."""
    result, forecasts, evaluated = backtest_and_forecasts
    is_kept = (forecasts.ticker != 0) | (forecasts.session == forecasts.session[forecasts.ticker == 0].max())
    late = replace(forecasts, ticker=forecasts.ticker[is_kept], session=forecasts.session[is_kept])
    attribution = ticker_attribution(result, late, evaluated, sessions_per_year=YEAR)
    assert (attribution.mean_absolute_weight[0], attribution.mean_weight[0]) == (0.0, 0.0)
    assert np.isnan([attribution.sharpe[0], attribution.sharpe_band_half_width[0]]).all()
    assert not np.isnan(attribution.sharpe[1:]).any()


def test_forecasts_of_one_ticker_and_session_are_independent(backtest_and_forecasts: Any) -> None:
    _, _, evaluated = backtest_and_forecasts
    assert not forecasts_of_ticker(replace(evaluated, horizon=1), 0).has_dependent_outcomes
    assert forecasts_of_ticker(replace(evaluated, horizon=2), 0).has_dependent_outcomes


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
