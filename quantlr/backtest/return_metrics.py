"""Metrics of the distribution of net returns: tails, shape, and the best and the worst period of the calendar."""

from __future__ import annotations

import numpy as np

from quantlr.backtest.metric_types import BacktestView, Metric
from quantlr.core.values import Array, BacktestResult, IntArray
from quantlr.stats.sharpe import MIN_RELATIVE_STD

TAIL_PROBABILITY = 0.05
"""Probability of the returns that are at or below the value at risk."""


def returns_by_period(result: BacktestResult, *, n_months: int) -> tuple[IntArray, Array]:
    """Return the compound net returns of months (1) or years (12) of the calendar that have sessions.

    Returns
    -------
    period : (periods,) the year, or 12 times the year plus the month from 0 to 11.
    compound_return : (periods,) as a fraction; at least -1, and NaN where a session has none.
    """
    period = (12 * result.sessions.year + result.sessions.month - 1).to_numpy(dtype=np.int64) // n_months
    first = np.flatnonzero(np.diff(period, prepend=-1))
    growth = np.multiply.reduceat(np.maximum(1.0 + result.net_return, 0.0), first)
    return period[first], growth - 1.0


def value_at_risk(backtest: BacktestView) -> float:
    """Value at risk of one session, historical: the 5 % quantile of net returns, as a fraction (a loss is negative)."""
    return float(np.quantile(backtest.result.net_return, TAIL_PROBABILITY))


def conditional_value_at_risk(backtest: BacktestView) -> float:
    """Mean of the net returns that are at or below the value at risk (expected shortfall), as a fraction."""
    returns = backtest.result.net_return
    return float(returns[~(returns > value_at_risk(backtest))].mean())


def skewness(backtest: BacktestView) -> float | None:
    """Skewness of net returns, adjusted for the sample size (G1 of Joanes and Gill 1998); None if they are constant."""
    standardized, n = _standardized_returns(backtest), len(backtest.result.net_return)
    if standardized is None or n < 3:
        return None
    return float(np.sqrt(n * (n - 1)) / (n - 2) * (standardized**3).mean())


def excess_kurtosis(backtest: BacktestView) -> float | None:
    """Kurtosis of net returns less 3, adjusted for the sample size (G2 of the same); None if they are constant."""
    standardized, n = _standardized_returns(backtest), len(backtest.result.net_return)
    if standardized is None or n < 4:
        return None
    return float((n - 1) / ((n - 2) * (n - 3)) * ((n + 1) * ((standardized**4).mean() - 3.0) + 6.0))


def _standardized_returns(backtest: BacktestView) -> Array | None:
    """Return net returns less their mean over their standard deviation (ddof 0); None if they are constant."""
    returns = backtest.result.net_return
    std = float(returns.std())
    return (returns - returns.mean()) / std if std > MIN_RELATIVE_STD * np.abs(returns).max() else None


def best_session(backtest: BacktestView) -> float:
    """Highest net return of a session."""
    return float(backtest.result.net_return.max())


def worst_session(backtest: BacktestView) -> float:
    """Lowest net return of a session."""
    return float(backtest.result.net_return.min())


def best_month(backtest: BacktestView) -> float:
    """Highest compound net return of a calendar month; the first and the last may be incomplete."""
    return float(returns_by_period(backtest.result, n_months=1)[1].max())


def worst_month(backtest: BacktestView) -> float:
    """Lowest compound net return of a calendar month; the first and the last may be incomplete."""
    return float(returns_by_period(backtest.result, n_months=1)[1].min())


def best_year(backtest: BacktestView) -> float:
    """Highest compound net return of a calendar year; the first and the last may be incomplete."""
    return float(returns_by_period(backtest.result, n_months=12)[1].max())


def worst_year(backtest: BacktestView) -> float:
    """Lowest compound net return of a calendar year; the first and the last may be incomplete."""
    return float(returns_by_period(backtest.result, n_months=12)[1].min())


def returns_by_year(backtest: BacktestView) -> dict[str, float]:
    """Compound net return of each calendar year; the first and the last may be incomplete."""
    years, returns = returns_by_period(backtest.result, n_months=12)
    return dict(zip(map(str, years.tolist()), returns.tolist(), strict=True))


RETURN_METRICS: tuple[Metric, ...] = (
    Metric("value_at_risk_95", "backtest", value_at_risk, "VaR", 2, "95%, one session", is_percent=True,
           better="higher", shown_in=("risk",)),
    Metric("conditional_value_at_risk_95", "backtest", conditional_value_at_risk, "CVaR", 2, "95%, one session",
           is_percent=True, better="higher", shown_in=("risk",)),
    Metric("skewness", "backtest", skewness, "skewness", 2, "by session", better="higher", shown_in=("risk",)),
    Metric("excess_kurtosis", "backtest", excess_kurtosis, "excess kurtosis", 1, "by session", better="lower",
           shown_in=("risk",)),
    Metric("best_session", "backtest", best_session, "best session", 1, is_percent=True, shown_in=("risk",)),
    Metric("worst_session", "backtest", worst_session, "worst session", 1, is_percent=True, better="higher",
           shown_in=("risk",)),
    Metric("best_month", "backtest", best_month, "best month", 1, is_percent=True, shown_in=("risk",)),
    Metric("worst_month", "backtest", worst_month, "worst month", 1, is_percent=True, better="higher",
           shown_in=("risk",)),
    Metric("best_year", "backtest", best_year, "best year", 1, is_percent=True, shown_in=("risk",)),
    Metric("worst_year", "backtest", worst_year, "worst year", 1, is_percent=True, better="higher",
           shown_in=("risk",)),
    Metric("returns_by_year", "backtest", returns_by_year),
)  # fmt: skip
"""The metrics of the distribution of returns, in the order in which they are shown."""
