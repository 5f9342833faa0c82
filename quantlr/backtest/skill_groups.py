"""Skill piece by piece: returns by how probable up was held to be, right calls by year and by ticker.

Errors allow for forecasts that overlap in time or share a session: what is away from a group's mean is summed by
session, and its variance taken by Newey and West's method.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quantlr.backtest.inference.bootstrap import sum_by_session, pivot_sums, horizon_block_index
from quantlr.backtest.inference.levels import STANDARD_NORMAL
from quantlr.backtest.inference.long_run import newey_west_variance
from quantlr.backtest.inference.skill import wilson_interval
from quantlr.backtest.metrics import EvaluatedForecasts
from quantlr.types import Array, BoolArray, Forecasts, IntArray

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
