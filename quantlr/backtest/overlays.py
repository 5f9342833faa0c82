"""What is done to positions after the policy: one class per overlay; the closing tuple is the catalogue.

Overlays act on the weights that would be held, in the order in which the config names them: with a horizon of h on the
net of the h tranches, which is what trades. They see a ticker's own forecasts in the order of time, and nothing later.
A policy holds at most all of the capital; more than that comes only from an overlay that is told to.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from quantlr.backtest.policies import DecisionContext, first_row_of_ticker
from quantlr.core.annotations import Unit
from quantlr.core.arrays import Array, IntArray
from quantlr.core.components import Component, StrictFloat, StrictInt
from quantlr.core.values import Forecasts, Positions

Leverage = Annotated[StrictFloat, Unit("multiples of equity"), Field(gt=0, le=100)]


class Overlay(Component):
    """A change to the weights that a policy asks for."""

    @abstractmethod
    def apply(self, weight: Array, forecasts: Forecasts, context: DecisionContext) -> Array:
        """Return other weights for the rows of `forecasts`, (rows,), as fractions of equity."""


class VolatilityTarget(Overlay):
    """Hold less of what moves much: scale each ticker's weight so that a whole one has the volatility asked for.

    The volatility is each ticker's own over its last 20 sessions, as known at the close; several tickers together
    have less than the target, unless they move as one. Nothing is held while there is none to measure by.
    """

    kind: Literal["volatility_target"] = "volatility_target"
    target: Annotated[StrictFloat, Unit("fraction per year (0.1 is ten percent)"), Field(gt=0, le=10)] = Field(
        0.1, description="Annual standard deviation of a whole position."
    )
    max_leverage: Leverage = Field(
        1.0, description="Largest factor on a weight; above 1, calm markets are held with borrowed cash, at cash_rate."
    )

    @classmethod
    def examples(cls) -> tuple[VolatilityTarget, ...]:
        """Return one that only makes positions smaller, and one that may double them."""
        return (cls(), cls(target=0.2, max_leverage=2.0))

    def apply(self, weight: Array, forecasts: Forecasts, context: DecisionContext) -> Array:
        """Times target over the annual trailing volatility, at most `max_leverage`."""
        annual = context.volatility * np.sqrt(context.sessions_per_year)
        with np.errstate(divide="ignore"):
            factor = np.minimum(self.target / annual, self.max_leverage)
        return np.asarray(weight * np.nan_to_num(factor, nan=0.0))


class LeverageCap(Overlay):
    """Never more than so much at once: scale down a session whose weights add up to more.

    Both sides count. What a ticker without a bar keeps holding doesn't, as it has no part in the session's capital.
    """

    kind: Literal["leverage_cap"] = "leverage_cap"
    cap: Leverage = Field(1.0, description="Largest sum of absolute weights.")

    @classmethod
    def examples(cls) -> tuple[LeverageCap, ...]:
        """Return no leverage, and half of the capital."""
        return (cls(), cls(cap=0.5))

    def apply(self, weight: Array, forecasts: Forecasts, context: DecisionContext) -> Array:
        """All weights of a session times cap over the sum of their absolute values, where that is below 1."""
        total = np.bincount(forecasts.session, weights=np.abs(weight), minlength=len(forecasts.sessions))
        factor = self.cap / np.maximum(total, self.cap)
        return np.asarray(weight * factor[forecasts.session])


class NoTradeBand(Overlay):
    """Leave a position as it is until the weight asked for is further from it than a band.

    To leave the market, or to change sides, is never put off. The band is between decisions: what prices move a
    position away from its weight is still traded back.
    """

    kind: Literal["no_trade_band"] = "no_trade_band"
    band: Annotated[StrictFloat, Unit("fraction of equity"), Field(gt=0, le=2)] = Field(
        0.1, description="Largest change of a ticker's weight that is not made."
    )

    @classmethod
    def examples(cls) -> tuple[NoTradeBand, ...]:
        """Return a tenth and a third of equity."""
        return (cls(), cls(band=0.33))

    def apply(self, weight: Array, forecasts: Forecasts, context: DecisionContext) -> Array:
        """The weight before, while the new one is within the band and on the same side."""
        wanted, rows = pivot_by_ticker(weight, forecasts.ticker)
        held = np.zeros(wanted.shape[1])
        for now in wanted:
            near = np.abs(now - held) <= self.band
            same_side = np.sign(now) * np.sign(held) > 0
            held = now[:] = np.where(near & (same_side | (held == 0)), held, now)
        return wanted[rows]


class MinimumHolding(Overlay):
    """Keep a position on its side for so many of the ticker's sessions, whatever the policy thinks in between.

    What it is when it may not be left is what it was before; a change of its size on the same side is made.
    """

    kind: Literal["minimum_holding"] = "minimum_holding"
    sessions: Annotated[StrictInt, Unit("sessions of the ticker"), Field(ge=2, le=10_000)] = Field(
        5, description="How long from the decision that takes a side to the first that may leave it."
    )

    @classmethod
    def examples(cls) -> tuple[MinimumHolding, ...]:
        """Return a week, and three sessions."""
        return (cls(), cls(sessions=3))

    def apply(self, weight: Array, forecasts: Forecasts, context: DecisionContext) -> Array:
        """The weight before, while its side has been held for fewer than `sessions` and another one is asked for."""
        wanted, rows = pivot_by_ticker(weight, forecasts.ticker)
        held = np.zeros(wanted.shape[1])
        age = np.zeros(wanted.shape[1], dtype=np.int64)
        for now in wanted:
            side = np.sign(held)
            bound = (side != 0) & (age < self.sessions) & (np.sign(now) != side)
            held = now[:] = np.where(bound, held, now)
            age = np.where(np.sign(held) == side, age + 1, 1)
        return wanted[rows]


def pivot_by_ticker(weight: Array, ticker_index: IntArray) -> tuple[Array, tuple[IntArray, IntArray]]:
    """Return rows laid side by side, (steps, tickers), 0 below a ticker's last, and where each row lies there."""
    first = first_row_of_ticker(ticker_index)
    _, column = np.unique(ticker_index, return_inverse=True)
    step = np.arange(len(ticker_index)) - first
    laid = np.zeros((int(step.max(initial=-1)) + 1, int(column.max(initial=-1)) + 1))
    laid[step, column] = weight
    return laid, (step, column)


def apply_overlays(
    positions: Positions, overlays: Sequence[Overlay], forecasts: Forecasts, context: DecisionContext
) -> Positions:
    """Return positions after the overlays, one after the other."""
    if not overlays:
        return positions
    weight = positions.weight.copy()
    held = weight[forecasts.session, forecasts.ticker]
    for overlay in overlays:
        held = overlay.apply(held, forecasts, context)
    weight[forecasts.session, forecasts.ticker] = held
    return replace(positions, weight=weight)


OVERLAYS: tuple[type[Overlay], ...] = (VolatilityTarget, LeverageCap, NoTradeBand, MinimumHolding)
