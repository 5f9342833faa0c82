"""``quantlr robustness CONFIG``: what a result depends on, by span, regime, ticker, costs, delay and setting."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from quantlr.cli.options import Options, config_argument, verb
from quantlr.cli.supplement import measure_and_save, table_records

if TYPE_CHECKING:
    from rich.table import Table

    from quantlr.experiment.robustness import RobustnessResult


@verb("robustness", "settings", "name", "offline", "output", "jobs")
@config_argument
def command(options: Options, *, config_path: Path) -> None:
    """Show what the result of CONFIG depends on; write robustness.png and robustness.csv to OUTPUT/NAME.

    The Sharpe ratio by year, crisis, regime and ticker, with 0 to 5 times the costs, with fills 1 to 5 sessions later,
    and with each setting one step up and down. P values of alpha are adjusted for all of them by Holm's method. Each
    change is recorded as a trial; nearly equal ones hardly raise the count's effect.
    """
    from quantlr.cli.terminal import print_table
    from quantlr.experiment.robustness import robustness

    result, paths = measure_and_save(options, config_path, robustness)
    print_table(_robustness_table(result), options.results)
    options.results.print(result.sentence, style="bold")
    options.print_written_paths(paths)
    name, rows = result.run.config.name, table_records(result.table)
    options.print_json({"name": name, "sentence": result.sentence, "rows": rows})


def _robustness_table(result: RobustnessResult) -> Table:
    from quantlr.cli.terminal import make_table
    from quantlr.report.style import number_text, p_value_number_text

    headings = ("", "", ">sessions", ">Sharpe", ">of the rest", ">adjusted p")
    rows = (
        (
            row.group,
            row.name,
            f"{row.sessions:,}",
            number_text(row.sharpe),
            number_text(row.sharpe_without),
            p_value_number_text(row.adjusted_p_value),
        )
        for row in result.context.rows
    )
    return make_table(f"{result.run.config.name}: robustness", headings, rows)
