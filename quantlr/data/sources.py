"""Where prices come from: what every source gives, and the prices that ship with the package."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Literal

import pandas as pd

from quantlr.data.tables import Bars, unknown
from quantlr.types import Note, Part, Progress, no_progress


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a source gave.

    Attributes
    ----------
    bars : by ticker, in the order asked for; see `tables.Bars`.
    source : where they were read, for people.
    sha256 : digest of the bytes that were read.
    notes : what was dropped on the way.
    calendars : by ticker, the name of its exchange's calendar, where the source knows it.
    files : by ticker, the file that it was read from, where there is one.
    """

    bars: dict[str, Bars]
    source: str
    sha256: str
    notes: tuple[Note, ...] = ()
    calendars: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


class Source(Part):
    """A place that prices can be had from."""

    @abstractmethod
    def fetch(self, tickers: Sequence[str], *, progress: Progress = no_progress) -> Fetched:
        """Return the bars of `tickers`, all there are.

        Raises
        ------
        DataError : a ticker is not there, or what is there can't be read as prices.
        """


SAMPLES = {
    "sp500_1999_2018.parquet": ("^GSPC",),
    "stocks5_2000_2013.parquet": ("AAPL", "FB", "GOOG", "IBM", "MSFT"),
}
"""Files that ship with the package, and the tickers in each; NOTICE.md beside them says where they are from."""


class Sample(Source):
    """Prices that ship with quantlr: the S&P 500 of 1999-2018 and five stocks of 2000-2013; no network."""

    kind: Literal["sample"] = "sample"

    def fetch(self, tickers: Sequence[str], *, progress: Progress = no_progress) -> Fetched:
        """Return the bars of `tickers` from the package's own files."""
        home = {ticker: name for name, held in SAMPLES.items() for ticker in held}
        for ticker in tickers:
            if ticker not in home:
                raise unknown(ticker, list(home), "the sample")
        names = sorted({home[ticker] for ticker in tickers})
        contents = {name: (Path(__file__).parent / "samples" / name).read_bytes() for name in names}
        tables = {name: pd.read_parquet(BytesIO(content)) for name, content in contents.items()}
        bars: dict[str, Bars] = {}
        for done, ticker in enumerate(tickers, start=1):
            table = tables[home[ticker]]
            bars[ticker] = table[table["ticker"] == ticker].drop(columns="ticker").set_index("date")
            progress("reading", done=done, total=len(tickers))
        return Fetched(
            bars,
            f"sample ({', '.join(names)})",
            digest_of({name: sha256(content) for name, content in contents.items()}),
        )


def sha256(content: bytes) -> str:
    """Return the digest of one file's bytes."""
    return hashlib.sha256(content).hexdigest()


def digest_of(digests: Mapping[str, str]) -> str:
    """Return one digest of several files, by name; the order in which they were read doesn't matter."""
    return sha256("\n".join(f"{name}:{digest}" for name, digest in sorted(digests.items())).encode())
