"""Sweeps: what each trial came to, nothing done twice, nothing lost, all of it counted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
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
from quantlr.core.engines.local import ProcessEngine, SerialEngine, iter_task_results
from quantlr.core.errors import UserError
from quantlr.experiment.ledger import UNEVALUATED_ERROR_TEXT, Ledger
from quantlr.pipeline.stages import DEFAULT_STAGES
from quantlr.stats.hac import Z95
from quantlr.stats.multiple_testing import probability_of_overfitting
from quantlr.stats.sharpe import deflated_sharpe, sharpe_per_session, sharpe_standard_error_per_session
from quantlr.sweeps import worker
from quantlr.sweeps.grid import load_sweep
from quantlr.sweeps.jobs import TrialStore, decode_trial_record, environment_versions
from quantlr.sweeps.scheduler import SweepOptions, first_holdout_session, run_sweep
from quantlr.sweeps.worker import PriceRequest, summarize_prices

from sweep.killers import SMALL, apart, doze, halve

pytestmark = pytest.mark.usefixtures("undrawn")

Files = Callable[[Path], dict[str, bytes]]
LeavingWhite = Callable[[], AbstractContextManager[None]]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, leaving_white: LeavingWhite) -> quantlr.Swept:
    """Return the small sweep, done in this process."""
    with leaving_white():
        return quantlr.sweep(SMALL, output=tmp_path_factory.mktemp("small"), workers=1)


def kept(swept: quantlr.Swept) -> list[Any]:
    """Return what is kept of the trials that were evaluated."""
    found = [
        decode_trial_record(path.read_bytes()) for path in sorted((swept.folder.parent / ".trials").rglob("*.npz"))
    ]
    return [each for each in found if each.error is None]


def test_a_trial_is_the_run_of_its_config_with_its_data_ending_before_the_cut(small: quantlr.Swept) -> None:
    sweep, cut = load_sweep(SMALL), pd.Timestamp(small.summary["holdout"]["from"])
    row = small.trials.iloc[0]
    config = sweep.trial_config(int(row["trial"])).run.model_dump(mode="json")
    run = quantlr.run(config, overrides={"data.end": str((cut - pd.Timedelta(days=1)).date())})
    mine = next(each for each in kept(small) if np.array_equal(each.net_return, run.backtest["net_return"]))
    for name, value in mine.about["strategy"].items():
        assert run.metrics["backtest"]["strategy"][name] == value, name
    for name, value in mine.about["forecast"].items():
        assert run.metrics["forecast"][name] == value, name
    assert row["accuracy"] == run.metrics["forecast"]["accuracy"]
    assert row["cagr"] == run.metrics["backtest"]["strategy"]["cagr"]
    assert mine.session.max() < (cut - pd.Timestamp(0)).days


def test_ranks_and_statistics_are_those_of_the_returns(small: quantlr.Swept) -> None:
    found = kept(small)
    common = found[0].session
    for each in found:
        common = np.intersect1d(common, each.session)
    excess = np.stack([each.net_return[np.isin(each.session, common)] for each in found], axis=1)
    ratios = [sharpe_per_session(column) or 0.0 for column in excess.T]
    good = small.trials[small.trials["error"].isna()]
    assert good["sharpe"].tolist() == pytest.approx(sorted((ratio * 252**0.5 for ratio in ratios), reverse=True))
    best = np.ascontiguousarray(excess[:, int(np.argmax(ratios))])
    error = sharpe_standard_error_per_session(best)
    assert error is not None
    assert good["sharpe_high95"].iloc[0] == pytest.approx((max(ratios) + Z95 * error) * 252**0.5)
    spread = float(np.var([each.about["sharpe_per_session"] for each in found], ddof=1))
    assert small.summary["luck"]["trials"] == 12, "failed ones included"
    assert good["deflated_sharpe"].iloc[0] == pytest.approx(deflated_sharpe(best, n_trials=12, sharpe_variance=spread))
    # Of settings that are equally good in sample the first is chosen: the order of the grid counts.
    of_grid = good.sort_values("trial")["sharpe"].to_numpy()
    order = [int(np.abs(np.array(ratios) * 252**0.5 - ratio).argmin()) for ratio in of_grid]
    assert small.summary["overfitting"]["probability"] == probability_of_overfitting(excess[:, order])
    assert small.summary["common"]["sessions"] == len(common)


def test_the_last_span_is_seen_by_the_winner_alone(small: quantlr.Swept) -> None:
    whole = quantlr.run(small.folder / "winner.yaml")
    table = whole.backtest[whole.backtest["date"] >= pd.Timestamp(small.summary["holdout"]["from"])]
    shown = small.summary["holdout"]
    assert shown["sessions"] == len(table)
    returns = table["net_return"].to_numpy(dtype=np.float64)
    ratio = returns.mean() / returns.std(ddof=1) * 252**0.5
    assert shown["sharpe"] == pytest.approx(ratio)
    assert shown["growth"] == pytest.approx(np.prod(1 + returns) - 1)
    sessions = whole.run_data.prices.sessions
    assert (sessions >= pd.Timestamp(shown["from"])).mean() == pytest.approx(0.2, abs=1 / len(sessions))
    last = max(each.session.max() for each in kept(small))
    assert last < (pd.Timestamp(shown["from"]) - pd.Timestamp(0)).days


def test_the_share_kept_untouched_is_of_sessions_that_most_prices_have() -> None:
    long, short, new = np.arange(0, 200), np.arange(0, 100), np.arange(60, 100)
    assert first_holdout_session([long], 0.2) == 160
    assert first_holdout_session([long, short], 0.2) == 80
    assert first_holdout_session([long, short, new], 0.25) == 75
    assert first_holdout_session([], 0.2) is None


def test_each_stage_is_done_once_for_all_that_share_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: Counter[str] = Counter()

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            calls[name] += 1
            return function(*arguments, **named)

        return call

    stages = replace(
        DEFAULT_STAGES,
        compute_features=counted("features", DEFAULT_STAGES.compute_features),
        decide_positions=counted("decide", DEFAULT_STAGES.decide_positions),
    )
    monkeypatch.setattr(worker, "WORKER_CACHE", worker.StageCache(stages))
    for name in ("walk_forward_forecasts", "load_prices"):
        monkeypatch.setattr(worker, name, counted(name, getattr(worker, name)))
    grid = {"features.0.lags": [[1], [2]], "policy.long_above": [round(0.48 + at / 1000, 3) for at in range(30)]}
    quantlr.sweep({**SMALL, "grid": grid}, output=tmp_path, workers=1)
    assert calls == {"features": 2, "walk_forward_forecasts": 2, "decide": 60, "load_prices": 2}, (
        "once to look, once to work"
    )


def test_a_failed_trial_is_a_row_that_says_why_and_a_line_of_the_ledger(small: quantlr.Swept) -> None:
    failed = small.trials[small.trials["error"].notna()]
    assert len(failed) == small.summary["trials"]["failed"] == 6
    assert failed["error"].str.contains("the first fold needs 5001 rows").all()
    entries = Ledger.from_output_folder(small.folder.parent).read_entries()
    assert len(entries) == 12
    assert all(entry.runs == 1 for entry in entries)
    assert sum(entry.trial.error is not None and "5001 rows" in entry.trial.error for entry in entries) == 6


def test_all_trials_are_registered_before_the_first_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str | None]] = []

    def look(*_: Any, **__: Any) -> Any:
        seen.append([entry.trial.error for entry in Ledger.from_output_folder(tmp_path).read_entries()])
        raise UserError("not today")

    monkeypatch.setattr(worker, "walk_forward_forecasts", look)
    swept = quantlr.sweep(SMALL, output=tmp_path, workers=1)
    assert seen[0] == [UNEVALUATED_ERROR_TEXT] * 12
    assert swept.summary["trials"]["failed"] == 12
    assert [entry.trial.error for entry in Ledger.from_output_folder(tmp_path).read_entries()] == ["not today"] * 12
    assert swept.summary["verdict"]["rule"] == "nothing"


def test_processes_come_to_the_same_bytes(small: quantlr.Swept, tmp_path: Path, files: Files) -> None:
    quantlr.sweep(SMALL, output=tmp_path, workers=2)
    assert files(tmp_path) == files(small.folder.parent)


def test_what_is_there_is_not_done_again_and_what_is_damaged_is(
    small: quantlr.Swept, tmp_path: Path, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    quantlr.sweep(SMALL, output=tmp_path, workers=1)
    before = files(tmp_path)
    some = sorted((tmp_path / ".trials").rglob("*.npz"))
    some[0].unlink()
    some[1].write_bytes(some[1].read_bytes()[:-40])
    some[2].write_bytes(b"")
    evaluated = []

    def watched(task: Any) -> Any:
        evaluated.extend(task.keys)
        return worker.evaluate_task(task)

    monkeypatch.setattr("quantlr.sweeps.scheduler.evaluate_task", watched)
    quantlr.sweep(SMALL, output=tmp_path, workers=1)
    assert sorted(evaluated) == sorted(path.stem for path in some[:3])
    assert files(tmp_path) == before
    quantlr.sweep(SMALL, output=tmp_path, workers=1, fresh=True)
    assert len(evaluated) == 15
    assert files(tmp_path) == before == files(small.folder.parent)


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_sweep_that_is_killed_goes_on_where_it_was(small: quantlr.Swept, tmp_path: Path, files: Files) -> None:
    """kill -9 as soon as a few trials are there; then Ctrl-C; then to the end."""
    (tmp_path / "small.yaml").write_text(json.dumps(SMALL))
    command = [sys.executable, "-m", "quantlr", "sweep", "small.yaml", "--output", "out", "--jobs"]
    store = tmp_path / "out" / ".trials"
    for number, ends, jobs in ((signal.SIGKILL, -signal.SIGKILL, "1"), (signal.SIGINT, 130, "2")):
        child = subprocess.Popen([*command, jobs], cwd=tmp_path, stderr=subprocess.PIPE, start_new_session=True)
        before = len(list(store.rglob("*.npz")))
        while child.poll() is None and len(list(store.rglob("*.npz"))) < before + 1:
            time.sleep(0.005)
        child.send_signal(number)
        child.communicate(timeout=60)
        assert child.returncode in (ends, 4), "or it was faster"
    swept = quantlr.sweep(SMALL, output=tmp_path / "out", workers=1)
    assert swept.summary == small.summary
    assert {name: content for name, content in files(tmp_path / "out").items() if ".new" not in name} == files(
        small.folder.parent
    )


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_job_that_kills_its_worker_fails_and_no_other_is_lost(tmp_path: Path) -> None:
    tasks = [(tmp_path, [1, 2]), (tmp_path, [7, 3]), (tmp_path, [4, 13, 5]), (tmp_path, [6])]
    with ProcessEngine(2) as engine:
        found = list(
            iter_task_results(engine, halve, tasks, split_task=apart, make_failed_result=lambda task, why: [-1.0])
        )
    values = {tuple(task[1]): result for task, result in found}
    assert values[1, 2] == [0.5, 1.0]
    assert values[7, 3] == [3.5, 1.5], "lost once, and done"
    assert (values[4,], values[13,], values[5,]) == ([2.0], [-1.0], [2.5])
    assert values[6,] == [3.0]
    assert len(found) == 6


def test_workers_end_at_once_when_they_are_told_to() -> None:
    with ProcessEngine(2) as engine:
        quick = engine.submit(doze, 0.01)
        assert quick.result(60) == 0.01
        engine.submit(doze, 600.0)
        time.sleep(0.1)
        started = time.monotonic()
    assert time.monotonic() - started < 2


def test_few_tasks_are_on_their_way_however_many_there_are() -> None:
    taken = []

    def tasks() -> Any:
        for at in range(1000):
            taken.append(at)
            yield at

    results = iter_task_results(
        SerialEngine(), lambda at: at, tasks(), split_task=lambda at: [at], make_failed_result=lambda at, why: at
    )
    next(results)
    assert len(taken) <= 3


def test_workers_of_other_versions_are_refused() -> None:
    wrong = {**environment_versions(), "numpy": "1.0.0"}
    with pytest.raises(UserError, match=r"numpy \S+ \(needed 1\.0\.0\); its numbers could differ"):
        summarize_prices(PriceRequest("k", {}, False, wrong))


def test_tickers_that_are_not_there_fail_and_the_others_do_not(tmp_path: Path) -> None:
    grid = {"data.tickers": [["MSFT"], ["MSTF"], ["MSFT", "IBM"], ["IBM"]]}
    swept = quantlr.sweep({**SMALL, "grid": grid}, output=tmp_path, workers=1)
    failed = swept.trials[swept.trials["error"].notna()]
    assert failed["data.tickers"].tolist() == ["MSTF"]
    assert "the sample has no ticker 'MSTF'" in failed["error"].iloc[0]
    assert swept.summary["trials"] == {"tried": 4, "evaluated": 3, "failed": 1}


def test_a_limit_is_asked_about() -> None:
    with pytest.raises(UserError, match="12 trials, over the limit of 10"):
        quantlr.sweep(SMALL, max_trials=10)
    with pytest.raises(UserError, match="for --engine dask"):
        quantlr.sweep(SMALL, scheduler="tcp://127.0.0.1:1")


def test_a_result_holds_nothing_of_the_ledger_the_clock_or_the_folder(small: quantlr.Swept, tmp_path: Path) -> None:
    Ledger.from_output_folder(tmp_path).record_trials([])
    quantlr.run({**SMALL["base"], "features": [{"kind": "volume"}]}, output=tmp_path)
    quantlr.sweep({**SMALL, "name": "other"}, output=tmp_path, workers=1)
    mine, theirs = (
        {path.name: path.read_bytes() for path in (output / ".trials").rglob("*.npz")}
        for output in (small.folder.parent, tmp_path)
    )
    assert mine == theirs
    summary = json.loads((tmp_path / "other" / "sweep.json").read_text())
    assert summary["luck"]["trials"] == 13, "the ledger's other trial of that ticker counts"


def test_a_missing_result_is_told(tmp_path: Path) -> None:
    assert TrialStore(tmp_path).read("ab" * 32) is None


def test_a_setting_can_watch(tmp_path: Path) -> None:
    heard: list[tuple[int, int, int]] = []

    class Watch:
        def on_start(self, sweep: Any, *, n_waiting: int, dashboard_url: str | None) -> None:
            assert (n_waiting, dashboard_url) == (12, None)

        def on_progress(self, *, n_done: int, n_total: int, n_failed: int) -> None:
            heard.append((n_done, n_total, n_failed))

    run_sweep(load_sweep(SMALL), SweepOptions(tmp_path, SerialEngine, observer=Watch()))
    assert heard[0] == (0, 12, 0)
    assert heard[-1] == (12, 12, 6)
    assert [each[0] for each in heard] == list(range(13))
