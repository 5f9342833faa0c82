"""The metrics of a run, keyed as in ``metrics.json``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from quantlr.backtest.benchmark import benchmark_name
from quantlr.backtest.fills import compare_fill_metrics, is_significant_only_at_same_close
from quantlr.backtest.metric_types import BacktestView, Section, SignificanceInput, evaluate_forecasts
from quantlr.backtest.metrics import METRICS, metrics_of_section
from quantlr.config.run_config import RunConfig
from quantlr.core.progress import Progress, ProgressCounter, ignore_progress
from quantlr.core.timing import iso_date
from quantlr.core.values import Forecasts, RunData
from quantlr.experiment.ledger import TrialStatistics
from quantlr.model.base import Model
from quantlr.model.solvers import learning_rate_limit
from quantlr.report.storage import nonfinite_to_none
from quantlr.stats.verdict import decide_verdict


def compute_metrics(
    config: RunConfig,
    run_data: RunData,
    trial_statistics: TrialStatistics | None = None,
    *,
    progress: Progress = ignore_progress,
) -> dict[str, Any]:
    """Return the metrics of a run, keyed as in ``metrics.json``; undefined ones are None.

    Parameters
    ----------
    config, run_data : the run.
    trial_statistics : of the trials that the deflated Sharpe ratio counts; None without a ledger, for this run alone.
    progress : called after each metric.
    """
    per_year = config.report.sessions_in_year(run_data.prices)
    counter = ProgressCounter("measuring", 2 + len(METRICS) + len(metrics_of_section("backtest")), progress)

    def compute_section(section: Section, source: Any) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for metric in metrics_of_section(section):
            values |= metric.compute_values(source)
            counter.step()
        return values

    evaluated = evaluate_forecasts(run_data.forecasts, seed=config.seed)
    strategy = BacktestView(run_data.result, per_year, config.seed)
    benchmark_result = run_data.result.benchmark
    benchmark = BacktestView(benchmark_result, per_year, config.seed, strategy) if benchmark_result else strategy
    prices, trials = run_data.prices, trial_statistics or TrialStatistics(1, None)
    fills = compare_fill_metrics(run_data.positions, prices, config.execution, sessions_per_year=per_year)
    counter.step()
    metrics = {
        "data": {
            "tickers": list(prices.tickers),
            "first": iso_date(prices.sessions[0]),
            "last": iso_date(prices.sessions[-1]),
            "sessions": len(prices.sessions),
            "sessions_per_year": int(per_year),
            "first_fill": iso_date(run_data.result.fill_dates[0]),
            "sha256": prices.sha256,
        },
        "forecast": compute_section("forecast", evaluated),
        "backtest": {
            "strategy": compute_section("backtest", strategy),
            "benchmark": compute_section("backtest", benchmark),
            "benchmark_name": benchmark_name(config.report.benchmark),
            **compute_section("strategy_only", strategy),
            "fills": fills,
            "only_at_the_close": is_significant_only_at_same_close(fills),
        },
        "significance": compute_section("significance", SignificanceInput(strategy, evaluated, **asdict(trials))),
        "model": _model_metrics(config.model, run_data),
    }
    returns, has_ledger = strategy.gross_excess_returns, trial_statistics is not None
    verdict = decide_verdict(
        metrics,
        returns,
        sessions_per_year=per_year,
        has_trial_ledger=has_ledger,
        sizes_by_probability=config.policy.sizes_by_probability,
    )
    counter.step()
    return dict(nonfinite_to_none(metrics | {"verdict": asdict(verdict)}))


def _model_metrics(model: Model, run_data: RunData) -> dict[str, Any]:
    """Return how the fits ended, and the learning rate with its limit of the model where the limit is lowest.

    None where a model has no such number; the solver's settings are None too if its fit was replaced.
    """
    refits = run_data.forecasts.refits
    logistic = None if "fit_refits" in run_data.replaced_stages else model.as_logistic_regression()
    has_limit = ~np.isnan(refits.lipschitz)
    steepest = int(np.argmax(np.where(has_limit, refits.lipschitz, -np.inf)))
    limit = learning_rate_limit(logistic.solver, float(refits.lipschitz[steepest])) if logistic else None
    return {
        "kind": model.kind,
        "refits": len(refits.converged),
        "solver": logistic.solver if logistic else None,
        "learning_rate": float(refits.learning_rate[steepest]),
        "learning_rate_limit": limit,
        "iterations_mean": float(refits.iterations.mean()) if len(refits.iterations) else None,
        "iterations_max": int(refits.iterations.max()) if len(refits.iterations) else None,
        "unconverged": int((~refits.converged).sum()),
        "max_abs_gradient": float(refits.max_abs_gradient.max()) if len(refits.max_abs_gradient) else None,
        "tol": logistic.tol if logistic else None,
        "degenerate": int(refits.degenerate.sum()),
        "condition_number": float(np.fmax.reduce(refits.condition_number)),
        "coefficients": _last_coefficients_by_ticker(run_data.forecasts),
    }


def _last_coefficients_by_ticker(forecasts: Forecasts) -> dict[str, dict[str, float]] | None:
    """Return the last refit's coefficients by ticker or "pooled": intercept, then features, in raw units.

    None of a model without coefficients.
    """
    refits, names = forecasts.refits, ("intercept", *forecasts.refits.columns)
    if not refits.has_coefficients:
        return None
    last_refits = {ticker: index for index, ticker in enumerate(refits.ticker.tolist())}
    coefficients = refits.coefficients[list(last_refits.values())].tolist()
    tickers = ("pooled" if ticker < 0 else forecasts.tickers[ticker] for ticker in last_refits)
    return {ticker: dict(zip(names, row, strict=True)) for ticker, row in zip(tickers, coefficients, strict=True)}
