"""The reliability diagram of probability forecasts: the isotonic curve, its band, and the decomposition of scores.

CORP (Dimitriadis, Gneiting and Jordan 2021): the observed frequency of ups is estimated as an increasing function of
the forecast, by pooling adjacent violators. With S the score of the forecast, S_C of the forecast recalibrated by that
function, and S_M of the mean outcome as constant forecast,

    S = (S - S_C) - (S_M - S_C) + S_M = miscalibration - discrimination + uncertainty

exactly, and no term is negative.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from quantlr.core.values import Array, IntArray
from quantlr.stats.hac import INTERVAL_95_QUANTILES, horizon_block_index, weighted_pivot_sums


@dataclass(frozen=True, slots=True)
class ScoreDecomposition:
    """The terms of a mean score, which is miscalibration - discrimination + uncertainty."""

    miscalibration: float
    discrimination: float
    uncertainty: float


@dataclass(frozen=True, slots=True)
class ReliabilityCurve:
    """Observed frequency of ups by forecast probability.

    Attributes
    ----------
    probability : (m,) the distinct forecasts, ascending.
    count : (m,) number of forecasts of each.
    observed_frequency : (m,) proportion of ups by isotonic regression, ascending.
    """

    probability: Array
    count: Array
    observed_frequency: Array


@dataclass(frozen=True, slots=True)
class ReliabilityBand:
    """Pointwise 95 % band of the reliability curve of a calibrated forecast.

    Attributes
    ----------
    probability : (g,) ascending.
    low, high : (g,) bounds of the observed frequency.
    """

    probability: Array
    low: Array
    high: Array


def isotonic_regression(values: Array, weights: Array) -> Array:
    """Return the increasing sequence nearest to `values` in weighted least squares, by pooling adjacent violators.

    Each run of blocks whose means do not increase is pooled into one block, until none is left: the order in which
    violators are pooled does not matter.
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


def isotonic_reliability_curve(probability: Array, up: Array) -> ReliabilityCurve:
    """Return the observed frequency of ups as an increasing function of the probability."""
    distinct, index = np.unique(probability, return_inverse=True)
    count = np.bincount(index).astype(np.float64)
    return ReliabilityCurve(distinct, count, isotonic_regression(np.bincount(index, weights=up) / count, count))


def log_loss_decomposition(probability: Array, up: Array, *, log_loss: float) -> ScoreDecomposition:
    """Return the terms of the mean log loss, in nats."""
    return _decompose_score(probability, up, log_loss, _binary_entropy)


def brier_decomposition(probability: Array, up: Array, *, brier: float) -> ScoreDecomposition:
    """Return the terms of the Brier score."""
    return _decompose_score(probability, up, brier, lambda frequency: frequency * (1 - frequency))


def _decompose_score(
    probability: Array, up: Array, score: float, expected_score: Callable[[Array], Array]
) -> ScoreDecomposition:
    """Return the terms of a mean score; `expected_score` is that of outcomes forecast with their own frequency."""
    curve = isotonic_reliability_curve(probability, up)
    recalibrated = float(expected_score(curve.observed_frequency) @ curve.count) / len(up)
    uncertainty = float(expected_score(up.mean(keepdims=True))[0])
    return ScoreDecomposition(score - recalibrated, uncertainty - recalibrated, uncertainty)


def _binary_entropy(probability: Array) -> Array:
    """Return the entropy in nats of outcomes that are up with these probabilities; 0 at 0 and at 1."""
    inside = np.clip(probability, np.finfo(np.float64).tiny, 1 - np.finfo(np.float64).epsneg)
    return np.asarray(-probability * np.log(inside) - (1 - probability) * np.log1p(-inside))


def probability_group_index(probability: Array, *, max_groups: int) -> IntArray:
    """Return the group of each forecast, ascending with the probability; equal forecasts share a group."""
    distinct, index = np.unique(probability, return_inverse=True)
    return np.asarray((index * min(len(distinct), max_groups)) // len(distinct), dtype=np.int64)


def reliability_band(
    probability: Array, up: Array, *, session: IntArray, horizon: int, rng: Generator, n_draws: int = 400
) -> ReliabilityBand:
    """Return the band of the reliability curve under the hypothesis that the forecast is calibrated.

    Outcomes are replaced by the probability plus the residual, up - probability, with a random sign: one sign for all
    tickers over `horizon` sessions, so that their dependence is kept (the wild bootstrap of Wu 1986, by clusters as in
    Cameron, Gelbach and Miller 2008).

    Parameters
    ----------
    probability, up, session : (n,) of forecasts whose outcome is known.
    horizon : sessions that a forecast spans.
    n_draws : number of bootstrap draws.

    Notes
    -----
    With more than 500 distinct forecasts, adjacent ones are grouped.
    """
    group = probability_group_index(probability, max_groups=500)
    count = np.bincount(group).astype(np.float64)
    mean_probability = np.bincount(group, weights=probability) / count
    cluster = horizon_block_index(session, horizon=horizon)
    signs = rng.choice([-1.0, 1.0], size=(n_draws, int(cluster.max()) + 1))
    draws = mean_probability + weighted_pivot_sums(signs, cluster, group, up - probability) / count
    # Each draw is shifted above the one before, so that no two are pooled: one regression serves all of them.
    shift = (np.ptp(draws) + 1.0) * np.arange(n_draws)[:, None]
    curves = isotonic_regression((draws + shift).ravel(), np.tile(count, n_draws)).reshape(draws.shape) - shift
    low, high = np.quantile(curves, INTERVAL_95_QUANTILES, axis=0)
    return ReliabilityBand(mean_probability, np.clip(low, 0.0, 1.0), np.clip(high, 0.0, 1.0))
