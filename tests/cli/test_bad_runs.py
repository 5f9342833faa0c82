"""Faults while something runs, as the person who waits for it meets them: the status, the words, and what is left."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import Result
from quantlr.report.storage import hold_file_lock

Call = Callable[..., Result]
WRITING = (("run", "exp.yaml"), ("audit", "exp.yaml", "--cuts", "1", "--set", "data.end=2001-06-29"))
READING = (("run",), ("plan",), ("predict",), ("audit",))


def files(folder: str = "reports/exp") -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


@pytest.fixture
def former(call: Call) -> dict[str, bytes]:
    """Leave a report there, and return its files."""
    assert call("run", "exp.yaml", "--quiet").exit_code == 0
    return files()


@pytest.mark.parametrize(
    ("number", "text"), [(28, "No space left on device"), (30, "Read-only file system"), (13, "Permission denied")]
)
def test_a_disk_that_takes_nothing_ends_with_1_and_leaves_the_former_report(
    call: Call, former: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, number: int, text: str
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(number, text)

    monkeypatch.setattr("quantlr.report.storage.write_and_fsync", fail)
    for arguments in WRITING:
        result = call(*arguments)
        assert result.exit_code == 1
        assert f"reports/exp could not be written: {text}; the former report is untouched\n" in result.stderr
        assert "Traceback" not in result.output
        assert files() == former
    assert not list(Path("reports").glob(".*.new"))


def test_a_folder_that_may_not_be_made_ends_with_1_before_anything_is_computed(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", fail)
    result = call("run", "exp.yaml", "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "reports/exp could not be written: Permission denied" in result.stderr


def test_two_runs_into_one_report_wait_for_each_other_and_not_for_ever(
    call: Call, former: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched, hold_file_lock(Path("reports/exp")):
        patched.setattr("quantlr.report.storage.LOCK_TIMEOUT_SECONDS", 0.05)
        for arguments in WRITING:
            result = call(*arguments)
            assert result.exit_code == 1
            assert "another run has been writing reports/exp for 0 seconds; try again" in result.stderr
            assert files() == former
    taken, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with hold_file_lock(Path("reports/exp")):
            taken.set()
            let_go.wait(0.3)

    other = threading.Thread(target=hold)
    other.start()
    taken.wait()
    assert call("run", "exp.yaml", "--quiet").exit_code == 0
    other.join()
    assert files() == former


def test_a_worker_that_dies_ends_with_1_and_says_what_may_help(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    class Pool:
        """Processes of which the first one has just died."""

        def __init__(self, *_: Any, **__: Any) -> None: ...

        def submit(self, *_: Any) -> Future[None]:
            broken: Future[None] = Future()
            broken.set_exception(BrokenProcessPool("terminated abruptly"))
            return broken

        def shutdown(self, **_: Any) -> None: ...

    monkeypatch.setattr("quantlr.core.parallel.ProcessPoolExecutor", Pool)
    monkeypatch.setattr("quantlr.model.walk_forward.MIN_PARALLEL_SECONDS", 0.0)
    monkeypatch.setattr("quantlr.model.walk_forward.MAX_MODELS_PER_BATCH", 1)
    for verb in ("run", "predict", "audit"):
        result = call(verb, "exp.yaml", "--jobs", "2", "--set", "data.tickers=[AAPL,MSFT]")
        assert result.exit_code == 1
        assert "a worker process was killed, perhaps for want of memory; try again with --jobs 1" in result.stderr
    assert not Path("reports").exists()


def test_too_few_rows_for_a_fold_end_with_2_and_the_place_of_the_key(call: Call) -> None:
    with Path("exp.yaml").open("a") as file:
        file.write("# the fourth line is the one that matters\n")
    Path("exp.yaml").write_text(Path("exp.yaml").read_text().replace("train: 250", "train: 900"))
    for verb in READING:
        result = call(*verb, "exp.yaml", "--json")
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr == (
            "exp.yaml:4:23: walk_forward.train: MSFT: the first fold needs 901 rows (train 900 + gap 0 + test 1), "
            "found 834; fetch a longer history or shorten walk_forward.train\n"
        )
    assert not Path("reports").exists()


@pytest.fixture
def rising(call: Call) -> Call:
    """Return a function that runs the program on prices of which every close is above the one before."""
    dates = pd.bdate_range("2015-01-01", periods=400)
    closes = [100 * 1.001**at * (1 + 0.0003 * (at % 3)) for at in range(400)]
    pd.DataFrame({"Date": dates, "Close": closes}).to_csv("up.csv", index=False)
    Path("up.yaml").write_text(
        "data: {source: {kind: file, path: up.csv}, tickers: [UP]}\n"
        "features:\n  - {kind: lagged_returns, lags: [1]}\n"
        "walk_forward: {train: 250}\n"
    )
    return lambda *arguments: call(*arguments[:1], "up.yaml", *arguments[1:])


def test_a_fold_with_one_class_ends_with_2_and_says_how_to_go_on(rising: Call) -> None:
    for verb in ("run", "predict"):
        result = rising(verb)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith(
            "up.yaml:4:23: walk_forward.train: UP, the refit before 2015-12-18: all 250 training rows are ups; needed"
        )
        assert result.stderr.endswith("or set model.degenerate to base_rate\n")
    assert rising("plan").exit_code == 0
    going_on = rising("run", "--set", "model.degenerate=base_rate")
    assert going_on.exit_code == 0
    assert "refits had no best fit" in going_on.stderr


def test_ctrl_c_while_writing_ends_with_130_and_leaves_the_former_report(
    call: Call, former: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("quantlr.report.storage.fsync_path", interrupted)
        for arguments in WRITING:
            result = call(*arguments, "--json")
            assert (result.exit_code, result.stdout) == (130, "")
            assert "interrupted; what was there before is untouched" in result.stderr
    assert {name: content for name, content in files().items() if name != "audit.json"} == former
    assert call("run", "exp.yaml", "--quiet").exit_code == 0
    assert files() == former
    assert sorted(path.name for path in Path("reports").iterdir()) == [
        ".exp.lock", ".index.html.lock", "exp", "index.html", "trials.db",
    ]  # fmt: skip
