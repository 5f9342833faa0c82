"""``quantlr run CONFIG…``: run experiments and write their reports."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from quantlr.cli.options import (
    config_options,
    configs_argument,
    display_options,
    jobs_option,
    offline_option,
    output_option,
)
from quantlr.core.errors import OutputError

if TYPE_CHECKING:
    from rich.console import Console

    from quantlr.experiment.run import Run
    from quantlr.report.render import PageRenderer


@click.command("run")
@configs_argument
@config_options
@offline_option
@output_option
@jobs_option
@display_options
def command(
    configs: tuple[Path, ...],
    *,
    settings: tuple[str, ...],
    name: str | None,
    offline: bool,
    output: Path,
    jobs: int | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Run experiments and write their reports to OUTPUT/NAME."""
    from quantlr.core.parallel import available_cores
    from quantlr.report.render import open_page_renderer

    workers = jobs or available_cores()
    # Before all else, so that the processes that draw get ready while this one calculates.
    with open_page_renderer(workers) as draw:
        from quantlr.cli.terminal import make_console, run_for_exit_status

        out, errors = make_console(quiet=quiet), make_console()
        worst = 0
        written: dict[str, Path] = {}
        for path in configs:
            one = partial(
                _run_and_print, path, settings, name, output, workers, draw, out, written,
                offline=offline, as_json=as_json, verbose=verbose,
            )  # fmt: skip
            worst = max(worst, run_for_exit_status(one, errors))
        sys.exit(worst)


def _run_and_print(
    config_path: Path,
    settings: tuple[str, ...],
    name: str | None,
    output: Path,
    workers: int,
    draw: PageRenderer,
    console: Console,
    config_paths_by_name: dict[str, Path],
    *,
    offline: bool,
    as_json: bool,
    verbose: bool,
) -> None:
    """Run one config, write its report, and say what came of it; `written` are the reports of this call so far."""
    from quantlr.cli.progress import progress_bar
    from quantlr.config.run_config import load_config
    from quantlr.experiment.run import run_config
    from quantlr.report.storage import read_previous_metrics

    config = load_config(config_path, settings=settings, name=name)
    if config.run.name in config_paths_by_name:
        other = config_paths_by_name[config.run.name]
        raise OutputError(
            f"{config_path}: its report would replace that of {other}: both are named {config.run.name!r}"
        )
    config_paths_by_name[config.run.name] = config_path
    with progress_bar(console) as progress:
        done = run_config(config, output=output, offline=offline, workers=workers, progress=progress)
        former = read_previous_metrics(output / config.run.name)
        folder = done.save(output, draw=draw, progress=progress)
    _print_run(done, former, folder, console, verbose=verbose)
    if as_json:
        click.echo(json.dumps(done.metrics))


def _print_run(
    run: Run, previous_metrics: dict[str, Any] | None, report_folder: Path, console: Console, *, verbose: bool
) -> None:
    from rich.text import Text

    from quantlr.backtest.fills import sharpe_by_fill_text
    from quantlr.cli.headline import print_headline_table
    from quantlr.report.summary import condense_notes, confidence_interval_rows, note_text

    print_headline_table(run.config.name, run.metrics, previous_metrics, console)
    for label, bounds in confidence_interval_rows(run.metrics) if verbose else ():
        console.print(Text.assemble(("95% interval ", "cyan"), f"{label}: {bounds}"))
    if verbose:
        console.print(Text(f"filled otherwise: {sharpe_by_fill_text(run.metrics['backtest']['fills'])}"))
    for note in run.notes if verbose else condense_notes(run.notes):
        console.print(Text.assemble(("note ", "yellow"), note_text(note)))
    console.print(Text(run.verdict, style="bold"))
    _print_report_links(report_folder, console)


def _print_report_links(report_folder: Path, console: Console) -> None:
    """Say where the report is; on a terminal, what its pages answer as well."""
    from rich.text import Text

    from quantlr.cli.terminal import path_link
    from quantlr.report.pages import PAGES

    console.print(Text.assemble("report in ", path_link(report_folder)), soft_wrap=True)
    for page in PAGES if console.is_terminal else ():
        file = path_link(report_folder / page.file_name, text=page.file_name, style="cyan")
        console.print(Text.assemble("  ", file, (f"  {page.question}", "dim")))
