from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from quantlr.data.dataset import build_dataset, feature_columns
from quantlr.data.features import Feature, LaggedReturns, Volatility
from quantlr.data.labels import Direction
from quantlr.data.universe import DataSpec, load_prices
from quantlr.errors import DegenerateFold, LearningRateTooLarge
from quantlr.model.coefficients import CoefficientPaths, coefficient_paths, same_side, spread
from quantlr.model.fit import fit_folds
from quantlr.model.folds import WalkForwardSpec, make_folds
from quantlr.model.journey import Steps
from quantlr.model.learning_rate import RATES, ROWS, learning_rate_study
from quantlr.model.rows import Scaling
from quantlr.model.scaling import fold_scaling
from quantlr.model.specs import LogisticRegression
from quantlr.model.study import loss_curves, study
from quantlr.model.training import Training
from quantlr.model.walk_forward import walk_forward
from quantlr.types import Array, BoolArray, Dataset, Forecasts, Prices

from markets import random_walk

LAGS = LaggedReturns(lags=(1, 2))


def dataset_from(prices: Prices, features: list[Feature], **label: Any) -> Dataset:
    kind = Direction.model_validate(label)
    return build_dataset(prices, feature_columns(prices, features), kind.compute(prices), horizon=kind.horizon)


def walk_of(dataset: Dataset, walk: dict[str, Any], **model: Any) -> tuple[Forecasts, WalkForwardSpec, Any]:
    spec, kind = WalkForwardSpec.model_validate(walk), LogisticRegression.model_validate(model)
    return walk_forward(dataset, spec, kind), spec, kind


@pytest.fixture(scope="module")
def sp500() -> Dataset:
    prices = load_prices(DataSpec.model_validate({"source": {"kind": "sample"}, "tickers": ["^GSPC"]}))
    return dataset_from(prices, [LaggedReturns(lags=(1, 2, 3, 4, 5)), Volatility(windows=(20,))])


def one_refit(X: Array, y: Array) -> Training:
    folds = make_folds(len(X) + 1, WalkForwardSpec(train=len(X), refit_every="never"), horizon=1)
    return Training(X, y, [folds], fold_scaling(X, [folds], trained=~np.isnan(y)))


def made_up(seed: int, *, rows: int = 300, k: int = 3, strength: float = 0.7) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, k)) * 10.0 ** rng.uniform(-3, 3, k) + rng.normal(size=k)
    z = (X - X.mean(axis=0)) / X.std(axis=0) @ rng.normal(size=k) * strength + rng.normal() * 0.5
    return X, (rng.random(rows) < 1 / (1 + np.exp(-z))).astype(np.float64)


def with_ones(X: Array) -> Array:
    return np.column_stack([np.ones(len(X)), (X - X.mean(axis=0)) / X.std(axis=0)])


def losses_step_by_step(X: Array, y: Array, alpha: float, steps: int, l2: float = 0.0) -> list[float]:
    """The lesson's descent on a standardised matrix, written from its formula."""
    S, free = with_ones(X), np.r_[0.0, np.ones(X.shape[1])]
    theta, losses = np.zeros(S.shape[1]), []
    for _ in range(steps + 1):
        z = S @ theta
        losses.append(float(np.mean(np.logaddexp(0, z) - y * z) + l2 / 2 * np.sum(free * theta**2)))
        theta = theta - alpha * (S.T @ (1 / (1 + np.exp(-z)) - y) / len(y) + l2 * free * theta)
    return losses


def by_statsmodels(X: Array, y: Array) -> Any:
    return sm.Logit(y, X).fit(method="newton", tol=1e-13, maxiter=100, disp=0)


def test_on_the_sp500_each_rate_does_what_it_is_called(sp500: Dataset) -> None:
    """Too small: hardly underway. Derived: there. Near the limit: there later. Beyond: away, and it stays away."""
    forecasts, spec, model = walk_of(sp500, {"refit_every": 500})
    found = study(sp500, forecasts, spec, model).rates
    assert found is not None
    start = found.excess[:, 0]
    assert found.name == RATES
    assert (start == start[0]).all()
    assert start[0] == pytest.approx(0.0041, abs=2e-4)
    too_small, derived, near, beyond = found.excess
    assert 0.1 * start[0] < too_small[-1] < 0.3 * start[0]
    assert derived[20] < 1e-15
    assert near[50] > 1e5 * derived[20]
    assert near[-1] < 1e-10
    assert 0.1 < beyond[30:].min() <= beyond.max() < 1


@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_curves_are_those_of_the_formula_step_by_step(sp500: Dataset, l2: float) -> None:
    forecasts, spec, model = walk_of(sp500, {"refit_every": 900, "window": "rolling"}, l2=l2)
    found = study(sp500, forecasts, spec, model).rates
    assert found is not None
    fold = make_folds(len(sp500.up), spec, horizon=1)[found.refit]
    X, y = sp500.features[fold.train], sp500.up[fold.train]
    S, D = with_ones(X), np.diag([0.0] + [l2] * 6)
    L = float(np.linalg.eigvalsh(S.T @ S / (4 * len(y)) + D)[-1])
    assert found.refit == len(forecasts.refits.iterations) - 1
    assert found.steepest == pytest.approx(L, rel=1e-12)
    assert found.limit == pytest.approx(2 / L, rel=1e-12)
    np.testing.assert_allclose(found.rate[:3], [0.01 / L, 1 / L, 1.95 / L], rtol=1e-12)
    for at, settles in enumerate([True, True, True, False]):
        expected = losses_step_by_step(X, y, float(found.rate[at]), 100, l2)
        # Beyond the limit, rounding grows from step to step as everything does.
        compared, rtol = (101, 1e-12) if settles else (25, 1e-8)
        np.testing.assert_allclose(found.loss[at, :compared], expected[:compared], rtol=rtol)


def test_every_rate_that_is_swept_is_the_formula_step_by_step() -> None:
    X, y = made_up(2)
    found = learning_rate_study(one_refit(X, y), LogisticRegression(l2=0.1), refit=0)
    assert found.every == 1
    assert found.swept[0] == found.rate[0]
    assert np.isclose(found.swept, found.limit, rtol=1e-12).sum() == 1
    assert found.loss_after.shape == (len(found.after), len(found.swept)) == (3, 23)
    for at, rate in enumerate(found.swept.tolist()):
        losses = losses_step_by_step(X, y, rate, 50, 0.1)
        # Beyond the limit, rounding grows from step to step as everything does.
        compared = 3 if rate < found.limit else 1
        expected = [losses[updates] for updates in found.after]
        np.testing.assert_allclose(found.loss_after[:compared, at], expected[:compared], rtol=1e-8)
    np.testing.assert_array_equal(found.excess_after, np.maximum(found.loss_after - found.optimum, 0))


def test_of_very_many_rows_evenly_spread_ones_are_studied() -> None:
    X, y = made_up(16, rows=3 * ROWS, k=2)
    training, model = one_refit(X, y), LogisticRegression(descent="plain", learning_rate=1.9)
    found, scaling = learning_rate_study(training, model, refit=0), training.scaling
    S = np.column_stack([np.ones(ROWS), (X[::3] - scaling.mean) / scaling.deviation])
    assert found.every == 3
    assert found.steepest == pytest.approx(np.linalg.eigvalsh(S.T @ S / (4 * ROWS))[-1], rel=1e-12)
    assert found.optimum == pytest.approx(-by_statsmodels(S, y[::3]).llf / ROWS, rel=1e-12)
    curves = loss_curves(training, model, refits=[0])
    assert curves.every.tolist() == [3]
    assert curves.optimum[0] == pytest.approx(found.optimum, rel=1e-13)
    near = LogisticRegression(descent="plain", learning_rate=found.limit)
    assert (np.diff(loss_curves(training, near, refits=[0], updates=30).loss[0]) <= 1e-15).all()


def test_best_loss_and_the_curvature_there_are_statsmodels() -> None:
    X, y = made_up(1)
    found = learning_rate_study(one_refit(X, y), LogisticRegression(), refit=0)
    S = with_ones(X)
    fit = by_statsmodels(S, y)
    assert found.optimum == pytest.approx(-fit.llf / len(y), rel=1e-13)
    curvature = np.linalg.eigvalsh(-fit.model.hessian(fit.params) / len(y))[-1]
    assert found.curvature == pytest.approx(curvature, rel=1e-9)
    assert found.rate[3] == pytest.approx(2.5 / curvature, rel=1e-9)


@settings(max_examples=20)
@given(
    seed=st.integers(0, 10_000),
    k=st.integers(1, 4),
    strength=st.floats(0, 2),
    l2=st.sampled_from([0.0, 0.01, 1.0]),
)
def test_up_to_the_limit_no_step_raises_the_loss_and_beyond_it_none_settles(
    seed: int, k: int, strength: float, l2: float
) -> None:
    X, y = made_up(seed, k=k, strength=strength)
    found = learning_rate_study(one_refit(X, y), LogisticRegression(l2=l2), refit=0, steps=120)
    assert found.curvature <= found.steepest * (1 + 1e-12)
    assert np.nanmin(found.excess) >= 0
    assert (np.diff(found.rate) > 0).all()
    assert (np.diff(found.loss[:3], axis=1) <= 1e-15).all()
    assert (found.excess[1] <= found.excess[0]).all()
    last = found.excess[3, -20:]
    assert not last.max() < 1e-3


def test_between_the_limit_and_the_study_a_descent_may_still_settle() -> None:
    """Why the last rate is taken from the curvature at the optimum: 2.5/L does no harm to classes far apart."""
    X, y = made_up(3, rows=1000, k=1, strength=4.0)
    found = learning_rate_study(one_refit(X, y), LogisticRegression(), refit=0)
    over_the_limit = losses_step_by_step(X, y, 1.25 * found.limit, 400)
    assert over_the_limit[-1] == pytest.approx(found.optimum, abs=1e-12)
    assert found.excess[3, -10:].max() > 0.01


def test_a_curve_that_runs_away_ends() -> None:
    """With a heavy penalty every leap is half as large again as the last: 1.5^1000 would overflow when squared."""
    X, y = made_up(4)
    found = learning_rate_study(one_refit(X, y), LogisticRegression(l2=1000.0), refit=0, steps=1000)
    ended = np.isnan(found.loss)
    assert not ended[:3].any()
    curve = found.excess[3][~ended[3]]
    # Each leap is half as large again: the loss, a square, grows by 2.25, the little that the data bend it aside.
    np.testing.assert_allclose(curve[-4:] / curve[-5:-1], 2.25, rtol=2e-3)
    assert (np.diff(ended[3].astype(int)) >= 0).all()
    assert np.nanmax(found.loss) <= 1e6 * found.loss[0, 0]
    assert np.nanmax(found.loss) > 1e5 * found.loss[0, 0]
    np.testing.assert_array_equal(np.isnan(found.excess), ended)


def test_without_a_best_fit_there_is_nothing_to_study() -> None:
    X, _ = made_up(5)
    with pytest.raises(DegenerateFold, match=r"refit 0: a plane .* so that no best loss exists; study another"):
        learning_rate_study(one_refit(X, (X[:, 0] > 0).astype(np.float64)), LogisticRegression(), refit=0)
    with pytest.raises(DegenerateFold, match="refit 0: its training rows are of one class"):
        learning_rate_study(one_refit(X, np.ones(len(X))), LogisticRegression(l2=0.1), refit=0)


@pytest.mark.parametrize("l2", [0.0, 0.2])
@pytest.mark.parametrize(("descent", "rate"), [("plain", "auto"), ("plain", 0.7), ("accelerated", "auto")])
def test_each_loss_is_that_of_the_weights_a_fit_cut_short_there_ends_with(
    descent: str, rate: str | float, l2: float
) -> None:
    X, y = made_up(6)
    training = one_refit(X, y)
    model = LogisticRegression.model_validate({"descent": descent, "learning_rate": rate, "l2": l2})

    def loss_of_a_fit(**other: Any) -> float:
        raw = fit_folds(training, model.model_copy(update=other)).coefficients[0]
        z = raw[0] + X @ raw[1:]
        return float(np.mean(np.logaddexp(0, z) - y * z) + l2 / 2 * np.sum((raw[1:] * X.std(axis=0)) ** 2))

    found = loss_curves(training, model, refits=[0])
    assert found.loss.shape[1] > 12
    for updates in (1, 2, 3, 7, 12):
        assert found.loss[0, updates] == pytest.approx(loss_of_a_fit(max_iter=updates), rel=1e-13)
    assert found.optimum[0] == pytest.approx(loss_of_a_fit(tol=1e-12), rel=1e-13)


@pytest.mark.parametrize("descent", ["plain", "accelerated", "preconditioned"])
def test_on_the_sp500_a_loss_falls_from_the_base_rates_to_the_best(sp500: Dataset, descent: str) -> None:
    forecasts, spec, model = walk_of(sp500, {"refit_every": 100}, descent=descent)
    found = study(sp500, forecasts, spec, model, curves=4).losses
    assert found.refit.tolist() == [0, 13, 27, 40]
    folds = make_folds(len(sp500.up), spec, horizon=1)
    lengths = (~np.isnan(found.loss)).sum(axis=1)
    assert found.loss.shape[1] == lengths.max()
    assert lengths.max() <= (6 if descent == "preconditioned" else 40)
    for at, refit in enumerate(found.refit.tolist()):
        X, y = sp500.features[folds[refit].train], sp500.up[folds[refit].train]
        curve = found.loss[at, : lengths[at]]
        up = y.mean()
        assert curve[0] == pytest.approx(-up * np.log(up) - (1 - up) * np.log(1 - up), rel=1e-13)
        assert not np.isnan(curve).any()
        best = -by_statsmodels(with_ones(X), y).llf / len(y)
        assert found.optimum[at] == pytest.approx(best, rel=1e-13)
        assert curve[-1] == pytest.approx(best, rel=1e-13)
        if descent != "accelerated":
            assert (np.diff(curve) <= 1e-15).all()
    assert (np.nanmin(found.excess, axis=1) < 1e-15).all()


def test_a_long_descent_is_cut() -> None:
    X, y = made_up(7)
    training = one_refit(X, y)
    slow = LogisticRegression(descent="plain", learning_rate=1e-3)
    assert loss_curves(training, slow, refits=[0], updates=30).loss.shape == (1, 31)
    short = LogisticRegression(descent="plain", learning_rate=1e-3, max_iter=12)
    assert loss_curves(training, short, refits=[0], updates=30).loss.shape == (1, 13)


def test_a_rate_beyond_the_limit_is_refused() -> None:
    X, y = made_up(8)
    with pytest.raises(LearningRateTooLarge, match="refit 0: 50 would not go downhill"):
        loss_curves(one_refit(X, y), LogisticRegression(descent="plain", learning_rate=50.0), refits=[0])


def paths_of(X: Array, y: Array, **model: Any) -> CoefficientPaths:
    """The path of one refit that is fitted as tightly as it can be."""
    training, kind = one_refit(X, y), LogisticRegression.model_validate({"tol": 1e-12, **model})
    fits = fit_folds(training, kind)
    return coefficient_paths(training, kind, coefficients=fits.coefficients, degenerate=fits.degenerate)


def trained_by(dataset: Dataset, session: int, number: int) -> BoolArray:
    """Whether a row trains the refit that first forecasts at that session, said by when labels are known."""
    mine = np.ones(len(dataset.up), dtype=np.bool_) if number < 0 else dataset.ticker == number
    return np.asarray(mine & (dataset.known_at <= session) & ~np.isnan(dataset.up))


def errors_row_by_row(dataset: Dataset, train: BoolArray, raw: Array, model: LogisticRegression) -> tuple[Array, Array]:
    """Standardised and raw errors, one training row after the other, each in coordinates of its own."""
    X, y = dataset.features[train], dataset.up[train]
    mean, deviation = X.mean(axis=0), X.std(axis=0)
    age = np.searchsorted(np.unique(dataset.session), dataset.session)[train]
    if model.scope == "per_ticker":
        first = dataset.rows(int(dataset.ticker[train][0])).start
        age = np.flatnonzero(train) - first
    by_class = {0.0: 1.0, 1.0: 1.0}
    decay = [0.5 ** ((age.max() - a) / model.half_life) if model.half_life else 1.0 for a in age.tolist()]
    if model.class_weight == "balanced":
        total = {label: sum(d for d, came in zip(decay, y, strict=True) if came == label) for label in (0.0, 1.0)}
        by_class = {label: sum(total.values()) / (2 * total[label]) for label in total}
    elif model.class_weight is not None:
        by_class = {0.0: model.class_weight.down, 1.0: model.class_weight.up}
    whole = sum(d * by_class[came] for d, came in zip(decay, y.tolist(), strict=True))
    clustered, lags = dataset.horizon > 1 or model.scope == "pooled", 2 * dataset.horizon
    found = []
    for standardised in (True, False):
        k = X.shape[1]
        A = np.diag(np.r_[0.0, model.l2 * (np.ones(k) if standardised else deviation**2)])
        B, by_session = np.zeros((k + 1, k + 1)), np.zeros((int(age.max() - age.min()) + 1, k + 1))
        for values, came, d, a in zip(X, y.tolist(), decay, age.tolist(), strict=True):
            g = 1 / (1 + np.exp(-(raw[0] + raw[1:] @ values)))
            x = np.r_[1.0, (values - mean) / deviation if standardised else values]
            A += d * by_class[came] / whole * g * (1 - g) * np.outer(x, x)
            B += d**2 * by_class[0.0] * by_class[1.0] / whole**2 * g * (1 - g) * np.outer(x, x)
            by_session[a - age.min()] += d * by_class[came] / whole * (g - came) * x
        if clustered:
            away = by_session - by_session.mean(axis=0)
            pairs = [(s, t) for s in range(len(away)) for t in range(len(away)) if abs(s - t) <= lags]
            B = np.sum([(1 - abs(s - t) / (lags + 1)) * np.outer(away[s], away[t]) for s, t in pairs], axis=0)
        P = np.linalg.inv(A)
        found.append(np.sqrt(np.diag(P @ B @ P)))
    return found[0], found[1]


@pytest.mark.parametrize("window", ["expanding", "rolling"])
def test_on_the_sp500_weights_and_errors_are_statsmodels(sp500: Dataset, window: str) -> None:
    forecasts, spec, model = walk_of(sp500, {"refit_every": 50, "window": window}, tol=1e-12)
    found = study(sp500, forecasts, spec, model, points=5).paths
    assert found.refit.tolist() == [0, 20, 40, 60, 80]
    folds = make_folds(len(sp500.up), spec, horizon=1)
    for at, refit in enumerate(found.refit.tolist()):
        X, y = sp500.features[folds[refit].train], sp500.up[folds[refit].train]
        standardised, raw = by_statsmodels(with_ones(X), y), by_statsmodels(sm.add_constant(X), y)
        np.testing.assert_allclose(found.standardised[at], standardised.params, rtol=1e-6)
        np.testing.assert_allclose(found.standardised_error[at], standardised.bse, rtol=1e-6)
        np.testing.assert_allclose(found.raw[at], raw.params, rtol=1e-6)
        np.testing.assert_allclose(found.raw_error[at], raw.bse, rtol=1e-6)


@pytest.mark.parametrize(("scope", "horizon"), [("per_ticker", 1), ("per_ticker", 2), ("pooled", 2)])
@pytest.mark.parametrize(
    "model",
    [
        {"l2": 0.05},
        {"half_life": 40.0},
        {"class_weight": "balanced", "half_life": 70.0},
        {"class_weight": {"up": 3.0, "down": 0.5}},
        {"class_weight": {"up": 0.2}, "half_life": 90.0, "l2": 0.01},
    ],
    ids=str,
)
def test_weights_of_all_kinds_row_by_row(scope: str, horizon: int, model: dict[str, Any]) -> None:
    # So many sessions that a first forecast one session earlier would make one more refit.
    prices = random_walk(11, sessions=213, tickers=3, holes=True)
    dataset = dataset_from(prices, [LAGS], horizon=horizon, ties="drop")
    forecasts, spec, kind = walk_of(dataset, {"train": 90, "refit_every": 40}, scope=scope, **model)
    found = study(dataset, forecasts, spec, kind)
    assert found.lags == (None if scope == "per_ticker" and horizon == 1 else 2 * horizon)
    number = -1 if scope == "pooled" else 0
    assert found.name == ("pooled" if scope == "pooled" else "T0")
    assert len(found.paths.refit) == (forecasts.refits.ticker == number).sum() > 2
    for at in range(len(found.paths.refit)):
        train = trained_by(dataset, int(found.session[at]), number)
        standardised, raw = errors_row_by_row(dataset, train, found.paths.raw[at], kind)
        np.testing.assert_allclose(found.paths.standardised_error[at], standardised, rtol=1e-9)
        np.testing.assert_allclose(found.paths.raw_error[at], raw, rtol=1e-9)


@pytest.mark.parametrize("horizon", [1, 5])
def test_where_rows_hang_together_errors_are_statsmodels_by_session(horizon: int) -> None:
    dataset = dataset_from(random_walk(31, sessions=400, tickers=3), [LAGS], horizon=horizon)
    forecasts, spec, model = walk_of(dataset, {"train": 200, "refit_every": 60}, scope="pooled", tol=1e-12)
    found = study(dataset, forecasts, spec, model)
    for at in range(len(found.paths.refit)):
        train = trained_by(dataset, int(found.session[at]), -1)
        order = np.flatnonzero(train)[np.argsort(dataset.session[train], kind="stable")]
        S, y = with_ones(dataset.features[order]), dataset.up[order]
        kinds = {
            "time": dataset.session[order],
            "maxlags": 2 * horizon,
            "use_correction": False,
            "df_correction": False,
        }
        fit = sm.Logit(y, S).fit(
            method="newton", tol=1e-13, maxiter=100, disp=0, cov_type="hac-groupsum", cov_kwds=kinds
        )
        np.testing.assert_allclose(found.paths.standardised[at], fit.params, rtol=1e-6)
        np.testing.assert_allclose(found.paths.standardised_error[at], fit.bse, rtol=1e-6)


@pytest.mark.parametrize("weights", [{"up": 4.0}, {"down": 4.0}, {"up": 6.0, "down": 0.5}], ids=str)
def test_with_class_weights_errors_are_whites_where_rows_are_many(weights: dict[str, float]) -> None:
    """The variance of the weighted score as the rows show it (White 1982), which does not ask the model."""
    X, y = made_up(12, rows=40_000, k=2)
    found = paths_of(X, y, class_weight=weights)
    S = with_ones(X)
    weight = np.where(y > 0, weights.get("up", 1.0), weights.get("down", 1.0))
    g = 1 / (1 + np.exp(-S @ found.standardised[0]))
    P = np.linalg.inv((S.T * (weight * g * (1 - g))) @ S)
    white = np.sqrt(np.diag(P @ (S.T * (weight * (y - g)) ** 2) @ S @ P))
    np.testing.assert_allclose(found.standardised_error[0], white, rtol=0.03)


def test_a_constant_weighs_nothing_and_has_no_error() -> None:
    X, y = made_up(13)
    found, without = paths_of(np.insert(X, 1, 5.0, axis=1), y), paths_of(X, y)
    for name in ("standardised", "raw"):
        weights, errors = getattr(found, name)[0], getattr(found, f"{name}_error")[0]
        assert weights[2] == 0
        assert np.isnan(errors[2])
        np.testing.assert_allclose(np.delete(weights, 2), getattr(without, name)[0], rtol=1e-9)
        np.testing.assert_allclose(np.delete(errors, 2), getattr(without, f"{name}_error")[0], rtol=1e-9)


def test_of_a_feature_told_twice_each_half_has_half_the_error() -> None:
    X, y = made_up(14, k=2)
    found, alone = paths_of(X[:, [0, 1, 0]], y), paths_of(X, y)
    half = np.r_[1.0, 0.5, 1.0]
    np.testing.assert_allclose(found.standardised_error[0, :3], half * alone.standardised_error[0], rtol=1e-6)
    np.testing.assert_allclose(found.raw_error[0, :3], half * alone.raw_error[0], rtol=1e-6)
    np.testing.assert_allclose(found.standardised_error[0, 3], found.standardised_error[0, 1], rtol=1e-6)
    np.testing.assert_allclose(found.standardised[0, 1] + found.standardised[0, 3], alone.standardised[0, 1])


def test_of_very_many_rows_errors_are_measured_at_the_ends() -> None:
    X, y = made_up(15, rows=300, k=2)
    folds = make_folds(300, WalkForwardSpec(train=60, refit_every=20), horizon=1)
    training, model = Training(X, y, [folds], fold_scaling(X, [folds], trained=~np.isnan(y))), LogisticRegression()
    fits = fit_folds(training, model)
    kept: dict[str, Any] = {"coefficients": fits.coefficients, "degenerate": fits.degenerate}
    every, some = coefficient_paths(training, model, **kept), coefficient_paths(training, model, errors=3, **kept)
    np.testing.assert_array_equal(some.standardised, every.standardised)
    measured = ~np.isnan(some.standardised_error).any(axis=1)
    assert np.flatnonzero(measured).tolist() == [0, 6, 11]
    np.testing.assert_array_equal(some.raw_error[measured], every.raw_error[measured])
    assert some.newest == 11
    np.testing.assert_array_equal(some.ratio[11], every.standardised[11] / every.standardised_error[11])


def test_signs_are_counted_over_refits_that_have_a_best_fit() -> None:
    coefficients = np.array([[1.0, 2.0, 0.0], [9.0, 9.0, 9.0], [-1.0, -3.0, 1.0], [2.0, -1.0, 0.0], [1.0, 1.0, 1.0]])
    degenerate = np.array([False, True, False, False, True])
    np.testing.assert_array_equal(same_side(coefficients, degenerate), [2 / 3, 2 / 3, np.nan])
    assert np.isnan(same_side(coefficients, np.ones(5, dtype=np.bool_))).all()


@given(count=st.integers(0, 2000), at_most=st.integers(2, 300))
def test_refits_are_spread_evenly_with_both_ends(count: int, at_most: int) -> None:
    found = spread(count, at_most=at_most)
    assert len(found) == min(count, at_most)
    if count:
        assert (found[0], found[-1]) == (0, count - 1)
    if count > 1:
        gaps = np.diff(found)
        assert gaps.min() > 0
        assert gaps.max() - gaps.min() <= 1


def test_weights_are_the_walks_own_and_forecast_what_it_forecast(sp500: Dataset) -> None:
    forecasts, spec, model = walk_of(sp500, {"refit_every": 7, "window": "rolling"})
    found = study(sp500, forecasts, spec, model, curves=2, points=40)
    refit = found.paths.refit
    assert found.columns == sp500.columns
    np.testing.assert_array_equal(found.paths.raw, forecasts.refits.coefficients[refit])
    folds = make_folds(len(sp500.up), spec, horizon=1)
    for at, number in enumerate(refit.tolist()):
        fold = folds[number]
        train, row = sp500.features[fold.train], sp500.features[fold.test.start]
        weights = found.paths.standardised[at]
        z = weights[0] + weights[1:] @ ((row - train.mean(axis=0)) / train.std(axis=0))
        assert z == pytest.approx(forecasts.log_odds[(forecasts.fold == number).argmax()], abs=1e-10)
        assert found.session[number] == sp500.session[fold.test.start]


def test_refits_without_a_best_fit_are_gaps() -> None:
    dataset = dataset_from(random_walk(21, sessions=300), [LAGS])
    dataset.up[:130] = 1.0
    dataset.up[-101:] = 0.0
    walk = {"train": 60, "refit_every": 20, "window": "rolling"}
    forecasts, spec, model = walk_of(dataset, walk, degenerate="base_rate")
    degenerate = forecasts.refits.degenerate
    assert degenerate[[0, -1]].all()
    found = study(dataset, forecasts, spec, model)
    for name in ("standardised", "standardised_error", "raw", "raw_error"):
        np.testing.assert_array_equal(np.isnan(getattr(found.paths, name)).any(axis=1), degenerate)
    np.testing.assert_array_equal(found.losses.refit, np.flatnonzero(~degenerate))
    assert found.rates is not None
    assert found.rates.refit == np.flatnonzero(~degenerate)[-1]


def test_where_no_refit_has_a_best_fit_there_are_no_losses() -> None:
    dataset = dataset_from(random_walk(22, sessions=100), [LAGS])
    dataset.up[:] = 1.0
    found = study(dataset, *walk_of(dataset, {"train": 60}, degenerate="base_rate"))
    assert found.rates is None
    assert found.losses.excess.shape == (0, 0)
    assert np.isnan(found.paths.raw_error).all()


def test_a_walk_that_stopped_before_its_weights_grew_is_studied_without_rates() -> None:
    """The second feature is 1 on some ups and 0 on all else: its best weight is infinite."""
    dataset = dataset_from(random_walk(26, sessions=200), [LAGS])
    dataset.features[:, 1] = (dataset.up == 1) & (dataset.features[:, 0] > 0)
    forecasts, spec, model = walk_of(dataset, {"train": 100, "refit_every": "never"}, tol=0.1)
    assert not forecasts.refits.degenerate.any()
    found = study(dataset, forecasts, spec, model)
    assert found.rates is None
    assert not np.isnan(found.paths.raw_error).any()


def test_each_ticker_has_a_study_of_its_own() -> None:
    dataset = dataset_from(random_walk(23, sessions=200, tickers=3), [LAGS])
    forecasts, spec, model = walk_of(dataset, {"train": 100, "refit_every": 30})
    third = study(dataset, forecasts, spec, model, ticker="T2")
    mine = forecasts.refits.ticker == 2
    assert third.name == "T2"
    np.testing.assert_array_equal(third.paths.raw, forecasts.refits.coefficients[mine])
    np.testing.assert_array_equal(third.session, forecasts.refits.session[mine])
    assert study(dataset, forecasts, spec, model).name == "T0"
    with pytest.raises(ValueError, match="T9 has no model of its own; there are: T0, T1, T2"):
        study(dataset, forecasts, spec, model, ticker="T9")


def test_the_forecasts_of_another_walk_are_refused() -> None:
    dataset = dataset_from(random_walk(24, sessions=200), [LAGS])
    forecasts, spec, model = walk_of(dataset, {"train": 100, "refit_every": 30})
    with pytest.raises(ValueError, match="of other sessions than these folds'; pass the walk's own spec"):
        study(dataset, forecasts, spec.model_copy(update={"refit_every": 21}), model)


def test_scaling_is_the_walks_own_function() -> None:
    def twice(*arguments: Any, **keywords: Any) -> Scaling:
        found = fold_scaling(*arguments, **keywords)
        return replace(found, deviation=2 * found.deviation)

    dataset = dataset_from(random_walk(25, sessions=200), [LAGS])
    forecasts, spec, model = walk_of(dataset, {"train": 100})
    once = study(dataset, forecasts, spec, model).paths
    found = study(dataset, forecasts, spec, model, Steps(scale=twice)).paths
    np.testing.assert_allclose(found.standardised[:, 1:], 2 * once.standardised[:, 1:])
    np.testing.assert_allclose(found.raw_error, once.raw_error)
