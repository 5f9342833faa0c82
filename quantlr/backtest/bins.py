"""How often ups came after forecasts of about the same probability, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quantlr.backtest.inference.skill import midranks, wilson_interval
from quantlr.backtest.metrics import EvaluatedForecasts
from quantlr.types import Array, IntArray

MIN_BIN_FORECASTS = 40
"""Forecasts in a bin, where there are so many."""


@dataclass(frozen=True, slots=True)
class ReliabilityBins:
    """Shares of ups by what was forecast, in bins of about as many forecasts each.

    Attributes
    ----------
    probability : (b,) mean forecast, ascending.
    count : (b,) how many.
    share : (b,) share of ups.
    low, high : (b,) its 95 % interval.
    """

    mean_probability: Array
    count: Array
    observed_frequency: Array
    frequency_low: Array
    frequency_high: Array


def reliability_bins(forecasts: EvaluatedForecasts, *, max_bins: int = 10) -> ReliabilityBins:
    """Return the share of ups in bins of forecasts; equal forecasts are in one bin.

    The interval is Wilson's. Where forecasts overlap or share a session, it is that of as many independent ones as
    would leave the share as unsure: the variance of its surprises, summed by session, is Newey and West's (1987) with
    2 lags for each session of the horizon. They are never taken to say more than independent ones.
    """
    n = len(forecasts.up)
    wanted = int(np.clip(n // MIN_BIN_FORECASTS, 1, max_bins))
    _, of_row = np.unique(((midranks(forecasts.probability) - 0.5) * wanted / n).astype(np.int64), return_inverse=True)
    count = np.bincount(of_row).astype(np.float64)
    ups = np.bincount(of_row, weights=forecasts.up)
    worth = _design_effect_by_bin(forecasts, of_row, ups / count) if forecasts.is_clustered else np.ones_like(count)
    bounds = [wilson_interval(up / effect, size / effect) for up, size, effect in zip(ups, count, worth, strict=True)]
    low, high = np.array(bounds).T
    mean = np.bincount(of_row, weights=forecasts.probability) / count
    return ReliabilityBins(mean, count, ups / count, np.minimum(low, ups / count), np.maximum(high, ups / count))


def _design_effect_by_bin(forecasts: EvaluatedForecasts, bin_index: IntArray, observed_frequency: Array) -> Array:
    """Return how many times the variance of independent forecasts each bin's share has, at least 1."""
    sessions, where = np.unique(forecasts.session, return_inverse=True)
    surprise = np.zeros((len(sessions), len(observed_frequency)))
    np.add.at(surprise, (where, bin_index), forecasts.up - observed_frequency[bin_index])
    variance = (surprise**2).sum(axis=0)
    independent = np.bincount(bin_index) * observed_frequency * (1.0 - observed_frequency)
    lags = min(2 * forecasts.horizon, len(sessions) - 1)
    for lag in range(1, lags + 1):
        variance += 2 * (1 - lag / (2 * forecasts.horizon + 1)) * (surprise[lag:] * surprise[:-lag]).sum(axis=0)
    return np.asarray(
        np.maximum(np.divide(variance, independent, out=np.ones_like(variance), where=independent > 0), 1.0)
    )
