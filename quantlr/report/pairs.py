"""Runs over their common sessions and forecasts: metrics, differing settings, and the tests of two runs as text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from quantlr.backtest.metric_types import BacktestView, EvaluatedForecasts, Metric
from quantlr.backtest.metrics import metrics_shown_in
from quantlr.core.errors import UserError
from quantlr.core.timing import iso_date
from quantlr.core.values import Array, BacktestResult
from quantlr.report.file_formats import json_bytes
from quantlr.report.saved_runs import SavedRun
from quantlr.report.style import MINUS_SIGN
from quantlr.report.summary import metric_text
from quantlr.stats.hac import SIGNIFICANCE_LEVEL, Interval
from quantlr.stats.paired import PairedDifference, holm_adjusted_p_values, holm_test_counts

MetricValues = dict[str, float | None]
TestKey = TypeVar("TestKey")
IDENTICAL_RUNS_TEXTS = {"sharpe": "the same returns in every session", "log_loss": "the same forecasts"}
"""What is written in place of a difference of two runs that are identical, by metric."""


def config_differences(configs: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str | None, ...]]:
    """Return the dotted keys whose values differ between configs, and each value as text; None where there is none."""
    flat = [dict(_iter_flat_config_items(config)) for config in configs]
    keys = dict.fromkeys(key for settings in flat for key in settings if key != "name")  # changes no result
    values = {key: tuple(settings.get(key) for settings in flat) for key in keys}
    return {key: by_run for key, by_run in values.items() if len(set(by_run)) > 1}


def metrics_differences(
    previous_metrics: Mapping[str, Any], metrics: Mapping[str, Any]
) -> list[tuple[str, tuple[str | None, ...]]]:
    """Return the dotted keys that both ``metrics.json`` have with other values, and both values as text.

    The verdict, which is no number, is left out.
    """
    differences = config_differences([previous_metrics, json.loads(json_bytes(metrics))])
    return [
        (key, values) for key, values in differences.items() if not key.startswith("verdict.") and None not in values
    ]


def _iter_flat_config_items(value: Any, key_prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield dotted keys and their values as text; a list of plain values is one value."""
    if isinstance(value, Mapping):
        items = list(value.items())
    elif isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        items = list(enumerate(value))
    else:
        yield key_prefix, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        return
    for key, item in items:
        yield from _iter_flat_config_items(item, f"{key_prefix}.{key}" if key_prefix else str(key))


def common_dates(runs: Sequence[SavedRun]) -> pd.DatetimeIndex:
    """Return the sessions that the backtests of all runs contain.

    Raises
    ------
    UserError : there are none.
    """
    indexes = [pd.DatetimeIndex(run.backtest_frame.index) for run in runs]
    dates = reduce(pd.DatetimeIndex.intersection, indexes)
    if dates.empty:
        pairs = zip(runs, indexes, strict=True)
        periods = [f"{run.name} {iso_date(index[0])} to {iso_date(index[-1])}" for run, index in pairs]
        raise UserError(f"no session is common to all of these runs: {'; '.join(periods)}; run them on the same years")
    return dates.sort_values()


def backtest_result_on_dates(run: SavedRun, dates: pd.DatetimeIndex) -> BacktestResult:
    """Return a run's backtest over some of its sessions, without single tickers; equity begins at 1."""
    return _backtest_result_from_frame(run.backtest_frame.loc[dates], _fill_date_before(run, dates[0]))


def saved_benchmark_name(config: Mapping[str, Any]) -> str:
    """Return the name of the benchmark in a saved run's config."""
    benchmark = config["report"].get("benchmark", "buy_and_hold")
    return str(benchmark.get("ticker")) if isinstance(benchmark, Mapping) else str(benchmark).replace("_", " ")


def benchmark_result_on_dates(run: SavedRun, dates: pd.DatetimeIndex) -> BacktestResult:
    """Return the backtest of a run's benchmark over some of its sessions; returns are NaN where it has none."""
    equity = run.backtest_frame["benchmark_equity"].to_numpy(dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        returns = pd.Series(equity / np.concatenate([[1.0], equity[:-1]]) - 1.0, index=run.backtest_frame.index)
    columns = {"gross_return": returns, "cost": 0.0, "net_return": returns, "turnover": np.nan, "exposure": np.nan}
    table = pd.DataFrame(columns).assign(cash_rate=run.backtest_frame["cash_rate"]).loc[dates]
    return _backtest_result_from_frame(table, _fill_date_before(run, dates[0]))


def _fill_date_before(run: SavedRun, date: pd.Timestamp) -> pd.Timestamp:
    """Return the date of the fill from which the return that ends on `date` is earned."""
    position = int(run.backtest_frame.index.searchsorted(date))
    return pd.Timestamp(run.backtest_frame.index[position - 1]) if position else run.first_fill


def _backtest_result_from_frame(table: pd.DataFrame, first_fill: pd.Timestamp) -> BacktestResult:
    n, dates = len(table), pd.DatetimeIndex(table.index)
    names = ("gross_return", "cost", "net_return", "turnover", "exposure")
    columns: dict[str, Any] = {name: table[name].to_numpy(dtype=np.float64) for name in names}
    return BacktestResult(
        tickers=(),
        fill_dates=dates.insert(0, first_fill),
        price=np.empty((n + 1, 0)),
        weight=np.empty((n, 0)),
        ticker_return=np.empty((n, 0)),
        ticker_gross_return=np.empty((n, 0)),
        ticker_cost=np.empty((n, 0)),
        cash_return=np.full(n, np.nan),
        equity=np.asarray(np.cumprod(np.maximum(1.0 + columns["net_return"], 0.0)), dtype=np.float64),
        session_cash_rate=table["cash_rate"].to_numpy(dtype=np.float64),
        **columns,
    )


def common_evaluated_forecasts(runs: Sequence[SavedRun]) -> list[EvaluatedForecasts]:
    """Return each run's forecasts of the rows that all runs forecast, with a known outcome that is the same in all."""
    tables = [run.forecast_frame.dropna(subset="up").set_index(["date", "ticker"]).sort_index() for run in runs]
    rows = reduce(pd.Index.intersection, [table.index for table in tables])
    up = np.stack([table.loc[rows, "up"].to_numpy(dtype=np.float64) for table in tables])
    rows = rows.sort_values()[(up == up[0]).all(axis=0)]
    session = pd.factorize(rows.get_level_values("date"))[0].astype(np.int64)
    ticker = pd.factorize(rows.get_level_values("ticker"), sort=True)[0].astype(np.int64)
    horizon = runs[0].horizon
    has_dependent_outcomes = horizon > 1 or len(np.unique(ticker)) > 1
    evaluated = []
    for table in tables:
        probability, up, base_rate = table.loc[rows, ["probability", "up", "base_rate"]].to_numpy(dtype=np.float64).T
        with np.errstate(divide="ignore"):
            log_odds = np.log(probability) - np.log1p(-probability)
        columns = log_odds, probability, up, base_rate, ticker, session
        evaluated.append(EvaluatedForecasts(*columns, has_dependent_outcomes, horizon))
    return evaluated


def forecast_log_loss_matrix(evaluated_by_run: Sequence[EvaluatedForecasts]) -> Array:
    """Return the log loss of each forecast of each run, in nats: (forecasts, runs)."""
    return np.stack([run.log_losses for run in evaluated_by_run], axis=1)


def compared_metrics() -> list[Metric]:
    """Return the metrics that a comparison shows, performance first."""
    return sorted(metrics_shown_in("comparison"), key=lambda metric: metric.section == "forecast")


def compared_metric_values(
    result: BacktestResult, evaluated: EvaluatedForecasts | None, *, sessions_per_year: int
) -> MetricValues:
    """Return a run's compared metrics, keyed as in ``metrics.json``; those of forecasts are None without forecasts."""
    view, has_forecasts = BacktestView(result, sessions_per_year), evaluated is not None and len(evaluated.up) > 0
    values: MetricValues = {}
    for metric in compared_metrics():
        if metric.section == "forecast":
            values[metric.key] = metric.compute(evaluated) if has_forecasts else None
        else:
            values[metric.key] = metric.shown_value(metric.compute(view))
    return values


def shared_baseline_metric_values(
    benchmark_result: BacktestResult | None, evaluated_by_run: Sequence[EvaluatedForecasts], *, sessions_per_year: int
) -> MetricValues:
    """Return the metrics of the baselines: benchmark, majority class, base-rate forecast.

    None where a baseline is not the same for all runs, or there is nothing to compute it from.
    """
    first = evaluated_by_run[0] if evaluated_by_run and len(evaluated_by_run[0].up) else None
    if first and not all((run.base_rate == first.base_rate).all() for run in evaluated_by_run):
        first = None
    view = None if benchmark_result is None else BacktestView(benchmark_result, sessions_per_year)
    values: MetricValues = {}
    for metric in compared_metrics():
        if metric.section == "forecast":
            values[metric.key] = metric.baseline(first) if metric.baseline and first else None
        else:
            is_defined = view is not None and metric.section == "backtest"
            values[metric.key] = metric.compute(view) if is_defined else None
    return values


def metric_cell_texts(metric_values: MetricValues, metrics: Sequence[Metric]) -> tuple[str, ...]:
    """Return a run's values of some of the compared metrics as text."""
    return tuple(metric_text(metric, metric_values[metric.key]) for metric in metrics)


@dataclass(frozen=True, slots=True)
class MetricTest:
    """The test of one metric of two runs, the second's less the first's.

    Attributes
    ----------
    metric : the Sharpe ratio, per year, or the log loss, in nats.
    difference : with its interval; None where a value is undefined, there are too few common sessions, or the runs
        forecast different labels.
    is_identical : whether the two runs are equal in every session or forecast.
    adjusted_p_value : adjusted for all tests of the comparison by Holm's method; None where the runs are not tested.
    adjusted_interval : the interval at the level at which Holm's method tests the difference: it leaves out 0 exactly
        where `adjusted_p_value` is below 5 %.
    """

    metric: Metric
    difference: PairedDifference | None
    is_identical: bool
    adjusted_p_value: float | None = None
    adjusted_interval: Interval | None = None

    @property
    def is_significant(self) -> bool:
        """Whether the metrics differ significantly (5 %, adjusted)."""
        return self.adjusted_p_value is not None and self.adjusted_p_value < SIGNIFICANCE_LEVEL

    def difference_text(self, *, decimals: int, factor: float = 1.0) -> str:
        """Return the difference times `factor`, with its adjusted interval, p value and significance."""
        if self.is_identical:
            return IDENTICAL_RUNS_TEXTS.get(self.metric.key, "the same")
        if self.difference is None or self.adjusted_p_value is None or self.adjusted_interval is None:
            return "not compared"
        p_value, numbers = self.adjusted_p_value, (self.difference.value, *self.adjusted_interval)
        value, low, high = (signed_number_text(factor * number, decimals=decimals) for number in numbers)
        p_text = "p < 0.001" if p_value < 0.001 else f"p = {p_value:.{3 if p_value < 0.1 else 2}f}"
        significance = "significant (5%)" if self.is_significant else "not significant"
        return f"{value} ({low} to {high}, {p_text}): {significance}"

    def to_dict(self) -> dict[str, Any] | None:
        """Return the difference, intervals and p values as in ``compare.json``; None where there is no difference."""
        adjusted = {"adjusted_p_value": self.adjusted_p_value, "adjusted_interval": self.adjusted_interval}
        return None if self.difference is None else self.difference.to_dict() | adjusted


def adjust_tests(tests: Mapping[TestKey, MetricTest]) -> dict[TestKey, MetricTest]:
    """Return tests with p values and intervals adjusted by Holm's method for all but those of identical runs."""
    tested = {key: test.difference for key, test in tests.items() if test.difference and not test.is_identical}
    p_values = [difference.p_value for difference in tested.values()]
    adjusted = zip(holm_adjusted_p_values(p_values), holm_test_counts(p_values), strict=True)
    by_key = {
        key: replace(tests[key], adjusted_p_value=p_value, adjusted_interval=difference.interval(count))
        for (key, difference), (p_value, count) in zip(tested.items(), adjusted, strict=True)
    }
    return dict(tests) | by_key


@dataclass(frozen=True, slots=True)
class RunPair:
    """Two runs, and the second's metrics less the first's.

    Attributes
    ----------
    first_index, second_index : positions of the two runs.
    sharpe, log_loss : the tests of these metrics.
    mean_return_difference, accuracy_difference : per year, and as a fraction; None as in `MetricTest`.
    """

    first_index: int
    second_index: int
    sharpe: MetricTest
    log_loss: MetricTest
    mean_return_difference: PairedDifference | None
    accuracy_difference: PairedDifference | None

    @property
    def metric_tests(self) -> tuple[MetricTest, MetricTest]:
        """The tests of Sharpe ratio and log loss."""
        return self.sharpe, self.log_loss


def pair_sentence(pair: RunPair, run_names: Sequence[str]) -> str:
    """Return the tests of two runs as a sentence."""
    texts = []
    for test in pair.metric_tests:
        name = "" if test.is_identical else f"{test.metric.name} "
        texts.append(name + test.difference_text(decimals=test.metric.decimals))
    return f"{run_names[pair.second_index]} against {run_names[pair.first_index]}: {'; '.join(texts)}."


def signed_number_text(value: float, *, decimals: int) -> str:
    """Return a number with its sign, a real minus; without a sign where it rounds to 0."""
    text = f"{value:+.{decimals}f}"
    return text.replace("-", MINUS_SIGN) if float(text) else text[1:]
