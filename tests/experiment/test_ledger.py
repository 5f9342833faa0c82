"""The ledger counts every trial once, with several processes writing and with processes killed."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import quantlr
from quantlr.config.run_config import RunConfig, load_config
from quantlr.core.errors import Fault, OutputError
from quantlr.experiment.ledger import HoldoutLooks, Ledger
from quantlr.experiment.ledger_tables import APPLICATION_ID, LedgerEntry
from quantlr.experiment.trial import Trial, TrialResult
from quantlr.stats.family_wise import MonthlyReturns, RunningMaxima

pytestmark = pytest.mark.usefixtures("without_drawing")

BASE: dict[str, Any] = {
    "name": "one",
    "data": {"source": {"kind": "sample"}, "tickers": ["MSFT"], "start": "2000-03-01", "end": "2002-06-30"},
    "features": [{"kind": "lagged_returns", "lags": [1, 2]}],
    "walk_forward": {"train": 250},
}
CONFIG = '{"data": {"tickers": ["X"]}, "label": {"kind": "direction"}}'
WRITER_PROGRAM = """
import os, sys
from pathlib import Path
from quantlr.experiment.ledger import Ledger
from quantlr.experiment.trial import Trial

CONFIG = '{"data": {"tickers": ["X"]}, "label": {"kind": "direction"}}'

def make_trial(config_sha256):
    return Trial(config_sha256, "n", CONFIG, "data", (1, 2), error="no")

def writer(name, times):
    read, write = os.pipe()
    child = os.fork()
    if child:
        os.close(write)
        return child, os.fdopen(read)
    try:
        ledger = Ledger.from_output_folder(Path(sys.argv[1]))
        for index in range(times):
            ledger.record_trials([make_trial(f"{name} {index} {part}") for part in "ab"])
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
        ledger.record_trials([make_trial(f"before {trial}")])
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


def make_result(seed: int, *, sharpe: float | None = 0.01, n_months: int = 60) -> TrialResult:
    sums = np.random.default_rng(seed).standard_normal(n_months).astype(np.float32)
    returns = MonthlyReturns(12 * 2000, sums, n_months * 21 / 252)
    return TrialResult(sharpe, n_months * 21, 252.0, "2000-01-03", "2004-12-31", returns)


def make_trial(name: str, *, seed: int | None = 0, price_keys: tuple[int, ...] = (1, 2), **fields: Any) -> Trial:
    """Return a trial with random monthly returns, or one that failed without a seed."""
    result, data_sha256 = None if seed is None else make_result(seed), fields.pop("data_sha256", "data")
    error = "no" if seed is None else None
    return Trial(name, name, CONFIG, data_sha256, price_keys, **{"result": result, "error": error, **fields})


def trial_ids(output: Path) -> set[str]:
    return {entry.trial.config_sha256 for entry in Ledger.from_output_folder(output).read_entries()}


def only_entry(output: Path) -> LedgerEntry:
    (entry,) = Ledger.from_output_folder(output).read_entries()
    return entry


def test_trials_are_told_apart_by_what_results_depend_on() -> None:
    trial = Trial.from_config(config())
    for equivalent in (config(name="two"), config(report__sessions_per_year=365), config(policy={"kind": "threshold"})):
        assert Trial.from_config(equivalent).key == trial.key
    others = [config(features__0__lags=[1]), config(seed=1), config(execution__fill="close"), config(label__horizon=2)]
    assert len({trial.key, *(Trial.from_config(other).key for other in others)}) == 5
    assert trial.name == "one"


def test_repeated_trial_is_one_row_with_first_and_last_time(tmp_path: Path) -> None:
    ledger = Ledger.from_output_folder(tmp_path)
    ledger.record_trials([make_trial("a")], now=datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC))
    again = replace(make_trial("a", seed=1, data_sha256="grown", price_keys=(2, 3)), name="renamed")
    ledger.record_trials([again], now=datetime(2025, 1, 1, tzinfo=UTC))
    entry = only_entry(tmp_path)
    assert (entry.runs, entry.first_run, entry.last_run) == (
        2,
        "2024-01-02T03:04:05+00:00",
        "2025-01-01T00:00:00+00:00",
    )
    assert (entry.trial.name, entry.trial.data_sha256) == ("renamed", "grown")
    assert_same_result(entry.trial.result, again.result)


def assert_same_result(actual: TrialResult | None, expected: TrialResult | None) -> None:
    assert actual is not None
    assert actual.returns is not None
    assert expected is not None
    assert expected.returns is not None
    np.testing.assert_array_equal(actual.returns.sums, expected.returns.sums)
    assert (actual.returns.first_month, actual.returns.years) == (expected.returns.first_month, expected.returns.years)
    assert replace(actual, returns=None) == replace(expected, returns=None)


def test_result_replaces_an_error_but_no_error_replaces_a_result(tmp_path: Path) -> None:
    ledger = Ledger.from_output_folder(tmp_path)
    failed = make_trial("a", seed=None, error="the disk is full")
    ledger.record_trials([failed])
    entry = only_entry(tmp_path)
    assert (entry.trial.result, entry.trial.error) == (None, "the disk is full")
    ledger.record_trials([make_trial("a")])
    ledger.record_trials([failed])
    entry = only_entry(tmp_path)
    assert (entry.trial.error, entry.runs) == (None, 3)
    assert_same_result(entry.trial.result, make_trial("a").result)


def test_trials_on_overlapping_prices_are_a_family_that_includes_failed_ones(tmp_path: Path) -> None:
    ledger = Ledger.from_output_folder(tmp_path)
    ledger.record_trials([
        make_trial("same"),
        make_trial("shares a key", seed=1, price_keys=(2, 3)),
        make_trial("failed", seed=None),
        make_trial("other prices", seed=2, price_keys=(7, 8)),
        make_trial("no prices", seed=None, price_keys=(), data_sha256=""),
    ])  # fmt: skip
    new = make_trial("new", seed=3)
    family = ledger.read_family([new])
    assert family.n_trials == 4
    expected = RunningMaxima.of_trials(result.returns for result in map(make_result, (0, 1, 3)) if result.returns)
    np.testing.assert_allclose(family.maxima.statistic, expected.statistic, atol=1e-6)
    np.testing.assert_allclose(family.maxima.annual_sharpe, expected.annual_sharpe, atol=1e-6)
    assert ledger.read_family([make_trial("alone", price_keys=(9,))]).n_trials == 1
    assert {entry.trial.name: entry.n_related_trials for entry in ledger.read_entries()} == {
        "same": 3, "shares a key": 3, "failed": 3, "other prices": 1, "no prices": 0,
    }  # fmt: skip
    ledger.record_trials([new])
    recorded = ledger.read_family([new])
    assert recorded.n_trials == 4
    np.testing.assert_array_equal(recorded.maxima.statistic, family.maxima.statistic)
    # Prices that overlap with both families make one of them.
    ledger.record_trials([make_trial("both", seed=4, price_keys=(3, 7))])
    assert {entry.trial.name: entry.n_related_trials for entry in ledger.read_entries()} == {
        "same": 6, "shares a key": 6, "failed": 6, "other prices": 6, "new": 6, "both": 6, "no prices": 0,
    }  # fmt: skip
    joined = ledger.read_family([make_trial("both", seed=4, price_keys=(8,))])
    seeds = (0, 1, 2, 3, 4)
    expected = RunningMaxima.of_trials(result.returns for result in map(make_result, seeds) if result.returns)
    np.testing.assert_allclose(joined.maxima.statistic, expected.statistic, atol=1e-6)


def test_trial_whose_prices_could_be_read_later_is_one_row(tmp_path: Path) -> None:
    ledger = Ledger.from_output_folder(tmp_path)
    ledger.record_trials([make_trial("a", seed=None, price_keys=(), data_sha256="")])
    ledger.record_trials([make_trial("a")])
    assert only_entry(tmp_path).n_related_trials == 1


def test_size_of_the_ledger_is_about_a_kilobyte_of_returns_per_trial(tmp_path: Path) -> None:
    ledger = Ledger.from_output_folder(tmp_path)
    ledger.record_trials([make_trial("first")])
    before = ledger.path.stat().st_size
    trials = [make_trial(f"{seed}", result=make_result(seed, n_months=240)) for seed in range(200)]
    ledger.record_trials(trials)
    assert (ledger.path.stat().st_size - before) / 200 < 2_500
    for trial in trials[:10]:
        ledger.record_trials([trial])
    assert (ledger.path.stat().st_size - before) / 200 < 2_500


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {"label": {"kind": "dead_band", "band": 1e-9}}),
        ({}, {"label.ties": "up", "name": "other"}),
        ({"data.end": "2002-03-31"}, {"data.start": "2000-05-01"}),
        ({}, {"data.tickers": ["MSFT", "IBM"]}),
    ],
)
def test_no_change_but_that_of_the_prices_begins_another_family(
    tmp_path: Path, first: dict[str, Any], second: dict[str, Any]
) -> None:
    quantlr.run(BASE, overrides=first, output=tmp_path)
    assert quantlr.run(BASE, overrides=second, output=tmp_path).metrics["significance"]["trials"] == 2
    other = quantlr.run(BASE, overrides={"data.tickers": ["^GSPC"]}, output=tmp_path)
    assert other.metrics["significance"]["trials"] == 1


def test_prices_under_another_name_and_scale_are_the_same_family(tmp_path: Path) -> None:
    prices = quantlr.run(BASE).run_data.prices
    for ticker, factor in (("MSFT", 1.0), ("ALIAS", 7.0)):
        table = pd.DataFrame({"date": prices.sessions, "close": np.round(prices.close[:, 0] * factor, 9)})
        table.to_csv(tmp_path / f"{ticker}.csv", index=False)
        source = {"kind": "file", "path": str(tmp_path / f"{ticker}.csv")}
        data = {"source": source, "tickers": [ticker]}
        run = quantlr.run({**BASE, "name": ticker, "data": data}, output=tmp_path / "out")
    assert run.metrics["significance"]["trials"] == 2
    shuffled = table.assign(close=np.exp(np.random.default_rng(0).normal(0, 0.01, len(table)).cumsum()))
    shuffled.to_csv(tmp_path / "OTHER.csv", index=False)
    data = {"source": {"kind": "file", "path": str(tmp_path / "OTHER.csv")}, "tickers": ["OTHER"]}
    other = quantlr.run({**BASE, "name": "other", "data": data}, output=tmp_path / "out")
    assert other.metrics["significance"]["trials"] == 1


def test_every_run_is_recorded_and_repeated_runs_write_the_same_bytes(tmp_path: Path) -> None:
    first = quantlr.run(BASE, output=tmp_path)
    significance = first.metrics["significance"]
    assert (significance["trials"], significance["expected_max_sharpe"]) == (1, pytest.approx(0.0, abs=1e-9))
    assert significance["deflated_sharpe"] == pytest.approx(significance["probabilistic_sharpe"])
    second = quantlr.run(BASE, overrides={"features.0.lags": [1, 2, 3, 4], "name": "two"}, output=tmp_path)
    significance = second.metrics["significance"]
    assert significance["trials"] == 2
    assert significance["expected_max_sharpe"] > 0.05
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
    assert run.count_trials(tmp_path).metrics["significance"]["trials"] == 2
    assert len(trial_ids(tmp_path)) == 1, "counting records nothing"
    run.save(tmp_path)
    assert b'"trials": 2' in (tmp_path / "one" / "metrics.json").read_bytes()
    assert run.metrics["significance"]["trials"] == 1
    assert len(trial_ids(tmp_path)) == 2


@pytest.mark.parametrize("failing", ["quantlr.experiment.run.Run.report", "quantlr.experiment.run.write_report"])
def test_run_whose_report_fails_leaves_the_ledger_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    quantlr.run(BASE, overrides={"name": "before"}, output=tmp_path)
    content = (tmp_path / "trials.db").read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise Fault("no picture")

    monkeypatch.setattr(failing, fail)
    with pytest.raises(Fault, match="no picture"):
        quantlr.run(BASE, overrides={"seed": 3}, output=tmp_path)
    assert (tmp_path / "trials.db").read_bytes() == content
    assert not (tmp_path / "one").exists()


def test_sensitivity_is_recorded_and_raises_no_p_value(tmp_path: Path) -> None:
    alone = quantlr.run(BASE, output=tmp_path / "alone").metrics
    run = quantlr.run(BASE, output=tmp_path, sensitivity=True)
    variations = run.metrics["sensitivity"]
    entries = {entry.trial.variation: entry for entry in Ledger.from_output_folder(tmp_path).read_entries()}
    assert set(entries) == {"", *(values["variation"] for values in variations[1:])}
    assert {entry.n_related_trials for entry in entries.values()} == {len(variations)}
    for values in variations[1:]:
        result = entries[values["variation"]].trial.result
        assert result is not None
        assert (result.n_sessions, result.first_session) == (values["sessions"], values["first"])
        assert result.sharpe == (None if values["sharpe"] is None else pytest.approx(values["sharpe"] / 252**0.5))
    for key in ("family_wise_p", "expected_max_sharpe", "deflated_sharpe"):
        assert run.metrics["significance"][key] == alone["significance"][key]
    assert run.metrics["significance"]["trials"] == len(variations)
    again = quantlr.run(BASE, output=tmp_path).metrics["significance"]
    assert again == run.metrics["significance"]
    saved = quantlr.run(BASE, sensitivity=True)
    saved.save(tmp_path / "saved")
    assert b'"sensitivity"' in (tmp_path / "saved" / "one" / "metrics.json").read_bytes()
    assert len(Ledger.from_output_folder(tmp_path / "saved").read_entries()) == len(variations)


def test_retracted_trial_does_not_count_until_it_runs_again(tmp_path: Path) -> None:
    ledger = Ledger.from_output_folder(tmp_path)
    leaky = make_trial("leaky", seed=1, data_sha256="b")
    variation = replace(leaky, variation="half the costs", result=replace(make_result(1), returns=None))
    ledger.record_trials([make_trial("honest"), leaky, variation])
    alone = RunningMaxima.of_trials(result.returns for result in [make_result(0)] if result.returns)
    for config_sha256, data_sha256, message in (("other", "b", "another config"), ("leaky", "c", "other prices")):
        entry = next(entry for entry in ledger.read_entries() if entry.trial.key == leaky.key)
        with pytest.raises(OutputError, match=message):
            ledger.retract(entry.id[:10], config_sha256=config_sha256, data_sha256=data_sha256, reason="a leak")
    with pytest.raises(OutputError, match="no trial has an id that begins with 'xyz'"):
        ledger.retract("xyz", config_sha256="leaky", data_sha256="b", reason="a leak")
    with pytest.raises(OutputError, match="3 trials have an id"):
        ledger.retract("", config_sha256="leaky", data_sha256="b", reason="a leak")
    before = ledger.read_family([make_trial("honest")])
    assert before.n_trials == 3
    ledger.retract(entry.id[:10].upper(), config_sha256="leaky", data_sha256="b", reason="a leak")
    after = ledger.read_family([make_trial("honest")])
    assert after.n_trials == 1
    np.testing.assert_allclose(after.maxima.statistic, alone.statistic, atol=1e-6)
    retracted = {entry.trial.key: entry.retracted for entry in ledger.read_entries()}
    assert retracted == {("honest", ""): None, leaky.key: "a leak", variation.key: "a leak"}
    ledger.record_trials([leaky])
    again = ledger.read_family([make_trial("honest")])
    assert again.n_trials == 2
    np.testing.assert_array_equal(again.maxima.statistic, before.maxima.statistic)


def test_looks_at_a_holdout_are_those_of_other_sweeps_and_of_trials_that_reach_into_it(tmp_path: Path) -> None:
    ledger = Ledger.from_output_folder(tmp_path)
    early = replace(make_result(0), last_session="2003-12-31")
    ledger.record_trials([make_trial("early", result=early), make_trial("other prices", price_keys=(9,))])
    ledger.record_holdout_look((1, 2), "2004-12-31", sweep_sha256="one")
    assert ledger.read_holdout_looks((2,), "2004-01-01", sweep_sha256="one") == HoldoutLooks(0, 0)
    assert ledger.read_holdout_looks((2,), "2004-01-01", sweep_sha256="two") == HoldoutLooks(1, 0)
    assert ledger.read_holdout_looks((2,), "2005-01-01", sweep_sha256="two") == HoldoutLooks(0, 0)
    assert ledger.read_holdout_looks((9,), "2005-01-01", sweep_sha256="two") == HoldoutLooks(0, 0)
    ledger.record_trials([make_trial("full")])
    ledger.record_holdout_look((1, 2), "2004-12-31", sweep_sha256="one")
    assert ledger.read_holdout_looks((2,), "2004-01-01", sweep_sha256="two") == HoldoutLooks(1, 1)


def test_damaged_ledger_is_refused_before_the_computation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "trials.db").write_text("not a ledger, but long enough for a header " * 40)
    monkeypatch.setattr("quantlr.experiment.run.forecast_and_decide_audited", lambda *_, **__: pytest.fail("computed"))
    with pytest.raises(OutputError, match=r"trials\.db is damaged or no ledger of trials \(file is not a database\)"):
        quantlr.run(BASE, output=tmp_path)
    assert not (tmp_path / "one").exists()


def write_other_programs_table(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE songs (title TEXT)")


def write_next_version(path: Path) -> None:
    Ledger(path).record_trials([make_trial("a")])
    with closing(sqlite3.connect(path)) as newer:
        newer.execute("PRAGMA user_version = 3")


def write_first_version(path: Path) -> None:
    with closing(sqlite3.connect(path)) as older:
        older.execute("CREATE TABLE trials (id TEXT PRIMARY KEY, label TEXT NOT NULL)")
        older.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        older.execute("PRAGMA user_version = 1")


def overwrite_pages(path: Path) -> None:
    Ledger(path).record_trials([make_trial(f"{number}" * 50) for number in range(300)])
    content = bytearray(path.read_bytes())
    content[4096:] = b"\x5a" * (len(content) - 4096)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (write_other_programs_table, "is another program's database; move it away"),
        (write_next_version, "is laid out as version 3, and this quantlr reads 2"),
        (write_first_version, "was written by an earlier quantlr, .*; move it away"),
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
    assert Ledger(path).is_empty()
    assert Ledger(path).read_family([make_trial("a")]).n_trials == 1
    Ledger(path).record_trials([make_trial("a")])
    assert not Ledger(path).is_empty()


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
        ("config", '{"data": {"tickers": 5}, "label": {"kind": "direction"}}'),
        ("config", '{"data": {"tickers": [1]}, "label": {"kind": "direction"}}'),
        ("config", "[" * 100_000),
        ("config", '{"label": []}'),
        ("sharpe", "high"),
        ("sharpe", b"\xff"),
        ("sessions_per_year", "many"),
        ("first_session", "2000"),
        ("monthly_returns", b"\xff"),
        ("last_run", "yesterday"),
        ("runs", "many"),
    ],
)
def test_a_row_edited_by_hand_is_refused_with_the_file(tmp_path: Path, column: str, value: str | bytes) -> None:
    path, trial = tmp_path / "trials.db", make_trial("a")
    Ledger(path).record_trials([trial, make_trial("b")])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"UPDATE trials SET {column} = ? WHERE config_sha256 = 'b'", [value])  # noqa: S608
        connection.commit()
    with pytest.raises(OutputError, match="has a row that is no trial") as caught:
        Ledger(path).read_entries()
    assert str(path) in caught.value.message


@pytest.mark.parametrize("value", [b"\xff", "text", b""])
def test_maxima_edited_by_hand_are_refused_with_the_file(tmp_path: Path, value: str | bytes) -> None:
    path = tmp_path / "trials.db"
    Ledger(path).record_trials([make_trial("a")])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE families SET max_statistic = ?", [value])
        connection.commit()
    for action in (
        lambda: Ledger(path).read_family([make_trial("b")]),
        lambda: Ledger(path).record_trials([make_trial("b")]),
    ):
        with pytest.raises(OutputError, match="has a row that is no trial"):
            action()


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
