"""Runs over their common sessions and forecasts: metrics, differing settings, and the tests of two runs as text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import pandas as pd

from quantlr.backtest.metrics import BACKTEST_METRICS, FORECAST_METRICS, BacktestView, EvaluatedForecasts
from quantlr.core.errors import UserError
from quantlr.core.timing import iso_date
from quantlr.core.values import Array, BacktestResult
from quantlr.report.storage import SavedRun
from quantlr.report.style import MINUS_SIGN
from quantlr.report.summary import HEADLINE_METRICS, metric_text
from quantlr.stats.hac import SIGNIFICANCE_LEVEL
from quantlr.stats.paired import PairedDifference

COMPARED_METRICS = tuple(
    metric
    for section in ("backtest", "forecast")
    for metric in HEADLINE_METRICS
    if metric.section == section and metric.key != "trades"  # a report's files do not hold the trades of a period
)
"""The headline metrics that a comparison shows, performance first."""
HEADLINE_COLUMNS = tuple(metric.heading for metric in COMPARED_METRICS)
MetricValues = dict[str, float | None]


def config_differences(configs: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str | None, ...]]:
    """Return the dotted keys whose values differ between configs, and each value as text; None where there is none."""
    flat = [dict(_iter_flat_config_items(config)) for config in configs]
    keys = dict.fromkeys(key for settings in flat for key in settings if key != "name")  # changes no result
    values = {key: tuple(settings.get(key) for settings in flat) for key in keys}
    return {key: by_run for key, by_run in values.items() if len(set(by_run)) > 1}


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
    return _backtest_result_from_frame(run.backtest_frame.loc[dates], run.cash_return_per_session)


def benchmark_result_on_dates(run: SavedRun, dates: pd.DatetimeIndex) -> BacktestResult:
    """Return the backtest of a run's benchmark over some of its sessions; returns are NaN where it has none."""
    equity = run.backtest_frame["benchmark_equity"].to_numpy(dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        returns = pd.Series(equity / np.concatenate([[1.0], equity[:-1]]) - 1.0, index=run.backtest_frame.index)
    columns = {"gross_return": returns, "cost": 0.0, "net_return": returns, "turnover": np.nan, "exposure": np.nan}
    return _backtest_result_from_frame(pd.DataFrame(columns).loc[dates], run.cash_return_per_session)


def _backtest_result_from_frame(table: pd.DataFrame, session_cash_rate: float) -> BacktestResult:
    n, dates = len(table), pd.DatetimeIndex(table.index)
    columns = ("gross_return", "cost", "net_return", "turnover", "exposure")
    gross_return, cost, net_return, turnover, exposure = (table[name].to_numpy(dtype=np.float64) for name in columns)
    return BacktestResult(
        tickers=(),
        fill_dates=dates.insert(0, dates[0]),  # the files do not have the first fill, and no metric here needs it
        price=np.empty((n + 1, 0)),
        weight=np.empty((n, 0)),
        ticker_gross_return=np.empty((n, 0)),
        ticker_cost=np.empty((n, 0)),
        gross_return=gross_return,
        cash_return=np.full(n, np.nan),
        cost=cost,
        net_return=net_return,
        equity=np.asarray(np.cumprod(np.maximum(1.0 + net_return, 0.0)), dtype=np.float64),
        exposure=exposure,
        turnover=turnover,
        session_cash_rate=session_cash_rate,
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


def forecast_log_losses(evaluated_by_run: Sequence[EvaluatedForecasts]) -> Array:
    """Return the log loss of each forecast of each run, in nats: (forecasts, runs)."""
    return np.stack([np.logaddexp(0.0, run.log_odds) - run.up * run.log_odds for run in evaluated_by_run], axis=1)


def compared_metric_values(
    result: BacktestResult | None,
    evaluated: EvaluatedForecasts | None,
    *,
    sessions_per_year: int,
    suffix: str = "",
) -> MetricValues:
    """Return the compared metrics, keyed as in ``metrics.json``; None without a backtest or without forecasts.

    Accuracy and log loss are the metrics of these names followed by `suffix`, as "_base_rate".
    """
    values: MetricValues = dict.fromkeys(["final_equity", *(metric.key for metric in COMPARED_METRICS)])
    if result is not None:
        view = BacktestView(result, pd.DataFrame(), sessions_per_year)
        values |= {key: BACKTEST_METRICS[key](view) for key in values if key in BACKTEST_METRICS}
    if evaluated is not None and len(evaluated.up) > 0:
        scores = [metric.key for metric in COMPARED_METRICS if metric.section == "forecast"]
        values |= {key: FORECAST_METRICS[f"{key}{suffix}"](evaluated) for key in scores}
    return values


def shared_baseline_metric_values(
    benchmark_result: BacktestResult | None, evaluated_by_run: Sequence[EvaluatedForecasts], *, sessions_per_year: int
) -> MetricValues:
    """Return the metrics of the baselines: buy and hold, majority class, base-rate forecast.

    None where a baseline is not the same for all runs, or there is nothing to compute it from.
    """
    first = evaluated_by_run[0] if evaluated_by_run else None
    if first and not all((run.base_rate == first.base_rate).all() for run in evaluated_by_run):
        first = None
    return compared_metric_values(benchmark_result, first, sessions_per_year=sessions_per_year, suffix="_base_rate")


def headline_cell_texts(metric_values: MetricValues) -> tuple[str, ...]:
    """Return a run's metrics as text, in the order of `HEADLINE_COLUMNS`."""
    return tuple(metric_text(metric.key, metric_values[metric.key]) for metric in COMPARED_METRICS)


@dataclass(frozen=True, slots=True)
class RunPair:
    """Two runs, and the second's metrics less the first's.

    Attributes
    ----------
    first_index, second_index : positions of the two runs.
    sharpe_difference, mean_return_difference : per year; None where a value is undefined or there are too few common
        sessions.
    log_loss_difference, accuracy_difference : over the common forecasts, in nats and as a fraction; None likewise, or
        where the runs forecast different labels.
    has_same_returns, has_same_forecasts : whether the two runs are equal in every session or forecast.
    sharpe_adjusted_p, log_loss_adjusted_p : p values adjusted for all tests of the comparison.
    """

    first_index: int
    second_index: int
    sharpe_difference: PairedDifference | None
    mean_return_difference: PairedDifference | None
    log_loss_difference: PairedDifference | None
    accuracy_difference: PairedDifference | None
    has_same_returns: bool
    has_same_forecasts: bool
    sharpe_adjusted_p: float | None
    log_loss_adjusted_p: float | None

    @property
    def is_sharpe_significant(self) -> bool:
        """Whether the Sharpe ratios differ significantly (5 %, adjusted)."""
        return self.sharpe_adjusted_p is not None and self.sharpe_adjusted_p < SIGNIFICANCE_LEVEL

    @property
    def is_log_loss_significant(self) -> bool:
        """Whether the log losses differ significantly (5 %, adjusted)."""
        return self.log_loss_adjusted_p is not None and self.log_loss_adjusted_p < SIGNIFICANCE_LEVEL


def pair_sentence(pair: RunPair, run_names: Sequence[str]) -> str:
    """Return the tests of two runs as a sentence."""
    sharpe_text, log_loss_text = sharpe_difference_text(pair), log_loss_difference_text(pair)
    if not pair.has_same_returns:
        sharpe_text = f"Sharpe ratio {sharpe_text}"
    if not pair.has_same_forecasts:
        log_loss_text = f"log loss {log_loss_text}"
    first, second = run_names[pair.first_index], run_names[pair.second_index]
    return f"{second} against {first}: {sharpe_text}; {log_loss_text}."


def sharpe_difference_text(pair: RunPair) -> str:
    """Return the difference of Sharpe ratios with its interval, p value and significance."""
    if pair.has_same_returns:
        return "the same returns in every session"
    return _significance_text(pair.sharpe_difference, pair.sharpe_adjusted_p, decimals=2)


def log_loss_difference_text(pair: RunPair, *, unit_nats: float = 1.0, decimals: int = 5) -> str:
    """Return the difference of log losses, in units of `unit_nats`, with its interval, p value and significance."""
    if pair.has_same_forecasts:
        return "the same forecasts"
    scaled = pair.log_loss_difference and pair.log_loss_difference.scaled(1.0 / unit_nats)
    return _significance_text(scaled, pair.log_loss_adjusted_p, decimals=decimals)


def _significance_text(difference: PairedDifference | None, p_value: float | None, *, decimals: int) -> str:
    if difference is None or p_value is None:
        return "not compared"
    numbers = (difference.value, difference.low95, difference.high95)
    value, low, high = (format_signed(number, decimals=decimals) for number in numbers)
    p_text = "p < 0.001" if p_value < 0.001 else f"p = {p_value:.{3 if p_value < 0.1 else 2}f}"
    significance = "significant (5%)" if p_value < SIGNIFICANCE_LEVEL else "not significant"
    return f"{value} ({low} to {high}, {p_text}): {significance}"


def format_signed(value: float, *, decimals: int) -> str:
    """Return a number with its sign, a real minus; without a sign where it rounds to 0."""
    text = f"{value:+.{decimals}f}"
    return text.replace("-", MINUS_SIGN) if float(text) else text[1:]
