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

from quantlr.data.fetched import Source
from quantlr.data.layouts import FIELDS
from quantlr.data.members import LONGEST_TICKER, TickersFile, read_tickers
from quantlr.data.quality import QualitySpec, passed
from quantlr.data.rows import Rows
from quantlr.data.rules import World
from quantlr.data.sources import SOURCES
from quantlr.data.tables import Bars
from quantlr.types import Array, Note, Prices, Progress, Spec, Tally, day, no_progress, one_of

if TYPE_CHECKING:
    AnySource = Source
else:
    AnySource = one_of(SOURCES)


def _as_written(ticker: Any) -> Any:
    """A ticker is its text: 0700 is not 700; what YAML reads as nothing or as yes and no must be quoted."""
    if ticker is None or isinstance(ticker, bool):
        raise ValueError("a ticker is text, and this reads as a YAML word; quote it")
    return getattr(ticker, "text", ticker)


def _iso_date(value: Any) -> Any:
    """A date is written YYYY-MM-DD; pydantic would take numbers and moments for dates too."""
    if value is None or (isinstance(value, dt.date) and not isinstance(value, dt.datetime)):
        return value
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", str(value)):
            return dt.date.fromisoformat(str(value))
    except ValueError:
        pass
    raise PydanticCustomError("date_parsing", "no date")


Date = Annotated[
    dt.date,
    BeforeValidator(_iso_date),
    WithJsonSchema({"type": "string", "format": "date", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}),
]
Ticker = Annotated[
    str,
    BeforeValidator(_as_written),
    Field(min_length=1, max_length=LONGEST_TICKER),
    WithJsonSchema({"type": ["string", "number"], "minLength": 1, "maxLength": LONGEST_TICKER}),
]
"""A symbol; what an editor takes for a number, like 0700, is read as the text that it is."""


Tickers = Annotated[TickersFile, BeforeValidator(read_tickers), WithJsonSchema({"type": "string", "format": "path"})]
SURVIVORS = 3
"""Tickers from which on a list is taken for a universe rather than for a choice of one or two."""
SURVIVED_YEARS = 2.0
"""Years over which it matters who has not survived them."""


def _listed(schema: dict[str, Any]) -> None:
    """Tell an editor that tickers have no default: only a file of them lets them be left out, or be null."""
    del schema["default"]
    schema.update(type=["array", "null"], minItems=1)


ONE_LIST: dict[str, Any] = {
    "if": {"required": ["tickers_file"], "properties": {"tickers_file": {"type": "string"}}},
    "then": {"properties": {"tickers": {"type": "null"}}},
    "else": {"required": ["tickers"], "properties": {"tickers": {"type": "array"}}},
}
"""Tickers are listed in the config or in a file, as a JSON Schema says it."""


class DataSpec(Spec):
    """Which prices to use."""

    model_config = ConfigDict(json_schema_extra=ONE_LIST)

    source: AnySource = Field(description="Where prices come from.")
    tickers_file: Tickers | None = Field(
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
        json_schema_extra=_listed,
    )
    context: tuple[Ticker, ...] = Field(
        (), description="Symbols that features may look at and that are not traded.", examples=[["^GSPC"]]
    )
    start: Date | None = Field(
        None,
        description="First date used, included, as YYYY-MM-DD; null is the first there is.",
        examples=["1999-01-04"],
    )
    end: Date | None = Field(
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
    def _one_list(cls, tickers: Any, info: ValidationInfo) -> Any:
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
    def _not_traded(cls, context: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        traded = sorted({*context} & {*info.data.get("tickers", ())})
        if traded:
            raise ValueError(f"traded already, and features may look at what is traded: {', '.join(traded)}")
        return context

    @field_validator("tickers")
    @classmethod
    def _not_empty(cls, tickers: tuple[str, ...]) -> tuple[str, ...]:
        if not tickers:
            raise PydanticCustomError("too_short", "too short", {"min_length": 1, "actual_length": 0})
        return tickers

    @field_validator("tickers", "context")
    @classmethod
    def _each_once(cls, tickers: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted(ticker for ticker, count in Counter(tickers).items() if count > 1)
        if twice:
            raise ValueError(f"each ticker once; twice here: {', '.join(twice)}")
        return tickers

    @field_validator("end")
    @classmethod
    def _after_start(cls, end: dt.date | None, info: ValidationInfo) -> dt.date | None:
        start = info.data.get("start")
        if start and end and end < start:
            raise ValueError(f"must not be before data.start, {start}")
        return end


def load_prices(spec: DataSpec, *, offline: bool = False, progress: Progress = no_progress) -> Prices:
    """Return the prices a config asks for, checked, adjusted, and cut to its dates; `offline`, without the network.

    Raises
    ------
    DataError : a ticker that is not there, or prices that can't be used.
    Fault : the network or the disk is in the way.
    """
    wanted = (*spec.tickers, *spec.context)
    fetched = spec.source.fetch(wanted, start=spec.start, end=spec.end, offline=offline, progress=progress)
    steps = Tally("checking", 3, progress)
    rows = Rows.of(fetched.bars, files=fetched.files).between(spec.start, spec.end)
    steps.step()
    calendars = fetched.calendars if spec.calendar is None else dict.fromkeys(wanted, spec.calendar)
    span = f" between {spec.start or 'the first'} and {spec.end or 'the last'}" if spec.start or spec.end else ""
    rows, notes = passed(rows, spec.quality, World(latest_date(), calendars), span=span)
    steps.step()
    beside = np.array([ticker in spec.context for ticker in rows.tickers])
    traded = rows.only(~beside)
    prices = prices_of(
        traded,
        source=fetched.source,
        sha256=fetched.sha256,
        notes=(*fetched.notes, *(note for note in notes if _matters(note, spec)), *survivorship(traded)),
    )
    if beside.any():
        context = prices_of(rows.only(beside), source=fetched.source, sha256=fetched.sha256, notes=())
        prices = replace(prices, context=context)
    steps.step()
    return prices


def _matters(note: Note, spec: DataSpec) -> bool:
    """Return whether a note is worth telling: whether opens can be traded is no matter for what is only looked at."""
    return not (note.key == "data.quality.opens" and note.ticker in spec.context)


def latest_date() -> dt.date:
    """Return the latest date that it is anywhere on earth."""
    return (dt.datetime.now(dt.UTC) + dt.timedelta(hours=14)).date()


def aligned(bars: Mapping[str, Bars], *, source: str, sha256: str, notes: Sequence[Note]) -> Prices:
    """Return bars of several tickers, each in order and without doubt, as one `Prices`."""
    return prices_of(Rows.of(bars), source=source, sha256=sha256, notes=notes)


def prices_of(rows: Rows, *, source: str, sha256: str, notes: Sequence[Note]) -> Prices:
    """Return rows in order as one `Prices`, adjusted by adj_close / close where both are there.

    Nothing is filled: where a ticker has no row, it has no bar.
    """
    dates = np.unique(rows.date)
    starts = np.cumsum(rows.counts) - rows.counts
    bar = np.arange(len(rows)) - starts[rows.ticker]
    shape = (int(rows.counts.max()), len(rows.tickers))
    session = np.full(shape, -1, dtype=np.int64)
    session[bar, rows.ticker] = np.searchsorted(dates, rows.date)
    columns: dict[str, Array] = {}
    for name in FIELDS:
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


def survivorship(rows: Rows) -> list[Note]:
    """Return a note where every one of several tickers still trades on the last of many sessions.

    That is how a list looks that was drawn up at the end: whoever was delisted before is not on it.
    """
    last = rows.date[np.cumsum(rows.counts) - 1]
    years = (rows.date.max() - rows.date.min()) / np.timedelta64(1, "D") / 365.25
    if len(rows.tickers) < SURVIVORS or years < SURVIVED_YEARS or (last < rows.date.max()).any():
        return []
    text = (
        f"all {len(rows.tickers)} tickers still trade on the last session, {years:.0f} years after the first: a list "
        "drawn up with hindsight lacks those that were delisted, which flatters holding it (survivorship bias)"
    )
    return [Note("data", text, date=day(pd.Timestamp(rows.date.max())))]
