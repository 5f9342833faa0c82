"""Other futures for the same past: what could have come after a session, as extreme as it takes to show a leak.

Up to the cut nothing changes but what a later dividend changes: adjusted prices are scaled by factors that only the
future tells, so that the past of every split or dividend is quoted anew. That is no leak as long as nothing looks at
the level of a price; ratios stay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from quantlr.types import Array, BoolArray, Prices, newest_known

NOISE, MIRROR, HUNDREDFOLD, HALT = "noise", "mirror image", "a hundredfold", "a halt"
CUT, DIVIDEND, HOLIDAYS = "cut off", "a dividend", "holidays"
STEP = 0.01
"""Return of each session where all go up, or all go down."""
FURTHEST = 300.0
"""Largest logarithm of a price's growth, so that a long future stays a number."""
INTRADAY = 0.003
"""Deviation of the noise that moves opens, highs and lows against their closes."""
MOST_VOLUME = 50
"""Times the volume that there was, at most."""


@dataclass(frozen=True, slots=True)
class Later:
    """The closes after a cut, for a future to be made of.

    Attributes
    ----------
    close : (bars, tickers) as they came.
    last : (tickers,) the last close before the cut; the first one of all where a ticker begins later.
    ahead : (bars, tickers) bars since the cut, 1 for the first after it; 0 or less up to the cut.
    rng : for what is random.
    """

    close: Array
    last: Array
    ahead: Array
    rng: np.random.Generator


def noise(later: Later) -> Array:
    """A random walk in steps of 5 %."""
    steps = np.where(later.ahead > 0, later.rng.normal(0.0, 0.05, later.close.shape), 0.0)
    return np.asarray(later.last * np.exp(np.cumsum(steps, axis=0)))


def mirror(later: Later) -> Array:
    """Every return with the other sign."""
    return np.asarray(later.last**2 / later.close)


def hundredfold(later: Later) -> Array:
    """A hundred times the prices that came."""
    return later.close * 100.0


def hundredth(later: Later) -> Array:
    """A hundredth of the prices that came."""
    return later.close / 100.0


def all_up(later: Later) -> Array:
    """A higher close every session."""
    return later.last * np.exp(_trend(later))


def all_down(later: Later) -> Array:
    """A lower close every session."""
    return later.last * np.exp(-_trend(later))


def _trend(later: Later) -> Array:
    return later.ahead * min(STEP, FURTHEST / max(float(later.ahead.max()), 1.0))


PATHS: dict[str, Callable[[Later], Array]] = {
    NOISE: noise,
    MIRROR: mirror,
    HUNDREDFOLD: hundredfold,
    "a hundredth": hundredth,
    "all up": all_up,
    "all down": all_down,
}
"""Futures with as many bars as the one that came; each gives the closes after the cut."""


def with_path(prices: Prices, path: str, *, after: int, rng: np.random.Generator) -> Prices:
    """Return prices whose closes after a session follow another path, and all their other fields with them."""
    later = prices.session > after
    close = np.where(later, PATHS[path](_later(prices, later, rng)), prices.close)
    factor = close / prices.close
    opens = _moved(prices.open * factor, later, rng)
    high, low = _moved(prices.high * factor, later, rng), _moved(prices.low * factor, later, rng)
    most = rng.integers(2, MOST_VOLUME, prices.volume.shape)
    return replace(
        prices,
        open=np.where(later, opens, prices.open),
        high=np.where(later, np.maximum(high, np.fmax(opens, close)), prices.high),
        low=np.where(later, np.minimum(low, np.fmin(opens, close)), prices.low),
        close=close,
        volume=np.where(later, (prices.volume + 1.0) * most, prices.volume),
        raw_close=np.where(later, close / prices.adjustment, prices.raw_close),
    )


def with_dividend(prices: Prices, *, after: int) -> Prices:
    """Return prices after whose session a dividend of half the price was paid: what came before is adjusted for it.

    The factor is a power of two, so that no ratio changes by as much as rounding.
    """
    factor = np.where((prices.session >= 0) & (prices.session <= after), 0.5, 1.0)
    return replace(
        prices,
        open=prices.open * factor,
        high=prices.high * factor,
        low=prices.low * factor,
        close=prices.close * factor,
        adjustment=prices.adjustment * factor,
    )


def with_holidays(prices: Prices, *, after: int) -> Prices:
    """Return prices after whose session nobody trades for a few days more than there were."""
    dates = prices.sessions.to_series().reset_index(drop=True)
    dates = dates.where(dates.index <= after, dates + pd.Timedelta(days=4))
    return replace(prices, sessions=pd.DatetimeIndex(dates, name=prices.sessions.name))


FUTURES = (*PATHS, CUT, DIVIDEND, HOLIDAYS)
"""Every future that a run is audited with, by name."""
ADVERSARIES = (NOISE, MIRROR, HUNDREDFOLD, HALT, CUT)
"""Futures that would show in the past of a feature that looks at them; no trading at all is one."""


def with_future(prices: Prices, future: str, *, after: int, seed: int = 0) -> Prices:
    """Return the same prices up to session `after`, and another future: of these tickers, and of the context's.

    Parameters
    ----------
    future : a name out of `FUTURES` or `ADVERSARIES`.
    after : position of the last session that stays as it was.
    seed : for what is random; each session has a noise of its own.
    """
    if future == CUT:
        return prices.before(after + 1)
    if future == HOLIDAYS:
        return with_holidays(prices, after=after)
    if prices.context is not None:
        newest = int(newest_known(prices.context.sessions, prices.sessions[after : after + 1])[0])
        prices = replace(prices, context=with_future(prices.context, future, after=newest, seed=seed + 1))
    if future == DIVIDEND:
        return with_dividend(prices, after=after)
    if future == HALT:
        return halted(prices, prices.session > after)
    return with_path(prices, future, after=after, rng=np.random.default_rng([seed, after + 1]))


def bars_between(prices: Prices, first: int, last: int) -> BoolArray:
    """Return (bars, tickers) whether a bar is one of each ticker's own from number `first` to `last`, from 0 on."""
    row = np.arange(len(prices.close))[:, None]
    return (row >= first) & (row <= last) & (prices.session >= 0)


def halted(prices: Prices, still: BoolArray) -> Prices:
    """Return prices whose bars in `still`, (bars, tickers) or (bars, 1), repeat the close before, and trade nothing."""
    still = still & (prices.session >= 0)
    last = pd.DataFrame(np.where(still, np.nan, prices.close)).ffill().to_numpy()
    price = np.where(np.isnan(last), prices.close, last)
    prices_of_a_bar = ("open", "high", "low", "close")
    fields: dict[str, Any] = {name: np.where(still, price, getattr(prices, name)) for name in prices_of_a_bar}
    raw_close = np.where(still, price / prices.adjustment, prices.raw_close)
    return replace(prices, volume=np.where(still, 0.0, prices.volume), raw_close=raw_close, **fields)


def _later(prices: Prices, later: BoolArray, rng: np.random.Generator) -> Later:
    there = prices.session >= 0
    before = np.asarray((there & ~later).sum(axis=0))
    last = prices.close[np.maximum(before - 1, 0), np.arange(len(prices.tickers))]
    ahead = np.arange(len(prices.session))[:, None] - before + 1.0
    return Later(np.where(there, prices.close, np.nan), last, ahead, rng)


def _moved(values: Array, later: BoolArray, rng: np.random.Generator) -> Array:
    return np.where(later, values * np.exp(rng.normal(0.0, INTRADAY, values.shape)), values)
