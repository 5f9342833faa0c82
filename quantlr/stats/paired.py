"""Differences between several runs, paired on the same sessions: of returns, Sharpe ratios, log losses and accuracies.

Two runs are resampled together, so that what they have in common cancels out of their difference. The mean block length
is the optimal one for that difference, rounded to a power of two: pairs with the same length share their resamples, and
the result for two runs does not depend on which others are compared. The p value is two-sided and comes from the same
resamples as the 95 % interval: twice the proportion of differences on the rarer side of 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from quantlr.core.values import Array, IntArray
from quantlr.stats.bootstrap import optimal_block_length, percentile_interval, stationary_bootstrap_matrix_sums
from quantlr.stats.hac import sum_by_session
from quantlr.stats.sharpe import resampled_sharpes, sharpe_per_session

MIN_DRAWS, DRAWS_PER_TEST = 2000, 60
"""Resamples: enough that the smallest possible p value, 2 / draws, is small even when multiplied by all tests."""
RunPairs = Sequence[tuple[int, int]]
"""Pairs of runs, by their positions."""
PairDifferences = dict[tuple[int, int], "PairedDifference | None"]
"""By the positions of two runs, the first before the second; None where the number of either is undefined."""


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """The difference of a number between two runs, with its interval and test.

    Attributes
    ----------
    value : the second's less the first's.
    low95, high95 : its 95 % interval.
    p_value : two-sided, of no difference; not adjusted for several comparisons.
    block_length : mean length of the resampled blocks, in sessions.
    """

    value: float
    low95: float
    high95: float
    p_value: float
    block_length: float

    def scaled(self, factor: float) -> PairedDifference:
        """Return the same difference multiplied by a factor above 0, as for a change of its unit."""
        return replace(self, value=self.value * factor, low95=self.low95 * factor, high95=self.high95 * factor)


def n_draws_for_tests(n_tests: int) -> int:
    """Return the number of resamples that p values need which are adjusted for `n_tests` tests."""
    return max(MIN_DRAWS, DRAWS_PER_TEST * n_tests)


def paired_return_differences(
    excess_returns: Array, *, n_draws: int, seed: int, compared: RunPairs | None = None
) -> tuple[PairDifferences, PairDifferences]:
    """Return the differences of mean returns and those of Sharpe ratios, both per session.

    Parameters
    ----------
    excess_returns : (sessions, runs) net returns in excess of cash, over the same sessions.
    n_draws : resamples for each block length.
    seed : of the generator of each block length.
    compared : the pairs of runs, by their positions; None for all.
    """
    n, n_runs = excess_returns.shape
    mean, std = excess_returns.mean(axis=0), excess_returns.std(axis=0)
    deviation = excess_returns - mean
    columns = np.concatenate([deviation, deviation**2], axis=1)
    sharpe = [sharpe_per_session(column) for column in excess_returns.T]
    means: PairDifferences = {}
    sharpes: PairDifferences = {}
    standardized = excess_returns / np.where(std > 0, std, 1.0)
    for length, pairs in _pairs_by_block_length(standardized, min_block_length=1.0, compared=compared).items():
        rng = np.random.default_rng(seed)
        sums = stationary_bootstrap_matrix_sums(columns, block_length=length, rng=rng, n_draws=n_draws)
        resampled_mean = (mean + sums[:, :n_runs] / n).T
        for a, b in pairs:
            means[a, b] = _paired_difference(mean[a], mean[b], resampled_mean[[a, b]], length)
            sharpes[a, b] = None
            if (first := sharpe[a]) is not None and (second := sharpe[b]) is not None:
                sums_of_runs = ((excess_returns[:, run], sums[:, run], sums[:, n_runs + run]) for run in (a, b))
                resampled = np.array([resampled_sharpes(*run_sums) for run_sums in sums_of_runs])
                sharpes[a, b] = _paired_difference(first, second, resampled, length)
    return dict(sorted(means.items())), dict(sorted(sharpes.items()))


def paired_score_differences(
    scores: Sequence[Array],
    *,
    session: IntArray,
    horizon: int,
    n_draws: int,
    seed: int,
    compared: RunPairs | None = None,
    transform: Callable[[Array], Array] = np.asarray,
) -> list[PairDifferences]:
    """Return the differences of the means of each score, over the same forecasts.

    Parameters
    ----------
    scores : each (forecasts, runs), a number for every forecast of every run, such as its log loss.
    session : (forecasts,) the session at whose close each was made; whole sessions are resampled.
    horizon : sessions that a forecast spans, and the least block length.
    n_draws, seed, compared : as in `paired_return_differences`.
    transform : makes of means the numbers that are compared, element by element.
    """
    differences: list[PairDifferences] = []
    for score in scores:
        mean = score.mean(axis=0)
        session_sums = sum_by_session(session, *score.T, np.ones(len(score)))
        n_forecasts = session_sums[:, -1:]
        deviation = session_sums[:, :-1] - mean * n_forecasts
        columns, value = np.concatenate([deviation, n_forecasts], axis=1), transform(mean)
        by_pair: PairDifferences = {}
        pairs_by_length = _pairs_by_block_length(deviation, min_block_length=float(horizon), compared=compared)
        for length, pairs in pairs_by_length.items():
            rng = np.random.default_rng(seed)
            sums = stationary_bootstrap_matrix_sums(columns, block_length=length, rng=rng, n_draws=n_draws)
            resampled = transform(mean + sums[:, :-1] / sums[:, -1:]).T
            for a, b in pairs:
                by_pair[a, b] = _paired_difference(value[a], value[b], resampled[[a, b]], length)
        differences.append(dict(sorted(by_pair.items())))
    return differences


def holm_adjusted_p_values(p_values: Sequence[float]) -> list[float]:
    """Return p values adjusted to control the family-wise error rate (Holm 1979), in the order given.

    The smallest is multiplied by their number n, the next by n - 1, and so on; none is below that of a smaller one.
    """
    values, order = np.asarray(p_values, dtype=np.float64), np.argsort(p_values, kind="stable")
    adjusted = np.empty_like(values)
    adjusted[order] = np.maximum.accumulate(np.minimum(np.arange(len(values), 0, -1) * values[order], 1.0))
    return list(map(float, adjusted))


def _pairs_by_block_length(
    columns: Array, *, min_block_length: float, compared: RunPairs | None
) -> dict[float, list[tuple[int, int]]]:
    """Return pairs of columns by the optimal block length of their difference, rounded to a power of two."""
    pairs: dict[float, list[tuple[int, int]]] = {}
    for first, second in combinations(range(columns.shape[1]), 2) if compared is None else compared:
        optimal = optimal_block_length(columns[:, second] - columns[:, first])
        pairs.setdefault(max(2.0 ** round(np.log2(optimal)), min_block_length), []).append((first, second))
    return pairs


def _paired_difference(first: float, second: float, resampled: Array, block_length: float) -> PairedDifference:
    """Return the difference of two runs from their values and their resampled values, (2, draws)."""
    differences = resampled[1] - resampled[0]
    n_rarer = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    p_value = min(1.0, 2 * (1 + n_rarer) / (len(differences) + 1))
    return PairedDifference(float(second - first), *percentile_interval(differences), p_value, block_length)
