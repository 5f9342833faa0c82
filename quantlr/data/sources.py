"""Where prices come from: one class per source, each with a `fetch`; the closing tuple is the catalogue.

What a source must be stands in `fetched`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import BeforeValidator, Field

from quantlr.data.fetched import Fetched, Source, digest
from quantlr.data.tables import SUFFIXES, Bars, read_bars, unknown
from quantlr.data.yahoo import Yahoo
from quantlr.errors import DataError, Fault
from quantlr.types import Note, Progress, no_progress

__all__ = ["SAMPLES", "SOURCES", "Fetched", "File", "Sample", "Source", "Yahoo"]

SAMPLES = {
    "sp500_1999_2018.parquet": ("^GSPC",),
    "stocks5_2000_2013.parquet": ("AAPL", "FB", "GOOG", "IBM", "MSFT"),
}
"""Files that ship with the package, and the tickers in each; NOTICE.md beside them says where they are from."""


class Sample(Source):
    """Prices that ship with quantlr: the S&P 500 of 1999-2018 and five stocks of 2000-2013; no network."""

    kind: Literal["sample"] = "sample"

    def fetch(
        self,
        tickers: Sequence[str],
        *,
        start: dt.date | None = None,
        end: dt.date | None = None,
        offline: bool = False,
        progress: Progress = no_progress,
    ) -> Fetched:
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
        return Fetched(bars, f"sample ({', '.join(names)})", digest(contents))


def _beside_the_config(path: Any) -> Any:
    """Resolve a path against the folder of the file that wrote it; text from a config carries that folder."""
    if not isinstance(path, (str, Path)):
        return path
    return Path(getattr(path, "folder", ".")).joinpath(Path(path).expanduser()).absolute()


class File(Source):
    """A CSV or Parquet file, in long form with a ticker column or of one ticker; or a folder of one file per ticker."""

    kind: Literal["file"] = "file"
    path: Annotated[Path, BeforeValidator(_beside_the_config)] = Field(
        description="The file or folder, relative to the config that names it."
    )

    @classmethod
    def examples(cls) -> tuple[File, ...]:
        """Return one instance; the path need not exist."""
        return (cls(path=Path("prices.csv")),)

    def fetch(
        self,
        tickers: Sequence[str],
        *,
        start: dt.date | None = None,
        end: dt.date | None = None,
        offline: bool = False,
        progress: Progress = no_progress,
    ) -> Fetched:
        """Return the bars of `tickers` from the file, or from the file of each in the folder."""
        if self.path.is_dir():
            files = {ticker: self._file_of(ticker) for ticker in tickers}
        elif self.path.is_file():
            files = dict.fromkeys(tickers, self.path)
        else:
            raise DataError(f"{self.path} does not exist; a path is relative to its config", key="data.source.path")
        contents: dict[str, bytes] = {}
        bars: dict[str, Bars] = {}
        notes: list[Note] = []
        for done, path in enumerate(dict.fromkeys(files.values()), start=1):
            wanted = [ticker for ticker in tickers if files[ticker] == path]
            contents[path.name] = _read(path)
            found, said = read_bars(contents[path.name], path=path, tickers=wanted)
            bars.update(found)
            notes.extend(said)
            progress("reading", done=done, total=len(set(files.values())))
        return Fetched(
            {ticker: bars[ticker] for ticker in tickers},
            f"file {self.path.name}",
            digest(contents),
            tuple(notes),
        )

    def _file_of(self, ticker: str) -> Path:
        files = [path for path in sorted(self.path.iterdir()) if path.suffix.casefold() in SUFFIXES and path.is_file()]
        mine = [path for path in files if path.stem.casefold() == ticker.casefold()]
        if not mine:
            raise unknown(ticker, [path.stem for path in files], f"the folder {self.path}")
        if len(mine) > 1:
            names = " and ".join(path.name for path in mine)
            raise DataError(f"{self.path} has both {names} for {ticker!r}; keep one", key="data.source.path")
        return mine[0]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Fault(f"{path} can't be read: {error.strerror}") from error


SOURCES: tuple[type[Source], ...] = (Sample, File, Yahoo)
