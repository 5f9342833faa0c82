"""An audit finds every leak that is planted and names its stage, and raises no alarm where there is none."""

from __future__ import annotations

from typing import Any

import pytest
from quantlr.audit import Audit, audit_prices
from quantlr.config import RunConfig, load_config
from quantlr.model import calibration
from quantlr.pipeline import Stages

from audit.leaks import LEAKS
from markets import random_walk


@pytest.fixture(autouse=True)
def _a_few_forecasts_are_enough_to_calibrate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "ENOUGH", 30)


def config(tickers: int = 1, **sections: dict[str, Any]) -> RunConfig:
    return load_config(
        {
            "name": "audited",
            "data": {"source": {"kind": "sample"}, "tickers": [f"T{at}" for at in range(tickers)]},
            "features": [{"kind": "lagged_returns", "lags": [1, 2]}, {"kind": "volatility", "windows": [10]}],
            "model": {"l2": 0.01, **sections.pop("model", {})},
            "policy": {"long_above": 0.5, "short_below": 0.5},
            "walk_forward": {"train": 60, "refit_every": 10, **sections.pop("walk_forward", {})},
            **sections,
        }
    ).run


def audited(run: RunConfig, stages: Stages = Stages(), *, sessions: int = 180, cuts: int = 2) -> Audit:
    tickers = len(run.data.tickers)
    return audit_prices(run, random_walk(11, sessions=sessions, tickers=tickers, holes=True), stages, cuts=cuts)


@pytest.mark.parametrize("planted", LEAKS.values(), ids=LEAKS)
def test_a_leak_is_found_and_its_stage_is_named(planted: Any) -> None:
    tickers = 3 if planted.sections.get("model", {}).get("scope") == "pooled" else 1
    found = audited(config(tickers, **planted.sections), planted.stages)
    assert {leak.stage for leak in found.leaks} == {planted.stage}
    assert any(planted.what in leak.text for leak in found.leaks)


@pytest.mark.parametrize("horizon", [1, 5, 21])
@pytest.mark.parametrize(
    ("tickers", "scope", "window"),
    [
        (1, "per_ticker", "expanding"),
        (1, "per_ticker", "rolling"),
        (5, "per_ticker", "expanding"),
        (5, "per_ticker", "rolling"),
        (5, "pooled", "expanding"),
        (5, "pooled", "rolling"),
    ],
)
def test_no_alarm_is_raised_where_nothing_leaks(tickers: int, scope: str, window: str, horizon: int) -> None:
    model = {"scope": scope, "calibration": "platt" if horizon == 5 else None}
    walk = {"window": window, "embargo": 3 if horizon == 21 else 0}
    assert audited(config(tickers, model=model, label={"horizon": horizon}, walk_forward=walk)).leaks == ()
