"""Scenarios for look-ahead tests: prices that are changed after a session (the cut) and kept up to it.

Values of other series that are not known at the cut are replaced by random ones in every scenario.

A computation without look-ahead gives the same values up to the cut in every scenario. Two scenarios change all prices
by a factor, as a later dividend or split does to adjusted prices, and the split volumes too: ratios of prices and of
volumes stay the same, so only a computation that uses their levels changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from quantlr.core.known_series import replace_later_releases
from quantlr.core.timing import latest_known_bar_index
from quantlr.core.values import PRICE_ARRAYS, REFERENCE_PRICES, Array, BoolArray, Prices

RANDOM_WALK, MIRRORED_RETURNS, HUNDREDFOLD_PRICES, TRADING_HALT = "noise", "mirror image", "a hundredfold", "a halt"
HUNDREDTH_PRICES, RISING_TREND, FALLING_TREND = "a hundredth", "all up", "all down"
TRUNCATION, LATER_DIVIDEND, LATER_SPLIT, EXTRA_HOLIDAYS = "cut off", "a dividend", "a split", "holidays"
CLOSE_PATHS = (RANDOM_WALK, MIRRORED_RETURNS, HUNDREDFOLD_PRICES, HUNDREDTH_PRICES, RISING_TREND, FALLING_TREND)
"""Names of the scenarios with as many bars as the actual prices and other closes after the cut."""
AUDIT_SCENARIOS: tuple[str, ...] = (*CLOSE_PATHS, TRUNCATION, LATER_DIVIDEND, LATER_SPLIT, EXTRA_HOLIDAYS)
"""Names of the scenarios that the audit of a run applies."""
FEATURE_SCENARIOS = (RANDOM_WALK, MIRRORED_RETURNS, HUNDREDFOLD_PRICES, TRADING_HALT, TRUNCATION)
"""Names of the scenarios that the checks of a feature apply."""

INDEX_PREFIX = "^"
"""First character of an index among tickers, as Yahoo and the sample write it."""
LOG2_FACTOR_PER_RANK, MAX_RESIZED_RANK = 5.0, 8
"""Binary logarithm of the ratio of the splits, or dividends, of two tickers with consecutive levels; and the number of
ranks from which on they are alike."""
TREND_LOG_RETURN = 0.01
"""Log return of every session in the rising path; the falling path has its negative."""
MAX_LOG_GROWTH = 300.0
"""Largest logarithm of a price's total growth, which keeps long paths finite."""
INTRADAY_NOISE_STD = 0.003
"""Standard deviation of the log noise of opens, highs and lows."""
MAX_VOLUME_MULTIPLE = 50
"""Upper bound of the random factor of volumes."""


def apply_scenario(
    prices: Prices, scenario: str, *, after_session: int, seed: int = 0, last_session: int | None = None
) -> Prices:
    """Return the prices, unchanged up to a session and changed after it, of the tickers, the context and the benchmark.

    Parameters
    ----------
    scenario : a name in `AUDIT_SCENARIOS` or `FEATURE_SCENARIOS`.
    after_session : position of the last unchanged session.
    seed : random seed; combined with `after_session`.
    last_session : position of the last session that is returned; None for all. Later bars are left out, which a
        computation that uses them shows as well as if they were changed.
    """
    if last_session is not None and last_session < len(prices.sessions) - 1:
        prices = prices.before_session(last_session + 1)
    if scenario == TRUNCATION:
        return prices.before_session(after_session + 1)
    if prices.series:
        rng = np.random.default_rng([seed, after_session + 1, len(prices.series)])
        series = replace_later_releases(prices.series, prices.sessions[after_session], rng=rng)
        prices = replace(prices, series=series)
    for number, name in enumerate(REFERENCE_PRICES, start=1):
        reference: Prices | None = getattr(prices, name)
        if reference is not None:
            date = prices.sessions[after_session : after_session + 1]
            latest = int(latest_known_bar_index(reference.sessions, date)[0])
            altered: Any = apply_scenario(reference, scenario, after_session=latest, seed=seed + number)
            prices = replace(prices, **{name: altered})
    if scenario == EXTRA_HOLIDAYS:
        return with_extra_holidays(prices, after_session=after_session)
    if scenario in (LATER_DIVIDEND, LATER_SPLIT):
        return with_dividend_or_split(prices, after_session=after_session, is_split=scenario == LATER_SPLIT)
    if scenario == TRADING_HALT:
        return with_halted_bars(prices, prices.session > after_session)
    rng = np.random.default_rng([seed, after_session + 1])
    return with_close_path(prices, scenario, after_session=after_session, rng=rng)


def apply_scenarios(
    prices: Prices, scenarios: Sequence[str], *, after_session: int, seed: int = 0, last_session: int | None = None
) -> Prices:
    """Return the prices after several scenarios, one after the other; parameters as of `apply_scenario`."""
    for scenario in scenarios:
        prices = apply_scenario(prices, scenario, after_session=after_session, seed=seed, last_session=last_session)
    return prices


def with_close_path(prices: Prices, path_name: str, *, after_session: int, rng: np.random.Generator) -> Prices:
    """Return prices whose closes after a session follow another path, with all their other fields."""
    n_before = ((prices.session >= 0) & (prices.session <= after_session)).sum(axis=0)
    first = int(n_before.min(initial=len(prices.session)))  # rows before it are unchanged
    old: dict[str, Array] = {name: getattr(prices, name)[first:] for name in PRICE_ARRAYS}
    later = prices.session[first:] > after_session
    # A ticker that begins after the cut follows its first close.
    last_close = prices.close[np.maximum(n_before - 1, 0), np.arange(len(prices.tickers))]
    n_bars_after_cut = np.arange(first, len(prices.session))[:, None] - n_before + 1.0
    close = np.where(
        later, _closes_along_path(path_name, old["close"], last_close, n_bars_after_cut, rng), old["close"]
    )
    factor = close / old["close"]

    def scale_like_close(values: Array) -> Array:
        return np.where(later, values * factor * np.exp(rng.normal(0.0, INTRADAY_NOISE_STD, values.shape)), values)

    opens, high, low = (scale_like_close(old[name]) for name in ("open", "high", "low"))
    volume_multiple = rng.integers(2, MAX_VOLUME_MULTIPLE, old["volume"].shape)
    new = {
        "open": opens,
        "high": np.where(later, np.maximum(high, np.fmax(opens, close)), old["high"]),
        "low": np.where(later, np.minimum(low, np.fmin(opens, close)), old["low"]),
        "close": close,
        "volume": np.where(later, (old["volume"] + 1.0) * volume_multiple, old["volume"]),
        "raw_close": np.where(later, close / old["adjustment"], old["raw_close"]),
    }
    fields: dict[str, Any] = {
        name: np.concatenate([getattr(prices, name)[:first], values]) for name, values in new.items()
    }
    return replace(prices, **fields)


def _closes_along_path(
    path_name: str, close: Array, last_close: Array, n_bars_after_cut: Array, rng: np.random.Generator
) -> Array:
    """Return (bars, tickers) closes after a cut, of one of `CLOSE_PATHS`.

    Parameters
    ----------
    close : (bars, tickers) the actual closes.
    last_close : (tickers,) the last close up to the cut.
    n_bars_after_cut : (bars, tickers) number of bars after the cut, 1 for the first; 0 or less up to the cut.
    """
    if path_name == RANDOM_WALK:  # with a volatility of 5 % per bar
        steps = np.where(n_bars_after_cut > 0, rng.normal(0.0, 0.05, close.shape), 0.0)
        return np.asarray(last_close * np.exp(np.cumsum(steps, axis=0)))
    if path_name == MIRRORED_RETURNS:
        return np.asarray(last_close**2 / close)
    if path_name in (HUNDREDFOLD_PRICES, HUNDREDTH_PRICES):
        return close * 100.0 if path_name == HUNDREDFOLD_PRICES else close / 100.0
    log_return = min(TREND_LOG_RETURN, MAX_LOG_GROWTH / max(float(n_bars_after_cut.max()), 1.0))
    sign = 1.0 if path_name == RISING_TREND else -1.0
    return np.asarray(last_close * np.exp(sign * (n_bars_after_cut * log_return)))


def with_dividend_or_split(prices: Prices, *, after_session: int, is_split: bool) -> Prices:
    """Return prices adjusted for a dividend or a split after the last session, of another size for each ticker.

    The sizes reverse the order of the tickers' levels up to a session, so that a rank of levels changes as well: that
    of price times volume by a dividend, that of volume by a split. A split multiplies all volumes, except those of an
    index (a ticker that begins with ^), which has no shares. The factors are powers of two, so that ratios of prices
    and of volumes stay exactly the same.
    """
    is_known = (prices.session >= 0) & (prices.session <= after_session)
    volume = np.where(is_known, np.nan_to_num(prices.volume), 0.0)
    level = volume if is_split else volume * np.nan_to_num(prices.close)
    rank = np.argsort(np.argsort(-level.sum(axis=0), kind="stable"), kind="stable")  # 0 for the largest
    rank = np.minimum(rank if is_split else len(rank) - 1 - rank, MAX_RESIZED_RANK)
    factor = np.exp2(1.0 + LOG2_FACTOR_PER_RANK * rank)
    adjusted = ("open", "high", "low", "close", "adjustment")
    fields: dict[str, Any] = {name: getattr(prices, name) / factor for name in adjusted}
    if is_split:
        has_shares = np.array([not ticker.startswith(INDEX_PREFIX) for ticker in prices.tickers])
        fields["volume"] = prices.volume * np.where(has_shares, factor, 1.0)
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
