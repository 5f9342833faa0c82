"""``quantlr data fetch|list|verify``: the cache of downloaded prices on this machine."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from quantlr.cli.options import Options, configs_argument, verb


@click.group("data")
def command() -> None:
    """Download prices into the cache, list what it holds, and check it."""


@verb("fetch", "settings", "name", "offline")
@configs_argument
def fetch_command(options: Options, *, config_paths: tuple[Path, ...]) -> int:
    """Download the prices that CONFIGS need and the cache lacks, so that they run with --offline.

    They are those of the traded tickers, of data.context and of the benchmark's ticker.
    """
    from quantlr.cli.terminal import run_for_exit_status

    return max(
        run_for_exit_status(partial(_fetch_and_print, options, path), verbose=options.verbose) for path in config_paths
    )


@verb("list")
def list_command(options: Options) -> None:
    """List the cached prices."""
    from quantlr.data.cache import DamagedFileError, PriceCache

    cache = PriceCache.in_user_cache_dir()
    rows: dict[str, dict[str, Any]] = {}
    for ticker_cache in cache.list_ticker_caches():
        try:
            entry = ticker_cache.read_cache_index()
        except DamagedFileError as error:
            options.messages.print(str(error), style="yellow")
            continue
        if entry is None:
            continue
        rows[entry.ticker if entry.source == "yahoo" else f"{entry.ticker} ({entry.source})"] = {
            "bars": entry.bars,
            "first": str(entry.first),
            "last": str(entry.last),
            "fetched": f"{entry.fetched:%Y-%m-%d %H:%M} UTC",
            "answers": len(entry.responses),
            "revisions": len(entry.revisions),
            "exchange": entry.exchange_info.get("exchange", ""),
        }
        for revision in entry.revisions if options.verbose else ():
            options.results.print(f"{entry.ticker}: {revision.text}")
    columns = ("bars", "first", "last", "fetched", "answers", "revisions")
    _print_ticker_table(options, f"{len(rows)} tickers in {cache.folder}", columns, rows)
    options.print_json({"folder": str(cache.folder), "tickers": rows})


@verb("verify")
def verify_command(options: Options) -> None:
    """Check every cached file against its checksum; damaged files are set aside, and downloaded again when needed."""
    from quantlr.cli.terminal import progress_bar
    from quantlr.core.errors import Fault
    from quantlr.core.progress import ProgressCounter
    from quantlr.data.cache import PriceCache

    cache = PriceCache.in_user_cache_dir()
    ticker_caches = cache.list_ticker_caches()
    damaged: list[str] = []
    with progress_bar(options.messages) as progress:
        counter = ProgressCounter("verifying", len(ticker_caches), progress)
        for ticker_cache in counter.iter_items(ticker_caches):
            damaged += ticker_cache.set_aside_damaged_files()
            ticker_cache.remove_abandoned_files()
    options.print_json({"folder": str(cache.folder), "tickers": len(ticker_caches), "damaged": damaged})
    if damaged:
        raise Fault("\n".join((*damaged, "the next run that needs them downloads them again")))
    options.results.print(f"{len(ticker_caches)} tickers in {cache.folder}: all checksums match")


def _fetch_and_print(options: Options, config_path: Path) -> None:
    from quantlr.cli.terminal import print_notes, progress_bar
    from quantlr.core.timing import iso_date
    from quantlr.data.prices import fetch_prices
    from quantlr.report.summary import note_text

    config = options.load_config(config_path)
    run = config.run
    with config.add_location_to_errors(), progress_bar(options.messages) as progress:
        benchmark = run.report.benchmark_ticker
        fetched = fetch_prices(run.data, benchmark=benchmark, offline=options.offline, progress=progress)
    rows: dict[str, dict[str, Any]] = {}
    for ticker, bars in fetched.bars.items():
        span = {"first": iso_date(bars.index[0]), "last": iso_date(bars.index[-1])} if len(bars) else {}
        rows[ticker] = {"bars": len(bars), **span}
    _print_ticker_table(options, f"{run.name}: {fetched.source}", ("bars", "first", "last"), rows)
    notes = [note_text(note) for note in fetched.notes]
    print_notes(notes, options.messages)
    result = {"name": run.name, "source": fetched.source, "sha256": fetched.sha256}
    options.print_json({**result, "tickers": rows, "notes": notes})


def _print_ticker_table(options: Options, title: str, columns: tuple[str, ...], rows_by_ticker: dict[str, Any]) -> None:

    from quantlr.cli.terminal import make_table, print_table

    table = make_table(title, ("", *(f">{column}" for column in columns)))
    for ticker, row in rows_by_ticker.items():
        cells = (row.get(column, "") for column in columns)
        table.add_row(ticker, *(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in cells))
    print_table(table, options.results)


for subcommand in (fetch_command, list_command, verify_command):
    command.add_command(subcommand)
