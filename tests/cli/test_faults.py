"""Outputs that fail, missing folders, and Ctrl-C at any moment: one sentence, and the documented exit status."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from quantlr.core.parallel import allowed_worker_count
from quantlr.report.storage import hold_file_lock

pytestmark = pytest.mark.skipif(os.name != "posix", reason="devices, signals and limits of POSIX")
PROGRAM = [sys.executable, "-m", "quantlr"]


def call_program(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "check": False} | options
    return subprocess.run([*PROGRAM, *arguments], **options)


@pytest.mark.parametrize("arguments", [["schema"], ["--help"], ["features"]], ids=" ".join)
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_full_output_is_one_sentence(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = call_program(*arguments, stdout=full)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "full" in done.stderr


def test_characters_that_the_output_lacks_are_shown_as_escapes() -> None:
    done = call_program("plan", "P😀.yaml", env={**os.environ, "PYTHONIOENCODING": "latin-1"})
    assert (done.returncode, done.stderr.splitlines()) == (
        2, ["P\\U0001f600.yaml: no such config; name a YAML file"],
    )  # fmt: skip


def test_a_deleted_working_folder_is_one_sentence(tmp_path: Path) -> None:
    config = tmp_path / "exp.yaml"
    config.write_text(
        "data: {source: {kind: sample}, tickers: [MSFT]}\nfeatures: [{kind: lagged_returns}]\nname: exp\n"
    )
    folder = tmp_path / "gone"
    folder.mkdir()
    code = f"import os; os.chdir({str(folder)!r}); os.rmdir({str(folder)!r}); from quantlr.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "run", str(config)], capture_output=True, text=True, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "the working folder no longer exists" in done.stderr


def test_a_cache_folder_of_an_unknown_user_is_one_sentence() -> None:
    done = call_program("data", "list", env={**os.environ, "QUANTLR_HOME": "~no-such-user"})
    assert done.returncode == 2
    assert "QUANTLR_HOME is '~no-such-user'" in done.stderr


def test_too_few_descriptors_are_one_sentence(tmp_path: Path) -> None:
    import resource

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (8, 8))

    done = call_program("features", preexec_fn=limit, cwd=tmp_path)
    assert done.returncode in (0, 1)
    assert "Traceback" not in done.stderr
    done = call_program("run", "exp.yaml", "--jobs", "4", preexec_fn=limit, cwd=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) in ((1, 1), (2, 1))


@pytest.mark.parametrize("n_descriptors", [3, 4, 5])
def test_too_few_descriptors_for_any_import_are_one_sentence(n_descriptors: int) -> None:
    """From the first line of the program on; where Python itself can't start, there is nothing to be said."""
    limit = f"resource.setrlimit(resource.RLIMIT_NOFILE, ({n_descriptors}, {n_descriptors}))"
    code = f"import resource, sys, quantlr.__main__ as program; sys.argv = ['quantlr', 'run', 'no.yaml']; {limit}"
    command = [sys.executable, "-c", f"{code}; program.main()"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "ulimit -n" in done.stderr


@pytest.mark.filterwarnings("default")
def test_a_disk_without_locks_gets_a_file_as_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    def missing(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", missing)
    with hold_file_lock(tmp_path / "exp"):
        assert (tmp_path / ".exp.lock").exists()


@pytest.mark.parametrize("delay_seconds", [0.25, 0.5])
def test_ctrl_c_while_libraries_are_imported_is_one_line(tmp_path: Path, delay_seconds: float) -> None:
    """The first line of the program installs the handler; how early a signal comes depends on the machine."""
    code = (
        "import os, sys, threading, time, quantlr.__main__ as program\n"
        f"threading.Timer({delay_seconds}, lambda: os.kill(os.getpid(), 2)).start()\n"
        "sys.argv = ['quantlr', 'run', 'no.yaml', 'no.yaml']\n"
        "import importlib.abc\n"
        "class Slow(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, *_):\n"
        "        if name in ('click', 'pandas'): time.sleep(3)\n"
        "sys.meta_path.insert(0, Slow())\n"
        "program.main()\n"
    )
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.splitlines() == ["interrupted; existing files were not changed"]
    assert time.monotonic() - start < 10
    assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN


def _print_worker_count() -> None:
    sys.exit(10 * allowed_worker_count(2))


def test_a_daemonic_process_uses_one_worker() -> None:
    assert allowed_worker_count(2) == 2
    process = multiprocessing.get_context("fork").Process(target=_print_worker_count, daemon=True)
    process.start()
    process.join()
    assert process.exitcode == 10
