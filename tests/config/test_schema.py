"""The JSON Schema that editors read: the code's own, complete in words, and of one mind with the reader."""

from __future__ import annotations

import json
import re
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from jsonschema import Draft7Validator
from quantlr.backtest.overlays import OVERLAYS
from quantlr.backtest.policies import POLICIES
from quantlr.cli import main
from quantlr.config.run_config import load_config
from quantlr.config.schema import config_schema, schema_text
from quantlr.core.arrays import FeatureColumns
from quantlr.core.components import Component, component_kind
from quantlr.core.errors import ConfigError
from quantlr.core.values import Prices
from quantlr.data.features import FEATURES, Feature, Momentum
from quantlr.data.labels import LABELS
from quantlr.data.sources import SOURCES

import yaml_core
from mutations import mistaken_trees
from refusals import CONFIGS, ROOT, SMALL

SCHEMA = config_schema(include_installed=False)
VALID = Draft7Validator(SCHEMA, format_checker=Draft7Validator.FORMAT_CHECKER)
CATALOGUES = {
    "source": SOURCES, "features": FEATURES, "label": LABELS, "policy": POLICIES, "overlays": OVERLAYS,
}  # fmt: skip
BEYOND = re.compile(
    r"needs a whole number, found -?[\d.]+$"  # a whole number is one to JSON however it is written
    r"|must (not )?be (above|below|before)|is for gradient_descent and|one of low and high is needed|needs policy\.short_below"
    r"|(each|once); (twice|every)|leave one day out|traded already|TA-Lib has no function|: \w+ takes "
    r"|can't be read; a path|can't be read: "
)
"""What the reader refuses for the sake of another key, of a file, or of how a number is written."""


def is_valid(text: str) -> bool:
    return bool(VALID.is_valid(yaml_core.read(text)))


KEYS = {
    f"{section}.{key}": body
    for section, schema in {"config": SCHEMA, **SCHEMA["definitions"]}.items()
    for key, body in schema["properties"].items()
}


def refusal(text: str, folder: Path) -> str | None:
    """Return what the reader says of a config that it refuses, None where it takes it."""
    path = folder / "exp.yaml"
    path.write_text(text)
    try:
        load_config(path)
    except ConfigError as error:
        return error.message
    return None


def numbers(body: dict[str, Any]) -> bool:
    """Return whether a key takes a number, or a list of them."""
    types = body.get("type", ())
    options = [*body.get("anyOf", ()), body.get("items", {})]
    text_too = "string" in types and "number" in types
    return (not text_too and bool({"number", "integer"} & set([types] if isinstance(types, str) else types))) or any(
        numbers(option) for option in options if option
    )


def test_the_committed_schema_is_that_of_the_code() -> None:
    committed = (ROOT / "configs" / "schema.json").read_text(encoding="utf-8")
    assert committed == schema_text(include_installed=False), "write it anew: quantlr schema > configs/schema.json"
    Draft7Validator.check_schema(SCHEMA)


def test_the_verb_prints_the_file() -> None:
    printed = CliRunner().invoke(main, ["schema"])
    assert (printed.exit_code, printed.stderr) == (0, "")
    assert printed.stdout_bytes == schema_text().encode()
    line = CliRunner().invoke(main, ["schema", "--json"]).stdout
    assert json.loads(line) == config_schema()
    assert line.count("\n") == 1


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_shipped_config_names_the_schema_and_obeys_it(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("# yaml-language-server: $schema=schema.json\n")
    assert list(VALID.iter_errors(yaml_core.read(text))) == []
    resolved = load_config(path).run.to_yaml()
    assert list(VALID.iter_errors(yaml_core.read(resolved))) == []


@pytest.mark.parametrize("path", KEYS)
def test_every_key_says_what_it_is_in_which_unit_and_what_it_looks_like(path: str) -> None:
    body = KEYS[path]
    assert body["title"]
    assert body["description"].endswith(".")
    assert not numbers(body) or "Unit: " in body["description"], "a number says its unit"
    for option in (body, *body.get("anyOf", ()), body.get("items", {})):
        words = option.get("enum", ())
        assert len(option.get("enumDescriptions", ())) == len(words)
        assert all(option.get("enumDescriptions", ())), "each word says what it means"
    shown = body.get("examples") or body.get("default") is not None or {"enum", "const", "allOf"} & set(body)
    listed = body.get("type") == "array" and ("$ref" in body["items"])
    assert shown or listed, "a key without a default shows an example"


@pytest.mark.parametrize("name", CATALOGUES)
def test_a_catalogue_has_every_kind_and_takes_its_examples(name: str) -> None:
    kinds = SCHEMA["definitions"][name]["properties"]["kind"]["enum"]
    assert kinds == [component_kind(part) for part in CATALOGUES[name]]
    validator = Draft7Validator({"definitions": SCHEMA["definitions"], "$ref": f"#/definitions/{name}"})
    for part in CATALOGUES[name]:
        example: Component
        for example in part.examples():
            written = json.loads(example.model_dump_json())
            assert list(validator.iter_errors(written)) == []
            assert not validator.is_valid(written | {"no such key": "x"})
            assert not validator.is_valid(written | {"kind": "no such kind"})


@pytest.mark.parametrize(
    "ticker", ["ON", "NO", "0700", "1e5", "12:30:00", "2020-01-02", "'null'", "'0700'", "0x1F", "^GSPC"]
)
def test_a_ticker_is_text_to_an_editor_too(ticker: str) -> None:
    assert is_valid(SMALL.replace("AAPL", ticker))


@pytest.mark.parametrize("ticker", ["null", "~", "true", "false", "''", "[A]", "{a: 1}", "x" * 41])
def test_what_is_no_ticker_is_told_in_the_editor(ticker: str) -> None:
    assert not is_valid(SMALL.replace("AAPL", ticker))


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("", True),
        ("walk_forward: {refit_every: never}", True),
        ("walk_forward: {refit_every: often}", False),
        ("label: {horizon: 5, ties: drop}", True),
        ("label: {band: 0.1}", False),
        ("label: {kind: dead_band, band: 0.1}", True),
        ("label: {kind: outperformance}", False),
        ("policy: {short_below: null}", True),
        ("policy: {fraction: 0.5}", False),
        ("policy: {kind: kelly, fraction: 0.5}", True),
        ("model: {class_weight: {up: 2}}", True),
        ("model: {class_weight: {up: 0}}", False),
        ("overlays: [{kind: leverage_cap}, {kind: leverage_cap, cap: 0.5}]", True),
        ("overlays: [{cap: 0.5}]", False),
        ("execution: {spread: null, cash_rate: -0.6}", False),
        ("  - {kind: talib, function: ADX, timeperiod: 5}", True),
        ("  - {kind: talib, function: ADX, timeperiod: long}", False),
        ("  - {kind: zscore, of: {kind: rank, of: {kind: product, of: [{kind: rsi}, {kind: atr}]}}}", True),
        ("  - {kind: zscore, of: {kind: rank, of: {kind: product, of: [{kind: rsi}, {kind: atr, lag: 1}]}}}", False),
        ("  - {kind: zscore}", False),
        ("  - {kind: momentum, windows: 5}", False),
        ("  - {kind: momentum, windows: [5, 5]}", False),
    ],
)
def test_what_an_editor_finds_right_is_what_is_read(folder: Path, text: str, valid: bool) -> None:
    assert is_valid(SMALL + text + "\n") == valid
    assert (refusal(SMALL + text + "\n", folder) is None) == valid


@pytest.mark.parametrize(
    ("data", "valid"),
    [
        ("{source: {kind: sample}, tickers: [A], start: 2020-01-02, end: null}", True),
        ("{source: {kind: sample}, tickers: [A], start: 2020-13-45}", False),
        ("{source: {kind: sample}, tickers: [A], start: 20200102}", False),
        ("{source: {kind: sample}, tickers: [A], quality: {stale: drop, opens: error}}", True),
        ("{source: {kind: sample}, tickers: [A], quality: {stale: keep}}", False),
        ("{source: {kind: sample}, tickers: [A], quality: {opens: drop}}", False),
        ("{source: {kind: sample}}", False),
        ("{source: {kind: sample}, tickers: []}", False),
        ("{source: {kind: sample}, tickers: null}", False),
        ("{source: {kind: sample}, tickers_file: list.txt}", True),
        ("{source: {kind: sample}, tickers_file: list.txt, tickers: null}", True),
        ("{source: {kind: sample}, tickers_file: list.txt, tickers: [A]}", False),
        ("{source: {kind: sample}, tickers_file: null, tickers: [A]}", True),
        ("{source: {kind: file}, tickers: [A]}", False),
        ("{source: {kind: file, path: x.csv}, tickers: [A]}", True),
        ("{source: {path: x.csv}, tickers: [A]}", False),
        ("{tickers: [A]}", False),
    ],
)
def test_what_an_editor_finds_right_of_data_is_what_is_read(folder: Path, data: str, valid: bool) -> None:
    (folder / "list.txt").write_text("A\n")
    text = f"data: {data}\nfeatures: [{{kind: rsi}}]\n"
    assert is_valid(text) == valid
    assert (refusal(text, folder) is None) == valid


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("data: {tickers: [C]}", True),
        ("data: {source: {path: other.csv}}", True),
        ("label: {band: 0.1}", True),
        ("policy: {fraction: 0.5, cap: 0.1}", True),
        ("policy: {kind: kelly, cap: 0.1}", False),
        ("policy: {no_such_key: 1}", False),
        ("label: {kind: outperformance}", True),
        ("overlays: [{band: 0.1}]", False),
        ("data: {source: {path: 3}}", False),
    ],
)
def test_where_a_config_extends_another_the_rest_may_stand_there(text: str, valid: bool) -> None:
    assert is_valid(f"extends: other.yaml\n{text}\n") == valid


class Size(StrEnum):
    small = "small"


class Mine(Feature):
    """One of someone's own, who says nothing of its parameters."""

    kind: Literal["mine"] = "mine"
    way: Literal["a", "b"] = "a"
    ways: Literal["a", "b"] | None = None
    either: dict[str, int] | bool = True
    size: Size = Size.small
    of: Momentum = Momentum()

    def compute(self, prices: Prices) -> FeatureColumns:
        """Nothing."""
        return {}

    def warm_up(self) -> int:
        """None."""
        return 0


def test_installed_features_are_in_what_the_verb_prints_and_one_that_is_broken_does_no_harm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def load(kind: str, base: type[Component]) -> type[Component]:
        if kind == "broken":
            raise ValueError("can't be loaded")
        return Mine

    monkeypatch.setattr("quantlr.config.schema.installed_kinds", lambda _: ("broken", "mine"))
    monkeypatch.setattr("quantlr.config.schema.load_installed_component", load)
    valid = Draft7Validator(config_schema())
    for feature, good in (
        ("{kind: mine, way: a, ways: null, either: {a: 1}, size: small}", True),
        ("{kind: mine, way: c}", False),
        ("{kind: mine, ways: 3}", False),
        ("{kind: mine, size: huge}", False),
        ("{kind: mine, lags: [3]}", False),
        ("{kind: broken}", True),
    ):
        assert valid.is_valid(yaml_core.read(f"{SMALL}  - {feature}\n")) == good
        assert valid.is_valid(yaml_core.read(f"{SMALL}  - {{kind: rank, of: {feature}}}\n")) == good
    assert not is_valid(SMALL + "  - {kind: mine}\n")


@settings(max_examples=60)
@given(tree=mistaken_trees())
def test_the_editor_and_the_reader_are_of_one_mind(folder: Path, tree: dict[str, Any]) -> None:
    """A config that an editor flags is refused; one that is refused is flagged, wherever a schema can know."""
    text = json.dumps(tree, ensure_ascii=False)
    said = refusal(text, folder)
    if not VALID.is_valid(tree):
        assert said, list(VALID.iter_errors(tree))
    elif said and "extends" not in tree:
        assert all(BEYOND.search(line) for line in said.splitlines()), said
