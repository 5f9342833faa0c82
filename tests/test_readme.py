"""The README against the program: its numbers, commands, Python and picture."""

from __future__ import annotations

import datetime as dt
import itertools
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
import quantlr
from click.testing import CliRunner
from matplotlib.image import imread
from quantlr.cli import COMMAND_HELP, main
from quantlr.config.loader import parse_setting
from quantlr.config.run_config import load_config

from yahoo_server import Yahoo, days, serving, share, throwaway_authority

ROOT = Path(__file__).parents[1]
VERBS_WITHOUT_REPORT = tuple(f"quantlr {verb}" for verb in ("predict", "schema", "init", "plan", "features"))
README = (ROOT / "README.md").read_text()
EXAMPLE = ROOT / "reports" / "example"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


COMMANDS = [commands for block in blocks("bash") if (commands := re.findall(r"^quantlr .*", block, re.MULTILINE))]
"""The quantlr commands of each block, run one after another."""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a folder with the configs, as a user would."""
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("without_drawing")
def test_terminal_sample_equals_the_output(home: Path) -> None:
    sample = next(block for block in blocks("text") if block.startswith("$ quantlr"))
    command, *expected = sample.rstrip().splitlines()
    result = CliRunner().invoke(main, shlex.split(command.removeprefix("$ quantlr ")))
    assert [line.rstrip() for line in result.output.rstrip().splitlines() if line] == expected


@pytest.fixture
def yahoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yahoo]:
    """Serve Yahoo's prices behind the proxy that the environment names; the program is not patched."""
    now = dt.datetime.now(dt.UTC)
    server = Yahoo()
    server.now, server.shares["SPY"] = now, share(1, days(1500, last=str(now.date())), exchange="PCX", kind="ETF")
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
    assert (home / "reports").is_dir() != all(command.startswith(VERBS_WITHOUT_REPORT) for command in commands)


VARIATIONS = [
    shlex.split(command)
    for command in re.findall(r"^quantlr run .*--set.*", README, re.MULTILINE)
    if "yahoo" not in command
]
"""The commands that run a config with other settings."""


def run_command(words: list[str], *, with_settings: bool = True) -> quantlr.Run:
    """Return the run of a command of the README, without its report."""
    settings = [parse_setting(value) for option, value in itertools.pairwise(words) if option == "--set"]
    return quantlr.run(words[2], overrides=dict(settings) if with_settings else {})


@pytest.mark.parametrize("words", VARIATIONS, ids=lambda words: words[words.index("--name") + 1])
def test_every_recipe_differs_from_its_base(home: Path, words: list[str]) -> None:
    base, variation = (run_command(words, with_settings=with_settings) for with_settings in (False, True))
    is_same = base.forecasts.equals(variation.forecasts) and base.positions.equals(variation.positions)
    assert not is_same, f"{shlex.join(words)} repeats {words[2]}"


def test_last_decade_is_backtested_on_2009_to_2018(home: Path) -> None:
    (words,) = (words for words in VARIATIONS if "last_decade" in words)
    run = run_command(words)
    years = run.backtest["date"].dt.year
    assert sorted(set(years)) == list(range(2009, 2019))


def test_table_of_verbs_is_that_of_the_help() -> None:
    assert dict(re.findall(r"^\| `([a-z]+)` \| (.*) \|$", README, re.MULTILINE)) == COMMAND_HELP


def test_verbs_and_options_exist() -> None:
    context = click.Context(main)
    commands = [main.get_command(context, verb) for verb in main.list_commands(context)]
    options = {name for command in commands if command for option in command.params for name in option.opts}
    assert set(re.findall(r"`quantlr ([a-z]+)", README)) <= set(main.list_commands(context))
    options_in_readme = set(re.findall(r"`(--[a-z]+)", README))
    assert options_in_readme
    assert options_in_readme <= options


def test_named_benchmarks_run(tmp_path: Path) -> None:
    """One of them runs its smallest job; the others print their help."""
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


def test_first_commands_are_those_that_ci_runs() -> None:
    first, second = (block.strip() for block in blocks("bash") if block.startswith("python3"))
    assert first.endswith("quantlr run configs/sp500_daily.yaml")
    assert second.endswith('pip install -e ".[dev]" && pytest')


@pytest.mark.usefixtures("without_drawing")
def test_python_blocks_run(home: Path) -> None:
    for code in blocks("python"):
        exec(compile(code, "README.md", "exec"), {})  # noqa: S102 - the README's own example
    assert (home / "reports" / "sp500_daily" / "tearsheet.png").exists()
    assert (home / "weights.json").exists()


def test_config_block_has_every_key_with_its_default(home: Path) -> None:
    yaml_text = next(block for block in blocks("yaml") if block.startswith("name: my_run"))
    (home / "my_run.yaml").write_text(yaml_text)
    config = load_config(home / "my_run.yaml").run
    bare = {"data": config.data.model_dump(), "features": [{"kind": part.kind} for part in config.features]}
    assert load_config({"name": "my_run", **bare}).run == config
    sections = json.loads(json.dumps(config.model_dump(), default=str))
    for section, body in sections.items():
        assert re.search(rf"^{section}:", yaml_text, flags=re.MULTILINE)
        for key in body if isinstance(body, dict) else ():
            assert re.search(rf"\b{key}:", yaml_text), f"{section}.{key} is not in the README's config"


def test_error_sample_equals_the_output(home: Path) -> None:
    sample = next(block for block in blocks("text") if block.startswith("my_run.yaml:"))
    (home / "my_run.yaml").write_text(
        "name: my_run\ndata:\n  source: {kind: sample}\n  start: 2020-13-45\nfeatures:\n"
        "  - {kind: lagged_returns,    lag: [1]}\n"
    )
    result = CliRunner().invoke(main, ["run", "my_run.yaml"])
    assert set(sample.splitlines()) <= set(result.stderr.splitlines())


@pytest.mark.usefixtures("without_drawing")
def test_cagr_of_the_textbook_conventions(home: Path) -> None:
    match = re.search(r"CAGR\s+of ([0-9.]+%) against ([0-9.]+%)", README)
    assert match
    runs = CliRunner().invoke(
        main, ["run", "configs/sp500_textbook.yaml", "configs/sp500_daily.yaml", "--json", "--quiet"]
    )
    cagr = [json.loads(line)["backtest"]["strategy"]["cagr"] for line in runs.stdout.splitlines()]
    assert [f"{rate:.1%}" for rate in cagr] == list(match.groups())


def test_picture_and_metrics_are_of_the_current_program(home: Path) -> None:
    CliRunner().invoke(main, ["run", "configs/sp500_daily.yaml", "--name", "example", "--quiet"])
    made, shipped = (imread(folder / "tearsheet.png") for folder in (home / "reports" / "example", EXAMPLE))
    assert made.shape == shipped.shape
    # Another version of matplotlib may place a letter a fraction of a pixel elsewhere; a changed page differs more.
    assert np.abs(made - shipped).mean() < 0.004
    actual, expected = (
        json.loads((folder / "metrics.json").read_text()) for folder in (home / "reports/example", EXAMPLE)
    )
    assert actual["verdict"] == expected["verdict"]
    for key, value in expected["backtest"]["strategy"].items():
        assert actual["backtest"]["strategy"][key] == (None if value is None else pytest.approx(value, rel=1e-6))
