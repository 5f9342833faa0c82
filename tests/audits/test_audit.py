"""An audit finds every planted leak and names its stage, and reports none where there is none."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quantlr.audits import audit, auditor
from quantlr.audits.auditor import audit_prices
from quantlr.audits.checks import CutoffCount, make_audit_schedule
from quantlr.audits.result import Audit
from quantlr.backtest.overlays import NameCap
from quantlr.config.run_config import RunConfig, load_config
from quantlr.core.timing import latest_known_bar_index
from quantlr.core.values import FeatureColumns, Prices
from quantlr.data.dataset import compute_feature_columns
from quantlr.data.features.returns import ContextReturns, LaggedReturns
from quantlr.data.features.transforms import CrossSectionalRank
from quantlr.data.features.volumes import RelativeVolume, Volume
from quantlr.data.scenarios import AUDIT_SCENARIOS
from quantlr.model import calibration
from quantlr.model.walk_forward import WalkForwardFunctions
from quantlr.pipeline.stages import PipelineStages

from audits.leaks import DISTANT_FEATURE, LEAKS, OTHERS, fit_sees_more
from markets import random_walk_prices


@pytest.fixture(autouse=True)
def calibrate_from_few_forecasts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "MIN_CALIBRATION_FORECASTS", 30)


def make_config(n_tickers: int = 1, **sections: dict[str, Any]) -> RunConfig:
    return load_config(
        {
            "name": "audited",
            "data": {"source": {"kind": "sample"}, "tickers": [f"T{ticker}" for ticker in range(n_tickers)]},
            "features": [{"kind": "lagged_returns", "lags": [1, 2]}, {"kind": "volatility", "windows": [10]}],
            "model": {"l2": 0.01, **sections.pop("model", {})},
            "policy": {"long_above": 0.5, "short_below": 0.5},
            "walk_forward": {"train": 60, "refit_every": 10, **sections.pop("walk_forward", {})},
            **sections,
        }
    ).run


def audit_random_walk(
    config: RunConfig, stages: PipelineStages = PipelineStages(), *, n_sessions: int = 180, n_cutoffs: CutoffCount = 2
) -> Audit:
    prices = random_walk_prices(11, n_sessions=n_sessions, n_tickers=len(config.data.tickers), with_gaps=True)
    return audit_prices(config, prices, stages, n_cutoffs=n_cutoffs)


RATES = [["2009-12-01", 0.02], ["2010-03-02", 0.05], ["2010-06-14", 0.01]]


@pytest.mark.parametrize("benchmark", ["cash", "equal_weight", {"ticker": "SPY"}], ids=str)
def test_no_leak_with_another_benchmark_dated_rates_and_a_cap(benchmark: Any) -> None:
    config = make_config(
        3,
        policy={"kind": "expected_value", "sides": "long_short"},
        execution={"cash_rate": RATES},
        report={"benchmark": benchmark},
    )
    config = config.model_copy(update={"overlays": (NameCap(cap=0.2, excess="redistribute"),)})
    prices = random_walk_prices(11, n_sessions=180, n_tickers=3, with_gaps=True, context_tickers=["SPY"])
    prices = replace(prices, context=None, benchmark=prices.context)
    assert audit_prices(config, prices, n_cutoffs=2).leaks == ()


@pytest.mark.parametrize("planted", LEAKS.values(), ids=LEAKS)
def test_planted_leak_is_found_in_its_stage(planted: Any) -> None:
    n_tickers = 3 if planted.sections.get("model", {}).get("scope") == "pooled" else 1
    audit_result = audit_random_walk(
        make_config(n_tickers, **planted.sections), planted.stages, n_sessions=120, n_cutoffs=1
    )
    assert {leak.stage for leak in audit_result.leaks} == {planted.stage}
    assert any(planted.what in leak.text for leak in audit_result.leaks)


def test_look_ahead_in_a_reference_series_is_found() -> None:
    def compute_features(prices: Prices, specs: Any) -> FeatureColumns:
        context = prices.context
        assert context is not None
        later = np.minimum(latest_known_bar_index(context.sessions, prices.sessions) + 1, len(context.close) - 1)
        change = context.close[later, 0] / context.close[later - 1, 0]
        return {**compute_feature_columns(prices, specs), "planted": prices.sessions_to_bars(change[:, None])}

    prices = random_walk_prices(11, n_sessions=180, context_tickers=["CTX"])
    (leak,) = audit_prices(make_config(), prices, PipelineStages(compute_features=compute_features), n_cutoffs=1).leaks
    assert (leak.stage, leak.what, leak.future) == ("features", "planted", "noise")


@pytest.mark.parametrize("n_cutoffs", [1, "auto"])
def test_leak_that_reaches_beyond_the_replaced_sessions_is_found(n_cutoffs: CutoffCount) -> None:
    """Sessions long after a cutoff are left out rather than replaced: what used them has another value then."""
    audit_result = audit_random_walk(make_config(), DISTANT_FEATURE.stages, n_sessions=700, n_cutoffs=n_cutoffs)
    assert audit_result.leaking_stages == ("features",)


@pytest.mark.parametrize(
    ("name", "scenario"),
    [
        ("level of a split-adjusted volume", "a split"),
        ("level of an adjusted price", "a dividend"),
        ("product of volume and price", "a dividend"),
        ("calendar of the future", "holidays"),
        ("tomorrow's return", "noise"),
    ],
)
def test_leak_is_named_by_the_scenario_that_shows_it_alone(name: str, scenario: str) -> None:
    (leak,) = audit_random_walk(make_config(), LEAKS[name].stages).leaks
    assert leak.future.startswith(scenario)


def test_volume_of_an_index_has_no_splits() -> None:
    prices = random_walk_prices(11, n_sessions=180)
    config = make_config().model_copy(update={"features": (Volume(),)})
    assert audit_prices(config, prices, n_cutoffs=1).leaking_stages == ("features",)
    assert audit_prices(config, replace(prices, tickers=("^X",)), n_cutoffs=1).is_clean


@pytest.mark.parametrize("seed", range(6))
def test_pooled_volume_and_its_rank_are_convicted_and_relative_volume_is_not(seed: int) -> None:
    """Of six markets without information, whose volumes are adjusted for later splits."""
    prices = random_walk_prices(seed, n_sessions=120, n_tickers=3, with_gaps=True)
    config = make_config(3, model={"scope": "pooled"})
    for feature in (Volume(), CrossSectionalRank(of=Volume())):
        leaky = config.model_copy(update={"features": (feature,)})
        assert [leak.future for leak in audit_prices(leaky, prices, n_cutoffs=1).leaks] == ["a split"]
    relative = (RelativeVolume(windows=(5,)), CrossSectionalRank(of=RelativeVolume(windows=(5,))))
    assert audit_prices(config.model_copy(update={"features": relative}), prices, n_cutoffs=1).is_clean


@pytest.mark.parametrize("n_tickers", [1, 2])
@pytest.mark.parametrize("benchmark_is_traded", [False, True])
def test_context_returns_are_audited_with_their_default_age(n_tickers: int, benchmark_is_traded: bool) -> None:
    tickers = [*(f"T{ticker}" for ticker in range(n_tickers))]
    features = (LaggedReturns(lags=(1,)), ContextReturns(ticker=tickers[-1] if benchmark_is_traded else "CTX"))
    prices = random_walk_prices(11, n_sessions=180, n_tickers=n_tickers, context_tickers=["CTX"])
    assert audit_prices(make_config(n_tickers).model_copy(update={"features": features}), prices, n_cutoffs=2).is_clean


@pytest.mark.parametrize("horizon", [1, 5, 21])
@pytest.mark.parametrize("window", ["expanding", "rolling"])
@pytest.mark.parametrize(("n_tickers", "scope"), [(1, "per_ticker"), (3, "per_ticker"), (3, "pooled")])
def test_run_without_look_ahead_is_clean(n_tickers: int, scope: str, window: str, horizon: int) -> None:
    model = {"scope": scope, "calibration": "platt" if horizon == 5 else None}
    walk_forward = {"window": window, "embargo": 3 if horizon == 21 else 0}
    config = make_config(n_tickers, model=model, label={"horizon": horizon}, walk_forward=walk_forward)
    assert audit_random_walk(config, n_sessions=160, n_cutoffs=1).leaks == ()


def test_leak_has_its_value_date_and_change() -> None:
    planted = LEAKS["tomorrow's return"]
    prices = random_walk_prices(11, n_sessions=180)
    (leak,) = audit_prices(make_config(), prices, planted.stages, n_cutoffs=2).leaks
    assert (leak.stage, leak.what, leak.ticker, leak.future) == ("features", "planted", "T0", "noise")
    assert leak.date == leak.cut == str(prices.sessions[0].date())
    assert leak.was == prices.close[1, 0] / prices.close[0, 0] - 1.0
    assert leak.became != leak.was
    assert leak.times > 10
    assert f"features: planted of T0 {leak.date} was {leak.was:.6g} and became" in leak.text


def test_leak_of_folds_has_its_refit_row_and_label() -> None:
    config = make_config(label={"horizon": 5})
    prices = random_walk_prices(11, n_sessions=180)
    (leak,) = audit_prices(config, prices, OTHERS["unpurged labels"].stages, n_cutoffs=2).leaks
    first = 9 + 1 + 60
    forecast, newest, known = (str(prices.sessions[row].date()) for row in (first, first - 1, first - 1 + 5))
    assert leak.text == (
        f"folds: the refit that forecasts {forecast} (T0) trains on {newest}, whose label is known on {known}"
    )
    assert math.isnan(leak.was)


def test_coverage_counts_the_checks_and_the_audit_is_reproducible() -> None:
    audit_result = audit_random_walk(make_config(2), n_cutoffs=3)
    coverage = audit_result.coverage
    assert coverage.scenarios == AUDIT_SCENARIOS
    assert len(AUDIT_SCENARIOS) == 10
    assert 3 <= coverage.n_refits_checked <= 6 < coverage.n_refits
    assert coverage.n_full_cutoffs <= 6 < coverage.n_input_cutoffs
    assert set(coverage.n_compared_by_stage) == {
        "features", "label", "folds", "scale", "fit", "target_stats", "forecast", "decision_context", "decide",
        "execute",
    }  # fmt: skip
    assert all(0 <= largest < 0.01 for largest in coverage.largest_change_by_stage.values())
    assert audit_random_walk(make_config(2), n_cutoffs=3) == audit_result
    full_coverage = audit_random_walk(make_config(), n_sessions=120, n_cutoffs="all").coverage
    assert full_coverage.n_refits_checked == full_coverage.n_refits
    assert full_coverage.n_model_cutoffs == 0


def test_auto_checks_every_boundary_and_some_with_every_scenario(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditor, "make_audit_schedule", partial(make_audit_schedule, n_default=2))
    audit = audit_random_walk(make_config(), n_cutoffs="auto")
    coverage = audit.coverage
    assert audit.is_clean
    assert coverage.n_refits_checked == coverage.n_refits == 11
    assert coverage.n_model_cutoffs == 11 - 2
    for n_rows in (90, 100):
        stages = PipelineStages(walk_forward_steps=WalkForwardFunctions(fit_refits=fit_sees_more(1, rows=n_rows)))
        assert audit_random_walk(make_config(), stages, n_cutoffs="auto").leaking_stages == ("fit",)


def test_leaks_in_several_stages_are_all_reported() -> None:
    both = PipelineStages(
        compute_features=LEAKS["future volume"].stages.compute_features,
        decide_positions=LEAKS["tomorrow's probability"].stages.decide_positions,
        execute=LEAKS["same-bar fill"].stages.execute,
    )
    assert audit_random_walk(make_config(), both).leaking_stages == ("features", "decide", "execute")


def test_feature_that_separates_the_classes_is_reported() -> None:
    config = make_config(model={"l2": 0.0})
    assert audit_random_walk(config, LEAKS["tomorrow's return"].stages).leaking_stages == ("features",)


@pytest.mark.parametrize(
    "model",
    [
        {"solver": "gradient_descent", "learning_rate": 0.5},
        {"solver": "nesterov", "max_iter": 3},
        {"half_life": 40, "class_weight": "balanced"},
        {"max_iter": 1},
    ],
    ids=["fixed learning rate", "unconverged", "weighted", "one iteration"],
)
def test_run_is_clean_with_every_solver(model: dict[str, Any]) -> None:
    assert audit_random_walk(make_config(model=model)).leaks == ()


@pytest.mark.parametrize("fill", ["next_open", "close"])
def test_run_is_clean_with_every_fill(fill: str) -> None:
    assert audit_random_walk(make_config(2, execution={"fill": fill, "cash_rate": 0.03})).leaks == ()


def test_shipped_config_is_clean_on_its_own_data() -> None:
    path = Path(__file__).parents[2] / "configs" / "stocks5_long_short.yaml"
    audit_result = audit(path, overrides={"data.start": "2008-01-01"}, n_cutoffs=1)
    assert audit_result.is_clean
    assert audit_result.name == "stocks5_long_short"
    assert audit_result.to_dict()["coverage"]["n_compared_by_stage"]["execute"] > 100
