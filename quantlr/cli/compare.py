"""``quantlr compare RUN…``: runs side by side, and which of their differences are larger than luck."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from quantlr.cli.options import display_options, output_option

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from quantlr.report.compare import Comparison

PAGE_ONLY_HEADINGS = ("volatility", "traded")
"""Columns that leave a terminal of 80 letters no room for names."""
MAX_DIFFERING_KEYS_SHOWN = 10
"""Keys that differ that are shown without being asked for."""


@click.command("compare")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--name", default="compare", show_default=True, help="Name of the comparison's folder.")
@output_option
@display_options
def command(runs: tuple[str, ...], *, name: str, output: Path, as_json: bool, quiet: bool, verbose: bool) -> None:
    """Set 2 to 12 RUNs side by side, over the sessions they share; write compare.png and compare.json to OUTPUT/NAME.

    A RUN is the folder of a report, or its name in OUTPUT. Every pair is tested by the paired bootstrap, and says
    whether it differs by more than luck, all tests counted. -v shows every key of the config that differs.
    """
    from quantlr.cli.terminal import make_console, run_for_exit_status

    one = partial(_compare_and_print, runs, name, output, make_console(quiet=quiet), as_json=as_json, verbose=verbose)
    sys.exit(run_for_exit_status(one, make_console()))


def _compare_and_print(
    runs: tuple[str, ...], name: str, output: Path, console: Console, *, as_json: bool, verbose: bool
) -> None:
    from rich.text import Text

    from quantlr.report.compare import check_comparison_target, compare_runs, write_comparison

    check_comparison_target(name, output)
    found = compare_runs(runs, reports_dir=output)
    place = write_comparison(found, name, output)
    _print_comparison(found, console, verbose=verbose)
    console.print(Text(f"comparison in {place}"))
    if as_json:
        click.echo(json.dumps(found.to_dict(), ensure_ascii=False, allow_nan=False))


def _print_comparison(comparison: Comparison, console: Console, *, verbose: bool) -> None:
    from rich.text import Text

    from quantlr.report.pairs import pair_sentence

    console.print(_metrics_table(comparison))
    settings = comparison.config_differences if verbose else comparison.config_differences[:MAX_DIFFERING_KEYS_SHOWN]
    for setting in settings:
        values = dict.fromkeys(value or "none" for value in setting.values_by_run)
        console.print(Text.assemble(("differs ", "cyan"), f"{setting.key}: {' | '.join(values)}"))
    if len(comparison.config_differences) > len(settings):
        console.print(
            Text(
                f"and {len(comparison.config_differences) - len(settings)} more keys differ; -v shows them", style="dim"
            )
        )
    for caution in comparison.caveats:
        console.print(Text.assemble(("note ", "yellow"), caution))
    for pair in comparison.pairs:
        console.print(
            Text(
                pair_sentence(pair, comparison.run_names),
                style="bold" if pair.is_sharpe_significant or pair.is_log_loss_significant else "",
            )
        )
    if comparison.n_tests:
        console.print(
            Text(
                f"p values are adjusted for {comparison.n_tests} tests by Holm's method; intervals are 95%, each by itself; "
                "a lower log loss is a better forecast",
                style="dim",
            )
        )


def _metrics_table(comparison: Comparison) -> Table:
    """Return a table with a line for each run."""
    from rich.table import Table

    from quantlr.core.progress import iso_date
    from quantlr.report.pairs import HEADLINE_COLUMNS, headline_cell_texts

    title = f"{len(comparison.dates):,} common sessions, {iso_date(comparison.dates[0])} to {iso_date(comparison.dates[-1])}"
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("", overflow="fold")
    shown = [at for at, heading in enumerate(HEADLINE_COLUMNS) if heading not in PAGE_ONLY_HEADINGS]
    for at in shown:
        table.add_column(HEADLINE_COLUMNS[at], justify="right", no_wrap=True)
    rows = [
        *zip(comparison.run_names, comparison.metrics_by_run, strict=True),
        ("to beat", comparison.baseline_metrics),
    ]
    for name, numbers in (
        rows if any(value is not None for value in comparison.baseline_metrics.values()) else rows[:-1]
    ):
        cells = headline_cell_texts(numbers)
        table.add_row(name, *(cells[at] for at in shown))
    return table
