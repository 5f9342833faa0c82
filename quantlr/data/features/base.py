"""Base class of features, types of their parameters, and functions that several features share."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, ClassVar, Literal, TypeVar

import numpy as np
from pydantic import AfterValidator, Field, StrictInt

from quantlr.core.components import ChoiceDescriptions, Component, Unit
from quantlr.core.known_series import FileColumn
from quantlr.core.values import Array, FeatureColumns, Prices

T = TypeVar("T")


def require_unique(values: tuple[T, ...]) -> tuple[T, ...]:
    """Return the entries of a list parameter; ValueError if one is repeated, since each makes a column."""
    if len(set(values)) < len(values):
        raise ValueError("entries must be unique, since each makes a column")
    return values


Lag = Annotated[StrictInt, Unit("sessions"), Field(ge=1, le=10_000)]
Window = Annotated[StrictInt, Unit("sessions"), Field(ge=1, le=10_000)]
WindowAtLeastTwo = Annotated[StrictInt, Unit("sessions"), Field(ge=2, le=10_000)]
"""A window of a statistic that needs two values, such as a standard deviation."""
Lags = Annotated[tuple[Lag, ...], Field(min_length=1), AfterValidator(require_unique)]
Windows = Annotated[tuple[Window, ...], Field(min_length=1), AfterValidator(require_unique)]
WindowsAtLeastTwo = Annotated[tuple[WindowAtLeastTwo, ...], Field(min_length=1), AfterValidator(require_unique)]
ReturnKind = Annotated[
    Literal["log", "simple"],
    ChoiceDescriptions(
        {
            "log": "logarithm of the price ratio, additive over time",
            "simple": "price ratio less 1, the return on capital",
        }
    ),
]
RETURN_KIND_DESCRIPTION = "How a change of the price is measured."
LevelTransform = Literal["level", "change", "zscore"]
LEVEL_TRANSFORM_DESCRIPTIONS = {
    "level": "the newest value itself",
    "change": "the newest value less the one before",
    "zscore": "the newest value less the mean of a window, in standard deviations",
}


class Feature(Component):
    """Columns of values that are known at the close of each bar.

    To write a feature, derive from this class, give `kind` a default that is its name, and run
    `quantlr.testing.check_feature` on it. Its fields are its parameters, which the resolved config writes out: numbers,
    text, lists and mappings. Pass an instance to `quantlr.run(config, features=[...])`; a class that an installed
    package names under the entry points `quantlr.features`, by its kind, can be used in any config.
    """

    entry_point_group: ClassVar[str] = "quantlr.features"

    @abstractmethod
    def compute(self, prices: Prices) -> FeatureColumns:
        """Return columns by name, each (bars, tickers), NaN until the window is full."""

    @abstractmethod
    def warm_up(self) -> int:
        """Return the number of a ticker's first bars that lack a value in at least one column."""

    @property
    def cross_sectional(self) -> bool:
        """Whether a ticker's values depend on the other tickers."""
        return False

    @property
    def reads_other_tickers(self) -> bool:
        """Whether its values depend on another ticker, one that is traded or one of the context."""
        return self.cross_sectional

    @property
    def file_columns(self) -> tuple[FileColumn, ...]:
        """The columns of the tickers' own files that it needs beside the prices."""
        return ()

    @property
    def has_volume_level(self) -> bool:
        """Whether values are in proportion to volume, so that a later split multiplies all earlier ones."""
        return False


class WindowedFeature(Feature):
    """A feature with trailing windows that need no bar before them."""

    windows: tuple[int, ...]

    def warm_up(self) -> int:
        """The longest window, less the bar that ends it."""
        return max(self.windows) - 1


def lag_values(values: Array, *, n_bars: int) -> Array:
    """Return the values `n_bars` bars earlier, NaN before the first."""
    lagged = np.full_like(values, np.nan)
    lagged[n_bars:] = values[: max(len(values) - n_bars, 0)]
    return lagged


def lag_columns(prefix: str, values: Array, lags: tuple[int, ...]) -> FeatureColumns:
    """Return one column per lag; lag 1 is the values themselves, known at the bar's own close."""
    return {f"{prefix}_{lag}": lag_values(values, n_bars=lag - 1) for lag in lags}


def price_return(price: Array, earlier_price: Array, *, return_kind: ReturnKind) -> Array:
    """Return the return from one price to another, as a fraction (simple) or as the logarithm of their ratio (log)."""
    ratio = price / earlier_price
    return np.log(ratio) if return_kind == "log" else ratio - 1.0


def trailing_returns(close: Array, *, n_bars: int, return_kind: ReturnKind) -> Array:
    """Return the return from the close `n_bars` bars earlier, as a fraction (simple) or its logarithm (log)."""
    return price_return(close, lag_values(close, n_bars=n_bars), return_kind=return_kind)


def safe_divide(numerator: Array, denominator: Array, *, fill_value: float) -> Array:
    """Return numerator / denominator, and `fill_value` where the denominator is 0; infinite where it overflows."""
    is_zero = denominator == 0
    with np.errstate(over="ignore"):
        return np.where(is_zero, fill_value, numerator / np.where(is_zero, 1.0, denominator))
