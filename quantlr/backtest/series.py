"""What pages draw over time, computed here so that no figure computes anything."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from quantlr.backtest.inference.levels import Z95
from quantlr.backtest.inference.sharpe import MIN_RELATIVE_STD
from quantlr.backtest.metrics import EvaluatedForecasts, drawdown
from quantlr.types import Array, BacktestResult


def monthly_returns(result: BacktestResult) -> pd.DataFrame:
    """Return compound net returns by year (rows) and month 1 to 12 (columns), NaN where there was no session."""
    dates = result.sessions
    growth = pd.DataFrame({"year": dates.year, "month": dates.month, "growth": _session_growth_factors(result)})
    months = growth.pivot_table(index="year", columns="month", values="growth", aggfunc="prod") - 1.0
    return months.reindex(columns=range(1, 13))


def _session_growth_factors(result: BacktestResult) -> Array:
    """Return what each session made of one unit; not less than nothing, however much was lost."""
    return np.maximum(1.0 + result.net_return, 0.0)


def yearly_returns(result: BacktestResult) -> Array:
    """Return compound net returns by year, in the order of `monthly_returns`."""
    growth = pd.Series(_session_growth_factors(result)).groupby(result.sessions.year).prod()
    return np.asarray(growth - 1.0, dtype=np.float64)


MIN_TRAILING_SESSIONS = 20
"""Sessions of the shortest trailing window, where there are so many."""


def trailing_window_sessions(n_sessions: int) -> int:
    """Return the sessions of a trailing window: a year where there are three, else a quarter of what there is."""
    return 252 if n_sessions >= 756 else max(n_sessions // 4, min(MIN_TRAILING_SESSIONS, n_sessions))


@dataclass(frozen=True, slots=True)
class DrawdownPeriod:
    """A fall from a high until that is regained.

    Attributes
    ----------
    high, low : dates of the high and of the lowest point after it.
    regained : date at which it stood as high again, None where it has not.
    depth : fall from the high to the lowest point, as a fraction < 0.
    """

    peak_date: pd.Timestamp
    trough_date: pd.Timestamp
    recovery_date: pd.Timestamp | None
    depth: float


def deepest_drawdowns(result: BacktestResult, *, max_count: int) -> tuple[DrawdownPeriod, ...]:
    """Return the deepest falls, the deepest first, of equal ones the earlier first; at most so many.

    The first high is the starting capital of 1 at the first fill.
    """
    below = drawdown(np.concatenate([[1.0], result.equity]))
    edges = np.flatnonzero(np.diff(np.concatenate([[False], below < 0, [False]]).astype(np.int8)))
    found = []
    for first, after in edges.reshape(-1, 2).tolist():
        low = first + int(below[first:after].argmin())
        regained = result.fill_dates[after] if after < len(below) else None
        found.append(DrawdownPeriod(result.fill_dates[first - 1], result.fill_dates[low], regained, float(below[low])))
    return tuple(sorted(found, key=lambda fall: fall.depth)[:max_count])


@dataclass(frozen=True, slots=True)
class RollingSharpe:
    """Sharpe ratios over a trailing window of sessions.

    Attributes
    ----------
    dates : (m,) the session that ends each window.
    strategy, benchmark : (m,) annual ratios of net returns in excess of cash; NaN where nothing varies.
    luck : half the width of the band about 0 that 95 % of windows would lie in, were the true ratio 0.
    window : sessions in a window.
    """

    dates: pd.DatetimeIndex
    strategy_sharpe: Array
    benchmark_sharpe: Array
    band_half_width: float
    window: int


def rolling_sharpe(result: BacktestResult, *, sessions_per_year: int) -> RollingSharpe:
    """Return trailing Sharpe ratios of a strategy and of its benchmark.

    The band is that of independent returns (Lo 2002): a ratio of 0 per session has a standard error of 1 / sqrt(T).
    """
    window, held = trailing_window_sessions(len(result.net_return)), result.benchmark or result
    return RollingSharpe(
        dates=result.sessions[window - 1 :],
        strategy_sharpe=_trailing_sharpe_per_session(result, window) * np.sqrt(sessions_per_year),
        benchmark_sharpe=_trailing_sharpe_per_session(held, window) * np.sqrt(sessions_per_year),
        band_half_width=float(Z95 * np.sqrt(sessions_per_year / window)),
        window=window,
    )


def _trailing_sharpe_per_session(result: BacktestResult, window: int) -> Array:
    """Return the ratio per session of each window, from the window's own values: running sums carry rounding."""
    windows = np.lib.stride_tricks.sliding_window_view(result.net_return - result.session_cash_rate, window)
    mean, deviation = windows.mean(axis=1), windows.std(axis=1) * np.sqrt(window / max(window - 1, 1))
    varies = deviation > MIN_RELATIVE_STD * np.abs(windows).max(axis=1)
    return np.asarray(np.where(varies, mean, np.nan) / np.where(varies, deviation, 1.0))


@dataclass(frozen=True, slots=True)
class RollingAccuracy:
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
    baseline_accuracy: Array
    band_low: Array
    band_high: Array
    window: int
    is_independent: bool


def rolling_accuracy(forecasts: EvaluatedForecasts, session_dates: pd.DatetimeIndex) -> RollingAccuracy:
    """Return trailing hit rates.

    The band is the binomial's normal approximation at the window's base-rate accuracy. It takes the forecasts of a
    window as independent, which forecasts that overlap are not.
    """
    where, at = np.unique(forecasts.session, return_inverse=True)
    window = trailing_window_sessions(len(where))

    def trailing_sum(values: Array) -> Array:
        total = np.concatenate([[0.0], np.cumsum(np.bincount(at, weights=values))])
        return np.asarray(total[window:] - total[:-window])

    count = trailing_sum(np.ones(len(at)))
    base_rate = trailing_sum(forecasts.baseline_hits.astype(np.float64)) / count
    half = Z95 * np.sqrt(base_rate * (1.0 - base_rate) / count)
    return RollingAccuracy(
        dates=session_dates[where[window - 1 :]],
        accuracy=trailing_sum(forecasts.hits.astype(np.float64)) / count,
        baseline_accuracy=base_rate,
        band_low=np.maximum(base_rate - half, 0.0),
        band_high=np.minimum(base_rate + half, 1.0),
        window=window,
        is_independent=not forecasts.is_clustered,
    )
