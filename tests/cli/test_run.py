"""The command line, in process: what is printed where, and with what status it ends."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from quantlr import pipeline
from quantlr.cli import COMMAND_HELP
from quantlr.core.errors import Fault

Call = Callable[..., Result]


def test_a_run_prints_a_table_one_sentence_and_the_place_of_the_report(call: Call, tmp_path: Path) -> None:
    result = call("run", "exp.yaml")
    assert result.exit_code == 0
    assert result.stdout == ""
    for text in ("right calls", "buy and hold", "No evidence of skill: ", "report in reports/exp"):
        assert text in result.stderr
    assert (tmp_path / "reports" / "exp" / "tearsheet.png").exists()


def test_json_is_one_object_per_config_on_stdout_and_nothing_else(call: Call) -> None:
    shutil.copy("exp.yaml", "two.yaml")
    result = call("run", "exp.yaml", "two.yaml", "--json", "--output", "out")
    objects = [json.loads(line) for line in result.stdout.splitlines()]
    assert objects == [json.loads(Path(f"out/{name}/metrics.json").read_text()) for name in ("exp", "two")]


def test_a_report_does_not_replace_another_of_the_same_call(call: Call) -> None:
    shutil.copy("exp.yaml", "two.yaml")
    result = call("run", "exp.yaml", "two.yaml", "--name", "both")
    assert result.exit_code == 2
    assert "two.yaml: its report would replace that of exp.yaml: both are named 'both'" in result.stderr


def test_quiet_prints_nothing_and_verbose_every_note(call: Call) -> None:
    quiet = call("run", "exp.yaml", "--quiet")
    assert (quiet.exit_code, quiet.output) == (0, "")
    verbose = call("run", "exp.yaml", "-v").stderr
    assert "note MSFT: warm-up rows were dropped (2)" in verbose
    assert re.search(r"95% interval right calls: \d+\.\d% to \d+\.\d%", verbose)
    assert re.search(r"95% interval Sharpe ratio: -?\d\.\d\d to -?\d\.\d\d", verbose)


def test_a_setting_goes_on_top(call: Call) -> None:
    result = call("run", "exp.yaml", "--json", "--set", "features.0.lags=[1]", "--set", "data.tickers=[IBM]")
    assert list(json.loads(result.stdout)["model"]["coefficients"]["IBM"]) == ["intercept", "lagged_returns_1"]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("run", "exp.yaml", "--set", "modle.l2=1"), 2, "--set: modle: unknown key; did you mean model?"),
        (("run", "nothing.yaml"), 2, "nothing.yaml: no such config; name a YAML file"),
        (("run", "exp.yaml", "--set", "data.tickers=[MSTF]"), 2, "data.tickers: the sample has no ticker 'MSTF'"),
        (
            ("run", "exp.yaml", "--set", "walk_forward.train=5000"),
            2,
            "--set: walk_forward.train: MSFT: the first",
        ),
        (("run", "exp.yaml", "--output", "exp.yaml"), 2, "exp.yaml is a file; the output must be a folder"),
        (("run", "exp.yaml", "--output", "exp.yaml/below"), 2, "could not be written: Not a directory"),
        (("run",), 2, "Missing argument 'CONFIGS...'"),
        (("run", "exp.yaml", "--outptu", "x"), 2, "Did you mean '--output'?"),
        (("rnu",), 2, "No such command 'rnu'"),
    ],
)
def test_what_goes_wrong_ends_with_its_status_and_without_a_traceback(
    call: Call, arguments: tuple[str, ...], status: int, said: str
) -> None:
    result = call(*arguments)
    assert result.exit_code == status
    assert said in result.stderr
    assert "Traceback" not in result.output
    assert not Path("reports").exists() or not list(Path("reports").iterdir())


def test_every_run_is_counted_whatever_its_name(call: Call) -> None:
    for arguments in (("--name", "a"), ("--name", "b"), ("--name", "c", "--set", "features.0.lags=[1]")):
        assert call("run", "exp.yaml", "--quiet", *arguments).exit_code == 0
    trials = [json.loads(Path(f"reports/{name}/metrics.json").read_text())["significance"]["trials"] for name in "abc"]
    assert trials == [1, 1, 2]


def test_an_error_leaves_the_former_report_as_it_was(call: Call) -> None:
    call("run", "exp.yaml")
    before = {path.name: path.read_bytes() for path in Path("reports/exp").iterdir()}
    assert call("run", "exp.yaml", "--set", "model.l2=-1").exit_code == 2
    assert {path.name: path.read_bytes() for path in Path("reports/exp").iterdir()} == before


def test_of_several_configs_the_highest_status_counts_and_the_others_are_run(call: Call) -> None:
    result = call("run", "nothing.yaml", "exp.yaml")
    assert result.exit_code == 2
    assert "report in reports/exp" in result.stderr


@pytest.mark.parametrize(("raised", "status"), [(KeyboardInterrupt(), 130), (Fault("the disk is gone"), 1)])
def test_ctrl_c_ends_with_130_and_a_fault_with_1(
    call: Call, monkeypatch: pytest.MonkeyPatch, raised: BaseException, status: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr(pipeline, "run_config", fail)
    result = call("run", "exp.yaml")
    assert result.exit_code == status
    assert "Traceback" not in result.output


def test_help_names_every_verb_and_each_verb_its_options(call: Call) -> None:
    result = call("--help")
    for verb, words in COMMAND_HELP.items():
        assert verb in result.stdout
        assert words in result.stdout
        assert f"Usage: quantlr {verb}" in call(verb, "--help").stdout
    assert call("--version").stdout.startswith("quantlr ")
