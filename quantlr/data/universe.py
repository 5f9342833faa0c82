"""The tickers of a run on one calendar: what to load, from where, over which dates."""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pandas as pd
from pydantic import BeforeValidator, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from quantlr.data.quality import checked, holes, inside, large_moves, require_history, stale_opens
from quantlr.data.sources import SOURCES, Source
from quantlr.data.tables import Bars
from quantlr.types import Array, Note, Prices, Progress, Spec, no_progress, one_of

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


Date = Annotated[dt.date, BeforeValidator(_iso_date)]
Ticker = Annotated[str, BeforeValidator(_as_written), Field(min_length=1, max_length=40)]


class DataSpec(Spec):
    """Which prices to use."""

    source: AnySource = Field(description="Where prices come from.")
    tickers: tuple[Ticker, ...] = Field(min_length=1, description="Symbols, as the source writes them.")
    context: tuple[Ticker, ...] = Field((), description="Symbols that features may look at and that are not traded.")
    start: Date | None = Field(None, description="First date used, included; null is the first there is.")
    end: Date | None = Field(None, description="Last date used, included; null is the last there is.")

    @field_validator("context")
    @classmethod
    def _not_traded(cls, context: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        traded = sorted({*context} & {*info.data.get("tickers", ())})
        if traded:
            raise ValueError(f"traded already, and features may look at what is traded: {', '.join(traded)}")
        return context

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


def load_prices(spec: DataSpec, *, progress: Progress = no_progress) -> Prices:
    """Return the prices a config asks for, checked, adjusted, and cut to its dates.

    Raises
    ------
    DataError : a ticker that is not there, or prices that can't be used.
    """
    fetched = spec.source.fetch((*spec.tickers, *spec.context), progress=progress)
    notes = list(fetched.notes)
    bars: dict[str, Bars] = {}
    for ticker, read in fetched.bars.items():
        used = inside(read, start=spec.start, end=spec.end)
        require_history(used, ticker=ticker, start=spec.start, end=spec.end)
        bars[ticker], said = checked(used, ticker=ticker)
        notes.extend(said)
    beside = {ticker: bars.pop(ticker) for ticker in spec.context}
    prices = aligned(bars, source=fetched.source, sha256=fetched.sha256, notes=notes)
    if not beside:
        return prices
    context = replace(aligned(beside, source=fetched.source, sha256=fetched.sha256, notes=[]), notes=())
    return replace(prices, context=context, notes=(*prices.notes, *large_moves(context), *holes(context)))


def aligned(bars: dict[str, Bars], *, source: str, sha256: str, notes: list[Note]) -> Prices:
    """Return bars of several tickers as one `Prices`, adjusted by adj_close / close where both are there."""
    dates = np.unique(np.concatenate([frame.index.to_numpy(dtype="datetime64[us]") for frame in bars.values()]))
    sessions = pd.DatetimeIndex(dates, name="date")
    shape = (max(len(frame) for frame in bars.values()), len(bars))
    session = np.full(shape, -1, dtype=np.int64)
    columns: dict[str, Array] = {
        name: np.full(shape, np.nan) for name in ("open", "high", "low", "close", "adj_close", "volume")
    }
    for column, frame in enumerate(bars.values()):
        session[: len(frame), column] = sessions.get_indexer(pd.DatetimeIndex(frame.index))
        for name, values in columns.items():
            values[: len(frame), column] = frame[name].to_numpy(dtype=np.float64)
    adjusted = np.where(np.isnan(columns["adj_close"]), columns["close"], columns["adj_close"])
    adjustment = adjusted / columns["close"]
    prices = Prices(
        tickers=tuple(bars),
        sessions=sessions,
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
    )
    return replace(prices, notes=(*notes, *stale_opens(prices), *large_moves(prices), *holes(prices)))
