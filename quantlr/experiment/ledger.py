"""The ledger of trials: a record of every config that was evaluated, for statistics that correct for their number.

The best of many trials looks better than it is, so that all of them have to be known. ``OUTPUT/trials.db`` (SQLite) has
one row per trial, however often it runs: a config, without its name and report, on prices that may grow. Trials whose
prices overlap are a family, whatever else differs; see ``price_overlap.py``. A family's maxima under no skill are kept,
so that a further trial costs the same however many there are; see ``stats/family_wise.py``. The ledger is the only file
that contains times, and only the parent process writes it.

Every change is one transaction under SQLite's own lock: many processes may record at once, and one that is killed
leaves the ledger as it was before or after the transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from quantlr.core.errors import Fault, OutputError, QuantlrError
from quantlr.core.file_reading import UnreadableContentError
from quantlr.experiment.ledger_tables import (
    APPLICATION_ID,
    ID_DIGITS_SHOWN,
    INSERT_IF_MISSING_SQL,
    INSERT_OR_COUNT_RUN_SQL,
    LAYOUT_VERSION,
    RELATED_FAMILIES_SQL,
    UNEVALUATED_ERROR_TEXT,
    UPDATE_RESULT_SQL,
    LedgerEntry,
    LedgerWriter,
    read_entry_rows,
    read_maxima,
    read_shown_candidates,
    select_families,
    write_maxima,
)
from quantlr.experiment.trial import Trial, canonical_json, monthly_returns
from quantlr.stats.family_wise import RunningMaxima, TrialFamily

LEDGER_FILE_NAME = "trials.db"
COUNTED_KEYS_SQL = "SELECT config_sha256, variation FROM trials WHERE retracted IS NULL AND family"


@dataclass(frozen=True, slots=True)
class HoldoutLooks:
    """What was evaluated on a hold-out before, which has therefore been used already.

    Attributes
    ----------
    sweeps : number of other sweeps that showed their winner on a hold-out that overlaps with it.
    trials : number of trials whose returns reach into it.
    """

    sweeps: int
    trials: int


@dataclass(frozen=True, slots=True)
class Ledger:
    """The trials of one folder of reports.

    Attributes
    ----------
    path : of the file, which need not exist.
    lock_timeout_seconds : how long to wait for another process that writes.
    """

    path: Path
    lock_timeout_seconds: float = 60.0

    @classmethod
    def from_output_folder(cls, output: Path) -> Ledger:
        """Return the ledger of a folder of reports."""
        return cls(output / LEDGER_FILE_NAME)

    def require_usable(self) -> None:
        """Raise the errors of `record_trials` for an existing file that cannot be used, before anything is computed."""
        self.is_empty()

    def is_empty(self) -> bool:
        """Return whether no trial is recorded; raises as `record_trials`."""
        return not self.path.exists() or not self._read_rows("SELECT 1 FROM trials LIMIT 1")

    @contextmanager
    def recording(self, trials: Iterable[Trial]) -> Iterator[None]:
        """Record trials at the end of the block; an error in the block leaves the ledger as it was.

        Raises as `record_trials`, where the ledger can't be written before the block begins.
        """
        with self._transaction("BEGIN IMMEDIATE", mode="rwc") as (connection, is_new):
            LedgerWriter(connection, is_new, now=None).write_trials(trials, INSERT_OR_COUNT_RUN_SQL, UPDATE_RESULT_SQL)
            yield

    def record_trials(self, trials: Iterable[Trial], *, now: datetime | None = None) -> None:
        """Record evaluated or failed trials, all of them or none; the folder must exist.

        Raises
        ------
        OutputError : the file is damaged, or not a ledger of this version.
        Fault : the disk is full or read-only, or another process holds the lock for too long.
        """
        with self._transaction("BEGIN IMMEDIATE", mode="rwc") as (connection, is_new):
            LedgerWriter(connection, is_new, now).write_trials(trials, INSERT_OR_COUNT_RUN_SQL, UPDATE_RESULT_SQL)

    def record_pending_trials(self, trials: Iterable[Trial]) -> None:
        """Record trials before they are evaluated, so that abandoned ones count; raises as `record_trials`."""
        pending = (replace(trial, result=None, error=UNEVALUATED_ERROR_TEXT) for trial in trials)
        with self._transaction("BEGIN IMMEDIATE", mode="rwc") as (connection, is_new):
            LedgerWriter(connection, is_new, now=None).write_trials(pending, INSERT_OR_COUNT_RUN_SQL)

    def record_trial_results(self, trials: Iterable[Trial]) -> None:
        """Record the results of pending trials, without counting another run; raises as `record_trials`."""
        with self._transaction("BEGIN IMMEDIATE", mode="rwc") as (connection, is_new):
            LedgerWriter(connection, is_new, now=None).write_trials(trials, INSERT_IF_MISSING_SQL, UPDATE_RESULT_SQL)

    def read_family(self, trials: Sequence[Trial]) -> TrialFamily:
        """Return the family that trials on the same prices would belong to, once they are recorded."""
        trials = [trial for trial in trials if not trial.shown_by]
        maxima = RunningMaxima.of_trials(monthly_returns(trial.result for trial in trials))
        keys = {trial.key for trial in trials}
        if not self.path.exists():
            return TrialFamily(len(keys), maxima)
        with self._transaction("BEGIN", mode="rw") as (connection, is_new):
            families = [] if is_new else select_families(connection, trials[0].price_keys)
            for family in families:
                keys.update(connection.execute(f"{COUNTED_KEYS_SQL} = ?", [family]))
                maxima = maxima.merge(read_maxima(connection, family))
                shown = [entry.trial for trial in trials for entry in read_shown_candidates(connection, trial, family)]
                keys.update(candidate.key for candidate in shown)
                maxima = maxima.merge(RunningMaxima.of_trials(monthly_returns(one.result for one in shown)))
        return TrialFamily(len(keys), maxima)

    def read_trial_keys(self, price_keys: Sequence[int]) -> frozenset[tuple[str, str]]:
        """Return the keys of the trials on overlapping prices that are recorded and count."""
        if not self.path.exists():
            return frozenset()
        return frozenset(self._read_rows(f"{COUNTED_KEYS_SQL} IN ({RELATED_FAMILIES_SQL})", canonical_json(price_keys)))

    def read_holdout_looks(self, price_keys: Sequence[int], first_date: str, *, sweep_sha256: str) -> HoldoutLooks:
        """Return what was evaluated on overlapping prices from a date on (ISO 8601), but for one sweep.

        Parameters
        ----------
        price_keys : of the prices.
        first_date : of the hold-out.
        sweep_sha256 : of the sweep that asks, whose own look in an earlier run does not count.
        """
        where, keys = f"family IN ({RELATED_FAMILIES_SQL}) AND last_session >= ?", canonical_json(price_keys)
        sweeps = self._read_rows(
            f"SELECT DISTINCT sweep_sha256 FROM holdout_looks WHERE {where} AND sweep_sha256 != ?",  # noqa: S608 - constants
            keys,
            first_date,
            sweep_sha256,
        )
        trials = self._read_rows(f"SELECT id FROM trials WHERE {where}", keys, first_date)  # noqa: S608 - constants
        return HoldoutLooks(len(sweeps), len(trials))

    def record_holdout_look(self, price_keys: Sequence[int], last_date: str, *, sweep_sha256: str) -> None:
        """Record that a sweep has shown its winner on a hold-out that ends at a date; raises as `record_trials`."""
        with self._transaction("BEGIN IMMEDIATE", mode="rwc") as (connection, is_new):
            family, _ = LedgerWriter(connection, is_new, now=None).join_families(price_keys)
            connection.execute(
                "INSERT OR REPLACE INTO holdout_looks VALUES (?, ?, ?)", [sweep_sha256, family, last_date]
            )

    def read_entries(self) -> list[LedgerEntry]:
        """Return every trial, the most recent run last.

        Raises
        ------
        OutputError : there is no ledger, or the file is not one.
        Fault : the file cannot be read.
        """
        if not self.path.exists():
            raise OutputError(
                f"{self.path}: no trials are recorded there; `quantlr run` records its own; name its --output"
            )
        with self._transaction("BEGIN", mode="rw") as (connection, is_new):
            return [] if is_new else read_entry_rows(connection)

    def retract(self, trial_id: str, *, config_sha256: str, data_sha256: str, reason: str) -> LedgerEntry:
        """Take a trial and its variations out of the count, and return its entry; raises as `record_trials`.

        Parameters
        ----------
        trial_id : the first digits of its id.
        config_sha256, data_sha256 : of what the audit has convicted.
        reason : why, for the list of trials.

        Raises
        ------
        OutputError : there is no such trial, or several, or it is of another config or of other prices.
        """
        entries = [entry for entry in self.read_entries() if entry.id.startswith(trial_id.lower())]
        if len(entries) != 1:
            count = "no trial has" if not entries else f"{len(entries)} trials have"
            raise OutputError(f"{self.path}: {count} an id that begins with {trial_id!r}; `quantlr trials` lists them")
        trial = entries[0].trial
        if (trial.config_sha256, trial.data_sha256) != (config_sha256, data_sha256):
            other = "another config" if trial.config_sha256 != config_sha256 else "other prices"
            needed = "audit the trial's own config on the prices of its last run"
            raise OutputError(f"the audit is of {other} than trial {entries[0].id:.{ID_DIGITS_SHOWN}}; {needed}")
        with self._transaction("BEGIN IMMEDIATE", mode="rw") as (connection, _):
            (family,) = connection.execute("SELECT family FROM trials WHERE id = ?", [entries[0].id]).fetchone()
            set_reason = "UPDATE trials SET retracted = ? WHERE family = ? AND config_sha256 = ?"
            connection.execute(set_reason, [reason, family, config_sha256])
            counted = [entry.trial.result for entry in read_entry_rows(connection, family) if entry.retracted is None]
            write_maxima(connection, family, RunningMaxima.of_trials(monthly_returns(counted)))
        return replace(entries[0], retracted=reason)

    def _read_rows(self, query: str, *values: str) -> list[Any]:
        """Return the rows of a query; none where the file is empty."""
        with self._transaction("BEGIN", mode="rw") as (connection, is_new):
            return [] if is_new else connection.execute(query, values).fetchall()

    @contextmanager
    def _transaction(self, begin_sql: str, *, mode: str) -> Iterator[tuple[sqlite3.Connection, bool]]:
        """Open the file for one transaction, with whether it is empty, and turn SQLite's errors into ours."""
        if self.path.exists() and not (self.path.is_file() or self.path.is_dir()):
            raise OutputError(f"{self.path} is a device or a named pipe; move it away or choose another --output")
        uri, timeout = f"{self.path.absolute().as_uri()}?mode={mode}", self.lock_timeout_seconds
        try:
            with closing(sqlite3.connect(uri, uri=True, timeout=timeout, isolation_level=None)) as connection:
                connection.execute(begin_sql)
                yield connection, self._is_new_database(connection)
                connection.execute("COMMIT")
        except (sqlite3.Error, UnicodeDecodeError) as error:  # SQLite quotes damaged text in its messages
            raise self._error_from_sqlite(error) from error
        except UnreadableContentError as error:
            text = f"{self.path} has a row that is no trial ({error}); put a copy back, or move the file away"
            raise OutputError(f"{text}, and the count of trials starts again from zero") from error

    def _is_new_database(self, connection: sqlite3.Connection) -> bool:
        """Return whether the file is empty; refuse one of another program or version."""
        application, version, n_tables = (
            connection.execute(query).fetchone()[0]
            for query in ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
        )
        if application == 0 and not n_tables:
            return True
        if application != APPLICATION_ID:
            raise OutputError(f"{self.path} is another program's database; move it away or choose another --output")
        if version < LAYOUT_VERSION:
            raise OutputError(
                f"{self.path} was written by an earlier quantlr, without the monthly returns of trials that are needed "
                "now; move it away, and the count of trials starts again from zero"
            )
        if version > LAYOUT_VERSION:
            raise OutputError(
                f"{self.path} is laid out as version {version}, and this quantlr reads {LAYOUT_VERSION}; use the "
                "quantlr that wrote it, or choose another --output"
            )
        return False

    def _error_from_sqlite(self, error: Exception) -> QuantlrError:
        name = getattr(error, "sqlite_errorname", None) or ""
        is_other_layout = name in ("", "SQLITE_ERROR")  # text that is not UTF-8, or a missing table or column
        if is_other_layout or name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
            return OutputError(
                f"{self.path} is damaged or no ledger of trials ({error}); put a copy back, or move it away, and the "
                "count of trials starts again from zero"
            )
        if name.startswith("SQLITE_BUSY"):
            return Fault(
                f"{self.path}: another run has been holding the ledger of trials for {self.lock_timeout_seconds:.0f} "
                "seconds; try again"
            )
        if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN")):
            return Fault(
                f"{self.path}: the ledger of trials can't be opened for writing ({error}); make the file and its "
                "folder writable, or choose another --output"
            )
        return Fault(f"{self.path}: the ledger of trials can't be used: {error}")
