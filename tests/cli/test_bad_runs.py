"""Faults during a run: exit status, message, and the files that remain."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import Result
from quantlr.core.parallel import PoolContext
from quantlr.report.storage import hold_file_lock

Call = Callable[..., Result]
SHORT = ("--set", "data.end=2001-06-29")
WRITING_COMMANDS = (("run", "exp.yaml", *SHORT), ("audit", "exp.yaml", "--cuts", "1", *SHORT))
READING_VERBS = (("run",), ("plan",), ("predict",), ("audit",))


def read_files(folder: str = "reports/exp") -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


@pytest.fixture
def previous_report(call: Call) -> dict[str, bytes]:
    """Write a report, and return its files."""
    assert call("run", "exp.yaml", *SHORT, "--quiet").exit_code == 0
    return read_files()


@pytest.mark.parametrize(
    ("number", "text"), [(28, "No space left on device"), (30, "Read-only file system"), (13, "Permission denied")]
)
def test_write_error_exits_with_1_and_keeps_the_previous_report(
    call: Call, previous_report: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, number: int, text: str
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(number, text)

    monkeypatch.setattr("quantlr.report.storage.write_and_fsync", fail)
    for arguments in WRITING_COMMANDS:
        result = call(*arguments)
        assert result.exit_code == 1
        assert f"reports/exp could not be written: {text}; the former report is untouched\n" in result.stderr
        assert "Traceback" not in result.output
        assert read_files() == previous_report
    assert not list(Path("reports").glob(".*.new"))


def test_output_folder_without_permission_exits_with_1(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", fail)
    result = call("run", "exp.yaml", "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "reports/exp could not be written: Permission denied" in result.stderr


def test_second_run_waits_for_the_lock_until_a_timeout(
    call: Call, previous_report: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched, hold_file_lock(Path("reports/exp")):
        patched.setattr("quantlr.report.storage.LOCK_TIMEOUT_SECONDS", 0.05)
        for arguments in WRITING_COMMANDS:
            result = call(*arguments)
            assert result.exit_code == 1
            assert "another run has been writing reports/exp for 0 seconds; try again" in result.stderr
            assert read_files() == previous_report
    is_locked, release = threading.Event(), threading.Event()

    def hold_lock() -> None:
        with hold_file_lock(Path("reports/exp")):
            is_locked.set()
            release.wait(0.3)

    other = threading.Thread(target=hold_lock)
    other.start()
    is_locked.wait()
    assert call("run", "exp.yaml", *SHORT, "--quiet").exit_code == 0
    other.join()
    assert read_files() == previous_report


def test_killed_worker_exits_with_1_and_suggests_one_job(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    class Pool:
        """Processes of which the first one has just died."""

        context = PoolContext()

        def __init__(self, *_: Any, **__: Any) -> None: ...

        def submit(self, *_: Any) -> Future[None]:
            broken: Future[None] = Future()
            broken.set_exception(BrokenProcessPool("terminated abruptly"))
            return broken

        def shutdown(self, **_: Any) -> None: ...

    monkeypatch.setattr("quantlr.core.parallel.WorkerPool", Pool)
    monkeypatch.setattr("quantlr.model.walk_forward.MIN_PARALLEL_SECONDS", 0.0)
    monkeypatch.setattr("quantlr.model.walk_forward.MAX_MODELS_PER_BATCH", 1)
    for verb in ("run", "predict", "audit"):
        result = call(verb, "exp.yaml", "--jobs", "2", "--set", "data.tickers=[AAPL,MSFT]")
        assert result.exit_code == 1
        assert "--jobs 1" in result.stderr
    assert not Path("reports").exists()


def test_too_few_rows_for_a_fold_exits_with_2_at_the_key(call: Call) -> None:
    with Path("exp.yaml").open("a") as file:
        file.write("# the fourth line is the one that matters\n")
    Path("exp.yaml").write_text(Path("exp.yaml").read_text().replace("train: 250", "train: 900"))
    for verb in READING_VERBS:
        result = call(*verb, "exp.yaml", "--json")
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith("exp.yaml:4:23: walk_forward.train: MSFT: ")
        assert {"901", "900", "834"} <= set(re.findall(r"\d+", result.stderr))
        assert len(result.stderr.splitlines()) == 1
    assert not Path("reports").exists()


@pytest.fixture
def rising_prices(call: Call) -> Call:
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


def test_fold_with_one_class_exits_with_2_and_suggests_base_rate(rising_prices: Call) -> None:
    for verb in ("run", "predict"):
        result = rising_prices(verb)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith(
            "up.yaml:4:23: walk_forward.train: UP, the refit before 2015-12-18: all 250 training rows are ups; needed"
        )
        assert result.stderr.endswith("or set model.degenerate to base_rate\n")
    assert rising_prices("plan").exit_code == 0
    with_base_rate = rising_prices("run", "--set", "model.degenerate=base_rate")
    assert with_base_rate.exit_code == 0
    assert "refits had no best fit" in with_base_rate.stderr


def test_ctrl_c_while_writing_exits_with_130_and_keeps_the_previous_report(
    call: Call, previous_report: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("quantlr.report.storage.fsync_path", interrupted)
        for arguments in WRITING_COMMANDS:
            result = call(*arguments, "--json")
            assert (result.exit_code, result.stdout) == (130, "")
            assert "interrupted; existing files were not changed" in result.stderr
    assert {name: content for name, content in read_files().items() if name != "audit.json"} == previous_report
    assert call("run", "exp.yaml", *SHORT, "--quiet").exit_code == 0
    assert read_files() == previous_report
    assert sorted(path.name for path in Path("reports").iterdir()) == [
        ".exp.lock", ".index.html.lock", "exp", "index.html", "trials.db",
    ]  # fmt: skip
