"""The best of many strategies without skill: its Sharpe ratio, and how often tests that count all of them pass it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from quantlr.config.run_config import RunConfig
from quantlr.core.values import Prices, RunData
from quantlr.experiment.evaluate import compute_metrics
from quantlr.experiment.trial import TrialResult, excess_returns_with_benchmark, monthly_returns
from quantlr.pipeline.stages import decision_context, forecast_and_decide, positions_from_forecasts, run_backtest
from quantlr.stats.benchmark_test import alpha_test
from quantlr.stats.family_wise import RunningMaxima, TrialFamily, sum_unexplained_returns_by_month
from quantlr.stats.sharpe import probabilistic_sharpe
from quantlr.stats.verdict import is_significant

from benchmarks.edge_markets import FREE, untradable_market
from benchmarks.simulation import Figure, experiment_config, market_generator, mean_figure, proportion_figure

N_STRATEGIES = 100
RULE_FEATURES: tuple[list[dict[str, Any]], ...] = (
    *([{"kind": "lagged_returns", "lags": list(range(1, n + 1))}] for n in (1, 2, 3, 5, 10)),
    *(
        [{"kind": "lagged_returns", "lags": [1]}, {"kind": kind, "windows": [n]}]
        for kind, windows in (
            ("momentum", (3, 5, 10, 21, 63)),
            ("volatility", (5, 10, 21, 63)),
            ("rsi", (5, 14)),
            ("moving_average_gap", (10, 50)),
            ("drawdown", (21, 63)),
        )
        for n in windows
    ),
)
"""Features of 20 models, the newest return among them."""
RULE_LEVELS = (0.49, 0.5, 0.51, 0.52, 0.53)
"""Probabilities above which the rules of a model are long; otherwise they are flat."""


def best_of_random_strategies(series: int, seed: int) -> Iterator[Figure]:
    """Yield the Sharpe ratio of the best of 100 strategies without skill over five years, and the size of its test.

    The largest of 100 standard normal values has a mean of 2.508 and a standard deviation of .43.
    """
    sessions = 1260
    dates, no_benchmark = pd.bdate_range("2000-01-03", periods=sessions), np.zeros(sessions)
    best_sharpes, n_deflated, n_family_wise = [], 0, 0
    for index in range(series):
        returns = np.random.default_rng([seed, index]).normal(0, 0.01, (N_STRATEGIES, sessions))
        ratios = returns.mean(axis=1) / returns.std(axis=1, ddof=1)
        best = int(ratios.argmax())
        best_sharpes.append(ratios[best] * np.sqrt(252))
        maxima = RunningMaxima.of_trials(
            sum_unexplained_returns_by_month(row, no_benchmark, dates, sessions_per_year=252) for row in returns
        )
        threshold = (maxima.expected_max_sharpe or 0.0) / np.sqrt(252)
        deflated = probabilistic_sharpe(returns[best], benchmark_sharpe=threshold)
        n_deflated += deflated is not None and deflated >= 0.95
        family_wise = maxima.family_wise_p_value(alpha_test(returns[best], no_benchmark).test.p_value)
        n_family_wise += family_wise is not None and family_wise < 0.05
    mean, error = float(np.mean(best_sharpes)), 0.43 / np.sqrt(5 * series)
    yield mean_figure("best of 100 without skill: annual Sharpe ratio", mean, 2.508 / np.sqrt(5), error, series=series)
    name = "best of 100 without skill"
    yield proportion_figure(f"{name}: deflated Sharpe ratio of .95", n_deflated, series, max_rate=0.05)
    yield proportion_figure(f"{name}: family-wise p below .05", n_family_wise, series, max_rate=0.05)


def best_of_swept_rules(series: int, seed: int) -> Iterator[Figure]:
    """Yield how often the best of 100 part-time rules is significant, alone and among all, and has the verdict "edge".

    The rules have skill, but none in the session that they hold, and no costs. The best is that with the smallest p
    value of alpha.
    """
    label = f"best of {N_STRATEGIES} part-time rules"
    market = partial(untradable_market, sessions=2500)
    configs = _rule_configs()
    n_alone = n_family_wise = n_edges = 0
    for index in range(series):
        runs = list(_run_rules(configs, market(market_generator(seed, label, index))))
        p_values = [_alpha_p_value(run_data) for run_data in runs]
        best = int(np.argmin(p_values))
        per_year = configs[best].report.sessions_in_year(runs[best].prices)
        results = (TrialResult.from_backtest(run_data.result, per_year) for run_data in runs)
        maxima = RunningMaxima.of_trials(monthly_returns(results))
        metrics = compute_metrics(configs[best], runs[best], TrialFamily(len(runs), maxima))
        n_alone += is_significant(p_values[best])
        n_family_wise += is_significant(metrics["significance"]["family_wise_p"])
        n_edges += metrics["verdict"]["rule"] == "evidence"
    yield proportion_figure(f"{label}: alpha alone", n_alone, series)
    yield proportion_figure(f"{label}: family-wise p below .05", n_family_wise, series, max_rate=0.05)
    yield proportion_figure(f"{label}: evidence of an edge", n_edges, series, max_rate=0.05)


def _rule_configs() -> list[RunConfig]:
    """Return the configs of the rules; those of a model follow one another."""
    return [
        experiment_config(
            1,
            features=features,
            policy={"kind": "threshold", "long_above": level},
            execution=FREE,
            walk_forward={"train": 1000, "refit_every": 21},
        )
        for features in RULE_FEATURES
        for level in RULE_LEVELS
    ]


def _run_rules(configs: list[RunConfig], prices: Prices) -> Iterator[RunData]:
    """Yield the run of each config; each model forecasts once."""
    for index, config in enumerate(configs):
        if index % len(RULE_LEVELS) == 0:
            decisions = forecast_and_decide(config, prices)
            context = decision_context(config, prices, decisions.forecasts)
        positions = positions_from_forecasts(config, decisions.forecasts, context)
        yield run_backtest(config, prices, replace(decisions, positions=positions))


def _alpha_p_value(run_data: RunData) -> float:
    """Return the p value of alpha over buy and hold; 1 where it is undefined."""
    p_value = alpha_test(*excess_returns_with_benchmark(run_data.result)).test.p_value
    return 1.0 if p_value is None else p_value
