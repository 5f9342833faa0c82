"""`quantlr race`: its table, its files, and its errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from click.testing import Result

Call = Callable[..., Result]
SETTINGS = ("--set", "data.end=2002-06-28", "--against", "gaussian_nb")


def test_table_and_files_have_the_same_numbers(call: Call) -> None:
    result = call("race", "exp.yaml", *SETTINGS, "--json")
    assert result.exit_code == 0, result.output
    records = json.loads(result.stdout)["race"]
    table = pd.read_csv("reports/exp/race.csv")
    assert list(table["name"]) == [record["name"] for record in records]
    for record, row in zip(records, table.to_dict("records"), strict=True):
        assert f"{record['accuracy']:.1%}" in result.stderr
        assert row["auc"] == pytest.approx(record["auc"])
    assert Path("reports/exp/race.png").read_bytes().startswith(b"\x89PNG")
    assert Path("reports/trials.db").exists()
    assert "no --against" not in result.stderr


def test_an_unknown_classifier_ends_with_the_nearest_name(call: Call) -> None:
    result = call("race", "exp.yaml", "--against", "gradient_boost")
    assert result.exit_code == 2
    assert "gradient_boosting" in result.output


def test_a_race_without_a_challenger_says_how_to_name_one(call: Call) -> None:
    result = call("race", "exp.yaml", *SETTINGS[:2])
    assert "--against hist_gradient_boosting" in result.stderr
    assert "−" not in result.stdout, "a minus sign that a program can parse"


def test_errors_point_into_the_config(call: Call) -> None:
    result = call("race", "exp.yaml", "--set", "walk_forward.train=100000")
    assert result.exit_code == 2
    assert "walk_forward.train" in result.output
