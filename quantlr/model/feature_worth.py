"""Worth of features: the walk-forward refitted without each of them, and with each alone.

All models forecast the same rows with the same refits, so that forecasts differ by the features only. What is measured
is the forecast, never the profit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from quantlr.core.progress import Progress, ProgressCounter, ignore_progress
from quantlr.core.values import Array, BoolArray, Dataset, Forecasts
from quantlr.stats.clark_west import base_rate_forecasts, clark_west_test, nested_clark_west_test
from quantlr.stats.paired import holm_adjusted_p_values

MIN_GROUP_CORRELATION = 0.7
"""Smallest mean absolute correlation between the columns of two groups at which they are joined."""

ForecastFunction = Callable[[Dataset], Forecasts]
"""Takes a dataset and returns its walk-forward forecasts."""


@dataclass(frozen=True, slots=True)
class FeatureSet:
    """Columns that are left out together: those of one entry of ``features``, or a group that is correlated.

    Attributes
    ----------
    name : the feature and its columns, or the columns of the group.
    columns : indices of the columns in the dataset, ascending.
    is_group : whether the columns are a group of several entries.
    """

    name: str
    columns: tuple[int, ...]
    is_group: bool = False


@dataclass(frozen=True, slots=True)
class FeatureSetWorth:
    """Worth of one set of features.

    Attributes
    ----------
    features : the set.
    test : `nested_clark_west_test` of the model against the model without the set.
    adjusted_p_value : its p value, adjusted by Holm's method for all sets; None without a statistic.
    loss_reduction : (rows,) log loss without the set less that with it, in nats, of each forecast with an outcome.
    alone_test : `clark_west_test` of the model of this set alone against the base rate.
    alone_loss_reduction : mean log loss of the base rate less that of the model of this set alone, in nats.
    """

    features: FeatureSet
    test: dict[str, Any]
    adjusted_p_value: float | None
    loss_reduction: Array
    alone_test: dict[str, Any]
    alone_loss_reduction: float

    @property
    def mean_loss_reduction(self) -> float:
        """Mean of `loss_reduction`, in nats."""
        return float(self.loss_reduction.mean())


@dataclass(frozen=True, slots=True)
class FeatureWorth:
    """Worth of all features of a model.

    Attributes
    ----------
    sets : the entries of ``features`` in their order, then the groups.
    forecasts : of the model with all features.
    known : (forecasts,) whether the outcome of each is known: the rows of every `loss_reduction`.
    """

    sets: tuple[FeatureSetWorth, ...]
    forecasts: Forecasts
    known: BoolArray


def correlated_groups(X: Array) -> list[tuple[int, ...]]:
    """Return groups of columns that are correlated, by average linkage; columns that are in no group are left out.

    Starting from single columns, the two groups with the largest mean absolute correlation between their columns are
    joined while it is above .7 (Sokal and Michener 1958).

    Parameters
    ----------
    X : (rows, k) features; a constant one is correlated with none.
    """
    deviation = X - X.mean(axis=0)
    norm = np.sqrt((deviation**2).sum(axis=0))
    standardized = deviation / np.where(norm > 0, norm, 1.0)
    similarity = np.abs(standardized.T @ standardized)
    np.fill_diagonal(similarity, -np.inf)
    groups: dict[int, tuple[int, ...]] = {column: (column,) for column in range(X.shape[1])}
    while len(groups) > 1:
        first, second = (int(index) for index in np.unravel_index(similarity.argmax(), similarity.shape))
        if similarity[first, second] <= MIN_GROUP_CORRELATION:
            break
        sizes = np.array([len(groups[first]), len(groups[second])], dtype=np.float64)
        mean = sizes @ similarity[[first, second]] / sizes.sum()
        similarity[first], similarity[:, first] = mean, mean
        similarity[second], similarity[:, second] = -np.inf, -np.inf
        similarity[first, first] = -np.inf
        groups[first] = tuple(sorted(groups[first] + groups.pop(second)))
    return sorted(group for group in groups.values() if len(group) > 1)


def feature_sets(columns_by_entry: Mapping[str, Sequence[str]], dataset: Dataset) -> list[FeatureSet]:
    """Return the entries of a config's features, and the groups of correlated columns that are no single entry.

    Parameters
    ----------
    columns_by_entry : names of the columns of each entry, by a name of the entry.
    dataset : whose columns these are.
    """
    index = {name: position for position, name in enumerate(dataset.columns)}
    entries = [
        FeatureSet(name, tuple(sorted(index[column] for column in columns)))
        for name, columns in columns_by_entry.items()
    ]
    known = {entry.columns for entry in entries} | {tuple(range(len(dataset.columns)))}
    groups = (group for group in correlated_groups(dataset.features) if group not in known)
    return entries + [FeatureSet(" + ".join(dataset.columns[i] for i in group), group, True) for group in groups]


def measure_feature_worth(
    dataset: Dataset,
    forecasts: Forecasts,
    sets: Sequence[FeatureSet],
    forecast: ForecastFunction,
    *,
    progress: Progress = ignore_progress,
) -> FeatureWorth:
    """Return the worth of sets of features.

    Parameters
    ----------
    dataset, forecasts : of the model with all features.
    sets : the sets that are left out, one at a time.
    forecast : the walk-forward of that model, as a function of the dataset.
    progress : called after each set.

    Raises
    ------
    DegenerateFold : a model of fewer features cannot be fitted as configured.
    """
    known = ~np.isnan(forecasts.up)
    losses, base_rate = _log_losses(forecasts, known), base_rate_forecasts(forecasts)
    base_rate_losses = _log_losses(base_rate, known)
    counter = ProgressCounter("measuring features", len(sets), progress)

    def forecast_with(columns: Iterable[int]) -> Forecasts:
        kept = sorted(columns)
        return forecast(_with_columns(dataset, kept)) if kept else base_rate

    def measure(features: FeatureSet) -> FeatureSetWorth:
        reduced = forecast_with(set(range(len(dataset.columns))).difference(features.columns))
        alone = forecasts if reduced is base_rate else forecast_with(features.columns)
        counter.step()
        return FeatureSetWorth(
            features,
            nested_clark_west_test(forecasts, reduced),
            None,
            _log_losses(reduced, known) - losses,
            clark_west_test(alone),
            float((base_rate_losses - _log_losses(alone, known)).mean()),
        )

    measured = [measure(features) for features in sets]
    tested = [index for index, worth in enumerate(measured) if worth.test["p_value"] is not None]
    adjusted = holm_adjusted_p_values([measured[index].test["p_value"] for index in tested])
    for index, p_value in zip(tested, adjusted, strict=True):
        measured[index] = replace(measured[index], adjusted_p_value=p_value)
    return FeatureWorth(tuple(measured), forecasts, known)


def _with_columns(dataset: Dataset, columns: Sequence[int]) -> Dataset:
    names = tuple(dataset.columns[column] for column in columns)
    return replace(dataset, columns=names, features=np.ascontiguousarray(dataset.features[:, columns]))


def _log_losses(forecasts: Forecasts, row_mask: BoolArray) -> Array:
    """Return the log loss of some forecasts, in nats; infinite where one was certain and wrong."""
    z, up = forecasts.log_odds[row_mask], forecasts.up[row_mask]
    return np.asarray(np.logaddexp(0.0, np.where(up > 0, -z, z)))
