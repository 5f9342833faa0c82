"""``quantlr compare RUN…``: runs side by side, and which of their differences are larger than luck."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from quantlr.cli.options import output_option, telling_options

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from quantlr.report.compare import Comparison

ON_THE_PAGE_ONLY = ("volatility", "traded")
"""Columns that leave a terminal of 80 letters no room for names."""
MOST_SETTINGS = 10
"""Keys that differ that are shown without being asked for."""


@click.command("compare")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--name", default="compare", show_default=True, help="Name of the comparison's folder.")
@output_option
@telling_options
def command(runs: tuple[str, ...], *, name: str, output: Path, as_json: bool, quiet: bool, verbose: bool) -> None:
    """Set 2 to 12 RUNs side by side, over the sessions they share; write compare.png and compare.json to OUTPUT/NAME.

    A RUN is the folder of a report, or its name in OUTPUT. Every pair is tested by the paired bootstrap, and says
    whether it differs by more than luck, all tests counted. -v shows every key of the config that differs.
    """
    from quantlr.cli.terminal import console, status_of

    one = partial(_compare, runs, name, output, console(quiet=quiet), as_json=as_json, verbose=verbose)
    sys.exit(status_of(one, console()))


def _compare(runs: tuple[str, ...], name: str, output: Path, out: Console, *, as_json: bool, verbose: bool) -> None:
    from rich.text import Text

    from quantlr.report.compare import compare_runs, require_comparison, write_comparison

    require_comparison(name, output)
    found = compare_runs(runs, output=output)
    place = write_comparison(found, name, output)
    _show(found, out, verbose=verbose)
    out.print(Text(f"comparison in {place}"))
    if as_json:
        click.echo(json.dumps(found.to_dict(), ensure_ascii=False, allow_nan=False))


def _show(found: Comparison, out: Console, *, verbose: bool) -> None:
    from rich.text import Text

    from quantlr.report.pairs import sentence

    out.print(_numbers(found))
    settings = found.settings if verbose else found.settings[:MOST_SETTINGS]
    for setting in settings:
        values = dict.fromkeys(value or "none" for value in setting.values)
        out.print(Text.assemble(("differs ", "cyan"), f"{setting.key}: {' | '.join(values)}"))
    if len(found.settings) > len(settings):
        out.print(Text(f"and {len(found.settings) - len(settings)} more keys differ; -v shows them", style="dim"))
    for caution in found.cautions:
        out.print(Text.assemble(("note ", "yellow"), caution))
    for pair in found.pairs:
        out.print(Text(sentence(pair, found.names), style="bold" if pair.pays or pair.knows else ""))
    if found.tests:
        out.print(
            Text(
                f"p values are adjusted for {found.tests} tests by Holm's method; intervals are 95%, each by itself; "
                "a lower log loss is a better forecast",
                style="dim",
            )
        )


def _numbers(found: Comparison) -> Table:
    """Return a table with a line for each run."""
    from rich.table import Table

    from quantlr.report.shared import HEADINGS, headline_cells
    from quantlr.types import day

    title = f"{len(found.dates):,} common sessions, {day(found.dates[0])} to {day(found.dates[-1])}"
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("", overflow="fold")
    shown = [at for at, heading in enumerate(HEADINGS) if heading not in ON_THE_PAGE_ONLY]
    for at in shown:
        table.add_column(HEADINGS[at], justify="right", no_wrap=True)
    rows = [*zip(found.names, found.numbers, strict=True), ("to beat", found.to_beat)]
    for name, numbers in rows if any(value is not None for value in found.to_beat.values()) else rows[:-1]:
        cells = headline_cells(numbers)
        table.add_row(name, *(cells[at] for at in shown))
    return table
