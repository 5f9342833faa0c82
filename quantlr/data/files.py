"""The file source: a file of one ticker or many, or a folder with a file for each."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from quantlr.data.fetched import Fetched, Source, digest_of, sha256
from quantlr.data.sheets import KEY, SUFFIXES, known_suffix
from quantlr.data.tables import MARKET, Bars, read_bars, require_known
from quantlr.errors import DataError, Fault
from quantlr.types import ConfigPath, Note, Progress, Tally, no_progress


class File(Source):
    """CSV or Parquet as exporters write them: a file of one ticker or several, or a folder of one file per ticker."""

    kind: Literal["file"] = "file"
    path: ConfigPath = Field(
        description="The file or folder, relative to the config that names it.", examples=["prices.csv"]
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
            files = _files_of(tickers, self.path)
        elif self.path.is_file():
            files = dict.fromkeys(tickers, self.path)
        else:
            raise DataError(f"{self.path} does not exist; a path is relative to its config", key=KEY)
        held: dict[Path, list[str]] = {}
        for ticker, path in files.items():
            held.setdefault(path, []).append(ticker)
        bars: dict[str, Bars] = {}
        notes: list[Note] = []
        digests: dict[str, str] = {}
        for path, wanted in Tally("reading", len(held), progress).each(held.items()):
            content = _read(path)
            name = path.name if path == self.path else path.relative_to(self.path).as_posix()
            digests[name] = sha256(content)
            found, said = read_bars(content, path=path, tickers=wanted)
            bars.update(found)
            notes.extend(said)
        return Fetched(
            {ticker: bars[ticker] for ticker in tickers},
            f"file {self.path.name}",
            digest_of(digests),
            tuple(notes),
            files={ticker: str(path) for ticker, path in files.items()},
        )


def _files_of(tickers: Sequence[str], folder: Path) -> dict[str, Path]:
    """Return the file of each ticker: the one named like it, in the folder or, where none is, below it.

    Raises
    ------
    DataError : a ticker has no file, or two that are equally near.
    """
    named: dict[str, list[Path]] = {}
    stems: dict[str, None] = {}
    for path in _by_depth(folder):
        suffix = known_suffix(path)
        if suffix and path.is_file():
            stem = path.name[: -len(suffix)]
            stems[stem] = None
            named.setdefault(stem.casefold(), []).append(path)
    if not stems:
        raise DataError(f"{folder} holds no file that ends with {', '.join(SUFFIXES)}", key=KEY)
    there = [ticker if _names(ticker) & named.keys() else "" for ticker in tickers]
    if not all(there):
        require_known(tickers, [*stems, *filter(None, there)], f"the folder {folder}")
    return {ticker: _nearest(ticker, named, folder) for ticker in tickers}


def _by_depth(folder: Path) -> Iterable[Path]:
    return sorted(folder.rglob("*"), key=lambda path: (len(path.parts), path))


def _names(ticker: str) -> set[str]:
    return {ticker.casefold(), ticker.casefold() + MARKET}


def _nearest(ticker: str, named: dict[str, list[Path]], folder: Path) -> Path:
    paths = [path for name in _names(ticker) for path in named.get(name, ())]
    depth = min(len(path.parts) for path in paths)
    mine = sorted(path.relative_to(folder) for path in paths if len(path.parts) == depth)
    if len(mine) > 1:
        names = " and ".join(path.as_posix() for path in mine)
        raise DataError(f"{folder} has both {names} for {ticker!r}; keep one", key=KEY)
    return folder / mine[0]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Fault(f"{path} can't be read: {error.strerror}") from error
