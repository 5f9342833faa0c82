"""Sweeps: results equal those of single runs, no trial is evaluated twice or lost, and every trial is counted."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import quantlr
from quantlr.backtest.metrics import METRICS, find_metric
from quantlr.config.run_config import load_config
from quantlr.core.engines.local import ProcessEngine, SerialEngine, iter_task_results
from quantlr.core.errors import UserError
from quantlr.experiment.ledger import Ledger
from quantlr.experiment.ledger_tables import UNEVALUATED_ERROR_TEXT
from quantlr.stats.benchmark_test import alpha_test
from quantlr.stats.family_wise import RunningMaxima, sum_unexplained_returns_by_month
from quantlr.stats.hac import Z95
from quantlr.stats.multiple_testing import probability_of_overfitting
from quantlr.stats.sharpe import probabilistic_sharpe, sharpe_per_session, sharpe_standard_error_per_session
from quantlr.sweeps import worker
from quantlr.sweeps.grid import load_sweep
from quantlr.sweeps.scheduler import SweepOptions, SweepScheduler, first_holdout_session_day, run_sweep
from quantlr.sweeps.trials import (
    TrialRecord,
    TrialReturns,
    TrialStore,
    decode_result_file,
    encode_result_file,
    environment_versions,
)
from quantlr.sweeps.worker import summarize_prices

from sweeps.workloads import SMALL, halve, sleep_an_hour, split_numbers

pytestmark = pytest.mark.usefixtures("without_drawing")

ReadFiles = Callable[[Path], dict[str, bytes]]
LeavingWhite = Callable[[], AbstractContextManager[None]]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, blank_pages: LeavingWhite) -> quantlr.SweepResult:
    """Return the small sweep, run in this process."""
    with blank_pages():
        return quantlr.sweep(SMALL, output=tmp_path_factory.mktemp("small"), workers=1)


def read_evaluated(result: quantlr.SweepResult) -> list[tuple[TrialRecord, TrialReturns]]:
    """Return the stored results of the trials that did not fail."""
    paths = sorted((result.folder.parent / ".trials").rglob("*.npz"))
    stored = [decode_result_file(TrialRecord(0, {}), path.read_bytes()) for path in paths]
    return [(trial, returns) for trial, returns in stored if trial.error is None]


def test_trial_equals_a_run_of_its_config_with_data_before_the_holdout(small: quantlr.SweepResult) -> None:
    sweep, holdout_start = load_sweep(SMALL), pd.Timestamp(small.summary["holdout"]["from"])
    row = small.trials.iloc[0]
    config = sweep.trial_config(int(row["trial"])).run.model_dump(mode="json")
    run = quantlr.run(config, overrides={"data.end": str((holdout_start - pd.Timedelta(days=1)).date())})
    trial, returns = next(
        (trial, returns)
        for trial, returns in read_evaluated(small)
        if np.array_equal(returns.net_return, run.backtest["net_return"])
    )
    for name, value in trial.metrics["strategy"].items():
        assert run.metrics["backtest"]["strategy"][name] == value, name
    for name, value in trial.metrics["forecast"].items():
        assert run.metrics["forecast"][name] == value, name
    for name in ("accuracy", "accuracy_base_rate", "log_loss", "log_loss_base_rate"):
        assert row[name] == run.metrics["forecast"][name]
    assert row["cagr"] == run.metrics["backtest"]["strategy"]["cagr"]
    assert returns.session_days.max() < (holdout_start - pd.Timestamp(0)).days


def test_stored_results_without_a_metric_that_the_table_has_are_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def result_keys() -> set[str]:
        with SweepScheduler(load_sweep(SMALL), SweepOptions(tmp_path, SerialEngine)) as scheduler:
            return {trial.result_key for trial in scheduler.prepare_trial_records()}

    before = result_keys()
    assert result_keys() == before
    monkeypatch.setattr("quantlr.backtest.metrics.METRICS", METRICS[:-1])
    assert result_keys() == before, "the last metric is not in the table of trials"
    monkeypatch.setattr("quantlr.backtest.metrics.METRICS", [*METRICS, replace(find_metric("cagr"), key="other")])
    assert result_keys().isdisjoint(before)


def test_ranks_and_statistics_equal_those_of_the_stored_returns(small: quantlr.SweepResult) -> None:
    stored = read_evaluated(small)
    common = stored[0][1].session_days
    for _, returns in stored:
        common = np.intersect1d(common, returns.session_days)
    excess = np.stack([returns.net_return[np.isin(returns.session_days, common)] for _, returns in stored], axis=1)
    ratios = [sharpe_per_session(column) or 0.0 for column in excess.T]
    evaluated = small.trials[small.trials["error"].isna()]
    assert evaluated["sharpe"].tolist() == pytest.approx(sorted((ratio * 252**0.5 for ratio in ratios), reverse=True))
    best = np.ascontiguousarray(excess[:, int(np.argmax(ratios))])
    error = sharpe_standard_error_per_session(best)
    assert error is not None
    assert evaluated["sharpe_high95"].iloc[0] == pytest.approx((max(ratios) + Z95 * error) * 252**0.5)
    assert small.summary["no_skill"]["trials"] == 12, "failed trials included"
    maxima = RunningMaxima.of_trials(
        sum_unexplained_returns_by_month(
            *returns.excess_returns(returns.session_days),
            pd.DatetimeIndex(returns.session_days.astype("datetime64[D]")),
            sessions_per_year=252,
        )
        for _, returns in stored
    )
    assert small.summary["no_skill"]["expected_max_sharpe"] == pytest.approx(maxima.expected_max_sharpe)
    threshold = (maxima.expected_max_sharpe or np.nan) / 252**0.5
    expected = probabilistic_sharpe(best, benchmark_sharpe=threshold)
    assert evaluated["deflated_sharpe"].iloc[0] == pytest.approx(expected)
    for row in evaluated.itertuples():
        ratio_of_each = np.abs(np.array(ratios) * 252**0.5 - row.sharpe)
        returns = stored[int(ratio_of_each.argmin())][1]
        p_value = alpha_test(*returns.excess_returns(common)).test.p_value
        assert row.family_wise_p == pytest.approx(maxima.family_wise_p_value(p_value), abs=1e-3)
    # Of settings with equal results in sample the first is chosen, so the columns must be in the order of the grid.
    grid_order = evaluated.sort_values("trial")["sharpe"].to_numpy()
    columns = [int(np.abs(np.array(ratios) * 252**0.5 - ratio).argmin()) for ratio in grid_order]
    assert small.summary["overfitting"]["probability"] == probability_of_overfitting(excess[:, columns])
    assert small.summary["common"]["sessions"] == len(common)


def test_holdout_is_used_by_the_winner_only(small: quantlr.SweepResult) -> None:
    full_run, holdout = quantlr.run(small.folder / "winner.yaml"), small.summary["holdout"]
    start = pd.Timestamp(holdout["from"])
    returns = full_run.backtest.loc[full_run.backtest["date"] >= start, "net_return"].to_numpy(dtype=np.float64)
    assert holdout["sessions"] == len(returns)
    assert holdout["sharpe"] == pytest.approx(returns.mean() / returns.std(ddof=1) * 252**0.5)
    assert holdout["growth"] == pytest.approx(np.prod(1 + returns) - 1)
    sessions = full_run.run_data.prices.sessions
    assert (sessions >= start).mean() == pytest.approx(0.2, abs=1 / len(sessions))
    last = max(trial_returns.session_days.max() for _, trial_returns in read_evaluated(small))
    assert last < (start - pd.Timestamp(0)).days


def test_holdout_fraction_is_of_sessions_that_most_prices_have() -> None:
    long, short, new = np.arange(0, 200), np.arange(0, 100), np.arange(60, 100)
    assert first_holdout_session_day([long], 0.2) == 160
    assert first_holdout_session_day([long, short], 0.2) == 80
    assert first_holdout_session_day([long, short, new], 0.25) == 75
    assert first_holdout_session_day([], 0.2) is None
    assert first_holdout_session_day([new[:0]], 0.2) is None


def sharpe_in_ledger(output: Path) -> dict[str, float]:
    """Return the annual Sharpe ratios that `quantlr trials` shows, by name."""
    entries = Ledger.from_output_folder(output).read_entries()
    results = {entry.trial.name: entry.trial.result for entry in entries}
    return {name: (result.sharpe or np.nan) * 252**0.5 for name, result in results.items() if result is not None}


def test_table_has_the_sharpe_ratio_of_the_ledger_and_that_on_common_sessions(small: quantlr.SweepResult) -> None:
    in_ledger = sharpe_in_ledger(small.folder.parent)
    evaluated = small.trials[small.trials["error"].isna()]
    assert len(in_ledger) == len(evaluated) == 6
    for _, row in evaluated.iterrows():
        assert row["sharpe_all_sessions"] == pytest.approx(in_ledger[f"small.{row['trial']}"], nan_ok=True)


def test_verdict_has_the_rules_of_a_run_with_all_trials_counted(small: quantlr.SweepResult, tmp_path: Path) -> None:
    """The run of the winner on the same prices, after the sweep, counts the same trials and adds none."""
    start = pd.Timestamp(small.summary["holdout"]["from"])
    config = load_sweep(SMALL).trial_config(small.summary["winner"]["trial"]).run
    shutil.copytree(small.folder.parent, tmp_path / "copy")
    end = {"data.end": str((start - pd.Timedelta(days=1)).date())}
    run = quantlr.run(config, overrides=end, output=tmp_path / "copy")
    assert run.metrics["significance"]["trials"] == 12
    verdict = small.summary["verdict"]
    assert verdict["rule"] == run.metrics["verdict"]["rule"] == "no_evidence_of_skill"
    title, _, basis = run.verdict.partition(": ")
    assert verdict["sentence"].startswith(f"{title}: the best of 12 settings has a Sharpe ratio of ")
    assert basis.removesuffix(".") in verdict["sentence"]


def test_holdout_that_was_shown_before_is_named(small: quantlr.SweepResult, tmp_path: Path) -> None:
    output = tmp_path / "copy"
    shutil.copytree(small.folder.parent, output)
    again = quantlr.sweep(SMALL, output=output, workers=1)
    assert again.summary == small.summary, "its own look in an earlier run does not count"
    other = quantlr.sweep({**SMALL, "name": "other", "base": {**SMALL["base"], "seed": 1}}, output=output, workers=1)
    holdout = other.summary["holdout"]
    assert (holdout["earlier_sweeps"], holdout["earlier_trials"]) == (1, 0)
    assert "1 sweep had shown results" in other.verdict
    quantlr.run(small.folder / "winner.yaml", output=output)
    third = quantlr.sweep({**SMALL, "name": "third", "base": {**SMALL["base"], "seed": 2}}, output=output, workers=1)
    holdout = third.summary["holdout"]
    assert (holdout["earlier_sweeps"], holdout["earlier_trials"]) == (2, 1)
    assert "2 sweeps and 1 trial had shown results" in third.verdict


def test_each_stage_is_computed_once_for_all_trials_that_share_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: Counter[str] = Counter()

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            calls[name] += 1
            return function(*arguments, **named)

        return call

    functions = ("load_run_prices", "dataset_from_config", "forecasts_from_config", "positions_from_forecasts")
    for name in functions:
        monkeypatch.setattr(worker, name, counted(name, getattr(worker, name)))
    grid = {"features.0.lags": [[1], [2]], "policy.long_above": [round(0.48 + at / 1000, 3) for at in range(30)]}
    quantlr.sweep({**SMALL, "grid": grid}, output=tmp_path, workers=1)
    assert [calls[name] for name in functions] == [2, 2, 2, 60], "prices are read for the hold-out and for the trials"


def test_failed_trial_is_a_row_with_its_error_and_a_ledger_entry(small: quantlr.SweepResult) -> None:
    failed = small.trials[small.trials["error"].notna()]
    assert len(failed) == small.summary["trials"]["failed"] == 6
    assert failed["error"].str.contains("the first fold needs 5001 rows").all()
    entries = Ledger.from_output_folder(small.folder.parent).read_entries()
    assert len(entries) == 12
    assert all(entry.runs == 1 for entry in entries)
    assert sum(entry.trial.error is not None and "5001 rows" in entry.trial.error for entry in entries) == 6


def test_all_trials_are_recorded_before_the_first_is_evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    errors_at_evaluation: list[list[str | None]] = []

    def fail(*_: Any, **__: Any) -> Any:
        errors_at_evaluation.append([entry.trial.error for entry in Ledger.from_output_folder(tmp_path).read_entries()])
        raise UserError("not today")

    monkeypatch.setattr(worker, "forecasts_from_config", fail)
    result = quantlr.sweep(SMALL, output=tmp_path, workers=1)
    assert errors_at_evaluation[0] == [UNEVALUATED_ERROR_TEXT] * 12
    assert result.summary["trials"]["failed"] == 12
    assert [entry.trial.error for entry in Ledger.from_output_folder(tmp_path).read_entries()] == ["not today"] * 12
    assert result.summary["verdict"]["rule"] == "nothing"


def test_worker_processes_give_identical_files(
    small: quantlr.SweepResult, tmp_path: Path, read_files: ReadFiles
) -> None:
    quantlr.sweep(SMALL, output=tmp_path, workers=2)
    assert read_files(tmp_path) == read_files(small.folder.parent)


def test_stored_trials_are_reused_and_damaged_ones_evaluated_again(
    small: quantlr.SweepResult, tmp_path: Path, read_files: ReadFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    quantlr.sweep(SMALL, output=tmp_path, workers=1)
    before = read_files(tmp_path)
    paths = sorted((tmp_path / ".trials").rglob("*.npz"))
    paths[0].unlink()
    paths[1].write_bytes(paths[1].read_bytes()[:-40])
    paths[2].write_bytes(b"")
    evaluated: list[str] = []

    def evaluate_and_record(trials: Any, **options: Any) -> Any:
        evaluated.extend(trial.result_key for trial in trials)
        return worker.evaluate_task(trials, **options)

    monkeypatch.setattr("quantlr.sweeps.scheduler.evaluate_task", evaluate_and_record)
    quantlr.sweep(SMALL, output=tmp_path, workers=1)
    assert sorted(evaluated) == sorted(path.stem for path in paths[:3])
    assert read_files(tmp_path) == before
    quantlr.sweep(SMALL, output=tmp_path, workers=1, fresh=True)
    assert len(evaluated) == 15
    assert read_files(tmp_path) == before == read_files(small.folder.parent)


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_killed_sweep_is_resumed(small: quantlr.SweepResult, tmp_path: Path, read_files: ReadFiles) -> None:
    """SIGKILL once a trial is stored, then Ctrl-C likewise, then to the end."""
    (tmp_path / "small.yaml").write_text(json.dumps(SMALL))
    command = [sys.executable, "-m", "quantlr", "sweep", "small.yaml", "--output", "out", "--jobs"]
    store = tmp_path / "out" / ".trials"
    for signal_number, exit_status, jobs in ((signal.SIGKILL, -signal.SIGKILL, "1"), (signal.SIGINT, 130, "2")):
        child = subprocess.Popen([*command, jobs], cwd=tmp_path, stderr=subprocess.PIPE, start_new_session=True)
        n_before = len(list(store.rglob("*.npz")))
        while child.poll() is None and len(list(store.rglob("*.npz"))) < n_before + 1:
            time.sleep(0.005)
        child.send_signal(signal_number)
        child.communicate(timeout=600)
        assert child.returncode in (exit_status, 4), "4 where the sweep ended before the signal"
    result = quantlr.sweep(SMALL, output=tmp_path / "out", workers=1)
    assert result.summary == small.summary
    assert {
        name: content for name, content in read_files(tmp_path / "out").items() if ".new" not in name
    } == read_files(small.folder.parent)


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_only_the_task_that_kills_its_worker_fails(tmp_path: Path) -> None:
    tasks = [(tmp_path, [1, 2]), (tmp_path, [7, 3]), (tmp_path, [4, 13, 5]), (tmp_path, [6])]
    with ProcessEngine(2) as engine:
        results = list(
            iter_task_results(
                engine, halve, tasks, split_task=split_numbers, make_failed_result=lambda task, error: [-1.0]
            )
        )
    halves = [(number, half) for task, result in results for number, half in zip(task[1], result, strict=True)]
    assert len(halves) == 8, "each number once"
    assert dict(halves) == {1: 0.5, 2: 1.0, 3: 1.5, 4: 2.0, 5: 2.5, 6: 3.0, 7: 3.5, 13: -1.0}
    assert ([13], [-1.0]) in [(task[1], result) for task, result in results], "it failed alone"


def test_stopped_workers_end_at_once(tmp_path: Path) -> None:
    marker = tmp_path / "started"
    with ProcessEngine(2) as engine:
        future = engine.submit(sleep_an_hour, marker)
        while not marker.exists() and not future.done():
            time.sleep(0.005)
        assert not future.done()
        start = time.monotonic()
    assert time.monotonic() - start < 600, "long before the job ends"


def test_tasks_are_taken_as_workers_become_free() -> None:
    taken = []

    def make_tasks() -> Any:
        for task in range(1000):
            taken.append(task)
            yield task

    results = iter_task_results(
        SerialEngine(),
        lambda task: task,
        make_tasks(),
        split_task=lambda task: [task],
        make_failed_result=lambda task, error: task,
    )
    next(results)
    assert len(taken) <= 3


def test_worker_with_other_versions_is_refused() -> None:
    wrong = {**environment_versions(), "numpy": "1.0.0"}
    with pytest.raises(UserError, match=r"numpy \S+ \(needed 1\.0\.0\); its numbers could differ"):
        summarize_prices(("digest", load_config(SMALL["base"]).run), offline=False, required_versions=wrong)


def test_trial_with_an_unknown_ticker_fails_and_the_others_do_not(tmp_path: Path) -> None:
    grid = {"data.tickers": [["MSFT"], ["MSTF"], ["MSFT", "IBM"], ["IBM"]]}
    result = quantlr.sweep({**SMALL, "grid": grid}, output=tmp_path, workers=1)
    failed = result.trials[result.trials["error"].notna()]
    assert failed["data.tickers"].tolist() == ["MSTF"]
    assert "the sample has no ticker 'MSTF'" in failed["error"].iloc[0]
    assert result.summary["trials"] == {"tried": 4, "evaluated": 3, "failed": 1}


def test_options_that_need_a_confirmation_or_another_engine_are_refused() -> None:
    with pytest.raises(UserError, match="12 trials, over the limit of 10"):
        quantlr.sweep(SMALL, max_trials=10)
    with pytest.raises(UserError, match="for --engine dask"):
        quantlr.sweep(SMALL, scheduler="tcp://127.0.0.1:1")


def test_trial_results_do_not_depend_on_ledger_time_or_folder(small: quantlr.SweepResult, tmp_path: Path) -> None:
    Ledger.from_output_folder(tmp_path).record_trials([])
    quantlr.run({**SMALL["base"], "features": [{"kind": "volume"}]}, output=tmp_path)
    quantlr.sweep({**SMALL, "name": "other"}, output=tmp_path, workers=1)
    first, second = (
        {path.name: path.read_bytes() for path in (output / ".trials").rglob("*.npz")}
        for output in (small.folder.parent, tmp_path)
    )
    assert first == second
    summary = json.loads((tmp_path / "other" / "sweep.json").read_text())
    assert summary["no_skill"]["trials"] == 13, "the ledger's other trial of that ticker is counted"


def test_result_that_is_not_stored_is_none(tmp_path: Path) -> None:
    assert TrialStore(tmp_path).read_record_and_returns(TrialRecord(0, {}, result_key="ab" * 32)) is None


def test_name_of_the_report_can_be_given(small: quantlr.SweepResult, tmp_path: Path) -> None:
    result = quantlr.sweep(SMALL, name="other", output=tmp_path, workers=1)
    assert result.folder == tmp_path / "other"
    pd.testing.assert_frame_equal(result.trials, small.trials)


def test_observer_receives_the_progress(tmp_path: Path) -> None:
    progress: list[tuple[int, int, int]] = []

    class Observer:
        def on_start(self, sweep: Any, *, n_waiting: int, dashboard_url: str | None) -> None:
            assert (n_waiting, dashboard_url) == (12, None)

        def on_progress(self, *, n_done: int, n_total: int, n_failed: int) -> None:
            progress.append((n_done, n_total, n_failed))

    run_sweep(load_sweep(SMALL), SweepOptions(tmp_path, SerialEngine, observer=Observer()))
    assert progress[0] == (0, 12, 0)
    assert progress[-1] == (12, 12, 6)
    assert [n_done for n_done, _, _ in progress] == list(range(13))


def test_a_result_file_of_other_content_is_evaluated_again(tmp_path: Path) -> None:
    store, trial = TrialStore(tmp_path), TrialRecord(0, {}, result_key="ab" * 32)
    path = store.result_path(trial.result_key)
    path.parent.mkdir(parents=True)
    array_header = b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000000,)}"
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("about.npy", array_header.ljust(127) + b"\n")
    for content in (encode_result_file({}), encode_result_file([[]], returns=np.zeros(3)), other.getvalue(), b"PK"):  # type: ignore[arg-type]
        path.write_bytes(content)
        assert store.read_record_and_returns(trial) is None
    path.unlink()
    os.mkfifo(path)
    assert store.read_record_and_returns(trial) is None
