"""What a source is, and what it gives."""

from __future__ import annotations

import datetime as dt
import hashlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from quantlr.core.components import Component
from quantlr.core.progress import Note, Progress, ignore_progress
from quantlr.data.csv.bars import BarFrame


@dataclass(frozen=True, slots=True)
class FetchedPrices:
    """What a source gave.

    Attributes
    ----------
    bars : by ticker, in the order asked for; see `tables.Bars`. A ticker that the config lets go may be missing.
    source : where they were read, for people.
    sha256 : digest of what was read.
    notes : what was dropped on the way.
    calendars : code of the exchange's calendar, as exchange_calendars has it, by ticker; only where the source tells.
    files : the file that a ticker was read from, by ticker, where there is one.
    """

    bars: dict[str, BarFrame]
    source: str
    sha256: str
    notes: tuple[Note, ...] = ()
    calendars: Mapping[str, str] = field(default_factory=dict)
    file_paths: Mapping[str, str] = field(default_factory=dict)


class Source(Component):
    """A place that prices can be had from."""

    @abstractmethod
    def fetch(
        self,
        tickers: Sequence[str],
        *,
        start: dt.date | None = None,
        end: dt.date | None = None,
        offline: bool = False,
        progress: Progress = ignore_progress,
    ) -> FetchedPrices:
        """Return the bars of `tickers`.

        Parameters
        ----------
        tickers : symbols, as the source writes them.
        start, end : what will be used, both included; a source may give more. None leaves that side open.
        offline : whether to do without the network.
        progress : hears how many tickers are done.

        Raises
        ------
        DataError : a ticker is not there, or what is there can't be read as prices.
        Fault : the network or the disk is in the way.
        """

    def tickers_to_download(self, tickers: Sequence[str], *, end: dt.date | None = None) -> dict[str, dt.date | None]:
        """Return the tickers that `fetch` would ask the network for, each with the last session that is stored.

        None stands for a ticker of which nothing is stored. A source that has no network asks for none.
        """
        return {}


def sha256_hex(content: bytes) -> str:
    """Return the digest of some bytes."""
    return hashlib.sha256(content).hexdigest()


def combine_digests(digests_by_name: Mapping[str, str]) -> str:
    """Return one digest of several, by name; the order in which they were read doesn't matter."""
    return sha256_hex("\n".join(f"{name}:{digest}" for name, digest in sorted(digests_by_name.items())).encode())
