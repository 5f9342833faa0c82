"""When a decision is filled, and what trading, borrowing and idle cash cost or earn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from quantlr.core.annotations import ChoiceDescriptions, Unit
from quantlr.core.arrays import Array, BoolArray
from quantlr.core.components import ConfigSection, StrictFloat
from quantlr.core.errors import DataError
from quantlr.core.values import Prices

SPREAD_WINDOW_SESSIONS = 20
"""Two-session estimates that are averaged: a month, as in the paper."""
_CORWIN_SCHULTZ_DENOMINATOR = 3.0 - 2.0 * np.sqrt(2.0)


def corwin_schultz_spread(high: Array, low: Array, close: Array) -> Array:
    """Return the trailing bid-ask spread as a fraction of the price, (bars, tickers), >= 0.

    A session's high is mostly bought at the ask and its low sold at the bid, so its range is the price's own plus the
    spread; over two sessions the first grows and the second doesn't (Corwin and Schultz 2012, equations 14 and 18)::

        beta  = ln(H0 / L0)^2 + ln(H1 / L1)^2
        gamma = ln(max(H0, H1) / min(L0, L1))^2
        alpha = (sqrt(2 beta) - sqrt(beta)) / (3 - 2 sqrt 2) - sqrt(gamma / (3 - 2 sqrt 2))
        S     = 2 (e^alpha - 1) / (1 + e^alpha)

    Where the price jumped overnight past the second session's range, that range is moved back to the close before.
    Negative estimates are 0, as the paper has it. Row t is the mean of the newest 20 estimates, or of as many as there
    are; it uses bars t and older ones only. NaN at a first bar, and where highs or lows are missing.
    """
    top, bottom, last = np.log(high), np.log(low), np.log(close)
    jump = np.maximum(last[:-1] - top[1:], 0.0) + np.minimum(last[:-1] - bottom[1:], 0.0)
    beta = (top[1:] - bottom[1:]) ** 2 + (top[:-1] - bottom[:-1]) ** 2
    widest = np.maximum(top[1:] + jump, top[:-1]) - np.minimum(bottom[1:] + jump, bottom[:-1])
    alpha = (np.sqrt(2.0 * beta) - np.sqrt(beta)) / _CORWIN_SCHULTZ_DENOMINATOR - widest / np.sqrt(
        _CORWIN_SCHULTZ_DENOMINATOR
    )
    estimate = np.full_like(close, np.nan)
    estimate[1:] = np.maximum(2.0 * np.tanh(alpha / 2.0), 0.0)
    trailing = pd.DataFrame(estimate).rolling(SPREAD_WINDOW_SESSIONS, min_periods=1).mean().to_numpy()
    return np.asarray(np.maximum(trailing, 0.0))


def half_spread(prices: Prices, *, traded_mask: BoolArray) -> Array:
    """Return half the trailing spread, what crossing it costs once, as known at each close, (sessions, tickers).

    Where a ticker has no bar its newest estimate stands; 0 before its second bar.

    Parameters
    ----------
    traded : (tickers,) which are traded; each needs highs and lows.

    Raises
    ------
    DataError : a traded ticker has no highs or lows.
    """
    without = traded_mask & (np.isnan(prices.high) | np.isnan(prices.low)).all(axis=0)
    if without.any():
        raise DataError(
            f"spread corwin_schultz needs highs and lows, and {prices.tickers[int(without.argmax())]} has none; fetch "
            "prices that have them, or leave execution.spread out",
            key="execution.spread",
        )
    spread = prices.bars_to_sessions(corwin_schultz_spread(prices.high, prices.low, prices.close))
    return pd.DataFrame(spread).ffill().fillna(0.0).to_numpy() / 2.0


BASIS_POINT = 1e-4
MIN_ORDER_WEIGHT = 1e-9
"""Fraction of equity below which a difference of weights is rounding, and no order."""
CostRateBps = Annotated[StrictFloat, Unit("basis points of what is traded, per side"), Field(ge=0, le=1_000)]
FeeAmount = Annotated[StrictFloat, Unit("the quote's currency"), Field(ge=0, le=1e6)]
Fill = Literal["next_close", "next_open", "close"]


class ExecutionSpec(ConfigSection):
    """How decisions become trades."""

    fill: Annotated[
        Fill,
        ChoiceDescriptions(
            {
                "next_close": "the next session's close",
                "next_open": "the next session's open; of an index it is often no price that anyone traded at",
                "close": "that very close: the textbook's convention, which nobody can trade",
            }
        ),
    ] = Field("next_close", description="Price at which a decision made at a close is filled.")
    commission_bps: CostRateBps = Field(1.0, description="What the broker takes of a trade.")
    slippage_bps: CostRateBps = Field(2.0, description="How much worse than the fill's price a trade is done.")
    per_share: FeeAmount = Field(
        0.0, description="Commission per share, of which there are as many as the price quoted on the day says."
    )
    min_per_order: FeeAmount = Field(0.0, description="The least that an order pays for its shares.")
    capital: Annotated[StrictFloat, Unit("the quote's currency"), Field(gt=0, le=1e15)] = Field(
        100_000.0, description="What the strategy starts with: what a fee is a fraction of."
    )
    spread: (
        Annotated[
            Literal["corwin_schultz"],
            ChoiceDescriptions({"corwin_schultz": "from highs and lows up to the decision's close"}),
        ]
        | None
    ) = Field(
        None,
        description="How the spread is estimated, half of which is paid per traded side on top of the rest; null pays "
        "none.",
    )
    borrow_bps_per_year: Annotated[StrictFloat, Unit("basis points per year"), Field(ge=0, le=1_000)] = Field(
        50.0, description="What is paid on what is held short."
    )
    cash_rate: Annotated[StrictFloat, Unit("fraction per year (0.03 is 3 percent)"), Field(ge=-0.5, le=1)] = Field(
        0.0, description="Interest on what is not invested."
    )

    @property
    def cost_rate(self) -> float:
        """Commission and slippage of a trade, as a fraction of what is traded, one side."""
        return (self.commission_bps + self.slippage_bps) * BASIS_POINT

    @property
    def fill_delay_sessions(self) -> int:
        """Sessions from a decision to its fill."""
        return 0 if self.fill == "close" else 1

    def trading_costs_text(self) -> str:
        """Return what trading costs, for a page's head."""
        parts = [f"{self.commission_bps + self.slippage_bps:g} bps a trade"]
        if self.per_share:
            parts.append(f"{self.per_share:g} a share")
        if self.min_per_order:
            parts.append(f"at least {self.min_per_order:g} an order")
        if self.spread:
            parts.append("half the spread")
        return ", ".join(parts)


def borrow_cost(weight: Array, execution: ExecutionSpec, *, sessions_per_year: int) -> Array:
    """Return what borrowing the shares held short costs over a session, in the shape and unit of `weight`."""
    return np.maximum(-weight, 0.0) * execution.borrow_bps_per_year * BASIS_POINT / sessions_per_year


@dataclass(frozen=True, slots=True)
class TradingCosts:
    """What orders cost, fill by fill, as fractions of what is traded.

    Attributes
    ----------
    rate : commission, slippage and half the spread; a number, or (sessions, tickers).
    fee : the commission on shares; a number, or (sessions, tickers).
    least_fee : the least that an order pays for its shares, as a fraction of the starting capital.
    """

    cost_rate: Array | float
    share_fee_rate: Array | float
    min_order_fee: float

    def order_costs(self, traded_weight: Array, gross_return: Array, *, other_costs: Array) -> Array:
        """Return what each session's trades cost, (sessions, tickers), as a fraction of equity before them.

        Everything is in proportion to what is traded but the least fee, which weighs the more the less equity is
        left; it alone needs the equity, session by session.

        Parameters
        ----------
        traded : (sessions, tickers) |weight - drifted weight|, a fraction of equity.
        gross_return : (sessions,) before costs.
        other : (sessions, tickers) costs besides these, which reduce equity too.
        """
        cost = np.asarray(self.cost_rate * traded_weight + self.share_fee_rate * traded_weight)
        if not self.min_order_fee:
            return cost
        fee = self.share_fee_rate * traded_weight
        order = traded_weight > MIN_ORDER_WEIGHT
        growth = 1.0 + gross_return - (cost + other_costs).sum(axis=1)
        equity = 1.0
        for session in range(len(growth)):
            least = self.min_order_fee / equity
            added = np.where(order[session], np.maximum(least - fee[session], 0.0), 0.0)
            cost[session] += added
            equity *= growth[session] - added.sum()
            if equity <= 0:
                break
        return cost


def make_trading_costs(
    prices: Prices, execution: ExecutionSpec, *, traded_mask: BoolArray, decision_sessions: slice, fill_sessions: slice
) -> TradingCosts:
    """Return what orders cost that are decided at some sessions and filled at others.

    Parameters
    ----------
    traded : (tickers,) which are traded.
    decided, filled : the sessions of the decisions, and as many of their fills.
    """
    rate: Array | float = execution.cost_rate
    if execution.spread is not None:
        rate = rate + half_spread(prices, traded_mask=traded_mask)[decision_sessions]
    fee: Array | float = 0.0
    if execution.per_share:
        price = prices.open / prices.adjustment if execution.fill == "next_open" else prices.raw_close
        fee = np.nan_to_num(execution.per_share / prices.bars_to_sessions(price)[fill_sessions])
    return TradingCosts(rate, fee, execution.min_per_order / execution.capital)
