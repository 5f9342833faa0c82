"""Each ticker's part in the whole: what it added, how often it was called rightly, what it weighed.

A ticker's part is what its own weights earned in excess of cash, less what they cost, as a fraction of the whole
equity. The parts of all tickers add up, session by session, to the net return in excess of cash.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from quantlr.backtest.engine import drifted_weights
from quantlr.backtest.inference.levels import NORMAL, Z95
from quantlr.backtest.inference.sharpe import sharpe_per_session
from quantlr.backtest.metrics import Scored
from quantlr.types import Array, BacktestResult, Forecasts, IntArray

DRAWS = 999
"""Quantiles that stand for a normal distribution."""


@dataclass(frozen=True, slots=True)
class TickerNumbers:
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

    ticker: IntArray
    contribution: Array
    calls: Array
    accuracy: Array
    base_rate: Array
    accuracy_luck: Array
    weight: Array
    net_weight: Array
    sharpe: Array
    sharpe_luck: Array


def part_of(result: BacktestResult, ticker: int, span: slice) -> BacktestResult:
    """Return one ticker's part as a backtest of its own, in excess of cash: the others flat, and no interest earned.

    Parameters
    ----------
    span : sessions to keep; see `lived`.
    """
    drifted = drifted_weights(result.weight, result.ticker_gross)[span, ticker]
    weight, earned, cost = (values[span, ticker] for values in (result.weight, result.ticker_gross, result.ticker_cost))
    fills = slice(span.start, span.stop + 1)
    gross_return = earned - weight * result.cash
    return BacktestResult(
        tickers=(result.tickers[ticker],),
        fills=result.fills[fills],
        price=result.price[fills, [ticker]],
        weight=weight[:, None],
        ticker_gross=earned[:, None],
        ticker_cost=cost[:, None],
        gross_return=gross_return,
        cash_return=-weight * result.cash,
        cost=cost,
        net_return=gross_return - cost,
        equity=np.asarray(np.cumprod(np.maximum(1.0 + gross_return - cost, 0.0)), dtype=np.float64),
        exposure=np.abs(weight),
        turnover=np.abs(weight - drifted),
    )


def ticker_numbers(
    result: BacktestResult,
    forecasts: Forecasts,
    rows: Scored,
    *,
    sessions_per_year: int,
    tickers: IntArray | None = None,
) -> TickerNumbers:
    """Return what tickers added to the whole, and how well each was called.

    Parameters
    ----------
    rows : the forecasts whose outcome is known, of these tickers or of all.
    tickers : positions, ascending; None for all that have forecasts.
    """
    tickers = np.unique(forecasts.ticker) if tickers is None else tickers
    weight = result.weight[:, tickers]
    excess = result.ticker_gross[:, tickers] - result.ticker_cost[:, tickers] - weight * result.cash
    spans = [lived(result, forecasts, int(ticker)) for ticker in tickers]
    held = np.array([_held(weight[span, at], excess[span, at], sessions_per_year) for at, span in enumerate(spans)])
    calls, right, base, differ = (
        np.bincount(rows.ticker, weights=counted, minlength=len(result.tickers))[tickers]
        for counted in (None, rows.hits, rows.base_hits, rows.hits != rows.base_hits)
    )
    with np.errstate(invalid="ignore"):
        return TickerNumbers(
            ticker=tickers,
            contribution=excess.mean(axis=0) * sessions_per_year,
            calls=calls.astype(np.float64),
            accuracy=right / calls,
            base_rate=base / calls,
            accuracy_luck=Z95 * np.sqrt(differ * rows.horizon) / calls,
            **{name: held[:, at] for at, name in enumerate(("weight", "net_weight", "sharpe", "sharpe_luck"))},
        )


def ranked_luck(half: Array) -> Array:
    """Return what the values of so many tickers would be in their order if all were luck, (k,), highest first.

    The quantiles of the mixture of normal distributions around 0, one for each ticker, at the median ranks (Benard and
    Bos-Levenbach 1953).

    Parameters
    ----------
    half : (k,) how far 95 % of each ticker's values would reach, as `accuracy_luck` and `sharpe_luck`.
    """
    normal = np.array([NORMAL.inv_cdf((at + 0.5) / DRAWS) for at in range(DRAWS)])
    mixture = np.outer(half / Z95, normal).ravel()
    rank = (np.arange(1, len(half) + 1) - 0.3) / (len(half) + 0.4)
    return np.asarray(np.quantile(mixture, 1.0 - rank))


def added(result: BacktestResult, tickers: IntArray) -> Array:
    """Return what some tickers' parts have added so far, (sessions, tickers): sums of fractions of equity."""
    excess = result.ticker_gross - result.ticker_cost - result.weight * result.cash
    return np.asarray(np.cumsum(excess[:, tickers], axis=0))


def of_ticker(rows: Scored, ticker: int) -> Scored:
    """Return the forecasts of one ticker."""
    own = rows.ticker == ticker
    fields = ("log_odds", "probability", "up", "base_rate", "ticker", "session")
    return replace(rows, clustered=rows.horizon > 1, **{name: getattr(rows, name)[own] for name in fields})


def lived(result: BacktestResult, forecasts: Forecasts, ticker: int) -> slice:
    """Return the sessions from the close of a ticker's first forecast to its last bar, of those that were traded in."""
    first = forecasts.sessions[forecasts.session[forecasts.ticker == ticker].min()]
    start = int(result.sessions.searchsorted(first, side="right"))
    priced = np.flatnonzero(~np.isnan(result.price[:, ticker]))
    return slice(start, int(priced.max(initial=0)))


def _held(weight: Array, excess: Array, sessions_per_year: int) -> tuple[float, float, float, float]:
    """Return weight, net weight, Sharpe ratio and its luck from what one ticker was held at and earned."""
    if not len(weight):
        return 0.0, 0.0, np.nan, np.nan
    ratio, root = sharpe_per_session(excess), np.sqrt(sessions_per_year)
    return (
        float(np.abs(weight).mean()),
        float(weight.mean()),
        np.nan if ratio is None else float(ratio * root),
        np.nan if ratio is None else float(Z95 * root / np.sqrt(len(excess))),
    )
