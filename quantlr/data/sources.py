"""The file source: a file of one ticker or many, or a folder with a file for each."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import Field

from quantlr.core.components import ConfigRelativePath
from quantlr.core.errors import DataError, Fault
from quantlr.core.progress import Note, Progress, ProgressCounter, Told, ignore_progress
from quantlr.data.csv.bars import STOOQ_US_SUFFIX, BarFrame, read_bars, require_known_tickers
from quantlr.data.csv.table import READABLE_SUFFIXES, SOURCE_PATH_KEY, readable_suffix
from quantlr.data.source import FetchedPrices, Source, combine_digests, sha256_hex
from quantlr.data.yahoo import YahooSource


class FileSource(Source):
    """CSV or Parquet as exporters write them: a file of one ticker or several, or a folder of one file per ticker."""

    kind: Literal["file"] = "file"
    path: ConfigRelativePath = Field(
        description="The file or folder, relative to the config that names it.", examples=["prices.csv"]
    )

    @classmethod
    def examples(cls) -> tuple[FileSource, ...]:
        """Return one instance; the path need not exist."""
        return (cls(path=Path("prices.csv")),)

    def fetch(
        self,
        tickers: Sequence[str],
        *,
        start: dt.date | None = None,
        end: dt.date | None = None,
        offline: bool = False,
        progress: Progress = ignore_progress,
    ) -> FetchedPrices:
        """Return the bars of `tickers` from the file, or from the file of each in the folder."""
        if self.path.is_dir():
            files = _find_ticker_files(tickers, self.path)
        elif self.path.is_file():
            files = dict.fromkeys(tickers, self.path)
        else:
            raise DataError(f"{self.path} does not exist; a path is relative to its config", key=SOURCE_PATH_KEY)
        held: dict[Path, list[str]] = {}
        for ticker, path in files.items():
            held.setdefault(path, []).append(ticker)
        bars: dict[str, BarFrame] = {}
        notes: list[Note] = []
        digests: dict[str, str] = {}
        for path, wanted in ProgressCounter("reading", len(held), progress).iter_items(held.items()):
            content = _read_bytes(path)
            name = path.name if path == self.path else path.relative_to(self.path).as_posix()
            digests[name] = sha256_hex(content)
            found, said = read_bars(content, path=path, tickers=wanted)
            bars.update(found)
            notes.extend(said)
        return FetchedPrices(
            {ticker: bars[ticker] for ticker in tickers},
            f"file {self.path.name}",
            combine_digests(digests),
            tuple(notes),
            file_paths={ticker: str(path) for ticker, path in files.items()},
        )


def _find_ticker_files(tickers: Sequence[str], folder: Path) -> dict[str, Path]:
    """Return the file of each ticker: the one named like it, in the folder or, where none is, below it.

    Raises
    ------
    DataError : a ticker has no file, or two that are equally near.
    """
    named: dict[str, list[Path]] = {}
    stems: dict[str, None] = {}
    for path in _list_files_by_depth(folder):
        suffix = readable_suffix(path)
        if suffix and path.is_file():
            stem = path.name[: -len(suffix)]
            stems[stem] = None
            named.setdefault(stem.casefold(), []).append(path)
    if not stems:
        raise DataError(f"{folder} holds no file that ends with {', '.join(READABLE_SUFFIXES)}", key=SOURCE_PATH_KEY)
    there = [ticker if _accepted_file_stems(ticker) & named.keys() else "" for ticker in tickers]
    if not all(there):
        require_known_tickers(tickers, [*stems, *filter(None, there)], f"the folder {folder}")
    return {ticker: _shallowest_ticker_file(ticker, named, folder) for ticker in tickers}


def _list_files_by_depth(folder: Path) -> Iterable[Path]:
    return sorted(folder.rglob("*"), key=lambda path: (len(path.parts), path))


def _accepted_file_stems(ticker: str) -> set[str]:
    return {ticker.casefold(), ticker.casefold() + STOOQ_US_SUFFIX}


def _shallowest_ticker_file(ticker: str, paths_by_stem: dict[str, list[Path]], folder: Path) -> Path:
    paths = [path for name in _accepted_file_stems(ticker) for path in paths_by_stem.get(name, ())]
    depth = min(len(path.parts) for path in paths)
    mine = sorted(path.relative_to(folder) for path in paths if len(path.parts) == depth)
    if len(mine) > 1:
        names = " and ".join(path.as_posix() for path in mine)
        raise DataError(f"{folder} has both {names} for {ticker!r}; keep one", key=SOURCE_PATH_KEY)
    return folder / mine[0]


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Fault(f"{path} can't be read: {error.strerror}") from error


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
