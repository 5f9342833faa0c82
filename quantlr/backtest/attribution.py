"""Attribution of a backtest to its tickers: contribution, accuracy, weights and Sharpe ratio of each.

A ticker's contribution is the return of its own weights in excess of cash, less their costs, as a fraction of the whole
equity. In each session the contributions of all tickers add up to the net return in excess of cash.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from quantlr.backtest.engine import drifted_weights
from quantlr.backtest.metric_types import EvaluatedForecasts, Metric, forecast_columns
from quantlr.core.values import Array, BacktestResult, Forecasts, IntArray
from quantlr.stats.hac import Z95
from quantlr.stats.sharpe import sharpe_per_session


@dataclass(frozen=True, slots=True)
class TickerAttribution:
    """Statistics by ticker, (k,) each, of the tickers that have forecasts; NaN where one is undefined.

    Attributes
    ----------
    ticker_index : positions in `Forecasts.tickers`, ascending.
    annual_contribution : mean contribution a year, as a fraction of the whole equity.
    n_forecasts : forecasts whose outcome is known.
    accuracy, baseline_accuracy : of the forecasts, and of the majority-class baseline.
    accuracy_band_half_width : of the band around the baseline's accuracy that holds 95 % of accuracies under no skill:
        where forecast and baseline differ either is right with probability 1/2, and one forecast in `horizon` is
        independent.
    mean_absolute_weight, mean_weight : from its first forecast to its last bar.
    sharpe : annual, of its contribution over those sessions.
    sharpe_band_half_width : of the band around 0 that holds 95 % of ratios if the true one is 0 and returns are
        independent.
    """

    ticker_index: IntArray
    annual_contribution: Array
    n_forecasts: Array
    accuracy: Array
    baseline_accuracy: Array
    accuracy_band_half_width: Array
    mean_absolute_weight: Array
    mean_weight: Array
    sharpe: Array
    sharpe_band_half_width: Array


def ticker_backtest(result: BacktestResult, ticker_index: int, session_slice: slice) -> BacktestResult:
    """Return the contribution of one ticker as a backtest of its own, in excess of cash, without interest.

    Parameters
    ----------
    session_slice : sessions to keep; see `active_session_slice`.
    """
    columns = result.weight, result.ticker_gross_return, result.ticker_cost
    weight, gross_return, cost = (values[session_slice, ticker_index] for values in columns)
    drifted = drifted_weights(result.weight, result.ticker_gross_return)[session_slice, ticker_index]
    fills = slice(session_slice.start, session_slice.stop + 1)
    interest = result.ticker_interest[session_slice, ticker_index]
    excess_return = gross_return - interest
    return BacktestResult(
        tickers=(result.tickers[ticker_index],),
        fill_dates=result.fill_dates[fills],
        price=result.price[fills, [ticker_index]],
        weight=weight[:, None],
        ticker_return=result.ticker_return[session_slice, [ticker_index]],
        ticker_gross_return=gross_return[:, None],
        ticker_cost=cost[:, None],
        gross_return=excess_return,
        cash_return=-interest,
        cost=cost,
        net_return=excess_return - cost,
        equity=np.asarray(np.cumprod(np.maximum(1.0 + excess_return - cost, 0.0)), dtype=np.float64),
        exposure=np.abs(weight),
        turnover=np.abs(weight - drifted),
    )


def _session_contributions(result: BacktestResult, ticker_indices: IntArray) -> Array:
    """Return the contributions of some tickers in each session, (sessions, tickers)."""
    excess_return = result.ticker_gross_return[:, ticker_indices] - result.ticker_cost[:, ticker_indices]
    return excess_return - result.ticker_interest[:, ticker_indices]


def ticker_attribution(
    result: BacktestResult,
    forecasts: Forecasts,
    evaluated_forecasts: EvaluatedForecasts,
    *,
    sessions_per_year: int,
    ticker_indices: IntArray | None = None,
) -> TickerAttribution:
    """Return the statistics of each ticker.

    Parameters
    ----------
    evaluated_forecasts : the forecasts whose outcome is known, of these tickers or of all.
    ticker_indices : positions, ascending; None for all that have forecasts.
    """
    ticker_indices = np.unique(forecasts.ticker) if ticker_indices is None else ticker_indices
    contribution = _session_contributions(result, ticker_indices)
    rows = []
    for column, ticker in enumerate(ticker_indices.tolist()):
        sessions = active_session_slice(result, forecasts, ticker)
        weight, returns = result.weight[sessions, ticker], contribution[sessions, column]
        sharpe = sharpe_per_session(returns)
        annual = np.nan if sharpe is None else np.sqrt(sessions_per_year)
        means = (np.abs(weight).mean(), weight.mean()) if len(weight) else (0.0, 0.0)
        rows.append((*means, (sharpe or 0.0) * annual, Z95 * annual / np.sqrt(max(len(returns), 1))))
    mean_absolute_weight, mean_weight, sharpes, sharpe_half_width = np.array(rows, dtype=np.float64).T
    hits, baseline_hits = evaluated_forecasts.hits, evaluated_forecasts.baseline_hits
    n_forecasts, n_hits, n_baseline_hits, n_different = (
        np.bincount(evaluated_forecasts.ticker, weights=weights, minlength=len(result.tickers))[ticker_indices]
        for weights in (None, hits, baseline_hits, hits != baseline_hits)
    )
    with np.errstate(invalid="ignore"):
        return TickerAttribution(
            ticker_index=ticker_indices,
            annual_contribution=contribution.mean(axis=0) * sessions_per_year,
            n_forecasts=n_forecasts.astype(np.float64),
            accuracy=n_hits / n_forecasts,
            baseline_accuracy=n_baseline_hits / n_forecasts,
            accuracy_band_half_width=Z95 * np.sqrt(n_different * evaluated_forecasts.horizon) / n_forecasts,
            mean_absolute_weight=mean_absolute_weight,
            mean_weight=mean_weight,
            sharpe=sharpes,
            sharpe_band_half_width=sharpe_half_width,
        )


def cumulative_contribution(result: BacktestResult, ticker_indices: IntArray) -> Array:
    """Return the cumulative sums of some tickers' contributions, (sessions, tickers), as fractions of equity."""
    return np.asarray(np.cumsum(_session_contributions(result, ticker_indices), axis=0))


def forecasts_of_ticker(forecasts: EvaluatedForecasts, ticker_index: int) -> EvaluatedForecasts:
    """Return the forecasts of one ticker."""
    columns = forecast_columns(forecasts, forecasts.ticker == ticker_index)
    return replace(forecasts, has_dependent_outcomes=forecasts.horizon > 1, all_forecasts=None, **columns)


def active_session_slice(result: BacktestResult, forecasts: Forecasts, ticker_index: int) -> slice:
    """Return the sessions of a backtest from the close of a ticker's first forecast to its last bar."""
    first = forecasts.sessions[forecasts.session[forecasts.ticker == ticker_index].min()]
    priced = np.flatnonzero(~np.isnan(result.price[:, ticker_index]))
    return slice(int(result.sessions.searchsorted(first, side="right")), int(priced.max(initial=0)))


def contribution(attribution: TickerAttribution) -> list[float]:
    """Contribution of each ticker to the return, after costs and in excess of cash: arithmetic mean times a year."""
    return [float(value) for value in attribution.annual_contribution]


def mean_absolute_weight(attribution: TickerAttribution) -> list[float]:
    """Mean absolute weight of each ticker, from its first forecast to its last bar."""
    return [float(value) for value in attribution.mean_absolute_weight]


def mean_weight(attribution: TickerAttribution) -> list[float]:
    """Mean weight of each ticker, long less short, over the same sessions."""
    return [float(value) for value in attribution.mean_weight]


TICKER_METRICS: tuple[Metric, ...] = (
    Metric("contribution", "by_ticker", contribution, "contribution", 2, "annual mean, % of equity", is_percent=True,
           better="higher"),
    Metric("mean_absolute_weight", "by_ticker", mean_absolute_weight, "mean absolute weight", 1, is_percent=True),
    Metric("mean_weight", "by_ticker", mean_weight, "mean weight, long less short", 1, is_percent=True),
)  # fmt: skip
"""The metrics of single tickers, in the order in which they are shown."""
