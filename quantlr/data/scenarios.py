"""Scenarios for look-ahead tests: prices that are changed after a session (the cut) and kept up to it.

A computation without look-ahead gives the same values up to the cut in every scenario. One scenario changes prices
before the cut by a factor, as a later dividend does to adjusted prices: ratios of prices stay the same, so only a
computation that uses price levels changes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from quantlr.core.timing import latest_known_bar_index
from quantlr.core.values import Array, BoolArray, Prices

RANDOM_WALK, MIRRORED_RETURNS, HUNDREDFOLD_PRICES, TRADING_HALT = "noise", "mirror image", "a hundredfold", "a halt"
TRUNCATION, LATER_DIVIDEND, EXTRA_HOLIDAYS = "cut off", "a dividend", "holidays"
TREND_LOG_RETURN = 0.01
"""Log return of every session in the rising path; the falling path has its negative."""
MAX_LOG_GROWTH = 300.0
"""Largest logarithm of a price's total growth, which keeps long paths finite."""
INTRADAY_NOISE_STD = 0.003
"""Standard deviation of the log noise of opens, highs and lows."""
MAX_VOLUME_MULTIPLE = 50
"""Upper bound of the random factor of volumes."""


@dataclass(frozen=True, slots=True)
class ClosesAfterCut:
    """The closes around a cut, from which a path of other closes is made.

    Attributes
    ----------
    close : (bars, tickers) the actual closes.
    last_close : (tickers,) the last close up to the cut; a ticker's first close if it begins later.
    bars_after_cut : (bars, tickers) number of bars after the cut, 1 for the first; 0 or less up to the cut.
    rng : generator of random paths.
    """

    close: Array
    last_close: Array
    bars_after_cut: Array
    rng: np.random.Generator

    def trend_path(self, log_return: float) -> Array:
        """Return closes that change by the same log return at every bar after the cut."""
        n_bars = max(float(self.bars_after_cut.max()), 1.0)
        step = min(abs(log_return), MAX_LOG_GROWTH / n_bars)
        return np.asarray(self.last_close * np.exp(np.copysign(1.0, log_return) * (self.bars_after_cut * step)))


def random_walk_path(closes: ClosesAfterCut) -> Array:
    """A random walk with a volatility of 5 % per bar."""
    steps = np.where(closes.bars_after_cut > 0, closes.rng.normal(0.0, 0.05, closes.close.shape), 0.0)
    return np.asarray(closes.last_close * np.exp(np.cumsum(steps, axis=0)))


CLOSE_PATHS: dict[str, Callable[[ClosesAfterCut], Array]] = {
    RANDOM_WALK: random_walk_path,
    MIRRORED_RETURNS: lambda closes: np.asarray(closes.last_close**2 / closes.close),
    HUNDREDFOLD_PRICES: lambda closes: closes.close * 100.0,
    "a hundredth": lambda closes: closes.close / 100.0,
    "all up": lambda closes: closes.trend_path(TREND_LOG_RETURN),
    "all down": lambda closes: closes.trend_path(-TREND_LOG_RETURN),
}
"""Scenarios with as many bars as the actual prices: each returns the closes after the cut."""
AUDIT_SCENARIOS = (*CLOSE_PATHS, TRUNCATION, LATER_DIVIDEND, EXTRA_HOLIDAYS)
"""Names of the scenarios that the audit of a run applies."""
FEATURE_SCENARIOS = (RANDOM_WALK, MIRRORED_RETURNS, HUNDREDFOLD_PRICES, TRADING_HALT, TRUNCATION)
"""Names of the scenarios that the checks of a feature apply."""


def apply_scenario(prices: Prices, scenario: str, *, after_session: int, seed: int = 0) -> Prices:
    """Return the prices, unchanged up to a session and changed after it, of the tickers and of the context.

    Parameters
    ----------
    scenario : a name in `AUDIT_SCENARIOS` or `FEATURE_SCENARIOS`.
    after_session : position of the last unchanged session.
    seed : random seed; combined with `after_session`.
    """
    if scenario == TRUNCATION:
        return prices.before_session(after_session + 1)
    if scenario == EXTRA_HOLIDAYS:
        return with_extra_holidays(prices, after_session=after_session)
    if prices.context is not None:
        date = prices.sessions[after_session : after_session + 1]
        latest = int(latest_known_bar_index(prices.context.sessions, date)[0])
        prices = replace(prices, context=apply_scenario(prices.context, scenario, after_session=latest, seed=seed + 1))
    if scenario == LATER_DIVIDEND:
        return with_dividend(prices, after_session=after_session)
    if scenario == TRADING_HALT:
        return with_halted_bars(prices, prices.session > after_session)
    rng = np.random.default_rng([seed, after_session + 1])
    return with_close_path(prices, scenario, after_session=after_session, rng=rng)


def with_close_path(prices: Prices, path_name: str, *, after_session: int, rng: np.random.Generator) -> Prices:
    """Return prices whose closes after a session follow another path, with all their other fields."""
    later = prices.session > after_session
    has_bar = prices.session >= 0
    n_before = np.asarray((has_bar & ~later).sum(axis=0))
    closes = ClosesAfterCut(
        close=np.where(has_bar, prices.close, np.nan),
        last_close=prices.close[np.maximum(n_before - 1, 0), np.arange(len(prices.tickers))],
        bars_after_cut=np.arange(len(prices.session))[:, None] - n_before + 1.0,
        rng=rng,
    )
    close = np.where(later, CLOSE_PATHS[path_name](closes), prices.close)
    factor = close / prices.close

    def scale_like_close(values: Array) -> Array:
        return np.where(later, values * factor * np.exp(rng.normal(0.0, INTRADAY_NOISE_STD, values.shape)), values)

    opens, high, low = scale_like_close(prices.open), scale_like_close(prices.high), scale_like_close(prices.low)
    volume_multiple = rng.integers(2, MAX_VOLUME_MULTIPLE, prices.volume.shape)
    return replace(
        prices,
        open=opens,
        high=np.where(later, np.maximum(high, np.fmax(opens, close)), prices.high),
        low=np.where(later, np.minimum(low, np.fmin(opens, close)), prices.low),
        close=close,
        volume=np.where(later, (prices.volume + 1.0) * volume_multiple, prices.volume),
        raw_close=np.where(later, close / prices.adjustment, prices.raw_close),
    )


def with_dividend(prices: Prices, *, after_session: int) -> Prices:
    """Return prices adjusted for a dividend of half the price, paid after a session.

    The adjustment factor is a power of two, so that ratios of prices stay exactly the same.
    """
    factor = np.where((prices.session >= 0) & (prices.session <= after_session), 0.5, 1.0)
    adjusted = ("open", "high", "low", "close", "adjustment")
    fields: dict[str, Any] = {name: getattr(prices, name) * factor for name in adjusted}
    return replace(prices, **fields)


def with_extra_holidays(prices: Prices, *, after_session: int) -> Prices:
    """Return prices whose sessions after a session are four days later."""
    dates = prices.sessions.to_series().reset_index(drop=True)
    dates = dates.where(dates.index <= after_session, dates + pd.Timedelta(days=4))
    return replace(prices, sessions=pd.DatetimeIndex(dates, name=prices.sessions.name))


def with_halted_bars(prices: Prices, halt_mask: BoolArray) -> Prices:
    """Return prices whose bars in the mask, (bars, tickers) or (bars, 1), repeat the last close, with volume 0."""
    halt_mask = halt_mask & (prices.session >= 0)
    last_close = pd.DataFrame(np.where(halt_mask, np.nan, prices.close)).ffill().to_numpy()
    price = np.where(np.isnan(last_close), prices.close, last_close)
    halted: dict[str, Any] = dict.fromkeys(("open", "high", "low", "close"), price)
    halted |= {"raw_close": price / prices.adjustment, "volume": 0.0}
    fields = {name: np.where(halt_mask, values, getattr(prices, name)) for name, values in halted.items()}
    return replace(prices, **fields)


def bar_range_mask(prices: Prices, first_bar: int, last_bar: int) -> BoolArray:
    """Return (bars, tickers), True for each ticker's bars number `first_bar` to `last_bar`, counted from 0."""
    row = np.arange(len(prices.close))[:, None]
    return (row >= first_bar) & (row <= last_bar) & (prices.session >= 0)
