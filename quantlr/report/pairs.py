"""What several runs share: the sessions on which all of them traded, and the forecasts that all of them made."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from quantlr.backtest.metrics import (
    BacktestView,
    EvaluatedForecasts,
    accuracy,
    accuracy_base_rate,
    cagr,
    final_equity,
    log_loss,
    log_loss_base_rate,
    max_drawdown,
    sharpe,
    turnover_per_year,
    volatility,
)
from quantlr.core.arrays import Array
from quantlr.core.errors import UserError
from quantlr.core.progress import iso_date
from quantlr.core.values import BacktestResult
from quantlr.report.stored import SavedRun
from quantlr.report.style import MINUS_SIGN, number_text, percent_text
from quantlr.stats.hac import SIGNIFICANCE_LEVEL
from quantlr.stats.paired import PairedDifference, holm_adjusted_p_values

RUN_NAME_KEY = "name"
"""The key that says what a run is called, not what it does."""


@dataclass(frozen=True, slots=True)
class ConfigDifference:
    """A key of the config and what each run has there, as text; None where a run has no such key."""

    key: str
    values_by_run: tuple[str | None, ...]


def config_differences(configs: Sequence[Mapping[str, Any]]) -> tuple[ConfigDifference, ...]:
    """Return the keys whose values are not the same in all configs, in the order in which configs have them."""
    flat = [dict(_iter_flat_items(config)) for config in configs]
    keys = dict.fromkeys(key for settings in flat for key in settings if key != RUN_NAME_KEY)
    found = (ConfigDifference(key, tuple(settings.get(key) for settings in flat)) for key in keys)
    return tuple(setting for setting in found if len(set(setting.values_by_run)) > 1)


def _iter_flat_items(value: Any, key_prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield dotted keys and their values as text; a list of plain values is one value."""
    below = f"{key_prefix}." if key_prefix else ""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _iter_flat_items(item, f"{below}{name}")
    elif isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        for at, item in enumerate(value):
            yield from _iter_flat_items(item, f"{below}{at}")
    else:
        yield key_prefix, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


PERFORMANCE_METRICS = (final_equity, cagr, volatility, sharpe, max_drawdown, turnover_per_year)
HEADLINE_COLUMNS = ("growth", "volatility", "Sharpe", "drawdown", "traded", "right calls", "log loss")
MetricValues = dict[str, float | None]


def common_dates(runs: Sequence[SavedRun]) -> pd.DatetimeIndex:
    """Return the sessions on which every run earned something, or nothing.

    Raises
    ------
    UserError : there are none.
    """
    dates = pd.DatetimeIndex(runs[0].backtest_frame.index)
    for run in runs[1:]:
        dates = dates.intersection(pd.DatetimeIndex(run.backtest_frame.index))
    if dates.empty:
        spans = "; ".join(
            f"{run.name} {iso_date(run.backtest_frame.index[0])} to {iso_date(run.backtest_frame.index[-1])}"
            for run in runs
        )
        raise UserError(f"no session is common to all of these runs: {spans}; run them on the same years")
    return dates.sort_values()


def result_on_dates(run: SavedRun, dates: pd.DatetimeIndex) -> BacktestResult:
    """Return what a run earned over some of its sessions; equity begins anew, at 1.

    Of single tickers a report's ``backtest.parquet`` says nothing, and nothing of them is in the result.
    """
    table = run.backtest_frame.loc[dates]
    columns = {name: table[name].to_numpy(dtype=np.float64) for name in ("gross_return", "cost", "net_return")}
    return _make_backtest_result(
        dates, **columns, turnover=table["turnover"].to_numpy(dtype=np.float64),
        exposure=table["exposure"].to_numpy(dtype=np.float64), cash=run.cash_return_per_session,
    )  # fmt: skip


def benchmark_on_dates(run: SavedRun, dates: pd.DatetimeIndex) -> BacktestResult:
    """Return what a run's benchmark earned over some of its sessions; NaN where it has none, turnover always."""
    equity = run.backtest_frame["benchmark_equity"].to_numpy(dtype=np.float64)
    before = np.concatenate([[1.0], equity[:-1]])
    with np.errstate(divide="ignore", invalid="ignore"):
        earned = pd.Series(equity / before - 1.0, index=run.backtest_frame.index).loc[dates].to_numpy()
    nothing, unknown = np.zeros(len(dates)), np.full(len(dates), np.nan)
    return _make_backtest_result(
        dates,
        gross_return=earned,
        cost=nothing,
        net_return=earned,
        turnover=unknown,
        exposure=unknown,
        cash=run.cash_return_per_session,
    )


def _make_backtest_result(
    dates: pd.DatetimeIndex,
    *,
    gross_return: Array,
    cost: Array,
    net_return: Array,
    turnover: Array,
    exposure: Array,
    cash: float,
) -> BacktestResult:
    n = len(dates)
    return BacktestResult(
        tickers=(),
        fill_dates=dates.insert(0, dates[0]),  # the first fill is not in the files, and no number here asks for it
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
        session_cash_rate=cash,
    )


def has_same_label(runs: Sequence[SavedRun]) -> bool:
    """Whether all runs forecast the same thing, so that their forecasts can be held against one another."""
    return all(run.config["label"] == runs[0].config["label"] for run in runs)


def common_evaluated_forecasts(runs: Sequence[SavedRun]) -> list[EvaluatedForecasts]:
    """Return each run's forecasts of what all have forecast, with one known outcome that all agree on."""
    tables = [run.forecast_frame.dropna(subset="up").set_index(["date", "ticker"]).sort_index() for run in runs]
    rows = tables[0].index
    for table in tables[1:]:
        rows = rows.intersection(table.index)
    up = np.stack([table.loc[rows, "up"].to_numpy(dtype=np.float64) for table in tables])
    rows = rows.sort_values()[(up == up[0]).all(axis=0)]
    session = pd.factorize(rows.get_level_values("date"))[0].astype(np.int64)
    ticker = pd.factorize(rows.get_level_values("ticker"), sort=True)[0].astype(np.int64)
    clustered = runs[0].horizon > 1 or len(np.unique(ticker)) > 1
    whole = EvaluatedForecasts(
        log_odds=np.zeros(0), probability=np.zeros(0), up=np.zeros(0), base_rate=np.zeros(0), ticker=ticker,
        session=session, is_clustered=clustered, horizon=runs[0].horizon,
    )  # fmt: skip
    return [_evaluated_from_table(whole, table.loc[rows]) for table in tables]


def _evaluated_from_table(template: EvaluatedForecasts, table: pd.DataFrame) -> EvaluatedForecasts:
    probability = table["probability"].to_numpy(dtype=np.float64)
    with np.errstate(divide="ignore"):
        log_odds = np.log(probability) - np.log1p(-probability)
    base_rate = table["base_rate"].to_numpy(dtype=np.float64)
    up = table["up"].to_numpy(dtype=np.float64)
    return replace(template, log_odds=log_odds, probability=probability, up=up, base_rate=base_rate)


def forecast_log_losses(evaluated_by_run: Sequence[EvaluatedForecasts]) -> Array:
    """Return the log loss of each forecast of each run, in nats: (forecasts, runs)."""
    return np.stack([np.logaddexp(0.0, one.log_odds) - one.up * one.log_odds for one in evaluated_by_run], axis=1)


def headline_metrics(
    result: BacktestResult, evaluated: EvaluatedForecasts | None, *, sessions_per_year: int
) -> MetricValues:
    """Return the headline numbers of a run, keyed as in ``metrics.json``."""
    measured = BacktestView(result, pd.DataFrame(), sessions_per_year)
    skill = (
        {"accuracy": accuracy(evaluated), "log_loss": log_loss(evaluated)} if evaluated and len(evaluated.up) else {}
    )
    return (
        {metric.__name__: metric(measured) for metric in PERFORMANCE_METRICS}
        | {"accuracy": None, "log_loss": None}
        | skill
    )


def baseline_metric_values(
    benchmark_result: BacktestResult | None, evaluated_by_run: Sequence[EvaluatedForecasts], *, sessions_per_year: int
) -> MetricValues:
    """Return the numbers that cost no thought: of buying and holding, and of the base rate as forecast.

    None where they are not the same for all runs, or there is nothing to take them from.
    """
    names = [*(metric.__name__ for metric in PERFORMANCE_METRICS), "accuracy", "log_loss"]
    profit = headline_metrics(benchmark_result, None, sessions_per_year=sessions_per_year) if benchmark_result else {}
    alike = (
        bool(evaluated_by_run)
        and len(evaluated_by_run[0].up) > 0
        and all((one.base_rate == evaluated_by_run[0].base_rate).all() for one in evaluated_by_run)
    )
    skill = (
        {"accuracy": accuracy_base_rate(evaluated_by_run[0]), "log_loss": log_loss_base_rate(evaluated_by_run[0])}
        if alike
        else {}
    )
    return dict.fromkeys(names) | profit | skill


def headline_cell_texts(metric_values: MetricValues) -> tuple[str, ...]:
    """Return a run's numbers as text for people, in the order of `HEADINGS`."""
    return (
        percent_text(metric_values["cagr"]),
        percent_text(metric_values["volatility"]),
        number_text(metric_values["sharpe"]),
        percent_text(metric_values["max_drawdown"]),
        number_text(metric_values["turnover_per_year"], decimals=1),
        percent_text(metric_values["accuracy"]),
        number_text(metric_values["log_loss"], decimals=5),
    )


@dataclass(frozen=True, slots=True)
class RunPair:
    """Two runs, and how far the second stands above the first.

    Attributes
    ----------
    first, second : their positions.
    sharpe, mean_return : differences per year; None where a number is undefined or there is too little to test.
    log_loss, accuracy : differences over the common forecasts, in nats and as a fraction; None likewise, or where the
        runs answer different questions.
    same_returns, same_forecasts : whether there is no difference at all.
    sharpe_p, log_loss_p : p values adjusted for everything that is tested beside them.
    """

    first_index: int
    second_index: int
    sharpe_difference: PairedDifference | None
    mean_return_difference: PairedDifference | None
    log_loss_difference: PairedDifference | None
    accuracy_difference: PairedDifference | None
    has_same_returns: bool
    has_same_forecasts: bool
    sharpe_adjusted_p: float | None = None
    log_loss_adjusted_p: float | None = None

    @property
    def is_sharpe_significant(self) -> bool:
        """Whether the Sharpe ratios differ by more than luck."""
        return self.sharpe_adjusted_p is not None and self.sharpe_adjusted_p < SIGNIFICANCE_LEVEL

    @property
    def is_log_loss_significant(self) -> bool:
        """Whether the log losses differ by more than luck."""
        return self.log_loss_adjusted_p is not None and self.log_loss_adjusted_p < SIGNIFICANCE_LEVEL


def with_adjusted_p_values(pairs: Sequence[RunPair]) -> tuple[RunPair, ...]:
    """Return pairs with the p values of their Sharpe ratios and log losses adjusted together, by Holm's method.

    What is one and the same is not tested, and makes no other test harder.
    """
    tested = [
        (at, name, found.p_value)
        for at, pair in enumerate(pairs)
        for name, found, same in (
            ("sharpe_p", pair.sharpe_difference, pair.has_same_returns),
            ("log_loss_p", pair.log_loss_difference, pair.has_same_forecasts),
        )
        if found is not None and not same
    ]
    found: list[dict[str, float]] = [{} for _ in pairs]
    for (at, name, _), p_value in zip(tested, holm_adjusted_p_values([p_value for *_, p_value in tested]), strict=True):
        found[at][name] = p_value
    return tuple(
        replace(pair, sharpe_adjusted_p=values.get("sharpe_p"), log_loss_adjusted_p=values.get("log_loss_p"))
        for pair, values in zip(pairs, found, strict=True)
    )


def pair_sentence(pair: RunPair, run_names: Sequence[str]) -> str:
    """Return what can be said of two runs, for people."""
    return f"{run_names[pair.second_index]} against {run_names[pair.first_index]}: {labeled_sharpe_text(pair)}; {labeled_log_loss_text(pair)}."


def labeled_sharpe_text(pair: RunPair) -> str:
    """Return whether the second earned more for its risk."""
    words = sharpe_difference_text(pair)
    return words if pair.has_same_returns else f"Sharpe ratio {words}"


def labeled_log_loss_text(pair: RunPair) -> str:
    """Return whether the second knew more; a lower log loss is a better forecast."""
    words = log_loss_difference_text(pair)
    return words if pair.has_same_forecasts else f"log loss {words}"


def sharpe_difference_text(pair: RunPair) -> str:
    """Return the difference of Sharpe ratios and what it is worth."""
    return (
        "the same returns in every session"
        if pair.has_same_returns
        else _significance_text(pair.sharpe_difference, pair.sharpe_adjusted_p, decimals=2)
    )


def log_loss_difference_text(pair: RunPair, *, unit_nats: float = 1.0, decimals: int = 5) -> str:
    """Return the difference of log losses, in `unit` nats, and what it is worth."""
    scaled = pair.log_loss_difference and pair.log_loss_difference.scaled(1.0 / unit_nats)
    return (
        "the same forecasts"
        if pair.has_same_forecasts
        else _significance_text(scaled, pair.log_loss_adjusted_p, decimals=decimals)
    )


def _significance_text(difference: PairedDifference | None, p_value: float | None, *, decimals: int) -> str:
    if difference is None or p_value is None:
        return "not compared"
    judged = "larger than luck" if p_value < SIGNIFICANCE_LEVEL else "may be luck"
    return f"{interval_and_p_text(difference, p_value, decimals=decimals)}: {judged}"


def interval_and_p_text(difference: PairedDifference, p_value: float, *, decimals: int) -> str:
    """Return a difference with its interval and adjusted p value."""
    low, high = (format_signed(bound, decimals=decimals) for bound in (difference.low95, difference.high95))
    p = "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}" if p_value < 0.1 else f"p = {p_value:.2f}"
    return f"{format_signed(difference.value, decimals=decimals)} ({low} to {high}, {p})"


def format_signed(value: float, *, decimals: int) -> str:
    """Return a number with its sign, a real minus; no sign where it rounds to 0."""
    text = f"{value:+.{decimals}f}"
    return text.replace("-", MINUS_SIGN) if float(text) else text[1:]
