"""`quantlr robustness`, and `quantlr run --pages all`: output, files and exit status."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

Call = Callable[..., Result]


def test_robustness_prints_rows_and_sentence_and_writes_beside_the_report(call: Call) -> None:
    assert call("run", "exp.yaml", "--quiet").exit_code == 0
    result = call("robustness", "exp.yaml")
    assert result.exit_code == 0, result.stderr
    for text in ("costs x 5", "filled 5 sessions later", "policy.long_above 0.51", "The Sharpe ratio of "):
        assert text in result.stdout
    assert Path("reports/exp/robustness.png").exists()
    as_json = json.loads(call("robustness", "exp.yaml", "--json").stdout)
    assert as_json["sentence"] in result.stdout.replace("\n", " ")
    assert {row["group"] for row in as_json["rows"]} >= {"year", "cost", "delay", "setting"}
    call("run", "exp.yaml", "--quiet")
    assert not Path("reports/exp/robustness.png").exists(), "it is of the former run"


def test_all_pages_include_robustness_and_features(call: Call) -> None:
    result = call("run", "exp.yaml", "--pages", "all")
    assert result.exit_code == 0, result.stderr
    assert "robustness.png" in result.stdout
    for name in ("robustness.csv", "features.png", "features.csv"):
        assert Path("reports/exp", name).exists()
