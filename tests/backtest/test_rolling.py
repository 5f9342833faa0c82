"""What was held and traded over time, against loops that take their time."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from quantlr.backtest.costs import ExecutionSpec
from quantlr.backtest.engine import backtest_positions
from quantlr.backtest.rolling import MAX_WEIGHT_BINS, binned_weights, rolling_exposure
from quantlr.core.values import BacktestResult, Positions

from markets import random_walk_prices

YEAR = 252


def ran(sessions: int, *, tickers: int = 3) -> BacktestResult:
    prices = random_walk_prices(1, n_sessions=sessions, n_tickers=tickers)
    weight = np.random.default_rng(1).choice([-0.5, 0.0, 0.3], (sessions, tickers))
    weight[:1] = np.nan
    positions = Positions(prices.tickers, prices.sessions, weight)
    return backtest_positions(positions, prices, ExecutionSpec(), sessions_per_year=YEAR)


@pytest.mark.parametrize(("sessions", "window"), [(5, 1), (43, 10), (400, 63)])
def test_exposure_and_turnover_are_means_over_a_trailing_window(sessions: int, window: int) -> None:
    result = ran(sessions)
    found = rolling_exposure(result, sessions_per_year=YEAR)
    assert found.window == window
    for values, drawn in (
        (result.exposure, found.gross_exposure),
        (result.weight.sum(axis=1), found.net_exposure),
        (result.turnover * YEAR, found.annual_turnover),
    ):
        expected = pd.Series(values).rolling(window).mean().dropna()
        np.testing.assert_allclose(drawn, expected, rtol=1e-9, atol=1e-12)
    assert found.dates[-1] == result.sessions[-1]
    assert len(found.dates) == len(found.gross_exposure)


@pytest.mark.parametrize("sessions", [6, 90, 400])
def test_a_map_is_the_mean_of_the_weights_of_each_stretch_and_what_is_held_goes_on(sessions: int) -> None:
    result = ran(sessions)
    tickers = np.array([0, 2])
    found = binned_weights(result, tickers)
    assert len(found.mean_weight) == min(MAX_WEIGHT_BINS, sessions - 3) == len(found.bin_edges) - 1
    assert not np.isnan(found.mean_weight).any()
    held = np.zeros(2)
    long = short = 0.0
    for at, (first, last) in enumerate(zip(found.bin_edges[:-1], found.bin_edges[1:], strict=True)):
        begun = [t for t, fill in enumerate(result.fill_dates[:-1]) if first <= fill < last]
        if begun:
            weights = result.weight[begun][:, tickers]
            held, long, short = weights.mean(axis=0), (weights > 0).mean(), (weights < 0).mean()
        np.testing.assert_allclose(found.mean_weight[at], held, atol=1e-12)
        assert found.long_fraction[at] == pytest.approx(long)
        assert found.short_fraction[at] == pytest.approx(short)
