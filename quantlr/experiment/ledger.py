"""The ledger of trials: a record of every config that was evaluated, for the deflated Sharpe ratio.

The best of many trials looks better than it is, so their number must be known. ``OUTPUT/trials.db`` (SQLite) has one
row per trial, however often it runs. A trial is a resolved config, without its name and report, together with the
digest of its prices. The deflated Sharpe ratio counts the trials that share a ticker and the label. The ledger is the
only file that contains times, and only the parent process writes it.

Every change is one transaction under SQLite's own lock: many processes may record at once, and one that is killed
leaves the ledger as it was before or after the transaction.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantlr.core.errors import Fault, OutputError, QuantlrError
from quantlr.core.file_reading import UnreadableContentError, library_errors_translated

if TYPE_CHECKING:
    from quantlr.config.run_config import RunConfig

LEDGER_FILE_NAME = "trials.db"
NON_TRIAL_KEYS = ("name", "report", "output")
"""Keys of a config that do not change its results."""
APPLICATION_ID, LAYOUT_VERSION = 0x716C7472, 1
"""Marks in SQLite's header: that the file is a ledger, and the version of its layout."""
CREATE_TABLES_SQL = f"""
CREATE TABLE trials (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, label TEXT NOT NULL, tickers TEXT NOT NULL, config TEXT NOT NULL,
    data_sha256 TEXT NOT NULL, sharpe REAL, sessions INTEGER, error TEXT,
    runs INTEGER NOT NULL, first_run TEXT NOT NULL, last_run TEXT NOT NULL
);
CREATE INDEX trials_by_label ON trials (label);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {LAYOUT_VERSION};
"""
INSERT_SQL = """
INSERT INTO trials (id, name, label, tickers, config, data_sha256, sharpe, sessions, error, runs, first_run, last_run)
VALUES (:id, :name, :label, :tickers, :config, :data_sha256, :sharpe, :sessions, :error, 1, :now, :now)
ON CONFLICT (id) DO
"""
INSERT_OR_COUNT_RUN_SQL = f"{INSERT_SQL} UPDATE SET name = :name, config = :config, runs = runs + 1, last_run = :now"
INSERT_IF_MISSING_SQL = f"{INSERT_SQL} NOTHING"
UPDATE_RESULT_SQL = """
UPDATE trials SET sharpe = :sharpe, sessions = :sessions, error = :error
WHERE id = :id AND (:error IS NULL OR error IS NOT NULL)
"""
"""A trial that was evaluated once keeps its result if it fails another time."""
UNEVALUATED_ERROR_TEXT = "started, not evaluated"
"""The error of a trial until its result is known."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One config on one set of prices.

    Attributes
    ----------
    id : digest of the config, without name, report and output, and of the prices.
    name : of the run.
    label, config : as JSON with sorted keys.
    tickers : of the config.
    data_sha256 : digest of the prices; empty where it failed before they were read.
    sharpe : Sharpe ratio per session of net returns in excess of cash; None where undefined or not computed.
    sessions : of the backtest.
    error : why it failed; None for a trial that was evaluated.
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
    def from_config(cls, config: RunConfig, *, data_sha256: str = "", sessions_per_year: int | None = None) -> Trial:
        """Return the trial of a config on prices, without its result.

        `sessions_per_year`, where it is known, stands in `config` in the place of auto; the id does not depend on it.
        """
        values = config.model_dump(mode="json")
        trial_values = {key: value for key, value in values.items() if key not in NON_TRIAL_KEYS}
        report = values["report"]
        if sessions_per_year is not None:
            report = report | {"sessions_per_year": int(sessions_per_year)}
        return cls(
            id=hashlib.sha256(_canonical_json([trial_values, data_sha256]).encode()).hexdigest(),
            name=config.name,
            label=_canonical_json(values["label"]),
            tickers=tuple(config.data.tickers),
            config=_canonical_json(values | {"report": report}),
            data_sha256=data_sha256,
        )


TRIAL_COLUMNS = tuple(field.name for field in fields(Trial))
SELECT_TRIALS_SQL = (
    f"SELECT {', '.join(TRIAL_COLUMNS)}, runs, first_run, last_run FROM trials ORDER BY last_run, first_run, rowid"  # noqa: S608 - constant names
)


@dataclass(frozen=True, slots=True)
class TrialStatistics:
    """Number and dispersion of trials, for the deflated Sharpe ratio.

    Attributes
    ----------
    n_trials : number of trials, failed ones included.
    sharpe_variance : variance (ddof 1) of their Sharpe ratios per session; None with fewer than two.
    """

    n_trials: int
    sharpe_variance: float | None

    @classmethod
    def from_sharpe_ratios(cls, sharpe_ratios: Iterable[float | None]) -> TrialStatistics:
        """Return the statistics of trials with these Sharpe ratios per session, None where undefined."""
        ratios = list(sharpe_ratios)
        defined = [ratio for ratio in ratios if ratio is not None]
        return cls(len(ratios), statistics.variance(defined) if len(defined) > 1 else None)


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """A row of the ledger.

    Attributes
    ----------
    trial : the trial with its result.
    runs : how often it ran.
    first_run, last_run : times in UTC, as ISO 8601.
    n_related_trials : trials that share a ticker and the label with it, itself included.
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
        if self.path.exists():
            self._read_rows("SELECT 1")

    def record_trials(self, trials: Iterable[Trial], *, now: datetime | None = None) -> None:
        """Record evaluated or failed trials, all of them or none; the folder must exist.

        Raises
        ------
        OutputError : the file is damaged, or not a ledger of this version.
        Fault : the disk is full or read-only, or another process holds the lock for too long.
        """
        self._write_trials(trials, INSERT_OR_COUNT_RUN_SQL, UPDATE_RESULT_SQL, now=now)

    def record_pending_trials(self, trials: Iterable[Trial]) -> None:
        """Record trials before they are evaluated, so that abandoned ones count; raises as `record_trials`."""
        pending = (replace(trial, error=UNEVALUATED_ERROR_TEXT) for trial in trials)
        self._write_trials(pending, INSERT_OR_COUNT_RUN_SQL)

    def record_trial_results(self, trials: Iterable[Trial]) -> None:
        """Record the results of pending trials, without counting another run; raises as `record_trials`."""
        self._write_trials(trials, INSERT_IF_MISSING_SQL, UPDATE_RESULT_SQL)

    def _write_trials(self, trials: Iterable[Trial], *sql_statements: str, now: datetime | None = None) -> None:
        time = (now or datetime.now(UTC)).isoformat(timespec="seconds")
        with self._transaction("BEGIN IMMEDIATE", mode="rwc") as (connection, is_new):
            for statement in CREATE_TABLES_SQL.split(";")[:-1] if is_new else ():
                connection.execute(statement)
            for trial in trials:
                row = {**asdict(trial), "tickers": _canonical_json(trial.tickers), "now": time}
                for statement in sql_statements:
                    connection.execute(statement, row)

    def record_and_get_statistics(self, trial: Trial) -> TrialStatistics:
        """Record one trial, and return the statistics of the trials that share a ticker and the label with it."""
        self.record_trials([trial])
        return TrialStatistics.from_sharpe_ratios(self.related_sharpe_ratios_by_id(trial).values())

    def related_sharpe_ratios_by_id(self, trial: Trial) -> dict[str, float | None]:
        """Return the Sharpe ratios of the trials that share a ticker and the label with this one, by id, sorted."""
        tickers = frozenset(trial.tickers)
        rows = self._read_rows("SELECT id, tickers, sharpe FROM trials WHERE label = ? ORDER BY id", trial.label)
        with self._row_errors_translated():
            # Many trials have the same tickers, whose JSON is parsed once.
            related = {text for text in {text for _, text, _ in rows} if not tickers.isdisjoint(_parse_tickers(text))}
            return {
                trial_id: _require_type(ratio, float, type(None)) for trial_id, text, ratio in rows if text in related
            }

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
        rows = self._read_rows(SELECT_TRIALS_SQL)
        with self._row_errors_translated():
            trials = [_trial_from_row(row) for row in rows]
        counts = Counter((trial.label, trial.tickers) for trial in trials)
        n_related = {
            (label, tickers): sum(
                count
                for (other_label, other_tickers), count in counts.items()
                if other_label == label and not set(tickers).isdisjoint(other_tickers)
            )
            for label, tickers in counts
        }
        return [
            LedgerEntry(trial, runs, first_run, last_run, n_related[trial.label, trial.tickers])
            for trial, (*_, runs, first_run, last_run) in zip(trials, rows, strict=True)
        ]

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
        except sqlite3.Error as error:
            raise self._error_from_sqlite(error) from error

    @contextmanager
    def _row_errors_translated(self) -> Iterator[None]:
        """Turn what is raised about a row that was edited by hand into an error that names the file."""
        try:
            with library_errors_translated("rows of trials"):
                yield
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
        if version != LAYOUT_VERSION:
            raise OutputError(
                f"{self.path} is laid out as version {version}, and this quantlr reads {LAYOUT_VERSION}; use the "
                "quantlr that wrote it, or choose another --output"
            )
        return False

    def _error_from_sqlite(self, error: sqlite3.Error) -> QuantlrError:
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


def _trial_from_row(row: Sequence[Any]) -> Trial:
    """Return the trial in a row of `SELECT_TRIALS_SQL`; an error if it is not as `Ledger` writes it."""
    values = dict(zip(TRIAL_COLUMNS, row, strict=False))
    label, config = json.loads(values["label"]), json.loads(values["config"])
    _require_type(label["kind"], str)
    if config["report"]["sessions_per_year"] != "auto":  # as which it stays where a trial has no result
        _require_type(config["report"]["sessions_per_year"], int, float)
    types = {"sharpe": (float, type(None)), "sessions": (int, type(None)), "error": (str, type(None))}
    for name, value in values.items():
        _require_type(value, *types.get(name, (str,)))
    _, *times = (_require_type(value, allowed) for value, allowed in zip(row[-3:], (int, str, str), strict=True))
    for time in times:
        datetime.fromisoformat(time)
    return Trial(**values | {"tickers": _parse_tickers(values["tickers"])})


def _parse_tickers(text: str) -> tuple[str, ...]:
    return tuple(_require_type(ticker, str) for ticker in _require_type(json.loads(text), list))


def _require_type(value: Any, *types: type) -> Any:
    """Return the value if it is of one of the types."""
    if not isinstance(value, types):
        raise TypeError(f"{value!r:.40} is not {' or '.join(allowed.__name__ for allowed in types)}")
    return value


def _canonical_json(value: Any) -> str:
    """Return JSON that is equal for equal values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
