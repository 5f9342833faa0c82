"""`quantlr compare`: output, files and exit status."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import quantlr
from click.testing import Result

Call = Callable[..., Result]
LeavingWhite = Callable[[], AbstractContextManager[None]]


@pytest.fixture(scope="module")
def reports_folder(tmp_path_factory: pytest.TempPathFactory, blank_pages: LeavingWhite) -> Path:
    """Two runs with their reports, made once."""
    output = tmp_path_factory.mktemp("stored")
    for name, lags in (("one", [1]), ("two", [1, 2])):
        config = {
            "name": name,
            "data": {"source": {"kind": "sample"}, "tickers": ["MSFT"], "end": "2002-06-30"},
            "features": [{"kind": "lagged_returns", "lags": lags}],
            "walk_forward": {"train": 250},
        }
        with blank_pages():
            quantlr.run(config, output=output)
    return output


@pytest.fixture
def runs(call: Call, reports_folder: Path) -> Call:
    shutil.copytree(reports_folder, "reports")
    return call


def test_compare_accepts_names_and_folders(runs: Call) -> None:
    result = runs("compare", "one", "reports/two", "--json")
    assert result.exit_code == 0, result.stderr
    text_output = " ".join(result.stderr.split())
    for text in ("common sessions, 2001-0", "differs features.0.lags: [1] | [1, 2]", "two against one: Sharpe ratio ",
                 "log loss ", "adjusted for 2 tests by Holm's method",
                 "comparison in reports/compare/compare.png", " buy and hold "):  # fmt: skip
        assert text in text_output
    assert "significant" in text_output
    comparison = json.loads(result.stdout)
    assert comparison == json.loads(Path("reports/compare/compare.json").read_text())
    assert comparison["pairs"][0]["sentence"] in result.stderr
    assert Path("reports/compare/compare.png").exists()
    assert "compare/compare.png" in Path("reports/index.html").read_text()


def test_baseline_is_compared_with_each_other_run(runs: Call) -> None:
    shutil.copytree("reports/one", "reports/one@1")
    result = runs("compare", "one@1", "one", "--baseline", "two", "--json")
    assert result.exit_code == 0, result.stderr
    comparison = json.loads(result.stdout)
    assert [(pair["first"], pair["second"]) for pair in comparison["pairs"]] == [("two", "one@1"), ("two", "one")]
    assert comparison["method"]["baseline_run"] == "two"
    assert runs("compare", "one", "--baseline", "nothing").exit_code == 2


def test_user_errors_exit_with_2_without_a_traceback(runs: Call) -> None:
    for arguments, message in (
        (("one",), "found 1"),
        ((), "Missing argument 'RUNS...'"),
        (
            ("one", "nothing"),
            "nothing: no report of a run, neither as a folder nor by that name in reports; there are ",
        ),
        (("one", "one"), "one and one are the same report, reports/one; name each once"),
        (("one", "two", "--name", "one"), "reports/one is the report of a run"),
        (("one", "two", "--output", "exp.yaml"), "exp.yaml"),
        (("a\0b", "two"), "no report of a run"),
    ):
        result = runs("compare", *arguments)
        assert result.exit_code == 2, arguments
        assert message in result.output, arguments
        assert "Traceback" not in result.output
    assert not Path("reports/compare").exists()
    assert Path("reports/one/metrics.json").exists()


def test_quiet_prints_nothing(runs: Call) -> None:
    result = runs("compare", "one", "two", "--quiet", "--name", "mine", "--output", "reports")
    assert (result.exit_code, result.output) == (0, "")
    assert Path("reports/mine/compare.png").exists()
