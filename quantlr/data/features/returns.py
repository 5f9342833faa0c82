"""Features made of returns: lagged returns, momentum, overnight gaps, and the returns of another ticker."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import Field, StrictInt

from quantlr.core.components import ChoiceDescriptions, Ticker, Unit
from quantlr.core.errors import DataError
from quantlr.core.price_series import find_ticker_closes
from quantlr.core.timing import iso_date, latest_known_bar_index
from quantlr.core.values import Array, FeatureColumns, IntArray, Prices
from quantlr.data.features.base import (
    LEVEL_TRANSFORM_DESCRIPTIONS,
    RETURN_KIND_DESCRIPTION,
    Feature,
    Lags,
    ReturnKind,
    Windows,
    lag_columns,
    lag_values,
    price_return,
    safe_divide,
    trailing_returns,
)


class LaggedReturns(Feature):
    """Returns of single sessions: lag 1 is the session that has just closed, lag 2 the one before."""

    kind: Literal["lagged_returns"] = "lagged_returns"
    lags: Lags = Field((1, 2, 3, 4, 5), description="Lags; 1 is the newest.")
    returns: ReturnKind = Field("log", description=RETURN_KIND_DESCRIPTION)

    example_parameters = ({}, {"lags": (3, 1), "returns": "simple"})

    def compute(self, prices: Prices) -> FeatureColumns:
        """One column per lag, as a fraction (0.01 is one percent); above 0 where the close rose."""
        returns = trailing_returns(prices.close, n_bars=1, return_kind=self.returns)
        return lag_columns("lagged_returns", returns, self.lags)

    def warm_up(self) -> int:
        """The largest lag: a return needs the previous close."""
        return max(self.lags)


class Momentum(Feature):
    """Return over a trailing window that ends with the session that has just closed."""

    kind: Literal["momentum"] = "momentum"
    windows: Windows = Field((10,), description="Lengths of the window.")
    returns: ReturnKind = Field("log", description=RETURN_KIND_DESCRIPTION)

    example_parameters = ({}, {"windows": (5, 21), "returns": "simple"})

    def compute(self, prices: Prices) -> FeatureColumns:
        """One column per window, as a fraction; above 0 where the close is higher than at the window's start."""
        return {
            f"momentum_{w}": trailing_returns(prices.close, n_bars=w, return_kind=self.returns) for w in self.windows
        }

    def warm_up(self) -> int:
        """The longest window: its first return needs the previous close."""
        return max(self.windows)


class OvernightGap(Feature):
    """Return from the previous close to the session's open.

    Published opens of an index often repeat the previous close, and the gap is then 0. A source must have opens.
    """

    kind: Literal["overnight_gap"] = "overnight_gap"
    lags: Lags = Field((1,), description="Lags; 1 is the gap before the session that has just closed.")
    returns: ReturnKind = Field("log", description=RETURN_KIND_DESCRIPTION)

    example_parameters = ({}, {"lags": (1, 2), "returns": "simple"})

    def compute(self, prices: Prices) -> FeatureColumns:
        """One column per lag, as a fraction; above 0 where the session opened above the previous close."""
        gap = price_return(prices.open, lag_values(prices.close, n_bars=1), return_kind=self.returns)
        return lag_columns("overnight_gap", gap, self.lags)

    def warm_up(self) -> int:
        """The largest lag: a gap needs the previous close."""
        return max(self.lags)


class ContextReturns(Feature):
    """Another ticker, a reference series or one that is traded: returns of single sessions, or the level of its closes.

    Each bar takes the other ticker's newest bar that is known at its close: of its own date or an earlier one or, where
    the two are of different markets, of one that closes no later. If no bar has become known since the close before
    (the other market had a holiday), the newest may be at most `max_age` days older; beyond that the run stops and
    names the date. Before its first bars the value is missing, which counts as warm-up.
    """

    kind: Literal["context_returns"] = "context_returns"
    ticker: Ticker = Field(
        description="The other ticker: one of data.context, or one that is traded.", examples=["^GSPC"]
    )
    lags: Lags = Field((1,), description="Lags in the other ticker's own bars; 1 is its newest known bar.")
    returns: ReturnKind = Field("log", description=RETURN_KIND_DESCRIPTION)
    max_age: Annotated[StrictInt, Unit("calendar days"), Field(ge=0, le=366)] = Field(
        0, description="How long before the session the newest bar may have been known; 0: since the session itself."
    )

    transform: Annotated[
        Literal["return", "level", "change", "zscore"],
        ChoiceDescriptions(
            {"return": "the return since the bar before", **LEVEL_TRANSFORM_DESCRIPTIONS},
        ),
    ] = Field(
        "return",
        description="What is computed from the other ticker's closes; all but returns from unadjusted ones, as for a "
        "yield or an index of volatility.",
    )
    window: Annotated[StrictInt, Unit("bars of the other ticker"), Field(ge=2, le=10_000)] = Field(
        20, description="Closes that a z-score is computed from, the newest included."
    )

    example_parameters = (
        {"ticker": "^GSPC"},
        {"ticker": "^GSPC", "lags": (2, 1), "returns": "simple", "max_age": 4},
        {"ticker": "^GSPC", "transform": "level"},
        {"ticker": "^GSPC", "transform": "change", "lags": (1, 3)},
        {"ticker": "^GSPC", "transform": "zscore", "window": 5},
    )

    def compute(self, prices: Prices) -> FeatureColumns:
        """One column per lag, as a fraction, above 0 where the other ticker's close rose; or in the quote's unit.

        A z-score is in standard deviations (ddof 1), and 0 where all closes are equal.

        Raises
        ------
        DataError : the other ticker was not fetched, or its newest bar is older than `max_age` allows.
        """
        closes = find_ticker_closes(prices, self.ticker, is_adjusted=self.transform == "return")
        dates = pd.DatetimeIndex(closes.index)
        latest = latest_known_bar_index(dates, prices.sessions)
        self._require_bars_within_max_age(prices, dates[np.maximum(latest, 0)].to_numpy(), latest)
        bar = np.where(prices.session >= 0, latest[np.maximum(prices.session, 0)], -1)
        prefix = f"context_{'returns' if self.transform == 'return' else self.transform}_{self.ticker}"
        columns = lag_columns(prefix, self._transform(np.asarray(closes, dtype=np.float64)[:, None]), self.lags)
        return {name: np.where(bar >= 0, values[bar, 0], np.nan) for name, values in columns.items()}

    def _transform(self, closes: Array) -> Array:
        """Return the value at each of the other ticker's bars, (bars, 1)."""
        if self.transform == "return":
            return trailing_returns(closes, n_bars=1, return_kind=self.returns)
        if self.transform == "change":
            return closes - lag_values(closes, n_bars=1)
        if self.transform == "level":
            return closes
        rolling = pd.DataFrame(closes).rolling(self.window)
        deviation = rolling.std(ddof=1).to_numpy()
        # Rounding leaves a standard deviation of equal closes slightly above 0.
        is_constant = (rolling.max() == rolling.min()).to_numpy()
        return safe_divide(closes - rolling.mean().to_numpy(), np.where(is_constant, 0.0, deviation), fill_value=0.0)

    def _require_bars_within_max_age(self, prices: Prices, bar_dates: np.ndarray, bar_indices: IntArray) -> None:
        age = (prices.sessions.to_numpy() - bar_dates) / np.timedelta64(1, "D")
        has_bar = np.isin(np.arange(len(age)), prices.session)
        too_old = np.flatnonzero((bar_indices >= 0) & (age > self.max_age) & has_bar)
        if len(too_old):
            first = too_old[0]
            session, newest = iso_date(prices.sessions[first]), iso_date(bar_dates[first])
            known = "is of" if prices.newest_bar is None else "has been known since"
            raise DataError(
                f"{session}: the newest bar of {self.ticker} {known} {newest}, "
                f"{age[first]:.0f} days older, and max_age allows {self.max_age} ({len(too_old)} such sessions); "
                "raise max_age, or fetch the bars that are missing"
            )

    @property
    def reads_other_tickers(self) -> bool:
        """Always True."""
        return True

    def warm_up(self) -> int:
        """The largest lag and what the value needs, if the other ticker's history begins with the ticker's own."""
        needed = {"return": 1, "level": 0, "change": 1, "zscore": self.window - 1}
        return max(self.lags) - 1 + needed[self.transform]


FEATURES: tuple[type[Feature], ...] = (LaggedReturns, Momentum, OvernightGap, ContextReturns)
