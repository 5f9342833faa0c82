"""``quantlr predict CONFIG``: what the newest close says, and what the strategy would hold."""

from __future__ import annotations

import datetime as dt
import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from quantlr.cli.options import config_argument, config_options, display_options, jobs_option, offline_option

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from quantlr.experiment.predict import Prediction, Predictions

MAX_TICKERS_EXPLAINED = 5
"""Tickers whose features are all shown without being asked for."""


@click.command("predict")
@config_argument
@click.option(
    "--stale-after",
    default=5,
    show_default=True,
    type=click.IntRange(min=0),
    metavar="DAYS",
    help="Warn where the newest session is older than this.",
)
@config_options
@offline_option
@jobs_option
@display_options
def command(
    config: Path,
    *,
    stale_after: int,
    settings: tuple[str, ...],
    name: str | None,
    offline: bool,
    jobs: int | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Say what CONFIG's model expects after the newest close, why, and what the strategy would hold.

    The model is the one that the walk-forward's schedule of refits has for the newest session, and the computation is
    that of the backtest. Nothing is written.
    """
    from quantlr.cli.terminal import make_console, run_for_exit_status

    one = partial(_predict_and_print, config, settings, name, offline, stale_after, jobs, make_console(quiet=quiet))
    sys.exit(run_for_exit_status(partial(one, as_json=as_json, verbose=verbose), make_console()))


def _predict_and_print(
    config_path: Path,
    settings: tuple[str, ...],
    name: str | None,
    offline: bool,
    stale_after: int,
    jobs: int | None,
    console: Console,
    *,
    as_json: bool,
    verbose: bool,
) -> None:
    from dataclasses import asdict

    from quantlr.cli.progress import progress_bar
    from quantlr.config.run_config import load_config
    from quantlr.core.parallel import available_cores
    from quantlr.experiment.predict import predict_config

    config = load_config(config_path, settings=settings, name=name)
    today = dt.datetime.now().astimezone().date()
    with progress_bar(console) as progress:
        found = predict_config(
            config,
            today=today,
            stale_after=stale_after,
            offline=offline,
            workers=jobs or available_cores(),
            progress=progress,
        )
    _print_predictions(found, console, verbose=verbose)
    if as_json:
        click.echo(json.dumps(asdict(found), ensure_ascii=False, allow_nan=False))


def _print_predictions(predictions: Predictions, console: Console, *, verbose: bool) -> None:
    from rich.text import Text

    from quantlr.cli.terminal import print_table

    print_table(_predictions_table(predictions), console)
    explained = verbose or len(predictions.tickers) <= MAX_TICKERS_EXPLAINED
    for one in predictions.tickers if explained else ():
        print_table(_contributions_table(one), console)
    if not explained:
        console.print(Text("why: -v shows it for every ticker, and so does --json", style="dim"))
    for filled in dict.fromkeys(one.filled for one in predictions.tickers):
        console.print(Text(f"filled {filled}"))
    if predictions.horizon > 1:
        console.print(Text(f"what is held is the mean of the last {predictions.horizon} decisions"))
    _print_notes_and_warnings(predictions, console, verbose=verbose)


def _print_notes_and_warnings(predictions: Predictions, console: Console, *, verbose: bool) -> None:
    from rich.text import Text

    from quantlr.report.summary import condense_notes, note_text

    for note in predictions.notes if verbose else condense_notes(predictions.notes):
        console.print(Text.assemble(("note ", "yellow"), note_text(note)))
    said: dict[str, list[str]] = {}
    for one in predictions.tickers:
        for warning in one.warnings:
            said.setdefault(warning, []).append(one.ticker)
    for warning, tickers in said.items():
        console.print(Text.assemble(("warning ", "bold yellow"), f"{', '.join(tickers)}: {warning}"))


def _predictions_table(predictions: Predictions) -> Table:
    """Return a table with a line for each ticker."""
    from rich.table import Table

    ahead = "the next close" if predictions.horizon == 1 else f"the close {predictions.horizon} sessions on"
    title = f"{predictions.name}: is {ahead} higher?"
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("")
    table.add_column("as of")
    table.add_column("up", justify="right")
    table.add_column("base rate", justify="right")
    table.add_column("hold")
    for one in predictions.tickers:
        table.add_row(one.ticker, one.as_of, f"{one.probability:.1%}", f"{one.trained.base_rate:.1%}", one.position)
    return table


def _contributions_table(prediction: Prediction) -> Table:
    """Return a table of what adds up to the log odds of one ticker."""
    from rich.table import Table

    trained = prediction.trained
    title = (
        f"why {prediction.ticker}: refit of {trained.refit} on {trained.rows:,} rows, {trained.first} to {trained.last}"
    )
    table = Table(title=title, title_justify="left", title_style="", box=None, pad_edge=False)
    table.add_column("")
    for heading in ("value", "training mean", "coefficient", "adds to the log odds"):
        table.add_column(heading, justify="right")
    table.add_row("all at their means", "", "", "", f"{prediction.at_the_mean:+.4f}")
    for part in prediction.contributions:
        table.add_row(
            part.feature, f"{part.value:.4g}", f"{part.mean:.4g}", f"{part.coefficient:.4g}", f"{part.log_odds:+.4f}"
        )
    table.add_row("log odds", "", "", "", f"{prediction.log_odds:+.4f}", style="bold")
    return table
