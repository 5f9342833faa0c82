"""An audit finds every leak that is planted and names its stage, and raises no alarm where there is none."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quantlr.audits import cutoffs
from quantlr.audits.audit import Audit, audit, audit_prices
from quantlr.audits.cutoffs import CutoffCount
from quantlr.config.run_config import RunConfig, load_config
from quantlr.core.arrays import FeatureColumns
from quantlr.core.timing import latest_known_bar_index
from quantlr.core.values import Prices
from quantlr.data.dataset import compute_feature_columns
from quantlr.data.scenarios import AUDIT_SCENARIOS
from quantlr.model import calibration
from quantlr.model.walk_forward import WalkForwardFunctions
from quantlr.pipeline.stages import PipelineStages

from audit.leaks import LEAKS, OTHERS, fit_sees_more
from markets import random_walk_prices


@pytest.fixture(autouse=True)
def _a_few_forecasts_are_enough_to_calibrate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "MIN_CALIBRATION_FORECASTS", 30)


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


def audited(
    run: RunConfig, stages: PipelineStages = PipelineStages(), *, sessions: int = 180, cuts: CutoffCount = 2
) -> Audit:
    tickers = len(run.data.tickers)
    return audit_prices(
        run, random_walk_prices(11, n_sessions=sessions, n_tickers=tickers, with_gaps=True), stages, n_cutoffs=cuts
    )


@pytest.mark.parametrize("planted", LEAKS.values(), ids=LEAKS)
def test_a_leak_is_found_and_its_stage_is_named(planted: Any) -> None:
    tickers = 3 if planted.sections.get("model", {}).get("scope") == "pooled" else 1
    found = audited(config(tickers, **planted.sections), planted.stages, sessions=120, cuts=1)
    assert {leak.stage for leak in found.leaks} == {planted.stage}
    assert any(planted.what in leak.text for leak in found.leaks)


def test_a_look_at_the_contexts_future_is_found() -> None:
    def features(prices: Prices, specs: Any) -> FeatureColumns:
        context = prices.context
        assert context is not None
        then = np.minimum(latest_known_bar_index(context.sessions, prices.sessions) + 1, len(context.close) - 1)
        change = context.close[then, 0] / context.close[then - 1, 0]
        return {**compute_feature_columns(prices, specs), "planted": prices.sessions_to_bars(change[:, None])}

    market = random_walk_prices(11, n_sessions=180, context_tickers=["CTX"])
    (leak,) = audit_prices(config(), market, PipelineStages(compute_features=features), n_cutoffs=1).leaks
    assert (leak.stage, leak.what, leak.future) == ("features", "planted", "noise")


@pytest.mark.parametrize("horizon", [1, 5, 21])
@pytest.mark.parametrize("window", ["expanding", "rolling"])
@pytest.mark.parametrize(("tickers", "scope"), [(1, "per_ticker"), (3, "per_ticker"), (3, "pooled")])
def test_no_alarm_is_raised_where_nothing_leaks(tickers: int, scope: str, window: str, horizon: int) -> None:
    model = {"scope": scope, "calibration": "platt" if horizon == 5 else None}
    walk = {"window": window, "embargo": 3 if horizon == 21 else 0}
    run = config(tickers, model=model, label={"horizon": horizon}, walk_forward=walk)
    assert audited(run, sessions=160, cuts=1).leaks == ()


def test_a_leak_says_which_value_moved_when_and_by_how_much() -> None:
    planted = LEAKS["tomorrow's return"]
    prices = random_walk_prices(11, n_sessions=180)
    (leak,) = audit_prices(config(), prices, planted.stages, n_cutoffs=2).leaks
    assert (leak.stage, leak.what, leak.ticker, leak.future) == ("features", "planted", "T0", "noise")
    assert leak.date == leak.cut == str(prices.sessions[0].date())
    assert leak.was == prices.close[1, 0] / prices.close[0, 0] - 1.0
    assert leak.became != leak.was
    assert leak.times > 10
    assert f"features: planted of T0 {leak.date} was {leak.was:.6g} and became" in leak.text


def test_a_leak_that_needs_no_other_future_names_refit_row_and_label() -> None:
    run = config(label={"horizon": 5})
    prices = random_walk_prices(11, n_sessions=180)
    (leak,) = audit_prices(run, prices, OTHERS["unpurged labels"].stages, n_cutoffs=2).leaks
    first = 9 + 1 + 60
    forecast, newest, known = (str(prices.sessions[at].date()) for at in (first, first - 1, first - 1 + 5))
    assert leak.text == (
        f"folds: the refit that forecasts {forecast} (T0) trains on {newest}, whose label is known on {known}"
    )
    assert math.isnan(leak.was)


def test_it_says_how_far_it_looked_and_the_same_again() -> None:
    found = audited(config(2), cuts=3)
    covered = found.coverage
    assert covered.futures == AUDIT_SCENARIOS
    assert len(AUDIT_SCENARIOS) == 9
    assert 3 <= covered.refits_walked <= 6 < covered.refits
    assert covered.cuts <= 6 < covered.input_cuts
    assert set(covered.checks) == {
        "features", "label", "folds", "scale", "fit", "knowledge", "forecast", "known", "decide", "execute",
    }  # fmt: skip
    assert all(0 <= largest < 0.01 for largest in covered.largest.values())
    assert audited(config(2), cuts=3) == found
    everything = audited(config(), sessions=120, cuts="all").coverage
    assert everything.refits_walked == everything.refits
    assert everything.cuts_once == 0


def test_unless_told_it_looks_at_every_boundary_and_with_every_future_at_a_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutoffs, "DEFAULT_FULL_CHECK_BOUNDARIES", 2)
    found = audited(config(), cuts="auto")
    covered = found.coverage
    assert found.is_clean
    assert covered.refits_walked == covered.refits == 11
    assert covered.cuts_once == 11 - 2
    caught = [
        audited(
            config(),
            PipelineStages(walk_forward_steps=WalkForwardFunctions(fit_refits=fit_sees_more(1, rows=rows))),
            cuts="auto",
        ).leaking_stages
        for rows in (90, 100)
    ]
    assert caught == [("fit",)] * 2


def test_leaks_in_two_stages_are_both_named() -> None:
    both = PipelineStages(
        compute_features=LEAKS["future volume"].stages.compute_features,
        decide_positions=LEAKS["tomorrow's probability"].stages.decide_positions,
        execute=LEAKS["same-bar fill"].stages.execute,
    )
    assert audited(config(), both).leaking_stages == ("features", "decide", "execute")


def test_a_feature_that_tells_all_is_named_though_a_run_stops_at_it() -> None:
    run = config(model={"l2": 0.0})
    assert audited(run, LEAKS["tomorrow's return"].stages).leaking_stages == ("features",)


@pytest.mark.parametrize(
    "model",
    [
        {"solver": "gradient_descent", "learning_rate": 0.5},
        {"solver": "nesterov", "max_iter": 3},
        {"half_life": 40, "class_weight": "balanced"},
        {"max_iter": 1},
    ],
    ids=["a rate of one's own", "unconverged", "weighted", "one update"],
)
def test_no_alarm_is_raised_however_the_model_descends(model: dict[str, Any]) -> None:
    assert audited(config(model=model)).leaks == ()


@pytest.mark.parametrize("fill", ["next_open", "close"])
def test_no_alarm_is_raised_for_a_fill_that_the_config_asks_for(fill: str) -> None:
    assert audited(config(2, execution={"fill": fill, "cash_rate": 0.03})).leaks == ()


def test_a_shipped_config_is_clean_on_its_own_data() -> None:
    path = Path(__file__).parents[2] / "configs" / "stocks5_long_short.yaml"
    found = audit(path, overrides={"data.start": "2008-01-01"}, n_cutoffs=1)
    assert found.is_clean
    assert found.name == "stocks5_long_short"
    assert found.to_dict()["coverage"]["checks"]["execute"] > 100
