"""One experiment: run from its config, and written out as tables and a report."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from quantlr.backtest.fills import same_close_edge_notes
from quantlr.backtest.metrics import BacktestView
from quantlr.backtest.trades import trade_summary_by_side
from quantlr.config.run_config import LoadedConfig, RunConfig, load_config
from quantlr.core.arrays import Array
from quantlr.core.progress import Note, Progress, ProgressCounter, ignore_progress
from quantlr.core.values import BacktestResult, Report, RunData
from quantlr.data.features import Feature
from quantlr.data.prices import load_prices
from quantlr.experiment.evaluate import compute_metrics
from quantlr.experiment.ledger import Ledger, Trial, TrialStatistics
from quantlr.pipeline.stages import run_stages
from quantlr.report.context import PageContext
from quantlr.report.render import PageRenderer, open_page_renderer, render_pages_serially
from quantlr.report.storage import (
    check_report_target,
    json_bytes,
    make_reports_dir,
    make_ticker_index_file,
    parquet_bytes,
    write_report,
)
from quantlr.stats.sharpe import sharpe_per_session

VERSIONED_PACKAGES = ("quantlr", "numpy", "pandas", "pyarrow", "matplotlib")


@dataclass(frozen=True, slots=True, repr=False)
class Run:
    """One experiment, done.

    Attributes
    ----------
    config : what was run, every default written out.
    metrics : the numbers, keyed as in ``metrics.json``; None where one is undefined.
    notes : what was dropped, left out, or did not converge.
    course : the values behind the numbers.
    ledger : where the trials that its numbers count are recorded; None where it counts itself alone.
    """

    config: RunConfig
    metrics: dict[str, Any]
    notes: tuple[Note, ...]
    run_data: RunData
    ledger: Ledger | None = None

    def __repr__(self) -> str:
        return f"<Run {self.config.name}: {self.verdict}>"

    def _repr_html_(self) -> str:
        """Return what a notebook shows of the run: its numbers and its tear sheet, drawn when they are asked for."""
        from quantlr.report.notebook import notebook_html

        return notebook_html(PageContext.from_run(self.config, self.run_data, self.metrics, self.notes))

    @property
    def forecasts(self) -> pd.DataFrame:
        """Every forecast, with the columns of ``forecasts.parquet``."""
        found = self.run_data.forecasts
        table = pd.DataFrame(
            {
                "date": found.sessions[found.session],
                "ticker": np.array(found.tickers, dtype=object)[found.ticker],
                "probability": found.probability,
                "up": pd.Series(found.up).astype("boolean"),
                "base_rate": found.base_rate,
                "mean_gain": found.mean_gain,
                "mean_loss": found.mean_loss,
                "fold": found.fold,
            }
        )
        order = np.lexsort([found.ticker, found.session])
        return table.iloc[order].astype({"ticker": "str"}).reset_index(drop=True)

    @property
    def backtest(self) -> pd.DataFrame:
        """One row per session, with the columns of ``backtest.parquet``; a row's date ends its return."""
        result = self.run_data.result
        return pd.DataFrame(
            {
                "date": result.sessions,
                "gross_return": result.gross_return,
                "cost": result.cost,
                "net_return": result.net_return,
                "equity": result.equity,
                "exposure": result.exposure,
                "turnover": result.turnover,
                "benchmark_equity": result.benchmark.equity if result.benchmark else np.nan,
            }
        )

    @property
    def positions(self) -> pd.DataFrame:
        """One row per session and ticker with a forecast, with the columns of ``positions.parquet``."""
        result = self.run_data.result
        held = np.unique(self.run_data.forecasts.ticker)
        return pd.DataFrame(
            {
                "date": result.sessions.repeat(len(held)),
                "ticker": np.tile(np.array(result.tickers, dtype=object)[held], len(result.sessions)),
                "weight": result.weight[:, held].ravel(),
                "gross_return": result.ticker_gross_return[:, held].ravel(),
                "cost": result.ticker_cost[:, held].ravel(),
            }
        ).astype({"ticker": "str"})

    @property
    def returns(self) -> pd.Series[float]:
        """Net returns by the session that ends each, under the run's name: what other programs take as they are."""
        result = self.run_data.result
        return _session_series(result.net_return, result, name=self.config.name)

    @property
    def benchmark_returns(self) -> pd.Series[float]:
        """Net returns of the benchmark over the same sessions."""
        result = self.run_data.result
        return _session_series((result.benchmark or result).net_return, result, name=self.config.report.benchmark)

    @property
    def trades(self) -> pd.DataFrame:
        """One row per round trip, with the columns of ``trades.csv``."""
        return self._backtest_view.trades

    @property
    def verdict(self) -> str:
        """Whether there is an edge, in one sentence."""
        return str(self.metrics["verdict"]["sentence"])

    @property
    def _backtest_view(self) -> BacktestView:
        return BacktestView.from_result(self.run_data.result, sessions_per_year=self.config.report.sessions_per_year)

    def report(self, *, draw: PageRenderer = render_pages_serially, progress: Progress = ignore_progress) -> Report:
        """Return the report's files; `draw` makes the pictures, `progress` hears how many pages and files are done."""
        from quantlr.report.gallery import THUMBNAIL_FILE, make_thumbnail
        from quantlr.report.html import RenderedPage, report_html

        shown = PageContext.from_run(self.config, self.run_data, self.metrics, self.notes)
        pictures = draw(shown, progress)
        tables = ProgressCounter("writing", len(REPORT_FILE_WRITERS), progress).iter_items(REPORT_FILE_WRITERS.items())
        files = {file: written(self) for file, written in tables}
        drawn = {
            **{file: picture.png_bytes for file, picture in pictures.items()},
            **make_ticker_index_file(shown.forecast_tickers, pictures),
            THUMBNAIL_FILE: make_thumbnail(pictures["tearsheet.png"].png_bytes),
            "report.html": report_html(
                shown,
                pictures,
                RenderedPage(
                    files["config.yaml"].decode(), self._provenance_dict(), trade_summary_by_side(self.trades)
                ),
            ),
        }
        return Report(self.config.name, drawn | files)

    def record_in_ledger(self, output: str | Path) -> Run:
        """Return the same run, written down in the ledger of `output`, with its numbers counting the trials there."""
        ledger = Ledger.from_output_folder(Path(output))
        tried = _record_trial(self.config, self.run_data, ledger)
        return replace(self, metrics=compute_metrics(self.config, self.run_data, tried), ledger=ledger)

    def save(
        self,
        output: str | Path = "reports",
        *,
        draw: PageRenderer = render_pages_serially,
        progress: Progress = ignore_progress,
    ) -> Path:
        """Write the report to ``output/NAME`` and return that folder; a former report is replaced whole.

        The run is a trial, and is recorded in the ledger of `output` if it is not yet. The report then counts the
        trials there; the numbers of a run that knew of no ledger are left as they are. The gallery of `output`,
        ``index.html``, then shows the report.

        Raises
        ------
        OutputError : the place is not a folder, or leads out of `output`.
        Fault : the disk is full or read-only, or another run holds a lock for a minute. Where it is the gallery that
            can't be written, the report is there.
        """
        from quantlr.report.gallery import write_gallery

        counted = self if self.ledger == Ledger.from_output_folder(Path(output)) else self.record_in_ledger(output)
        folder = write_report(counted.report(draw=draw, progress=progress), Path(output))
        write_gallery(Path(output))
        return folder

    def _provenance_dict(self) -> dict[str, Any]:
        return {
            "versions": {"python": platform.python_version(), **_package_versions()},
            "data": {"source": self.run_data.prices.source, "sha256": self.run_data.prices.sha256},
            "notes": [asdict(note) for note in self.notes],
        }


def _session_series(values: Array, result: BacktestResult, *, name: str) -> pd.Series[float]:
    """Return values of a backtest's sessions with their dates."""
    return pd.Series(values, index=result.sessions.rename("date"), name=name)


@cache
def _package_versions() -> dict[str, str]:
    """Return the versions of what a run's bytes depend on: to look one up reads a file of its package."""
    return {name: version(name) for name in VERSIONED_PACKAGES}


def _trades_csv_bytes(run: Run) -> bytes:
    return run.trades.to_csv(index=False, date_format="%Y-%m-%d", lineterminator="\n").encode()


REPORT_FILE_WRITERS: dict[str, Callable[[Run], bytes]] = {
    "metrics.json": lambda run: json_bytes(run.metrics),
    "forecasts.parquet": lambda run: parquet_bytes(run.forecasts),
    "backtest.parquet": lambda run: parquet_bytes(run.backtest),
    "positions.parquet": lambda run: parquet_bytes(run.positions),
    "trades.csv": _trades_csv_bytes,
    "config.yaml": lambda run: run.config.to_yaml().encode(),
    "provenance.json": lambda run: json_bytes(run._provenance_dict()),
}
"""The files of a report beside its pages."""


def run(
    config: str | Path | Mapping[str, Any],
    *,
    overrides: Mapping[str, Any] | None = None,
    features: Sequence[Feature] = (),
    output: str | Path | None = None,
    offline: bool = False,
    workers: int = 1,
    progress: Progress = ignore_progress,
) -> Run:
    """Run one experiment.

    Parameters
    ----------
    config : path of a YAML file, or the mapping that it would hold.
    overrides : values by dotted key, set on top: ``{"policy.long_above": 0.52}``.
    features : features of your own, added to the config's. The report's ``config.yaml`` lists them with their
        parameters; to run that, give the same objects again, or install their class (see `data.features.Feature`).
    output : folder to write the report into, as ``output/NAME``; the run is recorded in its ledger of trials, and the
        deflated Sharpe ratio counts those. None writes nothing: no ledger, and the run counts itself alone.
    offline : whether to do without the network, on prices that are stored already.
    workers : processes that share many tickers and the pages out; results do not depend on it. With more than one, a
        script must call this under ``if __name__ == "__main__":``, since each process reads the script anew.
    progress : hears how far each stage has come.

    Raises
    ------
    UserError : what can be mended in the config or the data; the text says where and how.
    Fault : the network, the disk or another program is in the way.

    Examples
    --------
    >>> import quantlr
    >>> done = quantlr.run("configs/sp500_daily.yaml")  # doctest: +SKIP
    >>> done.metrics["forecast"]["accuracy"]  # doctest: +SKIP
    """
    loaded = load_config(config, overrides=overrides, features=features)
    with open_page_renderer(1 if output is None else workers) as draw:
        done = run_config(loaded, output=output, offline=offline, workers=workers, progress=progress)
        if output is not None:
            done.save(output, draw=draw, progress=progress)
    return done


def run_config(
    config: LoadedConfig,
    *,
    output: str | Path | None = None,
    offline: bool = False,
    workers: int = 1,
    progress: Progress = ignore_progress,
) -> Run:
    """Run a loaded config; an error of a layer comes back with the place of its key.

    With an `output`, the run is recorded in its ledger of trials as soon as it is evaluated, whatever comes after.
    """
    ledger = None if output is None else Ledger.from_output_folder(Path(output))
    if ledger:
        check_report_target(ledger.path.parent, config.run.name)
        ledger.require_usable()
    with config.add_location_to_errors():
        prices = load_prices(config.run.data, offline=offline, progress=progress)
        course = run_stages(config.run, prices, workers=workers, progress=progress)
    tried = _record_trial(config.run, course, ledger) if ledger else None
    metrics = compute_metrics(config.run, course, tried, progress=progress)
    told = (*course.result.notes, *same_close_edge_notes(metrics["backtest"]["fills"]))
    notes = (*prices.notes, *course.dataset.notes, *course.forecasts.notes, *told)
    return Run(config.run, metrics, notes, course, ledger)


def _record_trial(config: RunConfig, run_data: RunData, ledger: Ledger) -> TrialStatistics:
    """Write a run down as a trial, and return what its ledger then knows."""
    excess = run_data.result.net_return - run_data.result.session_cash_rate
    trial = Trial.from_config(
        config, data_sha256=run_data.prices.sha256, sharpe=sharpe_per_session(excess), sessions=len(excess)
    )
    make_reports_dir(ledger.path.parent, config.name)
    return ledger.record_and_get_statistics(trial)
