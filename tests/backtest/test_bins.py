from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm
from quantlr.backtest.forecast_analysis import reliability_bins
from quantlr.backtest.metrics import EvaluatedForecasts
from statsmodels.stats.proportion import proportion_confint


def made_up(seed: int, *, sessions: int = 300, tickers: int = 1, horizon: int = 1) -> EvaluatedForecasts:
    rng = np.random.default_rng(seed)
    n = sessions * tickers
    session, ticker = np.tile(np.arange(sessions), tickers), np.repeat(np.arange(tickers), sessions)
    probability = rng.uniform(0.3, 0.7, n).round(2)
    market = np.repeat(rng.random(-(-sessions // horizon)), horizon)[:sessions]
    up = (0.6 * market[session] + 0.4 * rng.random(n) < probability).astype(np.float64)
    return EvaluatedForecasts(
        log_odds=np.log(probability / (1 - probability)),
        probability=probability,
        up=up,
        base_rate=np.full(n, 0.5),
        ticker=ticker,
        session=session,
        is_clustered=tickers > 1 or horizon > 1,
        horizon=horizon,
    )


def test_bins_are_of_about_as_many_forecasts_and_equal_ones_stay_together() -> None:
    rows = made_up(1, sessions=1000)
    found = reliability_bins(rows)
    edges = (found.mean_probability[1:] + found.mean_probability[:-1]) / 2
    place = np.searchsorted(edges, rows.probability)
    assert len(found.count) == 10
    assert found.count.sum() == 1000
    assert (abs(found.count - 100) <= 40).all()
    for at in range(10):
        mine = place == at
        assert found.count[at] == mine.sum()
        assert found.mean_probability[at] == pytest.approx(rows.probability[mine].mean())
        assert found.observed_frequency[at] == pytest.approx(rows.up[mine].mean())


def test_independent_shares_have_wilsons_interval() -> None:
    rows = made_up(2)
    found = reliability_bins(rows)
    low, high = proportion_confint(found.observed_frequency * found.count, found.count, method="wilson")
    np.testing.assert_allclose([found.frequency_low, found.frequency_high], [low, high], rtol=1e-9)
    assert len(found.count) == 300 // 40


@pytest.mark.parametrize(("tickers", "horizon"), [(5, 1), (1, 4), (3, 4)])
def test_shares_that_hang_together_are_as_unsure_as_statsmodels_says(tickers: int, horizon: int) -> None:
    rows = made_up(3, sessions=400, tickers=tickers, horizon=horizon)
    found = reliability_bins(rows, max_bins=4)
    edges = (found.mean_probability[1:] + found.mean_probability[:-1]) / 2
    order = np.argsort(rows.session, kind="stable")
    place = np.searchsorted(edges, rows.probability)[order]
    kinds = {"time": rows.session[order], "maxlags": 2 * horizon, "use_correction": False, "df_correction": False}
    fit = sm.OLS(rows.up[order], np.eye(4)[place]).fit(cov_type="hac-groupsum", cov_kwds=kinds)
    effect = fit.bse**2 / (found.observed_frequency * (1 - found.observed_frequency) / found.count)
    assert effect.max() > 1.3
    effect = np.maximum(effect, 1.0)
    low, high = proportion_confint(
        found.observed_frequency * found.count / effect, found.count / effect, method="wilson"
    )
    np.testing.assert_allclose([found.frequency_low, found.frequency_high], [low, high], rtol=1e-9)


@pytest.mark.parametrize("clustered", [False, True])
def test_few_forecasts_or_equal_ones_make_one_bin(clustered: bool) -> None:
    few = replace(made_up(4, sessions=4), is_clustered=clustered)
    assert reliability_bins(few).count.tolist() == [4]
    same = replace(made_up(5), probability=np.full(300, 0.5), up=np.ones(300), is_clustered=clustered)
    found = reliability_bins(same)
    assert (found.count.tolist(), found.observed_frequency.tolist()) == ([300], [1.0])
    assert 0.98 < found.frequency_low[0] < found.frequency_high[0] == 1.0
