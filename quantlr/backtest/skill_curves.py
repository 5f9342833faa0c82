"""What forecasts look like beside what came: the ROC curve with its band, and the probabilities by outcome."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quantlr.backtest.inference.bootstrap import pivot_sums, horizon_block_index
from quantlr.backtest.inference.levels import INTERVAL_95_QUANTILES
from quantlr.backtest.inference.reliability import log_loss_decomposition, probability_group_index
from quantlr.types import Array, IntArray

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
