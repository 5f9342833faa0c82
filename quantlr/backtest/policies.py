"""Policies, from probabilities to positions: one class each; the tuple at the end of the file is the catalogue.

A policy gives each forecast a decision in [-1, 1], as a fraction of the ticker's part of the capital; 1 is all of it
long. The tickers of a session share the capital equally. At a horizon of h sessions the capital of a ticker is held in
h overlapping portfolios (tranches, Jegadeesh and Titman 1993), each decided every h sessions; a policy that depends on
the current position looks at each tranche separately.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Annotated, ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field, StrictFloat, StrictInt, ValidationInfo, field_validator

from quantlr.backtest.cash_rate import annual_cash_rates
from quantlr.backtest.costs import BASIS_POINT, ExecutionSpec, half_spread_rates
from quantlr.core.component_errors import name_component_in_errors, require_returned
from quantlr.core.components import ChoiceDescriptions, Component, Unit
from quantlr.core.frequency import CountedSessionsPerYear, interest_over_sessions
from quantlr.core.market_views import MarketRows, market_rows
from quantlr.core.values import Array, BoolArray, Forecasts, IntArray, Positions, Prices


@dataclass(frozen=True, slots=True)
class DecisionContext:
    """What is known at each forecast's close besides the forecast: volatility, and costs and interest by the config.

    Attributes
    ----------
    volatility : (rows,) standard deviation (ddof 1) of the ticker's last 20 simple returns; NaN before there are 20.
    round_trip_cost : (rows,) cost of entering and leaving, as a fraction of what is traded, at the close's own price
        and spread; the minimum fee of an order is in proportion to a tranche's equal part of the starting capital.
    horizon_interest : interest on cash over a forecast's horizon, as a fraction; (rows,) if the rate is a series, of
        which the newest dated before the forecast's session counts.
    horizon_borrow_cost : cost of a short position over a forecast's horizon, as a fraction.
    sessions_per_year : for annual figures; a number, or (rows,) that of each row's ticker where they differ.
    market_rows : the rows as each market sees them, if there are several.
    market_beta : (rows,) trailing beta of the ticker, for the overlay `beta_neutral`; NaN where it is unknown. None
        without that overlay.
    """

    volatility: Array
    round_trip_cost: Array
    horizon_interest: Array | float
    horizon_borrow_cost: float
    sessions_per_year: IntArray | int
    market_rows: tuple[MarketRows, ...] = ()
    market_beta: Array | None = None

    def take_rows(self, row: IntArray, *, n_rows: int) -> DecisionContext:
        """Return what is known at some of the rows, of `n_rows`."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: value[row] for name, value in values.items() if np.shape(value) == (n_rows,)})


FORECAST_ROW_FIELDS = (
    "ticker", "log_odds", "probability", "up", "horizon_return", "base_rate", "mean_gain", "mean_loss", "std",
    "training_up_rate", "training_probability_mean", "training_probability_std", "fold",
)  # fmt: skip
"""The (rows,) arrays of `Forecasts`, without the session."""
RowFunction = Callable[[Forecasts, DecisionContext, Array], Array]


def compute_by_market(
    function: RowFunction, forecasts: Forecasts, context: DecisionContext, values: Array | None = None
) -> Array:
    """Return what a function gives for each row, (rows,), from the rows that the row's own market knows.

    Parameters
    ----------
    function : of forecasts, their context and values, (n,) each; with several markets it is called for each with its
        own rows and, at the same sessions, the newest rows of the others.
    values : (rows,) the third argument; None for zeros.
    """
    values = np.zeros(len(forecasts.ticker)) if values is None else values
    if not context.market_rows:
        return function(forecasts, context, values)
    result = np.empty(len(forecasts.ticker))
    for rows in context.market_rows:
        taken = {name: getattr(forecasts, name)[rows.row] for name in FORECAST_ROW_FIELDS}
        view = replace(forecasts, session=rows.session, **taken)
        view_context = context.take_rows(rows.row, n_rows=len(result))
        result[rows.row[rows.is_own]] = function(view, view_context, values[rows.row])[rows.is_own]
    return result


def n_session_tickers_by_row(forecasts: Forecasts) -> IntArray:
    """Return the number of tickers with a forecast in the session of each row, (rows,)."""
    count = np.bincount(forecasts.session, minlength=len(forecasts.sessions))
    return np.asarray(count[forecasts.session], dtype=np.int64)


def make_decision_context(
    prices: Prices, forecasts: Forecasts, execution: ExecutionSpec, *, sessions_per_year: int
) -> DecisionContext:
    """Return what policies and overlays may use besides the forecasts themselves."""
    rows = forecasts.session, forecasts.ticker
    close = pd.DataFrame(prices.close)
    volatility = (close / close.shift() - 1.0).rolling(20).std(ddof=1).to_numpy()
    cost = np.full(len(forecasts.ticker), execution.cost_rate)
    known_rows = market_rows(prices, forecasts.ticker, forecasts.session)
    n_tickers = n_session_tickers_by_row(forecasts)
    for known in known_rows:
        view = replace(forecasts, ticker=forecasts.ticker[known.row], session=known.session)
        n_tickers[known.row[known.is_own]] = n_session_tickers_by_row(view)[known.is_own]
    if execution.spread is not None:
        is_traded = np.isin(np.arange(len(prices.tickers)), forecasts.ticker)
        cost += half_spread_rates(prices, traded_mask=is_traded)[rows]
    order_value = execution.capital / (n_tickers * forecasts.horizon)
    share_fee = execution.per_share / prices.bars_to_sessions(prices.raw_close)[rows]
    cost = cost + np.maximum(share_fee, execution.min_per_order / order_value)
    annual_cash_rate = annual_cash_rates(execution.cash_rate, forecasts.sessions[forecasts.session])
    annual_borrow_cost = execution.borrow_bps_per_year * BASIS_POINT
    return DecisionContext(
        volatility=prices.bars_to_sessions(volatility)[rows],
        round_trip_cost=2.0 * cost,
        horizon_interest=interest_over_sessions(annual_cash_rate, forecasts.horizon, sessions_per_year),
        horizon_borrow_cost=float(interest_over_sessions(annual_borrow_cost, forecasts.horizon, sessions_per_year)),
        sessions_per_year=_own_sessions_per_year(forecasts.ticker, sessions_per_year),
        market_rows=known_rows,
    )


def _own_sessions_per_year(ticker_index: IntArray, sessions_per_year: int) -> IntArray | int:
    """Return the sessions per year of each row's ticker where they differ, else the number of all."""
    if not isinstance(sessions_per_year, CountedSessionsPerYear) or len(set(sessions_per_year.by_ticker)) < 2:
        return sessions_per_year
    return np.array(sessions_per_year.by_ticker, dtype=np.int64)[ticker_index]


def average_over_tranches(decision: Array, *, horizon: int) -> Array:
    """Return the mean of each decision and the `horizon` - 1 before it, where those before the first count as 0."""
    total = decision.copy()
    for age in range(1, min(horizon, len(decision))):
        total[age:] += decision[:-age]
    return total / horizon


def first_row_of_ticker(ticker_index: IntArray) -> IntArray:
    """Return the first row of each row's ticker, (rows,), from ascending positions of tickers."""
    return np.asarray(np.searchsorted(ticker_index, ticker_index), dtype=np.int64)


def hysteresis_positions(
    entry_side: IntArray, may_stay_long: BoolArray, may_stay_short: BoolArray, *, ticker_index: IntArray, horizon: int
) -> Array:
    """Return the side of each tranche after each decision, (rows,): 1, -1 or 0.

    A tranche takes the side that it enters, whatever it held, and keeps it until a decision at which that side may not
    stay; each tranche starts flat.

    Parameters
    ----------
    entry_side : (rows,) 1 enters long, -1 short, 0 neither.
    may_stay_long, may_stay_short : (rows,) whether a position of that side may be kept.
    ticker_index : (rows,) ascending; the rows of a ticker are in the order of time.
    """
    row, start = np.arange(len(ticker_index)), first_row_of_ticker(ticker_index)
    tranche_index = ticker_index * horizon + (row - start) % horizon
    order = np.argsort(tranche_index, kind="stable")
    start = first_row_of_ticker(tranche_index[order])
    entry = np.maximum.accumulate(np.where(entry_side[order] != 0, row, -1))
    side = np.where(entry >= start, entry_side[order][entry], 0)
    may_stay = np.where(side > 0, may_stay_long[order], may_stay_short[order])
    last_exit = np.maximum.accumulate(np.where(may_stay, -1, row))
    position = np.empty(len(ticker_index))
    position[order] = np.where(last_exit <= entry, side, 0)
    return position


Probability = Annotated[StrictFloat, Unit("probability"), Field(ge=0, le=1)]
ProbabilityDistance = Annotated[StrictFloat, Unit("probability"), Field(gt=0, le=1)]
PositionFraction = Annotated[StrictFloat, Unit("fraction of a whole position"), Field(gt=0, le=1)]
Sides = Annotated[
    Literal["long", "long_short"], ChoiceDescriptions({"long": "long or flat", "long_short": "long, short or flat"})
]
SIDES_DESCRIPTION = "Which sides are traded."


class Policy(Component):
    """A rule that turns forecasts into decisions.

    Attributes
    ----------
    sizes_by_probability : whether the size of a position, or whether there is one, depends on how far the probability
        is from the base rate, so that only probabilities that are right make it right.
    compares_tickers : whether a decision depends on the forecasts of other tickers.
    """

    sizes_by_probability: ClassVar[bool] = False
    compares_tickers: ClassVar[bool] = False

    entry_point_group: ClassVar[str] = "quantlr.policies"

    @property
    def min_tickers(self) -> int:
        """Number of traded tickers that the policy needs."""
        return 1

    @property
    def may_be_short(self) -> bool:
        """Whether the policy takes short positions; by its parameter `sides`, if it has one."""
        return getattr(self, "sides", "long_short") == "long_short"

    @abstractmethod
    def decide(self, forecasts: Forecasts, context: DecisionContext) -> Array:
        """Return the decision at each forecast, (rows,), in [-1, 1], as a fraction of the ticker's part of capital."""

    def capital_divisor(self, forecasts: Forecasts) -> IntArray:
        """Return the number of tickers that share a session's capital, (rows,): those with a forecast."""
        return n_session_tickers_by_row(forecasts)


class Threshold(Policy):
    """Long above one probability, short below another, flat between; exit thresholds keep positions longer."""

    kind: Literal["threshold"] = "threshold"
    long_above: Probability = Field(0.5, description="Go long when the probability of up is above this.")
    exit_long_below: Probability | None = Field(
        None, examples=[0.5], description="Stay long until it is below this; null: until it is not above long_above."
    )
    short_below: Probability | None = Field(
        None, description="Go short when it is below this; null never goes short.", examples=[0.5]
    )
    exit_short_above: Probability | None = Field(
        None, examples=[0.5], description="Stay short until it is above this; null: until it is not below short_below."
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

    example_parameters = (
        {},
        {"short_below": 0.5},
        {"long_above": 0.52, "short_below": 0.48},
        {"long_above": 0.55, "exit_long_below": 0.5, "short_below": 0.45, "exit_short_above": 0.5},
    )

    @property
    def may_be_short(self) -> bool:
        """Whether `short_below` is stated."""
        return self.short_below is not None

    def decide(self, forecasts: Forecasts, context: DecisionContext) -> Array:
        """1 above `long_above`, -1 below `short_below`; between them the position before while it may stay, or 0."""
        p = forecasts.probability
        entry_side = (p > self.long_above).astype(np.int64)
        if self.short_below is not None:
            entry_side -= p < self.short_below
        if self.exit_long_below is None and self.exit_short_above is None:
            return entry_side.astype(np.float64)
        may_stay_long = entry_side > 0 if self.exit_long_below is None else p >= self.exit_long_below
        may_stay_short = entry_side < 0 if self.exit_short_above is None else p <= self.exit_short_above
        ticker, horizon = forecasts.ticker, forecasts.horizon
        return hysteresis_positions(entry_side, may_stay_long, may_stay_short, ticker_index=ticker, horizon=horizon)


class Proportional(Policy):
    """A position in proportion to the distance of the probability from a neutral one, up to a cap.

    Measured from one half, a market that mostly rises is mostly held: its drift is part of the position. Measured from
    the base rate, the position depends only on how the features move the forecast from the training rows' proportion of
    ups, and such a market is held about half of the time.
    """

    sizes_by_probability: ClassVar[bool] = True

    kind: Literal["proportional"] = "proportional"
    around: Annotated[
        Literal["half", "base_rate"],
        ChoiceDescriptions({"half": "one half", "base_rate": "the proportion of ups among the training rows"}),
    ] = Field("half", description="The neutral probability, at which the position is 0.")
    full_at: ProbabilityDistance = Field(0.05, description="Distance from it at which the position is a whole one.")
    cap: PositionFraction = Field(1.0, description="Largest position.")
    sides: Sides = Field("long", description=SIDES_DESCRIPTION)

    example_parameters = ({}, {"around": "base_rate", "full_at": 0.2, "cap": 0.5, "sides": "long_short"})

    def decide(self, forecasts: Forecasts, context: DecisionContext) -> Array:
        """(p - 1/2) / full_at, or (p - base rate) / full_at, within the cap."""
        centre = 0.5 if self.around == "half" else forecasts.base_rate
        with np.errstate(over="ignore"):  # beyond the cap in any case
            weight = (forecasts.probability - centre) / self.full_at
        return np.clip(weight, -self.cap if self.sides == "long_short" else 0.0, self.cap)


class ExpectedValue(Policy):
    """Long or short where the expected return exceeds that of cash, by the mean gain and loss of the training rows.

    The expected return is p times the mean gain plus (1 - p) times the mean loss. A flat tranche would also pay for a
    round trip, and enters only where the expected excess return is above that cost; a tranche with a position stays
    while the excess is above 0. Short is the mirror image, less borrow.
    """

    sizes_by_probability: ClassVar[bool] = True

    kind: Literal["expected_value"] = "expected_value"
    sides: Sides = Field("long", description=SIDES_DESCRIPTION)

    example_parameters = ({}, {"sides": "long_short"})

    def decide(self, forecasts: Forecasts, context: DecisionContext) -> Array:
        """1 from where p gain + (1 - p) loss - interest is above the round-trip cost until it is not above 0."""
        long_value = expected_horizon_return(forecasts) - context.horizon_interest
        short_value = -long_value - context.horizon_borrow_cost
        entry_side = (long_value > context.round_trip_cost).astype(np.int64)
        if self.sides == "long_short":
            entry_side -= short_value > context.round_trip_cost
        ticker, horizon = forecasts.ticker, forecasts.horizon
        return hysteresis_positions(entry_side, long_value > 0, short_value > 0, ticker_index=ticker, horizon=horizon)


class Kelly(Policy):
    """A fraction of the position with the largest expected growth: expected excess return over variance.

    f* = (m - r) / s^2 is the continuous approximation of Kelly (1956) in Thorp (2006, "The Kelly criterion in
    blackjack, sports betting, and the stock market", section 7). m is the expected return over the forecast's horizon
    as in `expected_value`, r the interest on cash, s the standard deviation of the training rows' returns over the
    horizon. The formula for a bet with two outcomes, p / loss - (1 - p) / gain, gives larger positions: it takes all
    gains, and all losses, to be of one size. The largest estimates of an expected return are too high on average, hence
    the fraction. Correlation between tickers is not considered.
    """

    sizes_by_probability: ClassVar[bool] = True

    kind: Literal["kelly"] = "kelly"
    fraction: PositionFraction = Field(0.5, description="Fraction of the growth-optimal position that is taken.")
    sides: Sides = Field("long", description=SIDES_DESCRIPTION)

    example_parameters = ({}, {"fraction": 0.25, "sides": "long_short"})

    def decide(self, forecasts: Forecasts, context: DecisionContext) -> Array:
        """Fraction times (m - r) / s^2 within [-1, 1], short positions less borrow; 0 where s is 0 or unknown."""
        long_value = expected_horizon_return(forecasts) - context.horizon_interest
        edge = np.maximum(long_value, 0.0)
        if self.sides == "long_short":
            edge = edge - np.maximum(-long_value - context.horizon_borrow_cost, 0.0)
        variance = forecasts.std**2
        weight = np.zeros_like(edge)
        np.divide(self.fraction * edge, variance, out=weight, where=(variance > 0) & np.isfinite(edge))
        return np.clip(weight, -1.0, 1.0)


class TopK(Policy):
    """The tickers with the highest probabilities of each session; optionally short those with the lowest.

    The selected tickers share the capital equally. Of equal probabilities the ticker that the config names first ranks
    higher. A session with fewer tickers than k holds those that it has; on both sides, never one ticker on both.
    """

    compares_tickers: ClassVar[bool] = True

    kind: Literal["top_k"] = "top_k"
    k: Annotated[StrictInt, Unit("tickers"), Field(ge=1, le=100_000)] = Field(
        3, description="Number of tickers held on each side."
    )
    sides: Sides = Field("long", description="long holds the highest; long_short is also short as many of the lowest.")

    example_parameters = ({}, {"k": 1, "sides": "long_short"})

    @property
    def min_tickers(self) -> int:
        """The tickers that are held, on both sides together."""
        return self.k * (2 if self.sides == "long_short" else 1)

    def decide(self, forecasts: Forecasts, context: DecisionContext) -> Array:
        """1 for the k highest of a session, -1 for the k lowest with both sides, else 0."""
        score = np.full((len(forecasts.sessions), len(forecasts.tickers)), np.inf)
        score[forecasts.session, forecasts.ticker] = -forecasts.probability
        ranks = np.argsort(np.argsort(score, axis=1, kind="stable"), axis=1)
        rank, n_held = ranks[forecasts.session, forecasts.ticker], self._n_held_per_side(forecasts)
        decision = (rank < n_held).astype(np.float64)
        if self.sides == "long_short":
            decision -= rank >= n_session_tickers_by_row(forecasts) - n_held
        return decision

    def capital_divisor(self, forecasts: Forecasts) -> IntArray:
        """Return the number of tickers held in each row's session, at least 1."""
        return np.maximum(self._n_held_per_side(forecasts) * (2 if self.sides == "long_short" else 1), 1)

    def _n_held_per_side(self, forecasts: Forecasts) -> IntArray:
        return np.minimum(self.k, n_session_tickers_by_row(forecasts) // (2 if self.sides == "long_short" else 1))


def expected_horizon_return(forecasts: Forecasts) -> Array:
    """Return p mean_gain + (1 - p) mean_loss over each forecast's horizon, (rows,); NaN where one is missing.

    A fold whose training rows all went up has no mean loss; none is needed where the forecast is 1, and vice versa.
    """
    p = forecasts.probability
    gain = np.where(p > 0, p * forecasts.mean_gain, 0.0)
    return np.asarray(gain + np.where(p < 1, (1.0 - p) * forecasts.mean_loss, 0.0))


def decide_positions(policy: Policy, forecasts: Forecasts, context: DecisionContext) -> Positions:
    """Return the weights decided at each close.

    Each decision is divided by the number of tickers that share the session's capital. At a horizon of h the weight is
    the mean of the ticker's last h decisions, those before the first 0: h tranches are held.
    """

    def divided_decision(forecasts: Forecasts, context: DecisionContext, _: Array) -> Array:
        with name_component_in_errors(policy, key="policy"):
            decision, divisor = policy.decide(forecasts, context), policy.capital_divisor(forecasts)
        shape = forecasts.probability.shape
        is_valid = np.shape(decision) == shape and bool((np.abs(decision) <= 1.0).all())
        needed = f"one number from -1 to 1 for each forecast, an array of shape {shape}"
        require_returned(policy, "decide", is_valid, needed=needed, found=decision, key="policy")
        return np.asarray(decision / divisor)

    decision = compute_by_market(divided_decision, forecasts, context)
    weight = np.full((len(forecasts.sessions), len(forecasts.tickers)), np.nan)
    for ticker in np.unique(forecasts.ticker):
        rows = slice(*np.searchsorted(forecasts.ticker, [ticker, ticker + 1]))
        weight[forecasts.session[rows], ticker] = average_over_tranches(decision[rows], horizon=forecasts.horizon)
    return Positions(forecasts.tickers, forecasts.sessions, weight)


POLICIES: tuple[type[Policy], ...] = (Threshold, Proportional, ExpectedValue, Kelly, TopK)
