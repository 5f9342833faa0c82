"""Skill piece by piece: returns by how probable up was held to be, right calls by year and by ticker.

Errors allow for forecasts that overlap in time or share a session: what is away from a group's mean is summed by
session, and its variance taken by Newey and West's method.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quantlr.backtest.metrics import EvaluatedForecasts
from quantlr.core.arrays import Array, BoolArray, IntArray
from quantlr.core.values import Forecasts
from quantlr.stats.bootstrap import horizon_block_index, pivot_sums, sum_by_session
from quantlr.stats.directional import midranks, wilson_interval
from quantlr.stats.hac import INTERVAL_95_QUANTILES, STANDARD_NORMAL, newey_west_variance
from quantlr.stats.reliability import log_loss_decomposition, probability_group_index

MIN_BIN_FORECASTS = 40
"""Forecasts in a bin, where there are so many."""


@dataclass(frozen=True, slots=True)
class ReliabilityBins:
    """Shares of ups by what was forecast, in bins of about as many forecasts each.

    Attributes
    ----------
    probability : (b,) mean forecast, ascending.
    count : (b,) how many.
    share : (b,) share of ups.
    low, high : (b,) its 95 % interval.
    """

    mean_probability: Array
    count: Array
    observed_frequency: Array
    frequency_low: Array
    frequency_high: Array


def reliability_bins(forecasts: EvaluatedForecasts, *, max_bins: int = 10) -> ReliabilityBins:
    """Return the share of ups in bins of forecasts; equal forecasts are in one bin.

    The interval is Wilson's. Where forecasts overlap or share a session, it is that of as many independent ones as
    would leave the share as unsure: the variance of its surprises, summed by session, is Newey and West's (1987) with
    2 lags for each session of the horizon. They are never taken to say more than independent ones.
    """
    n = len(forecasts.up)
    wanted = int(np.clip(n // MIN_BIN_FORECASTS, 1, max_bins))
    _, of_row = np.unique(((midranks(forecasts.probability) - 0.5) * wanted / n).astype(np.int64), return_inverse=True)
    count = np.bincount(of_row).astype(np.float64)
    ups = np.bincount(of_row, weights=forecasts.up)
    worth = _design_effect_by_bin(forecasts, of_row, ups / count) if forecasts.is_clustered else np.ones_like(count)
    bounds = [wilson_interval(up / effect, size / effect) for up, size, effect in zip(ups, count, worth, strict=True)]
    low, high = np.array(bounds).T
    mean = np.bincount(of_row, weights=forecasts.probability) / count
    return ReliabilityBins(mean, count, ups / count, np.minimum(low, ups / count), np.maximum(high, ups / count))


def _design_effect_by_bin(forecasts: EvaluatedForecasts, bin_index: IntArray, observed_frequency: Array) -> Array:
    """Return how many times the variance of independent forecasts each bin's share has, at least 1."""
    sessions, where = np.unique(forecasts.session, return_inverse=True)
    surprise = np.zeros((len(sessions), len(observed_frequency)))
    np.add.at(surprise, (where, bin_index), forecasts.up - observed_frequency[bin_index])
    variance = (surprise**2).sum(axis=0)
    independent = np.bincount(bin_index) * observed_frequency * (1.0 - observed_frequency)
    lags = min(2 * forecasts.horizon, len(sessions) - 1)
    for lag in range(1, lags + 1):
        variance += 2 * (1 - lag / (2 * forecasts.horizon + 1)) * (surprise[lag:] * surprise[:-lag]).sum(axis=0)
    return np.asarray(
        np.maximum(np.divide(variance, independent, out=np.ones_like(variance), where=independent > 0), 1.0)
    )


MAX_ROC_POINTS = 1000
"""Points of a ROC curve at most; those left out lie between two that are kept."""
MAX_ROC_BAND_GROUPS = 200
ROC_BAND_DRAWS = 400
MIN_ROC_BAND_OBSERVATIONS = 10
"""Ups, others and spans of time that a ROC curve's band needs, each."""
ROC_BAND_FALSE_POSITIVE_RATES: Array = np.linspace(0.0, 1.0, 101)
N_OUTCOME_SHUFFLES = 50
MAX_TRIMMED_TAIL_FRACTION = 0.005
"""Share of the forecasts at either end that a picture may leave out to show the rest."""
MAX_UNTRIMMED_WIDTH_RATIO = 1.5
"""Times as wide as the rest that a picture may be, to leave nothing out."""
AXIS_MARGIN_FRACTION = 0.04
"""Room beyond what is shown, relative to its width."""
MIN_AXIS_WIDTH = 0.02
"""Width of a picture of probabilities that never change."""


@dataclass(frozen=True, slots=True)
class RocCurve:
    """Shares called up by every threshold, from the highest, which calls none, to the lowest, which calls all.

    Attributes
    ----------
    false_up : (m,) of those that were not up, from 0 to 1.
    true_up : (m,) of those that were, from 0 to 1.
    """

    false_positive_rate: Array
    true_positive_rate: Array


@dataclass(frozen=True, slots=True)
class RocBand:
    """Where 95 % of resampled ROC curves pass, at each of some shares of what was not up.

    Attributes
    ----------
    false_up, low, high : (g,) in [0, 1].
    """

    false_positive_rate: Array
    true_positive_rate_low: Array
    true_positive_rate_high: Array


@dataclass(frozen=True, slots=True)
class ProbabilityHistogram:
    """How often each probability was forecast, by what came.

    Attributes
    ----------
    edges : (bins + 1,) ascending.
    count : (bins,) number of forecasts.
    share_up, share_other : (bins,) shares of those that were up, and of the others; None where there were none.
    outside : number of forecasts beyond the edges.
    mean_up, mean_other : mean probability of all that were up, and of all that were not; None where there were none.
    """

    bin_edges: Array
    count: IntArray
    fraction_given_up: Array | None
    fraction_given_not_up: Array | None
    n_outside: int
    mean_given_up: float | None
    mean_given_not_up: float | None


def roc_curve(probability: Array, up: Array) -> RocCurve | None:
    """Return the ROC curve, None without both outcomes."""
    if not 0 < up.sum() < len(up):
        return None
    group = probability_group_index(probability, max_groups=MAX_ROC_POINTS)
    one = np.zeros(len(up), dtype=np.int64)
    return RocCurve(*(_cumulative_fraction_from_top(pivot_sums(one, group, side))[0] for side in (1.0 - up, up)))


def _cumulative_fraction_from_top(count_by_group: Array) -> Array:
    """Return what share lies in the highest 0, 1, 2 … groups: (curves, groups) to (curves, groups + 1)."""
    total = np.cumsum(count_by_group[:, ::-1], axis=1)
    return np.concatenate([np.zeros((len(count_by_group), 1)), total / total[:, -1:]], axis=1)


def roc_band(
    probability: Array, up: Array, *, session: IntArray, horizon: int, rng: np.random.Generator
) -> RocBand | None:
    """Return where resampled ROC curves pass.

    What hangs together is drawn together: all tickers over `horizon` sessions at a time (blocks that do not overlap,
    Carlstein 1986). It is pointwise, and no test of the diagonal. None where an outcome or spans of time are too few.

    Parameters
    ----------
    probability, up, session : (n,) as in `Scored`.
    horizon : sessions that a forecast spans.
    """
    span = horizon_block_index(session, horizon=horizon)
    drawn_from = int(span.max()) + 1
    if min(up.sum(), (1.0 - up).sum(), drawn_from) < MIN_ROC_BAND_OBSERVATIONS:
        return None
    group = probability_group_index(probability, max_groups=MAX_ROC_BAND_GROUPS)
    drawn = rng.integers(0, drawn_from, (ROC_BAND_DRAWS, drawn_from)) + drawn_from * np.arange(ROC_BAND_DRAWS)[:, None]
    times = (
        np.bincount(drawn.ravel(), minlength=ROC_BAND_DRAWS * drawn_from).reshape(ROC_BAND_DRAWS, -1).astype(np.float64)
    )
    counts = [times @ pivot_sums(span, group, side) for side in (1.0 - up, up)]
    both = np.all([count.any(axis=1) for count in counts], axis=0)
    false_up, true_up = (_cumulative_fraction_from_top(count[both]) for count in counts)
    curves = [np.interp(ROC_BAND_FALSE_POSITIVE_RATES, *curve) for curve in zip(false_up, true_up, strict=True)]
    low, high = np.quantile(curves, INTERVAL_95_QUANTILES, axis=0)
    return RocBand(ROC_BAND_FALSE_POSITIVE_RATES, low, high)


def probability_histogram(probability: Array, up: Array, *, reference_probability: float) -> ProbabilityHistogram:
    """Return how often each probability was forecast, by what came, on a scale that suits nearly all of them.

    Parameters
    ----------
    probability, up : (n,) as in `Scored`.
    beside : a probability that the scale shows as well.
    """
    low, high = _axis_limits(probability, reference_probability)
    bins = int(np.clip(2 * np.cbrt(len(up)), 8, 40))
    edges = np.linspace(low, high, bins + 1)
    count = np.histogram(probability, edges)[0]
    (share_up, mean_up), (share_other, mean_other) = (
        _bin_fractions_and_mean(probability[up == came], edges) for came in (1, 0)
    )
    return ProbabilityHistogram(edges, count, share_up, share_other, len(up) - int(count.sum()), mean_up, mean_other)


def _bin_fractions_and_mean(probability: Array, bin_edges: Array) -> tuple[Array | None, float | None]:
    """Return the shares of some forecasts between the edges, and their mean; None where there are none."""
    if not len(probability):
        return None, None
    return np.histogram(probability, bin_edges)[0] / len(probability), float(probability.mean())


def _axis_limits(probability: Array, reference_probability: float) -> tuple[float, float]:
    """Return bounds around all probabilities, or nearly all where a few lie far away, and around `beside`."""
    inner = np.quantile(probability, [MAX_TRIMMED_TAIL_FRACTION, 1.0 - MAX_TRIMMED_TAIL_FRACTION])
    outer = np.array([probability.min(), probability.max()])
    low, high = outer if np.ptp(outer) <= MAX_UNTRIMMED_WIDTH_RATIO * np.ptp(inner) else inner
    low, high = min(float(low), reference_probability), max(float(high), reference_probability)
    room = AXIS_MARGIN_FRACTION * (high - low) or MIN_AXIS_WIDTH / 2
    return low - room, high + room


def discrimination_under_no_skill(probability: Array, up: Array, *, rng: np.random.Generator) -> float:
    """Return the discrimination that the log loss shows on average, in nats, where what came is shuffled.

    For forecasts that neither overlap nor share sessions.
    """
    shuffled = (
        log_loss_decomposition(probability, rng.permutation(up), log_loss=0.0) for _ in range(N_OUTCOME_SHUFFLES)
    )
    return float(np.mean([parts.discrimination for parts in shuffled]))


MAX_RETURN_GROUPS = 10
MIN_GROUP_FORECASTS = 20
"""Forecasts of the smallest group that a mean return is taken over."""
MIN_SPANS_FOR_VARIANCE = 10
"""Spans of time under which a group's own spread says too little of its error."""
NORMAL_QUANTILE_LEVELS: Array = (np.arange(200) + 0.5) / 200


@dataclass(frozen=True, slots=True)
class ProbabilityGroupReturns:
    """What came after forecasts, grouped by the probability of up, lowest first.

    Attributes
    ----------
    probability : (g,) mean probability.
    count : (g,) forecasts.
    mean : (g,) mean return over the forecast's span, as a fraction.
    error : (g,) standard error of that.
    mean_all : of all forecasts.
    ahead, ahead_error : mean of the highest group less that of the lowest, and its standard error.
    """

    mean_probability: Array
    count: IntArray
    mean_return: Array
    standard_error: Array
    overall_mean_return: float
    top_minus_bottom: float
    top_minus_bottom_standard_error: float


@dataclass(frozen=True, slots=True)
class GroupAccuracy:
    """How often calls were right, by group.

    Attributes
    ----------
    group : (g,) what the groups are called by: years, or positions of tickers; ascending.
    count : (g,) calls.
    accuracy : (g,) share of calls that were right.
    low, high : (g,) its 95 % interval.
    base_rate : (g,) share that the training rows' majority call got right.
    error : (g,) standard error of the difference between the two; 0 where both always called the same.
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
        """(g,) share of right calls less that of the base rate's call."""
        return self.accuracy - self.baseline_accuracy


def mean_returns_by_probability_group(forecasts: Forecasts) -> ProbabilityGroupReturns | None:
    """Return mean returns by tenths of the forecasts, or fewer and larger groups where there are few.

    Every forecast counts whose return is known, those that the label drops too: they are traded. Equal probabilities
    share a group. None where there are not two groups.
    """
    known = ~np.isnan(forecasts.horizon_return)
    probability, returns, session = (
        forecasts.probability[known], forecasts.horizon_return[known], forecasts.session[known],
    )  # fmt: skip
    group = _quantile_group_index(probability)
    count = np.bincount(group)
    if len(count) < 2:
        return None
    mean = np.bincount(group, weights=returns) / count
    away = (returns - mean[group]) / np.sqrt(count * (count - 1.0))[group]
    sums = pivot_sums(horizon_block_index(session, horizon=1), group, away)
    both = np.column_stack([sums, sums[:, -1] - sums[:, 0]])
    error = np.sqrt(newey_west_variance(both, horizon=forecasts.horizon if forecasts.is_clustered else 0))
    return ProbabilityGroupReturns(
        mean_probability=np.bincount(group, weights=probability) / count,
        count=count,
        mean_return=mean,
        standard_error=error[:-1],
        overall_mean_return=float(returns.mean()),
        top_minus_bottom=float(mean[-1] - mean[0]),
        top_minus_bottom_standard_error=float(error[-1]),
    )


def _quantile_group_index(probability: Array) -> IntArray:
    """Return each forecast's group, lowest first; a group ends at a quantile, which belongs to it.

    Where equal probabilities leave a group less than half of the smallest size, it joins the next, the last the one
    before.
    """
    groups = max(min(MAX_RETURN_GROUPS, len(probability) // MIN_GROUP_FORECASTS), 1)
    ends = np.quantile(probability, np.arange(1, groups) / groups) if len(probability) else np.zeros(0)
    part = np.searchsorted(ends, probability, side="left")
    joined, held = [0], 0
    for count in np.bincount(part, minlength=groups):
        held += count
        joined.append(joined[-1] + (2 * held >= MIN_GROUP_FORECASTS))
        held = 0 if joined[-1] > joined[-2] else held
    return np.minimum(np.array(joined, dtype=np.int64)[part], max(joined[-1] - 1, 0))


def accuracy_by_group(group_ids: IntArray, forecasts: EvaluatedForecasts) -> GroupAccuracy:
    """Return shares of right calls by group, beside the base rate's call.

    Intervals are Wilson's; where calls of a group overlap in time or share a session, of the number of independent
    calls that they are worth (as for surveys drawn in clusters, Franco and others 2019). Over few sessions nothing
    tells that number, and each span counts as one call.

    Parameters
    ----------
    group : (n,) what each forecast's group is called.
    """
    order = np.argsort(group_ids, kind="stable")
    names, first = np.unique(group_ids[order], return_index=True)
    hits, base_hits, session = forecasts.hits[order], forecasts.baseline_hits[order], forecasts.session[order]
    parts = [slice(int(a), int(b)) for a, b in zip(first, [*first[1:], len(order)], strict=True)]
    found = [_accuracy_statistics(hits[part], base_hits[part], session[part], forecasts.horizon) for part in parts]
    count, accuracy, low, high, base_rate, error = np.array(found).T
    return GroupAccuracy(names, count.astype(np.int64), accuracy, low, high, base_rate, error)


def _accuracy_statistics(
    hits: BoolArray, baseline_hits: BoolArray, session: IntArray, horizon: int
) -> tuple[float, ...]:
    """Return count, accuracy, its bounds, the base rate's, and the error of their difference."""
    n, share = len(hits), float(hits.mean())
    sessions = len(np.unique(session))
    alone = horizon == 1 and sessions == n
    worth = n if alone else _effective_sample_size(hits, session, n_spans=sessions / horizon, horizon=horizon)
    low, high = wilson_interval(share * worth, worth)
    ahead = hits.astype(np.float64) - baseline_hits
    variance = _variance_of_mean(ahead, session, horizon=0 if alone else horizon)
    return n, share, low, high, float(baseline_hits.mean()), float(np.sqrt(variance))


def _effective_sample_size(hits: BoolArray, session: IntArray, *, n_spans: float, horizon: int) -> float:
    """Return how many independent calls would leave as much to luck."""
    share = float(hits.mean())
    variance = _variance_of_mean(hits.astype(np.float64), session, horizon=horizon)
    if n_spans < MIN_SPANS_FOR_VARIANCE or variance <= 0:
        return max(n_spans, 1.0)
    return float(np.clip(share * (1.0 - share) / variance, 1.0, len(hits)))


def _variance_of_mean(values: Array, session: IntArray, *, horizon: int) -> float:
    """Return the variance of a mean."""
    sums = sum_by_session(session, values - values.mean())
    return float(newey_west_variance(sums, horizon=horizon)[0]) / len(values) ** 2


def expected_order_statistics(standard_error: Array) -> Array:
    """Return what luck alone puts at each rank of as many independent differences, lowest first.

    Parameters
    ----------
    error : (g,) standard error of each difference, in any order; the true differences are 0.
    """
    normal = np.array([STANDARD_NORMAL.inv_cdf(level) for level in NORMAL_QUANTILE_LEVELS])
    mixed = (standard_error[:, None] * normal).ravel()
    return np.asarray(np.quantile(mixed, (np.arange(len(standard_error)) + 0.5) / len(standard_error)))
