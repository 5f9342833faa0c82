"""Other series than prices, each observation with the first date at whose close it is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

    from quantlr.core.values import Array

DateArray = npt.NDArray[np.datetime64]
MAX_FEATURE_MAGNITUDE = 1e100
"""Largest size of a value of a series, and of a feature: squares and their sums stay finite."""


@dataclass(frozen=True, slots=True)
class FileColumn:
    """A column of the tickers' own files beside the prices, and when its values are known.

    Attributes
    ----------
    name : its heading.
    known : a key of `quantlr.data.series.KNOWN_DESCRIPTIONS`.
    release_date : heading of the column of the releases; None where the rule needs none.
    """

    name: str
    known: str
    release_date: str | None = None

    @property
    def column_prefix(self) -> str:
        """What precedes the names of its columns in a table of bars."""
        return f"{self.name}, {self.release_date}: "

    @property
    def headings(self) -> tuple[str, ...]:
        """The headings of all columns that are read."""
        return (self.name,) if self.release_date is None else (self.name, self.release_date)


@dataclass(frozen=True, slots=True)
class KnownSeries:
    """Observations of a series, as they were released; several of one date are its vintages.

    Attributes
    ----------
    name : its key in `data.series`; of a column of a ticker's file the ticker and the heading.
    date : (n,) dates that the observations are of, as datetime64[D].
    value : (n,) values; finite.
    known_from : (n,) first date at whose close the value is known, as datetime64[D]; NaT for never.
    known_from_by_market : the same by the name of a market, where there are several; `known_from` is of none then.
    ticker, column : the ticker of the file that it is from, and the column; "" and None for a series of `data.series`.
    """

    name: str
    date: DateArray
    value: Array
    known_from: DateArray
    known_from_by_market: Mapping[str, DateArray] = field(default_factory=dict)
    ticker: str = ""
    column: FileColumn | None = None

    def in_market(self, market_name: str) -> KnownSeries:
        """Return the series as the closes of a market know it."""
        return replace(self, known_from=self.known_from_by_market.get(market_name, self.known_from))


def with_later_releases_replaced(series: KnownSeries, date: pd.Timestamp, *, rng: np.random.Generator) -> KnownSeries:
    """Return a series in which every value that is not known at the close of a date is another one."""
    is_later = ~(series.known_from <= np.datetime64(date, "D"))
    scale = np.abs(series.value).max(initial=1.0)
    return replace(series, value=np.where(is_later, scale * rng.normal(0.0, 10.0, len(is_later)), series.value))


def replace_later_releases(
    all_series: tuple[KnownSeries, ...], date: pd.Timestamp, *, rng: np.random.Generator
) -> tuple[KnownSeries, ...]:
    """Return all series in which the values that are not known at the close of a date are other ones."""
    return tuple(with_later_releases_replaced(series, date, rng=rng) for series in all_series)


def with_values_of(originals: tuple[KnownSeries, ...], altered: tuple[KnownSeries, ...]) -> tuple[KnownSeries, ...]:
    """Return series with the values of others, observation by observation, and their own dates."""
    return tuple(replace(series, value=other.value) for series, other in zip(originals, altered, strict=True))


def series_for_market(all_series: tuple[KnownSeries, ...], market_name: str) -> dict[str, Any]:
    """Return the field `series` of the prices as a market sees them; empty where there are none."""
    return {"series": tuple(series.in_market(market_name) for series in all_series)} if all_series else {}
