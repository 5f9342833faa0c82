"""Features of how much was traded.

A session of volume 0 is a halt: nothing is known of it, so the volume before it stands on. A volume that is missing is
no halt, and an error that names its date.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, field_validator

from quantlr.core.annotations import ChoiceDescriptions
from quantlr.core.arrays import Array, FeatureColumns
from quantlr.core.values import Prices
from quantlr.data.features.base import Feature, Lag, WindowAtLeastTwo, lag_values, require_unique
from quantlr.data.features.rolling import rolling_zscore

SHARES_PER_UNIT = {"shares": 1.0, "millions": 1e6, "billions": 1e9}
VolumeUnit = Annotated[
    Literal["shares", "millions", "billions"],
    ChoiceDescriptions({"shares": "single shares", "millions": "a million shares", "billions": "a billion shares"}),
]


class Volume(Feature):
    """The session's volume, adjusted for splits where the source knows of them; at home with an index."""

    kind: Literal["volume"] = "volume"
    unit: VolumeUnit = Field("billions", description="What one unit counts.")

    @classmethod
    def examples(cls) -> tuple[Volume, ...]:
        """Return the default, and a count of shares."""
        return (cls(), cls(unit="shares"))

    def compute(self, prices: Prices) -> FeatureColumns:
        """One column, `volume`, in the unit asked for, never below 0; 0 in a halt."""
        return {"volume": prices.volume / SHARES_PER_UNIT[self.unit]}

    def warm_up(self) -> int:
        """None."""
        return 0


class VolumeChange(Feature):
    """Logarithm of the session's volume over that of the session before; a split shows in files."""

    kind: Literal["volume_change"] = "volume_change"
    lags: tuple[Lag, ...] = Field((1,), min_length=1, description="Lags; 1 is the newest.")

    _require_unique = field_validator("lags")(require_unique)

    @classmethod
    def examples(cls) -> tuple[VolumeChange, ...]:
        """Return the default, and two lags."""
        return (cls(), cls(lags=(1, 3)))

    def compute(self, prices: Prices) -> FeatureColumns:
        """One column per lag: above 0 where more was traded; 0 in a halt, then against the last session before it."""
        volume = last_nonzero_volume(prices.volume)
        newest = np.log(volume / lag_values(volume, n_bars=1))
        return {f"volume_change_{lag}": lag_values(newest, n_bars=lag - 1) for lag in self.lags}

    def warm_up(self) -> int:
        """The largest lag; more for a ticker whose history begins with sessions of no volume."""
        return max(self.lags)


class VolumeZScore(Feature):
    """How unusual the session's volume is: its logarithm, standardised by the trailing window that it ends."""

    kind: Literal["volume_zscore"] = "volume_zscore"
    windows: tuple[WindowAtLeastTwo, ...] = Field((20,), min_length=1, description="Lengths of the window; at least 2.")

    _require_unique = field_validator("windows")(require_unique)

    @classmethod
    def examples(cls) -> tuple[VolumeZScore, ...]:
        """Return the default, and two windows."""
        return (cls(), cls(windows=(2, 10)))

    def compute(self, prices: Prices) -> FeatureColumns:
        """One column per window, in standard deviations (ddof 1); above 0 where more than usual was traded."""
        volume = np.log(last_nonzero_volume(prices.volume))
        return {f"volume_zscore_{w}": rolling_zscore(volume, window=w) for w in self.windows}

    def warm_up(self) -> int:
        """The longest window, less the bar that ends it; more where a history begins with sessions of no volume."""
        return max(self.windows) - 1


def last_nonzero_volume(volume: Array) -> Array:
    """Return the volume of the newest session that had any, NaN before the first such session."""
    row = np.arange(len(volume))[:, None]
    newest = np.maximum.accumulate(np.where(volume == 0, -1, row), axis=0)
    return np.where(newest >= 0, np.take_along_axis(volume, np.maximum(newest, 0), axis=0), np.nan)


FEATURES: tuple[type[Feature], ...] = (Volume, VolumeChange, VolumeZScore)
