"""Cuts stand where folds begin, a few sessions on, and early; a sample of them is drawn by its seed."""

from __future__ import annotations

import numpy as np
import pytest
from quantlr.audits import cutoffs
from quantlr.audits.cutoffs import AuditSchedule, CutoffCount, FoldBoundary, make_audit_schedule
from quantlr.data.dataset import build_dataset, compute_feature_columns
from quantlr.data.features import LaggedReturns
from quantlr.data.labels import Direction
from quantlr.model.config import LogisticRegression
from quantlr.model.splits import WalkForwardSpec
from quantlr.model.walk_forward import ModelSplit, make_model_splits

from markets import random_walk_prices

SESSIONS, HORIZON = 200, 3


def walked(**walk: int | str) -> list[ModelSplit]:
    prices, label = random_walk_prices(1, n_sessions=SESSIONS, n_tickers=2), Direction(horizon=HORIZON)
    columns = compute_feature_columns(prices, [LaggedReturns(lags=(1,))])
    dataset = build_dataset(prices, columns, label.compute(prices), horizon=HORIZON)
    spec = WalkForwardSpec.model_validate({"train": 100, "refit_every": 7, **walk})
    return make_model_splits(dataset, spec, LogisticRegression())[0]


def _boundaries(models: list[ModelSplit]) -> set[FoldBoundary]:
    return {
        FoldBoundary(session, at)
        for at, model in enumerate(models)
        for session in model.first_session.tolist()
        if session < SESSIONS - 1
    }


def chosen(journeys: list[ModelSplit], how_many: CutoffCount, seed: int = 0) -> AuditSchedule:
    rng = np.random.default_rng(seed)
    return make_audit_schedule(journeys, n_sessions=SESSIONS, horizon=HORIZON, n_cutoffs=how_many, rng=rng)


def test_all_boundaries_of_every_model_are_looked_at_and_a_session_within_the_horizon_after_each() -> None:
    models = walked()
    cuts = chosen(models, "all")
    boundaries = _boundaries(models)
    assert boundaries <= set(cuts.full_check_boundaries)
    for cut in set(cuts.full_check_boundaries) - boundaries:
        starts = models[cut.split_index].first_session
        assert any(start < cut.session <= start + HORIZON for start in starts)
    for boundary in boundaries:
        near = range(boundary.session, min(boundary.session + HORIZON, SESSIONS - 2) + 1)
        assert set(near) <= set(cuts.input_check_sessions)


def test_unless_told_every_boundary_is_looked_at_once_and_a_few_wholly(monkeypatch: pytest.MonkeyPatch) -> None:
    models = walked()
    monkeypatch.setattr(cutoffs, "DEFAULT_FULL_CHECK_BOUNDARIES", 4)
    cuts, few = chosen(models, "auto"), chosen(models, 4)
    assert cuts.full_check_boundaries == few.full_check_boundaries
    assert set(cuts.mirror_check_boundaries) == set(chosen(models, "all").full_check_boundaries) & _boundaries(
        models
    ) - set(few.full_check_boundaries)
    assert {boundary.session for boundary in cuts.mirror_check_boundaries} <= set(cuts.input_check_sessions)
    assert few.mirror_check_boundaries == chosen(models, "all").mirror_check_boundaries == ()
    monkeypatch.setattr(cutoffs, "MAX_MIRROR_CHECK_BOUNDARIES", len(_boundaries(models)) - 1)
    assert chosen(models, "auto") == few


def test_features_are_looked_at_from_the_first_sessions_to_the_last() -> None:
    cuts = chosen(walked(), 2)
    assert {0, 1, 2, 4, 8, 16, 32, 64, 128, SESSIONS - 2} <= set(cuts.input_check_sessions)
    assert {cut.session for cut in cuts.full_check_boundaries} <= set(cuts.input_check_sessions)
    assert max(cuts.input_check_sessions) == SESSIONS - 2
    assert list(cuts.input_check_sessions) == sorted(set(cuts.input_check_sessions))


def test_a_sample_has_the_first_and_the_last_boundary_and_is_the_seeds() -> None:
    models = walked()
    first, last = models[0].first_session[0], models[0].first_session[-1]
    cuts = chosen(models, 4)
    assert 4 < len(cuts.full_check_boundaries) <= 8
    assert cuts.full_check_boundaries[0].session == first
    assert max(cut.session for cut in cuts.full_check_boundaries) >= min(last, SESSIONS - 2)
    assert chosen(models, 4) == cuts
    assert chosen(models, 4, seed=1) != cuts
    assert len({cut.session for cut in chosen(models, 1).full_check_boundaries}) == 2


def test_a_model_that_is_fitted_once_is_looked_at_all_along() -> None:
    models = walked(refit_every="never")
    cuts = chosen(models, 12)
    assert len({cut.session for cut in cuts.full_check_boundaries}) > 6
    assert min(cut.session for cut in cuts.full_check_boundaries) == models[0].first_session[0]
    assert max(cut.session for cut in cuts.full_check_boundaries) > SESSIONS - 40
