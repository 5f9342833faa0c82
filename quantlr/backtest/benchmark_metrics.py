"""Metrics of a strategy against its benchmark; None without a benchmark, or where it has no return in a session.

Returns are net and in excess of cash, over the sessions of the strategy; those of the captures include cash. Annual
figures are those of a session times the sessions per year.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from quantlr.backtest.costs import BASIS_POINT
from quantlr.backtest.metric_types import BacktestView
from quantlr.backtest.return_metrics import returns_by_period
from quantlr.core.values import Array
from quantlr.stats.benchmark_test import timing_returns
from quantlr.stats.cosine_test import cosine_test
from quantlr.stats.hac import Interval
from quantlr.stats.sharpe import sharpe_per_session


def alpha(backtest: BacktestView) -> dict[str, float] | None:
    """Annual alpha, and its lower 95 % bound by the bootstrap of the returns less beta times the benchmark's."""
    result, low95 = backtest.alpha_test, backtest.return_resamples.alpha_lower_bound_95()
    if result is None or low95 is None:
        return None
    return {"annual": result.alpha * backtest.sessions_per_year, "low95": low95 * backtest.sessions_per_year}


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


def up_capture(backtest: BacktestView) -> float | None:
    """Up capture: mean compound return over the benchmark's, of the months in which that is above 0, as a fraction."""
    return _capture(backtest, sign=1.0)


def down_capture(backtest: BacktestView) -> float | None:
    """Down capture: the same of the months in which the benchmark's return is below 0."""
    return _capture(backtest, sign=-1.0)


def _capture(backtest: BacktestView, *, sign: float) -> float | None:
    """Return the ratio of geometric means of monthly returns where the benchmark's have a sign; None without any."""
    benchmark = backtest.result.benchmark
    if benchmark is None or backtest.benchmark_excess_returns is None:
        return None
    results = (backtest.result, benchmark)
    returns = np.array([returns_by_period(result, n_months=1)[1] for result in results])
    returns = returns[:, sign * returns[1] > 0]
    if not returns.shape[1]:
        return None
    strategy_mean, benchmark_mean = np.prod(1.0 + returns, axis=1) ** (1.0 / returns.shape[1]) - 1.0
    return float(strategy_mean / benchmark_mean)


def volatility_match(backtest: BacktestView) -> float | None:
    """Factor on all positions at which the strategy would have had the benchmark's volatility; None without either."""
    benchmark, returns = backtest.benchmark_excess_returns, backtest.excess_returns
    if benchmark is None or sharpe_per_session(returns) is None or sharpe_per_session(benchmark) is None:
        return None
    return float(benchmark.std() / returns.std())


def volatility_matched_equity(backtest: BacktestView) -> Array | None:
    """Return the equity, (sessions,), of returns in excess of cash that are multiplied by `volatility_match`.

    Costs are multiplied with the positions, and cash is lent and borrowed at the same rate. The factor is that of the
    whole span, which nobody knew beforehand: the curve compares, and could not have been earned. None where the factor
    is.
    """
    factor = volatility_match(backtest)
    if factor is None:
        return None
    returns = backtest.result.session_cash_rate + factor * backtest.excess_returns
    return np.asarray(np.cumprod(np.maximum(1.0 + returns, 0.0)), dtype=np.float64)


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


def timing_break_even_cost_bps(backtest: BacktestView) -> float | None:
    """Break-even cost against holding each ticker's average weight: the cost per side, in bps, that equals the gain.

    The gain is before costs, and the holding is not charged for its own trades.
    """
    turnover, gain = float(backtest.result.turnover.sum()), _timing_returns(backtest) + backtest.result.cost
    return float(gain.sum()) / turnover / BASIS_POINT if turnover > 0 else None


def timing_test(backtest: BacktestView) -> dict[str, Any]:
    """One-sided test that the return above the average holding is above 0."""
    return asdict(cosine_test(_timing_returns(backtest), horizon=1))


def _timing_returns(backtest: BacktestView) -> Array:
    return timing_returns(backtest.result.weight, backtest.ticker_excess_returns, backtest.result.cost)
