"""The tickers of a run on one calendar: what to load, from where, over which dates."""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pandas as pd
from pydantic import BeforeValidator, ConfigDict, Field, ValidationInfo, WithJsonSchema, field_validator
from pydantic_core import PydanticCustomError

from quantlr.core.arrays import Array
from quantlr.core.components import ConfigSection, component_union
from quantlr.core.errors import DataError
from quantlr.core.progress import Note, Progress, ProgressCounter, ignore_progress, iso_date
from quantlr.core.values import Prices
from quantlr.data.csv.bars import BarFrame
from quantlr.data.csv.layouts import BAR_FIELDS
from quantlr.data.price_rows import PriceRows
from quantlr.data.source import Source
from quantlr.data.sources import SOURCES
from quantlr.data.ticker_list import MAX_TICKER_CHARACTERS, TickerList, read_ticker_list
from quantlr.data.validation import QualitySpec, validate
from quantlr.data.validation_rules import ValidationContext


def find_ticker(prices: Prices, ticker: str) -> tuple[Prices, int]:
    """Return the prices in which a ticker is, traded or context, and its column there.

    Raises
    ------
    DataError : it is in neither.
    """
    for held in (prices, prices.context):
        if held is not None and ticker in held.tickers:
            return held, held.tickers.index(ticker)
    known = (*prices.tickers, *(prices.context.tickers if prices.context else ()))
    raise DataError(f"{ticker!r} is looked at and was not fetched, {', '.join(known)} were; add it", key="data.context")


if TYPE_CHECKING:
    AnySource = Source
else:
    AnySource = component_union(SOURCES)


def _ticker_to_text(ticker: Any) -> Any:
    """A ticker is its text: 0700 is not 700; what YAML reads as nothing or as yes and no must be quoted."""
    if ticker is None or isinstance(ticker, bool):
        raise ValueError("a ticker is text, and this reads as a YAML word; quote it")
    return getattr(ticker, "text", ticker)


def _parse_iso_date(value: Any) -> Any:
    """A date is written YYYY-MM-DD; pydantic would take numbers and moments for dates too."""
    if value is None or (isinstance(value, dt.date) and not isinstance(value, dt.datetime)):
        return value
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", str(value)):
            return dt.date.fromisoformat(str(value))
    except ValueError:
        pass
    raise PydanticCustomError("date_parsing", "no date")


IsoDate = Annotated[
    dt.date,
    BeforeValidator(_parse_iso_date),
    WithJsonSchema({"type": "string", "format": "date", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}),
]
Ticker = Annotated[
    str,
    BeforeValidator(_ticker_to_text),
    Field(min_length=1, max_length=MAX_TICKER_CHARACTERS),
    WithJsonSchema({"type": ["string", "number"], "minLength": 1, "maxLength": MAX_TICKER_CHARACTERS}),
]
"""A symbol; what an editor takes for a number, like 0700, is read as the text that it is."""


TickerListFromPath = Annotated[
    TickerList, BeforeValidator(read_ticker_list), WithJsonSchema({"type": "string", "format": "path"})
]
MIN_UNIVERSE_TICKERS = 3
"""Tickers from which on a list is taken for a universe rather than for a choice of one or two."""
MIN_SURVIVORSHIP_YEARS = 2.0
"""Years over which it matters who has not survived them."""


def _require_tickers_in_schema(schema: dict[str, Any]) -> None:
    """Tell an editor that tickers have no default: only a file of them lets them be left out, or be null."""
    del schema["default"]
    schema.update(type=["array", "null"], minItems=1)


TICKERS_OR_FILE_SCHEMA: dict[str, Any] = {
    "if": {"required": ["tickers_file"], "properties": {"tickers_file": {"type": "string"}}},
    "then": {"properties": {"tickers": {"type": "null"}}},
    "else": {"required": ["tickers"], "properties": {"tickers": {"type": "array"}}},
}
"""Tickers are listed in the config or in a file, as a JSON Schema says it."""


class DataSpec(ConfigSection):
    """Which prices to use."""

    model_config = ConfigDict(json_schema_extra=TICKERS_OR_FILE_SCHEMA)

    source: AnySource = Field(description="Where prices come from.")
    tickers_file: TickerListFromPath | None = Field(
        None,
        exclude=True,  # what it lists stands under tickers, so that a config written out needs no other file
        description="A file with one ticker a line, relative to the config that names it; instead of tickers.",
        examples=["sp500.txt"],
    )
    tickers: tuple[Ticker, ...] = Field(
        (),
        validate_default=True,
        description="Symbols, as the source writes them, each once. null, true and false need quotes.",
        examples=[["^GSPC"], ["AAPL", "MSFT"]],
        json_schema_extra=_require_tickers_in_schema,
    )
    context: tuple[Ticker, ...] = Field(
        (), description="Symbols that features may look at and that are not traded.", examples=[["^GSPC"]]
    )
    start: IsoDate | None = Field(
        None,
        description="First date used, included, as YYYY-MM-DD; null is the first there is.",
        examples=["1999-01-04"],
    )
    end: IsoDate | None = Field(
        None, description="Last date used, included, as YYYY-MM-DD; null is the last there is.", examples=["2018-12-31"]
    )
    calendar: str | None = Field(
        None,
        min_length=1,
        max_length=20,
        description="Exchange whose sessions are expected, by its code in exchange_calendars; null asks the source.",
        examples=["XNYS"],
    )
    quality: QualitySpec = Field(QualitySpec(), description="What to do with prices that may be wrong.")

    @field_validator("tickers", mode="before")
    @classmethod
    def _resolve_tickers_or_file(cls, tickers: Any, info: ValidationInfo) -> Any:
        """Take the tickers of the file where there is one; there must be one list, and only one."""
        listed = info.data.get("tickers_file")
        nothing = tickers is None or tickers == ()
        if listed is not None and not nothing:
            raise ValueError("is there, and data.tickers_file too; keep one of them, or write null for the other")
        if listed is not None:
            return listed.tickers
        if nothing and "tickers_file" in info.data:
            raise PydanticCustomError("missing", "missing")
        return ("unread",) if nothing else tickers

    @field_validator("context")
    @classmethod
    def _validate_context_not_traded(cls, context: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        traded = sorted({*context} & {*info.data.get("tickers", ())})
        if traded:
            raise ValueError(f"traded already, and features may look at what is traded: {', '.join(traded)}")
        return context

    @field_validator("tickers")
    @classmethod
    def _validate_tickers_not_empty(cls, tickers: tuple[str, ...]) -> tuple[str, ...]:
        if not tickers:
            raise PydanticCustomError("too_short", "too short", {"min_length": 1, "actual_length": 0})
        return tickers

    @field_validator("tickers", "context")
    @classmethod
    def _validate_tickers_unique(cls, tickers: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted(ticker for ticker, count in Counter(tickers).items() if count > 1)
        if twice:
            raise ValueError(f"each ticker once; twice here: {', '.join(twice)}")
        return tickers

    @field_validator("end")
    @classmethod
    def _validate_end_not_before_start(cls, end: dt.date | None, info: ValidationInfo) -> dt.date | None:
        start = info.data.get("start")
        if start and end and end < start:
            raise ValueError(f"must not be before data.start, {start}")
        return end


def load_prices(spec: DataSpec, *, offline: bool = False, progress: Progress = ignore_progress) -> Prices:
    """Return the prices a config asks for, checked, adjusted, and cut to its dates; `offline`, without the network.

    Raises
    ------
    DataError : a ticker that is not there, or prices that can't be used.
    Fault : the network or the disk is in the way.
    """
    wanted = (*spec.tickers, *spec.context)
    fetched = spec.source.fetch(wanted, start=spec.start, end=spec.end, offline=offline, progress=progress)
    steps = ProgressCounter("checking", 3, progress)
    rows = PriceRows.from_bars(fetched.bars, file_paths=fetched.file_paths).slice_dates(spec.start, spec.end)
    steps.step()
    calendars = fetched.calendars if spec.calendar is None else dict.fromkeys(wanted, spec.calendar)
    span = f" between {spec.start or 'the first'} and {spec.end or 'the last'}" if spec.start or spec.end else ""
    rows, notes = validate(
        rows, spec.quality, ValidationContext(latest_date_worldwide(), calendars), date_range_text=span
    )
    steps.step()
    beside = np.array([ticker in spec.context for ticker in rows.tickers])
    traded = rows.for_tickers(~beside)
    prices = prices_from_rows(
        traded,
        source=fetched.source,
        sha256=fetched.sha256,
        notes=(
            *fetched.notes,
            *(note for note in notes if _is_relevant_note(note, spec)),
            *survivorship_bias_notes(traded),
        ),
    )
    if beside.any():
        context = prices_from_rows(rows.for_tickers(beside), source=fetched.source, sha256=fetched.sha256, notes=())
        prices = replace(prices, context=context)
    steps.step()
    return prices


def _is_relevant_note(note: Note, spec: DataSpec) -> bool:
    """Return whether a note is worth telling: whether opens can be traded is no matter for what is only looked at."""
    return not (note.key == "data.quality.opens" and note.ticker in spec.context)


def latest_date_worldwide() -> dt.date:
    """Return the latest date that it is anywhere on earth."""
    return (dt.datetime.now(dt.UTC) + dt.timedelta(hours=14)).date()


def prices_from_bars(bars: Mapping[str, BarFrame], *, source: str, sha256: str, notes: Sequence[Note]) -> Prices:
    """Return bars of several tickers, each in order and without doubt, as one `Prices`."""
    return prices_from_rows(PriceRows.from_bars(bars), source=source, sha256=sha256, notes=notes)


def prices_from_rows(rows: PriceRows, *, source: str, sha256: str, notes: Sequence[Note]) -> Prices:
    """Return rows in order as one `Prices`, adjusted by adj_close / close where both are there.

    Nothing is filled: where a ticker has no row, it has no bar.
    """
    dates = np.unique(rows.date)
    starts = np.cumsum(rows.n_rows_by_ticker) - rows.n_rows_by_ticker
    bar = np.arange(len(rows)) - starts[rows.ticker]
    shape = (int(rows.n_rows_by_ticker.max()), len(rows.tickers))
    session = np.full(shape, -1, dtype=np.int64)
    session[bar, rows.ticker] = np.searchsorted(dates, rows.date)
    columns: dict[str, Array] = {}
    for name in BAR_FIELDS:
        columns[name] = np.full(shape, np.nan)
        columns[name][bar, rows.ticker] = rows.columns[name]
    adjusted = np.where(np.isnan(columns["adj_close"]), columns["close"], columns["adj_close"])
    adjustment = adjusted / columns["close"]
    return Prices(
        tickers=rows.tickers,
        sessions=pd.DatetimeIndex(dates, name="date"),
        session=session,
        open=columns["open"] * adjustment,
        high=columns["high"] * adjustment,
        low=columns["low"] * adjustment,
        close=adjusted,
        volume=columns["volume"],
        raw_close=columns["close"],
        adjustment=adjustment,
        source=source,
        sha256=sha256,
        notes=tuple(notes),
    )


def survivorship_bias_notes(rows: PriceRows) -> list[Note]:
    """Return a note where every one of several tickers still trades on the last of many sessions.

    That is how a list looks that was drawn up at the end: whoever was delisted before is not on it.
    """
    last = rows.date[np.cumsum(rows.n_rows_by_ticker) - 1]
    years = (rows.date.max() - rows.date.min()) / np.timedelta64(1, "D") / 365.25
    if len(rows.tickers) < MIN_UNIVERSE_TICKERS or years < MIN_SURVIVORSHIP_YEARS or (last < rows.date.max()).any():
        return []
    text = (
        f"all {len(rows.tickers)} tickers still trade on the last session, {years:.0f} years after the first: a list "
        "drawn up with hindsight lacks those that were delisted, which flatters holding it (survivorship bias)"
    )
    return [Note("data", text, date=iso_date(pd.Timestamp(rows.date.max())))]
