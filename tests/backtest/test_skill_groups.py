"""Mean returns by probability and right calls by group, against pandas, statsmodels and SciPy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from quantlr.backtest.forecast_analysis import (
    MAX_RETURN_GROUPS,
    MIN_GROUP_FORECASTS,
    accuracy_by_group,
    expected_order_statistics,
    mean_returns_by_probability_group,
)
from quantlr.backtest.metrics import EvaluatedForecasts, evaluate_forecasts
from quantlr.core.arrays import IntArray
from quantlr.core.values import Forecasts
from scipy import stats

from markets import forecasts


def made(seed: int, *, sessions: int = 400, tickers: int = 1, horizon: int = 1, digits: int = 12) -> Forecasts:
    """Return forecasts of noise whose returns share what happened in their session."""
    rng = np.random.default_rng([seed, sessions, tickers])
    ticker, session = np.repeat(np.arange(tickers), sessions), np.tile(np.arange(sessions), tickers)
    n = len(ticker)
    together = rng.normal(0, 0.01, sessions)[session]
    together = np.convolve(together, np.ones(horizon), "same")
    span = together + rng.normal(0, 0.005, n)
    probability = np.round(0.52 + 0.03 * rng.normal(size=n), digits)
    found = forecasts(probability, ticker=ticker, session=session, horizon=horizon)
    return replace(found, up=(span > 0).astype(np.float64), horizon_return=span, base_rate=np.full(n, 0.53))


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), n=st.integers(2 * MIN_GROUP_FORECASTS, 400), digits=st.integers(3, 5))
def test_groups_are_those_of_pandas(seed: int, n: int, digits: int) -> None:
    found = made(seed, sessions=n, digits=digits)
    groups = mean_returns_by_probability_group(found)
    by = pd.qcut(found.probability, min(MAX_RETURN_GROUPS, n // MIN_GROUP_FORECASTS), labels=False)
    table = pd.DataFrame({"by": by, "p": found.probability, "r": found.horizon_return}).groupby("by")
    assert groups is not None
    np.testing.assert_array_equal(groups.count, table.size())
    np.testing.assert_allclose(groups.mean_return, table["r"].mean(), atol=1e-14)
    np.testing.assert_allclose(groups.mean_probability, table["p"].mean(), atol=1e-14)
    np.testing.assert_allclose(groups.standard_error, table["r"].sem(), rtol=1e-9)
    assert groups.overall_mean_return == pytest.approx(found.horizon_return.mean())


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ((39, 1), None),
        ((30, 10), (30, 10)),
        ((30, 1, 9), (30, 10)),
        ((5, 5, 60, 3, 7), (70, 10)),
        ((1,) * 9 + (91,), (100,)),
    ],
)
def test_equal_probabilities_share_a_group_and_small_groups_join_others(
    times: tuple[int, ...], expected: tuple[int, ...] | None
) -> None:
    probability = np.repeat(0.4 + 0.01 * np.arange(len(times)), times)
    groups = mean_returns_by_probability_group(replace(made(5, sessions=len(probability)), probability=probability))
    if expected is None or len(expected) < 2:
        assert groups is None
    else:
        assert groups is not None
        assert tuple(groups.count) == expected


@pytest.mark.parametrize(("tickers", "horizon"), [(6, 1), (1, 5), (3, 5)])
def test_errors_of_forecasts_that_hang_together_are_those_of_statsmodels(tickers: int, horizon: int) -> None:
    """Driscoll and Kraay's, of a regression on the groups."""
    found = made(1, tickers=tickers, horizon=horizon)
    groups = mean_returns_by_probability_group(found)
    assert groups is not None
    by = pd.qcut(found.probability, 10, labels=False)
    order = np.lexsort([found.ticker, found.session])
    dummies = pd.get_dummies(by).to_numpy(dtype=np.float64)[order]
    settings = {"time": found.session[order], "maxlags": 2 * horizon, "use_correction": False, "df_correction": False}
    fit = sm.OLS(found.horizon_return[order], dummies).fit(cov_type="hac-groupsum", cov_kwds=settings)
    small = np.sqrt(groups.count / (groups.count - 1))
    np.testing.assert_allclose(groups.standard_error / small, fit.bse, rtol=1e-9)
    contrast = np.zeros(10)
    contrast[[0, -1]] = [-1, 1]
    assert groups.top_minus_bottom == pytest.approx(float(contrast @ fit.params))
    assert groups.top_minus_bottom_standard_error == pytest.approx(
        float(fit.t_test(contrast).sd[0, 0]) * small[0], rel=1e-3
    )


def test_forecasts_whose_label_is_dropped_count_and_those_without_a_return_do_not() -> None:
    found = made(2)
    found.up[:50] = np.nan
    found.horizon_return[-3:] = np.nan
    groups = mean_returns_by_probability_group(found)
    assert groups is not None
    assert groups.count.sum() == 397


@pytest.mark.parametrize("n", [4, 2 * MIN_GROUP_FORECASTS - 1, 400])
def test_few_forecasts_or_one_probability_have_no_groups(n: int) -> None:
    found = made(3, sessions=n)
    if n == 400:
        found = replace(found, probability=np.full(n, 0.5))
    assert mean_returns_by_probability_group(found) is None


def by_hand(rows: EvaluatedForecasts, group: IntArray) -> pd.DataFrame:
    table = pd.DataFrame({"group": group, "hit": rows.hits, "base": rows.baseline_hits})
    return table.groupby("group").agg(count=("hit", "size"), accuracy=("hit", "mean"), base=("base", "mean"))


def test_right_calls_of_independent_forecasts_have_wilsons_interval() -> None:
    rows = evaluate_forecasts(made(4))
    group = 2000 + rows.session[::-1] // 130
    rates, expected = accuracy_by_group(group, rows), by_hand(rows, group)
    np.testing.assert_array_equal(rates.group_ids, expected.index)
    np.testing.assert_array_equal(rates.count, expected["count"])
    np.testing.assert_allclose(rates.accuracy, expected["accuracy"])
    np.testing.assert_allclose(rates.baseline_accuracy, expected["base"])
    for at, name in enumerate(rates.group_ids):
        hits = int(rows.hits[group == name].sum())
        interval = stats.binomtest(hits, int(rates.count[at])).proportion_ci(method="wilson")
        assert (rates.accuracy_low[at], rates.accuracy_high[at]) == pytest.approx((interval.low, interval.high))
        ahead = rows.hits[group == name].astype(float) - rows.baseline_hits[group == name]
        assert rates.difference_standard_error[at] == pytest.approx(stats.sem(ahead, ddof=0))


@pytest.mark.parametrize(("tickers", "horizon"), [(5, 1), (1, 5)])
def test_calls_that_hang_together_are_worth_fewer(tickers: int, horizon: int) -> None:
    """Over many draws the interval holds the truth 95 % of the time, where Wilson's of all calls would not."""
    held = {"worth": 0, "all": 0}
    for seed in range(100):
        rng = np.random.default_rng([seed, tickers])
        n = 250 * tickers
        session = np.tile(np.arange(250), tickers)
        right = (rng.random(250 // horizon) < 0.6)[session // horizon]
        zeros = np.zeros(n)
        rows = EvaluatedForecasts(zeros, np.full(n, 0.6), right.astype(float), zeros + 0.4, np.repeat(np.arange(tickers), 250),
                      session, is_clustered=True, horizon=horizon)  # fmt: skip
        rates = accuracy_by_group(zeros.astype(np.int64), rows)
        held["worth"] += bool(rates.accuracy_low[0] <= 0.6 <= rates.accuracy_high[0])
        naive = stats.binomtest(int(right.sum()), n).proportion_ci(method="wilson")
        held["all"] += bool(naive.low <= 0.6 <= naive.high)
    assert 0.90 <= held["worth"] / 100 <= 1.0
    assert held["all"] / 100 < 0.85


def test_over_few_spans_or_where_all_are_right_each_span_counts_once() -> None:
    n = 40
    session = np.tile(np.arange(20), 2)
    rows = EvaluatedForecasts(np.zeros(n), np.full(n, 0.6), np.ones(n), np.full(n, 0.4), np.repeat([0, 1], 20), session,
                  is_clustered=True, horizon=1)  # fmt: skip
    rates = accuracy_by_group(np.zeros(n, dtype=np.int64), rows)
    assert rates.accuracy_low[0] == pytest.approx(stats.binomtest(20, 20).proportion_ci(method="wilson").low)
    rates = accuracy_by_group(np.where(session < 4, 0, 1), rows)
    assert rates.accuracy_low[0] == pytest.approx(stats.binomtest(4, 4).proportion_ci(method="wilson").low)


def test_luck_by_rank_is_what_independent_noise_shows() -> None:
    error = np.array([0.01, 0.02, 0.05, 0.0, 0.03])
    rng = np.random.default_rng(0)
    drawn = np.sort(rng.normal(size=(20_000, 50)) * np.repeat(error, 10), axis=1)
    luck = expected_order_statistics(np.repeat(error, 10))
    assert (np.diff(luck) >= 0).all()
    np.testing.assert_allclose(luck[5:-5], np.median(drawn, axis=0)[5:-5], atol=0.003)
