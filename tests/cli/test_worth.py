"""`quantlr worth`: its table, its files, and that it records no trial."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import quantlr
from click.testing import Result

Call = Callable[..., Result]
SETTINGS = ("--set", "data.end=2004-06-30")


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


def test_no_trial_is_recorded_and_the_next_run_removes_the_files(call: Call) -> None:
    call("worth", "exp.yaml", *SETTINGS)
    assert not Path("reports/trials.db").exists()
    assert call("run", "exp.yaml", *SETTINGS).exit_code == 0
    assert not {"features.png", "features.csv"} & {path.name for path in Path("reports/exp").iterdir()}


def test_python_function_returns_the_table_that_is_written(call: Call) -> None:
    result = quantlr.worth("exp.yaml", overrides={"data.end": "2004-06-30"}, output="reports")
    pd.testing.assert_frame_equal(result.table, pd.read_csv("reports/exp/features.csv"), check_dtype=False, rtol=1e-12)


def test_errors_point_into_the_config(call: Call) -> None:
    result = call("worth", "exp.yaml", "--set", "walk_forward.train=100000")
    assert result.exit_code == 2
    assert "walk_forward.train" in result.output
