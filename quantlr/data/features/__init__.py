"""What a forecast may look at: one class per feature; the closing tuple is the catalogue.

A feature's `compute` gets `Prices` and returns columns of the same shape, (bars, tickers). Row t may use row t and
older ones only, and is NaN until enough of them are there. Each file below closes with a tuple of its features, and a
new one is named there.

A bar in which nothing moved is a bar: returns and ranges are 0, what is divided by no movement has the value that each
feature states, and nothing is ever infinite. What is missing inside a history stays missing, and is refused with its
date where rows are made of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quantlr.core.components import component_union
from quantlr.data.features import calendar, returns, talib, transforms, trend, volatility, volumes
from quantlr.data.features.base import Feature
from quantlr.data.features.returns import LaggedReturns, Momentum
from quantlr.data.features.volatility import Volatility
from quantlr.data.features.volumes import Volume

__all__ = ["FEATURES", "AnyFeature", "Feature", "LaggedReturns", "Momentum", "Volatility", "Volume"]

FEATURES: tuple[type[Feature], ...] = (
    *returns.FEATURES,
    *volatility.FEATURES,
    *trend.FEATURES,
    *volumes.FEATURES,
    *calendar.FEATURES,
    *transforms.FEATURES,
    *talib.FEATURES,
)

if TYPE_CHECKING:
    AnyFeature = Feature
else:
    AnyFeature = component_union(FEATURES, base_class=Feature)
    transforms.AnyFeature = AnyFeature
