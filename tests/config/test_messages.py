"""Errors of configs: messages and locations."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError
from quantlr.config.messages import problems_from_validation_error
from quantlr.config.run_config import load_config
from quantlr.config.yaml_tree import parse_yaml
from quantlr.core.components import ConfigSection
from quantlr.core.errors import ConfigError
from quantlr.data.features import FEATURES

from refusals import SMALL, config_problems, write_config


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("featurs: []\n", "exp.yaml:4:1: featurs: unknown key; did you mean features?"),
        ("zzz: 1\n", "exp.yaml:4:1: zzz: unknown key; known here: name, seed, data, features, label, walk_forward"),
        ("execution: {commission_bps: 1,0}\n", "exp.yaml:4:31: execution.0: unknown key; a number is written with a decimal point"),
        ("model: {l2: much}\n", "exp.yaml:4:13: model.l2: needs a number or 'auto', found 'much'"),
        ("model: 7\n", "exp.yaml:4:8: model: needs a mapping with a kind, found 7; the kind is one of logistic_regression, sklearn"),
        ("seed: 1\nseed: 2\n", "exp.yaml:5:1: seed: duplicate key, first at "),
        ("label: {horizon: 1, horizon: 2}\n", "exp.yaml:4:21: label.horizon: duplicate key"),
        ("label: {horizon: 12:30:00}\n", "exp.yaml:4:18: label.horizon: needs a whole number, found '12:30:00'"),
        ("label: &x {horizon: 1}\n", "exp.yaml:4:8: the anchor &x is not allowed; remove it"),
        ("label: *x\n", "exp.yaml:4:8: the alias *x is not allowed; write the value out"),
        ("label: !!python/object/apply:os.system [ls]\n", "exp.yaml:4:8: the tag tag:yaml.org,2002:python/object"),
        ("seed: !!int 3\n", "exp.yaml:4:7: the tag tag:yaml.org,2002:int is not allowed"),
        ("---\nname: b\n", "exp.yaml:4:1: a second document (---); a config is one document"),
        ("label:\n\thorizon: 1\n", "exp.yaml:5:1: a tab can't indent YAML; use spaces"),
        ("label: {horizon: 1\n", "exp.yaml:5:1: the bracket opened at 4:8 is not closed; } or a comma is missing here"),
        ("label: {horizon: 1,, ties: up}\n", "exp.yaml:4:20: a value is missing before ,"),
        ("label: horizon: 1\n", "exp.yaml:4:15: a key is not allowed here: quote text that contains ': ', or correct the indentation"),
        ("label:\n    horizon: 1\n  ties: up\n", "exp.yaml:6:3: does not continue the lines above: correct the indentation, or quote"),
        ("name: 'x\n", "exp.yaml:5:1: the quote opened at 4:7 is not closed"),
        ("name: @x\n", "exp.yaml:4:7: a value can't start with @; quote it"),
        ('name: "\\q"\n', "exp.yaml:4:9: a backslash begins an escape in double quotes, and \\q is none; use single quotes"),
        ("name: -\n", "exp.yaml:4:7: a list is not allowed here; put each entry on its own line"),
        ("seed 1\n", "exp.yaml:5:1: a key needs a ': ' after it"),
        ("policy: {kind: [threshold]}\n", "exp.yaml:4:16: policy.kind: needs the name of a kind, found a list; one of threshold, "),
        ("policy: {kind: 3}\n", "exp.yaml:4:16: policy.kind: needs the name of a kind, found 3; one of threshold, proportional"),
        ("model: {tol: .nan}\n", "exp.yaml:4:14: model.tol: needs a finite number, found .nan"),
        ("model: {l2: .inf}\n", "exp.yaml:4:13: model.l2: needs a finite number or 'auto', found .inf"),
        ("name: ../up\n", "exp.yaml:4:7: name: needs 1 to 80 of A-Z a-z 0-9 . _ -, not beginning with a dot, found '../up'"),
        ("name: /etc\n", "exp.yaml:4:7: name: needs 1 to 80 of"),
        ("execution: {commission_bps: -1}\n", "exp.yaml:4:29: execution.commission_bps: needs a number of at least 0, found -1"),
        ("walk_forward: {train: 0}\n", "exp.yaml:4:23: walk_forward.train: needs a number of at least 2 or 'auto', found 0"),
        ("walk_forward: {refit_every: often}\n", "exp.yaml:4:29: walk_forward.refit_every: needs a whole number or 'auto' or 'never', found 'often'"),
        ("model: {learning_rate: 0.1}\n", "exp.yaml:4:24: model.learning_rate: is for gradient_descent and nesterov; write auto, or"),
        ("model: {learning_rate: fast}\n", "exp.yaml:4:24: model.learning_rate: needs 'auto' or a number, found 'fast'"),
        ("policy: {kind: treshold}\n", "exp.yaml:4:16: policy.kind: unknown kind 'treshold'; did you mean threshold?"),
        ("policy: {exit_short_above: 0.6}\n", "exp.yaml:4:28: policy.exit_short_above: needs policy.short_below, which is null: nothing is ever short"),
        ("policy: {kind: top_k, k: 0}\n", "exp.yaml:4:26: policy.k: needs a number of at least 1, found 0"),
        ("policy: {kind: top_k}\n", "exp.yaml:4:9: policy: needs at least 3 tickers, to hold that many, and data.tickers has 1: add tickers, or hold fewer"),
        ("policy: {kind: top_k, k: 1, sides: long_short}\n", "exp.yaml:4:9: policy: needs at least 2 tickers, to hold that many, and data.tickers has 1"),
        ("policy: {kind: kelly, long_above: 0.5}\n", "exp.yaml:4:23: policy.long_above: unknown key; known here: kind, fraction, sides"),
        ("overlays: [{kind: leverage_cap, max: 2}]\n", "exp.yaml:4:33: overlays.0.max: unknown key; known here: kind, cap"),
        ("overlays: [{kind: volatility_targt}]\n", "exp.yaml:4:19: overlays.0.kind: unknown kind 'volatility_targt'; did you mean volatility_target?"),
        ("overlays: [{band: 0.1}]\n", "exp.yaml:4:12: overlays.0.kind: is needed, and missing: one of volatility_target, leverage_cap, name_cap, beta_neutral, no_trade_band, minimum_holding"),
        ("overlays: {kind: leverage_cap}\n", "exp.yaml:4:11: overlays: needs a list, like [a, b], found a mapping"),
        ("execution: {kind: next}\n", "exp.yaml:4:13: execution.kind: unknown key; known here: fill, commission_bps, "),
        ("execution: {spread: roll}\n", "exp.yaml:4:21: execution.spread: needs 'corwin_schultz', found 'roll'"),
        ("execution: {capital: 0}\n", "exp.yaml:4:22: execution.capital: needs a number above 0, found 0"),
        ("policy: {long_above: 0.4, short_below: 0.6}\n", "exp.yaml:4:40: policy.short_below: must not be above policy.long_above, 0.4"),
        ("label: {horizon: 1.5}\n", "exp.yaml:4:18: label.horizon: needs a whole number, found 1.5"),
        ("report: {pages: [tearsheet, modle]}\n", "exp.yaml:4:29: report.pages.1: needs 'tearsheet', 'forecast', 'model', 'selection', 'positions' or 'tickers', found 'modle'; did you mean model?"),
        ("report: {pages: some}\n", "exp.yaml:4:17: report.pages: needs 'all' or a list, like [a, b], found 'some'"),
        ("label: {ties: sideways}\n", "exp.yaml:4:15: label.ties: needs 'down', 'up' or 'drop', found 'sideways'"),
    ],
)  # fmt: skip
def test_an_error_has_line_and_column(tmp_path: Path, text: str, expected: str) -> None:
    assert config_problems(write_config(tmp_path, SMALL + text))[0].startswith(expected)


@pytest.mark.parametrize(
    ("data", "features", "expected"),
    [
        ("{tickers: [A]}", "[]", "exp.yaml:1:7: data.source: is needed, and missing"),
        ("{source: {kind: smaple}, tickers: [A]}", "[]", "exp.yaml:1:23: data.source.kind: unknown kind 'smaple'; did you mean sample?"),
        ("{source: {}, tickers: [A]}", "[]", "exp.yaml:1:16: data.source.kind: is needed, and missing: one of sample, file"),
        ("{source: sample, tickers: [A]}", "[]", "exp.yaml:1:16: data.source: needs a mapping with a kind, found 'sample'; the kind is one of sample, file, yahoo"),
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
        ("{source: {kind: sample}, tickers: [A]}", "[{kind: momentum, windows: [5, 5]}]", "exp.yaml:2:38: features.0.windows: entries must be unique"),
        ("{source: {kind: sample}, tickers: [A]}", "[{windows: [0]}]", "exp.yaml:2:12: features.0.kind: is needed, and missing: one of lagged_returns, momentum"),
        ("{source: {kind: sample}, tickers: [A]}", "[{kind: volume}, {kind: volatilty}]", "exp.yaml:2:35: features.1.kind: unknown kind 'volatilty'; did you mean volatility?"),
        ("{source: {kind: sample}, tickers: [A]}", "[{kind: zscore, of: {kind: rank, of: {kind: rsi, window: [5]}}}]", "exp.yaml:2:60: features.0.of.of.window: unknown key; did you mean windows?"),
        ("{source: {kind: sample}, tickers: [A]}", "[{kind: zscore, of: {kind: rsi, windows: [0]}}]", "exp.yaml:2:53: features.0.of.windows.0: needs a number of at least 1, found 0"),
        ("{source: {kind: sample}, tickers: [A]}", "[{kind: zscore}]", "exp.yaml:2:12: features.0.of: is needed, and missing"),
        ("{source: {kind: sample}, tickers: [A]}", "[{kind: zscore, of: 3}]", "exp.yaml:2:31: features.0.of: needs a mapping with a kind, found 3; the kind is one of lagged_returns, momentum, "),
        ("{source: {kind: sample}, tickers: [A]}", "[{kind: product, of: [{kind: rsi}]}]", "exp.yaml:2:32: features.0.of: needs at least 2 entries, found 1"),
        ("{source: {kind: sample}, tickers: [A]}", "[{kind: product, of: [{kind: rsi}, {kind: rsi, window: 3}]}]", "exp.yaml:2:58: features.0.of.1.window: unknown key; did you mean windows?"),
        ("{source: {kind: sample}, tickers: [A]}", "[{kind: macd, fast: 30}]", "exp.yaml:2:12: features.0.slow: must be above fast, 30"),
        ("{source: {kind: sample}, tickers: [A]}", "[{kind: macd, lines: [line, signal, histogram]}]", "exp.yaml:2:32: features.0.lines: needs at most 2 entries, found 3"),
        ("{source: {kind: sample}, tickers: [A]}", "[{kind: clip, of: {kind: rsi}, low: 70}]", "exp.yaml:2:12: features.0.high: must be above low, 70"),
        ("{source: {kind: sample}, tickers: [A]}", "[{kind: clip, of: {kind: rsi}, low: null, high: null}]", "exp.yaml:2:59: features.0.high: one of low and high is needed"),
        ("{source: {kind: sample}, tickers: [A]}", "[{kind: day_of_week, days: [monday, tuesday, wednesday, thursday, friday]}]", "exp.yaml:2:38: features.0.days: leave one day out: "),
    ],
)  # fmt: skip
def test_an_error_in_data_or_features_has_line_and_column(
    tmp_path: Path, data: str, features: str, expected: str
) -> None:
    assert config_problems(write_config(tmp_path, f"data: {data}\nfeatures: {features}\n"))[0].startswith(expected)


def test_all_errors_are_reported_in_the_order_of_lines(tmp_path: Path) -> None:
    errors = config_problems(
        write_config(tmp_path, SMALL + "model: {l2: -1, tol: x}\nzzz: 1\npolicy: {long_above: 2}\n")
    )
    assert [line.split(": ")[1] for line in errors] == ["model.l2", "model.tol", "zzz", "policy.long_above"]


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
        (b"#" * 262_145, "exp.yaml: needed at most 262,144 bytes, found 262,145; a config is a small YAML file"),
        (b"%YAML 9.9.9\nname: x\n", "exp.yaml:1:"),
        (b"%YAML " + b"9" * 5000 + b".1\n---\nname: x\n", "exp.yaml"),
    ],
)
def test_a_file_that_is_no_config_is_refused(tmp_path: Path, content: bytes, expected: str) -> None:
    assert config_problems(write_config(tmp_path, content))[0].startswith(expected)


def test_invalid_and_duplicate_keys_are_reported_with_other_errors(tmp_path: Path) -> None:
    errors = config_problems(write_config(tmp_path, SMALL + "? [a, b]\n: c\nseed: 1\nseed: 2\nmodel: {l2: -1}\n"))
    assert errors == [
        "exp.yaml:4:3: a key must be a word",
        "exp.yaml:7:1: seed: duplicate key, first at exp.yaml:6:1",
        "exp.yaml:8:13: model.l2: needs a number of at least 0 or 'auto', found -1",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("walk_forward: {refit_every: true}", "needs a whole number or 'auto' or 'never', found true"),
        ("execution: {commission_bps: true}", "needs a number, found true"),
        ("execution: {commission_bps: '3'}", "needs a number, found '3'"),
        ("seed: 1.0", "needs a whole number, found 1.0"),
        ("seed: '7'", "needs a whole number, found '7'"),
        ("seed: 1_000", "needs a whole number, found '1_000'"),
        ("seed: " + "9" * 5000, "needs a whole number, found 999"),
        (
            "walk_forward: {refit_every: 1" + "0" * 30 + "}",
            "needs a number of at most 1e+09 or 'auto' or 'never', found 1000",
        ),
        ("policy: {long_above: .5, short_below: []}", "needs a number, found a list"),
    ],
)
def test_numbers_are_strict(tmp_path: Path, text: str, expected: str) -> None:
    (problem,) = config_problems(write_config(tmp_path, SMALL + text + "\n"))
    assert expected in problem
    assert len(problem) < 250


@pytest.mark.parametrize("start", ["0", "2020-01-02T00:00:00", "20200102", "'2020-1-2'", "true"])
def test_dates_are_strict(tmp_path: Path, start: str) -> None:
    (problem,) = config_problems(write_config(tmp_path, SMALL), settings=[f"data.start={start}"])
    assert problem.startswith("--set: data.start: needs a date as YYYY-MM-DD, found ")


@pytest.mark.parametrize("name", ["\\0", "\\ud800", "x" * 5000, ".", "exp.yaml/below"])
def test_extends_of_an_invalid_path(tmp_path: Path, name: str) -> None:
    (problem,) = config_problems(write_config(tmp_path, f'extends: "{name}"\n'))
    assert problem.startswith("exp.yaml:1:10: extends: ")


@pytest.mark.parametrize("key", ["features.²", "seed.x", "", ".", "data..tickers", "features.99999999999999999999"])
def test_settings_with_invalid_keys(tmp_path: Path, key: str) -> None:
    assert all(
        problem.startswith("--set: ")
        for problem in config_problems(write_config(tmp_path, SMALL + "seed: 1\n"), settings=[f"{key}=1"])
    )


def test_overrides_with_keys_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="overrides: 5: unknown key"):
        load_config(write_config(tmp_path, SMALL), overrides={5: 1})  # type: ignore[dict-item]  # wrong on purpose


def test_arguments_of_wrong_types() -> None:
    with pytest.raises(ConfigError, match="a config is a path, a mapping or a loaded config, found NoneType"):
        load_config(None)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(ConfigError, match="overrides are a mapping of dotted keys to values, found list"):
        load_config({}, overrides=["a=1"])  # type: ignore[arg-type]  # wrong on purpose


def test_a_key_named_like_a_kind_has_its_own_location(tmp_path: Path) -> None:
    text = SMALL.replace("{kind: sample}", "{kind: file, file: a}")
    assert config_problems(write_config(tmp_path, text)) == [
        "exp.yaml:1:16: data.source.path: is needed, and missing",
        "exp.yaml:1:29: data.source.file: unknown key; known here: kind, path, columns, separator, decimal, encoding, date_format, sheet",
    ]


def test_a_file_name_that_is_no_report_name(tmp_path: Path) -> None:
    (problem,) = config_problems(write_config(tmp_path, SMALL, "my run.yaml"))
    assert problem.startswith("my run.yaml (its own name): name: needs 1 to 80 of A-Z")


def test_empty_and_too_long_tickers(tmp_path: Path) -> None:
    empty, long = config_problems(write_config(tmp_path, SMALL.replace("[AAPL]", f"['', {'x' * 50}]")))
    assert empty.endswith("data.tickers.0: needs text, found ''")
    assert long.endswith("data.tickers.1: needs at most 40 characters, found 50")


def test_a_missing_file_or_a_folder(tmp_path: Path) -> None:
    assert config_problems(tmp_path / "no.yaml") == ["no.yaml: no such config; name a YAML file"]
    assert config_problems(tmp_path)[0].endswith(": is a folder; name a YAML file in it")
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    assert config_problems(tmp_path / "loop.yaml") == ["loop.yaml: is a link that leads back to itself"]


def test_an_error_in_the_extended_config_has_its_location(tmp_path: Path) -> None:
    write_config(tmp_path, SMALL + "model: {l2: -5}\n", "base.yaml")
    errors = config_problems(write_config(tmp_path, "extends: base.yaml\nmodel: {max_iter: 0}\n"))
    assert errors == [
        f"{tmp_path}/base.yaml:4:13: model.l2: needs a number of at least 0 or 'auto', found -5",
        "exp.yaml:2:19: model.max_iter: needs a number of at least 1, found 0",
    ]


def test_circular_and_missing_extends(tmp_path: Path) -> None:
    write_config(tmp_path, "extends: exp.yaml\n", "other.yaml")
    path = write_config(tmp_path, "extends: other.yaml\n")
    assert config_problems(path)[0].endswith(
        "other.yaml:1:10: extends: is circular: exp.yaml -> other.yaml -> exp.yaml"
    )
    assert config_problems(write_config(tmp_path, "extends: nowhere.yaml\n")) == [
        f"exp.yaml:1:10: extends: {tmp_path}/nowhere.yaml does not exist"
    ]


def test_a_misspelt_nested_kind_gets_a_suggestion(tmp_path: Path) -> None:
    text = SMALL.replace("{kind: lagged_returns}", "{kind: zscore, of: {kind: volatilty}}")
    assert config_problems(write_config(tmp_path, text)) == [
        "exp.yaml:3:31: features.0.of.kind: unknown kind 'volatilty'; did you mean volatility?"
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("model: {descent: plain}\n", "exp.yaml:4:9: model.descent: renamed to model.solver"),
        ("model: {solver: plain}\n", "exp.yaml:4:17: model.solver: renamed to gradient_descent"),
        ("model: {solver: accelerated}\n", "exp.yaml:4:17: model.solver: renamed to nesterov"),
        ("model: {solver: preconditioned}\n", "exp.yaml:4:17: model.solver: renamed to newton"),
    ],
)
def test_renamed_keys_and_values_have_their_new_name(tmp_path: Path, text: str, problem: str) -> None:
    assert config_problems(write_config(tmp_path, SMALL + text)) == [problem]


def test_a_key_is_renamed_only_where_its_new_name_exists(tmp_path: Path) -> None:
    (problem,) = config_problems(write_config(tmp_path, SMALL + "untouched: 2020-01-02\n"))
    assert problem.startswith("exp.yaml:4:1: untouched: unknown key")

    class SweepLike(ConfigSection):
        holdout: int | None = None

    parsed, _ = parse_yaml("untouched: 3\n", file_name="sweep.yaml", base_folder=tmp_path)
    with pytest.raises(ValidationError) as caught:
        SweepLike.model_validate(parsed.value)
    problems = problems_from_validation_error(caught.value, parsed, SweepLike)
    assert list(map(str, problems)) == ["sweep.yaml:1:1: untouched: renamed to holdout"]


@pytest.mark.parametrize(("kind", "suggestion"), [("RSI", "rsi"), ("Momentum", "momentum"), ("MACDD", "macd")])
def test_a_kind_gets_a_suggestion_whatever_its_case(tmp_path: Path, kind: str, suggestion: str) -> None:
    path = write_config(tmp_path, SMALL.replace("lagged_returns", kind))
    assert config_problems(path) == [
        f"exp.yaml:3:12: features.0.kind: unknown kind {kind!r}; did you mean {suggestion}?"
    ]


def test_a_long_list_of_kinds_is_shortened(tmp_path: Path) -> None:
    unknown, missing, other = config_problems(
        write_config(tmp_path, SMALL + "  - {kind: zzz}\n  - {}\npolicy: {kind: zzz}\n")
    )
    first = "lagged_returns, momentum, overnight_gap, context_returns, volatility, high_low_range"
    listed = f"{first} and {len(FEATURES) - first.count(',') - 1} more, which "
    assert (
        unknown == f"exp.yaml:4:12: features.1.kind: unknown kind 'zzz'; known here: {listed}`quantlr features` lists"
    )
    assert missing == f"exp.yaml:5:5: features.2.kind: is needed, and missing: one of {listed}`quantlr features` lists"
    assert other == (
        "exp.yaml:6:16: policy.kind: unknown kind 'zzz'; known here: threshold, proportional, expected_value, kelly, top_k"
    )
