"""Inference on Sharpe ratios: standard error, interval, autocorrelation, and probability of exceeding a benchmark.

Ratios are per session unless stated otherwise, of returns in excess of cash.
"""

from __future__ import annotations

import numpy as np

from quantlr.core.values import Array
from quantlr.stats.hac import STANDARD_NORMAL

MIN_RELATIVE_STD = 1e-15
"""Standard deviation, relative to the largest absolute return, up to which returns count as constant (rounding)."""


def sharpe_per_session(excess_returns: Array) -> float | None:
    """Return mean over standard deviation (ddof 1), None where returns are constant."""
    if len(excess_returns) < 2:
        return None
    std = float(excess_returns.std(ddof=1))
    varies = std > MIN_RELATIVE_STD * float(np.abs(excess_returns).max())
    return float(excess_returns.mean()) / std if varies else None


def sharpe_standard_error_per_session(excess_returns: Array) -> float | None:
    """Return the standard error of the Sharpe ratio of independent returns (Lo 2002): sqrt((1 + SR^2 / 2) / T)."""
    sharpe = sharpe_per_session(excess_returns)
    return None if sharpe is None else float(np.sqrt((1 + sharpe**2 / 2) / len(excess_returns)))


def resampled_sharpes(excess_returns: Array, deviation_sums: Array, squared_deviation_sums: Array) -> Array:
    """Return the Sharpe ratio of each resample, (draws,); 0 where the resample is constant.

    Parameters
    ----------
    excess_returns : (sessions,) of the sample, not constant.
    deviation_sums, squared_deviation_sums : (draws,) sums over each resample of the deviations from the sample's mean,
        and of their squares.
    """
    n, mean = len(excess_returns), excess_returns.mean()
    std = np.sqrt(np.maximum(squared_deviation_sums - deviation_sums**2 / n, 0.0) / (n - 1))
    varies = std > 1e-7 * excess_returns.std()
    return np.where(varies, (mean + deviation_sums / n) / np.where(varies, std, 1.0), 0.0)


def autocorrelations(values: Array, *, n_lags: int) -> Array:
    """Return the autocorrelations at lags 1 to `n_lags`."""
    centred = values - values.mean()
    products = np.array([centred[lag:] @ centred[:-lag] for lag in range(1, n_lags + 1)])
    return products / float(centred @ centred)


def lo_aggregation_factor(autocorrelation: Array, *, n_periods: int) -> float | None:
    """Return the factor from the Sharpe ratio of one period to that of `n_periods` (Lo 2002).

    q / sqrt(q + 2 sum (q - k) rho_k), which is the root of q for independent returns. None where the variance in the
    denominator is not positive.

    Parameters
    ----------
    autocorrelation : (lags,) at lags 1, 2, …; taken as 0 at further lags.
    n_periods : q.
    """
    rho = autocorrelation[: n_periods - 1]
    variance = n_periods + 2 * float((n_periods - np.arange(1, len(rho) + 1)) @ rho)
    return n_periods / float(np.sqrt(variance)) if variance > 0 else None


def lo_sharpe(excess_returns: Array, *, n_periods: int) -> float | None:
    """Return the Sharpe ratio of `n_periods` sessions, allowing for autocorrelation (Lo 2002).

    Lags are truncated at 4 (T / 100)^(2/9), as is usual for the estimator of Newey and West: 9 for sixteen years.
    """
    sharpe = sharpe_per_session(excess_returns)
    if sharpe is None:
        return None
    n_lags = int(4 * (len(excess_returns) / 100) ** (2 / 9))
    factor = lo_aggregation_factor(autocorrelations(excess_returns, n_lags=n_lags), n_periods=n_periods)
    return None if factor is None else sharpe * factor


def probabilistic_sharpe(excess_returns: Array, *, benchmark_sharpe: float = 0.0) -> float | None:
    """Return the probability that the true Sharpe ratio exceeds a benchmark's (Bailey and Lopez de Prado 2012).

    Parameters
    ----------
    excess_returns : (sessions,) returns in excess of cash.
    benchmark_sharpe : per session.
    """
    sharpe = sharpe_per_session(excess_returns)
    if sharpe is None:
        return None
    n, (g3, g4) = len(excess_returns), skewness_and_kurtosis(excess_returns)
    return probabilistic_sharpe_from_moments(benchmark_sharpe, sharpe=sharpe, n_sessions=n, skewness=g3, kurtosis=g4)


def skewness_and_kurtosis(excess_returns: Array) -> tuple[float, float]:
    """Return the skewness g3 and the non-excess kurtosis g4 of returns that are not constant."""
    deviation = excess_returns - excess_returns.mean()
    squares = deviation**2
    variance = squares.mean()
    # Products of squares: NumPy computes powers above 2 by logarithms, forty times slower.
    return float((squares * deviation).mean() / variance**1.5), float((squares**2).mean() / variance**2)


def probabilistic_sharpe_from_moments(
    benchmark_sharpe: float, *, sharpe: float, n_sessions: int, skewness: float, kurtosis: float
) -> float | None:
    """Return Phi((SR - SR*) sqrt(T - 1) / sqrt(1 - g3 SR + (g4 - 1) / 4 SR^2)), None where the last root is undefined.

    Parameters
    ----------
    benchmark_sharpe, sharpe : SR* and SR, per session.
    n_sessions : T.
    skewness, kurtosis : g3 and g4 of the returns; 0 and 3 for normal ones.
    """
    variance = 1 - skewness * sharpe + (kurtosis - 1) / 4 * sharpe**2
    if not variance > 0:
        return None
    return STANDARD_NORMAL.cdf((sharpe - benchmark_sharpe) * np.sqrt(n_sessions - 1) / np.sqrt(variance))
