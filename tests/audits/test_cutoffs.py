"""Cutoffs are at the boundaries of folds, shortly after them, and early; a sample of them depends on its seed only."""

from __future__ import annotations

import numpy as np
from quantlr.audits.checks import AuditSchedule, CutoffCount, FoldBoundary, make_audit_schedule
from quantlr.data.dataset import build_dataset, compute_feature_columns
from quantlr.data.features import LaggedReturns
from quantlr.data.labels import Direction
from quantlr.model.config import LogisticRegression
from quantlr.model.splits import WalkForwardSpec
from quantlr.model.walk_forward import ModelSplit, make_model_splits

from markets import random_walk_prices

N_SESSIONS, HORIZON = 200, 3


def make_splits(**walk_forward: int | str) -> list[ModelSplit]:
    prices, label = random_walk_prices(1, n_sessions=N_SESSIONS, n_tickers=2), Direction(horizon=HORIZON)
    columns = compute_feature_columns(prices, [LaggedReturns(lags=(1,))])
    dataset = build_dataset(prices, columns, label.compute_labels(prices), horizon=HORIZON)
    spec = WalkForwardSpec.model_validate({"train": 100, "refit_every": 7, **walk_forward})
    return make_model_splits(dataset, spec, LogisticRegression())[0]


def boundaries_of(splits: list[ModelSplit]) -> set[FoldBoundary]:
    return {
        FoldBoundary(session, index)
        for index, split in enumerate(splits)
        for session in split.first_session.tolist()
        if session < N_SESSIONS - 1
    }


def schedule_of(splits: list[ModelSplit], n_cutoffs: CutoffCount, seed: int = 0, **limits: int) -> AuditSchedule:
    rng = np.random.default_rng(seed)
    return make_audit_schedule(splits, n_sessions=N_SESSIONS, horizon=HORIZON, n_cutoffs=n_cutoffs, rng=rng, **limits)


def test_all_boundaries_are_checked_and_a_session_within_the_horizon_after_each() -> None:
    splits = make_splits()
    schedule, boundaries = schedule_of(splits, "all"), boundaries_of(splits)
    assert boundaries <= set(schedule.full_check_boundaries)
    for cutoff in set(schedule.full_check_boundaries) - boundaries:
        starts = splits[cutoff.split_index].first_session
        assert any(start < cutoff.session <= start + HORIZON for start in starts)
    for boundary in boundaries:
        near = range(boundary.session, min(boundary.session + HORIZON, N_SESSIONS - 2) + 1)
        assert set(near) <= set(schedule.input_check_sessions)


def test_auto_checks_every_boundary_once_and_a_sample_fully() -> None:
    splits = make_splits()
    n_boundaries = len(boundaries_of(splits))
    auto, sample, full = (
        schedule_of(splits, "auto", n_default=4), schedule_of(splits, 4), schedule_of(splits, "all")
    )  # fmt: skip
    assert auto.full_check_boundaries == sample.full_check_boundaries
    expected = set(full.full_check_boundaries) & boundaries_of(splits) - set(sample.full_check_boundaries)
    assert set(auto.mirror_check_boundaries) == expected
    assert {boundary.session for boundary in auto.mirror_check_boundaries} <= set(auto.input_check_sessions)
    assert sample.mirror_check_boundaries == full.mirror_check_boundaries == ()
    assert schedule_of(splits, "auto", n_default=4, max_mirror_checks=n_boundaries - 1) == sample


def test_features_are_checked_from_the_first_sessions_to_the_last() -> None:
    schedule = schedule_of(make_splits(), 2)
    assert {0, 1, 2, 4, 8, 16, 32, 64, 128, N_SESSIONS - 2} <= set(schedule.input_check_sessions)
    assert {cutoff.session for cutoff in schedule.full_check_boundaries} <= set(schedule.input_check_sessions)
    assert max(schedule.input_check_sessions) == N_SESSIONS - 2
    assert list(schedule.input_check_sessions) == sorted(set(schedule.input_check_sessions))


def test_sample_has_the_first_and_the_last_boundary_and_depends_on_the_seed() -> None:
    splits = make_splits()
    first, last = splits[0].first_session[0], splits[0].first_session[-1]
    schedule = schedule_of(splits, 4)
    assert 4 < len(schedule.full_check_boundaries) <= 8
    assert schedule.full_check_boundaries[0].session == first
    assert max(cutoff.session for cutoff in schedule.full_check_boundaries) >= min(last, N_SESSIONS - 2)
    assert schedule_of(splits, 4) == schedule
    assert schedule_of(splits, 4, seed=1) != schedule
    assert len({cutoff.session for cutoff in schedule_of(splits, 1).full_check_boundaries}) == 2


def test_cutoffs_of_a_model_fitted_once_are_spread_over_its_forecasts() -> None:
    splits = make_splits(refit_every="never")
    sessions = [cutoff.session for cutoff in schedule_of(splits, 12).full_check_boundaries]
    assert len(set(sessions)) > 6
    assert min(sessions) == splits[0].first_session[0]
    assert max(sessions) > N_SESSIONS - 40
