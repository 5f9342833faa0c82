"""The command line: one file per verb, imported when the verb is called."""

from __future__ import annotations

import io
import os
import signal
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from quantlr.cli.options import SHELL_SETUP_LINES
from quantlr.core.errors import (
    INTERRUPTED_EXIT_STATUS,
    INTERRUPTED_TEXT,
    SYSTEM_ERROR_EXIT_STATUS,
    system_error_text,
)

COMMAND_HELP = {
    "init": "Write a config to start from, with every key explained.",
    "plan": "Show what a run would do, down to the dates of its folds.",
    "run": "Run experiments and write their reports.",
    "compare": "Compare runs pair by pair, with adjusted p values.",
    "worth": "Test what each feature adds to the forecasts.",
    "sweep": "Run every setting of a grid, and judge the best one.",
    "race": "Compare the model with other classifiers and the naive rules.",
    "robustness": "Show what a result depends on: spans, regimes, tickers, costs, delays and settings.",
    "audit": "Test on your own config and data that nothing looks ahead.",
    "predict": "Forecast the next close from the newest prices, with the reasons, the position and the verdict.",
    "watch": "Show a config as a page that is renewed whenever the file is saved.",
    "export": "Write figures, tables or all pages of a report as SVG, PDF, PNG, Excel or CSV.",
    "trials": "List the trials in the ledger.",
    "data": "Download prices into the cache, list what it holds, and check it.",
    "features": "List the features that a config may use.",
    "labels": "List the labels that a config may use.",
    "models": "List the models that a config may use.",
    "policies": "List the policies, from probability to position.",
    "overlays": "List the overlays, which change positions afterwards.",
    "sources": "List the sources of prices.",
    "schema": "Print the JSON Schema of a config, for editors.",
}
"""Each verb and its line of help, in the order in which they are used, so that help imports no verb."""
CATALOG_VERBS = ("features", "labels", "models", "policies", "overlays", "sources", "schema")
"""Verbs that share the module `catalog`; each other verb has a module of its name."""


def _working_folder_exists() -> bool:
    try:
        return bool(Path.cwd())
    except OSError:
        return False


def _discard_unwritten_output() -> None:
    """Let the interpreter end without an error about output that can't be written."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, AttributeError):
            with suppress(OSError, AttributeError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class LazyCommandGroup(click.Group):
    """A group whose verbs are imported when they are called."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Run the program; an error of the system that no part has turned into its own ends with one sentence.

        Characters that the output's encoding lacks are written as escapes.
        """
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        try:
            try:
                return super().main(*args, **options)
            finally:
                for stream in filter(None, (sys.stdout, sys.stderr)):
                    stream.flush()
        except OSError as error:
            _discard_unwritten_output()
            text = system_error_text(error)
            try:
                path = error.filename if isinstance(error.filename, str) else ""
                path = path if _working_folder_exists() else "the working folder no longer exists; change to another"
                click.echo(f"{path}: {text}" if path else text, err=True)
            except OSError:
                _discard_unwritten_output()  # no message can be written
            sys.exit(SYSTEM_ERROR_EXIT_STATUS)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs."""
        return list(COMMAND_HELP)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a verb, None for an unknown name."""
        if cmd_name not in COMMAND_HELP:
            return None
        module, attribute = ("catalog", cmd_name) if cmd_name in CATALOG_VERBS else (cmd_name, "command")
        command = getattr(import_module(f"quantlr.cli.{module}"), attribute)
        return command if isinstance(command, click.Command) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the verb that is called; the error for an unknown one names the nearest, whatever its case."""
        if args and args[0] not in COMMAND_HELP and not args[0].startswith("-"):
            from quantlr.cli.terminal import near_match_hint

            ctx.fail(f"no command {args[0]!r}; {near_match_hint(args[0], list(COMMAND_HELP))}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a verb; Ctrl-C ends the program with 130, also while a verb is still being imported."""
        try:
            if signal.getsignal(signal.SIGINT) not in (signal.SIG_IGN, signal.default_int_handler):
                signal.signal(signal.SIGINT, signal.default_int_handler)
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo(INTERRUPTED_TEXT, err=True)
            ctx.exit(INTERRUPTED_EXIT_STATUS)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """Complete verbs and options without importing any verb."""
        verbs = [CompletionItem(verb, help=text) for verb, text in COMMAND_HELP.items() if verb.startswith(incomplete)]
        return verbs + click.Command.shell_complete(self, ctx, incomplete)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write how to switch on completion in a shell."""
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

    Logistic regression on walk-forward windows of prices, trained by gradient descent (by default with the inverse
    Hessian as its learning rate: Newton's method), backtested after costs, and judged. Begin with: quantlr init NAME
    """
