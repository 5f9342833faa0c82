"""The ledger counts every trial once, with several processes writing and with processes killed."""

from __future__ import annotations

import math
import os
import sqlite3
import statistics
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import quantlr
from quantlr.config.run_config import RunConfig, load_config
from quantlr.core.errors import Fault, OutputError
from quantlr.experiment.ledger import Ledger, LedgerEntry, Trial, TrialStatistics
from quantlr.experiment.run import Run

pytestmark = pytest.mark.usefixtures("without_drawing")

BASE: dict[str, Any] = {
    "name": "one",
    "data": {"source": {"kind": "sample"}, "tickers": ["MSFT"], "start": "2000-03-01", "end": "2002-06-30"},
    "features": [{"kind": "lagged_returns", "lags": [1, 2]}],
    "walk_forward": {"train": 250},
}
LABEL, CONFIG = '{"kind": "direction"}', '{"report": {"sessions_per_year": 252}}'
WRITER_PROGRAM = """
import os, sys
from pathlib import Path
from quantlr.experiment.ledger import Ledger, Trial

LABEL, CONFIG = '{"kind": "direction"}', '{"report": {"sessions_per_year": 252}}'

def writer(name, times):
    read, write = os.pipe()
    child = os.fork()
    if child:
        os.close(write)
        return child, os.fdopen(read)
    try:
        ledger = Ledger.from_output_folder(Path(sys.argv[1]))
        for index in range(times):
            ledger.record_trials([Trial(f"{name} {index} {part}", "n", LABEL, ("X",), CONFIG, "") for part in "ab"])
            os.write(write, f"{index}\\n".encode())
        os._exit(0)
    finally:
        os._exit(1)
"""
"""Defines `writer`: a fork that records pairs of trials and prints the number of each pair written."""
CONCURRENT_WRITERS = (
    WRITER_PROGRAM
    + """
children = [writer(f"w{number}", 15) for number in range(5)]
print(*(os.waitpid(child, 0)[1] for child, _ in children))
"""
)
KILLED_WRITERS = (
    WRITER_PROGRAM
    + """
import signal, time
for trial in range(12):
    if trial:
        ledger = Ledger.from_output_folder(Path(sys.argv[1]))
        ledger.record_trials([Trial(f"before {trial}", "n", LABEL, ("X",), CONFIG, "")])
    child, output = writer(f"w{trial}", 100_000)
    print(*(int(output.readline()) for _ in range(2 + trial)))
    time.sleep(0.0004 * trial)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""
)


def config(**overrides: Any) -> RunConfig:
    keys = {key.replace("__", "."): value for key, value in overrides.items()}
    return load_config(BASE, overrides=keys).run


def make_trial(name: str, *, ratio: float | None = 0.01, tickers: tuple[str, ...] = ("X",), **fields: Any) -> Trial:
    return Trial(name, name, fields.pop("label", LABEL), tickers, CONFIG, "", sharpe=ratio, sessions=100, **fields)


def trial_ids(output: Path) -> set[str]:
    return {entry.trial.id for entry in Ledger.from_output_folder(output).read_entries()}


def only_entry(output: Path) -> LedgerEntry:
    (entry,) = Ledger.from_output_folder(output).read_entries()
    return entry


def test_trial_id_depends_on_results_relevant_keys_and_prices() -> None:
    trial = Trial.from_config(config(), data_sha256="a")
    for equivalent in (config(name="two"), config(report__sessions_per_year=365), config(policy={"kind": "threshold"})):
        assert Trial.from_config(equivalent, data_sha256="a").id == trial.id
    others = [config(features__0__lags=[1]), config(seed=1), config(execution__fill="close"), config(label__horizon=2)]
    assert len({trial.id, *(Trial.from_config(other, data_sha256="a").id for other in others)}) == 5
    assert Trial.from_config(config(), data_sha256="b").id != trial.id
    assert (trial.name, trial.tickers) == ("one", ("MSFT",))


def test_repeated_trial_is_one_row_with_first_and_last_time(tmp_path: Path) -> None:
    ledger = Ledger.from_output_folder(tmp_path)
    ledger.record_trials([make_trial("a", ratio=0.1)], now=datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC))
    ledger.record_trials([replace(make_trial("a", ratio=0.2), name="renamed")], now=datetime(2025, 1, 1, tzinfo=UTC))
    entry = only_entry(tmp_path)
    assert (entry.runs, entry.first_run, entry.last_run) == (
        2,
        "2024-01-02T03:04:05+00:00",
        "2025-01-01T00:00:00+00:00",
    )
    assert (entry.trial.name, entry.trial.sharpe, entry.trial.sessions) == ("renamed", 0.2, 100)


def test_result_replaces_an_error_but_no_error_replaces_a_result(tmp_path: Path) -> None:
    ledger = Ledger.from_output_folder(tmp_path)
    failed = make_trial("a", ratio=None, error="the disk is full")
    ledger.record_trials([failed])
    assert only_entry(tmp_path).trial == failed
    ledger.record_trials([make_trial("a", ratio=0.3)])
    ledger.record_trials([failed])
    entry = only_entry(tmp_path)
    assert (entry.trial.sharpe, entry.trial.error, entry.runs) == (0.3, None, 3)


def test_related_trials_share_a_ticker_and_the_label_and_include_failed_ones(tmp_path: Path) -> None:
    ledger = Ledger.from_output_folder(tmp_path)
    ledger.record_trials(
        [
            make_trial("same", ratio=0.02),
            make_trial("shares one", ratio=0.05, tickers=("Y", "X")),
            make_trial("failed", ratio=None, error="no"),
            make_trial("never traded", ratio=None),
            make_trial("other ticker", ratio=9.0, tickers=("Y",)),
            make_trial("other label", ratio=9.0, label='{"horizon":5,"kind":"direction"}'),
        ]
    )
    trial_statistics = ledger.record_and_get_statistics(make_trial("new", ratio=-0.01))
    assert trial_statistics.n_trials == 5
    assert trial_statistics.sharpe_variance == pytest.approx(statistics.variance([0.02, 0.05, -0.01]))
    assert {entry.trial.id: entry.n_related_trials for entry in ledger.read_entries()} == {
        "new": 5, "same": 5, "failed": 5, "never traded": 5, "shares one": 6, "other ticker": 2, "other label": 1,
    }  # fmt: skip


def test_sharpe_variance_is_none_with_fewer_than_two_trials(tmp_path: Path) -> None:
    ledger = Ledger.from_output_folder(tmp_path)
    assert ledger.record_and_get_statistics(make_trial("a")) == TrialStatistics(1, None)
    ledger.record_trials([make_trial("b", ratio=None, error="no")])
    assert ledger.record_and_get_statistics(make_trial("a")) == TrialStatistics(2, None)


def test_every_run_is_recorded_and_repeated_runs_write_the_same_bytes(tmp_path: Path) -> None:
    first = quantlr.run(BASE, output=tmp_path)
    assert first.metrics["significance"]["trials"] == 1
    assert first.metrics["significance"]["deflated_sharpe"] == first.metrics["significance"]["probabilistic_sharpe"]
    second = quantlr.run(BASE, overrides={"features.0.lags": [1, 2, 3, 4], "name": "two"}, output=tmp_path)
    ratios = [run.metrics["backtest"]["strategy"]["sharpe"] / 252**0.5 for run in (second, first)]
    significance = second.metrics["significance"]
    assert significance["trials"] == 2
    expected = statistics.stdev(ratios) * 0.5772156649 * statistics.NormalDist().inv_cdf(1 - 1 / (2 * math.e))
    assert significance["expected_max_sharpe"] == pytest.approx(252**0.5 * expected)
    assert significance["deflated_sharpe"] < significance["probabilistic_sharpe"]
    files = {path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()}
    again = quantlr.run(BASE, overrides={"features.0.lags": [1, 2, 3, 4], "name": "two"}, output=tmp_path)
    assert {path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()} == files
    assert again.metrics == second.metrics
    assert {entry.runs for entry in Ledger.from_output_folder(tmp_path).read_entries()} == {1, 2}


def test_run_without_output_is_recorded_when_it_is_saved(tmp_path: Path) -> None:
    quantlr.run(BASE, overrides={"features.0.lags": [3]}, output=tmp_path)
    run = quantlr.run(BASE)
    assert run.ledger is None
    assert run.metrics["significance"]["trials"] == 1
    run.save(tmp_path)
    assert b'"trials": 2' in (tmp_path / "one" / "metrics.json").read_bytes()
    assert run.metrics["significance"]["trials"] == 1
    assert run.record_in_ledger(tmp_path).metrics["significance"]["trials"] == 2
    assert len(trial_ids(tmp_path)) == 2


def test_run_whose_report_fails_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise Fault("no picture")

    monkeypatch.setattr(Run, "report", fail)
    with pytest.raises(Fault, match="no picture"):
        quantlr.run(BASE, output=tmp_path)
    assert only_entry(tmp_path).trial.name == "one"
    assert not (tmp_path / "one").exists()


def test_damaged_ledger_is_refused_before_the_computation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "trials.db").write_text("not a ledger, but long enough for a header " * 40)
    monkeypatch.setattr("quantlr.experiment.run.run_stages", lambda *_, **__: pytest.fail("computed"))
    with pytest.raises(OutputError, match=r"trials\.db is damaged or no ledger of trials \(file is not a database\)"):
        quantlr.run(BASE, output=tmp_path)
    assert not (tmp_path / "one").exists()


def write_other_programs_table(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE songs (title TEXT)")


def write_next_version(path: Path) -> None:
    Ledger(path).record_trials([make_trial("a")])
    with closing(sqlite3.connect(path)) as newer:
        newer.execute("PRAGMA user_version = 2")


def overwrite_pages(path: Path) -> None:
    Ledger(path).record_trials([make_trial(f"{number}" * 50) for number in range(300)])
    content = bytearray(path.read_bytes())
    content[4096:] = b"\x5a" * (len(content) - 4096)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (write_other_programs_table, "is another program's database; move it away"),
        (write_next_version, "is laid out as version 2, and this quantlr reads 1"),
        (
            overwrite_pages,
            r"damaged or no ledger of trials \(database disk image is malformed\); put a copy back",
        ),
    ],
)
def test_file_that_is_not_a_ledger_is_refused_and_not_changed(tmp_path: Path, damage: Any, message: str) -> None:
    path = tmp_path / "trials.db"
    damage(path)
    before = path.read_bytes()
    for action in (lambda: Ledger(path).record_trials([make_trial("b")]), Ledger(path).read_entries):
        with pytest.raises(OutputError, match=message):
            action()
    assert path.read_bytes() == before


def test_empty_file_is_a_new_ledger(tmp_path: Path) -> None:
    path = tmp_path / "trials.db"
    path.touch()
    assert Ledger(path).read_entries() == []
    assert Ledger(path).record_and_get_statistics(make_trial("a")) == TrialStatistics(1, None)


def test_locked_or_read_only_ledger_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger.from_output_folder(tmp_path)
    ledger.record_trials([make_trial("a")])
    impatient = replace(ledger, lock_timeout_seconds=0.05)
    with closing(sqlite3.connect(ledger.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Fault, match="another run has been holding the ledger of trials for 0 seconds; try again"):
            impatient.record_trials([make_trial("b")])
    with pytest.raises(Fault, match=r"can't be opened for writing \(unable to open database file\)"):
        Ledger.from_output_folder(tmp_path / "nowhere").record_trials([make_trial("b")])
    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda where, **keys: real(where.replace("rwc", "ro"), **keys))
    with pytest.raises(Fault, match=r"can't be opened for writing \(attempt to write a readonly database\)"):
        ledger.record_trials([make_trial("b")])
    assert trial_ids(tmp_path) == {"a"}


def test_recording_locks_the_ledger_before_it_reads(tmp_path: Path) -> None:
    """With a lock taken at the first write, two writers could wait for each other, and one would fail."""
    ledger = Ledger.from_output_folder(tmp_path)
    ledger.record_trials([make_trial("a")])

    def trial_while_locked() -> Any:
        with (
            closing(sqlite3.connect(ledger.path, isolation_level=None, timeout=0)) as other,
            pytest.raises(sqlite3.OperationalError, match="locked"),
        ):
            other.execute("BEGIN IMMEDIATE")
        yield make_trial("b")

    ledger.record_trials(trial_while_locked())
    assert trial_ids(tmp_path) == {"a", "b"}


def test_interrupted_recording_records_nothing(tmp_path: Path) -> None:
    def interrupted() -> Any:
        yield make_trial("a")
        raise KeyboardInterrupt

    Ledger.from_output_folder(tmp_path).record_trials([make_trial("before")])
    with pytest.raises(KeyboardInterrupt):
        Ledger.from_output_folder(tmp_path).record_trials(interrupted())
    assert trial_ids(tmp_path) == {"before"}


def test_report_cannot_have_the_ledgers_name(tmp_path: Path) -> None:
    with pytest.raises((OutputError, Fault), match=r"trials\.db"):
        quantlr.run(BASE, overrides={"name": "trials.db"}, output=tmp_path)


def printed_numbers(program: str, output: Path) -> list[list[int]]:
    """Return the numbers that a program prints, line by line."""
    command = [sys.executable, "-c", program, str(output)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return [[int(number) for number in line.split()] for line in done.stdout.splitlines()]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork is POSIX's")
def test_concurrent_processes_lose_no_trial(tmp_path: Path) -> None:
    """The file does not exist when they start."""
    assert printed_numbers(CONCURRENT_WRITERS, tmp_path) == [[0] * 5]
    assert trial_ids(tmp_path) == {
        f"w{number} {index} {part}" for number in range(5) for index in range(15) for part in "ab"
    }


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kill -9 and fork are POSIX's")
def test_killed_writer_leaves_complete_transactions(tmp_path: Path) -> None:
    """After kill -9 at different times, every pair reported as written is there, and no half of a pair."""
    reported = printed_numbers(KILLED_WRITERS, tmp_path)
    recorded = trial_ids(tmp_path)
    assert [len(indices) for indices in reported] == list(range(2, 14))
    assert {f"before {trial}" for trial in range(1, 12)} <= recorded, "the next writer is not blocked"
    for trial, indices in enumerate(reported):
        names = {name for name in recorded if name.startswith(f"w{trial} ")}
        assert {f"w{trial} {index} {part}" for index in indices for part in "ab"} <= names
        assert {name[:-1] + "a" for name in names} == {name for name in names if name.endswith("a")}
        assert len(names) % 2 == 0


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("tickers", "5"),
        ("tickers", "[" * 100_000),
        ("tickers", "[1]"),
        ("sharpe", "high"),
        ("sharpe", b"\xff"),
        ("label", "[]"),
        ("config", '{"report": {}}'),
        ("last_run", "yesterday"),
        ("runs", "many"),
    ],
)
def test_a_row_edited_by_hand_is_refused_with_the_file(tmp_path: Path, column: str, value: str | bytes) -> None:
    path, trial = tmp_path / "trials.db", make_trial("a")
    Ledger(path).record_trials([trial, make_trial("b")])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"UPDATE trials SET {column} = ? WHERE id = 'b'", [value])  # noqa: S608
        connection.commit()
    with pytest.raises(OutputError, match="has a row that is no trial") as caught:
        Ledger(path).read_entries()
    assert str(path) in caught.value.message
    if column in ("tickers", "sharpe"):
        with pytest.raises(OutputError, match="has a row that is no trial"):
            Ledger(path).related_sharpe_ratios_by_id(trial)


@pytest.mark.parametrize(
    "statement",
    ["ALTER TABLE trials DROP COLUMN sharpe", "DROP TABLE trials", "UPDATE trials SET name = CAST(x'ff' AS TEXT)"],
)
def test_a_ledger_with_another_table_or_text_that_is_not_utf8_is_refused(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "trials.db"
    Ledger(path).record_trials([make_trial("a")])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()
    with pytest.raises(OutputError, match="is damaged or no ledger of trials"):
        Ledger(path).read_entries()


def test_a_ledger_that_is_a_pipe_or_a_device_is_refused_without_opening_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        for action in (Ledger(path).require_usable, Ledger(path).read_entries):
            with pytest.raises(OutputError, match="is a device or a named pipe"):
                action()
