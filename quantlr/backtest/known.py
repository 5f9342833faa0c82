"""What policies and overlays may use besides the forecasts: what each close knows of risk, costs and interest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from quantlr.backtest.costs import BASIS_POINT, ExecutionSpec
from quantlr.backtest.spreads import half_spread
from quantlr.types import Array, Forecasts, IntArray, Prices

VOLATILITY_WINDOW_SESSIONS = 20
"""Returns that a trailing volatility is of: a month."""


@dataclass(frozen=True, slots=True)
class DecisionContext:
    """What is known at each forecast's close, and what the config says of costs and interest.

    Attributes
    ----------
    volatility : (rows,) standard deviation (ddof 1) of the ticker's last 20 simple returns; NaN until there are 20.
    round_trip_cost : (rows,) cost of entering and leaving, as a fraction of what is traded, at the close's own price
        and spread; the least fee of an order is that of a tranche's equal share of the starting capital.
    interest : what one unit of cash earns over a forecast's span, as a fraction.
    borrow : what one unit held short costs over a forecast's span, as a fraction.
    sessions_per_year : for annual figures.
    """

    volatility: Array
    round_trip_cost: Array
    horizon_interest: float
    horizon_borrow_cost: float
    sessions_per_year: int


def n_active(forecasts: Forecasts) -> IntArray:
    """Return how many tickers have a forecast in the session of each row, (rows,)."""
    count = np.bincount(forecasts.session, minlength=len(forecasts.sessions))
    return np.asarray(count[forecasts.session], dtype=np.int64)


def make_decision_context(
    prices: Prices, forecasts: Forecasts, execution: ExecutionSpec, *, sessions_per_year: int
) -> DecisionContext:
    """Return what policies and overlays may use besides the forecasts themselves."""
    span = forecasts.horizon / sessions_per_year
    return DecisionContext(
        volatility=_values_at_forecasts(forecasts, prices, _trailing_volatility(prices.close)),
        round_trip_cost=2.0 * _one_way_cost(prices, forecasts, execution),
        horizon_interest=execution.cash_rate * span,
        horizon_borrow_cost=execution.borrow_bps_per_year * BASIS_POINT * span,
        sessions_per_year=sessions_per_year,
    )


def _values_at_forecasts(forecasts: Forecasts, prices: Prices, bar_values: Array) -> Array:
    """Return (bars, tickers) values at each forecast, (rows,)."""
    return np.asarray(prices.bars_to_sessions(bar_values)[forecasts.session, forecasts.ticker])


def _trailing_volatility(close: Array) -> Array:
    table = pd.DataFrame(close)
    return (table / table.shift() - 1.0).rolling(VOLATILITY_WINDOW_SESSIONS).std(ddof=1).to_numpy()


def _one_way_cost(prices: Prices, forecasts: Forecasts, execution: ExecutionSpec) -> Array:
    """Return what a trade would cost at each forecast's close, (rows,), as a fraction of what is traded."""
    cost = np.full(len(forecasts.ticker), execution.cost_rate)
    if execution.spread is not None:
        traded = np.isin(np.arange(len(prices.tickers)), forecasts.ticker)
        cost += half_spread(prices, traded_mask=traded)[forecasts.session, forecasts.ticker]
    order = execution.capital / (n_active(forecasts) * forecasts.horizon)
    fee = execution.per_share / _values_at_forecasts(forecasts, prices, prices.raw_close)
    return np.asarray(cost + np.maximum(fee, execution.min_per_order / order))
