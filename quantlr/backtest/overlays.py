"""Overlays, changes to the positions of a policy: one class each; the tuple at the end of the file is the catalogue.

Overlays act on the weights in the order in which the config names them; at a horizon of h on the mean of the h
tranches, which is what is traded. They use a ticker's forecasts in the order of time, and nothing later. A policy's
absolute weights add up to at most 1; only an overlay with leverage exceeds that.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, StrictFloat, StrictInt

from quantlr.backtest.beta import trailing_betas
from quantlr.backtest.policies import DecisionContext, compute_by_market, first_row_of_ticker
from quantlr.core.component_errors import name_component_in_errors, require_returned
from quantlr.core.components import ChoiceDescriptions, Component, Ticker, Unit
from quantlr.core.market_views import market_views
from quantlr.core.values import Array, Forecasts, IntArray, Positions, Prices

EXCESS_DESCRIPTIONS = {
    "cash": "it is not invested",
    "redistribute": "the other tickers of its side get it, in proportion to their weights, up to the cap",
}
Leverage = Annotated[StrictFloat, Unit("multiples of equity"), Field(gt=0, le=100)]


class Overlay(Component):
    """A change to the weights that a policy decides."""

    entry_point_group: ClassVar[str] = "quantlr.overlays"
    compares_tickers: ClassVar[bool] = False
    """Whether a weight depends on the weights of other tickers."""

    @abstractmethod
    def apply(self, weight: Array, forecasts: Forecasts, context: DecisionContext) -> Array:
        """Return the changed weights for the rows of `forecasts`, (rows,), as fractions of equity."""


class VolatilityTarget(Overlay):
    """Scale each ticker's weight so that a whole position has the target volatility.

    The volatility is that of each ticker over its last 20 sessions, as known at the close; several tickers together are
    below the target unless they are perfectly correlated. The weight is 0 while the volatility is unknown.
    """

    kind: Literal["volatility_target"] = "volatility_target"
    target: Annotated[StrictFloat, Unit("fraction per year (0.1 is ten percent)"), Field(gt=0, le=10)] = Field(
        0.1, description="Annual standard deviation of a whole position."
    )
    max_leverage: Leverage = Field(
        1.0,
        description="Largest factor on a weight; above 1, calm markets are held with borrowed cash, at cash_rate "
        "plus execution.financing_bps_per_year.",
    )

    example_parameters = ({}, {"target": 0.2, "max_leverage": 2.0})

    def apply(self, weight: Array, forecasts: Forecasts, context: DecisionContext) -> Array:
        """Weight times target over the annual rolling volatility, a factor of at most `max_leverage`."""
        annual_volatility = context.volatility * np.sqrt(context.sessions_per_year)
        with np.errstate(divide="ignore"):
            factor = np.minimum(self.target / annual_volatility, self.max_leverage)
        return np.asarray(weight * np.nan_to_num(factor, nan=0.0))


class LeverageCap(Overlay):
    """Scale down the weights of a session whose absolute values add up to more than the cap.

    The position of a ticker without a bar does not count.
    """

    compares_tickers: ClassVar[bool] = True

    kind: Literal["leverage_cap"] = "leverage_cap"
    cap: Leverage = Field(1.0, description="Largest sum of absolute weights.")

    example_parameters = ({}, {"cap": 0.5})

    def apply(self, weight: Array, forecasts: Forecasts, context: DecisionContext) -> Array:
        """All weights of a session times cap over the sum of their absolute values, where that is below 1."""
        total = np.bincount(forecasts.session, weights=np.abs(weight), minlength=len(forecasts.sessions))
        factor = self.cap / np.maximum(total, self.cap)
        return np.asarray(weight * factor[forecasts.session])


class NameCap(Overlay):
    """Limit the absolute weight of each ticker, as a mandate or an index with capped weights does.

    What is above the cap stays in cash, or goes to the tickers of the same session and side, in proportion to their
    weights, none of which then exceeds the cap: the sum of each side stays the same unless all of its tickers are at
    the cap. The cap applies to decisions: a weight that drifts above it is traded back at the next one.
    """

    compares_tickers: ClassVar[bool] = True

    kind: Literal["name_cap"] = "name_cap"
    cap: Annotated[StrictFloat, Unit("fraction of equity"), Field(gt=0, le=1)] = Field(
        0.1, description="Largest absolute weight of a ticker."
    )
    excess: Annotated[Literal["cash", "redistribute"], ChoiceDescriptions(EXCESS_DESCRIPTIONS)] = Field(
        "cash", description="What becomes of the weight above the cap."
    )

    example_parameters = ({}, {"cap": 0.25, "excess": "redistribute"})

    def apply(self, weight: Array, forecasts: Forecasts, context: DecisionContext) -> Array:
        """The weight within the cap; with redistribution, min(cap, factor times weight), one factor per side."""
        size, side_index = np.abs(weight), 2 * forecasts.session + (weight > 0)
        # Each pass brings at least one more ticker of a side with excess to the cap.
        while self.excess == "redistribute" and (size > self.cap).any():
            is_below = size < self.cap
            excess, below = (
                np.bincount(side_index, weights=values)
                for values in (np.maximum(size - self.cap, 0.0), np.where(is_below, size, 0.0))
            )
            factor = 1.0 + np.divide(excess, below, out=np.zeros_like(excess), where=below > 0)
            size = np.where(is_below, size * factor[side_index], self.cap)
        return np.copysign(np.minimum(size, self.cap), weight)


class BetaNeutral(Overlay):
    """Scale down the side of a session with the larger beta, so that the betas of longs and shorts offset each other.

    Each side is scaled as a whole, as the legs of Frazzini and Pedersen (2014, "Betting against beta") are scaled to
    equal betas. No weight grows, and cash is left where a side was larger. A session in which the sides can't offset
    each other, as when there is only one, is flat, and so is a ticker whose beta is unknown. A beta is the slope of a
    regression of the ticker's newest returns on the market's, as known at the close. The sum of weights times betas is
    0 at the decision; positions then drift, and later overlays may change it.
    """

    compares_tickers: ClassVar[bool] = True

    kind: Literal["beta_neutral"] = "beta_neutral"
    market: Ticker | None = Field(
        None,
        description="Ticker that is the market, one of data.tickers or data.context; null: all traded tickers, equally "
        "weighted.",
        examples=["^GSPC"],
    )
    window: Annotated[StrictInt, Unit("sessions of the ticker"), Field(ge=3, le=10_000)] = Field(
        252, description="Returns that a beta is estimated from."
    )

    example_parameters = ({}, {"market": "^GSPC", "window": 60})

    def market_betas(self, prices: Prices) -> Array:
        """Return the beta of each ticker at its own market's close of each session, (sessions, tickers)."""
        beta = np.full((len(prices.sessions), len(prices.tickers)), np.nan)
        for view in market_views(prices):
            betas_of_view = trailing_betas(view.prices, window=self.window, market=self.market)
            beta[:, view.is_own] = betas_of_view[:, view.is_own]
        return beta

    def apply(self, weight: Array, forecasts: Forecasts, context: DecisionContext) -> Array:
        """The weights of each side times the smaller of the two sides' betas over its own."""
        beta = np.full_like(weight, np.nan) if context.market_beta is None else context.market_beta
        known_weight, known_beta = np.where(np.isnan(beta), 0.0, weight), np.nan_to_num(beta)
        side_beta = np.stack(
            [
                np.bincount(forecasts.session, weights=np.maximum(side * known_weight, 0.0) * known_beta)
                for side in (1.0, -1.0)
            ]
        )
        smaller = np.abs(side_beta).min(axis=0)
        factor = np.repeat((side_beta[:1] == side_beta[1:]).astype(np.float64), 2, axis=0)
        np.divide(smaller, np.abs(side_beta), out=factor, where=side_beta[0] * side_beta[1] > 0)
        return np.asarray(known_weight * factor[(weight < 0).astype(np.int64), forecasts.session])


class NoTradeBand(Overlay):
    """Keep a weight until the new one differs from it by more than a band.

    Leaving the market and changing sides are never delayed. The band applies to decisions: the drift of a position away
    from its weight is still traded back.
    """

    kind: Literal["no_trade_band"] = "no_trade_band"
    band: Annotated[StrictFloat, Unit("fraction of equity"), Field(gt=0, le=2)] = Field(
        0.1, description="Largest change of a ticker's weight that is not made."
    )

    example_parameters = ({}, {"band": 0.33})

    def apply(self, weight: Array, forecasts: Forecasts, context: DecisionContext) -> Array:
        """The weight before, while the new one is within the band and on the same side."""
        weights, rows = weights_by_ticker_column(weight, forecasts.ticker)
        current = np.zeros(weights.shape[1])
        for target in weights:
            is_near = np.abs(target - current) <= self.band
            is_same_side = np.sign(target) * np.sign(current) > 0
            current = target[:] = np.where(is_near & (is_same_side | (current == 0)), current, target)
        return weights[rows]


class MinimumHolding(Overlay):
    """Keep a position on its side for a minimum number of the ticker's sessions, whatever the policy decides.

    A position that may not be left keeps its weight; a change of its weight on the same side is made.
    """

    kind: Literal["minimum_holding"] = "minimum_holding"
    sessions: Annotated[StrictInt, Unit("sessions of the ticker"), Field(ge=2, le=10_000)] = Field(
        5, description="Sessions from the decision that takes a side to the first that may leave it."
    )

    example_parameters = ({}, {"sessions": 3})

    def apply(self, weight: Array, forecasts: Forecasts, context: DecisionContext) -> Array:
        """The weight before, while its side has been held for fewer than `sessions` and another one is decided."""
        weights, rows = weights_by_ticker_column(weight, forecasts.ticker)
        current, age = np.zeros(weights.shape[1]), np.zeros(weights.shape[1], dtype=np.int64)
        for target in weights:
            side = np.sign(current)
            is_kept = (side != 0) & (age < self.sessions) & (np.sign(target) != side)
            current = target[:] = np.where(is_kept, current, target)
            age = np.where(np.sign(current) == side, age + 1, 1)
        return weights[rows]


def weights_by_ticker_column(weight: Array, ticker_index: IntArray) -> tuple[Array, tuple[IntArray, IntArray]]:
    """Return the rows of each ticker as a column, (steps, tickers), 0 below its last, and the position of each row."""
    _, column = np.unique(ticker_index, return_inverse=True)
    step = np.arange(len(ticker_index)) - first_row_of_ticker(ticker_index)
    table = np.zeros((int(step.max(initial=-1)) + 1, int(column.max(initial=-1)) + 1))
    table[step, column] = weight
    return table, (step, column)


def apply_overlays(
    positions: Positions, overlays: Sequence[Overlay], forecasts: Forecasts, context: DecisionContext
) -> Positions:
    """Return the positions after all overlays, in their order."""
    if not overlays:
        return positions
    rows = forecasts.session, forecasts.ticker
    weight = positions.weight.copy()
    for index, overlay in enumerate(overlays):
        apply = partial(_checked_overlay_weights, overlay, f"overlays.{index}")
        weight[rows] = compute_by_market(apply, forecasts, context, weight[rows])
    return replace(positions, weight=weight)


def _checked_overlay_weights(
    overlay: Overlay, key: str, forecasts: Forecasts, context: DecisionContext, weight: Array
) -> Array:
    with name_component_in_errors(overlay, key=key):
        changed = overlay.apply(weight, forecasts, context)
    shape = forecasts.probability.shape
    is_valid = np.shape(changed) == shape and bool(np.isfinite(changed).all())
    needed = f"one finite weight for each forecast, an array of shape {shape}"
    require_returned(overlay, "apply", is_valid, needed=needed, found=changed, key=key)
    return changed


OVERLAYS: tuple[type[Overlay], ...] = (
    VolatilityTarget,
    LeverageCap,
    NameCap,
    BetaNeutral,
    NoTradeBand,
    MinimumHolding,
)
