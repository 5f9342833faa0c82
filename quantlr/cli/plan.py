"""``quantlr plan CONFIG…``: what a run would do, without doing it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from quantlr.cli.options import config_options, configs_argument, offline_option, output_option, telling_options

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from quantlr.pipeline.plan import Plan, PlannedModel, Walk

FEW_MODELS = 12
"""Models that have a line each without being asked for."""
ENDS = 2
"""Folds at either end that are shown without being asked for."""


@click.command("plan")
@configs_argument
@config_options
@offline_option
@output_option
@telling_options
def command(
    configs: tuple[Path, ...],
    *,
    settings: tuple[str, ...],
    name: str | None,
    offline: bool,
    output: Path,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Say what `quantlr run` would do with CONFIGS, down to the dates and rows of each fold.

    Nothing is fitted, nothing is written, and the network is not asked: where a run would ask it, that is said.
    -v shows every fold, --json also the resolved config.
    """
    from quantlr.cli.terminal import console, status_of

    out = console(quiet=quiet)
    one = partial(_plan, settings=settings, name=name, offline=offline, output=output, out=out)
    jobs = [partial(one, path, as_json=as_json, verbose=verbose) for path in configs]
    sys.exit(max(status_of(job, console()) for job in jobs))


def _plan(
    path: Path,
    *,
    settings: tuple[str, ...],
    name: str | None,
    offline: bool,
    output: Path,
    out: Console,
    as_json: bool,
    verbose: bool,
) -> None:
    from dataclasses import asdict

    from quantlr.cli.progress import progress_bar
    from quantlr.config import load_config
    from quantlr.pipeline.plan import plan_config

    config = load_config(path, settings=settings, name=name)
    with progress_bar(out) as progress:
        found = plan_config(config, output=output, offline=offline, progress=progress)
    _show(found, path, out, verbose=verbose)
    if as_json:
        click.echo(json.dumps(asdict(found), ensure_ascii=False, allow_nan=False))


def _show(found: Plan, path: Path, out: Console, *, verbose: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    lines = Table(title=found.name, title_justify="left", title_style="bold", box=None, pad_edge=False)
    lines.add_column("", style="cyan", no_wrap=True)
    lines.add_column("", overflow="fold")
    lines.show_header = False
    for key, text in (*_of_prices(found, path), *_of_config(found), *_of_report(found)):
        lines.add_row(key, Text(text))
    out.print(lines)
    if found.walk is not None:
        _show_walk(found.walk, out, verbose=verbose)


def _of_prices(found: Plan, path: Path) -> Iterator[tuple[str, str]]:
    walk = found.walk
    if walk is not None:
        span, columns = walk.sessions, len(walk.columns)
        yield "prices", f"{walk.source}: {span.rows:,} sessions, {span.first} to {span.last}"
        yield "features", f"{columns} column{'s'[: columns != 1]}: {', '.join(walk.columns)}"
    unstored = [ticker for ticker, last in found.to_ask.items() if last is None]
    stored = [f"{ticker} (stored to {last})" for ticker, last in found.to_ask.items() if last]
    if unstored:
        yield "prices", f"not stored yet: {_listed(unstored)}; `quantlr data fetch {path}` fetches all there is of it"
        yield "", "rows and folds depend on them; plan again once they are stored"
    if stored:
        yield "network", f"a run would first ask for newer sessions of {_listed(stored)}"


def _listed(tickers: list[str]) -> str:
    from quantlr.report.summary import names

    return names(tickers, longest=60)


def _of_config(found: Plan) -> Iterator[tuple[str, str]]:
    """Yield the sections that say what is done, as the config has them."""
    for section in ("label", "walk_forward", "model", "policy"):
        yield section.replace("_", "-"), _section(found.config[section])
    for overlay in found.config["overlays"]:
        yield "overlay", _section(overlay)
    yield "execution", _section(found.config["execution"])


def _section(values: dict[str, Any]) -> str:
    kind = values.get("kind")
    said = ", ".join(f"{key} {value}" for key, value in values.items() if key != "kind" and value is not None)
    return f"{kind}: {said}" if kind and said else kind or said


def _of_report(found: Plan) -> Iterator[tuple[str, str]]:
    yield "report", f"{found.folder}{', in place of the one that is there' if found.replaces else ''}"
    walk = found.walk
    if walk is not None:
        this = "this one is among them" if walk.tried else "this would be one more"
        yield "trials", f"{walk.trials:,} so far with this label and a ticker of these; {this} ({found.ledger})"


def _show_walk(walk: Walk, out: Console, *, verbose: bool) -> None:
    from rich.text import Text

    from quantlr.cli.terminal import show_table
    from quantlr.report.summary import note_line, worth_saying

    shown = walk.models if verbose else walk.models[:FEW_MODELS]
    show_table(_models(walk, shown), out)
    if len(shown) < len(walk.models):
        out.print(Text(f"and {len(walk.models) - len(shown):,} more; -v shows them all", style="dim"))
    for model in walk.models if verbose else walk.models[:1]:
        show_table(_folds(model, every=verbose), out)
    out.print(Text(_in_all(walk), style="bold"))
    for note in walk.notes if verbose else worth_saying(walk.notes):
        out.print(Text.assemble(("note ", "yellow"), note_line(note)))


def _in_all(walk: Walk) -> str:
    gap = f"{walk.gap} row{'s'[: walk.gap != 1]} between training and forecast, since labels take time"
    return "; ".join(
        (
            f"{walk.refits:,} refit{'s'[: walk.refits != 1]}",
            f"{walk.forecasts:,} forecasts, of which {walk.scored:,} can be scored",
            *((gap,) if walk.gap else ()),
            f"first fill {walk.first_fill}" if walk.first_fill else "no fill, since prices end before",
        )
    )


def _models(walk: Walk, shown: tuple[PlannedModel, ...]) -> Table:
    """Return a table with a line for each model."""
    table = _table("", ("bars", "warm-up", "rows", "refits", "forecasts"), ("first", "last"))
    by_name = {ticker.name: ticker for ticker in walk.tickers}
    for model in shown:
        own = [by_name[model.name]] if model.name in by_name else list(walk.tickers)
        counts = (sum(one.bars.rows for one in own), sum(one.warm_up for one in own), sum(one.rows for one in own))
        numbers = (*counts, len(model.folds), model.forecasts)
        table.add_row(
            model.name, *(f"{number:,}" for number in numbers), model.folds[0].test.first, model.folds[-1].test.last
        )
    return table


def _folds(model: PlannedModel, *, every: bool) -> Table:
    """Return a table with a line for each refit, or for those at either end."""
    table = _table(f"refits of {model.name}", ("rows",), ("trained on",), ("rows",), ("forecast",))
    count = len(model.folds)
    for at, fold in enumerate(model.folds):
        if every or count <= 2 * ENDS + 1 or at < ENDS or at >= count - ENDS:
            dropped = f" ({fold.train.rows - fold.learnt:,} unlabelled)" if fold.learnt < fold.train.rows else ""
            table.add_row(
                f"{at + 1:,}",
                f"{fold.train.rows:,}",
                f"{fold.train.first} to {fold.train.last}{dropped}",
                f"{fold.test.rows:,}",
                f"{fold.test.first} to {fold.test.last}",
            )
        elif at == ENDS:
            table.add_row("…", *[""] * 4)
    return table


def _table(title: str, *columns: tuple[str, ...]) -> Table:
    """Return an empty table: groups of columns, by turns numbers and dates, after a first one for names."""
    from rich.table import Table

    table = Table(title=title or None, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("")
    for at, group in enumerate(columns):
        for heading in group:
            table.add_column(heading, justify="left" if at % 2 else "right")
    return table
