"""Which of several runs knew more, and which earned more, than luck would let them: paired, on the same sessions.

Two runs are drawn together: what shakes a session shakes both, and cancels out of their difference. Blocks are as long
as `block_length` advises for that difference, to the nearest power of two, so that pairs of like blocks share draws;
what is said of two runs does not depend on which others stand beside them. A p value is two-sided, from the same draws
as its 95 % interval: the share of them beyond 0, on the side that is rarer, twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from quantlr.core.arrays import Array, BoolArray, IntArray
from quantlr.stats.bootstrap import (
    optimal_block_length,
    percentile_interval,
    stationary_bootstrap_sums_many_columns,
    sum_by_session,
)
from quantlr.stats.sharpe import resampled_sharpe, sharpe_per_session

MIN_DRAWS, DRAWS_PER_TEST = 2000, 60
"""Draws: so many that the smallest p value there can be, 2 / draws, is small even when multiplied by all tests."""
PairDifferences = dict[tuple[int, int], "PairedDifference | None"]
"""By the positions of two runs, the first before the second; None where a number of either is undefined."""


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """How far one run's number lies above another's, and whether that may be luck.

    Attributes
    ----------
    value : the second's less the first's.
    low95, high95 : its 95 % interval.
    p_value : two-sided, of no difference; not adjusted for how many differences are looked at.
    block : mean length of the blocks drawn, in sessions.
    """

    value: float
    low95: float
    high95: float
    p_value: float
    block: float

    def scaled(self, factor: float) -> PairedDifference:
        """Return the same difference in a unit of which `factor`, above 0, make one of this."""
        return replace(self, value=self.value * factor, low95=self.low95 * factor, high95=self.high95 * factor)


def n_draws_for_tests(n_tests: int) -> int:
    """Return how many draws carry an adjustment for so many tests."""
    return max(MIN_DRAWS, DRAWS_PER_TEST * n_tests)


def paired_return_differences(
    excess_returns: Array, *, n_draws: int, seed: int
) -> tuple[PairDifferences, PairDifferences]:
    """Return differences of mean returns and of Sharpe ratios, both per session.

    Parameters
    ----------
    excess : (sessions, runs) net returns in excess of cash, over the same sessions.
    draws : resamples for each length of blocks.
    seed : each length of blocks has a generator of its own.
    """
    n, runs = excess_returns.shape
    mean = excess_returns.mean(axis=0)
    away = excess_returns - mean
    columns = np.concatenate([away, away**2], axis=1)
    ratio = [sharpe_per_session(column) for column in excess_returns.T]
    deviation = excess_returns.std(axis=0)
    in_deviations = excess_returns / np.where(deviation > 0, deviation, 1.0)
    means: PairDifferences = {}
    ratios: PairDifferences = {}
    for block, pairs in _pairs_by_block_length(in_deviations, min_block_length=1.0).items():
        sums = stationary_bootstrap_sums_many_columns(
            columns, mean_block_length=block, rng=np.random.default_rng(seed), n_draws=n_draws
        )
        drawn_mean = mean + sums[:, :runs] / n
        for pair in pairs:
            means[pair] = _make_paired_difference(pair, mean.tolist(), [drawn_mean[:, run] for run in pair], block)
            drawn = [
                None
                if ratio[run] is None
                else resampled_sharpe(excess_returns[:, run], sums[:, run], sums[:, runs + run])
                for run in pair
            ]
            ratios[pair] = _make_paired_difference(pair, ratio, drawn, block)
    return _sort_by_pair(means), _sort_by_pair(ratios)


def paired_forecast_differences(
    log_losses: Array, hits: BoolArray, *, session: IntArray, horizon: int, n_draws: int, seed: int
) -> tuple[PairDifferences, PairDifferences]:
    """Return differences of mean log losses and of shares of right calls, over the same forecasts.

    Parameters
    ----------
    losses, hits : (forecasts, runs) log loss of each forecast, in nats, and whether its call was right.
    session : (forecasts,) the session at whose close they were made; sessions are drawn whole.
    horizon : sessions that a forecast spans: blocks are no shorter.
    """
    found = [
        _paired_score_differences(scores, session=session, horizon=horizon, n_draws=n_draws, seed=seed)
        for scores in (log_losses, hits.astype(np.float64))
    ]
    return found[0], found[1]


def _paired_score_differences(
    scores: Array, *, session: IntArray, horizon: int, n_draws: int, seed: int
) -> PairDifferences:
    """Return differences of mean scores, (forecasts, runs)."""
    sums = sum_by_session(session, *scores.T, np.ones(len(scores)))
    mean = scores.mean(axis=0)
    away = sums[:, :-1] - mean * sums[:, -1:]
    columns = np.concatenate([away, sums[:, -1:]], axis=1)
    found: PairDifferences = {}
    for block, pairs in _pairs_by_block_length(away, min_block_length=float(horizon)).items():
        moved = stationary_bootstrap_sums_many_columns(
            columns, mean_block_length=block, rng=np.random.default_rng(seed), n_draws=n_draws
        )
        drawn = mean + moved[:, :-1] / moved[:, -1:]
        for pair in pairs:
            found[pair] = _make_paired_difference(pair, mean.tolist(), [drawn[:, run] for run in pair], block)
    return _sort_by_pair(found)


def holm_adjusted_p_values(p_values: Sequence[float]) -> list[float]:
    """Return p values adjusted so that the chance of any false claim among them is kept (Holm 1979).

    The smallest is multiplied by how many there are, the next by one less, and so on; none falls below the one before.
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, at in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[at]))
        adjusted[at] = largest
    return adjusted


def _pairs_by_block_length(columns: Array, *, min_block_length: float) -> dict[float, list[tuple[int, int]]]:
    """Return pairs of columns by the block that is advised for their difference, to the nearest power of two."""
    found: dict[float, list[tuple[int, int]]] = {}
    for first, second in combinations(range(columns.shape[1]), 2):
        advised = optimal_block_length(columns[:, second] - columns[:, first])
        block = max(2.0 ** round(np.log2(advised)), min_block_length)
        found.setdefault(block, []).append((first, second))
    return found


def _make_paired_difference(
    run_pair: tuple[int, int],
    run_values: Sequence[float | None],
    resampled_values: Sequence[Array | None],
    mean_block_length: float,
) -> PairedDifference | None:
    first, second = (run_values[run] for run in run_pair)
    drawn_first, drawn_second = resampled_values
    if first is None or second is None or drawn_first is None or drawn_second is None:
        return None
    apart = drawn_second - drawn_first
    rarer = min(int((apart <= 0).sum()), int((apart >= 0).sum()))
    return PairedDifference(
        second - first, *percentile_interval(apart), min(1.0, 2 * (1 + rarer) / (len(apart) + 1)), mean_block_length
    )


def _sort_by_pair(differences: PairDifferences) -> PairDifferences:
    return dict(sorted(differences.items()))
