"""The evaluation of a config as it stands: point estimates first, then intervals and verdict.

Stages whose inputs have not changed are not computed again (`quantlr.sweeps.worker.cached_result`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from quantlr.backtest.benchmark import benchmark_name
from quantlr.backtest.metric_types import BacktestView
from quantlr.backtest.metrics import metrics_shown_in
from quantlr.config.run_config import LoadedConfig, RunConfig
from quantlr.core.progress import Progress
from quantlr.core.values import Note, RunData
from quantlr.experiment.evaluate import compute_metrics
from quantlr.experiment.ledger import Ledger
from quantlr.experiment.price_overlap import price_overlap_keys
from quantlr.experiment.run import Run
from quantlr.experiment.trial import Trial, TrialResult
from quantlr.report.compare import Comparison, compare_saved_runs
from quantlr.report.context import PageContext
from quantlr.report.file_formats import nonfinite_to_none
from quantlr.report.pairs import config_differences
from quantlr.report.saved_runs import SavedRun
from quantlr.sweeps.trials import StageDigests, sha256_of_json
from quantlr.sweeps.worker import cached_result, run_trial_and_forecast_metrics

SENSITIVITY_SECTIONS = ("execution", "report")
"""Sections whose keys, as costs and fills, change no forecast: what they change is recorded as a variation."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A config on its prices, with the numbers that take little time.

    Attributes
    ----------
    config : the config.
    digests : of its stages, the contents of the files that it names included.
    run_data : prices, dataset, forecasts, positions and backtest.
    context : of its pages; its metrics are the point estimates of the terminal's table, keyed as in ``metrics.json``.
    trial : as the ledger would record it on its own.
    """

    config: RunConfig
    digests: StageDigests
    run_data: RunData
    context: PageContext
    trial: Trial

    @property
    def forecast_digest(self) -> str:
        """Digest of all that the panels on the model depend on."""
        return f"{self.digests.model} {self.config.report.score_from} {self.config.seed}"

    @property
    def notes(self) -> tuple[Note, ...]:
        """What was dropped, left out, or did not converge."""
        data = self.run_data
        return data.prices.notes + data.dataset.notes + data.forecasts.notes + data.result.notes

    def to_saved_run(self, name: str) -> SavedRun:
        """Return it as a run that was written and read back, for a comparison."""
        run, result = Run(self.config, self.context.metrics, (), self.run_data), self.run_data.result
        return SavedRun(
            name=name,
            report_dir=Path(name),
            config=self.config.model_dump(mode="json"),
            quantlr_version="",
            price_digest=self.run_data.prices.sha256,
            backtest_frame=run.backtest.set_index("date"),
            forecast_frame=run.forecasts.astype({"up": "float64"}),
            sessions_per_year=self.config.report.sessions_in_year(self.run_data.prices),
            first_fill=result.fill_dates[0],
            fill=self.config.execution.fill,
            horizon=self.config.label.horizon,
        )


def evaluate(loaded: LoadedConfig, *, data_files_digest: str, offline: bool, progress: Progress) -> Evaluation:
    """Return the evaluation of a config.

    Parameters
    ----------
    loaded : the config.
    data_files_digest : of the contents of the files that it names; stages are computed again where it changes.
    offline : whether to do without the network.
    progress : called between the stages; an exception that it raises ends the evaluation.

    Raises
    ------
    UserError : with the location of the key that has to change.
    """
    config = loaded.run
    digests = StageDigests.from_config(config)
    salted = {item.name: sha256_of_json(getattr(digests, item.name), data_files_digest) for item in fields(digests)}
    digests = replace(digests, **salted)
    with loaded.add_location_to_errors():
        run_data, _ = run_trial_and_forecast_metrics(config, digests, offline=offline, progress=progress)
    prices, per_year = run_data.prices, config.report.sessions_in_year(run_data.prices)
    keys = cached_result("price_keys", digests.data, lambda: price_overlap_keys(prices))
    result = TrialResult.from_backtest(run_data.result, per_year)
    trial = Trial.from_config(config, data_sha256=prices.sha256, price_keys=keys, result=result)
    metrics = dict[str, Any]()
    context = PageContext.from_run(config, run_data, metrics, ())
    metrics |= point_estimates(context)  # in place: the context keeps the trades and forecasts that they are of
    return Evaluation(config, digests, run_data, context, trial)


def point_estimates(context: PageContext) -> dict[str, Any]:
    """Return the metrics of the terminal's table without intervals, keyed as in ``metrics.json``."""
    result, per_year = context.run_data.result, context.sessions_per_year
    strategy = context.strategy
    benchmark = BacktestView(result.benchmark, per_year) if result.benchmark else strategy
    forecast: dict[str, Any] = {}
    backtest: dict[str, Any] = {"strategy": {}, "benchmark": {}}
    for metric in metrics_shown_in("terminal"):
        if metric.section == "forecast":
            evaluated = context.evaluated_forecasts
            forecast |= {metric.key: metric.compute(evaluated), **metric.compute_baseline_value(evaluated)}
        else:
            backtest["strategy"][metric.key] = metric.compute(strategy)
            backtest["benchmark"][metric.key] = metric.compute(benchmark)
    backtest["benchmark_name"] = benchmark_name(context.config.report.benchmark)
    data = {"sessions_per_year": int(per_year)}
    return dict(nonfinite_to_none({"data": data, "forecast": forecast, "backtest": backtest}))


def judge(evaluation: Evaluation, ledger: Ledger, progress: Progress) -> dict[str, Any]:
    """Return all metrics of an evaluation, with intervals, verdict and the count of trials, as in ``metrics.json``."""
    family = ledger.read_family((evaluation.trial,))
    return compute_metrics(evaluation.config, evaluation.run_data, family, progress=progress)


def trial_to_record(evaluation: Evaluation, base: Evaluation | None) -> Trial:
    """Return what the ledger records of an evaluation: a trial, or a variation of the last trial of its own.

    It is a variation where only costs, fills or the contents of the report differ from those of `base`, and every
    forecast and position is the same. A variation counts, but raises no p value (see `quantlr.experiment.sensitivity`).
    """
    if base is None or evaluation.config == base.config:
        return evaluation.trial
    differences = changed_keys(base, evaluation)
    has_same_positions = evaluation.digests.model == base.digests.model and np.array_equal(
        evaluation.run_data.positions.weight, base.run_data.positions.weight, equal_nan=True
    )
    if not has_same_positions or any(key.partition(".")[0] not in SENSITIVITY_SECTIONS for key in differences):
        return evaluation.trial
    if evaluation.trial.key == base.trial.key:  # only the contents of the report differ
        return base.trial
    text = ", ".join(f"{key} {new}" for key, (_, new) in differences.items())
    result = evaluation.trial.result
    return replace(base.trial, variation=text, result=None if result is None else replace(result, returns=None))


def changed_keys(previous: Evaluation, evaluation: Evaluation) -> dict[str, tuple[str | None, ...]]:
    """Return the dotted keys whose values differ, with the former and the new value as text."""
    return config_differences([item.config.model_dump(mode="json") for item in (previous, evaluation)])


def compare_with_previous(previous: Evaluation, evaluation: Evaluation) -> Comparison:
    """Return the comparison of an evaluation with the previous one over their common sessions.

    Raises
    ------
    UserError : they have no session in common, or count a different number of sessions per year.
    """
    return compare_saved_runs([previous.to_saved_run("the previous result"), evaluation.to_saved_run("This result")])


def named_paths(loaded: LoadedConfig) -> tuple[Path, ...]:
    """Return the files and folders that a config names: prices, lists, rates."""
    return tuple(_iter_paths(loaded.run.model_dump()))


def _iter_paths(value: Any) -> Sequence[Path]:
    if isinstance(value, Path):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [path for item in inner for path in _iter_paths(item)]
