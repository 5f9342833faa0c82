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

    The table shows by how much the log loss is higher without each, in thousandths of a nat, with the p value of Clark
    and West's test, adjusted for all features by Holm's method; and by how much the base rate's is higher than that of
    the feature alone. Then the entries are removed one after the other; the models of this backward elimination are
    recorded as trials. features.png, features.csv and features_elimination.csv are written to OUTPUT/NAME.
    """
    from quantlr.cli.terminal import print_table
    from quantlr.experiment.worth import worth
    from quantlr.report.pages.features import features_finding

    result, paths = measure_and_save(options, config_path, worth)
    print_table(_worth_table(result), options.results)
    options.results.print(f"{features_finding(result.worth)}.", style="bold")
    print_table(_elimination_table(result), options.results)
    options.print_written_paths(paths)
    name, elimination = result.run.config.name, table_records(result.elimination_table)
    options.print_json({"name": name, "features": table_records(result.table), "elimination": elimination})


def _worth_table(result: WorthResult) -> Table:
    from quantlr.cli.terminal import make_table
    from quantlr.report.pages.features import THOUSANDTHS, p_value_text
    from quantlr.report.style import number_text

    headings = ("features", ">without less with", ">adjusted p", ">base rate less alone", ">p alone")
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
    return make_table(f"{result.run.config.name}: log loss, differences in thousandths of a nat", headings, rows)


def _elimination_table(result: WorthResult) -> Table:
    """Return the steps from all features to none, with the log loss of each less that of the base rate."""
    from quantlr.cli.terminal import make_table
    from quantlr.model.feature_elimination import best_step_in_hindsight
    from quantlr.report.pages.features import THOUSANDTHS
    from quantlr.report.style import number_text

    steps = result.elimination
    best, base_rate_loss = best_step_in_hindsight(steps), steps[-1].log_loss
    rows = (
        (
            f"without {step.removed.name}" if step.removed else "all features",
            str(len(step.kept)),
            f"{step.log_loss:.5f}",
            number_text(THOUSANDTHS * (base_rate_loss - step.log_loss), decimals=3),
            "best, chosen in hindsight" if step is best else "",
        )
        for step in steps
    )
    headings = ("backward elimination", ">entries", ">log loss", ">base rate's less it", "")
    return make_table("", headings, rows)
