"""The estimator's interface: scikit-learn's checks, pipelines, labels of any type, files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import quantlr
from hypothesis import given, settings
from hypothesis import strategies as st
from quantlr import GradientDescentClassifier
from quantlr.core.errors import DataError
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

from model.classification_data import example_data, raw_weights

ROOT = Path(__file__).parents[2]


def name_of(value: Any) -> str:
    return str(getattr(value, "func", value).__name__) if callable(value) else str(value)


# One is skipped unless SCIPY_ARRAY_API is set before SciPy is imported: it follows, in a process of its own.
CHECKS = [
    (estimator, check)
    for estimator, check in estimator_checks_generator(GradientDescentClassifier())
    if name_of(check) != "check_array_api_input"
]


# Some of the checks' data can be separated by a plane, of which the classifier warns.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("estimator", "check"), CHECKS, ids=name_of)
def test_scikit_learn_estimator_checks(estimator: Any, check: Any) -> None:
    check(estimator)


def test_only_the_estimator_imports_scikit_learn_and_passes_its_array_api_check() -> None:
    code = (
        "import sys, quantlr; from quantlr import *\n"
        "print('GradientDescentClassifier' in dir(quantlr), 'sklearn' in sys.modules)\n"
        "quantlr.GradientDescentClassifier; print('sklearn' in sys.modules)\n"
        "from sklearn.utils.estimator_checks import estimator_checks_generator\n"
        "for estimator, check in estimator_checks_generator(quantlr.GradientDescentClassifier()):\n"
        "    if check.func.__name__ == 'check_array_api_input': assert check(estimator) is None\n"
    )  # older versions have no such check
    environment = {**os.environ, "SCIPY_ARRAY_API": "1"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    assert done.stdout == "True False\nTrue\n"


def test_parameters_may_be_numpy_scalars() -> None:
    X, y = example_data()
    numbers: dict[str, Any] = {"l2": np.float32(0.25), "max_iter": np.int64(50), "warm_start": np.bool_(True)}
    model = GradientDescentClassifier(**numbers)
    expected = GradientDescentClassifier(l2=0.25).fit(X, y)
    np.testing.assert_array_equal(model.fit(X, y).coef_, expected.coef_)


def test_works_in_pipeline_grid_search_and_calibration() -> None:
    X, y = example_data(5, rows=600, k=2)
    search = GridSearchCV(
        make_pipeline(PolynomialFeatures(2, include_bias=True), GradientDescentClassifier()),
        {"gradientdescentclassifier__l2": [1e-3, 1e-1, 10.0]},
        scoring="neg_log_loss",
        cv=3,
    ).fit(X, y)
    assert search.best_params_["gradientdescentclassifier__l2"] < 10.0
    twin = GridSearchCV(
        make_pipeline(PolynomialFeatures(2, include_bias=False), StandardScaler(), LogisticRegression(tol=1e-10)),
        {"logisticregression__C": [1 / (400 * l2) for l2 in (1e-3, 1e-1, 10.0)]},
        scoring="neg_log_loss",
        cv=3,
    ).fit(X, y)
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], twin.cv_results_["mean_test_score"], rtol=1e-4)
    calibrated = CalibratedClassifierCV(GradientDescentClassifier(class_weight="balanced"), cv=3).fit(X, y)
    assert calibrated.predict_proba(X)[:, 1].mean() == pytest.approx(y.mean(), abs=0.02)
    plain = cross_val_predict(GradientDescentClassifier(), X, y, cv=3, method="predict_proba")
    assert log_loss(y, plain) < log_loss(y, np.full(len(y), y.mean()))


def test_feature_names_and_label_types_are_kept(tmp_path: Path) -> None:
    X, y = example_data(k=2)
    frame = pd.DataFrame(X, columns=["lag_1", "größe"])
    for labels in (np.array(["down", "up"]), np.array([-1, 1]), np.array([False, True]), np.array([0.0, 2.0])):
        model = GradientDescentClassifier().fit(frame, labels[y])
        model.save(tmp_path / "weights.json")
        back = GradientDescentClassifier.load(tmp_path / "weights.json")
        np.testing.assert_array_equal(back.classes_, labels)
        assert back.classes_.dtype.kind == labels.dtype.kind
        np.testing.assert_array_equal(back.predict(frame), model.predict(frame))
        np.testing.assert_array_equal(back.feature_names_in_, ["lag_1", "größe"])
        with pytest.raises(ValueError, match="feature names"):
            back.predict(frame.rename(columns={"lag_1": "lag_2"}))
    series = pd.Series(np.array(["down", "up"])[y])
    assert GradientDescentClassifier().fit(frame, series).predict(frame)[0] in ("down", "up")


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_saved_classifier_forecasts_the_same_bits(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    X, y = example_data(seed, rows=100, k=3)
    path = tmp_path_factory.mktemp("weights") / "weights.json"
    model = GradientDescentClassifier(l2=0.02).fit(X, y)
    model.save(path)
    back = GradientDescentClassifier.load(path)
    np.testing.assert_array_equal(back.predict_proba(X), model.predict_proba(X))
    np.testing.assert_array_equal(raw_weights(back), raw_weights(model))
    assert (back.l2, back.n_samples_fit_, back.n_features_in_) == (0.02, 100, 3)
    body = json.loads(path.read_text())
    assert (body["features"], body["rows"], body["quantlr"]) == (None, 100, quantlr.__version__)


def test_edited_file_raises(tmp_path: Path) -> None:
    X, y = example_data()
    path = tmp_path / "weights.json"
    GradientDescentClassifier(l2=0.5).fit(X, y).save(path)
    path.write_text(path.read_text().replace('"l2":0.5', '"l2":0.6'))
    with pytest.raises(DataError, match=r"weights\.json: the weights were changed or damaged"):
        GradientDescentClassifier.load(path)


def test_loaded_classifier_supports_warm_start(tmp_path: Path) -> None:
    X, y = example_data()
    GradientDescentClassifier().fit(X, y).save(tmp_path / "weights.json")
    model = GradientDescentClassifier.load(tmp_path / "weights.json").set_params(warm_start=True)
    assert model.fit(X, y).n_iter_[0] <= 1


def test_extreme_rows_have_finite_probabilities() -> None:
    X, y = example_data(k=1)
    model = GradientDescentClassifier().fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        p = model.predict_proba([[-1e12], [1e12], [0.0]])
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-15)
    assert set(p[:2, 1]) == {0.0, 1.0}
