"""The config: what is read, what is refused, and where each error points."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quantlr.backtest.overlays import LeverageCap, VolatilityTarget
from quantlr.backtest.policies import Threshold
from quantlr.config import RunConfig, load_config
from quantlr.config.written import read_written
from quantlr.data.features import Momentum
from quantlr.data.files import File
from quantlr.errors import ConfigError, NotEnoughHistory

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
SMALL = "data: {source: {kind: sample}, tickers: [AAPL]}\nfeatures:\n  - {kind: lagged_returns}\n"


def written(tmp_path: Path, text: str | bytes, name: str = "exp.yaml") -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def problems(path: Path, **keys: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(path, **keys)
    assert caught.value.exit_status == 2
    return [problem.replace(str(path), path.name) for problem in caught.value.problems]


def test_defaults_are_the_documented_ones(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, SMALL)).run
    assert config.name == "exp"
    assert config.walk_forward.model_dump() == {"window": "expanding", "train": 1000, "refit_every": 21, "embargo": 0}
    assert config.label.model_dump() == {"kind": "direction", "horizon": 1, "ties": "down"}
    assert config.model.model_dump() == {
        "kind": "logistic_regression", "descent": "preconditioned", "learning_rate": "auto", "l2": 0.0, "tol": 1e-8,
        "max_iter": 1000, "scope": "per_ticker", "class_weight": None, "half_life": None, "calibration": None,
        "degenerate": "error",
    }  # fmt: skip
    assert config.policy == Threshold(long_above=0.5, short_below=None)
    assert config.execution.model_dump() == {
        "fill": "next_close", "commission_bps": 1.0, "slippage_bps": 2.0, "borrow_bps_per_year": 50.0, "cash_rate": 0.0,
        "per_share": 0.0, "min_per_order": 0.0, "capital": 100_000.0, "spread": None,
    }  # fmt: skip
    assert config.report.model_dump() == {"benchmark": "buy_and_hold", "sessions_per_year": 252, "per_ticker": False}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_shipped_config_is_named_by_its_file_and_survives_being_written_out(path: Path, tmp_path: Path) -> None:
    config = load_config(path).run
    assert config.name == path.stem
    again = load_config(written(tmp_path, config.to_yaml())).run
    assert again == config
    assert again.to_yaml() == config.to_yaml()


def test_tickers_stay_the_text_they_are(tmp_path: Path) -> None:
    text = SMALL.replace("[AAPL]", "[ON, NO, NULL, TRUE, True, 0700, 1e5, 12:30:00, 2020-01-02, '7', 0x1F]")
    tickers = load_config(written(tmp_path, text)).run.data.tickers
    assert tickers == ("ON", "NO", "NULL", "TRUE", "True", "0700", "1e5", "12:30:00", "2020-01-02", "7", "0x1F")


def test_text_that_looks_like_something_else_survives_being_written_out(tmp_path: Path) -> None:
    text = SMALL.replace("[AAPL]", "['0700', 'null', 'true', NO, '~', '1e5', '2020-01-02', 'a: b', \"it's\", '#x']")
    config = load_config(written(tmp_path, text)).run
    assert load_config(written(tmp_path, config.to_yaml(), "again.yaml"), name="exp").run == config


def test_numbers_dates_and_nothing_are_read_by_yaml_1_2(tmp_path: Path) -> None:
    text = SMALL + "model: {tol: 1e-3, l2: .5}\npolicy: {short_below: ~}\nwalk_forward: {refit_every: never}\n"
    config = load_config(written(tmp_path, text), settings=["data.start=1999-01-04"]).run
    assert (config.model.tol, config.model.l2) == (1e-3, 0.5)
    assert config.data.start == dt.date(1999, 1, 4)
    assert config.walk_forward.refit_every == "never"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("featurs: []\n", "exp.yaml:4:1: featurs: unknown key; did you mean features?"),
        ("zzz: 1\n", "exp.yaml:4:1: zzz: unknown key; known here: name, seed, data, features, label, walk_forward"),
        ("model: {l2: much}\n", "exp.yaml:4:13: model.l2: needs a number, found 'much'"),
        ("model: 7\n", "exp.yaml:4:8: model: needs a mapping, like {key: value}, found 7"),
        ("seed: 1\nseed: 2\n", "exp.yaml:5:1: seed: the key is there already, at "),
        ("label: {horizon: 1, horizon: 2}\n", "exp.yaml:4:21: label.horizon: the key is there already"),
        ("label: {horizon: 12:30:00}\n", "exp.yaml:4:18: label.horizon: needs a whole number, found '12:30:00'"),
        ("label: &x {horizon: 1}\n", "exp.yaml:4:8: the anchor &x is not allowed; remove it"),
        ("label: *x\n", "exp.yaml:4:8: the alias *x is not allowed; write the value out"),
        ("label: !!python/object/apply:os.system [ls]\n", "exp.yaml:4:8: the tag tag:yaml.org,2002:python/object"),
        ("seed: !!int 3\n", "exp.yaml:4:7: the tag tag:yaml.org,2002:int is not allowed"),
        ("---\nname: b\n", "exp.yaml:4:1: a second document (---); a config is one document"),
        ("label:\n\thorizon: 1\n", "exp.yaml:5:1: a tab can't indent YAML; use spaces"),
        ("label: {horizon: 1\n", "exp.yaml:"),
        ("model: {tol: .nan}\n", "exp.yaml:4:14: model.tol: needs a finite number, found .nan"),
        ("model: {l2: .inf}\n", "exp.yaml:4:13: model.l2: needs a finite number, found .inf"),
        ("name: ../up\n", "exp.yaml:4:7: name: needs 1 to 80 of A-Z a-z 0-9 . _ -, not beginning with a dot, found '../up'"),
        ("name: /etc\n", "exp.yaml:4:7: name: needs 1 to 80 of"),
        ("execution: {commission_bps: -1}\n", "exp.yaml:4:29: execution.commission_bps: needs a number of at least 0, found -1"),
        ("walk_forward: {train: 0}\n", "exp.yaml:4:23: walk_forward.train: needs a number of at least 2, found 0"),
        ("walk_forward: {refit_every: often}\n", "exp.yaml:4:29: walk_forward.refit_every: needs a whole number or 'never', found 'often'"),
        ("model: {learning_rate: 0.1}\n", "exp.yaml:4:24: model.learning_rate: is for the plain and the accelerated descent; write auto, or"),
        ("model: {learning_rate: fast}\n", "exp.yaml:4:24: model.learning_rate: needs 'auto' or a number, found 'fast'"),
        ("policy: {kind: treshold}\n", "exp.yaml:4:16: policy.kind: needs one of threshold, proportional, expected_value, kelly, top_k, found 'treshold'; did you mean threshold?"),
        ("policy: {exit_short_above: 0.6}\n", "exp.yaml:4:28: policy.exit_short_above: needs policy.short_below, which is null: nothing is ever short"),
        ("policy: {kind: top_k, k: 0}\n", "exp.yaml:4:26: policy.k: needs a number of at least 1, found 0"),
        ("policy: {kind: kelly, long_above: 0.5}\n", "exp.yaml:4:23: policy.long_above: unknown key; known here: kind, fraction, sides"),
        ("overlays: [{kind: leverage_cap, max: 2}]\n", "exp.yaml:4:33: overlays.0.max: unknown key; known here: kind, cap"),
        ("overlays: [{kind: volatility_targt}]\n", "exp.yaml:4:19: overlays.0.kind: needs one of volatility_target, leverage_cap, no_trade_band, minimum_holding, found 'volatility_targt'; did you mean volatility_target?"),
        ("overlays: [{band: 0.1}]\n", "exp.yaml:4:12: overlays.0.kind: is needed, and missing: one of volatility_target, leverage_cap, no_trade_band, minimum_holding"),
        ("overlays: {kind: leverage_cap}\n", "exp.yaml:4:11: overlays: needs a list, like [a, b], found a mapping"),
        ("execution: {kind: next}\n", "exp.yaml:4:13: execution.kind: unknown key; known here: fill, commission_bps, "),
        ("execution: {spread: roll}\n", "exp.yaml:4:21: execution.spread: needs 'corwin_schultz', found 'roll'"),
        ("execution: {capital: 0}\n", "exp.yaml:4:22: execution.capital: needs a number above 0, found 0"),
        ("policy: {long_above: 0.4, short_below: 0.6}\n", "exp.yaml:4:40: policy.short_below: must not be above policy.long_above, 0.4"),
        ("label: {horizon: 1.5}\n", "exp.yaml:4:18: label.horizon: needs a whole number, found 1.5"),
        ("label: {ties: sideways}\n", "exp.yaml:4:15: label.ties: needs 'down', 'up' or 'drop', found 'sideways'"),
    ],
)  # fmt: skip
def test_an_error_points_at_line_and_column(tmp_path: Path, text: str, expected: str) -> None:
    assert problems(written(tmp_path, SMALL + text))[0].startswith(expected)


@pytest.mark.parametrize(
    ("data", "features", "expected"),
    [
        ("{tickers: [A]}", "[]", "exp.yaml:1:7: data.source: is needed, and missing"),
        ("{source: {kind: smaple}, tickers: [A]}", "[]", "exp.yaml:1:23: data.source.kind: needs one of sample, file, yahoo, found 'smaple'; did you mean sample?"),
        ("{source: {}, tickers: [A]}", "[]", "exp.yaml:1:16: data.source.kind: is needed, and missing: one of sample, file"),
        ("{source: sample, tickers: [A]}", "[]", "exp.yaml:1:16: data.source: needs a mapping with one of sample, file, yahoo as its kind, found 'sample'"),
        ("{source: {kind: sample}, tickers: [null]}", "[]", "exp.yaml:1:42: data.tickers.0: a ticker is text, and this reads as a YAML word; quote it"),
        ("{source: {kind: sample}, tickers: [true]}", "[]", "exp.yaml:1:42: data.tickers.0: a ticker is text, and this reads as a YAML word; quote it"),
        ("{source: {kind: sample}, tickers: []}", "[]", "exp.yaml:1:41: data.tickers: needs at least one entry, found none"),
        ("{source: {kind: sample}, tickers: [A, B, A]}", "[]", "exp.yaml:1:41: data.tickers: each ticker once; twice here: A"),
        ("{source: {kind: sample}, tickers: A}", "[]", "exp.yaml:1:41: data.tickers: needs a list, like [a, b], found 'A'"),
        ("{source: {kind: sample}, tickers: [A], start: 2020-13-45}", "[]", "exp.yaml:1:53: data.start: needs a date as YYYY-MM-DD, found '2020-13-45'"),
        ("{source: {kind: sample}, tickers: [A], start: 2020-01-02, end: 2020-01-01}", "[]", "exp.yaml:1:70: data.end: must not be before data.start, 2020-01-02"),
        ("{source: {kind: file}, tickers: [A]}", "[]", "exp.yaml:1:16: data.source.path: is needed, and missing"),
        ("{source: {kind: sample}, tickers: [A]}", "[{kind: lagged_returns, lags: [0]}]", "exp.yaml:2:42: features.0.lags.0: needs a number of at least 1, found 0"),
        ("{source: {kind: sample}, tickers: [A]}", "[{kind: lagged_returns, lag: [1]}]", "exp.yaml:2:35: features.0.lag: unknown key; did you mean lags?"),
        ("{source: {kind: sample}, tickers: [A]}", "[{kind: momentum, windows: [5, 5]}]", "exp.yaml:2:38: features.0.windows: each entry once"),
        ("{source: {kind: sample}, tickers: [A]}", "[{windows: [0]}]", "exp.yaml:2:12: features.0.kind: is needed, and missing: one of lagged_returns, momentum"),
        ("{source: {kind: sample}, tickers: [A]}", "[{kind: volume}, {kind: volatilty}]", "exp.yaml:2:35: features.1.kind: needs one of lagged_returns, momentum, "),
        ("{source: {kind: sample}, tickers: [A]}", "[{kind: zscore, of: {kind: rank, of: {kind: rsi, window: [5]}}}]", "exp.yaml:2:60: features.0.of.of.window: unknown key; did you mean windows?"),
        ("{source: {kind: sample}, tickers: [A]}", "[{kind: zscore, of: {kind: rsi, windows: [0]}}]", "exp.yaml:2:53: features.0.of.windows.0: needs a number of at least 1, found 0"),
        ("{source: {kind: sample}, tickers: [A]}", "[{kind: zscore}]", "exp.yaml:2:12: features.0.of: is needed, and missing"),
        ("{source: {kind: sample}, tickers: [A]}", "[{kind: zscore, of: 3}]", "exp.yaml:2:31: features.0.of: needs a mapping with one of lagged_returns, momentum, "),
        ("{source: {kind: sample}, tickers: [A]}", "[{kind: product, of: [{kind: rsi}]}]", "exp.yaml:2:32: features.0.of: needs at least 2 entries, found 1"),
        ("{source: {kind: sample}, tickers: [A]}", "[{kind: product, of: [{kind: rsi}, {kind: rsi, window: 3}]}]", "exp.yaml:2:58: features.0.of.1.window: unknown key; did you mean windows?"),
        ("{source: {kind: sample}, tickers: [A]}", "[{kind: macd, fast: 30}]", "exp.yaml:2:12: features.0.slow: must be above fast, 30"),
        ("{source: {kind: sample}, tickers: [A]}", "[{kind: macd, lines: [line, signal, histogram]}]", "exp.yaml:2:32: features.0.lines: needs at most 2 entries, found 3"),
        ("{source: {kind: sample}, tickers: [A]}", "[{kind: clip, of: {kind: rsi}, low: 70}]", "exp.yaml:2:12: features.0.high: must be above low, 70"),
        ("{source: {kind: sample}, tickers: [A]}", "[{kind: clip, of: {kind: rsi}, low: null, high: null}]", "exp.yaml:2:59: features.0.high: one of low and high is needed"),
        ("{source: {kind: sample}, tickers: [A]}", "[{kind: day_of_week, days: [monday, tuesday, wednesday, thursday, friday]}]", "exp.yaml:2:38: features.0.days: leave one day out: "),
    ],
)  # fmt: skip
def test_an_error_in_data_or_features_points_at_line_and_column(
    tmp_path: Path, data: str, features: str, expected: str
) -> None:
    assert problems(written(tmp_path, f"data: {data}\nfeatures: {features}\n"))[0].startswith(expected)


def test_all_errors_are_told_at_once_in_the_order_of_lines(tmp_path: Path) -> None:
    found = problems(written(tmp_path, SMALL + "model: {l2: -1, tol: x}\nzzz: 1\npolicy: {long_above: 2}\n"))
    assert [line.split(": ")[1] for line in found] == ["model.l2", "model.tol", "zzz", "policy.long_above"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "exp.yaml:1:1: a config is a mapping of keys, like 'name: my_run'; found nothing"),
        (b"# nothing but this\n", "exp.yaml:1:1: a config is a mapping of keys, like 'name: my_run'; found nothing"),
        (b"- a\n", "exp.yaml:1:1: a config is a mapping of keys, like 'name: my_run'; found a list"),
        (b"42\n", "exp.yaml:1:1: a config is a mapping of keys, like 'name: my_run'; found a single value"),
        (b"name: x\nseed: \xff\n", "exp.yaml:2:7: not UTF-8 text (byte 14); save the file as UTF-8"),
        (b"name: x\nseed: \x00\n", "exp.yaml:2:1: a character that YAML forbids"),
        (b"a: " + b"[" * 3000 + b"]" * 3000, "exp.yaml:1:53: more than 50 levels deep"),
        (b"a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "exp.yaml:1:4: the anchor &a is not allowed; remove it"),
        (b"#" * 1_000_001, "exp.yaml: 1,000,001 bytes; a config has at most 1,000,000"),
    ],
)
def test_files_that_are_no_config(tmp_path: Path, content: bytes, expected: str) -> None:
    assert problems(written(tmp_path, content))[0].startswith(expected)


def test_a_key_that_is_no_word_and_a_duplicate_are_told_with_all_the_rest(tmp_path: Path) -> None:
    found = problems(written(tmp_path, SMALL + "? [a, b]\n: c\nseed: 1\nseed: 2\nmodel: {l2: -1}\n"))
    assert found == [
        "exp.yaml:4:3: a key must be a word",
        "exp.yaml:7:1: seed: the key is there already, at exp.yaml:6:1",
        "exp.yaml:8:13: model.l2: needs a number of at least 0, found -1",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("walk_forward: {refit_every: true}", "needs a whole number or 'never', found true"),
        ("execution: {commission_bps: true}", "needs a number, found true"),
        ("execution: {commission_bps: '3'}", "needs a number, found '3'"),
        ("seed: 1.0", "needs a whole number, found 1.0"),
        ("seed: '7'", "needs a whole number, found '7'"),
        ("seed: 1_000", "needs a whole number, found '1_000'"),
        ("seed: " + "9" * 5000, "needs a whole number, found 999"),
        ("walk_forward: {refit_every: 1" + "0" * 30 + "}", "needs a number of at most 1e+09 or 'never', found 1000"),
        ("policy: {long_above: .5, short_below: []}", "needs a number, found a list"),
    ],
)
def test_numbers_are_numbers(tmp_path: Path, text: str, expected: str) -> None:
    (problem,) = problems(written(tmp_path, SMALL + text + "\n"))
    assert expected in problem
    assert len(problem) < 250


@pytest.mark.parametrize("start", ["0", "2020-01-02T00:00:00", "20200102", "'2020-1-2'", "true"])
def test_dates_are_dates(tmp_path: Path, start: str) -> None:
    (problem,) = problems(written(tmp_path, SMALL), settings=[f"data.start={start}"])
    assert problem.startswith("--set: data.start: needs a date as YYYY-MM-DD, found ")


@pytest.mark.parametrize("name", ["\\0", "\\ud800", "x" * 5000, ".", "exp.yaml/below"])
def test_extends_of_what_can_not_be_a_file(tmp_path: Path, name: str) -> None:
    (problem,) = problems(written(tmp_path, f'extends: "{name}"\n'))
    assert problem.startswith("exp.yaml:1:10: extends: ")


@pytest.mark.parametrize("key", ["features.²", "seed.x", "", ".", "data..tickers", "features.99999999999999999999"])
def test_settings_with_keys_that_lead_nowhere(tmp_path: Path, key: str) -> None:
    assert all(
        problem.startswith("--set: ")
        for problem in problems(written(tmp_path, SMALL + "seed: 1\n"), settings=[f"{key}=1"])
    )


def test_overrides_from_python_with_keys_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="overrides: 5: unknown key"):
        load_config(written(tmp_path, SMALL), overrides={5: 1})  # type: ignore[dict-item]


def test_what_is_no_config_from_python() -> None:
    with pytest.raises(ConfigError, match="a config is a path or a mapping, found NoneType"):
        load_config(None)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="overrides are a mapping of dotted keys to values, found list"):
        load_config({}, overrides=["a=1"])  # type: ignore[arg-type]


def test_naming_the_default_kind_changes_nothing(tmp_path: Path) -> None:
    written(tmp_path, SMALL + "label: {ties: drop}\npolicy: {long_above: 0.52}\n", "base.yaml")
    child = "extends: base.yaml\nlabel: {kind: direction, horizon: 3}\npolicy: {kind: threshold, short_below: 0.4}\n"
    config = load_config(written(tmp_path, child)).run
    assert config.label.model_dump() == {"kind": "direction", "horizon": 3, "ties": "drop"}
    assert config.policy == Threshold(long_above=0.52, short_below=0.4)


def test_a_key_that_is_named_like_a_kind_is_told_where_it_stands(tmp_path: Path) -> None:
    text = SMALL.replace("{kind: sample}", "{kind: file, file: a}")
    assert problems(written(tmp_path, text)) == [
        "exp.yaml:1:16: data.source.path: is needed, and missing",
        "exp.yaml:1:29: data.source.file: unknown key; known here: kind, path",
    ]


def test_a_files_name_that_can_not_name_a_report(tmp_path: Path) -> None:
    (problem,) = problems(written(tmp_path, SMALL, "my run.yaml"))
    assert problem.startswith("my run.yaml (its own name): name: needs 1 to 80 of A-Z")


def test_tickers_that_are_empty_or_too_long(tmp_path: Path) -> None:
    empty, long = problems(written(tmp_path, SMALL.replace("[AAPL]", f"['', {'x' * 50}]")))
    assert empty.endswith("data.tickers.0: needs text, found ''")
    assert long.endswith("data.tickers.1: needs at most 40 characters, found 50")


def test_a_file_that_is_not_there_or_is_a_folder(tmp_path: Path) -> None:
    assert problems(tmp_path / "no.yaml") == ["no.yaml: no such config; name a YAML file"]
    assert problems(tmp_path)[0].endswith(": is a folder; name a YAML file in it")


def test_extends_merges_mappings_and_replaces_lists_and_other_kinds(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    base = (
        "name: base\ndata: {source: {kind: file, path: p.csv}, tickers: [A, B], start: 2001-01-01}\n"
        "features:\n  - {kind: lagged_returns}\n  - {kind: volatility}\nmodel: {l2: 0.1, max_iter: 7}\n"
    )
    written(tmp_path / "base", base, "base.yaml")
    child = "extends: base/base.yaml\nfeatures:\n  - {kind: momentum}\nmodel: {max_iter: 9}\ndata: {tickers: [C]}\n"
    config = load_config(written(tmp_path, child)).run
    assert config.name == "exp"
    assert config.features == (Momentum(),)
    assert (config.model.l2, config.model.max_iter) == (0.1, 9)
    assert config.data.tickers == ("C",)
    assert config.data.start == dt.date(2001, 1, 1)
    assert config.data.source == File(path=tmp_path / "base" / "p.csv")
    sample = load_config(written(tmp_path, child.replace("{tickers: [C]}", "{source: {kind: sample}, tickers: [C]}")))
    assert sample.run.data.source.kind == "sample"


def test_overlays_are_a_list_in_their_order_and_replace_whole(tmp_path: Path) -> None:
    assert load_config(written(tmp_path, SMALL, "base.yaml")).run.overlays == ()
    both = "overlays: [{kind: volatility_target, target: 0.2, max_leverage: 2}, {kind: leverage_cap}]\n"
    config = load_config(written(tmp_path, SMALL + both, "base.yaml")).run
    assert config.overlays == (VolatilityTarget(target=0.2, max_leverage=2), LeverageCap())
    again = load_config(written(tmp_path, config.to_yaml())).run
    assert again == config
    child = load_config(written(tmp_path, "extends: base.yaml\noverlays: [{kind: leverage_cap, cap: 0.5}]\n")).run
    assert child.overlays == (LeverageCap(cap=0.5),)
    changed = load_config(tmp_path / "base.yaml", settings=["overlays.0.target=0.3"]).run
    assert changed.overlays[0] == VolatilityTarget(target=0.3, max_leverage=2)


def test_an_error_in_what_is_extended_points_into_that_file(tmp_path: Path) -> None:
    written(tmp_path, SMALL + "model: {l2: -5}\n", "base.yaml")
    found = problems(written(tmp_path, "extends: base.yaml\nmodel: {max_iter: 0}\n"))
    assert found == [
        f"{tmp_path}/base.yaml:4:13: model.l2: needs a number of at least 0, found -5",
        "exp.yaml:2:19: model.max_iter: needs a number of at least 1, found 0",
    ]


def test_extends_in_a_circle_or_into_nothing(tmp_path: Path) -> None:
    written(tmp_path, "extends: exp.yaml\n", "other.yaml")
    path = written(tmp_path, "extends: other.yaml\n")
    assert problems(path)[0].endswith("other.yaml:1:10: extends: goes in a circle: exp.yaml -> other.yaml -> exp.yaml")
    assert problems(written(tmp_path, "extends: nowhere.yaml\n")) == [
        f"exp.yaml:1:10: extends: {tmp_path}/nowhere.yaml does not exist"
    ]


def test_settings_go_on_top_and_their_errors_say_so(tmp_path: Path) -> None:
    path = written(tmp_path, SMALL)
    config = load_config(
        path, settings=["features.0.lags=[1, 2]", "model.l2=0.5", "data.tickers=[0700]"], name="n2"
    ).run
    assert config.features[0].model_dump()["lags"] == (1, 2)
    assert (config.model.l2, config.data.tickers, config.name) == (0.5, ("0700",), "n2")
    assert problems(path, settings=["model.l2=x"]) == ["--set: model.l2: needs a number, found 'x'"]
    assert problems(path, settings=["model.l3=1"]) == ["--set: model.l3: unknown key; did you mean l2?"]
    assert problems(path, settings=["features.4.lags=[1]"]) == [
        "--set: features.4: the list has 1 entries; they count from 0"
    ]
    assert problems(path, settings=["features.0.lags.1.x=3"])[0].startswith("--set: features.0.lags: ")
    assert problems(path, settings=["name.x=3"]) == ["--set: name: needs text, found a mapping"]
    assert problems(path, settings=["l2"]) == ["--set: l2: needs key=value, like features.0.lags=[1,2]"]
    assert problems(path, settings=["model.l2=[1"])[0].startswith("--set: model.l2: ")
    assert problems(path, name="a/b")[0].startswith("--name: name: needs 1 to 80 of")


def test_a_kind_that_is_misspelt_deep_inside_is_told_with_a_near_name(tmp_path: Path) -> None:
    text = SMALL.replace("{kind: lagged_returns}", "{kind: zscore, of: {kind: volatilty}}")
    (problem,) = problems(written(tmp_path, text))
    assert problem.startswith("exp.yaml:3:31: features.0.of.kind: needs one of lagged_returns, ")
    assert problem.endswith(", talib, found 'volatilty'; did you mean volatility?")


def test_a_mapping_from_python_is_a_config_too() -> None:
    mapping: dict[str, Any] = {
        "data": {"source": {"kind": "sample"}, "tickers": ["AAPL"], "start": dt.date(2001, 1, 2)},
        "features": [{"kind": "lagged_returns", "lags": (1, 2)}],
    }
    config = load_config(mapping, overrides={"policy.long_above": 0.6}).run
    assert (config.name, config.policy.model_dump()["long_above"]) == ("run", 0.6)
    assert "policy" not in mapping
    with pytest.raises(ConfigError, match=r"^config: data\.tickers: is needed, and missing$"):
        load_config({"data": {"source": {"kind": "sample"}}, "features": [{"kind": "volume"}]})


def test_an_error_of_a_layer_is_placed_at_its_key_or_its_section(tmp_path: Path) -> None:
    path = written(tmp_path, SMALL + "walk_forward:\n  train: 1000\n  embargo: 2\n")
    config = load_config(path)
    assert config.locate(NotEnoughHistory("short", key="walk_forward.train")).message == (
        f"{path}:5:10: walk_forward.train: short"
    )
    assert config.locate(NotEnoughHistory("x", key="walk_forward.refit_every")).message == (
        f"{path}:5:3: walk_forward.refit_every: x"
    )
    assert config.locate(NotEnoughHistory("no key")).message == "no key"


def test_every_key_is_described() -> None:
    def walk(schema: dict[str, Any]) -> None:
        for name, body in schema.get("properties", {}).items():
            assert name == "kind" or body.get("description") or "$ref" in body, (
                f"{schema.get('title')}.{name} has no description"
            )

    schema = RunConfig.model_json_schema()
    for section in (schema, *schema["$defs"].values()):
        walk(section)


@settings(max_examples=200)
@given(data=st.data())
def test_a_config_that_was_damaged_is_read_or_refused_never_a_traceback(data: st.DataObject) -> None:
    text = (ROOT / "configs" / "sp500_daily.yaml").read_text()
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text) - 1))
        gone = data.draw(st.integers(0, 12))
        put = data.draw(st.text("[]{}:,#&*!|>'\"%@` \n\tabc0.-~", max_size=4))
        text = text[:at] + put + text[at + gone :]
    tree, found = read_written(text, file="x.yaml", folder=Path())
    if found:
        assert all(str(problem).startswith("x.yaml") for problem in found)
        return
    if isinstance(tree.value, dict):
        try:
            load_config(tree.value)
        except ConfigError as error:
            assert error.problems
