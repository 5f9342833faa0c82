"""Options that several verbs share, each declared once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from quantlr.cli.completion import complete_config_path, complete_report_name, complete_setting_key

F = TypeVar("F", bound=Callable[..., Any])


def config_argument(command: F) -> F:
    """Give a verb the config that it reads."""
    return click.argument("config", type=click.Path(path_type=Path), shell_complete=complete_config_path)(command)


def configs_argument(command: F) -> F:
    """Give a verb the configs that it reads, one or more."""
    path = click.Path(path_type=Path)
    return click.argument("configs", nargs=-1, required=True, type=path, shell_complete=complete_config_path)(command)


def config_options(command: F) -> F:
    """Give a verb what those that read a config take: ``--set`` and ``--name``."""
    return _combine_options(
        click.option(
            "--set",
            "settings",
            multiple=True,
            metavar="KEY=VALUE",
            shell_complete=complete_setting_key,
            help="Set a key, like features.0.lags=[1,2].",
        ),
        click.option(
            "--name", shell_complete=complete_report_name, help="Name of the report, instead of the config's."
        ),
    )(command)


def offline_option(command: F) -> F:
    """Give a verb what those that read prices take: ``--offline``."""
    return click.option("--offline", is_flag=True, help="Use stored prices only; never ask the network.")(command)


def output_option(command: F) -> F:
    """Give a verb what those that write take: ``--output``."""
    return click.option(
        "--output",
        default="reports",
        type=click.Path(path_type=Path),
        show_default=True,
        help="Folder of reports.",
    )(command)


def jobs_option(command: F) -> F:
    """Give a verb what those that share work out over processes take: ``--jobs``."""
    return click.option(
        "--jobs",
        type=click.IntRange(min=1),
        metavar="N",
        help="Processes that share many tickers out; as many as there are cores unless told. Results are the same.",
    )(command)


def display_options(command: F) -> F:
    """Give a verb what all take: ``--json``, ``--quiet`` and ``-v``."""
    return _combine_options(
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object per config on stdout."),
        click.option("--quiet", is_flag=True, help="Print errors only."),
        click.option("-v", "--verbose", is_flag=True, help="Print every note, interval and error."),
    )(command)


def _combine_options(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Return one decorator that declares options in the order of their names here."""

    def apply_options(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return apply_options
