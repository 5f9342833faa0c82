"""Features made of returns: lags, momentum, the gap overnight, and another ticker's lags."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, field_validator

from quantlr.core.annotations import Unit
from quantlr.core.arrays import FeatureColumns, IntArray
from quantlr.core.components import StrictInt
from quantlr.core.errors import DataError
from quantlr.core.progress import iso_date
from quantlr.core.timing import latest_known_bar_index
from quantlr.core.values import Prices
from quantlr.data.features.base import (
    RETURN_KIND_DESCRIPTION,
    Feature,
    Lag,
    ReturnKind,
    Window,
    lag_values,
    price_return,
    require_unique,
    trailing_returns,
)
from quantlr.data.prices import Ticker, find_ticker


class LaggedReturns(Feature):
    """Returns of single sessions: lag 1 is the session that has just closed, lag 2 the one before."""

    kind: Literal["lagged_returns"] = "lagged_returns"
    lags: tuple[Lag, ...] = Field((1, 2, 3, 4, 5), min_length=1, description="Lags; 1 is the newest.")
    returns: ReturnKind = Field("log", description=RETURN_KIND_DESCRIPTION)

    _require_unique = field_validator("lags")(require_unique)

    @classmethod
    def examples(cls) -> tuple[LaggedReturns, ...]:
        """Return the default, and simple returns at lags out of order."""
        return (cls(), cls(lags=(3, 1), returns="simple"))

    def compute(self, prices: Prices) -> FeatureColumns:
        """One column per lag, as a fraction (0.01 is one percent); above 0 where the close rose."""
        newest = trailing_returns(prices.close, n_bars=1, return_kind=self.returns)
        return {f"lagged_returns_{lag}": lag_values(newest, n_bars=lag - 1) for lag in self.lags}

    def warm_up(self) -> int:
        """The largest lag: a return needs the close before."""
        return max(self.lags)


class Momentum(Feature):
    """Return over the last so many sessions, the one that has just closed included."""

    kind: Literal["momentum"] = "momentum"
    windows: tuple[Window, ...] = Field((10,), min_length=1, description="Lengths of the window.")
    returns: ReturnKind = Field("log", description=RETURN_KIND_DESCRIPTION)

    _require_unique = field_validator("windows")(require_unique)

    @classmethod
    def examples(cls) -> tuple[Momentum, ...]:
        """Return the default, and simple returns over two windows."""
        return (cls(), cls(windows=(5, 21), returns="simple"))

    def compute(self, prices: Prices) -> FeatureColumns:
        """One column per window, as a fraction; above 0 where the close is higher than so many sessions ago."""
        return {
            f"momentum_{w}": trailing_returns(prices.close, n_bars=w, return_kind=self.returns) for w in self.windows
        }

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
    returns: ReturnKind = Field("log", description=RETURN_KIND_DESCRIPTION)

    _require_unique = field_validator("lags")(require_unique)

    @classmethod
    def examples(cls) -> tuple[OvernightGap, ...]:
        """Return the default, and simple returns of two sessions."""
        return (cls(), cls(lags=(1, 2), returns="simple"))

    def compute(self, prices: Prices) -> FeatureColumns:
        """One column per lag, as a fraction; above 0 where the session opened above the close before."""
        newest = price_return(prices.open, lag_values(prices.close, n_bars=1), return_kind=self.returns)
        return {f"overnight_gap_{lag}": lag_values(newest, n_bars=lag - 1) for lag in self.lags}

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
    returns: ReturnKind = Field("log", description=RETURN_KIND_DESCRIPTION)
    max_age: Annotated[StrictInt, Unit("calendar days"), Field(ge=0, le=366)] = Field(
        0, description="How much older than the session the newest known bar may be; 0: of the same date."
    )

    _require_unique = field_validator("lags")(require_unique)

    @classmethod
    def examples(cls) -> tuple[ContextReturns, ...]:
        """Return the default for an index, and simple returns that may be a long weekend old."""
        return (cls(ticker="^GSPC"), cls(ticker="^GSPC", lags=(2, 1), returns="simple", max_age=4))

    def compute(self, prices: Prices) -> FeatureColumns:
        """One column per lag, as a fraction; above 0 where the other ticker's close rose.

        Raises
        ------
        DataError : the other ticker was not fetched, or its newest bar is older than `max_age` allows.
        """
        held, column = find_ticker(prices, self.ticker)
        own = held.session[: held.n_bars[column], column]
        newest = latest_known_bar_index(held.sessions[own], prices.sessions)
        self._require_max_age(prices, held.sessions[own][np.maximum(newest, 0)].to_numpy(), newest)
        at = np.where(prices.session >= 0, newest[np.maximum(prices.session, 0)], -1)
        changes = trailing_returns(held.close[: len(own), column : column + 1], n_bars=1, return_kind=self.returns)
        return {
            f"context_returns_{self.ticker}_{lag}": np.where(
                at >= 0, lag_values(changes, n_bars=lag - 1)[at, 0], np.nan
            )
            for lag in self.lags
        }

    def _require_max_age(self, prices: Prices, bar_dates: np.ndarray, bar_index: IntArray) -> None:
        days = (prices.sessions.to_numpy() - bar_dates) / np.timedelta64(1, "D")
        old = np.flatnonzero((bar_index >= 0) & (days > self.max_age))
        if len(old):
            first = old[0]
            raise DataError(
                f"{iso_date(prices.sessions[first])}: the newest bar of {self.ticker} is of {iso_date(bar_dates[first])}, "
                f"{days[first]:.0f} days older, and max_age allows {self.max_age} ({len(old)} such sessions); "
                "raise max_age, or fetch the bars that are missing"
            )

    def warm_up(self) -> int:
        """The largest lag, where the other ticker's history begins with the ticker's own."""
        return max(self.lags)


FEATURES: tuple[type[Feature], ...] = (LaggedReturns, Momentum, OvernightGap, ContextReturns)
