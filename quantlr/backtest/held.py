"""What was held over time, in the few numbers that a picture has room for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from quantlr.types import Array, BacktestResult, IntArray

MAX_EXPOSURE_WINDOW_SESSIONS = 63
"""Sessions that exposure and turnover are averaged over, where there is a year of them."""
MAX_WEIGHT_BINS = 320
"""Stretches of time that many tickers' weights are averaged over, at most."""


@dataclass(frozen=True, slots=True)
class RollingExposure:
    """How much was held and traded, averaged over a trailing window.

    Attributes
    ----------
    dates : (m,) the session that ends each window.
    gross, net : (m,) mean of the sum of |weight|, and of the sum of weights.
    turnover : (m,) what was traded, in units of equity a year, both sides counted.
    window : sessions in a window.
    """

    dates: pd.DatetimeIndex
    gross_exposure: Array
    net_exposure: Array
    annual_turnover: Array
    window: int


def rolling_exposure(result: BacktestResult, *, sessions_per_year: int) -> RollingExposure:
    """Return trailing exposure and turnover: over a quarter where there is a year, else over a quarter of it all."""
    count = len(result.exposure)
    window = min(MAX_EXPOSURE_WINDOW_SESSIONS, max(count // 4, 1))

    def trailing_mean(values: Array) -> Array:
        total = np.concatenate([[0.0], np.cumsum(values)])
        return np.asarray((total[window:] - total[:-window]) / window)

    return RollingExposure(
        dates=result.sessions[window - 1 :],
        gross_exposure=trailing_mean(result.exposure),
        net_exposure=trailing_mean(result.weight.sum(axis=1)),
        annual_turnover=trailing_mean(result.turnover) * sessions_per_year,
        window=window,
    )


@dataclass(frozen=True, slots=True)
class BinnedWeights:
    """What many tickers were held at, by stretches of time.

    Attributes
    ----------
    edges : (b + 1,) where each stretch begins and the last one ends, evenly spaced in time.
    weight : (b, tickers) mean weight over the sessions that begin in it; where none does, what is still held.
    long, short : (b,) mean share of the tickers that were held long, and short; likewise.
    """

    bin_edges: pd.DatetimeIndex
    mean_weight: Array
    long_fraction: Array
    short_fraction: Array


def binned_weights(result: BacktestResult, ticker_indices: IntArray) -> BinnedWeights:
    """Return the weights of some tickers, averaged over at most `BINS` stretches of time."""
    begun, weight = result.fill_dates[:-1], result.weight[:, ticker_indices]
    bins = min(MAX_WEIGHT_BINS, len(begun))
    edges = pd.DatetimeIndex(pd.date_range(result.fill_dates[0], result.fill_dates[-1], periods=bins + 1))
    where = np.minimum(edges.searchsorted(begun, side="right") - 1, bins - 1)
    count = np.bincount(where, minlength=bins)[:, None]

    def bin_mean(values: Array) -> Array:
        summed = np.zeros((bins, values.shape[1]))
        np.add.at(summed, where, values)
        return pd.DataFrame(summed / np.where(count, count, np.nan)).ffill().to_numpy()

    sides = np.column_stack([(weight > 0).mean(axis=1), (weight < 0).mean(axis=1)])
    long, short = bin_mean(sides).T
    return BinnedWeights(edges, bin_mean(weight), long, short)
