from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm
from quantlr.backtest.forecast_analysis import reliability_bins
from quantlr.backtest.metric_types import EvaluatedForecasts
from statsmodels.stats.proportion import proportion_confint


def evaluated_forecasts(seed: int, *, sessions: int = 300, tickers: int = 1, horizon: int = 1) -> EvaluatedForecasts:
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
        has_dependent_outcomes=tickers > 1 or horizon > 1,
        horizon=horizon,
    )


def test_reliability_bins_have_about_equal_counts_and_keep_equal_forecasts_together() -> None:
    forecasts = evaluated_forecasts(1, sessions=1000)
    bins = reliability_bins(forecasts)
    edges = (bins.mean_probability[1:] + bins.mean_probability[:-1]) / 2
    bin_index = np.searchsorted(edges, forecasts.probability)
    assert len(bins.count) == 10
    assert bins.count.sum() == 1000
    assert (abs(bins.count - 100) <= 40).all()
    for index in range(10):
        in_bin = bin_index == index
        assert bins.count[index] == in_bin.sum()
        assert bins.mean_probability[index] == pytest.approx(forecasts.probability[in_bin].mean())
        assert bins.observed_frequency[index] == pytest.approx(forecasts.up[in_bin].mean())


def test_frequency_intervals_of_independent_forecasts_equal_wilson() -> None:
    forecasts = evaluated_forecasts(2)
    bins = reliability_bins(forecasts)
    low, high = proportion_confint(bins.observed_frequency * bins.count, bins.count, method="wilson")
    np.testing.assert_allclose([bins.frequency_low, bins.frequency_high], [low, high], rtol=1e-9)
    assert len(bins.count) == 300 // 40


@pytest.mark.parametrize(("tickers", "horizon"), [(5, 1), (1, 4), (3, 4)])
def test_frequency_intervals_of_clustered_forecasts_equal_statsmodels_hac(tickers: int, horizon: int) -> None:
    forecasts = evaluated_forecasts(3, sessions=400, tickers=tickers, horizon=horizon)
    bins = reliability_bins(forecasts, max_bins=4)
    edges = (bins.mean_probability[1:] + bins.mean_probability[:-1]) / 2
    order = np.argsort(forecasts.session, kind="stable")
    bin_index = np.searchsorted(edges, forecasts.probability)[order]
    options = {
        "time": forecasts.session[order],
        "maxlags": 2 * horizon,
        "use_correction": False,
        "df_correction": False,
    }
    fit = sm.OLS(forecasts.up[order], np.eye(4)[bin_index]).fit(cov_type="hac-groupsum", cov_kwds=options)
    effect = fit.bse**2 / (bins.observed_frequency * (1 - bins.observed_frequency) / bins.count)
    assert effect.max() > 1.3
    effect = np.maximum(effect, 1.0)
    low, high = proportion_confint(bins.observed_frequency * bins.count / effect, bins.count / effect, method="wilson")
    np.testing.assert_allclose([bins.frequency_low, bins.frequency_high], [low, high], rtol=1e-9)


@pytest.mark.parametrize("clustered", [False, True])
def test_few_or_equal_forecasts_make_one_bin(clustered: bool) -> None:
    few = replace(evaluated_forecasts(4, sessions=4), has_dependent_outcomes=clustered)
    assert reliability_bins(few).count.tolist() == [4]
    same = replace(
        evaluated_forecasts(5), probability=np.full(300, 0.5), up=np.ones(300), has_dependent_outcomes=clustered
    )
    bins = reliability_bins(same)
    assert (bins.count.tolist(), bins.observed_frequency.tolist()) == ([300], [1.0])
    assert 0.98 < bins.frequency_low[0] < bins.frequency_high[0] == 1.0
