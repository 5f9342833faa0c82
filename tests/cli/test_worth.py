"""`quantlr worth`: its tables, its files, and the trials of the elimination."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import quantlr
from click.testing import Result

Call = Callable[..., Result]
SETTINGS = ("--set", "data.end=2004-06-30")
TWO_ENTRIES = "features=[{kind: volatility, windows: [20]}, {kind: momentum, windows: [20]}]"


def test_table_and_files_have_the_same_numbers(call: Call) -> None:
    result = call("worth", "exp.yaml", *SETTINGS, "--json")
    assert result.exit_code == 0, result.output
    records = json.loads(result.stdout)["features"]
    table = pd.read_csv("reports/exp/features.csv")
    assert list(table["features"]) == [record["features"] for record in records]
    for record, row in zip(records, table.to_dict("records"), strict=True):
        for key in ("log_loss_reduction", "holm_p_value", "alone_log_loss_reduction"):
            assert row[key] == pytest.approx(record[key])
    assert Path("reports/exp/features.png").read_bytes().startswith(b"\x89PNG")
    assert "shown to improve the forecasts." in result.stderr


def test_models_of_the_elimination_are_trials_and_the_next_run_removes_the_files(call: Call) -> None:
    """Both entries have the same warm-up, so that a run of one of them has the same rows as its model here."""
    settings = (*SETTINGS, "--set", TWO_ENTRIES)
    result = call("worth", "exp.yaml", *settings, "--json")
    table = pd.read_csv("reports/exp/features_elimination.csv")
    records = json.loads(result.stdout)["elimination"]
    assert table["log_loss"].tolist() == pytest.approx([record["log_loss"] for record in records])
    assert table["n_entries"].tolist() == [2, 1, 0]
    entries = json.loads(call("trials", "--json").stdout)["trials"]
    kinds = [entry["config"]["features"][0]["kind"] for entry in entries]
    assert sorted(kinds) == ["momentum", "volatility"]
    assert call("run", "exp.yaml", *settings).exit_code == 0
    assert not [path for path in Path("reports/exp").iterdir() if path.name.startswith("features")]
    for entry, kind in zip(entries, kinds, strict=True):
        one = quantlr.run(
            "exp.yaml", overrides={"data.end": "2004-06-30", "features": [{"kind": kind, "windows": [20]}]}
        )
        annual_sharpe = one.metrics["backtest"]["strategy"]["sharpe"]
        per_year = one.metrics["data"]["sessions_per_year"]
        assert entry["sharpe"] * math.sqrt(per_year) == pytest.approx(annual_sharpe, abs=1e-6), kind


def test_one_entry_needs_no_elimination_and_records_no_trial(call: Call) -> None:
    result = call("worth", "exp.yaml", *SETTINGS)
    assert "best, chosen in hindsight" in result.stdout
    assert not Path("reports/trials.db").exists()


def test_python_function_returns_the_table_that_is_written(call: Call) -> None:
    result = quantlr.worth("exp.yaml", overrides={"data.end": "2004-06-30"}, output="reports")
    pd.testing.assert_frame_equal(result.table, pd.read_csv("reports/exp/features.csv"), check_dtype=False, rtol=1e-12)


def test_errors_point_into_the_config(call: Call) -> None:
    result = call("worth", "exp.yaml", "--set", "walk_forward.train=100000")
    assert result.exit_code == 2
    assert "walk_forward.train" in result.output
