"""What is to be forecast: one class per label; the closing tuple is the catalogue."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from quantlr.types import Array, Labels, Part, Prices, Whole, known_row

Horizon = Annotated[Whole, Field(ge=1, le=1_000)]


class Label(Part):
    """A question about each bar that the future answers."""

    horizon: Horizon = Field(1, description="Sessions from a forecast to the end of what it forecasts.")

    @abstractmethod
    def compute(self, prices: Prices) -> Labels:
        """Return the answer of every bar, NaN where it is dropped or not known yet."""


def span_returns(close: Array, *, horizon: int) -> Array:
    """Return the simple return from each bar's close to the close at which its label is known, NaN if unknown."""
    ends = known_row(0, horizon=horizon)
    ahead = np.full_like(close, np.nan)
    if ends < len(close):
        ahead[: len(close) - ends] = close[ends:]
    return ahead / close - 1.0


class Direction(Label):
    """Whether the close is higher `horizon` sessions on."""

    kind: Literal["direction"] = "direction"
    ties: Literal["down", "up", "drop"] = Field("down", description="What a return of exactly zero counts as.")

    @classmethod
    def examples(cls) -> tuple[Direction, ...]:
        """Return one instance per way to treat ties, over several horizons."""
        return (cls(), cls(horizon=5, ties="up"), cls(horizon=2, ties="drop"))

    def compute(self, prices: Prices) -> Labels:
        """Up is 1 where the span return is above 0; ties as `ties` says, `drop` making them NaN."""
        span = span_returns(prices.close, horizon=self.horizon)
        up = np.where(np.isnan(span), np.nan, (span > 0).astype(np.float64))
        up[span == 0] = {"down": 0.0, "up": 1.0, "drop": np.nan}[self.ties]
        return Labels(up=up, span_return=span)


LABELS: tuple[type[Label], ...] = (Direction,)
