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
    jobs_option,
    offline_option,
    output_option,
    telling_options,
)

if TYPE_CHECKING:
    from rich.console import Console

    from quantlr.audit import Audit
    from quantlr.audit.cuts import HowMany

LEAKED = 3
"""Exit status of an audit that has found a leak."""


def _count(ctx: click.Context, param: click.Parameter, value: str) -> HowMany:
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
    callback=_count,
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
@telling_options
def command(
    config: Path,
    *,
    cuts: HowMany,
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
    from quantlr.cli.terminal import console, status_of

    found: list[Audit] = []
    one = partial(_audit, config, settings, name, offline, cuts, output, jobs, console(quiet=quiet), found)
    status = status_of(partial(one, as_json=as_json, verbose=verbose), console())
    sys.exit(status or (LEAKED if found and not found[0].clean else 0))


def _audit(
    path: Path,
    settings: tuple[str, ...],
    name: str | None,
    offline: bool,
    cuts: HowMany,
    output: Path,
    jobs: int | None,
    out: Console,
    found: list[Audit],
    *,
    as_json: bool,
    verbose: bool,
) -> None:
    """Audit one config, write what was found, and say it; `found` hears of it too."""
    from rich.text import Text

    from quantlr.audit import audit_config
    from quantlr.cli.progress import progress_bar
    from quantlr.config import load_config
    from quantlr.processes import available
    from quantlr.report.folder import write_beside

    config = load_config(path, settings=settings, name=name)
    with progress_bar(out) as progress:
        audit = audit_config(config, cuts=cuts, offline=offline, workers=jobs or available(), progress=progress)
    found.append(audit)
    written = json.dumps(audit.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    place = write_beside(written.encode(), "audit.json", config.run.name, output)
    _show(audit, out, verbose=verbose)
    out.print(Text(f"audit in {place}"))
    if as_json:
        click.echo(json.dumps(audit.to_dict(), ensure_ascii=False, allow_nan=False))


def _show(audit: Audit, out: Console, *, verbose: bool) -> None:
    from rich.text import Text

    for leak in audit.leaks:
        times = f" ({leak.times:,} times)" if leak.times > 1 else ""
        out.print(Text.assemble(("leak ", "bold red"), f"{leak.text}{times}"))
    covered = audit.coverage
    if verbose:
        for stage, count in covered.checks.items():
            largest = covered.largest.get(stage, 0.0)
            out.print(Text(f"{stage}: {count:,} compared, the most moved by {largest:.1g} of what rounding may"))
    verdict = "no leak found" if audit.clean else f"leaks in {', '.join(audit.stages)}"
    out.print(Text(f"{audit.name}: {verdict}", style="bold"))
    inputs, compared = covered.input_cuts - covered.cuts - covered.cuts_once, sum(covered.checks.values())
    once = f", the mirror image after {covered.cuts_once:,} more" if covered.cuts_once else ""
    short = covered.cuts_once or covered.refits_walked < covered.refits
    out.print(
        f"looked at {covered.refits_walked:,} of {covered.refits:,} refits: {len(covered.futures)} other futures after "
        f"each of {covered.cuts:,} sessions{once}{'; --cuts all puts each after every one' if short else ''}"
    )
    out.print(
        f"features and labels also after {inputs:,} more, {covered.input_futures} futures each, from {covered.first} "
        f"to {covered.last}; {compared:,} numbers compared in all"
    )
