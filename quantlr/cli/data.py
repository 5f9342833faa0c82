"""``quantlr data fetch|list|verify``: the prices that are stored on this machine."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from quantlr.cli.options import config_options, configs_argument, display_options, offline_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from quantlr.data.source import FetchedPrices


@dataclass(frozen=True, slots=True)
class DisplayOptions:
    """How results are told: as JSON on stdout, not at all, or with every note."""

    as_json: bool
    quiet: bool
    verbose: bool

    def make_console(self) -> Console:
        """Return the console for what is not an error."""
        from quantlr.cli.terminal import make_console

        return make_console(quiet=self.quiet)


@click.group("data")
def command() -> None:
    """Fetch prices into the store, list what it holds, and check it."""


@command.command("fetch")
@configs_argument
@config_options
@offline_option
@display_options
def fetch_command(
    configs: tuple[Path, ...],
    *,
    settings: tuple[str, ...],
    name: str | None,
    offline: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Fetch what CONFIGS need and is not stored yet, so that they run with --offline."""
    from quantlr.cli.terminal import make_console, run_for_exit_status

    telling = DisplayOptions(as_json, quiet, verbose)
    jobs = [partial(_fetch_and_print, path, settings, name, telling, offline=offline) for path in configs]
    sys.exit(max(run_for_exit_status(job, make_console()) for job in jobs))


@command.command("list")
@display_options
def list_command(*, as_json: bool, quiet: bool, verbose: bool) -> None:
    """List the stored prices."""
    from quantlr.cli.terminal import make_console, run_for_exit_status

    sys.exit(
        run_for_exit_status(partial(_print_cached_tickers, DisplayOptions(as_json, quiet, verbose)), make_console())
    )


@command.command("verify")
@display_options
def verify_command(*, as_json: bool, quiet: bool, verbose: bool) -> None:
    """Check every stored file against its checksum; what fails is set aside, and fetched again when it is needed."""
    from quantlr.cli.terminal import make_console, run_for_exit_status

    sys.exit(run_for_exit_status(partial(_verify_price_cache, DisplayOptions(as_json, quiet, verbose)), make_console()))


def _fetch_and_print(
    config_path: Path, settings: tuple[str, ...], name: str | None, display: DisplayOptions, *, offline: bool
) -> None:
    from quantlr.cli.progress import progress_bar
    from quantlr.config.run_config import load_config
    from quantlr.core.errors import QuantlrError

    config = load_config(config_path, settings=settings, name=name)
    data = config.run.data
    out = display.make_console()
    try:
        with progress_bar(out) as progress:
            got = data.source.fetch(data.tickers, start=data.start, end=data.end, offline=offline, progress=progress)
    except QuantlrError as error:
        raise config.with_location(error) from error
    _print_fetched_prices(config.run.name, got, display, out)


def _print_fetched_prices(run_name: str, fetched: FetchedPrices, display: DisplayOptions, console: Console) -> None:
    from rich.text import Text

    from quantlr.core.progress import iso_date
    from quantlr.report.summary import note_text

    rows: dict[str, dict[str, Any]] = {}
    for ticker, bars in fetched.bars.items():
        ends = {"first": iso_date(bars.index[0]), "last": iso_date(bars.index[-1])} if len(bars) else {}
        rows[ticker] = {"bars": len(bars), **ends}
    _print_ticker_table(f"{run_name}: {fetched.source}", ("bars", "first", "last"), rows, console)
    for note in fetched.notes:
        console.print(Text.assemble(("note ", "yellow"), note_text(note)))
    if display.as_json:
        told: dict[str, Any] = {"name": run_name, "source": fetched.source, "sha256": fetched.sha256, "tickers": rows}
        click.echo(json.dumps(told | {"notes": [note_text(note) for note in fetched.notes]}))


def _print_cached_tickers(display: DisplayOptions) -> None:
    from rich.text import Text

    from quantlr.data.cache import DamagedFileError, PriceCache

    out = display.make_console()
    store = PriceCache.in_user_cache_dir()
    rows: dict[str, dict[str, Any]] = {}
    for shelf in store.list_ticker_caches():
        try:
            entry = shelf.read_index_entry()
        except DamagedFileError as error:
            out.print(Text(str(error), style="yellow"))
            continue
        if entry is not None:
            rows[entry.ticker] = {
                "bars": entry.bars,
                "first": str(entry.first),
                "last": str(entry.last),
                "fetched": f"{entry.fetched:%Y-%m-%d %H:%M} UTC",
                "answers": len(entry.answers),
                "revisions": len(entry.revisions),
                "exchange": entry.about.get("exchange", ""),
            }
            if display.verbose:
                out.print(*(Text(f"{entry.ticker}: {revision.text}") for revision in entry.revisions), sep="\n", end="")
    columns = ("bars", "first", "last", "fetched", "answers", "revisions")
    _print_ticker_table(f"{len(rows)} tickers in {store.folder}", columns, rows, out)
    if display.as_json:
        click.echo(json.dumps({"folder": str(store.folder), "tickers": rows}))


def _verify_price_cache(display: DisplayOptions) -> None:
    from quantlr.cli.progress import progress_bar
    from quantlr.core.errors import Fault
    from quantlr.core.progress import Told
    from quantlr.data.cache import PriceCache

    store = PriceCache.in_user_cache_dir()
    shelves = store.list_ticker_caches()
    with progress_bar(display.make_console()) as progress:
        damaged = [line for shelf in Told(shelves, "verifying", progress) for line in shelf.set_aside_damaged_files()]
    for shelf in shelves:
        shelf.remove_abandoned_files()
    if display.as_json:
        click.echo(json.dumps({"folder": str(store.folder), "tickers": len(shelves), "damaged": damaged}))
    if damaged:
        raise Fault("\n".join((*damaged, "the next run that needs them fetches them again")))
    display.make_console().print(f"{len(shelves)} tickers in {store.folder}: every checksum is right", markup=False)


def _print_ticker_table(
    title: str, columns: Sequence[str], rows_by_ticker: dict[str, dict[str, Any]], console: Console
) -> None:
    from rich.table import Table
    from rich.text import Text

    from quantlr.cli.terminal import print_table

    table = Table(title=Text(title, style="bold"), title_justify="left", box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for ticker, row in rows_by_ticker.items():
        cells = (row.get(column, "") for column in columns)
        table.add_row(Text(ticker), *(Text(f"{cell:,}" if isinstance(cell, int) else str(cell)) for cell in cells))
    print_table(table, console)
