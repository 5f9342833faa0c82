"""Trailing betas equal those of statsmodels' regressions, and know no later price."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from quantlr.audits.auditor import audit_prices
from quantlr.backtest.beta import market_levels, trailing_betas
from quantlr.backtest.overlays import BetaNeutral
from quantlr.config.run_config import load_config
from quantlr.core.errors import ConfigError, DataError
from quantlr.core.market_views import market_views
from quantlr.core.values import Array, Prices
from quantlr.data.prices import membership_mask
from quantlr.pipeline.stages import decision_context, forecast_and_decide
from quantlr.sweeps.trials import StageDigests

from markets import apply_scenario, random_walk_prices
from two_markets import two_market_prices

WINDOW = 20


def members_with_gaps(seed: int = 5) -> Prices:
    prices = random_walk_prices(seed, n_sessions=90, n_tickers=4, with_gaps=True)
    days = prices.sessions.date
    membership = {"T1": (days[30], None), "T2": (None, days[70])}
    return replace(prices, member_mask=membership_mask(prices, membership))


def equal_weighted_level_by_loop(prices: Prices) -> list[float]:
    """Level of a market that every session earns the mean return of its members, by a loop over sessions."""
    level, levels = 1.0, []
    for session in range(len(prices.sessions)):
        returns = []
        for ticker in range(len(prices.tickers)):
            for bar in np.flatnonzero(prices.session[:, ticker] == session).tolist():
                if bar == 0 or prices.member_mask is None or not prices.member_mask[bar, ticker]:
                    continue
                returns.append(prices.close[bar, ticker] / prices.close[bar - 1, ticker] - 1.0)
        level *= 1.0 + (sum(returns) / len(returns) if returns else 0.0)
        levels.append(level)
    return levels


def betas_by_regression(prices: Prices, level: Array) -> dict[tuple[int, int], float]:
    """Slope of every ticker's newest returns by statsmodels, by session and ticker; None is left out."""
    betas = {}
    for ticker in range(len(prices.tickers)):
        sessions = prices.session[: prices.n_bars[ticker], ticker]
        own, market = prices.close[: len(sessions), ticker], level[sessions]
        for bar in range(WINDOW, len(sessions)):
            span = slice(bar - WINDOW, bar + 1)
            y, x = (values[span][1:] / values[span][:-1] - 1.0 for values in (own, market))
            if not np.isnan(x).any():
                betas[int(sessions[bar]), ticker] = float(sm.OLS(y, sm.add_constant(x)).fit().params[1])
    return betas


@pytest.mark.parametrize("market", [None, "T0", "C"])
def test_trailing_betas_equal_regressions_of_statsmodels(market: str | None) -> None:
    prices = members_with_gaps()
    reference = random_walk_prices(8, n_sessions=90, n_tickers=1)
    reference = replace(
        reference, tickers=("C",), sessions=reference.sessions + (prices.sessions[4] - reference.sessions[0])
    )
    prices = replace(prices, context=reference)
    level = np.array(equal_weighted_level_by_loop(prices))
    if market is not None:
        source = prices if market == "T0" else reference
        bars = [source.session[row, 0] for row in range(source.n_bars[0])]
        closes = {source.sessions[session]: source.close[row, 0] for row, session in enumerate(bars)}
        level = np.array(
            [
                next((closes[day] for day in sorted(closes, reverse=True) if day <= now), np.nan)
                for now in prices.sessions
            ]
        )
    np.testing.assert_allclose(market_levels(prices, market=market), level, rtol=1e-12)
    expected = betas_by_regression(prices, level)
    betas = trailing_betas(prices, window=WINDOW, market=market)
    known = {(int(session), int(ticker)) for session, ticker in np.argwhere(~np.isnan(betas))}
    assert known == set(expected)
    for (session, ticker), beta in expected.items():
        assert betas[session, ticker] == pytest.approx(beta, rel=1e-7)


def test_a_market_that_stands_still_leaves_betas_unknown() -> None:
    prices = random_walk_prices(1, n_sessions=60, n_tickers=2)
    still = replace(prices, close=np.where(np.arange(2) == 0, 100.0, prices.close))
    assert np.isnan(trailing_betas(still, window=WINDOW, market="T0")).all()


@pytest.mark.parametrize("scenario", ["noise", "a hundredfold", "cut off"])
def test_betas_up_to_a_session_do_not_depend_on_later_prices(scenario: str) -> None:
    prices = members_with_gaps()
    betas = trailing_betas(prices, window=WINDOW, market=None)
    altered = trailing_betas(apply_scenario(prices, scenario, after_session=60), window=WINDOW, market=None)
    np.testing.assert_array_equal(altered[:61], betas[:61])


def config_sections(**overlay: Any) -> dict[str, Any]:
    return {
        "name": "neutral",
        "data": {"source": {"kind": "sample"}, "tickers": ["T0", "T1", "T2", "T3"]},
        "features": [{"kind": "lagged_returns", "lags": [1]}],
        "model": {"l2": 0.01},
        "walk_forward": {"train": 40, "refit_every": 20},
        "policy": {"short_below": 0.5},
        "overlays": [{"kind": "beta_neutral", "window": WINDOW, **overlay}],
    }


def test_positions_of_a_run_have_no_beta_and_the_audit_is_clean() -> None:
    config, prices = load_config(config_sections()).run, random_walk_prices(2, n_sessions=160, n_tickers=4)
    decisions = forecast_and_decide(config, prices)
    betas = trailing_betas(prices, window=WINDOW, market=None)
    weight = decisions.positions.weight
    assert np.abs(weight[~np.isnan(weight)]).sum() > 10
    np.testing.assert_allclose(np.nansum(weight * betas, axis=1), 0.0, atol=1e-14)
    assert decision_context(config, prices, decisions.forecasts).market_beta is not None
    assert audit_prices(config, prices, n_cutoffs=3).is_clean


def test_audit_finds_a_beta_of_later_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    config, prices = load_config(config_sections()).run, random_walk_prices(2, n_sessions=160, n_tickers=4)

    def later_betas(prices: Prices, *, window: int, market: str | None) -> Array:
        return np.roll(trailing_betas(prices, window=window, market=market), -1, axis=0)

    monkeypatch.setattr("quantlr.backtest.overlays.trailing_betas", later_betas)
    leaks = audit_prices(config, prices, n_cutoffs=3).leaks
    assert ("decision_context", "market_beta") in {(leak.stage, leak.what) for leak in leaks}


def test_trials_with_other_betas_do_not_share_their_context() -> None:
    one, other = (StageDigests.from_config(load_config(config_sections(window=window)).run) for window in (20, 30))
    assert one.model == other.model
    assert one.decision_context != other.decision_context


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"policy": {"long_above": 0.5}}, "overlays: beta_neutral offsets long positions by short ones"),
        ({"policy": {"kind": "kelly"}}, "overlays: beta_neutral offsets long positions by short ones"),
        (
            {"overlays": [{"kind": "beta_neutral"}, {"kind": "beta_neutral", "window": 30}]},
            "beta_neutral is there twice",
        ),
    ],
)
def test_configs_that_beta_neutral_refuses(changes: dict[str, Any], error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        load_config(config_sections() | changes)


def test_a_market_without_prices_is_an_error() -> None:
    with pytest.raises(DataError, match="'SPY' is needed") as caught:
        trailing_betas(random_walk_prices(1, n_sessions=60), window=WINDOW, market="SPY")
    assert caught.value.key == "data.context"


def test_betas_of_each_market_are_those_of_the_closes_that_it_knows() -> None:
    """New York's close of a date changes the betas of New York on it, and Tokyo's from its next session on."""
    prices, overlay = two_market_prices(4), BetaNeutral(window=WINDOW)
    is_tokyo = np.array([ticker.startswith("TK") for ticker in prices.tickers])
    betas, session = overlay.market_betas(prices), 58
    changed = (prices.session == session) & ~is_tokyo
    assert changed.any()
    altered = overlay.market_betas(replace(prices, close=np.where(changed, 1.1 * prices.close, prices.close)))
    np.testing.assert_array_equal(altered[: session + 1, is_tokyo], betas[: session + 1, is_tokyo])
    np.testing.assert_array_equal(altered[:session], betas[:session])
    assert not np.array_equal(altered[session], betas[session], equal_nan=True)
    later = slice(session + 1, session + 4)
    assert not np.array_equal(altered[later, is_tokyo], betas[later, is_tokyo], equal_nan=True)


def test_the_market_of_two_markets_counts_each_return_once() -> None:
    """The level that Tokyo sees grows, over all sessions, as the closes of a single ticker of New York do."""
    prices = two_market_prices(4, traded="TK,NY")
    (view,) = [view for view in market_views(prices) if view.is_own[0]]
    is_new_york_only = replace(view.prices, member_mask=(view.prices.session >= 0) & ~view.is_own)
    level = market_levels(is_new_york_only, market=None)
    closes = view.prices.bars_to_sessions(view.prices.close)[:, 1]
    known = closes[~np.isnan(closes)]
    assert level[-1] == pytest.approx(known[-1] / known[0], rel=1e-12)


def test_positions_in_two_markets_are_audited_clean() -> None:
    prices = two_market_prices(5)
    config = load_config(config_sections() | {"data": {"source": {"kind": "sample"}, "tickers": [*prices.tickers]}}).run
    assert np.nansum(np.abs(forecast_and_decide(config, prices).positions.weight)) > 1
    assert audit_prices(config, prices, n_cutoffs=2).is_clean
