"""One experiment: a config run on its prices, with its tables, report and entry in the ledger of trials."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from quantlr.backtest.fills import same_close_edge_notes
from quantlr.backtest.forecast_metrics import calibration_notes
from quantlr.backtest.trades import trade_summary_by_side, trade_table
from quantlr.config.run_config import ConfigSource, LoadedConfig, RunConfig, load_config
from quantlr.core.component_errors import classes_not_importable_elsewhere, iter_user_defined_components
from quantlr.core.progress import Progress, ProgressCounter, ignore_progress
from quantlr.core.source_files import source_file_digests
from quantlr.core.text import hide_home_folder
from quantlr.core.values import IntArray, Note, Report, RunData
from quantlr.data.features import Feature
from quantlr.experiment.audited_decisions import forecast_and_decide_audited
from quantlr.experiment.evaluate import compute_metrics
from quantlr.experiment.ledger import Ledger
from quantlr.experiment.selection import iter_candidate_trials, selection_metrics
from quantlr.experiment.sensitivity import vary_run
from quantlr.experiment.trial import Trial, TrialResult
from quantlr.model.candidates import SelectedForecasts
from quantlr.pipeline.stages import DEFAULT_STAGES, PipelineStages, load_run_prices, run_backtest
from quantlr.report.context import PageContext
from quantlr.report.file_formats import csv_bytes, json_bytes, parquet_bytes
from quantlr.report.fonts import missing_font_notes
from quantlr.report.render import PageRenderer, open_page_renderer, render_pages_serially
from quantlr.report.storage import (
    THUMBNAIL_FILE,
    check_report_target,
    make_reports_dir,
    make_ticker_index_file,
    write_report,
)

if TYPE_CHECKING:
    from quantlr.report.figures import FigureCollection

VERSIONED_PACKAGES = ("quantlr", "numpy", "pandas", "pyarrow", "matplotlib", "bokeh")
"""Packages that the bytes of a report depend on; ``provenance.json`` lists their versions."""


@dataclass(frozen=True, slots=True, repr=False)
class Run:
    """The result of one experiment.

    Attributes
    ----------
    config : the resolved config, with every default.
    metrics : as in ``metrics.json``; None where one is undefined.
    notes : what was dropped, left out, or did not converge.
    run_data : prices, dataset, forecasts, positions and backtest.
    trials : the run, its variations if the sensitivity was asked for, and its candidates if it chooses among some, as
        the ledger records them.
    ledger : of which the metrics count the trials; None where the run counts its own alone.
    """

    config: RunConfig
    metrics: dict[str, Any]
    notes: tuple[Note, ...]
    run_data: RunData
    trials: tuple[Trial, ...] = ()
    ledger: Ledger | None = None

    def __repr__(self) -> str:
        return f"<Run {self.config.name}: {self.verdict}>"

    def _repr_html_(self) -> str:
        """Return the metrics and the tear sheet for a notebook; the tear sheet is drawn here."""
        from quantlr.report.html import notebook_html

        return notebook_html(self.page_context)

    @property
    def forecasts(self) -> pd.DataFrame:
        """Every forecast, with the columns of ``forecasts.parquet``."""
        forecasts = self.run_data.forecasts
        columns = {
            "date": forecasts.sessions[forecasts.session],
            "ticker": np.array(forecasts.tickers, dtype=object)[forecasts.ticker],
            "probability": forecasts.probability,
            "up": pd.Series(forecasts.up).astype("boolean"),
        }
        columns |= {name: getattr(forecasts, name) for name in ("base_rate", "mean_gain", "mean_loss", "fold")}
        order = np.lexsort([forecasts.ticker, forecasts.session])
        return pd.DataFrame(columns).iloc[order].astype({"ticker": "str"}).reset_index(drop=True)

    @property
    def features(self) -> pd.DataFrame:
        """The features of every row that the model saw, with its date and ticker; in the units that each documents."""
        dataset = self.run_data.dataset
        table = pd.DataFrame(dataset.features, columns=list(dataset.columns))
        return pd.concat(
            [_dates_and_tickers(dataset.sessions, dataset.session, dataset.tickers, dataset.ticker), table], axis=1
        )

    @property
    def labels(self) -> pd.DataFrame:
        """The label of every row of `features`.

        Its columns are ``up`` (missing where the label is dropped or not known yet), ``horizon_return`` (simple
        return over the horizon) and ``known_at``, the date at whose close the label is known.
        """
        dataset = self.run_data.dataset
        is_known = dataset.label_known_at < len(dataset.sessions)
        known_at = dataset.sessions[np.where(is_known, dataset.label_known_at, 0)]
        table = _dates_and_tickers(dataset.sessions, dataset.session, dataset.tickers, dataset.ticker)
        up = pd.Series(dataset.up).astype("boolean")
        return table.assign(up=up, horizon_return=dataset.horizon_return, known_at=known_at.where(is_known))

    @property
    def coefficients(self) -> pd.DataFrame:
        """The intercept and coefficients of every refit, in units of the raw features; without rows for other models.

        ``date`` is the first session that the refit forecasts, and ``ticker`` is missing for a pooled model.
        """
        forecasts = self.run_data.forecasts
        refits = forecasts.refits
        rows = slice(None if refits.has_coefficients else 0)
        tickers = (*forecasts.tickers, None)  # the last is that of a pooled model, -1
        table = _dates_and_tickers(forecasts.sessions, refits.session[rows], tickers, refits.ticker[rows])
        names = ["intercept", *refits.columns]
        return pd.concat([table, pd.DataFrame(refits.coefficients.reshape(-1, len(names)), columns=names)], axis=1)

    @property
    def backtest(self) -> pd.DataFrame:
        """One row per session, with the columns of ``backtest.parquet``; the date is that of the return's end."""
        result = self.run_data.result
        names = ("gross_return", "cost", "net_return", "equity", "exposure", "turnover")
        columns = {"date": result.sessions, **{name: getattr(result, name) for name in names}}
        benchmark_equity = result.benchmark.equity if result.benchmark else np.nan
        return pd.DataFrame(columns).assign(benchmark_equity=benchmark_equity, cash_rate=result.session_cash_rate)

    @property
    def positions(self) -> pd.DataFrame:
        """One row per session and ticker with a forecast, with the columns of ``positions.parquet``."""
        result, tickers = self.run_data.result, np.unique(self.run_data.forecasts.ticker)
        columns = {
            "date": result.sessions.repeat(len(tickers)),
            "ticker": np.tile(np.array(result.tickers, dtype=object)[tickers], len(result.sessions)),
            "weight": result.weight[:, tickers].ravel(),
            "gross_return": result.ticker_gross_return[:, tickers].ravel(),
            "cost": result.ticker_cost[:, tickers].ravel(),
        }
        return pd.DataFrame(columns).astype({"ticker": "str"})

    @property
    def trades(self) -> pd.DataFrame:
        """One row per trade, from entry to exit, with the columns of ``trades.csv``."""
        return trade_table(self.run_data.result)

    @property
    def returns(self) -> pd.Series[float]:
        """Net returns by session, named after the run: dated by their end, as other packages take them."""
        return self.backtest.set_index("date")["net_return"].rename(self.config.name)

    @property
    def benchmark_returns(self) -> pd.Series[float]:
        """Net returns of the benchmark over the same sessions."""
        result = self.run_data.result
        returns, report = (result.benchmark or result).net_return, self.config.report
        name = report.benchmark_ticker or report.benchmark
        return pd.Series(returns, index=result.sessions.rename("date"), name=name)

    @property
    def verdict(self) -> str:
        """Whether there is evidence of skill and of profit, in one sentence."""
        return str(self.metrics["verdict"]["sentence"])

    @property
    def figures(self) -> FigureCollection:
        """The panels of the pages as figures of matplotlib, by name; each is drawn when it is asked for.

        ``run.figures["growth"]`` is a figure, ``run.figures.draw("growth", size=(8, 4), theme="dark")`` one of another
        size and theme, ``list(run.figures)`` the names.
        """
        from quantlr.report.figures import FigureCollection

        return FigureCollection.from_run(self.page_context)

    @property
    def page_context(self) -> PageContext:
        """What the pages and figures are drawn from."""
        return PageContext.from_run(self.config, self.run_data, self.metrics, self.notes)

    @property
    def provenance(self) -> dict[str, Any]:
        """Versions, source of the prices, code of one's own and all notes: the contents of ``provenance.json``."""
        models = [config.model for config in (self.config, *(one.config for one in self.config.candidates()))]
        own_packages = dict.fromkeys(package for model in models for package in model.packages)
        prices, packages = self.run_data.prices, (*VERSIONED_PACKAGES, *own_packages)
        return {
            "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
            "data": {"source": prices.source, "sha256": prices.sha256},
            "replaced_stages": self.run_data.replaced_stages,
            "user_code": source_file_digests(iter_user_defined_components(self.config)),
            "notes": [asdict(note) for note in self.notes],
        }

    def report(
        self,
        *,
        folder: Path | None = None,
        draw: PageRenderer = render_pages_serially,
        progress: Progress = ignore_progress,
    ) -> Report:
        """Return the report's files.

        Parameters
        ----------
        folder : of the report: paths in its config are relative to it. By default ``reports/NAME``.
        draw : draws the pages of a `PageContext`.
        progress : called with the number of steps done in each stage.
        """
        from quantlr.report.html import prepare_report_html, report_html

        context = self.page_context
        drawn_pages = draw(context, progress)  # meanwhile the rest is written
        trades, provenance = self.trades, self.provenance
        config_yaml = self.config.to_yaml(folder=folder or Path("reports") / self.config.name)
        files = {
            "metrics.json": json_bytes(self.metrics),
            "forecasts.parquet": parquet_bytes(self.forecasts),
            "backtest.parquet": parquet_bytes(self.backtest),
            "positions.parquet": parquet_bytes(self.positions),
            "trades.csv": csv_bytes(trades),
            "config.yaml": config_yaml.encode(),
            "provenance.json": json_bytes(provenance),
        }
        prepare_report_html()
        pictures = dict(drawn_pages)
        counter = ProgressCounter("writing", 1, progress)
        by_side = trade_summary_by_side(trades)
        html = report_html(context, pictures, config_yaml=config_yaml, provenance=provenance, trades_by_side=by_side)
        files |= {
            **{name: picture.png_bytes for name, picture in pictures.items()},
            **make_ticker_index_file(context.forecast_tickers, pictures),
            "report.html": html,
        }
        if tear_sheet := pictures.get("tearsheet.png"):
            files[THUMBNAIL_FILE] = tear_sheet.thumbnail_png
        counter.step()
        return Report(self.config.name, files)

    def count_trials(self, output: str | Path) -> Run:
        """Return the same run with metrics that count the trials in the ledger of `output`, which is not changed.

        Parameters
        ----------
        output : folder of reports.
        """
        ledger = Ledger.from_output_folder(Path(output))
        metrics = compute_metrics(self.config, self.run_data, ledger.read_family(self.trials))
        return replace(self, metrics={**self.metrics, **metrics}, ledger=ledger)

    def save(
        self,
        output: str | Path = "reports",
        *,
        replace_other_config: bool = False,
        draw: PageRenderer = render_pages_serially,
        progress: Progress = ignore_progress,
    ) -> Path:
        """Write the report to ``output/NAME`` and return that folder.

        A previous report of the same config, whatever its name, is replaced as a whole; that of another one is kept as
        ``output/NAME@1``, with the next number if that is another config's.

        The run is recorded in the ledger of `output` together with its report: if the report fails, the ledger is as
        it was. The report counts the trials of that ledger; the metrics of this object stay as they are. The gallery,
        ``output/index.html``, is updated.

        Parameters
        ----------
        output : folder of reports.
        replace_other_config : whether the previous report is replaced even if it is of another config.
        draw : draws the pages of a `PageContext`.
        progress : called with the number of steps done in each stage.

        Raises
        ------
        OutputError : the target is not a folder, or is a link out of `output`.
        Fault : the disk is full or read-only, or another process holds a lock for a minute. If only the gallery cannot
            be written, the report is complete.
        """
        from quantlr.report.gallery import write_gallery

        output, ledger = Path(output), Ledger.from_output_folder(Path(output))
        counted = self if self.ledger == ledger else self.count_trials(output)
        report = counted.report(folder=output / self.config.name, draw=draw, progress=progress)
        make_reports_dir(output, self.config.name)
        with ledger.recording(self.trials):
            folder = write_report(report, output, keep_other_config=not replace_other_config)
        write_gallery(output)
        return folder


def _dates_and_tickers(
    sessions: pd.DatetimeIndex, session: IntArray, tickers: Sequence[str | None], ticker: IntArray
) -> pd.DataFrame:
    """Return the columns date and ticker of rows that are given by positions; -1 is the last of `tickers`."""
    names = pd.Series(np.array(tickers, dtype=object)[ticker], dtype="str")
    return pd.DataFrame({"date": sessions[session], "ticker": names})


def run(
    config: ConfigSource,
    *,
    overrides: Mapping[str, Any] | None = None,
    features: Sequence[Feature] = (),
    data: Any = None,
    output: str | Path | None = None,
    replace_other_config: bool = False,
    offline: bool = False,
    workers: int = 1,
    sensitivity: bool = False,
    progress: Progress = ignore_progress,
) -> Run:
    """Run one experiment.

    Parameters
    ----------
    config : path of a YAML file, or the mapping that it would contain; or a config that is loaded already. In a
        mapping, label, policy, overlays and source may be objects of your own classes.
    overrides : values by dotted key that replace those of the config: ``{"policy.long_above": 0.52}``.
    features : feature objects of your own, added to the config's unless it lists them already. The report's
        ``config.yaml`` lists them with their parameters; to run that file, pass the same objects again, or install
        their class (see `quantlr.Feature`).
    data : prices to use instead of the config's source: a DataFrame as yfinance returns it, one row per bar, or one
        column of closes per ticker, of pandas, polars or any library that Arrow reads. All its tickers are used unless
        the config names tickers. To run the report's ``config.yaml`` again, pass the same prices.
    output : folder of reports. The report is written into ``output/NAME``; the run is recorded in the folder's ledger
        of trials, and the verdict counts those on overlapping prices. With None nothing is written, and the run counts
        itself alone.
    replace_other_config : whether the previous report is replaced even if it is of another config, which is else
        kept as ``output/NAME@1``.
    offline : whether to use stored prices only, without the network.
    workers : number of processes; results do not depend on it. With more than one, a script must call this under
        ``if __name__ == "__main__":``, since each process imports the script.
    sensitivity : whether to evaluate the same decisions under other costs, with a delay, and over parts of the
        sessions too: `metrics["sensitivity"]`. Each variation is recorded as a trial.
    progress : called with the number of steps done in each stage.

    Returns
    -------
    run : metrics, tables of forecasts, backtest, positions and trades, and the report.

    Raises
    ------
    UserError : the config or the data need a change; the message says where and which.
    ComponentError : an object of your own classes failed; the message names it and the line.
    LookAheadError : a feature, label, model, policy or overlay of your own depends on later values. Each is audited at
        a sample of sessions, on the run's own prices; `quantlr.audit` checks every boundary of the folds.
    Fault : the network, the disk or another program failed.

    Examples
    --------
    >>> import quantlr
    >>> result = quantlr.run("configs/sp500_daily.yaml")  # doctest: +SKIP
    >>> result.metrics["forecast"]["accuracy"]  # doctest: +SKIP
    """
    loaded = load_config(config, overrides=overrides, features=features, data=data)
    own_components = iter_user_defined_components(loaded.run)
    n_renderers = 1 if output is None or classes_not_importable_elsewhere(own_components) else workers
    with open_page_renderer(n_renderers) as draw:
        result = run_config(
            loaded, output=output, offline=offline, workers=workers, sensitivity=sensitivity, progress=progress
        )
        if output is not None:
            result.save(output, replace_other_config=replace_other_config, draw=draw, progress=progress)
    return result


def run_config(
    config: LoadedConfig,
    stages: PipelineStages = DEFAULT_STAGES,
    *,
    output: str | Path | None = None,
    offline: bool = False,
    workers: int = 1,
    sensitivity: bool = False,
    progress: Progress = ignore_progress,
) -> Run:
    """Run a loaded config; errors name the place of the key that caused them.

    The report names the stages that are replaced by functions of the caller.
    With `output`, the metrics count the trials of its ledger, in which `Run.save` records the run.
    """
    ledger = None if output is None else Ledger.from_output_folder(Path(output))
    if ledger:
        check_report_target(ledger.path.parent, config.run.name)
        ledger.require_usable()
    with config.add_location_to_errors():
        prices = load_run_prices(config.run, offline=offline, progress=progress)
        decisions = forecast_and_decide_audited(config.run, prices, stages, workers=workers, progress=progress)
        run_data = run_backtest(config.run, prices, decisions, stages, progress=progress)
    per_year = config.run.report.sessions_in_year(prices)
    trial = replace(Trial.from_prices(config.run, prices), result=TrialResult.from_backtest(run_data.result, per_year))
    variations = vary_run(config.run, run_data) if sensitivity else ()
    trials = (trial, *(variation.to_trial(trial) for variation in variations[1:]))  # the first is the run
    trials = (*trials, *iter_candidate_trials(config.run, run_data, trial))
    family = ledger.read_family(trials) if ledger else None
    metrics = compute_metrics(config.run, run_data, family, progress=progress)
    if isinstance(run_data.forecasts, SelectedForecasts):
        metrics["selection"] = selection_metrics(config.run, run_data.forecasts)
    if sensitivity:
        metrics["sensitivity"] = [variation.to_dict() for variation in variations]
    notes = prices.notes + run_data.dataset.notes + run_data.forecasts.notes + run_data.result.notes
    words = (config.run.name, *prices.tickers, *run_data.dataset.columns)
    notes = (*notes, *same_close_edge_notes(metrics["backtest"]["fills"]), *missing_font_notes(words))
    sizes_by_probability = config.run.policy.sizes_by_probability
    notes = (*notes, *calibration_notes(metrics["forecast"], sizes_by_probability=sizes_by_probability))
    notes = tuple(replace(note, text=hide_home_folder(note.text)) for note in notes)
    return Run(config.run, metrics, notes, run_data, trials, ledger)
