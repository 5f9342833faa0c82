"""What a feature is, and what several of them are made of."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, ClassVar, Literal, TypeVar

import numpy as np
from pydantic import Field

from quantlr.core.annotations import ChoiceDescriptions, Unit
from quantlr.core.arrays import Array, FeatureColumns
from quantlr.core.components import Component, StrictInt
from quantlr.core.values import Prices

T = TypeVar("T")
Lag = Annotated[StrictInt, Unit("sessions"), Field(ge=1, le=10_000)]
Window = Annotated[StrictInt, Unit("sessions"), Field(ge=1, le=10_000)]
WindowAtLeastTwo = Annotated[StrictInt, Unit("sessions"), Field(ge=2, le=10_000)]
"""A window over which something varies, which one value does not."""
ReturnKind = Annotated[
    Literal["log", "simple"],
    ChoiceDescriptions(
        {
            "log": "logarithm of the price ratio, which adds up over time",
            "simple": "price ratio less 1, as money sees it",
        }
    ),
]
RETURN_KIND_DESCRIPTION = "How a change of the price is measured."


class Feature(Component):
    """Columns that are known at the close of each bar.

    Whoever writes one of their own derives from this class, gives `kind` a default that is its name, and runs
    `quantlr.testing.check_feature` on it. Its fields are its parameters, which the resolved config writes out: numbers,
    text, lists and mappings. An object is given to `quantlr.run(config, features=[...])`; a class that an installed
    package names under the entry points `quantlr.features`, by its kind, may stand in any config.
    """

    group: ClassVar[str] = "quantlr.features"

    @abstractmethod
    def compute(self, prices: Prices) -> FeatureColumns:
        """Return columns by name, each (bars, tickers), NaN until the window has filled."""

    @abstractmethod
    def warm_up(self) -> int:
        """Return how many of a ticker's first bars lack a value in at least one column."""

    @property
    def cross_sectional(self) -> bool:
        """Whether a ticker's values depend on which other tickers are there."""
        return False


def require_unique(values: tuple[T, ...]) -> tuple[T, ...]:
    """Return the entries of a list parameter; each makes a column, so none may be there twice."""
    if len(set(values)) < len(values):
        raise ValueError("each entry once; every entry makes one column")
    return values


def lag_values(values: Array, *, n_bars: int) -> Array:
    """Return what stood `by` bars earlier, NaN where there was nothing."""
    moved = np.full_like(values, np.nan)
    if n_bars < len(values):
        moved[n_bars:] = values[: len(values) - n_bars]
    return moved


def price_return(price: Array, earlier_price: Array, *, return_kind: ReturnKind) -> Array:
    """Return the change from one price to another, as a fraction (simple) or as the logarithm of their ratio (log)."""
    ratio = price / earlier_price
    return np.log(ratio) if return_kind == "log" else ratio - 1.0


def trailing_returns(close: Array, *, n_bars: int, return_kind: ReturnKind) -> Array:
    """Return the return from the close `bars` bars before, as a fraction (simple) or as its logarithm (log)."""
    return price_return(close, lag_values(close, n_bars=n_bars), return_kind=return_kind)


def safe_divide(numerator: Array, denominator: Array, *, fill_value: float) -> Array:
    """Return values / scale, and `otherwise` where the scale is 0: where nothing has moved."""
    still = denominator == 0
    return np.where(still, fill_value, numerator / np.where(still, 1.0, denominator))
