"""``quantlr sweep SWEEP``: try every setting of a grid, and judge the best with all of them counted."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from quantlr.cli.options import display_options, offline_option, output_option
from quantlr.core.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from quantlr.sweeps.grid import Sweep
    from quantlr.sweeps.scheduler import SweepObserver, SweepResult

FAILED_TRIALS_EXIT_STATUS = 4
"""Exit status of a sweep of which some trials failed."""
MAX_TRIALS_SHOWN = 10
"""Trials that the terminal shows."""
MAX_FAILURES_SHOWN = 5
"""Failures that the terminal tells of."""


@click.command("sweep")
@click.argument("sweep", type=click.Path(path_type=Path))
@click.option(
    "--engine",
    type=click.Choice(["process", "dask"]),
    default="process",
    show_default=True,
    help="Processes on this machine, or a Dask cluster.",
)
@click.option("--scheduler", metavar="ADDRESS", help="A running Dask scheduler, like tcp://127.0.0.1:8786.")
@click.option("--scheduler-file", type=click.Path(path_type=Path), metavar="F", help="File in which it wrote that.")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Processes on this machine; as many as there are cores unless told. Results are the same.",
)
@click.option("--fresh", is_flag=True, help="Evaluate anew what is kept of an earlier sweep.")
@click.option("--yes", is_flag=True, help="Do not ask before a huge sweep.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set a key of the base config, like data.end=2015-12-31.",
)
@offline_option
@output_option
@display_options
def command(
    sweep: Path,
    *,
    engine: Literal["process", "dask"],
    scheduler: str | None,
    scheduler_file: Path | None,
    jobs: int | None,
    fresh: bool,
    yes: bool,
    settings: tuple[str, ...],
    offline: bool,
    output: Path,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Try every combination of the grid in SWEEP; write what they show together to OUTPUT/NAME.

    Every trial is written to the ledger before the first is run. What is done is kept: a sweep that was interrupted
    goes on where it was. Exit status 4 if some trials failed.
    """
    from quantlr.cli.terminal import make_console, run_for_exit_status

    out, failed = make_console(quiet=quiet), []

    def run_and_print_sweep() -> None:
        from quantlr.sweeps.grid import load_sweep
        from quantlr.sweeps.scheduler import SweepOptions, make_engine_factory, run_sweep

        loaded = load_sweep(sweep, settings=settings)
        out.print(_trial_count_text(loaded))
        _confirm_large_sweep(loaded, skip_confirmation=yes)
        opened = make_engine_factory(engine, workers=jobs, scheduler=scheduler, scheduler_file=scheduler_file)
        with _sweep_progress_bar(out) as watch:
            done = run_sweep(loaded, SweepOptions(output, opened, offline=offline, fresh=fresh, observer=watch))
        _print_sweep(done, out, verbose=verbose)
        failed.append(done.summary["trials"]["failed"])
        if as_json:
            click.echo(json.dumps(done.summary))

    status = run_for_exit_status(partial(run_and_print_sweep), make_console())
    sys.exit(FAILED_TRIALS_EXIT_STATUS if not status and any(failed) else status)


def _trial_count_text(sweep: Sweep) -> str:
    """Return how many trials there will be, in words."""
    keys = " x ".join(f"{len(axis.values):,} {axis.key}" for axis in sweep.axes)
    every = sweep.n_combinations
    drawn = (
        ""
        if len(sweep.trial_numbers) == every
        else f", of which {len(sweep.trial_numbers):,} are drawn by seed {sweep.spec.seed}"
    )
    return f"{every:,} combination{'s'[: every > 1]} ({keys}){drawn}"


def _confirm_large_sweep(sweep: Sweep, *, skip_confirmation: bool) -> None:
    """Ask before a huge sweep, where there is someone to ask."""
    from quantlr.sweeps.scheduler import MAX_UNCONFIRMED_TRIALS

    trials = len(sweep.trial_numbers)
    if skip_confirmation or trials <= MAX_UNCONFIRMED_TRIALS:
        return
    if sys.stdin.isatty() and sys.stderr.isatty() and click.confirm(f"Try {trials:,} of them?", err=True):
        return
    raise UserError(
        f"{trials:,} trials, and over {MAX_UNCONFIRMED_TRIALS:,} it asks first: add --yes, or draw some with sample"
    )


@contextmanager
def _sweep_progress_bar(console: Console) -> Iterator[SweepObserver]:
    """Show a bar with rate, time left and failures; where the output is no terminal, only how it begins."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("trials"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[failed]}", style="red"),
    )
    bars = Progress(*columns, console=console, transient=True, disable=not console.is_terminal or console.quiet)

    class Bar:
        task: TaskID | None = None

        def on_start(self, sweep: Sweep, *, n_waiting: int, dashboard_url: str | None) -> None:
            kept = len(sweep.trial_numbers) - n_waiting
            if kept:
                console.print(f"{kept:,} are done already, {n_waiting:,} to go; --fresh does all anew")
            if dashboard_url:
                console.print(f"dashboard at {dashboard_url}")
            bars.start()
            self.task = bars.add_task("", total=len(sweep.trial_numbers), completed=kept, rate="", failed="")

        def on_progress(self, *, n_done: int, n_total: int, n_failed: int) -> None:
            if self.task is None:
                return
            speed = next((task.speed for task in bars.tasks), None)
            rate, lost = f"{speed:.1f}/s" if speed else "", f"{n_failed:,} failed" if n_failed else ""
            bars.update(self.task, completed=n_done, total=n_total, rate=rate, failed=lost)

    try:
        yield Bar()
    finally:
        bars.stop()


def _print_sweep(sweep_result: SweepResult, console: Console, *, verbose: bool) -> None:
    from rich.text import Text

    from quantlr.report.summary import sweep_summary_lines

    console.print(_best_trials_table(sweep_result))
    for line in sweep_summary_lines(sweep_result.summary):
        console.print(Text(line))
    failures = sweep_result.trials[sweep_result.trials["error"].notna()]
    for _, row in (failures if verbose else failures.head(MAX_FAILURES_SHOWN)).iterrows():
        console.print(Text.assemble((f"trial {row['trial']} failed ", "yellow"), row["error"]))
    if not verbose and len(failures) > MAX_FAILURES_SHOWN:
        console.print(
            Text(
                f"and {len(failures) - MAX_FAILURES_SHOWN:,} more failed; trials.csv says why, and so does -v",
                style="yellow",
            )
        )
    console.print(Text(sweep_result.verdict, style="bold"))
    console.print(Text(f"report in {sweep_result.folder}"))


def _best_trials_table(sweep_result: SweepResult) -> Table:
    from rich.table import Table

    table = Table(title=sweep_result.name, title_justify="left", title_style="bold", box=None, pad_edge=False)
    keys = list(sweep_result.summary["grid"])
    for name in ("rank", "trial"):
        table.add_column(name, justify="right")
    for key in keys:
        table.add_column(key)
    for name in ("Sharpe", "95%", "deflated", "growth", "drawdown", "traded"):
        table.add_column(name, justify="right", no_wrap=True)
    for _, row in sweep_result.trials[sweep_result.trials["error"].isna()].head(MAX_TRIALS_SHOWN).iterrows():
        table.add_row(f"{row['rank']}", f"{row['trial']}", *(str(row[key]) for key in keys), *_trial_cells(row))
    return table


def _trial_cells(trial_row: Any) -> tuple[str, ...]:
    """Return a trial's numbers as text for people."""

    def format_or_dash(template: str, value: Any) -> str:
        return "-" if value is None or value != value else template.format(value)

    return (
        format_or_dash("{:.2f}", trial_row["sharpe"]),
        format_or_dash("±{:.2f}", (trial_row["sharpe_high95"] - trial_row["sharpe_low95"]) / 2),
        format_or_dash("{:.0%}", trial_row["deflated_sharpe"]),
        format_or_dash("{:.1%}", trial_row["cagr"]),
        format_or_dash("{:.1%}", trial_row["max_drawdown"]),
        format_or_dash("{:.1f}", trial_row["turnover_per_year"]),
    )
