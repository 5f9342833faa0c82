"""Where prices come from: one class per source, each with a `fetch`; the closing tuple is the catalogue.

What a source must be stands in `fetched`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Literal

import pandas as pd

from quantlr.data.fetched import FetchedPrices, Source, combine_digests, sha256_hex
from quantlr.data.files import FileSource
from quantlr.data.tables import BarFrame, require_known_tickers
from quantlr.data.yahoo import YahooSource
from quantlr.types import Progress, Told, ignore_progress

SAMPLE_FILE_TICKERS = {
    "sp500_1999_2018.parquet": ("^GSPC",),
    "stocks5_2000_2013.parquet": ("AAPL", "FB", "GOOG", "IBM", "MSFT"),
}
"""Files that ship with the package, and the tickers in each; NOTICE.md beside them says where they are from."""


class SampleSource(Source):
    """Prices that ship with quantlr: the S&P 500 of 1999-2018 and five stocks of 2000-2013; no network."""

    kind: Literal["sample"] = "sample"

    def fetch(
        self,
        tickers: Sequence[str],
        *,
        start: dt.date | None = None,
        end: dt.date | None = None,
        offline: bool = False,
        progress: Progress = ignore_progress,
    ) -> FetchedPrices:
        """Return the bars of `tickers` from the package's own files."""
        home = {ticker: name for name, held in SAMPLE_FILE_TICKERS.items() for ticker in held}
        require_known_tickers(tickers, home, "the sample")
        names = sorted({home[ticker] for ticker in tickers})
        contents = {name: (Path(__file__).parent / "samples" / name).read_bytes() for name in names}
        tables = {name: pd.read_parquet(BytesIO(content)) for name, content in contents.items()}
        bars: dict[str, BarFrame] = {}
        for ticker in Told(tickers, "reading", progress):
            table = tables[home[ticker]]
            bars[ticker] = table[table["ticker"] == ticker].drop(columns="ticker").set_index("date")
        return FetchedPrices(
            bars,
            f"sample ({', '.join(names)})",
            combine_digests({name: sha256_hex(content) for name, content in contents.items()}),
        )


SOURCES: tuple[type[Source], ...] = (SampleSource, FileSource, YahooSource)
