"""Cache of downloaded prices on this machine: Parquet files named by their SHA-256, and an index per ticker.

::

    QUANTLR_HOME/prices/yahoo-SPY/
        0c4f….parquet       a response of the source, or the history merged from the responses; never written again
        index.json          the history in use, every response it was merged from, and every revision

The index is replaced in one step under a lock, after the files that it names are on the disk; a program that is killed
leaves either the old state or the new one. Readers take no lock. Every response is kept, and so is a history that a
later response revised; a history that was merely extended is removed once its successor is in use.
"""

from __future__ import annotations

import datetime as dt
import os
import time
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import quote
from zoneinfo import ZoneInfo

import pandas as pd
from pydantic import ConfigDict, Field, ValidationError, field_validator

from quantlr.core.atomic import CACHE_DIR_VARIABLE, TEMP_FILE_SUFFIX, atomic_write, cache_dir
from quantlr.core.components import ConfigSection
from quantlr.core.errors import Fault
from quantlr.core.file_reading import UnreadableContentError, library_errors_translated, read_file
from quantlr.data.corporate_actions import RAW_BAR_COLUMNS, RawBarFrame, find_history_revision, merge_raw_bars
from quantlr.data.source import sha256_hex

LOCK_TIMEOUT_SECONDS = 60.0
MAX_READ_ATTEMPTS = 5
"""Number of times that an index is read again because the history it names has just been replaced."""
ABANDONED_FILE_AGE_SECONDS = 3600.0
"""Age above which a temporary file belongs to no running program."""
MAX_CACHE_FILE_BYTES = 256 << 20
"""Size above which a file is not of the cache: a century of daily bars needs 2 MB."""
INDEX_FILE_NAME = "index.json"
DAMAGED_FILE_SUFFIX = ".damaged"


class DamagedFileError(Exception):
    """A file of the cache does not have the content that its name states; it was set aside."""


@dataclass(frozen=True, slots=True)
class FetchResponse:
    """The response of a source for one ticker.

    Attributes
    ----------
    raw_bars : finished sessions; see `RawBarFrame`.
    is_full_history : whether all history was requested, not only the newest sessions.
    fetched_at : time of the request, in UTC.
    complete_through_date : date up to which no session will be added.
    exchange_info : exchange, time zone, currency and the like, as the source states them.
    unfinished_session : session that was left out because it was not over.
    incomplete_sessions : sessions that were left out because a price was missing.
    """

    raw_bars: RawBarFrame
    is_full_history: bool
    fetched_at: dt.datetime
    complete_through_date: dt.date
    exchange_info: Mapping[str, str]
    unfinished_session: dt.date | None = None
    incomplete_sessions: tuple[dt.date, ...] = ()


Sha256Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class CachedResponse(ConfigSection):
    """A response in the index: its file, time, and first and last session."""

    sha256: Sha256Digest
    fetched: dt.datetime
    first: dt.date
    last: dt.date


class RevisionRecord(ConfigSection):
    """A revision in the index: the files of the history before and after it, and the sessions that changed."""

    fetched: dt.datetime
    before: Sha256Digest
    after: Sha256Digest
    first: dt.date
    last: dt.date
    sessions: int
    text: str


class CacheIndexEntry(ConfigSection):
    """The content of one ticker's index.

    Attributes
    ----------
    sha256 : the file of the history in use, from session `first` to `last`.
    complete_through_date, exchange_info, unfinished_session, incomplete_sessions : see `FetchResponse`.
    """

    model_config = ConfigDict(populate_by_name=True)

    source: str
    ticker: str
    sha256: Sha256Digest
    first: dt.date
    last: dt.date
    bars: int
    fetched: dt.datetime
    complete_through_date: dt.date = Field(alias="through")
    exchange_info: dict[str, str] = Field(alias="about")
    unfinished_session: dt.date | None = Field(alias="unfinished")
    incomplete_sessions: tuple[dt.date, ...] = Field(alias="incomplete")
    responses: tuple[CachedResponse, ...] = Field(alias="answers")
    revisions: tuple[RevisionRecord, ...] = ()

    @field_validator("exchange_info")
    @classmethod
    def _validate_exchange_info(cls, info: dict[str, str]) -> dict[str, str]:
        """Require the exchange, a time zone that is known, and a time of day or ""."""
        try:
            _, _, closes = info["exchange"], ZoneInfo(info["timezone"]), info["closes"]
        except (KeyError, OSError) as error:
            raise ValueError(f"needs exchange, timezone and closes, found {error}") from error
        if closes:
            dt.time.fromisoformat(closes)
        return info

    @property
    def file_digests(self) -> set[str]:
        """Digests of all files that belong to the ticker."""
        responses = {response.sha256 for response in self.responses}
        return {self.sha256} | responses.union(*({record.before, record.after} for record in self.revisions))


@dataclass(frozen=True, slots=True)
class CachedHistory:
    """An index entry and the raw bars of its history."""

    index_entry: CacheIndexEntry
    raw_bars: RawBarFrame


@dataclass(frozen=True, slots=True)
class TickerCache:
    """The folder of one ticker's cached prices, which need not exist yet."""

    folder: Path

    def read_cache_index(self) -> CacheIndexEntry | None:
        """Return the ticker's index, None if there is none.

        Raises
        ------
        DamagedFileError : the file is not an index; it was set aside.
        Fault : the disk can't be read.
        """
        try:
            return CacheIndexEntry.model_validate_json(_read_bytes(self._index_path))
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise _set_aside_file_and_make_error(self._index_path, "is no index of prices") from error

    def read_history(self) -> CachedHistory | None:
        """Return the cached history, None if there is none; errors as `read_cache_index`, and a wrong checksum."""
        for _ in range(MAX_READ_ATTEMPTS):
            entry = self.read_cache_index()
            if entry is None:
                return None
            with suppress(FileNotFoundError):
                return CachedHistory(entry, self._read_raw_bars(entry.sha256))
        raise DamagedFileError(f"the history that {self._index_path} names is missing")

    def merge_response(self, source: str, ticker: str, response: FetchResponse) -> CachedHistory:
        """Write a response to the cache, merge it into the history, and return the result.

        Raises
        ------
        Fault : the disk is full or read-only, or another run holds the lock for a minute.
        """
        from filelock import FileLock, Timeout

        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / ".lock", timeout=LOCK_TIMEOUT_SECONDS)
            with warnings.catch_warnings(action="ignore"):  # that a disk without locks gets a file as one
                lock.acquire()
            with lock:
                lock.release()  # one of the two
                return self._merge_response_into_history(source, ticker, response)
        except Timeout:
            text = f"another run has been writing {self.folder} for {LOCK_TIMEOUT_SECONDS:.0f} seconds; try again"
            raise Fault(text) from None
        except OSError as error:
            text = f"the stored prices {self.folder} could not be written: {error.strerror or error}; the files there "
            text += "are unchanged; free the disk, or name another folder in the environment variable "
            raise Fault(text + CACHE_DIR_VARIABLE) from error

    def set_aside_damaged_files(self) -> list[str]:
        """Check every file against its name, set aside damaged ones, and return a line on each."""
        damages: list[str] = []
        for name in _list_folder(self.folder):
            try:
                if name.endswith(".parquet"):
                    self._read_raw_bars(name.removesuffix(".parquet"))
            except DamagedFileError as error:
                damages.append(str(error))
        try:
            entry = self.read_cache_index()
        except DamagedFileError as error:
            return [*damages, str(error)]
        named = [self._parquet_path(digest) for digest in sorted(entry.file_digests)] if entry else []
        missing = [path for path in named if not path.exists() and not path.with_suffix(DAMAGED_FILE_SUFFIX).exists()]
        return damages + [f"{path} is missing" for path in missing]

    def remove_abandoned_files(self) -> None:
        """Remove temporary files of programs that were killed, an hour after they were written."""
        names = [name for name in _list_folder(self.folder) if name.startswith(".") and name.endswith(TEMP_FILE_SUFFIX)]
        for path in (self.folder / name for name in names):
            if time.time() - path.stat().st_mtime > ABANDONED_FILE_AGE_SECONDS:
                path.unlink(missing_ok=True)

    def _merge_response_into_history(self, source: str, ticker: str, response: FetchResponse) -> CachedHistory:
        previous: CacheIndexEntry | None = None
        old_bars: RawBarFrame | None = None
        with suppress(DamagedFileError, FileNotFoundError):  # a damaged history is replaced
            previous = self.read_cache_index()
            old_bars = self._read_raw_bars(previous.sha256) if previous else None
        if old_bars is None and not response.is_full_history:
            raise Fault(f"the stored prices of {ticker} were lost while new ones were fetched; run again")
        new_bars = response.raw_bars if old_bars is None else merge_raw_bars(old_bars, response.raw_bars)
        first, last = (session.date() for session in response.raw_bars.index[[0, -1]])
        digest, sha256 = self._write_raw_bars(response.raw_bars), self._write_raw_bars(new_bars)
        responses = [CachedResponse(sha256=digest, fetched=response.fetched_at, first=first, last=last)]
        revisions, incomplete = [], [*response.incomplete_sessions]
        if previous:
            responses, revisions = [*previous.responses, *responses], [*previous.revisions]
            incomplete = [date for date in previous.incomplete_sessions if date < first] + incomplete
            if old_bars is not None and (revision := find_history_revision(old_bars, response.raw_bars)):
                digests = {"before": previous.sha256, "after": sha256}
                revisions.append(RevisionRecord(fetched=response.fetched_at, **digests, **asdict(revision)))
        entry = CacheIndexEntry(
            source=source,
            ticker=ticker,
            sha256=sha256,
            first=new_bars.index[0].date(),
            last=new_bars.index[-1].date(),
            bars=len(new_bars),
            fetched=response.fetched_at,
            complete_through_date=response.complete_through_date,
            exchange_info=dict(response.exchange_info),
            unfinished_session=response.unfinished_session,
            incomplete_sessions=tuple(incomplete),
            responses=tuple(responses),
            revisions=tuple(revisions),
        )
        atomic_write(self._index_path, entry.model_dump_json(indent=1, by_alias=True).encode())
        if previous and previous.sha256 not in entry.file_digests:
            self._parquet_path(previous.sha256).unlink(missing_ok=True)
        return CachedHistory(entry, new_bars)

    @property
    def _index_path(self) -> Path:
        return self.folder / INDEX_FILE_NAME

    def _parquet_path(self, sha256: str) -> Path:
        return self.folder / f"{sha256}.parquet"

    def _read_raw_bars(self, sha256: str) -> RawBarFrame:
        """Return the bars of a file, and set it aside if its digest is another one."""
        from pyarrow import BufferReader
        from pyarrow.parquet import ParquetFile

        path = self._parquet_path(sha256)
        content = _read_bytes(path)
        digest = sha256_hex(content)
        if digest != sha256:
            raise _set_aside_file_and_make_error(path, f"has the checksum {digest[:12]}… and not that of its name")
        try:
            with library_errors_translated("a table of prices"):
                # Column by column takes half of the time of pandas.read_parquet.
                table = ParquetFile(BufferReader(content)).read(use_threads=False)
                columns = {name: table.column(name).to_numpy() for name in ("date", *RAW_BAR_COLUMNS)}
                return pd.DataFrame(columns, index=pd.DatetimeIndex(columns.pop("date"), name="date"))
        except UnreadableContentError as error:
            raise _set_aside_file_and_make_error(path, f"can't be read: {error}") from error

    def _write_raw_bars(self, raw_bars: RawBarFrame) -> str:
        """Write bars to a file, unless it exists, and return its digest."""
        table = raw_bars[list(RAW_BAR_COLUMNS)].rename_axis("date").reset_index()
        content = table.to_parquet(index=False, compression="zstd")
        path = self._parquet_path(sha256_hex(content))
        if not path.exists() or path.read_bytes() != content:
            atomic_write(path, content)
        return path.stem


@dataclass(frozen=True, slots=True)
class PriceCache:
    """The cached prices of all tickers, in one folder, which need not exist yet."""

    folder: Path

    @classmethod
    def in_user_cache_dir(cls) -> PriceCache:
        """Return the cache in the user's folder."""
        return cls(cache_dir() / "prices")

    def ticker_cache(self, source: str, ticker: str) -> TickerCache:
        """Return the cache of one ticker, whose name is not case-sensitive."""
        return TickerCache(self.folder / f"{source}-{quote(ticker.upper(), safe='^=&')}")

    def list_ticker_caches(self) -> list[TickerCache]:
        """Return the caches of all tickers, by name.

        Raises
        ------
        Fault : a folder of the cache can't be listed.
        """
        folders = [self.folder / name for name in _list_folder(self.folder, folders_only=True)]
        return [TickerCache(folder) for folder in folders if INDEX_FILE_NAME in _list_folder(folder)]


def _list_folder(folder: Path, *, folders_only: bool = False) -> list[str]:
    """Return the sorted names in a folder; none where there is no folder, and a fault if it can't be listed."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if not folders_only or entry.is_dir())
    except FileNotFoundError:
        return []
    except OSError as error:
        text = f"{folder} can't be listed: {error.strerror or error}; make it readable, or name another folder in"
        raise Fault(f"{text} the environment variable {CACHE_DIR_VARIABLE}") from error


def _read_bytes(path: Path) -> bytes:
    """Return the content of a file; FileNotFoundError if there is none, and a fault if the disk fails.

    Raises
    ------
    DamagedFileError : it is no regular file, or larger than any file of the cache.
    """
    try:
        return read_file(path, max_bytes=MAX_CACHE_FILE_BYTES)
    except UnreadableContentError as error:
        raise _set_aside_file_and_make_error(path, f"can't be read ({error})") from error
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Fault(f"{path} can't be read: {error.strerror or error}") from error


def _set_aside_file_and_make_error(path: Path, reason: str) -> DamagedFileError:
    """Rename a damaged file so that it is not read again, and return the error that states the reason."""
    aside = path.with_suffix(DAMAGED_FILE_SUFFIX)
    with suppress(OSError):
        path.replace(aside)
    return DamagedFileError(f"{path} {reason}; it was set aside as {aside.name}")
