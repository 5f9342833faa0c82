"""Features of traded volume.

A source adjusts volumes for splits: each multiplies all earlier volumes. Only ratios of a ticker's own volumes are free
of that; levels that are compared between tickers tell which of them will be split, and rose before.

A session of volume 0 counts as a trading halt and keeps the last volume above 0. A missing volume is not a halt: it is
reported as an error with its date.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from quantlr.core.components import ChoiceDescriptions
from quantlr.core.values import Array, FeatureColumns, Prices
from quantlr.data.features.base import Feature, Lags, WindowedFeature, WindowsAtLeastTwo, lag_columns, lag_values
from quantlr.data.features.rolling import rolling_mean, rolling_zscore

SHARES_PER_UNIT = {"shares": 1.0, "millions": 1e6, "billions": 1e9}
VolumeUnit = Annotated[
    Literal["shares", "millions", "billions"],
    ChoiceDescriptions({"shares": "single shares", "millions": "a million shares", "billions": "a billion shares"}),
]


class Volume(Feature):
    """The session's volume: for an index or a single ticker, since later splits change its level.

    Several tickers need a ratio, such as `relative_volume`. `quantlr audit` reports the volume of any ticker that may
    be split: all but those that begin with ^.
    """

    kind: Literal["volume"] = "volume"
    unit: VolumeUnit = Field("billions", description="Unit of the volume.")

    example_parameters = ({}, {"unit": "shares"})

    @property
    def has_volume_level(self) -> bool:
        """Always True."""
        return True

    def compute(self, prices: Prices) -> FeatureColumns:
        """One column, `volume`, in the unit asked for, never below 0; 0 in a halt."""
        return {"volume": prices.volume / SHARES_PER_UNIT[self.unit]}

    def warm_up(self) -> int:
        """None."""
        return 0


class RelativeVolume(WindowedFeature):
    """Volume relative to its mean over the trailing window that it ends; free of later splits."""

    kind: Literal["relative_volume"] = "relative_volume"
    windows: WindowsAtLeastTwo = Field((20,), description="Lengths of the window; at least 2.")

    example_parameters = ({"windows": (2, 10)},)

    def compute(self, prices: Prices) -> FeatureColumns:
        """One column per window: volume / mean - 1, as a fraction; above 0 where volume is above the mean."""
        volume = last_nonzero_volume(prices.volume)
        return {f"relative_volume_{w}": volume / rolling_mean(volume, window=w) - 1.0 for w in self.windows}


class VolumeChange(Feature):
    """Log change of the volume from the previous session; includes splits if the source doesn't adjust for them."""

    kind: Literal["volume_change"] = "volume_change"
    lags: Lags = Field((1,), description="Lags; 1 is the newest.")

    example_parameters = ({}, {"lags": (1, 3)})

    def compute(self, prices: Prices) -> FeatureColumns:
        """One column per lag: above 0 where volume rose; 0 in a halt, after it relative to the last volume."""
        volume = last_nonzero_volume(prices.volume)
        return lag_columns("volume_change", np.log(volume / lag_values(volume, n_bars=1)), self.lags)

    def warm_up(self) -> int:
        """The largest lag; more for a ticker whose history begins with sessions of no volume."""
        return max(self.lags)


class VolumeZScore(WindowedFeature):
    """Z-score of the log volume within the trailing window that it ends."""

    kind: Literal["volume_zscore"] = "volume_zscore"
    windows: WindowsAtLeastTwo = Field((20,), description="Lengths of the window; at least 2.")

    example_parameters = ({}, {"windows": (2, 10)})

    def compute(self, prices: Prices) -> FeatureColumns:
        """One column per window, in standard deviations (ddof 1); above 0 where volume is above the window's mean."""
        volume = np.log(last_nonzero_volume(prices.volume))
        return {f"volume_zscore_{w}": rolling_zscore(volume, window=w) for w in self.windows}


def last_nonzero_volume(volume: Array) -> Array:
    """Return the volume of the newest session with a volume above 0, NaN before the first such session."""
    row = np.arange(len(volume))[:, None]
    latest = np.maximum.accumulate(np.where(volume == 0, -1, row), axis=0)
    return np.where(latest >= 0, np.take_along_axis(volume, np.maximum(latest, 0), axis=0), np.nan)


FEATURES: tuple[type[Feature], ...] = (Volume, RelativeVolume, VolumeChange, VolumeZScore)
