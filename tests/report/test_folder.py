"""A report's folder is whole at every moment, whatever ends the writing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from quantlr.core.atomic import write_and_fsync
from quantlr.core.errors import Fault, OutputError
from quantlr.core.values import Report
from quantlr.report.storage import (
    REPORT_FILE_NAMES,
    hold_file_lock,
    recover_interrupted_swap,
    write_report,
    write_report_file,
)


class Ended(BaseException):
    """The process is no more."""


def report(version: str, *, size: int = 1000) -> Report:
    return Report("exp", {name: f"{name} {version} ".encode() * size for name in sorted(REPORT_FILE_NAMES)})


def version_of(target: Path) -> str:
    """Return the one version that all files of a folder are of."""
    assert {path.name for path in target.iterdir()} >= REPORT_FILE_NAMES
    versions = {(target / name).read_text().split(" ")[1] for name in REPORT_FILE_NAMES}
    lengths = {len((target / name).read_bytes()) / len(f"{name} a ") for name in REPORT_FILE_NAMES}
    assert len(versions) == 1
    assert len(lengths) == 1
    return versions.pop()


def test_a_report_replaces_the_former_and_keeps_what_the_user_put_there(tmp_path: Path) -> None:
    target = write_report(report("a"), tmp_path / "reports")
    (target / "my notes.txt").write_text("keep")
    (target / "more").mkdir()
    (target / "more" / "deep.txt").write_text("keep too")
    write_report(Report("exp", {"metrics.json": b"{}"}), tmp_path / "reports")
    assert sorted(path.name for path in target.iterdir()) == ["metrics.json", "more", "my notes.txt"]
    assert (target / "more" / "deep.txt").read_text() == "keep too"
    assert sorted(path.name for path in (tmp_path / "reports").iterdir()) == [".exp.lock", "exp"]


@pytest.mark.parametrize("end_at", range(40))
def test_whatever_step_is_the_last_the_report_is_whole_after_the_next_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end_at: int
) -> None:
    """The process ends before its end_at-th call to the file system; nothing that it would have done later is done."""
    write_report(report("a"), tmp_path)
    (tmp_path / "exp" / "mine.txt").write_text("keep")
    steps = 0

    def counted(real: Any) -> Any:
        def call(*arguments: Any, **keys: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps > end_at:
                raise Ended
            return real(*arguments, **keys)

        return call

    with monkeypatch.context() as patched:
        patched.setattr(Path, "mkdir", counted(Path.mkdir))
        patched.setattr(Path, "rename", counted(Path.rename))
        patched.setattr("quantlr.report.storage.write_and_fsync", counted(write_and_fsync))
        patched.setattr(shutil, "rmtree", counted(shutil.rmtree))
        patched.setattr(shutil, "copy2", counted(shutil.copy2))
        try:
            write_report(report("b"), tmp_path)
            finished = True
        except Ended:
            finished = False
    recover_interrupted_swap(tmp_path / "exp")
    version = version_of(tmp_path / "exp")
    assert version == "b" if finished else version in ("a", "b")
    assert (tmp_path / "exp" / "mine.txt").read_text() == "keep"
    assert not [path for path in tmp_path.iterdir() if path.name in (".exp.new", ".exp.old")]
    assert finished == (end_at >= steps)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kill -9 and fork are POSIX's")
def test_a_run_killed_while_writing_leaves_a_whole_report(tmp_path: Path) -> None:
    """For real: a child writes on and on, and is killed at moments spread over the writing."""
    script = (
        "import itertools, os, signal, sys, time; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path\n"
        "from test_folder import recover, report, version_of, write_report\n"
        "folder = Path(sys.argv[1])\n"
        "for trial in range(4):\n"
        "    read, write = os.pipe()\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        for at in itertools.count():\n"
        "            write_report(report('ab'[at % 2], size=20_000), folder)\n"
        "            os.write(write, b'x')\n"
        "    assert os.read(read, 1) == b'x', 'the child failed'\n"
        "    time.sleep(0.013 * (trial + 1))\n"
        "    os.kill(child, signal.SIGKILL); os.waitpid(child, 0)\n"
        "    recover(folder / 'exp')\n"
        "    print(version_of(folder / 'exp'))\n"
    )
    arguments = [sys.executable, "-c", script, str(tmp_path), str(Path(__file__).parent)]
    versions = subprocess.run(arguments, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    assert len(versions) == 4
    assert set(versions) <= {"a", "b"}


@pytest.mark.parametrize(
    ("number", "text"), [(28, "No space left on device"), (30, "Read-only file system"), (13, "Permission denied")]
)
def test_a_disk_that_is_full_or_may_not_be_written_leaves_the_former_report_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, text: str
) -> None:
    write_report(report("a"), tmp_path)

    def fail(path: Path, content: bytes) -> None:
        path.write_bytes(content[:10])
        raise OSError(number, text)

    monkeypatch.setattr("quantlr.report.storage.write_and_fsync", fail)
    with pytest.raises(Fault, match=f"exp could not be written: {text}; the former report is untouched"):
        write_report(report("b"), tmp_path)
    assert version_of(tmp_path / "exp") == "a"
    assert not (tmp_path / ".exp.new").exists()


def test_a_place_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is a file; the output must be a folder"):
        write_report(report("a"), tmp_path / "file")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "exp").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="exp is not a folder of its own"):
        write_report(report("a"), tmp_path)
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("file/below", "could not be written: Not a directory; choose another --output"),
        ("x" * 300, "could not be written: File name too long; choose another --output"),
        ("a\0b", "can't be a folder: .*null"),
    ],
)
def test_an_output_that_can_not_be_a_folder_is_refused(tmp_path: Path, output: str, said: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=said):
        write_report(report("a"), tmp_path / output)


@pytest.mark.parametrize("raised", [OSError(5, "Input/output error"), KeyboardInterrupt()])
def test_a_swap_that_fails_half_way_puts_the_former_report_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: BaseException
) -> None:
    write_report(report("a"), tmp_path)
    real = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if self.name == ".exp.new":
            raise raised
        return real(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises((Fault, KeyboardInterrupt)):
        write_report(report("b"), tmp_path)
    assert version_of(tmp_path / "exp") == "a"


def test_a_private_folder_stays_private(tmp_path: Path) -> None:
    write_report(report("a"), tmp_path).chmod(0o750)
    assert write_report(report("b"), tmp_path).stat().st_mode & 0o777 == 0o750


def test_a_folder_of_the_users_where_our_file_belongs_is_not_deleted(tmp_path: Path) -> None:
    (tmp_path / "exp" / "metrics.json").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"metrics\.json is a folder where a file of the report belongs"):
        write_report(report("b"), tmp_path)
    assert (tmp_path / "exp" / "metrics.json").is_dir()
    assert not (tmp_path / ".exp.new").exists()


def test_two_runs_into_one_report_wait_for_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quantlr.report.storage.LOCK_TIMEOUT_SECONDS", 0.05)
    with hold_file_lock(tmp_path / "exp"), pytest.raises(Fault, match="another run has been writing"):
        write_report(report("a"), tmp_path)
    write_report(report("b"), tmp_path)
    assert version_of(tmp_path / "exp") == "b"


def test_a_file_is_written_beside_a_report_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert write_report_file(b"old", "audit.json", "exp", tmp_path) == tmp_path / "exp" / "audit.json"
    write_report(report("a"), tmp_path)
    write_report_file(b"new", "audit.json", "exp", tmp_path)
    (tmp_path / "exp" / "mine.txt").write_text("keep")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(Fault, match="could not be written: No space left on device"):
        write_report_file(b"half", "audit.json", "exp", tmp_path)
    assert (tmp_path / "exp" / "audit.json").read_bytes() == b"new"
    assert (tmp_path / "exp" / "mine.txt").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".exp.lock", "exp"]


def test_a_file_is_not_written_where_no_folder_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is a file; the output must be a folder"):
        write_report_file(b"", "audit.json", "exp", tmp_path / "file")


def test_an_interrupted_swap_is_mended_before_a_file_is_written_beside(tmp_path: Path) -> None:
    write_report(report("a"), tmp_path)
    (tmp_path / "exp").rename(tmp_path / ".exp.old")
    write_report_file(b"new", "audit.json", "exp", tmp_path)
    assert {path.name for path in (tmp_path / "exp").iterdir()} == REPORT_FILE_NAMES
    assert (tmp_path / "exp" / "audit.json").read_bytes() == b"new"
