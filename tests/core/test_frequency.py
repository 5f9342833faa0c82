"""Sessions per year counted from dates, and what follows from them: CAGR, interest, borrow, volatility."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import quantlr
from quantlr.backtest.costs import ExecutionSpec
from quantlr.backtest.engine import backtest_positions
from quantlr.backtest.metric_types import BacktestView
from quantlr.backtest.metrics import cagr
from quantlr.backtest.policies import make_decision_context
from quantlr.backtest.report_spec import ReportSpec
from quantlr.backtest.rolling import monthly_returns
from quantlr.core.errors import DataError
from quantlr.core.frequency import CountedSessionsPerYear, count_sessions
from quantlr.core.values import Forecasts, Positions, Prices
from quantlr.data.prices import prices_from_ticker_bars
from quantlr.report.context import PageContext

EXCHANGE_HOLIDAYS = pd.offsets.CustomBusinessDay(holidays=list(pd.bdate_range("1999-01-01", "2030-12-31")[::29]))
"""Of 261 weekdays a year 9 are holidays."""


def counted(dates: pd.DatetimeIndex) -> CountedSessionsPerYear:
    return count_sessions(dates, np.arange(len(dates), dtype=np.int64)[:, None])


def prices_on(*indexes: pd.DatetimeIndex) -> Prices:
    bars = {}
    for number, dates in enumerate(indexes):
        close = 100.0 * np.exp(np.cumsum(np.random.default_rng(number).normal(0.0004, 0.01, len(dates))))
        columns = dict.fromkeys(("open", "high", "low", "close"), close)
        bars[f"T{number}"] = pd.DataFrame(columns, index=pd.DatetimeIndex(dates, name="date"))
    return prices_from_ticker_bars(bars, source="", sha256="", notes=())


@pytest.mark.parametrize(
    ("freq", "years", "number"),
    [
        (EXCHANGE_HOLIDAYS, 6, 252), ("B", 6, 260), ("D", 6, 365), ("W-FRI", 6, 52), ("MS", 6, 12), ("BME", 6, 12),
        ("QS", 6, 4), (pd.offsets.CustomBusinessDay(weekmask="Mon Tue Wed Thu Fri Sat"), 6, 312),
        (EXCHANGE_HOLIDAYS, 1, 252), ("B", 1, 252), ("D", 1, 365), ("W-MON", 1, 52), ("MS", 1, 12),
        (pd.offsets.CustomBusinessDay(weekmask="Sun Mon Tue Wed Thu"), 1, 252),
        (pd.offsets.CustomBusinessDay(weekmask="Mon Tue Wed Thu Fri Sat"), 1, 312),
    ],
)  # fmt: skip
def test_number_of_each_kind_of_bars(freq: Any, years: int, number: int) -> None:
    dates = pd.date_range("2010-01-04", periods=1 + years * 366, freq="D")
    assert counted(pd.date_range(dates[0], dates[-1], freq=freq)) == number


def test_uncommon_number_is_rounded_and_holes_do_not_count() -> None:
    """245 sessions a year: of 261 weekdays every 16th is missing. A hole of three years changes nothing."""
    weekdays = pd.bdate_range("2005-01-03", "2015-12-31")
    dates = weekdays[np.arange(len(weekdays)) % 16 != 0]
    assert counted(dates) == round(365.25 * (len(dates) - 1) / (dates[-1] - dates[0]).days) == 245
    with_hole = dates[(dates.year < 2008) | (dates.year > 2010)]
    assert abs(counted(with_hole).count - counted(dates).count) < 0.5


def test_parts_of_prices_keep_the_number_of_the_whole() -> None:
    prices = prices_on(pd.date_range("2010-01-01", "2014-12-31", freq="D"), pd.bdate_range("2010-01-01", "2014-12-31"))
    number = prices.before_session(30).counted_sessions_per_year
    assert number == 365
    assert number is not None
    assert number.by_ticker == (365, 260)
    copy = pickle.loads(pickle.dumps(number))  # noqa: S301 - our own bytes
    assert (copy, copy.count, copy.by_ticker) == (number, number.count, number.by_ticker)


def test_number_over_a_tenth_from_the_count_is_an_error_with_both() -> None:
    weekly = prices_on(pd.date_range("2010-01-01", periods=300, freq="W-FRI"))
    with pytest.raises(DataError, match=r"252, and the prices have 52\.2 sessions a year") as error:
        ReportSpec(sessions_per_year=252).sessions_in_year(weekly)
    assert error.value.key == "report.sessions_per_year"
    assert ReportSpec(sessions_per_year=50).sessions_in_year(weekly) == 50
    assert ReportSpec().sessions_in_year(weekly) == 52


@pytest.mark.parametrize("freq", ["W-FRI", "MS", "D", "B"])
def test_cagr_interest_and_borrow_follow_the_calendar(freq: str) -> None:
    """A year of cash at 5 % earns 5 %, and a borrow of 2 % costs 2 %, whatever the frequency."""
    prices = prices_on(pd.date_range("2010-01-01", "2016-01-01", freq=freq))
    flat = replace(prices, close=np.full_like(prices.close, 7.0))
    execution = ExecutionSpec(
        commission_bps=0.0, slippage_bps=0.0, cash_rate=0.05, borrow_bps_per_year=200.0, fill="close"
    )
    per_year = ReportSpec().sessions_in_year(flat)
    for weight, rate in ((0.0, 0.05), (1.0, 0.0)):
        positions = Positions(flat.tickers, flat.sessions, np.full((len(flat.sessions), 1), weight))
        result = backtest_positions(positions, flat, execution, sessions_per_year=per_year)
        assert cagr(BacktestView(result, sessions_per_year=per_year)) == pytest.approx(rate, abs=1e-12)
    short = Positions(flat.tickers, flat.sessions, np.full((len(flat.sessions), 1), -1.0))
    result = backtest_positions(short, flat, execution, sessions_per_year=per_year)
    assert np.prod(1.0 + result.cost) == pytest.approx(1.02 ** ((flat.sessions[-1] - flat.sessions[0]).days / 365.25))


def test_own_volatility_counts_the_ticker_own_sessions() -> None:
    prices = prices_on(pd.date_range("2010-01-01", "2014-12-31", freq="D"), pd.bdate_range("2010-01-01", "2014-12-31"))
    run = quantlr.run({
        "data": {"source": {"kind": "sample"}, "tickers": ["AAPL"]},
        "features": [{"kind": "lagged_returns", "lags": [1]}],
    })  # fmt: skip
    rows: Forecasts = replace(
        run.run_data.forecasts, tickers=prices.tickers, sessions=prices.sessions, ticker=np.array([0, 1]),
        session=np.array([100, 100]),
    )  # fmt: skip
    per_year = ReportSpec().sessions_in_year(prices)
    context = make_decision_context(prices, rows, ExecutionSpec(), sessions_per_year=per_year)
    assert np.asarray(context.sessions_per_year).tolist() == [365, 260]


def test_weekly_run_is_annualised_by_the_calendar(tmp_path: Any) -> None:
    """Buy and hold of weekly bars: CAGR from the dates, Sharpe ratio with 52 weeks, both by arithmetic."""
    dates = pd.date_range("2008-01-04", periods=400, freq="W-FRI")
    close = 100 * np.exp(np.cumsum(np.random.default_rng(5).normal(0.001, 0.02, len(dates))))
    pd.DataFrame({"Date": dates, "Close": close}).to_csv(tmp_path / "x.csv", index=False)
    run = quantlr.run({
        "data": {"source": {"kind": "file", "path": str(tmp_path / "x.csv")}, "tickers": ["X"]},
        "features": [{"kind": "lagged_returns", "lags": [1]}], "walk_forward": {"train": 100},
    })  # fmt: skip
    benchmark, returns = run.metrics["backtest"]["benchmark"], run.benchmark_returns
    fills = run.run_data.result.fill_dates
    growth = float(np.prod(1.0 + returns.to_numpy()))
    assert run.metrics["data"]["sessions_per_year"] == 52
    assert benchmark["cagr"] == pytest.approx(growth ** (365.25 / (fills[-1] - fills[0]).days) - 1, rel=1e-12)
    assert benchmark["sharpe"] == pytest.approx(returns.mean() / returns.std() * 52**0.5, rel=1e-9)
    assert "sessions_per_year: auto" in run.config.to_yaml()
    context = PageContext.from_run(run.config, run.run_data, run.metrics, run.notes)
    assert "refitted every 4 weeks, horizon 1 week;" in context.setup_text
    months = (1 + returns).groupby(returns.index.to_period("M")).prod() - 1  # type: ignore[attr-defined]
    benchmark_result = run.run_data.result.benchmark
    assert benchmark_result is not None
    table = monthly_returns(benchmark_result).to_numpy().ravel()
    np.testing.assert_allclose(table[~np.isnan(table)], months.to_numpy(), rtol=1e-12)
