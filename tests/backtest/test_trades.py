"""Trades: the table of a backtest's trades, and their summary by side."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantlr.backtest.costs import ExecutionSpec
from quantlr.backtest.engine import backtest_with_benchmark
from quantlr.backtest.trades import (
    annual_excess_return_by_side,
    histogram_around_zero,
    trade_summary_by_side,
    trade_table,
)
from quantlr.core.values import Positions

from markets import random_walk_prices


def test_trades_by_arithmetic() -> None:
    """Long over two sessions, short over one, flat, then long again and still open."""
    prices = random_walk_prices(5, n_sessions=10)
    weight = np.array([[0.0], [1], [1], [-1], [0], [1], [1], [1], [1], [1]])
    execution = ExecutionSpec(fill="close", commission_bps=10, slippage_bps=0, borrow_bps_per_year=0)
    result = backtest_with_benchmark(
        Positions(prices.tickers, prices.sessions, weight), prices, execution, sessions_per_year=252
    )
    close, dates = prices.close[:, 0], prices.sessions
    computed = trade_table(result)
    assert computed["side"].tolist() == ["long", "short", "long"]
    assert computed["entry"].tolist() == [dates[1], dates[3], dates[5]]
    assert computed["exit"].iloc[:2].tolist() == [dates[3], dates[4]]
    assert pd.isna(computed["exit"].iloc[2])
    assert computed["sessions"].tolist() == [2, 1, 4]
    np.testing.assert_allclose(computed["entry_price"], close[[1, 3, 5]])
    np.testing.assert_allclose(computed["exit_price"], close[[3, 4, 9]])
    np.testing.assert_allclose(
        computed["return"], [close[3] / close[1] - 1, 1 - close[4] / close[3], close[9] / close[5] - 1]
    )
    np.testing.assert_allclose(computed["cost"].iloc[0], 0.002)
    np.testing.assert_allclose(computed["cost"].iloc[2], 0.001)
    growth = close[1:] / close[:-1] - 1
    np.testing.assert_allclose(computed["profit"].iloc[0], growth[1] + growth[2] - 0.002)
    np.testing.assert_allclose(computed["profit"].iloc[2], growth[5:9].sum() - 0.001)


@given(seed=st.integers(0, 10_000))
def test_trades_include_all_costs_and_sessions(seed: int) -> None:
    prices = random_walk_prices(seed, n_sessions=60, n_tickers=3, with_gaps=True)
    rng = np.random.default_rng(seed)
    weight = rng.choice([-1 / 3, 0.0, 1 / 3], (60, 3))
    weight[np.isnan(prices.bars_to_sessions(prices.close))] = np.nan
    result = backtest_with_benchmark(
        Positions(prices.tickers, prices.sessions, weight), prices, ExecutionSpec(), sessions_per_year=252
    )
    computed = trade_table(result)
    assert (computed["cost"] * computed["size"]).sum() == pytest.approx(result.cost.sum(), rel=1e-9)
    net = result.ticker_gross_return.sum() - result.cost.sum()
    assert computed["profit"].sum() == pytest.approx(net, abs=1e-12)
    assert computed["sessions"].sum() == (result.weight != 0).sum()
    assert (computed["cost"] > 0).all()


def test_trade_summary_by_side_equals_pandas_groups() -> None:
    rng = np.random.default_rng(3)
    table = pd.DataFrame(
        {
            "side": rng.choice(["long", "short"], 50),
            "return": rng.normal(0, 0.02, 50),
            "cost": 0.001,
            "sessions": rng.integers(1, 9, 50),
        }
    )
    computed, net_returns = trade_summary_by_side(table), table["return"] - table["cost"]
    assert list(computed.index) == ["long", "short", "all"]
    grouped = net_returns.groupby(table["side"])
    for column, expected in (("mean", grouped.mean()), ("best", grouped.max()), ("worst", grouped.min())):
        np.testing.assert_allclose(computed[column].iloc[:2], expected)
    np.testing.assert_allclose(computed["won"].iloc[:2], (net_returns > 0).groupby(table["side"]).mean())
    np.testing.assert_allclose(computed["sessions"].iloc[:2], table.groupby("side")["sessions"].median())
    assert computed.loc["all", "trades"] == 50
    assert computed.loc["all", "mean"] == pytest.approx(net_returns.mean())
    assert list(trade_summary_by_side(table[table["side"] == "short"]).index) == ["short"]
    assert trade_summary_by_side(table.iloc[:0]).empty


def test_excess_return_by_side_equals_a_loop() -> None:
    prices = random_walk_prices(6, n_sessions=60, n_tickers=3, with_gaps=True)
    weight = np.random.default_rng(6).choice([-1 / 3, 0.0, 1 / 3], (60, 3))
    weight[np.isnan(prices.bars_to_sessions(prices.close))] = np.nan
    execution = ExecutionSpec(cash_rate=0.05)
    result = backtest_with_benchmark(
        Positions(prices.tickers, prices.sessions, weight), prices, execution, sessions_per_year=252
    )
    total = {"long": 0.0, "short": 0.0}
    for session in range(len(result.weight)):
        for ticker in range(3):
            held = result.weight[session, ticker]
            excess = result.ticker_gross_return[session, ticker] - result.ticker_interest[session, ticker]
            if held:
                total["long" if held > 0 else "short"] += excess
    expected = {side: value / len(result.weight) * 252 for side, value in total.items()}
    assert annual_excess_return_by_side(result, sessions_per_year=252) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("values", "edges", "count"),
    [
        ([-2.0, -1.0, 1.0, 2.0], [-2, -1, 0, 1, 2], [2, 0, 1, 1]),
        ([4.0, 4.0, 1.0], [0, 1, 2, 3, 4], [1, 0, 0, 2]),
        ([-4.0, -4.0, -1.0], [-4, -3, -2, -1, 0], [2, 0, 1, 0]),
        ([-3.0] * 8 + [3.0], [-3, -2, -1, 0, 1, 2, 3], [8, 0, 0, 0, 0, 1]),
        ([-1.0, 4.0], [-1.25, 0, 1.25, 2.5, 3.75, 5], [1, 0, 0, 0, 1]),
        ([0.0, 0.0], [0, 2.5e-5], [2]),
    ],
)
def test_histogram_around_zero_by_arithmetic(values: list[float], edges: list[float], count: list[int]) -> None:
    """Twice the root of the number of values bins, but four at least; a bin includes its upper edge."""
    histogram = histogram_around_zero(np.array(values))
    np.testing.assert_allclose(histogram.bin_edges, edges, atol=1e-15)
    assert histogram.count.tolist() == count
    assert histogram.n_outside == 0


@pytest.mark.parametrize("n", [199, 200, 201])
def test_histogram_of_200_values_leaves_out_a_hundredth_at_either_end(n: int) -> None:
    values = np.concatenate([np.linspace(-1.0, 1.0, n - 2), [-50.0, 50.0]])
    histogram = histogram_around_zero(values)
    low, high = (-50.0, 50.0) if n < 200 else np.quantile(values, [0.01, 0.99])
    width = (high - low) / min(40, 2 * int(np.sqrt(n)))
    below, above = (int(np.ceil(round(end / width, 6))) for end in (-low, high))
    np.testing.assert_allclose(histogram.bin_edges, width * np.arange(-below, above + 1), rtol=1e-9)
    expected = [0] * (below + above)
    for value in values.tolist():
        expected[min(max(int(np.ceil(round(value / width, 6))) - 1 + below, 0), below + above - 1)] += 1
    assert histogram.count.tolist() == expected
    assert histogram.n_outside == sum(value < -width * below or value > width * above for value in values.tolist())
    assert (histogram.n_outside > 0) == (n >= 200)


@pytest.mark.parametrize(("n", "n_bins"), [(36, 12), (400, 40), (10_000, 40)])
def test_histogram_has_twice_the_root_of_the_number_of_values_bins_up_to_40(n: int, n_bins: int) -> None:
    values = np.resize([-1.0, 1.0], n)
    assert len(histogram_around_zero(values).count) == n_bins
    assert len(histogram_around_zero(values, max_bins=10).count) == 10
