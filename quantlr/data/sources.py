"""Where prices come from: one class per source, each with a `fetch`; the closing tuple is the catalogue."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import BeforeValidator, Field

from quantlr.data.tables import SUFFIXES, Bars, read_bars
from quantlr.errors import DataError, Fault
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
    """

    bars: dict[str, Bars]
    source: str
    sha256: str
    notes: tuple[Note, ...] = ()


class Source(Part):
    """A place that prices can be had from."""

    @abstractmethod
    def fetch(self, tickers: Sequence[str], *, progress: Progress = no_progress) -> Fetched:
        """Return the bars of `tickers`, all there are.

        Raises
        ------
        DataError : a ticker is not there, or what is there can't be read as prices.
        """


def _unknown(ticker: str, known: Sequence[str], where: str) -> DataError:
    near = get_close_matches(ticker.upper(), known, n=1)
    guess = f"; did you mean {near[0]}?" if near else ""
    return DataError(f"{where} has no ticker {ticker!r}, it has {', '.join(known)}{guess}", key="data.tickers")


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
                raise _unknown(ticker, list(home), "the sample")
        names = sorted({home[ticker] for ticker in tickers})
        contents = {name: (Path(__file__).parent / "samples" / name).read_bytes() for name in names}
        tables = {name: pd.read_parquet(BytesIO(content)) for name, content in contents.items()}
        bars: dict[str, Bars] = {}
        for done, ticker in enumerate(tickers, start=1):
            table = tables[home[ticker]]
            bars[ticker] = table[table["ticker"] == ticker].drop(columns="ticker").set_index("date")
            progress("reading", done=done, total=len(tickers))
        return Fetched(bars, f"sample ({', '.join(names)})", _digest(contents))


def _beside_the_config(path: Any) -> Any:
    """Resolve a path against the folder of the file that wrote it; text from a config carries that folder."""
    folder = getattr(path, "folder", None)
    return Path(folder or ".", path).expanduser().absolute() if isinstance(path, (str, Path)) else path


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

    def fetch(self, tickers: Sequence[str], *, progress: Progress = no_progress) -> Fetched:
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
            for ticker in wanted:
                if ticker not in found:
                    raise _unknown(ticker, list(found), str(path))
            bars.update(found)
            notes.extend(said)
            progress("reading", done=done, total=len(set(files.values())))
        return Fetched(
            {ticker: bars[ticker] for ticker in tickers},
            f"file {self.path.name}",
            _digest(contents),
            tuple(notes),
        )

    def _file_of(self, ticker: str) -> Path:
        by_name = {
            path.stem.casefold(): path for path in sorted(self.path.iterdir()) if path.suffix.casefold() in SUFFIXES
        }
        if ticker.casefold() not in by_name:
            raise _unknown(ticker, [path.stem for path in by_name.values()], f"the folder {self.path}")
        return by_name[ticker.casefold()]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Fault(f"{path} can't be read: {error.strerror}") from error


def _digest(contents: dict[str, bytes]) -> str:
    digests = [f"{name}:{hashlib.sha256(content).hexdigest()}" for name, content in sorted(contents.items())]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


SOURCES: tuple[type[Source], ...] = (Sample, File)
