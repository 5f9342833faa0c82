"""Backward elimination: the walk-forward refitted with fewer and fewer features, by the log loss of its forecasts.

The curve of the log loss by the number of entries is made with the outcomes that it is measured on: its lowest point
is chosen in hindsight, and nobody could have known it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from quantlr.core.progress import Progress, ProgressCounter, ignore_progress
from quantlr.core.values import Dataset, Forecasts
from quantlr.model.feature_worth import FeatureSet, ForecastFunction, log_losses, with_columns
from quantlr.stats.clark_west import base_rate_forecasts

MAX_REFITS_AT_ONCE = 3
"""Entries that are left out before it is seen whether the least loss is among them."""


@dataclass(frozen=True, slots=True)
class EliminationStep:
    """One point of the curve.

    Attributes
    ----------
    kept : the entries of the model.
    removed : the entry that the step before had and this one has not; None for the first.
    log_loss : mean log loss of the forecasts with an outcome, in nats; without entries that of the base rate.
    """

    kept: tuple[FeatureSet, ...]
    removed: FeatureSet | None
    log_loss: float


def eliminate_features(
    dataset: Dataset,
    forecasts: Forecasts,
    loss_increase: Mapping[FeatureSet, float],
    forecast: ForecastFunction,
    *,
    max_refits_at_once: int = MAX_REFITS_AT_ONCE,
    progress: Progress = ignore_progress,
) -> tuple[EliminationStep, ...]:
    """Return the steps of backward elimination, from all entries of ``features`` to none.

    Parameters
    ----------
    dataset, forecasts : of the model with all features.
    loss_increase : by entry of ``features``, the mean log loss without it less that with it, in nats.
    forecast : the walk-forward of that model, as a function of datasets.
    max_refits_at_once : with at least the number of entries every step is an exhaustive search.
    progress : called after each removal.

    Notes
    -----
    A step removes the entry whose removal increases the log loss least. The increases are measured in the order of
    their values in earlier steps, until the least is one that was measured in this step (lazy greedy search, Minoux
    1978). The steps are those of an exhaustive search if the increase of an entry is never smaller after others were
    removed. On the S&P sample with 20 features, 59 walk-forwards take the place of 209.
    """
    known = ~np.isnan(forecasts.up)

    def mean_log_loss(of: Forecasts) -> float:
        return float(log_losses(of, known).mean())

    increase = dict(loss_increase)
    steps = [EliminationStep(tuple(increase), None, mean_log_loss(forecasts))]
    counter = ProgressCounter("eliminating", max(len(increase) - 1, 1), progress)
    while len(increase) > 1:
        loss: dict[FeatureSet, float] = {}
        while (removed := min(increase, key=lambda entry: increase[entry])) not in loss:
            entries = [entry for entry in sorted(increase, key=lambda entry: increase[entry]) if entry not in loss]
            entries = entries[:max_refits_at_once]
            datasets = [with_columns(dataset, _columns_without(increase, entry)) for entry in entries]
            loss |= zip(entries, map(mean_log_loss, forecast(datasets)), strict=True)
            increase |= {entry: loss[entry] - steps[-1].log_loss for entry in entries}
        del increase[removed]
        steps.append(EliminationStep(tuple(increase), removed, loss[removed]))
        counter.step()
    (last,) = increase
    return (*steps, EliminationStep((), last, mean_log_loss(base_rate_forecasts(forecasts))))


def best_step_in_hindsight(steps: tuple[EliminationStep, ...]) -> EliminationStep:
    """Return the step with the lowest log loss, the one with the fewest entries among equals."""
    return min(reversed(steps), key=lambda step: step.log_loss)


def _columns_without(entries: Mapping[FeatureSet, float], removed: FeatureSet) -> list[int]:
    return sorted(column for entry in entries if entry != removed for column in entry.columns)
