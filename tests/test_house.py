"""Imports of help and of a run, cold start, forbidden calls, and entry points."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY_PACKAGES = ("pandas", "numpy", "pydantic", "rich", "matplotlib", "ruamel")
PACKAGES_NOT_NEEDED = ("scipy", "sklearn", "arch", "exchange_calendars", "yfinance", "matplotlib.pyplot")


def run_python(code: str, *arguments: str, cwd: Path = ROOT) -> str:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout


def test_import_and_help_load_no_heavy_package() -> None:
    """The processes that draw import while the run calculates, and Ctrl-C is not blocked by an import in a thread."""
    code = (
        "import sys, quantlr, quantlr.report.render\n"
        f"loaded = [name for name in {HEAVY_PACKAGES} if name in sys.modules]\n"
        "from quantlr.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        f"print(loaded, [name for name in {HEAVY_PACKAGES} if name in sys.modules])"
    )
    assert run_python(code).splitlines()[-1] == "[] []"


def test_first_run_is_quick_and_needs_no_network_and_no_test_package(
    tmp_path: Path,
) -> None:
    """The goal is 5 times the imports (tests/benchmarks/cold_start.py); the margin is for machines under load."""
    started = time.perf_counter()
    run_python("import pandas, pyarrow, matplotlib.figure")
    import_seconds = time.perf_counter() - started
    code = (
        "import socket, sys\n"
        "def fail(*_, **__): raise OSError('no network')\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = fail\n"
        "from quantlr.cli import main\n"
        "try: main(['run', 'configs/sp500_daily.yaml', '--output', sys.argv[1], '--quiet'])\n"
        "except SystemExit as end: print(end.code)\n"
        f"print([name for name in {PACKAGES_NOT_NEEDED} if name in sys.modules])"
    )
    started = time.perf_counter()
    output = run_python(code, str(tmp_path))
    run_seconds = time.perf_counter() - started
    assert output.splitlines() == ["0", "[]"]
    assert (tmp_path / "sp500_daily" / "tearsheet.png").exists()
    assert run_seconds < 10 * import_seconds


def test_forbidden_modules_and_calls_are_not_used() -> None:
    """No pyplot, no pickle, nothing evaluated, no YAML loaded."""
    forbidden = {"pickle", "matplotlib.pyplot", "eval", "exec", "yaml.load"}
    for path in (ROOT / "quantlr").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names: set[str] = set()
            if isinstance(node, ast.Import):
                names = {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names = {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
            elif isinstance(node, ast.Call):
                names = {ast.unparse(node.func)}
            assert not names & forbidden, f"{path}: {names & forbidden}"


@pytest.mark.skipif(os.name != "posix", reason="the shell of the README's first line is a POSIX shell")
def test_module_and_script_give_the_same_version() -> None:
    script = Path(sys.executable).parent / "quantlr"
    as_module = subprocess.run(
        [sys.executable, "-m", "quantlr", "--version"], check=True, capture_output=True, text=True
    )
    as_script = subprocess.run([script, "--version"], check=True, capture_output=True, text=True)
    assert as_module.stdout == as_script.stdout
    assert as_module.stdout.startswith("quantlr 0.")
