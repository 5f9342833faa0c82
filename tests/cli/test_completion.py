"""What Tab offers, asked of click's own completion as a shell would."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete
from click.testing import Result
from quantlr.cli import COMMAND_HELP, main
from quantlr.config.run_config import load_config, parse_setting

Call = Callable[..., Result]
SHELLS: tuple[type[ShellComplete], ...] = (BashComplete, ZshComplete, FishComplete)


def offered(*words: str) -> list[str]:
    """Return what is offered for the last of some words."""
    shell = BashComplete(main, {}, "quantlr", "_QUANTLR_COMPLETE")
    *before, last = words
    return [item.value if item.type == "plain" else item.type for item in shell.get_completions(before, last)]


def test_verbs_are_offered_with_what_they_do() -> None:
    shell = ZshComplete(main, {}, "quantlr", "_QUANTLR_COMPLETE")
    assert {item.value: item.help for item in shell.get_completions([], "")} == COMMAND_HELP
    assert offered("pr") == ["predict"]
    assert "--version" in offered("--")


def test_options_are_offered() -> None:
    assert {"--set", "--name", "--offline", "--output", "--json", "--quiet"} <= {*offered("run", "exp.yaml", "--")}
    assert offered("data", "") == ["fetch", "list", "verify"]


def test_a_folder_of_configs_offers_them_and_other_folders_are_left_to_the_shell(call: Call) -> None:
    Path("configs").mkdir()
    for name in ("b.yaml", "a.yml", "notes.txt", ".hidden.yaml"):
        Path("configs", name).write_text("")
    for verb in (["run"], ["plan"], ["predict"], ["audit"], ["data", "fetch"]):
        assert offered(*verb, "configs/") == ["configs/.hidden.yaml", "configs/a.yml", "configs/b.yaml"]
        assert offered(*verb, "configs/b") == ["configs/b.yaml"]
        assert offered(*verb, "") == offered(*verb, "nowhere/") == offered(*verb, "configs/notes") == ["file"]
    assert offered("run", "exp") == ["exp.yaml"]


def test_the_keys_that_may_be_set_are_those_of_the_config_before(call: Call) -> None:
    keys = offered("run", "exp.yaml", "--set", "")
    assert {"walk_forward.train=", "features.0.lags=", "policy.short_below=", "data.source.kind=", "seed="} <= {*keys}
    assert offered("run", "exp.yaml", "--set", "walk_forward.t") == ["walk_forward.train="]
    assert offered("run", "exp.yaml", "--set", "seed=") == []
    for key in keys:
        assert key.endswith("=")
        assert parse_setting(f"{key}1")[0] == key[:-1]
    assert load_config("exp.yaml", settings=["execution.commission_bps=3"]).run.execution.commission_bps == 3


def test_without_a_config_that_can_be_read_those_of_any_are_offered(call: Call) -> None:
    for words in (("run", "--set", ""), ("run", "nothing.yaml", "--set", ""), ("predict", "nothing.yaml", "--set", "")):
        keys = offered(*words)
        assert {"walk_forward.train=", "data.tickers=", "model.l2=", "features=", "overlays="} <= {*keys}, words


def test_names_of_reports_are_offered(call: Call) -> None:
    assert offered("run", "exp.yaml", "--name", "") == []
    for folder in ("reports/one", "reports/two", "reports/.new", "elsewhere/three"):
        Path(folder).mkdir(parents=True)
        Path(folder, "metrics.json").write_text("{}")
    assert offered("run", "exp.yaml", "--name", "") == ["one", "two"]
    assert offered("run", "exp.yaml", "--output", "elsewhere", "--name", "t") == ["three"]


def test_templates_are_offered() -> None:
    assert offered("init", "x", "--from", "sp5") == ["sp500_daily", "sp500_textbook"]


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell.name)
def test_help_says_how_a_shell_is_taught(shell: type[ShellComplete], call: Call) -> None:
    taught = shell(main, {}, "quantlr", "_QUANTLR_COMPLETE")
    assert f"_QUANTLR_COMPLETE={shell.name}_source quantlr" in " ".join(call("--help").stdout.split())
    assert "_QUANTLR_COMPLETE" in taught.source_template % taught.source_vars()


def test_verbs_are_offered_without_importing_what_they_need() -> None:
    code = (
        "import sys\nfrom click.shell_completion import BashComplete\nfrom quantlr.cli import main\n"
        "BashComplete(main, {}, 'quantlr', '_QUANTLR_COMPLETE').get_completions(['run'], '--')\n"
        "print([name for name in ('pandas', 'rich', 'pydantic', 'quantlr.cli.data') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"
