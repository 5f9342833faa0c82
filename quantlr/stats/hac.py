"""The variance of a sum over sessions that hang together: forecasts overlap in time, and share sessions."""

from __future__ import annotations

from statistics import NormalDist

from quantlr.core.arrays import Array


def newey_west_variance(session_sums: Array, *, horizon: int) -> Array:
    """Return the variance of the total of each column (Newey and West 1987), with 2 `horizon` lags: (k,).

    Parameters
    ----------
    sums : (sessions, k) sums by session, in order, of values away from their mean: each column adds up to 0.
    horizon : sessions that a forecast spans.
    """
    variance: Array = (session_sums**2).sum(axis=0)
    for lag in range(1, min(2 * horizon, len(session_sums) - 1) + 1):
        variance += 2 * (1 - lag / (2 * horizon + 1)) * (session_sums[lag:] * session_sums[:-lag]).sum(axis=0)
    return variance


STANDARD_NORMAL = NormalDist()
Z95 = STANDARD_NORMAL.inv_cdf(0.975)
SIGNIFICANCE_LEVEL = 0.05
TEST_POWER = 0.80
INTERVAL_95_QUANTILES = (0.025, 0.975)
