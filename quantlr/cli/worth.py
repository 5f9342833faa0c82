"""``quantlr worth CONFIG``: what each feature adds to the forecasts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from quantlr.cli.options import Options, config_argument, verb
from quantlr.cli.supplement import measure_and_save, table_records

if TYPE_CHECKING:
    from rich.table import Table

    from quantlr.experiment.worth import WorthResult


@verb("worth", "settings", "name", "offline", "output", "jobs")
@config_argument
def command(options: Options, *, config_path: Path) -> None:
    """Refit CONFIG without each of its features, and test what each adds to the forecasts.

    The table shows the log loss that each takes off, in thousandths of a nat, with the p value of Clark and West's
    test, adjusted for all features by Holm's method. features.png and features.csv are written to OUTPUT/NAME. Only
    forecasts are compared, never profit: no trial is recorded.
    """
    from quantlr.cli.terminal import print_table
    from quantlr.experiment.worth import worth

    result, paths = measure_and_save(options, config_path, worth)
    print_table(_worth_table(result), options.results)
    options.print_written_paths(paths)
    options.print_json({"name": result.run.config.name, "features": table_records(result.table)})


def _worth_table(result: WorthResult) -> Table:
    from quantlr.cli.terminal import make_table
    from quantlr.report.pages.features import THOUSANDTHS, p_value_text
    from quantlr.report.style import number_text

    headings = ("features", ">log loss taken off", ">adjusted p", ">alone", ">p alone")
    rows = (
        (
            item.features.name,
            number_text(THOUSANDTHS * item.mean_loss_reduction, decimals=3),
            p_value_text(item.adjusted_p_value),
            number_text(THOUSANDTHS * item.alone_loss_reduction, decimals=3),
            p_value_text(item.alone_test["p_value"]),
        )
        for item in result.worth.sets
    )
    return make_table(f"{result.run.config.name}: worth of features (thousandths of a nat)", headings, rows)
