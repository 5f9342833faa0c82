"""The backtest: from positions to equity, with fills, drift, costs, borrow and interest, session by session.

A decision of session t's close is filled at t's own close, at the next open or at the next close, and earns from that
price to the same kind of price one session later. With w the weights after trading, and r the returns,

    gross return = sum(w r) + (1 - sum w) interest
    drifted_i    = w_i (1 + r_i) / (1 + sum_j w_j r_j)                     of the session before
    cost         = rate * sum |w - drifted| + sum max(-w, 0) borrow + max(sum w - 1, 0) financing
    net return   = gross return - cost

Interest, borrow and financing over a session are (1 + annual rate) ^ (days / 365.25) - 1, with the days between its
fills; where the config states the sessions per year, annual rate / sessions per year.

The rate of a trade is commission and slippage; with a spread, half of it as known at the close of the decision; and
with a commission per share, that over the price as quoted: |w - drifted| * equity * capital / price shares are traded.
An order whose fee is below the minimum pays the minimum (`costs.TradingCosts`).

Costs and interest are not in the drift's denominator. The first trade is charged, the last position stays open,
and a decision that can no longer earn is not charged. A ticker without a bar is not traded: its weight drifts with a
return of 0. Nor is one whose trading was halted, or bought at an upper or sold at a lower price limit (`halts`): orders
wait. After its last bar it is cash: the remaining position is sold at that bar. Only bars at which the
ticker is a member of the universe count.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from quantlr.backtest.benchmark import Benchmark, BenchmarkTicker
from quantlr.backtest.cash_rate import annual_cash_rates
from quantlr.backtest.costs import ExecutionSpec, TradingCosts, borrow_cost, financing_cost, make_trading_costs
from quantlr.backtest.halts import halted_mask, limit_side
from quantlr.core.errors import DataError
from quantlr.core.frequency import interest_between_fills
from quantlr.core.price_series import keep_member_values
from quantlr.core.timing import iso_date
from quantlr.core.values import PRICE_ARRAYS, Array, BacktestResult, BoolArray, IntArray, Note, Positions, Prices

MIN_ORDER_WEIGHT = 1e-9
"""Change of a weight, as a fraction of equity, below which there is no order."""


def backtest_with_benchmark(
    positions: Positions,
    prices: Prices,
    execution: ExecutionSpec,
    *,
    sessions_per_year: int,
    benchmark: Benchmark = "buy_and_hold",
) -> BacktestResult:
    """Return the backtest of positions, with that of the benchmark over the same sessions and with the same costs.

    Raises
    ------
    DataError : no decision is early enough to earn a return, or the fill needs opens and one is missing.
    """
    market = _prepare_market_data(positions, prices, execution)
    held = market.weights_after_trading(positions)
    strategy = _backtest_weights(market, held, execution, sessions_per_year)
    strategy = replace(strategy, notes=(*strategy.notes, *market.waiting_order_notes(positions, held)))
    if isinstance(benchmark, BenchmarkTicker):
        result = _backtest_benchmark_ticker(positions, prices, execution, sessions_per_year)
        strategy = replace(strategy, notes=strategy.notes + result.notes)
    else:
        weight = BENCHMARK_WEIGHTS[benchmark](market, positions)
        result = _backtest_weights(market, weight, execution, sessions_per_year)
    n_sessions = min(len(strategy.equity), len(result.equity))
    return replace(truncate_backtest(strategy, n_sessions), benchmark=truncate_backtest(result, n_sessions))


def backtest_positions(
    positions: Positions, prices: Prices, execution: ExecutionSpec, *, sessions_per_year: int
) -> BacktestResult:
    """Return the same without a benchmark."""
    market = _prepare_market_data(positions, prices, execution)
    return _backtest_weights(market, market.weights_after_trading(positions), execution, sessions_per_year)


@dataclass(frozen=True, slots=True)
class _MarketData:
    """Fill prices, returns and costs from the first fill to the last price.

    Attributes
    ----------
    tickers, fill_dates : as in `BacktestResult`.
    fill_price : (fills, tickers) NaN where a ticker has no bar.
    last_bar_index : (tickers,) the last fill at which the ticker has a bar; negative if it is before the first fill.
    leaves_universe_mask : (tickers,) whether prices follow it, at which the ticker is no member.
    returns : (sessions, tickers) from one fill to the next, 0 where the ticker has no bar at the end.
    is_halted, limit : (sessions, tickers) whether trading is halted at the fill that begins the session, and the price
        limit it is at: 1 the upper, -1 the lower, 0 none; neither at a ticker's last bar.
    first_decision_index : position of the session whose decision is filled first.
    trading_costs : of orders, fill by fill.
    """

    tickers: tuple[str, ...]
    fill_dates: pd.DatetimeIndex
    fill_price: Array
    last_bar_index: IntArray
    leaves_universe_mask: BoolArray
    returns: Array
    is_halted: BoolArray
    limit: IntArray
    first_decision_index: int
    trading_costs: TradingCosts

    @property
    def n_sessions(self) -> int:
        """Number of returns."""
        return len(self.returns)

    @property
    def has_bar_mask(self) -> BoolArray:
        """(sessions, tickers) whether the ticker trades at the fill that begins the session."""
        return np.asarray(~np.isnan(self.fill_price[:-1]))

    def target_weights(self, decided_weight: Array) -> Array:
        """Return the latest decision that can be filled at each fill, (sessions, tickers); 0 before the first."""
        decided = decided_weight[self.first_decision_index : self.first_decision_index + self.n_sessions]
        targets = np.nan_to_num(pd.DataFrame(decided).ffill().to_numpy())
        is_over = np.arange(self.n_sessions)[:, None] >= self.last_bar_index
        return np.where(is_over & (self.last_bar_index < self.n_sessions), 0.0, targets)

    def weights_after_trading(self, positions: Positions) -> Array:
        """Return the weights after trading: the targets, or the drifted weight where an order can't be filled."""
        weight = self.target_weights(positions.weight)
        no_bar = ~self.has_bar_mask & (np.arange(self.n_sessions)[:, None] < self.last_bar_index)
        is_closed = no_bar | self.is_halted
        for session in np.flatnonzero((is_closed | (self.limit != 0)).any(axis=1)).tolist():
            drifted = self.drifted_weights_before(session, weight)
            at_limit = (self.limit[session] != 0) & (np.sign(weight[session] - drifted) == self.limit[session])
            weight[session] = np.where(is_closed[session] | at_limit, drifted, weight[session])
        return weight

    def waiting_order_notes(self, positions: Positions, weight: Array) -> tuple[Note, ...]:
        """Return a note for each ticker with orders that waited at a halt or a limit; `weight` is after trading."""
        is_waiting = np.abs(self.target_weights(positions.weight) - weight) > MIN_ORDER_WEIGHT
        is_waiting &= self.is_halted | (self.limit != 0)
        text = "orders waited: trading was halted (volume 0), or at a price limit"
        return tuple(
            Note("backtest", text, self.tickers[i], iso_date(self.fill_dates[int(is_waiting[:, i].argmax())]), count)
            for i, count in enumerate(is_waiting.sum(axis=0).tolist())
            if count
        )

    def drifted_weights_before(self, session_index: int, weight: Array) -> Array:
        """Return the weights, (tickers,), that those of the session before have become; 0 at the first session."""
        recent = slice(max(session_index - 1, 0), session_index + 1)
        return np.asarray(drifted_weights(weight[recent], weight[recent] * self.returns[recent])[-1])


def _prepare_market_data(positions: Positions, prices: Prices, execution: ExecutionSpec) -> _MarketData:
    sessions, has_decision = positions.sessions, ~np.isnan(positions.weight)
    is_traded = np.asarray(has_decision.any(axis=0))
    close = prices.bars_to_sessions(keep_member_values(prices, prices.close))
    price = close
    if execution.fill == "next_open":
        price = prices.bars_to_sessions(keep_member_values(prices, prices.open))
    missing = np.isnan(price) & ~np.isnan(close) & is_traded
    if missing.any():
        session, ticker = np.argwhere(missing)[0]
        text = f"fill next_open needs opens, and {positions.tickers[ticker]} has none on {iso_date(sessions[session])}"
        raise DataError(f"{text}; use next_close", key="execution.fill")
    first = int(np.flatnonzero(has_decision.any(axis=1))[0])
    start = first + execution.fill_delay_sessions
    n_sessions = len(price) - start - 1
    if n_sessions < 1:
        text = f"the first decision is made on {iso_date(sessions[first])} and prices end on {iso_date(sessions[-1])}"
        advice = "there is no return; fetch a longer history or shorten walk_forward.train"
        raise DataError(f"{text}: {advice}", key="walk_forward.train")
    last_bar = np.where(~np.isnan(price), np.arange(len(price))[:, None], -1).max(axis=0)
    carried = pd.DataFrame(price).ffill().to_numpy()[start:]
    is_halted, limit = _no_trade_bars(prices)
    is_before_last = np.arange(len(price))[start:-1, None] < last_bar
    decision_slice = slice(first, first + n_sessions)
    return _MarketData(
        tickers=positions.tickers,
        fill_dates=sessions[start:],
        fill_price=price[start:],
        last_bar_index=last_bar - start,
        leaves_universe_mask=last_bar < prices.session.max(axis=0),
        returns=pd.DataFrame(carried[1:] / carried[:-1] - 1.0).fillna(0.0).to_numpy(),
        is_halted=is_halted[start:-1] & is_before_last,
        limit=np.where(is_before_last, limit[start:-1], 0),
        first_decision_index=first,
        trading_costs=make_trading_costs(prices, execution, traded_mask=is_traded, decision_slice=decision_slice),
    )


def _no_trade_bars(prices: Prices) -> tuple[BoolArray, IntArray]:
    """Return whether trading is halted, and the price limit, at each session, (sessions, tickers) each."""
    halted, limit = halted_mask(prices), limit_side(prices)
    if not (halted.any() or limit.any()):
        shape = len(prices.sessions), len(prices.tickers)
        return np.zeros(shape, dtype=np.bool_), np.zeros(shape, dtype=np.int64)
    by_session = [np.nan_to_num(prices.bars_to_sessions(values.astype(np.float64))) for values in (halted, limit)]
    return by_session[0] > 0, by_session[1].astype(np.int64)


def _backtest_weights(
    market: _MarketData, weight: Array, execution: ExecutionSpec, sessions_per_year: int
) -> BacktestResult:
    """Return the backtest of weights after trading, (sessions, tickers), which ends at ruin."""
    ticker_gross_return = weight * market.returns
    drifted = drifted_weights(weight, ticker_gross_return)
    traded = np.abs(weight - drifted)
    carry_cost = borrow_cost(weight, market.fill_dates, execution, sessions_per_year=sessions_per_year)
    carry_cost += financing_cost(weight, market.fill_dates, execution, sessions_per_year=sessions_per_year)
    annual_rates = annual_cash_rates(execution.cash_rate, market.fill_dates[1:])
    session_cash_rate = interest_between_fills(annual_rates, market.fill_dates, sessions_per_year)
    cash_return = (1.0 - weight.sum(axis=1)) * session_cash_rate
    gross_return = ticker_gross_return.sum(axis=1) + cash_return
    ticker_cost = market.trading_costs.order_costs(traded, gross_return, other_costs=carry_cost) + carry_cost
    cost = ticker_cost.sum(axis=1)
    net_return = gross_return - cost
    result = BacktestResult(
        tickers=market.tickers,
        fill_dates=market.fill_dates,
        price=market.fill_price,
        weight=weight,
        ticker_return=market.returns,
        ticker_gross_return=ticker_gross_return,
        ticker_cost=ticker_cost,
        gross_return=gross_return,
        cash_return=cash_return,
        cost=cost,
        net_return=net_return,
        equity=np.cumprod(1.0 + net_return),
        exposure=np.abs(weight).sum(axis=1),
        turnover=traded.sum(axis=1),
        session_cash_rate=session_cash_rate,
        notes=_forced_sale_notes(market, drifted),
    )
    ruin = np.flatnonzero(1.0 + net_return <= 0)
    if not len(ruin):
        return result
    result = truncate_backtest(result, int(ruin[0]) + 1)
    note = Note("backtest", "equity fell to 0 and the backtest ends there", date=iso_date(result.fill_dates[-1]))
    return replace(result, equity=np.append(result.equity[:-1], 0.0), notes=(*result.notes, note))


def drifted_weights(weight: Array, weighted_returns: Array) -> Array:
    """Return the weights before trading in each session, (sessions, tickers): those of the session before, drifted.

    0 at the first session.

    Parameters
    ----------
    weight, weighted_returns : (sessions, tickers) weights after trading, and weight times return.
    """
    growth = 1.0 + weighted_returns.sum(axis=1, keepdims=True)
    drifted = np.zeros_like(weight)
    np.divide((weight + weighted_returns)[:-1], growth[:-1], out=drifted[1:], where=growth[:-1] > 0)
    return drifted


def _forced_sale_notes(market: _MarketData, drifted_weight: Array) -> tuple[Note, ...]:
    """Return a note for each position that was sold because its ticker has no later bar as a member."""
    last_bar = market.last_bar_index
    texts = "sold at its last bar, with cost: no prices follow", "sold at the end of its membership, with cost"
    tickers = np.flatnonzero((last_bar >= 0) & (last_bar < market.n_sessions)).tolist()
    return tuple(
        Note(
            "backtest",
            texts[int(market.leaves_universe_mask[index])],
            ticker=market.tickers[index],
            date=iso_date(market.fill_dates[last_bar[index]]),
        )
        for index in tickers
        if drifted_weight[last_bar[index], index] != 0
    )


def truncate_backtest(result: BacktestResult, n_sessions: int) -> BacktestResult:
    """Return the first sessions of a backtest."""
    if n_sessions >= len(result.equity):
        return result
    values: dict[str, Any] = {field.name: getattr(result, field.name) for field in fields(result)}
    arrays = {name: values[name][:n_sessions] for name in values if isinstance(values[name], np.ndarray)}
    arrays |= {name: values[name][: n_sessions + 1] for name in ("fill_dates", "price")}
    return replace(result, **arrays)


def drop_earlier_decisions(positions: Positions, first_session: int) -> Positions:
    """Return the decisions of a session, given by its position, and of later ones."""
    is_earlier = np.arange(len(positions.sessions)) < first_session
    return replace(positions, weight=np.where(is_earlier[:, None], np.nan, positions.weight))


def _has_been_forecast_mask(market: _MarketData, positions: Positions) -> BoolArray:
    """Return whether each ticker is between its first forecast and its last bar, (sessions, tickers)."""
    return np.asarray(market.target_weights(np.where(np.isnan(positions.weight), np.nan, 1.0)) > 0)


def _buy_and_hold_weights(market: _MarketData, positions: Positions) -> Array:
    """Return the weights of buying the tickers with a forecast in equal parts, and holding until that set changes.

    A ticker belongs to the set from its first forecast to its last bar. When the set changes, all weights are made
    equal again; a ticker without a bar at that moment keeps its weight, and the others share the rest.
    """
    is_member = _has_been_forecast_mask(market, positions)
    changes = np.flatnonzero((is_member[1:] != is_member[:-1]).any(axis=1)) + 1
    weight = np.zeros((market.n_sessions, len(market.tickers)))
    for first, stop in pairwise([0, *changes.tolist(), market.n_sessions]):
        is_traded = is_member[first] & market.has_bar_mask[first]
        start = np.where(is_member[first] & ~is_traded, market.drifted_weights_before(first, weight), 0.0)
        start[is_traded] = (1.0 - start.sum()) / max(int(is_traded.sum()), 1)
        growth = np.cumprod(1.0 + market.returns[first : stop - 1], axis=0)
        value = np.concatenate([start[None, :], start * growth])
        weight[first:stop] = value / (1.0 - start.sum() + value.sum(axis=1, keepdims=True))
    return weight


def _equal_weights(market: _MarketData, positions: Positions) -> Array:
    """Return equal weights of the tickers from their first forecast to their last bar, made equal every session.

    A ticker without a bar, or halted, keeps its drifted weight, and the others share the rest.
    """
    is_member = _has_been_forecast_mask(market, positions)
    is_traded = is_member & market.has_bar_mask & ~market.is_halted
    weight = is_traded / np.maximum(is_traded.sum(axis=1, keepdims=True), 1)
    is_kept = is_member & ~is_traded
    for session in np.flatnonzero(is_kept.any(axis=1)).tolist():
        kept = np.where(is_kept[session], market.drifted_weights_before(session, weight), 0.0)
        weight[session] = kept + (1.0 - kept.sum()) * weight[session]
    return np.asarray(weight)


def _no_weights(market: _MarketData, positions: Positions) -> Array:
    return np.zeros((market.n_sessions, len(market.tickers)))


BENCHMARK_WEIGHTS = {"buy_and_hold": _buy_and_hold_weights, "cash": _no_weights, "equal_weight": _equal_weights}
"""Functions of market and positions that return a benchmark's weights after trading, by its name in the config."""


def _backtest_benchmark_ticker(
    positions: Positions, prices: Prices, execution: ExecutionSpec, sessions_per_year: int
) -> BacktestResult:
    """Return the backtest of holding the benchmark's ticker from the first decision on.

    Its bars on other dates than the run's sessions are left out.
    """
    if prices.benchmark is None:
        raise DataError(
            "the prices of the benchmark's ticker are needed, and its source has none; choose another",
            key="report.benchmark",
        )
    on_sessions = _bars_on_sessions(prices.benchmark, positions.sessions)
    is_decided = ~np.isnan(positions.weight).all(axis=1)
    weight = np.where(is_decided, 1.0, np.nan)[:, None]
    held = Positions(on_sessions.tickers, positions.sessions, weight)
    result = backtest_positions(held, on_sessions, execution, sessions_per_year=sessions_per_year)
    n_without = int(np.isnan(result.price).sum())
    if not n_without:
        return result
    text = "the benchmark has no bar on sessions of the run; it is in cash before its first bar, and after its last"
    note = Note("backtest", text, ticker=on_sessions.tickers[0], count=n_without, key="report.benchmark")
    return replace(result, notes=(*result.notes, note))


def _bars_on_sessions(prices: Prices, sessions: pd.DatetimeIndex) -> Prices:
    """Return the bars of a single ticker that are on one of some sessions, as prices on those sessions.

    Raises
    ------
    DataError : there is none.
    """
    rows = np.flatnonzero(prices.sessions.isin(sessions))
    if not len(rows):
        text = f"{prices.tickers[0]} has no bar on any session of the run, {iso_date(sessions[0])} to"
        raise DataError(f"{text} {iso_date(sessions[-1])}; choose another benchmark", key="report.benchmark")
    columns: dict[str, Any] = {name: getattr(prices, name)[rows] for name in PRICE_ARRAYS}
    session = sessions.get_indexer(prices.sessions[rows]).astype(np.int64)[:, None]
    return replace(prices, sessions=sessions, session=session, **columns)
