"""Correction of a test and of a Sharpe ratio for all trials on the same prices, by common random draws.

Under no skill the statistics of all trials are taken as jointly normal, with the correlations of their monthly returns
(White 2000; Chernozhukov, Chetverikov and Kato 2013, the multiplier bootstrap of a maximum). Each calendar month m has
N(0, 1) draws g_m of its own, the same for every trial and every run. With u_i the monthly returns of trial i that its
benchmark does not explain, of mean 0 and norm 1 over its own span and 0 elsewhere,

    Z_i = sum_m u_im g_m,   p = share of draws with max_i Z_i >= z,
    expected maximum Sharpe ratio = mean over draws of max_i Z_i / sqrt(years_i).

A further trial can only raise either, since both are of a maximum over a larger set in the same draws; a repeated trial
changes nothing, and one that is nearly the same changes little. The maxima by draw are all that has to be kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from quantlr.core.values import Array, Float32Array
from quantlr.stats.benchmark_test import benchmark_adjusted_returns
from quantlr.stats.hac import STANDARD_NORMAL

N_DRAWS = 2_000
MAX_TRIALS_PER_CHUNK = 256
"""Trials whose draws are computed at a time: 4 MB."""
MIN_MONTHS = 2


@dataclass(frozen=True, slots=True)
class MonthlyReturns:
    """The returns of one trial that its benchmark does not explain, by calendar month.

    Attributes
    ----------
    first_month : 12 times the year, plus 0 for January to 11 for December.
    sums : (months,) of R - beta B less its mean, without gaps; R and B are net returns per session in excess of cash.
    years : length of the trial: sessions over sessions per year.
    """

    first_month: int
    sums: Float32Array
    years: float


def sum_unexplained_returns_by_month(
    excess_returns: Array, benchmark_excess_returns: Array, sessions: pd.DatetimeIndex, *, sessions_per_year: float
) -> MonthlyReturns:
    """Return the returns of a strategy that its benchmark does not explain, less their mean, by calendar month.

    Parameters
    ----------
    excess_returns, benchmark_excess_returns : (sessions,) net returns R and B in excess of cash.
    sessions : (sessions,) ascending dates.
    """
    unexplained = benchmark_adjusted_returns(excess_returns, benchmark_excess_returns)
    unexplained = unexplained - unexplained.mean() if np.ptp(unexplained) > 0 else np.zeros_like(unexplained)
    month = sessions.to_numpy().astype("datetime64[M]").astype(np.int64)
    sums = np.bincount(month - month[0], weights=unexplained).astype(np.float32)
    return MonthlyReturns(1970 * 12 + int(month[0]), sums, len(unexplained) / sessions_per_year)


@lru_cache(maxsize=2)
def month_draws(first_month: int, n_months: int) -> Array:
    """Return standard normal draws, (months, `N_DRAWS`), that depend on nothing but the calendar month.

    Box and Muller's transform of raw bits, which NumPy keeps the same in all versions (it may change its normal
    draws), since maxima of them are stored. The second half is minus the first: the mean over draws is exactly 0. The
    newest are kept, read-only: a run needs them twice.
    """
    months = range(first_month, first_month + n_months)
    raw = np.stack([np.random.PCG64(month).random_raw(N_DRAWS // 2) for month in months])
    radius_uniform, angle_uniform = np.split((raw >> np.uint64(11)) * 2.0**-53, 2, axis=1)
    radius, angle = np.sqrt(-2.0 * np.log1p(-radius_uniform)), 2.0 * np.pi * angle_uniform
    half = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    draws = np.concatenate([half, -half], axis=1)
    draws.flags.writeable = False
    return draws


@dataclass(frozen=True, slots=True)
class RunningMaxima:
    """The largest statistic and Sharpe ratio of some trials under no skill, by draw; minus infinity without a trial.

    Attributes
    ----------
    statistic : (draws,) max_i Z_i.
    annual_sharpe : (draws,) max_i Z_i / sqrt(years_i).
    """

    statistic: Float32Array
    annual_sharpe: Float32Array

    @classmethod
    def of_trials(cls, trials: Iterable[MonthlyReturns]) -> RunningMaxima:
        """Return the maxima of trials; one whose monthly returns are constant, or a single one, has no statistic."""
        trials_by_span: dict[tuple[int, int], list[MonthlyReturns]] = {}
        for trial in trials:
            if len(trial.sums) >= MIN_MONTHS and np.ptp(trial.sums) > 0:
                trials_by_span.setdefault((trial.first_month, len(trial.sums)), []).append(trial)
        statistic, annual_sharpe = np.full((2, N_DRAWS), -np.inf, dtype=np.float32)
        for span, same_span in trials_by_span.items():
            draws = month_draws(*span)
            for first in range(0, len(same_span), MAX_TRIALS_PER_CHUNK):
                chunk = same_span[first : first + MAX_TRIALS_PER_CHUNK]
                sums = np.stack([trial.sums for trial in chunk]).astype(np.float64)
                deviation = sums - sums.mean(axis=1, keepdims=True)
                null_statistics = deviation / np.linalg.norm(deviation, axis=1, keepdims=True) @ draws
                null_sharpes = null_statistics / np.sqrt([[trial.years] for trial in chunk])
                statistic = np.maximum(statistic, null_statistics.max(axis=0).astype(np.float32))
                annual_sharpe = np.maximum(annual_sharpe, null_sharpes.max(axis=0).astype(np.float32))
        return cls(statistic, annual_sharpe)

    def merge(self, other: RunningMaxima) -> RunningMaxima:
        """Return the maxima of the trials of both."""
        return RunningMaxima(
            np.maximum(self.statistic, other.statistic), np.maximum(self.annual_sharpe, other.annual_sharpe)
        )

    @property
    def expected_max_sharpe(self) -> float | None:
        """Expected maximum of the annual Sharpe ratios under no skill; 0 for one trial, None without any."""
        mean = float(self.annual_sharpe.mean(dtype=np.float64))
        return mean if np.isfinite(mean) else None

    def family_wise_p_value(self, p_value: float | None) -> float | None:
        """Return the probability under no skill that the best of the trials has as small a p value as this one.

        None where there is none. It is turned into its normal quantile, so that a test in a short sample, whose
        quantiles are those of Student's t, is not favoured. The result is no smaller than the p value itself.
        """
        if p_value is None:
            return None
        statistic = -STANDARD_NORMAL.inv_cdf(p_value) if 0.0 < p_value < 1.0 else np.inf if p_value <= 0.0 else -np.inf
        return max(p_value, float((self.statistic >= statistic).mean()), 0.0)


@dataclass(frozen=True, slots=True)
class TrialFamily:
    """The trials on the same prices that statistics correct for.

    Attributes
    ----------
    n_trials : their number, failed ones included.
    maxima : of those that were evaluated.
    """

    n_trials: int
    maxima: RunningMaxima
