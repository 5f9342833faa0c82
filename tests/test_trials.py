"""The ledger counts every config once, whoever writes at the same time and whatever ends the writing."""

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
from quantlr.experiment import run as runs
from quantlr.experiment.ledger import Ledger, LedgerEntry, Trial, TrialStatistics
from quantlr.experiment.run import Run

pytestmark = pytest.mark.usefixtures("undrawn")

BASE: dict[str, Any] = {
    "name": "one",
    "data": {"source": {"kind": "sample"}, "tickers": ["MSFT"], "start": "2000-03-01", "end": "2002-06-30"},
    "features": [{"kind": "lagged_returns", "lags": [1, 2]}],
    "walk_forward": {"train": 250},
}
WRITERS = """
import os, sys
from pathlib import Path
from quantlr.experiment.ledger import Ledger, Trial

def writer(name, times):
    read, write = os.pipe()
    child = os.fork()
    if child:
        os.close(write)
        return child, os.fdopen(read)
    try:
        ledger = Ledger.of(Path(sys.argv[1]))
        for at in range(times):
            ledger.record([Trial(f"{name} {at} {part}", "n", "{}", ("X",), "{}", "") for part in "ab"])
            os.write(write, f"{at}\\n".encode())
        os._exit(0)
    finally:
        os._exit(1)
"""
"""The beginning of a program whose forks write into the ledger; each tells of what it has written."""
MANY = (
    WRITERS
    + """
children = [writer(f"w{at}", 15) for at in range(5)]
print(*(os.waitpid(child, 0)[1] for child, _ in children))
"""
)
KILLED = (
    WRITERS
    + """
import signal, time
for trial in range(12):
    if trial:
        Ledger.of(Path(sys.argv[1])).record([Trial(f"before {trial}", "n", "{}", ("X",), "{}", "")])
    child, said = writer(f"w{trial}", 100_000)
    print(*(int(said.readline()) for _ in range(2 + trial)))
    time.sleep(0.0004 * trial)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""
)


def config(**overrides: Any) -> RunConfig:
    keys = {key.replace("__", "."): value for key, value in overrides.items()}
    return load_config(BASE, overrides=keys).run


def made(name: str, *, ratio: float | None = 0.01, tickers: tuple[str, ...] = ("X",), **fields: Any) -> Trial:
    return Trial(name, name, fields.pop("label", "{}"), tickers, "{}", "", sharpe=ratio, sessions=100, **fields)


def ids(output: Path) -> set[str]:
    return {entry.trial.id for entry in Ledger.from_output_folder(output).read_entries()}


def only(output: Path) -> LedgerEntry:
    (entry,) = Ledger.from_output_folder(output).read_entries()
    return entry


def test_a_trial_is_what_is_tried_and_on_which_prices() -> None:
    first = Trial.from_config(config(), data_sha256="a")
    for same in (config(name="two"), config(report__sessions_per_year=365), config(policy={"kind": "threshold"})):
        assert Trial.from_config(same, data_sha256="a").id == first.id
    others = [config(features__0__lags=[1]), config(seed=1), config(execution__fill="close"), config(label__horizon=2)]
    assert len({first.id, *(Trial.from_config(other, data_sha256="a").id for other in others)}) == 5
    assert Trial.from_config(config(), data_sha256="b").id != first.id
    assert (first.name, first.tickers) == ("one", ("MSFT",))


def test_one_row_however_often_it_runs_and_the_clock_goes_in(tmp_path: Path) -> None:
    ledger = Ledger.from_output_folder(tmp_path)
    ledger.record_trials([made("a", ratio=0.1)], now=datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC))
    ledger.record_trials([replace(made("a", ratio=0.2), name="renamed")], now=datetime(2025, 1, 1, tzinfo=UTC))
    entry = only(tmp_path)
    assert (entry.runs, entry.first_run, entry.last_run) == (
        2,
        "2024-01-02T03:04:05+00:00",
        "2025-01-01T00:00:00+00:00",
    )
    assert (entry.trial.name, entry.trial.sharpe, entry.trial.sessions) == ("renamed", 0.2, 100)


def test_what_was_evaluated_once_stays_so_and_what_failed_may_succeed_later(tmp_path: Path) -> None:
    ledger = Ledger.from_output_folder(tmp_path)
    failed = made("a", ratio=None, error="the disk is full")
    ledger.record_trials([failed])
    assert only(tmp_path).trial == failed
    ledger.record_trials([made("a", ratio=0.3)])
    ledger.record_trials([failed])
    entry = only(tmp_path)
    assert (entry.trial.sharpe, entry.trial.error, entry.runs) == (0.3, None, 3)


def test_trials_count_that_share_a_ticker_and_the_label_failed_ones_too(tmp_path: Path) -> None:
    ledger = Ledger.from_output_folder(tmp_path)
    ledger.record_trials(
        [
            made("same", ratio=0.02),
            made("shares one", ratio=0.05, tickers=("Y", "X")),
            made("failed", ratio=None, error="no"),
            made("never traded", ratio=None),
            made("other ticker", ratio=9.0, tickers=("Y",)),
            made("other label", ratio=9.0, label='{"horizon":5}'),
        ]
    )
    found = ledger.record_and_get_statistics(made("mine", ratio=-0.01))
    assert found.trials == 5
    assert found.sharpe_variance == pytest.approx(statistics.variance([0.02, 0.05, -0.01]))
    assert {entry.trial.id: entry.n_related_trials for entry in ledger.read_entries()} == {
        "mine": 5, "same": 5, "failed": 5, "never traded": 5, "shares one": 6, "other ticker": 2, "other label": 1,
    }  # fmt: skip


def test_the_variance_is_unknown_until_there_are_two(tmp_path: Path) -> None:
    ledger = Ledger.from_output_folder(tmp_path)
    assert ledger.record_and_get_statistics(made("a")) == TrialStatistics(1, None)
    ledger.record_trials([made("b", ratio=None, error="no")])
    assert ledger.record_and_get_statistics(made("a")) == TrialStatistics(2, None)


def test_a_run_is_counted_without_being_asked_and_the_same_run_writes_the_same_bytes(tmp_path: Path) -> None:
    first = quantlr.run(BASE, output=tmp_path)
    assert first.metrics["significance"]["trials"] == 1
    assert first.metrics["significance"]["deflated_sharpe"] == first.metrics["significance"]["probabilistic_sharpe"]
    second = quantlr.run(BASE, overrides={"features.0.lags": [1, 2, 3, 4], "name": "two"}, output=tmp_path)
    mine, theirs = (done.metrics["backtest"]["strategy"]["sharpe"] / 252**0.5 for done in (second, first))
    carried = second.metrics["significance"]
    assert carried["trials"] == 2
    expected = statistics.stdev([mine, theirs]) * 0.5772156649 * statistics.NormalDist().inv_cdf(1 - 1 / (2 * math.e))
    assert carried["expected_max_sharpe"] == pytest.approx(252**0.5 * expected)
    assert carried["deflated_sharpe"] < carried["probabilistic_sharpe"]
    files = {path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()}
    again = quantlr.run(BASE, overrides={"features.0.lags": [1, 2, 3, 4], "name": "two"}, output=tmp_path)
    assert {path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()} == files
    assert again.metrics == second.metrics
    assert {entry.runs for entry in Ledger.from_output_folder(tmp_path).read_entries()} == {1, 2}


def test_without_an_output_there_is_no_ledger_until_the_run_is_saved(tmp_path: Path) -> None:
    quantlr.run(BASE, overrides={"features.0.lags": [3]}, output=tmp_path)
    alone = quantlr.run(BASE)
    assert alone.ledger is None
    assert alone.metrics["significance"]["trials"] == 1
    alone.save(tmp_path)
    assert b'"trials": 2' in (tmp_path / "one" / "metrics.json").read_bytes()
    assert alone.metrics["significance"]["trials"] == 1
    assert alone.record_in_ledger(tmp_path).metrics["significance"]["trials"] == 2
    assert len(ids(tmp_path)) == 2


def test_a_run_that_fails_after_its_evaluation_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise Fault("no picture")

    monkeypatch.setattr(Run, "report", fail)
    with pytest.raises(Fault, match="no picture"):
        quantlr.run(BASE, output=tmp_path)
    assert only(tmp_path).trial.name == "one"
    assert not (tmp_path / "one").exists()


def test_what_is_wrong_with_the_ledger_is_told_before_anything_is_calculated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ledger.db").write_text("not a ledger, but long enough to be taken for a header " * 40)
    monkeypatch.setattr(runs, "run_stages", lambda *_, **__: pytest.fail("calculated in vain"))
    with pytest.raises(OutputError, match=r"trials\.db is damaged or no ledger of trials \(file is not a database\)"):
        quantlr.run(BASE, output=tmp_path)
    assert not (tmp_path / "one").exists()


def with_another_programs_table(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE songs (title TEXT)")


def of_the_next_version(path: Path) -> None:
    Ledger(path).record_trials([made("a")])
    with closing(sqlite3.connect(path)) as newer:
        newer.execute("PRAGMA user_version = 2")


def with_pages_overwritten(path: Path) -> None:
    Ledger(path).record_trials([made(f"{at}" * 50) for at in range(300)])
    content = bytearray(path.read_bytes())
    content[4096:] = b"\x5a" * (len(content) - 4096)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (with_another_programs_table, "is another program's database; move it away"),
        (of_the_next_version, "is laid out as version 2, and this quantlr reads 1"),
        (
            with_pages_overwritten,
            r"damaged or no ledger of trials \(database disk image is malformed\); put a copy back",
        ),
    ],
)
def test_a_file_that_is_no_ledger_of_ours_is_left_alone(tmp_path: Path, spoil: Any, said: str) -> None:
    path = tmp_path / "ledger.db"
    spoil(path)
    before = path.read_bytes()
    for action in (lambda: Ledger(path).record_trials([made("b")]), Ledger(path).read_entries):
        with pytest.raises(OutputError, match=said):
            action()
    assert path.read_bytes() == before


def test_an_empty_file_is_a_new_ledger(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.touch()
    assert Ledger(path).read_entries() == []
    assert Ledger(path).record_and_get_statistics(made("a")) == TrialStatistics(1, None)


def test_a_ledger_that_is_held_or_may_not_be_written_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger.from_output_folder(tmp_path)
    ledger.record_trials([made("a")])
    monkeypatch.setattr(ledger, "LOCK_TIMEOUT_SECONDS", 0.05)
    with closing(sqlite3.connect(ledger.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Fault, match="another run has been holding the ledger of trials for 0 seconds; try again"):
            ledger.record_trials([made("b")])
    with pytest.raises(Fault, match=r"can't be opened for writing \(unable to open database file\); let it and its"):
        Ledger.from_output_folder(tmp_path / "nowhere").record_trials([made("b")])
    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda where, **keys: real(where.replace("rwc", "ro"), **keys))
    with pytest.raises(Fault, match=r"can't be opened for writing \(attempt to write a readonly database\)"):
        ledger.record_trials([made("b")])
    assert ids(tmp_path) == {"a"}


def test_who_records_holds_the_ledger_from_the_start(tmp_path: Path) -> None:
    """A lock that is taken only when something is written lets two writers wait for each other, and one fails."""
    ledger = Ledger.from_output_folder(tmp_path)
    ledger.record_trials([made("a")])

    def meanwhile() -> Any:
        with (
            closing(sqlite3.connect(ledger.path, isolation_level=None, timeout=0)) as other,
            pytest.raises(sqlite3.OperationalError, match="locked"),
        ):
            other.execute("BEGIN IMMEDIATE")
        yield made("b")

    ledger.record_trials(meanwhile())
    assert ids(tmp_path) == {"a", "b"}


def test_all_or_none_are_recorded(tmp_path: Path) -> None:
    def broken() -> Any:
        yield made("a")
        raise KeyboardInterrupt

    Ledger.from_output_folder(tmp_path).record_trials([made("before")])
    with pytest.raises(KeyboardInterrupt):
        Ledger.from_output_folder(tmp_path).record_trials(broken())
    assert ids(tmp_path) == {"before"}


def test_a_report_may_not_have_the_ledgers_name(tmp_path: Path) -> None:
    with pytest.raises((OutputError, Fault), match=r"trials\.db"):
        quantlr.run(BASE, overrides={"name": "ledger.db"}, output=tmp_path)


def written(program: str, output: Path) -> list[list[int]]:
    """Return the numbers that a program of writers prints, line by line."""
    command = [sys.executable, "-c", program, str(output)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return [[int(number) for number in line.split()] for line in done.stdout.splitlines()]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork is POSIX's")
def test_many_processes_record_at_once_and_nothing_is_lost(tmp_path: Path) -> None:
    """From the first moment on: they make the file together, too."""
    assert written(MANY, tmp_path) == [[0] * 5]
    assert ids(tmp_path) == {f"w{at} {time} {part}" for at in range(5) for time in range(15) for part in "ab"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kill -9 and fork are POSIX's")
def test_a_writer_that_is_killed_leaves_whole_transactions(tmp_path: Path) -> None:
    """kill -9 at moments spread over the writing; what it said it wrote is there, and both of a pair or neither."""
    told = written(KILLED, tmp_path)
    found = ids(tmp_path)
    assert [len(said) for said in told] == list(range(2, 14))
    assert {f"before {trial}" for trial in range(1, 12)} <= found, "and nobody who comes after is kept waiting"
    for trial, said in enumerate(told):
        mine = {name for name in found if name.startswith(f"w{trial} ")}
        assert {f"w{trial} {at} {part}" for at in said for part in "ab"} <= mine
        assert {name[:-1] + "a" for name in mine} == {name for name in mine if name.endswith("a")}
        assert len(mine) % 2 == 0
