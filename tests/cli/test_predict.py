"""`quantlr predict`: tables, JSON, and the warning about old prices."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result
from quantlr.experiment.run import run

from cli.conftest import settings_of_random_prices

Call = Callable[..., Result]


def test_tables_have_probability_contributions_position_and_age(call: Call) -> None:
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


@pytest.fixture
def odd_time_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set a zone more than a day from UTC, which Python's `datetime` refuses."""
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "UTC+25")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("odd_time_zone")
def test_json_equals_the_last_forecast_of_a_run(call: Call) -> None:
    result = call("predict", "exp.yaml", "--json", "--quiet", "--stale-after", "1000000")
    assert result.stderr == ""
    (prediction,) = json.loads(result.stdout)["tickers"]
    last = run("exp.yaml").forecasts.iloc[-1]
    assert (prediction["ticker"], prediction["as_of"]) == (last["ticker"], str(last["date"].date()))
    assert prediction["probability"] == last["probability"]
    assert prediction["warnings"] == []
    verdict = run("exp.yaml").verdict
    assert json.loads(result.stdout)["verdict"] == verdict
    assert verdict in call("predict", "exp.yaml").stdout.replace("\n", " ")


def test_many_tickers_have_a_row_each_and_contributions_with_verbose(call: Call) -> None:
    several = ("predict", "exp.yaml", *settings_of_random_prices(6), "--set", "label.horizon=5")
    short = call(*several).output
    assert "contributions of the features: with -v or --json" in short
    assert "all features at their means" not in short
    assert "the position held is the mean of the last 5 decisions" in short
    assert "warning T0, T1, T2, T3, T4, T5: stale" in short
    assert call(*several, "-v").stdout.count("all features at their means") == 6


def test_predict_writes_nothing(call: Call) -> None:
    call("predict", "exp.yaml")
    assert [path.name for path in Path().iterdir()] == ["exp.yaml"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--set", "walk_forward.train=5000"), "--set: walk_forward.train: MSFT: the first fold needs 5001 rows"),
        (("--stale-after", "-1"), "Invalid value for '--stale-after'"),
        (("--set", "data.tickers=[MSTF]"), "the sample has no ticker 'MSTF'"),
    ],
)
def test_user_errors_exit_with_2(call: Call, arguments: tuple[str, ...], message: str) -> None:
    result = call("predict", "exp.yaml", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
