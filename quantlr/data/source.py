"""The base class of price sources, and the value that they return."""

from __future__ import annotations

import datetime as dt
import hashlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from quantlr.core.components import Component
from quantlr.core.errors import DataError
from quantlr.core.known_series import FileColumn
from quantlr.core.progress import Progress, ignore_progress
from quantlr.core.values import Note
from quantlr.data.csv.reader import BarFrame


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
