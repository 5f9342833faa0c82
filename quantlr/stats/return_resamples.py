"""Bootstrap intervals of a run's returns, all from the same resamples of its sessions."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from quantlr.core.values import Array
from quantlr.stats.benchmark_test import benchmark_adjusted_returns
from quantlr.stats.bootstrap import optimal_block_length, percentile_interval, precise_bootstrap_sums
from quantlr.stats.hac import SIGNIFICANCE_LEVEL, Interval
from quantlr.stats.sharpe import resampled_sharpes, sharpe_per_session

STRATEGY, BENCHMARK, ADJUSTED = range(3)
"""Columns of the series: the strategy, its benchmark, and the strategy less beta times the benchmark."""


class ReturnResamples:
    """Resamples of sessions, with the sums of a strategy's and its benchmark's returns in each.

    They are drawn once, when first asked for, by the stationary bootstrap. The mean length of blocks is the largest of
    the optimal lengths of both series and of the strategy's returns less beta times the benchmark's, which is at least
    the length that each needs.

    Parameters
    ----------
    excess_returns : (sessions,) of the strategy in excess of cash.
    benchmark_excess_returns : (sessions,) the same of the benchmark; None without one.
    seed : of the generator.
    """

    def __init__(self, excess_returns: Array, benchmark_excess_returns: Array | None = None, *, seed: int) -> None:
        series = [excess_returns]
        if benchmark_excess_returns is not None:
            adjusted = benchmark_adjusted_returns(excess_returns, benchmark_excess_returns)
            series += [benchmark_excess_returns, adjusted]
        self._series, self.seed = np.stack(series, axis=1), seed

    @cached_property
    def _sums(self) -> Array:
        """Sums of deviations from the mean, and of their squares: (draws, 2 k) of k series."""
        deviation = self._series - self._series.mean(axis=0)
        return precise_bootstrap_sums(
            np.concatenate([deviation, deviation**2], axis=1),
            block_length=max(map(optimal_block_length, self._series.T)),
            rng=np.random.default_rng(self.seed),
            compute_statistics=self._resampled_statistics,
        )

    def _resampled_statistics(self, sums: Array) -> list[Array]:
        """Return the Sharpe ratios, and the sum of adjusted returns, in each resample, (draws,) each."""
        k = self._series.shape[1]
        sharpes = [
            resampled_sharpes(returns, sums[:, column], sums[:, k + column])
            for column, returns in enumerate(self._series.T[:ADJUSTED])
            if sharpe_per_session(returns) is not None
        ]
        return [*sharpes, *sums.T[ADJUSTED:k]]

    def sharpe_interval(self) -> Interval | None:
        """Return the 95 % percentile interval of the strategy's Sharpe ratio per session.

        A resample of constant returns, as of a strategy that rarely trades, counts as a ratio of 0. None where the
        ratio itself is undefined.
        """
        return self._sharpe_interval(STRATEGY)

    def benchmark_sharpe_interval(self) -> Interval | None:
        """Return the same of the benchmark; None without one."""
        return self._sharpe_interval(BENCHMARK)

    def _sharpe_interval(self, column: int) -> Interval | None:
        k = self._series.shape[1]
        if column >= k or sharpe_per_session(self._series[:, column]) is None:
            return None
        return percentile_interval(
            resampled_sharpes(self._series[:, column], self._sums[:, column], self._sums[:, k + column])
        )

    def alpha_lower_bound_95(self) -> float | None:
        """Return the one-sided lower 95 % bound of alpha per session, for the sample's beta; None without a benchmark.

        It is that of the mean of the strategy's returns less beta times the benchmark's.
        """
        if self._series.shape[1] <= ADJUSTED:
            return None
        resampled = self._sums[:, ADJUSTED] / len(self._series)
        return float(self._series[:, ADJUSTED].mean() + np.quantile(resampled, SIGNIFICANCE_LEVEL))
