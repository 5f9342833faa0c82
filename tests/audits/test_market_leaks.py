"""An audit of two markets convicts a feature that is planted by date, and a run without one is clean."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from quantlr.audits.auditor import audit_prices
from quantlr.backtest.beta import trailing_betas
from quantlr.backtest.overlays import BetaNeutral
from quantlr.backtest.policies import DecisionContext, make_decision_context
from quantlr.config.run_config import RunConfig, load_config
from quantlr.core.values import Array, Dataset, FeatureColumns, Folds, Prices
from quantlr.data.dataset import compute_feature_columns
from quantlr.model.splits import WalkForwardSpec, make_pooled_folds
from quantlr.model.walk_forward import WalkForwardFunctions
from quantlr.pipeline.stages import PipelineStages

from two_markets import two_market_prices

CONTEXT_RETURNS = {"kind": "context_returns", "ticker": "NY0", "max_age": 30}


def make_config(*, tickers: tuple[str, ...], features: list[dict[str, Any]], **sections: Any) -> RunConfig:
    return load_config(
        {
            "name": "audited",
            "data": {"source": {"kind": "sample"}, "tickers": list(tickers)},
            "features": [{"kind": "lagged_returns", "lags": [1]}, *features],
            "model": {"l2": 0.01, **sections.pop("model", {})},
            "walk_forward": {"train": 60, "refit_every": 10},
            **sections,
        }
    ).run


def features_by_date(prices: Prices, features: Any) -> FeatureColumns:
    """Compute features as if all tickers closed at once."""
    context = prices.context and replace(prices.context, markets=())
    return compute_feature_columns(replace(prices, markets=(), context=context), features)


def folds_by_date(dataset: Dataset, split_spec: WalkForwardSpec) -> list[Folds]:
    """Make pooled folds as if all labels of a date were known at once."""
    return make_pooled_folds(replace(dataset, label_known_to_all_at=dataset.label_known_at), split_spec)


PARTS: dict[str, dict[str, Any]] = {
    "returns of a traded ticker": {"features": [CONTEXT_RETURNS]},
    "rank": {"features": [{"kind": "rank", "of": {"kind": "momentum", "windows": [3]}}]},
}


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_a_feature_planted_by_date_is_convicted(part: dict[str, Any]) -> None:
    prices = two_market_prices(5, n_sessions=100, traded="NY,TK,TK")
    planted = PipelineStages(compute_features=features_by_date)
    leaks = audit_prices(make_config(tickers=prices.tickers, **part), prices, planted, n_cutoffs=1).leaks
    assert {leak.stage for leak in leaks} == {"features"}
    assert {leak.ticker[:2] for leak in leaks if leak.ticker} == {"TK"}
    assert audit_prices(make_config(tickers=prices.tickers, **part), prices, n_cutoffs=2).leaks == ()


def test_a_reference_series_planted_by_date_is_convicted() -> None:
    prices = two_market_prices(5, traded="TK", context="NY")
    config = make_config(tickers=prices.tickers, features=[CONTEXT_RETURNS])
    planted = PipelineStages(compute_features=features_by_date)
    assert {leak.stage for leak in audit_prices(config, prices, planted, n_cutoffs=1).leaks} == {"features"}
    assert audit_prices(config, prices, n_cutoffs=2).leaks == ()


def test_a_pooled_model_that_learns_by_date_is_convicted() -> None:
    prices = two_market_prices(6, n_sessions=100)
    config = make_config(
        tickers=prices.tickers, features=[], model={"scope": "pooled"}, policy={"kind": "top_k", "k": 2}
    )
    planted = PipelineStages(walk_forward_steps=WalkForwardFunctions(make_folds_for_all_tickers=folds_by_date))
    assert {leak.stage for leak in audit_prices(config, prices, planted, n_cutoffs=1).leaks} == {"folds"}
    assert audit_prices(config, prices, n_cutoffs=2).leaks == ()


BETA_NEUTRAL = {"policy": {"short_below": 0.5}, "overlays": [{"kind": "beta_neutral", "window": 20}]}


def betas_by_date(overlay: BetaNeutral, prices: Prices) -> Array:
    """Compute betas as if all tickers closed at once."""
    return trailing_betas(replace(prices, markets=()), window=overlay.window, market=overlay.market)


def test_a_beta_planted_by_date_is_convicted(monkeypatch: pytest.MonkeyPatch) -> None:
    prices = two_market_prices(5, n_sessions=100)
    config = make_config(tickers=prices.tickers, features=[], **BETA_NEUTRAL)
    assert audit_prices(config, prices, n_cutoffs=2).leaks == ()
    monkeypatch.setattr(BetaNeutral, "market_betas", betas_by_date)
    leaks = audit_prices(config, prices, n_cutoffs=2).leaks
    assert {(leak.stage, leak.what) for leak in leaks} == {("decision_context", "market_beta")}
    assert {leak.ticker[:2] for leak in leaks if leak.ticker} == {"TK"}


@pytest.mark.parametrize("scope", ["pooled", "per_ticker"])
def test_a_policy_that_compares_by_date_is_convicted(scope: str) -> None:
    prices = two_market_prices(6, n_sessions=100)
    sections = {"model": {"scope": scope}, "policy": {"kind": "top_k", "k": 2}}
    config = make_config(tickers=prices.tickers, features=[], **sections)

    def context_by_date(*arguments: Any, **keywords: Any) -> DecisionContext:
        return replace(make_decision_context(*arguments, **keywords), market_rows=())

    assert audit_prices(config, prices, n_cutoffs=2).leaks == ()
    leaks = audit_prices(config, prices, PipelineStages(decision_context=context_by_date), n_cutoffs=2).leaks
    assert {leak.stage for leak in leaks} == {"decide"}
    assert {leak.ticker[:2] for leak in leaks if leak.ticker} == {"TK"}
