"""Worth of features against a loop of scikit-learn pipelines, SciPy's linkage, and planted features."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from quantlr.core.values import Array, Dataset, Forecasts
from quantlr.model.config import LogisticRegression
from quantlr.model.feature_worth import (
    FeatureSet,
    FeatureWorth,
    correlated_groups,
    feature_sets,
    measure_feature_worth,
    walk_forward_each,
)
from quantlr.model.splits import WalkForwardSpec
from quantlr.model.walk_forward import walk_forward
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.linear_model import LogisticRegression as SklearnLogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from planted import dataset_of, planted_dataset

SPLITS = WalkForwardSpec(train=300, refit_every=100)
MODEL = LogisticRegression(tol=1e-11)


def measure(dataset: Dataset, sets: list[FeatureSet], model: LogisticRegression = MODEL) -> FeatureWorth:
    forecasts = walk_forward(dataset, SPLITS, model)
    return measure_feature_worth(dataset, forecasts, sets, lambda parts: walk_forward_each(parts, SPLITS, model))


def sets_of_single_columns(dataset: Dataset) -> list[FeatureSet]:
    return feature_sets({name: [name] for name in dataset.columns}, dataset)


def sklearn_log_losses(dataset: Dataset, forecasts: Forecasts, columns: list[int]) -> Array:
    """Return the log loss of each forecast with an outcome, by a pipeline that is fitted at every refit."""
    losses = []
    for fold in forecasts.folds[0]:
        pipeline = make_pipeline(StandardScaler(), SklearnLogisticRegression(C=np.inf, tol=1e-10, max_iter=1000))
        X, up = dataset.features[:, columns], dataset.up
        pipeline.fit(X[fold.train], up[fold.train])
        rows = np.arange(fold.test.start, fold.test.stop)
        rows = rows[~np.isnan(up[rows])]
        probability = pipeline.predict_proba(X[rows])[np.arange(len(rows)), up[rows].astype(int)]
        losses.append(-np.log(probability))
    return np.concatenate(losses)


def test_loss_reductions_are_those_of_a_loop_of_pipelines() -> None:
    dataset = planted_dataset(1, [0.3, 0.0, 0.2])
    worth = measure(dataset, [FeatureSet("x0", (0,)), FeatureSet("x1 + x2", (1, 2), True)])
    losses = {
        columns: sklearn_log_losses(dataset, worth.forecasts, list(columns)) for columns in ((0, 1, 2), (1, 2), (0,))
    }
    base_rate = worth.forecasts.base_rate[worth.known]
    base_losses = -np.log(np.where(worth.forecasts.up[worth.known] == 1, base_rate, 1 - base_rate))
    first, group = worth.sets
    np.testing.assert_allclose(first.loss_reduction, losses[1, 2] - losses[0, 1, 2], atol=1e-6)
    np.testing.assert_allclose(group.loss_reduction, losses[(0,)] - losses[0, 1, 2], atol=1e-6)
    assert first.alone_loss_reduction == pytest.approx((base_losses - losses[(0,)]).mean(), abs=1e-7)
    assert group.alone_loss_reduction == pytest.approx((base_losses - losses[1, 2]).mean(), abs=1e-7)


def test_only_set_of_features_is_compared_with_the_base_rate() -> None:
    dataset = planted_dataset(2, [0.4])
    (only,) = measure(dataset, sets_of_single_columns(dataset)).sets
    assert only.mean_loss_reduction == pytest.approx(only.alone_loss_reduction)
    assert only.test["p_value"] is not None
    assert only.test["p_value"] < 0.01
    assert only.adjusted_p_value == only.test["p_value"]


def test_planted_features_are_found_and_noise_is_not() -> None:
    """Two of five features have an effect of .4, which 700 forecasts nearly always find; Holm's error rate is 5 %."""
    n_found = n_markets_with_false = 0
    for seed in range(12):
        dataset = planted_dataset(seed, [0.4, 0.0, 0.0, -0.4, 0.0])
        significant = [
            item.adjusted_p_value is not None and item.adjusted_p_value < 0.05
            for item in measure(dataset, sets_of_single_columns(dataset), LogisticRegression()).sets
        ]
        n_found += significant[0] + significant[3]
        n_markets_with_false += any(significant[index] for index in (1, 2, 4))
    assert n_found >= 21
    assert n_markets_with_false <= 3


def test_p_values_are_adjusted_by_holm() -> None:
    dataset = planted_dataset(3, [0.15, 0.1, 0.0, 0.05])
    sets = measure(dataset, sets_of_single_columns(dataset)).sets
    raw = [float(item.test["p_value"]) for item in sets]
    order = sorted(range(4), key=raw.__getitem__)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (4 - rank) * raw[index]))
        assert sets[index].adjusted_p_value == pytest.approx(largest)


@pytest.mark.parametrize("seed", range(8))
def test_groups_are_those_of_average_linkage(seed: int) -> None:
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(400, 3))
    X = np.sqrt(0.8) * factors[:, rng.integers(3, size=9)] * rng.choice([-1, 1], 9)
    X = X + np.sqrt(0.2) * rng.normal(size=(400, 9)) * rng.uniform(0.3, 2.0, 9)
    distance = 1 - np.abs(np.corrcoef(X.T))
    clusters = fcluster(linkage(distance[np.triu_indices(9, 1)], method="average"), t=0.3, criterion="distance")
    expected = [tuple(np.flatnonzero(clusters == label).tolist()) for label in np.unique(clusters)]
    assert correlated_groups(X) == sorted(group for group in expected if len(group) > 1)


def test_constant_columns_are_in_no_group() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(50, 1))
    assert correlated_groups(np.column_stack([x, np.ones(50), -3 * x, np.ones(50)])) == [(0, 2)]


def test_groups_that_are_an_entry_or_all_columns_are_not_measured_twice() -> None:
    rng = np.random.default_rng(5)
    x, z = rng.normal(size=(2, 60, 1))
    X = np.column_stack([x, 2 * x, z])
    dataset = dataset_of(X, (rng.random(60) < 0.5).astype(np.float64))
    assert [item.name for item in feature_sets({"a": ["x0", "x1"], "b": ["x2"]}, dataset)] == ["a", "b"]
    names = [item.name for item in feature_sets({"a": ["x0"], "b": ["x1"], "c": ["x2"]}, dataset)]
    assert names == ["a", "b", "c", "x0 + x1"]
    pair = dataset_of(X[:, :2], dataset.up)
    assert [item.name for item in feature_sets({"a": ["x0"], "b": ["x1"]}, pair)] == ["a", "b"]


def test_features_change_nothing_but_the_columns() -> None:
    """Every model is given the same rows, labels and sessions."""
    dataset, seen = planted_dataset(6, [0.1, 0.0]), []

    def forecast(part: Dataset, record: bool = True) -> Forecasts:
        if record:
            seen.append(part)
        return walk_forward(part, SPLITS, MODEL)

    measure_feature_worth(
        dataset, forecast(dataset, record=False), sets_of_single_columns(dataset), partial(map, forecast)
    )
    names: list[Any] = [part.columns for part in seen]
    assert sorted(names) == [("x0",), ("x1",)]
    for part in seen:
        np.testing.assert_array_equal(part.up, dataset.up)
        np.testing.assert_array_equal(part.session, dataset.session)
        np.testing.assert_array_equal(part.features[:, 0], dataset.features[:, int(part.columns[0][1])])


def test_walk_forwards_of_several_datasets_are_those_of_each() -> None:
    whole = planted_dataset(7, [0.3, 0.0, 0.2, -0.1])
    names = (*(whole.columns[:n] for n in (3, 3, 1, 2, 1)), *(whole.columns[:3] for _ in range(20)))
    datasets = [replace(whole, columns=columns, features=whole.features[:, : len(columns)]) for columns in names]
    for dataset, forecasts in zip(datasets, walk_forward_each(iter(datasets), SPLITS, MODEL), strict=True):
        alone = walk_forward(dataset, SPLITS, MODEL)
        np.testing.assert_array_equal(forecasts.probability, alone.probability)
        np.testing.assert_array_equal(forecasts.refits.coefficients, alone.refits.coefficients)
