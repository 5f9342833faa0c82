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

from quantlr.backtest.costs import ExecutionSpec, Tolls, borrowed, tolls
from quantlr.errors import DataError
from quantlr.types import Array, BacktestResult, BoolArray, IntArray, Note, Positions, Prices, day


def execute(
    positions: Positions, prices: Prices, execution: ExecutionSpec, *, sessions_per_year: int
) -> BacktestResult:
    """Return what `positions` would have earned, beside buy and hold of the same tickers.

    Raises
    ------
    DataError : no decision is early enough to earn, or the fill wants opens and there are none.
    """
    market = _market(positions, prices, execution)
    result = _run(market, market.traded(market.targets(positions.weight)), execution, sessions_per_year)
    benchmark = _run(market, _buy_and_hold(market, positions), execution, sessions_per_year)
    both = min(len(result.equity), len(benchmark.equity))
    return replace(first_sessions(result, both), benchmark=first_sessions(benchmark, both))


def execute_alone(
    positions: Positions, prices: Prices, execution: ExecutionSpec, *, sessions_per_year: int
) -> BacktestResult:
    """Return the same without a benchmark beside it."""
    market = _market(positions, prices, execution)
    return _run(market, market.traded(market.targets(positions.weight)), execution, sessions_per_year)


@dataclass(frozen=True, slots=True)
class _Market:
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
    fills: pd.DatetimeIndex
    price: Array
    has_bar: BoolArray
    last_bar: IntArray
    returns: Array
    first_decision: int
    tolls: Tolls

    @property
    def sessions(self) -> int:
        """Number of returns."""
        return len(self.returns)

    def targets(self, weight: Array) -> Array:
        """Return the newest decision that can be filled at each fill, (sessions, tickers); 0 before the first."""
        decided = weight[self.first_decision : self.first_decision + self.sessions]
        at = np.where(~np.isnan(decided), np.arange(self.sessions)[:, None], -1)
        np.maximum.accumulate(at, axis=0, out=at)
        newest = np.take_along_axis(decided, np.maximum(at, 0), axis=0)
        targets = np.where(at >= 0, newest, 0.0)
        gone = np.arange(self.sessions)[:, None] >= self.last_bar
        return np.where(gone & (self.last_bar < self.sessions), 0.0, targets)

    def traded(self, targets: Array) -> Array:
        """Return the weights held: the targets, but what drifted where a ticker has no bar to trade at."""
        held = targets.copy()
        closed = ~self.has_bar[: self.sessions] & (np.arange(self.sessions)[:, None] < self.last_bar)
        for session in np.flatnonzero(closed.any(axis=1)).tolist():
            before = self.drifted(held[session - 1], session - 1) if session else np.zeros(len(self.tickers))
            held[session, closed[session]] = before[closed[session]]
        return held

    def drifted(self, weight: Array, session: int) -> Array:
        """Return what weights held over `session` have become at its end."""
        earned = weight * self.returns[session]
        return np.asarray((weight + earned) / (1.0 + earned.sum()))


def _market(positions: Positions, prices: Prices, execution: ExecutionSpec) -> _Market:
    price = prices.on_sessions(prices.open if execution.fill == "next_open" else prices.close)
    traded = np.asarray(~np.isnan(positions.weight).all(axis=0))
    missing = np.isnan(price[:, traded]) & ~np.isnan(prices.on_sessions(prices.close)[:, traded])
    if missing.any():
        session, ticker = np.argwhere(missing)[0]
        name = np.array(positions.tickers)[traded][ticker]
        raise DataError(
            f"fill next_open needs opens, and {name} has none on {day(positions.sessions[session])}; use next_close",
            key="execution.fill",
        )
    first = int(np.flatnonzero(~np.isnan(positions.weight).all(axis=1))[0])
    start = first + execution.delay
    if len(price) - start < 2:
        raise DataError(
            f"the first decision is made on {day(positions.sessions[first])} and prices end on "
            f"{day(positions.sessions[-1])}: nothing can be earned; fetch a longer history or shorten "
            "walk_forward.train",
            key="walk_forward.train",
        )
    last_seen = np.where(~np.isnan(price), np.arange(len(price))[:, None], -1)
    last_bar = last_seen.max(axis=0) - start
    np.maximum.accumulate(last_seen, axis=0, out=last_seen)
    carried = np.take_along_axis(price, np.maximum(last_seen, 0), axis=0)[start:]
    moved = carried[1:] / carried[:-1] - 1.0
    return _Market(
        tickers=positions.tickers,
        fills=positions.sessions[start:],
        price=price[start:],
        has_bar=~np.isnan(price[start:]),
        last_bar=last_bar,
        returns=np.where(np.isnan(moved), 0.0, moved),
        first_decision=first,
        tolls=tolls(
            prices,
            execution,
            traded=traded,
            decided=slice(first, first + len(moved)),
            filled=slice(start, start + len(moved)),
        ),
    )


def _run(market: _Market, weight: Array, execution: ExecutionSpec, sessions_per_year: int) -> BacktestResult:
    """Return what weights earn; ruin ends it."""
    returns = market.returns
    earned = weight * returns
    drifted = drifted_weights(weight, earned)
    traded = np.abs(weight - drifted)
    borrow = borrowed(weight, execution, sessions_per_year=sessions_per_year)
    cash = execution.cash_rate / sessions_per_year
    cash_return = (1.0 - weight.sum(axis=1)) * cash
    gross_return = earned.sum(axis=1) + cash_return
    ticker_cost = market.tolls.cost(traded, gross_return, other=borrow) + borrow
    cost = ticker_cost.sum(axis=1)
    net_return = gross_return - cost
    equity = np.cumprod(1.0 + net_return)
    result = BacktestResult(
        tickers=market.tickers,
        fills=market.fills,
        price=market.price,
        weight=weight,
        ticker_gross=earned,
        ticker_cost=ticker_cost,
        gross_return=gross_return,
        cash_return=cash_return,
        cost=cost,
        net_return=net_return,
        equity=equity,
        exposure=np.abs(weight).sum(axis=1),
        turnover=traded.sum(axis=1),
        cash=cash,
        notes=_sold_out(market, drifted),
    )
    ruin = np.flatnonzero(1.0 + net_return <= 0)
    return _ruined(result, int(ruin[0])) if len(ruin) else result


def drifted_weights(weight: Array, earned: Array) -> Array:
    """Return what the weights of each session before have become when it begins, (sessions, tickers); 0 at the first.

    Parameters
    ----------
    weight, earned : (sessions, tickers) what was held, and weight times return.
    """
    growth = 1.0 + earned.sum(axis=1, keepdims=True)
    drifted = np.zeros_like(weight)
    np.divide((weight + earned)[:-1], growth[:-1], out=drifted[1:], where=growth[:-1] > 0)
    return drifted


def _sold_out(market: _Market, drifted: Array) -> tuple[Note, ...]:
    """Return a note for each holding that was sold because its ticker has no later bar."""
    notes = []
    for ticker, last in enumerate(market.last_bar):
        if 0 <= last < market.sessions and drifted[last, ticker] != 0:
            text = "sold at its last bar, with cost: no prices follow"
            notes.append(Note("backtest", text, ticker=market.tickers[ticker], date=day(market.fills[last])))
    return tuple(notes)


def _ruined(result: BacktestResult, at: int) -> BacktestResult:
    """Return the result up to the session that lost everything, its equity 0."""
    ended = first_sessions(result, at + 1)
    equity = ended.equity.copy()
    equity[-1] = 0.0
    note = Note("backtest", "equity fell to 0 and the backtest ends there", date=day(ended.fills[-1]))
    return replace(ended, equity=equity, notes=(*ended.notes, note))


def first_sessions(result: BacktestResult, sessions: int) -> BacktestResult:
    """Return a result up to some number of sessions."""
    if sessions >= len(result.equity):
        return result
    return replace(
        result,
        fills=result.fills[: sessions + 1],
        price=result.price[: sessions + 1],
        **{
            name: getattr(result, name)[:sessions]
            for name in (
                "weight", "ticker_gross", "ticker_cost", "gross_return", "cash_return", "cost", "net_return", "equity",
                "exposure", "turnover",
            )
        },
    )  # fmt: skip


def _buy_and_hold(market: _Market, positions: Positions) -> Array:
    """Return the weights of buying equally the tickers with a forecast, drifting until that set changes.

    A ticker belongs to the set from its first forecast to its last bar. When the set changes, all are made equal
    again; one without a bar at that moment keeps what it has, and the others share the rest.
    """
    members = market.targets(np.where(np.isnan(positions.weight), np.nan, 1.0)) > 0
    changes = np.flatnonzero((members[1:] != members[:-1]).any(axis=1)) + 1
    weight = np.zeros((market.sessions, len(market.tickers)))
    for first, last in pairwise([0, *changes.tolist(), market.sessions]):
        before = market.drifted(weight[first - 1], first - 1) if first else np.zeros(len(market.tickers))
        trading = members[first] & market.has_bar[first]
        bought = np.where(members[first] & ~trading, before, 0.0)
        bought[trading] = (1.0 - bought.sum()) / max(int(trading.sum()), 1)
        growth = np.cumprod(1.0 + market.returns[first : last - 1], axis=0)
        held = np.concatenate([bought[None, :], bought * growth])
        weight[first:last] = held / (1.0 - bought.sum() + held.sum(axis=1, keepdims=True))
    return weight
