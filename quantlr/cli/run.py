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
    jobs_option,
    offline_option,
    output_option,
    telling_options,
)
from quantlr.errors import OutputError

if TYPE_CHECKING:
    from rich.console import Console

    from quantlr.pipeline import Run
    from quantlr.report.drawing import Draw


@click.command("run")
@configs_argument
@config_options
@offline_option
@output_option
@jobs_option
@telling_options
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
    from quantlr.processes import available
    from quantlr.report.drawing import drawing

    workers = jobs or available()
    # Before all else, so that the processes that draw get ready while this one calculates.
    with drawing(workers) as draw:
        from quantlr.cli.terminal import console, status_of

        out, errors = console(quiet=quiet), console()
        worst = 0
        written: dict[str, Path] = {}
        for path in configs:
            one = partial(
                _run, path, settings, name, output, workers, draw, out, written,
                offline=offline, as_json=as_json, verbose=verbose,
            )  # fmt: skip
            worst = max(worst, status_of(one, errors))
        sys.exit(worst)


def _run(
    path: Path,
    settings: tuple[str, ...],
    name: str | None,
    output: Path,
    workers: int,
    draw: Draw,
    out: Console,
    written: dict[str, Path],
    *,
    offline: bool,
    as_json: bool,
    verbose: bool,
) -> None:
    """Run one config, write its report, and say what came of it; `written` are the reports of this call so far."""
    from quantlr.cli.progress import progress_bar
    from quantlr.config import load_config
    from quantlr.pipeline import run_config
    from quantlr.report.former import former_metrics

    config = load_config(path, settings=settings, name=name)
    if config.run.name in written:
        other = written[config.run.name]
        raise OutputError(f"{path}: its report would replace that of {other}: both are named {config.run.name!r}")
    written[config.run.name] = path
    with progress_bar(out) as progress:
        done = run_config(config, output=output, offline=offline, workers=workers, progress=progress)
        former = former_metrics(output / config.run.name)
        folder = done.save(output, draw=draw, progress=progress)
    _show(done, former, folder, out, verbose=verbose)
    if as_json:
        click.echo(json.dumps(done.metrics))


def _show(done: Run, former: dict[str, Any] | None, folder: Path, out: Console, *, verbose: bool) -> None:
    from rich.text import Text

    from quantlr.backtest.fills import sharpe_by_fill
    from quantlr.cli.headline import show_headline
    from quantlr.report.summary import interval_rows, note_line, worth_saying

    show_headline(done.config.name, done.metrics, former, out)
    for label, bounds in interval_rows(done.metrics) if verbose else ():
        out.print(Text.assemble(("95% interval ", "cyan"), f"{label}: {bounds}"))
    if verbose:
        out.print(Text(f"filled otherwise: {sharpe_by_fill(done.metrics['backtest']['fills'])}"))
    for note in done.notes if verbose else worth_saying(done.notes):
        out.print(Text.assemble(("note ", "yellow"), note_line(note)))
    out.print(Text(done.verdict, style="bold"))
    _show_place(folder, out)


def _show_place(folder: Path, out: Console) -> None:
    """Say where the report is; on a terminal, what its pages answer as well."""
    from rich.text import Text

    from quantlr.cli.terminal import link
    from quantlr.report.pages import PAGES

    out.print(Text.assemble("report in ", link(folder)), soft_wrap=True)
    for page in PAGES if out.is_terminal else ():
        file = link(folder / page.file, text=page.file, style="cyan")
        out.print(Text.assemble("  ", file, (f"  {page.question}", "dim")))
