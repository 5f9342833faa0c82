"""Features of other series than prices: rates, indices of an economy, sentiment."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, StrictInt

from quantlr.core.components import ChoiceDescriptions, Unit
from quantlr.core.errors import DataError
from quantlr.core.known_series import KnownSeries
from quantlr.core.timing import iso_date
from quantlr.core.values import Array, FeatureColumns, Prices
from quantlr.data.features.base import LEVEL_TRANSFORM_DESCRIPTIONS, Feature, LevelTransform

MIN_DEFAULT_AGE_DAYS = 7
"""Age that is always allowed by default: a value of Friday is used on a Tuesday after a holiday."""
MEDIAN_GAPS_OF_DEFAULT_AGE = 3
DAY = np.timedelta64(1, "D")


class OtherSeries(Feature):
    """A series of `data.series`, as it was known at the close: its newest value, a change, or a z-score.

    Where a date was released several times, each row uses the newest release that was known by then, for every date;
    changes and z-scores are of these values, one per observation. Before the series begins the value is missing, which
    counts as warm-up.
    """

    kind: Literal["series"] = "series"
    name: Annotated[str, Field(min_length=1)] = Field(
        description="The series: its key in data.series.", examples=["CPI"]
    )
    transform: Annotated[LevelTransform, ChoiceDescriptions(LEVEL_TRANSFORM_DESCRIPTIONS)] = Field(
        "level", description="What is computed from the values."
    )
    window: Annotated[StrictInt, Unit("observations"), Field(ge=2, le=10_000)] = Field(
        12, description="Values that a z-score is computed from, the newest included."
    )
    max_age: Annotated[StrictInt, Unit("calendar days"), Field(ge=0, le=10_000)] | None = Field(
        None,
        description="How old the newest value may be, from the date that it is of; null: three median gaps between the "
        "dates, and at least a week.",
        examples=[45],
    )

    example_parameters = (
        {"name": "RATE"},
        {"name": "RATE", "transform": "change"},
        {"name": "RATE", "transform": "zscore", "window": 5, "max_age": 200},
    )

    def compute(self, prices: Prices) -> FeatureColumns:
        """One column: in the series' own unit; a z-score in standard deviations (ddof 1), 0 where all are equal.

        Raises
        ------
        DataError : there is no such series, or its newest value is older than `max_age` allows.
        """
        series = self._find(prices)
        known_from, newest_date, transformed = self._values_by_release(series)
        sessions = prices.sessions.to_numpy().astype("datetime64[D]")
        release = known_from.searchsorted(sessions, side="right") - 1
        is_known = (release >= 0) & np.isin(np.arange(len(sessions)), prices.session)
        self._require_values_within_max_age(series, sessions, newest_date[np.maximum(release, 0)], is_known)
        by_session = np.where(release >= 0, transformed[np.maximum(release, 0)], np.nan)
        values = np.where(prices.session >= 0, by_session[np.maximum(prices.session, 0)], np.nan)
        return {f"series_{self.name}_{self.transform}": values}

    def _find(self, prices: Prices) -> KnownSeries:
        for series in prices.series:
            if series.name == self.name:
                return series
        known = ", ".join(series.name for series in prices.series) or "none"
        raise DataError(f"there is no series {self.name!r}, data.series has {known}; add it", key="data.series")

    def _values_by_release(self, series: KnownSeries) -> tuple[np.ndarray, np.ndarray, Array]:
        """Return the dates from which something new is known, the newest date observed by then, and the feature."""
        dates, position = np.unique(series.date, return_inverse=True)
        order = np.flatnonzero(~np.isnat(series.known_from))
        order = order[np.argsort(series.known_from[order], kind="stable")]
        known_from, first = np.unique(series.known_from[order], return_index=True)
        current = np.full(len(dates), np.nan)
        newest, transformed = np.empty(len(known_from), dtype=np.int64), np.empty(len(known_from))
        for index, rows in enumerate(np.split(order, first[1:])):
            current[position[rows]] = series.value[rows]
            known = np.flatnonzero(~np.isnan(current))
            newest[index] = known[-1]
            transformed[index] = self._transform(current[known[-self.window :]])
        return known_from, dates[newest], transformed

    def _transform(self, values: Array) -> float:
        """Return the feature of the newest values, at most `window`, oldest first; NaN if there are too few."""
        if self.transform == "level":
            return float(values[-1])
        if self.transform == "change":
            return float(values[-1] - values[-2]) if len(values) > 1 else np.nan
        if len(values) < self.window:
            return np.nan
        deviation = float(values.std(ddof=1))
        return float(values[-1] - values.mean()) / deviation if deviation > 0 else 0.0

    def _require_values_within_max_age(
        self, series: KnownSeries, sessions: np.ndarray, newest_date: np.ndarray, is_known: np.ndarray
    ) -> None:
        max_age = self.max_age
        if max_age is None:
            gaps = np.diff(np.unique(series.date)) / DAY
            median = float(np.median(gaps)) if len(gaps) else 0.0
            max_age = max(MIN_DEFAULT_AGE_DAYS, int(MEDIAN_GAPS_OF_DEFAULT_AGE * median))
        age = (sessions - newest_date) / DAY
        too_old = np.flatnonzero(is_known & (age > max_age))
        if len(too_old):
            first = too_old[0]
            text = f"{iso_date(sessions[first])}: the newest value of {self.name} that was known is of "
            text += f"{iso_date(newest_date[first])}, {age[first]:.0f} days older, and max_age allows {max_age}"
            raise DataError(f"{text} ({len(too_old)} such sessions); raise max_age, or add the values that are missing")

    def warm_up(self) -> int:
        """None, if the series begins long enough before the prices."""
        return 0


FEATURES: tuple[type[Feature], ...] = (OtherSeries,)
