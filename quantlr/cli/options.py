"""Options that several verbs share, their completion in a shell, and the record that carries their values."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click import Context, Parameter
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from rich.console import Console

    from quantlr.config.run_config import LoadedConfig
    from quantlr.core.values import Note

SHELL_SETUP_LINES = {
    "~/.bashrc": 'eval "$(_QUANTLR_COMPLETE=bash_source quantlr)"',
    "~/.zshrc": 'eval "$(_QUANTLR_COMPLETE=zsh_source quantlr)"',
    "~/.config/fish/config.fish": "_QUANTLR_COMPLETE=fish_source quantlr | source",
}
"""By start-up file of a shell, the line in it that switches completion on."""
TEMPLATE_PATH = Path(__file__).parent / "template.yaml"
"""The config that explains every key."""
YAML_SUFFIXES = (".yaml", ".yml")


def complete_config_path(ctx: Context, param: Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Complete a config: the YAML files of the folder, or whatever the shell finds where the folder has subfolders."""
    start = incomplete.rpartition("/")[2]
    folder = incomplete.removesuffix(start)
    try:
        paths = sorted(path for path in Path(folder or ".").expanduser().iterdir() if path.name.startswith(start))
    except (OSError, RuntimeError):  # RuntimeError: ~ and no such user
        paths = []
    files = [path.name for path in paths if path.suffix in YAML_SUFFIXES and path.is_file()]
    folders = [path for path in paths if path.is_dir() and (start or not path.name.startswith("."))]
    if folders or not files:
        return [CompletionItem(incomplete, type="file")]
    return [CompletionItem(folder + name) for name in files]


def complete_setting_key(ctx: Context, param: Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Complete a key of ``--set``: the keys of the config on the line, or of any config where none is given."""
    if "=" in incomplete:
        return []
    # On an unfinished line, click leaves the arguments before an option without a value in `ctx.args`.
    given = ctx.params.get("config_paths") or ctx.params.get("config_path") or tuple(ctx.args)
    first: Any = given[0] if isinstance(given, tuple) and given else given
    keys = _config_keys(Path(first) if first else None)
    return [CompletionItem(f"{key}=") for key in dict.fromkeys(keys) if key.startswith(incomplete)]


def _config_keys(config_path: Path | None) -> list[str]:
    """Return the keys of a config; without a valid one, the sections and the keys of the template."""
    from quantlr.config.run_config import RunConfig, load_config
    from quantlr.core.errors import QuantlrError

    if config_path is not None:
        try:
            return list(_iter_dotted_keys(load_config(config_path).run.model_dump(mode="json"), ""))
        except QuantlrError:
            pass  # running the config shows its errors
    return [*RunConfig.model_fields, *_iter_dotted_keys(load_config(TEMPLATE_PATH).run.model_dump(mode="json"), "")]


def _iter_dotted_keys(value: Any, prefix: str) -> Iterator[str]:
    """Yield the dotted key of every value that is neither a mapping nor a list of mappings."""
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in entries:
        nested = isinstance(inner, dict) or (isinstance(inner, list) and any(isinstance(item, dict) for item in inner))
        if nested:
            yield from _iter_dotted_keys(inner, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def complete_report_name(ctx: Context, param: Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Complete the name of an existing report."""
    output = Path(ctx.params.get("output") or "reports")
    try:
        names = sorted(path.parent.name for path in output.glob("*/metrics.json"))
    except OSError:
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete) and not name.startswith(".")]


DISPLAY_OPTIONS = ("as_json", "quiet", "verbose")

config_argument = click.argument("config_path", metavar="CONFIG", type=click.Path(path_type=Path),
                                 shell_complete=complete_config_path)  # fmt: skip
configs_argument = click.argument("config_paths", metavar="CONFIGS...", nargs=-1, required=True,
                                  type=click.Path(path_type=Path), shell_complete=complete_config_path)  # fmt: skip


def _shared_option_field(*declarations: str, default: Any = None, **attributes: Any) -> Any:
    """Return a field of `Options`, and in its metadata the option of the command line that gives it a value."""
    return field(default=default, metadata={"option": click.Option(declarations, default=default, **attributes)})


def _shared_flag_field(*declarations: str, help_text: str) -> Any:
    """Return a field of `Options` that is True where the flag is given."""
    return _shared_option_field(*declarations, default=False, is_flag=True, help=help_text)


@dataclass(frozen=True)
class Options:
    """The values of the shared options in one call; those that a verb does not take have their defaults."""

    settings: tuple[str, ...] = _shared_option_field(
        "--set",
        "settings",
        default=(),
        multiple=True,
        metavar="KEY=VALUE",
        shell_complete=complete_setting_key,
        help="Set a key, like features.0.lags=[1,2].",
    )
    name: str | None = _shared_option_field(
        "--name", shell_complete=complete_report_name, help="Name of the report, instead of the file's."
    )
    offline: bool = _shared_flag_field("--offline", help_text="Use stored prices only; never ask the network.")
    output: Path = _shared_option_field(  # noqa: RUF009 - a field
        "--output",
        default=Path("reports"),
        type=click.Path(path_type=Path),
        show_default=True,
        help="Folder of reports.",
    )
    jobs: int | None = _shared_option_field(
        "--jobs",
        type=click.IntRange(min=1),
        metavar="N",
        help="Number of processes; by default the number of cores. The results are the same for any number.",
    )
    as_json: bool = _shared_flag_field("--json", "as_json", help_text="Print the results as JSON on stdout.")
    quiet: bool = _shared_flag_field("--quiet", help_text="Print errors only.")
    verbose: bool = _shared_flag_field("-v", "--verbose", help_text="Print every note, interval and error.")

    @property
    def workers(self) -> int:
        """Number of processes to use."""
        from quantlr.core.parallel import available_core_count

        return self.jobs or available_core_count()

    @functools.cached_property
    def results(self) -> Console:
        """Console of the results: stdout; stderr where stdout is to hold JSON alone."""
        from quantlr.cli.terminal import make_console

        return make_console(stderr=self.as_json, quiet=self.quiet)

    @functools.cached_property
    def messages(self) -> Console:
        """Console of progress, notes and warnings: stderr."""
        from quantlr.cli.terminal import make_console

        return make_console(stderr=True, quiet=self.quiet)

    def load_config(self, config_path: Path) -> LoadedConfig:
        """Return the config in a file, with the keys and the name of the command line."""
        from quantlr.config.run_config import load_config

        return load_config(config_path, settings=self.settings, name=self.name)

    def print_json(self, value: Any) -> None:
        """Print a value of mappings, lists and dataclasses as JSON on stdout, if --json was given."""
        if self.as_json:
            click.echo(json.dumps(value, allow_nan=False, default=asdict))

    def print_written_paths(self, paths: Iterable[Path]) -> None:
        """Print the paths of files that were written, one a line."""
        from quantlr.cli.terminal import path_link

        for path in paths:
            self.results.print("written to", path_link(path), soft_wrap=True)

    def print_notes(self, notes: Sequence[Note]) -> None:
        """Print notes on stderr, condensed without -v."""
        from quantlr.cli.terminal import print_notes
        from quantlr.report.summary import condense_notes, note_text

        print_notes(map(note_text, notes if self.verbose else condense_notes(notes)), self.messages)


def verb(name: str, *option_names: str) -> Callable[[Callable[..., int | None]], click.Command]:
    """Return a decorator that makes a command of a function of `Options` and the command's own parameters.

    Parameters
    ----------
    name : the verb.
    option_names : the shared options that it takes besides those of display, as fields of `Options`.

    The function returns the exit status, None for 0. An error of quantlr's own is printed on stderr without a
    traceback, and ends the program with its exit status.
    """
    names = (*option_names, *DISPLAY_OPTIONS)
    shared_options = {field.name: field.metadata["option"] for field in fields(Options)}

    def make_command(function: Callable[..., int | None]) -> click.Command:
        @functools.wraps(function)
        def callback(**parameters: Any) -> None:
            from quantlr.cli.terminal import run_for_exit_status

            options = Options(**{key: parameters.pop(key) for key in names})
            sys.exit(run_for_exit_status(functools.partial(function, options, **parameters), verbose=options.verbose))

        command = click.command(name)(callback)
        command.params += [shared_options[key] for key in names]
        return command

    return make_command
