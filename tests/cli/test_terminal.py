"""The program in a pseudo-terminal: progress bar, table, links and Ctrl-C."""

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
TIMEOUT_SECONDS = 600.0
"""Seconds without output after which a program is killed."""


def run_in_terminal(
    code: str, *, folder: Path, columns: int = 80, until: str = "", then: bytes = b"", **environment: str
) -> tuple[int, str]:
    """Run code in a terminal, send `then` once it has printed `until`, and return exit status and output."""
    variables = {**os.environ, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT), **environment}
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR"):
        if name not in environment:
            variables.pop(name, None)
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(folder)
        os.execve(sys.executable, [sys.executable, "-c", code], variables)  # noqa: S606 - this very interpreter
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    output = ""
    while True:
        if not select.select([terminal], [], [], TIMEOUT_SECONDS)[0]:
            os.kill(process, signal.SIGKILL)
            pytest.fail(f"still running, and without output for {TIMEOUT_SECONDS:.0f} seconds; output: {output}")
        try:
            content = os.read(terminal, 65536)
        except OSError:  # at the end, Linux raises where others return nothing
            content = b""
        if not content:
            break
        output += content.decode(errors="replace")
        if until and until in output:
            os.write(terminal, then)
            until = ""
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), output


def test_terminal_has_bar_table_and_links(tmp_path: Path) -> None:
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
    status, output = run_in_terminal(code, folder=tmp_path)
    assert status == 0
    assert re.search(r"waiting .*\d+/15.*left", output)
    assert "reading" not in output
    assert "Traceback" not in output
    report = (tmp_path / "reports" / "exp").as_uri()
    for name, text in (("report.html", "reports/exp/report.html"), ("tearsheet.png", "tearsheet.png")):
        assert re.search(rf"\x1b\]8;[^;]*;{re.escape(report)}/{name}\x1b\\(\x1b\[\d+m)?{text}", output)
    screen = re.sub(r"\x1b\][^\x1b]*\x1b\\|\x1b\[[0-9;?]*[A-Za-z]", "", output.split("\x1b[?25h")[-1])
    lines = [line.rstrip() for line in screen.splitlines()]
    assert max(map(len, lines)) <= 80
    assert any(line.split() == ["this", "run", "baseline"] for line in lines)
    assert not [line for line in lines if line.startswith("waiting")]


def test_ctrl_c_in_a_terminal_exits_with_130(tmp_path: Path) -> None:
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
    status, output = run_in_terminal(code, folder=tmp_path, until="ready", then=b"\x03", NO_COLOR="1")
    assert status == 130
    assert status != -signal.SIGINT
    assert "interrupted; existing files were not changed" in output
    assert "Traceback" not in output
    assert "\x1b[?25h" in output, "the cursor is back"
    assert not (tmp_path / "reports").exists()


def test_brackets_in_names_are_printed_and_are_no_markup(tmp_path: Path) -> None:
    code = """
from quantlr.cli.terminal import make_console, make_table, print_notes, print_table
console = make_console()
table = make_table("[b]title", ("", ">[red]x"), [("[red]P.csv", "[/]"), ("[link=x]Q[/link]", "[bold]")])
print_table(table, console)
print_notes(["[/]note"], console)
"""
    for columns in (80, 12):  # as a table, and a row a line
        _, output = run_in_terminal(code, folder=tmp_path, columns=columns)
        text = re.sub(r"\x1b\[[0-9;]*m|\s", "", output)
        for name in ("[b]title", "[red]x", "[red]P.csv", "[/]", "[link=x]Q[/link]", "[bold]", "[/]note"):
            assert name in text
