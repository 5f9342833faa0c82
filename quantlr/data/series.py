"""Series other than prices, from files, FRED or columns of the tickers' own files, and when their values are known."""

from __future__ import annotations

import datetime as dt
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field, ValidationInfo, field_validator

from quantlr.core.components import ChoiceDescriptions, Component, ConfigRelativePath
from quantlr.core.errors import DataError, Fault
from quantlr.core.file_reading import UnreadableContentError, read_file
from quantlr.core.known_series import MAX_FEATURE_MAGNITUDE, DateArray, FileColumn, KnownSeries
from quantlr.core.timing import SECONDS_PER_DAY, Market, iso_date
from quantlr.core.values import Array, IntArray
from quantlr.data.csv.formats import read_raw_table
from quantlr.data.csv.numbers import decide_decimal_mark
from quantlr.data.csv.raw_table import MAX_FILE_BYTES, CellTable, parse_dates
from quantlr.data.csv.reader import BarFrame, parse_released_values
from quantlr.data.markets import MarketHours, MarketSources, market_with_closes
from quantlr.data.price_rows import PriceRows
from quantlr.data.source import DateFormat, Decimal, Encoding, Separator, Sheet, reading_options, sha256_hex

KnownRule = Literal["same_close", "next_session", "release_date"]
KNOWN_DESCRIPTIONS = {
    "same_close": "at the close of its date, as a price is; in the market of data.calendars, if it is named there",
    "next_session": "from the first session after its date",
    "release_date": "from its release: with a time and a time zone the first close at or after it, with a date only "
    "the next session",
}
DAY = np.timedelta64(1, "D")
FIRST_DATE, END_DATE = np.datetime64("1600-01-01"), np.datetime64("2200-01-01")
"""Dates between which a calendar can be computed."""
MAX_CLOSES_AFTER = 15
"""Days after the last date or release up to which closes are computed."""


def validate_release_date(heading: str | None, known: str | None) -> str | None:
    """Return the heading of the releases; ValueError if it is needed and missing, or not used.

    Parameters
    ----------
    known : a key of `KNOWN_DESCRIPTIONS`; None where it is not valid itself.
    """
    if known == "release_date" and heading is None:
        raise ValueError("is needed with known: release_date; name the column of the releases")
    if heading is not None and known not in ("release_date", None):
        raise ValueError(f"is not used with known: {known}; write known: release_date")
    return heading


@dataclass(frozen=True, slots=True)
class Observations:
    """The values of a series as its source states them.

    Attributes
    ----------
    date : (n,) dates that the values are of, as datetime64[D].
    value : (n,) values, none of them NaN.
    release_date : (n,) local dates of the releases; None where the rule needs none.
    release_seconds : (n,) instants of the releases in seconds since 1970, UTC; None where only dates are stated.
    sha256 : digest of the source.
    """

    date: DateArray
    value: Array
    release_date: DateArray | None
    release_seconds: IntArray | None
    sha256: str


class SeriesSource(Component):
    """Where a series is from, and when its values are known."""

    @abstractmethod
    def read(self, name: str, *, offline: bool) -> Observations:
        """Return the observations.

        Parameters
        ----------
        name : of the series, for messages.
        offline : whether to do without the network.

        Raises
        ------
        DataError : it can't be read as a series.
        Fault : the disk or the network failed.
        """

    @property
    @abstractmethod
    def known_rule(self) -> KnownRule:
        """When a value is known."""


class FileSeries(SeriesSource):
    """Columns of a file: text, Excel, Parquet or Feather."""

    kind: Literal["file"] = "file"
    path: ConfigRelativePath = Field(
        description="The file, relative to the config that names it.", examples=["cpi.csv"]
    )
    date: str = Field("Date", min_length=1, description="Heading of the dates that the values are of.")
    value: str = Field(min_length=1, description="Heading of the values.", examples=["CPI"])
    known: Annotated[KnownRule, ChoiceDescriptions(KNOWN_DESCRIPTIONS)] = Field(
        description="When a value is known.", examples=["next_session"]
    )
    release_date: str | None = Field(
        None,
        min_length=1,
        validate_default=True,
        description="Heading of the dates, or times with a time zone, of the releases; with known: release_date. "
        "Several rows of one date are its vintages.",
        examples=["Released"],
    )
    separator: Separator = None
    decimal: Decimal = None
    encoding: Encoding = None
    date_format: DateFormat = None
    sheet: Sheet = None

    example_parameters = (
        {"path": "vix.csv", "value": "VIX", "known": "same_close"},
        {"path": "cpi.csv", "date": "Month", "value": "CPI", "known": "release_date", "release_date": "Released"},
    )

    @field_validator("release_date")
    @classmethod
    def _validate_release_date(cls, heading: str | None, info: ValidationInfo) -> str | None:
        return validate_release_date(heading, info.data.get("known"))

    @property
    def known_rule(self) -> KnownRule:
        """As the config states it."""
        return self.known

    def read(self, name: str, *, offline: bool) -> Observations:
        """Return the observations in the file; rows without a value are left out."""
        key = f"data.series.{name}.path"
        if self.path.is_dir() or not self.path.exists():
            found = "is a folder; name a file in it" if self.path.is_dir() else "does not exist"
            raise DataError(f"{self.path} {found}; a path is relative to its config", key=key)
        try:
            content = read_file(self.path, max_bytes=MAX_FILE_BYTES)
        except UnreadableContentError as error:
            raise DataError(f"{self.path}: {error}", key=key) from error
        except OSError as error:
            raise Fault(f"{self.path} can't be read: {error.strerror}") from error
        try:
            table, positions = self._read_table(content)
            dates, _ = parse_dates(table, positions["date"])
            value, release = positions["value"], positions.get("release_date")
            mark = decide_decimal_mark(table, [index for index in range(table.cells.shape[1]) if index != value])
            values = parse_released_values(table, value, release, decimal_mark=mark)
        except DataError as error:
            # The readers name the keys of a file of prices; those of a series have the same names.
            raise DataError(error.message.replace("data.source.", f"data.series.{name}."), key=key) from error
        return observations_from_values(dates, values, self.known, sha256=sha256_hex(content))

    def _read_table(self, content: bytes) -> tuple[CellTable, dict[str, int]]:
        """Return the cells of the file, and the position of each column that is used."""
        headings = {"date": self.date, "value": self.value}
        headings |= {"release_date": self.release_date} if self.release_date is not None else {}
        options = reading_options(self, headings)
        raw_table = read_raw_table(content, path=self.path, options=options)
        positions = raw_table.column_positions(list(headings.values()), key="data.series")
        table = raw_table.read_cell_table(n_header_lines=1, options=options)
        if table.cells.empty:
            raise DataError(f"{self.path} has a header line and no rows; needed values")
        return table, dict(zip(headings, positions, strict=True))


def observations_from_values(dates: DateArray, values: pd.DataFrame, rule: str, *, sha256: str = "") -> Observations:
    """Return the rows that have a value, those that are alike once.

    Parameters
    ----------
    dates : (rows,) that the values are of.
    values : values and releases, as of `parse_released_values`.
    rule : when a value is known; releases are used with `release_date` only.
    """
    rows = values.assign(date=dates)[values["value"].notna().to_numpy()].drop_duplicates()
    days, value = rows["date"].to_numpy().astype("datetime64[D]"), rows["value"].to_numpy()
    if rule != "release_date":
        return Observations(days, value, None, None, sha256)
    release, offset = rows["release"].to_numpy(), rows["release_offset"].to_numpy()
    utc = release.astype("datetime64[s]").astype(np.int64)
    seconds = None if np.isnan(offset).any() else utc - (60 * offset).astype(np.int64)
    return Observations(days, value, release.astype("datetime64[D]"), seconds, sha256)


def load_series(
    sources: Mapping[str, SeriesSource],
    markets: Mapping[str, MarketHours | None],
    own_hours: Mapping[str, MarketHours],
    *,
    offline: bool,
) -> tuple[tuple[KnownSeries, ...], dict[str, str]]:
    """Return the series of a config with the dates from which they are known, and the digest of each.

    Parameters
    ----------
    sources : by name.
    markets : hours of each market of the traded tickers, by its name; None where they are not known.
    own_hours : hours of the market of a series, for those that have one of their own.
    offline : whether to do without the network.

    Raises
    ------
    DataError : a series can't be read; it has no order in time; or the market is needed and not known.
    """
    all_series, digests = [], {}
    for name, source in sources.items():
        observations = source.read(name, offline=offline)
        require_order_in_time(name, observations, key=f"data.series.{name}")
        known = {
            market: first_known_dates(name, source.known_rule, observations, hours, own_hours.get(name))
            for market, hours in markets.items()
        }
        single = next(iter(known.values()))
        all_series.append(KnownSeries(name, observations.date, observations.value, single, known))
        digests[name] = observations.sha256
    return tuple(all_series), digests


def require_order_in_time(name: str, observations: Observations, *, key: str) -> None:
    """Raise an error for a series without values, with a release before its date, or with a date twice."""
    date, release = observations.date, observations.release_date
    if not len(date):
        raise DataError(f"{name} has no values", key=key)
    for day in (date.min(), date.max(), *(() if release is None else (release.min(), release.max()))):
        if not FIRST_DATE <= day < END_DATE:
            raise DataError(f"{name} has the date {day}; needed {FIRST_DATE} to {END_DATE}; correct it", key=key)
    too_large = np.flatnonzero(np.abs(observations.value) > MAX_FEATURE_MAGNITUDE)
    if len(too_large):
        text = f"{name} is {observations.value[too_large[0]]:g} on {iso_date(date[too_large[0]])}"
        raise DataError(f"{text}, and needs values up to {MAX_FEATURE_MAGNITUDE:g}; correct the file", key=key)
    if release is None:
        _, first, count = np.unique(date, return_index=True, return_counts=True)
        if (count > 1).any():
            text = f"{name} has {iso_date(date[first[count > 1][0]])} twice"
            raise DataError(f"{text}; keep one, or name the column of the releases with release_date", key=key)
        return
    early = np.flatnonzero(release < date)
    if len(early):
        text = f"{name}: the value of {iso_date(date[early[0]])} is released on {iso_date(release[early[0]])}, before"
        raise DataError(f"{text} ({len(early)} such); correct the releases", key=key)
    if len(np.unique(date)) > 1 and len(np.unique(release)) == 1:
        text = f"{name}: all values are released on {iso_date(release[0])}, as if the file were downloaded then"
        raise DataError(f"{text}; state when each was first known", key=key)
    seconds = observations.release_seconds
    releases = release.astype("datetime64[D]").astype(np.int64) if seconds is None else seconds
    pairs = np.stack([date.astype(np.int64), releases])
    if pairs.shape[1] > np.unique(pairs, axis=1).shape[1]:
        raise DataError(f"{name} has two values of one date and one release; keep one", key=key)


def first_known_dates(
    name: str, rule: str, observations: Observations, hours: MarketHours | None, own_hours: MarketHours | None
) -> DateArray:
    """Return the first date at whose close in a market each value is known, (n,).

    Parameters
    ----------
    rule : a key of `KNOWN_DESCRIPTIONS`.
    hours : of the market; None where they are not known.
    own_hours : of the market that a value of `same_close` is of; None: the same.
    """
    date, release, instants = observations.date, observations.release_date, observations.release_seconds
    if rule == "next_session":
        return date + DAY
    if rule == "release_date" and release is not None and instants is None:
        return release + DAY
    if rule == "same_close":
        if own_hours is None or own_hours == hours:
            return date
        if hours is None:
            return date + DAY  # between a market that is known and one that is not, a value is known a date late
        own_market, _ = market_with_closes(name, own_hours, np.unique(date).astype("datetime64[us]"))
        instants = own_market.latest_close[np.searchsorted(np.unique(date), date)]
    if hours is None or instants is None:
        text = f"{name}: its releases have times, and the market whose close they are compared with is not known"
        raise DataError(f"{text}; state it as data.calendar: XNYS, or leave the times out", key="data.calendar")
    return _first_dates_that_close_after(instants, hours)


def _first_dates_that_close_after(instants: IntArray, hours: MarketHours) -> DateArray:
    """Return the first date whose close is at or after each instant, (n,), as datetime64[D]."""
    first, last = int(instants.min()) // SECONDS_PER_DAY - 2, int(instants.max()) // SECONDS_PER_DAY + MAX_CLOSES_AFTER
    days = np.arange(first, last + 1).astype("datetime64[D]")
    market: Market = market_with_closes("", hours, days.astype("datetime64[us]"))[0]
    closes = np.maximum.accumulate(market.earliest_close)
    return days[np.searchsorted(closes, instants, side="left")]


def digests_with_series(sha256: str, digests: Mapping[str, str]) -> dict[str, Any]:
    """Return the digests of prices and series by name, for one digest of all."""
    return {"prices": sha256, **{f"series {name}": digest for name, digest in digests.items()}}


def load_file_columns(
    columns: Sequence[FileColumn],
    bars: Mapping[str, BarFrame],
    rows: PriceRows,
    markets: Mapping[str, Market],
    sources: MarketSources,
    *,
    start: dt.date | None,
    end: dt.date | None,
) -> tuple[KnownSeries, ...]:
    """Return the columns of each traded ticker's file as series, with the dates from which their values are known.

    Parameters
    ----------
    columns : the columns.
    bars : of each ticker, as its source returns them.
    rows : all rows of these bars in their order, with the date of their session.
    markets : the market of each traded ticker.
    sources : what is stated about the hours of the markets.
    start, end : the dates used, both included; None leaves that side open.

    Raises
    ------
    DataError : the source has no such column, the column has no order in time, or a market is needed and not known.
    """
    hours_by_market = {market.name: sources.hours(ticker) for ticker, market in markets.items()}
    all_series = []
    for ticker, market in markets.items():
        date = rows.date[rows.ticker_index == rows.tickers.index(ticker)]
        is_used = (date >= np.datetime64(start or dt.date.min)) & (date <= np.datetime64(end or dt.date.max))
        for column in columns:
            name = f"{ticker}: {column.name}"
            values = _values_of_column(bars[ticker], column, ticker)
            observations = observations_from_values(date[is_used], values[is_used], column.known)
            if len(observations.date):
                require_order_in_time(name, observations, key="features")
            known: dict[str, DateArray] = {}
            for market_name, hours in hours_by_market.items():
                own_hours = hours if market_name == market.name else hours_by_market[market.name]
                is_compared = market_name == market.name or None not in (hours, own_hours)
                rule = column.known if column.known != "same_close" or is_compared else "next_session"
                known[market_name] = first_known_dates(name, rule, observations, hours, own_hours)
            all_series.append(
                KnownSeries(
                    name, observations.date, observations.value, known[market.name], known, ticker=ticker, column=column
                )
            )
    return tuple(all_series)


def _values_of_column(bars: BarFrame, column: FileColumn, ticker: str) -> pd.DataFrame:
    """Return the values and releases of a column, as `parse_released_values` names them."""
    found = bars.loc[:, [str(heading).startswith(column.column_prefix) for heading in bars.columns]]
    if found.empty and not len(found.columns):
        text = f"the source of {ticker} has prices and no column {column.name!r}"
        raise DataError(f"{text}; give its prices as a file, or the column as data.series", key="features")
    return found.rename(columns=lambda heading: str(heading).removeprefix(column.column_prefix))
