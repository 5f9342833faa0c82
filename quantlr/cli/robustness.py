"""``quantlr robustness CONFIG``: what a result depends on, by span, regime, ticker, costs, delay and setting."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from quantlr.cli.options import Options, config_argument, verb

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
    from quantlr.cli.terminal import path_link, print_table, progress_bar
    from quantlr.config.run_config import load_config
    from quantlr.experiment.robustness import measure_robustness

    config = load_config(config_path, settings=options.settings, name=options.name)
    output, offline, workers = options.output, options.offline, options.workers
    with progress_bar(options.messages) as progress:
        result = measure_robustness(config, output=output, offline=offline, workers=workers, progress=progress)
        paths = result.save(output)
    print_table(_robustness_table(result), options.results)
    options.results.print(result.sentence, style="bold")
    for path in paths:
        options.results.print("written to", path_link(path), soft_wrap=True)
    table = result.table.astype(object)
    rows = table.where(table.notna(), None).to_dict("records")
    options.print_json({"name": config.run.name, "sentence": result.sentence, "rows": rows})


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
