"""Execution: when a decision is filled, and the costs of trading, borrowing, financing and interest on cash."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field, StrictFloat

from quantlr.backtest.cash_rate import CashRate
from quantlr.core.components import ChoiceDescriptions, ConfigSection, Unit
from quantlr.core.errors import DataError
from quantlr.core.frequency import CountedSessionsPerYear, interest_between_fills
from quantlr.core.values import Array, BoolArray, Prices

BASIS_POINT = 1e-4
MIN_ORDER_WEIGHT = 1e-9
"""Fraction of equity below which a difference of weights is rounding, and no order or loan."""


def corwin_schultz_spread(high: Array, low: Array, close: Array, *, window: int = 20) -> Array:
    """Return the rolling bid-ask spread as a fraction of the price, (bars, tickers), >= 0.

    A session's high is mostly bought at the ask and its low sold at the bid, so that its range is that of the price
    plus the spread; over two sessions the first grows and the second does not (Corwin and Schultz 2012, equations 14
    and 18)::

        beta  = ln(H0 / L0)^2 + ln(H1 / L1)^2
        gamma = ln(max(H0, H1) / min(L0, L1))^2
        alpha = (sqrt(2 beta) - sqrt(beta)) / (3 - 2 sqrt 2) - sqrt(gamma / (3 - 2 sqrt 2))
        S     = 2 (e^alpha - 1) / (1 + e^alpha)

    An overnight gap beyond the second session's range is removed by moving that range to the close before. Negative
    estimates are 0, as in the paper. Row t is the mean of the last `window` estimates (a month, as in the paper), or
    of as many as there are; it uses bars t and older ones only. NaN at a first bar, and where highs or lows are
    missing.
    """
    high, low, close = np.log(high), np.log(low), np.log(close)
    gap = np.maximum(close[:-1] - high[1:], 0.0) + np.minimum(close[:-1] - low[1:], 0.0)
    beta = (high[1:] - low[1:]) ** 2 + (high[:-1] - low[:-1]) ** 2
    two_session_range = np.maximum(high[1:] + gap, high[:-1]) - np.minimum(low[1:] + gap, low[:-1])
    denominator = 3.0 - 2.0 * np.sqrt(2.0)
    alpha = (np.sqrt(2.0 * beta) - np.sqrt(beta)) / denominator - two_session_range / np.sqrt(denominator)
    estimate = np.full_like(close, np.nan)
    estimate[1:] = np.maximum(2.0 * np.tanh(alpha / 2.0), 0.0)
    mean = pd.DataFrame(estimate).rolling(window, min_periods=1).mean().to_numpy()
    return np.asarray(np.maximum(mean, 0.0))


def half_spread_rates(prices: Prices, *, traded_mask: BoolArray) -> Array:
    """Return half the rolling spread as known at each close, the cost of crossing it once, (sessions, tickers).

    Where a ticker has no bar, its latest estimate; 0 before its second bar.

    Parameters
    ----------
    traded_mask : (tickers,) which are traded; each needs highs and lows.

    Raises
    ------
    DataError : a traded ticker has no highs or lows.
    """
    is_missing = traded_mask & (np.isnan(prices.high) | np.isnan(prices.low)).all(axis=0)
    if is_missing.any():
        text = f"spread corwin_schultz needs highs and lows, and {prices.tickers[int(is_missing.argmax())]} has none"
        raise DataError(f"{text}; fetch prices that have them, or leave execution.spread out", key="execution.spread")
    spread = prices.bars_to_sessions(corwin_schultz_spread(prices.high, prices.low, prices.close))
    return pd.DataFrame(spread).ffill().fillna(0.0).to_numpy() / 2.0


CostRateBps = Annotated[StrictFloat, Unit("basis points of what is traded, per side"), Field(ge=0, le=1_000)]
FeeAmount = Annotated[StrictFloat, Unit("the quote's currency"), Field(ge=0, le=1e6)]
CapitalAmount = Annotated[StrictFloat, Unit("the quote's currency"), Field(gt=0, le=1e15)]
AnnualRateBps = Annotated[StrictFloat, Unit("basis points per year"), Field(ge=0, le=1_000)]
Fill = Literal["next_close", "next_open", "close"]
FILL_DESCRIPTIONS = {
    "next_close": "the next session's close",
    "next_open": "the next session's open; that of an index is often no price of any trade",
    "close": "the decision's own close: the textbook's convention, which nobody can trade",
}
SPREAD_DESCRIPTIONS = {"corwin_schultz": "from highs and lows up to the decision's close"}


class ExecutionSpec(ConfigSection):
    """How decisions become trades, and what they cost."""

    fill: Annotated[Fill, ChoiceDescriptions(FILL_DESCRIPTIONS)] = Field(
        "next_close", description="Price at which a decision made at a close is filled."
    )
    commission_bps: CostRateBps = Field(1.0, description="Commission of the broker.")
    slippage_bps: CostRateBps = Field(2.0, description="How much worse than the fill's price a trade is made.")
    per_share: FeeAmount = Field(
        0.0, description="Commission per share; the number of shares follows from the price quoted on the day."
    )
    min_per_order: FeeAmount = Field(0.0, description="Minimum commission of an order on its shares.")
    capital: CapitalAmount = Field(100_000.0, description="Starting capital, which fees in currency are related to.")
    spread: Annotated[Literal["corwin_schultz"], ChoiceDescriptions(SPREAD_DESCRIPTIONS)] | None = Field(
        None,
        description="How the bid-ask spread is estimated, half of which is paid per side in addition; null pays none.",
    )
    borrow_bps_per_year: AnnualRateBps = Field(50.0, description="Cost of borrowing, on short positions.")
    financing_bps_per_year: AnnualRateBps = Field(
        150.0, description="Cost of borrowed cash above cash_rate: paid on the part of long positions above equity."
    )
    cash_rate: CashRate = Field(
        0.0,
        description="Interest on cash: a number, or a CSV of dates and rates, of which each session earns the newest "
        "dated before it.",
        examples=[0.03, "rates.csv"],
    )

    @property
    def cost_rate(self) -> float:
        """Commission and slippage per side, as a fraction of what is traded."""
        return (self.commission_bps + self.slippage_bps) * BASIS_POINT

    @property
    def fill_delay_sessions(self) -> int:
        """Sessions from a decision to its fill."""
        return 0 if self.fill == "close" else 1

    def trading_costs_text(self) -> str:
        """Return the costs of trading, for the header of a page."""
        fees = [(self.per_share, f"{self.per_share:g} a share")]
        fees += [(self.min_per_order, f"at least {self.min_per_order:g} an order")]
        texts = [text for fee, text in fees if fee] + (["half the spread"] if self.spread else [])
        return ", ".join([f"{self.commission_bps + self.slippage_bps:g} bps per side", *texts])


def borrow_cost(weight: Array, fill_dates: Any, execution: ExecutionSpec, *, sessions_per_year: int) -> Array:
    """Return the cost of borrowing the shares held short from each fill to the next, in the unit of `weight`.

    Parameters
    ----------
    weight : (sessions, tickers).
    fill_dates : (sessions + 1,) dates between which the weights are held.
    """
    short = np.maximum(-weight, 0.0)
    if not isinstance(sessions_per_year, CountedSessionsPerYear):
        return short * execution.borrow_bps_per_year * BASIS_POINT / sessions_per_year
    rate = interest_between_fills(execution.borrow_bps_per_year * BASIS_POINT, fill_dates, sessions_per_year)
    return np.asarray(short * np.reshape(rate, (-1, 1)))


def financing_cost(weight: Array, fill_dates: Any, execution: ExecutionSpec, *, sessions_per_year: int) -> Array:
    """Return the cost of borrowed cash above the cash rate, from each fill to the next, in the unit of `weight`.

    Borrowed is what the weights exceed 1 by when added up, those of short positions being negative. Long positions
    share the cost in proportion to their size.

    Parameters
    ----------
    weight : (sessions, tickers).
    fill_dates : (sessions + 1,) dates between which the weights are held.
    """
    borrowed = weight.sum(axis=1) - 1.0
    is_borrowed = borrowed > MIN_ORDER_WEIGHT
    if not is_borrowed.any():
        return np.zeros_like(weight)
    rate = interest_between_fills(execution.financing_bps_per_year * BASIS_POINT, fill_dates, sessions_per_year)
    cost = np.where(is_borrowed, borrowed * rate, 0.0)[:, None]
    long = np.maximum(weight, 0.0)
    return np.asarray(cost * long / np.where(is_borrowed, long.sum(axis=1), 1.0)[:, None])


@dataclass(frozen=True, slots=True)
class TradingCosts:
    """Cost rates of orders by fill, as fractions of what is traded.

    Attributes
    ----------
    cost_rate : commission, slippage and half the spread; a number, or (sessions, tickers).
    share_fee_rate : the commission on shares; a number, or (sessions, tickers).
    min_order_fee : the minimum commission of an order, as a fraction of the starting capital.
    """

    cost_rate: Array | float
    share_fee_rate: Array | float
    min_order_fee: float

    def order_costs(self, traded_weight: Array, gross_return: Array, *, other_costs: Array) -> Array:
        """Return the cost of each session's trades, (sessions, tickers), as a fraction of equity before them.

        All costs are in proportion to what is traded but the minimum fee, whose fraction of equity depends on the
        equity, session by session.

        Parameters
        ----------
        traded_weight : (sessions, tickers) |weight - drifted weight|, a fraction of equity.
        gross_return : (sessions,) before costs.
        other_costs : (sessions, tickers) costs besides these, which reduce equity too.
        """
        fee = self.share_fee_rate * traded_weight
        cost = np.asarray(self.cost_rate * traded_weight + fee)
        if not self.min_order_fee:
            return cost
        is_order = traded_weight > MIN_ORDER_WEIGHT
        growth = 1.0 + gross_return - (cost + other_costs).sum(axis=1)
        equity = 1.0
        for session in range(len(growth)):
            shortfall = np.maximum(self.min_order_fee / equity - fee[session], 0.0)
            added_cost = np.where(is_order[session], shortfall, 0.0)
            cost[session] += added_cost
            equity *= growth[session] - added_cost.sum()
            if equity <= 0:
                break
        return cost


def make_trading_costs(
    prices: Prices, execution: ExecutionSpec, *, traded_mask: BoolArray, decision_slice: slice
) -> TradingCosts:
    """Return the cost rates of the orders of consecutive decisions, (sessions, tickers) each.

    Parameters
    ----------
    traded_mask : (tickers,) which are traded.
    decision_slice : positions of the sessions with decisions.
    """
    cost_rate: Array | float = execution.cost_rate
    if execution.spread is not None:
        cost_rate = cost_rate + half_spread_rates(prices, traded_mask=traded_mask)[decision_slice]
    share_fee: Array | float = 0.0
    if execution.per_share:
        price = prices.open / prices.adjustment if execution.fill == "next_open" else prices.raw_close
        delay = execution.fill_delay_sessions
        fill_price = prices.bars_to_sessions(price)[decision_slice.start + delay : decision_slice.stop + delay]
        share_fee = np.nan_to_num(execution.per_share / fill_price)
    return TradingCosts(cost_rate, share_fee, execution.min_per_order / execution.capital)
