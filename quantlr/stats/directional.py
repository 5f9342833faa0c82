"""Did it know? Intervals of accuracy and of the area under the ROC curve, and the test of directional skill."""

from __future__ import annotations

import numpy as np

from quantlr.core.arrays import Array, BoolArray, IntArray
from quantlr.stats.bootstrap import optimal_block_length, percentile_interval, stationary_bootstrap_sums, sum_by_session
from quantlr.stats.hac import SIGNIFICANCE_LEVEL, STANDARD_NORMAL, TEST_POWER, Z95, newey_west_variance


def wilson_interval(n_hits: float, n: float) -> tuple[float, float]:
    """Return the 95 % score interval of a share (Wilson 1927); `n` may be a number that counts for fewer."""
    share, z2 = n_hits / n, Z95**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * np.sqrt(share * (1 - share) / n + z2 / (4 * n**2))
    return max(float(middle - half), 0.0), min(float(middle + half), 1.0)


def midranks(values: Array) -> Array:
    """Return ranks from 1, the mean rank for equal values."""
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2.0)[where])


def clustered_accuracy_interval(
    hits: BoolArray, *, session: IntArray, horizon: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Return the 95 % interval of a share of right calls that overlap in time or share a session.

    Sessions are drawn whole, in blocks of `horizon` sessions or longer, as `block_length` advises.

    Parameters
    ----------
    hits, session : (n,) whether a call was right, and the session at whose close it was made.
    """
    sums = sum_by_session(session, hits.astype(np.float64), np.ones(len(hits)))
    block = max(optimal_block_length(sums[:, 0] - hits.mean() * sums[:, 1]), float(horizon))
    right, made = stationary_bootstrap_sums(sums, mean_block_length=block, rng=rng).T
    return percentile_interval(right / made)


def delong_placements(score: Array, up: Array) -> tuple[Array, Array] | None:
    """Return for each up the share of not-ups scored below it, and for each not-up the share of ups above; ties half.

    Either's mean is the area under the ROC curve. They come from midranks (Sun and Xu 2014). None without both.
    """
    positive, negative = score[up == 1], score[up == 0]
    if not len(positive) or not len(negative):
        return None
    together = midranks(np.concatenate([positive, negative]))
    above = (together[: len(positive)] - midranks(positive)) / len(negative)
    below = 1.0 - (together[len(positive) :] - midranks(negative)) / len(positive)
    return above, below


def roc_auc(score: Array, up: Array) -> float | None:
    """Return the area under the ROC curve, None without both outcomes."""
    found = delong_placements(score, up)
    return float(found[0].mean()) if found else None


def delong_auc_interval(score: Array, up: Array) -> tuple[float, float] | None:
    """Return the 95 % interval of the area (DeLong, DeLong and Clarke-Pearson 1988).

    None with fewer than two of an outcome.
    """
    found = delong_placements(score, up)
    if found is None or min(map(len, found)) < 2:
        return None
    middle = float(found[0].mean())
    half = Z95 * float(np.sqrt(sum(part.var(ddof=1) / len(part) for part in found)))
    return max(middle - half, 0.0), min(middle + half, 1.0)


def clustered_auc_interval(
    score: Array, up: Array, *, session: IntArray, horizon: int, rng: np.random.Generator
) -> tuple[float, float] | None:
    """Return the 95 % interval of the area where forecasts overlap in time or share a session.

    Sessions are drawn as for the accuracy. A resample's area is taken to first order in its weights, from the
    placements in the whole sample, as DeLong's variance is: each part's mean moves by itself. None with fewer than two
    of an outcome.
    """
    found = delong_placements(score, up)
    if found is None or min(map(len, found)) < 2:
        return None
    middle, was_up = float(found[0].mean()), up == 1
    above, below = np.zeros(len(up)), np.zeros(len(up))
    above[was_up], below[~was_up] = (part - middle for part in found)
    sums = sum_by_session(session, above, below, was_up.astype(np.float64), (~was_up).astype(np.float64))
    block = max(optimal_block_length(sums[:, 0] / len(found[0]) + sums[:, 1] / len(found[1])), float(horizon))
    of_ups, of_others, ups, others = stationary_bootstrap_sums(sums, mean_block_length=block, rng=rng).T
    moved = middle + of_ups / np.maximum(ups, 1.0) + of_others / np.maximum(others, 1.0)
    low, high = percentile_interval(moved)
    return max(low, 0.0), min(high, 1.0)


def pesaran_timmermann_test(predicted_up: BoolArray, up: Array) -> dict[str, float] | None:
    """Return the one-sided test of directional skill (Pesaran and Timmermann 1992).

    It compares the share of right calls with what independent calls of the same frequency would reach. None where
    calls or outcomes never change.
    """
    n = len(up)
    py, px = float(up.mean()), float(predicted_up.mean())
    right = float(np.mean(predicted_up == (up == 1)))
    chance = py * px + (1 - py) * (1 - px)
    of_right = chance * (1 - chance) / n
    of_chance = (
        (2 * py - 1) ** 2 * px * (1 - px) / n
        + (2 * px - 1) ** 2 * py * (1 - py) / n
        + 4 * py * px * (1 - py) * (1 - px) / n**2
    )
    if px in (0.0, 1.0) or py in (0.0, 1.0) or of_right <= of_chance:
        return None
    statistic = (right - chance) / float(np.sqrt(of_right - of_chance))
    return {"statistic": statistic, "p_value": 1.0 - STANDARD_NORMAL.cdf(statistic)}


def clustered_pesaran_timmermann_test(
    predicted_up: BoolArray, up: Array, *, session: IntArray, ticker: IntArray, horizon: int
) -> dict[str, float] | None:
    """Return the same test where forecasts overlap in time or share a session.

    The t statistic of the mean of (call - mean call) (up - mean up) summed by session, its variance by Newey and West
    (1987) with 2 `horizon` lags. Means are each ticker's own: to know that one ticker rises more often than another is
    not to know when. None where, within tickers, calls or outcomes never change.
    """
    products = _demean_by_group(predicted_up.astype(np.float64), ticker) * _demean_by_group(up, ticker)
    sums = sum_by_session(session, products)
    variance = float(newey_west_variance(sums - sums.mean(axis=0), horizon=horizon)[0])
    if not products.any() or variance <= 0:
        return None
    statistic = float(sums.sum() / np.sqrt(variance))
    return {"statistic": statistic, "p_value": 1.0 - STANDARD_NORMAL.cdf(statistic)}


def _demean_by_group(values: Array, group: IntArray) -> Array:
    """Return values less the mean of their group; exactly 0 in a group that never changes."""
    _, where = np.unique(group, return_inverse=True)
    count = np.bincount(where)
    mean = np.bincount(where, weights=values) / count
    return np.asarray(values - mean[where])


def years_to_significance(accuracy: float, baseline_accuracy: float, *, sessions_per_year: int) -> float | None:
    """Return the years of daily calls that would tell `accuracy` from `baseline`, None where it is no higher.

    The one-sided normal sample size for 80 % power at the 5 % level.
    """
    if accuracy <= baseline_accuracy:
        return None
    critical, powerful = STANDARD_NORMAL.inv_cdf(1 - SIGNIFICANCE_LEVEL), STANDARD_NORMAL.inv_cdf(TEST_POWER)
    spread = critical * np.sqrt(baseline_accuracy * (1 - baseline_accuracy)) + powerful * np.sqrt(
        accuracy * (1 - accuracy)
    )
    return float((spread / (accuracy - baseline_accuracy)) ** 2 / sessions_per_year)
