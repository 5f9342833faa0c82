"""Each ticker's part in the whole: what it added, how often it was called rightly, what it weighed.

A ticker's part is what its own weights earned in excess of cash, less what they cost, as a fraction of the whole
equity. The parts of all tickers add up, session by session, to the net return in excess of cash.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from quantlr.backtest.engine import drifted_weights
from quantlr.backtest.metrics import EvaluatedForecasts
from quantlr.core.arrays import Array, IntArray
from quantlr.core.values import BacktestResult, Forecasts
from quantlr.stats.hac import STANDARD_NORMAL, Z95
from quantlr.stats.sharpe import sharpe_per_session

N_NORMAL_QUANTILES = 999
"""Quantiles that stand for a normal distribution."""


@dataclass(frozen=True, slots=True)
class TickerAttribution:
    """Numbers by ticker, (k,) each, of the tickers that have forecasts; NaN where one is undefined.

    Attributes
    ----------
    ticker : positions in `Forecasts.tickers`, ascending.
    contribution : mean excess return after costs that it added a year, as a fraction of the whole equity; they add up
        to the whole's.
    calls : forecasts whose outcome is known.
    accuracy, base_rate : share of right calls, the model's and the training rows' majority's.
    accuracy_luck : how far the one would be from the other in 95 % of cases, were the calls in which they differ tosses
        of a coin, and one call in `horizon` independent.
    weight, net_weight : mean of |weight| and of weight, from its first forecast to its last bar.
    sharpe : of its part, per year, over those sessions.
    sharpe_luck : how far from 0 that would be in 95 % of cases, were the true one 0 and returns independent.
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
    """Return one ticker's part as a backtest of its own, in excess of cash: the others flat, and no interest earned.

    Parameters
    ----------
    span : sessions to keep; see `lived`.
    """
    drifted = drifted_weights(result.weight, result.ticker_gross_return)[session_slice, ticker_index]
    weight, earned, cost = (
        values[session_slice, ticker_index]
        for values in (result.weight, result.ticker_gross_return, result.ticker_cost)
    )
    fills = slice(session_slice.start, session_slice.stop + 1)
    gross_return = earned - weight * result.session_cash_rate
    return BacktestResult(
        tickers=(result.tickers[ticker_index],),
        fill_dates=result.fill_dates[fills],
        price=result.price[fills, [ticker_index]],
        weight=weight[:, None],
        ticker_gross_return=earned[:, None],
        ticker_cost=cost[:, None],
        gross_return=gross_return,
        cash_return=-weight * result.session_cash_rate,
        cost=cost,
        net_return=gross_return - cost,
        equity=np.asarray(np.cumprod(np.maximum(1.0 + gross_return - cost, 0.0)), dtype=np.float64),
        exposure=np.abs(weight),
        turnover=np.abs(weight - drifted),
    )


def ticker_attribution(
    result: BacktestResult,
    forecasts: Forecasts,
    evaluated_forecasts: EvaluatedForecasts,
    *,
    sessions_per_year: int,
    ticker_indices: IntArray | None = None,
) -> TickerAttribution:
    """Return what tickers added to the whole, and how well each was called.

    Parameters
    ----------
    rows : the forecasts whose outcome is known, of these tickers or of all.
    tickers : positions, ascending; None for all that have forecasts.
    """
    ticker_indices = np.unique(forecasts.ticker) if ticker_indices is None else ticker_indices
    weight = result.weight[:, ticker_indices]
    excess = (
        result.ticker_gross_return[:, ticker_indices]
        - result.ticker_cost[:, ticker_indices]
        - weight * result.session_cash_rate
    )
    spans = [active_sessions(result, forecasts, int(ticker)) for ticker in ticker_indices]
    held = np.array(
        [
            _weight_and_sharpe_statistics(weight[span, at], excess[span, at], sessions_per_year)
            for at, span in enumerate(spans)
        ]
    )
    calls, right, base, differ = (
        np.bincount(evaluated_forecasts.ticker, weights=counted, minlength=len(result.tickers))[ticker_indices]
        for counted in (
            None,
            evaluated_forecasts.hits,
            evaluated_forecasts.baseline_hits,
            evaluated_forecasts.hits != evaluated_forecasts.baseline_hits,
        )
    )
    with np.errstate(invalid="ignore"):
        return TickerAttribution(
            ticker_index=ticker_indices,
            annual_contribution=excess.mean(axis=0) * sessions_per_year,
            n_forecasts=calls.astype(np.float64),
            accuracy=right / calls,
            baseline_accuracy=base / calls,
            accuracy_band_half_width=Z95 * np.sqrt(differ * evaluated_forecasts.horizon) / calls,
            **{
                name: held[:, at]
                for at, name in enumerate(("mean_absolute_weight", "mean_weight", "sharpe", "sharpe_band_half_width"))
            },
        )


def expected_order_statistics(band_half_width: Array) -> Array:
    """Return what the values of so many tickers would be in their order if all were luck, (k,), highest first.

    The quantiles of the mixture of normal distributions around 0, one for each ticker, at the median ranks (Benard and
    Bos-Levenbach 1953).

    Parameters
    ----------
    half : (k,) how far 95 % of each ticker's values would reach, as `accuracy_luck` and `sharpe_luck`.
    """
    normal = np.array([STANDARD_NORMAL.inv_cdf((at + 0.5) / N_NORMAL_QUANTILES) for at in range(N_NORMAL_QUANTILES)])
    mixture = np.outer(band_half_width / Z95, normal).ravel()
    rank = (np.arange(1, len(band_half_width) + 1) - 0.3) / (len(band_half_width) + 0.4)
    return np.asarray(np.quantile(mixture, 1.0 - rank))


def cumulative_contribution(result: BacktestResult, ticker_indices: IntArray) -> Array:
    """Return what some tickers' parts have added so far, (sessions, tickers): sums of fractions of equity."""
    excess = result.ticker_gross_return - result.ticker_cost - result.weight * result.session_cash_rate
    return np.asarray(np.cumsum(excess[:, ticker_indices], axis=0))


def forecasts_of_ticker(forecasts: EvaluatedForecasts, ticker_index: int) -> EvaluatedForecasts:
    """Return the forecasts of one ticker."""
    own = forecasts.ticker == ticker_index
    fields = ("log_odds", "probability", "up", "base_rate", "ticker", "session")
    return replace(
        forecasts, is_clustered=forecasts.horizon > 1, **{name: getattr(forecasts, name)[own] for name in fields}
    )


def active_sessions(result: BacktestResult, forecasts: Forecasts, ticker_index: int) -> slice:
    """Return the sessions from the close of a ticker's first forecast to its last bar, of those that were traded in."""
    first = forecasts.sessions[forecasts.session[forecasts.ticker == ticker_index].min()]
    start = int(result.sessions.searchsorted(first, side="right"))
    priced = np.flatnonzero(~np.isnan(result.price[:, ticker_index]))
    return slice(start, int(priced.max(initial=0)))


def _weight_and_sharpe_statistics(
    weight: Array, excess_returns: Array, sessions_per_year: int
) -> tuple[float, float, float, float]:
    """Return weight, net weight, Sharpe ratio and its luck from what one ticker was held at and earned."""
    if not len(weight):
        return 0.0, 0.0, np.nan, np.nan
    ratio, root = sharpe_per_session(excess_returns), np.sqrt(sessions_per_year)
    return (
        float(np.abs(weight).mean()),
        float(weight.mean()),
        np.nan if ratio is None else float(ratio * root),
        np.nan if ratio is None else float(Z95 * root / np.sqrt(len(excess_returns))),
    )
