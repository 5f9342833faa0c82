"""The controls of the page: they show what is in the config, and write to its file alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from quantlr.config.run_config import load_config
from quantlr.config.yaml_tree import parse_yaml
from quantlr.core.errors import ConfigError, OutputError
from quantlr.watch.controls import FileControls, iter_controls

import yaml_core
from refusals import CONFIGS

BASE = """\
name: base
data: {source: {kind: sample}, tickers: ["^GSPC"]}
features:
  - {kind: lagged_returns, lags: [1, 2]}
policy: {kind: threshold, long_above: 0.5, short_below: 0.4}
"""
OWN = """\
extends: base.yaml
execution: {commission_bps: 1.0}  # costs
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "my.yaml").write_text(OWN)
    return tmp_path / "my.yaml"


def controls_of(path: Path, *settings: str) -> FileControls:
    """Return the controls of a config that is shown with some settings."""
    controls = FileControls(path, settings)
    controls.parts(load_config(path, settings=settings))
    return controls


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_controls_of_the_shipped_configs_show_their_values(file: Path) -> None:
    loaded = load_config(file)
    values = loaded.run.model_dump(mode="json")
    controls = list(iter_controls(loaded, file))
    assert {"label.horizon", "walk_forward.train", "execution.fill"} <= {control.key for control in controls}
    for control in controls:
        value: Any = values
        for part in control.key_path:
            value = value[part]
        assert yaml_core.read(control.value) == value, control.key
        assert control.value in control.words or control.has_field, control.key


def test_types_ranges_and_units_are_those_of_the_schema(path: Path) -> None:
    controls = {control.key: control for control in iter_controls(load_config(path), path)}
    threshold, cost, fill = (
        controls[key] for key in ("policy.long_above", "execution.commission_bps", "execution.fill")
    )
    assert threshold.slider
    assert (threshold.slider.minimum, threshold.slider.maximum, threshold.slider.exponent) == (0, 1, 1)
    assert cost.slider
    assert (cost.slider.minimum, cost.slider.maximum, cost.slider.exponent) == (0, 1000, 3)
    assert cost.unit.startswith("basis points")
    assert list(fill.words) == ["next_close", "next_open", "close"]
    assert not fill.has_field
    assert controls["policy.exit_long_below"].slider is None  # it is null now
    assert controls["features.0.lags"].value == "[1, 2]"
    assert controls["features.0.lags"].unit == "sessions"
    assert set(controls["model.l2"].words) == {"auto"}
    assert controls["model.tol"].slider is None  # no step of it is as small as the value


def test_origin_of_a_value_is_told(path: Path) -> None:
    values = json.loads(FileControls(path).parts(load_config(path, settings=["label.horizon=2"]))["values"])
    origins = {key: origin for key, (_, origin) in values.items()}
    assert origins["execution.commission_bps"] == ""
    assert origins["policy.short_below"] == "from base.yaml"
    assert origins["execution.fill"] == "default"
    assert origins["label.horizon"] == "set by --set"


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("execution.commission_bps", "2.5", OWN.replace("1.0", "2.5")),
        ("execution.fill", "close", OWN.replace("1.0}", "1.0, fill: close}")),
        ("policy.short_below", "null", f"{OWN}policy: {{short_below: null}}\n"),
        ("features.0.lags", "[5]", f"{OWN}features: [{{kind: lagged_returns, lags: [5]}}]\n"),
    ],
)
def test_change_is_written_to_the_own_file(path: Path, key: str, value: str, expected: str) -> None:
    controls_of(path).change_value(key, value)
    assert path.read_text() == expected
    assert path.with_name("base.yaml").read_text() == BASE
    assert (
        load_config(path).run
        == load_config(path, overrides={key: parse_yaml(value, file_name="", base_folder=path)[0].value}).run
    )


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("policy.long_above", "1.5", r"my.yaml:3:22: policy.long_above: needs a number of at most 1, found 1.5"),
        ("policy.long_above", "0.3", "short_below"),
        ("policy.short_below", "low", "needs a number"),
        ("execution.fill", "noon", "needs 'next_close', 'next_open' or 'close'"),
        ("execution.commission_bps", "1.0, slippage_bps: 0.0", "can't stand"),
        ("execution.cash_rate", "/etc/passwd", "has no control"),
        ("data.source.path", "/etc/passwd", "has no control"),
        ("name", "other", "has no control"),
        ("extends", "other.yaml", "has no control"),
        ("label.horizon", "3", "set by --set"),
    ],
)
def test_refused_change_writes_nothing(path: Path, key: str, value: str, message: str) -> None:
    controls = controls_of(path, "label.horizon=2")
    with pytest.raises(ConfigError, match=message):
        controls.change_value(key, value)
    assert path.read_text() == OWN


def test_value_that_select_chooses_is_locked(tmp_path: Path) -> None:
    for file in CONFIGS:
        shutil.copy(file, tmp_path)
    with pytest.raises(ConfigError, match="chosen by select"):
        controls_of(tmp_path / "sp500_select.yaml").change_value("model.l2", "0.5")


def test_file_that_is_broken_is_not_written(path: Path) -> None:
    controls = controls_of(path)
    path.write_text("execution: {commission_bps: 1.0")
    with pytest.raises(ConfigError, match=r"my.yaml:1:32"):
        controls.change_value("execution.commission_bps", "2.0")
    assert path.read_text() == "execution: {commission_bps: 1.0"


def test_full_disk_leaves_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("quantlr.core.atomic.os.fsync", fail)
    with pytest.raises(OutputError, match="No space left"):
        controls_of(path).change_value("execution.commission_bps", "2.0")
    assert path.read_text() == OWN
    assert sorted(path.parent.iterdir()) == [path.with_name("base.yaml"), path]
