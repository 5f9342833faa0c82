"""Sources of files, of prices passed from Python and of those that ship; the closing tuple has all sources."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
import pyarrow as pa
from pyarrow import ipc
from pydantic import Field, PrivateAttr

from quantlr.core.components import ChoiceDescriptions, ConfigRelativePath
from quantlr.core.errors import DataError, Fault
from quantlr.core.file_reading import UnreadableContentError, iter_files_below, library_errors_translated, read_file
from quantlr.core.progress import ProgressCounter
from quantlr.core.text import escape_unsafe_characters
from quantlr.core.values import Note
from quantlr.data.crypto import CcxtSource
from quantlr.data.csv.description import FileReading, describe_file
from quantlr.data.csv.formats import index_to_column, raw_table_from_frame
from quantlr.data.csv.raw_table import MAX_FILE_BYTES, RawTable, ReadingOptions, require_table_size, source_path_error
from quantlr.data.csv.reader import BarFrame, bars_from_raw_table, read_bars, read_tickers, tickers_of_raw_table
from quantlr.data.source import (
    DateFormat,
    Decimal,
    Encoding,
    FetchedPrices,
    FetchRequest,
    Separator,
    Sheet,
    Source,
    combine_digests,
    reading_options,
    sha256_hex,
)
from quantlr.data.stooq import StooqSource
from quantlr.data.ticker_list import STOOQ_US_SUFFIX, require_known_tickers
from quantlr.data.yahoo import YahooSource

MAX_DESCRIBED = 3
"""Files, and tickers of each, of which a plan says how they are read."""
FRAME_NAME = Path("data")
"""Name of a DataFrame in messages."""
MAX_FOLDER_DEPTH = 50
"""Levels of folders below `data.source.path` in which files are looked for."""
READABLE_SUFFIXES = (
    *(".csv", ".txt", ".tsv", ".csv.gz", ".txt.gz", ".tsv.gz", ".csv.zip", ".txt.zip", ".zip"),
    *(".parquet", ".pq", ".feather", ".arrow", ".xlsx", ".xlsm"),
)
"""Endings of the names of files that can be read."""
ColumnField = Literal["date", "ticker", "open", "high", "low", "close", "adj_close", "volume"]


def readable_file_stem(path: Path) -> str | None:
    """Return a file's name without the longest of `READABLE_SUFFIXES` that it ends with, None if it has none."""
    suffixes = [suffix for suffix in READABLE_SUFFIXES if path.name.casefold().endswith(suffix)]
    return path.name[: -len(max(suffixes, key=len))] if suffixes else None


class FileSource(Source):
    """Text, Excel, Parquet or Feather: a file of one ticker or several, or a folder of one file per ticker."""

    kind: Literal["file"] = "file"
    path: ConfigRelativePath = Field(
        description="The file or folder, relative to the config that names it.", examples=["prices.csv"]
    )
    columns: dict[ColumnField, str] = Field(
        {}, description="Headings of columns that are not recognised, by what they hold.", examples=[{"close": "Kurs"}]
    )
    separator: Separator = None
    decimal: Decimal = None
    encoding: Encoding = None
    date_format: DateFormat = None
    sheet: Sheet = None

    example_parameters = (
        {"path": "prices.csv"},
        {
            "path": "prices.csv",
            "columns": {"close": "Kurs"},
            "separator": ";",
            "decimal": ",",
            "encoding": "cp1252",
            "date_format": "%d.%m.%y",
            "sheet": "Prices",
        },
    )

    @property
    def reading_options(self) -> ReadingOptions:
        """How the files are to be read."""
        return reading_options(self, {str(name): heading for name, heading in self.columns.items()})

    def list_tickers(self) -> list[str]:
        """Return the tickers in the file, or the names of the files in the folder, in order."""
        if self.path.is_dir():
            return sorted({stem.casefold(): stem for stem in _stem_by_path(self.path).values()}.values())
        content = _read_price_file(_existing(self.path))
        tickers = read_tickers(content, path=self.path, options=self.reading_options)
        return [readable_file_stem(self.path) or self.path.stem] if tickers is None else tickers

    def fetch(self, request: FetchRequest) -> FetchedPrices:
        """Return the bars of the request's tickers from the file, or from the file of each in the folder."""
        folder, path_by_ticker = self._folder_and_path_by_ticker(request.tickers)
        source, options = f"file {escape_unsafe_characters(self.path.name)}", self.reading_options
        fetched = _read_price_files(path_by_ticker, folder, request, source=source, options=options)
        return replace(fetched, file_paths={ticker: str(path) for ticker, path in path_by_ticker.items()})

    def describe_files(self, tickers: Sequence[str]) -> list[FileReading]:
        """Return how the first files are read, each with its first tickers."""
        tickers_by_path = _tickers_by_path(self._folder_and_path_by_ticker(tickers)[1])
        return [
            describe_file(
                _read_price_file(path), path=path, tickers=of_file[:MAX_DESCRIBED], options=self.reading_options
            )
            for path, of_file in list(tickers_by_path.items())[:MAX_DESCRIBED]
        ]

    def _folder_and_path_by_ticker(self, tickers: Sequence[str]) -> tuple[Path, dict[str, Path]]:
        if self.path.is_dir():
            return self.path, _find_file_path_by_ticker(tickers, self.path)
        return self.path.parent, dict.fromkeys(tickers, _existing(self.path))


def _existing(path: Path) -> Path:
    if not path.exists():
        raise source_path_error(f"{path} does not exist; a path is relative to its config")
    return path


def _read_price_file(path: Path) -> bytes:
    """Return the content of a file of prices.

    Raises
    ------
    DataError : it is no regular file, or too large.
    Fault : it can't be read.
    """
    try:
        return read_file(path, max_bytes=MAX_FILE_BYTES)
    except UnreadableContentError as error:
        raise source_path_error(f"{path}: {error}; name a smaller file of prices") from error
    except OSError as error:
        raise Fault(f"{path} can't be read: {error.strerror}") from error


def _tickers_by_path(path_by_ticker: Mapping[str, Path]) -> dict[Path, list[str]]:
    tickers_by_path: dict[Path, list[str]] = {}
    for ticker, path in path_by_ticker.items():
        tickers_by_path.setdefault(path, []).append(ticker)
    return tickers_by_path


def _read_price_files(
    path_by_ticker: Mapping[str, Path],
    folder: Path,
    request: FetchRequest,
    *,
    source: str,
    options: ReadingOptions | None = None,
) -> FetchedPrices:
    """Return the bars of each ticker from its file in a folder; each file is read once."""
    tickers_by_path = _tickers_by_path(path_by_ticker)
    bars: dict[str, BarFrame] = {}
    notes: list[Note] = []
    digests: dict[str, str] = {}
    options = options or ReadingOptions()
    counter = ProgressCounter("reading", len(tickers_by_path), request.progress)
    for path, tickers in counter.iter_items(tickers_by_path.items()):
        content = _read_price_file(path)
        digests[path.relative_to(folder).as_posix()] = sha256_hex(content)
        columns = request.columns_of(tickers)
        file_bars, file_notes = read_bars(
            content, path=path, tickers=tickers, options=replace(options, file_columns=columns)
        )
        bars |= file_bars
        notes += file_notes
    sorted_bars = {ticker: bars[ticker] for ticker in path_by_ticker}
    return FetchedPrices(sorted_bars, source, combine_digests(digests), tuple(notes))


def _stem_by_path(folder: Path) -> dict[Path, str]:
    """Return the name without its ending of each readable file in a folder and below it, the nearest first.

    Raises
    ------
    DataError : there is none; or folders are nested too deeply.
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
    return stem_by_path


def _find_file_path_by_ticker(tickers: Sequence[str], folder: Path) -> dict[str, Path]:
    """Return the file of each ticker: the one whose name is the ticker, in the folder or else nearest below it.

    Raises
    ------
    DataError : a ticker has no file, or two at the same depth; or as `_stem_by_path`.
    Fault : as `_stem_by_path`.
    """
    stem_by_path = _stem_by_path(folder)
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


SAMPLE_FILE_TICKERS: dict[str, dict[str, tuple[str, ...]]] = {
    "ohlc": {
        "sp500_1999_2018.parquet": ("^GSPC",),
        "stocks5_2000_2013.parquet": ("AAPL", "FB", "GOOG", "IBM", "MSFT"),
    },
    "closes": {
        "closes_1990_2022.parquet": (
            *("^GSPC", "AAPL", "AMD", "BAC", "BBY", "CVX", "GE", "HD", "JNJ", "JPM", "KO"),
            *("LLY", "MRK", "MSFT", "PEP", "PFE", "PG", "RRC", "UNH", "WMT", "XOM"),
        )
    },
}
"""Files that ship with the package by `SampleSource.prices`, and their tickers; NOTICE.md states their origin."""
SAMPLE_DESCRIPTIONS = {
    "ohlc": "open, high, low, close and volume: the S&P 500 of 1999-2018 and five stocks of 2000-2013",
    "closes": "adjusted closes of 1990-2022: the S&P 500 and twenty stocks",
}


class SampleSource(Source):
    """Prices that ship with quantlr: bars to 2018, or closes to 2022; no network."""

    kind: Literal["sample"] = "sample"
    prices: Annotated[Literal["ohlc", "closes"], ChoiceDescriptions(SAMPLE_DESCRIPTIONS)] = Field(
        "ohlc", description="Which of the prices that ship."
    )

    example_parameters = ({}, {"prices": "closes"})

    def list_tickers(self) -> list[str]:
        """Return the tickers of the sample."""
        return [ticker for members in SAMPLE_FILE_TICKERS[self.prices].values() for ticker in members]

    def fetch(self, request: FetchRequest) -> FetchedPrices:
        """Return the bars of the request's tickers from the package's own files."""
        files = SAMPLE_FILE_TICKERS[self.prices]
        file_by_ticker = {ticker: name for name, members in files.items() for ticker in members}
        require_known_tickers(request.tickers, list(file_by_ticker), "the sample")
        folder = Path(__file__).parent / "samples"
        path_by_ticker = {ticker: folder / file_by_ticker[ticker] for ticker in request.tickers}
        names = ", ".join(sorted({path.name for path in path_by_ticker.values()}))
        prices_only = replace(request, file_columns={})
        fetched = _read_price_files(path_by_ticker, folder, prices_only, source=f"sample ({names})")
        return replace(fetched, markets=dict.fromkeys(request.tickers, "XNYS"))


class FrameSource(Source):
    """Prices that a Python program passes as ``data=``; run again, such a config needs the same prices passed again."""

    kind: Literal["frame"] = "frame"
    sha256: str = Field(
        pattern="^[0-9a-f]{64}$", description="Digest of the prices that were passed.", examples=["0" * 64]
    )
    _table: pd.DataFrame | None = PrivateAttr(default=None)

    example_parameters = ({"sha256": "0" * 64},)

    @classmethod
    def from_data(cls, data: Any) -> FrameSource:
        """Return the source of a table of prices.

        Parameters
        ----------
        data : as yfinance's `download` and `history` return them, or one row per bar, or one column of closes per
            ticker: a DataFrame of pandas, or a Series of closes by date; any table that Arrow reads, as polars'; or a
            mapping of tickers to such.

        Raises
        ------
        DataError : it is no such table.
        """
        try:
            with library_errors_translated("a table of prices"):
                table = _to_pandas(data)
                require_table_size(FRAME_NAME, n_rows=table.shape[0], n_columns=table.shape[1])
                source = cls(sha256=_digest(table))
        except UnreadableContentError as error:
            raise DataError(f"data= {error}; pass a DataFrame of dates and closes", key="data.source") from error
        source._table = table
        return source

    def list_tickers(self) -> list[str]:
        """Return the tickers that the table names."""
        tickers = tickers_of_raw_table(self._raw_table(), ReadingOptions())
        if tickers is None:
            raise DataError("data= names no ticker; name it, as data.tickers: [NAME]", key="data.tickers")
        return tickers

    def fetch(self, request: FetchRequest) -> FetchedPrices:
        """Return the bars of the request's tickers from the table."""
        options = ReadingOptions(file_columns=request.columns_of(request.tickers))
        bars, notes = bars_from_raw_table(self._raw_table(), request.tickers, options)
        return FetchedPrices(bars, "data= from Python", self.sha256, tuple(notes))

    def _raw_table(self) -> RawTable:
        if self._table is None:
            raise DataError("these prices were passed as data= from Python; pass them again", key="data.source")
        return raw_table_from_frame(self._table, path=FRAME_NAME, options=ReadingOptions())


def _to_pandas(data: Any) -> pd.DataFrame:
    if isinstance(data, pd.Series):
        data = data.to_frame("close" if data.name is None else data.name)
    if isinstance(data, pd.DataFrame):
        return data.copy()
    if isinstance(data, Mapping):
        frames = [_to_pandas(table).assign(ticker=str(ticker)) for ticker, table in data.items()]
        return pd.concat([index_to_column(frame) for frame in frames], ignore_index=True)
    if hasattr(data, "__arrow_c_stream__"):
        table: pd.DataFrame = pa.table(data).to_pandas()
        return table
    raise UnreadableContentError(f"needed a table of prices, found {type(data).__name__}")


def _digest(table: pd.DataFrame) -> str:
    """Return the SHA-256 digest of a table's values, index and headings."""
    arrow_table = pa.Table.from_pandas(table, preserve_index=True).replace_schema_metadata(None)
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, arrow_table.schema) as writer:
        writer.write_table(arrow_table)
    return hashlib.sha256(sink.getvalue()).hexdigest()


SOURCES: tuple[type[Source], ...] = (SampleSource, FileSource, YahooSource, StooqSource, CcxtSource, FrameSource)
