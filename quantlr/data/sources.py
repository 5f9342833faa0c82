"""Sources of files and of the prices that ship with quantlr; the closing tuple is the catalogue of all sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import Field

from quantlr.core.components import ConfigRelativePath
from quantlr.core.errors import Fault
from quantlr.core.file_reading import UnreadableContentError, iter_files_below, read_file
from quantlr.core.progress import Progress, ProgressCounter
from quantlr.core.values import Note
from quantlr.data.csv.layouts import BarFrame, read_bars
from quantlr.data.csv.raw_table import MAX_FILE_BYTES, READABLE_SUFFIXES, readable_file_stem, source_path_error
from quantlr.data.source import FetchedPrices, FetchRequest, Source, combine_digests, sha256_hex
from quantlr.data.ticker_list import STOOQ_US_SUFFIX, require_known_tickers
from quantlr.data.yahoo import YahooSource

MAX_FOLDER_DEPTH = 50
"""Levels of folders below `data.source.path` in which files are looked for."""


class FileSource(Source):
    """CSV or Parquet as exporters write them: a file of one ticker or several, or a folder of one file per ticker."""

    kind: Literal["file"] = "file"
    path: ConfigRelativePath = Field(
        description="The file or folder, relative to the config that names it.", examples=["prices.csv"]
    )

    example_parameters = ({"path": "prices.csv"},)

    def fetch(self, request: FetchRequest) -> FetchedPrices:
        """Return the bars of the request's tickers from the file, or from the file of each in the folder."""
        if self.path.is_dir():
            folder, path_by_ticker = self.path, _find_file_path_by_ticker(request.tickers, self.path)
        elif self.path.exists():
            folder, path_by_ticker = self.path.parent, dict.fromkeys(request.tickers, self.path)
        else:
            raise source_path_error(f"{self.path} does not exist; a path is relative to its config")
        fetched = _read_price_files(path_by_ticker, folder, request.progress, source=f"file {self.path.name}")
        return replace(fetched, file_paths={ticker: str(path) for ticker, path in path_by_ticker.items()})


def _read_price_files(
    path_by_ticker: Mapping[str, Path], folder: Path, progress: Progress, *, source: str
) -> FetchedPrices:
    """Return the bars of each ticker from its file in a folder; each file is read once."""
    tickers_by_path: dict[Path, list[str]] = {}
    for ticker, path in path_by_ticker.items():
        tickers_by_path.setdefault(path, []).append(ticker)
    bars: dict[str, BarFrame] = {}
    notes: list[Note] = []
    digests: dict[str, str] = {}
    counter = ProgressCounter("reading", len(tickers_by_path), progress)
    for path, tickers in counter.iter_items(tickers_by_path.items()):
        try:
            content = read_file(path, max_bytes=MAX_FILE_BYTES)
        except UnreadableContentError as error:
            raise source_path_error(f"{path}: {error}; name a smaller file of prices") from error
        except OSError as error:
            raise Fault(f"{path} can't be read: {error.strerror}") from error
        digests[path.relative_to(folder).as_posix()] = sha256_hex(content)
        file_bars, file_notes = read_bars(content, path=path, tickers=tickers)
        bars |= file_bars
        notes += file_notes
    sorted_bars = {ticker: bars[ticker] for ticker in path_by_ticker}
    return FetchedPrices(sorted_bars, source, combine_digests(digests), tuple(notes))


def _find_file_path_by_ticker(tickers: Sequence[str], folder: Path) -> dict[str, Path]:
    """Return the file of each ticker: the one whose name is the ticker, in the folder or else nearest below it.

    Raises
    ------
    DataError : a ticker has no file, or two at the same depth; or folders are nested too deeply.
    Fault : a folder can't be listed, so that it is not known whether it has files of the tickers.
    """
    try:
        paths = sorted(iter_files_below(folder, max_depth=MAX_FOLDER_DEPTH), key=lambda path: (len(path.parts), path))
    except UnreadableContentError as error:
        raise source_path_error(f"{folder}: {error}; name the folder that holds the prices") from error
    except OSError as error:
        text = f"{error.filename or folder} can't be listed: {error.strerror}"
        raise Fault(f"{text}; make it readable, or move it out of {folder}") from error
    stem_by_path = {path: stem for path in paths if (stem := readable_file_stem(path))}
    if not stem_by_path:
        raise source_path_error(f"{folder} holds no file that ends with {', '.join(READABLE_SUFFIXES)}")
    paths_by_stem: dict[str, list[Path]] = {}
    for path, stem in stem_by_path.items():
        paths_by_stem.setdefault(stem.casefold(), []).append(path)
    path_by_ticker: dict[str, Path] = {}
    for ticker in tickers:
        accepted_stems = (ticker.casefold(), ticker.casefold() + STOOQ_US_SUFFIX)
        paths = [path for stem in accepted_stems for path in paths_by_stem.get(stem, ())]
        nearest = sorted(path for path in paths if len(path.parts) == min(len(path.parts) for path in paths))
        if len(nearest) > 1:
            names = " and ".join(path.relative_to(folder).as_posix() for path in nearest)
            raise source_path_error(f"{folder} has both {names} for {ticker!r}; keep one")
        if nearest:
            path_by_ticker[ticker] = nearest[0]
    if len(path_by_ticker) < len(tickers):
        require_known_tickers(tickers, [*dict.fromkeys(stem_by_path.values()), *path_by_ticker], f"the folder {folder}")
    return path_by_ticker


SAMPLE_FILE_TICKERS = {
    "sp500_1999_2018.parquet": ("^GSPC",),
    "stocks5_2000_2013.parquet": ("AAPL", "FB", "GOOG", "IBM", "MSFT"),
}
"""Files that ship with the package, and the tickers in each; NOTICE.md beside them states their origin."""


class SampleSource(Source):
    """Prices that ship with quantlr: the S&P 500 of 1999-2018 and five stocks of 2000-2013; no network."""

    kind: Literal["sample"] = "sample"

    def fetch(self, request: FetchRequest) -> FetchedPrices:
        """Return the bars of the request's tickers from the package's own files."""
        file_by_ticker = {ticker: name for name, members in SAMPLE_FILE_TICKERS.items() for ticker in members}
        require_known_tickers(request.tickers, list(file_by_ticker), "the sample")
        folder = Path(__file__).parent / "samples"
        path_by_ticker = {ticker: folder / file_by_ticker[ticker] for ticker in request.tickers}
        names = ", ".join(sorted({path.name for path in path_by_ticker.values()}))
        fetched = _read_price_files(path_by_ticker, folder, request.progress, source=f"sample ({names})")
        return replace(fetched, markets=dict.fromkeys(request.tickers, "XNYS"))


SOURCES: tuple[type[Source], ...] = (SampleSource, FileSource, YahooSource)
