"""``quantlr init [NAME]``: write a config to start from."""

from __future__ import annotations

import json
import re
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from quantlr.cli.options import telling_options
from quantlr.disk import put
from quantlr.errors import ConfigError, Fault, OutputError

if TYPE_CHECKING:
    from rich.console import Console

WHOLE = Path(__file__).parent / "template.yaml"
"""The config that explains every key."""
NAMED = re.compile(r"^name: \S+", re.MULTILINE)
EXTENDS = re.compile(r"^extends: (\S+)", re.MULTILINE)


def _templates(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    return [CompletionItem(name) for name in shipped() if name.startswith(incomplete)]


@click.command("init")
@click.argument("name", default="my_run")
@click.option(
    "--from",
    "template",
    metavar="CONFIG",
    shell_complete=_templates,
    help="Copy a config that ships with quantlr, as sp500_daily, instead of the one that explains every key.",
)
@click.option(
    "--output", default=".", type=click.Path(path_type=Path), show_default="this one", help="Folder of the config."
)
@telling_options
def command(name: str, *, template: str | None, output: Path, as_json: bool, quiet: bool, verbose: bool) -> None:
    """Write NAME.yaml, a config that runs as it is, with every key explained; a file that is there stays as it is.

    NAME is my_run unless told, and names the report as well. With -v the config is shown too.
    """
    from quantlr.cli.terminal import console, status_of

    one = partial(_init, name, template, output, console(quiet=quiet), as_json=as_json, verbose=verbose)
    sys.exit(status_of(one, console()))


def shipped() -> dict[str, Path]:
    """Return the configs that ship with quantlr, by name: beside the package, or inside where it was installed."""
    package = Path(__file__).parents[1]
    folder = next((place for place in (package / "configs", package.parent / "configs") if place.is_dir()), package)
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def _init(name: str, template: str | None, output: Path, out: Console, *, as_json: bool, verbose: bool) -> None:
    name = name.removesuffix(".yaml")
    _require_name(name)
    source = WHOLE if template is None else _named(template)
    text = NAMED.sub(f"name: {_as_text(name)}", source.read_text(encoding="utf-8"), count=1)
    path = output / f"{name}.yaml"
    _write_new(path, text)
    written = [path, *_write_ground(text, source, output)]
    _show(written, out, text=text if verbose else "")
    if as_json:
        click.echo(json.dumps({"name": name, "config": str(path), "written": [str(file) for file in written]}))


def _require_name(name: str) -> None:
    """Refuse what could not be the name of a report."""
    from pydantic import TypeAdapter, ValidationError

    from quantlr.config import Name

    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError:
        needs = "needs 1 to 80 of A-Z a-z 0-9 . _ -, not beginning with a dot"
        elsewhere = "; a folder goes into --output" if "/" in name or "\\" in name else ""
        raise ConfigError(f"name: {needs}, found {name[:100]!r}{elsewhere}") from None


def _as_text(name: str) -> str:
    """Return a name as YAML takes it for text: 2024 and null would be something else."""
    from quantlr.config.written import scalar

    return name if isinstance(scalar(name, folder=Path()), str) else f'"{name}"'


def _named(template: str) -> Path:
    from difflib import get_close_matches

    known = shipped()
    stem = template.removesuffix(".yaml")
    if stem not in known:
        near = get_close_matches(stem, known, n=1)
        guess = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        raise ConfigError(f"--from: no config {template!r} ships with quantlr; {guess}")
    return known[stem]


def _write_ground(text: str, source: Path, output: Path) -> list[Path]:
    """Write what a config extends beside it, unless it is there, and return what was written."""
    found = EXTENDS.search(text)
    if found is None:
        return []
    ground = source.with_name(found.group(1))
    content = ground.read_text(encoding="utf-8")
    path = output / ground.name
    written = [] if path.exists() else [path]
    if written:
        _write_new(path, content)
    return [*written, *_write_ground(content, ground, output)]


def _write_new(path: Path, text: str) -> None:
    """Write a file that is not there yet.

    Raises
    ------
    OutputError : it is there, or its folder can't be.
    Fault : the disk is full or read-only.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(exist_ok=False)
        try:
            put(path, text.encode())
        except BaseException:
            path.unlink()
            raise
    except FileExistsError:
        if path.parent.is_file():
            raise OutputError(f"{path.parent} is a file; choose another --output") from None
        raise OutputError(f"{path} is there already and stays as it is; choose another NAME or --output") from None
    except NotADirectoryError:
        raise OutputError(f"{path.parent} is not a folder; choose another --output") from None
    except OSError as error:
        raise Fault(f"{path} could not be written: {error.strerror or error}") from error


def _show(written: list[Path], out: Console, *, text: str) -> None:
    from rich.text import Text

    from quantlr.cli.terminal import link

    path = written[0]
    out.print(Text.assemble("config in ", link(path)), soft_wrap=True)
    for ground in written[1:]:
        out.print(Text.assemble("it extends ", link(ground), ", written too"), soft_wrap=True)
    if text:
        out.print(Text(text), soft_wrap=True)
    for verb, words in (("run", "runs it"), ("plan", "says what that would do"), ("features", "lists what to look at")):
        file = "" if verb == "features" else f" {path}"
        out.print(Text.assemble(("  ", ""), (f"quantlr {verb}{file}", "cyan"), (f"  {words}", "dim")), soft_wrap=True)
