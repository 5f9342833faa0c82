"""Mean returns by probability and accuracy by group, against pandas, statsmodels and SciPy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from quantlr.backtest.forecast_analysis import (
    MIN_GROUP_FORECASTS,
    accuracy_by_group,
    mean_returns_by_probability_group,
)
from quantlr.backtest.metric_types import EvaluatedForecasts, evaluate_forecasts
from quantlr.core.values import Forecasts, IntArray
from scipy import stats

from markets import forecasts


def noise_forecasts(
    seed: int, *, sessions: int = 400, tickers: int = 1, horizon: int = 1, digits: int = 12
) -> Forecasts:
    """Return forecasts without skill whose returns have a common component in each session."""
    rng = np.random.default_rng([seed, sessions, tickers])
    ticker, session = np.repeat(np.arange(tickers), sessions), np.tile(np.arange(sessions), tickers)
    n = len(ticker)
    common = rng.normal(0, 0.01, sessions)[session]
    common = np.convolve(common, np.ones(horizon), "same")
    returns = common + rng.normal(0, 0.005, n)
    probability = np.round(0.52 + 0.03 * rng.normal(size=n), digits)
    sample = forecasts(probability, ticker=ticker, session=session, horizon=horizon)
    return replace(sample, up=(returns > 0).astype(np.float64), horizon_return=returns, base_rate=np.full(n, 0.53))


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), n=st.integers(2 * MIN_GROUP_FORECASTS, 400), digits=st.integers(3, 5))
def test_probability_groups_equal_pandas_qcut(seed: int, n: int, digits: int) -> None:
    sample = noise_forecasts(seed, sessions=n, digits=digits)
    groups = mean_returns_by_probability_group(sample)
    by = pd.qcut(sample.probability, min(10, n // MIN_GROUP_FORECASTS), labels=False)
    table = pd.DataFrame({"by": by, "p": sample.probability, "r": sample.horizon_return}).groupby("by")
    assert groups is not None
    np.testing.assert_array_equal(groups.count, table.size())
    np.testing.assert_allclose(groups.mean_return, table["r"].mean(), atol=1e-14)
    np.testing.assert_allclose(groups.mean_probability, table["p"].mean(), atol=1e-14)
    np.testing.assert_allclose(groups.standard_error, table["r"].sem(), rtol=1e-9)
    assert groups.overall_mean_return == pytest.approx(sample.horizon_return.mean())


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ((39, 1), None),
        ((32, 8), None),
        ((30, 10), (30, 10)),
        ((30, 1, 9), (30, 10)),
        ((5, 5, 60, 3, 7), (70, 10)),
        ((1,) * 9 + (91,), (100,)),
    ],
)
def test_equal_probabilities_share_a_group_and_small_groups_are_merged(
    times: tuple[int, ...], expected: tuple[int, ...] | None
) -> None:
    probability = np.repeat(0.4 + 0.01 * np.arange(len(times)), times)
    groups = mean_returns_by_probability_group(
        replace(noise_forecasts(5, sessions=len(probability)), probability=probability)
    )
    if expected is None or len(expected) < 2:
        assert groups is None
    else:
        assert groups is not None
        assert tuple(groups.count) == expected


@pytest.mark.parametrize(("tickers", "horizon"), [(6, 1), (1, 5), (3, 5)])
def test_standard_errors_of_clustered_forecasts_equal_statsmodels(tickers: int, horizon: int) -> None:
    """Driscoll and Kraay's standard errors of a regression on group dummies."""
    sample = noise_forecasts(1, tickers=tickers, horizon=horizon)
    groups = mean_returns_by_probability_group(sample)
    assert groups is not None
    by = pd.qcut(sample.probability, 10, labels=False)
    order = np.lexsort([sample.ticker, sample.session])
    dummies = pd.get_dummies(by).to_numpy(dtype=np.float64)[order]
    settings = {"time": sample.session[order], "maxlags": 2 * horizon, "use_correction": False, "df_correction": False}
    fit = sm.OLS(sample.horizon_return[order], dummies).fit(cov_type="hac-groupsum", cov_kwds=settings)
    small = np.sqrt(groups.count / (groups.count - 1))
    np.testing.assert_allclose(groups.standard_error / small, fit.bse, rtol=1e-9)
    contrast = np.zeros(10)
    contrast[[0, -1]] = [-1, 1]
    assert groups.top_minus_bottom == pytest.approx(float(contrast @ fit.params))
    assert groups.top_minus_bottom_standard_error == pytest.approx(
        float(fit.t_test(contrast).sd[0, 0]) * small[0], rel=1e-3
    )


def test_forecasts_without_a_label_count_and_those_without_a_return_do_not() -> None:
    sample = noise_forecasts(2)
    sample.up[:50] = np.nan
    sample.horizon_return[-3:] = np.nan
    groups = mean_returns_by_probability_group(sample)
    assert groups is not None
    assert groups.count.sum() == 397


@pytest.mark.parametrize("n", [4, 2 * MIN_GROUP_FORECASTS - 1, 400])
def test_few_forecasts_or_constant_probability_have_no_groups(n: int) -> None:
    sample = noise_forecasts(3, sessions=n)
    if n == 400:
        sample = replace(sample, probability=np.full(n, 0.5))
    assert mean_returns_by_probability_group(sample) is None


def pandas_accuracy(evaluated: EvaluatedForecasts, group: IntArray) -> pd.DataFrame:
    table = pd.DataFrame({"group": group, "hit": evaluated.hits, "base": evaluated.baseline_hits})
    return table.groupby("group").agg(count=("hit", "size"), accuracy=("hit", "mean"), base=("base", "mean"))


def test_accuracy_intervals_of_independent_forecasts_equal_wilson() -> None:
    evaluated = evaluate_forecasts(noise_forecasts(4))
    group = 2000 + evaluated.session[::-1] // 130
    groups, expected = accuracy_by_group(group, evaluated), pandas_accuracy(evaluated, group)
    np.testing.assert_array_equal(groups.group_ids, expected.index)
    np.testing.assert_array_equal(groups.count, expected["count"])
    np.testing.assert_allclose(groups.accuracy, expected["accuracy"])
    np.testing.assert_allclose(groups.baseline_accuracy, expected["base"])
    for index, name in enumerate(groups.group_ids):
        hits = int(evaluated.hits[group == name].sum())
        interval = stats.binomtest(hits, int(groups.count[index])).proportion_ci(method="wilson")
        assert (groups.accuracy_low[index], groups.accuracy_high[index]) == pytest.approx((interval.low, interval.high))
        ahead = evaluated.hits[group == name].astype(float) - evaluated.baseline_hits[group == name]
        assert groups.difference_standard_error[index] == pytest.approx(stats.sem(ahead, ddof=0))


@pytest.mark.parametrize(("tickers", "horizon"), [(5, 1), (1, 5)])
def test_accuracy_interval_of_clustered_forecasts_has_coverage(tickers: int, horizon: int) -> None:
    """Over many draws the interval has 95 % coverage; Wilson's with all forecasts has less."""
    covered = {"worth": 0, "all": 0}
    for seed in range(100):
        rng = np.random.default_rng([seed, tickers])
        n = 250 * tickers
        session = np.tile(np.arange(250), tickers)
        right = (rng.random(250 // horizon) < 0.6)[session // horizon]
        zeros = np.zeros(n)
        evaluated = EvaluatedForecasts(
            zeros, np.full(n, 0.6), right.astype(float), zeros + 0.4, np.repeat(np.arange(tickers), 250), session,
            has_dependent_outcomes=True, horizon=horizon,
        )  # fmt: skip
        groups = accuracy_by_group(zeros.astype(np.int64), evaluated)
        covered["worth"] += bool(groups.accuracy_low[0] <= 0.6 <= groups.accuracy_high[0])
        naive = stats.binomtest(int(right.sum()), n).proportion_ci(method="wilson")
        covered["all"] += bool(naive.low <= 0.6 <= naive.high)
    assert 0.90 <= covered["worth"] / 100 <= 1.0
    assert covered["all"] / 100 < 0.85


def test_few_blocks_or_constant_hits_count_each_block_once() -> None:
    n = 40
    session = np.tile(np.arange(20), 2)
    evaluated = EvaluatedForecasts(
        np.zeros(n), np.full(n, 0.6), np.ones(n), np.full(n, 0.4), np.repeat([0, 1], 20), session,
        has_dependent_outcomes=True, horizon=1,
    )  # fmt: skip
    groups = accuracy_by_group(np.zeros(n, dtype=np.int64), evaluated)
    assert groups.accuracy_low[0] == pytest.approx(stats.binomtest(20, 20).proportion_ci(method="wilson").low)
    groups = accuracy_by_group(np.where(session < 4, 0, 1), evaluated)
    assert groups.accuracy_low[0] == pytest.approx(stats.binomtest(4, 4).proportion_ci(method="wilson").low)
