"""Comparison of the fills over the same sessions, each with its own first trade, and its note."""

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
    FillComparison,
    backtest_by_fill,
    compare_fill_metrics,
    is_significant_only_at_same_close,
    same_close_edge_notes,
    sharpe_by_fill_text,
    stale_open_share,
)
from quantlr.core.values import Positions, Prices
from quantlr.data.prices import prices_from_ticker_bars
from quantlr.stats.sharpe_difference import sharpe_difference

from markets import random_walk_prices

YEAR = 252


def alternating(prices: Prices, *, first: int = 5) -> Positions:
    weight = (np.arange(len(prices.sessions)) % 2).astype(np.float64)
    weight[:first] = np.nan
    return Positions(prices.tickers, prices.sessions, np.tile(weight[:, None], len(prices.tickers)))


def foresight(edge: int, *, sessions: int = 600, seed: int = 0) -> tuple[Positions, Prices]:
    """Return positions by the sign of the return `edge` sessions ahead, and prices; 1 pays only at the same close."""
    prices = random_walk_prices(seed, n_sessions=sessions)
    returns = np.append(prices.close[1:, 0] / prices.close[:-1, 0] - 1, 0.0)
    weight = np.sign(np.append(returns[edge - 1 :], np.zeros(edge - 1)))
    weight[:5] = np.nan
    return Positions(prices.tickers, prices.sessions, weight[:, None]), prices


@given(seed=st.integers(0, 10_000), tickers=st.integers(1, 3))
@settings(max_examples=30)
def test_each_fill_equals_its_own_backtest_over_shared_sessions(seed: int, tickers: int) -> None:
    prices = random_walk_prices(seed, n_sessions=50, n_tickers=tickers, with_gaps=True)
    rng = np.random.default_rng(seed)
    weight = rng.choice([-1.0, 0.0, 1.0], (50, tickers)) / tickers
    weight[np.isnan(prices.bars_to_sessions(prices.close))] = np.nan
    weight[: int(rng.integers(3, 9))] = np.nan
    positions = Positions(prices.tickers, prices.sessions, weight)
    execution = ExecutionSpec(per_share=0.001, cash_rate=0.01)
    comparison = compare_fill_metrics(positions, prices, execution, sessions_per_year=YEAR)
    assert list(comparison) == ["next_close", "next_open", "close"]
    assert len({fill_metrics["sessions"] for fill_metrics in comparison.values() if fill_metrics}) == 1
    for fill in ("next_close", "next_open"):
        fill_metrics = comparison[fill]
        spec = execution.model_copy(update={"fill": fill})
        net = backtest_with_benchmark(positions, prices, spec, sessions_per_year=YEAR)
        assert fill_metrics is not None
        assert fill_metrics["sessions"] == len(net.equity)
        assert fill_metrics["total_return"] == pytest.approx(net.equity[-1] - 1)
        assert fill_metrics["cagr"] == pytest.approx(net.equity[-1] ** (YEAR / len(net.equity)) - 1)
        assert fill_metrics["cost_total"] == pytest.approx(net.cost.sum())
        excess = net.net_return - net.session_cash_rate
        if fill_metrics["sharpe"] is not None:
            assert fill_metrics["sharpe"] == pytest.approx(excess.mean() / excess.std(ddof=1) * math.sqrt(YEAR))


def test_same_close_fill_starts_with_the_other_fills_by_arithmetic() -> None:
    """Decisions at 100, 100, 110 and 121: filled at the next close, the first position misses the rise of 10 % that
    the same close earns by the second decision; both pay for their first trade."""
    dates = pd.bdate_range("2020-01-06", periods=5).as_unit("us")
    close = [100.0, 100, 110, 121, 121]
    frame = pd.DataFrame(dict.fromkeys(("open", "high", "low", "close", "adj_close", "volume"), close), index=dates)
    prices = prices_from_ticker_bars({"X": frame}, source="", sha256="", notes=[])
    positions = Positions(prices.tickers, prices.sessions, np.array([[0.0], [1], [1], [0], [0]]))
    execution = ExecutionSpec(commission_bps=10, slippage_bps=0)
    comparison = compare_fill_metrics(positions, prices, execution, sessions_per_year=YEAR)
    assert comparison["close"] is not None
    assert comparison["next_close"] is not None
    assert comparison["close"]["sessions"] == comparison["next_close"]["sessions"] == 3
    assert comparison["close"]["total_return"] == pytest.approx(1.099 * 1.1 * 0.999 - 1)
    assert comparison["next_close"]["total_return"] == pytest.approx(1.0 * 1.099 * 1.0 - 1)
    assert comparison["close"]["cost_total"] == pytest.approx(0.002)


def test_decision_made_only_in_the_first_session_is_kept() -> None:
    """A ticker with a decision in the first session, and none in the next, is held under every fill."""
    prices = random_walk_prices(1, n_sessions=30, n_tickers=2)
    weight = np.full((30, 2), np.nan)
    weight[5, 0], weight[6:, 1] = 0.5, 0.0
    comparison = compare_fill_metrics(
        Positions(prices.tickers, prices.sessions, weight), prices, ExecutionSpec(), sessions_per_year=YEAR
    )
    assert all(fill_metrics and fill_metrics["total_return"] != 0 for fill_metrics in comparison.values())


def test_edge_only_at_the_same_close_gives_a_note() -> None:
    comparison = compare_fill_metrics(*foresight(1), ExecutionSpec(), sessions_per_year=YEAR)
    assert is_significant_only_at_same_close(comparison) is True
    (note,) = same_close_edge_notes(comparison)
    assert note.stage == "backtest"
    assert note.text.startswith(
        "the Sharpe ratio is significant, and significantly higher, only with a fill at the decision's own close"
    )
    assert note.text.endswith(" at the same close (not tradable)")


def test_tradable_edge_gives_no_note() -> None:
    comparison = compare_fill_metrics(*foresight(2), ExecutionSpec(), sessions_per_year=YEAR)
    assert is_significant_only_at_same_close(comparison) is False
    assert same_close_edge_notes(comparison) == ()
    prices_without_edge = random_walk_prices(1, n_sessions=300)
    assert (
        is_significant_only_at_same_close(
            compare_fill_metrics(
                alternating(prices_without_edge), prices_without_edge, ExecutionSpec(), sessions_per_year=YEAR
            )
        )
        is False
    )


def test_next_open_is_unavailable_without_opens() -> None:
    positions, prices = foresight(1)
    without_opens = replace(prices, open=np.full_like(prices.open, np.nan))
    comparison = compare_fill_metrics(positions, without_opens, ExecutionSpec(), sessions_per_year=YEAR)
    assert comparison["next_open"] is None
    assert is_significant_only_at_same_close(comparison) is True
    assert "open" not in sharpe_by_fill_text(comparison)


def test_opens_that_repeat_the_previous_close_are_not_tradable() -> None:
    positions, prices = foresight(1)
    opens = prices.open.copy()
    opens[1:] = prices.close[:-1]
    stale = replace(prices, open=opens)
    comparison = compare_fill_metrics(positions, stale, ExecutionSpec(), sessions_per_year=YEAR)
    assert comparison["next_open"] is not None
    assert comparison["next_open"]["probabilistic_sharpe"] > 0.95
    assert (comparison["next_open"]["tradable"], comparison["next_close"] and comparison["next_close"]["tradable"]) == (
        False,
        True,
    )
    assert is_significant_only_at_same_close(comparison) is True
    text = sharpe_by_fill_text(comparison)
    assert "at the next open (not tradable)" in text
    assert "at the next close," in text


def test_stale_opens_are_those_of_windows_from_the_first_decision_on() -> None:
    """One of two tickers opens at the close before in its first 500 bars, of 1,000."""
    prices = random_walk_prices(1, n_sessions=1000, n_tickers=2)
    opens = prices.close * np.exp(np.random.default_rng(1).normal(0, 0.01, prices.close.shape))
    opens[1:500, 0] = prices.close[:499, 0]
    prices = replace(prices, open=opens)
    share = stale_open_share(alternating(prices), prices)
    assert share is not None
    assert 0.15 <= share <= 0.35
    assert stale_open_share(alternating(prices, first=620), prices) == 0.0
    only_second = alternating(prices)
    only_second.weight[:, 0] = np.nan
    assert stale_open_share(only_second, prices) == 0.0
    assert stale_open_share(alternating(prices), replace(prices, open=np.full_like(opens, np.nan))) is None
    comparison = compare_fill_metrics(alternating(prices), prices, ExecutionSpec(), sessions_per_year=YEAR)
    assert comparison["next_open"] is not None
    assert (comparison["next_open"]["stale_open_share"], comparison["next_open"]["tradable"]) == (share, False)


@pytest.mark.parametrize(
    ("close", "next_close", "p_value", "only_at_close"),
    [(0.951, 0.949, 0.2, False), (0.951, 0.949, 0.01, True), (0.951, 0.949, None, False), (0.99, 0.951, 0.01, False),
     (0.949, 0.5, 0.01, False), (None, 0.5, 0.01, False), (0.951, None, 0.01, True)],
)  # fmt: skip
def test_only_at_the_same_close_needs_a_significantly_lower_ratio_elsewhere(
    close: float | None, next_close: float | None, p_value: float | None, only_at_close: bool
) -> None:
    comparison: FillComparison = {
        "next_close": {"tradable": True, "probabilistic_sharpe": next_close, "below_same_close_p_value": p_value},
        "next_open": None,
        "close": {"tradable": False, "probabilistic_sharpe": close, "below_same_close_p_value": None},
    }
    assert is_significant_only_at_same_close(comparison) is only_at_close


def test_p_value_below_the_same_close_is_that_of_the_paired_test() -> None:
    positions, prices = foresight(1)
    results = backtest_by_fill(positions, prices, ExecutionSpec(), sessions_per_year=YEAR)
    comparison = compare_fill_metrics(positions, prices, ExecutionSpec(), sessions_per_year=YEAR)
    close, next_close = results["close"], results["next_close"]
    assert close is not None
    assert next_close is not None
    assert comparison["next_close"] is not None
    assert comparison["close"] is not None
    expected = sharpe_difference(close.net_return, next_close.net_return)
    assert expected is not None
    assert comparison["next_close"]["below_same_close_p_value"] == expected.p_value
    assert comparison["close"]["below_same_close_p_value"] is None


def test_no_fill_is_available_where_prices_end() -> None:
    prices = random_walk_prices(1, n_sessions=7)
    comparison = compare_fill_metrics(alternating(prices), prices, ExecutionSpec(fill="close"), sessions_per_year=YEAR)
    assert comparison == dict.fromkeys(FILL_CONVENTIONS)
    assert is_significant_only_at_same_close(comparison) is None
    assert same_close_edge_notes(comparison) == ()
    assert sharpe_by_fill_text(comparison) == "Sharpe undefined"


def test_ruin_under_one_fill_shortens_all() -> None:
    prices = random_walk_prices(1, n_sessions=40)
    crash = replace(prices, open=prices.open * np.where(np.arange(40) == 20, 4.0, 1.0)[:, None])
    short = Positions(prices.tickers, prices.sessions, np.where(np.arange(40) < 5, np.nan, -1.0)[:, None])
    comparison = compare_fill_metrics(short, crash, ExecutionSpec(), sessions_per_year=YEAR)
    assert [fill_metrics and fill_metrics["sessions"] for fill_metrics in comparison.values()] == [14, 14, 14]
    assert comparison["next_open"] is not None
    assert comparison["next_open"]["total_return"] == -1.0
