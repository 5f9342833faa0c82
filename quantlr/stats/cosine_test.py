"""One-sided test that the mean of an autocorrelated series is above 0, by the equal-weighted cosine variance.

The variance of the mean is estimated from a few low frequencies, and the quantiles are those of Student's t
distribution with as many degrees of freedom. In short samples of forecasts that overlap, Newey and West's variance with
normal quantiles rejects too often: at a horizon of 21 sessions, 17 % of 60 sessions of noise at the 5 % level.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quantlr.core.values import Array
from quantlr.stats.hac import SIGNIFICANCE_LEVEL, Interval

MIN_DEGREES_OF_FREEDOM = 4
"""Smallest number of frequencies with which the test is made."""
FREQUENCIES_PER_N_TO_TWO_THIRDS = 0.4
"""Factor of n^(2/3) in the number of frequencies (Lazarus, Lewis, Stock and Watson 2018)."""
MIN_SESSIONS = int(np.ceil((MIN_DEGREES_OF_FREEDOM / FREQUENCIES_PER_N_TO_TWO_THIRDS) ** 1.5))
"""Smallest number of sessions with which the test is made at a horizon of one session."""

QUANTILE_RELATIVE_ERROR = 1e-12
"""Relative error at which the bisection of a quantile stops."""


@dataclass(frozen=True, slots=True)
class CosineTest:
    """Result of the one-sided test that a mean is above 0.

    Attributes
    ----------
    statistic : the t statistic; None in too short a series, and where the variance is 0.
    p_value : probability of a larger statistic if the mean is 0; None with the statistic.
    degrees_of_freedom : number of frequencies that the variance is estimated from.
    sessions, min_sessions : length of the series, and the smallest with which the test is made.
    """

    statistic: float | None
    p_value: float | None
    degrees_of_freedom: int
    sessions: int
    min_sessions: int


def cosine_test(session_values: Array, *, horizon: int) -> CosineTest:
    """Return the one-sided test that the mean of a series is above 0.

    Parameters
    ----------
    session_values : (n,) one value per session, in order.
    horizon : sessions by which values overlap; 1 where they do not.

    Notes
    -----
    With B = min(floor(.4 n^(2/3)), floor(n / (2 horizon))) frequencies,

        L_j = sqrt(2 / n) sum_t x_t cos(pi j (t - 1/2) / n),   W = sum_j L_j^2 / B,   t = sum_t x_t / sqrt(n W)

    which has Student's t distribution with B degrees of freedom if the mean is 0 (Müller 2004; Lazarus, Lewis, Stock
    and Watson 2018). The cosines add up to 0, so that x needs no centring.
    """
    n = len(session_values)
    degrees_of_freedom = min(int(FREQUENCIES_PER_N_TO_TWO_THIRDS * n ** (2 / 3)), n // (2 * horizon))
    min_sessions = max(MIN_SESSIONS, 2 * MIN_DEGREES_OF_FREEDOM * horizon)
    variance = _cosine_variance(session_values, degrees_of_freedom) if n >= min_sessions else 0.0
    if variance <= np.finfo(np.float64).eps ** 2 * float(session_values @ session_values):
        return CosineTest(None, None, degrees_of_freedom, n, min_sessions)
    statistic = float(session_values.sum() / np.sqrt(n * variance))
    p_value = student_t_upper_tail(statistic, degrees_of_freedom)
    return CosineTest(statistic, p_value, degrees_of_freedom, n, min_sessions)


def cosine_interval_95(session_values: Array, *, horizon: int) -> Interval | None:
    """Return the two-sided 95 % interval of the mean that belongs to `cosine_test`; None where that has no statistic.

    Parameters
    ----------
    session_values, horizon : as in `cosine_test`.
    """
    test = cosine_test(session_values, horizon=horizon)
    if test.statistic is None:
        return None
    variance = _cosine_variance(session_values, test.degrees_of_freedom)
    half_width = student_t_upper_quantile(SIGNIFICANCE_LEVEL / 2, test.degrees_of_freedom)
    half_width *= float(np.sqrt(variance / test.sessions))
    mean = float(session_values.mean())
    return mean - half_width, mean + half_width


def _cosine_variance(values: Array, n_frequencies: int) -> float:
    """Return the mean square of the first cosine transforms, as the discrete Fourier transform of twice the length."""
    n = len(values)
    frequency = np.arange(1, n_frequencies + 1)
    transform = np.fft.rfft(values, 2 * n)[1 : n_frequencies + 1] * np.exp(-0.5j * np.pi * frequency / n)
    return float(2.0 / n * (transform.real**2).mean())


def student_t_upper_tail(statistic: float, degrees_of_freedom: int) -> float:
    """Return the probability that Student's t with whole degrees of freedom exceeds a statistic.

    The finite trigonometric series of Abramowitz and Stegun (1964), 26.7.3 and 26.7.4.
    """
    angle = np.arctan(statistic / np.sqrt(degrees_of_freedom))
    cosine_squared = np.cos(angle) ** 2
    is_odd = degrees_of_freedom % 2
    step = np.arange(2 + is_odd, degrees_of_freedom - 1, 2)
    terms = np.cumprod(np.concatenate([[1.0], (step - 1) / step * cosine_squared]))
    if is_odd:
        series = np.cos(angle) * terms.sum() if degrees_of_freedom > 1 else 0.0
        central = 2.0 / np.pi * (angle + np.sin(angle) * series)
    else:
        central = np.sin(angle) * terms.sum()
    return float((1.0 - central) / 2.0)


def student_t_upper_quantile(probability: float, degrees_of_freedom: int) -> float:
    """Return the value that Student's t exceeds with a probability of at most 1/2, by bisection."""
    low, high = 0.0, 1.0
    while student_t_upper_tail(high, degrees_of_freedom) > probability:
        low, high = high, 2.0 * high
    while high - low > QUANTILE_RELATIVE_ERROR * high:
        middle = 0.5 * (low + high)
        is_below = student_t_upper_tail(middle, degrees_of_freedom) > probability
        low, high = (middle, high) if is_below else (low, middle)
    return high
