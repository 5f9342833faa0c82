"""Stability of skill: against statsmodels, SciPy and slow loops, and the size and power of the test for a break."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantlr.core.values import Array, Forecasts
from quantlr.stats.clark_west import clark_west_terms
from quantlr.stats.cosine_test import cosine_test
from quantlr.stats.stability import (
    benjamini_hochberg_adjusted_p_values,
    break_test,
    kolmogorov_tail,
    skill_stability,
)
from scipy import special
from scipy import stats as sps
from statsmodels.stats.diagnostic import breaks_cusumolsresid

from markets import forecasts


def simulated(seed: int, *, n_sessions: int = 900, n_tickers: int = 1, skill: float = 0.05) -> Forecasts:
    """Return forecasts over business days from 2001 on, of which the newest of each ticker has no outcome."""
    rng = np.random.default_rng(seed)
    score = rng.normal(size=(n_tickers, n_sessions))
    up = (rng.random(score.shape) < 0.53 + skill * score).astype(np.float64)
    up[:, -1] = np.nan
    ticker, session = np.repeat(np.arange(n_tickers), n_sessions), np.tile(np.arange(n_sessions), n_tickers)
    one = np.ones(score.size)
    return replace(
        forecasts((0.53 + 0.02 * score).ravel(), ticker=ticker, session=session),
        tickers=tuple("ABCDEFGH"[:n_tickers]),
        sessions=pd.bdate_range("2001-03-01", periods=n_sessions).as_unit("us"),
        up=up.ravel(),
        training_up_rate=0.53 * one,
        training_probability_mean=0.53 * one,
        training_probability_std=0.02 * one,
    )


@given(seed=st.integers(0, 10_000), n=st.integers(40, 500), jump=st.floats(0, 3))
def test_break_statistic_equals_statsmodels(seed: int, n: int, jump: float) -> None:
    values = np.random.default_rng(seed).normal(size=n) + jump * (np.arange(n) >= n // 3)
    actual = break_test(values, horizon=1)
    statistic, p_value, _ = breaks_cusumolsresid(values - values.mean())
    assert actual is not None
    assert actual["statistic"] == pytest.approx(statistic, rel=1e-9)
    assert actual["p_value"] == pytest.approx(p_value, rel=1e-9, abs=1e-12)


def test_break_is_dated_by_the_first_value_after_it() -> None:
    values = np.random.default_rng(0).normal(size=300) * 0.1 + (np.arange(300) >= 120)
    change = break_test(values, horizon=1)
    assert change is not None
    assert change["index"] == 120
    assert change["p_value"] < 1e-6


def test_break_test_of_constant_or_short_series_is_none() -> None:
    assert break_test(np.ones(200), horizon=1) is None
    values = np.random.default_rng(0).normal(size=167)
    assert break_test(values[:31], horizon=1) is None
    assert break_test(values, horizon=21) is None
    assert break_test(np.append(values, 0.0), horizon=21) is not None


@pytest.mark.parametrize("horizon", [1, 5, 21])
def test_break_test_keeps_its_size(horizon: int) -> None:
    """Sums of independent values over a horizon have no break; at most 5 % are rejected, and two standard errors."""
    n_rejected = 0
    for seed in range(400):
        noise = np.random.default_rng(seed).normal(size=500 + horizon - 1)
        change = break_test(np.convolve(noise, np.ones(horizon), "valid"), horizon=horizon)
        assert change is not None
        n_rejected += change["p_value"] < 0.05
    assert n_rejected / 400 <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 400)


@given(x=st.floats(0, 5))
def test_kolmogorov_tail_equals_scipy(x: float) -> None:
    assert kolmogorov_tail(x) == pytest.approx(special.kolmogorov(x), abs=1e-11)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_adjusted_p_values_equal_scipy(p_values: list[float]) -> None:
    expected = sps.false_discovery_control(p_values).tolist()
    assert benjamini_hochberg_adjusted_p_values(p_values) == pytest.approx(expected, abs=1e-15)


def session_terms(values: Forecasts) -> dict[int, float]:
    terms, _ = clark_west_terms(values)
    total: dict[int, float] = defaultdict(float)
    for session, term in zip(values.session.tolist(), terms.tolist(), strict=True):
        if term == term:
            total[session] += term
    return dict(sorted(total.items()))


def test_thirds_of_the_span_are_tested_apart() -> None:
    values = simulated(1, n_sessions=1001, n_tickers=2)
    sums = list(session_terms(values).values())
    thirds = skill_stability(values)["thirds"]
    assert [third["first"] for third in thirds] == [str(values.sessions[i].date()) for i in (0, 334, 667)]
    assert [third["last"] for third in thirds] == [str(values.sessions[i].date()) for i in (333, 666, 999)]
    for third, start, stop in zip(thirds, (0, 334, 667), (334, 667, 1000), strict=True):
        test = cosine_test(np.array(sums[start:stop]), horizon=1)
        assert (third["statistic"], third["p_value"]) == pytest.approx((test.statistic, test.p_value), rel=1e-9)
    assert list(skill_stability(values)["tickers"]) == ["A", "B"]


def test_skill_of_the_first_half_only_is_a_break_there() -> None:
    skilled, noise = simulated(3, n_sessions=3000, skill=0.15), simulated(3, n_sessions=3000, skill=0.0)
    up: Array = np.where(np.arange(3000) < 1500, skilled.up, noise.up)
    result = skill_stability(replace(skilled, up=up))
    assert result["thirds"][0]["p_value"] < 0.01
    assert result["thirds"][2]["p_value"] > 0.05
    assert result["break"]["p_value"] < 0.01
    middle = skilled.sessions[1500]
    assert abs((pd.Timestamp(result["break"]["date"]) - middle).days) < 250


def test_shares_of_the_best_year_and_the_best_ticker_by_a_loop() -> None:
    values = simulated(5, n_sessions=1200, n_tickers=3)
    terms, _ = clark_west_terms(values)
    by_year: dict[int, float] = defaultdict(float)
    by_ticker: dict[str, float] = defaultdict(float)
    for row, term in enumerate(terms.tolist()):
        if term == term:
            by_year[values.sessions[values.session[row]].year] += term
            by_ticker[values.tickers[values.ticker[row]]] += term
    total = sum(by_year.values())
    year, ticker = max(by_year, key=by_year.__getitem__), max(by_ticker, key=by_ticker.__getitem__)
    result = skill_stability(values)
    assert result["best_year"] == pytest.approx({"year": year, "share": by_year[year] / total})
    assert result["best_ticker"]["ticker"] == ticker
    assert result["best_ticker"]["share"] == pytest.approx(by_ticker[ticker] / total)


def test_each_ticker_has_its_test_adjusted_for_their_number() -> None:
    values = simulated(7, n_tickers=4)
    terms, _ = clark_west_terms(values)
    p_values = []
    for index in range(4):
        own = terms[values.ticker == index]
        p_values.append(cosine_test(own[~np.isnan(own)], horizon=1).p_value or 0.0)
    tests = skill_stability(values)["tickers"]
    assert list(tests) == ["A", "B", "C", "D"]
    assert [test["p_value"] for test in tests.values()] == pytest.approx(p_values)
    expected = sps.false_discovery_control(p_values)
    assert [test["adjusted_p_value"] for test in tests.values()] == pytest.approx(expected)


def test_negative_effect_has_no_shares_and_one_ticker_no_tests() -> None:
    values = simulated(1, skill=-0.1)
    result = skill_stability(values)
    assert result["best_year"] is result["best_ticker"] is result["tickers"] is None
    assert skill_stability(simulated(1, skill=0.1))["best_ticker"] is None
    short = skill_stability(simulated(1, n_sessions=3))
    assert [third["p_value"] for third in short["thirds"]] == [None] * 3
    assert short["thirds"][2]["first"] is None
    assert short["break"] is None
