"""From probabilities to positions: one class per policy; the closing tuple is the catalogue.

A policy gives each forecast a decision in [-1, 1]: the share of what the ticker may hold, 1 all of it long. A session's
tickers share the capital equally. A policy that looks at what is held looks at each tranche by itself (`tranches`).
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import Field, ValidationInfo, field_validator

from quantlr.backtest.costs import BASIS_POINT, ExecutionSpec, half_spread
from quantlr.core.annotations import ChoiceDescriptions, Unit
from quantlr.core.arrays import Array, BoolArray, IntArray
from quantlr.core.components import Component, StrictFloat, StrictInt
from quantlr.core.values import Forecasts, Positions, Prices

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


def average_over_tranches(decision: Array, *, horizon: int) -> Array:
    """Return the mean of each decision and the `horizon` - 1 before it, counting those that are missing as 0."""
    held = decision.copy()
    for age in range(1, min(horizon, len(decision))):
        held[age:] += decision[:-age]
    return held / horizon


def first_row_of_ticker(ticker_index: IntArray) -> IntArray:
    """Return the first row of each row's ticker, (rows,); a ticker's rows stand together."""
    at = np.arange(len(ticker_index))
    new = np.append(True, ticker_index[1:] != ticker_index[:-1])[: len(ticker_index)]
    return np.asarray(np.maximum.accumulate(np.where(new, at, 0)), dtype=np.int64)


def hysteresis_positions(
    entry_side: IntArray, *, may_stay_long: BoolArray, may_stay_short: BoolArray, ticker_index: IntArray, horizon: int
) -> Array:
    """Return the side that each tranche is on after each decision, (rows,): 1, -1 or 0.

    A tranche takes the side that it is told to enter, whatever it held, and keeps it until a decision at which that
    side may not stay; each tranche starts flat.

    Parameters
    ----------
    enter : (rows,) 1 enters long, -1 short, 0 neither.
    stays_long, stays_short : (rows,) whether a position of that side may stay.
    ticker : (rows,) ascending; a ticker's rows are in the order of time.
    """
    first = first_row_of_ticker(ticker_index)
    at = np.arange(len(ticker_index))
    if horizon > 1:
        tranche = (at - first) % horizon
        order = np.lexsort((tranche, ticker_index))
        start = first_row_of_ticker(ticker_index[order] * horizon + tranche[order])
    else:
        order, start = at, first
    entered = np.maximum.accumulate(np.where(entry_side[order] != 0, at, -1))
    side = np.where(entered >= start, entry_side[order][entered], 0)
    left = [np.maximum.accumulate(np.where(stays[order], -1, at)) for stays in (may_stay_long, may_stay_short)]
    kept = np.where(side > 0, left[0], left[1]) <= entered
    held = np.empty(len(ticker_index))
    held[order] = np.where(kept, side, 0)
    return held


Probability = Annotated[StrictFloat, Unit("probability"), Field(ge=0, le=1)]
ProbabilityDistance = Annotated[StrictFloat, Unit("probability"), Field(gt=0, le=1)]
PositionFraction = Annotated[StrictFloat, Unit("fraction of a whole position"), Field(gt=0, le=1)]
Sides = Annotated[
    Literal["long", "long_short"], ChoiceDescriptions({"long": "long or flat", "long_short": "long, short or flat"})
]
SIDES_DESCRIPTION = "Which sides are held."


class Policy(Component):
    """A rule that turns forecasts into decisions."""

    @abstractmethod
    def decide(self, forecasts: Forecasts, context: DecisionContext) -> Array:
        """Return the weight each forecast asks for, (rows,), in [-1, 1]: the share of what the ticker may hold."""

    def capital_divisor(self, forecasts: Forecasts) -> IntArray:
        """Return among how many tickers a session's capital is shared, (rows,): those with a forecast."""
        return n_active(forecasts)


class Threshold(Policy):
    """Long above one probability, short below another, and flat between; with bands, a position stays for longer."""

    kind: Literal["threshold"] = "threshold"
    long_above: Probability = Field(0.5, description="Go long when the probability of up is above this.")
    exit_long_below: Probability | None = Field(
        None,
        description="Stay long until it is below this; null leaves as soon as it is not above long_above.",
        examples=[0.5],
    )
    short_below: Probability | None = Field(
        None, description="Go short when it is below this; null never goes short.", examples=[0.5]
    )
    exit_short_above: Probability | None = Field(
        None,
        description="Stay short until it is above this; null leaves as soon as it is not below short_below.",
        examples=[0.5],
    )

    @field_validator("exit_long_below", "short_below", "exit_short_above")
    @classmethod
    def _check_threshold_order(cls, probability: float | None, info: ValidationInfo) -> float | None:
        if probability is None:
            return None
        if info.field_name == "exit_short_above":
            lowest = info.data.get("short_below")
            if lowest is None and "short_below" in info.data:
                raise ValueError("needs policy.short_below, which is null: nothing is ever short")
            if lowest is not None and probability < lowest:
                raise ValueError(f"must not be below policy.short_below, {lowest}")
        bounds = ("long_above", "exit_long_below") if info.field_name == "short_below" else ("long_above",)
        for bound in bounds:
            highest = info.data.get(bound)
            if highest is not None and probability > highest:
                raise ValueError(f"must not be above policy.{bound}, {highest}")
        return probability

    @classmethod
    def examples(cls) -> tuple[Threshold, ...]:
        """Return long or flat, long or short, a band between, and bands that positions stay in."""
        return (
            cls(),
            cls(short_below=0.5),
            cls(long_above=0.52, short_below=0.48),
            cls(long_above=0.55, exit_long_below=0.5, short_below=0.45, exit_short_above=0.5),
        )

    def decide(self, forecasts: Forecasts, context: DecisionContext) -> Array:
        """1 above `long_above`, -1 below `short_below`; else what it was while that may stay, or 0."""
        p = forecasts.probability
        enter = (p > self.long_above).astype(np.int64)
        if self.short_below is not None:
            enter -= p < self.short_below
        if self.exit_long_below is None and self.exit_short_above is None:
            return enter.astype(np.float64)
        return hysteresis_positions(
            enter,
            may_stay_long=enter > 0 if self.exit_long_below is None else p >= self.exit_long_below,
            may_stay_short=enter < 0 if self.exit_short_above is None else p <= self.exit_short_above,
            ticker_index=forecasts.ticker,
            horizon=forecasts.horizon,
        )


class Proportional(Policy):
    """The further a probability is from where nothing is known, the larger the position, up to a cap.

    Measured from one half, a market that mostly rises is mostly held: the drift is part of the bet. Measured from the
    base rate, what is bet on is only what the features add to the training rows' share of ups, and such a market is
    held as often long as not.
    """

    kind: Literal["proportional"] = "proportional"
    around: Annotated[
        Literal["half", "base_rate"],
        ChoiceDescriptions({"half": "one half", "base_rate": "the training rows' share of ups"}),
    ] = Field("half", description="The probability at which nothing is held.")
    full_at: ProbabilityDistance = Field(0.05, description="Distance from there at which the position is a whole one.")
    cap: PositionFraction = Field(1.0, description="Largest position.")
    sides: Sides = Field("long", description=SIDES_DESCRIPTION)

    @classmethod
    def examples(cls) -> tuple[Proportional, ...]:
        """Return the default, and half-sized positions on both sides of the base rate."""
        return (cls(), cls(around="base_rate", full_at=0.2, cap=0.5, sides="long_short"))

    def decide(self, forecasts: Forecasts, context: DecisionContext) -> Array:
        """(p - 1/2) / full_at, or (p - base rate) / full_at, within the cap."""
        centre = 0.5 if self.around == "half" else forecasts.base_rate
        weight = (forecasts.probability - centre) / self.full_at
        return np.clip(weight, -self.cap if self.sides == "long_short" else 0.0, self.cap)


class ExpectedValue(Policy):
    """A choice between something sure and a gamble, by the gamble's expected value in the fold's own numbers.

    The sure thing is what cash earns; the gamble gains the training rows' mean gain with the probability of up, or
    loses their mean loss. Who is flat must also pay the way in and out again, so enters only where the gamble is worth
    more than that; who is in has paid, and stays while it is worth anything. Short is the mirror image, less borrow.
    """

    kind: Literal["expected_value"] = "expected_value"
    sides: Sides = Field("long", description=SIDES_DESCRIPTION)

    @classmethod
    def examples(cls) -> tuple[ExpectedValue, ...]:
        """Return long or flat, and both sides."""
        return (cls(), cls(sides="long_short"))

    def decide(self, forecasts: Forecasts, context: DecisionContext) -> Array:
        """1 from where p gain + (1 - p) loss - interest is above the round trip's cost until it is not above 0."""
        value = expected_return(forecasts) - context.horizon_interest
        short_value = -value - context.horizon_borrow_cost
        enter = (value > context.round_trip_cost).astype(np.int64)
        if self.sides == "long_short":
            enter -= short_value > context.round_trip_cost
        return hysteresis_positions(
            enter,
            may_stay_long=value > 0,
            may_stay_short=short_value > 0,
            ticker_index=forecasts.ticker,
            horizon=forecasts.horizon,
        )


class Kelly(Policy):
    """A fraction of the position that makes wealth grow fastest: expected excess return over variance.

    f* = (m - r) / s^2 is the continuous approximation of Kelly (1956) in Thorp (2006, "The Kelly criterion in
    blackjack, sports betting, and the stock market", section 7). m is the expected return over the forecast's span as
    in `expected_value`, r the interest on cash, s the deviation of the training rows' span returns. The gamble of two
    outcomes, p / loss - (1 - p) / gain, would bet more: it takes all gains, and all losses, to be of one size. An edge
    that is estimated is overestimated where it looks best, hence the fraction. Correlation between tickers is left out.
    """

    kind: Literal["kelly"] = "kelly"
    fraction: PositionFraction = Field(0.5, description="Share of the growth-optimal position that is taken.")
    sides: Sides = Field("long", description=SIDES_DESCRIPTION)

    @classmethod
    def examples(cls) -> tuple[Kelly, ...]:
        """Return half Kelly, and a quarter of it on both sides."""
        return (cls(), cls(fraction=0.25, sides="long_short"))

    def decide(self, forecasts: Forecasts, context: DecisionContext) -> Array:
        """Fraction times (m - r) / s^2 within [-1, 1], a short's edge less borrow; 0 where s is 0 or unknown."""
        value = expected_return(forecasts) - context.horizon_interest
        edge = np.maximum(value, 0.0)
        if self.sides == "long_short":
            edge = edge - np.maximum(-value - context.horizon_borrow_cost, 0.0)
        variance = forecasts.std**2
        weight = np.zeros_like(edge)
        np.divide(self.fraction * edge, variance, out=weight, where=(variance > 0) & np.isfinite(edge))
        return np.clip(weight, -1.0, 1.0)


class TopK(Policy):
    """The highest probabilities of each session, whatever they are; optionally short the lowest.

    Those that are chosen share the capital equally. Of equal probabilities the ticker that the config names first ranks
    higher. A session with fewer tickers than asked for holds those that it has; on both sides, never one on both.
    """

    kind: Literal["top_k"] = "top_k"
    k: Annotated[StrictInt, Unit("tickers"), Field(ge=1, le=100_000)] = Field(
        3, description="How many tickers are held on each side."
    )
    sides: Sides = Field("long", description="long holds the highest; long_short is also short as many of the lowest.")

    @classmethod
    def examples(cls) -> tuple[TopK, ...]:
        """Return the three highest, and one on each side."""
        return (cls(), cls(k=1, sides="long_short"))

    def decide(self, forecasts: Forecasts, context: DecisionContext) -> Array:
        """1 for the k highest of a session, -1 for the k lowest where both sides are held, else 0."""
        score = np.full((len(forecasts.sessions), len(forecasts.tickers)), np.inf)
        score[forecasts.session, forecasts.ticker] = -forecasts.probability
        order = np.argsort(score, axis=1, kind="stable")
        ranks = np.empty(order.shape, dtype=np.int64)
        np.put_along_axis(ranks, order, np.arange(order.shape[1])[None, :], axis=1)
        rank, chosen = ranks[forecasts.session, forecasts.ticker], self._n_held_per_side(forecasts)
        decision = (rank < chosen).astype(np.float64)
        if self.sides == "long_short":
            decision -= rank >= n_active(forecasts) - chosen
        return decision

    def capital_divisor(self, forecasts: Forecasts) -> IntArray:
        """Return how many tickers are held in each row's session, at least 1."""
        held = self._n_held_per_side(forecasts) * (2 if self.sides == "long_short" else 1)
        return np.maximum(held, 1)

    def _n_held_per_side(self, forecasts: Forecasts) -> IntArray:
        there = n_active(forecasts)
        return np.minimum(self.k, there // 2 if self.sides == "long_short" else there)


def expected_return(forecasts: Forecasts) -> Array:
    """Return p mean_gain + (1 - p) mean_loss over each forecast's span, (rows,); NaN where one is needed and missing.

    A fold whose training rows all went up has no mean loss, and needs none where it is sure of another gain.
    """
    p = forecasts.probability
    gain = np.where(p > 0, p * forecasts.mean_gain, 0.0)
    return np.asarray(gain + np.where(p < 1, (1.0 - p) * forecasts.mean_loss, 0.0))


def decide_positions(policy: Policy, forecasts: Forecasts, context: DecisionContext) -> Positions:
    """Return the weights decided at each close.

    A session's decisions share the capital equally: each is divided by the number of tickers with a forecast, or of
    those that the policy chooses to hold. At a horizon of h, h tranches are held: the weight is the mean of the
    ticker's last h decisions, missing ones 0.
    """
    decision = policy.decide(forecasts, context) / policy.capital_divisor(forecasts)
    weight = np.full((len(forecasts.sessions), len(forecasts.tickers)), np.nan)
    for ticker in np.unique(forecasts.ticker):
        rows = slice(*np.searchsorted(forecasts.ticker, [ticker, ticker + 1]))
        weight[forecasts.session[rows], ticker] = average_over_tranches(decision[rows], horizon=forecasts.horizon)
    return Positions(forecasts.tickers, forecasts.sessions, weight)


POLICIES: tuple[type[Policy], ...] = (Threshold, Proportional, ExpectedValue, Kelly, TopK)
