"""``quantlr race CONFIG --against NAME``: the config's model against other classifiers and the naive rules."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from quantlr.cli.options import Options, config_argument, verb
from quantlr.cli.supplement import measure_and_save, table_records

if TYPE_CHECKING:
    from rich.table import Table

    from quantlr.experiment.race import RaceResult


@verb("race", "settings", "name", "offline", "output", "jobs")
@config_argument
@click.option(
    "--against", multiple=True, metavar="CLASSIFIER",
    help="A classifier of scikit-learn: hist_gradient_boosting, RandomForestClassifier; may be repeated.",
)  # fmt: skip
def command(options: Options, *, config_path: Path, against: tuple[str, ...]) -> None:
    """Compare the model of CONFIG with other classifiers and the naive rules, on the same rows and folds.

    A star marks a difference from the model that is significant by the paired bootstrap, its p value adjusted for all
    differences by Holm's method. race.png and race.csv are written to OUTPUT/NAME. The model and the challengers are
    recorded as trials.
    """
    from quantlr.cli.terminal import print_table
    from quantlr.experiment.race import race

    result, paths = measure_and_save(options, config_path, partial(race, against=against))
    print_table(_race_table(result), options.results)
    options.results.print("* differs significantly from the model of the config (5%, adjusted)", style="dim")
    if not against:
        options.messages.print(
            "no --against: only the naive rules are compared; "
            "`--against hist_gradient_boosting` adds a classifier of scikit-learn, by the name of its class"
        )
    options.print_written_paths(paths)
    options.print_json({"name": result.config.name, "race": table_records(result.table)})


def _race_table(result: RaceResult) -> Table:
    from quantlr.cli.terminal import make_table
    from quantlr.report.race import race_metrics

    metrics = race_metrics()
    rows = []
    for entry in result.entries:
        cells = [
            metric.plain_text(entry.metrics[metric.key])
            + ("*" if metric.key in entry.tests and entry.tests[metric.key].is_significant else " ")
            for metric in metrics
        ]
        rows.append((entry.competitor.name, *cells, f"{entry.competitor.cpu_seconds:.2f}"))
    headings = ("", *(f">{metric.column_heading} " for metric in metrics), ">CPU s")
    return make_table(f"{result.config.name}: the model, challengers and naive rules", headings, rows)
