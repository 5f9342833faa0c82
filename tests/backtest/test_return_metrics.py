"""Tails, shape, and best and worst periods of returns, by SciPy and by loops over the sessions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantlr.backtest import benchmark_metrics, return_metrics
from quantlr.backtest.drawdowns import deepest_drawdowns, list_deepest_drawdowns
from quantlr.backtest.metric_types import BacktestView
from quantlr.backtest.rolling import monthly_returns
from scipy import stats

from backtest.test_metrics import backtest_of

YEAR = 252


def random_view(seed: int, n_sessions: int, *, cash: float = 0.0001) -> BacktestView:
    """Return a view of random returns with a benchmark of which the strategy is a noisy half."""
    rng = np.random.default_rng(seed)
    benchmark = rng.normal(0.0004, 0.011, n_sessions)
    strategy = 0.5 * benchmark + rng.normal(0.0001, 0.004, n_sessions)
    result, other = backtest_of(list(strategy), cash=cash), backtest_of(list(benchmark), cash=cash)
    return BacktestView(replace(result, benchmark=other), YEAR)


def compound_by_loop(returns: Any, dates: pd.DatetimeIndex, *, by_year: bool) -> dict[Any, float]:
    growth: dict[Any, float] = {}
    for date, value in zip(dates, returns, strict=True):
        key = date.year if by_year else (date.year, date.month)
        growth[key] = growth.get(key, 1.0) * (1.0 + value)
    return {key: value - 1.0 for key, value in growth.items()}


@given(seed=st.integers(0, 10_000), n_sessions=st.integers(5, 400))
def test_shape_of_returns_equals_scipy(seed: int, n_sessions: int) -> None:
    view = random_view(seed, n_sessions)
    returns = view.result.net_return
    assert return_metrics.skewness(view) == pytest.approx(stats.skew(returns, bias=False))
    assert return_metrics.excess_kurtosis(view) == pytest.approx(stats.kurtosis(returns, bias=False))


def test_shape_of_constant_or_few_returns_is_undefined() -> None:
    for returns in ([0.01] * 10, [0.01, 0.02]):
        view = BacktestView(backtest_of(returns), YEAR)
        assert return_metrics.skewness(view) is None
        assert return_metrics.excess_kurtosis(view) is None


@given(seed=st.integers(0, 10_000), n_sessions=st.integers(1, 300))
def test_value_at_risk_and_its_tail_equal_a_loop_over_sorted_returns(seed: int, n_sessions: int) -> None:
    view = random_view(seed, n_sessions)
    ordered = sorted(view.result.net_return.tolist())
    place = 0.05 * (len(ordered) - 1)
    below, above = ordered[int(place)], ordered[min(int(place) + 1, len(ordered) - 1)]
    expected = below + (place - int(place)) * (above - below)
    assert return_metrics.value_at_risk(view) == pytest.approx(expected)
    tail = [value for value in ordered if value <= expected]
    assert return_metrics.conditional_value_at_risk(view) == pytest.approx(sum(tail) / len(tail))


@given(seed=st.integers(0, 10_000), n_sessions=st.integers(1, 700))
def test_returns_by_period_equal_a_loop_over_sessions(seed: int, n_sessions: int) -> None:
    view = random_view(seed, n_sessions)
    result = view.result
    months = compound_by_loop(result.net_return, result.sessions, by_year=False)
    years = compound_by_loop(result.net_return, result.sessions, by_year=True)
    assert return_metrics.returns_by_year(view) == pytest.approx({str(year): value for year, value in years.items()})
    calendar = monthly_returns(result)
    assert {key: calendar.loc[key] for key in months} == pytest.approx(months)
    assert int(calendar.notna().to_numpy().sum()) == len(months)
    periods = {"session": result.net_return.tolist(), "month": months.values(), "year": years.values()}
    for name, values in periods.items():
        assert getattr(return_metrics, f"best_{name}")(view) == pytest.approx(max(values))
        assert getattr(return_metrics, f"worst_{name}")(view) == pytest.approx(min(values))


def test_returns_by_year_after_ruin_are_minus_one_and_zero_growth() -> None:
    view = BacktestView(backtest_of([0.1, -2.0, 0.3]), YEAR)
    assert list(return_metrics.returns_by_year(view).values()) == [-1.0]


@given(seed=st.integers(0, 10_000), n_sessions=st.integers(60, 700))
def test_captures_equal_ratios_of_geometric_means_by_month(seed: int, n_sessions: int) -> None:
    view = random_view(seed, n_sessions)
    result, benchmark = view.result, view.result.benchmark
    assert benchmark is not None
    own, others = (compound_by_loop(run.net_return, result.sessions, by_year=False) for run in (result, benchmark))
    for sign, capture in ((1, benchmark_metrics.up_capture), (-1, benchmark_metrics.down_capture)):
        months = [month for month, value in others.items() if sign * value > 0]
        if not months:
            assert capture(view) is None
            continue
        means = [stats.gmean([1.0 + returns[month] for month in months]) - 1.0 for returns in (own, others)]
        assert capture(view) == pytest.approx(means[0] / means[1])


def test_captures_of_the_benchmark_itself_are_one_and_need_a_benchmark() -> None:
    view = random_view(1, 300)
    itself = BacktestView(replace(view.result, net_return=view.result.benchmark.net_return), YEAR)  # type: ignore[union-attr]
    assert benchmark_metrics.up_capture(itself) == pytest.approx(1.0)
    assert benchmark_metrics.down_capture(itself) == pytest.approx(1.0)
    alone = BacktestView(replace(view.result, benchmark=None), YEAR)
    for metric in (benchmark_metrics.up_capture, benchmark_metrics.down_capture, benchmark_metrics.volatility_match):
        assert metric(alone) is None
    assert benchmark_metrics.volatility_matched_equity(alone) is None


@given(seed=st.integers(0, 10_000))
def test_matched_equity_has_the_benchmarks_volatility_and_the_strategys_sharpe_ratio(seed: int) -> None:
    view = random_view(seed, 500)
    equity = benchmark_metrics.volatility_matched_equity(view)
    assert equity is not None
    excess = np.diff(equity, prepend=1.0) / np.append(1.0, equity[:-1]) - view.result.session_cash_rate
    benchmark = view.benchmark_excess_returns
    assert benchmark is not None
    assert excess.std() == pytest.approx(benchmark.std())
    own = view.excess_returns
    assert excess.mean() / excess.std() == pytest.approx(own.mean() / own.std())


def test_volatility_is_not_matched_to_a_benchmark_without_any() -> None:
    view = random_view(3, 100)
    cash = backtest_of([0.0001] * 100, cash=0.0001)
    assert benchmark_metrics.volatility_match(BacktestView(replace(view.result, benchmark=cash), YEAR)) is None


def test_listed_drawdowns_are_the_five_deepest_with_their_dates() -> None:
    view = random_view(5, 400)
    table, listed = deepest_drawdowns(view.result, max_count=5), list_deepest_drawdowns(view)
    assert [fall["depth"] for fall in listed] == table["depth"].tolist()
    for key in ("peak", "trough", "recovery"):
        dates = [None if pd.isna(date) else f"{date:%Y-%m-%d}" for date in table[f"{key}_date"]]
        assert [fall[key] for fall in listed] == dates
