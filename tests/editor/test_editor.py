"""What someone sees who writes a config in an editor: yaml-language-server itself, with the shipped schema."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from language_server import Server, running
from refusals import CONFIGS, ROOT

HERE = Path(__file__).parent
PROGRAM = "yaml-language-server"
NAMED = "YAML_LANGUAGE_SERVER"
"""The variable that names another copy of the server's program."""
HEAD = """\
# yaml-language-server: $schema=schema.json
data:
  source: {kind: sample}
  tickers: [ON, 0700, "null"]
features:
  - {kind: lagged_returns, lags: [1, 2]}
"""
LAST = HEAD.count("\n")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Start the server in a folder with the schema."""
    program = Path(os.environ.get(NAMED, HERE / "node_modules" / PROGRAM / "bin" / PROGRAM))
    if not (shutil.which("node") and program.exists()):
        pytest.skip(
            f"needs node and the language server: npm install --no-package-lock --prefix tests/editor; or {NAMED}"
        )
    shutil.copy(ROOT / "configs" / "schema.json", tmp_path)
    with running(["node", str(program), "--stdio"], tmp_path) as started:
        yield started


def test_an_editor_completes_explains_and_points_at_what_is_wrong(server: Server) -> None:
    for path in CONFIGS:
        assert server.problems(path.read_text()) == [], path.stem
    errors_are_where_they_are(server)
    keys_kinds_and_words_are_offered(server)
    what_a_key_means_is_shown(server)


def errors_are_where_they_are(server: Server) -> None:
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
    found = dict(problem.split(" ", 1) for problem in server.problems(text))
    assert found.pop(f"{LAST + 1}:12-21").startswith(f"Value is not accepted. Valid values: {kinds}, ")
    assert found == {
        f"{LAST + 2}:53-59": "Property window is not allowed.",
        f"{LAST + 3}:1-6": "Property modle is not allowed.",
        f"{LAST + 4}:23-27": 'Incorrect type. Expected "integer".',
        f"{LAST + 5}:33-34": "Value is above the maximum of 1.",
        f"{LAST + 5}:36-46": "Property long_above is not allowed.",
        f"{LAST + 7}:9-17": 'Value is not accepted. Valid values: "next_close", "next_open", "close".',
    }
    assert server.problems(HEAD.replace("ON", "null")) == ["4:13-17 Incorrect type. Expected one of string, number."]


def keys_kinds_and_words_are_offered(server: Server) -> None:
    offered = server.completion(f"{HEAD}  - kind: ", LAST + 1, 11)
    assert offered["volatility"] == "How far a single session moves, estimated over a trailing window."
    assert len(offered) >= 25
    offered = server.completion(f"{HEAD}  - {{kind: volatility, w}}", LAST + 1, 25)
    assert list(offered) == ["windows", "returns", "estimator"]
    assert offered["windows"] == "Lengths of the window; at least 2. Unit: sessions. Default: [20]."
    offered = server.completion(f"{HEAD}execution:\n  ", LAST + 2, 3)
    assert {"fill", "commission_bps", "slippage_bps", "cash_rate"} <= set(offered)
    offered = server.completion(f"{HEAD}execution:\n  fill: ", LAST + 2, 9)
    assert list(offered) == ["next_close", "next_open", "close"]
    assert offered["close"] == "that very close: the textbook's convention, which nobody can trade"
    assert "short_below" in server.completion(f"{HEAD}policy:\n  ", LAST + 2, 3), "of the default kind"
    offered = server.completion(f"{HEAD}policy:\n  kind: top_k\n  ", LAST + 3, 3)
    assert list(offered) == ["k", "sides"]
    offered = server.completion(f"{HEAD}\n", LAST + 1, 1)
    assert {"extends", "label", "walk_forward", "model", "policy"} <= set(offered)


def what_a_key_means_is_shown(server: Server) -> None:
    text = f"{HEAD}execution: {{commission_bps: 1.0}}\nmodel: {{solver: gradient_descent}}\n"
    shown = server.hover(text, LAST + 1, 15)
    assert "execution.commission" in shown
    assert "Unit: basis points of what is traded, per side. Default: 1." in shown
    shown = server.hover(text, LAST + 2, 10)
    assert "The way downhill; all three reach the same weights." in shown
    assert "* `nesterov`: Nesterov's momentum with restarts: hundreds" in shown
