"""The metrics of a run, keyed as in ``metrics.json``."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any

from quantlr.backtest.attribution import ticker_attribution
from quantlr.backtest.benchmark import benchmark_name
from quantlr.backtest.fills import compare_fill_metrics, is_significant_only_at_same_close
from quantlr.backtest.fit_metrics import FitView
from quantlr.backtest.metric_types import BacktestAndTrials, BacktestView, Section, evaluate_forecasts
from quantlr.backtest.metrics import METRICS, metrics_of_section
from quantlr.backtest.naive_rules import evaluate_naive_rules
from quantlr.config.candidates import fitted_config_and_dataset
from quantlr.config.run_config import RunConfig
from quantlr.core.progress import Progress, ProgressCounter, ignore_progress
from quantlr.core.timing import iso_date
from quantlr.core.values import RunData
from quantlr.experiment.trial import TrialResult, monthly_returns
from quantlr.model.solvers import learning_rate_limit
from quantlr.report.file_formats import nonfinite_to_none
from quantlr.stats.family_wise import RunningMaxima, TrialFamily
from quantlr.stats.verdict import decide_verdict


def compute_metrics(
    config: RunConfig,
    run_data: RunData,
    family: TrialFamily | None = None,
    *,
    progress: Progress = ignore_progress,
) -> dict[str, Any]:
    """Return the metrics of a run, keyed as in ``metrics.json``; undefined ones are None.

    Parameters
    ----------
    config, run_data : the run.
    family : the trials on the same prices, this one included; None without a ledger, for this run alone.
    progress : called after each metric.
    """
    per_year, score_from = config.report.sessions_in_year(run_data.prices), config.report.score_from
    counter = ProgressCounter("measuring", 3 + len(METRICS) + len(metrics_of_section("backtest")), progress)

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
    prices, has_ledger = run_data.prices, family is not None
    if family is None:
        own_returns = monthly_returns([TrialResult.from_backtest(run_data.result, per_year)])
        family = TrialFamily(1, RunningMaxima.of_trials(own_returns))
    forecasts = run_data.forecasts
    attribution = ticker_attribution(run_data.result, forecasts, evaluated, sessions_per_year=per_year)
    fills = compare_fill_metrics(run_data.positions, prices, config.execution, sessions_per_year=per_year)
    counter.step()
    naive_rules = evaluate_naive_rules(run_data, config.policy, config.execution, sessions_per_year=per_year)
    naive_rule_metrics = {item.rule.key: item.metrics for item in naive_rules}
    counter.step()
    metrics = {
        "data": {
            "tickers": list(prices.tickers),
            "first": iso_date(prices.sessions[0]),
            "last": iso_date(prices.sessions[-1]),
            "sessions": len(prices.sessions),
            "sessions_per_year": int(per_year),
            "score_from": score_from and score_from.isoformat(),
            "first_fill": iso_date(run_data.result.fill_dates[0]),
            "sha256": prices.sha256,
        },
        "forecast": compute_section("forecast", evaluated),
        "backtest": {
            "strategy": compute_section("backtest", strategy),
            "benchmark": compute_section("backtest", benchmark),
            "benchmark_name": benchmark_name(config.report.benchmark),
            **compute_section("strategy_only", strategy),
            "by_ticker": {"tickers": [forecasts.tickers[index] for index in attribution.ticker_index]}
            | compute_section("by_ticker", attribution),
            "fill": config.execution.fill,
            "fills": fills,
            "only_at_the_close": is_significant_only_at_same_close(fills),
        },
        "significance": compute_section("significance", BacktestAndTrials(strategy, evaluated, family))
        | compute_section("against_benchmark", strategy),
        "model": compute_section("model", _fit_view(config, run_data)),
        "naive_rules": naive_rule_metrics,
    }
    verdict = decide_verdict(
        metrics,
        strategy.gross_excess_returns,
        sessions_per_year=per_year,
        has_trial_ledger=has_ledger,
        sizes_by_probability=config.policy.sizes_by_probability,
    )
    counter.step()
    return dict(nonfinite_to_none(metrics | {"verdict": asdict(verdict)}))


def _fit_view(config: RunConfig, run_data: RunData) -> FitView:
    """Return the fits of a run; without the solver's settings where the fit was replaced."""
    forecasts = run_data.forecasts
    model = fitted_config_and_dataset(config, run_data.dataset, forecasts)[0].model
    logistic = None if "fit_refits" in run_data.replaced_stages else model.as_logistic_regression()
    if logistic is None:
        return FitView(forecasts.refits, forecasts.tickers, model.kind)
    limit = partial(learning_rate_limit, logistic.solver)
    return FitView(forecasts.refits, forecasts.tickers, model.kind, logistic.solver, logistic.tol, limit)
