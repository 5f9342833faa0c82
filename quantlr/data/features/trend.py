"""Features of the close relative to its averages and extremes, and oscillators."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, Field, StrictFloat, ValidationInfo, field_validator

from quantlr.core.components import ChoiceDescriptions, Unit
from quantlr.core.values import FeatureColumns, Prices
from quantlr.data.features.base import (
    Feature,
    Window,
    WindowedFeature,
    Windows,
    WindowsAtLeastTwo,
    lag_values,
    require_unique,
    safe_divide,
)
from quantlr.data.features.rolling import (
    exponential_average,
    rolling_max,
    rolling_mean,
    rolling_min,
    rolling_std,
    wilder_average,
)

MacdLine = Annotated[
    Literal["line", "signal", "histogram"],
    ChoiceDescriptions({
        "line": "the fast average less the slow one",
        "signal": "the line's own exponential average",
        "histogram": "the line less the signal",
    }),
]  # fmt: skip
PriceExtreme = Annotated[
    Literal["high", "low"], ChoiceDescriptions({"high": "the highest high", "low": "the lowest low"})
]


class MovingAverageGap(WindowedFeature):
    """The close relative to its own moving average."""

    kind: Literal["moving_average_gap"] = "moving_average_gap"
    windows: WindowsAtLeastTwo = Field((50,), description="Lengths of the window; at least 2.")

    example_parameters = ({"windows": (5, 20)},)

    def compute(self, prices: Prices) -> FeatureColumns:
        """One column per window: close / mean - 1, as a fraction; above 0 where the close is above the mean."""
        close = prices.close
        return {f"moving_average_gap_{w}": close / rolling_mean(close, window=w) - 1.0 for w in self.windows}


class RelativeStrengthIndex(Feature):
    """Wilder's relative strength index (1978): average rise / (average rise + average fall), in percent.

    The averages are recursive: they start with the mean of the first window, whose weight decays but never vanishes.
    """

    kind: Literal["rsi"] = "rsi"
    windows: Windows = Field((14,), description="Wilder's lengths.")

    example_parameters = ({}, {"windows": (2, 20)})

    def compute(self, prices: Prices) -> FeatureColumns:
        """One column per window, from 0 (falls only) to 100 (rises only); 50 if the close never moved."""
        changes = prices.close - lag_values(prices.close, n_bars=1)
        rises, falls = np.maximum(changes, 0.0), np.maximum(-changes, 0.0)
        columns: FeatureColumns = {}
        for window in self.windows:
            rise, fall = wilder_average(rises, window=window), wilder_average(falls, window=window)
            columns[f"rsi_{window}"] = safe_divide(100.0 * rise, rise + fall, fill_value=50.0)
        return columns

    def warm_up(self) -> int:
        """The longest window: a change needs the previous close."""
        return max(self.windows)


class MovingAverageConvergenceDivergence(Feature):
    """Appel's MACD: a fast exponential average less a slow one, relative to the close.

    The signal is the line's own exponential average, the histogram the line less the signal, so that any two of the
    three determine the third. Both averages start at the bar that fills the slow window, each with the mean of its own.
    """

    kind: Literal["macd"] = "macd"
    fast: Window = Field(12, description="Length of the fast average.")
    slow: Window = Field(26, validate_default=True, description="Length of the slow average; more than fast.")
    signal: Window = Field(9, description="Length of the average of the line.")
    lines: Annotated[tuple[MacdLine, ...], Field(min_length=1, max_length=2), AfterValidator(require_unique)] = Field(
        ("line", "histogram"), description="Which columns to make; at most two."
    )

    @field_validator("slow")
    @classmethod
    def _require_slow_above_fast(cls, slow: int, info: ValidationInfo) -> int:
        if slow <= info.data.get("fast", 0):
            raise ValueError(f"must be above fast, {info.data['fast']}")
        return slow

    example_parameters = ({}, {"fast": 3, "slow": 8, "signal": 4, "lines": ("signal",)})

    def compute(self, prices: Prices) -> FeatureColumns:
        """One column per line, as a fraction of the close; the line is above 0 where the fast average is higher."""
        close, first = prices.close, self.slow - 1
        fast = exponential_average(close, window=self.fast, first_row=first)
        line = fast - exponential_average(close, window=self.slow, first_row=first)
        signal = exponential_average(line, window=self.signal, first_row=first + self.signal - 1)
        columns = {"line": line, "signal": signal, "histogram": line - signal}
        return {f"macd_{name}_{self.fast}_{self.slow}_{self.signal}": columns[name] / close for name in self.lines}

    def warm_up(self) -> int:
        """The slow window, and the signal's if it is used, less the bar that ends each."""
        return self.slow - 1 + (self.signal - 1) * (self.lines != ("line",))


class BollingerPercentB(WindowedFeature):
    """Bollinger's %b: position of the close between the Bollinger bands."""

    kind: Literal["bollinger"] = "bollinger"
    windows: WindowsAtLeastTwo = Field((20,), description="Lengths of the window; at least 2.")
    deviations: Annotated[StrictFloat, Unit("standard deviations (ddof 0) of the close"), Field(gt=0, le=100)] = Field(
        2.0, description="Distance of a band from the mean."
    )

    example_parameters = ({}, {"windows": (5, 10), "deviations": 1.5})

    def compute(self, prices: Prices) -> FeatureColumns:
        """One column per window: 0 at the lower band, 1 at the upper, 0.5 at the mean or in a constant window."""
        columns: FeatureColumns = {}
        for window in self.windows:
            gap = prices.close - rolling_mean(prices.close, window=window)
            width = 2.0 * self.deviations * rolling_std(prices.close, window=window, ddof=0)
            columns[f"bollinger_{window}_{self.deviations:g}"] = 0.5 + safe_divide(gap, width, fill_value=0.0)
        return columns


class TrailingDrawdown(WindowedFeature):
    """Drawdown: the close relative to the highest close of a trailing window."""

    kind: Literal["drawdown"] = "drawdown"
    windows: WindowsAtLeastTwo = Field((252,), description="Lengths of the window; at least 2.")

    example_parameters = ({"windows": (5, 20)},)

    def compute(self, prices: Prices) -> FeatureColumns:
        """One column per window: close / highest close - 1, as a fraction, never above 0; 0 at the high."""
        close = prices.close
        return {f"drawdown_{w}": close / rolling_max(close, window=w) - 1.0 for w in self.windows}


class DistanceFromExtreme(WindowedFeature):
    """The close relative to the highest high or the lowest low of a trailing window; 252 sessions are 52 weeks."""

    kind: Literal["distance_from_extreme"] = "distance_from_extreme"
    windows: Windows = Field((252,), description="Lengths of the window.")
    extreme: PriceExtreme = Field("high", description="What the distance is measured from.")

    example_parameters = ({"windows": (5, 20)}, {"windows": (10,), "extreme": "low"})

    def compute(self, prices: Prices) -> FeatureColumns:
        """One column per window: close / extreme - 1, as a fraction; at most 0 from a high, at least 0 from a low."""
        rolling_extreme, values = (rolling_max, prices.high) if self.extreme == "high" else (rolling_min, prices.low)
        levels = {w: rolling_extreme(values, window=w) for w in self.windows}
        return {f"distance_from_{self.extreme}_{w}": prices.close / level - 1.0 for w, level in levels.items()}


FEATURES: tuple[type[Feature], ...] = (
    MovingAverageGap,
    RelativeStrengthIndex,
    MovingAverageConvergenceDivergence,
    BollingerPercentB,
    TrailingDrawdown,
    DistanceFromExtreme,
)
