"""From probabilities to positions: one class per policy; the closing tuple is the catalogue."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import Field, ValidationInfo, field_validator

from quantlr.backtest.costs import ExecutionSpec
from quantlr.types import Array, Forecasts, Number, Part, Positions, Prices

VOLATILITY_WINDOW = 20
Probability = Annotated[Number, Field(ge=0, le=1)]


@dataclass(frozen=True, slots=True)
class Known:
    """What a policy may use besides the forecasts, as of each forecast's close.

    Attributes
    ----------
    volatility : (rows,) standard deviation (ddof 1) of the ticker's last 20 simple returns; NaN until there are 20.
    round_trip_cost : cost of entering and leaving, as a fraction of what is traded.
    """

    volatility: Array
    round_trip_cost: float


class Policy(Part):
    """A rule that turns forecasts into decisions."""

    @abstractmethod
    def decide(self, forecasts: Forecasts, known: Known) -> Array:
        """Return the weight each forecast asks for, (rows,), in [-1, 1]: the share of what the ticker may hold."""


class Threshold(Policy):
    """Long above one probability, short below another, and flat between."""

    kind: Literal["threshold"] = "threshold"
    long_above: Probability = Field(0.5, description="Hold long while the probability of up is above this.")
    short_below: Probability | None = Field(
        None, description="Hold short while it is below this; null never goes short."
    )

    @field_validator("short_below")
    @classmethod
    def _below_long(cls, short_below: float | None, info: ValidationInfo) -> float | None:
        long_above = info.data.get("long_above")
        if short_below is not None and long_above is not None and short_below > long_above:
            raise ValueError(f"must not be above policy.long_above, {long_above}")
        return short_below

    @classmethod
    def examples(cls) -> tuple[Threshold, ...]:
        """Return long or flat, long or short, and a band between."""
        return (cls(), cls(short_below=0.5), cls(long_above=0.52, short_below=0.48))

    def decide(self, forecasts: Forecasts, known: Known) -> Array:
        """1 above `long_above`, -1 below `short_below`, else 0."""
        weight = (forecasts.probability > self.long_above).astype(np.float64)
        if self.short_below is not None:
            weight -= forecasts.probability < self.short_below
        return weight


def known_at_close(prices: Prices, forecasts: Forecasts, execution: ExecutionSpec) -> Known:
    """Return what policies may use besides the forecasts themselves."""
    close = pd.DataFrame(prices.close)
    volatility = (close / close.shift() - 1.0).rolling(VOLATILITY_WINDOW).std(ddof=1).to_numpy()
    return Known(
        volatility=prices.on_sessions(volatility)[forecasts.session, forecasts.ticker],
        round_trip_cost=2.0 * execution.rate,
    )


def decide_positions(policy: Policy, forecasts: Forecasts, known: Known) -> Positions:
    """Return the weights decided at each close.

    A session's decisions share the capital equally: each is divided by the number of tickers with a forecast. At a
    horizon of h, h tranches are held: the weight is the mean of the ticker's last h decisions, missing ones 0.
    """
    n_sessions, n_tickers = len(forecasts.sessions), len(forecasts.tickers)
    sharing = np.bincount(forecasts.session, minlength=n_sessions)[forecasts.session]
    decision = policy.decide(forecasts, known) / sharing
    weight = np.full((n_sessions, n_tickers), np.nan)
    for ticker in np.unique(forecasts.ticker):
        rows = slice(*np.searchsorted(forecasts.ticker, [ticker, ticker + 1]))
        weight[forecasts.session[rows], ticker] = tranches(decision[rows], horizon=forecasts.horizon)
    return Positions(forecasts.tickers, forecasts.sessions, weight)


def tranches(decision: Array, *, horizon: int) -> Array:
    """Return the mean of each decision and the `horizon` - 1 before it, counting those that are missing as 0."""
    held = decision.copy()
    for age in range(1, min(horizon, len(decision))):
        held[age:] += decision[:-age]
    return held / horizon


POLICIES: tuple[type[Policy], ...] = (Threshold,)
