"""Scripts that start worker processes outside ``if __name__ == "__main__":``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from user_components import SMALL

ROOT = Path(__file__).parents[1]
SWEEP = {"name": "guard", "base": SMALL, "grid": {"features.0.lags": [[1], [2], [3], [4]]}, "holdout": 0}
CALLS = {
    "sweep": f"quantlr.sweep({SWEEP!r}, workers=2)",
    "run": f"quantlr.run({SMALL!r}, workers=2, output='reports')",
}


def run_script(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    (folder / "script.py").write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "script.py"]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.mark.parametrize("call", CALLS)
def test_call_without_guard_ends_with_one_sentence(tmp_path: Path, call: str) -> None:
    code = f"import quantlr\ntry:\n    {CALLS[call]}\nexcept quantlr.UserError as error:\n    print(error)\n"
    done = run_script(tmp_path, code)
    assert done.stderr == "", "no worker prints a traceback"
    assert 'the call under `if __name__ == "__main__":`' in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert not list((tmp_path / "reports").glob("*/metrics.json"))


def test_same_script_with_guard_runs(tmp_path: Path) -> None:
    done = run_script(tmp_path, f'import quantlr\nif __name__ == "__main__":\n    print({CALLS["sweep"]}.name)\n')
    assert (done.stdout, done.stderr) == ("guard\n", "")


def test_script_that_another_librarys_worker_imports_keeps_that_librarys_error(tmp_path: Path) -> None:
    """Only a worker of quantlr's own ends silently: another's first process would not know why."""
    code = (
        "import quantlr\nfrom multiprocessing import get_context\n"
        "if __name__ == '__main__':\n"
        "    process = get_context('spawn').Process(target=print)\n"
        "    process.start()\n    process.join()\n    print(process.exitcode)\n"
        f"else:\n    {CALLS['sweep']}\n"
    )
    done = run_script(tmp_path, code)
    assert done.stdout == "1\n"
    assert "RuntimeError" in done.stderr
