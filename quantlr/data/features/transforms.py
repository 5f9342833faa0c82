"""Features made of other features. They nest: the rank of the z-score of a volatility is three of them."""

from __future__ import annotations

from abc import abstractmethod
from itertools import product
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field, ValidationInfo, field_validator

from quantlr.core.annotations import Unit
from quantlr.core.arrays import Array, FeatureColumns
from quantlr.core.components import StrictFloat
from quantlr.core.values import Prices
from quantlr.data.features.base import Feature, Lag, WindowAtLeastTwo, lag_values, require_unique
from quantlr.data.features.returns import LaggedReturns
from quantlr.data.features.rolling import BLOCK_VALUES, rolling_zscore
from quantlr.data.features.volatility import Volatility

if TYPE_CHECKING:
    AnyFeature = Feature  # at run time the catalogue's union, which the package sets once it is complete


ClipBound = Annotated[StrictFloat, Unit("that of the inner feature")]


class FeatureTransform(Feature):
    """Another feature's columns, each made into one or more."""

    of: AnyFeature = Field(description="The feature that is transformed, a mapping with a kind of its own.")

    @property
    def cross_sectional(self) -> bool:
        """As the feature that is transformed."""
        return self.of.cross_sectional

    @abstractmethod
    def transform_column(self, column_name: str, values: Array, prices: Prices) -> FeatureColumns:
        """Return what becomes of one column of the inner feature."""

    def compute(self, prices: Prices) -> FeatureColumns:
        """Each column of the inner feature, transformed."""
        columns: FeatureColumns = {}
        for name, values in self.of.compute(prices).items():
            columns.update(self.transform_column(name, values, prices))
        return columns

    def warm_up(self) -> int:
        """That of the feature that is transformed."""
        return self.of.warm_up()


class RollingZScore(FeatureTransform):
    """How unusual a feature's value is, standardised by the trailing window that it ends."""

    kind: Literal["zscore"] = "zscore"
    window: WindowAtLeastTwo = Field(252, description="Length of the window; at least 2.")

    @classmethod
    def examples(cls) -> tuple[RollingZScore, ...]:
        """Return that of a volatility."""
        return (cls(of=Volatility(windows=(5,)), window=10),)

    def transform_column(self, column_name: str, values: Array, prices: Prices) -> FeatureColumns:
        """In standard deviations (ddof 1) from the window's mean; above 0 where high, 0 where it is all one value."""
        return {f"zscore_{self.window}({column_name})": rolling_zscore(values, window=self.window)}

    def warm_up(self) -> int:
        """That of the inner feature and the window, less the bar that ends it."""
        return self.of.warm_up() + self.window - 1


class LaggedFeature(FeatureTransform):
    """What a feature was some sessions ago; 1 is the session before the one that has just closed."""

    kind: Literal["lag"] = "lag"
    bars: tuple[Lag, ...] = Field((1,), min_length=1, description="How long ago, in the ticker's own sessions.")

    _require_unique = field_validator("bars")(require_unique)

    @classmethod
    def examples(cls) -> tuple[LaggedFeature, ...]:
        """Return two lags of a volatility."""
        return (cls(of=Volatility(windows=(5,)), bars=(1, 10)),)

    def transform_column(self, column_name: str, values: Array, prices: Prices) -> FeatureColumns:
        """One column per lag, in the units of the inner feature."""
        return {f"lag_{by}({column_name})": lag_values(values, n_bars=by) for by in self.bars}

    def warm_up(self) -> int:
        """That of the inner feature and the largest lag."""
        return self.of.warm_up() + max(self.bars)


class ClippedFeature(FeatureTransform):
    """A feature held between two bounds, so that single values far out don't rule the fit."""

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

    @classmethod
    def examples(cls) -> tuple[ClippedFeature, ...]:
        """Return returns held on both sides, and on one."""
        inner = LaggedReturns(lags=(1,))
        return (cls(of=inner, low=-0.01, high=0.01), cls(of=inner, low=None, high=0.0))

    def transform_column(self, column_name: str, values: Array, prices: Prices) -> FeatureColumns:
        """One column, in the units of the inner feature."""
        low = -np.inf if self.low is None else self.low
        high = np.inf if self.high is None else self.high
        return {f"clip_{low:g}_{high:g}({column_name})": np.clip(values, low, high)}


class CrossSectionalRank(FeatureTransform):
    """Where a ticker stands among all tickers of its session: the share of them below, ties counted half.

    Those without a bar or without a value that session are left out; of n tickers the ranks are 1/2n, 3/2n, … and their
    mean is one half. A ticker alone stands at one half.
    """

    kind: Literal["rank"] = "rank"

    @classmethod
    def examples(cls) -> tuple[CrossSectionalRank, ...]:
        """Return that of a volatility."""
        return (cls(of=Volatility(windows=(5,))),)

    @property
    def cross_sectional(self) -> bool:
        """Always: it is about the others."""
        return True

    def transform_column(self, column_name: str, values: Array, prices: Prices) -> FeatureColumns:
        """One column between 0 (lowest) and 1 (highest)."""
        return {f"rank({column_name})": prices.sessions_to_bars(row_percentile_ranks(prices.bars_to_sessions(values)))}


class SquaredFeature(FeatureTransform):
    """A feature's square: lets a linear model bend."""

    kind: Literal["square"] = "square"

    @classmethod
    def examples(cls) -> tuple[SquaredFeature, ...]:
        """Return that of a return."""
        return (cls(of=LaggedReturns(lags=(1,))),)

    def transform_column(self, column_name: str, values: Array, prices: Prices) -> FeatureColumns:
        """One column, in squared units of the inner feature, never below 0."""
        return {f"square({column_name})": values * values}


class FeatureProduct(Feature):
    """One feature times another: lets the weight of the one depend on the other."""

    kind: Literal["product"] = "product"
    of: tuple[AnyFeature, ...] = Field(
        min_length=2, max_length=2, description="The two features, mappings with kinds of their own."
    )

    @classmethod
    def examples(cls) -> tuple[FeatureProduct, ...]:
        """Return returns that count more in rough markets, and more for the roughest tickers."""
        volatility = Volatility(windows=(5,))
        return (
            cls(of=(LaggedReturns(lags=(1, 2)), volatility)),
            cls(of=(LaggedReturns(), CrossSectionalRank(of=volatility))),
        )

    @property
    def cross_sectional(self) -> bool:
        """Whether one of the two is."""
        return any(part.cross_sectional for part in self.of)

    def compute(self, prices: Prices) -> FeatureColumns:
        """A column for each pair of the one's and the other's columns, in the product of their units."""
        pairs = product(*(part.compute(prices).items() for part in self.of))
        return {f"product({one},{other})": values * others for (one, values), (other, others) in pairs}

    def warm_up(self) -> int:
        """The longer of the two."""
        return max(part.warm_up() for part in self.of)


def row_percentile_ranks(values: Array) -> Array:
    """Return (rank - 1/2) / n of each value in its row of n numbers, equal ones sharing their mean rank; NaN stays."""
    found = np.empty_like(values)
    step = max(1, BLOCK_VALUES // max(values.shape[1], 1))
    for first in range(0, len(values), step):
        found[first : first + step] = _block_percentile_ranks(values[first : first + step])
    return found


def _block_percentile_ranks(block: Array) -> Array:
    order = np.argsort(block, axis=1)
    ascending = np.take_along_axis(block, order, axis=1)
    width = block.shape[1]
    place = np.arange(width)
    begins = np.ones(block.shape, dtype=np.bool_)
    begins[:, 1:] = ascending[:, 1:] != ascending[:, :-1]
    ends = np.ones(block.shape, dtype=np.bool_)
    ends[:, :-1] = begins[:, 1:]
    first = np.maximum.accumulate(np.where(begins, place, 0), axis=1)
    last = np.minimum.accumulate(np.where(ends, place, width)[:, ::-1], axis=1)[:, ::-1]
    ranks = np.empty(block.shape)
    np.put_along_axis(ranks, order, (first + last + 1) / 2.0, axis=1)
    there = ~np.isnan(block)
    return np.where(there, ranks / np.maximum(there.sum(axis=1, keepdims=True), 1), np.nan)


FEATURES: tuple[type[Feature], ...] = (
    RollingZScore,
    LaggedFeature,
    ClippedFeature,
    CrossSectionalRank,
    SquaredFeature,
    FeatureProduct,
)
