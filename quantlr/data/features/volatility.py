"""Features of how far prices move: volatility, the session's range, the true range."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, field_validator

from quantlr.core.annotations import ChoiceDescriptions
from quantlr.core.arrays import Array, FeatureColumns
from quantlr.core.values import Prices
from quantlr.data.features.base import (
    RETURN_KIND_DESCRIPTION,
    Feature,
    ReturnKind,
    Window,
    WindowAtLeastTwo,
    lag_values,
    require_unique,
    trailing_returns,
)
from quantlr.data.features.rolling import rolling_mean, rolling_std, wilder_average

VolatilityEstimator = Annotated[
    Literal["close", "parkinson", "garman_klass"],
    ChoiceDescriptions({
        "close": "returns from close to close, which alone see the gaps overnight",
        "parkinson": "the session's high and low",
        "garman_klass": "the session's open, high, low and close",
    }),
]  # fmt: skip


class Volatility(Feature):
    """How far a single session moves, estimated over a trailing window.

    `close` is the standard deviation (ddof 1) of returns; it alone sees the gaps overnight. `parkinson` (1980) is the
    root of the mean of ln(high / low)^2 / (4 ln 2); `garman_klass` (1980) that of ln(high / low)^2 / 2 -
    (2 ln 2 - 1) ln(close / open)^2, and 0 where bars whose close is outside their range make the mean negative. Both
    use the session's own range, need fewer sessions for the same precision, and are too low for a ticker that jumps
    overnight. A session without a move counts as it is: it lowers them all.
    """

    kind: Literal["volatility"] = "volatility"
    windows: tuple[WindowAtLeastTwo, ...] = Field((20,), min_length=1, description="Lengths of the window; at least 2.")
    returns: ReturnKind = Field("log", description=f"{RETURN_KIND_DESCRIPTION[:-1]}; for the estimator close.")
    estimator: VolatilityEstimator = Field("close", description="What a move is read off.")

    _require_unique = field_validator("windows")(require_unique)

    @classmethod
    def examples(cls) -> tuple[Volatility, ...]:
        """Return the default, simple returns over two windows, and the two estimators of the session's range."""
        return (
            cls(),
            cls(windows=(5, 21), returns="simple"),
            cls(estimator="parkinson", windows=(10,)),
            cls(estimator="garman_klass", windows=(10,)),
        )

    def compute(self, prices: Prices) -> FeatureColumns:
        """One column per window: per session, as a fraction (0.01 is one percent), never below 0."""
        if self.estimator == "close":
            returns = trailing_returns(prices.close, n_bars=1, return_kind=self.returns)
            return {f"volatility_{w}": rolling_std(returns, window=w) for w in self.windows}
        variance = _parkinson_variance(prices) if self.estimator == "parkinson" else _garman_klass_variance(prices)
        return {
            f"volatility_{self.estimator}_{w}": np.sqrt(np.maximum(rolling_mean(variance, window=w), 0.0))
            for w in self.windows
        }

    def warm_up(self) -> int:
        """The longest window, and one session less where the first bar's own range counts."""
        return max(self.windows) - (self.estimator != "close")


def _parkinson_variance(prices: Prices) -> Array:
    """Return the variance that each session's range alone tells of."""
    moved = np.log(prices.high / prices.low)
    return moved * moved / (4.0 * math.log(2.0))


def _garman_klass_variance(prices: Prices) -> Array:
    """Return the variance that each session's range, open and close tell of."""
    moved, inside = np.log(prices.high / prices.low), np.log(prices.close / prices.open)
    return moved * moved / 2.0 - (2.0 * math.log(2.0) - 1.0) * inside * inside


class HighLowRange(Feature):
    """How far apart the session's high and low were, averaged over a trailing window."""

    kind: Literal["high_low_range"] = "high_low_range"
    windows: tuple[Window, ...] = Field((1,), min_length=1, description="Lengths of the window; 1 is the newest alone.")

    _require_unique = field_validator("windows")(require_unique)

    @classmethod
    def examples(cls) -> tuple[HighLowRange, ...]:
        """Return the default, and averages over two windows."""
        return (cls(), cls(windows=(5, 20)))

    def compute(self, prices: Prices) -> FeatureColumns:
        """One column per window: (high - low) / close, as a fraction; 0 in a session of one price."""
        ranges = (prices.high - prices.low) / prices.close
        return {f"high_low_range_{w}": rolling_mean(ranges, window=w) for w in self.windows}

    def warm_up(self) -> int:
        """The longest window, less the bar that ends it."""
        return max(self.windows) - 1


class AverageTrueRange(Feature):
    """Wilder's average (1978) of the true range, relative to the close.

    The true range is the session's range, extended to the close before. The average begins with the mean of its
    window and never quite forgets.
    """

    kind: Literal["atr"] = "atr"
    windows: tuple[Window, ...] = Field((14,), min_length=1, description="Wilder's lengths.")

    _require_unique = field_validator("windows")(require_unique)

    @classmethod
    def examples(cls) -> tuple[AverageTrueRange, ...]:
        """Return the default, and two windows."""
        return (cls(), cls(windows=(5, 20)))

    def compute(self, prices: Prices) -> FeatureColumns:
        """One column per window, as a fraction of the close; 0 only where nothing has moved since the first bar."""
        before = lag_values(prices.close, n_bars=1)
        true_range = np.maximum(prices.high, before) - np.minimum(prices.low, before)
        return {f"atr_{w}": wilder_average(true_range, window=w) / prices.close for w in self.windows}

    def warm_up(self) -> int:
        """The longest window: a true range needs the close before."""
        return max(self.windows)


FEATURES: tuple[type[Feature], ...] = (Volatility, HighLowRange, AverageTrueRange)
