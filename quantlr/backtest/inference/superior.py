"""Whether the best of many settings beats a benchmark, and which of them do, the search allowed for.

Hansen's test of superior predictive ability (2005) asks of the best; StepM (Romano and Wolf 2005) goes on to name every
setting that beats the benchmark, with a chance of at most 5 % that one of them is named in error. Both resample the
sessions of all settings together. A resample's means are a product of two matrices: how often each session was drawn,
and what each setting was ahead by in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quantlr.backtest.inference.bootstrap import DRAWS, block_length, resampled_counts
from quantlr.backtest.inference.levels import SIGNIFICANT
from quantlr.types import Array, BoolArray, IntArray

AT_ONCE = 256
"""Settings whose spectra are held at a time, so that memory stays bounded."""


@dataclass(frozen=True, slots=True)
class Superior:
    """What a search among settings has shown.

    Attributes
    ----------
    p_value : that no setting beats the benchmark; Hansen's consistent one.
    p_lower, p_upper : its bounds; the upper one is White's reality check.
    better : positions of the settings that StepM names, ascending.
    """

    p_value: float
    p_lower: float
    p_upper: float
    better: IntArray


def superior(ahead: Array, rng: np.random.Generator, *, draws: int = DRAWS) -> Superior | None:
    """Return whether any setting beats the benchmark, and which.

    Parameters
    ----------
    ahead : (sessions, settings) net return less the benchmark's.

    Returns
    -------
    None where no setting ever differs from the benchmark.
    """
    varies = np.flatnonzero(np.ptp(ahead, axis=0) > 0)
    if not len(varies):
        return None
    some = ahead[:, varies]
    block = float(np.median([block_length(column) for column in some.T[:: max(1, len(varies) // 20)]]))
    counts = resampled_counts(len(some), block=block, rng=rng, draws=draws)
    found = search(some, counts @ some / len(some), block=block)
    return Superior(found.p_value, found.p_lower, found.p_upper, varies[found.better])


def search(ahead: Array, means: Array, *, block: float) -> Superior:
    """Return the same from given resamples.

    Parameters
    ----------
    ahead : (sessions, settings) what each is ahead of the benchmark by; none of them constant.
    means : (draws, settings) its mean in each resample.
    block : mean length of the resamples' blocks, in sessions.
    """
    sessions = len(ahead)
    mean = ahead.mean(axis=0)
    scale = np.sqrt(long_run_variance(ahead, block=block))
    near = mean >= -scale * np.sqrt(2 * np.log(np.log(sessions)) / sessions)
    score, drawn = mean / scale, means / scale
    centre = {
        "lower": np.maximum(score, 0.0),
        "consistent": np.where(near, score, 0.0),
        "upper": score,
    }
    p_values = {name: float(((drawn - at).max(axis=1) > score.max()).mean()) for name, at in centre.items()}
    better = np.flatnonzero(_stepwise(score, drawn - centre["consistent"]))
    return Superior(p_values["consistent"], p_values["lower"], p_values["upper"], better)


def _stepwise(score: Array, noise: Array) -> BoolArray:
    """Return which settings are above what noise would do to the best of those not yet named, step by step."""
    named = np.zeros(len(score), dtype=np.bool_)
    while not named.all():
        critical = np.quantile(noise[:, ~named].max(axis=1), 1 - SIGNIFICANT)
        new = (score > critical) & ~named
        if not new.any():
            break
        named |= new
    return named


def long_run_variance(ahead: Array, *, block: float) -> Array:
    """Return the variance of the root of T times the mean of each column, under the stationary bootstrap.

    Hansen (2005): gamma_0 + 2 sum kappa_i gamma_i over all lags, kappa_i = (1 - i/T) (1 - p)^i + i/T (1 - p)^(T - i),
    p = 1 / block; the autocovariances by the fast Fourier transform.
    """
    sessions = len(ahead)
    lag, stay = np.arange(1, sessions), 1.0 - 1.0 / block
    kappa = (1 - lag / sessions) * stay**lag + lag / sessions * stay ** (sessions - lag)
    weight = np.concatenate([[1.0], 2 * kappa])
    parts = [_weighted(ahead[:, first : first + AT_ONCE], weight) for first in range(0, ahead.shape[1], AT_ONCE)]
    return np.concatenate(parts)


def _weighted(ahead: Array, weight: Array) -> Array:
    """Return the sums of weights and autocovariances of some columns."""
    sessions = len(ahead)
    away = ahead - ahead.mean(axis=0)
    width = 1 << (2 * sessions - 1).bit_length()
    spectrum = np.abs(np.fft.rfft(away, width, axis=0)) ** 2
    covariance = np.fft.irfft(spectrum, width, axis=0)[:sessions] / sessions
    return np.asarray(np.maximum(weight @ covariance, 1e-12 * covariance[0]))
