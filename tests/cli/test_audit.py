"""What `quantlr audit` prints and writes, and the status that it ends with."""

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
FEW = ("--cuts", "2", "--set", "data.end=2002-06-28")


@pytest.fixture
def leaking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let lagged returns look a session ahead."""
    honest = LaggedReturns.compute

    def ahead(feature: LaggedReturns, prices: Any) -> Any:
        columns = honest(feature, prices)
        return {name: np.vstack([values[1:], values[-1:]]) for name, values in columns.items()}

    monkeypatch.setattr(LaggedReturns, "compute", ahead)


def test_a_clean_audit_ends_with_0_and_says_how_far_it_looked(call: Call) -> None:
    result = call("audit", "exp.yaml", *FEW, "--json")
    assert result.exit_code == 0
    for text in (
        "exp: no leak found", "checked 2 of 16 refits: 9 scenarios after each of 4 sessions; --cuts all",
        "numbers compared in all", "audit in reports/exp/audit.json",
    ):  # fmt: skip
        assert text in result.output
    said = json.loads(result.stdout)
    assert said == json.loads(Path("reports/exp/audit.json").read_text())
    assert (said["clean"], said["leaks"], said["coverage"]["refits"]) == (True, [], 16)


@pytest.mark.usefixtures("leaking")
def test_a_leak_ends_with_3_and_is_named(call: Call) -> None:
    result = call("audit", "exp.yaml", *FEW, "--json")
    assert result.exit_code == 3
    assert "leak features: lagged_returns_1 of MSFT 2000-03-01 was" in result.stderr
    assert "exp: leaks in features" in result.stderr
    said = json.loads(result.stdout)
    assert not said["clean"]
    assert {leak["what"] for leak in said["leaks"]} == {"lagged_returns_1", "lagged_returns_2"}
    assert json.loads(Path("reports/exp/audit.json").read_text()) == said


def test_an_audit_leaves_the_report_alone_and_a_new_run_takes_it_away(call: Call) -> None:
    assert call("run", "exp.yaml", "--quiet").exit_code == 0
    target = Path("reports/exp")
    before = {path.name: path.read_bytes() for path in target.iterdir()}
    assert call("audit", "exp.yaml", *FEW, "--quiet").output == ""
    after = {path.name: path.read_bytes() for path in target.iterdir()}
    assert after.pop("audit.json")
    assert after == before
    assert call("run", "exp.yaml", "--quiet").exit_code == 0
    assert {path.name: path.read_bytes() for path in target.iterdir()} == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--cuts", "0"), "needed a number of at least 1, auto or all; found '0'"),
        (("--cuts", "some"), "found 'some'"),
        (("--set", "walk_forward.train=5000"), "--set: walk_forward.train: MSFT: the first fold needs 5001 rows"),
        (("--output", "exp.yaml"), "exp.yaml is a file; the output must be a folder"),
    ],
)
def test_what_goes_wrong_ends_with_2(call: Call, arguments: tuple[str, ...], said: str) -> None:
    result = call("audit", "exp.yaml", *FEW, *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
