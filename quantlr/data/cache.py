"""Prices that were fetched once, kept on this machine: Parquet files named by their SHA-256, and an index by ticker.

::

    QUANTLR_HOME/prices/yahoo-SPY/
        0c4f….parquet       what the source answered, or the history that its answers make: never written again
        index.json          which history is in use, every answer it is made of, and every revision

The index is replaced in one step under a lock, after the files that it names are on the disk; so whatever ends a
program leaves the former state or the new one. Readers take no lock. Every answer is kept, and so is a history that a
later answer revised; a history that was merely extended is removed once its successor is in use.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from urllib.parse import quote

import pandas as pd
from pydantic import ValidationError

from quantlr.core.atomic import CACHE_DIR_VARIABLE, TEMP_FILE_SUFFIX, atomic_write, cache_dir
from quantlr.core.components import ConfigSection
from quantlr.core.errors import Fault
from quantlr.data.corporate_actions import (
    RAW_BAR_COLUMNS,
    HistoryRevision,
    RawBarFrame,
    find_history_revision,
    merge_raw_bars,
)

LOCK_TIMEOUT_SECONDS = 60.0
MAX_READ_ATTEMPTS = 5
"""Times that an index is read again because the history it named has just been succeeded."""
ABANDONED_FILE_AGE_SECONDS = 3600.0
"""Age at which an unfinished file belongs to no program any more."""
INDEX_FILE_NAME = "index.json"
DAMAGED_FILE_SUFFIX = ".damaged"


class DamagedFileError(Exception):
    """A file of the store is not what its name says; it was set aside."""


@dataclass(frozen=True, slots=True)
class FetchResponse:
    """What a source said of one ticker at one time.

    Attributes
    ----------
    quotes : sessions that are over; see `quotes.Quotes`.
    whole : whether all there is was asked for, and not only the newest sessions.
    fetched : when, in UTC.
    through : date up to which no session is to come any more.
    about : exchange, time zone, currency and the like, in the source's words.
    unfinished : session that was left out because it was not over.
    incomplete : sessions that were left out because they lacked a price.
    """

    raw_bars: RawBarFrame
    is_full_history: bool
    fetched_at: dt.datetime
    complete_through: dt.date
    exchange_info: Mapping[str, str]
    unfinished_session: dt.date | None = None
    incomplete_sessions: tuple[dt.date, ...] = ()


class CachedResponse(ConfigSection):
    """An answer that was kept, and the sessions it begins and ends with."""

    sha256: str
    fetched: dt.datetime
    first: dt.date
    last: dt.date

    @classmethod
    def from_response(cls, response: FetchResponse, sha256: str) -> CachedResponse:
        """Return what the index says of an answer."""
        first, last = response.raw_bars.index[[0, -1]]
        return cls(sha256=sha256, fetched=response.fetched_at, first=first.date(), last=last.date())


class RevisionRecord(ConfigSection):
    """A revision, and the histories before and after it."""

    fetched: dt.datetime
    before: str
    after: str
    first: dt.date
    last: dt.date
    sessions: int
    text: str

    @classmethod
    def from_revision(
        cls, revision: HistoryRevision, response: FetchResponse, *, sha256_before: str, sha256_after: str
    ) -> RevisionRecord:
        """Return what the index says of a revision that an answer brought."""
        return cls(
            fetched=response.fetched_at,
            before=sha256_before,
            after=sha256_after,
            first=dt.date.fromisoformat(revision.first_session),
            last=dt.date.fromisoformat(revision.last_session),
            sessions=revision.n_sessions,
            text=str(revision),
        )


class CacheIndexEntry(ConfigSection):
    """What the index knows of one ticker.

    `sha256` names the history in use, from session `first` to `last`; the other words are those of `Answer`.
    """

    source: str
    ticker: str
    sha256: str
    first: dt.date
    last: dt.date
    bars: int
    fetched: dt.datetime
    through: dt.date
    about: dict[str, str]
    unfinished: dt.date | None
    incomplete: tuple[dt.date, ...]
    answers: tuple[CachedResponse, ...]
    revisions: tuple[RevisionRecord, ...] = ()

    @property
    def file_digests(self) -> set[str]:
        """Digests of all files that belong to the ticker."""
        revised = {digest for revision in self.revisions for digest in (revision.before, revision.after)}
        return {self.sha256, *(answer.sha256 for answer in self.answers), *revised}


@dataclass(frozen=True, slots=True)
class CachedHistory:
    """An entry and the quotes that it names."""

    index_entry: CacheIndexEntry
    raw_bars: RawBarFrame


@dataclass(frozen=True, slots=True)
class TickerCache:
    """The folder in which one ticker's prices are kept; it need not exist yet."""

    folder: Path

    def read_index_entry(self) -> CacheIndexEntry | None:
        """Return what the index says, None where there is none.

        Raises
        ------
        Damaged : it is no index; it was set aside.
        Fault : the disk.
        """
        try:
            return CacheIndexEntry.model_validate_json(_read_bytes(self._index_path))
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise _set_aside_damaged_file(self._index_path, "is no index of prices") from error

    def read_history(self) -> CachedHistory | None:
        """Return what is kept, None if nothing; raises as `entry` does, and `Damaged` where a checksum fails."""
        for _ in range(MAX_READ_ATTEMPTS):
            entry = self.read_index_entry()
            if entry is None:
                return None
            with suppress(FileNotFoundError):
                return CachedHistory(entry, self._read_raw_bars(entry.sha256))
        raise DamagedFileError(f"the history that {self._index_path} names is missing")

    def add_response(self, source: str, ticker: str, response: FetchResponse) -> CachedHistory:
        """Keep an answer, and make it part of the history.

        Raises
        ------
        Fault : the disk is full or read-only, or another run holds the lock for a minute.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._lock_folder():
                return self._merge_response_into_history(source, ticker, response)
        except OSError as error:
            raise Fault(
                f"the stored prices {self.folder} could not be written: {error.strerror or error}; what was there is "
                f"untouched; free the disk, or name another folder in the environment variable {CACHE_DIR_VARIABLE}"
            ) from error

    def set_aside_damaged_files(self) -> list[str]:
        """Check every file against its name, set aside what fails, and return a line on each."""
        found: list[str] = []
        for path in sorted(self.folder.glob("*.parquet")):
            try:
                self._read_raw_bars(path.stem)
            except DamagedFileError as error:
                found.append(str(error))
        try:
            entry = self.read_index_entry()
        except DamagedFileError as error:
            return [*found, str(error)]
        named = [self._parquet_path(sha256) for sha256 in sorted(entry.file_digests)] if entry else []
        asides = [path for path in named if path.with_suffix(DAMAGED_FILE_SUFFIX).exists()]
        return found + [f"{path} is missing" for path in named if not path.exists() and path not in asides]

    def remove_abandoned_files(self) -> None:
        """Remove what programs that were ended left half written, once it is an hour old."""
        for path in self.folder.glob(f".*{TEMP_FILE_SUFFIX}"):
            if time.time() - path.stat().st_mtime > ABANDONED_FILE_AGE_SECONDS:
                path.unlink(missing_ok=True)

    def _merge_response_into_history(self, source: str, ticker: str, response: FetchResponse) -> CachedHistory:
        former, held = self._read_undamaged_entry_and_bars()
        if held is None and not response.is_full_history:
            raise Fault(f"the stored prices of {ticker} were lost while new ones were fetched; run again")
        quotes, revision = response.raw_bars, None
        if held is not None:
            quotes, revision = merge_raw_bars(held, response.raw_bars), find_history_revision(held, response.raw_bars)
        kept, sha256 = (
            CachedResponse.from_response(response, self._write_raw_bars(response.raw_bars)),
            self._write_raw_bars(quotes),
        )
        revisions = former.revisions if former else ()
        if former and revision:
            revisions = (
                *revisions,
                RevisionRecord.from_revision(revision, response, sha256_before=former.sha256, sha256_after=sha256),
            )
        entry = CacheIndexEntry(
            source=source,
            ticker=ticker,
            sha256=sha256,
            first=quotes.index[0].date(),
            last=quotes.index[-1].date(),
            bars=len(quotes),
            fetched=response.fetched_at,
            through=response.complete_through,
            about=dict(response.exchange_info),
            unfinished=response.unfinished_session,
            incomplete=_merge_incomplete_sessions(former, response),
            answers=(*(former.answers if former else ()), kept),
            revisions=revisions,
        )
        atomic_write(self._index_path, entry.model_dump_json(indent=1).encode())
        if former and former.sha256 not in entry.file_digests:
            self._parquet_path(former.sha256).unlink(missing_ok=True)
        return CachedHistory(entry, quotes)

    def _read_undamaged_entry_and_bars(self) -> tuple[CacheIndexEntry | None, RawBarFrame | None]:
        """Return the entry and the quotes that are there, as far as they are sound."""
        try:
            entry = self.read_index_entry()
        except DamagedFileError:
            return None, None
        if entry is None:
            return None, None
        try:
            return entry, self._read_raw_bars(entry.sha256)
        except (DamagedFileError, FileNotFoundError):
            return entry, None

    @property
    def _index_path(self) -> Path:
        return self.folder / INDEX_FILE_NAME

    def _parquet_path(self, sha256: str) -> Path:
        return self.folder / f"{sha256}.parquet"

    @contextmanager
    def _lock_folder(self) -> Iterator[None]:
        from filelock import FileLock, Timeout

        try:
            with FileLock(self.folder / ".lock", timeout=LOCK_TIMEOUT_SECONDS):
                yield
        except Timeout:
            raise Fault(
                f"another run has been writing {self.folder} for {LOCK_TIMEOUT_SECONDS:.0f} seconds; try again"
            ) from None

    def _read_raw_bars(self, sha256: str) -> RawBarFrame:
        content = _read_bytes(self._parquet_path(sha256))
        found = hashlib.sha256(content).hexdigest()
        if found != sha256:
            raise _set_aside_damaged_file(
                self._parquet_path(sha256), f"has the checksum {found[:12]}… and not that of its name"
            )
        return _parquet_to_raw_bars(content)

    def _write_raw_bars(self, raw_bars: RawBarFrame) -> str:
        """Write quotes where they are not there already, and return their digest."""
        stream = BytesIO()
        raw_bars[list(RAW_BAR_COLUMNS)].rename_axis("date").reset_index().to_parquet(
            stream, index=False, compression="zstd"
        )
        content = stream.getvalue()
        sha256 = hashlib.sha256(content).hexdigest()
        path = self._parquet_path(sha256)
        if not path.exists() or path.read_bytes() != content:
            atomic_write(path, content)
        return sha256


def _parquet_to_raw_bars(content: bytes) -> RawBarFrame:
    """Return the quotes of a Parquet file; column by column takes half of the time that pandas' own reader does."""
    from pyarrow import BufferReader
    from pyarrow.parquet import ParquetFile

    table = ParquetFile(BufferReader(content)).read(use_threads=False)
    columns = {name: table.column(name).to_numpy() for name in table.column_names}
    return pd.DataFrame(columns, index=pd.DatetimeIndex(columns.pop("date"), name="date"))


@dataclass(frozen=True, slots=True)
class PriceCache:
    """All prices that are kept in one folder, which need not exist yet."""

    folder: Path

    @classmethod
    def in_user_cache_dir(cls) -> PriceCache:
        """Return the user's own store."""
        return cls(cache_dir() / "prices")

    def ticker_cache(self, source: str, ticker: str) -> TickerCache:
        """Return the place of one ticker; upper and lower case are the same."""
        return TickerCache(self.folder / f"{source}-{quote(ticker.upper(), safe='^=&')}")

    def list_ticker_caches(self) -> list[TickerCache]:
        """Return the places of all tickers, by name."""
        return [TickerCache(path.parent) for path in sorted(self.folder.glob(f"*/{INDEX_FILE_NAME}"))]


def _merge_incomplete_sessions(previous_entry: CacheIndexEntry | None, response: FetchResponse) -> tuple[dt.date, ...]:
    """Return the sessions that lack a price: those of the answer, and the former ones that it does not tell of."""
    first = response.raw_bars.index[0].date()
    earlier = [date for date in previous_entry.incomplete if date < first] if previous_entry else []
    return (*earlier, *response.incomplete_sessions)


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Fault(f"{path} can't be read: {error.strerror or error}") from error


def _set_aside_damaged_file(path: Path, reason: str) -> DamagedFileError:
    """Rename a file so that nobody reads it again, and return the error that tells of it."""
    aside = path.with_suffix(DAMAGED_FILE_SUFFIX)
    with suppress(OSError):
        path.replace(aside)
    return DamagedFileError(f"{path} {reason}; it was set aside as {aside.name}")
