"""``quantlr trials``: the ledger of what was tried, and the retraction of a trial that an audit convicted."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from quantlr.cli.options import Options, verb
from quantlr.core.errors import UserError

if TYPE_CHECKING:
    from rich.text import Text

    from quantlr.experiment.ledger import Ledger
    from quantlr.experiment.ledger_tables import LedgerEntry
    from quantlr.experiment.trial import Trial

MAX_TICKER_LIST_CHARS = 30
"""Characters of a list of tickers in the table."""
MAX_AUDIT_BYTES = 50_000_000


@verb("trials", "output")
@click.argument("action", type=click.Choice(["retract"]), required=False)
@click.argument("trial_id", metavar="[ID]", required=False)
@click.option(
    "--because",
    "audit_path",
    metavar="AUDIT.JSON",
    type=click.Path(path_type=Path),
    help="Result of `quantlr audit` that convicts the trial to retract.",
)
def command(options: Options, *, action: str | None, trial_id: str | None, audit_path: Path | None) -> None:
    """List the trials that verdicts count, from OUTPUT/trials.db; -v shows errors and reasons.

    With `retract ID --because AUDIT.JSON`, a trial in which an audit found look-ahead no longer counts.
    """
    from quantlr.experiment.ledger import Ledger

    ledger = Ledger.from_output_folder(options.output)
    if action is None:
        if audit_path is not None:
            raise UserError("--because is for retract: quantlr trials retract ID --because AUDIT.JSON")
        _list_trials(options, ledger)
        return
    if trial_id is None or audit_path is None:
        raise UserError("needed the trial and the audit: quantlr trials retract ID --because AUDIT.JSON")
    audit = _read_conviction(audit_path)
    reason = f"{audit_path}: {audit['leaks'][0]['text']}"
    digests = {key: audit[key] for key in ("config_sha256", "data_sha256")}
    entry = ledger.retract(trial_id, **digests, reason=reason)
    options.results.print(f"{entry.trial.name} ({_short_id(entry)}) no longer counts: {reason}")
    options.print_json(_ledger_entry_json_dict(entry))


def _read_conviction(audit_path: Path) -> dict[str, Any]:
    """Return the result of an audit that found a leak.

    Raises
    ------
    UserError : the file is none, or the audit found no leak.
    """
    from quantlr.core.file_reading import UnreadableContentError, library_errors_translated, read_json

    try:
        with library_errors_translated("the result of `quantlr audit`"):
            audit = read_json(audit_path, max_bytes=MAX_AUDIT_BYTES)
            is_clean, leaks = audit["clean"], [leak["text"] for leak in audit["leaks"]]
            digests = [str(audit[key]) for key in ("config_sha256", "data_sha256")]
    except (OSError, UnreadableContentError) as error:
        text = getattr(error, "strerror", None) or error
        raise UserError(f"{audit_path} is no result of `quantlr audit`: {text}") from error
    if is_clean or not leaks or not all(digests):
        raise UserError(f"{audit_path}: the audit found no leak; only a trial that an audit convicts can be retracted")
    return dict(audit)


def _list_trials(options: Options, ledger: Ledger) -> None:
    from rich.text import Text

    from quantlr.cli.terminal import make_table, print_table

    entries = ledger.read_entries()
    headings = ("name", "id", "last run, UTC", ">runs", ">Sharpe", "from", "to", ">trials", "tickers")
    print_table(make_table(str(ledger.path), headings, map(_ledger_entry_cells, entries)), options.results)
    for entry in entries if options.verbose else ():
        status = "not counted" if entry.is_shown_candidate else "retracted"
        for word, text in (("failed", entry.trial.error), (status, entry.retracted)):
            if text is not None:
                options.results.print(Text.assemble((f"{_name_text(entry.trial)} {word} ", "yellow"), text))
    options.messages.print(
        "Sharpe: annual, over the sessions from ... to; trials: number on overlapping prices, which verdicts count"
    )
    options.print_json({"ledger": str(ledger.path), "trials": [_ledger_entry_json_dict(entry) for entry in entries]})


def _ledger_entry_cells(entry: LedgerEntry) -> tuple[str | Text, ...]:
    """Return the cells of a trial's row, its Sharpe ratio per year."""
    from rich.text import Text

    from quantlr.report.summary import ticker_list_text

    trial = entry.trial
    tickers = json.loads(trial.config)["data"]["tickers"]
    return (
        _name_text(trial),
        _short_id(entry),
        f"{entry.last_run:.16}".replace("T", " "),
        f"{entry.runs:,}",
        _annual_sharpe_text(entry),
        trial.result.first_session if trial.result else "",
        trial.result.last_session if trial.result else "",
        f"{entry.n_related_trials:,}",
        Text(ticker_list_text(tickers, max_chars=MAX_TICKER_LIST_CHARS), style="dim"),
    )


def _short_id(entry: LedgerEntry) -> str:
    from quantlr.experiment.ledger_tables import ID_DIGITS_SHOWN

    return entry.id[:ID_DIGITS_SHOWN]


def _name_text(trial: Trial) -> str:
    return f"{trial.name} ({trial.variation})" if trial.variation else trial.name


def _annual_sharpe_text(entry: LedgerEntry) -> str:
    result = entry.trial.result
    if entry.retracted is not None:
        return "not counted" if entry.is_shown_candidate else "retracted"
    if result is None:
        return "failed"
    return "-" if result.sharpe is None else f"{result.sharpe * math.sqrt(result.sessions_per_year):.2f}"


def _ledger_entry_json_dict(entry: LedgerEntry) -> dict[str, Any]:
    """Return a trial as JSON has it, its Sharpe ratio per session."""
    trial, config, result = entry.trial, json.loads(entry.trial.config), entry.trial.result
    values = asdict(entry) | {"together": entry.n_related_trials}
    del values["trial"], values["n_related_trials"]
    return {
        **{key: getattr(trial, key) for key in ("name", "variation", "data_sha256", "config_sha256", "error")},
        "tickers": config["data"]["tickers"],
        "label": config["label"],
        "config": config,
        "sharpe": result and result.sharpe,
        "sessions": result and result.n_sessions,
        "sessions_per_year": result and result.sessions_per_year,
        "first_session": result and result.first_session,
        "last_session": result and result.last_session,
        **values,
    }
