"""A race: a model, its challengers and the naive rules on the same rows, each compared with the model.

The differences are tested by the paired stationary bootstrap, and all p values are adjusted together by Holm's method.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from quantlr.backtest.metric_types import BacktestView, EvaluatedForecasts, Metric
from quantlr.backtest.metrics import metrics_shown_in
from quantlr.backtest.naive_rules import competitor_metrics
from quantlr.core.values import Array
from quantlr.report.pairs import MetricTest, adjust_tests
from quantlr.stats.directional import auc_scores
from quantlr.stats.paired import (
    PairDifferences,
    RunIndices,
    n_draws_for_tests,
    paired_return_differences,
    paired_score_differences,
)

CompetitorKind = Literal["model", "challenger", "naive rule"]
MIN_TESTED_SESSIONS = 60
"""Sessions below which nothing is tested, as in a comparison of runs."""
BOOTSTRAP_SEED = 0


@dataclass(frozen=True, slots=True)
class Competitor:
    """Forecasts and backtest of one model or rule.

    Attributes
    ----------
    name : of the model or rule.
    kind : "model" is that of the config.
    forecasts : with a known outcome; the rows are those of all competitors.
    backtest : over the same sessions as all.
    cpu_seconds : processor time of fits, forecasts, decisions and backtest, of all threads and processes.
    has_probabilities : whether its probabilities can be scored, and not its directions only.
    """

    name: str
    kind: CompetitorKind
    forecasts: EvaluatedForecasts
    backtest: BacktestView
    cpu_seconds: float
    has_probabilities: bool = True


@dataclass(frozen=True, slots=True)
class RaceEntry:
    """A competitor, its metrics, and how they differ from the model's.

    Attributes
    ----------
    competitor : the model or rule.
    metrics : by key: log loss, accuracy, area under the ROC curve, CAGR and Sharpe ratio; None where undefined.
    tests : by key of the metric, its difference from the model's; empty for the model itself.
    """

    competitor: Competitor
    metrics: dict[str, float | None]
    tests: dict[str, MetricTest]


def race_metrics() -> tuple[Metric, ...]:
    """Return the metrics by which competitors are compared, in the order of their columns."""
    return metrics_shown_in("competitors")


def make_race_entries(competitors: Sequence[Competitor]) -> tuple[RaceEntry, ...]:
    """Return the entries of a race: each competitor beside the first, which is the model.

    Parameters
    ----------
    competitors : of the same forecast rows and the same sessions.
    """
    n_draws = n_draws_for_tests(len(race_metrics()) * (len(competitors) - 1))
    tests = {
        (metric.key, index): test
        for metric in race_metrics()
        for index, test in _differences_from_model(metric, competitors, n_draws).items()
    }
    tests = adjust_tests(tests)
    return tuple(
        RaceEntry(
            competitor,
            competitor_metrics(
                competitor.forecasts, competitor.backtest, has_probabilities=competitor.has_probabilities
            ),
            {key: test for (key, tested), test in tests.items() if tested == index},
        )
        for index, competitor in enumerate(competitors)
    )


def _differences_from_model(metric: Metric, competitors: Sequence[Competitor], n_draws: int) -> dict[int, MetricTest]:
    """Return the test of a metric by the position of each competitor; without a difference where it has none."""
    columns = [_values_by_row(metric.key, competitor) for competitor in competitors]
    model_values = columns[0]
    tests, compared = {}, [0]
    for index, values in enumerate(columns[1:], start=1):
        is_identical = model_values is not None and values is not None and np.array_equal(model_values, values)
        tests[index] = MetricTest(metric, None, is_identical)
        if values is not None and not is_identical:
            compared.append(index)
    n_sessions = len(np.unique(competitors[0].forecasts.session))
    if model_values is None or n_sessions < MIN_TESTED_SESSIONS:
        return tests
    matrix = np.stack([values for index, values in enumerate(columns) if index in compared and values is not None], 1)
    pairs = [(0, position) for position in range(1, len(compared))]
    for (_, position), difference in _paired_differences(metric.key, matrix, competitors[0], pairs, n_draws).items():
        tests[compared[position]] = replace(tests[compared[position]], difference=difference)
    return tests


def _values_by_row(key: str, competitor: Competitor) -> Array | None:
    """Return the values by forecast or session whose mean, or Sharpe ratio, is the metric; None where undefined."""
    forecasts, backtest = competitor.forecasts, competitor.backtest
    if key == "log_loss":
        losses = forecasts.log_losses if competitor.has_probabilities else None
        return losses if losses is not None and np.isfinite(losses).all() else None
    if key == "accuracy":
        return forecasts.hits.astype(np.float64)
    if key == "auc":
        return auc_scores(forecasts.probability, forecasts.up)
    if key == "cagr":
        returns = backtest.result.net_return
        return np.log1p(returns) if (returns > -1.0).all() else None
    return backtest.excess_returns


def _paired_differences(
    key: str, columns: Array, model: Competitor, pairs: Sequence[RunIndices], n_draws: int
) -> PairDifferences:
    """Return the differences of a metric from those of the first column, by pair of columns."""
    options: dict[str, Any] = {"n_draws": n_draws, "seed": BOOTSTRAP_SEED, "pairs": pairs}
    if key == "sharpe":
        _, differences = paired_return_differences(columns, **options)
        factor = model.backtest.annual_factor
        return {pair: difference and difference.scaled(factor) for pair, difference in differences.items()}
    if key == "cagr":
        per_year = len(columns) / model.backtest.years
        options["transform"] = lambda mean_log_growth: np.expm1(per_year * mean_log_growth)
        return paired_score_differences([columns], session=np.arange(len(columns)), horizon=1, **options)[0]
    session, horizon = model.forecasts.session, model.forecasts.horizon
    return paired_score_differences([columns], session=session, horizon=horizon, **options)[0]


def race_table(entries: Sequence[RaceEntry]) -> pd.DataFrame:
    """Return one row per competitor: name, kind, processor time, and each metric with its difference from the model's.

    The columns of a metric are its key, and the key with `_difference`, `_low95` and `_high95` (its 95 % interval),
    `_p_value` (two-sided), and `_holm_p_value`, `_holm_low` and `_holm_high`, adjusted for all differences.
    """
    return pd.DataFrame([_race_row(entry) for entry in entries])


def _race_row(entry: RaceEntry) -> dict[str, Any]:
    item = entry.competitor
    row: dict[str, Any] = {"name": item.name, "kind": item.kind, "cpu_seconds": item.cpu_seconds}
    for metric in race_metrics():
        test = entry.tests.get(metric.key)
        difference = test and test.difference
        low95, high95 = difference.interval() if difference else (None, None)
        low, high = (test and test.adjusted_interval) or (None, None)
        values = {"difference": difference and difference.value, "low95": low95, "high95": high95}
        values |= {"p_value": difference and difference.p_value, "holm_p_value": test and test.adjusted_p_value}
        row[metric.key] = entry.metrics[metric.key]
        row |= {
            f"{metric.key}_{name}": value for name, value in (values | {"holm_low": low, "holm_high": high}).items()
        }
    return row
