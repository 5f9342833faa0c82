"""The learning-rate study: rates too small, derived, near the limit and beyond it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quantlr.core.errors import DegenerateFold
from quantlr.core.values import Dataset
from quantlr.model.config import LogisticRegression
from quantlr.model.diagnostics import compute_loss_curves, diagnose_model
from quantlr.model.learning_rate import LEARNING_RATE_NAMES, STUDY_SAMPLE_ROWS, compute_learning_rate_study
from quantlr.model.splits import make_folds

from model.reference_fits import (
    example_data,
    fit_by_statsmodels,
    gradient_descent_losses,
    run_walk_forward,
    single_refit_data,
    standardized_design,
)


def test_sp500_learning_rates_behave_as_named(sp500: Dataset) -> None:
    """Too small: slow. Derived: converges. Near the limit: converges later. Beyond: does not converge."""
    forecasts, _, model = run_walk_forward(sp500, {"refit_every": 500})
    result = diagnose_model(sp500, forecasts, model).learning_rate_study
    assert result is not None
    start = result.excess_loss[:, 0]
    assert result.learning_rate_names == LEARNING_RATE_NAMES
    assert (start == start[0]).all()
    assert start[0] == pytest.approx(0.0041, abs=2e-4)
    too_small, derived, near, beyond = result.excess_loss
    assert 0.1 * start[0] < too_small[-1] < 0.3 * start[0]
    assert derived[20] < 1e-15
    assert near[50] > 1e5 * derived[20]
    assert near[-1] < 1e-10
    assert 0.1 < beyond[30:].min() <= beyond.max() < 1


@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_loss_curves_equal_a_plain_loop(sp500: Dataset, l2: float) -> None:
    forecasts, spec, model = run_walk_forward(sp500, {"refit_every": 900, "window": "rolling"}, l2=l2)
    result = diagnose_model(sp500, forecasts, model).learning_rate_study
    assert result is not None
    fold = make_folds(len(sp500.up), spec, horizon=1)[result.refit_index]
    X, y = sp500.features[fold.train], sp500.up[fold.train]
    S, D = standardized_design(X), np.diag([0.0] + [l2] * 6)
    L = float(np.linalg.eigvalsh(S.T @ S / (4 * len(y)) + D)[-1])
    assert result.refit_index == len(forecasts.refits.iterations) - 1
    assert result.lipschitz == pytest.approx(L, rel=1e-12)
    assert result.max_stable_learning_rate == pytest.approx(2 / L, rel=1e-12)
    np.testing.assert_allclose(result.learning_rates[:3], [0.01 / L, 1 / L, 1.95 / L], rtol=1e-12)
    for index, settles in enumerate([True, True, True, False]):
        expected = gradient_descent_losses(X, y, float(result.learning_rates[index]), 100, l2)
        # Beyond the limit, rounding grows from step to step as everything does.
        compared, rtol = (101, 1e-12) if settles else (25, 1e-8)
        np.testing.assert_allclose(result.loss[index, :compared], expected[:compared], rtol=rtol)


def test_grid_losses_equal_a_plain_loop() -> None:
    X, y = example_data(2)
    result = compute_learning_rate_study(single_refit_data(X, y), LogisticRegression(l2=0.1), refit_index=0)
    assert result.row_stride == 1
    assert result.learning_rate_grid[0] == result.learning_rates[0]
    assert np.isclose(result.learning_rate_grid, result.max_stable_learning_rate, rtol=1e-12).sum() == 1
    assert (
        result.grid_loss_after_iterations.shape
        == (len(result.compared_iterations), len(result.learning_rate_grid))
        == (3, 23)
    )
    for index, rate in enumerate(result.learning_rate_grid.tolist()):
        losses = gradient_descent_losses(X, y, rate, 50, 0.1)
        # Beyond the limit, rounding grows from step to step as everything does.
        compared = 3 if rate < result.max_stable_learning_rate else 1
        expected = [losses[updates] for updates in result.compared_iterations]
        np.testing.assert_allclose(result.grid_loss_after_iterations[:compared, index], expected[:compared], rtol=1e-8)
    np.testing.assert_array_equal(
        result.grid_excess_loss_after_iterations, np.maximum(result.grid_loss_after_iterations - result.min_loss, 0)
    )


def test_study_samples_evenly_spaced_rows() -> None:
    X, y = example_data(16, rows=3 * STUDY_SAMPLE_ROWS, k=2)
    training, model = single_refit_data(X, y), LogisticRegression(solver="gradient_descent", learning_rate=1.9)
    result, scaling = compute_learning_rate_study(training, model, refit_index=0), training.scaling
    S = np.column_stack([np.ones(STUDY_SAMPLE_ROWS), (X[::3] - scaling.mean) / scaling.std])
    assert result.row_stride == 3
    assert result.lipschitz == pytest.approx(np.linalg.eigvalsh(S.T @ S / (4 * STUDY_SAMPLE_ROWS))[-1], rel=1e-12)
    assert result.min_loss == pytest.approx(-fit_by_statsmodels(S, y[::3]).llf / STUDY_SAMPLE_ROWS, rel=1e-12)
    curves = compute_loss_curves(training, model, refit_indices=[0])
    assert curves.row_stride.tolist() == [3]
    assert curves.min_loss[0] == pytest.approx(result.min_loss, rel=1e-13)
    near = LogisticRegression(solver="gradient_descent", learning_rate=result.max_stable_learning_rate)
    assert (np.diff(compute_loss_curves(training, near, refit_indices=[0], max_iterations=30).loss[0]) <= 1e-15).all()


def test_minimum_and_its_curvature_equal_statsmodels() -> None:
    X, y = example_data(1)
    result = compute_learning_rate_study(single_refit_data(X, y), LogisticRegression(), refit_index=0)
    S = standardized_design(X)
    fit = fit_by_statsmodels(S, y)
    assert result.min_loss == pytest.approx(-fit.llf / len(y), rel=1e-13)
    curvature = np.linalg.eigvalsh(-fit.model.hessian(fit.params) / len(y))[-1]
    assert result.max_curvature_at_optimum == pytest.approx(curvature, rel=1e-9)
    assert result.learning_rates[3] == pytest.approx(2.5 / curvature, rel=1e-9)


@settings(max_examples=20)
@given(
    seed=st.integers(0, 10_000),
    k=st.integers(1, 4),
    strength=st.floats(0, 2),
    l2=st.sampled_from([0.0, 0.01, 1.0]),
)
def test_loss_falls_below_the_limit_and_does_not_settle_beyond(seed: int, k: int, strength: float, l2: float) -> None:
    X, y = example_data(seed, k=k, strength=strength)
    result = compute_learning_rate_study(
        single_refit_data(X, y), LogisticRegression(l2=l2), refit_index=0, n_iterations=120
    )
    assert result.max_curvature_at_optimum <= result.lipschitz * (1 + 1e-12)
    assert np.nanmin(result.excess_loss) >= 0
    assert (np.diff(result.learning_rates) > 0).all()
    assert (np.diff(result.loss[:3], axis=1) <= 1e-15).all()
    assert (result.excess_loss[1] <= result.excess_loss[0]).all()
    last = result.excess_loss[3, -20:]
    assert not last.max() < 1e-3


def test_rate_above_the_bound_may_still_converge() -> None:
    """Why the last rate is taken from the curvature at the optimum: 2.5/L does no harm to classes far apart."""
    X, y = example_data(3, rows=1000, k=1, strength=4.0)
    result = compute_learning_rate_study(single_refit_data(X, y), LogisticRegression(), refit_index=0)
    over_the_limit = gradient_descent_losses(X, y, 1.25 * result.max_stable_learning_rate, 400)
    assert over_the_limit[-1] == pytest.approx(result.min_loss, abs=1e-12)
    assert result.excess_loss[3, -10:].max() > 0.01


def test_diverged_curve_ends_in_nan() -> None:
    """With a heavy penalty every leap is half as large again as the last: 1.5^1000 would overflow when squared."""
    X, y = example_data(4)
    result = compute_learning_rate_study(
        single_refit_data(X, y), LogisticRegression(l2=1000.0), refit_index=0, n_iterations=1000
    )
    ended = np.isnan(result.loss)
    assert not ended[:3].any()
    curve = result.excess_loss[3][~ended[3]]
    # Each leap is half as large again: the loss, a square, grows by 2.25, the little that the data bend it aside.
    np.testing.assert_allclose(curve[-4:] / curve[-5:-1], 2.25, rtol=2e-3)
    assert (np.diff(ended[3].astype(int)) >= 0).all()
    assert np.nanmax(result.loss) <= 1e6 * result.loss[0, 0]
    assert np.nanmax(result.loss) > 1e5 * result.loss[0, 0]
    np.testing.assert_array_equal(np.isnan(result.excess_loss), ended)


def test_study_of_degenerate_refit_raises() -> None:
    X, _ = example_data(5)
    with pytest.raises(DegenerateFold, match=r"refit 0: a hyperplane .* so that no best loss exists; study another"):
        compute_learning_rate_study(
            single_refit_data(X, (X[:, 0] > 0).astype(np.float64)), LogisticRegression(), refit_index=0
        )
    with pytest.raises(DegenerateFold, match="refit 0: its training rows are of one class"):
        compute_learning_rate_study(single_refit_data(X, np.ones(len(X))), LogisticRegression(l2=0.1), refit_index=0)
