"""Options and output streams that all verbs share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from click.testing import Result
from quantlr.cli import COMMAND_HELP, main

Call = Callable[..., Result]
CALLS = {
    "run": ("exp.yaml",),
    "plan": ("exp.yaml",),
    "predict": ("exp.yaml",),
    "sweep": ("grid.yaml", "--jobs", "1"),
    "worth": ("exp.yaml", "--set", "data.end=2004-06-30"),
    "race": ("exp.yaml", "--set", "data.end=2002-06-28"),
    "robustness": ("exp.yaml", "--set", "data.end=2002-06-30"),
    "audit": ("exp.yaml", "--cuts", "1"),
    "data fetch": ("exp.yaml",),
    "data list": (),
    "data verify": (),
    "init": ("fresh",),
    "features": ("rsi",),
    "labels": (),
    "models": (),
    "policies": (),
    "overlays": (),
    "sources": (),
    "export": ("exp", "--tables"),
    "compare": ("one", "other"),
    "schema": (),
    "trials": (),
}


def commands(group: click.Group, above: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{above}{name} ")
        else:
            yield f"{above}{name}", command


COMMANDS = dict(commands(main))


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_every_verb_has_json_quiet_and_verbose(command: click.Command) -> None:
    options = {name for parameter in command.params for name in parameter.opts}
    assert {"--json", "--quiet", "-v", "--verbose"} <= options
    assert command.help
    assert {"config_path", "config_paths"}.isdisjoint(parameter.name or "" for parameter in command.params) or (
        {"--set", "--name", "--offline"} <= options
    )


@pytest.mark.parametrize("verb", [verb for verb in CALLS if verb != "schema"])  # its only result is JSON
def test_results_are_on_stdout_and_json_is_alone_on_it(
    call: Call, verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANTLR_HOME", str(tmp_path / "home"))
    text = Path("exp.yaml").read_text()
    Path("exp.yaml").write_text(text.replace("2003-06-30", "2001-06-29"))
    Path("grid.yaml").write_text("base: exp.yaml\ngrid: {model.l2: [0.0, 0.1]}\n")
    if verb in ("trials", "export"):
        call("run", "exp.yaml", "--quiet")
    for name in CALLS[verb] if verb == "compare" else ():
        call("run", "exp.yaml", "--quiet", "--name", name)
    arguments = (*verb.split(), *CALLS[verb])
    as_json = call(*arguments, "--json", "--quiet")
    assert (as_json.exit_code, as_json.stderr) == (0, "")
    (line,) = as_json.stdout.splitlines()
    assert isinstance(json.loads(line), dict)
    Path("fresh.yaml").unlink(missing_ok=True)
    as_text = call(*arguments, "-v")
    assert as_text.exit_code == 0
    assert as_text.stdout.strip()
    assert "\x1b" not in as_text.output
    Path("fresh.yaml").unlink(missing_ok=True)
    json_with_text = call(*arguments, "-v", "--json")
    assert len(json_with_text.stdout.splitlines()) == 1
    assert call(*arguments, "--quiet").stdout == "" or verb == "init"


def test_every_verb_has_a_call() -> None:
    others = [verb for verb in COMMANDS if verb != "watch"]  # a server, which has tests of its own
    assert sorted(CALLS) == sorted(others)
    assert {verb.split()[0] for verb in others} == set(COMMAND_HELP) - {"watch"}
