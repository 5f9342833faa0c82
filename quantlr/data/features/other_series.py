"""Features of other values than prices: rates, indices of an economy, sentiment, columns of the tickers' own files."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import Field, StrictInt, ValidationInfo, field_validator

from quantlr.core.components import ChoiceDescriptions, Unit
from quantlr.core.errors import DataError
from quantlr.core.known_series import FileColumn, KnownSeries
from quantlr.core.timing import iso_date
from quantlr.core.values import Array, FeatureColumns, IntArray, Prices
from quantlr.data.features.base import LEVEL_TRANSFORM_DESCRIPTIONS, Feature, LevelTransform
from quantlr.data.series import KNOWN_DESCRIPTIONS, KnownRule, validate_release_date

MIN_DEFAULT_AGE_DAYS = 7
"""Age that is always allowed by default: a value of Friday is used on a Tuesday after a holiday."""
MEDIAN_GAPS_OF_DEFAULT_AGE = 3
DAY = np.timedelta64(1, "D")


class KnownValues(Feature):
    """A feature of values that are known from a date of their own."""

    name: Annotated[str, Field(min_length=1)] = Field(description="What holds the values.")
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

    def _values_at_bars(self, series: KnownSeries, dates: pd.DatetimeIndex, session: IntArray) -> Array:
        """Return the feature at each bar, of the values known at its close; NaN before the first value, and for no bar.

        Parameters
        ----------
        dates : (sessions,) dates of the sessions.
        session : of any shape, position of each bar in `dates`; -1 for none.

        Raises
        ------
        DataError : the newest value known at a bar is older than `max_age` allows.
        """
        known_from, newest_date, transformed = self._values_by_release(series)
        if not len(known_from):
            return np.full(session.shape, np.nan)
        sessions = dates.to_numpy().astype("datetime64[D]")
        release = known_from.searchsorted(sessions, side="right") - 1
        is_known = (release >= 0) & np.isin(np.arange(len(sessions)), session)
        self._require_values_within_max_age(series, sessions, newest_date[np.maximum(release, 0)], is_known)
        by_session = np.where(release >= 0, transformed[np.maximum(release, 0)], np.nan)
        return np.where(session >= 0, by_session[np.maximum(session, 0)], np.nan)

    def _values_by_release(self, series: KnownSeries) -> tuple[np.ndarray, np.ndarray, Array]:
        """Return the dates from which something new is known, the newest date observed by then, and the feature."""
        dates, position = np.unique(series.date, return_inverse=True)
        order = np.flatnonzero(~np.isnat(series.known_from))
        order = order[np.argsort(series.known_from[order], kind="stable")]
        known_from, first = np.unique(series.known_from[order], return_index=True)
        newest_of_release = np.append(first, len(order))[1:] - 1
        if len(dates) == len(order) and (np.diff(position[order]) > 0).all():  # one release a date, in their order
            return known_from, dates[newest_of_release], self._transform_all(series.value[order])[newest_of_release]
        current = np.full(len(dates), np.nan)
        newest, transformed = np.empty(len(known_from), dtype=np.int64), np.empty(len(known_from))
        for index, rows in enumerate(np.split(order, first[1:]) if len(order) else ()):
            current[position[rows]] = series.value[rows]
            known = np.flatnonzero(~np.isnan(current))
            newest[index] = known[-1]
            transformed[index] = self._transform_all(current[known[-self.window :]])[-1]
        return known_from, dates[newest], transformed

    def _transform_all(self, values: Array) -> Array:
        """Return the feature of each of some values in the order of their dates, (n,); NaN where there are too few."""
        if self.transform == "level":
            return values
        result = np.full(len(values), np.nan)
        if self.transform == "change":
            result[1:] = np.diff(values)
        elif len(values) >= self.window:
            windows = np.lib.stride_tricks.sliding_window_view(values, self.window)
            is_constant = windows.max(axis=1) == windows.min(axis=1)  # rounding leaves a deviation slightly above 0
            deviation = np.where(is_constant, 1.0, windows.std(axis=1, ddof=1))
            result[self.window - 1 :] = np.where(is_constant, 0.0, (windows[:, -1] - windows.mean(axis=1)) / deviation)
        return result

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
            text = f"{iso_date(sessions[first])}: the newest value of {series.name} that was known is of "
            text += f"{iso_date(newest_date[first])}, {age[first]:.0f} days older, and max_age allows {max_age}"
            raise DataError(f"{text} ({len(too_old)} such sessions); raise max_age, or add the values that are missing")


class OtherSeries(KnownValues):
    """A series of `data.series`, as it was known at the close: its newest value, a change, or a z-score.

    Where a date was released several times, each row uses the newest release that was known by then, for every date;
    changes and z-scores are of these values, one per observation. Before the series begins the value is missing, which
    counts as warm-up.
    """

    kind: Literal["series"] = "series"
    name: Annotated[str, Field(min_length=1)] = Field(
        description="The series: its key in data.series.", examples=["CPI"]
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
        series_by_name = {series.name: series for series in prices.series if series.column is None}
        if self.name not in series_by_name:
            known = ", ".join(series_by_name) or "none"
            raise DataError(f"there is no series {self.name!r}, data.series has {known}; add it", key="data.series")
        values = self._values_at_bars(series_by_name[self.name], prices.sessions, prices.session)
        return {f"series_{self.name}_{self.transform}": values}

    def warm_up(self) -> int:
        """None, if the series begins long enough before the prices."""
        return 0


class TickerFileColumn(KnownValues):
    """A column of each ticker's own file beside its prices, as it was known at the close.

    When a value was known must be stated: `same_close` for what is computed from the prices of its date or published
    before their close, `next_session` for what is published after it, `release_date` for what has a release of its own.
    The file needs one row for each bar; a row without a value keeps the newest one. Where a date has several releases,
    each row uses the newest that was known by then.
    """

    kind: Literal["column"] = "column"
    name: Annotated[str, Field(min_length=1)] = Field(
        description="Heading of the column in the files of data.source.", examples=["Sentiment"]
    )
    known: Annotated[KnownRule, ChoiceDescriptions(KNOWN_DESCRIPTIONS)] = Field(
        description="When a value is known.", examples=["next_session"]
    )
    release_date: Annotated[str, Field(min_length=1)] | None = Field(
        None,
        validate_default=True,
        description="Heading of the dates, or times with a time zone, of the releases; with known: release_date.",
        examples=["Published"],
    )

    example_parameters = (
        {"name": "Sentiment", "known": "next_session"},
        {"name": "Sentiment", "known": "same_close", "transform": "zscore", "window": 5},
        {"name": "Earnings", "known": "release_date", "release_date": "Published", "transform": "change"},
    )

    @field_validator("release_date")
    @classmethod
    def _validate_release_date(cls, heading: str | None, info: ValidationInfo) -> str | None:
        return validate_release_date(heading, info.data.get("known"))

    @property
    def file_columns(self) -> tuple[FileColumn, ...]:
        """The column."""
        return (FileColumn(self.name, self.known, self.release_date),)

    def compute(self, prices: Prices) -> FeatureColumns:
        """One column: in the unit of the file; a z-score in standard deviations (ddof 1), 0 where all are equal.

        Raises
        ------
        DataError : the prices have no such column, or its newest value is older than `max_age` allows.
        """
        series_by_ticker = {series.ticker: series for series in prices.series if series.column in self.file_columns}
        values = np.full(prices.session.shape, np.nan)
        for index, ticker in enumerate(prices.tickers):
            if ticker not in series_by_ticker:
                text = f"the prices of {ticker} have no column {self.name!r} with known: {self.known}"
                raise DataError(f"{text}; run it from a config, whose files are read for it", key="features")
            values[:, index] = self._values_at_bars(series_by_ticker[ticker], prices.sessions, prices.session[:, index])
        return {f"column_{self.name}_{self.transform}": values}

    def warm_up(self) -> int:
        """What the transform needs, and one bar more where a value is known after its own close."""
        needed = {"level": 0, "change": 1, "zscore": self.window - 1}[self.transform]
        return needed + (self.known != "same_close")


FEATURES: tuple[type[Feature], ...] = (OtherSeries, TickerFileColumn)
