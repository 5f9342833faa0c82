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

from quantlr.core.errors import Fault, OutputError, QuantlrError

if TYPE_CHECKING:
    from quantlr.config.run_config import RunConfig

LEDGER_FILE_NAME = "trials.db"
NON_TRIAL_KEYS = ("name", "report", "output")
"""Keys of a config that change nothing of what is tried."""
LOCK_TIMEOUT_SECONDS = 60.0
APPLICATION_ID, LAYOUT_VERSION = 0x716C7472, 1
"""What SQLite's header says of a ledger: whose file it is, and how it is laid out."""
CREATE_TABLES_SQL = """
CREATE TABLE trials (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, label TEXT NOT NULL, tickers TEXT NOT NULL, config TEXT NOT NULL,
    data_sha256 TEXT NOT NULL, sharpe REAL, sessions INTEGER, error TEXT,
    runs INTEGER NOT NULL, first_run TEXT NOT NULL, last_run TEXT NOT NULL
);
CREATE INDEX trials_by_label ON trials (label);
"""
INSERT_OR_COUNT_RUN_SQL = """
INSERT INTO trials (id, name, label, tickers, config, data_sha256, sharpe, sessions, error, runs, first_run, last_run)
VALUES (:id, :name, :label, :tickers, :config, :data_sha256, :sharpe, :sessions, :error, 1, :now, :now)
ON CONFLICT (id) DO UPDATE SET name = :name, config = :config, runs = runs + 1, last_run = :now
"""
INSERT_IF_MISSING_SQL = """
INSERT INTO trials (id, name, label, tickers, config, data_sha256, sharpe, sessions, error, runs, first_run, last_run)
VALUES (:id, :name, :label, :tickers, :config, :data_sha256, :sharpe, :sessions, :error, 1, :now, :now)
ON CONFLICT (id) DO NOTHING
"""
UPDATE_RESULT_SQL = """
UPDATE trials SET sharpe = :sharpe, sessions = :sessions, error = :error
WHERE id = :id AND (:error IS NULL OR error IS NOT NULL)
"""
"""A trial that was evaluated once stays so, if it fails another time."""
UNEVALUATED_ERROR_TEXT = "begun, and not evaluated"
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
    def from_config(
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
        tried = {key: value for key, value in whole.items() if key not in NON_TRIAL_KEYS}
        return cls(
            id=hashlib.sha256(_canonical_json([tried, data_sha256]).encode()).hexdigest(),
            name=config.name,
            label=_canonical_json(whole["label"]),
            tickers=tuple(config.data.tickers),
            config=_canonical_json(whole),
            data_sha256=data_sha256,
            sharpe=sharpe,
            sessions=sessions,
            error=error,
        )


TRIAL_COLUMNS = tuple(field.name for field in fields(Trial))
SELECT_TRIALS_SQL = (
    f"SELECT {', '.join(TRIAL_COLUMNS)}, runs, first_run, last_run FROM trials ORDER BY last_run, first_run, rowid"  # noqa: S608 - of our own names
)


@dataclass(frozen=True, slots=True)
class TrialStatistics:
    """What a deflated Sharpe ratio needs to know of the trials.

    Attributes
    ----------
    n_trials : number of trials, failed ones included.
    sharpe_variance : of their Sharpe ratios per session (ddof 1); None with fewer than two.
    """

    n_trials: int
    sharpe_variance: float | None

    @classmethod
    def from_sharpe_ratios(cls, sharpe_ratios: Iterable[float | None]) -> TrialStatistics:
        """Return what there is to know of trials with these Sharpe ratios per session, None where undefined."""
        every = list(sharpe_ratios)
        known = [ratio for ratio in every if ratio is not None]
        return cls(len(every), statistics.variance(known) if len(known) > 1 else None)


@dataclass(frozen=True, slots=True)
class LedgerEntry:
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
    n_related_trials: int


@dataclass(frozen=True, slots=True)
class Ledger:
    """The trials of one folder of reports.

    Attributes
    ----------
    path : of the file; it need not exist.
    """

    path: Path

    @classmethod
    def from_output_folder(cls, output: Path) -> Ledger:
        """Return the ledger of a folder of reports."""
        return cls(output / LEDGER_FILE_NAME)

    def require_usable(self) -> None:
        """Raise what `record` would, where a ledger is there that can't be used; before work is done for nothing."""
        if self.path.exists():
            with self._transaction("BEGIN", mode="rw"):
                pass

    def record_trials(self, trials: Iterable[Trial], *, now: datetime | None = None) -> None:
        """Write trials down, all of them or none; the folder must exist.

        Raises
        ------
        OutputError : the file is damaged, or not a ledger of this version.
        Fault : the disk is full or read-only, or others hold the lock for a minute.
        """
        self._write_trials(trials, (INSERT_OR_COUNT_RUN_SQL, UPDATE_RESULT_SQL), now=now)

    def record_pending_trials(self, trials: Iterable[Trial], *, now: datetime | None = None) -> None:
        """Write trials down before they are evaluated, so that what is abandoned is counted too; as `record`."""
        self._write_trials(
            (replace(trial, error=UNEVALUATED_ERROR_TEXT) for trial in trials), (INSERT_OR_COUNT_RUN_SQL,), now=now
        )

    def record_trial_results(self, trials: Iterable[Trial], *, now: datetime | None = None) -> None:
        """Write down what came of trials that were begun; they have not run once more for it. As `record`."""
        self._write_trials(trials, (INSERT_IF_MISSING_SQL, UPDATE_RESULT_SQL), now=now)

    def _write_trials(self, trials: Iterable[Trial], sql_statements: tuple[str, ...], *, now: datetime | None) -> None:
        stamp = (now or datetime.now(UTC)).isoformat(timespec="seconds")
        with self._transaction("BEGIN IMMEDIATE", mode="rwc") as ledger:
            if self._is_new_database(ledger):
                _create_tables(ledger)
            for trial in trials:
                values = {name: getattr(trial, name) for name in TRIAL_COLUMNS}
                row = values | {"tickers": _canonical_json(list(trial.tickers)), "now": stamp}
                for statement in sql_statements:
                    ledger.execute(statement, row)

    def record_and_get_statistics(self, trial: Trial) -> TrialStatistics:
        """Write one trial down, and return what is known of those that share a ticker and the label with it."""
        self.record_trials([trial])
        return TrialStatistics.from_sharpe_ratios(self.related_sharpe_ratios(trial).values())

    def count_related_trials(self, trial: Trial) -> tuple[int, bool]:
        """Return how many trials share a ticker and the label with one, and whether it is among them; write nothing."""
        alike = self.related_sharpe_ratios(trial) if self.path.exists() else {}
        return len(alike), trial.id in alike

    def related_sharpe_ratios(self, trial: Trial) -> dict[str, float | None]:
        """Return the Sharpe ratio of each trial that shares a ticker and the label with this one, by id, in order."""
        wanted = frozenset(trial.tickers)
        shares: dict[str, bool] = {}
        ratios: dict[str, float | None] = {}
        with self._transaction("BEGIN", mode="rw") as ledger:
            if self._is_new_database(ledger):
                return {}
            for key, tickers, ratio in ledger.execute(
                "SELECT id, tickers, sharpe FROM trials WHERE label = ? ORDER BY id", (trial.label,)
            ):
                if tickers not in shares:
                    shares[tickers] = not wanted.isdisjoint(json.loads(tickers))
                if shares[tickers]:
                    ratios[key] = ratio
        return ratios

    def read_entries(self) -> list[LedgerEntry]:
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
            found = [] if self._is_new_database(ledger) else ledger.execute(SELECT_TRIALS_SQL).fetchall()
        trials = [_trial_from_row(row[: len(TRIAL_COLUMNS)]) for row in found]
        together = _count_related_trials(trials)
        return [
            LedgerEntry(trial, runs, first_run, last_run, together[trial.label, trial.tickers])
            for trial, (*_, runs, first_run, last_run) in zip(trials, found, strict=True)
        ]

    @contextmanager
    def _transaction(self, begin_sql: str, *, mode: str) -> Iterator[sqlite3.Connection]:
        """Do all of something or nothing, and tell what is wrong with the file in words that help."""
        where = f"{self.path.absolute().as_uri()}?mode={mode}"
        try:
            with closing(
                sqlite3.connect(where, uri=True, timeout=LOCK_TIMEOUT_SECONDS, isolation_level=None)
            ) as ledger:
                ledger.execute(begin_sql)
                self._is_new_database(ledger)
                yield ledger
                ledger.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._error_from_sqlite(error) from error

    def _is_new_database(self, connection: sqlite3.Connection) -> bool:
        """Return whether nothing was ever written; refuse what another program or version wrote."""
        owner, version, tables = (
            connection.execute(question).fetchone()[0]
            for question in ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
        )
        if owner == 0 and not tables:
            return True
        if owner != APPLICATION_ID:
            raise OutputError(f"{self.path} is another program's database; move it away or choose another --output")
        if version != LAYOUT_VERSION:
            raise OutputError(
                f"{self.path} is laid out as version {version}, and this quantlr reads {LAYOUT_VERSION}; use the quantlr that "
                "wrote it, or choose another --output"
            )
        return False

    def _error_from_sqlite(self, error: sqlite3.Error) -> QuantlrError:
        name = getattr(error, "sqlite_errorname", None) or ""
        if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
            return OutputError(
                f"{self.path} is damaged or no ledger of trials ({error}); put a copy back, or move it away and the "
                "count of trials begins anew"
            )
        if name.startswith("SQLITE_BUSY"):
            held = (
                f"another run has been holding the ledger of trials for {LOCK_TIMEOUT_SECONDS:.0f} seconds; try again"
            )
            return Fault(f"{self.path}: {held}")
        if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN")):
            return Fault(
                f"{self.path}: the ledger of trials can't be opened for writing ({error}); let it and its folder be "
                "written, or choose another --output"
            )
        return Fault(f"{self.path}: the ledger of trials can't be used: {error}")


def _create_tables(connection: sqlite3.Connection) -> None:
    for statement in (
        *CREATE_TABLES_SQL.split(";")[:-1],
        f"PRAGMA application_id = {APPLICATION_ID}",
        f"PRAGMA user_version = {LAYOUT_VERSION}",
    ):
        connection.execute(statement)


def _trial_from_row(table_row: tuple[Any, ...]) -> Trial:
    values = dict(zip(TRIAL_COLUMNS, table_row, strict=True))
    return Trial(**values | {"tickers": tuple(json.loads(values["tickers"]))})


def _count_related_trials(trials: list[Trial]) -> dict[tuple[str, tuple[str, ...]], int]:
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


def _canonical_json(value: Any) -> str:
    """Return JSON that is the same for the same value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
