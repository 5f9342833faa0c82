"""Made-up markets for tests: random prices, and other futures for the same past."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from quantlr.data.tables import Bars
from quantlr.data.universe import aligned
from quantlr.types import Array, Prices

FUTURES = ("noise", "mirror", "cut")


def random_bars(rng: np.random.Generator, dates: pd.DatetimeIndex) -> Bars:
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


def random_walk(seed: int, *, sessions: int, tickers: int = 1, holes: bool = False) -> Prices:
    """Return prices of several random walks; with `holes`, tickers start late, end early and skip days."""
    rng = np.random.default_rng(seed)
    dates = pd.bdate_range("2010-01-04", periods=sessions).as_unit("us")
    bars: dict[str, Bars] = {}
    for at in range(tickers):
        mine = random_bars(rng, dates)
        if holes and at:
            there = rng.random(sessions) > 0.1
            there[: rng.integers(0, sessions // 4)] = False
            there[sessions - int(rng.integers(0, sessions // 5)) :] = False
            mine = mine[there]
        bars[f"T{at}"] = mine
    return aligned(bars, source="made up", sha256="", notes=[])


def from_log_returns(returns: Array) -> Prices:
    """Return prices that begin at 100 and move by these log returns, (sessions - 1, tickers); opens equal closes."""
    sessions, tickers = returns.shape[0] + 1, returns.shape[1]
    close = 100.0 * np.exp(np.concatenate([np.zeros((1, tickers)), np.cumsum(returns, axis=0)]))
    ones = np.ones_like(close)
    return Prices(
        tickers=tuple(f"T{at}" for at in range(tickers)),
        sessions=pd.date_range("1900-01-01", periods=sessions, unit="us"),
        session=np.repeat(np.arange(sessions)[:, None], tickers, axis=1),
        open=close,
        high=close,
        low=close,
        close=close,
        volume=ones,
        raw_close=close,
        adjustment=ones,
    )


def with_future(prices: Prices, *, after: int, kind: str, seed: int = 0) -> Prices:
    """Return the same prices up to session `after`, and something else from the next session on."""
    if kind == "cut":
        return prices.before(after + 1)
    rng = np.random.default_rng(seed)
    later = prices.session > after
    last = np.where(prices.session <= after, prices.close, np.nan)
    past_close = pd.DataFrame(last).ffill().to_numpy()

    def other(values: Array) -> Array:
        moved = values * np.exp(rng.normal(0, 0.2, values.shape)) if kind == "noise" else past_close**2 / values
        return np.where(later, np.where(np.isnan(moved), values, moved), values)

    high, low = other(prices.high), other(prices.low)
    return replace(
        prices,
        open=other(prices.open),
        high=np.fmax(high, low),
        low=np.fmin(high, low),
        close=other(prices.close),
        volume=np.where(later, prices.volume * rng.integers(2, 50, prices.volume.shape), prices.volume),
    )
