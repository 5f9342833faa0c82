"""A long history with a single refit: rows in raw units, and a start from samples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quantlr.core.values import Array
from quantlr.model.batched.fit import fit_folds
from quantlr.model.batched.sums import LocalRows, RawRows, sample_weights_by_class
from quantlr.model.batched.training import ObjectiveBuilder, TrainingData
from quantlr.model.config import LogisticRegression
from quantlr.model.splits import WalkForwardSpec, make_folds
from quantlr.model.standardize import LocalScaling, Scaling, fold_scaling
from quantlr.model.windows import TrainingWindows
from scipy.special import expit
from sklearn.linear_model import LogisticRegression as SklearnLogisticRegression

ROWS = 40_000


def simulated_rows(level: float) -> tuple[Array, Array]:
    """Return rows of features with levels and scales of their own, one row more than a fold trains on, and labels."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(ROWS + 1, 3)) @ rng.normal(size=(3, 3))
    y = (rng.random(ROWS + 1) < expit(0.3 + X @ [0.4, -0.2, 0.1])).astype(np.float64)
    return (X + level) * [1.0, 1e-3, 1e3], y


def training(X: Array, y: Array) -> TrainingData:
    folds = make_folds(len(X), WalkForwardSpec(train=len(X) - 1, refit_every="never"), horizon=1)
    return TrainingData(X, y, [folds], fold_scaling(X, [folds], has_label=np.ones(len(X), dtype=np.bool_)))


@settings(max_examples=20)
@given(
    seed=st.integers(0, 1000), by_class=st.booleans(), weighted=st.booleans(), center=st.floats(-8, 8), thin=st.just(3)
)
def test_raw_rows_equal_local_rows(seed: int, by_class: bool, weighted: bool, center: float, thin: int) -> None:
    rng = np.random.default_rng(seed)
    raw, y = (rng.normal(size=(60, 2)) + center) * [1e-3, 50.0], (rng.random(60) < 0.5).astype(np.float64)
    units = LocalScaling.from_refit_scaling(Scaling(raw.mean(axis=0)[None], raw.std(axis=0)[None]), 0)
    item = rng.random(60) if weighted else None
    current = RawRows(raw, units, units.raw_to_local_matrix(), y, sample_weights_by_class(y, item, by_class=by_class))
    windows = TrainingWindows(np.array([0]), np.array([60]))
    local = LocalRows.from_arrays(units.to_local_rows(raw), y, item, windows, by_class=by_class)
    theta, values = rng.normal(size=3), rng.normal(size=(2, 60))
    np.testing.assert_allclose(current.X, local.X, atol=1e-12)
    np.testing.assert_allclose(current.log_odds(theta), local.log_odds(theta), atol=1e-12)
    np.testing.assert_allclose(current.row_sums_by_class(values), local.row_sums_by_class(values), atol=1e-11)
    np.testing.assert_allclose(
        current.scaled_second_moments_by_class(values[0]), local.scaled_second_moments_by_class(values[0]), atol=1e-10
    )
    np.testing.assert_allclose(
        current.scaled_second_moments_by_class(values[0], row_stride=thin),
        local.scaled_second_moments_by_class(values[0], row_stride=thin),
        atol=1e-10,
    )
    half, only = theta[:, None] / 2, np.array([0])
    np.testing.assert_allclose(current.tanh_row_sums(half, only), local.tanh_row_sums(half, only), atol=1e-11)


@pytest.mark.parametrize(("level", "in_place"), [(0.5, True), (1e5, False)])
def test_long_history_is_copied_only_if_raw_units_cost_digits(level: float, in_place: bool) -> None:
    X, y = simulated_rows(level)
    fitted, model = training(X, y), LogisticRegression(tol=1e-11)
    made = ObjectiveBuilder(fitted, model).build_objective(slice(0, 1)).row_factories[0]()
    assert isinstance(made, RawRows) == in_place
    fits = fit_folds(fitted, model)
    S = (X[:-1] - X[:-1].mean(axis=0)) / X[:-1].std(axis=0)
    reference = SklearnLogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-12).fit(S, y[:-1])
    selected = fits.coefficients[0, 0] + X[:-1] @ fits.coefficients[0, 1:]
    assert fits.converged.all()
    np.testing.assert_allclose(expit(selected), reference.predict_proba(S)[:, 1], atol=1e-10 * max(level, 1.0))


def test_larger_warm_start_samples_do_not_change_the_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights are those of all rows, and fewer passes over them are needed."""
    X, y = simulated_rows(0.0)
    result = {}
    for samples in ((), (500,), (500, 8000)):
        monkeypatch.setattr("quantlr.model.batched.fit.WARM_START_SAMPLE_ROWS", samples)
        result[samples] = fit_folds(training(X, y), LogisticRegression(tol=1e-11))
    one, two = result[500,], result[500, 8000]
    assert two.iterations[0] <= one.iterations[0] <= result[()].iterations[0]
    np.testing.assert_allclose(two.coefficients, result[()].coefficients, rtol=1e-8)
