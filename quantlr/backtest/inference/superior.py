"""Whether the best of many settings beats a benchmark, and which of them do, the search allowed for.

Hansen's test of superior predictive ability (2005) asks of the best; StepM (Romano and Wolf 2005) goes on to name every
setting that beats the benchmark, with a chance of at most 5 % that one of them is named in error. Both resample the
sessions of all settings together. A resample's means are a product of two matrices: how often each session was drawn,
and what each setting was ahead by in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quantlr.backtest.inference.bootstrap import N_BOOTSTRAP_DRAWS, optimal_block_length, stationary_bootstrap_counts
from quantlr.backtest.inference.levels import SIGNIFICANCE_LEVEL
from quantlr.types import Array, BoolArray, IntArray

FFT_COLUMNS_PER_CHUNK = 256
"""Settings whose spectra are held at a time, so that memory stays bounded."""


@dataclass(frozen=True, slots=True)
class SpaResult:
    """What a search among settings has shown.

    Attributes
    ----------
    p_value : that no setting beats the benchmark; Hansen's consistent one.
    p_lower, p_upper : its bounds; the upper one is White's reality check.
    better : positions of the settings that StepM names, ascending.
    """

    p_value: float
    p_value_lower: float
    p_value_upper: float
    superior_indices: IntArray


def spa_test(
    excess_over_benchmark: Array, rng: np.random.Generator, *, n_draws: int = N_BOOTSTRAP_DRAWS
) -> SpaResult | None:
    """Return whether any setting beats the benchmark, and which.

    Parameters
    ----------
    ahead : (sessions, settings) net return less the benchmark's.

    Returns
    -------
    None where no setting ever differs from the benchmark.
    """
    varies = np.flatnonzero(np.ptp(excess_over_benchmark, axis=0) > 0)
    if not len(varies):
        return None
    some = excess_over_benchmark[:, varies]
    block = float(np.median([optimal_block_length(column) for column in some.T[:: max(1, len(varies) // 20)]]))
    counts = stationary_bootstrap_counts(len(some), mean_block_length=block, rng=rng, n_draws=n_draws)
    found = spa_test_from_resamples(some, counts @ some / len(some), mean_block_length=block)
    return SpaResult(found.p_value, found.p_value_lower, found.p_value_upper, varies[found.superior_indices])


def spa_test_from_resamples(
    excess_over_benchmark: Array, resampled_means: Array, *, mean_block_length: float
) -> SpaResult:
    """Return the same from given resamples.

    Parameters
    ----------
    ahead : (sessions, settings) what each is ahead of the benchmark by; none of them constant.
    means : (draws, settings) its mean in each resample.
    block : mean length of the resamples' blocks, in sessions.
    """
    sessions = len(excess_over_benchmark)
    mean = excess_over_benchmark.mean(axis=0)
    scale = np.sqrt(bootstrap_long_run_variance(excess_over_benchmark, mean_block_length=mean_block_length))
    near = mean >= -scale * np.sqrt(2 * np.log(np.log(sessions)) / sessions)
    score, drawn = mean / scale, resampled_means / scale
    centre = {
        "lower": np.maximum(score, 0.0),
        "consistent": np.where(near, score, 0.0),
        "upper": score,
    }
    p_values = {name: float(((drawn - at).max(axis=1) > score.max()).mean()) for name, at in centre.items()}
    better = np.flatnonzero(_stepm_rejection_mask(score, drawn - centre["consistent"]))
    return SpaResult(p_values["consistent"], p_values["lower"], p_values["upper"], better)


def _stepm_rejection_mask(test_statistics: Array, null_statistics: Array) -> BoolArray:
    """Return which settings are above what noise would do to the best of those not yet named, step by step."""
    named = np.zeros(len(test_statistics), dtype=np.bool_)
    while not named.all():
        critical = np.quantile(null_statistics[:, ~named].max(axis=1), 1 - SIGNIFICANCE_LEVEL)
        new = (test_statistics > critical) & ~named
        if not new.any():
            break
        named |= new
    return named


def bootstrap_long_run_variance(values: Array, *, mean_block_length: float) -> Array:
    """Return the variance of the root of T times the mean of each column, under the stationary bootstrap.

    Hansen (2005): gamma_0 + 2 sum kappa_i gamma_i over all lags, kappa_i = (1 - i/T) (1 - p)^i + i/T (1 - p)^(T - i),
    p = 1 / block; the autocovariances by the fast Fourier transform.
    """
    sessions = len(values)
    lag, stay = np.arange(1, sessions), 1.0 - 1.0 / mean_block_length
    kappa = (1 - lag / sessions) * stay**lag + lag / sessions * stay ** (sessions - lag)
    weight = np.concatenate([[1.0], 2 * kappa])
    parts = [
        _weighted_autocovariance_sums(values[:, first : first + FFT_COLUMNS_PER_CHUNK], weight)
        for first in range(0, values.shape[1], FFT_COLUMNS_PER_CHUNK)
    ]
    return np.concatenate(parts)


def _weighted_autocovariance_sums(values: Array, lag_weights: Array) -> Array:
    """Return the sums of weights and autocovariances of some columns."""
    sessions = len(values)
    away = values - values.mean(axis=0)
    width = 1 << (2 * sessions - 1).bit_length()
    spectrum = np.abs(np.fft.rfft(away, width, axis=0)) ** 2
    covariance = np.fft.irfft(spectrum, width, axis=0)[:sessions] / sessions
    return np.asarray(np.maximum(lag_weights @ covariance, 1e-12 * covariance[0]))
