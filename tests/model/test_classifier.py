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
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from quantlr import GradientDescentClassifier
from quantlr.errors import DataError, LearningRateTooLarge
from quantlr.types import Array
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

ROOT = Path(__file__).parents[2]
WAYS: Any = ("plain", "accelerated", "preconditioned")


def name_of(value: Any) -> str:
    return str(getattr(value, "func", value).__name__) if callable(value) else str(value)


# One is skipped unless SCIPY_ARRAY_API is set before SciPy is imported: it follows, in a process of its own.
CHECKS = [
    (estimator, check)
    for estimator, check in estimator_checks_generator(GradientDescentClassifier())
    if name_of(check) != "check_array_api_input"
]


# Some of the checks' own data can be told apart by a plane, of which the classifier warns.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("estimator", "check"), CHECKS, ids=name_of)
def test_scikit_learns_own_checks(estimator: Any, check: Any) -> None:
    check(estimator)


def test_scikit_learns_check_of_its_array_interface() -> None:
    code = (
        "from sklearn.utils.estimator_checks import estimator_checks_generator\n"
        "from quantlr import GradientDescentClassifier\n"
        "for estimator, check in estimator_checks_generator(GradientDescentClassifier()):\n"
        "    if check.func.__name__ == 'check_array_api_input': print(check(estimator))"
    )
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "SCIPY_ARRAY_API": "1"}
    run = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    assert run.stdout in ("None\n", "")  # older versions have no such check


def made_up(seed: int = 0, *, rows: int = 400, k: int = 4) -> tuple[Array, Any]:
    """Correlated features of very different scales, far from 0, and labels that depend on them."""
    rng = np.random.default_rng(seed)
    S = rng.normal(size=(rows, k)) @ (np.eye(k) + 0.4 * rng.normal(size=(k, k)))
    X = S * 10.0 ** rng.uniform(-3, 3, k) + 3 * rng.normal(size=k)
    z = (X - X.mean(axis=0)) / X.std(axis=0) @ rng.normal(size=k) * 0.6 + 0.4
    return X, np.asarray(rng.random(rows) < 1 / (1 + np.exp(-z)), dtype=np.int64)


def by_scikit_learn(
    X: Array, y: Any, *, l2: float, weight: Array | None = None, class_weight: Any = None, intercept: bool = True
) -> Array:
    """Return the weights, intercept first, that scikit-learn finds on features that it has standardised by itself."""
    scaler = StandardScaler(with_mean=intercept).fit(X, sample_weight=weight)
    each = np.ones(len(y)) if weight is None else weight
    by_class = {0: 1.0, 1: 1.0}
    if class_weight == "balanced":
        by_class = {label: each.sum() / (2 * each[y == label].sum()) for label in (0, 1)}
    elif class_weight:
        by_class = class_weight
    n = sum(each[y == label].sum() * by_class[label] for label in (0, 1))
    model = LogisticRegression(
        C=1 / (n * l2) if l2 else 1e12, solver="newton-cholesky", tol=1e-12, max_iter=1000,
        class_weight=by_class, fit_intercept=intercept,
    )  # fmt: skip
    model.fit(scaler.transform(X), y, sample_weight=weight)
    weights = model.coef_[0] / scaler.scale_
    constant = model.intercept_[0] - (weights @ scaler.mean_ if intercept else 0.0)
    return np.concatenate([[constant], weights])


def weights_of(model: Any) -> Array:
    return np.concatenate([model.intercept_, model.coef_[0]])


def assert_alike(found: Array, expected: Array, X: Array, *, atol: float = 1e-7) -> None:
    """Compare weights in standardised units."""
    units = np.r_[1, X.std(axis=0)]
    np.testing.assert_allclose(found[1:] * units[1:], expected[1:] * units[1:], atol=atol)
    np.testing.assert_allclose(X @ found[1:] + found[0], X @ expected[1:] + expected[0], atol=10 * atol)


WEIGHT = np.random.default_rng(9).exponential(size=400)


@pytest.mark.parametrize("descent", WAYS)
@pytest.mark.parametrize("l2", [0.0, 0.05])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["alike", "weighted"])
@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 0.3, 1: 2.0}], ids=["one", "balanced", "dict"])
def test_every_way_reaches_scikit_learns_weights(
    descent: Any, l2: float, intercept: bool, weight: Array | None, class_weight: Any
) -> None:
    X, y = made_up()
    if not intercept:
        X = X - X.mean(axis=0) + 0.5 * X.std(axis=0)
    model = GradientDescentClassifier(
        descent=descent, l2=l2, tol=1e-11, max_iter=100_000, fit_intercept=intercept, class_weight=class_weight
    )
    model.fit(X, y, sample_weight=weight)
    expected = by_scikit_learn(X, y, l2=l2, weight=weight, class_weight=class_weight, intercept=intercept)
    assert_alike(weights_of(model), expected, X)
    if not intercept:
        assert model.intercept_[0] == 0.0


@pytest.mark.parametrize("seed", range(1, 6))
@pytest.mark.parametrize("rows", [60, 5000])
def test_the_number_of_rows_and_blocks_does_not_matter(seed: int, rows: int) -> None:
    X, y = made_up(seed, rows=rows, k=3)
    model = GradientDescentClassifier(l2=0.01, tol=1e-11).fit(X, y)
    assert_alike(weights_of(model), by_scikit_learn(X, y, l2=0.01), X)
    halves = GradientDescentClassifier(l2=0.01, tol=1e-11).fit(np.asfortranarray(X.astype(np.float32)), y)
    assert_alike(weights_of(halves), by_scikit_learn(X.astype(np.float32).astype(np.float64), y, l2=0.01), X)


def test_the_intercept_of_no_intercept_is_no_leftover_of_an_earlier_one() -> None:
    X, y = made_up()
    X -= X.mean(axis=0)
    model = GradientDescentClassifier(warm_start=True, tol=1e-11).fit(X, y)
    assert abs(model.intercept_[0]) > 0.1
    model.set_params(fit_intercept=False).fit(X, y)
    assert model.intercept_[0] == 0.0
    assert_alike(weights_of(model), by_scikit_learn(X, y, l2=0.0, intercept=False), X, atol=1e-6)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), l2=st.sampled_from([0.0, 0.1]), descent=st.sampled_from(WAYS))
def test_a_whole_weight_repeats_a_row_and_none_leaves_it_out(seed: int, l2: float, descent: Any) -> None:
    X, y = made_up(seed, rows=200, k=2)
    counts = np.random.default_rng(seed).integers(0, 4, len(y))
    one, other = (GradientDescentClassifier(l2=l2, descent=descent, max_iter=20_000) for _ in range(2))
    one.fit(X, y, sample_weight=counts)
    other.fit(X.repeat(counts, axis=0), y.repeat(counts))
    assert_alike(weights_of(one), weights_of(other), X)
    np.testing.assert_allclose(one.standard_errors_, other.standard_errors_, rtol=1e-6)
    assert one.n_samples_fit_ == np.count_nonzero(counts)
    assert other.n_samples_fit_ == counts.sum()


def test_labels_of_rows_that_do_not_count_are_no_classes() -> None:
    X, y = made_up()
    three = np.r_[y, np.full(10, 7)]
    model = GradientDescentClassifier().fit(np.r_[X, X[:10] + 1e6], three, sample_weight=three < 7)
    np.testing.assert_array_equal(model.classes_, [0, 1])
    assert_alike(weights_of(model), weights_of(GradientDescentClassifier().fit(X, y)), X)


def test_standard_errors_are_those_of_statsmodels() -> None:
    X, y = made_up()
    model = GradientDescentClassifier(tol=1e-12).fit(X, y)
    by_logit = sm.Logit(y, sm.add_constant(X)).fit(disp=0, method="newton", tol=1e-12)
    np.testing.assert_allclose(model.standard_errors_, by_logit.bse, rtol=1e-7)
    model.fit(X, y, sample_weight=WEIGHT)
    by_glm = sm.GLM(y, sm.add_constant(X), family=sm.families.Binomial(), freq_weights=WEIGHT).fit(tol=1e-13)
    np.testing.assert_allclose(model.standard_errors_, by_glm.bse, rtol=1e-6)
    model.set_params(fit_intercept=False).fit(X, y)
    by_logit = sm.Logit(y, X).fit(disp=0, method="newton", tol=1e-12)
    np.testing.assert_allclose(model.standard_errors_[1:], by_logit.bse, rtol=1e-6)
    assert np.isnan(model.standard_errors_[0])


def test_standard_errors_of_penalised_weights() -> None:
    """The formula in raw units, where the penalty on a weight is l2 times the square of its deviation."""
    X, y = made_up()
    l2 = 0.05
    model = GradientDescentClassifier(l2=l2, tol=1e-12).fit(X, y, sample_weight=WEIGHT)
    rows, n = sm.add_constant(X), WEIGHT.sum()
    p = model.predict_proba(X)[:, 1]
    mean = WEIGHT @ X / n
    B = (rows.T * (WEIGHT * p * (1 - p))) @ rows
    A = B + np.diag(np.r_[0, n * l2 * (WEIGHT @ (X - mean) ** 2 / n)])
    expected = np.sqrt(np.diag(np.linalg.solve(A, np.linalg.solve(A, B).T)))
    np.testing.assert_allclose(model.standard_errors_, expected, rtol=1e-6)
    nearly = GradientDescentClassifier(l2=1e-10, tol=1e-12).fit(X, y, sample_weight=WEIGHT)
    none = GradientDescentClassifier(tol=1e-12).fit(X, y, sample_weight=WEIGHT)
    np.testing.assert_allclose(nearly.standard_errors_, none.standard_errors_, rtol=1e-6)


def test_standard_errors_are_the_spread_over_labels_drawn_anew() -> None:
    X, y = made_up(rows=300, k=2)
    model = GradientDescentClassifier(l2=0.3).fit(X, y)
    p = model.predict_proba(X)[:, 1]
    rng = np.random.default_rng(0)
    drawn = [weights_of(clone(model).fit(X, rng.random(len(p)) < p)) for _ in range(300)]
    np.testing.assert_allclose(np.std(drawn, axis=0, ddof=1), model.standard_errors_, rtol=0.15)


def test_what_the_rows_say_nothing_of_has_no_standard_error() -> None:
    X, y = made_up(k=3)
    wide = np.column_stack([X, np.full(len(X), 0.1), 2 * X[:, 1]])
    model = GradientDescentClassifier(tol=1e-11).fit(wide, y, sample_weight=WEIGHT)
    narrow = GradientDescentClassifier(tol=1e-11).fit(X, y, sample_weight=WEIGHT)
    np.testing.assert_array_equal(np.isnan(model.standard_errors_), [False, False, True, False, True, True])
    np.testing.assert_allclose(model.standard_errors_[[0, 1, 3]], narrow.standard_errors_[[0, 1, 3]], rtol=1e-6)
    assert model.coef_[0, 3] == 0.0
    np.testing.assert_allclose(model.decision_function(wide), narrow.decision_function(X), atol=1e-7)


def test_what_rounding_makes_of_a_constant_is_no_feature() -> None:
    X, y = made_up(k=2)
    nearly = np.where(np.arange(len(X)) % 3, 1e8, np.nextafter(1e8, np.inf))
    model = GradientDescentClassifier().fit(np.column_stack([X, nearly]), y)
    assert model.coef_[0, 2] == 0.0
    assert StandardScaler().fit(nearly[:, None]).scale_ == 1.0


@pytest.mark.parametrize("descent", WAYS)
@pytest.mark.parametrize("l2", [0.0, 0.1])
def test_the_loss_falls_to_what_the_weights_lose(descent: Any, l2: float) -> None:
    X, y = made_up(3)
    model = GradientDescentClassifier(descent=descent, l2=l2, max_iter=20_000).fit(X, y, sample_weight=WEIGHT)
    deviation = np.sqrt(np.cov(X.T, aweights=WEIGHT, ddof=0).diagonal())
    share = np.average(y, weights=WEIGHT)
    first = -share * np.log(share) - (1 - share) * np.log(1 - share)
    last = (
        log_loss(y, model.predict_proba(X), sample_weight=WEIGHT) + l2 / 2 * ((model.coef_[0] * deviation) ** 2).sum()
    )
    assert model.loss_curve_[0] == pytest.approx(first, abs=1e-12)
    assert model.loss_curve_[-1] == pytest.approx(last, abs=1e-12)
    assert (np.diff(model.loss_curve_) <= 0).all()
    assert model.loss_curve_[1] < first - 1e-3
    assert len(model.loss_curve_) == model.n_iter_[0] + 2  # where it began, and the step after the last gradient
    assert (np.diff(model.loss_curve_)[:3] < 0).all()


def test_the_learning_rate_is_one_over_the_largest_curvature() -> None:
    X, y = made_up()
    S = np.column_stack([np.ones(len(X)), StandardScaler().fit_transform(X)])
    L = np.linalg.eigvalsh(S.T @ S / (4 * len(X)))[-1]
    for descent in WAYS:
        assert GradientDescentClassifier(descent=descent).fit(X, y).learning_rate_ == pytest.approx(1 / L, rel=1e-12)
    penalised = GradientDescentClassifier(l2=2.0).fit(X, y)
    D = np.diag([0.0] + 4 * [2.0])
    assert penalised.learning_rate_ == pytest.approx(1 / np.linalg.eigvalsh(S.T @ S / (4 * len(X)) + D)[-1], rel=1e-12)
    asked = GradientDescentClassifier(descent="plain", learning_rate=1.5 / L, max_iter=10_000).fit(X, y)
    assert asked.learning_rate_ == 1.5 / L
    by_hand = np.zeros(5)
    by_hand[0] = np.log(y.mean() / (1 - y.mean()))
    with pytest.warns(ConvergenceWarning):
        once = GradientDescentClassifier(descent="plain", learning_rate=0.3, max_iter=1).fit(X, y)
    by_hand -= 0.3 * S.T @ (1 / (1 + np.exp(-S @ by_hand)) - y) / len(y)
    np.testing.assert_allclose(once.coef_[0] * X.std(axis=0), by_hand[1:], rtol=1e-10)


@pytest.mark.parametrize(("descent", "factor", "name"), [("plain", 2.0, "2/L"), ("accelerated", 1.0, "1/L")])
def test_a_learning_rate_that_need_not_go_downhill_is_refused(descent: Any, factor: float, name: str) -> None:
    X, y = made_up()
    limit = factor * GradientDescentClassifier().fit(X, y).learning_rate_
    model = GradientDescentClassifier(descent=descent, learning_rate=limit * 1.001)
    with pytest.raises(LearningRateTooLarge, match=f"^learning_rate: .* would not go downhill.* {name} = {limit:.4g}"):
        model.fit(X, y)


@pytest.mark.parametrize("descent", WAYS)
def test_a_warm_start_saves_steps(descent: Any) -> None:
    X, y = made_up()
    model = GradientDescentClassifier(descent=descent, max_iter=20_000).fit(X[:350], y[:350])
    cold = clone(model).fit(X, y)
    first = weights_of(model)
    warm = model.set_params(warm_start=True).fit(X, y)
    assert warm.n_iter_[0] < cold.n_iter_[0]
    assert_alike(weights_of(warm), weights_of(cold), X, atol=1e-6)
    assert not np.array_equal(first, weights_of(warm))
    again = model.fit(X, y)
    assert again.n_iter_[0] <= 1
    fewer = model.fit(X[:, :2], y)
    assert fewer.coef_.shape == (1, 2)


@pytest.mark.parametrize("descent", WAYS)
@pytest.mark.parametrize("tol", [1e-8, 1e-3])
def test_classes_that_a_plane_separates_are_warned_of(descent: Any, tol: float) -> None:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(60, 2))
    y = X[:, 0] > 0
    with pytest.warns(ConvergenceWarning, match=r"no best weights exist.*set l2 above 0 \(0\.01, say\)") as caught:
        model = GradientDescentClassifier(descent=descent, tol=tol).fit(X, y)
    assert caught[0].filename == __file__
    assert len(caught) == 1
    assert np.isfinite(weights_of(model)).all()
    assert model.score(X, y) == 1.0
    GradientDescentClassifier(descent=descent, tol=tol, l2=0.01, max_iter=10_000).fit(X, y)


def test_a_feature_that_gives_some_of_a_class_away_is_warned_of() -> None:
    rng = np.random.default_rng(2)
    y = rng.random(200) < 0.5
    X = np.column_stack([rng.normal(size=200), y & (rng.random(200) < 0.3)])
    with pytest.warns(ConvergenceWarning, match="along some direction at least: no best weights exist"):
        GradientDescentClassifier().fit(X, y)


@pytest.mark.parametrize("descent", WAYS)
@pytest.mark.parametrize("tol", [1e-8, 1e-3])
def test_features_that_say_nothing_at_all_are_no_separation(descent: Any, tol: float) -> None:
    """The best log odds are exactly 0: on the edge of either side, and the best all the same."""
    y = np.repeat([0, 1], 20)
    for X in (np.tile([[-1.0], [1.0]], (20, 1)), np.full((40, 1), 3.0)):
        model = GradientDescentClassifier(descent=descent, tol=tol).fit(X, y)
        np.testing.assert_allclose(weights_of(model), 0, atol=1e-12)


@pytest.mark.parametrize("descent", WAYS)
def test_a_row_far_out_and_a_loose_tolerance_are_no_separation(descent: Any) -> None:
    rng = np.random.default_rng(4)
    X = rng.normal(size=(200, 1))
    y = rng.random(200) < 1 / (1 + np.exp(-0.5 * X[:, 0]))
    X[0], y[0] = 100.0, True
    GradientDescentClassifier(descent=descent, tol=0.01).fit(X, y)


@pytest.mark.parametrize("descent", WAYS)
def test_a_descent_that_runs_out_is_warned_of(descent: Any) -> None:
    X, y = made_up()
    with pytest.warns(
        ConvergenceWarning, match=rf"the {descent} descent stopped after 2 .*above tol=1e-08; raise max_iter"
    ):
        GradientDescentClassifier(descent=descent, max_iter=2).fit(X, y)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("l2", -1.0, "l2=-1.0 is no value for l2: .*greater than or equal to 0"),
        ("l2", "much", "l2='much' is no value for l2: .*number"),
        ("l2", np.inf, "l2=inf is no value for l2"),
        ("tol", 0.0, "tol=0.0 is no value for tol: .*greater than 0"),
        ("max_iter", 0, "max_iter=0 is no value for max_iter"),
        ("max_iter", 2.5, "max_iter=2.5 is no value for max_iter"),
        ("descent", "newton", "descent='newton' is no value for descent: .*'plain', 'accelerated'"),
        ("learning_rate", 0.1, "takes no learning rate, found learning_rate=0.1; write 'auto', or set descent"),
        ("fit_intercept", "yes", "fit_intercept needs to be True or False, found 'yes'"),
        ("warm_start", None, "warm_start needs to be True or False"),
        ("class_weight", "heavy", "class_weight"),
        ("class_weight", {0: 1.0, 1: 0.0}, "class_weight needs a number above 0 for both classes"),
        ("class_weight", {0: 1.0, 2: 1.0}, "The classes, .*1.*, are not in class_weight"),
    ],
)
def test_parameters_of_no_use_are_value_errors(name: str, value: Any, message: str) -> None:
    X, y = made_up()
    with pytest.raises(ValueError, match=message):
        GradientDescentClassifier(**{name: value}).fit(X, y)
    if value == "much":
        with pytest.raises(
            ValueError, match=r"learning_rate='much' is no value for learning_rate: .*'auto' or .*number"
        ):
            GradientDescentClassifier(descent="plain", learning_rate=value).fit(X, y)


def test_numbers_may_come_from_numpy() -> None:
    X, y = made_up()
    numbers: dict[str, Any] = {"l2": np.float32(0.25), "max_iter": np.int64(50), "warm_start": np.bool_(True)}
    model = GradientDescentClassifier(**numbers)
    expected = GradientDescentClassifier(l2=0.25).fit(X, y)
    np.testing.assert_array_equal(model.fit(X, y).coef_, expected.coef_)


def test_data_of_no_use_are_value_errors() -> None:
    X, y = made_up()
    model = GradientDescentClassifier()
    with pytest.raises(
        ValueError, match=r"needed rows of 2 classes, found 1 class among the 400 rows .*: 1; give rows"
    ):
        model.fit(X, np.ones(400, dtype=int))
    with pytest.raises(ValueError, match="Only binary classification is supported"):
        model.fit(X, np.arange(400) % 3)
    with pytest.raises(ValueError, match=r"[Nn]egative"):
        model.fit(X, y, sample_weight=-WEIGHT)
    with pytest.raises(ValueError, match="needed a feature that is not 0, found none"):
        GradientDescentClassifier(fit_intercept=False).fit(np.zeros((400, 2)), y)
    with pytest.raises(NotFittedError):
        GradientDescentClassifier().save("nowhere")


def test_a_constant_speaks_where_there_is_no_intercept() -> None:
    X, y = made_up(k=2)
    one = GradientDescentClassifier(fit_intercept=False, tol=1e-11).fit(np.column_stack([X, np.full(len(X), 2.0)]), y)
    other = GradientDescentClassifier(tol=1e-11).fit(X, y)
    assert 2 * one.coef_[0, 2] == pytest.approx(other.intercept_[0], rel=1e-6)


def test_it_works_in_a_pipeline_a_grid_search_and_a_calibration() -> None:
    X, y = made_up(5, rows=600, k=2)
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


def test_names_and_labels_of_any_kind_are_kept(tmp_path: Path) -> None:
    X, y = made_up(k=2)
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
def test_what_is_saved_forecasts_the_same_bits(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    X, y = made_up(seed, rows=100, k=3)
    path = tmp_path_factory.mktemp("weights") / "weights.json"
    model = GradientDescentClassifier(l2=0.02).fit(X, y)
    model.save(path)
    back = GradientDescentClassifier.load(path)
    np.testing.assert_array_equal(back.predict_proba(X), model.predict_proba(X))
    np.testing.assert_array_equal(weights_of(back), weights_of(model))
    assert (back.l2, back.n_samples_fit_, back.n_features_in_) == (0.02, 100, 3)
    body = json.loads(path.read_text())
    assert (body["features"], body["rows"], body["quantlr"]) == (None, 100, quantlr.__version__)


def test_an_edited_file_is_refused(tmp_path: Path) -> None:
    X, y = made_up()
    path = tmp_path / "weights.json"
    GradientDescentClassifier(l2=0.5).fit(X, y).save(path)
    path.write_text(path.read_text().replace('"l2":0.5', '"l2":0.6'))
    with pytest.raises(DataError, match=r"weights\.json: the weights were changed or damaged"):
        GradientDescentClassifier.load(path)


def test_a_loaded_classifier_starts_where_it_was(tmp_path: Path) -> None:
    X, y = made_up()
    GradientDescentClassifier().fit(X, y).save(tmp_path / "weights.json")
    model = GradientDescentClassifier.load(tmp_path / "weights.json").set_params(warm_start=True)
    assert model.fit(X, y).n_iter_[0] <= 1


def test_extreme_rows_have_probabilities_too() -> None:
    X, y = made_up(k=1)
    model = GradientDescentClassifier().fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        p = model.predict_proba([[-1e12], [1e12], [0.0]])
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-15)
    assert set(p[:2, 1]) == {0.0, 1.0}


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def test_only_the_classifier_imports_scikit_learn() -> None:
    code = (
        "import sys, quantlr; from quantlr import *\n"
        "print('GradientDescentClassifier' in dir(quantlr), 'sklearn' in sys.modules)\n"
        "quantlr.GradientDescentClassifier; print('sklearn' in sys.modules)"
    )
    assert python(code) == "True False\nTrue\n"
