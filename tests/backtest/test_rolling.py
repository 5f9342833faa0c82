"""Rolling exposure and binned weights, against pandas and a slow loop."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from quantlr.backtest.costs import ExecutionSpec
from quantlr.backtest.engine import backtest_positions
from quantlr.backtest.rolling import binned_weights, rolling_exposure_and_turnover
from quantlr.core.values import BacktestResult, Positions

from markets import random_walk_prices

YEAR = 252


def random_backtest(sessions: int, *, tickers: int = 3) -> BacktestResult:
    prices = random_walk_prices(1, n_sessions=sessions, n_tickers=tickers)
    weight = np.random.default_rng(1).choice([-0.5, 0.0, 0.3], (sessions, tickers))
    weight[:1] = np.nan
    positions = Positions(prices.tickers, prices.sessions, weight)
    return backtest_positions(positions, prices, ExecutionSpec(), sessions_per_year=YEAR)


@pytest.mark.parametrize(("sessions", "window"), [(5, 1), (43, 10), (400, 63)])
def test_rolling_exposure_equals_pandas(sessions: int, window: int) -> None:
    result = random_backtest(sessions)
    rolling = rolling_exposure_and_turnover(result, sessions_per_year=YEAR)
    assert rolling.window == window
    for values, computed in (
        (result.exposure, rolling.gross_exposure),
        (result.weight.sum(axis=1), rolling.net_exposure),
        (result.turnover * YEAR, rolling.annual_turnover),
    ):
        expected = pd.Series(values).rolling(window).mean().dropna()
        np.testing.assert_allclose(computed, expected, rtol=1e-9, atol=1e-12)
    assert rolling.dates[-1] == result.sessions[-1]
    assert len(rolling.dates) == len(rolling.gross_exposure)


@pytest.mark.parametrize("sessions", [6, 90, 400])
def test_binned_weights_equal_loop_over_bins(sessions: int) -> None:
    result = random_backtest(sessions)
    tickers = np.array([0, 2])
    rolling = binned_weights(result, tickers)
    assert len(rolling.mean_weight) == min(320, sessions - 3) == len(rolling.bin_edges) - 1
    assert not np.isnan(rolling.mean_weight).any()
    weight_before = np.zeros(2)
    long = short = 0.0
    for index, (first, last) in enumerate(zip(rolling.bin_edges[:-1], rolling.bin_edges[1:], strict=True)):
        sessions_in_bin = [t for t, fill in enumerate(result.fill_dates[:-1]) if first <= fill < last]
        if sessions_in_bin:
            weights = result.weight[sessions_in_bin][:, tickers]
            weight_before, long, short = weights.mean(axis=0), (weights > 0).mean(), (weights < 0).mean()
        np.testing.assert_allclose(rolling.mean_weight[index], weight_before, atol=1e-12)
        assert rolling.long_fraction[index] == pytest.approx(long)
        assert rolling.short_fraction[index] == pytest.approx(short)
