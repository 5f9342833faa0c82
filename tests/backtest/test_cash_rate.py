from __future__ import annotations

import datetime as dt
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import quantlr
from hypothesis import given
from hypothesis import strategies as st
from quantlr.backtest.attribution import ticker_backtest
from quantlr.backtest.cash_rate import DatedRates, annual_cash_rates, read_cash_rate
from quantlr.backtest.costs import ExecutionSpec
from quantlr.backtest.engine import backtest_with_benchmark
from quantlr.backtest.policies import make_decision_context
from quantlr.config.run_config import load_config
from quantlr.core.errors import ConfigError, DataError
from quantlr.core.frequency import CountedSessionsPerYear
from quantlr.core.values import BacktestResult, Positions, Prices

from markets import forecasts, random_walk_prices
from oracles import trade_session_by_session

CONFIG: dict[str, Any] = {
    "name": "rates",
    "data": {"source": {"kind": "sample"}, "tickers": ["AAPL", "IBM"], "start": "2005-01-03", "end": "2007-12-31"},
    "features": [{"kind": "lagged_returns", "lags": [1]}],
    "walk_forward": {"train": 250, "refit_every": 100},
    "policy": {"kind": "expected_value"},
}
RATES = "DATE,RATE\n2004-12-31,0.02\n2006-06-30,.\n2006-12-29,0.05\n2007-07-02,0.05\n2007-09-18,0.0475\n"


def positions_for(prices: Prices, seed: int) -> Positions:
    weight = np.random.default_rng(seed).uniform(-0.4, 0.4, (len(prices.sessions), len(prices.tickers)))
    weight[:5] = np.nan
    return Positions(prices.tickers, prices.sessions, weight)


def random_rates(seed: int) -> DatedRates:
    """Rates at about a third of all days, weekends included, from the day before the first session."""
    rng = np.random.default_rng(seed)
    days = pd.date_range("2010-01-01", periods=120)[np.flatnonzero(rng.random(120) < 0.3)]
    days = days.union(pd.DatetimeIndex(["2010-01-03"]))
    return tuple((day.date(), float(rng.uniform(0, 0.2))) for day in days)


def rate_before(rates: DatedRates, date: pd.Timestamp) -> float:
    newest = 0.0
    for rate_date, rate in rates:
        if rate_date < date.date():
            newest = rate
    return newest


@given(seed=st.integers(0, 100_000), fill=st.sampled_from(["next_close", "next_open", "close"]))
def test_each_session_earns_the_newest_rate_dated_before_it(seed: int, fill: str) -> None:
    """Against a loop over sessions without interest, to which each session's own rate on the cash is added."""
    prices, rates = random_walk_prices(seed, n_sessions=60, n_tickers=2), random_rates(seed)
    positions = positions_for(prices, seed)
    spec: dict[str, Any] = {"fill": fill, "cash_rate": rates}
    result = backtest_with_benchmark(positions, prices, ExecutionSpec(**spec), sessions_per_year=252)
    loop = trade_session_by_session(positions, prices, ExecutionSpec(fill=spec["fill"]), sessions_per_year=252)
    for session, date in enumerate(result.sessions):
        interest = (1.0 - sum(loop.weight[session])) * rate_before(rates, date) / 252
        assert result.gross_return[session] == pytest.approx(loop.gross[session] + interest, rel=1e-9, abs=1e-14)


def test_dated_rates_are_effective_by_the_calendar_where_sessions_are_counted() -> None:
    prices, rates = random_walk_prices(7, n_sessions=60, n_tickers=2), random_rates(7)
    execution, per_year = ExecutionSpec(cash_rate=rates), CountedSessionsPerYear(252)
    result = backtest_with_benchmark(positions_for(prices, 7), prices, execution, sessions_per_year=per_year)
    days = np.diff(result.fill_dates.to_numpy()) / np.timedelta64(1, "D")
    annual = np.array([rate_before(rates, date) for date in result.sessions])
    np.testing.assert_allclose(result.session_cash_rate, (1.0 + annual) ** (days / 365.25) - 1.0, rtol=1e-9)
    sample = forecasts([0.6] * 40, ticker=[0] * 40, session=list(range(15, 55)))
    context = make_decision_context(prices, sample, execution, sessions_per_year=per_year)
    annual = np.array([rate_before(rates, date) for date in sample.sessions[sample.session]])
    np.testing.assert_allclose(context.horizon_interest, (1.0 + annual) ** (sample.horizon / 252) - 1.0, rtol=1e-9)


@given(seed=st.integers(0, 100_000), cut=st.integers(5, 55))
def test_later_rates_change_nothing_before(seed: int, cut: int) -> None:
    prices, rates = random_walk_prices(seed, n_sessions=60, n_tickers=2), random_rates(seed)
    cut_date = prices.sessions[cut].date()
    changed = tuple((date, 0.9 if date >= cut_date else rate) for date, rate in rates)
    sample = forecasts([0.6] * 40, ticker=[0] * 40, session=list(range(15, 55)))

    def earned_and_context(cash_rate: DatedRates) -> tuple[Any, Any]:
        execution = ExecutionSpec(cash_rate=cash_rate)
        result = backtest_with_benchmark(positions_for(prices, seed), prices, execution, sessions_per_year=252)
        context = make_decision_context(prices, sample, execution, sessions_per_year=252)
        return result.cash_return[result.sessions <= prices.sessions[cut]], context.horizon_interest

    was, became = earned_and_context(rates), earned_and_context(changed)
    np.testing.assert_array_equal(was[0], became[0])
    past = sample.sessions[sample.session] <= pd.Timestamp(cut_date)
    np.testing.assert_array_equal(was[1][past], became[1][past])


def test_a_constant_series_equals_the_number() -> None:
    prices = random_walk_prices(4, n_sessions=60, n_tickers=2)
    rates: list[Any] = [0.03, ((dt.date(2009, 1, 1), 0.03),)]

    def results(cash_rate: Any) -> tuple[BacktestResult, BacktestResult]:
        execution = ExecutionSpec(cash_rate=cash_rate)
        result = backtest_with_benchmark(positions_for(prices, 4), prices, execution, sessions_per_year=252)
        return result, ticker_backtest(result, 1, slice(10, 30))

    for number, series in zip(*map(results, rates), strict=True):
        np.testing.assert_array_equal(number.net_return, series.net_return)
        np.testing.assert_array_equal(number.cash_return, series.cash_return)


def test_gaps_carry_the_last_rate_forward(tmp_path: Path) -> None:
    (tmp_path / "rates.csv").write_text(RATES)
    rates = read_cash_rate(str(tmp_path / "rates.csv"))
    expected = ((dt.date(2004, 12, 31), 0.02), (dt.date(2006, 12, 29), 0.05), (dt.date(2007, 9, 18), 0.0475))
    assert rates == expected
    dates = pd.DatetimeIndex(["2005-01-03", "2006-12-29", "2007-01-03", "2007-09-18", "2007-09-19"])
    np.testing.assert_array_equal(annual_cash_rates(rates, dates), [0.02, 0.02, 0.05, 0.05, 0.0475])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2005-01-03,0.02\n03/01/2006,0.02\n", "rates.csv:2: needs a date as YYYY-MM-DD, found '03/01/2006'"),
        ("date,rate\n2005-01-03,two\n", "rates.csv:2: needs a number, found 'two'"),
        (
            "date,rate\n2005-01-03,5.31\n",
            r"rates.csv:2: needs a fraction per year from -0.5 to 1 \(0.03 is 3",
        ),
        ("2005-01-03,0.02\n2005-01-03,0.03\n", "rates.csv:2: needs a date after the one before, 2005-01-03"),
        ("2005-01-03,0.02,7\n", "rates.csv:1: needs a date and a rate, found 3 values"),
        ("date,rate\n", "needs at least one date with its rate, found none"),
    ],
)
def test_errors_name_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "rates.csv").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config({**CONFIG, "execution": {"cash_rate": str(tmp_path / "rates.csv")}})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "needed a regular file, found a named pipe"),
        (b"\xff\xfe2\x000\x00", "needed a CSV of dates and rates, found bytes that are not UTF-8"),
        (b"2005-01-03,0." + b"0" * 200_000, "needed a CSV of dates and rates, found: Error: field larger"),
    ],
)
def test_unreadable_file_of_rates_is_an_error_of_its_key(tmp_path: Path, content: bytes | None, message: str) -> None:
    file = tmp_path / "rates.csv"
    if content is None:
        os.mkfifo(file)
    else:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"execution\.cash_rate: .*rates\.csv: {message}"):
        load_config({**CONFIG, "execution": {"cash_rate": str(file)}})


@pytest.mark.parametrize("value", [True, None, {}, -0.6, "none.csv", [[1]], []])
def test_what_is_no_rate_is_one_error_of_its_key(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"execution\.cash_rate: [^\n]*$") as error:
        load_config({**CONFIG, "execution": {"cash_rate": value}})
    assert "\n" not in str(error.value)


def test_rates_that_begin_too_late_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "rates.csv").write_text("2006-12-29,0.05\n")
    with pytest.raises(DataError, match=r"the first rate is of 2006-12-29, and one before 2005-12-30 is needed"):
        quantlr.run(CONFIG, overrides={"execution.cash_rate": str(tmp_path / "rates.csv")})


@pytest.mark.usefixtures("without_drawing")
def test_run_with_rates_is_saved_compared_and_repeated(tmp_path: Path) -> None:
    (tmp_path / "rates.csv").write_text(RATES)
    run = quantlr.run(CONFIG, overrides={"execution.cash_rate": str(tmp_path / "rates.csv")}, output=tmp_path)
    again = quantlr.run(tmp_path / "rates" / "config.yaml")
    assert again.config == run.config
    assert again.metrics["backtest"] == run.metrics["backtest"]
    number = quantlr.run(CONFIG, overrides={"execution.cash_rate": 0.03, "name": "number"}, output=tmp_path)
    comparison = quantlr.compare(["rates", "number"], output=tmp_path)
    sharpes = [values["sharpe"] for values in comparison.metrics_by_run]
    assert sharpes == pytest.approx([r.metrics["backtest"]["strategy"]["sharpe"] for r in (run, number)])


@pytest.mark.usefixtures("without_drawing")
def test_sweep_over_rates_has_the_sharpe_ratios_of_single_runs(tmp_path: Path) -> None:
    (tmp_path / "rates.csv").write_text(RATES)
    path = str(tmp_path / "rates.csv")
    grid = {"execution.cash_rate": [0.02, path]}
    result = quantlr.sweep({"name": "sweep", "base": CONFIG, "grid": grid, "holdout": 0}, output=tmp_path, workers=1)
    single = [quantlr.run(CONFIG, overrides={"execution.cash_rate": value}) for value in (0.02, path)]
    expected = sorted(run.metrics["backtest"]["strategy"]["sharpe"] for run in single)
    assert sorted(result.trials["sharpe"]) == pytest.approx(expected)
