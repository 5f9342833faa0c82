"""Slow reference implementations, written from the definitions and independent of the code."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from quantlr.backtest.costs import ExecutionSpec
from quantlr.core.values import Array, Dataset, Positions, Prices
from sklearn import config_context
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def sklearn_probabilities(
    X: Array, y: Array, *, train: int, refit_every: int, rolling: bool, horizon: int, embargo: int = 0, l2: float = 0.0
) -> tuple[list[int], list[float]]:
    """Return rows and probabilities of a walk-forward of one ticker with scikit-learn pipelines.

    `y` is NaN where the label is dropped or not known.
    """
    rows: list[int] = []
    probabilities: list[float] = []
    first = train + horizon - 1 + embargo
    model: Any = None
    varied = np.ones(X.shape[1], dtype=np.bool_)
    for row in range(first, len(X)):
        if (row - first) % refit_every == 0:
            known = [past for past in range(len(X)) if past + horizon <= row - embargo]
            if rolling:
                known = known[-train:]
            known = [past for past in known if not math.isnan(y[past])]
            varied = X[known].std(axis=0) > 0
            C = np.inf if l2 == 0 else 1.0 / (len(known) * l2)
            solver = LogisticRegression(C=C, tol=1e-12, max_iter=100_000, solver="newton-cholesky")
            with config_context(skip_parameter_validation=True):
                model = make_pipeline(StandardScaler(), solver).fit(X[known][:, varied], y[known])
        rows.append(row)
        probabilities.append(float(model.predict_proba(X[row : row + 1, varied])[0, 1]))
    return rows, probabilities


def rows_of(dataset: Dataset, ticker: int = 0) -> tuple[Array, Array]:
    """Return features and labels of one ticker."""
    rows = dataset.ticker == ticker
    return dataset.features[rows], dataset.up[rows]


@dataclass
class Ledger:
    """Results of the loop over sessions, one entry per session."""

    dates: list[Any] = field(default_factory=list)
    weight: list[list[float]] = field(default_factory=list)
    gross: list[float] = field(default_factory=list)
    cost: list[float] = field(default_factory=list)
    net: list[float] = field(default_factory=list)
    equity: list[float] = field(default_factory=list)
    turnover: list[float] = field(default_factory=list)


def no_trade_by_loop(prices: Prices, ticker: int, *, session: int) -> tuple[bool, int]:
    """Return whether a ticker's trading is halted in a session, and the price limit that it is at, bar by bar."""
    bars = [bar for bar in range(len(prices.session)) if 0 <= prices.session[bar, ticker] <= session]
    volume, high, low = (
        [float(field[bar, ticker]) for bar in bars] for field in (prices.volume, prices.high, prices.low)
    )
    if len(bars) < 2:
        return False, 0
    raw, close = ([float(field[bar, ticker]) for bar in bars] for field in (prices.raw_close, prices.close))
    known = [value for value in volume if not math.isnan(value)]
    often = 2 * sum(value > 0 for value in known) >= len(known)
    halted = len(bars) > 20 and volume[-1] == 0 and raw[-1] == raw[-2] and often
    move = close[-1] / close[-2] - 1.0
    ranges = [top > bottom for top, bottom in zip(high, low, strict=True)][-21:-1]
    if len(ranges) < 20 or sum(ranges) < 10 or high[-1] != low[-1] or abs(move) < 0.045:
        return halted, 0
    return halted, 1 if move > 0 else -1


def trade_session_by_session(
    positions: Positions, prices: Prices, execution: ExecutionSpec, *, sessions_per_year: int
) -> Ledger:
    """Return weights, returns and costs of trading the positions, by a loop over sessions."""
    close = prices.bars_to_sessions(prices.close)
    price = prices.bars_to_sessions(prices.open) if execution.fill == "next_open" else close
    raw_price = price / prices.bars_to_sessions(prices.adjustment)
    n_sessions, n_tickers = price.shape
    delay = 0 if execution.fill == "close" else 1
    first = min(t for t in range(n_sessions) if any(not math.isnan(w) for w in positions.weight[t]))
    last_bar = [
        max((t for t in range(n_sessions) if not math.isnan(price[t, i])), default=-1) for i in range(n_tickers)
    ]
    ledger = Ledger()
    weight = [0.0] * n_tickers
    order: list[float] = [0.0] * n_tickers
    last_price: list[float] = [math.nan] * n_tickers
    equity = 1.0
    for t in range(first + delay):
        for i in range(n_tickers):
            if not math.isnan(price[t, i]):
                last_price[i] = price[t, i]
    for t in range(first + delay, n_sessions - 1):
        for i in range(n_tickers):
            for decided_at in range(t - delay + 1):
                if not math.isnan(positions.weight[decided_at, i]):
                    order[i] = positions.weight[decided_at, i]
        cost = turnover = 0.0
        for i in range(n_tickers):
            trades_now = not math.isnan(price[t, i])
            halted, limit = no_trade_by_loop(prices, i, session=t) if trades_now else (True, 0)
            target = order[i] if not halted else weight[i]
            if (limit > 0 and target > weight[i]) or (limit < 0 and target < weight[i]):
                target = weight[i]
            if t >= last_bar[i] and last_bar[i] < n_sessions - 1:
                target = 0.0
            traded = abs(target - weight[i])
            if traded > 1e-9:
                amount = traded * equity * execution.capital
                fees = amount * (execution.commission_bps + execution.slippage_bps) / 1e4
                if execution.spread is not None:
                    fees += amount * corwin_schultz_spread_by_loop(prices, i, session=t - delay) / 2.0
                fees += max(amount / raw_price[t, i] * execution.per_share, execution.min_per_order)
                cost += fees / (equity * execution.capital)
            turnover += traded
            weight[i] = target
            cost += max(-target, 0.0) * execution.borrow_bps_per_year / 1e4 / sessions_per_year
            if trades_now:
                last_price[i] = price[t, i]
        loan = max(sum(weight) - 1.0, 0.0)
        cost += loan * execution.financing_bps_per_year / 1e4 / sessions_per_year
        assert isinstance(execution.cash_rate, float)
        gross = (1.0 - sum(weight)) * execution.cash_rate / sessions_per_year
        returns = []
        for i in range(n_tickers):
            has_prices = not math.isnan(price[t + 1, i]) and not math.isnan(last_price[i])
            returns.append(price[t + 1, i] / last_price[i] - 1.0 if has_prices else 0.0)
        growth = sum(w * r for w, r in zip(weight, returns, strict=True))
        gross += growth
        net = gross - cost
        equity = max(equity * (1.0 + net), 0.0)
        ledger.dates.append(positions.sessions[t + 1])
        ledger.weight.append(list(weight))
        ledger.gross.append(gross)
        ledger.cost.append(cost)
        ledger.net.append(net)
        ledger.equity.append(equity)
        ledger.turnover.append(turnover)
        if equity == 0.0:
            break
        weight = [w * (1.0 + r) / (1.0 + growth) for w, r in zip(weight, returns, strict=True)]
    return ledger


def buy_and_hold(
    positions: Positions, prices: Prices, execution: ExecutionSpec, *, equal_every_session: bool = False
) -> tuple[list[list[float]], list[float]]:
    """Return weights and turnover of buying all tickers with a forecast at equal weights, from numbers of shares.

    Costs are not deducted from the capital: weights drift as if trading were free.
    """
    close = prices.bars_to_sessions(prices.close)
    price = prices.bars_to_sessions(prices.open) if execution.fill == "next_open" else close
    n_sessions, n_tickers = price.shape
    delay = 0 if execution.fill == "close" else 1
    decided = [[not math.isnan(w) for w in row] for row in positions.weight]
    first = next(t for t in range(n_sessions) if any(decided[t]))
    last_bar = [
        max((t for t in range(n_sessions) if not math.isnan(price[t, i])), default=-1) for i in range(n_tickers)
    ]
    shares, cash, members = [0.0] * n_tickers, 1.0, [False] * n_tickers
    last_price = [0.0] * n_tickers
    for t in range(first + delay):
        last_price = [float(p) if not math.isnan(p) else w for p, w in zip(price[t], last_price, strict=True)]
    weights: list[list[float]] = []
    turnover: list[float] = []
    for t in range(first + delay, n_sessions - 1):
        has_price = [not math.isnan(p) for p in price[t]]
        last_price = [float(p) if known else w for p, known, w in zip(price[t], has_price, last_price, strict=True)]
        included = [
            any(decided[session][i] for session in range(t - delay + 1))
            and not (t >= last_bar[i] and last_bar[i] < n_sessions - 1)
            for i in range(n_tickers)
        ]
        value = [s * w for s, w in zip(shares, last_price, strict=True)]
        capital = cash + sum(value)
        traded = 0.0
        if included != members or equal_every_session:
            kept = [value[i] if included[i] and not has_price[i] else 0.0 for i in range(n_tickers)]
            buying = [i for i in range(n_tickers) if included[i] and has_price[i]]
            for i in range(n_tickers):
                target = kept[i] if i not in buying else (capital - sum(kept)) / len(buying)
                traded += abs(target - value[i]) / capital
                shares[i] = target / last_price[i] if last_price[i] else 0.0
            members = included
            value = [s * w for s, w in zip(shares, last_price, strict=True)]
            cash = capital - sum(value)
        weights.append([v / capital for v in value])
        turnover.append(traded)
    return weights, turnover


def corwin_schultz_spread_by_loop(prices: Prices, ticker: int, *, session: int) -> float:
    """Return the mean of the newest 20 Corwin-Schultz spreads that are known at a session's close, 0 if there are none.

    Computed from pairs of successive bars of the ticker, in prices and not in their logarithms.
    """
    bars = [bar for bar in range(len(prices.session)) if 0 <= prices.session[bar, ticker] <= session]
    spreads: list[float] = []
    for before, now in pairwise(bars):
        high0, low0 = prices.high[before, ticker], prices.low[before, ticker]
        high1, low1 = prices.high[now, ticker], prices.low[now, ticker]
        close0 = prices.close[before, ticker]
        moved = 1.0
        if close0 > high1:
            moved = close0 / high1
        elif close0 < low1:
            moved = close0 / low1
        beta = math.log(high0 / low0) ** 2 + math.log(high1 / low1) ** 2
        gamma = math.log(max(high0, high1 * moved) / min(low0, low1 * moved)) ** 2
        k = 3 - 2 * math.sqrt(2)
        alpha = (math.sqrt(2 * beta) - math.sqrt(beta)) / k - math.sqrt(gamma / k)
        spreads.append(max(2 * (math.exp(alpha) - 1) / (1 + math.exp(alpha)), 0.0))
    return float(np.mean(spreads[-20:])) if spreads else 0.0


def hysteresis_positions_by_loop(
    ticker: list[int], enter: list[int], stays_long: list[bool], stays_short: list[bool], *, horizon: int
) -> list[float]:
    """Return the side held after each decision, by a loop with one state per tranche."""
    side_by_tranche: dict[tuple[int, int], int] = {}
    n_decisions: dict[int, int] = {}
    sides: list[float] = []
    for row, name in enumerate(ticker):
        tranche = (name, n_decisions.get(name, 0) % horizon)
        n_decisions[name] = n_decisions.get(name, 0) + 1
        side = side_by_tranche.get(tranche, 0)
        if enter[row]:
            side = enter[row]
        elif (side == 1 and not stays_long[row]) or (side == -1 and not stays_short[row]):
            side = 0
        side_by_tranche[tranche] = side
        sides.append(float(side))
    return sides
