"""What each feature of a run is worth: the forecasts without it, tested against those with it."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from quantlr.config.run_config import ConfigSource, RunConfig, load_config
from quantlr.core.file_reading import UnreadableContentError, library_errors_translated
from quantlr.core.progress import Progress, ignore_progress
from quantlr.core.values import Dataset, Forecasts, Prices
from quantlr.data.dataset import compute_feature_columns
from quantlr.data.features import Feature
from quantlr.experiment.run import Run, run_config
from quantlr.experiment.selection import require_one_model
from quantlr.experiment.supplement import require_own_report, save_page
from quantlr.experiment.trial import Trial, TrialResult, canonical_json
from quantlr.model.base import Model
from quantlr.model.feature_elimination import EliminationStep, best_step_in_hindsight, eliminate_features
from quantlr.model.feature_worth import FeatureWorth, feature_sets, measure_feature_worth, walk_forward_each
from quantlr.pipeline.stages import decide, run_backtest, walk_forward_spec

if TYPE_CHECKING:
    from quantlr.report.figures import FigureCollection
    from quantlr.report.pages import Page

WORTH_CSV_FILE, ELIMINATION_CSV_FILE = "features.csv", "features_elimination.csv"
REDUCED_MODEL_TOL = 1e-6
"""Smallest tolerance of the fits without a feature, of the gradient's largest component."""


@dataclass(frozen=True, slots=True)
class WorthResult:
    """The worth of a run's features.

    Attributes
    ----------
    run : of the config with all features; it is not recorded as a trial.
    worth : of each entry of ``features``, and of groups of correlated columns.
    elimination : the steps of backward elimination, from all entries to none.
    trials : every model that was fitted for the elimination, as the ledger records it.
    """

    run: Run
    worth: FeatureWorth
    elimination: tuple[EliminationStep, ...]
    trials: tuple[Trial, ...]

    @property
    def table(self) -> pd.DataFrame:
        """One row per set of features, in the order of the config; the groups come last.

        `log_loss_reduction` is the log loss without the set less that with it, in nats; `p_value` and `holm_p_value`
        are of the one-sided Clark-West test for nested models; the columns `alone_...` compare the model of the set
        alone with the base rate. `forecasts_sha256`, the same in each row, is that of the run (see `forecasts_sha256`).
        """
        digest = forecasts_sha256(self.run.config, self.run.run_data.prices)
        return pd.DataFrame(
            {
                "features": item.features.name,
                "kind": "group" if item.features.is_group else "entry",
                "columns": len(item.features.columns),
                "log_loss_reduction": item.mean_loss_reduction,
                "statistic": item.test["statistic"],
                "p_value": item.test["p_value"],
                "holm_p_value": item.adjusted_p_value,
                "alone_log_loss_reduction": item.alone_loss_reduction,
                "alone_p_value": item.alone_test["p_value"],
                "forecasts_sha256": digest,
            }
            for item in self.worth.sets
        )

    @property
    def page(self) -> Page:
        """The page ``features.png``."""
        from quantlr.report.pages.features import make_features_page

        return make_features_page(self.worth, self.elimination)

    @property
    def figures(self) -> FigureCollection:
        """The panels of the page as figures of matplotlib, by name, as `Run.figures`."""
        from quantlr.report.figures import FigureCollection, iter_page_panels

        return FigureCollection(iter_page_panels([self.page], self.run.page_context))

    @property
    def elimination_table(self) -> pd.DataFrame:
        """One row per step of backward elimination, from all entries to none.

        `removed` is the entry without which the step before is refitted; `log_loss` is out of sample, in nats; `best`
        marks the lowest, which is chosen in hindsight.
        """
        best = best_step_in_hindsight(self.elimination)
        return pd.DataFrame(
            {
                "n_entries": len(step.kept),
                "removed": step.removed.name if step.removed else None,
                "log_loss": step.log_loss,
                "best": step is best,
                "entries": "; ".join(entry.name for entry in step.kept),
            }
            for step in self.elimination
        )

    def save(self, output: str | Path = "reports") -> list[Path]:
        """Write ``features.png`` and its tables into the run's report folder, record the trials, return the paths.

        Where that folder has a ``report.html``, the worth is added to its interactive panels.

        Raises
        ------
        OutputError : the report in that folder is of another config; or as for `Run.save`.
        Fault : as for `Run.save`.
        """
        from quantlr.report.html import add_worth_to_report

        tables = {WORTH_CSV_FILE: self.table, ELIMINATION_CSV_FILE: self.elimination_table}
        edit = partial(add_worth_to_report, worth=self.table)
        return save_page(self.page, self.run.page_context, tables, output, trials=self.trials, edit=edit)


def forecasts_sha256(config: RunConfig, prices: Prices) -> str:
    """Return the digest of what forecasts and their outcomes depend on: prices, and the config but policy and costs."""
    sections = config.model_dump(mode="json", include={"features", "label", "walk_forward", "model"})
    report = config.report
    score_from = report.score_from and report.score_from.isoformat()
    others = prices.sha256, config.execution.fill, score_from, int(report.sessions_in_year(prices))
    return hashlib.sha256(canonical_json([sections, *others]).encode()).hexdigest()


def read_saved_worth(report_dir: Path) -> pd.DataFrame | None:
    """Return the table of ``features.csv`` in a report's folder; None where there is none.

    Its `forecasts_sha256` tells whether it is of the present config and prices; a file of an earlier version has none.
    """
    path = report_dir / WORTH_CSV_FILE
    if not path.is_file():
        return None
    try:
        with library_errors_translated("the worth of features"):
            table = pd.read_csv(path)
            table["forecasts_sha256"] = table.get("forecasts_sha256", "")
            return table.astype({"features": "str", "statistic": float, "holm_p_value": float, "alone_p_value": float})
    except (OSError, UnreadableContentError):
        return None


def worth(
    config: ConfigSource,
    *,
    overrides: Mapping[str, Any] | None = None,
    features: Sequence[Feature] = (),
    data: Any = None,
    output: str | Path | None = None,
    offline: bool = False,
    workers: int = 1,
    progress: Progress = ignore_progress,
) -> WorthResult:
    """Measure what each feature of a config adds to its forecasts.

    The walk-forward is fitted again without each entry of ``features``, without each group of correlated columns, and
    with each alone. There only forecasts are compared, never profit, and no trial is recorded. Then entries are removed
    one after the other (backward elimination): whoever takes the best of these models has chosen it after seeing the
    others, so that each is a trial.

    Parameters
    ----------
    config, overrides, features, data, offline, workers, progress : as in `quantlr.run`.
    output : folder of reports, where ``features.png``, ``features.csv`` and ``features_elimination.csv`` are written,
        and the ledger of trials to which those of the elimination are added. With None nothing is written.

    Returns
    -------
    result : the run, and the worth of each feature; `WorthResult.table` is a DataFrame.

    Raises
    ------
    UserError : the config or the data need a change; the message says where and which.
    ComponentError : an object of your own classes failed; the message names it and the line.
    Fault : the network, the disk or another program failed.

    Examples
    --------
    >>> import quantlr
    >>> result = quantlr.worth("configs/sp500_daily.yaml")  # doctest: +SKIP
    >>> result.table[["features", "log_loss_reduction", "holm_p_value"]]  # doctest: +SKIP
    """
    loaded = load_config(config, overrides=overrides, features=features, data=data)
    require_one_model(loaded, verb="worth")
    if output is not None:
        require_own_report(loaded.run, output)
    run = run_config(loaded, offline=offline, workers=workers, progress=progress)
    with loaded.add_location_to_errors():
        result = worth_of_run(run, workers=workers, progress=progress)
    if output is not None:
        result.save(output)
    return result


def worth_of_run(run: Run, *, workers: int = 1, progress: Progress = ignore_progress) -> WorthResult:
    """Return the worth of the features of a run with one model per ticker, or one for all."""
    config, data = run.config, run.run_data
    columns = columns_by_entry(config, data.prices)
    sets = feature_sets(columns, data.dataset)
    split_spec, model = walk_forward_spec(config, data.prices), reduced_model(config.model)
    trials: list[Trial] = []

    def forecast(datasets: Iterable[Dataset]) -> Iterator[Forecasts]:
        for forecasts in walk_forward_each(datasets, split_spec, model, workers=workers):
            yield replace(forecasts, up=data.forecasts.up, horizon_return=data.forecasts.horizon_return)

    def forecast_and_trade(datasets: Iterable[Dataset]) -> Iterator[Forecasts]:
        datasets = tuple(datasets)
        for dataset, forecasts in zip(datasets, forecast(datasets), strict=True):
            kept = (set(names) <= set(dataset.columns) for names in columns.values())
            features = tuple(itertools.compress(config.features, kept))
            trials.append(_trial_of_forecasts(config.model_copy(update={"features": features}), run, forecasts))
            yield forecasts

    worth = measure_feature_worth(data.dataset, data.forecasts, sets, forecast, progress=progress)
    loss_increase = {item.features: item.mean_loss_reduction for item in worth.sets if not item.features.is_group}
    steps = eliminate_features(data.dataset, data.forecasts, loss_increase, forecast_and_trade, progress=progress)
    return WorthResult(run, worth, steps, tuple(trials))


def _trial_of_forecasts(config: RunConfig, run: Run, forecasts: Forecasts) -> Trial:
    """Return a config with its forecasts of a run's rows as a trial on that run's prices."""
    data, own = run.run_data, run.trials[0]
    decisions = decide(config, data.prices, data.dataset, forecasts)
    result = run_backtest(config, data.prices, decisions).result
    outcome = TrialResult.from_backtest(result, config.report.sessions_in_year(data.prices))
    return Trial.from_config(config, data_sha256=own.data_sha256, price_keys=own.price_keys, result=outcome)


def reduced_model(model: Model) -> Model:
    """Return the model as it is fitted to fewer features: a logistic regression with a tolerance of at least 1e-6.

    On the S&P sample with 20 features, differences of log losses are right to 1.2e-9 nats and p values to 2e-6, in four
    fifths of the time of 1e-8.
    """
    logistic = model.as_logistic_regression()
    return logistic.model_copy(update={"tol": max(logistic.tol, REDUCED_MODEL_TOL)}) if logistic else model


def columns_by_entry(config: RunConfig, prices: Prices) -> dict[str, list[str]]:
    """Return the names of the columns of each entry of a config's features, by a name of the entry.

    An entry of one column is named after it; others after the kind of the feature and their first and last column.
    """
    names: dict[str, list[str]] = {}
    for feature in config.features:
        columns = list(compute_feature_columns(prices, [feature]))
        name = columns[0] if len(columns) == 1 else f"{columns[0]} to {columns[-1]}"
        names[name] = columns
    return names
