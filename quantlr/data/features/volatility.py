"""Features of volatility: estimators of volatility, the high-low range and the true range."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from quantlr.core.components import ChoiceDescriptions
from quantlr.core.values import FeatureColumns, Prices
from quantlr.data.features.base import (
    RETURN_KIND_DESCRIPTION,
    Feature,
    ReturnKind,
    WindowedFeature,
    Windows,
    WindowsAtLeastTwo,
    lag_values,
    trailing_returns,
)
from quantlr.data.features.rolling import rolling_mean, rolling_std, wilder_average

VolatilityEstimator = Annotated[
    Literal["close", "parkinson", "garman_klass"],
    ChoiceDescriptions({
        "close": "close-to-close returns, which include overnight gaps",
        "parkinson": "the session's high and low",
        "garman_klass": "the session's open, high, low and close",
    }),
]  # fmt: skip


class Volatility(Feature):
    """Volatility of a single session, estimated over a trailing window.

    `close` is the standard deviation (ddof 1) of close-to-close returns, the only estimator that includes overnight
    gaps. `parkinson` (1980) is the root of the mean of ln(high / low)^2 / (4 ln 2); `garman_klass` (1980) that of
    ln(high / low)^2 / 2 - (2 ln 2 - 1) ln(close / open)^2, and 0 where bars whose close is outside their range make the
    mean negative. Both use the session's own range: they need fewer sessions for the same precision, and are biased
    downwards for a ticker with large overnight gaps. A session without a move enters as it is.
    """

    kind: Literal["volatility"] = "volatility"
    windows: WindowsAtLeastTwo = Field((20,), description="Lengths of the window; at least 2.")
    returns: ReturnKind = Field("log", description=f"{RETURN_KIND_DESCRIPTION[:-1]}; for the estimator close.")
    estimator: VolatilityEstimator = Field("close", description="Prices that the estimate uses.")

    example_parameters = (
        {},
        {"windows": (5, 21), "returns": "simple"},
        {"windows": (10,), "estimator": "parkinson"},
        {"windows": (10,), "estimator": "garman_klass"},
    )

    def compute(self, prices: Prices) -> FeatureColumns:
        """One column per window: per session, as a fraction (0.01 is one percent), never below 0."""
        if self.estimator == "close":
            returns = trailing_returns(prices.close, n_bars=1, return_kind=self.returns)
            return {f"volatility_{w}": rolling_std(returns, window=w) for w in self.windows}
        log_range = np.log(prices.high / prices.low)
        if self.estimator == "parkinson":
            variance = log_range * log_range / (4.0 * math.log(2.0))
        else:
            log_return = np.log(prices.close / prices.open)
            variance = log_range * log_range / 2.0 - (2.0 * math.log(2.0) - 1.0) * log_return * log_return
        means = {w: np.maximum(rolling_mean(variance, window=w), 0.0) for w in self.windows}
        return {f"volatility_{self.estimator}_{window}": np.sqrt(mean) for window, mean in means.items()}

    def warm_up(self) -> int:
        """The longest window, less one session for the range estimators, which need no previous close."""
        return max(self.windows) - (self.estimator != "close")


class HighLowRange(WindowedFeature):
    """The session's range, high less low, averaged over a trailing window."""

    kind: Literal["high_low_range"] = "high_low_range"
    windows: Windows = Field((1,), description="Lengths of the window; 1 is the newest alone.")

    example_parameters = ({}, {"windows": (5, 20)})

    def compute(self, prices: Prices) -> FeatureColumns:
        """One column per window: (high - low) / close, as a fraction; 0 in a session of one price."""
        ranges = (prices.high - prices.low) / prices.close
        return {f"high_low_range_{w}": rolling_mean(ranges, window=w) for w in self.windows}


class AverageTrueRange(Feature):
    """Wilder's average (1978) of the true range, relative to the close.

    The true range is the session's range, extended to the previous close. The average is recursive: it starts with the
    mean of the first window, whose weight decays but never vanishes.
    """

    kind: Literal["atr"] = "atr"
    windows: Windows = Field((14,), description="Wilder's lengths.")

    example_parameters = ({}, {"windows": (5, 20)})

    def compute(self, prices: Prices) -> FeatureColumns:
        """One column per window, as a fraction of the close; 0 only if no price has moved since the first bar."""
        previous_close = lag_values(prices.close, n_bars=1)
        true_range = np.maximum(prices.high, previous_close) - np.minimum(prices.low, previous_close)
        return {f"atr_{w}": wilder_average(true_range, window=w) / prices.close for w in self.windows}

    def warm_up(self) -> int:
        """The longest window: a true range needs the previous close."""
        return max(self.windows)


FEATURES: tuple[type[Feature], ...] = (Volatility, HighLowRange, AverageTrueRange)
