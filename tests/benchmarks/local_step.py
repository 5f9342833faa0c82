"""The local step of the test of skill by how slowly forecasts move: where it is needed, and what it leaves.

A slow feature and an up-rate that shifts agree by chance. Markets are simulated without prices, with a linear model in
place of the logit, so that thousands of them take seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from quantlr.core.values import Array, IntArray
from quantlr.stats.clark_west import (
    MAX_BLOCK_MEAN_VARIANCE_SHARE,
    block_mean_variance_share,
    mean_of_known_outcomes,
)
from quantlr.stats.cosine_test import cosine_test
from quantlr.stats.verdict import is_significant

from benchmarks.simulation import Figure, proportion_figure
from benchmarks.skill_markets import autoregression

SESSIONS = 3750
MEAN_REGIME_SESSIONS = 500
UP_RATES = 0.45, 0.56
PHIS = (0.86, 0.9, 0.92, 0.94, 0.95, 0.96, 0.97)
"""Coefficients of the feature, an AR(1): those whose share of slow variance is around the threshold."""
SHARE_EDGES = (0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5)


def local_step_rejections(series: int, seed: int) -> Iterator[Figure]:
    """Yield how often the test rejects, by the share of slow variance, without the local step and with it.

    In seven markets for each one asked for.
    """
    shares, rejections = [], []
    for index in range(series * len(PHIS)):
        rng = np.random.default_rng([seed, index])
        excess, score = slow_feature_forecasts(rng, phi=PHIS[index % len(PHIS)])
        shares.append(block_mean_variance_share(score))
        local_excess = excess - mean_of_known_outcomes(excess, horizon=1)
        tests = (cosine_test(values * score, horizon=1) for values in (excess, local_excess))
        rejections.append([is_significant(test.p_value) for test in tests])
    share, is_rejected = np.array(shares), np.array(rejections)
    for low, high in pairwise(SHARE_EDGES):
        in_bin = is_rejected[(low <= share) & (share < high)]
        needs_step = low >= MAX_BLOCK_MEAN_VARIANCE_SHARE
        for column, text in enumerate(("base rate", "local up-rate")):
            max_rate = 0.05 if bool(column) == needs_step and high <= 0.4 else 1.0
            label = f"share of slow variance {low} to {high}, against the {text}: rejects"
            if len(in_bin):
                yield proportion_figure(label, int(in_bin[:, column].sum()), len(in_bin), max_rate=max_rate)


def slow_feature_forecasts(rng: np.random.Generator, *, phi: float) -> tuple[Array, Array]:
    """Return outcomes less the training window's up-rate, and standardised forecasts, (forecasts,) each.

    The feature is an AR(1) that says nothing of the outcomes, whose rate shifts after about 500 sessions. Refits are
    those of the rolling year.
    """
    lengths = rng.geometric(1 / MEAN_REGIME_SESSIONS, size=SESSIONS // 100)
    up_rate = np.repeat(rng.choice(UP_RATES, size=len(lengths)), lengths)[:SESSIONS]
    up = (rng.random(len(up_rate)) < up_rate).astype(np.float64)
    feature = autoregression(rng, len(up), phi=phi)
    train, refit_every = 250, 21
    row = np.arange(train + 1, len(up))
    last_refit = row - (row - row[0]) % refit_every
    window = last_refit - 1 - train, last_refit - 1
    mean_up, mean = _window_mean(up, *window), _window_mean(feature, *window)
    covariance = _window_mean(up * feature, *window) - mean_up * mean
    std = np.sqrt(_window_mean(feature**2, *window) - mean**2)
    return up[row] - mean_up, np.sign(covariance) * (feature[row] - mean) / std


def _window_mean(values: Array, start: IntArray, stop: IntArray) -> Array:
    total = np.concatenate([[0.0], np.cumsum(values)])
    return np.asarray((total[stop] - total[start]) / (stop - start))
