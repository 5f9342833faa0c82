"""Shell completion, through click's completion classes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete
from click.testing import Result
from quantlr.cli import COMMAND_HELP, main
from quantlr.config.loader import parse_setting
from quantlr.config.run_config import load_config

Call = Callable[..., Result]
SHELLS: tuple[type[ShellComplete], ...] = (BashComplete, ZshComplete, FishComplete)


def completions(*words: str) -> list[str]:
    """Return the completions of the last word."""
    shell = BashComplete(main, {}, "quantlr", "_QUANTLR_COMPLETE")
    *before, last = words
    return [item.value if item.type == "plain" else item.type for item in shell.get_completions(before, last)]


def test_verbs_complete_with_their_help() -> None:
    shell = ZshComplete(main, {}, "quantlr", "_QUANTLR_COMPLETE")
    assert {item.value: item.help for item in shell.get_completions([], "")} == COMMAND_HELP
    assert completions("pr") == ["predict"]
    assert "--version" in completions("--")


def test_options_complete() -> None:
    assert {"--set", "--name", "--offline", "--output", "--json", "--quiet"} <= {*completions("run", "exp.yaml", "--")}
    assert completions("data", "") == ["fetch", "list", "verify"]


def test_configs_complete_and_other_folders_fall_back_to_the_shell(call: Call) -> None:
    Path("configs").mkdir()
    for name in ("b.yaml", "a.yml", "notes.txt", ".hidden.yaml"):
        Path("configs", name).write_text("")
    for verb in (["run"], ["plan"], ["predict"], ["audit"], ["data", "fetch"]):
        assert completions(*verb, "configs/") == ["configs/.hidden.yaml", "configs/a.yml", "configs/b.yaml"]
        assert completions(*verb, "configs/b") == ["configs/b.yaml"]
        assert (
            completions(*verb, "") == completions(*verb, "nowhere/") == completions(*verb, "configs/notes") == ["file"]
        )
    assert completions("run", "exp") == ["exp.yaml"]


def test_setting_keys_are_those_of_the_config_on_the_line(call: Call) -> None:
    keys = completions("run", "exp.yaml", "--set", "")
    assert {"walk_forward.train=", "features.0.lags=", "policy.short_below=", "data.source.kind=", "seed="} <= {*keys}
    assert completions("run", "exp.yaml", "--set", "walk_forward.t") == ["walk_forward.train="]
    assert completions("run", "exp.yaml", "--set", "seed=") == []
    for key in keys:
        assert key.endswith("=")
        assert parse_setting(f"{key}1")[0] == key[:-1]
    assert load_config("exp.yaml", settings=["execution.commission_bps=3"]).run.execution.commission_bps == 3


def test_setting_keys_without_a_readable_config_are_those_of_any(call: Call) -> None:
    for words in (("run", "--set", ""), ("run", "nothing.yaml", "--set", ""), ("predict", "nothing.yaml", "--set", "")):
        keys = completions(*words)
        assert {"walk_forward.train=", "data.tickers=", "model.l2=", "features=", "overlays="} <= {*keys}, words


def test_report_names_complete(call: Call) -> None:
    assert completions("run", "exp.yaml", "--name", "") == []
    for folder in ("reports/one", "reports/two", "reports/.new", "elsewhere/three"):
        Path(folder).mkdir(parents=True)
        Path(folder, "metrics.json").write_text("{}")
    assert completions("run", "exp.yaml", "--name", "") == ["one", "two"]
    assert completions("run", "exp.yaml", "--output", "elsewhere", "--name", "t") == ["three"]


def test_templates_complete() -> None:
    assert completions("init", "x", "--from", "sp5") == [
        "sp500_1990_2022",
        "sp500_daily",
        "sp500_select",
        "sp500_textbook",
    ]


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell.name)
def test_help_has_the_setup_line_of_each_shell(shell: type[ShellComplete], call: Call) -> None:
    completion = shell(main, {}, "quantlr", "_QUANTLR_COMPLETE")
    assert f"_QUANTLR_COMPLETE={shell.name}_source quantlr" in " ".join(call("--help").stdout.split())
    assert "_QUANTLR_COMPLETE" in completion.source_template % completion.source_vars()


def test_completion_imports_no_heavy_package() -> None:
    code = (
        "import sys\nfrom click.shell_completion import BashComplete\nfrom quantlr.cli import main\n"
        "BashComplete(main, {}, 'quantlr', '_QUANTLR_COMPLETE').get_completions(['run'], '--')\n"
        "print([name for name in ('pandas', 'rich', 'pydantic', 'quantlr.cli.data') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"
