from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantlr.backtest.costs import ExecutionSpec
from quantlr.backtest.engine import backtest_with_benchmark
from quantlr.core.errors import DataError
from quantlr.core.values import PRICE_ARRAYS, Array, BacktestResult, Positions, Prices
from quantlr.data.prices import prices_from_ticker_bars

from markets import random_walk_prices, with_unadjusted_quotes
from oracles import buy_and_hold, trade_session_by_session

FREE: dict[str, Any] = dict.fromkeys(
    ("commission_bps", "slippage_bps", "borrow_bps_per_year", "financing_bps_per_year"), 0.0
)
CHARGES: list[dict[str, Any]] = [
    {},
    {"per_share": 0.05},
    {"min_per_order": 20.0, "capital": 10_000.0},
    {"per_share": 0.1, "min_per_order": 7.0, "capital": 5_000.0},
    {"spread": "corwin_schultz"},
    {"spread": "corwin_schultz", "per_share": 0.1, "min_per_order": 40.0, "capital": 20_000.0},
]
FILLS = ("next_close", "next_open", "close")


def random_positions(prices: Prices, seed: int, *, short: bool = True, decision_rate: float = 0.9) -> Positions:
    """Return decisions in a random part of the sessions in which a ticker has a bar, from a random session on."""
    rng = np.random.default_rng(seed)
    weight = rng.choice(
        [-1.0, -0.5, 0.0, 0.5, 1.0] if short else [0.0, 1.0], (len(prices.sessions), len(prices.tickers))
    )
    weight /= len(prices.tickers)
    is_decided = ~np.isnan(prices.bars_to_sessions(prices.close)) & (rng.random(weight.shape) < decision_rate)
    is_decided[: int(rng.integers(3, 15))] = False
    return Positions(prices.tickers, prices.sessions, np.where(is_decided, weight, np.nan))


def constant_positions(prices: Prices, weight: float, *, first: int = 5) -> Positions:
    weights = np.full((len(prices.sessions), len(prices.tickers)), weight)
    weights[np.isnan(prices.bars_to_sessions(prices.close))] = np.nan
    weights[:first] = np.nan
    return Positions(prices.tickers, prices.sessions, weights)


def backtest(positions: Positions, prices: Prices, **execution: Any) -> BacktestResult:
    return backtest_with_benchmark(positions, prices, ExecutionSpec.model_validate(execution), sessions_per_year=252)


def hand_made(close: list[float], opens: list[float] | None = None) -> Prices:
    dates = pd.bdate_range("2020-01-06", periods=len(close)).as_unit("us")
    columns = dict.fromkeys(("open", "high", "low", "close", "adj_close", "volume"), close)
    frame = pd.DataFrame({**columns, "open": opens or close}, index=dates, dtype=float)
    return prices_from_ticker_bars({"X": frame}, source="", sha256="", notes=[])


@given(
    seed=st.integers(0, 100_000),
    fill=st.sampled_from(FILLS),
    tickers=st.integers(1, 4),
    holes=st.booleans(),
    bps=st.sampled_from([0.0, 3.0, 50.0]),
    cash_rate=st.sampled_from([0.0, 0.05]),
    short=st.booleans(),
    charges=st.sampled_from(CHARGES),
    leverage=st.sampled_from([1.0, 1.7]),
)
def test_backtest_equals_session_by_session_loop(
    seed: int,
    fill: str,
    tickers: int,
    holes: bool,
    bps: float,
    cash_rate: float,
    short: bool,
    charges: dict[str, Any],
    leverage: float,
) -> None:
    prices = with_unadjusted_quotes(random_walk_prices(seed, n_sessions=60, n_tickers=tickers, with_gaps=holes), seed)
    positions = random_positions(prices, seed, short=short)
    positions = replace(positions, weight=leverage * positions.weight)
    execution = ExecutionSpec.model_validate(
        {
            "financing_bps_per_year": 300,
            "fill": fill,
            "commission_bps": bps,
            "slippage_bps": bps / 2,
            "cash_rate": cash_rate,
            "borrow_bps_per_year": 80,
            **charges,
        }
    )
    result = backtest_with_benchmark(positions, prices, execution, sessions_per_year=252)
    ledger = trade_session_by_session(positions, prices, execution, sessions_per_year=252)
    assert list(result.sessions) == ledger.dates
    pairs: list[tuple[Array, Any]] = [
        (result.weight, ledger.weight),
        (result.gross_return, ledger.gross),
        (result.cost, ledger.cost),
        (result.net_return, ledger.net),
        (result.equity, ledger.equity),
        (result.turnover, ledger.turnover),
    ]
    for actual, expected in pairs:
        np.testing.assert_allclose(actual, np.array(expected), rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(result.exposure, np.abs(result.weight).sum(axis=1))


@given(seed=st.integers(0, 100_000), fill=st.sampled_from(FILLS))
def test_net_return_is_gross_less_cost_and_equity_its_cumulative_product(seed: int, fill: str) -> None:
    prices = random_walk_prices(seed, n_sessions=50, n_tickers=3, with_gaps=True)
    result = backtest(random_positions(prices, seed), prices, fill=fill, cash_rate=0.02)
    np.testing.assert_array_equal(result.net_return, result.gross_return - result.cost)
    equity = 1.0
    for net, recorded in zip(result.net_return, result.equity, strict=True):
        equity *= 1.0 + net
        assert recorded == pytest.approx(equity, rel=1e-12)
    np.testing.assert_allclose(
        result.ticker_gross_return.sum(axis=1) + result.cash_return, result.gross_return, atol=1e-15
    )
    np.testing.assert_allclose(result.ticker_cost.sum(axis=1), result.cost, atol=1e-15)


@pytest.mark.parametrize("fill", FILLS)
def test_no_trades_have_no_cost(fill: str) -> None:
    result = backtest(
        constant_positions(random_walk_prices(1, n_sessions=40), 0.0), random_walk_prices(1, n_sessions=40), fill=fill
    )
    assert not result.cost.any()
    assert (result.equity == 1.0).all()


@pytest.mark.parametrize("fill", FILLS)
def test_always_long_without_costs_equals_buy_and_hold(fill: str) -> None:
    prices = random_walk_prices(2, n_sessions=300)
    result = backtest(constant_positions(prices, 1.0), prices, fill=fill, **FREE)
    assert result.benchmark is not None
    price = prices.open if fill == "next_open" else prices.close
    start = 5 if fill == "close" else 6
    assert result.equity[-1] == pytest.approx(price[-1, 0] / price[start, 0], rel=1e-12)
    np.testing.assert_allclose(result.equity, result.benchmark.equity, rtol=1e-12)


@given(seed=st.integers(0, 100_000), factor=st.sampled_from([1e-4, 7.0, 1e5]))
def test_equity_is_invariant_to_the_scale_of_prices(seed: int, factor: float) -> None:
    prices = random_walk_prices(seed, n_sessions=50, n_tickers=2, with_gaps=True)
    dearer = replace(prices, open=prices.open * factor, close=prices.close * factor)
    positions = random_positions(prices, seed)
    np.testing.assert_allclose(backtest(positions, dearer).equity, backtest(positions, prices).equity, rtol=1e-10)


@pytest.mark.parametrize(
    ("fill", "returns", "dates"),
    [
        ("close", [110 / 100, 99 / 110, 132 / 99], ["2020-01-07", "2020-01-08", "2020-01-09"]),
        ("next_close", [99 / 110, 132 / 99], ["2020-01-08", "2020-01-09"]),
        ("next_open", [104 / 109, 98 / 104], ["2020-01-08", "2020-01-09"]),
    ],
)
def test_each_fill_earns_between_prices_of_the_same_kind(fill: str, returns: list[float], dates: list[str]) -> None:
    prices = hand_made([100, 110, 99, 132], opens=[90, 109, 104, 98])
    result = backtest(constant_positions(prices, 1.0, first=0), prices, fill=fill, **FREE)
    np.testing.assert_allclose(1 + result.net_return, returns)
    assert [str(date.date()) for date in result.sessions] == dates


def test_costs_by_arithmetic() -> None:
    """Buy at 10 bps, hold while the price doubles, change to short, hold: costs are in proportion to turnover."""
    prices = hand_made([100, 100, 200, 200, 150])
    weight = np.array([[1.0], [1.0], [-1.0], [-1.0], [0.0]])
    result = backtest(
        Positions(prices.tickers, prices.sessions, weight), prices,
        fill="close", commission_bps=4, slippage_bps=6, borrow_bps_per_year=252,
    )  # fmt: skip
    np.testing.assert_allclose(result.turnover, [1.0, 0.0, 2.0, 0.0])
    np.testing.assert_allclose(result.cost, [0.001, 0.0, 0.002 + 0.0001, 0.0001])
    np.testing.assert_allclose(result.gross_return, [0.0, 1.0, 0.0, 0.25])


def test_short_position_is_rebalanced_to_its_weight() -> None:
    """Short 1 of a price that falls by half: the position is 1/2, equity 3/2, so 1/3 short; 2/3 are traded."""
    prices = hand_made([100, 50, 50])
    positions = constant_positions(prices, -1.0, first=0)
    result = backtest(positions, prices, **{**FREE, "fill": "close", "commission_bps": 30})
    np.testing.assert_allclose(result.turnover, [1.0, 2 / 3])
    np.testing.assert_allclose(result.gross_return, [0.5, 0.0])


def test_cash_earns_interest_and_borrowed_cash_pays_it() -> None:
    prices = hand_made([100, 100, 100])
    half = backtest(constant_positions(prices, 0.25, first=0), prices, fill="close", cash_rate=0.0252, **FREE)
    np.testing.assert_allclose(half.gross_return, 0.75 * 1e-4)
    twice = backtest(constant_positions(prices, 2.0, first=0), prices, fill="close", cash_rate=0.0252, **FREE)
    np.testing.assert_allclose(twice.gross_return, -1e-4)


def test_financing_by_arithmetic() -> None:
    """At 2 and 1 of equity long, and .5 short, 1.5 is borrowed; long and short of equal size borrow nothing."""
    prices = two_tickers([100, 100, 100], [100, 100, 100])
    execution = FREE | {"fill": "close", "financing_bps_per_year": 252}
    for weights, cost in (([2.0, 1.0], [4 / 3, 2 / 3]), ([3.0, -0.5], [1.5, 0.0]), ([2.0, -2.0], [0.0, 0.0])):
        positions = Positions(prices.tickers, prices.sessions, np.tile(weights, (3, 1)))
        result = backtest(positions, prices, **execution)
        np.testing.assert_allclose(result.ticker_cost, np.tile(cost, (2, 1)) * 1e-4, atol=1e-18)
        np.testing.assert_allclose(result.net_return, result.gross_return - result.cost)


def test_financing_follows_the_calendar() -> None:
    """A year at 2 of equity and 2 % costs 2 %."""
    prices = random_walk_prices(1, n_sessions=600)
    flat = replace(prices, close=np.full_like(prices.close, 100.0))
    execution = ExecutionSpec(**FREE | {"fill": "close", "financing_bps_per_year": 200.0})
    sessions_per_year = prices.counted_sessions_per_year
    assert sessions_per_year is not None
    held = constant_positions(flat, 2.0, first=0)
    result = backtest_with_benchmark(held, flat, execution, sessions_per_year=sessions_per_year)
    years = (result.fill_dates[-1] - result.fill_dates[0]).days / 365.25
    assert np.prod(1 + result.cost) == pytest.approx(1.02**years)


def test_ticker_returns_are_those_of_the_fill_prices() -> None:
    prices = random_walk_prices(3, n_sessions=40, n_tickers=3, with_gaps=True)
    result = backtest(random_positions(prices, 3), prices)
    np.testing.assert_allclose(result.weight * result.ticker_return, result.ticker_gross_return)
    has_bars = ~np.isnan(result.price[1:]) & ~np.isnan(result.price[:-1])
    expected = result.price[1:] / result.price[:-1] - 1
    np.testing.assert_allclose(result.ticker_return[has_bars], expected[has_bars])
    assert not result.ticker_return[np.isnan(result.price[1:])].any()


def test_a_ticker_is_listed_from_its_first_to_its_last_bar() -> None:
    prices = two_tickers([100, 101, 102, 103, 104, 105], [None, 100, None, 101, None, None])
    result = backtest(constant_positions(prices, 0.5, first=0), prices, fill="close")
    assert result.ticker_listed_mask[:, 0].all()
    assert result.ticker_listed_mask[:, 1].tolist() == [False, True, True, False, False]


def test_ruin_ends_the_backtest_with_zero_equity() -> None:
    prices = hand_made([100, 110, 230, 100, 100])
    result = backtest(constant_positions(prices, -1.0, first=0), prices, fill="close", **FREE)
    np.testing.assert_allclose(result.equity, [0.9, 0.0])
    assert result.benchmark is not None
    assert len(result.benchmark.equity) == 2
    assert "equity fell to 0" in result.notes[0].text


def test_decision_without_a_return_is_not_charged() -> None:
    prices = hand_made([100, 101, 102, 103])
    weight = np.array([[0.0], [0.0], [1.0], [1.0]])
    result = backtest(Positions(prices.tickers, prices.sessions, weight), prices, fill="next_close")
    assert not result.cost.any()


def two_tickers(first: list[float | None], second: list[float | None]) -> Prices:
    dates = pd.bdate_range("2020-01-06", periods=len(first)).as_unit("us")
    bars = {}
    for name, closes in (("A", first), ("B", second)):
        is_decided = [index for index, close in enumerate(closes) if close is not None]
        names = ("open", "high", "low", "close", "adj_close", "volume")
        columns = {column: [closes[index] for index in is_decided] for column in names}
        bars[name] = pd.DataFrame(columns, index=dates[is_decided], dtype=float)
    return prices_from_ticker_bars(bars, source="", sha256="", notes=[])


def test_delisted_ticker_is_sold_at_its_last_bar() -> None:
    prices = two_tickers([100, 100, 100, 100, 100], [100, 100, 120, None, None])
    result = backtest(
        constant_positions(prices, 0.5, first=0), prices, **{**FREE, "fill": "close", "commission_bps": 10}
    )
    np.testing.assert_allclose(result.weight[:, 1], [0.5, 0.5, 0.0, 0.0])
    sold = 0.5 * 1.2 / 1.1
    np.testing.assert_allclose(result.ticker_cost[:, 1], [0.0005, 0.0, sold * 0.001, 0.0], atol=1e-15)
    assert (result.notes[0].ticker, result.notes[0].date) == ("B", "2020-01-08")


@given(seed=st.integers(0, 100_000), fill=st.sampled_from(FILLS), last=st.integers(3, 38))
def test_end_of_membership_is_traded_like_a_last_bar(seed: int, fill: str, last: int) -> None:
    """Weights, returns and costs are those of prices that end for the ticker, whatever its later prices are."""
    prices = random_walk_prices(seed, n_sessions=40, n_tickers=3)
    positions = random_positions(prices, seed)
    execution = ExecutionSpec.model_validate({"fill": fill})
    mask = np.ones(prices.close.shape, dtype=np.bool_)
    mask[last + 1 :, 1] = False
    ended: dict[str, Any] = {name: np.where(mask, getattr(prices, name), np.nan) for name in PRICE_ARRAYS}
    ended_prices = replace(prices, session=np.where(mask, prices.session, -1), **ended)
    result, expected = (
        backtest_with_benchmark(positions, source, execution, sessions_per_year=252)
        for source in (replace(prices, member_mask=mask), ended_prices)
    )
    for name in ("weight", "ticker_gross_return", "ticker_cost", "net_return", "price"):
        np.testing.assert_array_equal(getattr(result, name), getattr(expected, name))
        assert result.benchmark is not None
        assert expected.benchmark is not None
        np.testing.assert_array_equal(getattr(result.benchmark, name), getattr(expected.benchmark, name))
    assert {(note.ticker, note.date) for note in result.notes} == {(note.ticker, note.date) for note in expected.notes}


def test_note_tells_the_end_of_a_membership_from_the_end_of_the_prices() -> None:
    prices = two_tickers([100, 100, 100, 100, 100], [100, 100, 120, 130, None])
    mask = np.array([[True, index < 3] for index in range(5)])
    for member_mask, index, text in ((None, 3, "no prices follow"), (mask, 2, "membership")):
        dated = replace(prices, member_mask=member_mask)
        (note,) = backtest(constant_positions(dated, 0.5, first=0), dated, fill="close", **FREE).notes
        assert text in note.text
        assert note.date == prices.sessions[index].strftime("%Y-%m-%d")


def test_ticker_without_a_bar_is_held_until_it_trades_again() -> None:
    prices = two_tickers([100, 110, 110, 110], [100, None, 130, 130])
    result = backtest(constant_positions(prices, 0.5, first=0), prices, fill="close", **FREE)
    assert result.ticker_gross_return[0, 1] == 0.0
    assert result.weight[1, 1] == pytest.approx(0.5 / 1.05)
    assert result.ticker_gross_return[1, 1] == pytest.approx(0.5 / 1.05 * 0.3)


def test_benchmark_drifts_and_rebalances_when_its_members_change() -> None:
    prices = two_tickers([100, 120, 120, 240, 240], [None, None, 50, 50, 100])
    result = backtest(constant_positions(prices, 0.0, first=0), prices, fill="close", **{**FREE, "commission_bps": 10})
    assert result.benchmark is not None
    np.testing.assert_allclose(result.benchmark.weight, [[1.0, 0.0], [1.0, 0.0], [0.5, 0.5], [2 / 3, 1 / 3]])
    np.testing.assert_allclose(result.benchmark.cost, [0.001, 0, 0.001, 0], atol=1e-15)
    assert result.benchmark.benchmark is None


@given(seed=st.integers(0, 100_000), fill=st.sampled_from(FILLS), tickers=st.integers(1, 4))
def test_benchmark_equals_a_portfolio_of_share_counts(seed: int, fill: str, tickers: int) -> None:
    prices = random_walk_prices(seed, n_sessions=60, n_tickers=tickers, with_gaps=True)
    positions = random_positions(prices, seed)
    execution = ExecutionSpec.model_validate({"fill": fill})
    benchmark = backtest_with_benchmark(positions, prices, execution, sessions_per_year=252).benchmark
    assert benchmark is not None
    weight, turnover = buy_and_hold(positions, prices, execution)
    np.testing.assert_allclose(benchmark.weight, weight, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(benchmark.turnover, turnover, rtol=1e-9, atol=1e-12)


def test_next_open_without_opens_raises() -> None:
    prices = random_walk_prices(3, n_sessions=30)
    closed = replace(prices, open=np.full_like(prices.open, np.nan))
    with pytest.raises(DataError, match="fill next_open needs opens, and T0 has none on 2010-01-04; use next_close"):
        backtest(constant_positions(closed, 1.0), closed, fill="next_open")


def test_first_decision_on_the_last_session_raises() -> None:
    prices = hand_made([100, 101, 102])
    with pytest.raises(DataError, match="first decision is made on 2020-01-07 and prices end on 2020-01-08"):
        backtest(constant_positions(prices, 1.0, first=1), prices, fill="next_close")
