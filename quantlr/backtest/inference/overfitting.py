"""Whether choosing the best setting in sample means anything out of sample.

The probability of backtest overfitting (Bailey, Borwein, Lopez de Prado and Zhu 2017), by combinatorially symmetric
cross-validation: the sessions are cut into S blocks, and every half of the blocks chooses the setting with the highest
Sharpe ratio, which is then ranked among all settings on the other half.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, islice

import numpy as np

from quantlr.types import Array

BLOCKS = 16
"""S: 12,870 ways to choose half of them."""
SHORTEST = 10
"""Sessions that a block needs at least."""
AT_ONCE = 100_000
"""Sharpe ratios held at a time, so that they stay in the cache."""
ALIKE = 1e-12
"""How far apart Sharpe ratios of one and the same setting may lie by rounding."""


def overfitting_ranks(excess: Array, *, blocks: int = BLOCKS) -> Array:
    """Return omega of every split: the rank out of sample of what was best in sample, over N + 1.

    Ranks ascend, and ties share their mean rank: 1/2 is the middle, N / (N + 1) the best. The blocks are of equal
    length; sessions that are left over are the oldest ones, and are left out. A setting that does not vary in some
    blocks has a ratio of 0 there. Of settings that are equally good in sample the first is chosen.

    Parameters
    ----------
    excess : (sessions, N) returns in excess of cash, a column per setting.
    blocks : S, even.

    Raises
    ------
    ValueError : an odd number of blocks, fewer sessions than blocks, or no settings to choose among.
    """
    sessions, settings = excess.shape
    if blocks % 2 or blocks < 2 or sessions < blocks or settings < 2:
        raise ValueError(
            f"needed an even number of blocks, as many sessions, and 2 settings; found {blocks}, {excess.shape}"
        )
    length = sessions // blocks
    parts = excess[sessions - length * blocks :].reshape(blocks, length, settings)
    sums, squares = parts.sum(axis=1), (parts**2).sum(axis=1)
    half = length * blocks // 2
    some = max(1, AT_ONCE // settings)
    ranks = [_ranks(inside, sums, squares, half) for inside in _halves(blocks, at_once=some)]
    there, back = (np.concatenate(one) for one in zip(*ranks, strict=True))
    return np.concatenate([there, back[::-1]])


def _halves(blocks: int, *, at_once: int) -> Iterator[Array]:
    """Yield the choices of half of the blocks that take the first one, (some, blocks) of ones and zeros.

    In the order of all choices they are the first half, and what each leaves is the second half backwards.
    """
    choices = ((0, *others) for others in combinations(range(1, blocks), blocks // 2 - 1))
    while some := list(islice(choices, at_once)):
        inside = np.zeros((len(some), blocks))
        np.put_along_axis(inside, np.array(some), 1.0, axis=1)
        yield inside


def _ranks(inside: Array, sums: Array, squares: Array, sessions: int) -> tuple[Array, Array]:
    """Return omega of some splits, and of the same with the halves exchanged."""
    outside = 1.0 - inside
    one = _sharpe(inside @ sums, inside @ squares, sessions)
    other = _sharpe(outside @ sums, outside @ squares, sessions)
    return _omega(one, other), _omega(other, one)


def _omega(chosen_by: Array, ranked_by: Array) -> Array:
    """Return the rank by one half's ratios, (splits, N), of what is best by the other's."""
    chosen = np.take_along_axis(ranked_by, chosen_by.argmax(axis=1)[:, None], axis=1)
    below = (ranked_by < chosen - ALIKE).sum(axis=1)
    alike = (np.abs(ranked_by - chosen) <= ALIKE).sum(axis=1)
    return np.asarray((below + (alike + 1) / 2) / (ranked_by.shape[1] + 1))


def _sharpe(sums: Array, squares: Array, sessions: int) -> Array:
    """Return Sharpe ratios from sums of returns and of their squares; 0 where nothing varies."""
    variance = np.maximum(squares - sums**2 / sessions, 0.0)
    varies = variance > 1e-14 * squares
    ratio = sums / sessions / np.sqrt(np.where(varies, variance, 1.0) / (sessions - 1))
    return np.asarray(np.round(np.where(varies, ratio, 0.0), 12))


def blocks_for(sessions: int) -> int | None:
    """Return how many blocks so many sessions are cut into, None where they are too few for two of them."""
    most = min(BLOCKS, sessions // SHORTEST // 2 * 2)
    return most if most >= 2 else None


def probability_of_overfitting(excess: Array) -> float | None:
    """Return the share of splits in which the best in sample is in the lower half out of sample (omega <= 1/2).

    About 1/2 or more says that the choice among settings is worth nothing. None for a single setting, or too few
    sessions.

    Parameters
    ----------
    excess : (sessions, N) returns in excess of cash, a column per setting.
    """
    blocks = blocks_for(len(excess))
    if blocks is None or excess.shape[1] < 2:
        return None
    return float((overfitting_ranks(excess, blocks=blocks) <= 0.5).mean())
