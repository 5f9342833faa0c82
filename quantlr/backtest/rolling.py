"""What pages draw over time, computed here so that no figure computes anything."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from quantlr.backtest.costs import BASIS_POINT, ExecutionSpec, borrow_cost
from quantlr.backtest.metrics import EvaluatedForecasts, drawdown
from quantlr.core.arrays import Array, IntArray
from quantlr.core.values import BacktestResult
from quantlr.stats.hac import Z95
from quantlr.stats.sharpe import MIN_RELATIVE_STD, sharpe_per_session


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


@dataclass(frozen=True, slots=True)
class CostBreakdown:
    """What costs were made of, each (sessions,), as fractions of the session's equity, >= 0; their sum is the cost.

    Attributes
    ----------
    commission, slippage : in proportion to what was traded.
    fees : commission per share, the least fee of an order and half the spread, together.
    borrow : on what was held short.
    """

    commission: Array
    slippage: Array
    fees_and_spread: Array
    borrow: Array


def cost_breakdown(result: BacktestResult, execution: ExecutionSpec, *, sessions_per_year: int) -> CostBreakdown:
    """Return what the costs of a backtest with `execution` were made of."""
    commission = execution.commission_bps * BASIS_POINT * result.turnover
    slippage = execution.slippage_bps * BASIS_POINT * result.turnover
    borrow = _borrow_cost_by_session(result, execution, sessions_per_year)
    fees = np.zeros_like(borrow)
    if execution.per_share or execution.min_per_order or execution.spread:
        fees = np.maximum(result.cost - commission - slippage - borrow, 0.0)
    return CostBreakdown(commission, slippage, fees, borrow)


def average_trade_cost_bps(result: BacktestResult, execution: ExecutionSpec, *, sessions_per_year: int) -> float | None:
    """Return what a trade cost on average, in basis points of what was traded, one side; borrow is no part of it.

    Commission and slippage, unless there are fees per share or spreads. None where nothing was traded.
    """
    turnover = float(result.turnover.sum())
    borrow = _borrow_cost_by_session(result, execution, sessions_per_year)
    return float((result.cost - borrow).sum()) / turnover / BASIS_POINT if turnover > 0 else None


def sharpe_at_cost(
    result: BacktestResult, cost_bps: Array, execution: ExecutionSpec, *, sessions_per_year: int
) -> Array:
    """Return the Sharpe ratio after costs, per year, had each trade cost so much; NaN where it is undefined.

    The weights stay as they are, so that gross returns and turnover do: at c basis points the net return is

        gross return - c turnover - borrow

    which is what the engine finds with a commission of c and nothing else a trade: neither slippage nor spread, no fee
    per share, none per order. Ruin ends the sessions as it does there; sessions after a ruin at the run's own costs
    are not known.

    Parameters
    ----------
    bps : (m,) costs per traded side, in basis points of what is traded.
    """
    before = result.gross_return - _borrow_cost_by_session(result, execution, sessions_per_year)
    ratios = (
        _sharpe_until_ruin(before - cost * BASIS_POINT * result.turnover, result.session_cash_rate)
        for cost in cost_bps.tolist()
    )
    root = float(np.sqrt(sessions_per_year))
    return np.array([np.nan if ratio is None else ratio * root for ratio in ratios])


def _sharpe_until_ruin(net_return: Array, cash_return: float) -> float | None:
    ruin = np.flatnonzero(1.0 + net_return <= 0)
    lived = net_return[: ruin[0] + 1] if len(ruin) else net_return
    return sharpe_per_session(lived - cash_return)


def _borrow_cost_by_session(result: BacktestResult, execution: ExecutionSpec, sessions_per_year: int) -> Array:
    """Return what borrowing cost each session, (sessions,)."""
    return np.asarray(borrow_cost(result.weight, execution, sessions_per_year=sessions_per_year).sum(axis=1))
