"""What a feature is, and what several of them are made of."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, ClassVar, Literal, TypeVar

import numpy as np
from pydantic import Field

from quantlr.types import Array, Columns, Meanings, Part, Prices, Unit, Whole

T = TypeVar("T")
Lag = Annotated[Whole, Unit("sessions"), Field(ge=1, le=10_000)]
Window = Annotated[Whole, Unit("sessions"), Field(ge=1, le=10_000)]
Window2 = Annotated[Whole, Unit("sessions"), Field(ge=2, le=10_000)]
"""A window over which something varies, which one value does not."""
Returns = Annotated[
    Literal["log", "simple"],
    Meanings(
        {
            "log": "logarithm of the price ratio, which adds up over time",
            "simple": "price ratio less 1, as money sees it",
        }
    ),
]
RETURNS = "How a change of the price is measured."


class Feature(Part):
    """Columns that are known at the close of each bar.

    Whoever writes one of their own derives from this class, gives `kind` a default that is its name, and runs
    `quantlr.testing.check_feature` on it. Its fields are its parameters, which the resolved config writes out: numbers,
    text, lists and mappings. An object is given to `quantlr.run(config, features=[...])`; a class that an installed
    package names under the entry points `quantlr.features`, by its kind, may stand in any config.
    """

    group: ClassVar[str] = "quantlr.features"

    @abstractmethod
    def compute(self, prices: Prices) -> Columns:
        """Return columns by name, each (bars, tickers), NaN until the window has filled."""

    @abstractmethod
    def warm_up(self) -> int:
        """Return how many of a ticker's first bars lack a value in at least one column."""

    @property
    def cross_sectional(self) -> bool:
        """Whether a ticker's values depend on which other tickers are there."""
        return False


def distinct(entries: tuple[T, ...]) -> tuple[T, ...]:
    """Return the entries of a list parameter; each makes a column, so none may be there twice."""
    if len(set(entries)) < len(entries):
        raise ValueError("each entry once; every entry makes one column")
    return entries


def shifted(values: Array, *, by: int) -> Array:
    """Return what stood `by` bars earlier, NaN where there was nothing."""
    moved = np.full_like(values, np.nan)
    if by < len(values):
        moved[by:] = values[: len(values) - by]
    return moved


def change(now: Array, before: Array, *, kind: Returns) -> Array:
    """Return the change from one price to another, as a fraction (simple) or as the logarithm of their ratio (log)."""
    ratio = now / before
    return np.log(ratio) if kind == "log" else ratio - 1.0


def returns_over(close: Array, *, bars: int, kind: Returns) -> Array:
    """Return the return from the close `bars` bars before, as a fraction (simple) or as its logarithm (log)."""
    return change(close, shifted(close, by=bars), kind=kind)


def at_rest(values: Array, scale: Array, *, otherwise: float) -> Array:
    """Return values / scale, and `otherwise` where the scale is 0: where nothing has moved."""
    still = scale == 0
    return np.where(still, otherwise, values / np.where(still, 1.0, scale))
