"""``quantlr sweep SWEEP``: run every setting of a grid, and judge the best with all of them counted."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from quantlr.cli.options import Options, verb
from quantlr.core.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from quantlr.sweeps.grid import Sweep
    from quantlr.sweeps.scheduler import SweepObserver, SweepResult

FAILED_TRIALS_EXIT_STATUS = 4
"""Exit status of a sweep of which some trials failed."""
MAX_TRIALS_SHOWN = 10
"""Trials that the terminal lists."""
MAX_FAILURES_SHOWN = 5
"""Failed trials that the terminal lists without -v."""


@verb("sweep", "settings", "name", "jobs", "offline", "output")
@click.argument("sweep_path", metavar="SWEEP", type=click.Path(path_type=Path))
@click.option(
    "--engine",
    type=click.Choice(["process", "dask"]),
    default="process",
    show_default=True,
    help="Processes on this machine, or a Dask cluster.",
)
@click.option("--scheduler", metavar="ADDRESS", help="A running Dask scheduler, like tcp://127.0.0.1:8786.")
@click.option("--scheduler-file", type=click.Path(path_type=Path), metavar="F", help="File that the scheduler wrote.")
@click.option("--fresh", is_flag=True, help="Evaluate all trials anew, also those that are stored.")
@click.option("--yes", is_flag=True, help="Do not ask before a huge sweep.")
def command(
    options: Options,
    *,
    sweep_path: Path,
    engine: Literal["process", "dask"],
    scheduler: str | None,
    scheduler_file: Path | None,
    fresh: bool,
    yes: bool,
) -> int:
    """Run every combination of the grid in SWEEP; write the tables, the page and the test results to OUTPUT/NAME.

    Every trial enters the ledger before the first is run. Results are stored: a sweep that was interrupted continues
    where it was. --set sets a key of the base config. Exit status 4 if some trials failed.

    SWEEP is a YAML file that names the config that is varied, and lists values of some of its keys, such as
    {base: mine.yaml, grid: {walk_forward.train: [500, 1000], walk_forward.refit_every: [21, 63]}}.
    """
    from quantlr.experiment.ledger import Ledger
    from quantlr.report.summary import new_ledger_text
    from quantlr.sweeps.grid import load_sweep
    from quantlr.sweeps.scheduler import SweepOptions, make_engine_factory, run_sweep

    sweep = load_sweep(sweep_path, settings=options.settings, name=options.name)
    options.messages.print(_trial_count_text(sweep))
    _confirm_large_sweep(sweep, skip_confirmation=yes)
    open_engine = make_engine_factory(engine, workers=options.jobs, scheduler=scheduler, scheduler_file=scheduler_file)
    ledger = Ledger.from_output_folder(options.output)
    is_first = ledger.is_empty()
    with _sweep_progress_bar(options.messages) as observer:
        output, offline = options.output, options.offline
        sweep_options = SweepOptions(output, open_engine, offline=offline, fresh=fresh, observer=observer)
        result = run_sweep(sweep, sweep_options)
    _print_sweep(options, result)
    if is_first:
        options.messages.print(new_ledger_text(ledger.path))
    options.print_json(result.summary)
    return FAILED_TRIALS_EXIT_STATUS if result.summary["trials"]["failed"] else 0


def _trial_count_text(sweep: Sweep) -> str:
    """Return how many trials there will be, in words."""
    keys = " x ".join(f"{len(axis.values):,} {axis.key}" for axis in sweep.axes)
    n_combinations, n_trials = sweep.n_combinations, len(sweep.trial_numbers)
    drawn = f", of which {n_trials:,} are drawn by seed {sweep.spec.seed}" if n_trials < n_combinations else ""
    return f"{n_combinations:,} combination{'s'[: n_combinations > 1]} ({keys}){drawn}"


def _confirm_large_sweep(sweep: Sweep, *, skip_confirmation: bool) -> None:
    """Ask before a huge sweep on a terminal; elsewhere raise an error that names --yes."""
    from quantlr.sweeps.scheduler import MAX_UNCONFIRMED_TRIALS as LIMIT

    n_trials = len(sweep.trial_numbers)
    if skip_confirmation or n_trials <= LIMIT:
        return
    if sys.stdin.isatty() and sys.stderr.isatty() and click.confirm(f"Run {n_trials:,} trials?", err=True):
        return
    needed = f"more than {LIMIT:,} need a confirmation: add --yes, or draw some with sample"
    raise UserError(f"{n_trials:,} trials, and {needed}")


@contextmanager
def _sweep_progress_bar(console: Console) -> Iterator[SweepObserver]:
    """Show a bar with rate, time left and failures; where the console is no terminal, only the start."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    rate, failures = TextColumn("{task.fields[rate]}"), TextColumn("{task.fields[failed]}", style="red")
    columns = (TextColumn("trials"), BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn(), failures)
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal or console.quiet)

    class ProgressBarObserver:
        task: TaskID | None = None

        def on_start(self, sweep: Sweep, *, n_waiting: int, dashboard_url: str | None) -> None:
            n_stored = len(sweep.trial_numbers) - n_waiting
            if n_stored:
                console.print(f"{n_stored:,} trials are stored, {n_waiting:,} to go; --fresh evaluates all anew")
            if dashboard_url:
                console.print(f"dashboard at {dashboard_url}")
            bar.start()
            self.task = bar.add_task("", total=len(sweep.trial_numbers), completed=n_stored, rate="", failed="")

        def on_progress(self, *, n_done: int, n_total: int, n_failed: int) -> None:
            if self.task is None:
                return
            speed = next((task.speed for task in bar.tasks), None)
            rate, failed = f"{speed:.1f}/s" if speed else "", f"{n_failed:,} failed" if n_failed else ""
            bar.update(self.task, completed=n_done, total=n_total, rate=rate, failed=failed)

    try:
        yield ProgressBarObserver()
    finally:
        bar.stop()


def _print_sweep(options: Options, result: SweepResult) -> None:
    from rich.text import Text

    from quantlr.cli.terminal import path_link, print_table
    from quantlr.report.summary import sweep_summary_lines

    results, messages = options.results, options.messages
    print_table(_best_trials_table(result), results)
    for line in sweep_summary_lines(result.summary):
        results.print(line)
    failed = result.trials[result.trials["error"].notna()]
    n_listed = len(failed) if options.verbose else MAX_FAILURES_SHOWN
    for _, row in failed.head(n_listed).iterrows():
        messages.print(Text.assemble((f"trial {row['trial']} failed ", "yellow"), row["error"]))
    if len(failed) > n_listed:
        text = f"and {len(failed) - n_listed:,} more failed; trials.csv and -v give the reasons"
        messages.print(text, style="yellow")
    results.print(result.verdict, style="bold")
    results.print("report in", path_link(result.folder / "sweep.png"), soft_wrap=True)
    others = [path_link(result.folder / name, text=name) for name in ("sweep.json", "trials.csv", "winner.yaml")]
    results.print(Text("beside it ") + Text(", ").join(others))


def _best_trials_table(result: SweepResult) -> Table:
    """Return the best trials: their settings, the Sharpe ratio by which they are ranked, and other metrics."""
    from quantlr.backtest.metrics import find_metric, metrics_shown_in
    from quantlr.cli.terminal import make_table

    keys, sharpe = list(result.summary["grid"]), find_metric("sharpe")
    others = (find_metric("deflated_sharpe"), *metrics_shown_in("sweep"))
    headings = (sharpe.column_heading, "±95%", *(metric.column_heading for metric in others))
    n_evaluated = int(result.trials["error"].isna().sum())
    title = (
        f"{result.name}: the best {MAX_TRIALS_SHOWN} of {n_evaluated:,} trials"
        if n_evaluated > MAX_TRIALS_SHOWN
        else result.name
    )
    table = make_table(title, (">rank", ">trial", *keys, *(f">{heading}" for heading in headings)))
    for _, row in result.trials[result.trials["error"].isna()].head(MAX_TRIALS_SHOWN).iterrows():
        settings = (str(row[key]) for key in keys)
        half_width = sharpe.plain_text((row["sharpe_high95"] - row["sharpe_low95"]) / 2)
        numbers = (
            sharpe.plain_text(row["sharpe"]),
            half_width,
            *(metric.plain_text(row[metric.key]) for metric in others),
        )
        table.add_row(f"{row['rank']}", f"{row['trial']}", *settings, *numbers)
    return table
