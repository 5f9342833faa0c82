"""Diagnostics, completion and hover texts of yaml-language-server with the shipped schema."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from language_server import Server, running
from refusals import CONFIGS, ROOT

FOLDER = Path(__file__).parent
PROGRAM = "yaml-language-server"
PROGRAM_VARIABLE = "YAML_LANGUAGE_SERVER"
"""Environment variable of the server program's path."""
HEAD = """\
# yaml-language-server: $schema=schema.json
data:
  source: {kind: sample}
  tickers: [ON, 0700, "null"]
features:
  - {kind: lagged_returns, lags: [1, 2]}
"""
LAST_LINE = HEAD.count("\n")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Start the server in a folder with the schema."""
    program = Path(os.environ.get(PROGRAM_VARIABLE, FOLDER / "node_modules" / PROGRAM / "bin" / PROGRAM))
    if not (shutil.which("node") and program.exists()):
        install = "npm install --no-package-lock --prefix tests/editor"
        pytest.skip(f"needs node and the language server: {install}; or {PROGRAM_VARIABLE}")
    shutil.copy(ROOT / "configs" / "schema.json", tmp_path)
    with running(["node", str(program), "--stdio"], tmp_path) as started:
        yield started


def test_diagnostics_completion_and_hover(server: Server) -> None:
    for path in CONFIGS:
        assert server.problems(path.read_text()) == [], path.stem
    check_diagnostics(server)
    check_completion(server)
    check_hover(server)


def check_diagnostics(server: Server) -> None:
    text = HEAD + (
        "  - {kind: volatilty}\n"
        "  - {kind: zscore, of: {kind: rank, of: {kind: rsi, window: [5]}}}\n"
        "modle: {}\n"
        "walk_forward: {train: long, refit_every: never}\n"
        "policy: {kind: kelly, fraction: 2, long_above: 0.5}\n"
        "execution:\n"
        "  fill: tomorrow\n"
    )
    kinds = '"lagged_returns", "momentum", "overnight_gap"'
    problems = dict(problem.split(" ", 1) for problem in server.problems(text))
    assert problems.pop(f"{LAST_LINE + 1}:12-21").startswith(f"Value is not accepted. Valid values: {kinds}, ")
    assert problems == {
        f"{LAST_LINE + 2}:53-59": "Property window is not allowed.",
        f"{LAST_LINE + 3}:1-6": "Property modle is not allowed.",
        f"{LAST_LINE + 4}:23-27": 'Incorrect type. Expected "integer".',
        f"{LAST_LINE + 5}:33-34": "Value is above the maximum of 1.",
        f"{LAST_LINE + 5}:36-46": "Property long_above is not allowed.",
        f"{LAST_LINE + 7}:9-17": 'Value is not accepted. Valid values: "next_close", "next_open", "close".',
    }
    assert server.problems(HEAD.replace("ON", "null")) == ["4:13-17 Incorrect type. Expected one of string, number."]


def check_completion(server: Server) -> None:
    items = server.completion(f"{HEAD}  - kind: ", LAST_LINE + 1, 11)
    assert items["volatility"] == "Volatility of a single session, estimated over a trailing window."
    assert len(items) >= 25
    items = server.completion(f"{HEAD}  - {{kind: volatility, w}}", LAST_LINE + 1, 25)
    assert list(items) == ["windows", "returns", "estimator"]
    assert items["windows"] == "Lengths of the window; at least 2. Unit: sessions. Default: [20]."
    items = server.completion(f"{HEAD}execution:\n  ", LAST_LINE + 2, 3)
    assert {"fill", "commission_bps", "slippage_bps", "cash_rate"} <= set(items)
    items = server.completion(f"{HEAD}execution:\n  fill: ", LAST_LINE + 2, 9)
    assert list(items) == ["next_close", "next_open", "close"]
    assert items["close"]
    assert "short_below" in server.completion(f"{HEAD}policy:\n  ", LAST_LINE + 2, 3), "of the default kind"
    items = server.completion(f"{HEAD}policy:\n  kind: top_k\n  ", LAST_LINE + 3, 3)
    assert list(items) == ["k", "sides"]
    items = server.completion(f"{HEAD}\n", LAST_LINE + 1, 1)
    assert {"extends", "label", "walk_forward", "model", "policy"} <= set(items)


def check_hover(server: Server) -> None:
    text = f"{HEAD}execution: {{commission_bps: 1.0}}\nmodel: {{solver: gradient_descent}}\n"
    hover_text = server.hover(text, LAST_LINE + 1, 15)
    assert "execution.commission" in hover_text
    assert "Unit: basis points of what is traded, per side. Default: 1." in hover_text
    hover_text = server.hover(text, LAST_LINE + 2, 10)
    assert "regression.solver" in hover_text  # titled by the kind of model
    assert "* `nesterov`: " in hover_text
