"""`quantlr sweep`: output, files and exit status."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from quantlr.sweeps import scheduler
from quantlr.sweeps.grid import load_sweep

Call = Callable[..., Result]
GRID = "name: small\nbase: exp.yaml\ngrid:\n  policy.long_above: [0.5, 0.52]\n"


@pytest.fixture
def sweep(call: Call) -> Call:
    Path("s.yaml").write_text(GRID + "  walk_forward.train: [250]\n")
    Path("part.yaml").write_text(GRID + "  walk_forward.train: [250, 5000]\n")
    values = ", ".join(f"{0.3 + at / 1000:.3f}" for at in range(150))
    Path("huge.yaml").write_text(f"base: exp.yaml\ngrid:\n  policy.long_above: [{values}]\n  model.l2: [{values}]\n")
    return lambda *arguments: call("sweep", *arguments, "--jobs", "1")


def test_sweep_prints_its_size_and_verdict_and_writes_its_files(sweep: Call) -> None:
    result = sweep("s.yaml")
    assert result.exit_code == 0, result.output
    assert result.output.startswith("2 combinations (2 policy.long_above x 1 walk_forward.train)\n")
    sentence = json.loads(Path("reports/small/sweep.json").read_text())["verdict"]["sentence"]
    for text in ("2 of 2 trials evaluated", sentence, "report in reports/small/sweep.png"):
        assert text in result.output
    assert {path.name for path in Path("reports/small").iterdir()} == {
        "sweep.json", "trials.csv", "sweep.png", "winner.yaml",
    }  # fmt: skip
    again = sweep("s.yaml", "--json")
    assert "2 trials are stored, 0 to go" in again.output
    assert json.loads(again.stdout) == json.loads(Path("reports/small/sweep.json").read_text())


def test_failed_trials_exit_with_4_with_their_errors(sweep: Call) -> None:
    result = sweep("part.yaml")
    assert result.exit_code == 4
    assert "trial 1 failed part.yaml:5:29: walk_forward.train: MSFT: the first fold needs 5001 rows" in result.stderr
    assert sweep("part.yaml", "--quiet").stderr == ""


def test_large_sweep_needs_a_confirmation(sweep: Call) -> None:
    result = sweep("huge.yaml")
    assert result.exit_code == 2
    assert "22,500 combinations" in result.output
    assert "--yes" in result.output
    assert not Path("reports").exists()


def test_error_on_a_run_config_shows_a_sweep_of_it(sweep: Call, tmp_path: Path) -> None:
    first_line, *lines = sweep("exp.yaml").stderr.splitlines()
    assert "`quantlr run exp.yaml` runs it" in first_line
    (tmp_path / "new.yaml").write_text("\n".join(lines))
    assert load_sweep(tmp_path / "new.yaml").n_combinations == 4


def test_ctrl_c_exits_with_130(sweep: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(scheduler, "evaluate_task", interrupted)
    result = sweep("s.yaml")
    assert result.exit_code == 130
    assert "Traceback" not in result.output
