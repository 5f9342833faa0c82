"""What the README says is what the program does: its numbers, its commands, its Python, its picture."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from matplotlib.image import imread
from quantlr.cli import main
from quantlr.config.run_config import load_config

from yahoo_server import Yahoo, days, serving, share, throwaway_authority

ROOT = Path(__file__).parents[1]
WRITES_NO_REPORT = tuple(f"quantlr {verb}" for verb in ("predict", "schema", "init", "plan", "features"))
README = (ROOT / "README.md").read_text()
EXAMPLE = ROOT / "reports" / "example"


def code_blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


COMMANDS = [commands for block in code_blocks("bash") if (commands := re.findall(r"^quantlr .*", block, re.MULTILINE))]
"""Of each block those that are there to be typed after one another."""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a folder with the configs, as a user would."""
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("without_drawing")
def test_terminal_output_equals_the_readme(home: Path) -> None:
    block_text = next(block for block in code_blocks("text") if block.startswith("$ quantlr"))
    command, *expected = block_text.rstrip().splitlines()
    result = CliRunner().invoke(main, shlex.split(command.removeprefix("$ quantlr ")))
    assert [line.rstrip() for line in result.stderr.rstrip().splitlines()] == [line.rstrip() for line in expected]


@pytest.fixture
def yahoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yahoo]:
    """Answer for Yahoo behind the proxy that the environment names; the program is not configured for it."""
    time = dt.datetime.now(dt.UTC)
    server = Yahoo()
    server.now, server.shares["SPY"] = time, share(1, days(1500, last=str(time.date())), exchange="PCX", kind="ETF")
    tls, authority = throwaway_authority(tmp_path)
    with serving(server, tls=tls) as address:
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        for name in ("HTTPS_PROXY", "https_proxy"):
            monkeypatch.setenv(name, address)
        for name in ("CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
            monkeypatch.setenv(name, str(authority))
        monkeypatch.setenv("QUANTLR_HOME", str(tmp_path / "home"))
        yield server


@pytest.mark.usefixtures("without_drawing")
@pytest.mark.parametrize("commands", COMMANDS, ids=lambda commands: commands[0].removeprefix("quantlr "))
def test_every_command_runs(home: Path, commands: list[str], request: pytest.FixtureRequest) -> None:
    fetching = any("yahoo" in command for command in commands)
    yahoo = request.getfixturevalue("yahoo") if fetching else Yahoo()
    for command in commands:
        result = CliRunner().invoke(main, shlex.split(command.removeprefix("quantlr ")))
        assert result.exit_code == 0, result.stderr
    assert bool(yahoo.histories()) == fetching
    assert (home / "reports").is_dir() != all(command.startswith(WRITES_NO_REPORT) for command in commands)


def test_documented_commands_and_options_exist() -> None:
    context = click.Context(main)
    commands = [main.get_command(context, verb) for verb in main.list_commands(context)]
    options = {name for command in commands if command for option in command.params for name in option.opts}
    assert set(re.findall(r"`quantlr ([a-z]+)", README)) <= set(main.list_commands(context))
    documented_options = set(re.findall(r"`(--[a-z]+)", README))
    assert documented_options
    assert documented_options <= options


def test_documented_benchmarks_start(tmp_path: Path) -> None:
    """One of them is run, on its smallest job; the others say what they would do."""
    named = sorted(set(re.findall(r"python (tests/benchmarks/\w+\.py)", README)))
    assert len(named) == 3
    quick = {"tests/benchmarks/descent.py": ["--quick", "--job", "one_fit", "--output", str(tmp_path)]}
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    started = [
        subprocess.Popen(
            [sys.executable, ROOT / script, *quick.get(script, ["--help"])],
            cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for script in named
    ]  # fmt: skip
    outputs = [process.communicate()[0] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0]
    assert all("usage: " in text for text, script in zip(outputs, named, strict=True) if script not in quick)
    assert (tmp_path / "descent.json").exists()


def test_the_first_two_commands_are_those_of_ci() -> None:
    first, second = (block.strip() for block in code_blocks("bash") if block.startswith("python3"))
    assert first.endswith("quantlr run configs/sp500_daily.yaml")
    assert second.endswith('pip install -e ".[dev]" && pytest')


@pytest.mark.usefixtures("without_drawing")
def test_the_python_examples_run(home: Path) -> None:
    for code in code_blocks("python"):
        exec(compile(code, "README.md", "exec"), {})  # noqa: S102 - the README's own example
    assert (home / "reports" / "sp500_daily" / "tearsheet.png").exists()
    assert (home / "weights.json").exists()


def test_the_documented_config_has_every_key_and_default(home: Path) -> None:
    whole = next(block for block in code_blocks("yaml") if block.startswith("name: my_run"))
    (home / "my_run.yaml").write_text(whole)
    config = load_config(home / "my_run.yaml").run
    bare = {"data": config.data.model_dump(), "features": [{"kind": part.kind} for part in config.features]}
    assert load_config({"name": "my_run", **bare}).run == config
    written_out = json.loads(json.dumps(config.model_dump(), default=str))
    for section, body in written_out.items():
        assert re.search(rf"^{section}:", whole, flags=re.MULTILINE)
        for key in body if isinstance(body, dict) else ():
            assert re.search(rf"\b{key}:", whole), f"{section}.{key} is not in the README's config"


def test_documented_errors_equal_the_reported_ones(home: Path) -> None:
    block_text = next(block for block in code_blocks("text") if block.startswith("my_run.yaml:"))
    (home / "my_run.yaml").write_text(
        "name: my_run\ndata:\n  source: {kind: sample}\n  start: 2020-13-45\nfeatures:\n"
        "  - {kind: lagged_returns,    lag: [1]}\n"
    )
    result = CliRunner().invoke(main, ["run", "my_run.yaml"])
    assert set(block_text.splitlines()) <= set(result.stderr.splitlines())


@pytest.mark.usefixtures("without_drawing")
def test_documented_cagrs_of_textbook_conventions(home: Path) -> None:
    documented = re.search(r"CAGR\s+of ([0-9.]+%) against ([0-9.]+%)", README)
    assert documented
    runs = CliRunner().invoke(
        main, ["run", "configs/sp500_textbook.yaml", "configs/sp500_daily.yaml", "--json", "--quiet"]
    )
    cagrs = [json.loads(line)["backtest"]["strategy"]["cagr"] for line in runs.stdout.splitlines()]
    assert [f"{rate:.1%}" for rate in cagrs] == list(documented.groups())


def test_the_example_report_is_reproducible(home: Path) -> None:
    CliRunner().invoke(main, ["run", "configs/sp500_daily.yaml", "--name", "example", "--quiet"])
    picture, committed = (imread(folder / "tearsheet.png") for folder in (home / "reports" / "example", EXAMPLE))
    assert picture.shape == committed.shape
    # Another version of matplotlib may place a letter a fraction of a pixel elsewhere; a changed page differs more.
    assert np.abs(picture - committed).mean() < 0.004
    metrics, documented = (
        json.loads((folder / "metrics.json").read_text()) for folder in (home / "reports/example", EXAMPLE)
    )
    assert metrics["verdict"] == documented["verdict"]
    for key, value in documented["backtest"]["strategy"].items():
        assert metrics["backtest"]["strategy"][key] == (None if value is None else pytest.approx(value, rel=1e-6))
