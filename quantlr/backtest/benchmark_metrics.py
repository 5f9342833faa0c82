"""Metrics of a strategy against its benchmark; None without a benchmark, or where it has no return in a session.

Returns are net and in excess of cash, over the sessions of the strategy. Annual figures are those of a session times
the sessions per year.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from quantlr.backtest.metric_types import BacktestView
from quantlr.core.values import Array
from quantlr.stats.benchmark_test import benchmark_adjusted_returns, timing_returns
from quantlr.stats.bootstrap import mean_lower_bound_95
from quantlr.stats.cosine_test import cosine_test
from quantlr.stats.hac import Interval
from quantlr.stats.sharpe import sharpe_per_session


def alpha(backtest: BacktestView) -> dict[str, float] | None:
    """Annual alpha, and its lower 95 % bound by the bootstrap of the returns less beta times the benchmark's."""
    benchmark, per_year = backtest.benchmark_excess_returns, backtest.sessions_per_year
    if benchmark is None:
        return None
    adjusted = benchmark_adjusted_returns(backtest.excess_returns, benchmark)
    low95 = mean_lower_bound_95(adjusted, np.random.default_rng(backtest.seed))
    return {"annual": float(adjusted.mean()) * per_year, "low95": low95 * per_year}


def alpha_test(backtest: BacktestView) -> dict[str, Any] | None:
    """One-sided test that alpha is above 0, which the verdict rests on together with `timing_test`."""
    result = backtest.alpha_test
    return None if result is None else asdict(result.test)


def beta(backtest: BacktestView) -> float | None:
    """Slope of the regression of the strategy's returns on the benchmark's; 0 where that is constant."""
    result = backtest.alpha_test
    return None if result is None else result.beta


def benchmark_correlation(backtest: BacktestView) -> float | None:
    """Correlation of the strategy's returns with the benchmark's; None where either is constant."""
    benchmark, slope = backtest.benchmark_excess_returns, beta(backtest)
    std = float(backtest.excess_returns.std())
    return float(slope * benchmark.std() / std) if benchmark is not None and slope and std > 0 else None


def information_ratio(backtest: BacktestView) -> float | None:
    """Annual information ratio: mean over standard deviation (ddof 1) of the returns less the benchmark's."""
    benchmark = backtest.benchmark_excess_returns
    if benchmark is None:
        return None
    ratio = sharpe_per_session(backtest.excess_returns - benchmark)
    return None if ratio is None else ratio * backtest.annual_factor


def sharpe_above_benchmark(backtest: BacktestView) -> float | None:
    """Annual Sharpe ratio less the benchmark's."""
    difference = backtest.sharpe_difference
    return None if difference is None else difference.value * backtest.annual_factor


def sharpe_above_benchmark_interval(backtest: BacktestView) -> Interval | None:
    """95 % interval of the difference of the annual Sharpe ratios (Ledoit and Wolf 2008)."""
    difference = backtest.sharpe_difference
    if difference is None or difference.interval is None:
        return None
    low, high = difference.interval
    return low * backtest.annual_factor, high * backtest.annual_factor


def timing(backtest: BacktestView) -> float:
    """Annual return after costs above holding each ticker's average weight in every session."""
    return float(_timing_returns(backtest).mean()) * backtest.sessions_per_year


def timing_test(backtest: BacktestView) -> dict[str, Any]:
    """One-sided test that the return above the average holding is above 0."""
    return asdict(cosine_test(_timing_returns(backtest), horizon=1))


def _timing_returns(backtest: BacktestView) -> Array:
    result = backtest.result
    cash_rate = np.reshape(result.session_cash_rate, (-1, 1))
    excess = np.where(result.ticker_listed_mask, result.ticker_return - cash_rate, np.nan)
    return timing_returns(result.weight, excess, result.cost)
