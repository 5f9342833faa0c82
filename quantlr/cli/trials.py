"""``quantlr trials``: what was tried so far, and how many trials each result has to answer for."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from quantlr.cli.options import display_options, output_option

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from quantlr.experiment.ledger import LedgerEntry, Trial

MAX_TICKER_LIST_CHARS = 30
"""Letters of a list of tickers in the table."""


@click.command("trials")
@output_option
@display_options
def command(*, output: Path, as_json: bool, quiet: bool, verbose: bool) -> None:
    """Show the trials that the deflated Sharpe ratio counts, from OUTPUT/trials.db; -v shows failed ones' errors."""
    from quantlr.cli.terminal import make_console, run_for_exit_status

    show = partial(_print_trials, output, make_console(quiet=quiet), as_json=as_json, verbose=verbose)
    sys.exit(run_for_exit_status(show, make_console()))


def _print_trials(output: Path, console: Console, *, as_json: bool, verbose: bool) -> None:
    from rich.text import Text

    from quantlr.cli.terminal import print_table
    from quantlr.experiment.ledger import Ledger

    ledger = Ledger.from_output_folder(output)
    entries = ledger.read_entries()
    print_table(_trials_table(entries, title=str(ledger.path)), console)
    for entry in entries if verbose else ():
        if entry.trial.error is not None:
            console.print(Text.assemble((f"{entry.trial.name} failed ", "yellow"), entry.trial.error))
    console.print(Text("trials: those of the same label that share a ticker, which its deflated Sharpe ratio counts"))
    if as_json:
        click.echo(json.dumps({"ledger": str(ledger.path), "trials": [_entry_json_dict(entry) for entry in entries]}))


def _trials_table(entries: list[LedgerEntry], *, title: str) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for name in ("name", "last run, UTC"):
        table.add_column(name, no_wrap=True)
    for name in ("runs", "Sharpe", "trials"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("tickers", "label"):
        table.add_column(name, style="dim")
    for entry in entries:
        table.add_row(*_entry_cells(entry))
    return table


def _entry_cells(entry: LedgerEntry) -> tuple[str, ...]:
    """Return a trial as text for people, its Sharpe ratio per year."""
    from quantlr.report.summary import ticker_list_text

    trial = entry.trial
    label = json.loads(trial.label)
    kind = label.pop("kind")
    return (
        trial.name,
        f"{entry.last_run:.16}".replace("T", " "),
        f"{entry.runs:,}",
        _annual_sharpe_text(trial),
        f"{entry.n_related_trials:,}",
        ticker_list_text(trial.tickers, max_chars=MAX_TICKER_LIST_CHARS),
        " ".join((kind, *map(str, label.values()))),
    )


def _annual_sharpe_text(trial: Trial) -> str:
    if trial.error is not None:
        return "failed"
    if trial.sharpe is None:
        return "-"
    per_year = json.loads(trial.config)["report"]["sessions_per_year"]
    return f"{trial.sharpe * math.sqrt(per_year):.2f}"


def _entry_json_dict(entry: LedgerEntry) -> dict[str, Any]:
    """Return a trial as JSON has it, its Sharpe ratio per session."""
    trial = asdict(entry.trial)
    return trial | {
        "label": json.loads(entry.trial.label),
        "config": json.loads(entry.trial.config),
        "runs": entry.runs,
        "first_run": entry.first_run,
        "last_run": entry.last_run,
        "together": entry.n_related_trials,
    }
