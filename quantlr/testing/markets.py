"""Made-up markets: random prices, and one ticker of them alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from quantlr.core.values import Prices
from quantlr.data.csv.bars import BarFrame
from quantlr.data.prices import prices_from_bars

PRICE_FIELDS = ("open", "high", "low", "close", "volume", "raw_close", "adjustment")


def random_walk_bars(rng: np.random.Generator, dates: pd.DatetimeIndex) -> BarFrame:
    """Return bars of a geometric random walk with some days of no change."""
    steps = rng.normal(0, 0.01, len(dates)) * (rng.random(len(dates)) > 0.05)
    close = 50.0 * np.exp(np.cumsum(steps))
    opens = close * np.exp(rng.normal(0, 0.003, len(dates)))
    spread = np.exp(np.abs(rng.normal(0, 0.004, len(dates))))
    return pd.DataFrame(
        {
            "open": opens,
            "high": np.maximum(opens, close) * spread,
            "low": np.minimum(opens, close) / spread,
            "close": close,
            "adj_close": close,
            "volume": rng.integers(1_000, 9_000, len(dates)).astype(float),
        },
        index=dates,
    )


def random_walk_prices(
    seed: int, *, n_sessions: int, n_tickers: int = 1, with_gaps: bool = False, context_tickers: Sequence[str] = ()
) -> Prices:
    """Return prices of several random walks, T0, T1 and so on.

    With `holes`, all but T0 start late, end early and skip days. Tickers of `context` have a bar on every session, and
    on Saturdays.
    """
    rng = np.random.default_rng(seed)
    dates = pd.bdate_range("2010-01-04", periods=n_sessions).as_unit("us")
    bars: dict[str, BarFrame] = {}
    for at in range(n_tickers):
        mine = random_walk_bars(rng, dates)
        if with_gaps and at:
            there = rng.random(n_sessions) > 0.1
            there[: rng.integers(0, n_sessions // 4)] = False
            there[n_sessions - int(rng.integers(0, n_sessions // 5)) :] = False
            mine = mine[there]
        bars[f"T{at}"] = mine
    prices = prices_from_bars(bars, source="made up", sha256="", notes=[])
    if not context_tickers:
        return prices
    days = pd.date_range(dates[0], dates[-1], freq="D").as_unit("us")
    beside = {name: random_walk_bars(rng, days[days.day_of_week != 6]) for name in context_tickers}
    return replace(prices, context=prices_from_bars(beside, source="made up", sha256="", notes=[]))


def single_ticker_prices(prices: Prices, ticker_index: int) -> Prices:
    """Return the ticker at that position, on its own sessions, beside the same context."""
    bars = int(prices.n_bars[ticker_index])
    own = prices.session[:bars, ticker_index]
    fields: dict[str, Any] = {
        name: getattr(prices, name)[:bars, ticker_index : ticker_index + 1] for name in PRICE_FIELDS
    }
    return replace(
        prices,
        tickers=(prices.tickers[ticker_index],),
        sessions=prices.sessions[own],
        session=np.arange(bars, dtype=np.int64)[:, None],
        **fields,
    )
