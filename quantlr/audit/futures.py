"""Other futures for the same past: what could have come after a session, as extreme as it takes to show a leak.

Up to the cut nothing changes but what a later dividend changes: adjusted prices are scaled by factors that only the
future tells, so that the past of every split or dividend is quoted anew. That is no leak as long as nothing looks at
the level of a price; ratios stay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from quantlr.types import Array, BoolArray, Prices

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
    "noise": noise,
    "mirror image": mirror,
    "a hundredfold": hundredfold,
    "a hundredth": hundredth,
    "all up": all_up,
    "all down": all_down,
}
"""Futures with as many bars as the one that came; each gives the closes after the cut."""


def cut_off(prices: Prices, *, after: int) -> Prices:
    """Return prices that end with session `after`."""
    return prices.before(after + 1)


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


CUT, DIVIDEND, HOLIDAYS = "cut off", "a dividend", "holidays"
OTHERS = (CUT, DIVIDEND, HOLIDAYS)
FUTURES = (*PATHS, *OTHERS)
"""Every future that is tried, by name."""


def with_future(prices: Prices, future: str, *, after: int, seed: int) -> Prices:
    """Return the same prices up to session `after`, and another future."""
    if future == CUT:
        return cut_off(prices, after=after)
    if future == DIVIDEND:
        return with_dividend(prices, after=after)
    if future == HOLIDAYS:
        return with_holidays(prices, after=after)
    return with_path(prices, future, after=after, rng=np.random.default_rng([seed, after]))


def _later(prices: Prices, later: BoolArray, rng: np.random.Generator) -> Later:
    there = prices.session >= 0
    before = np.asarray((there & ~later).sum(axis=0))
    last = prices.close[np.maximum(before - 1, 0), np.arange(len(prices.tickers))]
    ahead = np.arange(len(prices.session))[:, None] - before + 1.0
    return Later(np.where(there, prices.close, np.nan), last, ahead, rng)


def _moved(values: Array, later: BoolArray, rng: np.random.Generator) -> Array:
    return np.where(later, values * np.exp(rng.normal(0.0, INTRADAY, values.shape)), values)
