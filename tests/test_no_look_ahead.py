"""Nothing up to a session changes, whatever comes after it: stage by stage, through the whole catalogues.

The future is replaced by noise, by its mirror image, or cut off. Features and labels that are known by then, the
folds' scaling, their weights, the probabilities and the positions may not move.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from quantlr.backtest.overlays import OVERLAYS, VolatilityTarget, apply_overlays
from quantlr.backtest.policies import POLICIES, DecisionContext, Policy, decide_positions
from quantlr.config.run_config import RunConfig, load_config
from quantlr.core.arrays import Array, BoolArray, FeatureColumns
from quantlr.core.components import Component
from quantlr.core.timing import NOT_YET_KNOWN
from quantlr.core.values import Dataset, Folds, Forecasts, Labels, Positions, Prices, RunData
from quantlr.data.features import FEATURES, LaggedReturns, Momentum, Volatility, Volume
from quantlr.data.labels import LABELS, Label
from quantlr.model import calibration
from quantlr.model.splits import make_folds, make_pooled_folds
from quantlr.model.standardize import fold_scaling
from quantlr.model.walk_forward import WalkForwardFunctions
from quantlr.pipeline.stages import PipelineStages, run_stages

from markets import FEATURE_SCENARIOS, apply_scenario, random_walk_prices

TICKERS = ["T0", "T1", "T2"]
EVERY_FEATURE = [feature.examples()[0] for feature in FEATURES]
FEW_FEATURES = [LaggedReturns(), Momentum(), Volatility(), Volume()]
LABEL_EXAMPLES = [example for label in LABELS for example in label.examples() if isinstance(example, Label)]
POLICY_EXAMPLES = [example for policy in POLICIES for example in policy.examples() if isinstance(example, Policy)]
OVERLAID: list[list[dict[str, Any]]] = [
    [],
    [example.model_dump() for overlay in OVERLAYS for example in overlay.examples()],
]
EXECUTIONS: list[dict[str, Any]] = [{}, {"spread": "corwin_schultz", "per_share": 0.01, "cash_rate": 0.02}]

MODELS: list[dict[str, Any]] = [
    {},
    {"scope": "pooled"},
    {"half_life": 20, "class_weight": "balanced"},
    {"scope": "pooled", "half_life": 20, "class_weight": {"up": 2.0}},
    {"calibration": "platt"},
    {"scope": "pooled", "calibration": "platt"},
]


@pytest.fixture(autouse=True)
def _a_few_forecasts_are_enough_to_calibrate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "MIN_CALIBRATION_FORECASTS", 30)


def config(
    label: Label,
    policy: Policy,
    model: dict[str, Any],
    features: Sequence[Component] = FEW_FEATURES,
    *,
    overlays: Sequence[dict[str, Any]] = (),
    execution: dict[str, Any] | None = None,
    **walk: Any,
) -> RunConfig:
    return load_config(
        {
            "data": {"source": {"kind": "sample"}, "tickers": TICKERS},
            "features": [feature.model_dump() for feature in features],
            "label": label.model_dump(),
            "policy": policy.model_dump(),
            "overlays": list(overlays),
            "execution": execution or {},
            "model": {"l2": 0.01, "tol": 1e-12, "degenerate": "base_rate", **model},
            "walk_forward": {"train": 40, **walk},
        }
    ).run


def watched(
    run: RunConfig, prices: Prices, stages: PipelineStages = PipelineStages()
) -> tuple[RunData, list[tuple[Folds, Any]]]:
    """Return a run's course, and the folds and scalings that it went through, ticker by ticker."""
    seen: list[tuple[Folds, Any]] = []

    def scale(X: Array, folds: Sequence[Folds], *, trained: BoolArray) -> Any:
        scaling = stages.walk_forward_steps.compute_scaling(X, folds, has_label=trained)
        seen.append((folds[0], scaling))
        return scaling

    return run_stages(
        run, prices, replace(stages, walk_forward_steps=replace(stages.walk_forward_steps, compute_scaling=scale))
    ), seen


def by_row(dataset: Dataset) -> dict[tuple[int, int], int]:
    rows = zip(dataset.ticker.tolist(), dataset.session.tolist(), strict=True)
    return {key: at for at, key in enumerate(rows)}


def moved(
    run: RunConfig, prices: Prices, *, cut: int, future: str, stages: PipelineStages = PipelineStages()
) -> str | None:
    """Return the first stage that changed up to session `cut` when what follows it did; None if none did."""
    (now, scalings), (then, others) = (
        watched(run, market, stages) for market in (prices, apply_scenario(prices, future, after_session=cut, seed=cut))
    )
    mine, theirs = now.dataset, then.dataset
    known = np.flatnonzero(mine.session <= cut)
    where = by_row(theirs)
    same = np.array([where[int(mine.ticker[at]), int(mine.session[at])] for at in known])
    if not np.allclose(theirs.features[same], mine.features[known], rtol=1e-9, atol=1e-9):
        return "features"
    labelled = mine.label_known_at[known] <= cut
    if not np.array_equal(theirs.label_known_at[same][labelled], mine.label_known_at[known][labelled]):
        return "known_at"
    for name in ("up", "span_return"):
        a, b = getattr(mine, name)[known][labelled], getattr(theirs, name)[same][labelled]
        if not np.allclose(b, a, rtol=1e-9, atol=1e-9, equal_nan=True):
            return "label"
    a, b = now.forecasts, then.forecasts
    past, other_past = a.session <= cut, b.session <= cut
    if not (
        np.array_equal(a.session[past], b.session[other_past]) and np.array_equal(a.fold[past], b.fold[other_past])
    ):
        return "folds"
    models = np.unique(a.refits.ticker).tolist()
    matching = {model: at for at, model in enumerate(np.unique(b.refits.ticker).tolist())}
    for at, model in enumerate(models):
        folds, scaling = scalings[at]
        early = int(np.unique(a.fold[past & ((a.ticker == model) | (model < 0))]).size)
        if early:
            other = others[matching[model]][1]
            for name in ("mean", "deviation"):
                if not np.allclose(getattr(other, name)[:early], getattr(scaling, name)[:early], rtol=1e-9, atol=1e-9):
                    return "scale"
            assert len(folds) >= early
    for name in ("base_rate", "mean_gain", "mean_loss", "deviation"):
        if not np.allclose(getattr(b, name)[other_past], getattr(a, name)[past], atol=1e-9, equal_nan=True):
            return name
    if not np.allclose(b.probability[other_past], a.probability[past], rtol=0, atol=1e-9):
        return "probability"
    rows = cut + 1
    # A weight in proportion to a probability moves as little as that may; a leak moves it by orders more.
    if not np.allclose(then.positions.weight[:rows], now.positions.weight[:rows], rtol=0, atol=1e-6, equal_nan=True):
        return "positions"
    return None


@pytest.mark.parametrize("label", LABEL_EXAMPLES, ids=lambda label: f"{label.kind}-{label.horizon}")
@pytest.mark.parametrize("window", ["expanding", "rolling"])
@settings(max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 100_000), cut=st.integers(100, 155), future=st.sampled_from(FEATURE_SCENARIOS),
    policy=st.sampled_from(POLICY_EXAMPLES), every=st.sampled_from([7, 1, 21]), embargo=st.sampled_from([0, 3]),
    model=st.sampled_from(MODELS),
    features=st.lists(st.sampled_from(EVERY_FEATURE), min_size=1, max_size=4, unique_by=lambda feature: feature.kind),
    overlays=st.sampled_from(OVERLAID), execution=st.sampled_from(EXECUTIONS),
)  # fmt: skip
def test_nothing_moves(
    label: Label,
    window: str,
    seed: int,
    cut: int,
    future: str,
    policy: Policy,
    every: int,
    embargo: int,
    model: dict[str, Any],
    features: list[Component],
    overlays: list[dict[str, Any]],
    execution: dict[str, Any],
) -> None:
    prices = random_walk_prices(seed, n_sessions=160, n_tickers=3, with_gaps=True, context_tickers=("^GSPC",))
    walk = {"window": window, "refit_every": every, "embargo": embargo}
    run = config(label, policy, model, features, overlays=overlays, execution=execution, **walk)
    assert moved(run, prices, cut=cut, future=future) is None


LEARNT_EARLY = "folds|scale|base_rate|mean_gain|mean_loss|deviation|probability"


def leak_same_day(prices: Prices, features: Any) -> FeatureColumns:
    ahead = np.full_like(prices.close, 0.0)
    ahead[:-1] = np.nan_to_num(prices.close[1:] / prices.close[:-1] - 1)
    return {"tomorrow": np.where(prices.session >= 0, ahead, np.nan)}


def leak_unpurged(rows: int, spec: Any, *, horizon: int) -> Folds:
    return make_folds(rows, spec, horizon=1) if horizon > 1 else make_folds(rows, spec, horizon=horizon)


def leak_unpurged_pool(dataset: Dataset, spec: Any) -> list[Folds]:
    early = np.where(dataset.label_known_at == NOT_YET_KNOWN, NOT_YET_KNOWN, dataset.session)
    return make_pooled_folds(replace(dataset, label_known_at=early), spec)


def leak_full_sample(X: Array, folds: Sequence[Folds], *, trained: BoolArray) -> Any:
    scaling = fold_scaling(X, folds, has_label=trained)
    return replace(
        scaling,
        mean=np.broadcast_to(X.mean(axis=0), scaling.mean.shape),
        std=np.broadcast_to(X.std(axis=0), scaling.std.shape),
    )


def leak_label_early(prices: Prices, label: Label) -> Labels:
    found = label.compute(prices)
    return replace(found, up=np.where(np.isnan(found.up), np.nan, np.nan_to_num(np.roll(found.up, -3, axis=0))))


def decide_by_what_comes(policy: Policy, forecasts: Forecasts, known: DecisionContext) -> Positions:
    ahead = np.append(forecasts.probability[1:], 0.0)
    return decide_positions(policy, replace(forecasts, probability=ahead), known)


def overlay_with_tomorrows_volatility(
    positions: Positions, overlays: Any, forecasts: Forecasts, known: DecisionContext
) -> Positions:
    ahead = np.append(known.volatility[1:], np.nan)
    return apply_overlays(positions, (VolatilityTarget(),), forecasts, replace(known, volatility=ahead))


@pytest.mark.parametrize(
    ("stages", "model", "named"),
    [
        (PipelineStages(compute_features=leak_same_day), {}, "features"),
        (PipelineStages(walk_forward_steps=WalkForwardFunctions(compute_scaling=leak_full_sample)), {}, "scale"),
        (PipelineStages(walk_forward_steps=WalkForwardFunctions(make_ticker_folds=leak_unpurged)), {}, LEARNT_EARLY),
        (
            PipelineStages(walk_forward_steps=WalkForwardFunctions(make_folds_for_all_tickers=leak_unpurged_pool)),
            {"scope": "pooled"},
            LEARNT_EARLY,
        ),
        (PipelineStages(compute_label=leak_label_early), {}, "label"),
        (PipelineStages(decide_positions=decide_by_what_comes), {}, "positions"),
        (PipelineStages(apply_overlays=overlay_with_tomorrows_volatility), {}, "positions"),
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
def test_a_leak_that_is_planted_is_found(stages: PipelineStages, model: dict[str, Any], named: str) -> None:
    label = LABELS[0].model_validate({"horizon": 5})
    run = config(label, POLICY_EXAMPLES[0], model, refit_every=1)
    found = []
    for seed, cut, future in ((1, 110, "noise"), (2, 120, "mirror image")):
        prices = random_walk_prices(seed, n_sessions=130, n_tickers=3, with_gaps=True)
        found.append(moved(run, prices, cut=cut, future=future, stages=stages))
        if found[-1] in named.split("|"):
            return
    pytest.fail(f"taken for {found}")
