"""Sample weights by age and class, and pooled models, each against a loop of scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quantlr.core.errors import NotEnoughHistory, UserError
from quantlr.core.values import Array, Dataset, Forecasts
from quantlr.data.dataset import build_dataset, compute_feature_columns
from quantlr.data.features import LaggedReturns, Momentum
from quantlr.data.labels import Direction
from quantlr.model.config import LogisticRegression
from quantlr.model.splits import WalkForwardSpec
from quantlr.model.walk_forward import walk_forward
from sklearn import config_context
from sklearn.linear_model import LogisticRegression as SklearnLogisticRegression
from sklearn.preprocessing import StandardScaler

from markets import random_walk_prices

TIGHT = {"tol": 1e-12}


def example_data(seed: int, *, tickers: int = 1, holes: bool = False, horizon: int = 1, ties: str = "down") -> Dataset:
    prices = random_walk_prices(seed, n_sessions=220, n_tickers=tickers, with_gaps=holes)
    label = Direction.model_validate({"horizon": horizon, "ties": ties})
    columns = compute_feature_columns(prices, [LaggedReturns(lags=(1, 2)), Momentum(windows=(5,))])
    return build_dataset(prices, columns, label.compute_labels(prices), horizon=horizon)


def forecast(dataset: Dataset, walk_config: dict[str, Any], **model: Any) -> Forecasts:
    return walk_forward(
        dataset, WalkForwardSpec.model_validate(walk_config), LogisticRegression.model_validate({**TIGHT, **model})
    )


def fit_by_scikit_learn(X: Array, y: Array, weight: Array, newest: Array, *, l2: float = 0.0) -> Array:
    """Return the probabilities of `newest` rows by weighted rows, standardised without weights."""
    scaler = StandardScaler().fit(X)
    C = np.inf if l2 == 0 else 1.0 / (weight.sum() * l2)
    with config_context(skip_parameter_validation=True):
        reference = SklearnLogisticRegression(C=C, tol=1e-12, max_iter=100_000, solver="newton-cholesky")
        reference.fit(scaler.transform(X), y, sample_weight=weight)
    return np.asarray(reference.predict_proba(scaler.transform(newest))[:, 1])


def class_factor(y: Array, weight: Array, class_weight: Any) -> Array:
    """Return what each row counts by its class."""
    if class_weight is None:
        return np.ones(len(y))
    if class_weight == "balanced":
        ups = weight[y == 1].sum()
        downs = weight[y == 0].sum()
        return np.asarray(np.where(y == 1, (ups + downs) / (2 * ups), (ups + downs) / (2 * downs)))
    return np.asarray(np.where(y == 1, class_weight.get("up", 1.0), class_weight.get("down", 1.0)))


@settings(max_examples=20)
@given(
    seed=st.integers(0, 100_000),
    window=st.sampled_from(["expanding", "rolling"]),
    every=st.sampled_from([1, 4, 21]),
    l2=st.sampled_from([0.0, 0.03]),
    half_life=st.sampled_from([None, 1.5, 10.0, 80.0]),
    class_weight=st.sampled_from([None, "balanced", {"up": 3.0}, {"up": 0.5, "down": 2.0}]),
    ties=st.sampled_from(["down", "drop"]),
)
def test_weighted_fit_equals_a_loop_of_scikit_learn(
    seed: int, window: str, every: int, l2: float, half_life: float | None, class_weight: Any, ties: str
) -> None:
    dataset = example_data(seed, ties=ties)
    X, y = dataset.features, dataset.up
    # With hardly any rows that count, classes are soon separable.
    l2 = 0.1 if half_life is not None and half_life < 20 else l2
    walk_config = {"window": window, "train": 100, "refit_every": every}
    result = forecast(dataset, walk_config, l2=l2, half_life=half_life, class_weight=class_weight)
    for row in range(100, len(X)):
        refit_at = 100 + (row - 100) // every * every
        known = np.arange(max(refit_at - 100, 0) if window == "rolling" else 0, refit_at)
        known = known[~np.isnan(y[known])]
        age = refit_at - 1 - known
        weight = np.ones(len(known)) if half_life is None else 0.5 ** (age / half_life)
        weight = weight * class_factor(y[known], weight, class_weight)
        if row % 7 == 0 or row > len(X) - 3:
            (expected,) = fit_by_scikit_learn(X[known], y[known], weight, X[row : row + 1], l2=l2)
            assert result.probability[row - 100] == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("solver", ["gradient_descent", "nesterov"])
def test_every_solver_weighs_rows_equally(solver: str) -> None:
    dataset = example_data(5)
    model = {"half_life": 40.0, "class_weight": "balanced", "l2": 0.01, "tol": 1e-10, "max_iter": 100_000}
    best, result = (
        forecast(dataset, {"train": 100, "refit_every": 5}, **model, solver=way) for way in ("newton", solver)
    )
    np.testing.assert_allclose(result.probability, best.probability, atol=1e-8)


def test_balanced_classes_without_features_give_one_half() -> None:
    """By arithmetic: without features that vary, both classes weighing the same make one half."""
    dataset = example_data(1)
    dataset.features[:] = 1.0
    result = forecast(dataset, {"train": 100}, class_weight="balanced")
    np.testing.assert_allclose(result.probability, 0.5, atol=1e-12)


def test_half_life_counts_sessions() -> None:
    """By arithmetic: a constant feature leaves the weighted share of ups."""
    dataset = example_data(2)
    dataset.features[:] = 1.0
    result = forecast(dataset, {"train": 100, "refit_every": 1}, half_life=25.0)
    for row in (100, 130, 200):
        weight = 0.5 ** (np.arange(row - 1, -1, -1) / 25.0)
        share = weight @ dataset.up[:row] / weight.sum()
        assert result.probability[row - 100] == pytest.approx(share, abs=1e-9)


@settings(max_examples=12)
@given(
    seed=st.integers(0, 100_000),
    window=st.sampled_from(["expanding", "rolling"]),
    every=st.sampled_from([1, 9]),
    horizon=st.integers(1, 4),
    embargo=st.integers(0, 2),
    half_life=st.sampled_from([None, 30.0]),
    l2=st.sampled_from([0.0, 0.05]),
    ties=st.sampled_from(["down", "drop"]),
    holes=st.booleans(),
)
def test_pooled_model_equals_a_loop_over_sessions(
    seed: int,
    window: str,
    every: int,
    horizon: int,
    embargo: int,
    half_life: float | None,
    l2: float,
    ties: str,
    holes: bool,
) -> None:
    dataset = example_data(seed, tickers=3, holes=holes, horizon=horizon, ties=ties)
    walk_config = {"window": window, "train": 60, "refit_every": every, "embargo": embargo}
    result = forecast(dataset, walk_config, scope="pooled", half_life=half_life, l2=l2)
    calendar = sorted(set(dataset.session.tolist()))
    count = {session: index for index, session in enumerate(calendar)}
    first = 60 - 1 + horizon + embargo
    probability = {
        (t, s): p for t, s, p in zip(result.ticker.tolist(), result.session.tolist(), result.probability, strict=True)
    }
    assert len(probability) == sum(count[s] >= first for s in dataset.session.tolist())
    for index in range(first, len(calendar), every):
        known = [
            row
            for row in range(len(dataset.up))
            if dataset.label_known_at[row] in count
            and count[int(dataset.label_known_at[row])] <= index - embargo
            and (window == "expanding" or count[int(dataset.session[row])] > index - horizon - embargo - 60)
            and not np.isnan(dataset.up[row])
        ]
        age = np.array([index - count[int(dataset.session[row])] for row in known])
        weight = np.ones(len(known)) if half_life is None else 0.5 ** (age / half_life)
        test = [row for row in range(len(dataset.up)) if index <= count[int(dataset.session[row])] < index + every]
        if index % 3 and index + every < len(calendar):
            continue
        expected = fit_by_scikit_learn(
            dataset.features[known], dataset.up[known], weight, dataset.features[test], l2=l2
        )
        actual = [probability[int(dataset.ticker[row]), int(dataset.session[row])] for row in test]
        np.testing.assert_allclose(actual, expected, atol=1e-8)


def test_pooled_model_of_one_ticker_equals_per_ticker() -> None:
    dataset = example_data(4)
    walk_config = {"train": 80, "refit_every": 10}
    selected, pooled = (forecast(dataset, walk_config, scope=scope) for scope in ("per_ticker", "pooled"))
    np.testing.assert_array_equal(pooled.session, selected.session)
    np.testing.assert_allclose(pooled.probability, selected.probability, atol=1e-12)
    assert (pooled.refits.ticker == -1).all()


def test_pooled_model_with_too_few_sessions_raises() -> None:
    with pytest.raises(NotEnoughHistory, match=r"the first fold needs 501 rows .* found 215"):
        forecast(example_data(4, tickers=2), {"train": 500}, scope="pooled")


@pytest.mark.parametrize("scope", ["per_ticker", "pooled"])
def test_results_do_not_depend_on_workers(scope: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quantlr.model.walk_forward.MIN_PARALLEL_SECONDS", 0.0)
    dataset = example_data(8, tickers=5, holes=True)
    spec, model = WalkForwardSpec(train=80, refit_every=5), LogisticRegression.model_validate({"scope": scope})
    single, shared = (walk_forward(dataset, spec, model, workers=workers) for workers in (1, 2))
    for name in ("ticker", "session", "fold", "probability", "base_rate", "mean_gain"):
        np.testing.assert_array_equal(getattr(shared, name), getattr(single, name))
    np.testing.assert_array_equal(shared.refits.coefficients, single.refits.coefficients)
    assert shared.notes == single.notes


def test_error_in_worker_process_is_the_same_error(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = example_data(9, tickers=4)
    dataset.up[dataset.ticker_slice(2)] = 1.0
    spec = WalkForwardSpec(train=80, refit_every=5)
    texts = set()
    for sharing in (np.inf, 0.0):
        monkeypatch.setattr("quantlr.model.walk_forward.MIN_PARALLEL_SECONDS", sharing)
        with pytest.raises(UserError, match="all 80 training rows are ups") as caught:
            walk_forward(dataset, spec, LogisticRegression(), workers=2)
        texts.add((type(caught.value).__name__, str(caught.value), caught.value.key))
    assert len(texts) == 1
