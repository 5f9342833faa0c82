"""Differences between several runs, paired on the same sessions: of returns, Sharpe ratios, log losses and accuracies.

Two runs are resampled together, so that what they have in common cancels out of their difference. The mean block length
is the optimal one for that difference, rounded to a power of two: pairs with the same length share their resamples, and
the result for two runs does not depend on which others are compared. The p value is two-sided, twice the proportion of
differences on the rarer side of 0. Intervals are order statistics of the same resamples, so that one leaves out 0
exactly where the p value is below 5 %, also where both are adjusted for several tests.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np

from quantlr.core.values import Array, IntArray
from quantlr.stats.bootstrap import optimal_block_length, stationary_bootstrap_matrix_sums
from quantlr.stats.hac import SIGNIFICANCE_LEVEL, Interval, sum_by_session
from quantlr.stats.sharpe import resampled_sharpes, sharpe_per_session

MIN_DRAWS, DRAWS_PER_TEST = 2000, 60
"""Resamples: enough that the smallest possible p value, 2 / draws, is small even when multiplied by all tests."""
RunIndices = tuple[int, int]
"""Positions of two runs, the first before the second."""
PairDifferences = dict[RunIndices, "PairedDifference | None"]
"""By pair; None where the number of either run is undefined."""


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """The difference of a number between two runs, with its interval and test.

    Attributes
    ----------
    value : the second's less the first's.
    block_length : mean length of the resampled blocks, in sessions.
    sorted_draws : (draws,) the difference in each resample, ascending.
    """

    value: float
    block_length: float
    sorted_draws: Array = field(repr=False)

    @property
    def p_value(self) -> float:
        """Two-sided p value of no difference; not adjusted for several comparisons."""
        draws = self.sorted_draws
        n_rarer = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
        return min(1.0, 2 * (1 + n_rarer) / (len(draws) + 1))

    def interval(self, n_tests: int = 1) -> Interval:
        """Return the interval that leaves out 0 exactly where the p value times `n_tests` is below 5 %.

        It is the 95 % interval for one test, and Bonferroni's for several. Unbounded where there are too few resamples
        for any p value to be that small.
        """
        n_draws = len(self.sorted_draws)
        n_beyond = math.ceil(SIGNIFICANCE_LEVEL * (n_draws + 1) / (2 * n_tests)) - 2  # at most, on the rarer side of 0
        if n_beyond < 0:
            return -math.inf, math.inf
        return float(self.sorted_draws[n_beyond]), float(self.sorted_draws[n_draws - 1 - n_beyond])

    def scaled(self, factor: float) -> PairedDifference:
        """Return the same difference multiplied by a factor above 0, as for a change of its unit."""
        return replace(self, value=self.value * factor, sorted_draws=self.sorted_draws * factor)

    def to_dict(self) -> dict[str, Any]:
        """Return the difference with its 95 % interval and p value, keyed as in ``compare.json``."""
        low95, high95 = self.interval()
        values = {"value": self.value, "low95": low95, "high95": high95}
        return values | {"p_value": self.p_value, "block_length": self.block_length}


def n_draws_for_tests(n_tests: int) -> int:
    """Return the number of resamples that p values need which are adjusted for `n_tests` tests."""
    return max(MIN_DRAWS, DRAWS_PER_TEST * n_tests)


def paired_return_differences(
    excess_returns: Array, *, n_draws: int, seed: int, pairs: Sequence[RunIndices] | None = None
) -> tuple[PairDifferences, PairDifferences]:
    """Return the differences of mean returns and those of Sharpe ratios, both per session.

    Parameters
    ----------
    excess_returns : (sessions, runs) net returns in excess of cash, over the same sessions.
    n_draws : resamples for each block length.
    seed : of the generator of each block length.
    pairs : positions of the two runs of each pair; all pairs by default.
    """
    n, n_runs = excess_returns.shape
    mean, std = excess_returns.mean(axis=0), excess_returns.std(axis=0)
    deviation = excess_returns - mean
    columns = np.concatenate([deviation, deviation**2], axis=1)
    sharpe = [sharpe_per_session(column) for column in excess_returns.T]
    means: PairDifferences = {}
    sharpes: PairDifferences = {}
    standardized = excess_returns / np.where(std > 0, std, 1.0)
    for length, pairs_of_length in _pairs_by_block_length(standardized, pairs, min_block_length=1.0).items():
        rng = np.random.default_rng(seed)
        sums = stationary_bootstrap_matrix_sums(columns, block_length=length, rng=rng, n_draws=n_draws)
        resampled_mean = (mean + sums[:, :n_runs] / n).T
        for a, b in pairs_of_length:
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
    pairs: Sequence[RunIndices] | None = None,
    transform: Callable[[Array], Array] = np.asarray,
) -> list[PairDifferences]:
    """Return the differences of the means of each score, over the same forecasts.

    Runs of which a score is the same for every forecast differ by 0 in each resample; they are not resampled.

    Parameters
    ----------
    scores : each (forecasts, runs), a number for every forecast of every run, such as its log loss.
    session : (forecasts,) the session at whose close each was made; whole sessions are resampled.
    horizon : sessions that a forecast spans, and the least block length.
    n_draws, seed, pairs : as in `paired_return_differences`.
    transform : makes of means the numbers that are compared, element by element.
    """
    differences: list[PairDifferences] = []
    for score in scores:
        mean = score.mean(axis=0)
        session_sums = sum_by_session(session, *score.T, np.ones(len(score)))
        n_forecasts = session_sums[:, -1:]
        deviation = session_sums[:, :-1] - mean * n_forecasts
        columns, value = np.concatenate([deviation, n_forecasts], axis=1), transform(mean)
        tested = list(combinations(range(score.shape[1]), 2)) if pairs is None else pairs
        identical = [(a, b) for a, b in tested if (score[:, a] == score[:, b]).all()]
        by_pair: PairDifferences = {
            pair: PairedDifference(0.0, float(horizon), np.zeros(n_draws)) for pair in identical
        }
        different = [pair for pair in tested if pair not in by_pair]
        for length, pairs_of_length in _pairs_by_block_length(
            deviation, different, min_block_length=float(horizon)
        ).items():
            rng = np.random.default_rng(seed)
            sums = stationary_bootstrap_matrix_sums(columns, block_length=length, rng=rng, n_draws=n_draws)
            resampled = transform(mean + sums[:, :-1] / sums[:, -1:]).T
            for a, b in pairs_of_length:
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


def holm_test_counts(p_values: Sequence[float]) -> list[int]:
    """Return the number of tests that Holm's method adjusts each p value for, in the order given.

    Of n p values it is n for the smallest, n - 1 for the next and so on, up to the first that is not significant (5 %);
    all larger ones have the number of that one. A p value times this number is below 5 % exactly where
    `holm_adjusted_p_values` is.
    """
    order, counts, n_remaining = np.argsort(p_values, kind="stable"), [0] * len(p_values), len(p_values)
    for index in order.tolist():
        counts[index] = n_remaining
        n_remaining -= bool(p_values[index] * n_remaining < SIGNIFICANCE_LEVEL)
    return counts


def _pairs_by_block_length(
    columns: Array, pairs: Iterable[RunIndices] | None, *, min_block_length: float
) -> dict[float, list[RunIndices]]:
    """Return pairs of columns by the optimal block length of their difference, rounded to a power of two."""
    by_length: dict[float, list[RunIndices]] = {}
    for first, second in combinations(range(columns.shape[1]), 2) if pairs is None else pairs:
        optimal = optimal_block_length(columns[:, second] - columns[:, first])
        by_length.setdefault(max(2.0 ** round(np.log2(optimal)), min_block_length), []).append((first, second))
    return by_length


def _paired_difference(first: float, second: float, resampled: Array, block_length: float) -> PairedDifference:
    """Return the difference of two runs from their values and their resampled values, (2, draws)."""
    return PairedDifference(float(second - first), block_length, np.sort(resampled[1] - resampled[0]))
