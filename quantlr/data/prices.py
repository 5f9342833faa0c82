"""Prices of a run: the section `data` of a config, and its prices, aligned by session."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pandas as pd
from pydantic import BeforeValidator, ConfigDict, Field, ValidationInfo, WithJsonSchema, field_validator
from pydantic_core import PydanticCustomError

from quantlr.core.component_errors import name_component_in_errors, require_returned
from quantlr.core.components import ChoiceDescriptions, ConfigSection, IsoDate, Ticker, component_union
from quantlr.core.errors import DataError, did_you_mean_text
from quantlr.core.known_series import FileColumn
from quantlr.core.progress import Progress, ProgressCounter, ignore_progress
from quantlr.core.timing import Market, iso_date
from quantlr.core.values import Array, BoolArray, Note, Prices
from quantlr.data.bars import BARS_DESCRIPTIONS, Bars, aggregate_rows, daily_rows_of_intraday
from quantlr.data.csv.headings import BAR_FIELDS
from quantlr.data.csv.reader import BarFrame
from quantlr.data.fred import SERIES_SOURCES
from quantlr.data.markets import MarketSources, computed_calendars, find_markets
from quantlr.data.price_rows import PriceRows
from quantlr.data.rule_results import ValidationContext
from quantlr.data.series import SeriesSource, digests_with_series, load_file_columns, load_series
from quantlr.data.source import FetchedPrices, FetchRequest, Source, combine_digests
from quantlr.data.sources import SOURCES
from quantlr.data.stamps import resolve_stamps
from quantlr.data.ticker_list import MemberDates, member_dates_of_tickers, read_ticker_list
from quantlr.data.validation import (
    QualitySpec,
    price_index_notes,
    survivorship_bias_notes,
    validate_price_rows,
)

ALL_TICKERS = "all"
"""Stands for all tickers of a source, where a config would list them."""


if TYPE_CHECKING:
    AnySource = Source
    AnySeries = SeriesSource
else:
    AnySource = component_union(SOURCES, base_class=Source)
    AnySeries = component_union(SERIES_SOURCES, default_kind="file")
CalendarCode = Annotated[str, Field(min_length=1, max_length=20)]
TickersFromFile = Annotated[
    dict[str, MemberDates], BeforeValidator(read_ticker_list), WithJsonSchema({"type": "string", "format": "path"})
]
Membership = Annotated[
    dict[Ticker, tuple[IsoDate | None, IsoDate | None]],
    WithJsonSchema({"type": "object", "additionalProperties": {"type": "array", "minItems": 2, "maxItems": 2}}),
]
"""First and last date of each ticker, both included."""
TICKERS_OR_FILE_SCHEMA: dict[str, Any] = {
    "if": {"required": ["tickers_file"], "properties": {"tickers_file": {"type": "string"}}},
    "then": {"properties": {"tickers": {"type": "null"}}},
    "else": {"required": ["tickers"], "properties": {"tickers": {"type": ["array", "string"]}}},
}
"""JSON Schema of the rule that tickers are listed either in the config or in a file."""


def _require_tickers_in_schema(schema: dict[str, Any]) -> None:
    """Change the JSON Schema of tickers: no default, one word for all of them, null only if there is a file of them."""
    del schema["default"]
    schema.update(type=["array", "string", "null"], minItems=1, pattern=f"^{ALL_TICKERS}$")


def _list_tickers(source: Source) -> tuple[str, ...]:
    """Return all tickers of a source, in place of the word for them."""
    try:
        return tuple(source.list_tickers())
    except DataError as error:
        raise ValueError(error.message) from error


class DataSpec(ConfigSection):
    """Which prices to use."""

    model_config = ConfigDict(json_schema_extra=TICKERS_OR_FILE_SCHEMA)

    source: AnySource = Field(description="Where prices come from.")
    tickers_file: TickersFromFile | None = Field(
        None,
        exclude=True,  # its tickers are written under `tickers`, so that a resolved config needs no other file
        description="A file with one ticker a line, relative to the config that names it; instead of tickers. Columns "
        "headed from and to state the first and the last date of each member.",
        examples=["sp500.csv"],
    )
    tickers: tuple[Ticker, ...] = Field(
        (),
        validate_default=True,
        description="Symbols, as the source writes them, each once; or all. null, true and false need quotes.",
        examples=[["^GSPC"], ["AAPL", "MSFT"], "all"],
        json_schema_extra=_require_tickers_in_schema,
    )
    membership: Membership | None = Field(
        None,
        validate_default=True,
        description="First and last date on which a ticker is a member of the universe, both included; null leaves a "
        "side open. A ticker without dates is a member throughout. It is not trained on, forecast or held outside.",
        examples=[{"AAPL": ["1982-11-30", None]}],
    )
    context: tuple[Ticker, ...] = Field(
        (), description="Reference symbols: features may use them, and they are not traded.", examples=[["^GSPC"]]
    )
    start: IsoDate | None = Field(
        None,
        description="First date used, included, as YYYY-MM-DD; null is the first available.",
        examples=["1999-01-04"],
    )
    end: IsoDate | None = Field(
        None,
        description="Last date used, included, as YYYY-MM-DD; null is the last available.",
        examples=["2018-12-31"],
    )
    calendar: CalendarCode | None = Field(
        None,
        description="Exchange whose sessions are expected, by its code in exchange_calendars; null asks the source.",
        examples=["XNYS"],
    )
    calendars: dict[Ticker, CalendarCode] = Field(
        {},
        description="Exchange of single tickers, by its code in exchange_calendars, where they are of several markets: "
        "sessions and closes; before data.calendar.",
        examples=[{"7203.T": "XTKS"}],
    )
    series: dict[Ticker, AnySeries] = Field(
        {},
        description="Series other than prices by name, for the feature `series`: a file's columns, and when values are "
        "known.",
        examples=[{"VIX": {"path": "vix.csv", "value": "Close", "known": "same_close"}}],
    )
    timezone: str | None = Field(
        None,
        description="Time zone whose dates are the sessions, where times are written with an offset from UTC; null is "
        "that of the offset, or found where days are written in UTC.",
        examples=["Asia/Tokyo"],
    )
    bars: Annotated[Bars, ChoiceDescriptions(BARS_DESCRIPTIONS)] | None = Field(
        None, description="Bars that finer ones are joined to, by session; null uses the bars as they are."
    )
    quality: QualitySpec = Field(QualitySpec(), description="What to do with suspect prices.")

    @field_validator("tickers", mode="before")
    @classmethod
    def _resolve_tickers_or_file(cls, tickers: Any, info: ValidationInfo) -> Any:
        """Return the tickers of the config or of the file; exactly one of them must list tickers."""
        listed = info.data.get("tickers_file")
        is_missing = tickers is None or tickers == ()
        if listed is not None and not is_missing:
            raise ValueError("is there, and data.tickers_file too; keep one of them, or write null for the other")
        if getattr(tickers, "text", tickers) == ALL_TICKERS:
            return _list_tickers(info.data["source"]) if "source" in info.data else ("unread",)
        if listed is not None:
            return tuple(listed)
        if is_missing and "tickers_file" in info.data:
            raise PydanticCustomError("missing", "missing")
        return ("unread",) if is_missing else tickers  # the file has an error of its own

    @field_validator("membership", mode="before")
    @classmethod
    def _resolve_membership_or_file(cls, membership: Any, info: ValidationInfo) -> Any:
        """Return the dates of the config or of the file of tickers; only one of them may have dates."""
        listed = info.data.get("tickers_file") or {}
        dated = {ticker: dates for ticker, dates in listed.items() if any(dates)}
        if dated and membership:
            raise ValueError("is there, and data.tickers_file has dates too; keep one of them")
        return dated or membership

    @field_validator("membership")
    @classmethod
    def _validate_membership(cls, membership: Membership | None, info: ValidationInfo) -> Membership | None:
        """Require that dates are of traded tickers, and that no member's last date is before its first."""
        for ticker, (first, last) in (membership or {}).items():
            if ticker not in info.data.get("tickers", (ticker,)):
                raise ValueError(f"{ticker} is not in data.tickers; add it there, or leave its dates out")
            if first and last and last < first:
                raise ValueError(f"{ticker} is a member from {first} to {last}, which is earlier; correct the dates")
        return membership or None

    @field_validator("tickers", "context")
    @classmethod
    def _validate_ticker_lists(cls, tickers: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        """Require that some ticker is traded, that no ticker is listed twice, and that no reference is traded."""
        if info.field_name == "tickers" and not tickers:
            raise PydanticCustomError("too_short", "too short", {"min_length": 1, "actual_length": 0})
        duplicates = sorted(ticker for ticker, count in Counter(tickers).items() if count > 1)
        if duplicates:
            raise ValueError(f"each ticker once; twice here: {', '.join(duplicates)}")
        traded = sorted({*tickers} & {*info.data.get("tickers", ())}) if info.field_name == "context" else []
        if traded:
            raise ValueError(f"traded already, and features may look at what is traded: {', '.join(traded)}")
        return tickers

    @field_validator("timezone")
    @classmethod
    def _validate_timezone(cls, timezone: str | None) -> str | None:
        if timezone is not None and timezone not in zoneinfo.available_timezones():
            close = did_you_mean_text(timezone, sorted(zoneinfo.available_timezones()))
            raise ValueError(f"needs a time zone, as America/New_York, found {timezone!r}{close}")
        return timezone

    @field_validator("end")
    @classmethod
    def _validate_end_not_before_start(cls, end: dt.date | None, info: ValidationInfo) -> dt.date | None:
        start = info.data.get("start")
        if start and end and end < start:
            raise ValueError(f"must not be before data.start, {start}")
        return end


def tickers_to_fetch(spec: DataSpec, benchmark: str | None) -> tuple[str, ...]:
    """Return every ticker whose prices a run needs, each once: traded ones, reference series, the benchmark's."""
    return tuple(dict.fromkeys((*spec.tickers, *spec.context, *([benchmark] if benchmark else []))))


def load_prices(
    spec: DataSpec,
    *,
    benchmark: str | None = None,
    file_columns: Sequence[FileColumn] = (),
    offline: bool = False,
    progress: Progress = ignore_progress,
) -> Prices:
    """Return the prices of a config, validated, adjusted and cut to its dates.

    Parameters
    ----------
    spec : the section `data` of the config.
    benchmark : ticker whose prices `Prices.benchmark` has; None for none.
    file_columns : columns of the tickers' files beside the prices, which `Prices.series` has for each ticker.
    offline : whether to work without the network.
    progress : called with the number of steps done.

    Raises
    ------
    DataError : a ticker does not exist, or prices can't be used.
    Fault : the network or the disk failed.
    """
    tickers = tickers_to_fetch(spec, benchmark)
    fetched = fetch_prices(spec, benchmark=benchmark, file_columns=file_columns, offline=offline, progress=progress)
    counter = ProgressCounter("checking", 3, progress)
    rows = PriceRows.from_bars(fetched.bars, file_paths=fetched.file_paths)
    sources = MarketSources(spec.calendars, spec.calendar, {**fetched.markets, **fetched.calendars})
    zones = {ticker: zone for ticker in tickers if (zone := sources.sunday_zone(ticker)) is not None}
    all_rows, notes = resolve_stamps(rows, spec.timezone, zones)
    counter.step()
    try:
        rows, row_notes = _usable_rows(all_rows, spec, fetched.calendars, sources)
        markets, market_notes = find_markets(rows, sources)
    except DataError as error:
        if error.key != "data.calendar" or spec.calendar is not None:
            raise
        raise DataError(error.message, key="data.calendars") from error
    noted = {note.text for note in row_notes}
    for ticker in sorted({*spec.calendars} - {*tickers, *spec.series}):
        notes.append(Note("data", f"{ticker} is no ticker or series of this run", key="data.calendars"))
    notes += [*row_notes, *(note for note in market_notes if note.text not in noted)]
    counter.step()
    is_traded, is_context, is_benchmark = (
        np.array([ticker in group for ticker in rows.tickers]) for group in (spec.tickers, spec.context, (benchmark,))
    )
    traded = rows.for_ticker_mask(is_traded)
    # Whether opens can be traded does not matter for tickers that are not traded.
    notes = [
        note for note in notes if note.key != "data.quality.opens" or note.ticker not in tickers[len(spec.tickers) :]
    ]
    notes = [*fetched.notes, *notes, *survivorship_bias_notes(traded, spec.membership)]
    notes += price_index_notes(traded.tickers)
    context_prices, benchmark_prices = (
        prices_from_rows(
            rows.for_ticker_mask(mask), source=fetched.source, sha256=fetched.sha256, notes=(), markets=markets
        )
        if mask.any()
        else None
        for mask in (is_context, is_benchmark)
    )
    prices = prices_from_rows(traded, source=fetched.source, sha256=fetched.sha256, notes=notes, markets=markets)
    member_mask = membership_mask(prices, spec.membership)
    prices = replace(prices, context=context_prices, benchmark=benchmark_prices, member_mask=member_mask)
    prices = _with_series(prices, spec, sources, offline=offline)
    if file_columns:
        traded_markets = {ticker: markets[ticker] for ticker in traded.tickers}
        series = load_file_columns(
            file_columns, fetched.bars, all_rows, traded_markets, sources, start=spec.start, end=spec.end
        )
        prices = replace(prices, series=(*prices.series, *series))
    counter.step()
    return prices


def _usable_rows(
    rows: PriceRows, spec: DataSpec, source_calendars: Mapping[str, str], sources: MarketSources
) -> tuple[PriceRows, list[Note]]:
    """Return the rows within the dates of a config, valid and joined to its bars, and notes; errors are `load_prices`'.

    Parameters
    ----------
    rows : dated by session.
    source_calendars : by ticker the calendar that the source states.
    sources : what is stated about the market of each ticker.
    """
    rows = rows.slice_dates(spec.start, spec.end)
    calendars = {**(source_calendars if spec.calendar is None else dict.fromkeys(rows.tickers, spec.calendar))}
    calendars |= spec.calendars
    notes: list[Note] = []
    if len(rows):
        calendars, notes = computed_calendars(calendars, rows.date)
        rows = rows if spec.bars is None else daily_rows_of_intraday(rows)
    dates = f" between {spec.start or 'the first'} and {spec.end or 'the last'}" if spec.start or spec.end else ""
    context = ValidationContext(latest_date_worldwide(), calendars, dt.datetime.now(dt.UTC), sources)
    rows, validation_notes = validate_price_rows(rows, spec.quality, context, date_range_text=dates)
    rows, bar_notes = (rows, []) if spec.bars is None else aggregate_rows(rows, spec.bars)
    return rows, [*notes, *validation_notes, *bar_notes]


def _with_series(prices: Prices, spec: DataSpec, sources: MarketSources, *, offline: bool) -> Prices:
    """Return prices with the series of a config, which their digest then depends on too."""
    if not spec.series:
        return prices
    hours = {market.name: sources.hours(prices.tickers[index]) for index, market in enumerate(prices.markets)}
    own = {name: MarketSources(spec.calendars).hours(name) for name in spec.series if name in spec.calendars}
    own_hours = {name: value for name, value in own.items() if value is not None}
    series, digests = load_series(spec.series, hours or {"": None}, own_hours, offline=offline)
    return replace(prices, series=series, sha256=combine_digests(digests_with_series(prices.sha256, digests)))


def fetch_prices(
    spec: DataSpec,
    *,
    benchmark: str | None = None,
    file_columns: Sequence[FileColumn] = (),
    offline: bool = False,
    progress: Progress = ignore_progress,
) -> FetchedPrices:
    """Return what the source of a config returns, checked as far as the rules of validation rely on it.

    Parameters and errors are those of `load_prices`.

    Raises
    ------
    ComponentError : a user-defined source fails, or returns something else than bars by ticker.
    """
    source, key = spec.source, "data.source"
    columns = dict.fromkeys(spec.tickers, tuple(file_columns)) if file_columns else {}
    request = FetchRequest(tickers_to_fetch(spec, benchmark), spec.start, spec.end, offline, progress, columns)
    try:
        with name_component_in_errors(source, key=key):
            fetched = source.fetch(request)
    except DataError as error:
        is_benchmark_only = benchmark not in (*spec.tickers, *spec.context) and repr(benchmark) in error.message
        if not is_benchmark_only:
            raise
        raise DataError(error.message, key="report.benchmark") from error
    require_returned(
        source, "fetch", isinstance(fetched, FetchedPrices), needed="FetchedPrices", found=fetched, key=key
    )
    for ticker, frame in fetched.bars.items():
        is_valid = isinstance(frame, pd.DataFrame) and isinstance(frame.index, pd.DatetimeIndex)
        is_valid = is_valid and "close" in frame
        needed = f"for {ticker} a DataFrame with an index of dates and at least the column close"
        require_returned(source, "fetch", is_valid, needed=needed, found=frame, key=key)
    return fetched


def latest_date_worldwide() -> dt.date:
    """Return today's date in the time zone where it is latest."""
    return (dt.datetime.now(dt.UTC) + dt.timedelta(hours=14)).date()


def prices_from_ticker_bars(bars: Mapping[str, BarFrame], *, source: str, sha256: str, notes: Sequence[Note]) -> Prices:
    """Return bars of several tickers, each sorted by date and valid, as one `Prices`."""
    return prices_from_rows(PriceRows.from_bars(bars), source=source, sha256=sha256, notes=notes)


def prices_from_rows(
    rows: PriceRows, *, source: str, sha256: str, notes: Sequence[Note], markets: Mapping[str, Market] | None = None
) -> Prices:
    """Return sorted rows as one `Prices`, adjusted by adj_close / close where both are available.

    Nothing is filled: where a ticker has no row, it has no bar.
    """
    dates = np.unique(rows.date)
    bar = np.arange(len(rows)) - np.searchsorted(rows.ticker_index, rows.ticker_index)  # less the ticker's first row
    shape = (int(rows.n_rows_by_ticker.max()), len(rows.tickers))
    session = np.full(shape, -1, dtype=np.int64)
    session[bar, rows.ticker_index] = np.searchsorted(dates, rows.date)
    columns: dict[str, Array] = {}
    for name in BAR_FIELDS:
        columns[name] = np.full(shape, np.nan)
        columns[name][bar, rows.ticker_index] = rows.columns[name]
    raw_close, adj_close = columns["close"], columns["adj_close"]
    close = np.where(np.isnan(adj_close), raw_close, adj_close)
    adjustment = close / raw_close
    return Prices(
        tickers=rows.tickers,
        sessions=pd.DatetimeIndex(dates, name="date"),
        session=session,
        open=columns["open"] * adjustment,
        high=columns["high"] * adjustment,
        low=columns["low"] * adjustment,
        close=close,
        volume=columns["volume"],
        raw_close=raw_close,
        adjustment=adjustment,
        source=source,
        sha256=sha256,
        notes=tuple(notes),
        markets=tuple(markets[ticker] for ticker in rows.tickers) if markets else (),
    )


def membership_mask(prices: Prices, membership: Mapping[str, MemberDates] | None) -> BoolArray | None:
    """Return whether each ticker is a member of the universe at each bar, (bars, tickers); None if all always are.

    Raises
    ------
    DataError : no ticker has a bar as a member.
    """
    if not membership:
        return None
    dates = prices.sessions.to_numpy().astype("datetime64[D]")[prices.session]
    first, last = member_dates_of_tickers(prices.tickers, membership)
    mask = (prices.session >= 0) & (dates >= first) & (dates <= last)
    if not mask.any():
        span = f"{iso_date(prices.sessions[0])} to {iso_date(prices.sessions[-1])}"
        raise DataError(f"no ticker is a member on any of its bars, {span}; correct the dates", key="data.membership")
    return mask
