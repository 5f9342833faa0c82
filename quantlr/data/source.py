"""The base class of price sources, and the value that they return."""

from __future__ import annotations

import codecs
import datetime as dt
import hashlib
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from quantlr.core.components import ChoiceDescriptions, Component
from quantlr.core.errors import DataError
from quantlr.core.known_series import FileColumn
from quantlr.core.progress import Progress, ignore_progress
from quantlr.core.values import Note
from quantlr.data.csv.date_texts import BARE_NUMBER_UNITS
from quantlr.data.csv.description import FileReading
from quantlr.data.csv.raw_table import ReadingOptions
from quantlr.data.csv.reader import BarFrame

DECIMAL_DESCRIPTIONS = {".": "a point, and commas separate thousands", ",": "a comma, and points separate thousands"}
SEPARATOR_BY_NAME = {"tab": "\t"}
SAMPLE_TIME = dt.datetime(2013, 12, 31, 16, 30, tzinfo=dt.UTC)


def _validate_separator(separator: str | None) -> str | None:
    if separator is not None and separator not in SEPARATOR_BY_NAME and len(separator) > 1:
        raise ValueError(f"needs one character, or tab, found {separator!r}")
    return separator


def _validate_encoding(encoding: str | None) -> str | None:
    try:
        codecs.lookup(encoding or "utf-8")
    except LookupError:
        raise ValueError(f"needs the name of an encoding, as utf-16 or cp1252, found {encoding!r}") from None
    return encoding


def _validate_date_format(date_format: str | None) -> str | None:
    """Require a unit of bare numbers, or a format that a date survives."""
    if date_format is None or date_format in BARE_NUMBER_UNITS:
        return date_format
    try:
        date = dt.datetime.strptime(SAMPLE_TIME.strftime(date_format), date_format).date()  # noqa: DTZ007
    except (ValueError, re.error):  # a directive that is none, or one twice
        date = None
    if date != SAMPLE_TIME.date():
        units = ", ".join(BARE_NUMBER_UNITS)
        raise ValueError(f"needs year, month and day as for strptime, like %d.%m.%Y, or {units}, found {date_format!r}")
    return date_format


# The keys that say how a file is to be read, where its content does not show it.
Separator = Annotated[
    str | None,
    Field(min_length=1, max_length=3, description="Text between cells: one character, or tab; null: as found."),
    Field(examples=[";"]),
    AfterValidator(_validate_separator),
]
Decimal = Annotated[
    Annotated[Literal[".", ","], ChoiceDescriptions(DECIMAL_DESCRIPTIONS)] | None,
    Field(description="Decimal mark of numbers in text; null: as the numbers of the file prove."),
]
Encoding = Annotated[
    str | None,
    Field(description="Encoding of text, as utf-16 or cp1252; null: as found.", examples=["cp1252"]),
    AfterValidator(_validate_encoding),
]
DateFormat = Annotated[
    str | None,
    Field(description="Format of dates, as for strptime; or excel, s, ms, us or ns for numbers; null: as found."),
    Field(examples=["%d.%m.%y"], min_length=1),
    AfterValidator(_validate_date_format),
]
Sheet = Annotated[
    str | None,
    Field(min_length=1, description="Sheet of a workbook; null: the only one with cells.", examples=["Prices"]),
]


def reading_options(keys: Any, columns: Mapping[str, str]) -> ReadingOptions:
    """Return how a file is to be read, by the keys above of a component and headings by field."""
    separator = SEPARATOR_BY_NAME.get(keys.separator, keys.separator)
    return ReadingOptions(columns, separator, keys.decimal, keys.encoding, keys.date_format, keys.sheet)


@dataclass(frozen=True, slots=True)
class FetchedPrices:
    """The bars that a source returned, and where they are from.

    Attributes
    ----------
    bars : by ticker, in the order asked for; see `BarFrame`. A ticker that the config allows to drop may be missing.
    source : name of the source, for people.
    sha256 : digest of the data read.
    notes : notes on what was dropped or repaired.
    calendars : code of the exchange's calendar in exchange_calendars by ticker, where the source states the exchange.
    markets : the same, to know when a ticker's market closes; its sessions are not compared with the bars.
    file_paths : by ticker the file it was read from, if there is one.
    """

    bars: dict[str, BarFrame]
    source: str
    sha256: str
    notes: tuple[Note, ...] = ()
    calendars: Mapping[str, str] = field(default_factory=dict)
    file_paths: Mapping[str, str] = field(default_factory=dict)
    markets: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """The prices that a source is asked for.

    Attributes
    ----------
    tickers : symbols, as the source writes them.
    start, end : the dates used, both included; a source may return more. None leaves that side open.
    offline : whether to work without the network.
    progress : is called with the number of tickers or files done.
    file_columns : by ticker the columns beside the prices that are needed; a source that has none leaves them out.
    """

    tickers: Sequence[str]
    start: dt.date | None = None
    end: dt.date | None = None
    offline: bool = False
    progress: Progress = ignore_progress
    file_columns: Mapping[str, tuple[FileColumn, ...]] = field(default_factory=dict)

    def columns_of(self, tickers: Sequence[str]) -> tuple[FileColumn, ...]:
        """Return the columns that some of the tickers of one file need, each once."""
        return tuple(dict.fromkeys(column for ticker in tickers for column in self.file_columns.get(ticker, ())))


class Source(Component):
    """A source of daily prices."""

    entry_point_group: ClassVar[str] = "quantlr.sources"

    @abstractmethod
    def fetch(self, request: FetchRequest) -> FetchedPrices:
        """Return the bars of the request's tickers.

        Raises
        ------
        DataError : a ticker does not exist, or its data can't be read as prices.
        Fault : the network or the disk failed.
        """

    def list_tickers(self) -> list[str]:
        """Return all tickers of the source, which ``data.tickers: all`` stands for.

        Raises
        ------
        DataError : it has no list of them, or it can't be read.
        """
        raise DataError(f"the source {self.kind!r} has no list of tickers; name those wanted", key="data.tickers")

    def describe_files(self, tickers: Sequence[str]) -> list[FileReading]:
        """Return how the first files of some tickers are read; none for a source that has no files of the user's.

        Errors are those of `fetch`.
        """
        return []

    def last_date_by_due_ticker(self, tickers: Sequence[str], *, end: dt.date | None) -> dict[str, dt.date | None]:
        """Return the last cached session of each ticker that `fetch` would download, None if none is cached.

        It is empty for a source that does not use the network.
        """
        return {}


def sha256_hex(content: bytes) -> str:
    """Return the SHA-256 digest of some bytes as hexadecimal text."""
    return hashlib.sha256(content).hexdigest()


def combine_digests(digests_by_name: Mapping[str, str]) -> str:
    """Return one digest of several, which does not depend on their order."""
    return sha256_hex("\n".join(f"{name}:{digest}" for name, digest in sorted(digests_by_name.items())).encode())
