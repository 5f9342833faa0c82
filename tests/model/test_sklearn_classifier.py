"""Classifiers of scikit-learn in the walk-forward, against a loop that fits them refit by refit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import quantlr
from quantlr.core.errors import ConfigError, DegenerateFold, ModelError
from quantlr.core.values import Array
from quantlr.experiment.run import Run
from quantlr.model.sklearn_classifier import classifier_classes
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

BASE: dict[str, Any] = {
    "name": "classifier",
    "data": {"source": {"kind": "sample"}, "tickers": ["MSFT", "IBM"], "start": "2000-03-01", "end": "2002-06-30"},
    "features": [{"kind": "lagged_returns", "lags": [1, 2]}, {"kind": "volatility", "windows": [20]}],
    "label": {"horizon": 3},
    "walk_forward": {"train": 250, "refit_every": 60},
}


def run_of(estimator: Any, params: dict[str, Any] | None = None, **model: Any) -> Run:
    section = {"kind": "sklearn", "estimator": estimator, **({"params": params} if params else {}), **model}
    return quantlr.run(BASE | {"model": section})


def no_weights(up: Array) -> None:
    """Weigh no row."""


def decayed_and_balanced_weights(up: Array) -> Array:
    """Return weights with a half-life of 100 rows that are in total the same for both classes, with mean 1."""
    weights = np.array([0.5 ** (age / 100.0) for age in range(len(up) - 1, -1, -1)])
    for label in (0, 1):
        weights[up == label] /= weights[up == label].sum()
    return np.asarray(weights / weights.mean())


def loop_probabilities(run: Run, make_classifier: Any, weigh: Any = no_weights) -> Array:
    """Return the probabilities of a classifier that is scaled and fitted at every refit, ticker by ticker."""
    data, parts = run.run_data.dataset, []
    for folds in run.run_data.forecasts.folds:
        for fold in folds:
            rows = np.arange(fold.train.start, fold.train.stop)
            rows = rows[~np.isnan(data.up[rows])]
            scaler = StandardScaler().fit(data.features[rows])
            weights = weigh(data.up[rows])
            weighted = {} if weights is None else {"sample_weight": weights}
            classifier = make_classifier().fit(scaler.transform(data.features[rows]), data.up[rows], **weighted)
            parts.append(classifier.predict_proba(scaler.transform(data.features[fold.test]))[:, 1])
    return np.concatenate(parts)


@pytest.mark.parametrize(
    ("name", "params", "make_classifier"),
    [
        ("LogisticRegression", {"C": 0.5, "tol": 1e-10}, lambda: LogisticRegression(C=0.5, tol=1e-10)),
        ("GaussianNB", None, GaussianNB),
        (
            "RandomForestClassifier",
            {"n_estimators": 5, "min_samples_leaf": 20},
            lambda: RandomForestClassifier(n_estimators=5, min_samples_leaf=20, random_state=0),
        ),
    ],
)
def test_probabilities_are_those_of_a_loop(name: str, params: dict[str, Any] | None, make_classifier: Any) -> None:
    run = run_of(name, params)
    expected = loop_probabilities(run, make_classifier)
    np.testing.assert_allclose(run.run_data.forecasts.probability, expected, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "params", "make_classifier"),
    [
        ("LogisticRegression", {"C": 0.5, "tol": 1e-10}, lambda: LogisticRegression(C=0.5, tol=1e-10)),
        (
            "RandomForestClassifier",
            {"n_estimators": 5, "min_samples_leaf": 20},
            lambda: RandomForestClassifier(n_estimators=5, min_samples_leaf=20, random_state=4),
        ),
    ],
)
def test_weights_of_rows_and_the_seed_are_those_of_a_loop(
    name: str, params: dict[str, Any] | None, make_classifier: Any
) -> None:
    model = {"kind": "sklearn", "estimator": name, "params": params, "half_life": 100, "class_weight": "balanced"}
    run = quantlr.run(BASE | {"seed": 4, "model": model})
    expected = loop_probabilities(run, make_classifier, decayed_and_balanced_weights)
    np.testing.assert_allclose(run.run_data.forecasts.probability, expected, atol=1e-9)
    assert "random_state: 4" in run.config.to_yaml()


def test_certain_probabilities_are_limited_by_the_number_of_training_rows() -> None:
    run = run_of("DecisionTreeClassifier")
    expected = loop_probabilities(run, lambda: DecisionTreeClassifier(random_state=0))
    assert set(np.unique(expected)) == {0.0, 1.0}
    forecasts, n_rows = run.run_data.forecasts, 250
    for certain, bound in ((0.0, 1 / (n_rows + 2)), (1.0, (n_rows + 1) / (n_rows + 2))):
        first_fold = (expected == certain) & (forecasts.fold == 0)
        np.testing.assert_allclose(forecasts.probability[first_fold], bound)
    assert np.isfinite(run.metrics["forecast"]["log_loss"])


def test_an_object_is_read_as_its_name_and_its_changed_parameters() -> None:
    by_object = run_of(RandomForestClassifier(n_estimators=3, max_depth=2))
    by_name = run_of("RandomForestClassifier", {"n_estimators": 3, "max_depth": 2})
    assert by_object.config == by_name.config
    np.testing.assert_array_equal(by_object.run_data.forecasts.probability, by_name.run_data.forecasts.probability)


def test_the_seed_decides_what_is_drawn_at_random() -> None:
    runs = [run_of("RandomForestClassifier", {"n_estimators": 3}, random_state=seed) for seed in (1, 1, 2)]
    first, same, other = (run.run_data.forecasts.probability for run in runs)
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()


def test_provenance_has_the_version_of_scikit_learn() -> None:
    import sklearn

    assert run_of("GaussianNB").provenance["versions"]["scikit-learn"] == sklearn.__version__


def test_classifiers_have_probabilities_and_need_no_other_estimator() -> None:
    names = classifier_classes()
    assert {"HistGradientBoostingClassifier", "RandomForestClassifier", "SVC"} & names.keys() >= {
        "HistGradientBoostingClassifier",
        "RandomForestClassifier",
    }
    assert not {"VotingClassifier", "RidgeClassifier", "RandomForestRegressor"} & names.keys()


@pytest.mark.parametrize(
    ("model", "place", "texts"),
    [
        ("{kind: sklearn, estimator: RandomForest}", "RandomForest}", ("RandomForestClassifier",)),
        ("{kind: sklearn, estimator: os.system}", "os.system", ("'os.system'",)),
        ("{kind: sklearn, estimator: RidgeClassifier}", "RidgeClassifier", ("predict_proba",)),
        ("{kind: sklearn, estimator: GaussianNB, params: {alpha: 1}}", "{alpha", ("alpha", "GaussianNB")),
        (
            "{kind: sklearn, estimator: RandomForestClassifier, params: {n_estimators: -3}}",
            "{n_estimators",
            ("n_estimators", "-3"),
        ),
        (
            "{kind: sklearn, estimator: RandomForestClassifier, params: {random_state: 3}}",
            "{random_state",
            ("model.random_state",),
        ),
        (
            "{kind: sklearn, estimator: KNeighborsClassifier, half_life: 250}",
            "250",
            ("model.half_life", "KNeighborsClassifier takes no weights"),
        ),
    ],
)
def test_mistakes_are_found_at_their_place(tmp_path: Path, model: str, place: str, texts: tuple[str, ...]) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: mine\ndata:\n  source: {kind: sample}\n  tickers: [MSFT]\nfeatures:\n"
        f"  - {{kind: lagged_returns, lags: [1]}}\nmodel: {model}\n"
    )
    with pytest.raises(ConfigError) as caught:
        quantlr.load_config(path)
    column = f"model: {model}".index(place) + 1
    assert f"mine.yaml:7:{column}: " in str(caught.value)
    for text in texts:
        assert text in str(caught.value)


def test_parameters_of_a_file_are_written_into_the_resolved_config(tmp_path: Path) -> None:
    params = {"n_estimators": 10, "criterion": "entropy", "min_samples_leaf": 0.1, "bootstrap": True}
    path = tmp_path / "mine.yaml"
    model = {"kind": "sklearn", "estimator": "RandomForestClassifier", "params": params}
    path.write_text(json.dumps(BASE | {"model": model}))
    resolved = tmp_path / "resolved.yaml"
    resolved.write_text(quantlr.load_config(path).run.to_yaml())
    assert quantlr.load_config(resolved).run == quantlr.load_config(path).run
    assert quantlr.load_config(resolved).run.model.model_dump()["params"] == params


def test_a_classifier_that_refuses_standardised_features_is_named_with_its_reason() -> None:
    with pytest.raises(ModelError, match="MultinomialNB cannot be fitted: Negative values in data"):
        run_of("MultinomialNB")


def test_one_class_stops_or_forecasts_the_base_rate() -> None:
    config = BASE | {
        "label": {"kind": "direction", "horizon": 1},
        "walk_forward": {"window": "rolling", "train": 2, "refit_every": 30},
    }
    model: dict[str, Any] = {"kind": "sklearn", "estimator": "GaussianNB"}
    with pytest.raises(DegenerateFold, match="one class"):
        quantlr.run(config | {"model": model})
    run = quantlr.run(config | {"model": model | {"degenerate": "base_rate"}})
    refits = run.run_data.forecasts.refits
    assert refits.degenerate.any()
    assert np.isfinite(run.run_data.forecasts.log_odds).all()
