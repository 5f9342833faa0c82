"""Files beside a report: `worth`, `race`, `robustness` and `audit` never write beside that of another config."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import quantlr
from click.testing import Result

Call = Callable[..., Result]
SHORT = ("--set", "data.end=2001-12-31")
OTHER_CONFIG = (*SHORT, "--set", "features.0.lags=[1]")
CUTS = ("--cuts", "1")


def file_contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("first", [("run",), ("audit", *CUTS)])
def test_files_are_not_written_beside_another_config_s_and_a_run_keeps_those(
    call: Call, first: tuple[str, ...]
) -> None:
    assert call(*first, "exp.yaml", *SHORT, "--quiet").exit_code == 0
    before = file_contents(Path("reports/exp"))
    for verb in ("worth", "race", "robustness", "audit"):
        refused = call(verb, "exp.yaml", *OTHER_CONFIG)
        assert refused.exit_code == 2
        (line,) = refused.stderr.splitlines()
        assert line.startswith("reports/exp is the report of another config; run this one first")
    assert file_contents(Path("reports/exp")) == before
    assert call("run", "exp.yaml", *OTHER_CONFIG, "--quiet").exit_code == 0
    assert file_contents(Path("reports/exp@1")) == before
    assert call("audit", *CUTS, "exp.yaml", *OTHER_CONFIG).exit_code == 0
    assert Path("reports/exp/audit.json").exists()


def test_a_report_that_another_run_has_replaced_meanwhile_is_not_written_beside(call: Call) -> None:
    result = quantlr.worth("exp.yaml", overrides={"data.end": "2001-12-31"})
    assert call("run", "exp.yaml", "--quiet").exit_code == 0
    with pytest.raises(quantlr.OutputError, match="report of another config"):
        result.save()
