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

from quantlr.data.quotes import COLUMNS, Quotes, Revision, merged, revision_of
from quantlr.disk import HOME, UNFINISHED, home, put
from quantlr.errors import Fault
from quantlr.types import Spec

LOCK_SECONDS = 60.0
READS = 5
"""Times that an index is read again because the history it named has just been succeeded."""
ABANDONED_SECONDS = 3600.0
"""Age at which an unfinished file belongs to no program any more."""
INDEX = "index.json"
DAMAGED = ".damaged"


class Damaged(Exception):
    """A file of the store is not what its name says; it was set aside."""


@dataclass(frozen=True, slots=True)
class Answer:
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

    quotes: Quotes
    whole: bool
    fetched: dt.datetime
    through: dt.date
    about: Mapping[str, str]
    unfinished: dt.date | None = None
    incomplete: tuple[dt.date, ...] = ()


class Kept(Spec):
    """An answer that was kept, and the sessions it begins and ends with."""

    sha256: str
    fetched: dt.datetime
    first: dt.date
    last: dt.date

    @classmethod
    def of(cls, answer: Answer, sha256: str) -> Kept:
        """Return what the index says of an answer."""
        first, last = answer.quotes.index[[0, -1]]
        return cls(sha256=sha256, fetched=answer.fetched, first=first.date(), last=last.date())


class Revised(Spec):
    """A revision, and the histories before and after it."""

    fetched: dt.datetime
    before: str
    after: str
    first: dt.date
    last: dt.date
    sessions: int
    text: str

    @classmethod
    def of(cls, revision: Revision, answer: Answer, *, before: str, after: str) -> Revised:
        """Return what the index says of a revision that an answer brought."""
        return cls(
            fetched=answer.fetched,
            before=before,
            after=after,
            first=dt.date.fromisoformat(revision.first),
            last=dt.date.fromisoformat(revision.last),
            sessions=revision.sessions,
            text=str(revision),
        )


class Entry(Spec):
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
    answers: tuple[Kept, ...]
    revisions: tuple[Revised, ...] = ()

    @property
    def files(self) -> set[str]:
        """Digests of all files that belong to the ticker."""
        revised = {digest for revision in self.revisions for digest in (revision.before, revision.after)}
        return {self.sha256, *(answer.sha256 for answer in self.answers), *revised}


@dataclass(frozen=True, slots=True)
class History:
    """An entry and the quotes that it names."""

    entry: Entry
    quotes: Quotes


@dataclass(frozen=True, slots=True)
class Shelf:
    """The folder in which one ticker's prices are kept; it need not exist yet."""

    folder: Path

    def entry(self) -> Entry | None:
        """Return what the index says, None where there is none.

        Raises
        ------
        Damaged : it is no index; it was set aside.
        Fault : the disk.
        """
        try:
            return Entry.model_validate_json(_content(self._index))
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise _set_aside(self._index, "is no index of prices") from error

    def history(self) -> History | None:
        """Return what is kept, None if nothing; raises as `entry` does, and `Damaged` where a checksum fails."""
        for _ in range(READS):
            entry = self.entry()
            if entry is None:
                return None
            with suppress(FileNotFoundError):
                return History(entry, self._read(entry.sha256))
        raise Damaged(f"the history that {self._index} names is missing")

    def keep(self, source: str, ticker: str, answer: Answer) -> History:
        """Keep an answer, and make it part of the history.

        Raises
        ------
        Fault : the disk is full or read-only, or another run holds the lock for a minute.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._locked():
                return self._extend(source, ticker, answer)
        except OSError as error:
            raise Fault(
                f"the stored prices {self.folder} could not be written: {error.strerror or error}; what was there is "
                f"untouched; free the disk, or name another folder in the environment variable {HOME}"
            ) from error

    def damaged(self) -> list[str]:
        """Check every file against its name, set aside what fails, and return a line on each."""
        found: list[str] = []
        for path in sorted(self.folder.glob("*.parquet")):
            try:
                self._read(path.stem)
            except Damaged as error:
                found.append(str(error))
        try:
            entry = self.entry()
        except Damaged as error:
            return [*found, str(error)]
        named = [self._file(sha256) for sha256 in sorted(entry.files)] if entry else []
        asides = [path for path in named if path.with_suffix(DAMAGED).exists()]
        return found + [f"{path} is missing" for path in named if not path.exists() and path not in asides]

    def clear_leftovers(self) -> None:
        """Remove what programs that were ended left half written, once it is an hour old."""
        for path in self.folder.glob(f".*{UNFINISHED}"):
            if time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
                path.unlink(missing_ok=True)

    def _extend(self, source: str, ticker: str, answer: Answer) -> History:
        former, held = self._former()
        if held is None and not answer.whole:
            raise Fault(f"the stored prices of {ticker} were lost while new ones were fetched; run again")
        quotes, revision = answer.quotes, None
        if held is not None:
            quotes, revision = merged(held, answer.quotes), revision_of(held, answer.quotes)
        kept, sha256 = Kept.of(answer, self._write(answer.quotes)), self._write(quotes)
        revisions = former.revisions if former else ()
        if former and revision:
            revisions = (*revisions, Revised.of(revision, answer, before=former.sha256, after=sha256))
        entry = Entry(
            source=source,
            ticker=ticker,
            sha256=sha256,
            first=quotes.index[0].date(),
            last=quotes.index[-1].date(),
            bars=len(quotes),
            fetched=answer.fetched,
            through=answer.through,
            about=dict(answer.about),
            unfinished=answer.unfinished,
            incomplete=_incomplete(former, answer),
            answers=(*(former.answers if former else ()), kept),
            revisions=revisions,
        )
        put(self._index, entry.model_dump_json(indent=1).encode())
        if former and former.sha256 not in entry.files:
            self._file(former.sha256).unlink(missing_ok=True)
        return History(entry, quotes)

    def _former(self) -> tuple[Entry | None, Quotes | None]:
        """Return the entry and the quotes that are there, as far as they are sound."""
        try:
            entry = self.entry()
        except Damaged:
            return None, None
        if entry is None:
            return None, None
        try:
            return entry, self._read(entry.sha256)
        except (Damaged, FileNotFoundError):
            return entry, None

    @property
    def _index(self) -> Path:
        return self.folder / INDEX

    def _file(self, sha256: str) -> Path:
        return self.folder / f"{sha256}.parquet"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        from filelock import FileLock, Timeout

        try:
            with FileLock(self.folder / ".lock", timeout=LOCK_SECONDS):
                yield
        except Timeout:
            raise Fault(
                f"another run has been writing {self.folder} for {LOCK_SECONDS:.0f} seconds; try again"
            ) from None

    def _read(self, sha256: str) -> Quotes:
        content = _content(self._file(sha256))
        found = hashlib.sha256(content).hexdigest()
        if found != sha256:
            raise _set_aside(self._file(sha256), f"has the checksum {found[:12]}… and not that of its name")
        return _quotes_in(content)

    def _write(self, quotes: Quotes) -> str:
        """Write quotes where they are not there already, and return their digest."""
        stream = BytesIO()
        quotes[list(COLUMNS)].rename_axis("date").reset_index().to_parquet(stream, index=False, compression="zstd")
        content = stream.getvalue()
        sha256 = hashlib.sha256(content).hexdigest()
        path = self._file(sha256)
        if not path.exists() or path.read_bytes() != content:
            put(path, content)
        return sha256


def _quotes_in(content: bytes) -> Quotes:
    """Return the quotes of a Parquet file; column by column takes half of the time that pandas' own reader does."""
    from pyarrow import BufferReader
    from pyarrow.parquet import ParquetFile

    table = ParquetFile(BufferReader(content)).read(use_threads=False)
    columns = {name: table.column(name).to_numpy() for name in table.column_names}
    return pd.DataFrame(columns, index=pd.DatetimeIndex(columns.pop("date"), name="date"))


@dataclass(frozen=True, slots=True)
class Store:
    """All prices that are kept in one folder, which need not exist yet."""

    folder: Path

    @classmethod
    def at_home(cls) -> Store:
        """Return the user's own store."""
        return cls(home() / "prices")

    def shelf(self, source: str, ticker: str) -> Shelf:
        """Return the place of one ticker; upper and lower case are the same."""
        return Shelf(self.folder / f"{source}-{quote(ticker.upper(), safe='^=&')}")

    def shelves(self) -> list[Shelf]:
        """Return the places of all tickers, by name."""
        return [Shelf(path.parent) for path in sorted(self.folder.glob(f"*/{INDEX}"))]


def _incomplete(former: Entry | None, answer: Answer) -> tuple[dt.date, ...]:
    """Return the sessions that lack a price: those of the answer, and the former ones that it does not tell of."""
    first = answer.quotes.index[0].date()
    earlier = [date for date in former.incomplete if date < first] if former else []
    return (*earlier, *answer.incomplete)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Fault(f"{path} can't be read: {error.strerror or error}") from error


def _set_aside(path: Path, why: str) -> Damaged:
    """Rename a file so that nobody reads it again, and return the error that tells of it."""
    aside = path.with_suffix(DAMAGED)
    with suppress(OSError):
        path.replace(aside)
    return Damaged(f"{path} {why}; it was set aside as {aside.name}")
