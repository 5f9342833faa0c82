"""``quantlr audit CONFIG``: test that nothing in a run depends on the future."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from quantlr.cli.options import Options, config_argument, verb
from quantlr.core.errors import LookAheadError

if TYPE_CHECKING:
    from quantlr.audits.checks import CutoffCount
    from quantlr.audits.result import Audit


def _parse_cuts_option(ctx: click.Context, param: click.Parameter, value: str) -> CutoffCount:
    """Return a number of at least 1, "auto" or "all"."""
    if value in ("auto", "all"):
        return "auto" if value == "auto" else "all"
    if value.isdecimal() and int(value) >= 1:
        return int(value)
    raise click.BadParameter(f"needed a number of at least 1, auto or all; found {value!r}", ctx=ctx, param=param)


@verb("audit", "settings", "name", "offline", "output", "jobs")
@config_argument
@click.option(
    "--cuts",
    callback=_parse_cuts_option,
    metavar="N|auto|all",
    default="auto",
    show_default=True,
    help="Fold boundaries that are checked with every scenario: the first, the last, and others drawn by the seed. "
    "auto: 16, and up to 400 others with mirrored prices.",
)
def command(options: Options, *, config_path: Path, cuts: CutoffCount) -> int:
    """Test on CONFIG's own data that nothing looks ahead; write audit.json to OUTPUT/NAME.

    Prices after the boundaries of folds are replaced by other scenarios. Features, labels known by then, scaling,
    weights, probabilities, positions and booked returns up to there may not change. Exit status 3 if one does.
    """
    from quantlr.audits import audit
    from quantlr.cli.terminal import progress_bar
    from quantlr.experiment.supplement import require_own_report, save_supplement
    from quantlr.report.file_formats import json_bytes

    config = options.load_config(config_path)
    require_own_report(config.run, options.output)
    offline, workers = options.offline, options.workers
    with progress_bar(options.messages) as progress:
        result = audit(config, n_cutoffs=cuts, offline=offline, workers=workers, progress=progress)
    paths = save_supplement(config.run, {"audit.json": json_bytes(result.to_dict())}, options.output)
    _print_audit(options, result)
    options.print_written_paths(paths)
    options.print_json(result.to_dict())
    return 0 if result.is_clean else LookAheadError.exit_status


def _print_audit(options: Options, audit: Audit) -> None:
    from rich.text import Text

    from quantlr.audits.result import AUDIT_LIMITS

    results, coverage = options.results, audit.coverage
    for leak in audit.leaks:
        times = f" ({leak.times:,} times)" if leak.times > 1 else ""
        results.print(Text.assemble(("leak ", "bold red"), f"{leak.text}{times}"))
    for stage, count in coverage.n_compared_by_stage.items() if options.verbose else ():
        largest = f"largest change {coverage.largest_change_by_stage.get(stage, 0.0):.1g} of the tolerance"
        results.print(f"{stage}: {count:,} numbers compared, {largest}")
    conclusion = "no leak found" if audit.is_clean else f"leaks in {', '.join(audit.leaking_stages)}"
    results.print(f"{audit.name}: {conclusion}", style="bold")
    mirrored = f", mirrored prices after {coverage.n_model_cutoffs:,} more" if coverage.n_model_cutoffs else ""
    is_partial = coverage.n_model_cutoffs or coverage.n_refits_checked < coverage.n_refits
    results.print(
        f"checked {coverage.n_refits_checked:,} of {coverage.n_refits:,} refits: {len(coverage.scenarios)} scenarios "
        f"after each of {coverage.n_full_cutoffs:,} sessions{mirrored}"
        f"{'; --cuts all checks every one with each' if is_partial else ''}"
    )
    input_sessions = coverage.n_input_cutoffs - coverage.n_full_cutoffs - coverage.n_model_cutoffs
    results.print(
        f"features and labels also after {input_sessions:,} more, {coverage.n_scenarios_at_input_cutoff} scenarios at "
        f"once, from {coverage.first_cutoff} to {coverage.last_cutoff}; "
        f"{sum(coverage.n_compared_by_stage.values()):,} numbers compared in all"
    )
    for limit in AUDIT_LIMITS:
        results.print(Text.assemble(("not audited ", "yellow"), limit))
