"""Tests and intervals of directional skill: accuracy, area under the ROC curve, and the Pesaran-Timmermann test."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from quantlr.core.values import Array, BoolArray, IntArray
from quantlr.stats.bootstrap import optimal_block_length, percentile_interval, precise_bootstrap_sums
from quantlr.stats.cosine_test import cosine_test
from quantlr.stats.hac import (
    STANDARD_NORMAL,
    Z95,
    Interval,
    sum_by_session,
)


def wilson_interval(n_hits: float, n: float) -> Interval:
    """Return the 95 % score interval of a proportion (Wilson 1927); `n` may be an effective sample size."""
    proportion, z2 = n_hits / n, Z95**2
    centre = (proportion + z2 / (2 * n)) / (1 + z2 / n)
    half_width = Z95 / (1 + z2 / n) * np.sqrt(proportion * (1 - proportion) / n + z2 / (4 * n**2))
    return max(float(centre - half_width), 0.0), min(float(centre + half_width), 1.0)


def midranks(values: Array) -> Array:
    """Return ranks from 1; equal values share their mean rank."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2.0)[group])


def delong_placements(score: Array, up: Array) -> tuple[Array, Array] | None:
    """Return the placements of DeLong, DeLong and Clarke-Pearson (1988); None unless both outcomes occur.

    For each up, the proportion of not-ups with a lower score; for each not-up, the proportion of ups with a higher one;
    ties count half. The mean of either is the area under the ROC curve. Computed from midranks (Sun and Xu 2014).
    """
    positive, negative = score[up == 1], score[up == 0]
    if not len(positive) or not len(negative):
        return None
    ranks = midranks(np.concatenate([positive, negative]))
    of_positive = (ranks[: len(positive)] - midranks(positive)) / len(negative)
    of_negative = 1.0 - (ranks[len(positive) :] - midranks(negative)) / len(positive)
    return of_positive, of_negative


def roc_auc(score: Array, up: Array) -> float | None:
    """Return the area under the ROC curve, None unless both outcomes occur."""
    placements = delong_placements(score, up)
    return float(placements[0].mean()) if placements else None


def auc_scores(score: Array, up: Array) -> Array | None:
    """Return a number for each forecast, (n,), whose mean is the area under the ROC curve; None as `roc_auc`.

    Each is the area and the forecast's contribution to it of the first order (its influence function), so that the
    area of a resample is to first order their mean.
    """
    placements = delong_placements(score, up)
    if placements is None:
        return None
    auc, scores = float(placements[0].mean()), np.empty(len(up))
    for is_outcome, placement in zip((up == 1, up == 0), placements, strict=True):
        scores[is_outcome] = auc + (placement - auc) * len(up) / len(placement)
    return scores


def delong_auc_interval(score: Array, up: Array) -> Interval | None:
    """Return the 95 % interval of the area under the ROC curve (DeLong, DeLong and Clarke-Pearson 1988).

    None with fewer than two of either outcome.
    """
    placements = delong_placements(score, up)
    if placements is None or min(map(len, placements)) < 2:
        return None
    auc = float(placements[0].mean())
    half_width = Z95 * float(np.sqrt(sum(values.var(ddof=1) / len(values) for values in placements)))
    return max(auc - half_width, 0.0), min(auc + half_width, 1.0)


def clustered_accuracy_and_auc_intervals(
    score: Array, hits: BoolArray, up: Array, *, session: IntArray, horizon: int, rng: Generator
) -> tuple[Interval, Interval | None]:
    """Return the 95 % intervals of accuracy and area under the ROC curve where forecasts overlap or share a session.

    Whole sessions are resampled, once for both, in blocks of the longer of the two optimal lengths, but no shorter than
    `horizon` sessions. The area of a resample is taken to first order in its counts, from the placements in the whole
    sample, as in DeLong's variance; it is None with fewer than two of either outcome.

    Parameters
    ----------
    score, hits, up : (n,) probability of up, whether the forecast was right, and the outcome.
    session : (n,) the session at whose close the forecast was made.
    horizon : sessions that a forecast spans.
    """
    is_up, placements = up == 1, delong_placements(score, up)
    has_area = placements is not None and min(map(len, placements)) >= 2
    up_excess, other_excess, auc = np.zeros(len(up)), np.zeros(len(up)), 0.0
    if placements is not None and has_area:
        auc = float(placements[0].mean())
        up_excess[is_up], other_excess[~is_up] = (values - auc for values in placements)
    columns = hits.astype(np.float64), np.ones(len(up)), up_excess, other_excess, is_up * 1.0, ~is_up * 1.0
    sums = sum_by_session(session, *columns)
    influence = sums[:, 2] / max(int(is_up.sum()), 1) + sums[:, 3] / max(int((~is_up).sum()), 1)
    lengths = map(optimal_block_length, (sums[:, 0] - hits.mean() * sums[:, 1], influence))

    def statistics(sums: Array) -> tuple[Array, Array]:
        n_hits, n_forecasts, up_sum, other_sum, n_up, n_other = sums.T
        areas = auc + up_sum / np.maximum(n_up, 1.0) + other_sum / np.maximum(n_other, 1.0)
        return n_hits / n_forecasts, areas

    block_length = max(*lengths, float(horizon))
    draws = precise_bootstrap_sums(sums, block_length=block_length, rng=rng, compute_statistics=statistics)
    accuracy, (low, high) = map(percentile_interval, statistics(draws))
    return accuracy, (max(low, 0.0), min(high, 1.0)) if has_area else None


def pesaran_timmermann_test(predicted_up: BoolArray, up: Array) -> dict[str, float] | None:
    """Return the statistic and the p value of the one-sided test of directional skill (Pesaran and Timmermann 1992).

    It compares the accuracy with that expected if forecasts and outcomes were independent. None where forecasts or
    outcomes are constant.
    """
    n = len(up)
    py, px = float(up.mean()), float(predicted_up.mean())
    accuracy = float(np.mean(predicted_up == (up == 1)))
    expected = py * px + (1 - py) * (1 - px)
    accuracy_variance = expected * (1 - expected) / n
    vx, vy = px * (1 - px) / n, py * (1 - py) / n  # variances of the two proportions
    expected_variance = (2 * py - 1) ** 2 * vx + (2 * px - 1) ** 2 * vy + 4 * vx * vy
    if px in (0.0, 1.0) or py in (0.0, 1.0) or accuracy_variance <= expected_variance:
        return None
    statistic = (accuracy - expected) / float(np.sqrt(accuracy_variance - expected_variance))
    return {"statistic": statistic, "p_value": 1.0 - STANDARD_NORMAL.cdf(statistic)}


def clustered_pesaran_timmermann_test(
    predicted_up: BoolArray, up: Array, *, session: IntArray, ticker: IntArray, horizon: int
) -> dict[str, float] | None:
    """Return the same test where forecasts overlap in time or share a session.

    The test of `cosine_test` on (forecast - mean forecast) (up - mean up), summed by session. Means are taken within
    each ticker: to forecast correctly that one ticker rises more often than another is no skill of timing. None where,
    within tickers, forecasts or outcomes are constant, and where there are too few sessions.
    """
    products = _demean_by_group(predicted_up.astype(np.float64), ticker) * _demean_by_group(up, ticker)
    test = cosine_test(sum_by_session(session, products)[:, 0], horizon=horizon)
    if test.statistic is None or test.p_value is None:
        return None
    return {"statistic": test.statistic, "p_value": test.p_value}


def _demean_by_group(values: Array, group: IntArray) -> Array:
    """Return values less the mean of their group; exactly 0 in a group whose values are equal."""
    _, index = np.unique(group, return_inverse=True)
    return np.asarray(values - (np.bincount(index, weights=values) / np.bincount(index))[index])
