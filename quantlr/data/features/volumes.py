"""Features of how much was traded.

A session of volume 0 is a halt: nothing is known of it, so the volume before it stands on. A volume that is missing is
no halt, and an error that names its date.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, field_validator

from quantlr.data.features.base import Feature, Lag, Window2, distinct, shifted
from quantlr.data.features.windows import rolling_zscore
from quantlr.types import Array, Columns, Meanings, Prices

UNITS = {"shares": 1.0, "millions": 1e6, "billions": 1e9}
Quantity = Annotated[
    Literal["shares", "millions", "billions"],
    Meanings({"shares": "single shares", "millions": "a million shares", "billions": "a billion shares"}),
]


class Volume(Feature):
    """The session's volume, adjusted for splits where the source knows of them; at home with an index."""

    kind: Literal["volume"] = "volume"
    unit: Quantity = Field("billions", description="What one unit counts.")

    @classmethod
    def examples(cls) -> tuple[Volume, ...]:
        """Return the default, and a count of shares."""
        return (cls(), cls(unit="shares"))

    def compute(self, prices: Prices) -> Columns:
        """One column, `volume`, in the unit asked for, never below 0; 0 in a halt."""
        return {"volume": prices.volume / UNITS[self.unit]}

    def warm_up(self) -> int:
        """None."""
        return 0


class VolumeChange(Feature):
    """Logarithm of the session's volume over that of the session before; a split shows in files."""

    kind: Literal["volume_change"] = "volume_change"
    lags: tuple[Lag, ...] = Field((1,), min_length=1, description="Lags; 1 is the newest.")

    _each_once = field_validator("lags")(distinct)

    @classmethod
    def examples(cls) -> tuple[VolumeChange, ...]:
        """Return the default, and two lags."""
        return (cls(), cls(lags=(1, 3)))

    def compute(self, prices: Prices) -> Columns:
        """One column per lag: above 0 where more was traded; 0 in a halt, then against the last session before it."""
        volume = last_traded(prices.volume)
        newest = np.log(volume / shifted(volume, by=1))
        return {f"volume_change_{lag}": shifted(newest, by=lag - 1) for lag in self.lags}

    def warm_up(self) -> int:
        """The largest lag; more for a ticker whose history begins with sessions of no volume."""
        return max(self.lags)


class VolumeZScore(Feature):
    """How unusual the session's volume is: its logarithm, standardised by the trailing window that it ends."""

    kind: Literal["volume_zscore"] = "volume_zscore"
    windows: tuple[Window2, ...] = Field((20,), min_length=1, description="Lengths of the window; at least 2.")

    _each_once = field_validator("windows")(distinct)

    @classmethod
    def examples(cls) -> tuple[VolumeZScore, ...]:
        """Return the default, and two windows."""
        return (cls(), cls(windows=(2, 10)))

    def compute(self, prices: Prices) -> Columns:
        """One column per window, in standard deviations (ddof 1); above 0 where more than usual was traded."""
        volume = np.log(last_traded(prices.volume))
        return {f"volume_zscore_{w}": rolling_zscore(volume, window=w) for w in self.windows}

    def warm_up(self) -> int:
        """The longest window, less the bar that ends it; more where a history begins with sessions of no volume."""
        return max(self.windows) - 1


def last_traded(volume: Array) -> Array:
    """Return the volume of the newest session that had any, NaN before the first such session."""
    row = np.arange(len(volume))[:, None]
    newest = np.maximum.accumulate(np.where(volume == 0, -1, row), axis=0)
    return np.where(newest >= 0, np.take_along_axis(volume, np.maximum(newest, 0), axis=0), np.nan)


FEATURES: tuple[type[Feature], ...] = (Volume, VolumeChange, VolumeZScore)
