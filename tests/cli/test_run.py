"""`quantlr run`: output, files and exit status."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from quantlr.cli import COMMAND_HELP
from quantlr.core.errors import Fault
from quantlr.experiment import run as experiment_run

Call = Callable[..., Result]


def test_a_run_prints_tickers_span_metrics_verdict_and_every_file(call: Call, tmp_path: Path) -> None:
    result = call("run", "exp.yaml")
    assert result.exit_code == 0
    title, *lines = result.stdout.splitlines()
    assert title == "exp: MSFT, forecasts 2001-03-01 to 2003-06-30"
    assert any(line.startswith("Sharpe ratio") for line in lines)
    assert json.loads((tmp_path / "reports/exp/metrics.json").read_text())["verdict"]["sentence"] in lines
    assert "report in reports/exp/report.html" in lines
    (beside,) = (line.removeprefix("beside it ") for line in lines if line.startswith("beside it "))
    listed = {tmp_path / "reports/exp" / name for name in beside.split(", ")}
    written = {path for path in (tmp_path / "reports").rglob("*") if path.is_file() and not path.name.startswith(".")}
    assert {path.resolve() for path in listed} | {tmp_path / "reports/exp/report.html"} == written
    assert (tmp_path / "reports" / "exp" / "tearsheet.png").exists()
    assert result.stderr.splitlines()[-1].startswith("next: ")


def test_pages_chooses_what_is_drawn_and_the_rest_is_named(call: Call, tmp_path: Path) -> None:
    def pictures(*arguments: str) -> tuple[set[str], list[str]]:
        result = call("run", "exp.yaml", *arguments)
        assert result.exit_code == 0
        remarks = [line for line in result.stdout.splitlines() if line.startswith("not drawn: ")]
        return {path.stem for path in (tmp_path / "reports" / "exp").glob("*.png")}, remarks

    default = {"tearsheet", "thumbnail", "forecast", "model", "positions"}
    assert pictures() == (default, ["not drawn: robustness, features (--pages all)"])
    drawn, remarks = pictures("--pages", "tearsheet, model")
    assert drawn == {"tearsheet", "thumbnail", "model"}
    assert remarks == ["not drawn: forecast, positions, robustness, features (--pages all)"]
    assert (tmp_path / "reports/exp/config.yaml").read_text().count("pages: [tearsheet, model]") == 1
    trials = json.loads((tmp_path / "reports/exp/metrics.json").read_text())["significance"]["trials"]
    assert trials == 1, "the pages are no part of what is tried"
    remark = "not drawn: tearsheet, model, positions, robustness, features (--pages all)"
    assert pictures("--pages", "forecast") == ({"forecast"}, [remark])
    assert "<img" in (tmp_path / "reports/exp/report.html").read_text()
    settings = ("--set", "data.tickers=[MSFT, IBM]", "--set", "report.pages=[]")
    none, (remark,) = pictures(*settings)
    assert not none
    assert "tickers, robustness, features (--pages all)" in remark
    assert "report.per_ticker=true" in remark
    assert pictures("--pages", "all") == (default | {"robustness", "features"}, [])
    html, gallery = ((tmp_path / "reports" / name).read_text() for name in ("exp/report.html", "index.html"))
    for name in ("robustness", "features"):
        assert html.count(f'href="#{name}"') == html.count(f'id="{name}"') == 1
        assert f'href="exp/{name}.png"' in gallery
    for names in ("tearsheat", "tearsheet,robustness", "all,model"):
        result = call("run", "exp.yaml", "--pages", names)
        assert (result.exit_code, result.stderr.startswith("--pages: needs some of tearsheet, forecast")) == (2, True)
        assert "or all, which also draws features and robustness" in result.stderr


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
    verbose = call("run", "exp.yaml", "-v")
    assert re.search(r"^note MSFT: .*\(2\)$", verbose.stderr, re.MULTILINE)
    assert re.search(r"95% interval .*: \d+\.\d% to \d+\.\d%", verbose.stdout)
    assert re.search(r"95% interval Sharpe ratio \(excess of cash\): -?\d\.\d\d to -?\d\.\d\d", verbose.stdout)


def test_set_overrides_the_config(call: Call) -> None:
    result = call("run", "exp.yaml", "--json", "--set", "features.0.lags=[1]", "--set", "data.tickers=[IBM]")
    assert list(json.loads(result.stdout)["model"]["coefficients"]["IBM"]) == ["intercept", "lagged_returns_1"]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
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
        (("rnu",), 2, "no command 'rnu'; did you mean run?"),
    ],
)
def test_user_errors_exit_with_2_without_a_traceback(
    call: Call, arguments: tuple[str, ...], status: int, message: str
) -> None:
    result = call(*arguments)
    assert result.exit_code == status
    assert message in result.output
    assert "Traceback" not in result.output
    assert not Path("reports").exists() or not list(Path("reports").iterdir())


def test_trials_are_counted_by_config_whatever_the_name(call: Call) -> None:
    for arguments in (("--name", "a"), ("--name", "b"), ("--name", "c", "--set", "features.0.lags=[1]")):
        assert call("run", "exp.yaml", "--quiet", *arguments).exit_code == 0
    trials = [json.loads(Path(f"reports/{name}/metrics.json").read_text())["significance"]["trials"] for name in "abc"]
    assert trials == [1, 1, 2]


def test_sensitivity_is_printed_and_only_a_new_ledger_is_named(call: Call) -> None:
    result = call("run", "exp.yaml", "--sensitivity")
    assert result.exit_code == 0
    for text in ("as configured", "double the costs", "filled 1 session later", "last third only"):
        assert any(line.startswith(text) for line in result.stdout.splitlines())
    assert "reports/trials.db is a new ledger" in result.stderr
    assert '<th scope="row">double the costs</th>' in Path("reports/exp/report.html").read_text()
    again = call("run", "exp.yaml")
    assert "as configured" not in again.stdout
    assert "new ledger" not in again.stderr
    assert "reports2/trials.db is a new ledger" in call("run", "exp.yaml", "--output", "reports2").stderr
    listed = call("trials", "--json").stdout
    assert [entry["runs"] for entry in json.loads(listed)["trials"] if not entry["variation"]] == [2]


def test_report_of_another_config_is_kept_unless_it_is_to_be_replaced(call: Call) -> None:
    other = ("run", "exp.yaml", "--set", "features.0.lags=[1]")
    assert "kept" not in call("run", "exp.yaml").stderr
    first = Path("reports/exp/metrics.json").read_bytes()
    kept = call(*other)
    assert kept.exit_code == 0
    assert "the former report, of another config, is kept in reports/exp@1; --replace would replace it" in kept.stderr
    assert Path("reports/exp@1/metrics.json").read_bytes() == first
    assert "exp%401/report.html" in Path("reports/index.html").read_text()
    assert "kept" not in call(*other).stderr, "the same config"
    assert "was replaced" in call("run", "exp.yaml", "--replace").stderr
    assert sorted(path.name for path in Path("reports").iterdir() if path.is_dir()) == ["exp", "exp@1"]
    compared = call("compare", "exp@1", "exp")
    assert "exp against exp@1: " in compared.stdout


def test_error_keeps_the_previous_report(call: Call) -> None:
    call("run", "exp.yaml")
    before = {path.name: path.read_bytes() for path in Path("reports/exp").iterdir()}
    assert call("run", "exp.yaml", "--set", "model.l2=-1").exit_code == 2
    assert {path.name: path.read_bytes() for path in Path("reports/exp").iterdir()} == before


def test_several_configs_all_run_and_the_highest_status_is_returned(call: Call) -> None:
    result = call("run", "nothing.yaml", "exp.yaml")
    assert result.exit_code == 2
    assert "report in reports/exp" in result.output


@pytest.mark.parametrize(("raised", "status"), [(KeyboardInterrupt(), 130), (Fault("the disk is gone"), 1)])
def test_ctrl_c_exits_with_130_and_a_fault_with_1(
    call: Call, monkeypatch: pytest.MonkeyPatch, raised: BaseException, status: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr(experiment_run, "run_config", fail)
    result = call("run", "exp.yaml")
    assert result.exit_code == status
    assert "Traceback" not in result.output


def test_help_lists_every_verb(call: Call) -> None:
    result = call("--help")
    text = " ".join(result.stdout.split())
    for verb, words in COMMAND_HELP.items():
        assert f"{verb} {words}" in text
        assert f"Usage: quantlr {verb}" in call(verb, "--help").stdout
    assert call("--version").stdout.startswith("quantlr ")


def test_open_opens_the_report(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("click.launch", opened.append)
    assert call("run", "exp.yaml", "--open").exit_code == 0
    assert opened == [str(Path("reports/exp/report.html"))]


def test_unknown_verb_suggests_the_nearest_ignoring_case(call: Call) -> None:
    assert "did you mean run?" in call("RUN", "exp.yaml").stderr
