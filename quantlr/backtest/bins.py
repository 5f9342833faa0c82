"""How often ups came after forecasts of about the same probability, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quantlr.backtest.inference.skill import midranks, wilson
from quantlr.backtest.metrics import Scored
from quantlr.types import Array, IntArray

FEWEST = 40
"""Forecasts in a bin, where there are so many."""


@dataclass(frozen=True, slots=True)
class Bins:
    """Shares of ups by what was forecast, in bins of about as many forecasts each.

    Attributes
    ----------
    probability : (b,) mean forecast, ascending.
    count : (b,) how many.
    share : (b,) share of ups.
    low, high : (b,) its 95 % interval.
    """

    probability: Array
    count: Array
    share: Array
    low: Array
    high: Array


def shares_by_forecast(rows: Scored, *, at_most: int = 10) -> Bins:
    """Return the share of ups in bins of forecasts; equal forecasts are in one bin.

    The interval is Wilson's. Where forecasts overlap or share a session, it is that of as many independent ones as
    would leave the share as unsure: the variance of its surprises, summed by session, is Newey and West's (1987) with
    2 lags for each session of the horizon. They are never taken to say more than independent ones.
    """
    n = len(rows.up)
    wanted = int(np.clip(n // FEWEST, 1, at_most))
    _, of_row = np.unique(((midranks(rows.probability) - 0.5) * wanted / n).astype(np.int64), return_inverse=True)
    count = np.bincount(of_row).astype(np.float64)
    ups = np.bincount(of_row, weights=rows.up)
    worth = _effect(rows, of_row, ups / count) if rows.clustered else np.ones_like(count)
    bounds = [wilson(up / effect, size / effect) for up, size, effect in zip(ups, count, worth, strict=True)]
    low, high = np.array(bounds).T
    mean = np.bincount(of_row, weights=rows.probability) / count
    return Bins(mean, count, ups / count, np.minimum(low, ups / count), np.maximum(high, ups / count))


def _effect(rows: Scored, of_row: IntArray, share: Array) -> Array:
    """Return how many times the variance of independent forecasts each bin's share has, at least 1."""
    sessions, where = np.unique(rows.session, return_inverse=True)
    surprise = np.zeros((len(sessions), len(share)))
    np.add.at(surprise, (where, of_row), rows.up - share[of_row])
    variance = (surprise**2).sum(axis=0)
    independent = np.bincount(of_row) * share * (1.0 - share)
    lags = min(2 * rows.horizon, len(sessions) - 1)
    for lag in range(1, lags + 1):
        variance += 2 * (1 - lag / (2 * rows.horizon + 1)) * (surprise[lag:] * surprise[:-lag]).sum(axis=0)
    return np.asarray(
        np.maximum(np.divide(variance, independent, out=np.ones_like(variance), where=independent > 0), 1.0)
    )
