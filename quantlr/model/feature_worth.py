"""Worth of features: the walk-forward refitted without each of them, and with each alone.

All models forecast the same rows with the same refits, so that forecasts differ by the features only. What is measured
is the forecast, never the profit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from quantlr.core.progress import Progress, ProgressCounter, ignore_progress
from quantlr.core.values import Array, BoolArray, Dataset, Forecasts
from quantlr.model.base import Model
from quantlr.model.splits import WalkForwardSpec
from quantlr.model.walk_forward import MAX_MODELS_PER_BATCH, walk_forward_together
from quantlr.stats.clark_west import base_rate_forecasts, clark_west_test, nested_clark_west_test
from quantlr.stats.paired import holm_adjusted_p_values

MIN_GROUP_CORRELATION = 0.7
"""Smallest mean absolute correlation between the columns of two groups at which they are joined."""

Columns = tuple[int, ...]
"""Indices of columns of a dataset, ascending."""
ForecastFunction = Callable[[Iterable[Dataset]], Iterable[Forecasts]]
"""Takes datasets and returns the walk-forward forecasts of each."""


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
    columns: Columns
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
    forecast : the walk-forward of that model, as a function of datasets.
    progress : called after each walk-forward.

    Raises
    ------
    DegenerateFold : a model of fewer features cannot be fitted as configured.
    """
    known = ~np.isnan(forecasts.up)
    losses, base_rate = log_losses(forecasts, known), base_rate_forecasts(forecasts)
    base_rate_losses = log_losses(base_rate, known)
    columns = range(len(dataset.columns))
    without = {item: tuple(column for column in columns if column not in item.columns) for item in sets}
    needed = dict.fromkeys(kept for item in sets for kept in (without[item], item.columns))
    refitted = [kept for kept in sorted(needed, key=len, reverse=True) if 0 < len(kept) < len(columns)]
    counter = ProgressCounter("measuring features", len(refitted), progress)
    reductions: dict[Columns, tuple[dict[str, Any], Array]] = {}
    alone: dict[Columns, tuple[dict[str, Any], float]] = {}

    def measure(kept: Columns, reduced: Forecasts) -> None:
        reduced_losses = log_losses(reduced, known)
        if kept in without.values():
            reductions[kept] = nested_clark_west_test(forecasts, reduced), reduced_losses - losses
        if any(kept == item.columns for item in sets):
            alone[kept] = clark_west_test(reduced), float((base_rate_losses - reduced_losses).mean())

    measure((), base_rate)
    measure(tuple(columns), forecasts)
    for kept, reduced in zip(refitted, forecast(with_columns(dataset, kept) for kept in refitted), strict=True):
        measure(kept, reduced)
        counter.step()
    measured = []
    for item in sets:
        test, reduction = reductions[without[item]]
        measured.append(FeatureSetWorth(item, test, None, reduction, *alone[item.columns]))
    tested = [index for index, worth in enumerate(measured) if worth.test["p_value"] is not None]
    adjusted = holm_adjusted_p_values([measured[index].test["p_value"] for index in tested])
    for index, p_value in zip(tested, adjusted, strict=True):
        measured[index] = replace(measured[index], adjusted_p_value=p_value)
    return FeatureWorth(tuple(measured), forecasts, known)


def walk_forward_each(
    datasets: Iterable[Dataset], split_spec: WalkForwardSpec, model: Model, *, workers: int = 1
) -> Iterator[Forecasts]:
    """Yield what `walk_forward` returns for each of many datasets, such as the same rows with other features.

    The models of several datasets are fitted in one batch, up to as many as one dataset of many tickers would have
    there; one feature less each time then takes half of the time.
    """
    together: list[Dataset] = []
    for dataset in datasets:
        together.append(dataset)
        n_models = 1 if model.scope == "pooled" else len(dataset.tickers)
        if (len(together) + 1) * n_models > MAX_MODELS_PER_BATCH:
            yield from walk_forward_together(together, split_spec, model, workers=workers)
            together = []
    if together:
        yield from walk_forward_together(together, split_spec, model, workers=workers)


def with_columns(dataset: Dataset, columns: Sequence[int]) -> Dataset:
    """Return the same rows with some of the columns, given by their indices."""
    names = tuple(dataset.columns[column] for column in columns)
    return replace(dataset, columns=names, features=np.ascontiguousarray(dataset.features[:, columns]))


def log_losses(forecasts: Forecasts, row_mask: BoolArray) -> Array:
    """Return the log loss of some forecasts, in nats; infinite where one was certain and wrong."""
    z, up = forecasts.log_odds[row_mask], forecasts.up[row_mask]
    return np.asarray(np.logaddexp(0.0, np.where(up > 0, -z, z)))
