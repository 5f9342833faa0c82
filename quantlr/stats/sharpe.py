"""What a Sharpe ratio can carry: its error, its interval, and what is left of it after many trials.

Ratios are per session unless said otherwise, of returns in excess of cash.
"""

from __future__ import annotations

import math

import numpy as np

from quantlr.core.arrays import Array
from quantlr.stats.bootstrap import optimal_block_length, percentile_interval, stationary_bootstrap_sums
from quantlr.stats.hac import STANDARD_NORMAL

MIN_RELATIVE_STD = 1e-15
"""Deviation, as a part of the largest return, up to which returns are taken not to vary: what rounding may leave."""


def sharpe_per_session(excess_returns: Array) -> float | None:
    """Return mean over standard deviation (ddof 1), None where nothing varies."""
    if len(excess_returns) < 2:
        return None
    deviation = float(excess_returns.std(ddof=1))
    return (
        float(excess_returns.mean()) / deviation
        if deviation > MIN_RELATIVE_STD * float(np.abs(excess_returns).max())
        else None
    )


def sharpe_standard_error_per_session(excess_returns: Array) -> float | None:
    """Return the standard error of the Sharpe ratio of independent returns (Lo 2002): sqrt((1 + SR^2 / 2) / T)."""
    ratio = sharpe_per_session(excess_returns)
    return None if ratio is None else float(np.sqrt((1 + ratio**2 / 2) / len(excess_returns)))


def bootstrap_sharpe_interval(excess_returns: Array, rng: np.random.Generator) -> tuple[float, float] | None:
    """Return the 95 % interval of the Sharpe ratio by the stationary bootstrap's percentiles.

    A resample in which nothing varies, of a strategy that hardly ever trades, counts as a ratio of 0. None where the
    ratio itself is undefined.
    """
    if sharpe_per_session(excess_returns) is None:
        return None
    away = excess_returns - excess_returns.mean()
    moved, squares = stationary_bootstrap_sums(
        np.stack([away, away**2], axis=1), mean_block_length=optimal_block_length(excess_returns), rng=rng
    ).T
    return percentile_interval(resampled_sharpe(excess_returns, moved, squares))


def resampled_sharpe(excess_returns: Array, deviation_sums: Array, squared_deviation_sums: Array) -> Array:
    """Return the Sharpe ratio of each resample; 0 for one in which nothing varies.

    Parameters
    ----------
    excess : (sessions,) returns that vary.
    moved, squares : (draws,) sums over resamples of their distance from the mean, and of its square.
    """
    n, mean = len(excess_returns), excess_returns.mean()
    deviation = np.sqrt(np.maximum(squared_deviation_sums - deviation_sums**2 / n, 0.0) / (n - 1))
    varies = deviation > 1e-7 * excess_returns.std()
    return np.where(varies, (mean + deviation_sums / n) / np.where(varies, deviation, 1.0), 0.0)


def autocorrelations(values: Array, *, n_lags: int) -> Array:
    """Return the autocorrelations at lags 1 to `lags`."""
    away = values - values.mean()
    products = np.array([away[lag:] @ away[:-lag] for lag in range(1, n_lags + 1)])
    return products / float(away @ away)


def lo_aggregation_factor(autocorrelation: Array, *, n_periods: int) -> float | None:
    """Return the factor from the Sharpe ratio of one period to that of `periods` (Lo 2002).

    q / sqrt(q + 2 sum (q - k) rho_k); the root of q where returns are independent. None where the lags given leave no
    variance.

    Parameters
    ----------
    correlation : (lags,) autocorrelations at lags 1, 2, …; those beyond are taken as 0.
    periods : q.
    """
    rho = autocorrelation[: n_periods - 1]
    variance = n_periods + 2 * float((n_periods - np.arange(1, len(rho) + 1)) @ rho)
    return n_periods / float(np.sqrt(variance)) if variance > 0 else None


def lo_sharpe(excess_returns: Array, *, n_periods: int) -> float | None:
    """Return the Sharpe ratio of `periods` sessions with their autocorrelation allowed for (Lo 2002).

    Lags are truncated at 4 (T / 100)^(2/9), as is usual for Newey and West's estimator: 9 for sixteen years.
    """
    ratio = sharpe_per_session(excess_returns)
    if ratio is None:
        return None
    lags = min(int(4 * (len(excess_returns) / 100) ** (2 / 9)), len(excess_returns) - 1)
    factor = lo_aggregation_factor(autocorrelations(excess_returns, n_lags=lags), n_periods=n_periods)
    return None if factor is None else ratio * factor


def probabilistic_sharpe(excess_returns: Array, *, benchmark_sharpe: float = 0.0) -> float | None:
    """Return the confidence that the true Sharpe ratio exceeds `above` (Bailey and Lopez de Prado 2012).

    Parameters
    ----------
    excess : (sessions,) returns in excess of cash.
    above : Sharpe ratio per session.
    """
    ratio = sharpe_per_session(excess_returns)
    if ratio is None:
        return None
    skewness, kurtosis = skewness_and_kurtosis(excess_returns)
    return probabilistic_sharpe_from_moments(
        benchmark_sharpe, sharpe=ratio, n_sessions=len(excess_returns), skewness=skewness, kurtosis=kurtosis
    )


def skewness_and_kurtosis(excess_returns: Array) -> tuple[float, float]:
    """Return skewness g3 and non-excess kurtosis g4 of returns that vary."""
    away = excess_returns - excess_returns.mean()
    squares = away**2
    spread = squares.mean()
    # Products: NumPy raises to higher powers by logarithms, forty times slower.
    return float((squares * away).mean() / spread**1.5), float((squares**2).mean() / spread**2)


def probabilistic_sharpe_from_moments(
    benchmark_sharpe: float, *, sharpe: float, n_sessions: int, skewness: float, kurtosis: float
) -> float | None:
    """Return Phi((SR - SR*) sqrt(T - 1) / sqrt(1 - g3 SR + (g4 - 1) / 4 SR^2)), None where the root is of nothing.

    Parameters
    ----------
    threshold, ratio : SR* and SR, per session.
    sessions : T.
    skewness, kurtosis : g3 and g4 of the returns; 0 and 3 for normal ones.
    """
    scale = 1 - skewness * sharpe + (kurtosis - 1) / 4 * sharpe**2
    return (
        STANDARD_NORMAL.cdf((sharpe - benchmark_sharpe) * np.sqrt(n_sessions - 1) / np.sqrt(scale))
        if scale > 0
        else None
    )


def expected_max_sharpe(n_trials: int, *, sharpe_variance: float | None) -> float | None:
    """Return the Sharpe ratio that the best of so many trials without skill is expected to show.

    Bailey and Lopez de Prado (2014): sqrt(V) ((1 - c) Phi^-1(1 - 1/N) + c Phi^-1(1 - 1/(N e))), c Euler's constant. 0
    for one trial; None for several whose variance is not known.

    Parameters
    ----------
    trials : N, abandoned ones included.
    variance : V, of the trials' ratios, in the same unit squared.
    """
    if n_trials == 1:
        return 0.0
    if sharpe_variance is None:
        return None
    first, second = STANDARD_NORMAL.inv_cdf(1 - 1 / n_trials), STANDARD_NORMAL.inv_cdf(1 - 1 / (n_trials * math.e))
    return float(np.sqrt(sharpe_variance) * ((1 - np.euler_gamma) * first + np.euler_gamma * second))


def deflated_sharpe(excess_returns: Array, *, n_trials: int, sharpe_variance: float | None) -> float | None:
    """Return the confidence that the true Sharpe ratio exceeds what the best of the trials owes to luck.

    Bailey and Lopez de Prado (2014): the probabilistic Sharpe ratio above `expected_max_sharpe`.
    """
    luck = expected_max_sharpe(n_trials, sharpe_variance=sharpe_variance)
    return None if luck is None else probabilistic_sharpe(excess_returns, benchmark_sharpe=luck)
