"""The catalogue as a person reads it, and as a program does."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner, Result
from quantlr.cli import main
from quantlr.config.run_config import load_config
from quantlr.core.components import component_kind
from quantlr.data.features import FEATURES
from quantlr.data.labels import LABELS


def features(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["features", *arguments])


def test_every_kind_is_listed_on_80_columns() -> None:
    result = features("-v")
    assert result.exit_code == 0, result.output
    lines = result.stderr.splitlines()
    assert max(map(len, lines)) <= 80
    assert result.stdout == ""
    kinds = [f"{component_kind(part)} (feature)" for part in FEATURES] + [
        f"{component_kind(part)} (label)" for part in LABELS
    ]
    assert [line for line in lines if line in kinds] == kinds


def test_one_kind_as_it_stands() -> None:
    assert features("rsi").stderr.splitlines() == [
        "rsi (feature)",
        "  Wilder's relative strength index (1978): the share of rises in the average",
        "  move, in percent.",
        "  windows = [14]: Wilder's lengths. Unit: sessions.",
        "  {kind: rsi} makes rsi_14; warm-up 14 bars",
        "  One column per window, from 0 (every move was a fall) to 100 (every move was a",
        "  rise); 50 without a move.",
        "",
    ]


def test_as_json() -> None:
    found = json.loads(features("--json").stdout)
    kinds = {part: [entry["kind"] for entry in entries] for part, entries in found.items()}
    assert kinds == {
        "features": [component_kind(part) for part in FEATURES],
        "labels": [component_kind(part) for part in LABELS],
    }
    by_kind = {entry["kind"]: entry for entry in found["features"]}
    volatility = by_kind["volatility"]
    assert volatility["columns"] == ["volatility_20"]
    assert volatility["warm_up"] == 20
    assert volatility["parameters"][2] == {
        "name": "estimator", "default": "close", "needed": False,
        "choices": {
            "close": "returns from close to close, which alone see the gaps overnight",
            "parkinson": "the session's high and low",
            "garman_klass": "the session's open, high, low and close",
        },
        "description": "What a move is read off.",
    }  # fmt: skip
    assert by_kind["zscore"]["columns"] == ["zscore_10(volatility_5)"]
    assert by_kind["zscore"]["parameters"][0]["needed"]
    for entry in (*found["features"], *found["labels"]):
        assert entry["summary"]
        assert entry["values"]
        assert not entry["problem"]


def test_every_example_may_be_pasted_into_a_config() -> None:
    found = json.loads(features("--json").stdout)
    data = {"source": {"kind": "sample"}, "tickers": ["IBM"], "context": ["^GSPC"]}
    config = load_config({"data": data, "features": [entry["example"] for entry in found["features"]]}).run
    assert [feature.kind for feature in config.features] == [entry["kind"] for entry in found["features"]]
    for feature, entry in zip(config.features, found["features"], strict=True):
        assert feature.warm_up() == entry["warm_up"]
    for entry in found["labels"]:
        load_config({"data": data, "features": [{"kind": "rsi"}], "label": entry["example"]})


def test_a_kind_that_is_not_there() -> None:
    result = features("volatilty")
    assert result.exit_code == 2
    assert result.stderr == "no feature or label is of kind 'volatilty'; did you mean volatility?\n"


def test_without_talib_it_is_listed_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "talib", None)
    result = features("talib")
    assert result.exit_code == 0
    assert "! needs TA-Lib, which is not installed: pip install 'quantlr[ta]'" in result.stderr
