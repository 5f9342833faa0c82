"""An audit finds a choice among candidates that looks ahead, and leaks in the candidates themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from quantlr.audits.auditor import audit_prices
from quantlr.audits.result import Audit
from quantlr.config.run_config import RunConfig, load_config
from quantlr.core.values import Array, Prices
from quantlr.model import calibration
from quantlr.model.selection import ScoredRows, SelectSpec, weigh_candidates
from quantlr.model.walk_forward import WalkForwardFunctions
from quantlr.pipeline.stages import PipelineStages

from audits.leaks import fit_sees_more
from markets import random_walk_prices


def make_config(n_tickers: int = 1, *, horizon: int = 3, **select: Any) -> RunConfig:
    over = {"features.0.lags": [[1], [1, 2]], "model.l2": [0.01, 1.0], "walk_forward.train": [60, 70]}
    return load_config(
        {
            "name": "chosen",
            "data": {"source": {"kind": "sample"}, "tickers": [f"T{ticker}" for ticker in range(n_tickers)]},
            "features": [{"kind": "lagged_returns"}],
            "label": {"horizon": horizon},
            "walk_forward": {"refit_every": 10},
            "select": {"over": over, **select},
        }
    ).run


def audit_random_walk(config: RunConfig, stages: PipelineStages = PipelineStages(), *, n_cutoffs: int = 3) -> Audit:
    prices: Prices = random_walk_prices(11, n_sessions=180, n_tickers=len(config.data.tickers))
    return audit_prices(config, prices, stages, n_cutoffs=n_cutoffs)


@pytest.mark.parametrize(("n_tickers", "how"), [(2, "mixture"), (1, "best"), (1, "follow")])
def test_honest_choice_is_clean(n_tickers: int, how: str) -> None:
    result = audit_random_walk(make_config(n_tickers, how=how, window=20))
    assert result.is_clean, result.leaks
    assert result.coverage.n_compared_by_stage["select"] > 0
    assert result.coverage.n_refits == sum(
        n_tickers * len(range(train + 2, 180 - 2, 10)) for train in (60, 70) for _ in range(4)
    )


def test_calibrated_candidates_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "MIN_CALIBRATION_FORECASTS", 30)
    over = {"model.calibration": [None, "platt"], "walk_forward.train": [60]}
    config = load_config(make_config(), overrides={"select.over": over}).run
    result = audit_random_walk(config)
    assert result.is_clean, result.leaks
    assert result.coverage.n_compared_by_stage["calibrate"] > 0


def weigh_too_early(log_odds: Sequence[Array], rows: ScoredRows, spec: SelectSpec, **options: Any) -> Array:
    """Weigh candidates with each outcome one session before it is known."""
    return weigh_candidates(log_odds, replace(rows, usable_from=rows.usable_from - 1), spec, **options)


def weigh_by_all_losses(log_odds: Sequence[Array], rows: ScoredRows, spec: SelectSpec, **options: Any) -> Array:
    """Weigh candidates by their losses over the whole history."""
    totals = np.array([rows.session_losses(one).sum() for one in log_odds])
    weights = np.exp(totals.min() - totals)
    return np.tile(weights / weights.sum(), (rows.n_sessions, 1))


@pytest.mark.parametrize(
    ("weigh", "how", "horizon"),
    [(weigh_too_early, "mixture", 1), (weigh_too_early, "best", 3), (weigh_by_all_losses, "mixture", 3)],
)
def test_choice_by_outcomes_that_are_not_known_is_found(weigh: Any, how: str, horizon: int) -> None:
    config = make_config(how=how, horizon=horizon)
    result = audit_random_walk(config, PipelineStages(weigh_candidates=weigh), n_cutoffs=6)
    assert result.leaking_stages == ("select",)
    assert result.leaks[0].what in ("weight of a candidate", "log odds")


def test_leak_in_the_fit_of_candidates_is_found() -> None:
    stages = PipelineStages(walk_forward_steps=WalkForwardFunctions(fit_refits=fit_sees_more(1)))
    result = audit_random_walk(make_config(), stages)
    assert "fit" in result.leaking_stages
    assert "model.l2" in result.leaks[0].text
