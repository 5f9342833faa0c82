"""What `worth`, `race` and `robustness` share: they measure a config and write a page beside its report."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from quantlr.cli.options import Options

if TYPE_CHECKING:
    import pandas as pd


class SavedBesideReport(Protocol):
    """A result that can be written beside the report of its config."""

    def save(self, output: str | Path = "reports") -> list[Path]:
        """Write the page and its tables, and return their paths."""


Result = TypeVar("Result", bound=SavedBesideReport)


def measure_and_save(options: Options, config_path: Path, measure: Callable[..., Result]) -> tuple[Result, list[Path]]:
    """Return what a function measures of a config, and the paths of the files that are written beside its report."""
    from quantlr.cli.terminal import progress_bar
    from quantlr.experiment.supplement import require_own_report

    config = options.load_config(config_path)
    require_own_report(config.run, options.output)
    with progress_bar(options.messages) as progress:
        result = measure(config, offline=options.offline, workers=options.workers, progress=progress)
        return result, result.save(options.output)


def table_records(table: pd.DataFrame) -> list[dict[Hashable, Any]]:
    """Return a table as JSON may have it: a mapping for each row, None where a value is missing."""
    objects = table.astype(object)
    return objects.where(objects.notna(), None).to_dict("records")
