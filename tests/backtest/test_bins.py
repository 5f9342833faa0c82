from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm
from quantlr.backtest.bins import shares_by_forecast
from quantlr.backtest.metrics import Scored
from statsmodels.stats.proportion import proportion_confint


def made_up(seed: int, *, sessions: int = 300, tickers: int = 1, horizon: int = 1) -> Scored:
    rng = np.random.default_rng(seed)
    n = sessions * tickers
    session, ticker = np.tile(np.arange(sessions), tickers), np.repeat(np.arange(tickers), sessions)
    probability = rng.uniform(0.3, 0.7, n).round(2)
    market = np.repeat(rng.random(-(-sessions // horizon)), horizon)[:sessions]
    up = (0.6 * market[session] + 0.4 * rng.random(n) < probability).astype(np.float64)
    return Scored(
        log_odds=np.log(probability / (1 - probability)),
        probability=probability,
        up=up,
        base_rate=np.full(n, 0.5),
        ticker=ticker,
        session=session,
        clustered=tickers > 1 or horizon > 1,
        horizon=horizon,
    )


def test_bins_are_of_about_as_many_forecasts_and_equal_ones_stay_together() -> None:
    rows = made_up(1, sessions=1000)
    found = shares_by_forecast(rows)
    edges = (found.probability[1:] + found.probability[:-1]) / 2
    place = np.searchsorted(edges, rows.probability)
    assert len(found.count) == 10
    assert found.count.sum() == 1000
    assert (abs(found.count - 100) <= 40).all()
    for at in range(10):
        mine = place == at
        assert found.count[at] == mine.sum()
        assert found.probability[at] == pytest.approx(rows.probability[mine].mean())
        assert found.share[at] == pytest.approx(rows.up[mine].mean())


def test_independent_shares_have_wilsons_interval() -> None:
    rows = made_up(2)
    found = shares_by_forecast(rows)
    low, high = proportion_confint(found.share * found.count, found.count, method="wilson")
    np.testing.assert_allclose([found.low, found.high], [low, high], rtol=1e-9)
    assert len(found.count) == 300 // 40


@pytest.mark.parametrize(("tickers", "horizon"), [(5, 1), (1, 4), (3, 4)])
def test_shares_that_hang_together_are_as_unsure_as_statsmodels_says(tickers: int, horizon: int) -> None:
    rows = made_up(3, sessions=400, tickers=tickers, horizon=horizon)
    found = shares_by_forecast(rows, at_most=4)
    edges = (found.probability[1:] + found.probability[:-1]) / 2
    order = np.argsort(rows.session, kind="stable")
    place = np.searchsorted(edges, rows.probability)[order]
    kinds = {"time": rows.session[order], "maxlags": 2 * horizon, "use_correction": False, "df_correction": False}
    fit = sm.OLS(rows.up[order], np.eye(4)[place]).fit(cov_type="hac-groupsum", cov_kwds=kinds)
    effect = fit.bse**2 / (found.share * (1 - found.share) / found.count)
    assert effect.max() > 1.3
    effect = np.maximum(effect, 1.0)
    low, high = proportion_confint(found.share * found.count / effect, found.count / effect, method="wilson")
    np.testing.assert_allclose([found.low, found.high], [low, high], rtol=1e-9)


@pytest.mark.parametrize("clustered", [False, True])
def test_few_forecasts_or_equal_ones_make_one_bin(clustered: bool) -> None:
    few = replace(made_up(4, sessions=4), clustered=clustered)
    assert shares_by_forecast(few).count.tolist() == [4]
    same = replace(made_up(5), probability=np.full(300, 0.5), up=np.ones(300), clustered=clustered)
    found = shares_by_forecast(same)
    assert (found.count.tolist(), found.share.tolist()) == ([300], [1.0])
    assert 0.98 < found.low[0] < found.high[0] == 1.0
