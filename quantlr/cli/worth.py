"""``quantlr worth CONFIG``: what each feature adds to the forecasts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from quantlr.cli.options import Options, config_argument, verb

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
    from quantlr.cli.terminal import path_link, print_table, progress_bar
    from quantlr.config.run_config import load_config
    from quantlr.experiment.worth import measure_worth

    config = load_config(config_path, settings=options.settings, name=options.name)
    with progress_bar(options.messages) as progress:
        result = measure_worth(config, offline=options.offline, workers=options.workers, progress=progress)
        paths = result.save(options.output)
    print_table(_worth_table(result), options.results)
    for path in paths:
        options.results.print("written to", path_link(path), soft_wrap=True)
    table = result.table.astype(object)
    options.print_json({"name": config.run.name, "features": table.where(table.notna(), None).to_dict("records")})


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
