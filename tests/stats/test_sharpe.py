from __future__ import annotations

import numpy as np
import pytest
from quantlr.core.values import Array
from quantlr.stats.sharpe import (
    autocorrelations,
    lo_aggregation_factor,
    lo_sharpe,
    probabilistic_sharpe,
    probabilistic_sharpe_from_moments,
    resampled_sharpes,
    sharpe_per_session,
    sharpe_standard_error_per_session,
)
from scipy import stats
from scipy.optimize import least_squares
from statsmodels.tsa.stattools import acf


def test_probabilistic_sharpe_by_its_formula() -> None:
    returns = np.random.default_rng(5).standard_t(4, 900) * 0.01 + 0.0005
    ratio = returns.mean() / returns.std(ddof=1)
    g3, g4 = stats.skew(returns), stats.kurtosis(returns, fisher=False)
    expected = stats.norm.cdf((ratio - 0.01) * np.sqrt(899) / np.sqrt(1 - g3 * ratio + (g4 - 1) / 4 * ratio**2))
    assert probabilistic_sharpe(returns, benchmark_sharpe=0.01) == pytest.approx(expected, abs=1e-12)
    assert sharpe_per_session(returns) == pytest.approx(ratio)


@pytest.mark.parametrize(("skewness", "kurtosis", "published"), [(0.0, 3.0, 0.982), (-2.448, 10.164, 0.913)])
def test_probabilistic_sharpe_equals_published_example(skewness: float, kurtosis: float, published: float) -> None:
    """Bailey and Lopez de Prado 2012: 24 monthly returns with a Sharpe of .458 a month exceed 0 with a probability of
    .982 were they normal, and of .913 with the skewness and kurtosis of a hedge fund."""
    target = [0.458, skewness, kurtosis]

    def residuals(x: Array) -> Array:
        return np.array([x.mean() / x.std(ddof=1), stats.skew(x), stats.kurtosis(x, fisher=False)]) - target

    sample = least_squares(residuals, np.random.default_rng(0).normal(size=24) - 0.2, xtol=1e-15).x
    assert residuals(sample) == pytest.approx(0, abs=1e-6)
    assert probabilistic_sharpe(sample) == pytest.approx(published, abs=5e-4)


@pytest.mark.parametrize("returns", [np.zeros(50), np.full(50, 0.001), np.array([0.01])])
def test_constant_returns_have_no_sharpe(returns: Array) -> None:
    assert sharpe_per_session(returns) is None
    assert sharpe_standard_error_per_session(returns) is None
    assert probabilistic_sharpe(returns) is None


def test_two_returns_have_a_sharpe() -> None:
    assert sharpe_per_session(np.array([0.01, 0.03])) == pytest.approx(np.sqrt(2))


def test_probabilistic_sharpe_is_undefined_without_variance() -> None:
    """1 - g3 SR + (g4 - 1) / 4 SR^2 is 0 with g3 = SR = g4 = 1."""
    assert probabilistic_sharpe_from_moments(0.0, sharpe=1.0, n_sessions=10, skewness=1.0, kurtosis=1.0) is None


@pytest.mark.parametrize("scale", [1.0, 1e-4])
def test_sharpes_of_resamples_equal_those_of_the_resampled_returns(scale: float) -> None:
    """The third resample is constant, and has a ratio of 0."""
    returns = scale * np.array([0.3, -0.2, 0.1, 0.5])
    rows = np.array([[0, 1, 2, 3], [0, 0, 1, 3], [2, 2, 2, 2]])
    deviation = (returns - returns.mean())[rows]
    expected = [sharpe_per_session(returns[row]) or 0.0 for row in rows]
    actual = resampled_sharpes(returns, deviation.sum(axis=1), (deviation**2).sum(axis=1))
    assert actual == pytest.approx(expected, rel=1e-9)


def test_deflated_sharpe_equals_published_example() -> None:
    """Bailey and Lopez de Prado 2014: the best of 100 trials, whose annual ratios have a variance of 1/2, shows 2.5
    over 1,250 sessions, 250 a year, with a skewness of -3 and a kurtosis of 10: SR* = .1132, DSR = .9004."""
    first, second = stats.norm.isf(1 / 100), stats.norm.isf(1 / (100 * np.e))
    threshold = np.sqrt(0.5 / 250) * ((1 - np.euler_gamma) * first + np.euler_gamma * second)
    assert threshold == pytest.approx(0.1132, abs=5e-5)
    actual = probabilistic_sharpe_from_moments(
        threshold, sharpe=2.5 / np.sqrt(250), n_sessions=1250, skewness=-3.0, kurtosis=10.0
    )
    assert actual == pytest.approx(0.9004, abs=5e-5)


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.8])
def test_standard_error_equals_the_spread_of_simulated_ratios(ratio: float) -> None:
    returns = np.random.default_rng(1).normal(ratio, 1, (4000, 250))
    ratios = returns.mean(axis=1) / returns.std(axis=1, ddof=1)
    errors = [sharpe_standard_error_per_session(row) for row in returns[:200]]
    assert np.mean([error for error in errors if error is not None]) == pytest.approx(ratios.std(), rel=0.04)


@pytest.mark.parametrize("rho", [-0.3, 0.0, 0.2, 0.7])
@pytest.mark.parametrize("periods", [3, 12, 252])
def test_aggregation_factor_of_ar1_equals_closed_form(rho: float, periods: int) -> None:
    """Lo 2002, equation 21."""
    tail = 2 * rho / (1 - rho) * (1 - (1 - rho**periods) / (periods * (1 - rho)))
    assert lo_aggregation_factor(rho ** np.arange(1.0, 400), n_periods=periods) == pytest.approx(
        np.sqrt(periods / (1 + tail)), rel=1e-12
    )


def test_aggregation_factor_is_undefined_without_variance() -> None:
    assert lo_aggregation_factor(np.array([-0.9]), n_periods=12) is None
    assert lo_aggregation_factor(np.array([-1.0]), n_periods=2) is None
    assert lo_sharpe(np.array([0.02, -0.01, 0.02, -0.01]), n_periods=252) is None


def test_aggregation_factor_by_arithmetic() -> None:
    assert lo_aggregation_factor(np.array([-0.75]), n_periods=2) == pytest.approx(2 / np.sqrt(0.5))


@pytest.mark.parametrize(("sessions", "n_lags"), [(2, 1), (100, 4), (500, 5), (750, 6), (4000, 9)])
def test_lo_sharpe_uses_the_lags_of_newey_and_west(sessions: int, n_lags: int) -> None:
    returns = np.random.default_rng(4).normal(0.1, 1, sessions)
    ratio, factor = (
        sharpe_per_session(returns),
        lo_aggregation_factor(autocorrelations(returns, n_lags=n_lags), n_periods=252),
    )
    assert ratio is not None
    assert factor is not None
    assert lo_sharpe(returns, n_periods=252) == pytest.approx(ratio * factor, rel=1e-12)


def test_lo_sharpe_allows_for_autocorrelation() -> None:
    noise = np.random.default_rng(3).normal(size=20_001)
    returns = 0.05 + noise[1:] + 0.5 * noise[:-1]
    plain, actual = sharpe_per_session(returns), lo_sharpe(returns, n_periods=252)
    assert plain is not None
    assert actual == pytest.approx(plain * 252 / np.sqrt(252 + 2 * 251 * 0.4), rel=0.05)
    np.testing.assert_allclose(autocorrelations(returns, n_lags=9), acf(returns, nlags=9)[1:], atol=1e-12)
