"""The command line: one file per verb, imported when the verb is called."""

from __future__ import annotations

import atexit
import gc
from functools import cache
from importlib import import_module
from typing import Any

import click
from click.shell_completion import CompletionItem

from quantlr.cli.completion import SHELL_SETUP_LINES

INTERRUPTED_EXIT_STATUS = 130
GC_THRESHOLD_OBJECTS = 100_000
"""New objects after which cycles are looked for; Python's 700 is a seventh of the time that imports take."""
COMMAND_HELP = {
    "run": "Run experiments and write their reports.",
    "plan": "Say what a run would do, down to the dates of its folds.",
    "predict": "Say what the newest close tells, why, and what to hold.",
    "sweep": "Try every setting of a grid, and judge the best one.",
    "audit": "Prove on your own config and data that nothing looks ahead.",
    "data": "Fetch prices into the store, list what it holds, and check it.",
    "init": "Write a config to start from, with every key explained.",
    "features": "List the features and labels that a config may use.",
    "compare": "Set runs side by side: what is larger than luck?",
    "schema": "Print the JSON Schema of a config, for editors.",
    "trials": "Show what was tried so far.",
}
"""Each verb has a module of its name beside this one, and is described here so that help needs no import."""


@cache
def reduce_garbage_collection() -> None:
    """Look for cycles of objects seldom, and not once more at the end: that alone takes a third of a second."""
    gc.set_threshold(GC_THRESHOLD_OBJECTS)
    atexit.register(gc.freeze)


class LazyCommandGroup(click.Group):
    """A group whose verbs are imported on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order of a day's work."""
        return list(COMMAND_HELP)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a verb, None where there is none of that name."""
        if cmd_name not in COMMAND_HELP:
            return None
        command = import_module(f"quantlr.cli.{cmd_name}").command
        return command if isinstance(command, click.Command) else None

    def invoke(self, ctx: click.Context) -> Any:
        """Run a verb; Ctrl-C ends the program with 130, also while a verb is still being imported."""
        reduce_garbage_collection()
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("interrupted; what was there before is untouched", err=True)
            ctx.exit(INTERRUPTED_EXIT_STATUS)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """Complete verbs and options without importing any verb."""
        verbs = [
            CompletionItem(verb, help=words) for verb, words in COMMAND_HELP.items() if verb.startswith(incomplete)
        ]
        return verbs + click.Command.shell_complete(self, ctx, incomplete)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what makes the shell complete what is typed."""
        with formatter.section("Completion with Tab, of verbs, options, configs and --set keys; a line in"):
            formatter.write_dl(list(SHELL_SETUP_LINES.items()))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of verbs without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMAND_HELP.items()))


@click.group("quantlr", cls=LazyCommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="quantlr", message="%(prog)s %(version)s")
def main() -> None:
    """Can the direction of tomorrow's close be predicted, and would it pay?

    Logistic regression by gradient descent, walked forward through prices, traded on paper, and judged.
    """
