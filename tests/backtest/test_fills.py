"""The three fills side by side: the same sessions, each with its own first trade, and what a reader is told."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quantlr.backtest.costs import ExecutionSpec
from quantlr.backtest.engine import backtest_with_benchmark
from quantlr.backtest.fills import (
    FILL_CONVENTIONS,
    compare_fills,
    is_significant_only_at_same_close,
    same_close_edge_notes,
    sharpe_by_fill_text,
)
from quantlr.core.values import Positions, Prices
from quantlr.data.prices import prices_from_bars

from markets import as_quoted, random_walk_prices

YEAR = 252


def alternating(prices: Prices, *, first: int = 5) -> Positions:
    weight = (np.arange(len(prices.sessions)) % 2).astype(np.float64)
    weight[:first] = np.nan
    return Positions(prices.tickers, prices.sessions, np.tile(weight[:, None], len(prices.tickers)))


def foreseen(edge: int, *, sessions: int = 600, seed: int = 0) -> tuple[Positions, Prices]:
    """Return a market, and positions that know the sign of the return `edge` sessions on: 1 pays only at the close."""
    prices = random_walk_prices(seed, n_sessions=sessions)
    returns = np.append(prices.close[1:, 0] / prices.close[:-1, 0] - 1, 0.0)
    weight = np.sign(np.append(returns[edge - 1 :], np.zeros(edge - 1)))
    weight[:5] = np.nan
    return Positions(prices.tickers, prices.sessions, weight[:, None]), prices


@given(seed=st.integers(0, 10_000), tickers=st.integers(1, 3))
@settings(max_examples=30)
def test_each_fill_is_a_backtest_of_its_own_over_the_same_sessions(seed: int, tickers: int) -> None:
    prices = random_walk_prices(seed, n_sessions=50, n_tickers=tickers, with_gaps=True)
    rng = np.random.default_rng(seed)
    weight = rng.choice([-1.0, 0.0, 1.0], (50, tickers)) / tickers
    weight[np.isnan(prices.bars_to_sessions(prices.close))] = np.nan
    weight[: int(rng.integers(3, 9))] = np.nan
    positions = Positions(prices.tickers, prices.sessions, weight)
    execution = ExecutionSpec(per_share=0.001, cash_rate=0.01)
    found = compare_fills(positions, prices, execution, sessions_per_year=YEAR)
    assert list(found) == ["next_close", "next_open", "close"]
    assert len({numbers["sessions"] for numbers in found.values() if numbers}) == 1
    for fill in ("next_close", "next_open"):
        numbers = found[fill]
        spec = execution.model_copy(update={"fill": fill})
        net = backtest_with_benchmark(positions, prices, spec, sessions_per_year=YEAR)
        assert numbers is not None
        assert numbers["sessions"] == len(net.equity)
        assert numbers["total_return"] == pytest.approx(net.equity[-1] - 1)
        assert numbers["cagr"] == pytest.approx(net.equity[-1] ** (YEAR / len(net.equity)) - 1)
        assert numbers["cost_total"] == pytest.approx(net.cost.sum())
        excess = net.net_return - net.session_cash_rate
        if numbers["sharpe"] is not None:
            assert numbers["sharpe"] == pytest.approx(excess.mean() / excess.std(ddof=1) * math.sqrt(YEAR))


def test_the_same_close_starts_with_the_others_by_arithmetic() -> None:
    """Decided at 100, 100, 110 and 121: filled at the next close, the first decision misses the rise of 10 % that the
    same close has by the second; both pay for their first trade."""
    dates = pd.bdate_range("2020-01-06", periods=5).as_unit("us")
    close = [100.0, 100, 110, 121, 121]
    frame = pd.DataFrame(dict.fromkeys(("open", "high", "low", "close", "adj_close", "volume"), close), index=dates)
    prices = prices_from_bars({"X": frame}, source="", sha256="", notes=[])
    positions = Positions(prices.tickers, prices.sessions, np.array([[0.0], [1], [1], [0], [0]]))
    execution = ExecutionSpec(commission_bps=10, slippage_bps=0)
    found = compare_fills(positions, prices, execution, sessions_per_year=YEAR)
    assert found["close"] is not None
    assert found["next_close"] is not None
    assert found["close"]["sessions"] == found["next_close"]["sessions"] == 3
    assert found["close"]["total_return"] == pytest.approx(1.099 * 1.1 * 0.999 - 1)
    assert found["next_close"]["total_return"] == pytest.approx(1.0 * 1.099 * 1.0 - 1)
    assert found["close"]["cost_total"] == pytest.approx(0.002)


def test_a_decision_of_the_first_session_alone_is_not_forgotten() -> None:
    """A ticker that is decided on at the first session, and not at the next, is held by every fill."""
    prices = random_walk_prices(1, n_sessions=30, n_tickers=2)
    weight = np.full((30, 2), np.nan)
    weight[5, 0], weight[6:, 1] = 0.5, 0.0
    found = compare_fills(
        Positions(prices.tickers, prices.sessions, weight), prices, ExecutionSpec(), sessions_per_year=YEAR
    )
    assert all(numbers and numbers["total_return"] != 0 for numbers in found.values())


def test_an_edge_that_lives_only_at_the_same_close_is_told() -> None:
    found = compare_fills(*foreseen(1), ExecutionSpec(), sessions_per_year=YEAR)
    assert is_significant_only_at_same_close(found) is True
    (note,) = same_close_edge_notes(found)
    assert note.stage == "backtest"
    assert note.text.startswith(
        "it pays only at the very close that it is decided from, where nobody can trade: Sharpe "
    )
    assert note.text.endswith(" at the same close (not tradable)")


def test_an_edge_that_can_be_traded_is_not_accused() -> None:
    found = compare_fills(*foreseen(2), ExecutionSpec(), sessions_per_year=YEAR)
    assert is_significant_only_at_same_close(found) is False
    assert same_close_edge_notes(found) == ()
    nothing = random_walk_prices(1, n_sessions=300)
    assert (
        is_significant_only_at_same_close(
            compare_fills(alternating(nothing), nothing, ExecutionSpec(), sessions_per_year=YEAR)
        )
        is False
    )


def test_without_opens_there_is_nothing_to_say_of_them() -> None:
    positions, prices = foreseen(1)
    blind = replace(prices, open=np.full_like(prices.open, np.nan))
    found = compare_fills(positions, blind, ExecutionSpec(), sessions_per_year=YEAR)
    assert found["next_open"] is None
    assert is_significant_only_at_same_close(found) is True
    assert "open" not in sharpe_by_fill_text(found)


def test_opens_that_repeat_the_close_before_are_the_same_close_in_disguise() -> None:
    positions, prices = foreseen(1)
    opens = prices.open.copy()
    opens[1:] = prices.close[:-1]
    stale = replace(prices, open=opens)
    found = compare_fills(positions, stale, ExecutionSpec(), sessions_per_year=YEAR)
    assert found["next_open"] is not None
    assert found["next_open"]["probabilistic_sharpe"] > 0.95
    assert (found["next_open"]["tradable"], found["next_close"] and found["next_close"]["tradable"]) == (False, True)
    assert is_significant_only_at_same_close(found) is True
    assert "at the next open (not tradable)" in sharpe_by_fill_text(found)


def test_opens_are_judged_as_they_were_quoted() -> None:
    """Quoted at the close before on one day in nine, and on one in eleven, which adjusted none is; and no opens."""
    prices = as_quoted(random_walk_prices(1, n_sessions=991, n_tickers=3), 1)
    opens = prices.open.copy()
    for ticker, every in enumerate((9, 11)):
        at = np.arange(every, 991, every)
        opens[at, ticker] = prices.raw_close[at - 1, ticker] * prices.adjustment[at, ticker]
    opens[:, 2] = np.nan
    changed = replace(prices, open=opens)
    assert changed.stale_open_mask.sum(axis=0).tolist() == [110, 90, 0]
    assert changed.has_tradable_opens.tolist() == [False, True, False]


def test_where_prices_end_no_fill_is_compared() -> None:
    prices = random_walk_prices(1, n_sessions=7)
    found = compare_fills(alternating(prices), prices, ExecutionSpec(fill="close"), sessions_per_year=YEAR)
    assert found == dict.fromkeys(FILL_CONVENTIONS)
    assert is_significant_only_at_same_close(found) is None
    assert same_close_edge_notes(found) == ()
    assert sharpe_by_fill_text(found) == "Sharpe undefined"


def test_ruin_of_one_ends_the_comparison_of_all() -> None:
    prices = random_walk_prices(1, n_sessions=40)
    crash = replace(prices, open=prices.open * np.where(np.arange(40) == 20, 4.0, 1.0)[:, None])
    short = Positions(prices.tickers, prices.sessions, np.where(np.arange(40) < 5, np.nan, -1.0)[:, None])
    found = compare_fills(short, crash, ExecutionSpec(), sessions_per_year=YEAR)
    assert [numbers and numbers["sessions"] for numbers in found.values()] == [14, 14, 14]
    assert found["next_open"] is not None
    assert found["next_open"]["total_return"] == -1.0
