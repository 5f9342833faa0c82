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

from quantlr.core.arrays import Array, BoolArray
from quantlr.core.timing import latest_known_bar_index
from quantlr.core.values import Prices

RANDOM_WALK, MIRRORED_RETURNS, HUNDREDFOLD_PRICES, TRADING_HALT = "noise", "mirror image", "a hundredfold", "a halt"
TRUNCATION, LATER_DIVIDEND, EXTRA_HOLIDAYS = "cut off", "a dividend", "holidays"
TREND_LOG_RETURN = 0.01
"""Return of each session where all go up, or all go down."""
MAX_LOG_GROWTH = 300.0
"""Largest logarithm of a price's growth, so that a long future stays a number."""
INTRADAY_NOISE_STD = 0.003
"""Deviation of the noise that moves opens, highs and lows against their closes."""
MAX_VOLUME_MULTIPLE = 50
"""Times the volume that there was, at most."""


@dataclass(frozen=True, slots=True)
class ClosesAfterCut:
    """The closes after a cut, for a future to be made of.

    Attributes
    ----------
    close : (bars, tickers) as they came.
    last : (tickers,) the last close before the cut; the first one of all where a ticker begins later.
    ahead : (bars, tickers) bars since the cut, 1 for the first after it; 0 or less up to the cut.
    rng : for what is random.
    """

    close: Array
    last_close: Array
    bars_after_cut: Array
    rng: np.random.Generator


def random_walk_path(closes: ClosesAfterCut) -> Array:
    """A random walk in steps of 5 %."""
    steps = np.where(closes.bars_after_cut > 0, closes.rng.normal(0.0, 0.05, closes.close.shape), 0.0)
    return np.asarray(closes.last_close * np.exp(np.cumsum(steps, axis=0)))


def mirrored_path(closes: ClosesAfterCut) -> Array:
    """Every return with the other sign."""
    return np.asarray(closes.last_close**2 / closes.close)


def hundredfold_path(closes: ClosesAfterCut) -> Array:
    """A hundred times the prices that came."""
    return closes.close * 100.0


def hundredth_path(closes: ClosesAfterCut) -> Array:
    """A hundredth of the prices that came."""
    return closes.close / 100.0


def rising_path(closes: ClosesAfterCut) -> Array:
    """A higher close every session."""
    return closes.last_close * np.exp(_log_trend(closes))


def falling_path(closes: ClosesAfterCut) -> Array:
    """A lower close every session."""
    return closes.last_close * np.exp(-_log_trend(closes))


def _log_trend(closes: ClosesAfterCut) -> Array:
    return closes.bars_after_cut * min(TREND_LOG_RETURN, MAX_LOG_GROWTH / max(float(closes.bars_after_cut.max()), 1.0))


CLOSE_PATHS: dict[str, Callable[[ClosesAfterCut], Array]] = {
    RANDOM_WALK: random_walk_path,
    MIRRORED_RETURNS: mirrored_path,
    HUNDREDFOLD_PRICES: hundredfold_path,
    "a hundredth": hundredth_path,
    "all up": rising_path,
    "all down": falling_path,
}
"""Futures with as many bars as the one that came; each gives the closes after the cut."""


def with_close_path(prices: Prices, path_name: str, *, after_session: int, rng: np.random.Generator) -> Prices:
    """Return prices whose closes after a session follow another path, and all their other fields with them."""
    later = prices.session > after_session
    close = np.where(later, CLOSE_PATHS[path_name](_closes_after_cut(prices, later, rng)), prices.close)
    factor = close / prices.close
    opens = _add_intraday_noise(prices.open * factor, later, rng)
    high, low = (
        _add_intraday_noise(prices.high * factor, later, rng),
        _add_intraday_noise(prices.low * factor, later, rng),
    )
    most = rng.integers(2, MAX_VOLUME_MULTIPLE, prices.volume.shape)
    return replace(
        prices,
        open=np.where(later, opens, prices.open),
        high=np.where(later, np.maximum(high, np.fmax(opens, close)), prices.high),
        low=np.where(later, np.minimum(low, np.fmin(opens, close)), prices.low),
        close=close,
        volume=np.where(later, (prices.volume + 1.0) * most, prices.volume),
        raw_close=np.where(later, close / prices.adjustment, prices.raw_close),
    )


def with_dividend(prices: Prices, *, after_session: int) -> Prices:
    """Return prices after whose session a dividend of half the price was paid: what came before is adjusted for it.

    The factor is a power of two, so that no ratio changes by as much as rounding.
    """
    factor = np.where((prices.session >= 0) & (prices.session <= after_session), 0.5, 1.0)
    return replace(
        prices,
        open=prices.open * factor,
        high=prices.high * factor,
        low=prices.low * factor,
        close=prices.close * factor,
        adjustment=prices.adjustment * factor,
    )


def with_extra_holidays(prices: Prices, *, after_session: int) -> Prices:
    """Return prices after whose session nobody trades for a few days more than there were."""
    dates = prices.sessions.to_series().reset_index(drop=True)
    dates = dates.where(dates.index <= after_session, dates + pd.Timedelta(days=4))
    return replace(prices, sessions=pd.DatetimeIndex(dates, name=prices.sessions.name))


AUDIT_SCENARIOS = (*CLOSE_PATHS, TRUNCATION, LATER_DIVIDEND, EXTRA_HOLIDAYS)
"""Every future that a run is audited with, by name."""
FEATURE_SCENARIOS = (RANDOM_WALK, MIRRORED_RETURNS, HUNDREDFOLD_PRICES, TRADING_HALT, TRUNCATION)
"""Futures that would show in the past of a feature that looks at them; no trading at all is one."""


def apply_scenario(prices: Prices, scenario: str, *, after_session: int, seed: int = 0) -> Prices:
    """Return the same prices up to session `after`, and another future: of these tickers, and of the context's.

    Parameters
    ----------
    future : a name out of `FUTURES` or `ADVERSARIES`.
    after : position of the last session that stays as it was.
    seed : for what is random; each session has a noise of its own.
    """
    if scenario == TRUNCATION:
        return prices.before_session(after_session + 1)
    if scenario == EXTRA_HOLIDAYS:
        return with_extra_holidays(prices, after_session=after_session)
    if prices.context is not None:
        newest = int(
            latest_known_bar_index(prices.context.sessions, prices.sessions[after_session : after_session + 1])[0]
        )
        prices = replace(prices, context=apply_scenario(prices.context, scenario, after_session=newest, seed=seed + 1))
    if scenario == LATER_DIVIDEND:
        return with_dividend(prices, after_session=after_session)
    if scenario == TRADING_HALT:
        return with_halted_bars(prices, prices.session > after_session)
    return with_close_path(
        prices, scenario, after_session=after_session, rng=np.random.default_rng([seed, after_session + 1])
    )


def bar_range_mask(prices: Prices, first_bar: int, last_bar: int) -> BoolArray:
    """Return (bars, tickers) whether a bar is one of each ticker's own from number `first` to `last`, from 0 on."""
    row = np.arange(len(prices.close))[:, None]
    return (row >= first_bar) & (row <= last_bar) & (prices.session >= 0)


def with_halted_bars(prices: Prices, halt_mask: BoolArray) -> Prices:
    """Return prices whose bars in `still`, (bars, tickers) or (bars, 1), repeat the close before, and trade nothing."""
    halt_mask = halt_mask & (prices.session >= 0)
    last = pd.DataFrame(np.where(halt_mask, np.nan, prices.close)).ffill().to_numpy()
    price = np.where(np.isnan(last), prices.close, last)
    prices_of_a_bar = ("open", "high", "low", "close")
    fields: dict[str, Any] = {name: np.where(halt_mask, price, getattr(prices, name)) for name in prices_of_a_bar}
    raw_close = np.where(halt_mask, price / prices.adjustment, prices.raw_close)
    return replace(prices, volume=np.where(halt_mask, 0.0, prices.volume), raw_close=raw_close, **fields)


def _closes_after_cut(prices: Prices, after_cut_mask: BoolArray, rng: np.random.Generator) -> ClosesAfterCut:
    there = prices.session >= 0
    before = np.asarray((there & ~after_cut_mask).sum(axis=0))
    last = prices.close[np.maximum(before - 1, 0), np.arange(len(prices.tickers))]
    ahead = np.arange(len(prices.session))[:, None] - before + 1.0
    return ClosesAfterCut(np.where(there, prices.close, np.nan), last, ahead, rng)


def _add_intraday_noise(values: Array, after_cut_mask: BoolArray, rng: np.random.Generator) -> Array:
    return np.where(after_cut_mask, values * np.exp(rng.normal(0.0, INTRADAY_NOISE_STD, values.shape)), values)
