"""The same signals in two other backtesters, backtesting.py and bt.

Without costs, equity is equal to 1e-9. With costs it is not, and cannot be: both peers take a commission out of the
money that buys, so that what is held is smaller by the commission, where the design here keeps costs out of the weights
and takes them from the session's return. Per trade the two differ by the commission times the return that follows, and
by its square; the tests hold the difference to that. backtesting.py holds whole units and does not go back to a weight
while a position stays; bt goes back to its weights at every session, as the engine here does.
"""

from __future__ import annotations

import warnings
from typing import Any

import bt
import numpy as np
import pandas as pd
import pytest
from backtesting import Backtest, Strategy
from quantlr.backtest.costs import ExecutionSpec
from quantlr.backtest.engine import backtest_with_benchmark
from quantlr.backtest.trades import trade_table
from quantlr.core.values import Array, BacktestResult, Positions, Prices

from markets import random_walk_prices

SESSIONS = 250
FREE: dict[str, Any] = dict.fromkeys(
    ("commission_bps", "slippage_bps", "borrow_bps_per_year", "financing_bps_per_year"), 0.0
)


class Follow(Strategy):  # type: ignore[misc]  # it has no types
    """Follow the signal of the bar: long, flat, or short and rebalanced to -1 every day."""

    signal: Array = np.zeros(0)

    def init(self) -> None:
        """Compute no indicators."""

    def next(self) -> None:
        """Order at the close of the latest bar."""
        wanted = self.signal[len(self.data) - 1]
        if wanted == 0 or np.isnan(wanted):
            self.position.close()
        elif wanted < 0:
            self.sell()
        elif not self.position.is_long:
            self.buy()


def backtesting_py(prices: Prices, signal: Array, *, at_close: bool, commission: float = 0.0) -> Any:
    """Return the statistics of backtesting.py, with enough cash that whole units are no restriction."""
    table = pd.DataFrame(
        {name.title(): getattr(prices, name)[:, 0] for name in ("open", "high", "low", "close")}, index=prices.sessions
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of orders at prices above the cash, of which there are none here
        test = Backtest(table, Follow, cash=1e15, commission=commission, trade_on_close=at_close, exclusive_orders=True)
        return test.run(signal=signal)


def signals(seed: int, *, short: bool) -> Array:
    rng = np.random.default_rng(seed)
    signal = rng.choice([-1.0, 0.0, 1.0] if short else [0.0, 1.0], SESSIONS).repeat(3)[:SESSIONS]
    signal[:5] = np.nan
    return signal


def backtest_weights(prices: Prices, weight: Array, **execution: Any) -> BacktestResult:
    positions = Positions(prices.tickers, prices.sessions, weight.reshape(SESSIONS, -1))
    return backtest_with_benchmark(positions, prices, ExecutionSpec(**{**FREE, **execution}), sessions_per_year=252)


def equity_on(result: BacktestResult, dates: Any) -> Array:
    equity = pd.Series(result.equity, result.sessions)
    return np.asarray(equity.reindex(dates, fill_value=1.0), dtype=np.float64)


@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_equity_equals_backtesting_py_at_the_close(seed: int, short: bool) -> None:
    prices, signal = random_walk_prices(seed, n_sessions=SESSIONS), signals(seed, short=short)
    peer = backtesting_py(prices, signal, at_close=True)._equity_curve["Equity"] / 1e15
    # The decision of the last session affects neither result.
    result = backtest_weights(prices, signal, fill="close")
    np.testing.assert_allclose(equity_on(result, peer.index), np.asarray(peer), rtol=1e-9)
    delayed = np.append(np.nan, signal[:-1])
    peer = backtesting_py(prices, delayed, at_close=True)._equity_curve["Equity"] / 1e15
    result = backtest_weights(prices, signal, fill="next_close")
    np.testing.assert_allclose(equity_on(result, peer.index), np.asarray(peer), rtol=1e-9)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_trades_equal_backtesting_py_at_the_next_open(seed: int) -> None:
    """It values positions at the close, and quantlr at the open: trades and final equity are the same."""
    prices, signal = random_walk_prices(seed, n_sessions=SESSIONS), signals(seed, short=False)
    signal[-3:] = 0.0
    peer_trades = backtesting_py(prices, signal, at_close=False)._trades
    result = backtest_weights(prices, signal, fill="next_open")
    trades = trade_table(result)
    assert trades["entry"].tolist() == peer_trades["EntryTime"].tolist()
    assert trades["exit"].tolist() == peer_trades["ExitTime"].tolist()
    np.testing.assert_allclose(trades["entry_price"], peer_trades["EntryPrice"], rtol=1e-12)
    np.testing.assert_allclose(trades["return"], peer_trades["ReturnPct"], rtol=1e-9)
    assert result.equity[-1] == pytest.approx(float((1 + peer_trades["ReturnPct"]).prod()), rel=1e-9)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_difference_from_backtesting_py_is_bounded_by_its_commission_rule(seed: int) -> None:
    """It buys for 1 / (1 + c) of the cash and sells for 1 - c of the value; quantlr subtracts c from two returns."""
    prices, signal = random_walk_prices(seed, n_sessions=SESSIONS), signals(seed, short=False)
    c = 0.001
    peer = backtesting_py(prices, signal, at_close=True, commission=c)._equity_curve["Equity"] / 1e15
    result = backtest_weights(prices, signal, fill="close", commission_bps=c * 1e4)
    turns = np.flatnonzero(result.turnover > 0.5)
    gross = np.abs(result.gross_return[turns]).sum()
    difference = np.abs(np.log(equity_on(result, peer.index)) - np.log(peer.to_numpy()))
    assert difference.max() <= c * gross + len(turns) * c**2
    assert difference.max() > 1e-9


def bt_equity(prices: Prices, weight: Array, *, commission: float = 0.0) -> pd.Series:
    """Return the equity of bt, which rebalances to the weights at every close."""
    names = list(prices.tickers)
    close = pd.DataFrame(prices.close, index=prices.sessions, columns=names)
    targets = pd.DataFrame(weight, index=prices.sessions, columns=names).dropna()
    strategy = bt.Strategy("peer", [bt.algos.WeighTarget(targets), bt.algos.Rebalance()])
    test = bt.Backtest(
        strategy,
        close,
        initial_capital=1e6,
        integer_positions=False,
        commissions=(lambda quantity, price: abs(quantity) * price * commission) if commission else None,
        progress_bar=False,
    )
    test.run()
    return pd.Series(test.strategy.prices / 100).iloc[1:]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_equity_equals_bt_with_daily_weights(seed: int) -> None:
    prices = random_walk_prices(seed, n_sessions=SESSIONS, n_tickers=3)
    weight = np.random.default_rng(seed).uniform(-0.5, 0.5, (SESSIONS, 3))
    weight[:5] = np.nan
    peer = bt_equity(prices, weight)
    np.testing.assert_allclose(
        equity_on(backtest_weights(prices, weight, fill="close"), peer.index), np.asarray(peer), rtol=1e-9
    )
    delayed = np.concatenate([np.full((1, 3), np.nan), weight[:-1]])
    peer = bt_equity(prices, delayed)
    np.testing.assert_allclose(
        equity_on(backtest_weights(prices, weight, fill="next_close"), peer.index), np.asarray(peer), rtol=1e-9
    )


@pytest.mark.parametrize("seed", [1, 2])
def test_difference_from_bt_is_bounded_by_its_commission_rule(seed: int) -> None:
    """It pays commission before the return is earned: a session differs by cost times gross return."""
    prices = random_walk_prices(seed, n_sessions=SESSIONS, n_tickers=3)
    weight = np.random.default_rng(seed).uniform(0, 1 / 3, (SESSIONS, 3))
    weight[:5] = np.nan
    c = 0.0005
    peer = bt_equity(prices, weight, commission=c)
    result = backtest_weights(prices, weight, fill="close", commission_bps=c * 1e4)
    # It charges costs at the close of the trade, quantlr in the session that follows.
    equity_after_cost = equity_on(result, result.fill_dates[:-1]) * (1 - result.cost)
    difference = np.abs(np.log(equity_after_cost) - np.log(peer.reindex(result.fill_dates[:-1]).to_numpy()))
    assert difference.max() <= (result.cost * np.abs(result.gross_return)).sum() + (result.cost**2).sum()
    assert difference.max() > 1e-9
