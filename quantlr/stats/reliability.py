"""Do probabilities mean what they say? The isotonic reliability curve, and a score's parts that follow from it.

CORP (Dimitriadis, Gneiting and Jordan 2021): the curve is the share of ups as an increasing function of the forecast,
by pooling adjacent violators. Recalibrated by it, a forecast scores best; with S the score of the forecast, S_C of the
recalibrated one and S_M of the mean outcome,

    S = (S - S_C) - (S_M - S_C) + S_M = miscalibration - discrimination + uncertainty

exactly, and no part is negative.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quantlr.core.arrays import Array, IntArray
from quantlr.stats.bootstrap import horizon_block_index, pivot_sums
from quantlr.stats.hac import INTERVAL_95_QUANTILES

MAX_BAND_GROUPS = 500
"""Neighbouring forecasts are taken together for the band, where there are more of them."""
BAND_DRAWS = 400


@dataclass(frozen=True, slots=True)
class ScoreDecomposition:
    """What a mean score is made of; the score is miscalibration - discrimination + uncertainty."""

    miscalibration: float
    discrimination: float
    uncertainty: float


@dataclass(frozen=True, slots=True)
class ReliabilityCurve:
    """How often ups came, by what was forecast.

    Attributes
    ----------
    probability : (m,) the distinct forecasts, ascending.
    count : (m,) how often each was made.
    share : (m,) share of ups by isotonic regression, ascending.
    """

    probability: Array
    count: Array
    observed_frequency: Array


@dataclass(frozen=True, slots=True)
class ReliabilityBand:
    """Where 95 % of curves would pass, were the forecasts right, at each of some probabilities.

    Attributes
    ----------
    probability, low, high : (g,) ascending.
    """

    probability: Array
    low: Array
    high: Array


def isotonic_regression(values: Array, weights: Array) -> Array:
    """Return the increasing sequence nearest to `values` in weighted squares, by pooling adjacent violators.

    Every run of blocks whose means do not increase becomes one block, until none is left: blocks that violate may be
    pooled in any order, and a whole run at once.
    """
    start = np.arange(len(values))
    total, mass = values * weights, weights.astype(np.float64)
    while True:
        mean = total / mass
        rises = np.concatenate([[True], mean[1:] > mean[:-1]])
        if rises.all():
            return np.repeat(mean, np.diff(np.append(start, len(values))))
        first = np.flatnonzero(rises)
        start, total, mass = start[first], np.add.reduceat(total, first), np.add.reduceat(mass, first)


def reliability_curve(probability: Array, up: Array) -> ReliabilityCurve:
    """Return the share of ups as an increasing function of the probability."""
    distinct, where = np.unique(probability, return_inverse=True)
    count = np.bincount(where).astype(np.float64)
    share = isotonic_regression(np.bincount(where, weights=up) / count, count)
    return ReliabilityCurve(distinct, count, share)


def log_loss_decomposition(probability: Array, up: Array, *, log_loss: float) -> ScoreDecomposition:
    """Return the parts of the mean cross-entropy, in nats."""
    curve = reliability_curve(probability, up)
    uncertainty = float(_binary_entropy(up.mean(keepdims=True))[0])
    return _decompose_score(
        log_loss, float(_binary_entropy(curve.observed_frequency) @ curve.count) / len(up), uncertainty
    )


def brier_decomposition(probability: Array, up: Array, *, brier: float) -> ScoreDecomposition:
    """Return the parts of the Brier score."""
    curve = reliability_curve(probability, up)
    rate = float(up.mean())
    return _decompose_score(
        brier,
        float((curve.observed_frequency * (1 - curve.observed_frequency)) @ curve.count) / len(up),
        rate * (1 - rate),
    )


def _decompose_score(score: float, recalibrated_score: float, uncertainty: float) -> ScoreDecomposition:
    return ScoreDecomposition(score - recalibrated_score, uncertainty - recalibrated_score, uncertainty)


def _binary_entropy(probability: Array) -> Array:
    """Return the mean cross-entropy of outcomes, so many of which are up, when that share is forecast of them."""
    inside = np.clip(probability, np.finfo(np.float64).tiny, 1 - np.finfo(np.float64).epsneg)
    return np.asarray(-probability * np.log(inside) - (1 - probability) * np.log1p(-inside))


def probability_group_index(probability: Array, *, max_groups: int) -> IntArray:
    """Return the number of each forecast's group, ascending with the probability: equal ones share one, of `most`."""
    distinct, where = np.unique(probability, return_inverse=True)
    return np.asarray((where * min(len(distinct), max_groups)) // len(distinct), dtype=np.int64)


def reliability_band(
    probability: Array, up: Array, *, session: IntArray, horizon: int, rng: np.random.Generator
) -> ReliabilityBand:
    """Return where the curve of a calibrated forecast would lie.

    What came is replaced by the probability plus the surprise, up - probability, whose sign is drawn anew: one sign for
    all tickers over `horizon` sessions, so that surprises which come together stay together (the wild bootstrap of Wu
    1986, by clusters as in Cameron, Gelbach and Miller 2008).

    Parameters
    ----------
    probability, up, session : (n,) as in `Scored`.
    horizon : sessions that a forecast spans.
    """
    group = probability_group_index(probability, max_groups=MAX_BAND_GROUPS)
    count = np.bincount(group).astype(np.float64)
    centre = np.bincount(group, weights=probability) / count
    cluster = horizon_block_index(session, horizon=horizon)
    signs = rng.choice([-1.0, 1.0], size=(BAND_DRAWS, int(cluster.max()) + 1))
    drawn = centre + signs @ pivot_sums(cluster, group, up - probability) / count
    # Each draw is lifted above the one before, so that none pools with another, and all are regressed at once.
    lift = (np.ptp(drawn) + 1.0) * np.arange(BAND_DRAWS)[:, None]
    curves = isotonic_regression((drawn + lift).ravel(), np.tile(count, BAND_DRAWS)).reshape(drawn.shape) - lift
    low, high = np.quantile(curves, INTERVAL_95_QUANTILES, axis=0)
    return ReliabilityBand(centre, np.clip(low, 0.0, 1.0), np.clip(high, 0.0, 1.0))
