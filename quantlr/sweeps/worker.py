"""What a worker does: evaluates the trials of a task, each stage once for all that share it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from quantlr.backtest.metrics import (
    BACKTEST_METRICS,
    FORECAST_METRICS,
    BacktestView,
    evaluate_forecasts,
)
from quantlr.backtest.policies import DecisionContext
from quantlr.config.run_config import RunConfig
from quantlr.core.arrays import IntArray
from quantlr.core.errors import QuantlrError, UserError
from quantlr.core.values import Dataset, Forecasts, Prices, RunData
from quantlr.data.prices import DataSpec, load_prices
from quantlr.pipeline.stages import (
    DEFAULT_STAGES,
    Decisions,
    PipelineStages,
    dataset_from_config,
    decision_context,
    positions_from_forecasts,
    run_backtest,
    walk_forward_forecasts,
)
from quantlr.report.storage import nonfinite_to_none
from quantlr.stats.sharpe import sharpe_per_session
from quantlr.sweeps.grid import make_trial_run_config
from quantlr.sweeps.jobs import StageDigests, TrialTask, environment_versions

T = TypeVar("T")
SLOW_METRICS = {"accuracy_ci95", "auc_ci95", "reliability", "sharpe_ci95", "trades", "win_rate", "profit_factor"}
"""Numbers that take longer than a trial: the winner's are in the report of its own run."""
TRIAL_FORECAST_METRICS = tuple(key for key in FORECAST_METRICS if key not in SLOW_METRICS)
TRIAL_BACKTEST_METRICS = tuple(key for key in BACKTEST_METRICS if key not in SLOW_METRICS)
TRIAL_BENCHMARK_METRICS = ("cagr", "sharpe", "max_drawdown")
EMPTY_TRADES = pd.DataFrame()
"""Round trips are not told apart: that would take longer than all else."""


@dataclass(frozen=True, slots=True)
class TrialOutcome:
    """What came of a job.

    Attributes
    ----------
    key : the job's.
    content : its file, None where it may well succeed another time.
    error : why it failed, None where it did not.
    mends : the key of the config that would mend it, None where it is not known.
    """

    result_key: str
    file_bytes: bytes | None
    error: str | None = None
    config_key: str | None = None


@dataclass(frozen=True, slots=True)
class PriceSummary:
    """What there is of some prices.

    Attributes
    ----------
    sha256 : digest of what was read; empty where it could not be.
    sessions : (sessions,) dates, as days since 1970.
    error, mends : as in `Outcome`.
    """

    data_sha256: str
    session_days: IntArray
    error: str | None = None
    config_key: str | None = None


@dataclass(slots=True)
class StageCache:
    """What a worker has at hand: the newest of each stage, and no more, so that memory does not grow.

    Attributes
    ----------
    stages : the functions of a run.
    held : by stage, its key and what came of it.
    """

    stages: PipelineStages = DEFAULT_STAGES
    results_by_stage: dict[str, tuple[str, Any]] = field(default_factory=dict)

    def prices(self, spec: DataSpec, digest: str, *, offline: bool) -> Prices:
        """Return prices, read again only if others were asked for meanwhile."""
        return self._get_or_compute("prices", digest, partial(load_prices, spec, offline=offline))

    def dataset(self, config: RunConfig, digest: str, prices: Prices) -> Dataset:
        """Return rows, likewise."""
        return self._get_or_compute("dataset", digest, lambda: dataset_from_config(config, prices, self.stages))

    def forecasts(self, config: RunConfig, digest: str, dataset: Dataset) -> Forecasts:
        """Return forecasts, likewise."""
        return self._get_or_compute("forecasts", digest, lambda: walk_forward_forecasts(config, dataset, self.stages))

    def decision_context(self, config: RunConfig, digest: str, prices: Prices, forecasts: Forecasts) -> DecisionContext:
        """Return what policies may use besides forecasts, likewise."""
        return self._get_or_compute("known", digest, lambda: decision_context(config, prices, forecasts, self.stages))

    def forecast_metrics(self, digest: str, forecasts: Forecasts) -> dict[str, Any]:
        """Return the numbers of forecasts, likewise."""
        return self._get_or_compute("skill", digest, lambda: _compute_forecast_metrics(forecasts))

    def _get_or_compute(self, stage: str, digest: str, compute: Callable[[], T]) -> T:
        if stage in self.results_by_stage and self.results_by_stage[stage][0] == digest:
            kept: T = self.results_by_stage[stage][1]
            return kept
        self.results_by_stage.pop(stage, None)  # before the next is made, so that there are never two
        made = compute()
        self.results_by_stage[stage] = digest, made
        return made


WORKER_CACHE = StageCache()
"""What this process has at hand."""


@dataclass(frozen=True, slots=True)
class PriceRequest:
    """A question for what there is of some prices, as it travels to a worker.

    Attributes
    ----------
    key : of the prices, as in `Keys`.
    data : a config's data section, as JSON has it.
    offline, versions : as in `Task`.
    """

    data_digest: str
    data_config: dict[str, Any]
    offline: bool
    required_versions: dict[str, str]


def summarize_prices(request: PriceRequest) -> PriceSummary:
    """Return what there is of some prices."""
    require_versions(request.required_versions)
    try:
        prices = WORKER_CACHE.prices(
            DataSpec.model_validate(request.data_config), request.data_digest, offline=request.offline
        )
    except QuantlrError as error:
        return PriceSummary("", np.zeros(0, dtype=np.int64), error.message, error.key)
    return PriceSummary(prices.sha256, prices.sessions.to_numpy().astype("datetime64[D]").astype(np.int64))


def evaluate_task(task: TrialTask) -> list[TrialOutcome]:
    """Return what comes of a task's jobs; one that fails does not keep the others from it."""
    require_versions(task.required_versions)
    return [
        _evaluate_trial(key, values, WORKER_CACHE, task)
        for key, values in zip(task.result_keys, task.trial_values, strict=True)
    ]


def require_versions(required_versions: dict[str, str]) -> None:
    """Refuse to work where a package on which numbers depend has another version.

    Raises
    ------
    UserError : naming what is there and what is needed.
    """
    here = environment_versions()
    wrong = [
        f"{name} {here[name]} (needed {wanted})" for name, wanted in required_versions.items() if here[name] != wanted
    ]
    if wrong:
        raise UserError(
            f"a worker has other versions than this program: {', '.join(wrong)}; its numbers could differ. Give all "
            "workers the same environment"
        )


def _evaluate_trial(result_key: str, trial_values: dict[str, Any], cache: StageCache, task: TrialTask) -> TrialOutcome:
    try:
        config = make_trial_run_config(task.base_config, trial_values, task.last_date)
        course, skill = run_trial(config, cache, offline=task.offline)
        return TrialOutcome(result_key, encode_trial_record(trial_metrics(config, course, skill), course))
    except UserError as error:
        content = to_npz_bytes({"error": error.message, "key": error.key})
        return TrialOutcome(result_key, content, error.message, error.key)
    except QuantlrError as error:
        return TrialOutcome(result_key, None, error.message, error.key)
    except MemoryError:
        return TrialOutcome(result_key, None, "there was not enough memory for it; try fewer --jobs")
    except Exception as error:  # a bug in one combination must not lose the others
        return TrialOutcome(result_key, None, f"{type(error).__name__}: {error}")


def run_trial(config: RunConfig, cache: StageCache, *, offline: bool) -> tuple[RunData, dict[str, Any]]:
    """Return what a config makes of its prices, stage by stage, and the numbers of its forecasts."""
    keys = StageDigests.from_config(config)
    prices = cache.prices(config.data, keys.data, offline=offline)
    dataset = cache.dataset(config, keys.dataset, prices)
    forecasts = cache.forecasts(config, keys.model, dataset)
    known = cache.decision_context(config, keys.decision_context, prices, forecasts)
    positions = positions_from_forecasts(config, forecasts, known, cache.stages)
    course = run_backtest(config, prices, Decisions(dataset, forecasts, positions), cache.stages)
    return course, cache.forecast_metrics(keys.model, forecasts)


def _compute_forecast_metrics(forecasts: Forecasts) -> dict[str, Any]:
    rows = evaluate_forecasts(forecasts)
    return {key: FORECAST_METRICS[key](rows) for key in TRIAL_FORECAST_METRICS}


def trial_metrics(config: RunConfig, run_data: RunData, forecast_metrics: dict[str, Any]) -> dict[str, Any]:
    """Return the numbers of a trial, keyed as in ``metrics.json``, with what statistics over trials need."""
    per_year = config.report.sessions_per_year
    own = BacktestView(run_data.result, EMPTY_TRADES, per_year)
    held = BacktestView(run_data.result.benchmark or run_data.result, EMPTY_TRADES, per_year)
    refits = run_data.forecasts.refits
    found = {
        "forecast": forecast_metrics,
        "strategy": {key: BACKTEST_METRICS[key](own) for key in TRIAL_BACKTEST_METRICS},
        "benchmark": {key: BACKTEST_METRICS[key](held) for key in TRIAL_BENCHMARK_METRICS},
        "unconverged": int((~refits.converged).sum()),
        "sharpe_per_session": sharpe_per_session(own.excess_returns),
        "sessions": len(own.excess_returns),
        "sessions_per_year": per_year,
        "cash": run_data.result.session_cash_rate,
        "data_sha256": run_data.prices.sha256,
    }
    return dict(nonfinite_to_none(found))


def encode_trial_record(metrics: dict[str, Any], run_data: RunData) -> bytes:
    """Return a trial's file: its numbers, and its net returns beside buy and hold's by session."""
    result = run_data.result
    held = result.benchmark or result
    return to_npz_bytes(
        metrics,
        session=result.sessions.to_numpy().astype("datetime64[D]").astype(np.int32),
        returns=np.stack([result.net_return, held.net_return]),
    )


def to_npz_bytes(metadata: dict[str, Any], **arrays: Any) -> bytes:
    """Return the bytes of a file, the same for the same values; ``numpy.load`` reads it.

    Nothing is compressed: of returns that would save a third, and take longer than the trial.
    """
    stream = io.BytesIO()
    text = np.frombuffer(json.dumps(metadata, sort_keys=True, allow_nan=False).encode(), dtype=np.uint8)
    np.savez(stream, about=text, **arrays)
    return stream.getvalue()
