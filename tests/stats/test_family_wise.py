"""Family-wise p values and the expected maximum Sharpe ratio: slow loops, published figures, and monotonicity."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from quantlr.core.values import Array
from quantlr.stats.cosine_test import cosine_test
from quantlr.stats.family_wise import (
    N_DRAWS,
    MonthlyReturns,
    RunningMaxima,
    month_draws,
    sum_unexplained_returns_by_month,
)

FIRST_MONTH = 12 * 2000
N_MONTHS = 16 * 12


def trial_of(sums: Array, *, first_month: int = FIRST_MONTH) -> MonthlyReturns:
    return MonthlyReturns(first_month, sums.astype(np.float32), len(sums) / 12)


def random_trials(n_trials: int, seed: int, *, n_months: int = N_MONTHS, correlation: float = 0.0) -> list[Array]:
    rng = np.random.default_rng(seed)
    common = rng.standard_normal(n_months)
    return [
        math.sqrt(correlation) * common + math.sqrt(1 - correlation) * rng.standard_normal(n_months)
        for _ in range(n_trials)
    ]


def expected_max_sharpe(trials: list[Array]) -> float:
    expected = RunningMaxima.of_trials(map(trial_of, trials)).expected_max_sharpe
    assert expected is not None
    return expected


def test_maxima_equal_a_loop_over_draws_trials_and_months() -> None:
    spans = [(FIRST_MONTH, 14), (FIRST_MONTH + 5, 14), (FIRST_MONTH + 5, 14), (FIRST_MONTH + 3, 30)]
    rng = np.random.default_rng(0)
    trials = [trial_of(rng.standard_normal(n_months), first_month=first) for first, n_months in spans]
    maxima = RunningMaxima.of_trials(trials)
    months_of_all = range(FIRST_MONTH, FIRST_MONTH + 40)
    draw_by_month: dict[int, Any] = {month: month_draws(month, 1)[0] for month in months_of_all}
    for draw in range(0, N_DRAWS, 97):
        statistics: list[float] = []
        for trial in trials:
            mean = sum(map(float, trial.sums)) / len(trial.sums)
            norm = math.sqrt(sum((float(value) - mean) ** 2 for value in trial.sums))
            months = range(trial.first_month, trial.first_month + len(trial.sums))
            statistics.append(
                sum(
                    (float(value) - mean) / norm * draw_by_month[month][draw]
                    for month, value in zip(months, trial.sums, strict=True)
                )
            )
        assert maxima.statistic[draw] == pytest.approx(max(statistics), abs=1e-6)
        sharpes = [statistic / math.sqrt(trial.years) for statistic, trial in zip(statistics, trials, strict=True)]
        assert maxima.annual_sharpe[draw] == pytest.approx(max(sharpes), abs=1e-6)


def test_draws_are_standard_normal_independent_and_of_the_month_alone() -> None:
    draws = month_draws(FIRST_MONTH, 240)
    np.testing.assert_array_equal(month_draws(FIRST_MONTH + 7, 3), draws[7:10])
    half = draws[:, : N_DRAWS // 2]
    np.testing.assert_array_equal(draws[:, N_DRAWS // 2 :], -half)
    assert scipy.stats.kstest(half.ravel(), "norm").pvalue > 0.01
    correlation = np.asarray(np.corrcoef(half))[np.triu_indices(240, 1)] * math.sqrt(half.shape[1])
    assert correlation.std() == pytest.approx(1.0, abs=0.02)
    by_draw = np.asarray(np.corrcoef(half.T))[np.triu_indices(half.shape[1], 1)] * math.sqrt(240)
    assert by_draw.std() == pytest.approx(1.0, abs=0.02)


def test_best_of_100_noise_trials_over_five_years_has_a_sharpe_ratio_of_about_1_1() -> None:
    expected = expected_max_sharpe(random_trials(100, 1, n_months=60))
    assert expected == pytest.approx(1.10, abs=0.03)
    independent = scipy.stats.norm.expect(lambda z: z * 100 * scipy.stats.norm.cdf(z) ** 99, lb=-6, ub=8)
    assert expected == pytest.approx(independent / math.sqrt(5), abs=0.04)


def test_near_duplicates_and_repeated_runs_change_little() -> None:
    distinct = random_trials(20, 2, correlation=0.35)
    expected = expected_max_sharpe(distinct)
    assert 0.33 < expected < 0.42
    assert expected_max_sharpe([*distinct, *[distinct[3]] * 150]) == expected
    rng = np.random.default_rng(3)
    similar = [0.967 * distinct[3] + math.sqrt(1 - 0.967**2) * rng.standard_normal(N_MONTHS) for _ in range(150)]
    assert 0.0 <= expected_max_sharpe([*distinct, *similar]) - expected < 0.03
    growing = np.random.default_rng(4).standard_normal(N_MONTHS + 60)
    assert 0.0 < expected_max_sharpe([growing[: N_MONTHS + month] for month in range(60)]) < 0.09


@given(
    seed=st.integers(0, 10_000),
    n_before=st.integers(1, 5),
    n_added=st.integers(1, 5),
    p_value=st.floats(1e-6, 0.999),
)
def test_a_further_trial_never_lowers_a_p_value_or_the_expected_maximum(
    seed: int, n_before: int, n_added: int, p_value: float
) -> None:
    rng = np.random.default_rng(seed)
    trials = [
        trial_of(rng.standard_normal(int(rng.integers(2, 40))), first_month=FIRST_MONTH + int(rng.integers(0, 30)))
        for _ in range(n_before + n_added)
    ]
    before, added = RunningMaxima.of_trials(trials[:n_before]), RunningMaxima.of_trials(trials[n_before:])
    after = before.merge(added)
    p_before, p_after = before.family_wise_p_value(p_value), after.family_wise_p_value(p_value)
    assert p_before is not None
    assert p_after is not None
    assert p_value <= p_before <= p_after <= 1.0
    assert (before.expected_max_sharpe or 0.0) <= (after.expected_max_sharpe or 0.0)
    at_once = RunningMaxima.of_trials(trials)
    np.testing.assert_allclose(after.statistic, at_once.statistic, atol=1e-6)
    np.testing.assert_allclose(after.annual_sharpe, at_once.annual_sharpe, atol=1e-6)


def test_one_trial_has_its_own_p_value_and_an_expected_maximum_of_zero() -> None:
    maxima = RunningMaxima.of_trials([trial_of(random_trials(1, 5)[0])])
    for p_value in (0.001, 0.05, 0.3, 0.9):
        assert maxima.family_wise_p_value(p_value) == pytest.approx(p_value, abs=0.03)
    assert maxima.expected_max_sharpe == pytest.approx(0.0, abs=1e-9)
    assert maxima.family_wise_p_value(0.0) == 0.0
    assert maxima.family_wise_p_value(1.0) == 1.0
    assert maxima.family_wise_p_value(None) is None


def test_independent_trials_are_corrected_as_by_sidak() -> None:
    maxima = RunningMaxima.of_trials(map(trial_of, random_trials(50, 6)))
    for p_value in (0.0005, 0.002, 0.01):
        corrected = maxima.family_wise_p_value(p_value)
        sidak = 1 - (1 - p_value) ** 50
        assert corrected == pytest.approx(sidak, abs=4 * math.sqrt(sidak * (1 - sidak) / N_DRAWS))


def test_the_best_of_20_trials_without_skill_is_significant_in_about_5_percent_of_markets() -> None:
    n_markets, n_significant = 200, 0
    for seed in range(n_markets):
        trials = random_trials(20, 1000 + seed, n_months=60, correlation=0.3)
        best = min(p for trial in trials if (p := cosine_test(trial, horizon=1).p_value) is not None)
        p_value = RunningMaxima.of_trials(map(trial_of, trials)).family_wise_p_value(best)
        n_significant += p_value is not None and p_value < 0.05
    rate = n_significant / n_markets
    assert rate <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / n_markets)


def test_trials_that_never_trade_or_are_too_short_have_no_statistic() -> None:
    nothing = RunningMaxima.of_trials([trial_of(np.zeros(60)), trial_of(np.ones(1))])
    assert nothing.expected_max_sharpe is None
    assert nothing.family_wise_p_value(0.01) == 0.01
    traded = trial_of(random_trials(1, 7)[0])
    assert nothing.merge(RunningMaxima.of_trials([traded])).expected_max_sharpe == pytest.approx(0.0, abs=1e-9)


def test_monthly_sums_are_of_returns_that_the_benchmark_does_not_explain() -> None:
    sessions = pd.bdate_range("1969-11-28", "1970-03-10")
    rng = np.random.default_rng(8)
    benchmark = rng.normal(0, 0.01, len(sessions))
    strategy = 0.5 * benchmark + rng.normal(0, 0.01, len(sessions))
    trial = sum_unexplained_returns_by_month(strategy, benchmark, sessions, sessions_per_year=252)
    fit = scipy.stats.linregress(benchmark, strategy)
    residuals = strategy - fit.intercept - fit.slope * benchmark
    by_month = pd.Series(residuals, index=sessions).groupby(sessions.to_period("M")).sum()
    np.testing.assert_allclose(trial.sums, by_month.to_numpy(), rtol=1e-4)
    assert trial.first_month == 1969 * 12 + 10
    assert trial.sums.dtype == np.dtype(np.float32)
    assert trial.years == len(sessions) / 252
    leveraged = sum_unexplained_returns_by_month(3 * benchmark, benchmark, sessions, sessions_per_year=252)
    assert not leveraged.sums.any()


def test_constant_returns_have_sums_of_exactly_zero() -> None:
    """Their mean is off by rounding, which would be taken as a strategy's monthly returns."""
    sessions = pd.bdate_range("1970-01-05", periods=73)
    constant = np.full(73, 0.1)
    assert constant.mean() != 0.1
    trial = sum_unexplained_returns_by_month(constant, np.zeros(73), sessions, sessions_per_year=252)
    assert not trial.sums.any()
