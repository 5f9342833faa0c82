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

MAX_CSCV_BLOCKS = 16
"""S: 12,870 ways to choose half of them."""
MIN_BLOCK_SESSIONS = 10
"""Sessions that a block needs at least."""
MAX_SHARPES_PER_CHUNK = 100_000
"""Sharpe ratios held at a time, so that they stay in the cache."""
SHARPE_TIE_TOLERANCE = 1e-12
"""How far apart Sharpe ratios of one and the same setting may lie by rounding."""


def out_of_sample_ranks(excess_returns: Array, *, n_blocks: int = MAX_CSCV_BLOCKS) -> Array:
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
    sessions, settings = excess_returns.shape
    if n_blocks % 2 or n_blocks < 2 or sessions < n_blocks or settings < 2:
        raise ValueError(
            f"needed an even number of blocks, as many sessions, and 2 settings; found {n_blocks}, {excess_returns.shape}"
        )
    length = sessions // n_blocks
    parts = excess_returns[sessions - length * n_blocks :].reshape(n_blocks, length, settings)
    sums, squares = parts.sum(axis=1), (parts**2).sum(axis=1)
    half = length * n_blocks // 2
    some = max(1, MAX_SHARPES_PER_CHUNK // settings)
    ranks = [
        _ranks_of_split_and_swap(inside, sums, squares, half)
        for inside in _iter_in_sample_masks(n_blocks, chunk_size=some)
    ]
    there, back = (np.concatenate(one) for one in zip(*ranks, strict=True))
    return np.concatenate([there, back[::-1]])


def _iter_in_sample_masks(n_blocks: int, *, chunk_size: int) -> Iterator[Array]:
    """Yield the choices of half of the blocks that take the first one, (some, blocks) of ones and zeros.

    In the order of all choices they are the first half, and what each leaves is the second half backwards.
    """
    choices = ((0, *others) for others in combinations(range(1, n_blocks), n_blocks // 2 - 1))
    while some := list(islice(choices, chunk_size)):
        inside = np.zeros((len(some), n_blocks))
        np.put_along_axis(inside, np.array(some), 1.0, axis=1)
        yield inside


def _ranks_of_split_and_swap(
    in_sample_mask: Array, block_sums: Array, block_squared_sums: Array, n_sessions: int
) -> tuple[Array, Array]:
    """Return omega of some splits, and of the same with the halves exchanged."""
    outside = 1.0 - in_sample_mask
    one = _sharpe_from_sums(in_sample_mask @ block_sums, in_sample_mask @ block_squared_sums, n_sessions)
    other = _sharpe_from_sums(outside @ block_sums, outside @ block_squared_sums, n_sessions)
    return _relative_rank_of_selected(one, other), _relative_rank_of_selected(other, one)


def _relative_rank_of_selected(selection_sharpes: Array, evaluation_sharpes: Array) -> Array:
    """Return the rank by one half's ratios, (splits, N), of what is best by the other's."""
    chosen = np.take_along_axis(evaluation_sharpes, selection_sharpes.argmax(axis=1)[:, None], axis=1)
    below = (evaluation_sharpes < chosen - SHARPE_TIE_TOLERANCE).sum(axis=1)
    alike = (np.abs(evaluation_sharpes - chosen) <= SHARPE_TIE_TOLERANCE).sum(axis=1)
    return np.asarray((below + (alike + 1) / 2) / (evaluation_sharpes.shape[1] + 1))


def _sharpe_from_sums(sums: Array, squared_sums: Array, n_sessions: int) -> Array:
    """Return Sharpe ratios from sums of returns and of their squares; 0 where nothing varies."""
    variance = np.maximum(squared_sums - sums**2 / n_sessions, 0.0)
    varies = variance > 1e-14 * squared_sums
    ratio = sums / n_sessions / np.sqrt(np.where(varies, variance, 1.0) / (n_sessions - 1))
    return np.asarray(np.round(np.where(varies, ratio, 0.0), 12))


def n_cscv_blocks(n_sessions: int) -> int | None:
    """Return how many blocks so many sessions are cut into, None where they are too few for two of them."""
    most = min(MAX_CSCV_BLOCKS, n_sessions // MIN_BLOCK_SESSIONS // 2 * 2)
    return most if most >= 2 else None


def probability_of_overfitting(excess_returns: Array) -> float | None:
    """Return the share of splits in which the best in sample is in the lower half out of sample (omega <= 1/2).

    About 1/2 or more says that the choice among settings is worth nothing. None for a single setting, or too few
    sessions.

    Parameters
    ----------
    excess : (sessions, N) returns in excess of cash, a column per setting.
    """
    blocks = n_cscv_blocks(len(excess_returns))
    if blocks is None or excess_returns.shape[1] < 2:
        return None
    return float((out_of_sample_ranks(excess_returns, n_blocks=blocks) <= 0.5).mean())
