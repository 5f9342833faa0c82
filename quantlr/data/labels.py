"""What is to be forecast: one class per label; the closing tuple is the catalogue."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from quantlr.core.annotations import ChoiceDescriptions, Unit
from quantlr.core.arrays import Array
from quantlr.core.components import Component, StrictFloat, StrictInt
from quantlr.core.errors import DataError
from quantlr.core.timing import label_known_row
from quantlr.core.values import Labels, Prices
from quantlr.data.prices import Ticker, find_ticker

TieHandling = Annotated[
    Literal["down", "up", "drop"],
    ChoiceDescriptions({"down": "not up", "up": "up", "drop": "neither: such a row trains nothing and is not scored"}),
]
TIES_DESCRIPTION = "What a return of exactly zero counts as."
Horizon = Annotated[StrictInt, Unit("sessions of the ticker"), Field(ge=1, le=1_000)]


class Label(Component):
    """A question about each bar that the future answers."""

    horizon: Horizon = Field(1, description="From a forecast to the end of what it forecasts.")

    @abstractmethod
    def compute(self, prices: Prices) -> Labels:
        """Return the answer of every bar, NaN where it is dropped or not known yet."""


def horizon_returns(close: Array, *, horizon: int) -> Array:
    """Return the simple return from each bar's close to the close at which its label is known, NaN if unknown."""
    ends = label_known_row(0, horizon=horizon)
    ahead = np.full_like(close, np.nan)
    if ends < len(close):
        ahead[: len(close) - ends] = close[ends:]
    return ahead / close - 1.0


def up_labels(returns: Array, *, ties: TieHandling) -> Array:
    """Return 1 where a return is above 0, 0 where it is below, what `ties` says where it is 0, NaN where unknown."""
    up = np.where(np.isnan(returns), np.nan, (returns > 0).astype(np.float64))
    up[returns == 0] = {"down": 0.0, "up": 1.0, "drop": np.nan}[ties]
    return up


class Direction(Label):
    """Whether the close is higher `horizon` sessions on."""

    kind: Literal["direction"] = "direction"
    ties: TieHandling = Field("down", description=TIES_DESCRIPTION)

    @classmethod
    def examples(cls) -> tuple[Direction, ...]:
        """Return one instance per way to treat ties, over several horizons."""
        return (cls(), cls(horizon=5, ties="up"), cls(horizon=2, ties="drop"))

    def compute(self, prices: Prices) -> Labels:
        """Up is 1 where the span return is above 0; ties as `ties` says, `drop` making them NaN."""
        span = horizon_returns(prices.close, horizon=self.horizon)
        return Labels(up=up_labels(span, ties=self.ties), horizon_return=span)


class DeadBand(Label):
    """Whether the close is clearly higher or clearly lower `horizon` sessions on; a move between belongs to neither.

    A row whose move is small trains nothing and is not scored, and is forecast and traded all the same: nobody knows
    beforehand that a move will be small.
    """

    kind: Literal["dead_band"] = "dead_band"
    band: Annotated[StrictFloat, Unit("fraction (0.01 is one percent)"), Field(gt=0, lt=1)] = Field(
        0.002, description="Simple return up to which a move in either direction is small."
    )

    @classmethod
    def examples(cls) -> tuple[DeadBand, ...]:
        """Return the default, and a wide band over a week."""
        return (cls(), cls(horizon=5, band=0.01))

    def compute(self, prices: Prices) -> Labels:
        """Up is 1 where the span return is above the band, 0 where it is below minus the band, NaN between."""
        span = horizon_returns(prices.close, horizon=self.horizon)
        up = np.where(span > self.band, 1.0, np.where(span < -self.band, 0.0, np.nan))
        return Labels(up=up, horizon_return=span)


class Outperformance(Label):
    """Whether a ticker returns more than a benchmark over the next `horizon` of its own sessions.

    Both returns run between the same two dates, closes adjusted as each one's source does: a benchmark that is a price
    index earns no dividends. Where the benchmark has no bar on one of them the label is dropped, and a benchmark that
    is traded itself is never above itself: its own label is dropped everywhere, and only a pooled model forecasts it.
    """

    kind: Literal["outperformance"] = "outperformance"
    benchmark: Ticker = Field(
        description="Ticker to beat: one of data.context, or one that is traded.", examples=["^GSPC"]
    )
    ties: TieHandling = Field("down", description=TIES_DESCRIPTION)

    @classmethod
    def examples(cls) -> tuple[Outperformance, ...]:
        """Return an index over a day, and over several with ties dropped."""
        return (cls(benchmark="^GSPC"), cls(benchmark="^GSPC", horizon=3, ties="drop"))

    def compute(self, prices: Prices) -> Labels:
        """Up is 1 where the span return is above the benchmark's; the span return is the ticker's own."""
        held, column = find_ticker(prices, self.benchmark)
        if held is prices and len(prices.tickers) == 1:
            raise DataError(
                f"{self.benchmark} is the only ticker and never above itself; put it into data.context, and what is "
                "to beat it into data.tickers",
                key="label.benchmark",
            )
        dates = held.sessions[held.session[: held.n_bars[column], column]]
        found = dates.get_indexer(prices.sessions)
        closes = np.where(found >= 0, held.close[np.maximum(found, 0), column], np.nan)
        beside = np.where(prices.session >= 0, closes[np.maximum(prices.session, 0)], np.nan)
        span = horizon_returns(prices.close, horizon=self.horizon)
        ahead = span - horizon_returns(beside, horizon=self.horizon)
        if held is prices:
            ahead[:, column] = np.nan
        return Labels(up=up_labels(ahead, ties=self.ties), horizon_return=span)


LABELS: tuple[type[Label], ...] = (Direction, DeadBand, Outperformance)
