"""Permutation importance against scikit-learn's, on planted features, and on the rows that refits forecast."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from quantlr.core.values import Dataset
from quantlr.model.permutation_importance import PermutationImportance, permutation_importance
from quantlr.model.sklearn_classifier import SklearnClassifier
from quantlr.model.splits import WalkForwardSpec
from quantlr.model.walk_forward import walk_forward
from sklearn.inspection import permutation_importance as sklearn_importance
from sklearn.naive_bayes import GaussianNB
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from planted import planted_dataset

NAIVE_BAYES = SklearnClassifier(estimator="GaussianNB")


def importance_of(dataset: Dataset, model: Any, refit_every: Any, **options: Any) -> PermutationImportance:
    forecasts = walk_forward(dataset, WalkForwardSpec(train=300, refit_every=refit_every), model)
    return permutation_importance(dataset, forecasts, model, ticker_index=0, seed=0, **options)


def test_importance_of_a_single_refit_is_that_of_scikit_learn() -> None:
    dataset = planted_dataset(1, [0.5, 0.0, 0.3])
    X, up = dataset.features, dataset.up
    scaler = StandardScaler().fit(X[:299])
    classifier = GaussianNB().fit(scaler.transform(X[:299]), up[:299])
    rows = np.arange(300, len(up))[~np.isnan(up[300:])]
    expected = sklearn_importance(
        classifier, scaler.transform(X[rows]), up[rows], scoring="neg_log_loss", n_repeats=200, random_state=0
    )
    found = importance_of(dataset, NAIVE_BAYES, "never", n_permutations=200)
    assert (found.n_refits, found.n_rows) == (1, len(rows))
    np.testing.assert_allclose(found.loss_increase, expected.importances_mean, rtol=0.03, atol=1e-3)


def test_planted_feature_is_important_and_noise_is_not() -> None:
    found = importance_of(planted_dataset(2, [0.8, 0.0]), NAIVE_BAYES, 20)
    assert found.n_refits == 5
    assert found.low95[0] > 0
    assert found.loss_increase[0] > 20 * abs(found.loss_increase[1])


def test_features_that_are_only_memorised_have_no_importance_beyond_chance() -> None:
    """A full tree fits its training rows without error; on rows that it forecasts, shuffling changes nothing."""
    dataset = planted_dataset(3, [0.0, 0.0])
    model = SklearnClassifier(estimator="DecisionTreeClassifier", degenerate="base_rate")
    found = importance_of(dataset, model, 100)
    assert (found.low95 < 0).all()
    tree = DecisionTreeClassifier(random_state=0).fit(dataset.features[:-1], dataset.up[:-1])
    assert tree.score(dataset.features[:-1], dataset.up[:-1]) == 1.0


@pytest.mark.parametrize("refit_every", [7, 100])
def test_every_forecast_with_an_outcome_is_used_once(refit_every: int) -> None:
    dataset = planted_dataset(4, [0.3])
    assert importance_of(dataset, NAIVE_BAYES, refit_every).n_rows == len(dataset.up) - 300 - 1


def test_the_same_seed_gives_the_same_importance() -> None:
    dataset = planted_dataset(5, [0.3, 0.1])
    first, second = (importance_of(dataset, NAIVE_BAYES, 50) for _ in range(2))
    np.testing.assert_array_equal(first.loss_increase, second.loss_increase)
