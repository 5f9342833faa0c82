"""``quantlr compare RUNS...``: runs compared pair by pair, with p values adjusted for the number of tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from quantlr.cli.options import Options, verb

if TYPE_CHECKING:
    from rich.table import Table

    from quantlr.report.compare import Comparison

MAX_DIFFERING_KEYS_SHOWN = 10
"""Keys of the configs that differ which are listed without -v."""


@verb("compare", "output")
@click.argument("runs", nargs=-1, required=True, metavar="RUNS...")
@click.option("--name", default="compare", show_default=True, help="Name of the comparison's folder.")
@click.option(
    "--baseline",
    metavar="RUN",
    help="Test only the differences from this run, one of RUNS or another; it is listed first.",
)
def command(options: Options, *, runs: tuple[str, ...], name: str, baseline: str | None) -> None:
    """Compare 2 to 12 RUNS over the sessions they share; write compare.png and compare.json to OUTPUT/NAME.

    A run is the folder of a report, or its name in OUTPUT. Every pair is tested by the paired bootstrap, with p values
    and intervals adjusted for all tests. -v shows every key of the config that differs.
    """
    from quantlr.cli.terminal import path_link
    from quantlr.report.compare import check_comparison_target, compare
    from quantlr.report.gallery import write_comparison

    check_comparison_target(name, options.output)
    comparison = compare(runs, baseline=baseline, output=options.output)
    folder = write_comparison(comparison, name, options.output)
    _print_comparison(options, comparison)
    options.results.print("comparison in", path_link(folder / "compare.png"), soft_wrap=True)
    options.print_json(comparison.to_dict())


def _print_comparison(options: Options, comparison: Comparison) -> None:
    from rich.text import Text

    from quantlr.cli.terminal import print_notes, print_table
    from quantlr.report.pairs import pair_sentence

    results, differences = options.results, list(comparison.config_differences.items())
    print_table(_metrics_table(comparison), results)
    listed = differences if options.verbose else differences[:MAX_DIFFERING_KEYS_SHOWN]
    for key, values_by_run in listed:
        values = dict.fromkeys(value or "none" for value in values_by_run)
        results.print(Text.assemble(("differs ", "cyan"), f"{key}: {' | '.join(values)}"))
    if len(differences) > len(listed):
        results.print(f"and {len(differences) - len(listed)} more keys differ; -v shows them", style="dim")
    print_notes(comparison.caveats, options.messages)
    for pair in comparison.pairs:
        style = "bold" if any(test.is_significant for test in pair.metric_tests) else ""
        results.print(pair_sentence(pair, comparison.run_names), style=style)
    if comparison.n_tests:
        tests = f"{comparison.n_tests} tests" if comparison.n_tests > 1 else "1 test"
        text = f"p values and intervals are adjusted for {tests} by Holm's method"
        results.print(f"{text}; a lower log loss is a better forecast", style="dim")


def _metrics_table(comparison: Comparison) -> Table:
    """Return a table with a row for each run, and one for the baselines.

    Metrics of which neither a higher nor a lower value is better are left out, so that 80 columns have room for names.
    """
    from quantlr.cli.terminal import make_table
    from quantlr.core.timing import iso_date
    from quantlr.report.pairs import compared_metrics, metric_cell_texts

    dates = comparison.dates
    title = f"{len(dates):,} common sessions, {iso_date(dates[0])} to {iso_date(dates[-1])}"
    metrics = [metric for metric in compared_metrics() if metric.better != "neither"]
    values_by_name = dict(zip(comparison.run_names, comparison.metrics_by_run, strict=True))
    if comparison.baseline_name:
        values_by_name[comparison.baseline_name] = comparison.baseline_metrics
    headings = ("", *(f">{metric.column_heading}" for metric in metrics))
    return make_table(
        title, headings, ((name, *metric_cell_texts(values, metrics)) for name, values in values_by_name.items())
    )
