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

from quantlr.cli.options import display_options
from quantlr.core.atomic import atomic_write
from quantlr.core.errors import ConfigError, Fault, OutputError

if TYPE_CHECKING:
    from rich.console import Console

TEMPLATE_PATH = Path(__file__).parent / "template.yaml"
"""The config that explains every key."""
NAME_LINE_PATTERN = re.compile(r"^name: \S+", re.MULTILINE)
EXTENDS_LINE_PATTERN = re.compile(r"^extends: (\S+)", re.MULTILINE)


def _complete_template_name(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    return [CompletionItem(name) for name in shipped_config_paths() if name.startswith(incomplete)]


@click.command("init")
@click.argument("name", default="my_run")
@click.option(
    "--from",
    "template",
    metavar="CONFIG",
    shell_complete=_complete_template_name,
    help="Copy a config that ships with quantlr, as sp500_daily, instead of the one that explains every key.",
)
@click.option(
    "--output", default=".", type=click.Path(path_type=Path), show_default="this one", help="Folder of the config."
)
@display_options
def command(name: str, *, template: str | None, output: Path, as_json: bool, quiet: bool, verbose: bool) -> None:
    """Write NAME.yaml, a config that runs as it is, with every key explained; a file that is there stays as it is.

    NAME is my_run unless told, and names the report as well. With -v the config is shown too.
    """
    from quantlr.cli.terminal import make_console, run_for_exit_status

    one = partial(
        _write_config_from_template, name, template, output, make_console(quiet=quiet), as_json=as_json, verbose=verbose
    )
    sys.exit(run_for_exit_status(one, make_console()))


def shipped_config_paths() -> dict[str, Path]:
    """Return the configs that ship with quantlr, by name: beside the package, or inside where it was installed."""
    package = Path(__file__).parents[1]
    folder = next((place for place in (package / "configs", package.parent / "configs") if place.is_dir()), package)
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def _write_config_from_template(
    name: str, template: str | None, output: Path, console: Console, *, as_json: bool, verbose: bool
) -> None:
    name = name.removesuffix(".yaml")
    _require_valid_report_name(name)
    source = TEMPLATE_PATH if template is None else _shipped_config_path(template)
    text = NAME_LINE_PATTERN.sub(f"name: {_quote_for_yaml(name)}", source.read_text(encoding="utf-8"), count=1)
    path = output / f"{name}.yaml"
    _write_new_file(path, text)
    written = [path, *_write_extended_configs(text, source, output)]
    _print_written_configs(written, console, config_text=text if verbose else "")
    if as_json:
        click.echo(json.dumps({"name": name, "config": str(path), "written": [str(file) for file in written]}))


def _require_valid_report_name(name: str) -> None:
    """Refuse what could not be the name of a report."""
    from pydantic import TypeAdapter, ValidationError

    from quantlr.config.run_config import ReportName

    try:
        TypeAdapter(ReportName).validate_python(name)
    except ValidationError:
        needs = "needs 1 to 80 of A-Z a-z 0-9 . _ -, not beginning with a dot"
        elsewhere = "; a folder goes into --output" if "/" in name or "\\" in name else ""
        raise ConfigError(f"name: {needs}, found {name[:100]!r}{elsewhere}") from None


def _quote_for_yaml(name: str) -> str:
    """Return a name as YAML takes it for text: 2024 and null would be something else."""
    from quantlr.config.loader import parse_scalar

    return name if isinstance(parse_scalar(name, base_folder=Path()), str) else f'"{name}"'


def _shipped_config_path(template_name: str) -> Path:
    from difflib import get_close_matches

    known = shipped_config_paths()
    stem = template_name.removesuffix(".yaml")
    if stem not in known:
        near = get_close_matches(stem, known, n=1)
        guess = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        raise ConfigError(f"--from: no config {template_name!r} ships with quantlr; {guess}")
    return known[stem]


def _write_extended_configs(config_text: str, source_path: Path, output: Path) -> list[Path]:
    """Write what a config extends beside it, unless it is there, and return what was written."""
    found = EXTENDS_LINE_PATTERN.search(config_text)
    if found is None:
        return []
    ground = source_path.with_name(found.group(1))
    content = ground.read_text(encoding="utf-8")
    path = output / ground.name
    written = [] if path.exists() else [path]
    if written:
        _write_new_file(path, content)
    return [*written, *_write_extended_configs(content, ground, output)]


def _write_new_file(path: Path, text: str) -> None:
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
            atomic_write(path, text.encode())
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


def _print_written_configs(written_paths: list[Path], console: Console, *, config_text: str) -> None:
    from rich.text import Text

    from quantlr.cli.terminal import path_link

    path = written_paths[0]
    console.print(Text.assemble("config in ", path_link(path)), soft_wrap=True)
    for ground in written_paths[1:]:
        console.print(Text.assemble("it extends ", path_link(ground), ", written too"), soft_wrap=True)
    if config_text:
        console.print(Text(config_text), soft_wrap=True)
    for verb, words in (("run", "runs it"), ("plan", "says what that would do"), ("features", "lists what to look at")):
        file = "" if verb == "features" else f" {path}"
        console.print(
            Text.assemble(("  ", ""), (f"quantlr {verb}{file}", "cyan"), (f"  {words}", "dim")), soft_wrap=True
        )
