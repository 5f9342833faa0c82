"""``quantlr data fetch|list|verify``: the prices that are stored on this machine."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from quantlr.cli.options import config_options, configs_argument, offline_option, telling_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from quantlr.data.fetched import Fetched


@dataclass(frozen=True, slots=True)
class Telling:
    """How results are told: as JSON on stdout, not at all, or with every note."""

    as_json: bool
    quiet: bool
    verbose: bool

    def console(self) -> Console:
        """Return the console for what is not an error."""
        from quantlr.cli.terminal import console

        return console(quiet=self.quiet)


@click.group("data")
def command() -> None:
    """Fetch prices into the store, list what it holds, and check it."""


@command.command("fetch")
@configs_argument
@config_options
@offline_option
@telling_options
def fetch(
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
    from quantlr.cli.terminal import console, status_of

    telling = Telling(as_json, quiet, verbose)
    jobs = [partial(_fetch, path, settings, name, telling, offline=offline) for path in configs]
    sys.exit(max(status_of(job, console()) for job in jobs))


@command.command("list")
@telling_options
def list_(*, as_json: bool, quiet: bool, verbose: bool) -> None:
    """List the stored prices."""
    from quantlr.cli.terminal import console, status_of

    sys.exit(status_of(partial(_list, Telling(as_json, quiet, verbose)), console()))


@command.command("verify")
@telling_options
def verify(*, as_json: bool, quiet: bool, verbose: bool) -> None:
    """Check every stored file against its checksum; what fails is set aside, and fetched again when it is needed."""
    from quantlr.cli.terminal import console, status_of

    sys.exit(status_of(partial(_verify, Telling(as_json, quiet, verbose)), console()))


def _fetch(path: Path, settings: tuple[str, ...], name: str | None, telling: Telling, *, offline: bool) -> None:
    from quantlr.cli.progress import progress_bar
    from quantlr.config import load_config
    from quantlr.errors import QuantlrError

    config = load_config(path, settings=settings, name=name)
    data = config.run.data
    out = telling.console()
    try:
        with progress_bar(out) as progress:
            got = data.source.fetch(data.tickers, start=data.start, end=data.end, offline=offline, progress=progress)
    except QuantlrError as error:
        raise config.locate(error) from error
    _show_fetched(config.run.name, got, telling, out)


def _show_fetched(name: str, got: Fetched, telling: Telling, out: Console) -> None:
    from rich.text import Text

    from quantlr.report.summary import note_line
    from quantlr.types import day

    rows: dict[str, dict[str, Any]] = {}
    for ticker, bars in got.bars.items():
        ends = {"first": day(bars.index[0]), "last": day(bars.index[-1])} if len(bars) else {}
        rows[ticker] = {"bars": len(bars), **ends}
    _table(f"{name}: {got.source}", ("bars", "first", "last"), rows, out)
    for note in got.notes:
        out.print(Text.assemble(("note ", "yellow"), note_line(note)))
    if telling.as_json:
        told: dict[str, Any] = {"name": name, "source": got.source, "sha256": got.sha256, "tickers": rows}
        click.echo(json.dumps(told | {"notes": [note_line(note) for note in got.notes]}))


def _list(telling: Telling) -> None:
    from rich.text import Text

    from quantlr.data.store import Damaged, Store

    out = telling.console()
    store = Store.at_home()
    rows: dict[str, dict[str, Any]] = {}
    for shelf in store.shelves():
        try:
            entry = shelf.entry()
        except Damaged as error:
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
            if telling.verbose:
                out.print(*(Text(f"{entry.ticker}: {revision.text}") for revision in entry.revisions), sep="\n", end="")
    columns = ("bars", "first", "last", "fetched", "answers", "revisions")
    _table(f"{len(rows)} tickers in {store.folder}", columns, rows, out)
    if telling.as_json:
        click.echo(json.dumps({"folder": str(store.folder), "tickers": rows}))


def _verify(telling: Telling) -> None:
    from quantlr.cli.progress import progress_bar
    from quantlr.data.store import Store
    from quantlr.errors import Fault
    from quantlr.types import Told

    store = Store.at_home()
    shelves = store.shelves()
    with progress_bar(telling.console()) as progress:
        damaged = [line for shelf in Told(shelves, "verifying", progress) for line in shelf.damaged()]
    for shelf in shelves:
        shelf.clear_leftovers()
    if telling.as_json:
        click.echo(json.dumps({"folder": str(store.folder), "tickers": len(shelves), "damaged": damaged}))
    if damaged:
        raise Fault("\n".join((*damaged, "the next run that needs them fetches them again")))
    telling.console().print(f"{len(shelves)} tickers in {store.folder}: every checksum is right", markup=False)


def _table(title: str, columns: Sequence[str], rows: dict[str, dict[str, Any]], out: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    from quantlr.cli.terminal import show_table

    table = Table(title=Text(title, style="bold"), title_justify="left", box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for ticker, row in rows.items():
        cells = (row.get(column, "") for column in columns)
        table.add_row(Text(ticker), *(Text(f"{cell:,}" if isinstance(cell, int) else str(cell)) for cell in cells))
    show_table(table, out)
