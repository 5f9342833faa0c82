"""User-defined features: objects passed to a run, and classes of installed packages."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import quantlr
from quantlr.config.run_config import load_config
from quantlr.core.components import installed_kinds
from quantlr.core.errors import ConfigError
from quantlr.data.features import Momentum
from quantlr.testing.contract import check_feature

from markets import random_walk_prices

pytestmark = pytest.mark.usefixtures("without_drawing")

MODULE = '''
"""A package with features."""
from typing import Literal

import numpy as np
from pydantic import Field, StrictInt
from quantlr.data.features import Feature
from quantlr.core.values import FeatureColumns
from quantlr.core.values import Prices


class Above(Feature):
    """Whether the close is above an earlier one."""

    kind: Literal["above"] = "above"
    sessions: StrictInt = Field(3, ge=1, description="Lag, in sessions.")

    def compute(self, prices: Prices) -> FeatureColumns:
        """One column: 1 above, 0 not."""
        values = np.full(prices.close.shape, np.nan)
        values[self.sessions :] = prices.close[self.sessions :] > prices.close[: -self.sessions]
        return {f"above_{self.sessions}": np.where(prices.session >= 0, values, np.nan)}

    def warm_up(self) -> int:
        """The lag."""
        return self.sessions


class Other(Above):
    """A feature whose kind is not the name of its entry point."""


NOT_A_FEATURE = 3
'''
POINTS = """
[quantlr.features]
above = {module}:Above
misnamed = {module}:Other
not_a_feature = {module}:NOT_A_FEATURE
broken = {module}_that_is_not_there:Above
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Install a package as pip does: a module and its metadata."""
    name = "installed_features"
    (tmp_path / f"{name}.py").write_text(MODULE)
    info = tmp_path / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: installed-features\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(POINTS.format(module=name))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield name
    sys.modules.pop(name, None)


def config_with(*features: dict[str, Any]) -> dict[str, Any]:
    return {
        "data": {"source": {"kind": "sample"}, "tickers": ["IBM"], "end": "2003-12-31"},
        "features": list(features),
        "walk_forward": {"train": 300, "refit_every": 100},
    }


def error_text(*features: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(config_with(*features))
    return caught.value.message


def above(package: str, **parameters: Any) -> Any:
    return __import__(package).Above(**parameters)


def test_an_installed_feature_can_be_used_and_nested_and_is_in_the_resolved_config(package: str) -> None:
    config = load_config(config_with({"kind": "above"}, {"kind": "lag", "of": {"kind": "above", "sessions": 5}})).run
    assert [list(feature.compute(random_walk_prices(0, n_sessions=20))) for feature in config.features] == [
        ["above_3"], ["lag_1(above_5)"],
    ]  # fmt: skip
    assert "{kind: above, sessions: 3}\n" in config.to_yaml()
    assert "{kind: lag, of: {kind: above, sessions: 5}, bars: [1]}\n" in config.to_yaml()


def test_a_package_is_imported_only_when_its_kind_is_used(package: str) -> None:
    load_config(config_with({"kind": "rsi"}))
    assert {"above", "not_a_feature"} <= set(installed_kinds(Momentum))
    error_text({"kind": "abov"})
    assert package not in sys.modules
    load_config(config_with({"kind": "above"}))
    assert package in sys.modules


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        ({"kind": "abov"}, "config: features.0.kind: unknown kind 'abov'; did you mean above?"),
        ({"kind": "above", "session": 3}, "config: features.0.session: unknown key; did you mean sessions?"),
        ({"kind": "above", "sessions": 0}, "config: features.0.sessions: needs a number of at least 1, found 0"),
        (
            {"kind": "rank", "of": {"kind": "above", "zzz": 0}},
            "config: features.0.of.zzz: unknown key; known here: kind, sessions",
        ),
        (
            {"kind": "not_a_feature"},
            "installed_features:NOT_A_FEATURE of the package installed-features is no Feature, which entry points of",
        ),
        ({"kind": "misnamed"}, "is of kind 'above'; give its entry point that name"),
        (
            {"kind": "broken"},
            "'broken' can't be loaded from installed_features_that_is_not_there:Above of the package installed",
        ),
    ],
)
def test_errors_of_installed_features(package: str, feature: dict[str, Any], message: str) -> None:
    assert message in error_text(feature)


def test_the_package_is_removed_after_each_test() -> None:
    assert "above" not in {point.name for point in entry_points(group="quantlr.features")}


def test_a_feature_object_is_added_and_its_report_is_reproducible(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feature = above(package, sessions=4)
    with monkeypatch.context() as patch:
        patch.setattr("quantlr.core.components.entry_points", lambda **_: ())
        check_feature(feature)
        run = quantlr.run(config_with({"kind": "momentum"}), features=(feature,), output=tmp_path)
        assert run.run_data.dataset.columns == ("momentum_10", "above_4")
        resolved = tmp_path / "run" / "config.yaml"
        assert "{kind: above, sessions: 4}" in resolved.read_text()
        with pytest.raises(ConfigError, match="unknown kind 'above'"):
            quantlr.run(resolved)
        again = quantlr.run(resolved, features=(feature,))
        assert again.report().files == run.report().files
    assert quantlr.run(resolved).metrics == run.metrics, "with the package installed, the config needs no object"


def test_a_feature_object_can_be_the_only_feature(package: str) -> None:
    without_features = {key: value for key, value in config_with().items() if key != "features"}
    config = load_config(without_features, features=(Momentum(), above(package))).run
    assert [item.kind for item in config.features] == ["momentum", "above"]


def test_other_objects_and_duplicate_kinds_are_refused(package: str) -> None:
    with pytest.raises(ConfigError, match="features are objects of a class derived from Feature, found 3"):
        quantlr.run(config_with(), features=(3,))  # type: ignore[arg-type]
    duplicate = type("Duplicate", (Momentum,), {"__doc__": "A kind that is there."})()
    with pytest.raises(ConfigError, match=r"features\.0: the kind 'momentum' is in the catalogue; use another name"):
        load_config(config_with(), features=(duplicate,))
