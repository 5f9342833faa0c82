"""The evaluation of trials in a worker process: each stage once for all trials that share it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from quantlr.backtest.metric_types import BacktestView, evaluate_forecasts
from quantlr.backtest.metrics import annual_sharpe, metrics_shown_in
from quantlr.config.run_config import RunConfig
from quantlr.core.component_errors import iter_user_defined_components
from quantlr.core.errors import ComponentError, LookAheadError, QuantlrError, UserError
from quantlr.core.progress import Progress, ignore_progress
from quantlr.core.text import hide_home_folder
from quantlr.core.values import Dataset, Forecasts, IntArray, Prices, RunData
from quantlr.experiment.price_overlap import price_overlap_keys
from quantlr.pipeline.stages import (
    Decisions,
    dataset_from_config,
    decision_context,
    forecasts_from_config,
    load_run_prices,
    positions_from_forecasts,
    run_backtest,
)
from quantlr.report.file_formats import nonfinite_to_none
from quantlr.stats.sharpe import sharpe_per_session
from quantlr.sweeps.grid import Sweep
from quantlr.sweeps.trials import StageDigests, TrialRecord, encode_result_file, environment_versions

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PriceSummary:
    """Digest, sessions and keys of some prices, or why they could not be read.

    Attributes
    ----------
    data_sha256 : digest of the prices; empty where they could not be read.
    session_days : (sessions,) dates, as days since 1970.
    price_keys : by which overlapping prices are found, as in `Trial`.
    error, config_key : as in `TrialRecord`.
    """

    data_sha256: str
    session_days: IntArray
    price_keys: tuple[int, ...] = ()
    error: str | None = None
    config_key: str | None = None


NEWEST_RESULTS: dict[str, tuple[str, Any]] = {}
"""Newest result of each stage in this process, with the digest of what it depends on; older ones are not kept, so that
memory does not grow."""


def cached_result(stage: str, digest: str, compute: Callable[[], T]) -> T:
    """Return the result of a stage, computed only if the newest one has another digest."""
    if stage not in NEWEST_RESULTS or NEWEST_RESULTS[stage][0] != digest:
        NEWEST_RESULTS.pop(stage, None)  # before the next is computed, so that there are never two in memory
        NEWEST_RESULTS[stage] = digest, compute()
    result: T = NEWEST_RESULTS[stage][1]
    return result


def summarize_prices(
    digest_and_config: tuple[str, RunConfig], *, offline: bool, required_versions: dict[str, str]
) -> PriceSummary:
    """Return digest, sessions and keys of some prices, or why they could not be read.

    Parameters
    ----------
    digest_and_config : digest of a run's prices, as in `StageDigests`, and the config of a run that has them.
    offline, required_versions : as in `evaluate_task`.
    """
    require_versions(required_versions)
    digest, config = digest_and_config
    try:
        prices = cached_result("prices", digest, lambda: load_run_prices(config, offline=offline))
    except QuantlrError as error:
        return PriceSummary("", np.zeros(0, dtype=np.int64), error=error.message, config_key=error.key)
    session_days = prices.sessions.to_numpy().astype("datetime64[D]").astype(np.int64)
    return PriceSummary(prices.sha256, session_days, price_overlap_keys(prices))


def evaluate_task(
    trials: tuple[TrialRecord, ...], *, sweep: Sweep, offline: bool, required_versions: dict[str, str]
) -> list[TrialRecord]:
    """Return trials with their result files or errors; one that fails does not stop the others.

    Parameters
    ----------
    trials : to evaluate in turn; those of one model are adjacent.
    sweep : whose combinations they are.
    offline : whether to do without the network.
    required_versions : package versions that this process must have.
    """
    require_versions(required_versions)
    return [_evaluate_trial(trial, sweep, offline=offline) for trial in trials]


def require_versions(required_versions: dict[str, str]) -> None:
    """Refuse to work where a package on which numbers depend has another version.

    Raises
    ------
    UserError : naming the installed and the needed versions.
    """
    installed = environment_versions()
    wrong = [
        f"{name} {installed[name]} (needed {needed})"
        for name, needed in required_versions.items()
        if installed[name] != needed
    ]
    if wrong:
        raise UserError(
            f"a worker has other versions than this program: {', '.join(wrong)}; its numbers could differ. Give all "
            "workers the same environment"
        )


def _evaluate_trial(trial: TrialRecord, sweep: Sweep, *, offline: bool) -> TrialRecord:
    try:
        config = sweep.trial_config(trial.number).run
        digests = StageDigests.from_config(config, session_token=sweep.session_token)
        run_data, forecast_metrics = run_trial_and_forecast_metrics(config, digests, offline=offline)
        result, metrics = run_data.result, trial_metrics_dict(config, run_data, forecast_metrics)
        session = result.sessions.to_numpy().astype("datetime64[D]").astype(np.int32)
        returns = np.stack([result.net_return, (result.benchmark or result).net_return])
        return replace(trial, file_bytes=encode_result_file(metrics, session=session, returns=returns))
    except (ComponentError, LookAheadError) as error:  # not stored: the user will change the code, not the config
        return replace(trial, error=error.message, config_key=error.key)
    except UserError as error:
        file_bytes = encode_result_file({"error": hide_home_folder(error.message), "key": error.key})
        return replace(trial, file_bytes=file_bytes, error=error.message, config_key=error.key)
    except QuantlrError as error:
        return replace(trial, error=error.message, config_key=error.key)
    except MemoryError:
        return replace(trial, error="not enough memory; try fewer --jobs")
    except Exception as error:  # a defect in one combination must not lose the others
        return replace(trial, error=f"{type(error).__name__}: {error}")


def run_trial_and_forecast_metrics(
    config: RunConfig, digests: StageDigests, *, offline: bool, progress: Progress = ignore_progress
) -> tuple[RunData, dict[str, Any]]:
    """Return the run of a config, stage by stage, and the metrics of its forecasts."""
    prices = cached_result("prices", digests.data, lambda: load_run_prices(config, offline=offline, progress=progress))
    is_audited = any(iter_user_defined_components(config))
    dataset = cached_result("dataset", digests.dataset, lambda: _audited_dataset(config, prices, is_audited, progress))
    forecasts = cached_result(
        "forecasts", digests.model, lambda: forecasts_from_config(config, prices, dataset, progress=progress)
    )
    context_digest = digests.decision_context
    context = cached_result("context", context_digest, lambda: decision_context(config, prices, forecasts))
    decisions = Decisions(dataset, forecasts, positions_from_forecasts(config, forecasts, context))
    if is_audited:
        from quantlr.audits.user_components import audit_user_decisions

        audit_user_decisions(config, prices, decisions)
    run_data = run_backtest(config, prices, decisions, progress=progress)
    digest = f"{digests.model} {config.report.score_from}"
    forecast_metrics = cached_result("forecast_metrics", digest, lambda: _compute_forecast_metrics(run_data.forecasts))
    return run_data, forecast_metrics


def _audited_dataset(config: RunConfig, prices: Prices, is_audited: bool, progress: Progress) -> Dataset:
    """Return the dataset of a config, whose features and label from outside the catalogue are audited first."""
    if is_audited:
        from quantlr.audits.user_components import audit_user_inputs

        audit_user_inputs(config, prices)
    return dataset_from_config(config, prices, progress=progress)


def _compute_forecast_metrics(forecasts: Forecasts) -> dict[str, Any]:
    evaluated = evaluate_forecasts(forecasts)
    values: dict[str, Any] = {}
    for metric in metrics_shown_in("sweep", "trials"):
        if metric.section == "forecast":
            values |= {metric.key: metric.compute(evaluated), **metric.compute_baseline_value(evaluated)}
    return values


def trial_metrics_dict(config: RunConfig, run_data: RunData, forecast_metrics: dict[str, Any]) -> dict[str, Any]:
    """Return a trial's metrics, keyed as in ``metrics.json``, with the numbers that statistics over trials need.

    They are those that a sweep shows: the intervals and the trades of a backtest would take longer than all else.
    """
    result, sessions_per_year = run_data.result, config.report.sessions_in_year(run_data.prices)
    strategy = BacktestView(result, sessions_per_year)
    shown_metrics = [metric for metric in metrics_shown_in("sweep", "trials") if metric.section != "forecast"]
    metrics = {
        "forecast": forecast_metrics,
        "strategy": {metric.key: metric.compute(strategy) for metric in shown_metrics},
        "benchmark_sharpe": annual_sharpe(BacktestView(result.benchmark or result, sessions_per_year)),
        "unconverged": int((~run_data.forecasts.refits.converged).sum()),
        "sharpe_per_session": sharpe_per_session(strategy.excess_returns),
        "sessions": len(strategy.excess_returns),
        "sessions_per_year": int(sessions_per_year),
        "cash": np.asarray(result.session_cash_rate).tolist(),
        "data_sha256": run_data.prices.sha256,
    }
    return dict(nonfinite_to_none(metrics))
