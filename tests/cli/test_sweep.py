"""``quantlr sweep``, in process: what is said before anything runs, what is shown, and with what status it ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from quantlr.sweeps import scheduler

Call = Callable[..., Result]
GRID = "name: small\nbase: exp.yaml\ngrid:\n  policy.long_above: [0.5, 0.52]\n"


@pytest.fixture
def sweep(call: Call) -> Call:
    Path("s.yaml").write_text(GRID + "  walk_forward.train: [250]\n")
    Path("part.yaml").write_text(GRID + "  walk_forward.train: [250, 5000]\n")
    values = ", ".join(f"{0.3 + at / 1000:.3f}" for at in range(150))
    Path("huge.yaml").write_text(f"base: exp.yaml\ngrid:\n  policy.long_above: [{values}]\n  model.l2: [{values}]\n")
    return lambda *arguments: call("sweep", *arguments, "--jobs", "1")


def test_a_sweep_states_its_size_shows_a_table_and_one_sentence(sweep: Call) -> None:
    result = sweep("s.yaml")
    assert result.exit_code == 0, result.output
    assert result.output.startswith("2 combinations (2 policy.long_above x 1 walk_forward.train)\n")
    sentence = json.loads(Path("reports/small/sweep.json").read_text())["verdict"]["sentence"]
    for text in ("2 of 2 trials evaluated", sentence, "report in reports/small"):
        assert text in result.output
    assert {path.name for path in Path("reports/small").iterdir()} == {
        "sweep.json", "trials.csv", "sweep.png", "winner.yaml",
    }  # fmt: skip
    again = sweep("s.yaml", "--json")
    assert "2 trials are stored, 0 to go" in again.output
    assert json.loads(again.stdout) == json.loads(Path("reports/small/sweep.json").read_text())


def test_a_sweep_of_which_a_part_failed_ends_with_4_and_says_why(sweep: Call) -> None:
    result = sweep("part.yaml")
    assert result.exit_code == 4
    assert "trial 1 failed part.yaml:5:29: walk_forward.train: MSFT: the first fold needs 5001 rows" in result.stderr
    assert sweep("part.yaml", "--quiet").stderr == ""


def test_a_huge_sweep_asks_first(sweep: Call) -> None:
    result = sweep("huge.yaml")
    assert result.exit_code == 2
    assert "22,500 combinations" in result.output
    assert "22,500 trials, and more than 10,000 need a confirmation: add --yes" in result.output
    assert not Path("reports").exists()


def test_ctrl_c_ends_with_130(sweep: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(scheduler, "evaluate_task", interrupted)
    result = sweep("s.yaml")
    assert result.exit_code == 130
    assert "Traceback" not in result.output
