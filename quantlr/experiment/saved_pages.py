"""The pages of a saved report, of a run, a sweep or a comparison, as they can be drawn again.

A report holds its numbers, not the fitted models. What a page needs besides is computed again, from the report's config
and the stored prices, without the network; the prices must be the report's.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from quantlr.backtest.metric_types import BacktestView
from quantlr.backtest.metrics import annual_sharpe
from quantlr.config.run_config import load_config
from quantlr.core.errors import UserError
from quantlr.core.file_reading import UnreadableContentError, library_errors_translated, read_file, read_json
from quantlr.core.progress import Progress, ignore_progress
from quantlr.core.values import BacktestResult
from quantlr.experiment.race import RACE_CSV_FILE, race
from quantlr.experiment.robustness import robustness_of_run
from quantlr.experiment.run import Run, run_config
from quantlr.experiment.worth import worth_of_run
from quantlr.pipeline.stages import load_run_prices, run_stages
from quantlr.report.compare import compare
from quantlr.report.figures import FigureCollection, applicable_pages
from quantlr.report.pages import Page, pages_to_draw
from quantlr.report.pages.comparison import comparison_figure, comparison_panels
from quantlr.report.pages.sweep import sweep_figure, sweep_panels
from quantlr.report.storage import COMPARISON_FILE, CONFIG_FILE, MAX_JSON_BYTES, METRICS_FILE, SWEEP_FILE
from quantlr.report.sweep_context import sweep_page_context

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class SavedPages:
    """The pages of a saved report.

    Attributes
    ----------
    figures : their panels.
    draw_pages : yields each page as a figure.
    run : the run; None of a sweep or a comparison.
    """

    figures: FigureCollection
    draw_pages: Callable[[], Iterator[Figure]]
    run: Run | None = None


def open_saved_pages(report_dir: Path, *, workers: int = 1, progress: Progress = ignore_progress) -> SavedPages:
    """Return the pages of a saved report.

    Those of a run are all that apply to it, those of its robustness, features and race that the report has, and those
    of its tickers if the report draws them.

    Parameters
    ----------
    report_dir : folder of the report.
    workers, progress : as in `quantlr.run`.

    Raises
    ------
    UserError : the config can't be run again; the prices, the runs or the version are others than the report's.
    """
    if (report_dir / METRICS_FILE).is_file():
        return _pages_of_run(report_dir, workers=workers, progress=progress)
    if (report_dir / SWEEP_FILE).is_file():
        return _pages_of_sweep(report_dir)
    return _pages_of_comparison(report_dir)


def _pages_of_run(report_dir: Path, *, workers: int, progress: Progress) -> SavedPages:
    run = recompute_run(report_dir, workers=workers, progress=progress)
    context = run.page_context
    further: list[Page] = []

    def iter_further_pages() -> Iterator[Page]:
        """Yield the pages that need further fits, which are made once."""
        if not further:
            further.extend(_iter_further_pages(run, report_dir, workers=workers, progress=progress))
        yield from further

    def draw_pages() -> Iterator[Figure]:
        own = applicable_pages(context)
        of_tickers = (page for page in pages_to_draw(context) if page not in own)
        return (page.draw_figure(context) for page in itertools.chain(own, iter_further_pages(), of_tickers))

    return SavedPages(FigureCollection.from_run(context, iter_further_pages()), draw_pages, run)


def _iter_further_pages(run: Run, report_dir: Path, *, workers: int, progress: Progress) -> Iterator[Page]:
    if (report_dir / "robustness.png").is_file():
        yield robustness_of_run(run, workers=workers, progress=progress).page
    if (report_dir / "features.png").is_file():
        yield worth_of_run(run, workers=workers, progress=progress).page
    if (report_dir / "race.png").is_file():
        against = _read_challengers(report_dir / RACE_CSV_FILE)
        config = load_config(report_dir / CONFIG_FILE)
        yield race(config, against=against, offline=True, workers=workers, progress=progress).page


def _read_challengers(path: Path) -> list[str]:
    try:
        with library_errors_translated("the table of a race"):
            table = pd.read_csv(io.BytesIO(read_file(path, max_bytes=MAX_JSON_BYTES)), dtype={"kind": str, "name": str})
            return table.loc[table["kind"] == "challenger", "name"].tolist()
    except UnreadableContentError as error:
        raise UserError(f"{path}: {error}; run quantlr race again") from error


def recompute_run(report_dir: Path, *, workers: int = 1, progress: Progress = ignore_progress) -> Run:
    """Return the run of a saved report, with the metrics of the report, and so its count of trials.

    Parameters and errors are those of `open_saved_pages`.
    """
    config = load_config(report_dir / CONFIG_FILE)
    try:
        metrics = read_json(report_dir / METRICS_FILE, max_bytes=MAX_JSON_BYTES)
        digest = metrics["data"]["sha256"]
    except (OSError, UnreadableContentError, LookupError, TypeError) as error:
        raise UserError(f"{report_dir / METRICS_FILE} can't be read as this version writes it; run it again") from error
    run = run_config(config, offline=True, workers=workers, progress=progress)
    if run.metrics["data"]["sha256"] != digest:
        raise UserError(f"{report_dir}: the prices have changed since the report was written; run its config again")
    if _section_keys(metrics) != _section_keys(run.metrics):
        raise UserError(f"{report_dir} was written by another version of quantlr; run its config again")
    return replace(run, metrics=metrics)


def _section_keys(metrics: dict[str, Any]) -> dict[str, Any]:
    """Return the nested keys of the sections of a run's metrics, without what only some runs have, which are lists."""
    sections = {key: section for key, section in metrics.items() if isinstance(section, dict)}
    return {key: {**dict.fromkeys(section), **_section_keys(section)} for key, section in sections.items()}


def _pages_of_comparison(report_dir: Path) -> SavedPages:
    """Return the page of a comparison, which is made again of its runs' reports."""
    try:
        saved = read_json(report_dir / COMPARISON_FILE, max_bytes=MAX_JSON_BYTES)
        names, baseline = [run["name"] for run in saved["runs"]], saved["method"]["baseline_run"]
        pairs = saved["pairs"]
    except (OSError, UnreadableContentError, LookupError, TypeError) as error:
        text = f"{report_dir / COMPARISON_FILE} can't be read as this version writes it; compare the runs again"
        raise UserError(text) from error
    comparison = compare(names, baseline=baseline, output=report_dir.parent)
    if comparison.to_dict()["pairs"] != pairs:
        raise UserError(f"{report_dir}: the runs have changed since they were compared; compare them again")
    panels = ((placed.panel, comparison) for placed in comparison_panels(comparison))
    return SavedPages(FigureCollection(panels), lambda: iter([comparison_figure(comparison)]))


def _pages_of_sweep(report_dir: Path) -> SavedPages:
    """Return the page of a sweep: its numbers are those of its files, and its winner is run again."""
    try:
        summary = read_json(report_dir / SWEEP_FILE, max_bytes=MAX_JSON_BYTES)
        text_columns = dict.fromkeys(summary["grid_labels"], str)
        table = pd.read_csv(report_dir / "trials.csv", dtype=text_columns, keep_default_na=False, na_values=[""])
        context = sweep_page_context(summary, table, None)
        if (report_dir / "winner.yaml").is_file():
            context = sweep_page_context(summary, table, _winner_result(report_dir, summary, table))
    except (OSError, UnreadableContentError, LookupError, TypeError, ValueError) as error:
        text = f"{report_dir} can't be read as this version writes a sweep; run the sweep again"
        raise UserError(text) from error
    panels = ((placed.panel, context) for placed in sweep_panels(context))
    return SavedPages(FigureCollection(panels), lambda: iter([sweep_figure(context)]))


def _winner_result(report_dir: Path, summary: dict[str, Any], table: pd.DataFrame) -> BacktestResult:
    """Return the backtest of a sweep's winner; UserError if it is another than when the sweep was run."""
    config = load_config(report_dir / "winner.yaml")
    with config.add_location_to_errors():
        prices = load_run_prices(config.run, offline=True)
        result = run_stages(config.run, prices).result
    holdout, expected = summary["holdout"], table["sharpe_all_sessions"].iloc[0]
    found = annual_sharpe(BacktestView(result, config.run.report.sessions_in_year(prices))) or np.nan
    if "growth" in holdout:
        is_later = result.sessions >= pd.Timestamp(holdout["from"])
        expected, found = holdout["growth"], float(np.prod(1.0 + result.net_return[is_later])) - 1.0
    if not np.isclose(found, expected, rtol=1e-6, atol=1e-9):
        raise UserError(f"{report_dir}: the prices have changed since the sweep was run; run it again")
    return result
