"""Cuts stand where folds begin, a few sessions on, and early; a sample of them is drawn by its seed."""

from __future__ import annotations

import numpy as np
import pytest
from quantlr.audit import cuts as cuts_module
from quantlr.audit.cuts import Boundary, Cuts, HowMany, choose
from quantlr.data.dataset import build_dataset, feature_columns
from quantlr.data.features import LaggedReturns
from quantlr.data.labels import Direction
from quantlr.model.folds import WalkForwardSpec
from quantlr.model.journey import Journey, journeys
from quantlr.model.specs import LogisticRegression

from markets import random_walk

SESSIONS, HORIZON = 200, 3


def walked(**walk: int | str) -> list[Journey]:
    prices, label = random_walk(1, sessions=SESSIONS, tickers=2), Direction(horizon=HORIZON)
    columns = feature_columns(prices, [LaggedReturns(lags=(1,))])
    dataset = build_dataset(prices, columns, label.compute(prices), horizon=HORIZON)
    spec = WalkForwardSpec.model_validate({"train": 100, "refit_every": 7, **walk})
    return journeys(dataset, spec, LogisticRegression())[0]


def _boundaries(models: list[Journey]) -> set[Boundary]:
    return {
        Boundary(session, at)
        for at, model in enumerate(models)
        for session in model.session.tolist()
        if session < SESSIONS - 1
    }


def chosen(journeys: list[Journey], how_many: HowMany, seed: int = 0) -> Cuts:
    rng = np.random.default_rng(seed)
    return choose(journeys, sessions=SESSIONS, horizon=HORIZON, how_many=how_many, rng=rng)


def test_all_boundaries_of_every_model_are_looked_at_and_a_session_within_the_horizon_after_each() -> None:
    models = walked()
    cuts = chosen(models, "all")
    boundaries = _boundaries(models)
    assert boundaries <= set(cuts.whole)
    for cut in set(cuts.whole) - boundaries:
        starts = models[cut.journey].session
        assert any(start < cut.session <= start + HORIZON for start in starts)
    for boundary in boundaries:
        near = range(boundary.session, min(boundary.session + HORIZON, SESSIONS - 2) + 1)
        assert set(near) <= set(cuts.inputs)


def test_unless_told_every_boundary_is_looked_at_once_and_a_few_wholly(monkeypatch: pytest.MonkeyPatch) -> None:
    models = walked()
    monkeypatch.setattr(cuts_module, "AUTO", 4)
    cuts, few = chosen(models, "auto"), chosen(models, 4)
    assert cuts.whole == few.whole
    assert set(cuts.once) == set(chosen(models, "all").whole) & _boundaries(models) - set(few.whole)
    assert {boundary.session for boundary in cuts.once} <= set(cuts.inputs)
    assert few.once == chosen(models, "all").once == ()
    monkeypatch.setattr(cuts_module, "ONCE", len(_boundaries(models)) - 1)
    assert chosen(models, "auto") == few


def test_features_are_looked_at_from_the_first_sessions_to_the_last() -> None:
    cuts = chosen(walked(), 2)
    assert {0, 1, 2, 4, 8, 16, 32, 64, 128, SESSIONS - 2} <= set(cuts.inputs)
    assert {cut.session for cut in cuts.whole} <= set(cuts.inputs)
    assert max(cuts.inputs) == SESSIONS - 2
    assert list(cuts.inputs) == sorted(set(cuts.inputs))


def test_a_sample_has_the_first_and_the_last_boundary_and_is_the_seeds() -> None:
    models = walked()
    first, last = models[0].session[0], models[0].session[-1]
    cuts = chosen(models, 4)
    assert 4 < len(cuts.whole) <= 8
    assert cuts.whole[0].session == first
    assert max(cut.session for cut in cuts.whole) >= min(last, SESSIONS - 2)
    assert chosen(models, 4) == cuts
    assert chosen(models, 4, seed=1) != cuts
    assert len({cut.session for cut in chosen(models, 1).whole}) == 2


def test_a_model_that_is_fitted_once_is_looked_at_all_along() -> None:
    models = walked(refit_every="never")
    cuts = chosen(models, 12)
    assert len({cut.session for cut in cuts.whole}) > 6
    assert min(cut.session for cut in cuts.whole) == models[0].session[0]
    assert max(cut.session for cut in cuts.whole) > SESSIONS - 40
