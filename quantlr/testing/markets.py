"""Synthetic prices for tests: random walks of several tickers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from quantlr.core.values import PRICE_ARRAYS, Prices
from quantlr.data.csv.bars import BarFrame
from quantlr.data.prices import prices_from_bars


def random_walk_bars(rng: np.random.Generator, dates: pd.DatetimeIndex) -> BarFrame:
    """Return bars of a geometric random walk; about 5 % of the days have no change."""
    steps = rng.normal(0, 0.01, len(dates)) * (rng.random(len(dates)) > 0.05)
    close = 50.0 * np.exp(np.cumsum(steps))
    opens = close * np.exp(rng.normal(0, 0.003, len(dates)))
    spread = np.exp(np.abs(rng.normal(0, 0.004, len(dates))))
    columns = {
        "open": opens,
        "high": np.maximum(opens, close) * spread,
        "low": np.minimum(opens, close) / spread,
        "close": close,
        "adj_close": close,
        "volume": rng.integers(1_000, 9_000, len(dates)).astype(float),
    }
    return pd.DataFrame(columns, index=dates)


def random_walk_prices(
    seed: int, *, n_sessions: int, n_tickers: int = 1, with_gaps: bool = False, context_tickers: Sequence[str] = ()
) -> Prices:
    """Return random walks of tickers T0, T1, ...

    With `with_gaps`, all but T0 start late, end early and miss about a tenth of the sessions. Context tickers have a
    bar on every session and on Saturdays.
    """
    rng = np.random.default_rng(seed)
    dates = pd.bdate_range("2010-01-04", periods=n_sessions).as_unit("us")
    bars: dict[str, BarFrame] = {}
    for index in range(n_tickers):
        ticker_bars = random_walk_bars(rng, dates)
        if with_gaps and index:
            has_bar = rng.random(n_sessions) > 0.1
            has_bar[: rng.integers(0, n_sessions // 4)] = False
            has_bar[n_sessions - int(rng.integers(0, n_sessions // 5)) :] = False
            ticker_bars = ticker_bars[has_bar]
        bars[f"T{index}"] = ticker_bars
    prices = prices_from_bars(bars, source="made up", sha256="", notes=[])
    if not context_tickers:
        return prices
    days = pd.date_range(dates[0], dates[-1], freq="D").as_unit("us")
    context = {name: random_walk_bars(rng, days[days.day_of_week != 6]) for name in context_tickers}
    return replace(prices, context=prices_from_bars(context, source="made up", sha256="", notes=[]))


def single_ticker_prices(prices: Prices, ticker_index: int) -> Prices:
    """Return the prices of one ticker, on its own sessions, with the same context."""
    n_bars = int(prices.n_bars[ticker_index])
    column = slice(ticker_index, ticker_index + 1)
    fields: dict[str, Any] = {name: getattr(prices, name)[:n_bars, column] for name in PRICE_ARRAYS}
    sessions = prices.sessions[prices.session[:n_bars, ticker_index]]
    session = np.arange(n_bars, dtype=np.int64)[:, None]
    return replace(prices, tickers=prices.tickers[column], sessions=sessions, session=session, **fields)
