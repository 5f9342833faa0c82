"""The short table of a run: its numbers, what became of those of the run before, and the numbers to beat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from quantlr.cli.terminal import has_room_for_table
from quantlr.report.storage import has_same_prices, price_dates_text
from quantlr.report.summary import HeadlineChange, headline_changes, headline_text_rows

STYLE_BY_VERDICT = {"better": "green", "worse": "red", "same": "dim", "": ""}
BASELINE_NOTE = "to beat: the base rate, in calls and log loss; else buy and hold"

HeadlineRow = tuple[str, str, str, str]


def print_headline_table(
    run_name: str, metrics: dict[str, Any], previous_metrics: dict[str, Any] | None, console: Console
) -> None:
    """Print the table, in the widest layout that there is room for."""
    rows = headline_text_rows(metrics)
    changes = headline_changes(metrics, previous_metrics) if previous_metrics else []
    moved = any(change.assessment != "same" for change in changes)
    tables = _tables_widest_first(run_name, rows, changes if moved else [])
    at = next((at for at, table in enumerate(tables) if has_room_for_table(table, console)), len(tables) - 1)
    console.print(tables[at])
    for line in (BASELINE_NOTE if at else "", _previous_run_note(metrics, previous_metrics, has_changes=moved)):
        if line:
            console.print(Text(line, style="dim"))


def _previous_run_note(metrics: dict[str, Any], previous_metrics: dict[str, Any] | None, *, has_changes: bool) -> str:
    """Return what should be known of the run before, beside its numbers."""
    if previous_metrics is None:
        return ""
    if not has_changes:
        return "no number differs from the run before"
    if has_same_prices(metrics, previous_metrics):
        return ""
    dates = price_dates_text(previous_metrics)
    return f"the run before was on other prices{f', {dates}' if dates else ''}"


def _tables_widest_first(run_name: str, rows: Sequence[HeadlineRow], changes: Sequence[HeadlineChange]) -> list[Table]:
    """Return the table as it is, without whose the numbers to beat are, and with no more than fits a narrow place."""
    return [
        _full_table(run_name, rows, changes, show_baseline_names=True),
        _full_table(run_name, rows, changes, show_baseline_names=False),
        _narrow_table(run_name, rows, changes),
    ]


def _full_table(
    run_name: str, rows: Sequence[HeadlineRow], changes: Sequence[HeadlineChange], *, show_baseline_names: bool
) -> Table:
    table = _empty_table(run_name, column_gap=2)
    for heading in ("this run", *(("before", "change") if changes else ()), "to beat"):
        table.add_column(heading, justify="left" if heading == "change" else "right", no_wrap=True)
    if show_baseline_names:
        table.add_column("", style="dim")
    for at, (label, own, to_beat, of) in enumerate(rows):
        since = [Text(changes[at].previous_text), _change_text(changes[at])] if changes else []
        table.add_row(label, own, *since, to_beat, *((of,) if show_baseline_names else ()))
    return table


def _narrow_table(run_name: str, rows: Sequence[HeadlineRow], changes: Sequence[HeadlineChange]) -> Table:
    """Return the table with one word on what became of the run before."""
    table = _empty_table(run_name, column_gap=1)
    table.add_column("this run", justify="right", no_wrap=True)
    if changes:
        table.add_column("", no_wrap=True)
    table.add_column("to beat", justify="right", no_wrap=True)
    for at, (label, own, to_beat, _) in enumerate(rows):
        since = [Text(changes[at].assessment, style=STYLE_BY_VERDICT[changes[at].assessment])] if changes else []
        table.add_row(label, own, *since, to_beat)
    return table


def _empty_table(title: str, *, column_gap: int) -> Table:
    table = Table(
        title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, column_gap, 0, 0)
    )
    table.add_column("")
    return table


def _change_text(change: HeadlineChange) -> Text:
    words = " ".join(part for part in (change.difference_text, change.assessment) if part)
    return Text(words, style=STYLE_BY_VERDICT[change.assessment])
