"""The program in a terminal of its own: what a person sees while it runs, and what Ctrl-C does."""

from __future__ import annotations

import os
import re
import select
import signal
import struct
import sys
from pathlib import Path

import pytest

from cli.conftest import CONFIG

if sys.platform == "win32":
    pytest.skip("a pseudo-terminal is POSIX", allow_module_level=True)

import fcntl
import pty
import termios

ROOT = Path(__file__).parents[2]
PATIENCE = 600.0
"""Seconds after which a program that says nothing and does not end is given up."""


def in_a_terminal(
    code: str, *, folder: Path, columns: int = 80, until: str = "", then: bytes = b"", **environment: str
) -> tuple[int, str]:
    """Run a program in a terminal, type something once it has said something, and return its status and output."""
    variables = {**os.environ, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT), **environment}
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR"):
        if name not in environment:
            variables.pop(name, None)
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(folder)
        os.execve(sys.executable, [sys.executable, "-c", code], variables)  # noqa: S606 - this very interpreter
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    said = ""
    while True:
        if not select.select([terminal], [], [], PATIENCE)[0]:
            os.kill(process, signal.SIGKILL)
            pytest.fail(f"still running, and silent for {PATIENCE:.0f} seconds; it said: {said}")
        try:
            content = os.read(terminal, 65536)
        except OSError:  # Linux says so where others return nothing
            content = b""
        if not content:
            break
        said += content.decode(errors="replace")
        if until and until in said:
            os.write(terminal, then)
            until = ""
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), said


def test_a_person_sees_a_bar_a_table_and_links(tmp_path: Path) -> None:
    """One stage is made to last; the others are over at once, and are not shown."""
    (tmp_path / "exp.yaml").write_text(CONFIG)
    code = (
        "import time\n"
        "from quantlr.experiment import run as experiment_run\n"
        "from quantlr.cli import main\n"
        "real = experiment_run.run_config\n"
        "def slow(*arguments, progress, **keys):\n"
        "    for done in range(15):\n"
        "        progress('waiting', done=done, total=15)\n"
        "        time.sleep(0.1)\n"
        "    return real(*arguments, progress=progress, **keys)\n"
        "experiment_run.run_config = slow\n"
        "from quantlr.report import pages\n"
        "pages.PAGES = pages.PAGES[:1]\n"
        "main(['run', 'exp.yaml', '--jobs', '1'], prog_name='quantlr')\n"
    )
    status, said = in_a_terminal(code, folder=tmp_path)
    assert status == 0
    assert re.search(r"waiting .*\d+/15.*left", said)
    assert "reading" not in said
    assert "Traceback" not in said
    report = (tmp_path / "reports" / "exp").as_uri()
    for name, text in (("report.html", "reports/exp/report.html"), ("tearsheet.png", "tearsheet.png")):
        assert re.search(rf"\x1b\]8;[^;]*;{re.escape(report)}/{name}\x1b\\(\x1b\[\d+m)?{text}", said)
    shown = re.sub(r"\x1b\][^\x1b]*\x1b\\|\x1b\[[0-9;?]*[A-Za-z]", "", said.split("\x1b[?25h")[-1])
    lines = [line.rstrip() for line in shown.splitlines()]
    assert max(map(len, lines)) <= 80
    assert any(line.split() == ["this", "run", "baseline"] for line in lines)
    assert not [line for line in lines if line.startswith("waiting")]


def test_ctrl_c_in_a_terminal_ends_with_130_at_once(tmp_path: Path) -> None:
    (tmp_path / "exp.yaml").write_text(CONFIG)
    code = (
        "import time\n"
        "from quantlr.experiment import run as experiment_run\n"
        "from quantlr.cli import main\n"
        "def waits(*_, **__):\n"
        "    print('ready', flush=True)\n"
        "    while True:  # one long sleep would miss a signal that comes just before it\n"
        "        time.sleep(0.05)\n"
        "experiment_run.run_config = waits\n"
        "main(['run', 'exp.yaml', '--json', '--jobs', '1'], prog_name='quantlr')\n"
    )
    status, said = in_a_terminal(code, folder=tmp_path, until="ready", then=b"\x03", NO_COLOR="1")
    assert status == 130
    assert status != -signal.SIGINT
    assert "interrupted; what was there before is untouched" in said
    assert "Traceback" not in said
    assert "\x1b[?25h" in said, "the cursor is back"
    assert not (tmp_path / "reports").exists()
