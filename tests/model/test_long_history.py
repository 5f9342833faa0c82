"""A long history with a single refit: rows in raw units, and a start from samples."""

from __future__ import annotations

import numpy as np
import pytest
from quantlr.core.values import Array
from quantlr.model.batched.fit import fit_folds
from quantlr.model.config import LogisticRegression
from quantlr.model.solvers import newton
from quantlr.model.splits import WalkForwardSpec, make_folds
from quantlr.model.standardize import fold_scaling
from quantlr.model.training import TrainingData, base_rate_weights, make_loss, warm_start_weights
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


@pytest.mark.parametrize(("level", "in_place"), [(0.5, True), (1e5, False)])
def test_long_history_is_copied_only_if_raw_units_cost_digits(level: float, in_place: bool) -> None:
    X, y = simulated_rows(level)
    fitted, model = training(X, y), LogisticRegression(tol=1e-11)
    loss = make_loss(fitted, model, slice(0, 1))
    assert np.shares_memory(loss.X, fitted.X) == in_place
    fits = fit_folds(fitted, model)
    S = (X[:-1] - X[:-1].mean(axis=0)) / X[:-1].std(axis=0)
    reference = SklearnLogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-12).fit(S, y[:-1])
    selected = fits.coefficients[0, 0] + X[:-1] @ fits.coefficients[0, 1:]
    assert fits.converged.all()
    np.testing.assert_allclose(expit(selected), reference.predict_proba(S)[:, 1], atol=1e-10 * max(level, 1.0))


def test_warm_start_saves_updates_and_does_not_change_the_fit() -> None:
    """The weights are those of all rows, and fewer passes over them are needed."""
    X, y = simulated_rows(0.0)
    data, model = training(X, y), LogisticRegression(tol=1e-11)
    loss, start = make_loss(data, model, slice(0, 1)), warm_start_weights(data, model, 0)
    assert start is not None
    cold = newton(loss, base_rate_weights(loss), tol=model.tol, max_iter=100)
    warm = newton(loss, start, tol=model.tol, max_iter=100)
    assert warm.iterations < cold.iterations
    np.testing.assert_allclose(warm.theta, cold.theta, rtol=1e-8)
    np.testing.assert_allclose(
        fit_folds(data, model).coefficients, data.scaling.to_raw_weights(cold.theta[:, None]), rtol=1e-8
    )
