"""What several runs share: the sessions on which all of them traded, and the forecasts that all of them made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from quantlr.backtest.metrics import (
    Measured,
    Scored,
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
from quantlr.errors import UserError
from quantlr.report.figures.style import number, percent
from quantlr.report.stored import Stored
from quantlr.types import Array, BacktestResult, day

PROFIT = (final_equity, cagr, volatility, sharpe, max_drawdown, turnover_per_year)
HEADINGS = ("growth", "volatility", "Sharpe", "drawdown", "traded", "right calls", "log loss")
Numbers = dict[str, float | None]


def common_dates(runs: Sequence[Stored]) -> pd.DatetimeIndex:
    """Return the sessions on which every run earned something, or nothing.

    Raises
    ------
    UserError : there are none.
    """
    dates = pd.DatetimeIndex(runs[0].backtest.index)
    for run in runs[1:]:
        dates = dates.intersection(pd.DatetimeIndex(run.backtest.index))
    if dates.empty:
        spans = "; ".join(f"{run.name} {day(run.backtest.index[0])} to {day(run.backtest.index[-1])}" for run in runs)
        raise UserError(f"no session is common to all of these runs: {spans}; run them on the same years")
    return dates.sort_values()


def result_over(run: Stored, dates: pd.DatetimeIndex) -> BacktestResult:
    """Return what a run earned over some of its sessions; equity begins anew, at 1.

    Of single tickers a report's ``backtest.parquet`` says nothing, and nothing of them is in the result.
    """
    table = run.backtest.loc[dates]
    columns = {name: table[name].to_numpy(dtype=np.float64) for name in ("gross_return", "cost", "net_return")}
    return _result(
        dates, **columns, turnover=table["turnover"].to_numpy(dtype=np.float64),
        exposure=table["exposure"].to_numpy(dtype=np.float64), cash=run.cash,
    )  # fmt: skip


def benchmark_over(run: Stored, dates: pd.DatetimeIndex) -> BacktestResult:
    """Return what a run's benchmark earned over some of its sessions; NaN where it has none, turnover always."""
    equity = run.backtest["benchmark_equity"].to_numpy(dtype=np.float64)
    before = np.concatenate([[1.0], equity[:-1]])
    with np.errstate(divide="ignore", invalid="ignore"):
        earned = pd.Series(equity / before - 1.0, index=run.backtest.index).loc[dates].to_numpy()
    nothing, unknown = np.zeros(len(dates)), np.full(len(dates), np.nan)
    return _result(
        dates, gross_return=earned, cost=nothing, net_return=earned, turnover=unknown, exposure=unknown, cash=run.cash
    )


def _result(
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
        fills=dates.insert(0, dates[0]),  # the first fill is not in the files, and no number here asks for it
        price=np.empty((n + 1, 0)),
        weight=np.empty((n, 0)),
        ticker_gross=np.empty((n, 0)),
        ticker_cost=np.empty((n, 0)),
        gross_return=gross_return,
        cash_return=np.full(n, np.nan),
        cost=cost,
        net_return=net_return,
        equity=np.asarray(np.cumprod(np.maximum(1.0 + net_return, 0.0)), dtype=np.float64),
        exposure=exposure,
        turnover=turnover,
        cash=cash,
    )


def same_question(runs: Sequence[Stored]) -> bool:
    """Whether all runs forecast the same thing, so that their forecasts can be held against one another."""
    return all(run.config["label"] == runs[0].config["label"] for run in runs)


def common_forecasts(runs: Sequence[Stored]) -> list[Scored]:
    """Return each run's forecasts of what all have forecast, with one known outcome that all agree on."""
    tables = [run.forecasts.dropna(subset="up").set_index(["date", "ticker"]).sort_index() for run in runs]
    rows = tables[0].index
    for table in tables[1:]:
        rows = rows.intersection(table.index)
    up = np.stack([table.loc[rows, "up"].to_numpy(dtype=np.float64) for table in tables])
    rows = rows.sort_values()[(up == up[0]).all(axis=0)]
    session = pd.factorize(rows.get_level_values("date"))[0].astype(np.int64)
    ticker = pd.factorize(rows.get_level_values("ticker"), sort=True)[0].astype(np.int64)
    clustered = runs[0].horizon > 1 or len(np.unique(ticker)) > 1
    whole = Scored(
        log_odds=np.zeros(0), probability=np.zeros(0), up=np.zeros(0), base_rate=np.zeros(0), ticker=ticker,
        session=session, clustered=clustered, horizon=runs[0].horizon,
    )  # fmt: skip
    return [_scored(whole, table.loc[rows]) for table in tables]


def _scored(whole: Scored, table: pd.DataFrame) -> Scored:
    probability = table["probability"].to_numpy(dtype=np.float64)
    with np.errstate(divide="ignore"):
        log_odds = np.log(probability) - np.log1p(-probability)
    base_rate = table["base_rate"].to_numpy(dtype=np.float64)
    up = table["up"].to_numpy(dtype=np.float64)
    return replace(whole, log_odds=log_odds, probability=probability, up=up, base_rate=base_rate)


def losses(rows: Sequence[Scored]) -> Array:
    """Return the log loss of each forecast of each run, in nats: (forecasts, runs)."""
    return np.stack([np.logaddexp(0.0, one.log_odds) - one.up * one.log_odds for one in rows], axis=1)


def numbers(result: BacktestResult, rows: Scored | None, *, per_year: int) -> Numbers:
    """Return the headline numbers of a run, keyed as in ``metrics.json``."""
    measured = Measured(result, pd.DataFrame(), per_year)
    skill = {"accuracy": accuracy(rows), "log_loss": log_loss(rows)} if rows and len(rows.up) else {}
    return {metric.__name__: metric(measured) for metric in PROFIT} | {"accuracy": None, "log_loss": None} | skill


def to_beat(held: BacktestResult | None, rows: Sequence[Scored], *, per_year: int) -> Numbers:
    """Return the numbers that cost no thought: of buying and holding, and of the base rate as forecast.

    None where they are not the same for all runs, or there is nothing to take them from.
    """
    names = [*(metric.__name__ for metric in PROFIT), "accuracy", "log_loss"]
    profit = numbers(held, None, per_year=per_year) if held else {}
    alike = bool(rows) and len(rows[0].up) > 0 and all((one.base_rate == rows[0].base_rate).all() for one in rows)
    skill = {"accuracy": accuracy_base_rate(rows[0]), "log_loss": log_loss_base_rate(rows[0])} if alike else {}
    return dict.fromkeys(names) | profit | skill


def headline_cells(values: Numbers) -> tuple[str, ...]:
    """Return a run's numbers as text for people, in the order of `HEADINGS`."""
    return (
        percent(values["cagr"]),
        percent(values["volatility"]),
        number(values["sharpe"]),
        percent(values["max_drawdown"]),
        number(values["turnover_per_year"], decimals=1),
        percent(values["accuracy"]),
        number(values["log_loss"], decimals=5),
    )
