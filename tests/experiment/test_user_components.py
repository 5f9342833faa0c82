"""Components of the user's own: what they may be, and what their errors say."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import quantlr
from click.testing import CliRunner
from quantlr.cli import main
from quantlr.core.errors import ComponentError, ConfigError

from user_components import SMALL, import_user_module, install_user_module, line_of

pytestmark = pytest.mark.usefixtures("without_drawing")


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Import the user's file from the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield import_user_module(tmp_path)
    sys.modules.pop("my_parts", None)


def with_source(source: Any) -> dict[str, Any]:
    return {**SMALL, "data": {**SMALL["data"], "source": source}}


FAULTS: dict[str, tuple[str, str, str]] = {
    # by kind: the class, the key of the config, and the exception as text
    "failing": ("Failing", "features.1", "AttributeError: 'Prices' object has no attribute 'opening'"),
    "failing_label": ("FailingLabel", "label", "RuntimeError: no message"),
    "failing_policy": ("FailingPolicy", "policy", "IndexError: too many indices"),
    "failing_divisor": ("FailingDivisor", "policy", "KeyError: 'n'"),
    "failing_overlay": ("FailingOverlay", "overlays.0", "AssertionError: weights found"),
    "failing_source": ("FailingSource", "data.source", "FileNotFoundError: [Errno 2] No such file or directory"),
}
WORDS = {
    "features.1": "feature",
    "overlays.0": "overlay",
    "data.source": "source",
    "label": "label",
    "policy": "policy",
}
GROUPS = {"features.1": "features", "overlays.0": "overlays", "data.source": "sources", "label": "labels"}


def arguments_with(key: str, component: Any) -> dict[str, Any]:
    """Return arguments of `quantlr.run` with a component, as an object or a mapping, at a key."""
    if key == "features.1":
        is_object = isinstance(component, quantlr.Feature)
        mapping = {**SMALL, "features": [*SMALL["features"], *([] if is_object else [component])]}
        return {"config": mapping, "features": [component] if is_object else []}
    if key == "overlays.0":
        return {"config": {**SMALL, "overlays": [component]}}
    if key == "data.source":
        return {"config": with_source(component)}
    return {"config": SMALL, "overrides": {key: component}}


@pytest.mark.parametrize("kind", FAULTS)
def test_fault_names_component_file_line_and_exception(parts: ModuleType, kind: str) -> None:
    class_name, key, exception = FAULTS[kind]
    with pytest.raises(ComponentError) as caught:
        quantlr.run(**arguments_with(key, getattr(parts, class_name)()))
    error = caught.value
    assert error.exit_status == 2
    assert f"{WORDS[key]} {kind!r}: my_parts.py:{line_of(kind)}, in " in error.message
    assert exception in error.message
    assert len(error.message.splitlines()) == 1
    assert type(error.__cause__).__name__ == exception.partition(":")[0]


@pytest.mark.parametrize("kind", FAULTS)
def test_fault_of_an_installed_component_has_the_place_in_the_config(
    parts: ModuleType, tmp_path: Path, kind: str
) -> None:
    class_name, key, _ = FAULTS[kind]
    install_user_module(tmp_path, {GROUPS.get(key, "policies"): {kind: class_name}})
    config = arguments_with(key, {"kind": kind})
    mapping = {**config["config"], **config.get("overrides", {})}
    Path("own.yaml").write_text(json.dumps(mapping))
    for verb in ("run", "predict", "audit") if key != "data.source" else ("run", "plan", "predict", "audit"):
        result = CliRunner().invoke(main, [verb, "own.yaml"])
        assert result.exit_code == 2, result.output
        assert result.stderr.startswith("own.yaml:1:")
        assert f"my_parts.py:{line_of(kind)}, in " in result.stderr
        assert len(result.stderr.splitlines()) == 1
    verbose = CliRunner().invoke(main, ["run", "own.yaml", "-v"])
    assert verbose.exit_code == 2
    assert verbose.stderr.startswith("Traceback (most recent call last):")
    assert f'my_parts.py", line {line_of(kind)}' in verbose.stderr


def test_fault_inside_a_transform_is_that_of_the_inner_feature(parts: ModuleType) -> None:
    config = {**SMALL, "features": [{"kind": "lag", "of": parts.Failing()}]}
    for call in (quantlr.run, quantlr.plan, quantlr.predict, quantlr.audit):
        with pytest.raises(ComponentError, match=f"feature 'failing': my_parts.py:{line_of('failing')}, in ratio_of"):
            call(config)


def test_fault_inside_a_feature_that_another_one_calls_is_that_of_the_inner_one(parts: ModuleType) -> None:
    with pytest.raises(ComponentError, match=f"feature 'failing': my_parts.py:{line_of('failing')}, in ratio_of"):
        quantlr.run(SMALL, features=[parts.Wrapping()])


def test_fault_of_a_validator_names_the_class_and_the_line(parts: ModuleType) -> None:
    config = {**SMALL, "features": [{"kind": "failing_validator", "bars": 3}]}
    installed = parts.FailingValidator.model_construct(kind="failing_validator", bars=1)
    with pytest.raises(ComponentError) as caught:
        quantlr.load_config(config, features=[installed])
    assert f"'failing_validator': my_parts.py:{line_of('failing_validator')}, in _check" in caught.value.message
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize(
    ("value", "found"),
    [("none", "NoneType"), ("short", "ndarray of shape"), ("nan", "ndarray of shape"), ("large", "ndarray of shape")],
)
def test_wrong_decisions_are_refused(parts: ModuleType, value: str, found: str) -> None:
    with pytest.raises(ComponentError, match="'wrong': decide must return one number from -1 to 1 for each") as caught:
        quantlr.run(SMALL, overrides={"policy": parts.Wrong(value=value)})
    assert f"it returned {found}" in caught.value.message


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (None, "compute must return a mapping of column names to arrays; it returned NoneType"),
        ({"change": np.zeros(3)}, r"the column 'change' has the shape \(3,\), and needs one value per bar and ticker"),
        ({"change": "text"}, r"the column 'change' has the shape \(\)"),
    ],
)
def test_wrong_columns_are_refused(
    parts: ModuleType, monkeypatch: pytest.MonkeyPatch, columns: Any, message: str
) -> None:
    monkeypatch.setattr(parts.Change, "compute", lambda self, prices: columns)
    with pytest.raises(quantlr.UserError, match=message):
        quantlr.run(SMALL, features=[parts.Change()])


def test_columns_of_text_are_refused(parts: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts.Change, "compute", lambda self, prices: {"words": np.full(prices.close.shape, "up")})
    with pytest.raises(quantlr.DataError, match="the column 'words' needs numbers"):
        quantlr.run(SMALL, features=[parts.Change()])


def test_class_without_kind_gets_the_line_to_add(parts: ModuleType) -> None:
    message = r'class NoKind has no kind.* add the line kind: Literal\["no_kind"\] = "no_kind"'
    for arguments in ({"features": [parts.NoKind()]}, {"overrides": {"features": [parts.NoKind()]}}):
        with pytest.raises(ConfigError, match=message) as caught:
            quantlr.run(SMALL, **arguments)
        assert "Field required" not in caught.value.message
    with pytest.raises(ConfigError, match=r"found the class NoKind; write NoKind\(\)"):
        quantlr.run(SMALL, features=[parts.NoKind])


def test_objects_of_all_five_catalogues_run_and_are_in_the_resolved_config(parts: ModuleType) -> None:
    """Half a position halved again, over a horizon of two days, against the forecasts by arithmetic."""
    own = {"label": parts.TwoDays(), "policy": parts.Half(), "overlays": [parts.Halved()]}
    config = {**with_source(parts.Sample()), **own}
    run = quantlr.run(config, features=[parts.Change(bars=3)])
    assert run.run_data.dataset.columns == ("lagged_returns_1", "lagged_returns_2", "change_3")
    assert list(run.provenance["user_code"]) == ["my_parts.py"]
    decided = np.where(run.forecasts["probability"] > 0.5, 0.25, 0.0)
    earlier = np.append(0.0, decided[:-1])
    weights = run.run_data.positions.weight[run.run_data.forecasts.session, 0]
    np.testing.assert_allclose(weights, (decided + earlier) / 2)
    yaml = run.config.to_yaml()
    for text in ("{kind: own_sample,", "{kind: two_days, horizon: 2", "{kind: half}", "kind: halved"):
        assert text in yaml
    plain = quantlr.run({**SMALL, "label": {"horizon": 2}}, features=[parts.Change(bars=3)])
    assert run.forecasts.equals(plain.forecasts)


def test_installed_components_run_by_kind_and_are_listed(
    parts: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = {
        "labels": {"two_days": "TwoDays"},
        "policies": {"half": "Half", "gone": "Gone"},
        "overlays": {"halved": "Halved"},
        "sources": {"own_sample": "Sample"},
    }
    install_user_module(tmp_path, groups)
    mapping = {**with_source({"kind": "own_sample"}), "label": {"kind": "two_days"}, "policy": {"kind": "half"}}
    mapping |= {"overlays": [{"kind": "halved"}]}
    objects = {"label": parts.TwoDays(), "policy": parts.Half(), "overlays": [parts.Halved()]}
    by_object = quantlr.run({**with_source(parts.Sample()), **objects})
    assert quantlr.run(mapping).metrics == by_object.metrics
    for verb, kind in (("labels", "two_days"), ("policies", "half"), ("overlays", "halved"), ("sources", "own_sample")):
        result = CliRunner().invoke(main, [verb, kind])
        assert (result.exit_code, result.stdout.splitlines()[0]) == (0, kind)
    assert "can't be loaded" in " ".join(CliRunner().invoke(main, ["policies", "gone"]).stdout.split())
    schema = json.loads(CliRunner().invoke(main, ["schema"]).stdout)["definitions"]
    for key, kind in (("label", "two_days"), ("policy", "half"), ("overlays", "halved"), ("source", "own_sample")):
        assert schema[key]["properties"]["kind"]["enum"].count(kind) == 1
    with pytest.raises(ConfigError, match="unknown kind 'halff'; did you mean half"):
        quantlr.load_config({**SMALL, "policy": {"kind": "halff"}})
    with pytest.raises(ConfigError, match=r"policy\.x: unknown key; known here: kind"):
        quantlr.load_config({**SMALL, "policy": {"kind": "half", "x": 1}})


@pytest.mark.parametrize("verb", ["run", "plan", "predict", "audit"])
def test_every_verb_takes_features_and_a_config_in_any_form(parts: ModuleType, verb: str) -> None:
    call: Callable[..., Any] = getattr(quantlr, verb)
    options: dict[str, Any] = {"n_cutoffs": 1} if verb == "audit" else {}
    features, overrides = [parts.Change(bars=2)], {"policy.long_above": 0.52}
    Path("small.yaml").write_text(json.dumps(SMALL))
    results = [
        call(SMALL, features=features, overrides=overrides, **options),
        call("small.yaml", features=features, overrides=overrides, **options),
        call({**SMALL, "features": [*SMALL["features"], {"kind": "change", "bars": 2}]},
             features=features, overrides=overrides, **options),
        call(quantlr.load_config(SMALL, features=features), overrides=overrides, **options),
        call(quantlr.load_config(SMALL, features=features, overrides=overrides), **options),
        call(quantlr.load_config(SMALL, features=features, overrides=overrides).run, **options),
    ]  # fmt: skip
    texts: dict[str, Callable[[Any], str]] = {
        "run": lambda run: repr((run.config, run.metrics["backtest"]["strategy"])),
        "plan": lambda plan: repr((plan.config, plan.walk_forward)),
        "predict": repr,
        "audit": lambda audit: repr((audit.config_sha256, audit.is_clean)),
    }
    assert len({texts[verb](result) for result in results}) == 1
    with_feature, without = texts[verb](results[0]), texts[verb](call(SMALL, overrides=overrides, **options))
    assert with_feature != without
    if verb == "audit":
        assert results[0].is_clean


def test_overrides_of_a_loaded_config_are_applied_and_checked(parts: ModuleType) -> None:
    loaded = quantlr.load_config(SMALL, features=[parts.Change()], overrides={"policy": parts.Half()})
    assert quantlr.load_config(loaded) is loaded
    again = quantlr.load_config(loaded, overrides={"walk_forward.train": 300, "name": "other"})
    assert (again.run.walk_forward.train, again.run.name) == (300, "other")
    assert again.run.policy == parts.Half()
    assert [feature.kind for feature in again.run.features] == ["lagged_returns", "change"]
    with pytest.raises(ConfigError, match=r"overrides: walk_forward\.train: needs a whole number"):
        quantlr.plan(loaded, overrides={"walk_forward.train": "many"})
