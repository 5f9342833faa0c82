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

from quantlr.cli.options import offline_option, output_option, telling_options
from quantlr.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from quantlr.sweep import Sweep, Swept
    from quantlr.sweep.desk import Watch

PART_FAILED = 4
"""Exit status of a sweep of which some trials failed."""
BEST = 10
"""Trials that the terminal shows."""
TOLD = 5
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
@telling_options
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
    from quantlr.cli.terminal import console, status_of

    out, failed = console(quiet=quiet), []

    def run() -> None:
        from quantlr.sweep import Setting, engine_of, load_sweep, run_sweep

        loaded = load_sweep(sweep, settings=settings)
        out.print(_stated(loaded))
        _ask(loaded, yes=yes)
        opened = engine_of(engine, jobs=jobs, scheduler=scheduler, scheduler_file=scheduler_file)
        with _watching(out) as watch:
            done = run_sweep(loaded, Setting(output, opened, offline=offline, fresh=fresh, watch=watch))
        _show(done, out, verbose=verbose)
        failed.append(done.summary["trials"]["failed"])
        if as_json:
            click.echo(json.dumps(done.summary))

    status = status_of(partial(run), console())
    sys.exit(PART_FAILED if not status and any(failed) else status)


def _stated(loaded: Sweep) -> str:
    """Return how many trials there will be, in words."""
    keys = " x ".join(f"{len(axis.choices):,} {axis.key}" for axis in loaded.axes)
    every = loaded.combinations
    drawn = (
        "" if len(loaded.chosen) == every else f", of which {len(loaded.chosen):,} are drawn by seed {loaded.spec.seed}"
    )
    return f"{every:,} combination{'s'[: every > 1]} ({keys}){drawn}"


def _ask(loaded: Sweep, *, yes: bool) -> None:
    """Ask before a huge sweep, where there is someone to ask."""
    from quantlr.sweep import ASK

    trials = len(loaded.chosen)
    if yes or trials <= ASK:
        return
    if sys.stdin.isatty() and sys.stderr.isatty() and click.confirm(f"Try {trials:,} of them?", err=True):
        return
    raise UserError(f"{trials:,} trials, and over {ASK:,} it asks first: add --yes, or draw some with sample")


@contextmanager
def _watching(out: Console) -> Iterator[Watch]:
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
    bars = Progress(*columns, console=out, transient=True, disable=not out.is_terminal or out.quiet)

    class Bar:
        task: TaskID | None = None

        def begun(self, sweep: Sweep, *, waiting: int, dashboard: str | None) -> None:
            kept = len(sweep.chosen) - waiting
            if kept:
                out.print(f"{kept:,} are done already, {waiting:,} to go; --fresh does all anew")
            if dashboard:
                out.print(f"dashboard at {dashboard}")
            bars.start()
            self.task = bars.add_task("", total=len(sweep.chosen), completed=kept, rate="", failed="")

        def done(self, *, done: int, total: int, failed: int) -> None:
            if self.task is None:
                return
            speed = next((task.speed for task in bars.tasks), None)
            rate, lost = f"{speed:.1f}/s" if speed else "", f"{failed:,} failed" if failed else ""
            bars.update(self.task, completed=done, total=total, rate=rate, failed=lost)

    try:
        yield Bar()
    finally:
        bars.stop()


def _show(done: Swept, out: Console, *, verbose: bool) -> None:
    from rich.text import Text

    from quantlr.report.summary import sweep_lines

    out.print(_table(done))
    for line in sweep_lines(done.summary):
        out.print(Text(line))
    failures = done.trials[done.trials["error"].notna()]
    for _, row in (failures if verbose else failures.head(TOLD)).iterrows():
        out.print(Text.assemble((f"trial {row['trial']} failed ", "yellow"), row["error"]))
    if not verbose and len(failures) > TOLD:
        out.print(
            Text(f"and {len(failures) - TOLD:,} more failed; trials.csv says why, and so does -v", style="yellow")
        )
    out.print(Text(done.verdict, style="bold"))
    out.print(Text(f"report in {done.folder}"))


def _table(done: Swept) -> Table:
    from rich.table import Table

    table = Table(title=done.name, title_justify="left", title_style="bold", box=None, pad_edge=False)
    keys = list(done.summary["grid"])
    for name in ("rank", "trial"):
        table.add_column(name, justify="right")
    for key in keys:
        table.add_column(key)
    for name in ("Sharpe", "95%", "deflated", "growth", "drawdown", "traded"):
        table.add_column(name, justify="right", no_wrap=True)
    for _, row in done.trials[done.trials["error"].isna()].head(BEST).iterrows():
        table.add_row(f"{row['rank']}", f"{row['trial']}", *(str(row[key]) for key in keys), *_cells(row))
    return table


def _cells(row: Any) -> tuple[str, ...]:
    """Return a trial's numbers as text for people."""

    def form(form: str, value: Any) -> str:
        return "-" if value is None or value != value else form.format(value)

    return (
        form("{:.2f}", row["sharpe"]),
        form("±{:.2f}", (row["sharpe_high95"] - row["sharpe_low95"]) / 2),
        form("{:.0%}", row["deflated_sharpe"]),
        form("{:.1%}", row["cagr"]),
        form("{:.1%}", row["max_drawdown"]),
        form("{:.1f}", row["turnover_per_year"]),
    )
