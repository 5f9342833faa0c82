"""Features made of returns: lags, momentum, the gap overnight, and another ticker's lags."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, field_validator

from quantlr.data.context import followed
from quantlr.data.features.base import (
    RETURNS,
    Feature,
    Lag,
    Returns,
    Window,
    change,
    distinct,
    returns_over,
    shifted,
)
from quantlr.data.universe import Ticker
from quantlr.errors import DataError
from quantlr.types import Columns, IntArray, Prices, Unit, Whole, day, newest_known


class LaggedReturns(Feature):
    """Returns of single sessions: lag 1 is the session that has just closed, lag 2 the one before."""

    kind: Literal["lagged_returns"] = "lagged_returns"
    lags: tuple[Lag, ...] = Field((1, 2, 3, 4, 5), min_length=1, description="Lags; 1 is the newest.")
    returns: Returns = Field("log", description=RETURNS)

    _each_once = field_validator("lags")(distinct)

    @classmethod
    def examples(cls) -> tuple[LaggedReturns, ...]:
        """Return the default, and simple returns at lags out of order."""
        return (cls(), cls(lags=(3, 1), returns="simple"))

    def compute(self, prices: Prices) -> Columns:
        """One column per lag, as a fraction (0.01 is one percent); above 0 where the close rose."""
        newest = returns_over(prices.close, bars=1, kind=self.returns)
        return {f"lagged_returns_{lag}": shifted(newest, by=lag - 1) for lag in self.lags}

    def warm_up(self) -> int:
        """The largest lag: a return needs the close before."""
        return max(self.lags)


class Momentum(Feature):
    """Return over the last so many sessions, the one that has just closed included."""

    kind: Literal["momentum"] = "momentum"
    windows: tuple[Window, ...] = Field((10,), min_length=1, description="Lengths of the window.")
    returns: Returns = Field("log", description=RETURNS)

    _each_once = field_validator("windows")(distinct)

    @classmethod
    def examples(cls) -> tuple[Momentum, ...]:
        """Return the default, and simple returns over two windows."""
        return (cls(), cls(windows=(5, 21), returns="simple"))

    def compute(self, prices: Prices) -> Columns:
        """One column per window, as a fraction; above 0 where the close is higher than so many sessions ago."""
        return {f"momentum_{w}": returns_over(prices.close, bars=w, kind=self.returns) for w in self.windows}

    def warm_up(self) -> int:
        """The longest window."""
        return max(self.windows)


class OvernightGap(Feature):
    """Return from the close before to the session's open.

    An index's opens are often the former close, and the gap is then 0; a source without opens has no gap.
    """

    kind: Literal["overnight_gap"] = "overnight_gap"
    lags: tuple[Lag, ...] = Field(
        (1,), min_length=1, description="Lags; 1 is the gap before the session that has just closed."
    )
    returns: Returns = Field("log", description=RETURNS)

    _each_once = field_validator("lags")(distinct)

    @classmethod
    def examples(cls) -> tuple[OvernightGap, ...]:
        """Return the default, and simple returns of two sessions."""
        return (cls(), cls(lags=(1, 2), returns="simple"))

    def compute(self, prices: Prices) -> Columns:
        """One column per lag, as a fraction; above 0 where the session opened above the close before."""
        newest = change(prices.open, shifted(prices.close, by=1), kind=self.returns)
        return {f"overnight_gap_{lag}": shifted(newest, by=lag - 1) for lag in self.lags}

    def warm_up(self) -> int:
        """The largest lag: a gap needs the close before."""
        return max(self.lags)


class ContextReturns(Feature):
    """Returns of single sessions of another ticker, of data.context or traded: an index, a currency, a rate.

    Each bar is given the newest bar of the other ticker that is of its own date or an older one. A market that closes
    later on the same date is not known yet: begin at lag 2 there. Where the other ticker has no bar of that date (its
    market keeps other holidays), the newest it has may be at most `max_age` days older; beyond that the run stops and
    names the date. Before its first bars the value is missing, which counts as warm-up.
    """

    kind: Literal["context_returns"] = "context_returns"
    ticker: Ticker = Field(
        description="The other ticker: one of data.context, or one that is traded.", examples=["^GSPC"]
    )
    lags: tuple[Lag, ...] = Field(
        (1,), min_length=1, description="Lags in the other ticker's own bars; 1 is its newest bar that is known."
    )
    returns: Returns = Field("log", description=RETURNS)
    max_age: Annotated[Whole, Unit("calendar days"), Field(ge=0, le=366)] = Field(
        0, description="How much older than the session the newest known bar may be; 0: of the same date."
    )

    _each_once = field_validator("lags")(distinct)

    @classmethod
    def examples(cls) -> tuple[ContextReturns, ...]:
        """Return the default for an index, and simple returns that may be a long weekend old."""
        return (cls(ticker="^GSPC"), cls(ticker="^GSPC", lags=(2, 1), returns="simple", max_age=4))

    def compute(self, prices: Prices) -> Columns:
        """One column per lag, as a fraction; above 0 where the other ticker's close rose.

        Raises
        ------
        DataError : the other ticker was not fetched, or its newest bar is older than `max_age` allows.
        """
        held, column = followed(prices, self.ticker)
        own = held.session[: held.bars[column], column]
        newest = newest_known(held.sessions[own], prices.sessions)
        self._require_young(prices, held.sessions[own][np.maximum(newest, 0)].to_numpy(), newest)
        at = np.where(prices.session >= 0, newest[np.maximum(prices.session, 0)], -1)
        changes = returns_over(held.close[: len(own), column : column + 1], bars=1, kind=self.returns)
        return {
            f"context_returns_{self.ticker}_{lag}": np.where(at >= 0, shifted(changes, by=lag - 1)[at, 0], np.nan)
            for lag in self.lags
        }

    def _require_young(self, prices: Prices, dates: np.ndarray, newest: IntArray) -> None:
        days = (prices.sessions.to_numpy() - dates) / np.timedelta64(1, "D")
        old = np.flatnonzero((newest >= 0) & (days > self.max_age))
        if len(old):
            first = old[0]
            raise DataError(
                f"{day(prices.sessions[first])}: the newest bar of {self.ticker} is of {day(dates[first])}, "
                f"{days[first]:.0f} days older, and max_age allows {self.max_age} ({len(old)} such sessions); "
                "raise max_age, or fetch the bars that are missing"
            )

    def warm_up(self) -> int:
        """The largest lag, where the other ticker's history begins with the ticker's own."""
        return max(self.lags)


FEATURES: tuple[type[Feature], ...] = (LaggedReturns, Momentum, OvernightGap, ContextReturns)
