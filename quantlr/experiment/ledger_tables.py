"""The tables of the ledger of trials: their layout, and what is written into them and read from them.

`families` has the running maxima of each family, `prices` the keys of its prices, `trials` a row per trial with its
result, and `holdout_looks` the sweeps that have shown their winner on a hold-out.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import numpy as np

from quantlr.core.file_reading import library_errors_translated
from quantlr.experiment.trial import Trial, TrialResult, canonical_json, monthly_returns
from quantlr.stats.family_wise import N_DRAWS, MonthlyReturns, RunningMaxima

APPLICATION_ID, LAYOUT_VERSION = 0x716C7472, 2
"""Marks in SQLite's header: that the file is a ledger, and the version of its layout."""
NO_FAMILY = 0
"""Family of the trials that failed before their prices were read."""
CREATE_TABLES_SQL = f"""
CREATE TABLE families (id INTEGER PRIMARY KEY, max_statistic BLOB NOT NULL, max_annual_sharpe BLOB NOT NULL);
CREATE TABLE prices (key INTEGER PRIMARY KEY, family INTEGER NOT NULL);
CREATE TABLE trials (
    id TEXT PRIMARY KEY, family INTEGER NOT NULL, config_sha256 TEXT NOT NULL, variation TEXT NOT NULL,
    data_sha256 TEXT NOT NULL, name TEXT NOT NULL, config TEXT NOT NULL,
    sharpe REAL, sessions INTEGER, sessions_per_year REAL, first_session TEXT, last_session TEXT, monthly_returns BLOB,
    error TEXT, retracted TEXT, runs INTEGER NOT NULL, first_run TEXT NOT NULL, last_run TEXT NOT NULL,
    UNIQUE (family, config_sha256, variation)
);
CREATE TABLE holdout_looks (
    sweep_sha256 TEXT NOT NULL, family INTEGER NOT NULL, last_session TEXT NOT NULL,
    PRIMARY KEY (sweep_sha256, family)
);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {LAYOUT_VERSION};
"""
INSERT_SQL = """
INSERT INTO trials (id, family, config_sha256, variation, data_sha256, name, config, error, runs, first_run, last_run)
VALUES (:id, :family, :config_sha256, :variation, :data_sha256, :name, :config, :error, 1, :now, :now)
ON CONFLICT DO
"""
INSERT_OR_COUNT_RUN_SQL = f"{INSERT_SQL} UPDATE SET name = :name, config = :config, runs = runs + 1, last_run = :now"
INSERT_IF_MISSING_SQL = f"{INSERT_SQL} NOTHING"
UPDATE_RESULT_SQL = """
UPDATE trials SET data_sha256 = :data_sha256, sharpe = :sharpe, sessions = :sessions, error = :error, retracted = NULL,
    sessions_per_year = :sessions_per_year, first_session = :first_session, last_session = :last_session,
    monthly_returns = :monthly_returns
WHERE family = :family AND config_sha256 = :config_sha256 AND variation = :variation
    AND (:error IS NULL OR error IS NOT NULL)
"""
"""A trial that was evaluated once keeps its result if it fails another time."""
UNEVALUATED_ERROR_TEXT = "started, not evaluated"
"""The error of a trial until its result is known."""
SELECT_TRIALS_SQL = """
SELECT id, family, retracted, error, runs, config_sha256, name, config, data_sha256, variation, first_run, last_run,
    sharpe, sessions, sessions_per_year, first_session, last_session, monthly_returns FROM trials
"""
SHOWN_CANDIDATE_TEXT = "a candidate shown by the selection {}: counts once one of them, or another selection, is run"
"""The text in place of a retraction of candidates that a run has shown and that do not count yet; with its digest."""
OPEN_CANDIDATES_SQL = """
FROM trials WHERE family = :family AND retracted LIKE :any_selection AND (
    (:selection != '' AND retracted != :own)
    OR retracted IN (SELECT retracted FROM trials
                     WHERE family = :family AND config_sha256 = :config_sha256 AND variation = :variation)
)
"""
SELECT_SAME_CANDIDATE_SQL = """
SELECT 1 FROM trials WHERE family = :family AND config_sha256 = :config_sha256 AND variation = :variation
    AND retracted LIKE :any_selection
"""
"""The shown candidates of a family that count from a trial on: those of other selections than its own if it chooses
among candidates, and those that were shown together with it."""
ID_DIGITS_SHOWN = 10
"""Digits of a trial's id that people read and may write."""
RELATED_FAMILIES_SQL = "SELECT DISTINCT family FROM prices WHERE key IN (SELECT value FROM json_each(?))"


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """A row of the ledger.

    Attributes
    ----------
    id : of the row, hexadecimal.
    trial : the trial with its newest result.
    retracted : why it does not count; None where it does.
    runs : how often it ran.
    first_run, last_run : times in UTC, as ISO 8601.
    n_related_trials : trials on overlapping prices, itself included; 0 where it failed before its prices were read.
    """

    id: str
    trial: Trial
    retracted: str | None
    runs: int
    first_run: str
    last_run: str
    n_related_trials: int

    @property
    def is_shown_candidate(self) -> bool:
        """Whether it is a candidate that a run has shown, and that does not count yet."""
        return (self.retracted or "").startswith(SHOWN_CANDIDATE_TEXT.partition("{")[0])


@dataclass(frozen=True, slots=True)
class LedgerWriter:
    """Writes into an open transaction; creates the tables of a new file.

    Attributes
    ----------
    connection : of the transaction.
    is_new : whether the file has no tables yet.
    now : time of the runs; None for the clock's.
    """

    connection: sqlite3.Connection
    is_new: bool
    now: datetime | None

    def __post_init__(self) -> None:
        for statement in CREATE_TABLES_SQL.split(";")[:-1] if self.is_new else ():
            self.connection.execute(statement)

    def write_trials(self, trials: Iterable[Trial], *sql_statements: str) -> None:
        """Write a row for each trial, and update the maxima of their families."""
        now = (self.now or datetime.now(UTC)).isoformat(timespec="seconds")
        families: dict[tuple[int, ...], int] = {(): NO_FAMILY}
        returns_by_keys: dict[tuple[int, ...], list[MonthlyReturns]] = {}
        for trial in trials:
            if trial.price_keys not in families:
                family, joined = self.join_families(trial.price_keys)
                families = {keys: family if other in joined else other for keys, other in families.items()}
                families[trial.price_keys] = family
            row = _row_from_trial(trial, families[trial.price_keys]) | {"now": now}
            if trial.shown_by:
                self._write_shown_candidate(row, trial.shown_by)
                continue
            new_results = [*self._count_shown_candidates(trial, row["family"]), trial.result]
            for statement in sql_statements:
                self.connection.execute(statement, row)
            if trial.price_keys:  # its prices could not be read before
                delete = "DELETE FROM trials WHERE family = ? AND config_sha256 = ?"
                self.connection.execute(delete, [NO_FAMILY, trial.config_sha256])
            if returns := monthly_returns(new_results):
                returns_by_keys.setdefault(trial.price_keys, []).extend(returns)
        for price_keys, returns in returns_by_keys.items():
            maxima = read_maxima(self.connection, families[price_keys]).merge(RunningMaxima.of_trials(returns))
            write_maxima(self.connection, families[price_keys], maxima)

    def _count_shown_candidates(self, trial: Trial, family: int) -> list[TrialResult | None]:
        """Let the shown candidates count that a trial is reason for, and return their results."""
        entries = read_shown_candidates(self.connection, trial, family)
        ids = [(entry.id,) for entry in entries]
        self.connection.executemany("UPDATE trials SET retracted = NULL WHERE id = ?", ids)
        return [entry.trial.result for entry in entries]

    def _write_shown_candidate(self, row: dict[str, Any], selection_sha256: str) -> None:
        """Write a candidate that does not count yet, unless it is recorded as a trial already."""
        text = SHOWN_CANDIDATE_TEXT.format(selection_sha256)
        is_new = self.connection.execute(INSERT_IF_MISSING_SQL, row).rowcount > 0
        same = "family = :family AND config_sha256 = :config_sha256 AND variation = :variation"
        stored = self.connection.execute(f"SELECT retracted FROM trials WHERE {same}", row).fetchone()  # noqa: S608 - constants
        if is_new or stored == (text,):
            self.connection.execute(UPDATE_RESULT_SQL, row)
            self.connection.execute(f"UPDATE trials SET retracted = :text, runs = 0 WHERE {same}", row | {"text": text})  # noqa: S608 - constants

    def join_families(self, price_keys: Sequence[int]) -> tuple[int, Sequence[int]]:
        """Return the family of prices, and the other families that they overlap with, which become part of it."""
        connection, families = self.connection, select_families(self.connection, price_keys)
        if not families:
            families = [connection.execute("SELECT coalesce(max(id), 0) + 1 FROM families").fetchone()[0]]
            write_maxima(connection, families[0], RunningMaxima.of_trials(()))
        family, *joined = families
        for other in joined:
            maxima = read_maxima(connection, family).merge(read_maxima(connection, other))
            write_maxima(connection, family, maxima)
            for table in ("prices", "trials", "holdout_looks"):
                connection.execute(f"UPDATE OR REPLACE {table} SET family = ? WHERE family = ?", [family, other])  # noqa: S608 - constant names
            connection.execute("DELETE FROM families WHERE id = ?", [other])
        connection.executemany("INSERT OR IGNORE INTO prices VALUES (?, ?)", [(key, family) for key in price_keys])
        return family, joined


def read_shown_candidates(connection: sqlite3.Connection, trial: Trial, family: int) -> list[LedgerEntry]:
    """Return the shown candidates of a family that count as soon as a trial is recorded."""
    marks = {
        "family": family,
        "config_sha256": trial.config_sha256,
        "variation": trial.variation,
        "selection": trial.selection_sha256,
        "own": SHOWN_CANDIDATE_TEXT.format(trial.selection_sha256),
        "any_selection": SHOWN_CANDIDATE_TEXT.format("%"),
    }
    # Most trials choose among nothing, and are no candidates: they need no search through all rows.
    if not trial.selection_sha256 and not connection.execute(SELECT_SAME_CANDIDATE_SQL, marks).fetchone():
        return []
    columns = SELECT_TRIALS_SQL.rpartition("FROM trials")[0]
    rows = connection.execute(f"{columns} {OPEN_CANDIDATES_SQL}", marks).fetchall()
    with library_errors_translated("rows of trials"):
        return [_entry_from_row(row, 0) for row in rows]


def select_families(connection: sqlite3.Connection, price_keys: Sequence[int]) -> list[int]:
    """Return the families that prices overlap with, ascending."""
    rows = connection.execute(f"{RELATED_FAMILIES_SQL} ORDER BY family", [canonical_json(price_keys)])
    return [family for (family,) in rows]


def read_maxima(connection: sqlite3.Connection, family: int) -> RunningMaxima:
    """Return the running maxima of a family."""
    query = "SELECT max_statistic, max_annual_sharpe FROM families WHERE id = ?"
    statistic, annual_sharpe = connection.execute(query, [family]).fetchone()
    with library_errors_translated(f"{N_DRAWS:,} maxima of a family"):
        return RunningMaxima(*(np.frombuffer(blob, "<f4", N_DRAWS) for blob in (statistic, annual_sharpe)))


def write_maxima(connection: sqlite3.Connection, family: int, maxima: RunningMaxima) -> None:
    """Write the running maxima of a family."""
    blobs = (values.astype("<f4").tobytes() for values in (maxima.statistic, maxima.annual_sharpe))
    connection.execute("INSERT OR REPLACE INTO families VALUES (?, ?, ?)", [family, *blobs])


def _row_from_trial(trial: Trial, family: int) -> dict[str, Any]:
    """Return the values of a trial's row by column."""
    result, identity = trial.result, canonical_json([*trial.key, trial.data_sha256])
    return {
        "id": hashlib.sha256(identity.encode()).hexdigest(),
        "family": family,
        **{name: getattr(trial, name) for name in ("config_sha256", "variation", "data_sha256", "name", "config")},
        "error": trial.error,
        "sharpe": result and result.sharpe,
        "sessions": result and result.n_sessions,
        "sessions_per_year": result and result.sessions_per_year,
        "first_session": result and result.first_session,
        "last_session": result and result.last_session,
        "monthly_returns": result and result.returns and result.returns.sums.astype("<f4").tobytes(),
    }


def read_entry_rows(connection: sqlite3.Connection, family: int | None = None) -> list[LedgerEntry]:
    """Return the trials of one family or, without it, of all of them, the most recent run last."""
    rows = connection.execute(f"{SELECT_TRIALS_SQL} ORDER BY last_run, first_run, rowid").fetchall()
    with library_errors_translated("rows of trials"):
        n_related = Counter(row[1] for row in rows if row[2] is None)
        n_related[NO_FAMILY] = 0
        return [_entry_from_row(row, n_related[row[1]]) for row in rows if family in (None, row[1])]


def _entry_from_row(row: Sequence[Any], n_related_trials: int) -> LedgerEntry:
    """Return the entry in a row of `SELECT_TRIALS_SQL`; an error if it is not as `LedgerWriter` writes it."""
    trial_id, _, retracted, error, runs, *texts = row[:12]
    for text in (trial_id, *texts):
        _require_type(text, str)
    config_sha256, name, config, data_sha256, variation, first_run, last_run = texts
    for time in (first_run, last_run):
        datetime.fromisoformat(time)
    values = json.loads(config)
    for text in (values["label"]["kind"], *_require_type(values["data"]["tickers"], list)):
        _require_type(text, str)
    is_evaluated = _require_type(error, str, type(None)) is None
    result = _result_from_values(*row[12:]) if is_evaluated else None
    trial = Trial(config_sha256, name, config, data_sha256, variation=variation, result=result, error=error)
    retracted = _require_type(retracted, str, type(None))
    return LedgerEntry(trial_id, trial, retracted, _require_type(runs, int), first_run, last_run, n_related_trials)


def _result_from_values(
    sharpe: Any, n_sessions: Any, per_year: Any, first_session: Any, last_session: Any, monthly_returns: Any
) -> TrialResult:
    first = date.fromisoformat(first_session)
    date.fromisoformat(last_session)
    years = _require_type(n_sessions, int) / _require_type(per_year, float)
    returns = None
    if monthly_returns is not None:
        returns = MonthlyReturns(12 * first.year + first.month - 1, np.frombuffer(monthly_returns, "<f4"), years)
    sharpe = _require_type(sharpe, float, type(None))
    return TrialResult(sharpe, n_sessions, per_year, first_session, last_session, returns)


def _require_type(value: Any, *types: type) -> Any:
    """Return the value if it is of one of the types."""
    if not isinstance(value, types):
        raise TypeError(f"{value!r:.40} is not {' or '.join(allowed.__name__ for allowed in types)}")
    return value
