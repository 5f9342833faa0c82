"""Analysis of forecasts by probability, year and ticker: reliability bins, ROC curve, returns and accuracy by group.

Standard errors allow for forecasts that overlap in time or share a session: deviations from a group's mean are summed
by session, with the variance of Newey and West (1987).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from quantlr.backtest.metric_types import EvaluatedForecasts
from quantlr.core.values import Array, Forecasts, IntArray
from quantlr.stats.bootstrap import stationary_bootstrap_counts
from quantlr.stats.directional import midranks, wilson_interval
from quantlr.stats.hac import (
    INTERVAL_95_QUANTILES,
    Interval,
    clustered_mean_variance,
    horizon_block_index,
    newey_west_variance,
    pivot_sums,
    weighted_pivot_sums,
)
from quantlr.stats.reliability import log_loss_decomposition, probability_group_index

MIN_GROUP_FORECASTS = 20
"""Forecasts of the smallest group whose mean return is computed."""


@dataclass(frozen=True, slots=True)
class ReliabilityBins:
    """Observed frequency of ups in bins of forecasts of about equal size.

    Attributes
    ----------
    mean_probability : (b,) mean forecast, ascending.
    count : (b,) number of forecasts.
    observed_frequency : (b,) proportion of ups.
    frequency_low, frequency_high : (b,) its 95 % interval.
    """

    mean_probability: Array
    count: Array
    observed_frequency: Array
    frequency_low: Array
    frequency_high: Array


def reliability_bins(forecasts: EvaluatedForecasts, *, max_bins: int = 10, min_count: int = 40) -> ReliabilityBins:
    """Return the observed frequency of ups in bins of at least about `min_count` forecasts; equal ones share a bin.

    The interval is Wilson's. Where forecasts are clustered, counts are divided by the design effect: the ratio of the
    frequency's Newey-West variance, with 2 lags for each session of the horizon, to that of independent forecasts, at
    least 1.
    """
    up, n = forecasts.up, len(forecasts.up)
    n_bins = int(np.clip(n // min_count, 1, max_bins))
    quantile_bin = ((midranks(forecasts.probability) - 0.5) * n_bins / n).astype(np.int64)
    _, bin_index = np.unique(quantile_bin, return_inverse=True)
    count, n_up = np.bincount(bin_index).astype(np.float64), np.bincount(bin_index, weights=up)
    frequency, design_effect = n_up / count, np.ones_like(count)
    if forecasts.has_dependent_outcomes:
        session = horizon_block_index(forecasts.session, horizon=1)
        residual_sums = pivot_sums(session, bin_index, up - frequency[bin_index])
        variance = newey_west_variance(residual_sums, horizon=forecasts.horizon)
        independent = count * frequency * (1.0 - frequency)
        np.divide(variance, independent, out=design_effect, where=independent > 0)
        design_effect = np.maximum(design_effect, 1.0)
    effective = zip(n_up / design_effect, count / design_effect, strict=True)
    low, high = np.transpose([wilson_interval(*pair) for pair in effective])
    mean_probability = np.bincount(bin_index, weights=forecasts.probability) / count
    low, high = np.minimum(low, frequency), np.maximum(high, frequency)
    return ReliabilityBins(mean_probability, count, frequency, frequency_low=low, frequency_high=high)


@dataclass(frozen=True, slots=True)
class RocCurve:
    """ROC curve, by threshold from the highest, above which no forecast lies, to the lowest.

    Attributes
    ----------
    false_positive_rate : (m,) proportion of the not-ups above the threshold, from 0 to 1.
    true_positive_rate : (m,) proportion of the ups above it, from 0 to 1.
    """

    false_positive_rate: Array
    true_positive_rate: Array


@dataclass(frozen=True, slots=True)
class RocBand:
    """Pointwise 95 % band of resampled ROC curves.

    Attributes
    ----------
    false_positive_rate, true_positive_rate_low, true_positive_rate_high : (g,) in [0, 1].
    """

    false_positive_rate: Array
    true_positive_rate_low: Array
    true_positive_rate_high: Array


def roc_curve(probability: Array, up: Array, *, max_points: int = 1000) -> RocCurve | None:
    """Return the ROC curve at up to `max_points` thresholds, None unless both outcomes occur."""
    if not 0 < up.sum() < len(up):
        return None
    group = probability_group_index(probability, max_groups=max_points)
    counts = [pivot_sums(np.zeros_like(group), group, outcome) for outcome in (1.0 - up, up)]
    return RocCurve(*(_cumulative_fraction_from_top(count)[0] for count in counts))


def _cumulative_fraction_from_top(count_by_group: Array) -> Array:
    """Return the proportion in the highest 0, 1, 2, … groups: (curves, groups) to (curves, groups + 1)."""
    total = np.cumsum(count_by_group[:, ::-1], axis=1)
    return np.concatenate([np.zeros((len(count_by_group), 1)), total / total[:, -1:]], axis=1)


def roc_band(probability: Array, up: Array, *, session: IntArray, horizon: int, rng: Generator) -> RocBand | None:
    """Return the band of the ROC curve by the bootstrap of blocks that do not overlap (Carlstein 1986).

    A block holds all tickers over `horizon` sessions. The band is pointwise, and no test of the diagonal. None with
    fewer than 10 ups, not-ups or blocks. Forecasts are grouped into 200 thresholds.

    Parameters
    ----------
    probability, up, session : (n,) as in `EvaluatedForecasts`.
    horizon : sessions that a forecast spans.
    """
    block = horizon_block_index(session, horizon=horizon)
    n_blocks = int(block.max()) + 1
    if min(up.sum(), (1.0 - up).sum(), n_blocks) < 10:
        return None
    group = probability_group_index(probability, max_groups=200)
    draws = stationary_bootstrap_counts(n_blocks, block_length=1, rng=rng, n_draws=400)
    counts = [weighted_pivot_sums(draws, block, group, outcome) for outcome in (1.0 - up, up)]
    has_both = np.all([count.any(axis=1) for count in counts], axis=0)
    rates = [_cumulative_fraction_from_top(count[has_both]) for count in counts]
    false_positive_rate = np.linspace(0.0, 1.0, 101)
    curves = [np.interp(false_positive_rate, *curve) for curve in zip(*rates, strict=True)]
    return RocBand(false_positive_rate, *np.quantile(curves, INTERVAL_95_QUANTILES, axis=0))


@dataclass(frozen=True, slots=True)
class ProbabilityHistogram:
    """Histogram of the forecasts by outcome.

    Attributes
    ----------
    bin_edges : (bins + 1,) ascending.
    count : (bins,) number of forecasts.
    fraction_given_up, fraction_given_not_up : (bins,) proportions of the forecasts with this outcome; None without any.
    n_outside : number of forecasts beyond the edges.
    mean_given_up, mean_given_not_up : mean probability of the forecasts with this outcome; None without any.
    """

    bin_edges: Array
    count: IntArray
    fraction_given_up: Array | None
    fraction_given_not_up: Array | None
    n_outside: int
    mean_given_up: float | None
    mean_given_not_up: float | None


def probability_histogram(probability: Array, up: Array, *, reference_probability: float) -> ProbabilityHistogram:
    """Return the histogram of the forecasts by outcome, on an axis that shows nearly all of them.

    Parameters
    ----------
    probability, up : (n,) as in `EvaluatedForecasts`.
    reference_probability : a probability that the axis includes.
    """
    n_bins = int(np.clip(2 * np.cbrt(len(up)), 8, 40))
    edges = np.linspace(*_axis_limits(probability, reference_probability), n_bins + 1)
    by_outcome = [probability[up == outcome] for outcome in (1, 0)]
    fractions = [np.histogram(values, edges)[0] / len(values) if len(values) else None for values in by_outcome]
    means = [float(values.mean()) if len(values) else None for values in by_outcome]
    count = np.histogram(probability, edges)[0]
    n_outside = len(up) - int(count.sum())
    return ProbabilityHistogram(edges, count, fractions[0], fractions[1], n_outside, means[0], means[1])


def _axis_limits(probability: Array, reference: float, *, tail: float = 0.005, max_ratio: float = 1.5) -> Interval:
    """Return bounds of an axis for probabilities and a reference, with a margin of 4 % of its width, or 0.01.

    Parameters
    ----------
    tail : proportion of the probabilities that the axis omits at either end if a few are far from the others.
    max_ratio : ratio of the whole range to the range without the tails up to which nothing is omitted.
    """
    trimmed, whole = (np.quantile(probability, [level, 1.0 - level]) for level in (tail, 0.0))
    low, high = (whole if np.ptp(whole) <= max_ratio * np.ptp(trimmed) else trimmed).tolist()
    low, high = min(low, reference), max(high, reference)
    margin = 0.04 * (high - low) or 0.01
    return low - margin, high + margin


def mean_permuted_discrimination(probability: Array, up: Array, *, rng: Generator) -> float:
    """Return the mean discrimination of the log loss over 50 random permutations of the outcomes, in nats.

    For forecasts that neither overlap nor share sessions.
    """
    permuted = (log_loss_decomposition(probability, rng.permutation(up), log_loss=0.0) for _ in range(50))
    return float(np.mean([terms.discrimination for terms in permuted]))


@dataclass(frozen=True, slots=True)
class ProbabilityGroupReturns:
    """Mean returns after forecasts, grouped by probability, lowest first.

    Attributes
    ----------
    mean_probability : (g,) of the group.
    count : (g,) number of forecasts.
    mean_return : (g,) over the forecast's horizon, as a fraction.
    standard_error : (g,) of the mean return.
    overall_mean_return : of all forecasts.
    top_minus_bottom, top_minus_bottom_standard_error : mean return of the highest group less that of the lowest.
    """

    mean_probability: Array
    count: IntArray
    mean_return: Array
    standard_error: Array
    overall_mean_return: float
    top_minus_bottom: float
    top_minus_bottom_standard_error: float


def mean_returns_by_probability_group(forecasts: Forecasts, *, max_groups: int = 10) -> ProbabilityGroupReturns | None:
    """Return mean returns by tenths of the forecasts, or fewer and larger groups where there are few.

    All forecasts count whose return is known, also those without a label: they are traded. Equal probabilities share a
    group. None with fewer than two groups.
    """
    is_known = ~np.isnan(forecasts.horizon_return)
    probability, returns = forecasts.probability[is_known], forecasts.horizon_return[is_known]
    group = _quantile_group_index(probability, max_groups)
    count = np.bincount(group)
    if len(count) < 2:
        return None
    mean = np.bincount(group, weights=returns) / count
    deviation = (returns - mean[group]) / np.sqrt(count * (count - 1.0))[group]
    sums = pivot_sums(horizon_block_index(forecasts.session[is_known], horizon=1), group, deviation)
    columns = np.column_stack([sums, sums[:, -1] - sums[:, 0]])
    error = np.sqrt(newey_west_variance(columns, horizon=forecasts.horizon if forecasts.has_dependent_outcomes else 0))
    mean_probability = np.bincount(group, weights=probability) / count
    top_minus_bottom = float(mean[-1] - mean[0]), float(error[-1])
    overall_mean = float(returns.mean())
    return ProbabilityGroupReturns(mean_probability, count, mean, error[:-1], overall_mean, *top_minus_bottom)


def _quantile_group_index(probability: Array, max_groups: int) -> IntArray:
    """Return the group of each forecast, lowest first; a group ends at a quantile, which belongs to it.

    A group that equal probabilities leave with less than half of `MIN_GROUP_FORECASTS` joins the next one, and the last
    the one before.
    """
    n_groups = max(min(max_groups, len(probability) // MIN_GROUP_FORECASTS), 1)
    ends = np.quantile(probability, np.arange(1, n_groups) / n_groups) if len(probability) else np.zeros(0)
    part = np.searchsorted(ends, probability, side="left")
    group_of_part, group, size = [], 0, 0
    for count in np.bincount(part, minlength=n_groups).tolist():
        group_of_part.append(group)
        size += count
        if 2 * size >= MIN_GROUP_FORECASTS:
            group, size = group + 1, 0
    return np.minimum(np.array(group_of_part, dtype=np.int64)[part], max(group - 1, 0))


@dataclass(frozen=True, slots=True)
class GroupAccuracy:
    """Accuracy by group of forecasts.

    Attributes
    ----------
    group_ids : (g,) the groups' names, ascending: years, or positions of tickers.
    count : (g,) number of forecasts.
    accuracy : (g,) proportion of forecasts that were right.
    accuracy_low, accuracy_high : (g,) its 95 % interval.
    baseline_accuracy : (g,) that of the majority-class baseline.
    difference_standard_error : (g,) of the difference of the two; 0 where both always forecast the same.
    """

    group_ids: IntArray
    count: IntArray
    accuracy: Array
    accuracy_low: Array
    accuracy_high: Array
    baseline_accuracy: Array
    difference_standard_error: Array

    @property
    def accuracy_difference(self) -> Array:
        """(g,) accuracy less that of the majority-class baseline."""
        return self.accuracy - self.baseline_accuracy


def accuracy_by_group(group_ids: IntArray, forecasts: EvaluatedForecasts, *, min_blocks: int = 10) -> GroupAccuracy:
    """Return the accuracy by group, beside that of the majority-class baseline.

    Intervals are Wilson's. Where forecasts of a group overlap in time or share a session, they are those of the
    effective sample size (as for surveys with clusters, Franco and others 2019). Over fewer
    than `min_blocks` blocks of `horizon` sessions it is not estimated, and each block counts as one forecast.

    Parameters
    ----------
    group_ids : (n,) name of each forecast's group.
    """
    order = np.argsort(group_ids, kind="stable")
    names, first = np.unique(group_ids[order], return_index=True)
    rows, horizon = [], forecasts.horizon
    all_hits, all_baseline_hits = forecasts.hits.astype(np.float64), forecasts.baseline_hits
    for group in np.split(order, first[1:]):
        hits, baseline_hits, session = all_hits[group], all_baseline_hits[group], forecasts.session[group]
        n, accuracy, n_sessions = len(hits), float(hits.mean()), len(np.unique(session))
        is_independent = horizon == 1 and n_sessions == n
        effective_n: float = n
        if not is_independent:
            variance, n_blocks = clustered_mean_variance(hits, session, horizon=horizon), n_sessions / horizon
            effective_n = max(n_blocks, 1.0)
            if n_blocks >= min_blocks and variance > 0:
                effective_n = float(np.clip(accuracy * (1.0 - accuracy) / variance, 1.0, n))
        difference, lag_horizon = hits - baseline_hits, 0 if is_independent else horizon
        error = np.sqrt(clustered_mean_variance(difference, session, horizon=lag_horizon))
        rows.append((n, accuracy, *wilson_interval(accuracy * effective_n, effective_n), baseline_hits.mean(), error))
    count, *columns = np.array(rows, dtype=np.float64).T
    return GroupAccuracy(names, count.astype(np.int64), *columns)
