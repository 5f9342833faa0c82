"""From positions to equity: fills, drift, costs, borrow and cash, session by session.

A decision of session t's close is filled at t's own close, at the next open or at the next close, and earns from that
price to the same kind of price one session on. With w the weights held after trading, and r the returns,

    gross return = sum(w r) + (1 - sum w) cash_rate / sessions_per_year
    drifted_i    = w_i (1 + r_i) / (1 + sum_j w_j r_j)                     from the session before
    cost         = rate * sum |w - drifted| + sum max(-w, 0) borrow / sessions_per_year
    net return   = gross return - cost

The rate of a trade is commission and slippage; where a spread is asked for, half of it as it was known at the close of
the decision; and for a commission per share, that over the price as it was quoted: |w - drifted| * equity * capital /
price shares change hands. An order that pays less than the least fee pays that (`costs.Tolls`).

Costs, borrow and interest stay out of the drift's denominator. The first trade is paid for, the last position stays
open, and a decision that can't earn any more is not charged. Where a ticker has no bar it doesn't trade: its weight
drifts at a return of 0. After its last bar it is cash: what is left of it is sold there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pandas as pd

from quantlr.backtest.costs import ExecutionSpec, TradingCosts, borrow_cost, make_trading_costs
from quantlr.core.arrays import Array, BoolArray, IntArray
from quantlr.core.errors import DataError
from quantlr.core.progress import Note, iso_date
from quantlr.core.values import BacktestResult, Positions, Prices


def backtest_with_benchmark(
    positions: Positions, prices: Prices, execution: ExecutionSpec, *, sessions_per_year: int
) -> BacktestResult:
    """Return what `positions` would have earned, beside buy and hold of the same tickers.

    Raises
    ------
    DataError : no decision is early enough to earn, or the fill wants opens and there are none.
    """
    market = _prepare_market_data(positions, prices, execution)
    result = _backtest_weights(
        market, market.weights_after_trading(market.target_weights(positions.weight)), execution, sessions_per_year
    )
    benchmark = _backtest_weights(market, _buy_and_hold_weights(market, positions), execution, sessions_per_year)
    both = min(len(result.equity), len(benchmark.equity))
    return replace(truncate_backtest(result, both), benchmark=truncate_backtest(benchmark, both))


def backtest_positions(
    positions: Positions, prices: Prices, execution: ExecutionSpec, *, sessions_per_year: int
) -> BacktestResult:
    """Return the same without a benchmark beside it."""
    market = _prepare_market_data(positions, prices, execution)
    return _backtest_weights(
        market, market.weights_after_trading(market.target_weights(positions.weight)), execution, sessions_per_year
    )


@dataclass(frozen=True, slots=True)
class _MarketData:
    """What can be traded when: fill prices and returns from the first fill to the last price.

    Attributes
    ----------
    tickers, fills, price : as in `BacktestResult`.
    has_bar : (fills, tickers) whether the ticker trades at that fill.
    last_bar : (tickers,) the last fill at which it does; negative where it is before the first.
    returns : (sessions, tickers) from one fill to the next, 0 where the ticker has no bar to end it.
    first_decision : position of the session whose decision is filled first.
    tolls : what orders cost, fill by fill.
    """

    tickers: tuple[str, ...]
    fill_dates: pd.DatetimeIndex
    fill_price: Array
    has_bar: BoolArray
    last_bar_index: IntArray
    returns: Array
    first_decision_index: int
    trading_costs: TradingCosts

    @property
    def n_sessions(self) -> int:
        """Number of returns."""
        return len(self.returns)

    def target_weights(self, decided_weight: Array) -> Array:
        """Return the newest decision that can be filled at each fill, (sessions, tickers); 0 before the first."""
        decided = decided_weight[self.first_decision_index : self.first_decision_index + self.n_sessions]
        at = np.where(~np.isnan(decided), np.arange(self.n_sessions)[:, None], -1)
        np.maximum.accumulate(at, axis=0, out=at)
        newest = np.take_along_axis(decided, np.maximum(at, 0), axis=0)
        targets = np.where(at >= 0, newest, 0.0)
        gone = np.arange(self.n_sessions)[:, None] >= self.last_bar_index
        return np.where(gone & (self.last_bar_index < self.n_sessions), 0.0, targets)

    def weights_after_trading(self, target_weight: Array) -> Array:
        """Return the weights held: the targets, but what drifted where a ticker has no bar to trade at."""
        held = target_weight.copy()
        closed = ~self.has_bar[: self.n_sessions] & (np.arange(self.n_sessions)[:, None] < self.last_bar_index)
        for session in np.flatnonzero(closed.any(axis=1)).tolist():
            before = self.drift_one_session(held[session - 1], session - 1) if session else np.zeros(len(self.tickers))
            held[session, closed[session]] = before[closed[session]]
        return held

    def drift_one_session(self, weight: Array, session_index: int) -> Array:
        """Return what weights held over `session` have become at its end."""
        earned = weight * self.returns[session_index]
        return np.asarray((weight + earned) / (1.0 + earned.sum()))


def _prepare_market_data(positions: Positions, prices: Prices, execution: ExecutionSpec) -> _MarketData:
    price = prices.bars_to_sessions(prices.open if execution.fill == "next_open" else prices.close)
    traded = np.asarray(~np.isnan(positions.weight).all(axis=0))
    missing = np.isnan(price[:, traded]) & ~np.isnan(prices.bars_to_sessions(prices.close)[:, traded])
    if missing.any():
        session, ticker = np.argwhere(missing)[0]
        name = np.array(positions.tickers)[traded][ticker]
        raise DataError(
            f"fill next_open needs opens, and {name} has none on {iso_date(positions.sessions[session])}; use next_close",
            key="execution.fill",
        )
    first = int(np.flatnonzero(~np.isnan(positions.weight).all(axis=1))[0])
    start = first + execution.fill_delay_sessions
    if len(price) - start < 2:
        raise DataError(
            f"the first decision is made on {iso_date(positions.sessions[first])} and prices end on "
            f"{iso_date(positions.sessions[-1])}: nothing can be earned; fetch a longer history or shorten "
            "walk_forward.train",
            key="walk_forward.train",
        )
    last_seen = np.where(~np.isnan(price), np.arange(len(price))[:, None], -1)
    last_bar = last_seen.max(axis=0) - start
    np.maximum.accumulate(last_seen, axis=0, out=last_seen)
    carried = np.take_along_axis(price, np.maximum(last_seen, 0), axis=0)[start:]
    moved = carried[1:] / carried[:-1] - 1.0
    return _MarketData(
        tickers=positions.tickers,
        fill_dates=positions.sessions[start:],
        fill_price=price[start:],
        has_bar=~np.isnan(price[start:]),
        last_bar_index=last_bar,
        returns=np.where(np.isnan(moved), 0.0, moved),
        first_decision_index=first,
        trading_costs=make_trading_costs(
            prices,
            execution,
            traded_mask=traded,
            decision_sessions=slice(first, first + len(moved)),
            fill_sessions=slice(start, start + len(moved)),
        ),
    )


def _backtest_weights(
    market: _MarketData, weight: Array, execution: ExecutionSpec, sessions_per_year: int
) -> BacktestResult:
    """Return what weights earn; ruin ends it."""
    returns = market.returns
    earned = weight * returns
    drifted = drifted_weights(weight, earned)
    traded = np.abs(weight - drifted)
    borrow = borrow_cost(weight, execution, sessions_per_year=sessions_per_year)
    cash = execution.cash_rate / sessions_per_year
    cash_return = (1.0 - weight.sum(axis=1)) * cash
    gross_return = earned.sum(axis=1) + cash_return
    ticker_cost = market.trading_costs.order_costs(traded, gross_return, other_costs=borrow) + borrow
    cost = ticker_cost.sum(axis=1)
    net_return = gross_return - cost
    equity = np.cumprod(1.0 + net_return)
    result = BacktestResult(
        tickers=market.tickers,
        fill_dates=market.fill_dates,
        price=market.fill_price,
        weight=weight,
        ticker_gross_return=earned,
        ticker_cost=ticker_cost,
        gross_return=gross_return,
        cash_return=cash_return,
        cost=cost,
        net_return=net_return,
        equity=equity,
        exposure=np.abs(weight).sum(axis=1),
        turnover=traded.sum(axis=1),
        session_cash_rate=cash,
        notes=_forced_sale_notes(market, drifted),
    )
    ruin = np.flatnonzero(1.0 + net_return <= 0)
    return _truncate_at_ruin(result, int(ruin[0])) if len(ruin) else result


def drifted_weights(weight: Array, weighted_returns: Array) -> Array:
    """Return what the weights of each session before have become when it begins, (sessions, tickers); 0 at the first.

    Parameters
    ----------
    weight, earned : (sessions, tickers) what was held, and weight times return.
    """
    growth = 1.0 + weighted_returns.sum(axis=1, keepdims=True)
    drifted = np.zeros_like(weight)
    np.divide((weight + weighted_returns)[:-1], growth[:-1], out=drifted[1:], where=growth[:-1] > 0)
    return drifted


def _forced_sale_notes(market: _MarketData, drifted_weight: Array) -> tuple[Note, ...]:
    """Return a note for each holding that was sold because its ticker has no later bar."""
    notes = []
    for ticker, last in enumerate(market.last_bar_index):
        if 0 <= last < market.n_sessions and drifted_weight[last, ticker] != 0:
            text = "sold at its last bar, with cost: no prices follow"
            notes.append(Note("backtest", text, ticker=market.tickers[ticker], date=iso_date(market.fill_dates[last])))
    return tuple(notes)


def _truncate_at_ruin(result: BacktestResult, session_index: int) -> BacktestResult:
    """Return the result up to the session that lost everything, its equity 0."""
    ended = truncate_backtest(result, session_index + 1)
    equity = ended.equity.copy()
    equity[-1] = 0.0
    note = Note("backtest", "equity fell to 0 and the backtest ends there", date=iso_date(ended.fill_dates[-1]))
    return replace(ended, equity=equity, notes=(*ended.notes, note))


def truncate_backtest(result: BacktestResult, n_sessions: int) -> BacktestResult:
    """Return a result up to some number of sessions."""
    if n_sessions >= len(result.equity):
        return result
    return replace(
        result,
        fill_dates=result.fill_dates[: n_sessions + 1],
        price=result.price[: n_sessions + 1],
        **{
            name: getattr(result, name)[:n_sessions]
            for name in (
                "weight", "ticker_gross_return", "ticker_cost", "gross_return", "cash_return", "cost", "net_return", "equity",
                "exposure", "turnover",
            )
        },
    )  # fmt: skip


def _buy_and_hold_weights(market: _MarketData, positions: Positions) -> Array:
    """Return the weights of buying equally the tickers with a forecast, drifting until that set changes.

    A ticker belongs to the set from its first forecast to its last bar. When the set changes, all are made equal
    again; one without a bar at that moment keeps what it has, and the others share the rest.
    """
    members = market.target_weights(np.where(np.isnan(positions.weight), np.nan, 1.0)) > 0
    changes = np.flatnonzero((members[1:] != members[:-1]).any(axis=1)) + 1
    weight = np.zeros((market.n_sessions, len(market.tickers)))
    for first, last in pairwise([0, *changes.tolist(), market.n_sessions]):
        before = market.drift_one_session(weight[first - 1], first - 1) if first else np.zeros(len(market.tickers))
        trading = members[first] & market.has_bar[first]
        bought = np.where(members[first] & ~trading, before, 0.0)
        bought[trading] = (1.0 - bought.sum()) / max(int(trading.sum()), 1)
        growth = np.cumprod(1.0 + market.returns[first : last - 1], axis=0)
        held = np.concatenate([bought[None, :], bought * growth])
        weight[first:last] = held / (1.0 - bought.sum() + held.sum(axis=1, keepdims=True))
    return weight
