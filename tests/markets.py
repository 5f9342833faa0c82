"""Made-up markets for tests: random prices, and other futures for the same past."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from quantlr.data.tables import Bars
from quantlr.data.universe import aligned
from quantlr.types import Array, BoolArray, Forecasts, IntArray, Prices, Refits

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


def as_quoted(prices: Prices, seed: int) -> Prices:
    """Return the same adjusted prices with quotes of the day that differ from them, as after splits and dividends."""
    rng = np.random.default_rng(seed)
    adjustment = rng.uniform(0.2, 1.0, prices.close.shape)
    return replace(prices, adjustment=adjustment, raw_close=prices.close / adjustment)


def forecasts(
    probability: list[float] | Array,
    *,
    ticker: list[int] | IntArray,
    session: list[int] | IntArray,
    horizon: int = 1,
    gain: float = 0.01,
    loss: float = -0.01,
) -> Forecasts:
    """Return forecasts with these probabilities, of folds that all knew the same."""
    n = len(probability)
    nothing: Array = np.zeros(n)
    none: IntArray = np.zeros(0, dtype=np.int64)
    no: BoolArray = np.zeros(0, dtype=np.bool_)
    refits = Refits((), none, none, np.zeros((0, 1)), none, np.zeros(0), no, no, np.zeros((0, 2)), np.zeros(0))
    return Forecasts(
        tickers=tuple(f"T{at}" for at in range(int(max(ticker)) + 1)),
        sessions=pd.date_range("2010-01-04", periods=int(max(session)) + 30).as_unit("us"),
        ticker=np.array(ticker, dtype=np.int64),
        session=np.array(session, dtype=np.int64),
        log_odds=nothing,
        probability=np.array(probability, dtype=np.float64),
        up=nothing,
        span_return=nothing,
        base_rate=nothing + 0.5,
        mean_gain=nothing + gain,
        mean_loss=nothing + loss,
        deviation=nothing + 0.01,
        fold=np.zeros(n, dtype=np.int64),
        horizon=horizon,
        refits=refits,
    )


def random_forecasts(seed: int, *, sessions: int = 40, tickers: int = 3, horizon: int = 1) -> Forecasts:
    """Return random forecasts of tickers that start late and skip sessions, each row's fold with numbers of its own."""
    rng = np.random.default_rng(seed)
    there = rng.random((tickers, sessions)) < 0.8
    there[:, : int(rng.integers(1, 6))] = False
    there[0, sessions // 2] = True
    ticker, session = np.nonzero(there)
    n = len(ticker)
    found = forecasts(
        0.5 + rng.normal(0, 0.05, n).round(2).clip(-0.5, 0.5), ticker=ticker, session=session, horizon=horizon
    )
    return replace(
        found,
        base_rate=rng.uniform(0.45, 0.6, n),
        mean_gain=rng.uniform(0.005, 0.015, n),
        mean_loss=-rng.uniform(0.005, 0.015, n),
        deviation=rng.uniform(0.005, 0.02, n),
    )


def mirrored(found: Forecasts) -> Forecasts:
    """Return the forecasts of a market in which every price moves the other way."""
    return replace(
        found,
        probability=1.0 - found.probability,
        base_rate=1.0 - found.base_rate,
        mean_gain=-found.mean_loss,
        mean_loss=-found.mean_gain,
    )
