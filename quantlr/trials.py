"""The ledger of trials: every config that was evaluated is written down, so that luck can be counted out.

Who tries a hundred configs and keeps the best has been lucky a hundred times. ``OUTPUT/trials.db`` (SQLite) has one row
per trial, however often it runs: a trial is a resolved config without its name and report, together with the prices'
digest. The deflated Sharpe ratio counts those that share a ticker and the label. The clock goes in here and nowhere
else; only the parent process writes.

Every change is one transaction under SQLite's own lock, written to the disk before it counts: many processes may record
at once, and one that is killed leaves the ledger as it was before or after.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import statistics
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantlr.errors import Fault, OutputError, QuantlrError

if TYPE_CHECKING:
    from quantlr.config import RunConfig

FILE = "trials.db"
NOT_OF_A_TRIAL = ("name", "report", "output")
"""Keys of a config that change nothing of what is tried."""
LOCK_SECONDS = 60.0
OURS, VERSION = 0x716C7472, 1
"""What SQLite's header says of a ledger: whose file it is, and how it is laid out."""
LAYOUT = """
CREATE TABLE trials (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, label TEXT NOT NULL, tickers TEXT NOT NULL, config TEXT NOT NULL,
    data_sha256 TEXT NOT NULL, sharpe REAL, sessions INTEGER, error TEXT,
    runs INTEGER NOT NULL, first_run TEXT NOT NULL, last_run TEXT NOT NULL
);
CREATE INDEX trials_by_label ON trials (label);
"""
SEEN = """
INSERT INTO trials (id, name, label, tickers, config, data_sha256, sharpe, sessions, error, runs, first_run, last_run)
VALUES (:id, :name, :label, :tickers, :config, :data_sha256, :sharpe, :sessions, :error, 1, :now, :now)
ON CONFLICT (id) DO UPDATE SET name = :name, config = :config, runs = runs + 1, last_run = :now
"""
MISSED = """
INSERT INTO trials (id, name, label, tickers, config, data_sha256, sharpe, sessions, error, runs, first_run, last_run)
VALUES (:id, :name, :label, :tickers, :config, :data_sha256, :sharpe, :sessions, :error, 1, :now, :now)
ON CONFLICT (id) DO NOTHING
"""
EVALUATED = """
UPDATE trials SET sharpe = :sharpe, sessions = :sessions, error = :error
WHERE id = :id AND (:error IS NULL OR error IS NOT NULL)
"""
"""A trial that was evaluated once stays so, if it fails another time."""
BEGUN = "begun, and not evaluated"
"""What is said of a trial until it is known what came of it."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One config tried on one set of prices.

    Attributes
    ----------
    id : digest of the config without its name, report and output, and of the prices.
    name : of the run.
    label, config : as JSON, keys in order.
    tickers : that the config names.
    data_sha256 : digest of the prices; empty where it failed before they were read.
    sharpe : Sharpe ratio of net returns in excess of cash, per session; None where undefined or not reached.
    sessions : of the backtest.
    error : why it failed, None for one that was evaluated.
    """

    id: str
    name: str
    label: str
    tickers: tuple[str, ...]
    config: str
    data_sha256: str
    sharpe: float | None = None
    sessions: int | None = None
    error: str | None = None

    @classmethod
    def of(
        cls,
        config: RunConfig,
        *,
        data_sha256: str = "",
        sharpe: float | None = None,
        sessions: int | None = None,
        error: str | None = None,
    ) -> Trial:
        """Return a config as a trial, with what came of it."""
        whole = config.model_dump(mode="json")
        tried = {key: value for key, value in whole.items() if key not in NOT_OF_A_TRIAL}
        return cls(
            id=hashlib.sha256(_text([tried, data_sha256]).encode()).hexdigest(),
            name=config.name,
            label=_text(whole["label"]),
            tickers=tuple(config.data.tickers),
            config=_text(whole),
            data_sha256=data_sha256,
            sharpe=sharpe,
            sessions=sessions,
            error=error,
        )


COLUMNS = tuple(field.name for field in fields(Trial))
ALL = f"SELECT {', '.join(COLUMNS)}, runs, first_run, last_run FROM trials ORDER BY last_run, first_run, rowid"  # noqa: S608 - of our own names


@dataclass(frozen=True, slots=True)
class Tried:
    """What a deflated Sharpe ratio needs to know of the trials.

    Attributes
    ----------
    trials : how many there were, failed ones included.
    variance : of their Sharpe ratios per session (ddof 1); None with fewer than two.
    """

    trials: int
    variance: float | None

    @classmethod
    def of(cls, ratios: Iterable[float | None]) -> Tried:
        """Return what there is to know of trials with these Sharpe ratios per session, None where undefined."""
        every = list(ratios)
        known = [ratio for ratio in every if ratio is not None]
        return cls(len(every), statistics.variance(known) if len(known) > 1 else None)


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the ledger.

    Attributes
    ----------
    trial : what was tried, and what came of it.
    runs : how often.
    first_run, last_run : when, in UTC, as ISO 8601.
    together : trials that share a ticker and the label with it, itself included.
    """

    trial: Trial
    runs: int
    first_run: str
    last_run: str
    together: int


@dataclass(frozen=True, slots=True)
class Ledger:
    """The trials of one folder of reports.

    Attributes
    ----------
    path : of the file; it need not exist.
    """

    path: Path

    @classmethod
    def of(cls, output: Path) -> Ledger:
        """Return the ledger of a folder of reports."""
        return cls(output / FILE)

    def check(self) -> None:
        """Raise what `record` would, where a ledger is there that can't be used; before work is done for nothing."""
        if self.path.exists():
            with self._transaction("BEGIN", mode="rw"):
                pass

    def record(self, many: Iterable[Trial], *, now: datetime | None = None) -> None:
        """Write trials down, all of them or none; the folder must exist.

        Raises
        ------
        OutputError : the file is damaged, or not a ledger of this version.
        Fault : the disk is full or read-only, or others hold the lock for a minute.
        """
        self._write(many, (SEEN, EVALUATED), now=now)

    def begin(self, many: Iterable[Trial], *, now: datetime | None = None) -> None:
        """Write trials down before they are evaluated, so that what is abandoned is counted too; as `record`."""
        self._write((replace(trial, error=BEGUN) for trial in many), (SEEN,), now=now)

    def finish(self, many: Iterable[Trial], *, now: datetime | None = None) -> None:
        """Write down what came of trials that were begun; they have not run once more for it. As `record`."""
        self._write(many, (MISSED, EVALUATED), now=now)

    def _write(self, many: Iterable[Trial], statements: tuple[str, ...], *, now: datetime | None) -> None:
        stamp = (now or datetime.now(UTC)).isoformat(timespec="seconds")
        with self._transaction("BEGIN IMMEDIATE", mode="rwc") as ledger:
            if self._is_new(ledger):
                _lay_out(ledger)
            for trial in many:
                values = {name: getattr(trial, name) for name in COLUMNS}
                row = values | {"tickers": _text(list(trial.tickers)), "now": stamp}
                for statement in statements:
                    ledger.execute(statement, row)

    def counting(self, trial: Trial) -> Tried:
        """Write one trial down, and return what is known of those that share a ticker and the label with it."""
        self.record([trial])
        return Tried.of(self.together(trial).values())

    def so_far(self, trial: Trial) -> tuple[int, bool]:
        """Return how many trials share a ticker and the label with one, and whether it is among them; write nothing."""
        alike = self.together(trial) if self.path.exists() else {}
        return len(alike), trial.id in alike

    def together(self, trial: Trial) -> dict[str, float | None]:
        """Return the Sharpe ratio of each trial that shares a ticker and the label with this one, by id, in order."""
        wanted = frozenset(trial.tickers)
        shares: dict[str, bool] = {}
        ratios: dict[str, float | None] = {}
        with self._transaction("BEGIN", mode="rw") as ledger:
            if self._is_new(ledger):
                return {}
            for key, tickers, ratio in ledger.execute(
                "SELECT id, tickers, sharpe FROM trials WHERE label = ? ORDER BY id", (trial.label,)
            ):
                if tickers not in shares:
                    shares[tickers] = not wanted.isdisjoint(json.loads(tickers))
                if shares[tickers]:
                    ratios[key] = ratio
        return ratios

    def entries(self) -> list[Entry]:
        """Return every trial, the one that ran last at the end.

        Raises
        ------
        OutputError : there is no ledger, or the file is not one.
        Fault : the file can't be read.
        """
        if not self.path.exists():
            raise OutputError(
                f"{self.path}: no trials are recorded there; `quantlr run` records its own; name its --output"
            )
        with self._transaction("BEGIN", mode="rw") as ledger:
            found = [] if self._is_new(ledger) else ledger.execute(ALL).fetchall()
        trials = [_trial(row[: len(COLUMNS)]) for row in found]
        together = _together(trials)
        return [
            Entry(trial, runs, first_run, last_run, together[trial.label, trial.tickers])
            for trial, (*_, runs, first_run, last_run) in zip(trials, found, strict=True)
        ]

    @contextmanager
    def _transaction(self, begin: str, *, mode: str) -> Iterator[sqlite3.Connection]:
        """Do all of something or nothing, and tell what is wrong with the file in words that help."""
        where = f"{self.path.absolute().as_uri()}?mode={mode}"
        try:
            with closing(sqlite3.connect(where, uri=True, timeout=LOCK_SECONDS, isolation_level=None)) as ledger:
                ledger.execute(begin)
                self._is_new(ledger)
                yield ledger
                ledger.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._refusal(error) from error

    def _is_new(self, ledger: sqlite3.Connection) -> bool:
        """Return whether nothing was ever written; refuse what another program or version wrote."""
        owner, version, tables = (
            ledger.execute(question).fetchone()[0]
            for question in ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
        )
        if owner == 0 and not tables:
            return True
        if owner != OURS:
            raise OutputError(f"{self.path} is another program's database; move it away or choose another --output")
        if version != VERSION:
            raise OutputError(
                f"{self.path} is laid out as version {version}, and this quantlr reads {VERSION}; use the quantlr that "
                "wrote it, or choose another --output"
            )
        return False

    def _refusal(self, error: sqlite3.Error) -> QuantlrError:
        name = getattr(error, "sqlite_errorname", None) or ""
        if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
            return OutputError(
                f"{self.path} is damaged or no ledger of trials ({error}); put a copy back, or move it away and the "
                "count of trials begins anew"
            )
        if name.startswith("SQLITE_BUSY"):
            held = f"another run has been holding the ledger of trials for {LOCK_SECONDS:.0f} seconds; try again"
            return Fault(f"{self.path}: {held}")
        if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN")):
            return Fault(
                f"{self.path}: the ledger of trials can't be opened for writing ({error}); let it and its folder be "
                "written, or choose another --output"
            )
        return Fault(f"{self.path}: the ledger of trials can't be used: {error}")


def _lay_out(ledger: sqlite3.Connection) -> None:
    for statement in (*LAYOUT.split(";")[:-1], f"PRAGMA application_id = {OURS}", f"PRAGMA user_version = {VERSION}"):
        ledger.execute(statement)


def _trial(row: tuple[Any, ...]) -> Trial:
    values = dict(zip(COLUMNS, row, strict=True))
    return Trial(**values | {"tickers": tuple(json.loads(values["tickers"]))})


def _together(trials: list[Trial]) -> dict[tuple[str, tuple[str, ...]], int]:
    """Return for each label and tickers how many trials share the label and one of the tickers."""
    counts: dict[tuple[str, tuple[str, ...]], int] = {}
    for trial in trials:
        key = trial.label, trial.tickers
        counts[key] = counts.get(key, 0) + 1
    return {
        (label, tickers): sum(
            count for (other, theirs), count in counts.items() if other == label and not set(tickers).isdisjoint(theirs)
        )
        for label, tickers in counts
    }


def _text(value: Any) -> str:
    """Return JSON that is the same for the same value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
