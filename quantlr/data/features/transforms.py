"""Transforms of features, and the catalogue of all features.

Transforms nest: the rank of the z-score of a volatility is one. The catalogue stands here because a transform accepts
any feature of it.
"""

from __future__ import annotations

from abc import abstractmethod
from itertools import product
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import Field, StrictFloat, ValidationInfo, field_validator

from quantlr.core.components import Unit, component_union
from quantlr.core.known_series import FileColumn
from quantlr.core.price_series import keep_member_values
from quantlr.core.values import Array, FeatureColumns, Prices
from quantlr.data.features import calendar, other_series, returns, talib, trend, volatility, volumes
from quantlr.data.features.base import Feature, Lags, WindowAtLeastTwo, lag_values
from quantlr.data.features.rolling import rolling_zscore

if TYPE_CHECKING:
    AnyFeature = Feature  # at run time the union of the catalogue, defined at the end of this file

ClipBound = Annotated[StrictFloat, Unit("that of the inner feature")]


class FeatureTransform(Feature):
    """A transform of each column of another feature."""

    of: AnyFeature = Field(description="The feature that is transformed, a mapping with a kind of its own.")

    @property
    def cross_sectional(self) -> bool:
        """Whether the inner feature is."""
        return self.of.cross_sectional

    @property
    def reads_other_tickers(self) -> bool:
        """Whether the inner feature does, or the transform is cross-sectional."""
        return self.cross_sectional or self.of.reads_other_tickers

    @property
    def file_columns(self) -> tuple[FileColumn, ...]:
        """Those of the inner feature."""
        return self.of.file_columns

    @property
    def has_volume_level(self) -> bool:
        """Whether the inner feature has."""
        return self.of.has_volume_level

    @abstractmethod
    def transform_column(self, column_name: str, values: Array, prices: Prices) -> FeatureColumns:
        """Return the columns made of one column of the inner feature."""

    def compute(self, prices: Prices) -> FeatureColumns:
        """Each column of the inner feature, transformed."""
        columns: FeatureColumns = {}
        for name, values in self.of.compute(prices).items():
            columns.update(self.transform_column(name, values, prices))
        return columns

    def warm_up(self) -> int:
        """The inner feature's."""
        return self.of.warm_up()


class RollingZScore(FeatureTransform):
    """Z-score of a feature within the trailing window that the value ends."""

    kind: Literal["zscore"] = "zscore"
    window: WindowAtLeastTwo = Field(252, description="Length of the window; at least 2.")

    example_parameters = ({"of": {"kind": "volatility", "windows": (5,)}, "window": 10},)

    @property
    def has_volume_level(self) -> bool:
        """False: a z-score has no unit."""
        return False

    def transform_column(self, column_name: str, values: Array, prices: Prices) -> FeatureColumns:
        """In standard deviations (ddof 1) from the window's mean; 0 in a constant window."""
        return {f"zscore_{self.window}({column_name})": rolling_zscore(values, window=self.window)}

    def warm_up(self) -> int:
        """The inner feature's, and the window less the bar that ends it."""
        return self.of.warm_up() + self.window - 1


class LaggedFeature(FeatureTransform):
    """Lagged values of a feature; lag 1 is the session before the one that has just closed."""

    kind: Literal["lag"] = "lag"
    bars: Lags = Field((1,), description="Lags, in the ticker's own sessions.")

    example_parameters = ({"of": {"kind": "volatility", "windows": (5,)}, "bars": (1, 10)},)

    def transform_column(self, column_name: str, values: Array, prices: Prices) -> FeatureColumns:
        """One column per lag, in the units of the inner feature."""
        return {f"lag_{lag}({column_name})": lag_values(values, n_bars=lag) for lag in self.bars}

    def warm_up(self) -> int:
        """The inner feature's, and the largest lag."""
        return self.of.warm_up() + max(self.bars)


class ClippedFeature(FeatureTransform):
    """A feature clipped to two bounds, which limits the influence of outliers on the fit."""

    kind: Literal["clip"] = "clip"
    low: ClipBound | None = Field(-3.0, description="Lower bound; null is none.")
    high: ClipBound | None = Field(3.0, validate_default=True, description="Upper bound, above low; null is none.")

    @field_validator("high")
    @classmethod
    def _require_high_above_low(cls, high: float | None, info: ValidationInfo) -> float | None:
        low = info.data.get("low")
        if high is None and low is None:
            raise ValueError("one of low and high is needed")
        if high is not None and low is not None and high <= low:
            raise ValueError(f"must be above low, {low:g}")
        return high

    example_parameters = (
        {"of": {"kind": "lagged_returns", "lags": (1,)}, "low": -0.01, "high": 0.01},
        {"of": {"kind": "lagged_returns", "lags": (1,)}, "low": None, "high": 0.0},
    )

    def transform_column(self, column_name: str, values: Array, prices: Prices) -> FeatureColumns:
        """One column, in the units of the inner feature."""
        low = -np.inf if self.low is None else self.low
        high = np.inf if self.high is None else self.high
        return {f"clip_{low:g}_{high:g}({column_name})": np.clip(values, low, high)}


class CrossSectionalRank(FeatureTransform):
    """Percentile rank of a ticker among all tickers of its session: (rank - 1/2) / n, ties share their mean rank.

    Tickers without a bar or a value in that session are left out, and those that are no members of the universe; the
    ranks of n tickers are 1/2n, 3/2n, ... with mean one half. The rank of a single ticker is one half.
    """

    kind: Literal["rank"] = "rank"

    example_parameters = ({"of": {"kind": "volatility", "windows": (5,)}},)

    @property
    def cross_sectional(self) -> bool:
        """Always True."""
        return True

    def transform_column(self, column_name: str, values: Array, prices: Prices) -> FeatureColumns:
        """One column between 0 (lowest) and 1 (highest)."""
        session_values = prices.bars_to_sessions(keep_member_values(prices, values))
        return {f"rank({column_name})": prices.sessions_to_bars(row_percentile_ranks(session_values))}


class SquaredFeature(FeatureTransform):
    """The square of a feature, a quadratic term of the linear model."""

    kind: Literal["square"] = "square"

    example_parameters = ({"of": {"kind": "lagged_returns", "lags": (1,)}},)

    def transform_column(self, column_name: str, values: Array, prices: Prices) -> FeatureColumns:
        """One column, in squared units of the inner feature, never below 0."""
        return {f"square({column_name})": values * values}


class FeatureProduct(Feature):
    """The product of two features, an interaction term: the coefficient of one depends on the other."""

    kind: Literal["product"] = "product"
    of: tuple[AnyFeature, ...] = Field(
        min_length=2, max_length=2, description="The two features, mappings with kinds of their own."
    )

    example_parameters = (
        {"of": ({"kind": "lagged_returns", "lags": (1, 2)}, {"kind": "volatility", "windows": (5,)})},
        {"of": ({"kind": "lagged_returns"}, {"kind": "rank", "of": {"kind": "volatility", "windows": (5,)}})},
    )

    @property
    def cross_sectional(self) -> bool:
        """Whether one of the two features is."""
        return any(feature.cross_sectional for feature in self.of)

    @property
    def reads_other_tickers(self) -> bool:
        """Whether one of the two features does."""
        return any(feature.reads_other_tickers for feature in self.of)

    @property
    def has_volume_level(self) -> bool:
        """Whether one of the two features has."""
        return any(feature.has_volume_level for feature in self.of)

    def compute(self, prices: Prices) -> FeatureColumns:
        """A column for each pair of a column of the first and one of the second, in the product of their units."""
        pairs = product(*(feature.compute(prices).items() for feature in self.of))
        return {f"product({name},{name_2})": values * values_2 for (name, values), (name_2, values_2) in pairs}

    def warm_up(self) -> int:
        """The longer of the two."""
        return max(feature.warm_up() for feature in self.of)


def row_percentile_ranks(values: Array) -> Array:
    """Return (rank - 1/2) / n of each value in its row of n numbers; equal values share their mean rank; NaN stays."""
    ranks = pd.DataFrame(values).rank(axis=1).to_numpy()
    return np.asarray((ranks - 0.5) / (~np.isnan(values)).sum(axis=1, keepdims=True))


FEATURES: tuple[type[Feature], ...] = (
    *returns.FEATURES,
    *volatility.FEATURES,
    *trend.FEATURES,
    *volumes.FEATURES,
    *calendar.FEATURES,
    RollingZScore,
    LaggedFeature,
    ClippedFeature,
    CrossSectionalRank,
    SquaredFeature,
    FeatureProduct,
    *other_series.FEATURES,
    *talib.FEATURES,
)
if not TYPE_CHECKING:
    AnyFeature = component_union(FEATURES, base_class=Feature)
