"""The JSON Schema for editors: made from the code, documented in full, and consistent with the validation."""

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
from quantlr.core.components import Component, component_kind
from quantlr.core.errors import ConfigError
from quantlr.core.values import FeatureColumns, Prices
from quantlr.data.features import FEATURES, Feature, Momentum
from quantlr.data.labels import LABELS
from quantlr.data.sources import SOURCES
from quantlr.model.base import FittedModel, Model

import yaml_core
from mutations import mistaken_trees
from refusals import CONFIGS, ROOT, SMALL

SCHEMA = config_schema(include_installed=False)
VALIDATOR = Draft7Validator(SCHEMA, format_checker=Draft7Validator.FORMAT_CHECKER)
CATALOGUES = {
    "source": SOURCES, "features": FEATURES, "label": LABELS, "policy": POLICIES, "overlays": OVERLAYS,
}  # fmt: skip
NOT_IN_SCHEMA = re.compile(
    r"needs a whole number, found -?[\d.]+$"  # 1.0 is an integer in JSON
    r"|must (not )?be (above|below|before)|is for gradient_descent and|one of low and high is needed"
    r"|needs at least \d+ tickers, to hold"
    r"|needs policy\.short_below|must be unique|twice here|each ticker once|leave one day out|traded already"
    r"|TA-Lib has no function|: \w+ takes |can't be read; a path|can't be read: "
)
"""Errors that depend on another key, on a file, or on the text of a number, which a schema can't express."""


def is_valid(text: str) -> bool:
    return bool(VALIDATOR.is_valid(yaml_core.read(text)))


KEYS = {
    f"{section}.{key}": body
    for section, schema in {"config": SCHEMA, **SCHEMA["definitions"]}.items()
    for key, body in schema["properties"].items()
}


def validation_error(text: str, folder: Path) -> str | None:
    """Return the errors of an invalid config, None for a valid one."""
    path = folder / "exp.yaml"
    path.write_text(text)
    try:
        load_config(path)
    except ConfigError as error:
        return error.message
    return None


def takes_numbers(body: dict[str, Any]) -> bool:
    """Return whether a key takes a number, or a list of takes_numbers."""
    types = body.get("type", ())
    options = [*body.get("anyOf", ()), body.get("items", {})]
    text_too = "string" in types and "number" in types
    return (not text_too and bool({"number", "integer"} & set([types] if isinstance(types, str) else types))) or any(
        takes_numbers(option) for option in options if option
    )


def test_the_committed_schema_is_up_to_date() -> None:
    committed = (ROOT / "configs" / "schema.json").read_text(encoding="utf-8")
    assert committed == schema_text(include_installed=False), "update it: quantlr schema > configs/schema.json"
    Draft7Validator.check_schema(SCHEMA)


def test_the_schema_command_prints_the_schema() -> None:
    printed = CliRunner().invoke(main, ["schema"])
    assert (printed.exit_code, printed.stderr) == (0, "")
    assert printed.stdout_bytes == schema_text().encode()
    line = CliRunner().invoke(main, ["schema", "--json"]).stdout
    assert json.loads(line) == config_schema()
    assert line.count("\n") == 1


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_shipped_config_names_the_schema_and_is_valid(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("# yaml-language-server: $schema=schema.json\n")
    assert list(VALIDATOR.iter_errors(yaml_core.read(text))) == []
    resolved = load_config(path).run.to_yaml()
    assert list(VALIDATOR.iter_errors(yaml_core.read(resolved))) == []


@pytest.mark.parametrize("path", KEYS)
def test_every_key_has_description_unit_and_example(path: str) -> None:
    body = KEYS[path]
    assert body["title"]
    assert body["description"].endswith(".")
    assert not takes_numbers(body) or "Unit: " in body["description"], "a number has a unit"
    for option in (body, *body.get("anyOf", ()), body.get("items", {})):
        words = option.get("enum", ())
        assert len(option.get("enumDescriptions", ())) == len(words)
        assert all(option.get("enumDescriptions", ())), "each choice has a description"
    has_example = body.get("examples") or body.get("default") is not None or {"enum", "const", "allOf"} & set(body)
    listed = body.get("type") == "array" and ("$ref" in body["items"])
    assert has_example or listed, "a key without a default has an example"


@pytest.mark.parametrize("name", CATALOGUES)
def test_a_catalogue_has_every_kind_and_accepts_its_examples(name: str) -> None:
    kinds = SCHEMA["definitions"][name]["properties"]["kind"]["enum"]
    assert kinds == [component_kind(part) for part in CATALOGUES[name]]
    validator = Draft7Validator({"definitions": SCHEMA["definitions"], "$ref": f"#/definitions/{name}"})
    for part in CATALOGUES[name]:
        example: Component
        for example in part.examples():
            example_json = json.loads(example.model_dump_json())
            assert list(validator.iter_errors(example_json)) == []
            assert not validator.is_valid(example_json | {"no such key": "x"})
            assert not validator.is_valid(example_json | {"kind": "no such kind"})


@pytest.mark.parametrize(
    "ticker", ["ON", "NO", "0700", "1e5", "12:30:00", "2020-01-02", "'null'", "'0700'", "0x1F", "^GSPC"]
)
def test_a_ticker_is_text_in_the_schema(ticker: str) -> None:
    assert is_valid(SMALL.replace("AAPL", ticker))


@pytest.mark.parametrize("ticker", ["null", "~", "true", "false", "''", "[A]", "{a: 1}", "x" * 41])
def test_an_invalid_ticker_is_refused_by_the_schema(ticker: str) -> None:
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
def test_schema_and_validation_agree(folder: Path, text: str, valid: bool) -> None:
    assert is_valid(SMALL + text + "\n") == valid
    assert (validation_error(SMALL + text + "\n", folder) is None) == valid


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
def test_schema_and_validation_agree_on_data(folder: Path, data: str, valid: bool) -> None:
    (folder / "list.txt").write_text("A\n")
    text = f"data: {data}\nfeatures: [{{kind: rsi}}]\n"
    assert is_valid(text) == valid
    assert (validation_error(text, folder) is None) == valid


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
def test_a_config_that_extends_another_may_be_incomplete(text: str, valid: bool) -> None:
    assert is_valid(f"extends: other.yaml\n{text}\n") == valid


class Size(StrEnum):
    small = "small"


class UserFeature(Feature):
    """A feature whose parameters have no descriptions."""

    kind: Literal["user_feature"] = "user_feature"
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


def test_the_printed_schema_has_installed_features_and_accepts_broken_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def load(kind: str, base: type[Component]) -> type[Component]:
        if kind == "broken":
            raise ValueError("can't be loaded")
        return UserFeature

    monkeypatch.setattr("quantlr.config.schema.installed_kinds", lambda _: ("broken", "user_feature"))
    monkeypatch.setattr("quantlr.config.schema.load_installed_component", load)
    validator = Draft7Validator(config_schema())
    for feature, expected in (
        ("{kind: user_feature, way: a, ways: null, either: {a: 1}, size: small}", True),
        ("{kind: user_feature, way: c}", False),
        ("{kind: user_feature, ways: 3}", False),
        ("{kind: user_feature, size: huge}", False),
        ("{kind: user_feature, lags: [3]}", False),
        ("{kind: broken}", True),
    ):
        assert validator.is_valid(yaml_core.read(f"{SMALL}  - {feature}\n")) == expected
        assert validator.is_valid(yaml_core.read(f"{SMALL}  - {{kind: rank, of: {feature}}}\n")) == expected
    assert not is_valid(SMALL + "  - {kind: user_feature}\n")


class UserModel(Model):
    """A model of an installed package."""

    kind: Literal["user_model"] = "user_model"
    depth: int = 3

    def fit_many(self, training_sets: Any, **callbacks: Any) -> list[FittedModel]:
        """Nothing."""
        return []


def test_the_printed_schema_has_installed_models(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {Model: ("user_model",)}
    monkeypatch.setattr("quantlr.config.schema.installed_kinds", lambda base: kinds.get(base, ()))
    monkeypatch.setattr("quantlr.config.schema.load_installed_component", lambda kind, base: UserModel)
    validator = Draft7Validator(config_schema())
    for model, expected in (
        ("{kind: user_model, depth: 2, scope: pooled}", True),
        ("{kind: user_model, l2: 0.1}", False),
        ("{kind: user_model, depth: deep}", False),
        ("{kind: other_model}", False),
        ("{l2: 0.1}", True),
        ("{depth: 2}", False),
    ):
        assert validator.is_valid(yaml_core.read(f"{SMALL}model: {model}\n")) == expected
    assert validator.is_valid(yaml_core.read("extends: other.yaml\nmodel: {depth: 2}\n"))
    assert not is_valid(SMALL + "model: {kind: user_model}\n")


@settings(max_examples=60)
@given(tree=mistaken_trees())
def test_schema_and_validation_agree_on_random_configs(folder: Path, tree: dict[str, Any]) -> None:
    """A config that violates the schema is refused; and the reverse, where a schema can express it."""
    text = json.dumps(tree, ensure_ascii=False)
    error = validation_error(text, folder)
    if not VALIDATOR.is_valid(tree):
        assert error, list(VALIDATOR.iter_errors(tree))
    elif error and "extends" not in tree:
        assert all(NOT_IN_SCHEMA.search(line) for line in error.splitlines()), error
