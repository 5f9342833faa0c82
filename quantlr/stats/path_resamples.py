"""Resampled paths of returns by the stationary bootstrap: quantiles of equity over time, and drawdowns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quantlr.core.values import Array

N_PATHS, MAX_POINTS = 500, 250
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, slots=True)
class ResampledPaths:
    """Paths of equity that resamples of a run's sessions give.

    Attributes
    ----------
    point_index : (points,) number of sessions after which equity is given; 0 is the first fill.
    equity_quantiles : (5, points) the quantiles 5, 25, 50, 75 and 95 % of the growth of 1.
    max_drawdown : (paths,) largest fall below the highest equity so far, as a fraction <= 0.
    final_equity : (paths,) growth of 1 over all sessions.
    """

    point_index: Array
    equity_quantiles: Array
    max_drawdown: Array
    final_equity: Array


def resample_paths(log_returns: Array, *, block_length: float, seed: int, n_paths: int = N_PATHS) -> ResampledPaths:
    """Return the paths of resamples of the stationary bootstrap (Politis and Romano 1994).

    Parameters
    ----------
    log_returns : (sessions,) log of 1 + return, in order.
    block_length : mean length of a block in sessions, at least 1.
    seed : of the generator.
    n_paths : number of resamples.
    """
    n, rng = len(log_returns), np.random.default_rng(seed)
    points = np.unique(np.linspace(0, n, min(MAX_POINTS, n + 1)).astype(np.int64))
    at_points, falls = np.empty((n_paths, len(points))), np.empty(n_paths)
    for path in range(n_paths):
        is_start = rng.random(n) < 1.0 / block_length
        is_start[0] = True
        starts = np.flatnonzero(is_start)
        block = np.cumsum(is_start) - 1
        index = (rng.integers(0, n, len(starts))[block] + np.arange(n) - starts[block]) % n
        level = np.concatenate([[0.0], np.cumsum(log_returns[index])])
        at_points[path] = level[points]
        falls[path] = (level - np.maximum.accumulate(level)).min()
    quantiles = np.exp(np.quantile(at_points, QUANTILES, axis=0))
    return ResampledPaths(points.astype(np.float64), quantiles, np.expm1(falls), np.exp(at_points[:, -1]))
