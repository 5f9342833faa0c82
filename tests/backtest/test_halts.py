"""Orders wait where trading is halted or at a price limit, against a loop over sessions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quantlr.backtest.costs import ExecutionSpec
from quantlr.backtest.engine import backtest_positions, backtest_with_benchmark
from quantlr.backtest.halts import halted_mask, limit_side
from quantlr.core.values import Positions, Prices

from markets import random_walk_prices
from oracles import no_trade_by_loop, trade_session_by_session

pytestmark = pytest.mark.usefixtures("without_drawing")


def with_halts_and_limits(prices: Prices, seed: int) -> Prices:
    """Return prices with halted bars, days at a limit, and volumes that are missing, or 0 on days with a move."""
    rng = np.random.default_rng(seed)
    fields: dict[str, Any] = {name: getattr(prices, name).copy() for name in ("open", "high", "low", "close", "volume")}
    for ticker, n_bars in enumerate(prices.n_bars.tolist()):
        for bar in range(1, n_bars):
            kind = rng.choice(
                ["usual", "halt", "up", "down", "no volume", "unknown"], p=[0.7, 0.1, 0.05, 0.05, 0.05, 0.05]
            )
            before = fields["close"][bar - 1, ticker]
            if kind in ("halt", "up", "down"):
                price = before * {"halt": 1.0, "up": 1.05, "down": 0.95}[kind]
                for name in ("open", "high", "low", "close"):
                    fields[name][bar, ticker] = price
            if kind in ("halt", "no volume", "unknown"):
                fields["volume"][bar, ticker] = np.nan if kind == "unknown" else 0.0
    return replace(prices, raw_close=fields["close"], adjustment=np.where(prices.session >= 0, 1.0, np.nan), **fields)


def random_positions(prices: Prices, seed: int) -> Positions:
    rng = np.random.default_rng(seed)
    weight = rng.choice([-0.3, 0.0, 0.3, np.nan], size=(len(prices.sessions), len(prices.tickers)))
    weight[:5] = np.nan
    weight[5] = 0.3
    return Positions(prices.tickers, prices.sessions, weight)


@settings(max_examples=40)
@given(seed=st.integers(0, 9999), fill=st.sampled_from(["next_close", "next_open", "close"]), tickers=st.integers(1, 3))
def test_a_backtest_with_halts_equals_a_loop(seed: int, fill: str, tickers: int) -> None:
    prices = with_halts_and_limits(random_walk_prices(seed, n_sessions=70, n_tickers=tickers, with_gaps=True), seed)
    positions = random_positions(prices, seed)
    execution = ExecutionSpec.model_validate({"fill": fill, "commission_bps": 5.0, "cash_rate": 0.02})
    result = backtest_positions(positions, prices, execution, sessions_per_year=252)
    ledger = trade_session_by_session(positions, prices, execution, sessions_per_year=252)
    np.testing.assert_allclose(result.weight, np.array(ledger.weight), rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(result.equity, np.array(ledger.equity), rtol=1e-11)
    np.testing.assert_allclose(result.cost, np.array(ledger.cost), rtol=1e-11, atol=1e-14)


def test_halts_and_limits_are_found_bar_by_bar() -> None:
    prices = with_halts_and_limits(random_walk_prices(3, n_sessions=120, n_tickers=2, with_gaps=True), 3)
    halted, limit = halted_mask(prices), limit_side(prices)
    for ticker in range(2):
        for bar in range(int(prices.n_bars[ticker])):
            session = int(prices.session[bar, ticker])
            assert no_trade_by_loop(prices, ticker, session=session) == (halted[bar, ticker], limit[bar, ticker])
    assert halted.sum() > 5
    assert {*limit[prices.session >= 0].tolist()} == {-1, 0, 1}


def test_a_feed_without_volumes_and_prices_without_ranges_trade_every_bar() -> None:
    prices = random_walk_prices(1, n_sessions=60)
    flat = prices.close.copy()
    flat[30:40] = flat[29]
    dead = replace(prices, close=flat, raw_close=flat, volume=np.zeros_like(flat), high=flat, low=flat)
    jump = replace(dead, close=np.where(np.arange(60)[:, None] > 50, 1.1 * flat, flat))
    jump = replace(jump, high=jump.close, low=jump.close)
    for made in (dead, jump):
        assert not halted_mask(made).any()
        assert not limit_side(made).any()


def test_waiting_orders_are_counted_and_noted_and_filled_when_trading_resumes() -> None:
    prices = random_walk_prices(1, n_sessions=60)
    close, volume = prices.close.copy(), prices.volume.copy()
    close[30:35], volume[30:35] = close[29], 0.0
    prices = replace(prices, close=close, raw_close=close, volume=volume)
    weight = np.where(np.arange(60) < 30, 0.0, 1.0)[:, None]
    result = backtest_with_benchmark(
        Positions(prices.tickers, prices.sessions, weight), prices, ExecutionSpec(), sessions_per_year=252
    )
    held = pd.Series(result.weight[:, 0], result.fill_dates[:-1])
    assert (held[: prices.sessions[34]] == 0).all()
    assert held[prices.sessions[35]] == 1.0
    (note,) = (note for note in result.notes if "waited" in note.text)
    assert (note.count, note.ticker, note.date) == (4, "T0", str(prices.sessions[31].date()))
