from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantlr.core.errors import DegenerateFold, LearningRateTooLarge
from quantlr.core.values import Array, Folds
from quantlr.model.base import FittedModel
from quantlr.model.batched.fit import fit_folds
from quantlr.model.config import LogisticRegression
from quantlr.model.logistic import LogisticLoss, pointwise_log_loss
from quantlr.model.solvers import backtrack, gradient_descent, nesterov, newton, pseudo_inverse
from quantlr.model.splits import WalkForwardSpec, make_folds
from quantlr.model.standardize import fold_scaling
from quantlr.model.training import TrainingData
from scipy.optimize import minimize

SOLVERS = ("gradient_descent", "nesterov", "newton")


def one_fold(rows: int) -> Folds:
    return make_folds(rows + 1, WalkForwardSpec(train=rows, refit_every="never"), horizon=1)


def training(X: Array, y: Array, folds: Folds) -> TrainingData:
    return TrainingData(X, y, [folds], fold_scaling(X, [folds], has_label=~np.isnan(y)))


def fit_once(X: Array, y: Array, **model: object) -> FittedModel:
    folds = one_fold(len(X))
    return fit_folds(training(X, y, folds), LogisticRegression.model_validate(model))


def example_data(seed: int, *, rows: int = 300, k: int = 3) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, k)) @ rng.normal(size=(k, k)) * 10.0 ** rng.uniform(-3, 3, k) + rng.normal(size=k)
    z = (X - X.mean(axis=0)) / X.std(axis=0) @ rng.normal(size=k) * 0.7 + rng.normal() * 0.5
    return X, (rng.random(rows) < 1 / (1 + np.exp(-z))).astype(np.float64)


@pytest.mark.parametrize("rate_times_lipschitz", [0.3, 1.0, 1.9])
def test_gradient_descent_is_the_update_of_the_lesson(rate_times_lipschitz: float) -> None:
    """theta <- theta - alpha sum((g(theta.x) - y) x) / n, written out."""
    X, y = example_data(8, k=2)
    S = (X - X.mean(axis=0)) / X.std(axis=0)
    loss = LogisticLoss.unweighted(S, y)
    alpha = rate_times_lipschitz / loss.lipschitz()
    theta = np.zeros(3)
    for _ in range(25):
        error = 1 / (1 + np.exp(-(theta[0] + S @ theta[1:]))) - y
        theta = theta - alpha * np.array([error.sum(), *(error @ S)]) / len(y)
    result = gradient_descent(loss, np.zeros(3), learning_rate=alpha, tol=0.0, max_iter=25)
    np.testing.assert_allclose(result.theta, theta, atol=1e-13)
    assert result.iterations == 25
    assert not result.converged


@pytest.mark.parametrize("n_updates", [1, 2, 3, 6, 8])
def test_nesterov_is_the_published_iteration_with_restarts(n_updates: int) -> None:
    """O'Donoghue and Candes 2015: y = x + beta (x - last x), t restarted where the gradient opposes the step."""
    X, y = example_data(9, k=2)
    S = (X - X.mean(axis=0)) / X.std(axis=0)
    loss = LogisticLoss.unweighted(S, y)
    alpha = 1 / float(loss.lipschitz())
    last = point = np.array([2.0, -1.0, 1.0])
    t, restarts = 1.0, 0
    for _ in range(n_updates):
        gradient = loss.gradient(point)
        theta = point - alpha * gradient
        if gradient @ (theta - last) > 0:
            t, restarts, point = (1 + np.sqrt(5)) / 2, restarts + 1, theta
        else:
            next_t = (1 + np.sqrt(1 + 4 * t**2)) / 2
            point, t = theta + (t - 1) / next_t * (theta - last), next_t
        last = theta
    result = nesterov(loss, np.array([2.0, -1.0, 1.0]), learning_rate=np.array(alpha), tol=0.0, max_iter=n_updates)
    np.testing.assert_allclose(result.theta, point, atol=1e-13)
    assert np.abs(loss.gradient(point)).max() > 1e-6, "far from the optimum, where all methods agree"
    assert (restarts > 0) == (n_updates >= 6)


def test_newton_is_the_update_with_the_inverse_hessian() -> None:
    X, y = example_data(10, k=2)
    loss = LogisticLoss.unweighted((X - X.mean(axis=0)) / X.std(axis=0), y, l2=0.01)
    theta = np.zeros(3)
    for _ in range(3):
        theta = theta - np.linalg.solve(loss.hessian(theta), loss.gradient(theta))
    result = newton(loss, np.zeros(3), tol=0.0, max_iter=3)
    np.testing.assert_allclose(result.theta, theta, atol=1e-11)
    assert len(result.losses) == 4
    assert (np.diff(result.losses) < 0).all()


def test_step_is_halved_until_the_loss_does_not_rise() -> None:
    """By hand: y = 0, 1 at x = 0 has its optimum at 0; from 1 a step of 8 leads to -7, -3, -1: only -1 is no worse."""
    loss = LogisticLoss.unweighted(np.zeros((2, 1)), np.array([0.0, 1.0]))
    theta, losses = np.array([1.0, 0.0]), [float(loss.loss(np.array([1.0, 0.0])))]
    result = backtrack(loss, theta, np.array([8.0, 0.0]), loss.gradient(theta), losses)
    assert result.tolist() == [-1.0, 0.0]
    assert losses[1] == pytest.approx(losses[0], rel=1e-15)
    uphill = backtrack(loss, theta, np.array([-8.0, 0.0]), loss.gradient(theta), losses)
    assert uphill[0] == pytest.approx(1.0 - 4.0 * (1 / (1 + np.exp(-1.0)) - 0.5)), "the step of the largest Hessian"
    assert losses[2] < losses[0]


def test_refit_that_has_converged_stays() -> None:
    """The loop stops each refit by itself: its weights are those of the refit alone."""
    X, y = example_data(11, k=2)
    S, k = (X - X.mean(axis=0)) / X.std(axis=0), 2
    weight = np.stack([np.full(300, 1 / 300), (np.arange(300) < 120) / 120], axis=1)
    both = LogisticLoss(S, y, weight, np.zeros((2, k)), np.ones((2, k)), 0.2)
    rate = 1 / both.lipschitz()
    joint = gradient_descent(both, np.zeros((3, 2)), learning_rate=rate, tol=1e-6, max_iter=10_000)
    assert joint.iterations[0] != joint.iterations[1]
    for refit in (0, 1):
        alone = LogisticLoss(S, y, weight[:, refit], np.zeros(k), np.ones(k), 0.2)
        single = gradient_descent(alone, np.zeros(3), learning_rate=rate[refit], tol=1e-6, max_iter=10_000)
        np.testing.assert_allclose(joint.theta[:, refit], single.theta, atol=1e-13)
        assert joint.iterations[refit] == single.iterations


def test_refit_does_not_start_again_once_its_gradient_was_small() -> None:
    """The update after a small gradient may enlarge it; the refit has ended all the same, as it would alone."""

    class ScriptedLoss:
        gradients = iter(np.array([[[0.5, 5.0]], [[9.0, 4.0]], [[9.0, 0.5]], [[9.0, 9.0]]]))

        def gradient(self, theta: Array) -> Array:
            return np.asarray(next(self.gradients))

    result = gradient_descent(ScriptedLoss(), np.zeros((1, 2)), learning_rate=np.ones(2), tol=1.0, max_iter=9)
    assert result.max_abs_gradient.tolist() == [0.5, 0.5]
    assert result.iterations.tolist() == [0, 2]
    assert result.theta.tolist() == [[-0.5, -9.5]]
    assert result.converged.all()


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
    limit = factor / np.linalg.eigvalsh(S.T @ S / (4 * len(X)))[-1]
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
    with pytest.raises(DegenerateFold, match=r"separates its ups from its downs.*run quantlr audit"):
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


@pytest.mark.parametrize(("label", "name"), [(0.0, "downs"), (1.0, "ups")])
def test_single_class_raises(label: float, name: str) -> None:
    with pytest.raises(DegenerateFold, match=f"all 30 training rows are {name}; needed both"):
        fit_once(np.random.default_rng(0).normal(size=(30, 1)), np.full(30, label))


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


def test_pseudo_inverse_of_zero_is_zero() -> None:
    np.testing.assert_array_equal(pseudo_inverse(np.zeros((2, 3, 3))), 0.0)


@given(seed=st.integers(0, 10_000))
def test_pseudo_inverse_is_the_inverse_of_a_regular_matrix(seed: int) -> None:
    base = np.random.default_rng(seed).normal(size=(6, 50, 4))
    moments = base.swapaxes(1, 2) @ base
    np.testing.assert_allclose(pseudo_inverse(moments) @ moments, np.tile(np.eye(4), (6, 1, 1)), atol=1e-9)
