"""What pages draw over time, computed here so that no figure computes anything."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from quantlr.backtest.inference.levels import Z95
from quantlr.backtest.metrics import Scored
from quantlr.types import Array, BacktestResult


def monthly_returns(result: BacktestResult) -> pd.DataFrame:
    """Return compound net returns by year (rows) and month 1 to 12 (columns), NaN where there was no session."""
    dates = result.sessions
    growth = pd.DataFrame({"year": dates.year, "month": dates.month, "growth": _growth(result)})
    months = growth.pivot_table(index="year", columns="month", values="growth", aggfunc="prod") - 1.0
    return months.reindex(columns=range(1, 13))


def _growth(result: BacktestResult) -> Array:
    """Return what each session made of one unit; not less than nothing, however much was lost."""
    return np.maximum(1.0 + result.net_return, 0.0)


def yearly_returns(result: BacktestResult) -> Array:
    """Return compound net returns by year, in the order of `monthly_returns`."""
    growth = pd.Series(_growth(result)).groupby(result.sessions.year).prod()
    return np.asarray(growth - 1.0, dtype=np.float64)


SHORTEST = 20
"""Sessions of the shortest window that a share is taken over, where there are so many."""


@dataclass(frozen=True, slots=True)
class HitRates:
    """Share of right calls over a trailing window of sessions.

    Attributes
    ----------
    dates : (m,) the session that ends each window.
    accuracy : (m,) share of calls that were right.
    base_rate : (m,) share that the training rows' majority call got right.
    low, high : (m,) where 95 % of windows would lie, were the true chance that of the base rate's call.
    window : sessions in a window.
    independent : whether forecasts neither overlap nor share sessions, as the band takes them to.
    """

    dates: pd.DatetimeIndex
    accuracy: Array
    base_rate: Array
    low: Array
    high: Array
    window: int
    independent: bool


def rolling_hit_rates(rows: Scored, sessions: pd.DatetimeIndex) -> HitRates:
    """Return trailing hit rates: over a year where there are three, else over a quarter of what there is.

    The band is the binomial's normal approximation at the window's base-rate accuracy. It takes the forecasts of a
    window as independent, which forecasts that overlap are not.
    """
    where, at = np.unique(rows.session, return_inverse=True)
    window = 252 if len(where) >= 756 else max(len(where) // 4, min(SHORTEST, len(where)))

    def trailing(values: Array) -> Array:
        total = np.concatenate([[0.0], np.cumsum(np.bincount(at, weights=values))])
        return np.asarray(total[window:] - total[:-window])

    count = trailing(np.ones(len(at)))
    base_rate = trailing(rows.base_hits.astype(np.float64)) / count
    half = Z95 * np.sqrt(base_rate * (1.0 - base_rate) / count)
    return HitRates(
        dates=sessions[where[window - 1 :]],
        accuracy=trailing(rows.hits.astype(np.float64)) / count,
        base_rate=base_rate,
        low=np.maximum(base_rate - half, 0.0),
        high=np.minimum(base_rate + half, 1.0),
        window=window,
        independent=not rows.clustered,
    )
