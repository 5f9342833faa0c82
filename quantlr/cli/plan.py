"""``quantlr plan CONFIG…``: what a run would do, without doing it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from quantlr.cli.options import config_options, configs_argument, display_options, offline_option, output_option

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from quantlr.experiment.plan import PlannedModel, RunPlan, WalkForwardPlan

MAX_MODELS_SHOWN = 12
"""Models that have a line each without being asked for."""
FOLDS_SHOWN_PER_END = 2
"""Folds at either end that are shown without being asked for."""


@click.command("plan")
@configs_argument
@config_options
@offline_option
@output_option
@display_options
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
    from quantlr.cli.terminal import make_console, run_for_exit_status

    out = make_console(quiet=quiet)
    one = partial(_plan_and_print, settings=settings, name=name, offline=offline, output=output, console=out)
    jobs = [partial(one, path, as_json=as_json, verbose=verbose) for path in configs]
    sys.exit(max(run_for_exit_status(job, make_console()) for job in jobs))


def _plan_and_print(
    config_path: Path,
    *,
    settings: tuple[str, ...],
    name: str | None,
    offline: bool,
    output: Path,
    console: Console,
    as_json: bool,
    verbose: bool,
) -> None:
    from dataclasses import asdict

    from quantlr.cli.progress import progress_bar
    from quantlr.config.run_config import load_config
    from quantlr.experiment.plan import plan_config

    config = load_config(config_path, settings=settings, name=name)
    with progress_bar(console) as progress:
        found = plan_config(config, output=output, offline=offline, progress=progress)
    _print_plan(found, config_path, console, verbose=verbose)
    if as_json:
        click.echo(json.dumps(asdict(found), ensure_ascii=False, allow_nan=False))


def _print_plan(plan: RunPlan, config_path: Path, console: Console, *, verbose: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    lines = Table(title=plan.name, title_justify="left", title_style="bold", box=None, pad_edge=False)
    lines.add_column("", style="cyan", no_wrap=True)
    lines.add_column("", overflow="fold")
    lines.show_header = False
    for key, text in (*_iter_price_lines(plan, config_path), *_iter_config_lines(plan), *_iter_report_lines(plan)):
        lines.add_row(key, Text(text))
    console.print(lines)
    if plan.walk is not None:
        _print_walk_forward_plan(plan.walk, console, verbose=verbose)


def _iter_price_lines(plan: RunPlan, config_path: Path) -> Iterator[tuple[str, str]]:
    walk = plan.walk
    if walk is not None:
        span, columns = walk.sessions, len(walk.columns)
        yield "prices", f"{walk.source}: {span.rows:,} sessions, {span.first} to {span.last}"
        yield "features", f"{columns} column{'s'[: columns != 1]}: {', '.join(walk.columns)}"
    unstored = [ticker for ticker, last in plan.to_ask.items() if last is None]
    stored = [f"{ticker} (stored to {last})" for ticker, last in plan.to_ask.items() if last]
    if unstored:
        yield (
            "prices",
            f"not stored yet: {_join_tickers(unstored)}; `quantlr data fetch {config_path}` fetches all there is of it",
        )
        yield "", "rows and folds depend on them; plan again once they are stored"
    if stored:
        yield "network", f"a run would first ask for newer sessions of {_join_tickers(stored)}"


def _join_tickers(tickers: list[str]) -> str:
    from quantlr.report.summary import ticker_list_text

    return ticker_list_text(tickers, max_chars=60)


def _iter_config_lines(plan: RunPlan) -> Iterator[tuple[str, str]]:
    """Yield the sections that say what is done, as the config has them."""
    for section in ("label", "walk_forward", "model", "policy"):
        yield section.replace("_", "-"), _section_text(plan.config[section])
    for overlay in plan.config["overlays"]:
        yield "overlay", _section_text(overlay)
    yield "execution", _section_text(plan.config["execution"])


def _section_text(section: dict[str, Any]) -> str:
    kind = section.get("kind")
    said = ", ".join(f"{key} {value}" for key, value in section.items() if key != "kind" and value is not None)
    return f"{kind}: {said}" if kind and said else kind or said


def _iter_report_lines(plan: RunPlan) -> Iterator[tuple[str, str]]:
    yield "report", f"{plan.folder}{', in place of the one that is there' if plan.replaces else ''}"
    walk = plan.walk
    if walk is not None:
        this = "this one is among them" if walk.tried else "this would be one more"
        yield "trials", f"{walk.trials:,} so far with this label and a ticker of these; {this} ({plan.ledger})"


def _print_walk_forward_plan(walk_forward_plan: WalkForwardPlan, console: Console, *, verbose: bool) -> None:
    from rich.text import Text

    from quantlr.cli.terminal import print_table
    from quantlr.report.summary import condense_notes, note_text

    shown = walk_forward_plan.models if verbose else walk_forward_plan.models[:MAX_MODELS_SHOWN]
    print_table(_models_table(walk_forward_plan, shown), console)
    if len(shown) < len(walk_forward_plan.models):
        console.print(Text(f"and {len(walk_forward_plan.models) - len(shown):,} more; -v shows them all", style="dim"))
    for model in walk_forward_plan.models if verbose else walk_forward_plan.models[:1]:
        print_table(_refits_table(model, show_all=verbose), console)
    console.print(Text(_totals_text(walk_forward_plan), style="bold"))
    for note in walk_forward_plan.notes if verbose else condense_notes(walk_forward_plan.notes):
        console.print(Text.assemble(("note ", "yellow"), note_text(note)))


def _totals_text(walk_forward_plan: WalkForwardPlan) -> str:
    gap = f"{walk_forward_plan.gap} row{'s'[: walk_forward_plan.gap != 1]} between training and forecast, since labels take time"
    return "; ".join(
        (
            f"{walk_forward_plan.refits:,} refit{'s'[: walk_forward_plan.refits != 1]}",
            f"{walk_forward_plan.forecasts:,} forecasts, of which {walk_forward_plan.scored:,} can be scored",
            *((gap,) if walk_forward_plan.gap else ()),
            f"first fill {walk_forward_plan.first_fill}"
            if walk_forward_plan.first_fill
            else "no fill, since prices end before",
        )
    )


def _models_table(walk_forward_plan: WalkForwardPlan, models: tuple[PlannedModel, ...]) -> Table:
    """Return a table with a line for each model."""
    table = _empty_table("", ("bars", "warm-up", "rows", "refits", "forecasts"), ("first", "last"))
    by_name = {ticker.name: ticker for ticker in walk_forward_plan.tickers}
    for model in models:
        own = [by_name[model.name]] if model.name in by_name else list(walk_forward_plan.tickers)
        counts = (sum(one.bars.rows for one in own), sum(one.warm_up for one in own), sum(one.rows for one in own))
        numbers = (*counts, len(model.folds), model.n_forecasts)
        table.add_row(
            model.name, *(f"{number:,}" for number in numbers), model.folds[0].test.first, model.folds[-1].test.last
        )
    return table


def _refits_table(model: PlannedModel, *, show_all: bool) -> Table:
    """Return a table with a line for each refit, or for those at either end."""
    table = _empty_table(f"refits of {model.name}", ("rows",), ("trained on",), ("rows",), ("forecast",))
    count = len(model.folds)
    for at, fold in enumerate(model.folds):
        if (
            show_all
            or count <= 2 * FOLDS_SHOWN_PER_END + 1
            or at < FOLDS_SHOWN_PER_END
            or at >= count - FOLDS_SHOWN_PER_END
        ):
            dropped = f" ({fold.train.rows - fold.learnt:,} unlabelled)" if fold.learnt < fold.train.rows else ""
            table.add_row(
                f"{at + 1:,}",
                f"{fold.train.rows:,}",
                f"{fold.train.first} to {fold.train.last}{dropped}",
                f"{fold.test.rows:,}",
                f"{fold.test.first} to {fold.test.last}",
            )
        elif at == FOLDS_SHOWN_PER_END:
            table.add_row("…", *[""] * 4)
    return table


def _empty_table(title: str, *column_groups: tuple[str, ...]) -> Table:
    """Return an empty table: groups of columns, by turns numbers and dates, after a first one for names."""
    from rich.table import Table

    table = Table(title=title or None, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("")
    for at, group in enumerate(column_groups):
        for heading in group:
            table.add_column(heading, justify="left" if at % 2 else "right")
    return table
