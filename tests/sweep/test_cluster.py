"""A real Dask scheduler and real workers on the loopback, one of them killed in mid-sweep."""

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
from quantlr.core.engines import dask as cluster
from quantlr.core.errors import Fault, UserError
from quantlr.sweeps.grid import load_sweep
from quantlr.sweeps.jobs import environment_versions
from quantlr.sweeps.scheduler import SweepOptions, run_sweep

from sweep.killers import SMALL

pytest.importorskip("distributed")
pytestmark = pytest.mark.usefixtures("undrawn")

Files = Callable[[Path], dict[str, bytes]]
LOOPBACK = ("--host", "127.0.0.1")
MANY = {
    **SMALL,
    "name": "many",
    "grid": {
        "features.0.lags": [[1], [1, 2], [2], [1, 3], [3], [2, 3]],
        "walk_forward.refit_every": [10, 15],
        "policy.long_above": [0.5, 0.51],
    },
}


def dask(*arguments: str | Path, folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "dask.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "dask", *map(str, arguments)], cwd=folder, stdout=log, stderr=log
        )


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[subprocess.Popen[bytes]]]]:
    """Start a scheduler that writes its address into a file, and two workers."""
    folder = tmp_path_factory.mktemp("dask")
    file = folder / "scheduler.json"
    started = [dask("scheduler", *LOOPBACK, "--port", "0", "--no-dashboard", "--scheduler-file", file, folder=folder)]
    worker = (
        "worker",
        *LOOPBACK,
        "--death-timeout",
        "60",
        "--nthreads",
        "1",
        "--no-nanny",
        "--no-dashboard",
        "--scheduler-file",
        file,
    )
    try:
        while not file.exists():
            assert started[0].poll() is None, (folder / "dask.log").read_text()
            time.sleep(0.02)
        started += [dask(*worker, folder=folder) for _ in range(2)]
        yield file, started[1:]
    finally:
        for process in started[::-1]:
            process.kill()
            process.wait()


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_cluster_comes_to_the_same_bytes_though_a_worker_is_killed(
    running: tuple[Path, list[subprocess.Popen[bytes]]], tmp_path: Path, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, workers = running
    seen = []

    class Watch:
        def on_start(self, sweep: Any, *, n_waiting: int, dashboard_url: str | None) -> None:
            assert n_waiting == 24

        def on_progress(self, *, n_done: int, n_total: int, n_failed: int) -> None:
            if n_done and workers[0].poll() is None:
                workers[0].send_signal(signal.SIGKILL)
            seen.append((n_done, n_failed))

    monkeypatch.setattr("quantlr.sweeps.jobs.MAX_MODELS_PER_TASK", 1)
    run_sweep(load_sweep(MANY), SweepOptions(tmp_path / "theirs", lambda: _two_workers(file), observer=Watch()))
    assert workers[0].poll() == -signal.SIGKILL
    assert workers[1].poll() is None
    assert seen[-1] == (24, 0)
    quantlr.sweep(MANY, output=tmp_path / "mine", workers=1)
    assert files(tmp_path / "theirs") == files(tmp_path / "mine")

    monkeypatch.setattr(cluster, "environment_versions", lambda: {**environment_versions(), "quantlr": "0.0.7"})
    with pytest.raises(
        UserError, match=r"1 of 1 Dask workers have other versions: tcp://\S+ has quantlr \S+, and this"
    ):
        cluster.DaskEngine(1, scheduler_file=file)


def _two_workers(file: Path) -> cluster.DaskEngine:
    """Return the cluster once both workers are there."""
    until = time.monotonic() + 60
    while True:
        engine = cluster.DaskEngine(1, scheduler_file=file)
        if engine.workers == 2:
            return engine
        engine.stop()
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"scheduler": "nowhere"}, "--scheduler needs an address like tcp://"),
        ({"scheduler_file": "missing.json"}, "missing.json is not there"),
        ({"scheduler": "tcp://127.0.0.1:1", "scheduler_file": "x"}, "name two schedulers"),
    ],
)
def test_a_scheduler_that_is_none_is_refused(options: dict[str, str], said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        quantlr.sweep(SMALL, output=tmp_path, engine="dask", workers=1, **options)  # type: ignore[arg-type]


def test_a_scheduler_that_does_not_answer_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "CONNECT_TIMEOUT_SECONDS", 1.0)
    with pytest.raises(Fault, match=r"no Dask workers could be reached at tcp://127\.0\.0\.1:1 within 1 seconds"):
        cluster.DaskEngine(1, scheduler="tcp://127.0.0.1:1")
