"""``quantlr run CONFIGS...``: run experiments and write their reports."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from quantlr.cli.options import Options, configs_argument, verb
from quantlr.core.errors import OutputError, UserError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from quantlr.core.progress import Progress
    from quantlr.experiment.run import Run
    from quantlr.report.render import PageRenderer
    from quantlr.report.summary import HeadlineChange

MAX_TICKER_LIST_CHARS = 60
FURTHER_PAGES = ("features", "robustness")
"""Pages that need further fits: they are drawn with ``--pages all``, and by the verbs `worth` and `robustness`."""
STYLE_BY_ASSESSMENT = {"better": "green", "worse": "red", "same": "dim", "": ""}
MAX_CHANGES_SHOWN = 3
"""Numbers of ``metrics.json`` that are listed where they differ from the previous run and no headline does."""
HEADLINE_LAYOUTS = ("full", "without_names", "narrow")
NEXT_STEPS_TEXT = (
    "next: worth, race, robustness and audit take the same config; `quantlr compare RUN RUN` tests two runs; "
    "`quantlr predict CONFIG` forecasts the next close"
)
HeadlineRow = tuple[str, str, str, str]
"""Label, value, value of the baseline, name of the baseline."""


@verb("run", "settings", "name", "offline", "output", "jobs")
@configs_argument
@click.option("--pages", metavar="NAMES", help="Pages to draw, like tearsheet,model, or all; sets report.pages.")
@click.option("--open", "open_report", is_flag=True, help="Open report.html in the browser afterwards.")
@click.option(
    "--replace", "replace_former", is_flag=True, help="Replace the former report even if it is of another config."
)
@click.option("--sensitivity", is_flag=True, help="Also vary costs, the time of the fills, and the sessions scored.")
def command(
    options: Options,
    *,
    config_paths: tuple[Path, ...],
    pages: str | None,
    open_report: bool,
    replace_former: bool,
    sensitivity: bool,
) -> int:
    """Run experiments and write their reports to OUTPUT/NAME.

    A former report there is replaced if it is of the same config, and else kept as OUTPUT/NAME@1.

    Exit status 3 if a feature, label, model, policy or overlay of your own looks ahead: each is audited first.
    """
    from quantlr.report.render import open_page_renderer

    # First of all, so that the processes that draw import what they need while this one calculates.
    with open_page_renderer(options.workers) as renderer:
        from quantlr.cli.terminal import run_for_exit_status

        if pages is not None:
            options = replace(options, settings=(*options.settings, _pages_setting(pages)))
        paths_by_name: dict[str, Path] = {}

        def run_one(path: Path) -> None:
            folder = _run_and_print(
                options, path, paths_by_name, renderer, replace_former=replace_former, sensitivity=sensitivity
            )
            if open_report:
                click.launch(str(folder / "report.html"))

        statuses = [run_for_exit_status(partial(run_one, path), verbose=options.verbose) for path in config_paths]
    if not any(statuses):
        options.messages.print(NEXT_STEPS_TEXT, style="dim")
    return max(statuses)


def _pages_setting(pages: str) -> str:
    """Return the value of --pages as a setting of the config.

    Raises
    ------
    UserError : a page has no such name.
    """
    from quantlr.backtest.report_spec import PageName
    from quantlr.config.messages import suggestion_text

    names, known = [name.strip() for name in pages.split(",")], get_args(PageName)
    if names == ["all"]:
        return "report.pages=all"
    for name in names:
        if name not in known:
            needed = f"needs some of {', '.join(known)}, or all, which also draws {' and '.join(FURTHER_PAGES)}"
            hint = "" if name in ("all", *FURTHER_PAGES) else suggestion_text(name, (*known, "all"))
            raise UserError(f"--pages: {needed}; found {name!r}{hint}")
    return f"report.pages=[{', '.join(names)}]"


def _run_and_print(
    options: Options,
    config_path: Path,
    paths_by_name: dict[str, Path],
    draw: PageRenderer,
    *,
    replace_former: bool,
    sensitivity: bool,
) -> Path:
    """Run one config, write and print its report, and return the report's folder.

    `paths_by_name` are the configs so far, by the names of their reports; this one is added.
    """
    from quantlr.cli.terminal import progress_bar
    from quantlr.experiment.ledger import Ledger
    from quantlr.experiment.run import run_config
    from quantlr.report.storage import kept_report_dir, read_previous_metrics
    from quantlr.report.summary import new_ledger_text

    config = options.load_config(config_path)
    name, output, offline, workers = config.run.name, options.output, options.offline, options.workers
    other = paths_by_name.setdefault(name, config_path)
    if other is not config_path:
        raise OutputError(f"{config_path}: its report would replace that of {other}: both are named {name!r}")
    ledger = Ledger.from_output_folder(output)
    is_first = ledger.is_empty()
    with progress_bar(options.messages) as progress:
        run = run_config(
            config, output=output, offline=offline, workers=workers, sensitivity=sensitivity, progress=progress
        )
        previous_metrics = read_previous_metrics(output / name)
        kept_dir = kept_report_dir(output / name, run.config.to_yaml(folder=output / name))
        folder = run.save(output, replace_other_config=replace_former, draw=draw, progress=progress)
        if config.run.report.pages == "all":
            _save_further_pages(run, output, workers=workers, progress=progress)
    _print_run(options, run, previous_metrics, folder)
    if kept_dir and replace_former:
        options.messages.print("the former report, of another config, was replaced")
    elif kept_dir:
        text = f"the former report, of another config, is kept in {kept_dir}; --replace would replace it"
        comparison = f", and `quantlr compare {kept_dir} {folder}` tests the difference" if previous_metrics else ""
        options.messages.print(text + comparison, soft_wrap=True)
    if is_first:
        options.messages.print(new_ledger_text(ledger.path))
    options.print_json(run.metrics)
    return folder


def _save_further_pages(run: Run, output: Path, *, workers: int, progress: Progress) -> None:
    """Write the pages that need further fits: the robustness of the result, and the worth of the features."""
    from quantlr.experiment.robustness import robustness_of_run
    from quantlr.experiment.worth import worth_of_run

    robustness_of_run(run, workers=workers, progress=progress).save(output)
    if run.config.selection is None:
        worth_of_run(run, workers=workers, progress=progress).save(output)


def _print_run(options: Options, run: Run, previous_metrics: dict[str, Any] | None, report_dir: Path) -> None:
    from rich.text import Text

    from quantlr.backtest.fills import sharpe_by_fill_text
    from quantlr.cli.plan import iter_file_reading_texts
    from quantlr.cli.terminal import print_table
    from quantlr.report.summary import confidence_interval_rows, solver_text

    results = options.results
    print_headline_table(f"{run.config.name}: {_tickers_and_dates_text(run)}", run.metrics, previous_metrics, results)
    if options.verbose:
        for label, text in iter_file_reading_texts(run.config.data.source.describe_files(run.config.data.tickers)):
            results.print(Text.assemble((f"{label} " if label else "", "cyan"), text))
        for label, bounds in confidence_interval_rows(run.metrics):
            results.print(Text.assemble(("95% interval ", "cyan"), f"{label}: {bounds}"))
        results.print(Text.assemble(("solver ", "cyan"), solver_text(run.metrics["model"])))
        results.print(f"other fills: {sharpe_by_fill_text(run.metrics['backtest']['fills'])}")
    if "sensitivity" in run.metrics:
        print_table(_sensitivity_table(run), results)
    options.print_notes(run.notes)
    results.print(run.verdict, style="bold")
    _print_written_files(options, report_dir)
    _print_pages_not_drawn(options, run)


def _sensitivity_table(run: Run) -> Table:
    """Return the run and its variations: sessions, Sharpe ratio, and alpha with its p value."""
    from quantlr.cli.terminal import make_table
    from quantlr.report.summary import sensitivity_table

    table = sensitivity_table(run.metrics)
    headings = ("", *(f">{heading}" for heading in table.columns))
    return make_table(table.title, headings, ((label, *cells) for label, cells in table.rows))


def _tickers_and_dates_text(run: Run) -> str:
    """Return the tickers and the span of the forecasts."""
    from quantlr.core.timing import iso_date
    from quantlr.report.summary import ticker_list_text

    forecasts = run.run_data.forecasts
    tickers = [ticker for index, ticker in enumerate(forecasts.tickers) if (forecasts.ticker == index).any()]
    first, last = map(iso_date, forecasts.sessions[[forecasts.session.min(), forecasts.session.max()]])
    score_from = run.config.report.score_from
    scored = f", scored from {score_from}" if score_from else ""
    return f"{ticker_list_text(tickers, max_chars=MAX_TICKER_LIST_CHARS)}, forecasts {first} to {last}{scored}"


def _print_written_files(options: Options, report_dir: Path) -> None:
    """Print every file that a run writes, report.html first."""
    from rich.text import Text

    from quantlr.cli.terminal import path_link
    from quantlr.report.storage import REPORT_FILE_NAMES, TICKER_PAGES_DIR

    options.results.print(Text.assemble("report in ", path_link(report_dir / "report.html")), soft_wrap=True)
    names = REPORT_FILE_NAMES - {"report.html", "audit.json"}
    paths = [report_dir / name for name in sorted(names, key=lambda name: (not name.endswith(".png"), name))]
    paths += [report_dir / TICKER_PAGES_DIR, *(report_dir.parent / name for name in ("index.html", "trials.db"))]
    links = [path_link(path, text=os.path.relpath(path, report_dir), style="cyan") for path in paths if path.exists()]
    options.results.print(Text("beside it ") + Text(", ").join(links))


def _print_pages_not_drawn(options: Options, run: Run) -> None:
    """Print which pages the report lacks, and how to get them."""
    from quantlr.report.context import PageContext
    from quantlr.report.pages import pages_not_drawn

    context = PageContext.from_run(run.config, run.run_data, run.metrics, run.notes)
    names = [page.name for page in pages_not_drawn(context)]
    if run.config.report.pages != "all":
        names += ["robustness"] if run.config.selection else ["robustness", "features"]
    texts = [f"{', '.join(names)} (--pages all)"] if names else []
    if len(context.forecast_tickers) > 1 and not run.config.report.per_ticker:
        texts.append("a page for each ticker (--set report.per_ticker=true)")
    if texts:
        options.results.print(f"not drawn: {'; '.join(texts)}", style="dim")


def print_headline_table(
    title: str, metrics: dict[str, Any], previous_metrics: dict[str, Any] | None, console: Console
) -> None:
    """Print metrics in the widest layout that there is room for: with changes and baselines' names, or with less."""
    from rich.text import Text

    from quantlr.cli.terminal import has_room_for_table
    from quantlr.report.storage import has_same_prices, price_dates_text
    from quantlr.report.summary import headline_changes, headline_text_rows

    rows = headline_text_rows(metrics)
    changes = headline_changes(metrics, previous_metrics) if previous_metrics else []
    has_changes = any(change.assessment != "same" for change in changes)
    listed_changes = changes if has_changes else []
    for layout in HEADLINE_LAYOUTS:
        table = _headline_table(rows, listed_changes, layout)
        if has_room_for_table(table, console):
            break
    baseline_names = ", ".join(filter(None, (name for *_, name in rows)))
    notes = ["" if layout == "full" else f"baselines: {baseline_names}"]
    if previous_metrics and not has_changes:
        notes.append(_other_changes_text(metrics, previous_metrics))
    elif previous_metrics and not has_same_prices(metrics, previous_metrics):
        dates = price_dates_text(previous_metrics)
        notes.append(f"the previous run had other prices{f', {dates}' if dates else ''}")
    console.print(Text(title, style="bold"), table, sep="\n")
    for note in filter(None, notes):
        console.print(note, style="dim")


def _other_changes_text(metrics: dict[str, Any], previous_metrics: dict[str, Any]) -> str:
    """Return which numbers of ``metrics.json`` differ from the previous run, where no headline does."""
    from quantlr.report.pairs import metrics_differences

    def short(value: str | None) -> str:
        with suppress(ValueError):
            return f"{float(value or ''):.4g}"
        return str(value)

    differences = metrics_differences(previous_metrics, metrics)
    changes = [f"{key} {short(before)} -> {short(now)}" for key, (before, now) in differences]
    if not changes:
        return "no number differs from the previous run"
    n_others = len(changes) - MAX_CHANGES_SHOWN
    listed = ", ".join(changes[:MAX_CHANGES_SHOWN]) + (f" and {n_others} more" if n_others > 0 else "")
    return f"no number above differs from the previous run; in metrics.json: {listed}"


def _headline_table(rows: Sequence[HeadlineRow], changes: Sequence[HeadlineChange], layout: str) -> Table:
    """Return the table in one of `HEADLINE_LAYOUTS`; the narrow one has one word for each change."""
    from rich.text import Text

    from quantlr.cli.terminal import make_table

    is_narrow, n_baseline_cells = layout == "narrow", 2 if layout == "full" else 1
    change_headings = () if not changes else ("",) if is_narrow else (">previous", "change")
    table = make_table("", ("", ">this run", *change_headings, *(">baseline", "")[:n_baseline_cells]))
    table.padding = (0, 1 if is_narrow else 2, 0, 0)
    for (label, value, baseline, baseline_name), change in zip_longest(rows, changes):
        cells = []
        if change is not None:
            text = change.assessment if is_narrow else f"{change.difference_text} {change.assessment}".strip()
            cells = [] if is_narrow else [change.previous_text]
            cells.append(Text(text, style=STYLE_BY_ASSESSMENT[change.assessment]))
        table.add_row(label, value, *cells, *(baseline, Text(baseline_name, style="dim"))[:n_baseline_cells])
    return table
