"""What a forecast may look at: one class per feature; the closing tuple is the catalogue.

A feature's `compute` gets `Prices` and returns columns of the same shape, (bars, tickers). Row t may use row t and
older ones only, and is NaN until enough of them are there.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import Field, field_validator

from quantlr.types import Array, Columns, Part, Prices, Whole

Lag = Annotated[Whole, Field(ge=1, le=10_000)]
Window = Annotated[Whole, Field(ge=1, le=10_000)]
Returns = Literal["log", "simple"]


class Feature(Part):
    """Columns that are known at the close of each bar."""

    @abstractmethod
    def compute(self, prices: Prices) -> Columns:
        """Return columns by name, each (bars, tickers), NaN until the window has filled."""


def shifted(values: Array, *, by: int) -> Array:
    """Return what stood `by` bars earlier, NaN where there was nothing."""
    moved = np.full_like(values, np.nan)
    if by < len(values):
        moved[by:] = values[: len(values) - by]
    return moved


def returns_over(close: Array, *, bars: int, kind: Returns) -> Array:
    """Return the return from the close `bars` bars before, as a fraction (simple) or as its logarithm (log)."""
    ratio = close / shifted(close, by=bars)
    return np.log(ratio) if kind == "log" else ratio - 1.0


def rolling_std(values: Array, *, window: int) -> Array:
    """Return the standard deviation (ddof 1) of the newest `window` values, NaN until there are so many."""
    return pd.DataFrame(values).rolling(window).std(ddof=1).to_numpy()


def _distinct(lengths: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(lengths)) < len(lengths):
        raise ValueError("each number once; every number makes one column")
    return lengths


class LaggedReturns(Feature):
    """Returns of single sessions: lag 1 is the session that has just closed, lag 2 the one before."""

    kind: Literal["lagged_returns"] = "lagged_returns"
    lags: tuple[Lag, ...] = Field((1, 2, 3, 4, 5), min_length=1, description="Lags, in sessions; 1 is the newest.")
    returns: Returns = Field("log", description="Logarithm of the price ratio, or its simple return.")

    _each_once = field_validator("lags")(_distinct)

    @classmethod
    def examples(cls) -> tuple[LaggedReturns, ...]:
        """Return the default, and simple returns at lags out of order."""
        return (cls(), cls(lags=(3, 1), returns="simple"))

    def compute(self, prices: Prices) -> Columns:
        """One column per lag, as a fraction (0.01 is one percent)."""
        newest = returns_over(prices.close, bars=1, kind=self.returns)
        return {f"lagged_returns_{lag}": shifted(newest, by=lag - 1) for lag in self.lags}


class Momentum(Feature):
    """Return over the last so many sessions, the one that has just closed included."""

    kind: Literal["momentum"] = "momentum"
    windows: tuple[Window, ...] = Field((10,), min_length=1, description="Lengths, in sessions.")
    returns: Returns = Field("log", description="Logarithm of the price ratio, or its simple return.")

    _each_once = field_validator("windows")(_distinct)

    @classmethod
    def examples(cls) -> tuple[Momentum, ...]:
        """Return the default, and simple returns over two windows."""
        return (cls(), cls(windows=(5, 21), returns="simple"))

    def compute(self, prices: Prices) -> Columns:
        """One column per window, as a fraction."""
        return {f"momentum_{w}": returns_over(prices.close, bars=w, kind=self.returns) for w in self.windows}


class Volatility(Feature):
    """Standard deviation of single sessions' returns over a trailing window."""

    kind: Literal["volatility"] = "volatility"
    windows: tuple[Annotated[Whole, Field(ge=2, le=10_000)], ...] = Field(
        (20,), min_length=1, description="Lengths, in sessions; at least 2."
    )
    returns: Returns = Field("log", description="Logarithm of the price ratio, or its simple return.")

    _each_once = field_validator("windows")(_distinct)

    @classmethod
    def examples(cls) -> tuple[Volatility, ...]:
        """Return the default, and simple returns over two windows."""
        return (cls(), cls(windows=(5, 21), returns="simple"))

    def compute(self, prices: Prices) -> Columns:
        """One column per window: ddof 1, per session, as a fraction; NaN until the window has filled."""
        returns = returns_over(prices.close, bars=1, kind=self.returns)
        return {f"volatility_{w}": rolling_std(returns, window=w) for w in self.windows}


UNITS = {"shares": 1.0, "millions": 1e6, "billions": 1e9}


class Volume(Feature):
    """The session's volume, as the source gives it: not adjusted for splits, so at home with an index."""

    kind: Literal["volume"] = "volume"
    unit: Literal["shares", "millions", "billions"] = Field("billions", description="What one unit counts.")

    @classmethod
    def examples(cls) -> tuple[Volume, ...]:
        """Return the default, and a count of shares."""
        return (cls(), cls(unit="shares"))

    def compute(self, prices: Prices) -> Columns:
        """One column, `volume`, in the unit asked for."""
        return {"volume": prices.volume / UNITS[self.unit]}


FEATURES: tuple[type[Feature], ...] = (LaggedReturns, Momentum, Volatility, Volume)
