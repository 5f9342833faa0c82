"""The short table of a run: its metrics, those of the previous run, and the baselines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from quantlr.cli.terminal import has_room_for_table, make_table
from quantlr.report.storage import has_same_prices, price_dates_text
from quantlr.report.summary import HeadlineChange, headline_changes, headline_text_rows

STYLE_BY_ASSESSMENT = {"better": "green", "worse": "red", "same": "dim", "": ""}
BASELINE_NOTE = "baselines: majority class, base-rate forecast, buy and hold"

HeadlineRow = tuple[str, str, str, str]
"""Label, value, value of the baseline, name of the baseline."""


def print_headline_table(
    title: str, metrics: dict[str, Any], previous_metrics: dict[str, Any] | None, console: Console
) -> None:
    """Print the table in the widest layout that there is room for: with changes and baselines' names, or with less."""
    rows = headline_text_rows(metrics)
    changes = headline_changes(metrics, previous_metrics) if previous_metrics else []
    has_changes = any(change.assessment != "same" for change in changes)
    listed_changes = changes if has_changes else []
    full_table = _full_table(rows, listed_changes, show_baseline_names=True)
    narrower_tables = (
        _full_table(rows, listed_changes, show_baseline_names=False),
        _narrow_table(rows, listed_changes),
    )
    fitting = (table for table in (full_table, *narrower_tables) if has_room_for_table(table, console))
    table = next(fitting, narrower_tables[-1])
    console.print(Text(title, style="bold"), table, sep="\n")
    baseline_note = "" if table is full_table else BASELINE_NOTE
    for line in (baseline_note, _previous_run_note(metrics, previous_metrics, has_changes=has_changes)):
        if line:
            console.print(Text(line, style="dim"))


def _previous_run_note(metrics: dict[str, Any], previous_metrics: dict[str, Any] | None, *, has_changes: bool) -> str:
    """Return how the previous run's prices or numbers compare, where its numbers alone do not show it."""
    if previous_metrics is None:
        return ""
    if not has_changes:
        return "no number differs from the previous run"
    if has_same_prices(metrics, previous_metrics):
        return ""
    dates = price_dates_text(previous_metrics)
    return f"the previous run had other prices{f', {dates}' if dates else ''}"


def _full_table(rows: Sequence[HeadlineRow], changes: Sequence[HeadlineChange], *, show_baseline_names: bool) -> Table:
    number = {"justify": "right", "no_wrap": True}
    change_columns = (("previous", number), ("change", {"no_wrap": True})) if changes else ()
    name_column = (("", {"style": "dim"}),) if show_baseline_names else ()
    table = make_table("", (("", {}), ("this run", number), *change_columns, ("baseline", number), *name_column))
    table.padding = (0, 2, 0, 0)
    for index, (label, value, baseline, baseline_name) in enumerate(rows):
        cells = [Text(changes[index].previous_text), _change_text(changes[index])] if changes else []
        table.add_row(label, value, *cells, baseline, *((baseline_name,) if show_baseline_names else ()))
    return table


def _narrow_table(rows: Sequence[HeadlineRow], changes: Sequence[HeadlineChange]) -> Table:
    """Return the table with one word for each change."""
    number = {"justify": "right", "no_wrap": True}
    change_column = (("", {"no_wrap": True}),) if changes else ()
    table = make_table("", (("", {}), ("this run", number), *change_column, ("baseline", number)))
    for index, (label, value, baseline, _) in enumerate(rows):
        assessment = changes[index].assessment if changes else ""
        cells = [Text(assessment, style=STYLE_BY_ASSESSMENT[assessment])] if changes else []
        table.add_row(label, value, *cells, baseline)
    return table


def _change_text(change: HeadlineChange) -> Text:
    text = " ".join(part for part in (change.difference_text, change.assessment) if part)
    return Text(text, style=STYLE_BY_ASSESSMENT[change.assessment])
