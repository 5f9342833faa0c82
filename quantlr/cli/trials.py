"""``quantlr trials``: the ledger of what was tried."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from quantlr.cli.options import Options, verb

if TYPE_CHECKING:
    from rich.text import Text

    from quantlr.experiment.ledger import LedgerEntry, Trial

MAX_TICKER_LIST_CHARS = 30
"""Characters of a list of tickers in the table."""


@verb("trials", "output")
def command(options: Options) -> None:
    """List the trials that the deflated Sharpe ratio counts, from OUTPUT/trials.db; -v shows errors of failed ones."""
    from rich.text import Text

    from quantlr.cli.terminal import make_table, print_table
    from quantlr.experiment.ledger import Ledger

    ledger = Ledger.from_output_folder(options.output)
    entries = ledger.read_entries()
    headings = ("name", "last run, UTC", ">runs", ">Sharpe", ">trials", "tickers", "label")
    print_table(make_table(str(ledger.path), headings, map(_ledger_entry_cells, entries)), options.results)
    for entry in entries if options.verbose else ():
        if entry.trial.error is not None:
            options.results.print(Text.assemble((f"{entry.trial.name} failed ", "yellow"), entry.trial.error))
    text = "trials: number with the same label and a ticker in common, which the deflated Sharpe ratio counts"
    options.messages.print(text)
    options.print_json({"ledger": str(ledger.path), "trials": [_ledger_entry_json_dict(entry) for entry in entries]})


def _ledger_entry_cells(entry: LedgerEntry) -> tuple[str | Text, ...]:
    """Return the cells of a trial's row, its Sharpe ratio per year."""
    from rich.text import Text

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
        Text(ticker_list_text(trial.tickers, max_chars=MAX_TICKER_LIST_CHARS), style="dim"),
        Text(" ".join((kind, *map(str, label.values()))), style="dim"),
    )


def _annual_sharpe_text(trial: Trial) -> str:
    if trial.error is not None:
        return "failed"
    if trial.sharpe is None:
        return "-"
    sessions_per_year = json.loads(trial.config)["report"]["sessions_per_year"]
    if sessions_per_year == "auto":  # a trial whose run was stopped before it was recorded as a whole
        return "-"
    return f"{trial.sharpe * math.sqrt(sessions_per_year):.2f}"


def _ledger_entry_json_dict(entry: LedgerEntry) -> dict[str, Any]:
    """Return a trial as JSON has it, its Sharpe ratio per session."""
    values = asdict(entry)
    trial: dict[str, Any] = values.pop("trial")
    values["together"] = values.pop("n_related_trials")
    return trial | {key: json.loads(trial[key]) for key in ("label", "config")} | values
