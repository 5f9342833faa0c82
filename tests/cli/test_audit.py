"""`quantlr audit`: output, audit.json and exit status."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from quantlr.data.features import LaggedReturns

Call = Callable[..., Result]
SHORT = ("--set", "data.end=2002-06-28")
TWO_CUTS = ("--cuts", "2", *SHORT)


@pytest.fixture
def leaking_feature(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let lagged returns look a session ahead."""
    original = LaggedReturns.compute

    def compute_with_leak(feature: LaggedReturns, prices: Any) -> Any:
        columns = original(feature, prices)
        return {name: np.vstack([values[1:], values[-1:]]) for name, values in columns.items()}

    monkeypatch.setattr(LaggedReturns, "compute", compute_with_leak)


def test_clean_audit_exits_with_0_and_prints_its_coverage(call: Call) -> None:
    result = call("audit", "exp.yaml", *TWO_CUTS, "--json")
    assert result.exit_code == 0
    for text in (
        "exp: no leak found",
        "2 of 16 refits: 10 scenarios",
        "4 sessions",
        "--cuts all",
        "exp/audit.json",
        "survivorship",
    ):
        assert text in result.output
    result_json = json.loads(result.stdout)
    assert result_json == json.loads(Path("reports/exp/audit.json").read_text())
    assert (result_json["clean"], result_json["leaks"], result_json["coverage"]["n_refits"]) == (True, [], 16)


@pytest.mark.usefixtures("leaking_feature")
def test_leak_exits_with_3_and_names_stage_and_feature(call: Call) -> None:
    result = call("audit", "exp.yaml", *TWO_CUTS, "--json")
    assert result.exit_code == 3
    assert "lagged_returns_1 of MSFT 2000-03-01" in result.stderr
    assert "exp: leaks in features" in result.stderr
    result_json = json.loads(result.stdout)
    assert not result_json["clean"]
    assert {leak["what"] for leak in result_json["leaks"]} == {"lagged_returns_1", "lagged_returns_2"}
    assert json.loads(Path("reports/exp/audit.json").read_text()) == result_json


def test_audit_keeps_the_report_and_a_new_run_removes_the_audit(call: Call) -> None:
    assert call("run", "exp.yaml", *SHORT, "--quiet").exit_code == 0
    target = Path("reports/exp")
    before = {path.name: path.read_bytes() for path in target.iterdir()}
    assert call("audit", "exp.yaml", *TWO_CUTS, "--quiet").output == ""
    after = {path.name: path.read_bytes() for path in target.iterdir()}
    assert after.pop("audit.json")
    assert after == before
    assert call("run", "exp.yaml", *SHORT, "--quiet").exit_code == 0
    assert {path.name: path.read_bytes() for path in target.iterdir()} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--cuts", "0"), "found '0'"),
        (("--cuts", "some"), "found 'some'"),
        (("--set", "walk_forward.train=5000"), "--set: walk_forward.train: MSFT: the first fold needs 5001 rows"),
        (("--output", "exp.yaml"), "exp.yaml is a file; the output must be a folder"),
    ],
)
def test_user_errors_exit_with_2(call: Call, arguments: tuple[str, ...], message: str) -> None:
    result = call("audit", "exp.yaml", *TWO_CUTS, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
