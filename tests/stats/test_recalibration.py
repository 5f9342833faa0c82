"""Calibration slope, intercept and Spiegelhalter's z: against statsmodels, a slow loop, and simulated forecasts."""

from __future__ import annotations

from math import exp, sqrt

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from quantlr.core.values import Array, IntArray
from quantlr.stats.recalibration import Recalibration, recalibrate, spiegelhalter_test
from scipy import stats


def draw(seed: int, n: int, *, slope: float = 1.0, spread: float = 0.5) -> tuple[Array, Array]:
    """Return log odds, and outcomes whose log odds are 0.1 + slope times these."""
    rng = np.random.default_rng(seed)
    log_odds = rng.normal(0.1, spread, n)
    return log_odds, (rng.random(n) < 1 / (1 + np.exp(-0.1 - slope * log_odds))).astype(np.float64)


def recalibrate_independent(log_odds: Array, up: Array) -> Recalibration | None:
    return recalibrate(log_odds, up, session=np.arange(len(up)), horizon=1, is_dependent=False)


@given(seed=st.integers(0, 10_000), slope=st.floats(-2, 3), spread=st.floats(1e-3, 2.0))
def test_slope_and_intercept_equal_statsmodels(seed: int, slope: float, spread: float) -> None:
    log_odds, up = draw(seed, 400, slope=slope, spread=spread)
    fit = sm.GLM(up, sm.add_constant(log_odds), family=sm.families.Binomial()).fit(tol=1e-12)
    actual = recalibrate_independent(log_odds, up)
    assert actual is not None
    assert [actual.intercept, actual.slope] == pytest.approx(fit.params.tolist(), rel=1e-6, abs=1e-8)
    errors = [actual.intercept_standard_error, actual.slope_standard_error]
    assert errors == pytest.approx(fit.bse.tolist(), rel=1e-6)
    assert actual.p_value == pytest.approx(stats.norm.cdf((fit.params[1] - 1) / fit.bse[1]), rel=1e-5, abs=1e-12)


def test_recalibration_without_a_finite_best_fit_is_none() -> None:
    log_odds, up = draw(1, 50)
    assert recalibrate_independent(np.full(50, 0.3), up) is None
    assert recalibrate_independent(np.full(50, 0.3) * (1 + 1e-15 * np.arange(50)), up) is None
    assert recalibrate_independent(log_odds, np.ones(50)) is None
    assert recalibrate_independent(log_odds, (log_odds > 0).astype(np.float64)) is None
    assert recalibrate_independent(log_odds[:1], up[:1]) is None


def ten_tickers(seed: int, n_sessions: int) -> tuple[Array, Array, IntArray]:
    """Return log odds and outcomes of ten tickers that mostly move together."""
    rng = np.random.default_rng(seed)
    log_odds = np.repeat(rng.normal(0, 0.5, n_sessions), 10) + rng.normal(0, 0.1, 10 * n_sessions)
    threshold = stats.norm.cdf(
        0.9 * np.repeat(rng.normal(size=n_sessions), 10) + sqrt(1 - 0.81) * rng.normal(size=10 * n_sessions)
    )
    return log_odds, (threshold < 1 / (1 + np.exp(-log_odds))).astype(np.float64), np.repeat(np.arange(n_sessions), 10)


def overlapping(seed: int, n: int, horizon: int) -> tuple[Array, Array, IntArray]:
    """Return log odds and outcomes of a return over several sessions, whose drift moves slowly and is known."""
    rng = np.random.default_rng(seed)
    drift = 0.15 * stats.zscore(np.convolve(rng.normal(size=n + 9), np.ones(10), "valid"))
    shocks = np.convolve(rng.normal(size=n + horizon - 1), np.ones(horizon), "valid")
    probability = stats.norm.cdf(drift * sqrt(horizon))
    return np.log(probability / (1 - probability)), (drift * horizon + shocks > 0).astype(np.float64), np.arange(n)


@pytest.mark.parametrize(("horizon", "n"), [(1, 250), (5, 250), (21, 500)])
def test_tests_of_dependent_forecasts_keep_their_size(horizon: int, n: int) -> None:
    """Calibrated forecasts are rejected in at most 5 % and two standard errors."""
    n_slope = n_spiegelhalter = 0
    for seed in range(300):
        log_odds, up, session = ten_tickers(seed, n) if horizon == 1 else overlapping(seed, n, horizon)
        fit = recalibrate(log_odds, up, session=session, horizon=horizon, is_dependent=True)
        test = spiegelhalter_test(1 / (1 + np.exp(-log_odds)), up, session=session, horizon=horizon, is_dependent=True)
        assert fit is not None
        assert fit.p_value is not None
        assert test is not None
        n_slope += fit.p_value < 0.05
        n_spiegelhalter += test["p_value"] < 0.05
    limit = 300 * 0.05 + 2 * sqrt(300 * 0.05 * 0.95)
    assert n_slope <= limit
    assert n_spiegelhalter <= limit


def test_standard_errors_of_dependent_forecasts_equal_those_between_samples() -> None:
    fits = []
    for seed in range(200):
        log_odds, up, session = ten_tickers(seed, 300)
        fit = recalibrate(log_odds, up, session=session, horizon=1, is_dependent=True)
        assert fit is not None
        fits.append([fit.slope, fit.intercept, fit.slope_standard_error, fit.intercept_standard_error])
    slope, intercept, slope_error, intercept_error = np.array(fits, dtype=np.float64).T
    assert np.sqrt(np.mean(slope_error**2)) == pytest.approx(slope.std(), rel=0.15)
    assert np.sqrt(np.mean(intercept_error**2)) == pytest.approx(intercept.std(), rel=0.15)
    log_odds, up, _ = ten_tickers(0, 300)
    independent = recalibrate_independent(log_odds, up)
    assert independent is not None
    assert independent.slope_standard_error is not None
    assert slope.std() > 1.8 * independent.slope_standard_error


def test_exaggerated_probabilities_of_dependent_forecasts_have_a_slope_below_one() -> None:
    log_odds, up, session = ten_tickers(3, 1000)
    fit = recalibrate(3 * log_odds, up, session=session, horizon=1, is_dependent=True)
    assert fit is not None
    assert fit.p_value is not None
    assert fit.slope == pytest.approx(1 / 3, abs=0.1)
    assert fit.p_value < 0.001
    for factor, side in ((3.0, 1.0), (1 / 3, -1.0)):
        wrong = 1 / (1 + np.exp(-factor * log_odds))
        test = spiegelhalter_test(wrong, up, session=session, horizon=1, is_dependent=True)
        assert test is not None
        assert test["statistic"] * side > 0
        assert test["p_value"] < 0.01
    understated = recalibrate(log_odds / 3, up, session=session, horizon=1, is_dependent=True)
    assert understated is not None
    assert understated.p_value is not None
    assert understated.p_value > 0.5


@given(seed=st.integers(0, 10_000))
def test_spiegelhalter_statistic_equals_a_slow_loop(seed: int) -> None:
    """The Brier score less its expected value over its standard deviation, if each outcome is up with probability p."""
    log_odds, up = draw(seed, 60, slope=0.5)
    probability = [1 / (1 + exp(-value)) for value in log_odds.tolist()]
    score = expected = variance = 0.0
    for p, y in zip(probability, up.tolist(), strict=True):
        score += (y - p) ** 2
        expected += p * (1 - p) ** 2 + (1 - p) * p**2
        variance += p * (1 - p) ** 4 + (1 - p) * p**4 - (p * (1 - p) ** 2 + (1 - p) * p**2) ** 2
    test = spiegelhalter_test(np.array(probability), up, session=np.arange(60), horizon=1, is_dependent=False)
    assert test is not None
    assert test["statistic"] == pytest.approx((score - expected) / sqrt(variance), rel=1e-9)
    assert test["p_value"] == pytest.approx(2 * stats.norm.sf(abs(test["statistic"])), rel=1e-9)


def test_spiegelhalter_test_without_variance_or_sessions_is_none() -> None:
    half, up = np.full(30, 0.5), np.tile([0.0, 1.0], 15)
    for is_dependent in (False, True):
        assert spiegelhalter_test(half, up, session=np.arange(30), horizon=1, is_dependent=is_dependent) is None
    probability = np.linspace(0.2, 0.8, 30)
    assert spiegelhalter_test(probability, up, session=np.arange(30), horizon=21, is_dependent=True) is None
