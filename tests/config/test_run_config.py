"""Loading a config: YAML values, `extends`, overrides and settings."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from quantlr.backtest.overlays import LeverageCap, VolatilityTarget
from quantlr.backtest.policies import Threshold
from quantlr.config.run_config import load_config
from quantlr.core.errors import ConfigError, NotEnoughHistory
from quantlr.data.features import Momentum
from quantlr.data.sources import FileSource

from refusals import CONFIGS, SMALL, config_problems, write_config


def test_defaults_are_the_documented_ones(tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path, SMALL)).run
    assert config.name == "exp"
    assert config.walk_forward.model_dump() == {
        "window": "expanding",
        "train": "auto",
        "refit_every": "auto",
        "embargo": 0,
    }
    assert config.label.model_dump() == {"kind": "direction", "horizon": 1, "of": "close", "ties": "down"}
    assert config.model.model_dump() == {
        "kind": "logistic_regression", "solver": "newton", "learning_rate": "auto", "l2": 0.0, "tol": 1e-8,
        "max_iter": 1000, "scope": "per_ticker", "class_weight": None, "half_life": None, "calibration": None,
        "degenerate": "error",
    }  # fmt: skip
    assert config.policy == Threshold(long_above=0.5, short_below=None)
    assert config.execution.model_dump() == {
        "fill": "next_close", "commission_bps": 1.0, "slippage_bps": 2.0, "borrow_bps_per_year": 50.0,
        "financing_bps_per_year": 150.0, "cash_rate": 0.0,
        "per_share": 0.0, "min_per_order": 0.0, "capital": 100_000.0, "spread": None,
    }  # fmt: skip
    assert config.report.model_dump() == {
        "benchmark": "buy_and_hold", "sessions_per_year": "auto", "score_from": None, "per_ticker": False,
        "pages": ("tearsheet", "forecast", "model", "selection", "positions", "tickers"),
    }  # fmt: skip


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_shipped_config_is_named_by_its_file_and_equal_after_a_round_trip(path: Path, tmp_path: Path) -> None:
    config = load_config(path).run
    assert config.name == path.stem
    again = load_config(write_config(tmp_path, config.to_yaml())).run
    assert again == config
    assert again.to_yaml() == config.to_yaml()


def test_tickers_are_text(tmp_path: Path) -> None:
    text = SMALL.replace("[AAPL]", "[ON, NO, NULL, TRUE, True, 0700, 1e5, 12:30:00, 2020-01-02, '7', 0x1F]")
    tickers = load_config(write_config(tmp_path, text)).run.data.tickers
    assert tickers == ("ON", "NO", "NULL", "TRUE", "True", "0700", "1e5", "12:30:00", "2020-01-02", "7", "0x1F")


def test_text_that_looks_like_other_types_is_equal_after_a_round_trip(tmp_path: Path) -> None:
    text = SMALL.replace("[AAPL]", "['0700', 'null', 'true', NO, '~', '1e5', '2020-01-02', 'a: b', \"it's\", '#x']")
    config = load_config(write_config(tmp_path, text)).run
    assert load_config(write_config(tmp_path, config.to_yaml(), "again.yaml"), name="exp").run == config


def test_numbers_dates_and_null_follow_yaml_1_2(tmp_path: Path) -> None:
    text = SMALL + "model: {tol: 1e-3, l2: .5}\npolicy: {short_below: ~}\nwalk_forward: {refit_every: never}\n"
    config = load_config(write_config(tmp_path, text), settings=["data.start=1999-01-04"]).run
    model = config.model.model_dump()
    assert (model["tol"], model["l2"]) == (1e-3, 0.5)
    assert config.data.start == dt.date(1999, 1, 4)
    assert config.walk_forward.refit_every == "never"


def test_the_default_kind_may_be_written(tmp_path: Path) -> None:
    write_config(tmp_path, SMALL + "label: {ties: drop}\npolicy: {long_above: 0.52}\n", "base.yaml")
    child = "extends: base.yaml\nlabel: {kind: direction, horizon: 3}\npolicy: {kind: threshold, short_below: 0.4}\n"
    config = load_config(write_config(tmp_path, child)).run
    assert config.label.model_dump() == {"kind": "direction", "horizon": 3, "of": "close", "ties": "drop"}
    assert config.policy == Threshold(long_above=0.52, short_below=0.4)


def test_extends_merges_mappings_and_replaces_lists_and_mappings_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    base = (
        "name: base\ndata: {source: {kind: file, path: p.csv}, tickers: [A, B], start: 2001-01-01}\n"
        "features:\n  - {kind: lagged_returns}\n  - {kind: volatility}\nmodel: {l2: 0.1, max_iter: 7}\n"
    )
    write_config(tmp_path / "base", base, "base.yaml")
    child = "extends: base/base.yaml\nfeatures:\n  - {kind: momentum}\nmodel: {max_iter: 9}\ndata: {tickers: [C]}\n"
    config = load_config(write_config(tmp_path, child)).run
    assert config.name == "exp"
    assert config.features == (Momentum(),)
    model = config.model.model_dump()
    assert (model["l2"], model["max_iter"]) == (0.1, 9)
    assert config.data.tickers == ("C",)
    assert config.data.start == dt.date(2001, 1, 1)
    assert config.data.source == FileSource(path=tmp_path / "base" / "p.csv")
    sample = load_config(
        write_config(tmp_path, child.replace("{tickers: [C]}", "{source: {kind: sample}, tickers: [C]}"))
    )
    assert sample.run.data.source.kind == "sample"


def test_overlays_keep_their_order_and_are_replaced_as_a_list(tmp_path: Path) -> None:
    assert load_config(write_config(tmp_path, SMALL, "base.yaml")).run.overlays == ()
    overlays = "overlays: [{kind: volatility_target, target: 0.2, max_leverage: 2}, {kind: leverage_cap}]\n"
    config = load_config(write_config(tmp_path, SMALL + overlays, "base.yaml")).run
    assert config.overlays == (VolatilityTarget(target=0.2, max_leverage=2), LeverageCap())
    again = load_config(write_config(tmp_path, config.to_yaml())).run
    assert again == config
    child = load_config(write_config(tmp_path, "extends: base.yaml\noverlays: [{kind: leverage_cap, cap: 0.5}]\n")).run
    assert child.overlays == (LeverageCap(cap=0.5),)
    changed = load_config(tmp_path / "base.yaml", settings=["overlays.0.target=0.3"]).run
    assert changed.overlays[0] == VolatilityTarget(target=0.3, max_leverage=2)


def test_settings_override_the_config_and_are_named_in_errors(tmp_path: Path) -> None:
    path = write_config(tmp_path, SMALL)
    config = load_config(
        path, settings=["features.0.lags=[1, 2]", "model.l2=0.5", "data.tickers=[0700]"], name="n2"
    ).run
    assert config.features[0].model_dump()["lags"] == (1, 2)
    assert (config.model.model_dump()["l2"], config.data.tickers, config.name) == (0.5, ("0700",), "n2")
    assert config_problems(path, settings=["model.l2=x"]) == ["--set: model.l2: needs a number or 'auto', found 'x'"]
    assert config_problems(path, settings=["model.l3=1"]) == ["--set: model.l3: unknown key; did you mean l2?"]
    assert config_problems(path, settings=["features.4.lags=[1]"]) == [
        "--set: features.4: the list has 1 entries; they count from 0"
    ]
    assert config_problems(path, settings=["features.0.lags.1.x=3"])[0].startswith("--set: features.0.lags: ")
    assert config_problems(path, settings=["name.x=3"]) == ["--set: name: needs text, found a mapping"]
    assert config_problems(path, settings=["l2"]) == ["--set: l2: needs key=value, like features.0.lags=[1,2]"]
    assert config_problems(path, settings=["model.l2=[1"])[0].startswith("--set: model.l2: ")
    assert config_problems(path, name="a/b")[0].startswith("--name: name: needs 1 to 80 of")


def test_a_mapping_is_a_config() -> None:
    mapping: dict[str, Any] = {
        "data": {"source": {"kind": "sample"}, "tickers": ["AAPL"], "start": dt.date(2001, 1, 2)},
        "features": [{"kind": "lagged_returns", "lags": (1, 2)}],
    }
    config = load_config(mapping, overrides={"policy.long_above": 0.6}).run
    assert (config.name, config.policy.model_dump()["long_above"]) == ("run", 0.6)
    assert "policy" not in mapping
    with pytest.raises(ConfigError, match=r"^config: data\.tickers: is needed, and missing$"):
        load_config({"data": {"source": {"kind": "sample"}}, "features": [{"kind": "volume"}]})


def test_errors_of_other_layers_have_the_location_of_their_key_or_section(tmp_path: Path) -> None:
    path = write_config(tmp_path, SMALL + "walk_forward:\n  train: 1000\n  embargo: 2\n")
    config = load_config(path)
    assert config.error_with_location(NotEnoughHistory("short", key="walk_forward.train")).message == (
        f"{path}:5:10: walk_forward.train: short"
    )
    assert config.error_with_location(NotEnoughHistory("x", key="walk_forward.refit_every")).message == (
        f"{path}:5:3: walk_forward.refit_every: x"
    )
    assert config.error_with_location(NotEnoughHistory("no key")).message == "no key"


def test_top_k_may_hold_every_ticker_and_no_more() -> None:
    config: dict[str, Any] = {
        "data": {"source": {"kind": "sample"}, "tickers": ["AAPL", "IBM", "MSFT"]},
        "features": [{"kind": "lagged_returns"}],
    }
    for policy, is_accepted in (
        ({"kind": "top_k", "k": 3}, True),
        ({"kind": "top_k", "k": 4}, False),
        ({"kind": "top_k", "k": 1, "sides": "long_short"}, True),
        ({"kind": "top_k", "k": 2, "sides": "long_short"}, False),
    ):
        if is_accepted:
            load_config(config | {"policy": policy})
            continue
        with pytest.raises(
            ConfigError, match=r"policy: needs at least 4 tickers, to hold that many, and data.tickers has 3"
        ):
            load_config(config | {"policy": policy})
