"""``quantlr plan CONFIGS...``: what a run would do, without doing it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantlr.cli.options import Options, configs_argument, verb

if TYPE_CHECKING:
    from rich.table import Table

    from quantlr.data.csv.description import FileReading
    from quantlr.experiment.plan import PlannedModel, PlannedTicker, RunPlan, WalkForwardPlan

MAX_MODELS_SHOWN = 12
"""Models that are listed without -v."""
FOLDS_SHOWN_PER_END = 2
"""Folds at either end that are listed without -v."""
MAX_TICKER_LIST_CHARS = 60


@verb("plan", "settings", "name", "offline", "output")
@configs_argument
def command(options: Options, *, config_paths: tuple[Path, ...]) -> int:
    """Show what `quantlr run` would do with CONFIGS, down to the dates and rows of each fold.

    Nothing is fitted, nothing is written, and the network is not asked: where a run would ask it, the plan says so.
    -v shows every fold, --json also the resolved config.
    """
    from quantlr.cli.terminal import run_for_exit_status

    return max(
        run_for_exit_status(partial(_plan_and_print, options, path), verbose=options.verbose) for path in config_paths
    )


def _plan_and_print(options: Options, config_path: Path) -> None:

    from rich.table import Column, Table
    from rich.text import Text

    from quantlr.cli.terminal import progress_bar
    from quantlr.experiment.plan import plan as plan_run

    config = options.load_config(config_path)
    with progress_bar(options.messages) as progress:
        plan = plan_run(config, output=options.output, offline=options.offline, progress=progress)
    lines = Table.grid(Column(style="cyan", no_wrap=True), Column(overflow="fold"), padding=(0, 2, 0, 0))
    for key, text in _iter_plan_key_text_pairs(plan, config_path):
        lines.add_row(key, text)
    options.results.print(Text(plan.name, style="bold"), lines, sep="\n")
    if plan.walk_forward is not None:
        _print_walk_forward_plan(options, plan.walk_forward)
    options.print_json(plan)


def _iter_plan_key_text_pairs(plan: RunPlan, config_path: Path) -> Iterator[tuple[str, str]]:
    """Yield key and text of each line: prices and features, the sections of the config, report and trials."""
    from quantlr.pipeline.resources import resources_text
    from quantlr.report.summary import ticker_list_text

    planned = plan.walk_forward
    if planned is not None:
        span, n_columns = planned.sessions, len(planned.columns)
        yield "prices", f"{planned.source}: {span.rows:,} sessions, {span.first} to {span.last}"
        yield from iter_file_reading_texts(planned.files)
        yield "features", f"{n_columns} column{'s'[: n_columns != 1]}: {', '.join(planned.columns)}"
        yield "resources", resources_text(planned.resources)
    missing = [ticker for ticker, last in plan.to_ask.items() if last is None]
    cached = [f"{ticker} (cached to {last})" for ticker, last in plan.to_ask.items() if last]
    if missing:
        tickers = ticker_list_text(missing, max_chars=MAX_TICKER_LIST_CHARS)
        yield "prices", f"not cached yet: {tickers}; `quantlr data fetch {config_path}` downloads them"
        yield "", "rows and folds depend on them; plan again once they are cached"
    if cached:
        tickers = ticker_list_text(cached, max_chars=MAX_TICKER_LIST_CHARS)
        yield "network", f"a run would first ask for newer sessions of {tickers}"
    for section in ("label", "walk_forward", "model", "policy"):
        yield section.replace("_", "-"), _section_text(plan.config[section])
    if plan.config["select"]:
        yield "select", _selection_text(plan.config["select"])
    for overlay in plan.config["overlays"]:
        yield "overlay", _section_text(overlay)
    yield "execution", _section_text(plan.config["execution"])
    yield "report", f"{plan.folder}{', replacing the report there' if plan.replaces else ''}"
    if planned is not None:
        this_trial = "this one is among them" if planned.tried else "this would be one more"
        yield "trials", f"{planned.trials:,} so far on overlapping prices; {this_trial} ({plan.ledger})"


def iter_file_reading_texts(files: Iterable[FileReading]) -> Iterator[tuple[str, str]]:
    """Yield label and text of each line on how files of prices were read."""
    for file in files:
        reading, closes = file.texts()
        yield "read as", reading
        yield "", closes


def _selection_text(section: dict[str, Any]) -> str:
    """Return how a config chooses, and among which values."""
    from quantlr.config.candidates import candidate_text

    return f"{section['how']} by {section['by']} over {candidate_text(section['over'])}"


def _section_text(section: dict[str, Any]) -> str:
    kind = section.get("kind")
    values = ", ".join(f"{key} {value}" for key, value in section.items() if key != "kind" and value is not None)
    return f"{kind}: {values}" if kind and values else kind or values


def _print_walk_forward_plan(options: Options, planned: WalkForwardPlan) -> None:

    from quantlr.cli.terminal import print_table

    results, n_models = options.results, len(planned.models)
    listed_models = planned.models if options.verbose else planned.models[:MAX_MODELS_SHOWN]
    print_table(_models_table(planned, listed_models), results)
    if len(listed_models) < n_models:
        results.print(f"and {n_models - len(listed_models):,} more; -v shows all", style="dim")
    for model in planned.models if options.verbose else planned.models[:1]:
        print_table(_refits_table(model, show_all=options.verbose), results)
    results.print("; ".join(_iter_total_texts(planned)), style="bold")
    options.print_notes(planned.notes)


def _iter_total_texts(planned: WalkForwardPlan) -> Iterator[str]:
    yield f"{planned.refits:,} refit{'s'[: planned.refits != 1]}"
    yield f"{planned.forecasts:,} forecasts, of which {planned.scored:,} are scored"
    if planned.gap:
        yield f"{planned.gap} row{'s'[: planned.gap != 1]} between training and forecast, since labels take time"
    yield f"first fill {planned.first_fill}" if planned.first_fill else "no fill, since prices end before"


def _models_table(planned: WalkForwardPlan, models: tuple[PlannedModel, ...]) -> Table:
    """Return a table with a row for each model."""
    from quantlr.cli.terminal import make_table

    counts: dict[str, Callable[[PlannedTicker], int]] = {
        ">bars": lambda ticker: ticker.bars.rows,
        ">no member": lambda ticker: ticker.outside_membership,
        ">warm-up": lambda ticker: ticker.warm_up,
        ">rows": lambda ticker: ticker.rows,
    }
    if not any(map(counts[">no member"], planned.tickers)):
        del counts[">no member"]
    table = make_table("", ("", *counts, ">refits", ">forecasts", "first", "last"))
    tickers_by_name = {ticker.name: ticker for ticker in planned.tickers}
    for model in models:
        tickers = [tickers_by_name[model.name]] if model.name in tickers_by_name else list(planned.tickers)
        totals = (sum(map(count, tickers)) for count in counts.values())
        numbers = (f"{number:,}" for number in (*totals, len(model.folds), model.n_forecasts))
        table.add_row(model.name, *numbers, model.folds[0].test.first, model.folds[-1].test.last)
    return table


def _refits_table(model: PlannedModel, *, show_all: bool) -> Table:
    """Return a table with a row for each refit, or for those at either end."""
    from quantlr.cli.terminal import make_table

    table = make_table(f"refits of {model.name}", ("", ">rows", "trained on", ">rows", "forecast"))
    n_folds = len(model.folds)
    first_hidden, last_hidden = FOLDS_SHOWN_PER_END, n_folds - FOLDS_SHOWN_PER_END - 1
    for number, fold in enumerate(model.folds):
        if show_all or last_hidden <= first_hidden or not first_hidden <= number <= last_hidden:
            train, test = fold.train, fold.test
            unlabelled = f" ({train.rows - fold.labelled_rows:,} unlabelled)" if fold.labelled_rows < train.rows else ""
            train_cells = f"{train.rows:,}", f"{train.first} to {train.last}{unlabelled}"
            table.add_row(f"{number + 1:,}", *train_cells, f"{test.rows:,}", f"{test.first} to {test.last}")
        elif number == first_hidden:
            table.add_row("…", *[""] * 4)
    return table
