"""Series over time that pages draw: rolling windows, returns by month, weights and costs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from quantlr.backtest.costs import BASIS_POINT, ExecutionSpec, borrow_cost, financing_cost
from quantlr.backtest.metric_types import EvaluatedForecasts
from quantlr.backtest.return_metrics import returns_by_period
from quantlr.core.values import Array, BacktestResult, IntArray
from quantlr.stats.hac import Z95, sum_by_session
from quantlr.stats.sharpe import MIN_RELATIVE_STD, sharpe_per_session


def monthly_returns(result: BacktestResult) -> pd.DataFrame:
    """Return compound net returns by year (rows) and month 1 to 12 (columns), NaN where there was no session."""
    month, returns = returns_by_period(result, n_months=1)
    years, row = np.unique(month // 12, return_inverse=True)
    table = np.full((len(years), 12), np.nan)
    table[row, month % 12] = returns
    return pd.DataFrame(table, index=pd.Index(years, name="year"), columns=pd.RangeIndex(1, 13, name="month"))


def trailing_window_length(n_sessions: int, *, sessions_per_year: int) -> int:
    """Return the sessions of a rolling window: a year of three or more, else a quarter, but at least 20 if possible.

    A year of fewer than 20 sessions counts as many times as needed for 20: 24 months.
    """
    year = sessions_per_year * -(-20 // sessions_per_year)
    return year if n_sessions >= 3 * year else max(n_sessions // 4, min(20, n_sessions))


def trailing_sums(values: Array, window: int) -> Array:
    """Return the sums over each window of consecutive rows, (n - window + 1, ...)."""
    total = np.cumsum(np.concatenate([np.zeros_like(values[:1]), values]), axis=0)
    return np.asarray(total[window:] - total[:-window])


@dataclass(frozen=True, slots=True)
class RollingSharpe:
    """Sharpe ratios over a rolling window of sessions.

    Attributes
    ----------
    dates : (m,) the last session of each window.
    strategy_sharpe, benchmark_sharpe : (m,) annual ratios of net returns in excess of cash; NaN where returns are
        constant.
    band_half_width : of the band around 0 that holds 95 % of windows if the true ratio is 0.
    window : sessions in a window.
    """

    dates: pd.DatetimeIndex
    strategy_sharpe: Array
    benchmark_sharpe: Array
    band_half_width: float
    window: int


def rolling_sharpe(result: BacktestResult, *, sessions_per_year: int) -> RollingSharpe:
    """Return rolling Sharpe ratios of a strategy and of its benchmark.

    The band is that of independent returns (Lo 2002): a ratio of 0 per session has a standard error of 1 / sqrt(T).
    """
    window = trailing_window_length(len(result.net_return), sessions_per_year=sessions_per_year)
    sharpes = [_rolling_sharpe_per_session(run, window) for run in (result, result.benchmark or result)]
    strategy, benchmark = np.sqrt(sessions_per_year) * np.array(sharpes)
    half_width = float(Z95 * np.sqrt(sessions_per_year / window))
    return RollingSharpe(result.sessions[window - 1 :], strategy, benchmark, half_width, window)


def _rolling_sharpe_per_session(result: BacktestResult, window: int) -> Array:
    """Return the ratio of each window, from its own values: differences of cumulative sums would add rounding."""
    windows = np.lib.stride_tricks.sliding_window_view(result.net_return - result.session_cash_rate, window)
    mean, std = windows.mean(axis=1), windows.std(axis=1) * np.sqrt(window / max(window - 1, 1))
    varies = std > MIN_RELATIVE_STD * np.abs(windows).max(axis=1)
    return np.asarray(np.where(varies, mean, np.nan) / np.where(varies, std, 1.0))


@dataclass(frozen=True, slots=True)
class RollingAccuracy:
    """Accuracy over a rolling window of sessions.

    Attributes
    ----------
    dates : (m,) the last session of each window.
    accuracy : (m,) proportion of forecasts that were right.
    baseline_accuracy : (m,) that of the majority-class baseline.
    band_low, band_high : (m,) bounds that hold 95 % of windows if the true accuracy is the baseline's.
    window : sessions in a window.
    is_independent : whether forecasts neither overlap nor share sessions, as the band assumes.
    """

    dates: pd.DatetimeIndex
    accuracy: Array
    baseline_accuracy: Array
    band_low: Array
    band_high: Array
    window: int
    is_independent: bool


def rolling_accuracy(
    forecasts: EvaluatedForecasts, session_dates: pd.DatetimeIndex, *, sessions_per_year: int
) -> RollingAccuracy:
    """Return the rolling accuracy of forecasts.

    The band is the normal approximation of the binomial distribution at the window's baseline accuracy. It assumes
    independent forecasts.
    """
    session = np.unique(forecasts.session)
    window = trailing_window_length(len(session), sessions_per_year=sessions_per_year)
    columns = np.ones(len(forecasts.up)), forecasts.hits.astype(np.float64), forecasts.baseline_hits.astype(np.float64)
    count, n_hits, n_baseline_hits = trailing_sums(sum_by_session(forecasts.session, *columns), window).T
    baseline = n_baseline_hits / count
    half_width = Z95 * np.sqrt(baseline * (1.0 - baseline) / count)
    low, high = np.clip([baseline - half_width, baseline + half_width], 0.0, 1.0)
    dates = session_dates[session[window - 1 :]]
    return RollingAccuracy(dates, n_hits / count, baseline, low, high, window, not forecasts.has_dependent_outcomes)


@dataclass(frozen=True, slots=True)
class RollingExposureAndTurnover:
    """Exposure and turnover, averaged over a rolling window.

    Attributes
    ----------
    dates : (m,) the last session of each window.
    gross_exposure, net_exposure : (m,) mean of the sum of |weight|, and of the sum of weights.
    annual_turnover : (m,) in units of equity, buys and sells counted.
    window : sessions in a window.
    """

    dates: pd.DatetimeIndex
    gross_exposure: Array
    net_exposure: Array
    annual_turnover: Array
    window: int


def rolling_exposure_and_turnover(result: BacktestResult, *, sessions_per_year: int) -> RollingExposureAndTurnover:
    """Return rolling exposure and turnover, over a quarter of a year, or of all sessions if that is less."""
    window = min(max(sessions_per_year // 4, 1), max(len(result.exposure) // 4, 1))
    columns = np.column_stack([result.exposure, result.weight.sum(axis=1), result.turnover])
    gross, net, turnover = trailing_sums(columns, window).T / window
    return RollingExposureAndTurnover(result.sessions[window - 1 :], gross, net, turnover * sessions_per_year, window)


@dataclass(frozen=True, slots=True)
class BinnedWeights:
    """Weights of many tickers, averaged over bins of time.

    Attributes
    ----------
    bin_edges : (b + 1,) evenly spaced in time.
    mean_weight : (b, tickers) mean weight over the sessions that begin in the bin; without any, that of the bin before.
    long_fraction, short_fraction : (b,) mean proportion of the tickers held long, and short; likewise.
    """

    bin_edges: pd.DatetimeIndex
    mean_weight: Array
    long_fraction: Array
    short_fraction: Array


def binned_weights(result: BacktestResult, ticker_indices: IntArray, *, max_bins: int = 320) -> BinnedWeights:
    """Return the weights of some tickers, averaged over at most `max_bins` bins of time."""
    starts, weight = result.fill_dates[:-1], result.weight[:, ticker_indices]
    n_bins = min(max_bins, len(starts))
    edges = pd.DatetimeIndex(pd.date_range(result.fill_dates[0], result.fill_dates[-1], periods=n_bins + 1))
    bin_index = np.minimum(edges.searchsorted(starts, side="right") - 1, n_bins - 1)
    columns = np.column_stack([weight, (weight > 0).mean(axis=1), (weight < 0).mean(axis=1)])
    sums, count = np.zeros((n_bins, columns.shape[1])), np.bincount(bin_index, minlength=n_bins)[:, None]
    np.add.at(sums, bin_index, columns)
    means = pd.DataFrame(sums / np.where(count, count, np.nan)).ffill().to_numpy()
    return BinnedWeights(edges, means[:, :-2], means[:, -2], means[:, -1])


def costs_by_kind(result: BacktestResult, execution: ExecutionSpec, *, sessions_per_year: int) -> dict[str, Array]:
    """Return the costs of each session by kind, each (sessions,), as fractions of equity, >= 0; their sum is the cost.

    "commission" and "slippage" are in proportion to what is traded; "spread and fees" are half the spread, commission
    per share and the minimum fee of an order, together; "borrow" is paid on short positions, and "financing" on
    borrowed cash.
    """
    commission = execution.commission_bps * BASIS_POINT * result.turnover
    slippage = execution.slippage_bps * BASIS_POINT * result.turnover
    carry = _carry_costs_by_session(result, execution, sessions_per_year)
    fees = np.zeros_like(commission)
    if execution.per_share or execution.min_per_order or execution.spread:
        fees = np.maximum(result.cost - commission - slippage - sum(carry.values()), 0.0)
    return {"commission": commission, "slippage": slippage, "spread and fees": fees, **carry}


def average_trade_cost_bps(result: BacktestResult, execution: ExecutionSpec, *, sessions_per_year: int) -> float | None:
    """Return the average cost per side, without borrow and financing, in basis points of what is traded.

    None without any trade. It equals commission plus slippage unless there are fees per share or spreads.
    """
    turnover = float(result.turnover.sum())
    carry = sum(_carry_costs_by_session(result, execution, sessions_per_year).values())
    return float((result.cost - carry).sum()) / turnover / BASIS_POINT if turnover > 0 else None


def sharpe_at_cost(
    result: BacktestResult, cost_bps: Array, execution: ExecutionSpec, *, sessions_per_year: int
) -> Array:
    """Return the annual Sharpe ratio after costs at each of several costs per side, (m,); NaN where it is undefined.

    The weights, and therefore gross returns and turnover, are those of the run: at c basis points the net return is

        gross return - c turnover - borrow - financing

    which equals the engine's result with a commission of c and no slippage, spread, fee per share or minimum fee. Ruin
    ends the sessions as in the engine; sessions after a ruin at the run's own costs are unknown.

    Parameters
    ----------
    cost_bps : (m,) costs per side, in basis points of what is traded.
    """
    carry = sum(_carry_costs_by_session(result, execution, sessions_per_year).values())
    gross_return = result.gross_return - carry
    sharpes = np.full(len(cost_bps), np.nan)
    for index, cost in enumerate(cost_bps.tolist()):
        net_return = gross_return - cost * BASIS_POINT * result.turnover
        n_sessions = int((np.cumsum(1.0 + net_return <= 0) == 0).sum()) + 1
        excess = (net_return - result.session_cash_rate)[:n_sessions]
        if (sharpe := sharpe_per_session(excess)) is not None:
            sharpes[index] = sharpe * np.sqrt(sessions_per_year)
    return sharpes


def _carry_costs_by_session(
    result: BacktestResult, execution: ExecutionSpec, sessions_per_year: int
) -> dict[str, Array]:
    """Return the costs of holding positions by kind, "borrow" and "financing", (sessions,) each."""
    arguments = result.weight, result.fill_dates, execution
    costs = {"borrow": borrow_cost, "financing": financing_cost}
    return {kind: cost(*arguments, sessions_per_year=sessions_per_year).sum(axis=1) for kind, cost in costs.items()}
