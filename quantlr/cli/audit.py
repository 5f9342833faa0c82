"""``quantlr audit CONFIG``: prove that nothing in a run knows the future."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from quantlr.cli.options import (
    config_argument,
    config_options,
    display_options,
    jobs_option,
    offline_option,
    output_option,
)

if TYPE_CHECKING:
    from rich.console import Console

    from quantlr.audits.audit import Audit
    from quantlr.audits.cutoffs import CutoffCount

LEAK_EXIT_STATUS = 3
"""Exit status of an audit that has found a leak."""


def _parse_cuts_option(ctx: click.Context, param: click.Parameter, value: str) -> CutoffCount:
    """Return a number of at least 1, "auto" or "all"."""
    if value in ("auto", "all"):
        return "auto" if value == "auto" else "all"
    if value.isdecimal() and int(value) >= 1:
        return int(value)
    raise click.BadParameter(f"needed a number of at least 1, auto or all; found {value!r}", ctx=ctx, param=param)


@click.command("audit")
@config_argument
@click.option(
    "--cuts",
    callback=_parse_cuts_option,
    metavar="N|auto|all",
    default="auto",
    show_default=True,
    help="Boundaries of folds to look at with every future: the first, the last, and others drawn by the seed. "
    "auto: 16, and each other one, up to 400, with the mirror image.",
)
@config_options
@offline_option
@output_option
@jobs_option
@display_options
def command(
    config: Path,
    *,
    cuts: CutoffCount,
    settings: tuple[str, ...],
    name: str | None,
    offline: bool,
    output: Path,
    jobs: int | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Prove on CONFIG's own data that nothing looks ahead; write audit.json to OUTPUT/NAME.

    Other futures are put behind the boundaries of folds. Features, labels known by then, scaling, weights,
    probabilities, positions and booked returns up to there may not move. Exit status 3 if one does.
    """
    from quantlr.cli.terminal import make_console, run_for_exit_status

    found: list[Audit] = []
    one = partial(
        _audit_and_print, config, settings, name, offline, cuts, output, jobs, make_console(quiet=quiet), found
    )
    status = run_for_exit_status(partial(one, as_json=as_json, verbose=verbose), make_console())
    sys.exit(status or (LEAK_EXIT_STATUS if found and not found[0].is_clean else 0))


def _audit_and_print(
    config_path: Path,
    settings: tuple[str, ...],
    name: str | None,
    offline: bool,
    cuts: CutoffCount,
    output: Path,
    jobs: int | None,
    console: Console,
    completed_audits: list[Audit],
    *,
    as_json: bool,
    verbose: bool,
) -> None:
    """Audit one config, write what was found, and say it; `found` hears of it too."""
    from rich.text import Text

    from quantlr.audits.audit import audit_config
    from quantlr.cli.progress import progress_bar
    from quantlr.config.run_config import load_config
    from quantlr.core.parallel import available_cores
    from quantlr.report.storage import write_report_file

    config = load_config(config_path, settings=settings, name=name)
    with progress_bar(console) as progress:
        audit = audit_config(
            config, n_cutoffs=cuts, offline=offline, workers=jobs or available_cores(), progress=progress
        )
    completed_audits.append(audit)
    written = json.dumps(audit.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    place = write_report_file(written.encode(), "audit.json", config.run.name, output)
    _print_audit(audit, console, verbose=verbose)
    console.print(Text(f"audit in {place}"))
    if as_json:
        click.echo(json.dumps(audit.to_dict(), ensure_ascii=False, allow_nan=False))


def _print_audit(audit: Audit, console: Console, *, verbose: bool) -> None:
    from rich.text import Text

    for leak in audit.leaks:
        times = f" ({leak.times:,} times)" if leak.times > 1 else ""
        console.print(Text.assemble(("leak ", "bold red"), f"{leak.text}{times}"))
    covered = audit.coverage
    if verbose:
        for stage, count in covered.checks.items():
            largest = covered.largest.get(stage, 0.0)
            console.print(Text(f"{stage}: {count:,} compared, the most moved by {largest:.1g} of what rounding may"))
    verdict = "no leak found" if audit.is_clean else f"leaks in {', '.join(audit.leaking_stages)}"
    console.print(Text(f"{audit.name}: {verdict}", style="bold"))
    inputs, compared = covered.input_cuts - covered.cuts - covered.cuts_once, sum(covered.checks.values())
    once = f", the mirror image after {covered.cuts_once:,} more" if covered.cuts_once else ""
    short = covered.cuts_once or covered.refits_walked < covered.refits
    console.print(
        f"looked at {covered.refits_walked:,} of {covered.refits:,} refits: {len(covered.futures)} other futures after "
        f"each of {covered.cuts:,} sessions{once}{'; --cuts all puts each after every one' if short else ''}"
    )
    console.print(
        f"features and labels also after {inputs:,} more, {covered.input_futures} futures each, from {covered.first} "
        f"to {covered.last}; {compared:,} numbers compared in all"
    )
