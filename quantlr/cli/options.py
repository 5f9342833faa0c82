"""Options that several verbs share, and the record that carries their values to a verb."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from quantlr.cli.completion import complete_config_path, complete_report_name, complete_setting_key

if TYPE_CHECKING:
    from rich.console import Console

    from quantlr.core.values import Note

SHARED_OPTIONS: dict[str, Callable[..., Any]] = {
    "settings": click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="KEY=VALUE",
        shell_complete=complete_setting_key,
        help="Set a key, like features.0.lags=[1,2].",
    ),
    "name": click.option(
        "--name", shell_complete=complete_report_name, help="Name of the report, instead of the file's."
    ),
    "offline": click.option("--offline", is_flag=True, help="Use stored prices only; never ask the network."),
    "output": click.option(
        "--output", default="reports", type=click.Path(path_type=Path), show_default=True, help="Folder of reports."
    ),
    "jobs": click.option(
        "--jobs",
        type=click.IntRange(min=1),
        metavar="N",
        help="Number of processes; by default the number of cores. The results are the same for any number.",
    ),
    "as_json": click.option("--json", "as_json", is_flag=True, help="Print the results as JSON on stdout."),
    "quiet": click.option("--quiet", is_flag=True, help="Print errors only."),
    "verbose": click.option("-v", "--verbose", is_flag=True, help="Print every note, interval and error."),
}
"""The shared options, by the field of `Options` that holds their value."""
DISPLAY_OPTIONS = ("as_json", "quiet", "verbose")

config_argument = click.argument("config_path", metavar="CONFIG", type=click.Path(path_type=Path),
                                 shell_complete=complete_config_path)  # fmt: skip
configs_argument = click.argument("config_paths", metavar="CONFIGS...", nargs=-1, required=True,
                                  type=click.Path(path_type=Path), shell_complete=complete_config_path)  # fmt: skip


@dataclass(frozen=True)
class Options:
    """The values of the shared options in one call; those that a verb does not take have their defaults."""

    settings: tuple[str, ...] = ()
    name: str | None = None
    offline: bool = False
    output: Path = Path("reports")
    jobs: int | None = None
    as_json: bool = False
    quiet: bool = False
    verbose: bool = False

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
    option_names : the shared options that it takes besides those of display, as keys of `SHARED_OPTIONS`.

    The function returns the exit status, None for 0. An error of quantlr's own is printed on stderr without a
    traceback, and ends the program with its exit status.
    """
    names = (*option_names, *DISPLAY_OPTIONS)

    def make_command(function: Callable[..., int | None]) -> click.Command:
        @functools.wraps(function)
        def callback(**parameters: Any) -> None:
            from quantlr.cli.terminal import run_for_exit_status

            options = Options(**{key: parameters.pop(key) for key in names})
            sys.exit(run_for_exit_status(functools.partial(function, options, **parameters)))

        # click keeps the parameters that were declared last first: the shared ones follow the verb's own.
        own_parameters = callback.__dict__.pop("__click_params__", [])
        for key in reversed(names):
            SHARED_OPTIONS[key](callback)
        callback.__dict__["__click_params__"] += own_parameters
        return click.command(name)(callback)

    return make_command
