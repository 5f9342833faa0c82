"""Made-up markets: random prices, other futures for the same past, halts, a ticker alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from quantlr.data.tables import Bars
from quantlr.data.universe import aligned
from quantlr.types import Array, Prices, newest_known

FUTURES = ("noise", "mirror", "cut")
"""What may come after a session instead: other moves, the opposite moves, nothing."""
ADVERSARIES = (*FUTURES, "spike", "halt")
"""And what would show in a past that looks at it: prices a thousand times as high, and no trading at all."""
FIELDS = ("open", "high", "low", "close", "volume", "raw_close", "adjustment")


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


def random_walk(
    seed: int, *, sessions: int, tickers: int = 1, holes: bool = False, context: Sequence[str] = ()
) -> Prices:
    """Return prices of several random walks, T0, T1 and so on.

    With `holes`, all but T0 start late, end early and skip days. Tickers of `context` have a bar on every session, and
    on Saturdays.
    """
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
    prices = aligned(bars, source="made up", sha256="", notes=[])
    if not context:
        return prices
    days = pd.date_range(dates[0], dates[-1], freq="D").as_unit("us")
    beside = {name: random_bars(rng, days[days.day_of_week != 6]) for name in context}
    return replace(prices, context=aligned(beside, source="made up", sha256="", notes=[]))


def with_future(prices: Prices, *, after: int, kind: str, seed: int = 0) -> Prices:
    """Return the same prices up to session `after`, and something else from the next session on, the context's too."""
    if kind == "cut":
        return prices.before(after + 1)
    rng = np.random.default_rng(seed)
    later = prices.session > after
    other = {"spike": _spiked, "halt": _still}.get(kind)
    fields = other(prices, later) if other else _moved(prices, later, mirrored=kind == "mirror", rng=rng)
    context = prices.context
    if context is not None:
        newest = int(newest_known(context.sessions, prices.sessions[after : after + 1])[0])
        context = with_future(context, after=newest, kind=kind, seed=seed + 1)
    return replace(prices, context=context, **fields)


def _moved(prices: Prices, later: Any, *, mirrored: bool, rng: np.random.Generator) -> dict[str, Any]:
    past_close = _last_before(prices.close, later)

    def other(values: Array) -> Array:
        moved = past_close**2 / values if mirrored else values * np.exp(rng.normal(0, 0.2, values.shape))
        return np.where(later, np.where(np.isnan(moved), values, moved), values)

    high, low = other(prices.high), other(prices.low)
    return {
        "open": other(prices.open),
        "high": np.fmax(high, low),
        "low": np.fmin(high, low),
        "close": other(prices.close),
        "volume": np.where(later, prices.volume * rng.integers(2, 50, prices.volume.shape), prices.volume),
    }


def _spiked(prices: Prices, later: Any) -> dict[str, Any]:
    return {name: np.where(later, getattr(prices, name) * 1e3, getattr(prices, name)) for name in FIELDS[:6]}


def _still(prices: Prices, still: Any) -> dict[str, Any]:
    """Return bars that repeat the close before them, and trade nothing."""
    last = _last_before(prices.close, still)
    price = np.where(np.isnan(last), prices.close, last)
    fields = {name: np.where(still, price, getattr(prices, name)) for name in FIELDS[:4]}
    return {**fields, "volume": np.where(still, 0.0, prices.volume)}


def _last_before(close: Array, later: Any) -> Array:
    return pd.DataFrame(np.where(later, np.nan, close)).ffill().to_numpy()


def halted(prices: Prices, *, first: int, last: int) -> Prices:
    """Return the same prices, but for a halt of every ticker from bar `first` to `last`: one price, volume 0."""
    row = np.arange(len(prices.close))[:, None]
    still = (row >= first) & (row <= last) & (prices.session >= 0)
    return replace(prices, **_still(prices, still))


def alone(prices: Prices, ticker: int) -> Prices:
    """Return the ticker at that position, on its own sessions, beside the same context."""
    bars = int(prices.bars[ticker])
    own = prices.session[:bars, ticker]
    fields: dict[str, Any] = {name: getattr(prices, name)[:bars, ticker : ticker + 1] for name in FIELDS}
    return replace(
        prices,
        tickers=(prices.tickers[ticker],),
        sessions=prices.sessions[own],
        session=np.arange(bars, dtype=np.int64)[:, None],
        **fields,
    )
