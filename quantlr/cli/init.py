"""``quantlr init [NAME]``: write a config to start from."""

from __future__ import annotations

import re
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from quantlr.cli.options import TEMPLATE_PATH, Options, verb
from quantlr.core.atomic import atomic_write
from quantlr.core.errors import ConfigError, Fault, OutputError

NAME_LINE_PATTERN = re.compile(r"^name: \S+", re.MULTILINE)
EXTENDS_LINE_PATTERN = re.compile(r"^extends: (\S+)", re.MULTILINE)


def _complete_template_name(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    return [CompletionItem(name) for name in shipped_config_paths() if name.startswith(incomplete)]


@verb("init")
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
def command(options: Options, *, name: str, template: str | None, output: Path) -> None:
    """Write NAME.yaml, a config that can be run as it is, with every key explained; an existing file is not replaced.

    NAME is my_run by default, and is also the name of the report. With -v the config is printed too.
    """
    name = name.removesuffix(".yaml")
    _require_valid_report_name(name)
    source = TEMPLATE_PATH if template is None else _shipped_config_path(template)
    text = NAME_LINE_PATTERN.sub(f"name: {_quote_for_yaml(name)}", source.read_text(encoding="utf-8"), count=1)
    written = [output / f"{name}.yaml"]
    _write_new_file(written[0], text)
    for file_name, extended_text in _extended_config_texts(text, source).items():
        if not (output / file_name).exists():
            written.append(output / file_name)
            _write_new_file(written[-1], extended_text)
    _print_written_configs(options, written, config_text=text if options.verbose else "")
    options.print_json({"name": name, "config": str(written[0]), "written": [*map(str, written)]})


def shipped_config_paths() -> dict[str, Path]:
    """Return the configs that ship with quantlr, by name: beside the package, or inside where it was installed."""
    package = Path(__file__).parents[1]
    folder = next((place for place in (package / "configs", package.parent / "configs") if place.is_dir()), package)
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def _require_valid_report_name(name: str) -> None:
    """Raise a ConfigError for a name that no report can have."""
    from quantlr.config.run_config import REPORT_NAME_PATTERN

    if not re.fullmatch(REPORT_NAME_PATTERN, name):
        needs = "needs 1 to 80 of A-Z a-z 0-9 . _ -, not beginning with a dot"
        elsewhere = "; name the folder with --output" if "/" in name or "\\" in name else ""
        raise ConfigError(f"name: {needs}, found {name[:100]!r}{elsewhere}")


def _quote_for_yaml(name: str) -> str:
    """Return a name so that YAML reads it as text: 2024 and null need quotes."""
    from quantlr.config.yaml_tree import parse_scalar

    return name if isinstance(parse_scalar(name, base_folder=Path()), str) else f'"{name}"'


def _shipped_config_path(template_name: str) -> Path:
    from quantlr.cli.terminal import near_match_hint

    paths, stem = shipped_config_paths(), template_name.removesuffix(".yaml")
    if stem not in paths:
        hint = near_match_hint(stem, list(paths))
        raise ConfigError(f"--from: no config {template_name!r} ships with quantlr; {hint}")
    return paths[stem]


def _extended_config_texts(config_text: str, source_path: Path) -> dict[str, str]:
    """Return the texts of the configs that a config extends, by file name, the nearest first."""
    texts: dict[str, str] = {}
    while match := EXTENDS_LINE_PATTERN.search(config_text):
        source_path = source_path.with_name(match.group(1))
        texts[source_path.name] = config_text = source_path.read_text(encoding="utf-8")
    return texts


def _write_new_file(path: Path, text: str) -> None:
    """Write a new file.

    Raises
    ------
    OutputError : the file exists, or its folder cannot be made.
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
        raise OutputError(f"{path} exists already and is not replaced; choose another NAME or --output") from None
    except NotADirectoryError:
        raise OutputError(f"{path.parent} is not a folder; choose another --output") from None
    except OSError as error:
        raise Fault(f"{path} could not be written: {error.strerror or error}") from error


def _print_written_configs(options: Options, paths: list[Path], *, config_text: str) -> None:
    from rich.text import Text

    from quantlr.cli.terminal import path_link

    results, path = options.results, paths[0]
    results.print(Text.assemble("config in ", path_link(path)), soft_wrap=True)
    for base_path in paths[1:]:
        results.print(Text.assemble("it extends ", path_link(base_path), ", written too"), soft_wrap=True)
    if config_text:
        results.print(config_text, soft_wrap=True)
    next_steps = (
        (f"quantlr run {path}", "runs it"),
        (f"quantlr plan {path}", "shows what a run would do"),
        ("quantlr features", "lists the features"),
    )
    for call, text in next_steps:
        results.print(Text.assemble("  ", (call, "cyan"), (f"  {text}", "dim")), soft_wrap=True)
