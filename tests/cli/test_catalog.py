"""The catalogues as text and as JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result
from quantlr.backtest.overlays import OVERLAYS
from quantlr.backtest.policies import POLICIES
from quantlr.cli import main
from quantlr.config.run_config import load_config
from quantlr.core.components import component_kind
from quantlr.data.features import FEATURES
from quantlr.data.labels import LABELS
from quantlr.data.sources import SOURCES
from quantlr.model.config import MODELS

CATALOGS: dict[str, Any] = {
    "features": FEATURES, "labels": LABELS, "models": MODELS, "policies": POLICIES, "overlays": OVERLAYS,
    "sources": SOURCES,
}  # fmt: skip
BASE = {"data": {"source": {"kind": "sample"}, "tickers": ["IBM"], "context": ["^GSPC"]}}


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.mark.parametrize("verb", CATALOGS)
def test_every_kind_is_listed_within_80_columns(verb: str) -> None:
    result = call(verb, "-v")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    kinds = [component_kind(component) for component in CATALOGS[verb]]
    assert [line for line in lines if line in kinds] == kinds
    assert result.stderr == ""


def test_feature_text_has_example_columns_and_warm_up() -> None:
    lines = call("features", "rsi").stdout.splitlines()
    assert lines[0] == "rsi"
    assert "  {kind: rsi} makes rsi_14; warm-up 14 bars" in lines


@pytest.mark.parametrize("verb", CATALOGS)
def test_catalog_json_has_every_kind(verb: str) -> None:
    entries = json.loads(call(verb, "--json").stdout)[verb]
    assert [entry["kind"] for entry in entries] == [component_kind(component) for component in CATALOGS[verb]]
    for entry in entries:
        assert entry["summary"]
        assert all(parameter["description"] for parameter in entry["parameters"])
        assert not entry["unavailable_reason"]


def test_feature_json_has_columns_warm_up_and_choices() -> None:
    entries = {entry["kind"]: entry for entry in json.loads(call("features", "--json").stdout)["features"]}
    volatility = entries["volatility"]
    assert volatility["columns"] == ["volatility_20"]
    assert volatility["warm_up"] == 20
    estimator = volatility["parameters"][2]
    assert (estimator["name"], estimator["default"], estimator["is_required"]) == ("estimator", "close", False)
    assert list(estimator["choices"]) == ["close", "parkinson", "garman_klass"]
    assert entries["zscore"]["columns"] == ["zscore_10(volatility_5)"]
    assert entries["zscore"]["parameters"][0]["is_required"]


def test_every_example_is_valid_in_a_config() -> None:
    entries = {verb: json.loads(call(verb, "--json").stdout)[verb] for verb in CATALOGS}
    config = load_config(BASE | {"features": [entry["example"] for entry in entries["features"]]}).run
    assert [feature.kind for feature in config.features] == [entry["kind"] for entry in entries["features"]]
    for feature, entry in zip(config.features, entries["features"], strict=True):
        assert feature.warm_up() == entry["warm_up"]
    data = BASE["data"] | {"tickers": [f"T{number}" for number in range(30)]}
    one_feature = {"data": data, "features": [{"kind": "rsi"}]}
    for key, verb in (("label", "labels"), ("policy", "policies")):
        for entry in entries[verb]:
            load_config(one_feature | {key: entry["example"]})
    both_sides = one_feature | {"policy": {"short_below": 0.5}}
    load_config(both_sides | {"overlays": [entry["example"] for entry in entries["overlays"]]})


@pytest.mark.parametrize(
    ("verb", "kind", "near"),
    [("features", "volatilty", "volatility"), ("features", "RSI", "rsi"), ("policies", "Treshold", "threshold")],
)
def test_unknown_kind_suggests_the_nearest_ignoring_case(verb: str, kind: str, near: str) -> None:
    result = call(verb, kind)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"no {verb} of kind {kind!r}; did you mean {near}?\n"


def test_talib_entry_without_talib_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "talib", None)
    result = call("features", "talib")
    assert result.exit_code == 0
    assert "pip install 'quantlr[ta]'" in result.stdout
