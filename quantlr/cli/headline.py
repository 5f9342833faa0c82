"""The short table of a run: its numbers, what became of those of the run before, and the numbers to beat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from quantlr.cli.terminal import fits
from quantlr.report.former import prices_in_words, same_prices
from quantlr.report.summary import Change, headline_changes, headline_rows

STYLES = {"better": "green", "worse": "red", "same": "dim", "": ""}
TO_BEAT = "to beat: the base rate, in calls and log loss; else buy and hold"

Row = tuple[str, str, str, str]


def show_headline(name: str, metrics: dict[str, Any], former: dict[str, Any] | None, out: Console) -> None:
    """Print the table, in the widest layout that there is room for."""
    rows = headline_rows(metrics)
    changes = headline_changes(metrics, former) if former else []
    moved = any(change.verdict != "same" for change in changes)
    tables = _layouts(name, rows, changes if moved else [])
    at = next((at for at, table in enumerate(tables) if fits(table, out)), len(tables) - 1)
    out.print(tables[at])
    for line in (TO_BEAT if at else "", _of_before(metrics, former, moved=moved)):
        if line:
            out.print(Text(line, style="dim"))


def _of_before(metrics: dict[str, Any], former: dict[str, Any] | None, *, moved: bool) -> str:
    """Return what should be known of the run before, beside its numbers."""
    if former is None:
        return ""
    if not moved:
        return "no number differs from the run before"
    if same_prices(metrics, former):
        return ""
    dates = prices_in_words(former)
    return f"the run before was on other prices{f', {dates}' if dates else ''}"


def _layouts(name: str, rows: Sequence[Row], changes: Sequence[Change]) -> list[Table]:
    """Return the table as it is, without whose the numbers to beat are, and with no more than fits a narrow place."""
    return [
        _table(name, rows, changes, whose=True),
        _table(name, rows, changes, whose=False),
        _narrow(name, rows, changes),
    ]


def _table(name: str, rows: Sequence[Row], changes: Sequence[Change], *, whose: bool) -> Table:
    table = _empty(name, space=2)
    for heading in ("this run", *(("before", "change") if changes else ()), "to beat"):
        table.add_column(heading, justify="left" if heading == "change" else "right", no_wrap=True)
    if whose:
        table.add_column("", style="dim")
    for at, (label, own, to_beat, of) in enumerate(rows):
        since = [Text(changes[at].before), _changed(changes[at])] if changes else []
        table.add_row(label, own, *since, to_beat, *((of,) if whose else ()))
    return table


def _narrow(name: str, rows: Sequence[Row], changes: Sequence[Change]) -> Table:
    """Return the table with one word on what became of the run before."""
    table = _empty(name, space=1)
    table.add_column("this run", justify="right", no_wrap=True)
    if changes:
        table.add_column("", no_wrap=True)
    table.add_column("to beat", justify="right", no_wrap=True)
    for at, (label, own, to_beat, _) in enumerate(rows):
        since = [Text(changes[at].verdict, style=STYLES[changes[at].verdict])] if changes else []
        table.add_row(label, own, *since, to_beat)
    return table


def _empty(name: str, *, space: int) -> Table:
    table = Table(
        title=name, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, space, 0, 0)
    )
    table.add_column("")
    return table


def _changed(change: Change) -> Text:
    words = " ".join(part for part in (change.by, change.verdict) if part)
    return Text(words, style=STYLES[change.verdict])
