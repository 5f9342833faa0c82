"""Bootstrap intervals of a run's returns, all from the same resamples of its sessions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from quantlr.core.values import Array
from quantlr.stats.bootstrap import optimal_block_length, percentile_interval, precise_bootstrap_sums
from quantlr.stats.hac import SIGNIFICANCE_LEVEL, Interval
from quantlr.stats.sharpe import resampled_sharpes, sharpe_per_session


class ReturnResamples:
    """Resamples of sessions, with the sums of a strategy's and its benchmark's returns in each.

    They are drawn once, when first asked for, by the stationary bootstrap. The mean length of blocks is the largest of
    the optimal lengths of both series and of their difference, which is at least the length that each needs.

    Parameters
    ----------
    excess_returns : (sessions, k) in excess of cash: of the strategy and, where there is one, of its benchmark.
    seed : of the generator.
    """

    def __init__(self, excess_returns: Array, *, seed: int) -> None:
        self.excess_returns, self.seed = excess_returns, seed

    @cached_property
    def _sums(self) -> Array:
        """Sums of deviations from the mean, and of their squares: (draws, 2 k)."""
        deviation = self.excess_returns - self.excess_returns.mean(axis=0)
        series = [*self.excess_returns.T, *np.diff(self.excess_returns, axis=1).T]
        return precise_bootstrap_sums(
            np.concatenate([deviation, deviation**2], axis=1),
            block_length=max(map(optimal_block_length, series)),
            rng=np.random.default_rng(self.seed),
            compute_statistics=self._resampled_statistics,
        )

    def _resampled_statistics(self, sums: Array) -> list[Array]:
        """Return the Sharpe ratios, and the sum of the differences, in each resample, (draws,) each."""
        k = self.excess_returns.shape[1]
        sharpes = [
            resampled_sharpes(returns, sums[:, column], sums[:, k + column])
            for column, returns in enumerate(self.excess_returns.T)
            if sharpe_per_session(returns) is not None
        ]
        return [*sharpes, *np.diff(sums[:, :k], axis=1).T]

    def sharpe_interval(self, column: int) -> Interval | None:
        """Return the 95 % percentile interval of the Sharpe ratio per session of one series.

        A resample of constant returns, as of a strategy that rarely trades, counts as a ratio of 0. None where the
        ratio itself is undefined.
        """
        returns, k = self.excess_returns[:, column], self.excess_returns.shape[1]
        if sharpe_per_session(returns) is None:
            return None
        return percentile_interval(resampled_sharpes(returns, self._sums[:, column], self._sums[:, k + column]))

    def mean_lower_bound_95(self, coefficients: Sequence[float]) -> float:
        """Return the one-sided lower 95 % bound of the mean per session of a linear combination of the series.

        Parameters
        ----------
        coefficients : one for each series; 1 and -1 are the strategy less the benchmark.
        """
        weights = np.asarray(coefficients)
        resampled = self._sums[:, : len(weights)] @ weights / len(self.excess_returns)
        return float(self.excess_returns.mean(axis=0) @ weights + np.quantile(resampled, SIGNIFICANCE_LEVEL))
