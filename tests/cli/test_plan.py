"""`quantlr plan`: dates, rows and costs as text and as JSON, without network access."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from quantlr.data.source import Source
from quantlr.data.yahoo import YahooSource

from cli.conftest import settings_of_random_prices
from cli.test_data import CONFIG as YAHOO
from cli.test_data import add_to_cache

Call = Callable[..., Result]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr("quantlr.data.yahoo.open_yahoo_client", fail)


def test_plan_has_dates_rows_columns_and_costs(call: Call) -> None:
    result = call("plan", "exp.yaml", "--set", "label.horizon=5")
    assert result.exit_code == 0
    lines = [line.rstrip() for line in result.stdout.splitlines()]
    for line in (
        "exp",
        "prices        sample (stocks5_2000_2013.parquet): 836 sessions, 2000-03-01 to 2003-06-30",
        "features      2 columns: lagged_returns_1, lagged_returns_2",
        "label         direction: horizon 5, of close, ties down",
        "policy        threshold: long_above 0.5",
        "report        reports/exp",
        "MSFT   836        2   834      28        580  2001-03-07  2003-06-30",
        "1    250  2000-03-03 to 2001-02-28    21  2001-03-07 to 2001-04-04",
        "…",
        "28   817  2000-03-03 to 2003-06-05    13  2003-06-12 to 2003-06-30",
    ):
        assert line in lines, line
    totals = lines[-1]
    assert re.findall(r"\d+", totals.split(";")[0] + totals.split(";")[1]) == ["28", "580", "575"]
    assert "4 rows" in totals
    assert totals.endswith("first fill 2001-03-08")
    assert "\n15  " not in result.output
    assert "\n15  " in call("plan", "exp.yaml", "--set", "label.horizon=5", "-v").output
    assert not Path("reports").exists()


def test_plan_says_how_a_file_of_prices_was_read(call: Call) -> None:
    days = [f"{day:02}.{month:02}.2020" for month in range(1, 13) for day in range(1, 29)]
    rows = "".join(f"{day};{10 + 5 * index % 7},{25 + index % 3};{700 + index}\n" for index, day in enumerate(days))
    content = f"Bank[red]\nDatum;Schluss [x];Volumen\n{rows}".encode("utf-16")
    Path("k.csv").write_bytes(content)
    source = 'data.source={kind: file, path: k.csv, columns: {close: "Schluss [x]"}}'
    arguments = ("--set", source, "--set", "data.tickers=[ABC]", "--set", "data.start=null", "--set", "data.end=null")
    result = call("plan", "exp.yaml", *arguments, "--set", "walk_forward.train=60", "--json")
    assert result.exit_code == 0, result.output
    for part in (
        "k.csv: text in utf-16, cells separated by semicolons, 1 line above the header skipped, decimal comma",
        "'01.01.2020' is 2020-01-01, without a time zone",
        "date 'Datum', close 'Schluss [x]', volume 'Volumen' (no adjusted close)",
        "closes of ABC 2020-01-01 10.25 to 2020-12-28 12.27",
    ):
        assert part in result.output, part
    (file,) = json.loads(result.stdout.splitlines()[-1])["walk_forward"]["files"]
    assert file["columns"] == {"date": "Datum", "close": "Schluss [x]", "volume": "Volumen"}
    assert file["closes"] == {"ABC": ["2020-01-01", 10.25, "2020-12-28", 12.27]}


def test_json_is_one_object_per_config_with_the_resolved_config(call: Call) -> None:
    Path("two.yaml").write_text(Path("exp.yaml").read_text())
    result = call("plan", "exp.yaml", "two.yaml", "--json", "--quiet")
    assert result.stderr == ""
    first, second = (json.loads(line) for line in result.stdout.splitlines())
    assert (first["name"], second["name"]) == ("exp", "two")
    assert first["config"]["walk_forward"] == {"window": "expanding", "train": 250, "refit_every": "auto", "embargo": 0}
    fold = first["walk_forward"]["models"][0]["folds"][0]
    assert fold["train"] == {"first": "2000-03-03", "last": "2001-02-28", "rows": 250}
    assert first["walk_forward"]["refits"] == len(first["walk_forward"]["models"][0]["folds"]) == 28


def test_plan_names_an_existing_report_and_trial(call: Call) -> None:
    call("run", "exp.yaml", "--quiet")
    output = call("plan", "exp.yaml").output
    assert "reports/exp, replacing the report there" in output
    assert re.search(r"trials +1 so far .*this one is among them", output)


@pytest.fixture
def yahoo(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.setenv("QUANTLR_HOME", str(tmp_path / "home"))
    (tmp_path / "exp.yaml").write_text(YAHOO)
    return call


def test_prices_that_are_not_cached_are_named_and_not_fetched(yahoo: Call) -> None:
    add_to_cache(0, "AAA")
    result = yahoo("plan", "exp.yaml", "--json")
    assert result.exit_code == 0
    assert "not cached yet: BBB; `quantlr data fetch exp.yaml` downloads them" in result.output
    plan_json = json.loads(result.stdout)
    assert (plan_json["walk_forward"], plan_json["to_ask"]) == (None, {"BBB": None})
    offline = yahoo("plan", "exp.yaml", "--offline")
    assert offline.exit_code == 2
    assert offline.output.startswith("exp.yaml:1:56: data.tickers: BBB: not stored in ")


def test_cached_prices_are_used_and_newer_ones_would_be_asked_for(yahoo: Call) -> None:
    for seed, ticker in enumerate(("AAA", "BBB")):
        add_to_cache(seed, ticker)
    up_to_date = yahoo("plan", "exp.yaml")
    assert "prices        yahoo: 400 sessions, 2022-10-24 to 2024-05-03" in up_to_date.output
    assert "a run would first ask" not in up_to_date.output
    open_ended = yahoo("plan", "exp.yaml", "--set", "data.end=null")
    assert open_ended.exit_code == 0
    assert "AAA (cached to 2024-05-03), BBB (cached to 2024-05-03)" in open_ended.output
    assert "a run would first ask" not in yahoo("plan", "exp.yaml", "--set", "data.end=null", "--offline").output


def test_cache_with_a_damaged_index_counts_as_empty(yahoo: Call, tmp_path: Path) -> None:
    add_to_cache(0, "AAA")
    (tmp_path / "home/prices/yahoo-AAA/index.json").write_text("[]")
    assert YahooSource().last_date_by_due_ticker(["AAA"], end=dt.date(2024, 5, 3)) == {"AAA": None}
    assert Source.last_date_by_due_ticker(YahooSource(), ["AAA"], end=None) == {}


def test_many_models_are_listed_with_verbose(call: Call) -> None:
    several = ("plan", "exp.yaml", *settings_of_random_prices(14))
    short = call(*several).output
    assert "and 2 more; -v shows all" in short
    assert "refits of T0" in short
    assert "refits of T1" not in short
    assert "refits of T13" in call(*several, "-v").output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--set", "walk_forward.train=5000"), "--set: walk_forward.train: MSFT: the first fold needs 5001 rows"),
        (("--set", "data.tickers=[MSTF]"), "the sample has no ticker 'MSTF'"),
        (("--output", "exp.yaml"), "exp.yaml is a file; the output must be a folder"),
    ],
)
def test_user_errors_exit_with_2(call: Call, arguments: tuple[str, ...], message: str) -> None:
    result = call("plan", "exp.yaml", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
