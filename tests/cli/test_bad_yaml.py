"""Invalid configs on the command line: message with its place, exit status 2, nothing written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from quantlr.config.run_config import load_config
from quantlr.core.errors import ConfigError
from quantlr.sweeps.grid import load_sweep

Call = Callable[..., Result]
DATA = "data: {source: {kind: sample}, tickers: [MSFT]}\n"
SMALL = DATA + "features: [{kind: rsi}]\n"
INVALID_CONFIGS: list[tuple[str, str | bytes, str]] = [
    ("1 misspelt key", SMALL + "modle: {}\n", "3:1: modle: unknown key; did you mean model?"),
    ("1 misspelt kind", DATA + "features: [{kind: rsii}]\n", "2:19: features.0.kind: unknown kind 'rsii'; did you mean rsi?"),
    ("2 wrong type", SMALL + "seed: many\n", "3:7: seed: needs a whole number, found 'many'"),
    ("3 duplicate key", SMALL + "seed: 1\nseed: 2\n", "4:1: seed: duplicate key, first at exp.yaml:3:1"),
    ("4 number", SMALL + "model: {tol: 1e-3x}\n", "3:14: model.tol: needs a number, found '1e-3x'"),
    ("6 null as a ticker", SMALL.replace("MSFT", "null"), "1:42: data.tickers.0: a ticker is text, and this reads as a "),
    ("7 true as a ticker", SMALL.replace("MSFT", "true"), "1:42: data.tickers.0: a ticker is text, and this reads as a "),
    ("9 a time", SMALL + "label: {horizon: 12:30:00}\n", "3:18: label.horizon: needs a whole number, found '12:30:00'"),
    ("10 date", SMALL.replace("]}", "], start: 2020-13-45}", 1), "1:56: data.start: needs a date as YYYY-MM-DD, found "),
    ("11 alias bomb", b"a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n", "1:4: the anchor &a is not allowed; remove it"),
    ("12 depth", b"a: " + b"[" * 3000 + b"]" * 3000, "1:53: more than 50 levels deep; a config has at most six"),
    ("13 tab", SMALL + "label:\n\thorizon: 1\n", "4:1: a tab can't indent YAML; use spaces"),
    ("14 not UTF-8", SMALL.encode() + b"name: \xff\n", "3:7: not UTF-8 text (byte 78); save the file as UTF-8"),
    ("15 empty", "", "1:1: a config is a mapping of keys, like 'name: my_run'; found nothing"),
    ("16 scalar", "42\n", "1:1: a config is a mapping of keys, like 'name: my_run'; found a single value"),
    ("16 list", "- a\n", "1:1: a config is a mapping of keys, like 'name: my_run'; found a list"),
    ("17 documents", SMALL + "---\n" + SMALL, "3:1: a second document (---); a config is one document"),
    ("18 tag", SMALL + "seed: !!python/object/apply:os.system [ls]\n", "3:7: the tag tag:yaml.org,2002:python/object/apply"),
    ("19 nan", SMALL + "model: {tol: .nan}\n", "3:14: model.tol: needs a finite number, found .nan"),
    ("19 inf", SMALL + "model: {l2: .inf}\n", "3:13: model.l2: needs a finite number or 'auto', found .inf"),
    ("21 ../ in name", SMALL + "name: ../up\n", "3:7: name: needs 1 to 80 of A-Z a-z 0-9 . _ -, not beginning with a dot"),
    ("23 start after end", SMALL.replace("]}", "], start: 2020-01-02, end: 2020-01-01}", 1), "1:73: data.end: must not be "),
    ("24 negative cost", SMALL + "execution: {slippage_bps: -1}\n", "3:27: execution.slippage_bps: needs a number of at least 0"),
    ("24 zero window", SMALL.replace("rsi", "rsi, windows: [0]"), "2:34: features.0.windows.0: needs a number of at least 1"),
    ("24 lag 0", SMALL.replace("rsi", "lagged_returns, lags: [0]"), "2:42: features.0.lags.0: needs a number of at least 1, "),
    ("26 circle", "extends: exp.yaml\n", "1:10: extends: is circular: exp.yaml -> exp.yaml"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"), [row[1:] for row in INVALID_CONFIGS], ids=[row[0] for row in INVALID_CONFIGS]
)
def test_invalid_config_is_rejected_at_its_place(call: Call, content: str | bytes, message: str) -> None:
    Path("exp.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    result = call("run", "exp.yaml")
    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit)
    assert result.stderr.splitlines()[0].startswith(f"exp.yaml:{message}")
    assert result.stdout == ""
    assert not Path("reports").exists()


SWEEP = "name: small\nbase: exp.yaml\ngrid: {model.l2: [0.0, 0.1]}\n"


@pytest.mark.parametrize("verb", ["run", "plan", "predict", "audit"])
@pytest.mark.parametrize(
    ("content", "place"), [(SWEEP, "3:1: grid"), ("name: s\nbase: exp.yaml\ngird: {}\n", "2:1: base")]
)
def test_a_sweep_file_is_rejected_with_the_verb_that_runs_it(call: Call, verb: str, content: str, place: str) -> None:
    Path("s.yaml").write_text(content)
    result = call(verb, "s.yaml", "--set", "model.l2=-1")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"s.yaml:{place}: this is a sweep file; `quantlr sweep s.yaml` runs it\n"


@pytest.mark.parametrize(
    ("content", "place"),
    [(SMALL, "1:1: data"), ("name: x\nfeatures: [{kind: rsi}]\nmodle: {}\n", "2:1: features")],
)
def test_sweep_of_a_run_config_names_the_verb_that_runs_it(call: Call, content: str, place: str) -> None:
    Path("exp.yaml").write_text(content)
    result = call("sweep", "exp.yaml")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"exp.yaml:{place}: this is a run config; `quantlr run exp.yaml` runs it; a sweep")


def test_a_sweep_file_without_a_grid_is_still_a_sweep(call: Call) -> None:
    Path("s.yaml").write_text("base: exp.yaml\n")
    result = call("sweep", "s.yaml")
    assert result.exit_code == 2
    assert "grid" in result.stderr
    assert "run config" not in result.stderr


def test_a_mapping_of_the_other_kind_names_the_function_that_runs_it() -> None:
    with pytest.raises(ConfigError, match=r"grid: this is a sweep file; `quantlr\.sweep\(\.\.\.\)` runs it"):
        load_config({"base": "exp.yaml", "grid": {"model.l2": [0.0]}})
    with pytest.raises(ConfigError, match=r"data: this is a run config; `quantlr\.run\(\.\.\.\)` runs it"):
        load_sweep({"data": {"source": {"kind": "sample"}}})


def test_20_file_above_the_size_limit_is_rejected(call: Call) -> None:
    Path("exp.yaml").write_text(SMALL + "#" * 1_000_000)
    result = call("run", "exp.yaml")
    assert result.exit_code == 2
    assert result.stderr.startswith("exp.yaml: needed at most 262,144 bytes, found 1,000,072; ")
    assert "data.tickers_file" in result.stderr


def test_a_config_that_is_no_regular_file_is_rejected_without_reading_it(call: Call, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link.yaml").symlink_to("/dev/zero")
    (tmp_path / "child.yaml").write_text("extends: pipe\n")
    (tmp_path / "listed.yaml").write_text(SMALL.replace("tickers: [MSFT]", "tickers_file: /dev/zero"))
    for name, place, found in (
        ("pipe", "pipe: ", "a named pipe"),
        ("link.yaml", "link.yaml: ", "a device"),
        ("child.yaml", "child.yaml:1:10: extends: pipe: ", "a named pipe"),
        ("listed.yaml", "listed.yaml:1:46: data.tickers_file: /dev/zero: ", "a device"),
    ):
        result = call("plan", name)
        assert result.exit_code == 2
        assert result.stderr.startswith(f"{place}needed a regular file, found {found}"), result.stderr


def test_configs_that_extend_one_another_too_often_are_rejected(call: Call) -> None:
    for number in range(60):
        Path(f"c{number}.yaml").write_text(f"extends: c{number + 1}.yaml\n")
    Path("c60.yaml").write_text(SMALL)
    assert call("plan", "c20.yaml").exit_code == 0  # 41 files
    result = call("plan", "c0.yaml")
    assert result.exit_code == 2
    assert result.stderr.startswith("c49.yaml:1:10: extends: needs at most 50 files that extend one another")


def test_22_report_outside_the_output_folder_is_rejected(call: Call, tmp_path: Path) -> None:
    Path("elsewhere").mkdir()
    Path("reports").mkdir()
    Path("reports/exp").symlink_to(tmp_path / "elsewhere")
    result = call("run", "exp.yaml")
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert list(Path("elsewhere").iterdir()) == []
    absolute = call("run", "exp.yaml", "--name", "/etc/exp")
    assert absolute.exit_code == 2
    assert absolute.stderr.startswith("--name: name: needs 1 to 80 of A-Z a-z 0-9 . _ -")
