"""Features of a user's own: objects given to a run, classes of installed packages."""

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

pytestmark = pytest.mark.usefixtures("undrawn")

MODULE = '''
"""A package of someone else's."""
from typing import Literal

import numpy as np
from pydantic import Field, StrictInt
from quantlr.data.features import Feature
from quantlr.core.arrays import FeatureColumns
from quantlr.core.values import Prices


class Above(Feature):
    """Whether the close is above the one so many sessions ago."""

    kind: Literal["above"] = "above"
    sessions: StrictInt = Field(3, ge=1, description="How long ago, in sessions.")

    def compute(self, prices: Prices) -> FeatureColumns:
        """One column: 1 above, 0 not."""
        found = np.full(prices.close.shape, np.nan)
        found[self.sessions :] = prices.close[self.sessions :] > prices.close[: -self.sessions]
        return {f"above_{self.sessions}": np.where(prices.session >= 0, found, np.nan)}

    def warm_up(self) -> int:
        """As long ago as it looks."""
        return self.sessions


class Other(Above):
    """Of another name than its entry point."""


NOTHING = 3
'''
POINTS = """
[quantlr.features]
above = {module}:Above
misnamed = {module}:Other
nothing = {module}:NOTHING
broken = {module}_that_is_not_there:Above
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Install a package as pip would: a module, and its metadata beside it."""
    name = "someone_elses_features"
    (tmp_path / f"{name}.py").write_text(MODULE)
    info = tmp_path / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: someone-elses-features\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(POINTS.format(module=name))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield name
    sys.modules.pop(name, None)


def written(*features: dict[str, Any]) -> dict[str, Any]:
    return {
        "data": {"source": {"kind": "sample"}, "tickers": ["IBM"], "end": "2003-12-31"},
        "features": list(features),
        "walk_forward": {"train": 300, "refit_every": 100},
    }


def refused(*features: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(written(*features))
    return caught.value.message


def above(package: str, **parameters: Any) -> Any:
    return __import__(package).Above(**parameters)


def test_an_installed_feature_is_used_nested_and_written_out(package: str) -> None:
    config = load_config(written({"kind": "above"}, {"kind": "lag", "of": {"kind": "above", "sessions": 5}})).run
    assert [list(feature.compute(random_walk_prices(0, n_sessions=20))) for feature in config.features] == [
        ["above_3"], ["lag_1(above_5)"],
    ]  # fmt: skip
    assert "{kind: above, sessions: 3}\n" in config.to_yaml()
    assert "{kind: lag, of: {kind: above, sessions: 5}, bars: [1]}\n" in config.to_yaml()


def test_nothing_of_a_package_is_imported_before_its_kind_is_asked_for(package: str) -> None:
    load_config(written({"kind": "rsi"}))
    assert {"above", "nothing"} <= set(installed_kinds(Momentum))
    refused({"kind": "abov"})
    assert package not in sys.modules
    load_config(written({"kind": "above"}))
    assert package in sys.modules


@pytest.mark.parametrize(
    ("feature", "said"),
    [
        ({"kind": "abov"}, "config: features.0.kind: unknown kind 'abov'; did you mean above?"),
        ({"kind": "above", "session": 3}, "config: features.0.session: unknown key; did you mean sessions?"),
        ({"kind": "above", "sessions": 0}, "config: features.0.sessions: needs a number of at least 1, found 0"),
        (
            {"kind": "rank", "of": {"kind": "above", "zzz": 0}},
            "config: features.0.of.zzz: unknown key; known here: kind, sessions",
        ),
        (
            {"kind": "nothing"},
            "someone_elses_features:NOTHING of the package someone-elses-features is no Feature; an entry point of",
        ),
        ({"kind": "misnamed"}, "is of kind 'above'; name its entry point so"),
        (
            {"kind": "broken"},
            "'broken' can't be loaded from someone_elses_features_that_is_not_there:Above of the package someone-elses",
        ),
    ],
)
def test_what_is_wrong_with_one_is_told(package: str, feature: dict[str, Any], said: str) -> None:
    assert said in refused(feature)


def test_no_test_leaves_its_package_behind() -> None:
    assert "above" not in {point.name for point in entry_points(group="quantlr.features")}


def test_an_object_is_added_to_those_of_the_config_and_the_report_runs_with_it_again(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = above(package, sessions=4)
    with monkeypatch.context() as patch:
        patch.setattr("quantlr.core.components.entry_points", lambda **_: ())
        check_feature(mine)
        done = quantlr.run(written({"kind": "momentum"}), features=(mine,), output=tmp_path)
        assert done.run_data.dataset.columns == ("momentum_10", "above_4")
        resolved = tmp_path / "run" / "config.yaml"
        assert "{kind: above, sessions: 4}" in resolved.read_text()
        with pytest.raises(ConfigError, match="unknown kind 'above'"):
            quantlr.run(resolved)
        again = quantlr.run(resolved, features=(mine,))
        assert again.report().files == done.report().files
    assert quantlr.run(resolved).metrics == done.metrics, "its package being installed, the config stands by itself"


def test_an_object_may_be_the_only_feature(package: str) -> None:
    bare = {key: value for key, value in written().items() if key != "features"}
    config = load_config(bare, features=(Momentum(), above(package))).run
    assert [feature.kind for feature in config.features] == ["momentum", "above"]


def test_what_is_no_feature_or_takes_a_kind_of_the_catalogue_is_refused(package: str) -> None:
    with pytest.raises(ConfigError, match="features are objects of a class derived from Feature, found 3"):
        quantlr.run(written(), features=(3,))  # type: ignore[arg-type]
    taken = type("Taken", (Momentum,), {"__doc__": "A kind that is there."})()
    with pytest.raises(ConfigError, match=r"features\.0: the kind 'momentum' is the catalogue's own; call yours"):
        load_config(written(), features=(taken,))
