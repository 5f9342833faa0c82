"""Sweeps on a real Dask scheduler with real workers on the loopback interface, one of which is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import quantlr
from quantlr.core.engines.dask import DaskEngine
from quantlr.core.errors import Fault, UserError
from quantlr.sweeps.grid import load_sweep
from quantlr.sweeps.scheduler import SweepOptions, run_sweep
from quantlr.sweeps.trials import environment_versions

from sweeps.workloads import SMALL

pytest.importorskip("distributed")
pytestmark = pytest.mark.usefixtures("without_drawing")

ReadFiles = Callable[[Path], dict[str, bytes]]
LOOPBACK = ("--host", "127.0.0.1")
TWELVE_MODELS = {
    **SMALL,
    "name": "many",
    "grid": {
        "features.0.lags": [[1], [1, 2], [2], [1, 3], [3], [2, 3]],
        "walk_forward.refit_every": [10, 15],
        "policy.long_above": [0.5, 0.51],
    },
}


def start_dask(*arguments: str | Path, folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "dask.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "dask", *map(str, arguments)], cwd=folder, stdout=log, stderr=log
        )


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[subprocess.Popen[bytes]]]]:
    """Start a scheduler, which writes its address to a file, and two workers."""
    folder = tmp_path_factory.mktemp("dask")
    scheduler_file = folder / "scheduler.json"
    common = (*LOOPBACK, "--no-dashboard", "--scheduler-file", scheduler_file)
    processes = [start_dask("scheduler", "--port", "0", *common, folder=folder)]
    worker = ("worker", "--death-timeout", "60", "--nthreads", "1", "--no-nanny", *common)
    try:
        while not scheduler_file.exists():
            assert processes[0].poll() is None, (folder / "dask.log").read_text()
            time.sleep(0.02)
        processes += [start_dask(*worker, folder=folder) for _ in range(2)]
        yield scheduler_file, processes[1:]
    finally:
        for process in processes[::-1]:
            process.kill()
            process.wait()


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_cluster_gives_identical_files_after_a_worker_is_killed(
    cluster: tuple[Path, list[subprocess.Popen[bytes]]], tmp_path: Path, read_files: ReadFiles
) -> None:
    scheduler_file, workers = cluster
    progress = []

    class Observer:
        def on_start(self, sweep: Any, *, n_waiting: int, dashboard_url: str | None) -> None:
            assert n_waiting == 24

        def on_progress(self, *, n_done: int, n_total: int, n_failed: int) -> None:
            if n_done and workers[0].poll() is None:
                workers[0].send_signal(signal.SIGKILL)
            progress.append((n_done, n_failed))

    options = SweepOptions(tmp_path / "dask", lambda: connect_to_two_workers(scheduler_file), observer=Observer())
    run_sweep(load_sweep(TWELVE_MODELS), options)
    assert workers[0].poll() == -signal.SIGKILL
    assert workers[1].poll() is None
    assert progress[-1] == (24, 0)
    quantlr.sweep(TWELVE_MODELS, output=tmp_path / "serial", workers=1)
    assert read_files(tmp_path / "dask") == read_files(tmp_path / "serial")

    with pytest.raises(
        UserError, match=r"1 of 1 Dask workers have other versions: tcp://\S+ has quantlr \S+, and this"
    ):
        DaskEngine(1, scheduler_file=scheduler_file, required_versions={**environment_versions(), "quantlr": "0.0.7"})


def connect_to_two_workers(scheduler_file: Path) -> DaskEngine:
    """Return the engine once both workers are connected to the scheduler."""
    deadline = time.monotonic() + 60
    while True:
        engine = DaskEngine(1, scheduler_file=scheduler_file, required_versions=environment_versions())
        if engine.workers == 2:
            return engine
        engine.stop()
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scheduler": "nowhere"}, "--scheduler needs an address like tcp://"),
        ({"scheduler_file": "missing.json"}, "missing.json does not exist"),
        ({"scheduler": "tcp://127.0.0.1:1", "scheduler_file": "x"}, "name two schedulers"),
    ],
)
def test_malformed_scheduler_location_is_refused(options: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        quantlr.sweep(SMALL, output=tmp_path, engine="dask", workers=1, **options)  # type: ignore[arg-type]


def test_unreachable_scheduler_is_a_fault() -> None:
    with pytest.raises(Fault, match=r"no Dask workers could be reached at tcp://127\.0\.0\.1:1 within 1 seconds"):
        DaskEngine(1, scheduler="tcp://127.0.0.1:1", connect_timeout=1.0)
