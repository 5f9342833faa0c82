"""Which of several runs knew more, and which earned more, than luck would let them: paired, on the same sessions.

All runs are drawn together: what shakes a session shakes all of them, and cancels out of their differences. One walk
serves all pairs, in blocks as long as `block_length` advises for the pair that needs the longest. A p value is
two-sided, from the same draws as its 95 % interval: the share of them beyond 0, on the side that is rarer, twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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

FEWEST_DRAWS, DRAWS_A_TEST = 2000, 100
"""Draws: so many that the smallest p value there can be, 2 / draws, is small even when multiplied by all tests."""


@dataclass(frozen=True, slots=True)
class Difference:
    """How far one number lies above another, and whether that may be luck.

    Attributes
    ----------
    value : the second less the first.
    low95, high95 : its 95 % interval.
    p_value : two-sided, of no difference; not adjusted for how many differences are looked at.
    """

    value: float
    low95: float
    high95: float
    p_value: float


@dataclass(frozen=True, slots=True)
class Differences:
    """The differences of one number between all pairs of runs.

    Attributes
    ----------
    pairs : (first, second) to the second's less the first's; None where the number of either is undefined.
    block : mean length of the blocks drawn, in sessions.
    draws : how many.
    """

    pairs: dict[tuple[int, int], Difference | None]
    block: float
    draws: int


def draws_for(tests: int) -> int:
    """Return how many draws carry an adjustment for so many tests."""
    return max(FEWEST_DRAWS, DRAWS_A_TEST * tests)


def return_differences(excess: Array, *, draws: int, rng: np.random.Generator) -> tuple[Differences, Differences]:
    """Return differences of mean returns and of Sharpe ratios, both per session.

    Parameters
    ----------
    excess : (sessions, runs) net returns in excess of cash, over the same sessions.
    """
    n, runs = excess.shape
    mean = excess.mean(axis=0)
    away = excess - mean
    block = _longest_block(_in_deviations(excess), shortest=1.0)
    sums = jointly_resampled_sums(np.concatenate([away, away**2], axis=1), block=block, rng=rng, draws=draws)
    moved, squares = sums[:, :runs], sums[:, runs:]
    ratio = [sharpe_per_session(column) for column in excess.T]
    drawn = [
        None if ratio[run] is None else resampled_sharpe(excess[:, run], moved[:, run], squares[:, run])
        for run in range(runs)
    ]
    means = [mean[run] + moved[:, run] / n for run in range(runs)]
    return (
        Differences(_pairs(mean.tolist(), means), block, draws),
        Differences(_pairs(ratio, drawn), block, draws),
    )


def forecast_differences(
    losses: Array, hits: BoolArray, *, session: IntArray, horizon: int, draws: int, rng: np.random.Generator
) -> tuple[Differences, Differences]:
    """Return differences of mean log losses and of shares of right calls, over the same forecasts.

    Parameters
    ----------
    losses, hits : (forecasts, runs) log loss of each forecast, in nats, and whether its call was right.
    session : (forecasts,) the session at whose close they were made; sessions are drawn whole.
    horizon : sessions that a forecast spans: blocks are no shorter.
    """
    runs = losses.shape[1]
    columns = by_session(session, *losses.T, *hits.astype(np.float64).T, np.ones(len(losses)))
    count = columns[:, -1:]
    mean = np.concatenate([losses.mean(axis=0), hits.mean(axis=0)])
    away = columns[:, :-1] - mean * count
    block = max(_longest_block(part, shortest=float(horizon)) for part in (away[:, :runs], away[:, runs:]))
    sums = jointly_resampled_sums(np.concatenate([away, count], axis=1), block=block, rng=rng, draws=draws)
    drawn = list((mean + sums[:, :-1] / sums[:, -1:]).T)
    return (
        Differences(_pairs(mean[:runs].tolist(), drawn[:runs]), block, draws),
        Differences(_pairs(mean[runs:].tolist(), drawn[runs:]), block, draws),
    )


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


def _longest_block(columns: Array, *, shortest: float) -> float:
    """Return the longest block that is advised for the difference of any two columns."""
    pairs = combinations(range(columns.shape[1]), 2)
    return max(shortest, *(block_length(columns[:, second] - columns[:, first]) for first, second in pairs))


def _in_deviations(excess: Array) -> Array:
    """Return returns in units of their own deviation, which are to first order what a Sharpe ratio is a mean of."""
    deviation = excess.std(axis=0)
    return np.asarray(excess / np.where(deviation > 0, deviation, 1.0))


def _pairs(value: Sequence[float | None], drawn: Sequence[Array | None]) -> dict[tuple[int, int], Difference | None]:
    return {
        (first, second): _difference(value[first], value[second], drawn[first], drawn[second])
        for first, second in combinations(range(len(value)), 2)
    }


def _difference(
    first: float | None, second: float | None, drawn_first: Array | None, drawn_second: Array | None
) -> Difference | None:
    if first is None or second is None or drawn_first is None or drawn_second is None:
        return None
    drawn = drawn_second - drawn_first
    rarer = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    low, high = percentile_interval(drawn)
    return Difference(second - first, low, high, min(1.0, 2 * (1 + rarer) / (len(drawn) + 1)))
