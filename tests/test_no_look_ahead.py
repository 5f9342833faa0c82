"""No stage of a run looks ahead: its values up to a session do not depend on later prices, for every component.

Later prices are replaced by those of another scenario. Features, labels known by then, the scaling of each fold,
training statistics, probabilities and positions must stay the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from quantlr.backtest.overlays import OVERLAYS, BetaNeutral, VolatilityTarget, apply_overlays
from quantlr.backtest.policies import POLICIES, DecisionContext, Policy, decide_positions
from quantlr.config.run_config import RunConfig, load_config
from quantlr.core.components import Component
from quantlr.core.timing import NOT_YET_KNOWN
from quantlr.core.values import (
    Array,
    BoolArray,
    Dataset,
    FeatureColumns,
    Folds,
    Forecasts,
    Labels,
    Positions,
    Prices,
    RunData,
)
from quantlr.data.features import FEATURES, LaggedReturns, Momentum, Volatility, Volume
from quantlr.data.features.volumes import RelativeVolume
from quantlr.data.labels import LABELS, Label
from quantlr.model import calibration
from quantlr.model.splits import make_folds, make_pooled_folds
from quantlr.model.standardize import fold_scaling
from quantlr.model.walk_forward import WalkForwardFunctions
from quantlr.pipeline.stages import PipelineStages, run_stages
from quantlr.testing.contract import with_random_file_columns

from markets import FEATURE_SCENARIOS, apply_scenario, random_walk_prices

TICKERS = ["T0", "T1", "T2"]
EVERY_FEATURE = [feature.examples()[0] for feature in FEATURES if feature is not Volume]  # it is for one ticker
FEW_FEATURES = [LaggedReturns(), Momentum(), Volatility(), RelativeVolume()]
LABEL_EXAMPLES = [example for label in LABELS for example in label.examples() if isinstance(example, Label)]
POLICY_EXAMPLES = [example for policy in POLICIES for example in policy.examples() if isinstance(example, Policy)]
OVERLAY_LISTS: list[list[dict[str, Any]]] = [
    [],
    [example.model_dump() for overlay in OVERLAYS for example in overlay.examples() if overlay is not BetaNeutral]
    + [BetaNeutral().model_dump()],
]
EXECUTIONS: list[dict[str, Any]] = [
    {},
    {"fill": "next_open"},
    {"spread": "corwin_schultz", "per_share": 0.01, "cash_rate": 0.02},
]

MODELS: list[dict[str, Any]] = [
    {},
    {"scope": "pooled"},
    {"half_life": 20, "class_weight": "balanced"},
    {"scope": "pooled", "half_life": 20, "class_weight": {"up": 2.0}},
    {"calibration": "platt"},
    {"scope": "pooled", "calibration": "platt"},
]


@pytest.fixture(autouse=True)
def _low_minimum_of_calibration_forecasts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "MIN_CALIBRATION_FORECASTS", 30)


def config(
    label: Label,
    policy: Policy,
    model: dict[str, Any],
    features: Sequence[Component] = FEW_FEATURES,
    *,
    overlays: Sequence[dict[str, Any]] = (),
    execution: dict[str, Any] | None = None,
    **walk_forward: Any,
) -> RunConfig:
    return load_config(
        {
            "data": {"source": {"kind": "sample"}, "tickers": TICKERS},
            "features": [feature.model_dump() for feature in features],
            "label": label.model_dump(),
            "policy": policy.model_dump(),
            "overlays": [item for item in overlays if policy.may_be_short or item["kind"] != "beta_neutral"],
            "execution": execution or {},
            "model": {"l2": 0.01, "tol": 1e-12, "degenerate": "base_rate", **model},
            "walk_forward": {"train": 40, **walk_forward},
        }
    ).run


def run_with_scalings(
    run: RunConfig, prices: Prices, stages: PipelineStages = PipelineStages()
) -> tuple[RunData, list[tuple[Folds, Any]]]:
    """Return a run's values, and the folds and scaling of each model."""
    scalings: list[tuple[Folds, Any]] = []
    functions = stages.walk_forward_steps

    def compute_scaling(X: Array, folds: Sequence[Folds], *, has_label: BoolArray) -> Any:
        scaling = functions.compute_scaling(X, folds, has_label=has_label)
        scalings.append((folds[0], scaling))
        return scaling

    watched = replace(stages, walk_forward_steps=replace(functions, compute_scaling=compute_scaling))
    return run_stages(run, prices, watched), scalings


def row_by_ticker_and_session(dataset: Dataset) -> dict[tuple[int, int], int]:
    keys = zip(dataset.ticker.tolist(), dataset.session.tolist(), strict=True)
    return {key: row for row, key in enumerate(keys)}


def changed_dataset(dataset: Dataset, other: Dataset, cut: int) -> str | None:
    """Return the first field of the dataset that differs up to session `cut`; None if none does."""
    rows = np.flatnonzero(dataset.session <= cut)
    row_of = row_by_ticker_and_session(other)
    other_rows = np.array([row_of[int(dataset.ticker[row]), int(dataset.session[row])] for row in rows])
    if not np.allclose(other.features[other_rows], dataset.features[rows], rtol=1e-9, atol=1e-9):
        return "features"
    labelled = dataset.label_known_at[rows] <= cut
    rows_known, other_known = rows[labelled], other_rows[labelled]
    if not np.array_equal(other.label_known_at[other_known], dataset.label_known_at[rows_known]):
        return "label_known_at"
    for name in ("up", "horizon_return"):
        values, others = getattr(dataset, name)[rows_known], getattr(other, name)[other_known]
        if not np.allclose(others, values, rtol=1e-9, atol=1e-9, equal_nan=True):
            return "label"
    return None


def first_changed_stage(
    run: RunConfig, prices: Prices, *, cut: int, scenario: str, stages: PipelineStages = PipelineStages()
) -> str | None:
    """Return the first stage whose values up to session `cut` differ in a scenario for later prices; None if none."""
    (data, scalings), (other_data, other_scalings) = (
        run_with_scalings(run, market, stages)
        for market in (prices, apply_scenario(prices, scenario, after_session=cut, seed=cut))
    )
    if changed := changed_dataset(data.dataset, other_data.dataset, cut):
        return changed
    forecasts, others = data.forecasts, other_data.forecasts
    past, other_past = forecasts.session <= cut, others.session <= cut
    if not (
        np.array_equal(forecasts.session[past], others.session[other_past])
        and np.array_equal(forecasts.fold[past], others.fold[other_past])
    ):
        return "folds"
    other_index = {model: index for index, model in enumerate(np.unique(others.refits.ticker).tolist())}
    for index, model in enumerate(np.unique(forecasts.refits.ticker).tolist()):
        folds, scaling = scalings[index]
        n_refits = int(np.unique(forecasts.fold[past & ((forecasts.ticker == model) | (model < 0))]).size)
        if n_refits:
            other_scaling = other_scalings[other_index[model]][1]
            for name in ("mean", "std"):
                values, other_values = (getattr(item, name)[:n_refits] for item in (scaling, other_scaling))
                if not np.allclose(other_values, values, rtol=1e-9, atol=1e-9):
                    return "scaling"
            assert len(folds) >= n_refits
    for name in ("base_rate", "mean_gain", "mean_loss", "std"):
        values, other_values = getattr(forecasts, name)[past], getattr(others, name)[other_past]
        if not np.allclose(other_values, values, atol=1e-9, equal_nan=True):
            return name
    for name in ("training_up_rate", "training_probability_mean", "training_probability_std"):
        values, other_values = getattr(forecasts, name)[past], getattr(others, name)[other_past]
        if not np.allclose(other_values, values, atol=1e-7, equal_nan=True):
            return name
    if not np.allclose(others.probability[other_past], forecasts.probability[past], rtol=0, atol=1e-9):
        return "probability"
    weight, other_weight = (values.positions.weight[: cut + 1] for values in (data, other_data))
    # A weight proportional to a probability differs by rounding as the probability does; a leak is orders larger.
    return None if np.allclose(other_weight, weight, rtol=0, atol=1e-6, equal_nan=True) else "positions"


@pytest.mark.parametrize("label", LABEL_EXAMPLES, ids=lambda label: f"{label.kind}-{label.horizon}")
@pytest.mark.parametrize("window", ["expanding", "rolling"])
@settings(max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 100_000), cut=st.integers(100, 155), scenario=st.sampled_from(FEATURE_SCENARIOS),
    policy=st.sampled_from(POLICY_EXAMPLES), refit_every=st.sampled_from([7, 1, 21]), embargo=st.sampled_from([0, 3]),
    model=st.sampled_from(MODELS),
    features=st.lists(st.sampled_from(EVERY_FEATURE), min_size=1, max_size=4, unique_by=lambda feature: feature.kind),
    overlays=st.sampled_from(OVERLAY_LISTS), execution=st.sampled_from(EXECUTIONS),
)  # fmt: skip
def test_values_up_to_a_session_do_not_depend_on_later_prices(
    label: Label,
    window: str,
    seed: int,
    cut: int,
    scenario: str,
    policy: Policy,
    refit_every: int,
    embargo: int,
    model: dict[str, Any],
    features: list[Any],
    overlays: list[dict[str, Any]],
    execution: dict[str, Any],
) -> None:
    prices = random_walk_prices(seed, n_sessions=160, n_tickers=3, with_gaps=True, context_tickers=("^GSPC",))
    columns = [column for feature in features for column in feature.file_columns]
    prices = with_random_file_columns(prices, columns, seed=seed)
    walk_forward = {"window": window, "refit_every": refit_every, "embargo": embargo}
    run = config(label, policy, model, features, overlays=overlays, execution=execution, **walk_forward)
    assert first_changed_stage(run, prices, cut=cut, scenario=scenario) is None


TRAINING_STAGES = "folds|scaling|base_rate|mean_gain|mean_loss|std|probability"


def features_of_next_return(prices: Prices, features: Any) -> FeatureColumns:
    ahead = np.full_like(prices.close, 0.0)
    ahead[:-1] = np.nan_to_num(prices.close[1:] / prices.close[:-1] - 1)
    return {"tomorrow": np.where(prices.session >= 0, ahead, np.nan)}


def unpurged_folds(n_rows: int, spec: Any, *, horizon: int) -> Folds:
    return make_folds(n_rows, spec, horizon=min(horizon, 1))


def unpurged_pooled_folds(dataset: Dataset, spec: Any) -> list[Folds]:
    early = np.where(dataset.label_known_at == NOT_YET_KNOWN, NOT_YET_KNOWN, dataset.session)
    return make_pooled_folds(replace(dataset, label_known_to_all_at=early), spec)


def full_sample_scaling(X: Array, folds: Sequence[Folds], *, has_label: BoolArray) -> Any:
    scaling = fold_scaling(X, folds, has_label=has_label)
    return replace(
        scaling,
        mean=np.broadcast_to(X.mean(axis=0), scaling.mean.shape),
        std=np.broadcast_to(X.std(axis=0), scaling.std.shape),
    )


def label_three_sessions_early(prices: Prices, label: Label) -> Labels:
    labels = label.compute_labels(prices)
    shifted = np.nan_to_num(np.roll(labels.up, -3, axis=0))
    return replace(labels, up=np.where(np.isnan(labels.up), np.nan, shifted))


def positions_by_next_forecast(policy: Policy, forecasts: Forecasts, context: DecisionContext) -> Positions:
    ahead = np.append(forecasts.probability[1:], 0.0)
    return decide_positions(policy, replace(forecasts, probability=ahead), context)


def overlay_with_next_volatility(
    positions: Positions, overlays: Any, forecasts: Forecasts, context: DecisionContext
) -> Positions:
    ahead = np.append(context.volatility[1:], np.nan)
    return apply_overlays(positions, (VolatilityTarget(),), forecasts, replace(context, volatility=ahead))


@pytest.mark.parametrize(
    ("stages", "model", "stage"),
    [
        (PipelineStages(compute_features=features_of_next_return), {}, "features"),
        (PipelineStages(walk_forward_steps=WalkForwardFunctions(compute_scaling=full_sample_scaling)), {}, "scaling"),
        (
            PipelineStages(walk_forward_steps=WalkForwardFunctions(make_ticker_folds=unpurged_folds)),
            {},
            TRAINING_STAGES,
        ),
        (
            PipelineStages(walk_forward_steps=WalkForwardFunctions(make_folds_for_all_tickers=unpurged_pooled_folds)),
            {"scope": "pooled"},
            TRAINING_STAGES,
        ),
        (PipelineStages(compute_label=label_three_sessions_early), {}, "label"),
        (PipelineStages(decide_positions=positions_by_next_forecast), {}, "positions"),
        (PipelineStages(apply_overlays=overlay_with_next_volatility), {}, "positions"),
    ],
    ids=[
        "tomorrow's return",
        "full-sample scaler",
        "unpurged labels",
        "unpurged pool",
        "labels too early",
        "tomorrow's forecast",
        "tomorrow's volatility",
    ],
)
def test_a_planted_leak_is_found_at_its_stage(stages: PipelineStages, model: dict[str, Any], stage: str) -> None:
    label = LABELS[0].model_validate({"horizon": 5})
    run = config(label, POLICY_EXAMPLES[0], model, refit_every=1)
    changed = []
    for seed, cut, scenario in ((1, 110, "noise"), (2, 120, "mirror image")):
        prices = random_walk_prices(seed, n_sessions=130, n_tickers=3, with_gaps=True)
        changed.append(first_changed_stage(run, prices, cut=cut, scenario=scenario, stages=stages))
        if changed[-1] in stage.split("|"):
            return
    pytest.fail(f"found at {changed}")


def folds_purged_by_the_horizon_alone(n_rows: int, spec: Any, *, horizon: int) -> Folds:
    return make_folds(n_rows, spec, horizon=horizon - 1)


@pytest.mark.parametrize("fill", ["next_close", "next_open"])
@pytest.mark.parametrize("scope", ["per_ticker", "pooled"])
def test_purge_without_the_delay_of_the_fill_is_a_leak(fill: str, scope: str) -> None:
    def early_pooled_folds(dataset: Dataset, spec: Any) -> list[Folds]:
        early = np.where(dataset.label_known_at == NOT_YET_KNOWN, NOT_YET_KNOWN, dataset.label_known_at - 1)
        return make_pooled_folds(replace(dataset, label_known_to_all_at=early), spec)

    steps = WalkForwardFunctions(
        make_ticker_folds=folds_purged_by_the_horizon_alone, make_folds_for_all_tickers=early_pooled_folds
    )
    label = LABELS[0].model_validate({"horizon": 2, "of": "fill"})
    run = config(label, POLICY_EXAMPLES[0], {"scope": scope}, execution={"fill": fill}, refit_every=1)
    prices = random_walk_prices(1, n_sessions=130, n_tickers=3)
    stages = PipelineStages(walk_forward_steps=steps)
    assert first_changed_stage(run, prices, cut=110, scenario="noise") is None
    assert first_changed_stage(run, prices, cut=110, scenario="noise", stages=stages) in TRAINING_STAGES.split("|")
