"""What `quantlr predict` prints: a table for people, JSON for programs, and how old the prices are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from quantlr.experiment.run import run

Call = Callable[..., Result]


def test_people_are_told_what_is_expected_why_what_to_hold_and_how_old_it_is(call: Call) -> None:
    result = call("predict", "exp.yaml")
    assert result.exit_code == 0
    for text in (
        "exp: probability that the next close is higher",
        "MSFT  2003-06-30  47.9%",
        "flat",
        "refit of 2003-06-06 on 817 rows",
        "all features at their means",
        "lagged_returns_2",
        "log odds",
        "filled at the close of the session after 2003-06-30",
    ):
        assert text in result.stdout
    assert result.stderr.startswith("warning MSFT: stale: 2003-06-30 is")
    assert "warm-up rows were dropped" in call("predict", "exp.yaml", "-v").stderr


def test_json_says_what_a_run_of_the_same_config_ends_with(call: Call) -> None:
    result = call("predict", "exp.yaml", "--json", "--quiet", "--stale-after", "1000000")
    assert result.stderr == ""
    (said,) = json.loads(result.stdout)["tickers"]
    last = run("exp.yaml").forecasts.iloc[-1]
    assert (said["ticker"], said["as_of"]) == (last["ticker"], str(last["date"].date()))
    assert said["probability"] == last["probability"]
    assert said["warnings"] == []


def test_many_tickers_have_a_row_each_and_contributions_with_verbose(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quantlr.cli.predict.MAX_TICKERS_EXPLAINED", 1)
    several = ("predict", "exp.yaml", "--set", "data.tickers=[AAPL,MSFT]", "--set", "label.horizon=5")
    short = call(*several).output
    assert "contributions of the features: with -v or --json" in short
    assert "all features at their means" not in short
    assert "the position held is the mean of the last 5 decisions" in short
    assert "warning AAPL, MSFT: stale" in short
    assert call(*several, "-v").stdout.count("all features at their means") == 2


def test_nothing_is_written(call: Call) -> None:
    call("predict", "exp.yaml")
    assert [path.name for path in Path().iterdir()] == ["exp.yaml"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--set", "walk_forward.train=5000"), "--set: walk_forward.train: MSFT: the first fold needs 5001 rows"),
        (("--stale-after", "-1"), "Invalid value for '--stale-after'"),
        (("--set", "data.tickers=[MSTF]"), "the sample has no ticker 'MSTF'"),
    ],
)
def test_what_goes_wrong_ends_with_2(call: Call, arguments: tuple[str, ...], said: str) -> None:
    result = call("predict", "exp.yaml", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
