"""Paired inference on the difference of two Sharpe ratios (Ledoit and Wolf 2008)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quantlr.core.values import Array
from quantlr.stats.cosine_test import cosine_interval_95, cosine_test
from quantlr.stats.hac import Interval
from quantlr.stats.sharpe import sharpe_per_session

MIN_CONTRIBUTION_STD = 1e-12
"""Standard deviation of the contributions to a difference, up to which they are rounding: the ratios are the same."""


@dataclass(frozen=True, slots=True)
class SharpeDifference:
    """Difference of the Sharpe ratios of two strategies over the same sessions, per session.

    Attributes
    ----------
    value : the first's less the second's.
    interval : two-sided, 95 %; None where there are too few sessions, or the two never differ.
    p_value : one-sided, of a difference of 0 or less; None with the interval.
    """

    value: float
    interval: Interval | None
    p_value: float | None


def sharpe_difference(first_excess_returns: Array, second_excess_returns: Array) -> SharpeDifference | None:
    """Return the difference of two Sharpe ratios with its interval and test; None where either ratio is undefined.

    Parameters
    ----------
    first_excess_returns, second_excess_returns : (sessions,) in excess of cash, over the same sessions.

    Notes
    -----
    By the delta method, the difference is a mean of the contributions of sessions up to a term of order 1/T: with
    z = (r - mean) / std, a session contributes z - SR (z^2 - 1) / 2 to a ratio. The variance of the mean of the
    differences allows for autocorrelation. It is that of Ledoit and Wolf's equation 4, but with the variance and the
    quantiles of `cosine_test` in place of a kernel's, with which the test rejects too often in short samples.
    """
    first, second = sharpe_per_session(first_excess_returns), sharpe_per_session(second_excess_returns)
    if first is None or second is None:
        return None
    difference = first - second
    contributions = _sharpe_contributions(first_excess_returns, first)
    contributions = contributions - _sharpe_contributions(second_excess_returns, second)
    if contributions.std() <= MIN_CONTRIBUTION_STD:
        return SharpeDifference(difference, None, None)
    contributions += difference
    p_value = cosine_test(contributions, horizon=1).p_value
    return SharpeDifference(difference, cosine_interval_95(contributions, horizon=1), p_value)


def _sharpe_contributions(excess_returns: Array, sharpe: float) -> Array:
    """Return what each session adds to the error of a Sharpe ratio, (sessions,), with a mean of 0."""
    z = (excess_returns - excess_returns.mean()) / excess_returns.std()
    return np.asarray(z - sharpe * (z**2 - 1.0) / 2.0)
