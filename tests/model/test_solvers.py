from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quantlr.core.errors import DegenerateFold, LearningRateTooLarge
from quantlr.core.values import Array, Folds
from quantlr.model.batched.fit import FitResults, fit_folds
from quantlr.model.batched.training import ObjectiveBuilder, TrainingData
from quantlr.model.config import LogisticRegression
from quantlr.model.logistic import LogisticLoss, pointwise_log_loss
from quantlr.model.solvers import make_anderson_step, newton_schulz_inverses, pseudo_inverse
from quantlr.model.splits import WalkForwardSpec, make_folds
from quantlr.model.standardize import fold_scaling
from scipy.optimize import minimize

SOLVERS = ("gradient_descent", "nesterov", "newton")


def one_fold(rows: int) -> Folds:
    return make_folds(rows + 1, WalkForwardSpec(train=rows, refit_every="never"), horizon=1)


def training(X: Array, y: Array, folds: Folds) -> TrainingData:
    return TrainingData(X, y, [folds], fold_scaling(X, [folds], has_label=~np.isnan(y)))


def fit_once(X: Array, y: Array, **model: object) -> FitResults:
    folds = one_fold(len(X))
    return fit_folds(training(X, y, folds), LogisticRegression.model_validate(model))


def example_data(seed: int, *, rows: int = 300, k: int = 3) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, k)) @ rng.normal(size=(k, k)) * 10.0 ** rng.uniform(-3, 3, k) + rng.normal(size=k)
    z = (X - X.mean(axis=0)) / X.std(axis=0) @ rng.normal(size=k) * 0.7 + rng.normal() * 0.5
    return X, (rng.random(rows) < 1 / (1 + np.exp(-z))).astype(np.float64)


@pytest.mark.parametrize("window", ["expanding", "rolling"])
def test_batched_objective_equals_logistic_loss_of_each_refit(window: str) -> None:
    """Gradient, curvature and bound of every refit are those of ``logistic.py`` on its own rows."""
    X, y = example_data(6, rows=200)
    spec = WalkForwardSpec.model_validate({"train": 100, "refit_every": 4, "window": window})
    folds = make_folds(200, spec, horizon=1)
    refits = slice(2, 9)
    objective = ObjectiveBuilder(training(X, y, folds), LogisticRegression()).build_objective(refits)
    theta = np.random.default_rng(0).normal(size=(4, 7))
    gradients, bounds = objective.gradient(theta), objective.hessian_bound()
    common_gradients, common_hessians = objective.gradient_and_hessian(theta[:, 0])
    for column, refit in enumerate(range(refits.start, refits.stop)):
        train = folds[refit].train
        rows = objective.local_scaling.to_local_rows(X[train])
        weights, loss = theta[:, column], LogisticLoss.unweighted(rows, y[train])
        np.testing.assert_allclose(gradients[:, column], loss.gradient(weights), atol=1e-13)
        np.testing.assert_allclose(common_gradients[:, column], loss.gradient(theta[:, 0]), atol=1e-13)
        np.testing.assert_allclose(common_hessians[column], loss.hessian(theta[:, 0]), atol=1e-13)
        single = objective.select_refit(column)
        np.testing.assert_allclose(single.gradient_and_hessian(weights)[1][0], loss.hessian(weights), atol=1e-13)
        assert single.loss(weights) == pytest.approx(loss.loss(weights), abs=1e-13)
        assert loss.loss(weights) == pytest.approx(pointwise_log_loss(rows @ weights, y[train]).mean(), abs=1e-13)
        np.testing.assert_allclose(bounds[column], loss.hessian_bound(), atol=1e-13)


def fit_by_scipy(X: Array, y: Array, l2: float) -> Array:
    """Return raw weights of Newton-CG on the standardised problem."""
    mean, deviation = X.mean(axis=0), X.std(axis=0)
    S = np.column_stack([np.ones(len(X)), (X - mean) / deviation])
    D = np.diag([0.0] + [l2] * X.shape[1])

    def value(theta: Array) -> float:
        return float(pointwise_log_loss(S @ theta, y).mean() + theta @ D @ theta / 2)

    def slope(theta: Array) -> Array:
        return np.asarray(S.T @ (1 / (1 + np.exp(-S @ theta)) - y) / len(y) + D @ theta)

    def bend(theta: Array) -> Array:
        g = 1 / (1 + np.exp(-S @ theta))
        return np.asarray((S.T * (g * (1 - g))) @ S / len(y) + D)

    result = minimize(value, np.zeros(S.shape[1]), jac=slope, hess=bend, method="trust-exact", options={"gtol": 1e-12})
    weights = result.x[1:] / deviation
    return np.concatenate([[result.x[0] - weights @ mean], weights])


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("l2", [0.0, 0.1])
@pytest.mark.parametrize("seed", range(5))
def test_every_solver_reaches_scipys_weights(solver: str, l2: float, seed: int) -> None:
    X, y = example_data(seed)
    fits = fit_once(X, y, solver=solver, l2=l2, tol=1e-11, max_iter=100_000)
    assert fits.converged.all()
    np.testing.assert_allclose(fits.coefficients[0] * np.r_[1, X.std(axis=0)],
                               fit_by_scipy(X, y, l2) * np.r_[1, X.std(axis=0)], rtol=1e-6, atol=1e-7)  # fmt: skip


def test_intercept_is_not_penalised() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(400, 2)), (rng.random(400) < 0.9).astype(np.float64)
    heavy = fit_once(X, y, l2=1e6).coefficients[0]
    share = y.mean()
    assert heavy[0] == pytest.approx(np.log(share / (1 - share)), abs=1e-5)
    np.testing.assert_allclose(heavy[1:], 0, atol=1e-5)


@pytest.mark.parametrize(("solver", "factor"), [("gradient_descent", 2.0), ("nesterov", 1.0)])
def test_too_large_learning_rate_raises(solver: str, factor: float) -> None:
    X, y = example_data(7)
    S = np.column_stack([np.ones(len(X)), (X - X.mean(axis=0)) / X.std(axis=0)])
    limit = factor / np.linalg.eigvalsh(LogisticLoss.unweighted(S, y).hessian_bound())[-1]
    below = fit_once(X, y, solver=solver, learning_rate=limit * 0.999, tol=1e-6, max_iter=10_000)
    assert below.converged.all()
    with pytest.raises(LearningRateTooLarge, match=f"diverges.*{factor:g}/L = {limit:.4g}".replace("1/L", "/L")):
        fit_once(X, y, solver=solver, learning_rate=limit * 1.001)


def test_max_iter_leaves_fit_unconverged() -> None:
    X, y = example_data(2)
    fits = fit_once(X, y, solver="gradient_descent", max_iter=3)
    assert not fits.converged.any()
    assert fits.iterations[0] == 3
    assert fits.max_abs_gradient[0] > 1e-8


@pytest.mark.parametrize("solver", SOLVERS)
def test_separated_classes_raise_with_a_remedy(solver: str) -> None:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(60, 2))
    y = (X[:, 0] > 0).astype(np.float64)
    with pytest.raises(DegenerateFold, match=r"separates its ups from its downs.*set model\.l2 above 0"):
        fit_once(X, y, solver=solver)
    assert fit_once(X, y, solver=solver, l2=0.01, max_iter=10_000).converged.all()


@pytest.mark.parametrize("solver", SOLVERS)
def test_separation_is_found_at_loose_tolerance(solver: str) -> None:
    """The descent ends early, where log odds are still small."""
    X = np.repeat([[-1.0], [1.0]], 30, axis=0)
    with pytest.raises(DegenerateFold, match="separates its ups from its downs"):
        fit_once(X, (X[:, 0] > 0).astype(np.float64), solver=solver, tol=0.1)


def test_quasi_complete_separation_raises() -> None:
    """Quasi-complete separation: the feature is 1 on ups only, and 0 on ups and downs alike."""
    rng = np.random.default_rng(2)
    y = (rng.random(200) < 0.5).astype(np.float64)
    X = np.column_stack([rng.normal(size=200), y * (rng.random(200) < 0.3)])
    with pytest.raises(DegenerateFold, match="weights grow without bound"):
        fit_once(X, y)


@pytest.mark.parametrize("solver", SOLVERS)
def test_separation_is_reported_at_the_refit_where_it_begins(solver: str) -> None:
    rng = np.random.default_rng(3)
    X = rng.normal(size=(400, 2))
    y = (rng.random(400) < 0.5).astype(np.float64)
    y[200:] = X[200:, 0] > 0
    folds = make_folds(400, WalkForwardSpec(train=60, refit_every=1, window="rolling"), horizon=1)
    model = LogisticRegression.model_validate({"solver": solver, "max_iter": 3000})
    separable = [index for index, fold in enumerate(folds) if fold.train.start >= 200]
    with pytest.raises(DegenerateFold, match="no best fit exists") as caught:
        fit_folds(training(X, y, folds), model)
    assert separable[0] - 15 < int(caught.value.message.split(":")[0]) <= separable[0]


def test_single_class_raises() -> None:
    with pytest.raises(DegenerateFold, match="all 30 training rows are ups; needed both"):
        fit_once(np.random.default_rng(0).normal(size=(30, 1)), np.ones(30))


@pytest.mark.parametrize("solver", SOLVERS)
def test_constant_and_collinear_features_change_no_probability(solver: str) -> None:
    X, y = example_data(4, k=2)
    wide = np.column_stack([X, np.full(len(X), 5.0), X[:, 0] + X[:, 1]])
    narrow, full = (fit_once(data, y, solver=solver, tol=1e-10, max_iter=50_000).coefficients[0] for data in (X, wide))
    np.testing.assert_allclose(wide @ full[1:] + full[0], X @ narrow[1:] + narrow[0], atol=1e-6)
    assert full[3] == 0.0


@pytest.mark.parametrize("solver", SOLVERS)
def test_constant_features_forecast_the_base_rate(solver: str) -> None:
    y = np.r_[np.ones(30), np.zeros(20)]
    fits = fit_once(np.full((50, 2), 3.0), y, solver=solver)
    assert fits.converged.all()
    np.testing.assert_allclose(fits.coefficients[0], [np.log(30 / 20), 0, 0], atol=1e-7)


@pytest.mark.parametrize("size", [1e2, 1e4, 1e6])
def test_outlier_is_not_separation(size: float) -> None:
    """One correctly classified outlier has huge log odds, but the best weights are finite."""
    rng = np.random.default_rng(4)
    X = rng.normal(size=(200, 1))
    y = (rng.random(200) < 1 / (1 + np.exp(-0.5 * X[:, 0]))).astype(np.float64)
    X[0], y[0] = size, 1.0
    fits = fit_once(X, y, tol=1e-10)
    assert fits.converged.all()
    rest = fit_by_scipy(X[1:], y[1:], 0.0)
    np.testing.assert_allclose(fits.coefficients[0], rest, atol=2e-2)


def test_price_error_does_not_stop_the_walk_forward() -> None:
    """A month of prices a hundred times too large, in the middle of twelve years."""
    rng = np.random.default_rng(5)
    X = rng.normal(0, 0.01, size=(3000, 5))
    X[1500], X[1522] = 99.0, -0.99
    y = (rng.random(3000) < 0.54).astype(np.float64)
    folds = make_folds(3000, WalkForwardSpec(train=1000, refit_every=21), horizon=1)
    fits = fit_folds(training(X, y, folds), LogisticRegression())
    assert fits.converged.all()
    assert fits.iterations.mean() < 60


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), spread=st.floats(0, 2))
def test_newton_schulz_inverses_are_close_to_exact(seed: int, spread: float) -> None:
    """However much consecutive Hessians differ, each result is close to the inverse."""
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(50, 4))
    moments = np.array([base.T @ base + spread * k * np.outer(base[k], base[k]) for k in range(6)])
    for P, H in zip(newton_schulz_inverses(moments), moments, strict=True):
        np.testing.assert_allclose(P @ H, np.eye(4), atol=0.02)
        np.testing.assert_allclose(pseudo_inverse(H) @ H, np.eye(4), atol=1e-9)


def test_anderson_step_is_exact_for_a_quadratic() -> None:
    """Where P is 10 or 25 % off the inverse curvature, the second update is exact; an optimal refit does not move."""
    curvature, P = np.array([2.0, 0.5, 1.0]), np.array([0.45, 2.5, 1.0])
    start = np.array([[3.0, -1.0, 0.0]])
    first = start - P * curvature * start
    step = make_anderson_step(P[:, None, None], start, first)
    second = step(first, curvature * first, np.arange(3))
    np.testing.assert_allclose(second, 0.0, atol=1e-15)
    np.testing.assert_allclose(step(second[:, :1], curvature[:1] * second[:, :1], np.array([0])), 0.0, atol=1e-15)


def test_pseudo_inverse_of_zero_is_zero() -> None:
    np.testing.assert_array_equal(pseudo_inverse(np.zeros((2, 3, 3))), 0.0)
