"""A report's folder is complete at every moment, also after errors, interrupts and kills."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from quantlr.core.atomic import exchange_paths, write_and_fsync
from quantlr.core.errors import Fault, OutputError
from quantlr.core.values import Report
from quantlr.report.storage import (
    REPORT_FILE_NAMES,
    hold_file_lock,
    read_previous_metrics,
    recover_interrupted_swap,
    write_report,
    write_report_files,
)


class ProcessEnded(BaseException):
    """Stands for the end of the process."""


def make_report(version: str, *, size: int = 1000) -> Report:
    return Report("exp", {name: f"{name} {version} ".encode() * size for name in sorted(REPORT_FILE_NAMES)})


def report_version(target: Path) -> str:
    """Return the version that all files of a folder have in common."""
    assert {path.name for path in target.iterdir()} >= REPORT_FILE_NAMES
    versions = {(target / name).read_text().split(" ")[1] for name in REPORT_FILE_NAMES}
    lengths = {len((target / name).read_bytes()) / len(f"{name} a ") for name in REPORT_FILE_NAMES}
    assert len(versions) == 1
    assert len(lengths) == 1
    return versions.pop()


def test_new_report_replaces_the_old_and_keeps_user_files(tmp_path: Path) -> None:
    target = write_report(make_report("a"), tmp_path / "reports")
    (target / "user notes.txt").write_text("keep")
    (target / "more").mkdir()
    (target / "more" / "deep.txt").write_text("keep too")
    write_report(Report("exp", {"metrics.json": b"{}"}), tmp_path / "reports")
    assert sorted(path.name for path in target.iterdir()) == ["metrics.json", "more", "user notes.txt"]
    assert (target / "more" / "deep.txt").read_text() == "keep too"
    assert sorted(path.name for path in (tmp_path / "reports").iterdir()) == [".exp.lock", "exp"]


@pytest.fixture(params=["exchange", "rename"])
def each_way_of_replacing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace folders by exchanging their names, where the system can, and as where it can't."""
    if request.param == "rename":
        monkeypatch.setattr("quantlr.report.storage.exchange_paths", lambda *_: False)


@pytest.mark.usefixtures("each_way_of_replacing")
@pytest.mark.parametrize("n_calls", range(40))
def test_report_is_complete_after_an_end_at_any_file_system_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_calls: int
) -> None:
    """The process ends after `n_calls` calls; the recovery of the next writer follows."""
    write_report(make_report("a"), tmp_path)
    (tmp_path / "exp" / "user.txt").write_text("keep")
    calls = 0

    def counted(function: Any) -> Any:
        def call(*arguments: Any, **keys: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > n_calls:
                raise ProcessEnded
            return function(*arguments, **keys)

        return call

    with monkeypatch.context() as patched:
        patched.setattr(Path, "mkdir", counted(Path.mkdir))
        patched.setattr(Path, "rename", counted(Path.rename))
        patched.setattr("quantlr.report.storage.write_and_fsync", counted(write_and_fsync))
        patched.setattr(shutil, "rmtree", counted(shutil.rmtree))
        patched.setattr(shutil, "copy2", counted(shutil.copy2))
        try:
            write_report(make_report("b"), tmp_path)
            finished = True
        except ProcessEnded:
            finished = False
    recover_interrupted_swap(tmp_path / "exp")
    version = report_version(tmp_path / "exp")
    assert version == "b" if finished else version in ("a", "b")
    assert (tmp_path / "exp" / "user.txt").read_text() == "keep"
    assert not [path for path in tmp_path.iterdir() if path.name in (".exp.new", ".exp.old")]
    assert finished == (n_calls >= calls)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kill -9 and fork are POSIX's")
def test_killed_writer_leaves_a_complete_report(tmp_path: Path) -> None:
    """A child process writes reports without end and is killed at different times."""
    script = (
        "import itertools, os, signal, sys, time; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path\n"
        "from test_storage import make_report, recover_interrupted_swap, report_version, write_report\n"
        "folder = Path(sys.argv[1])\n"
        "for trial in range(4):\n"
        "    read, write = os.pipe()\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        for index in itertools.count():\n"
        "            write_report(make_report('ab'[index % 2], size=20_000), folder)\n"
        "            os.write(write, b'x')\n"
        "    assert os.read(read, 1) == b'x', 'the child failed'\n"
        "    time.sleep(0.013 * (trial + 1))\n"
        "    os.kill(child, signal.SIGKILL); os.waitpid(child, 0)\n"
        "    recover_interrupted_swap(folder / 'exp')\n"
        "    print(report_version(folder / 'exp'))\n"
    )
    arguments = [sys.executable, "-c", script, str(tmp_path), str(Path(__file__).parent)]
    versions = subprocess.run(arguments, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    assert len(versions) == 4
    assert set(versions) <= {"a", "b"}


@pytest.mark.parametrize(
    ("number", "text"), [(28, "No space left on device"), (30, "Read-only file system"), (13, "Permission denied")]
)
def test_disk_error_leaves_the_previous_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, text: str
) -> None:
    write_report(make_report("a"), tmp_path)

    def fail(path: Path, content: bytes) -> None:
        path.write_bytes(content[:10])
        raise OSError(number, text)

    monkeypatch.setattr("quantlr.report.storage.write_and_fsync", fail)
    with pytest.raises(Fault, match=f"exp could not be written: {text}; the former report is untouched"):
        write_report(make_report("b"), tmp_path)
    assert report_version(tmp_path / "exp") == "a"
    assert not (tmp_path / ".exp.new").exists()


def test_target_that_is_not_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is a file; the output must be a folder"):
        write_report(make_report("a"), tmp_path / "file")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "exp").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="exp is not a folder of its own"):
        write_report(make_report("a"), tmp_path)
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("file/below", "could not be written: Not a directory; choose another --output"),
        ("x" * 300, "could not be written: File name too long; choose another --output"),
        ("a\0b", "can't be a folder: .*null"),
        ("loop", "link that leads"),
        ("loop/below", "below a link that leads back to itself"),
        ("dangling", "a link that leads nowhere"),
    ],
)
def test_output_that_cannot_be_a_folder_is_refused(tmp_path: Path, output: str, message: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere" / "deep")
    with pytest.raises(OutputError, match=message):
        write_report(make_report("a"), tmp_path / output)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux exchanges names")
def test_report_is_never_absent_while_it_is_replaced(tmp_path: Path) -> None:
    write_report(make_report("a"), tmp_path)
    (tmp_path / "first").write_text("1")
    (tmp_path / "second").write_text("2")
    if not exchange_paths(tmp_path / "first", tmp_path / "second"):
        pytest.skip("this file system can't exchange names")
    assert [(tmp_path / name).read_text() for name in ("first", "second")] == ["2", "1"]
    stop, n_absent = threading.Event(), 0

    def write_reports() -> None:
        for index in range(60):
            write_report(make_report("ba"[index % 2], size=10), tmp_path)
        stop.set()

    writer = threading.Thread(target=write_reports)
    writer.start()
    while not stop.is_set():
        n_absent += not (tmp_path / "exp" / "metrics.json").exists()
    writer.join()
    assert n_absent == 0


@pytest.mark.parametrize("name", [".exp.new", ".exp.old", ".exp.lock", ".exp.audit.json.new", "exp/.audit.json.new"])
def test_nothing_is_written_through_a_planted_link(tmp_path: Path, name: str) -> None:
    victim, reports = tmp_path / "victim", tmp_path / "reports"
    victim.write_text("precious")
    (reports / "exp").mkdir(parents=True)
    (reports / name).symlink_to(victim)
    with suppress(Fault):  # a lock that is a link is refused
        write_report_files({"audit.json": b"{}"}, reports / "exp")
    with suppress(Fault):
        write_report(make_report("a"), reports)
    assert victim.read_text() == "precious"


def test_next_write_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    write_report(make_report("a"), tmp_path)
    left = [tmp_path / "exp" / f".audit.json.{'0a' * 16}.new", tmp_path / ".exp.new", tmp_path / ".exp.old"]
    others = [tmp_path / "exp" / f".mine.{'0a' * 16}.new", tmp_path / "exp" / ".audit.json.new"]
    for path in [*left, *others]:
        path.write_text("half")
    write_report_files({"audit.json": b"{}"}, tmp_path / "exp")
    assert not [path for path in left if path.exists()]
    write_report(make_report("b"), tmp_path)
    assert all(path.exists() for path in others)


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyboardInterrupt()])
def test_failed_swap_restores_the_previous_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    monkeypatch.setattr("quantlr.report.storage.exchange_paths", lambda *_: False)
    write_report(make_report("a"), tmp_path)
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if self.name == ".exp.new":
            raise error
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises((Fault, KeyboardInterrupt)):
        write_report(make_report("b"), tmp_path)
    assert report_version(tmp_path / "exp") == "a"


def test_folder_permissions_are_kept(tmp_path: Path) -> None:
    write_report(make_report("a"), tmp_path).chmod(0o750)
    assert write_report(make_report("b"), tmp_path).stat().st_mode & 0o777 == 0o750


def test_user_folder_with_the_name_of_a_report_file_is_not_deleted(tmp_path: Path) -> None:
    (tmp_path / "exp" / "metrics.json").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"metrics\.json is a folder where a file of the report belongs"):
        write_report(make_report("b"), tmp_path)
    assert (tmp_path / "exp" / "metrics.json").is_dir()
    assert not (tmp_path / ".exp.new").exists()


def test_second_writer_waits_for_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quantlr.report.storage.LOCK_TIMEOUT_SECONDS", 0.05)
    with hold_file_lock(tmp_path / "exp"), pytest.raises(Fault, match="another run has been writing"):
        write_report(make_report("a"), tmp_path)
    write_report(make_report("b"), tmp_path)
    assert report_version(tmp_path / "exp") == "b"


def test_single_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert write_report_files({"audit.json": b"old"}, tmp_path / "exp") == [tmp_path / "exp" / "audit.json"]
    write_report(make_report("a"), tmp_path)
    write_report_files({"audit.json": b"new"}, tmp_path / "exp")
    (tmp_path / "exp" / "user.txt").write_text("keep")

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(Fault, match="could not be written: No space left on device"):
        write_report_files({"audit.json": b"half"}, tmp_path / "exp")
    assert (tmp_path / "exp" / "audit.json").read_bytes() == b"new"
    assert (tmp_path / "exp" / "user.txt").exists()
    with pytest.raises(Fault, match="could not be written"):
        write_report_files({"race.png": b"", "race.csv": b""}, tmp_path / "race", config_yaml="name: race\n")
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["exp"]


def test_single_file_needs_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is a file; the output must be a folder"):
        write_report_files({"audit.json": b""}, tmp_path / "file" / "exp")


def test_interrupted_swap_is_recovered_before_a_single_file_is_written(tmp_path: Path) -> None:
    write_report(make_report("a"), tmp_path)
    (tmp_path / "exp").rename(tmp_path / ".exp.old")
    write_report_files({"audit.json": b"new"}, tmp_path / "exp")
    assert {path.name for path in (tmp_path / "exp").iterdir()} == REPORT_FILE_NAMES
    assert (tmp_path / "exp" / "audit.json").read_bytes() == b"new"


@pytest.mark.parametrize("content", [b"5", b"null", b"[[]]", b"[" * 100_000, b"\xff", b'"index.json"', b"FIFO"])
def test_a_damaged_index_of_ticker_pages_loses_no_file_and_stops_no_run(tmp_path: Path, content: bytes) -> None:
    report = Report("exp", {"metrics.json": b"{}", "tickers/A.png": b"page", "tickers/index.json": b'{"A.png": "A"}'})
    target = write_report(report, tmp_path)
    index = target / "tickers" / "index.json"
    (target / "tickers" / "mine.txt").write_text("keep")
    index.unlink()
    if content == b"FIFO":
        os.mkfifo(index)
    else:
        index.write_bytes(content)
    write_report(report, tmp_path)
    assert index.read_bytes() == b'{"A.png": "A"}'
    assert sorted(path.name for path in index.parent.iterdir()) == ["A.png", "index.json", "mine.txt"]
    assert read_previous_metrics(target) is None


def test_metrics_that_are_none_are_not_compared(tmp_path: Path) -> None:
    for content in (b"5", b"[" * 100_000, b'{"forecast": 1}', b"\xff", b""):
        (tmp_path / "metrics.json").write_bytes(content)
        assert read_previous_metrics(tmp_path) is None
    (tmp_path / "metrics.json").unlink()
    os.mkfifo(tmp_path / "metrics.json")
    assert read_previous_metrics(tmp_path) is None
