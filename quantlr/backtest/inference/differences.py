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

from quantlr.backtest.inference.bootstrap import (
    block_length,
    by_session,
    jointly_resampled_sums,
    percentile_interval,
)
from quantlr.backtest.inference.sharpe import resampled_sharpe, sharpe_per_session
from quantlr.types import Array, BoolArray, IntArray

FEWEST_DRAWS, DRAWS_A_TEST = 2000, 60
"""Draws: so many that the smallest p value there can be, 2 / draws, is small even when multiplied by all tests."""
Pairs = dict[tuple[int, int], "Difference | None"]
"""By the positions of two runs, the first before the second; None where a number of either is undefined."""


@dataclass(frozen=True, slots=True)
class Difference:
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

    def times(self, factor: float) -> Difference:
        """Return the same difference in a unit of which `factor`, above 0, make one of this."""
        return replace(self, value=self.value * factor, low95=self.low95 * factor, high95=self.high95 * factor)


def draws_for(tests: int) -> int:
    """Return how many draws carry an adjustment for so many tests."""
    return max(FEWEST_DRAWS, DRAWS_A_TEST * tests)


def return_differences(excess: Array, *, draws: int, seed: int) -> tuple[Pairs, Pairs]:
    """Return differences of mean returns and of Sharpe ratios, both per session.

    Parameters
    ----------
    excess : (sessions, runs) net returns in excess of cash, over the same sessions.
    draws : resamples for each length of blocks.
    seed : each length of blocks has a generator of its own.
    """
    n, runs = excess.shape
    mean = excess.mean(axis=0)
    away = excess - mean
    columns = np.concatenate([away, away**2], axis=1)
    ratio = [sharpe_per_session(column) for column in excess.T]
    deviation = excess.std(axis=0)
    in_deviations = excess / np.where(deviation > 0, deviation, 1.0)
    means: Pairs = {}
    ratios: Pairs = {}
    for block, pairs in _by_block(in_deviations, shortest=1.0).items():
        sums = jointly_resampled_sums(columns, block=block, rng=np.random.default_rng(seed), draws=draws)
        drawn_mean = mean + sums[:, :runs] / n
        for pair in pairs:
            means[pair] = _difference(pair, mean.tolist(), [drawn_mean[:, run] for run in pair], block)
            drawn = [
                None if ratio[run] is None else resampled_sharpe(excess[:, run], sums[:, run], sums[:, runs + run])
                for run in pair
            ]
            ratios[pair] = _difference(pair, ratio, drawn, block)
    return _in_order(means), _in_order(ratios)


def forecast_differences(
    losses: Array, hits: BoolArray, *, session: IntArray, horizon: int, draws: int, seed: int
) -> tuple[Pairs, Pairs]:
    """Return differences of mean log losses and of shares of right calls, over the same forecasts.

    Parameters
    ----------
    losses, hits : (forecasts, runs) log loss of each forecast, in nats, and whether its call was right.
    session : (forecasts,) the session at whose close they were made; sessions are drawn whole.
    horizon : sessions that a forecast spans: blocks are no shorter.
    """
    found = [
        _score_differences(scores, session=session, horizon=horizon, draws=draws, seed=seed)
        for scores in (losses, hits.astype(np.float64))
    ]
    return found[0], found[1]


def _score_differences(scores: Array, *, session: IntArray, horizon: int, draws: int, seed: int) -> Pairs:
    """Return differences of mean scores, (forecasts, runs)."""
    sums = by_session(session, *scores.T, np.ones(len(scores)))
    mean = scores.mean(axis=0)
    away = sums[:, :-1] - mean * sums[:, -1:]
    columns = np.concatenate([away, sums[:, -1:]], axis=1)
    found: Pairs = {}
    for block, pairs in _by_block(away, shortest=float(horizon)).items():
        moved = jointly_resampled_sums(columns, block=block, rng=np.random.default_rng(seed), draws=draws)
        drawn = mean + moved[:, :-1] / moved[:, -1:]
        for pair in pairs:
            found[pair] = _difference(pair, mean.tolist(), [drawn[:, run] for run in pair], block)
    return _in_order(found)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values adjusted so that the chance of any false claim among them is kept (Holm 1979).

    The smallest is multiplied by how many there are, the next by one less, and so on; none falls below the one before.
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, at in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[at]))
        adjusted[at] = largest
    return adjusted


def _by_block(columns: Array, *, shortest: float) -> dict[float, list[tuple[int, int]]]:
    """Return pairs of columns by the block that is advised for their difference, to the nearest power of two."""
    found: dict[float, list[tuple[int, int]]] = {}
    for first, second in combinations(range(columns.shape[1]), 2):
        advised = block_length(columns[:, second] - columns[:, first])
        block = max(2.0 ** round(np.log2(advised)), shortest)
        found.setdefault(block, []).append((first, second))
    return found


def _difference(
    pair: tuple[int, int], value: Sequence[float | None], drawn: Sequence[Array | None], block: float
) -> Difference | None:
    first, second = (value[run] for run in pair)
    drawn_first, drawn_second = drawn
    if first is None or second is None or drawn_first is None or drawn_second is None:
        return None
    apart = drawn_second - drawn_first
    rarer = min(int((apart <= 0).sum()), int((apart >= 0).sum()))
    return Difference(second - first, *percentile_interval(apart), min(1.0, 2 * (1 + rarer) / (len(apart) + 1)), block)


def _in_order(found: Pairs) -> Pairs:
    return dict(sorted(found.items()))
