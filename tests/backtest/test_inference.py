from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from quantlr.backtest.inference import (
    Evidence,
    delong,
    midranks,
    pesaran_timmermann,
    pesaran_timmermann_by_session,
    probabilistic_sharpe,
    sharpe_per_session,
    verdict,
    wilson,
    years_needed,
)
from quantlr.types import Array
from scipy import stats
from scipy.optimize import least_squares
from sklearn.metrics import roc_auc_score


def coin(seed: int, n: int, chance: float = 0.5) -> Array:
    return (np.random.default_rng(seed).random(n) < chance).astype(np.float64)


@given(n=st.integers(1, 5000), share=st.floats(0, 1))
def test_wilson_is_scipys(n: int, share: float) -> None:
    hits = int(share * n)
    expected = stats.binomtest(hits, n).proportion_ci(method="wilson")
    low, high = wilson(hits, n)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)


@given(values=st.lists(st.integers(-3, 3), min_size=1, max_size=40))
def test_midranks_are_scipys(values: list[int]) -> None:
    array = np.array(values, dtype=np.float64)
    np.testing.assert_array_equal(midranks(array), stats.rankdata(array))


@given(seed=st.integers(0, 10_000), n=st.integers(10, 200), digits=st.integers(0, 3))
def test_area_is_scikit_learns_and_its_variance_that_of_the_placements(seed: int, n: int, digits: int) -> None:
    rng = np.random.default_rng(seed)
    up = coin(seed, n)
    up[:4] = [0, 1, 0, 1]
    score = np.round(rng.normal(size=n) + up, digits)
    found = delong(score, up)
    assert found is not None
    area, low, high = found
    assert area == pytest.approx(roc_auc_score(up, score), abs=1e-12)
    wins = np.array([[(a > b) + 0.5 * (a == b) for b in score[up == 0]] for a in score[up == 1]])
    variance = wins.mean(axis=1).var(ddof=1) / len(wins) + wins.mean(axis=0).var(ddof=1) / wins.shape[1]
    half = 1.959963984540054 * np.sqrt(variance)
    assert (low, high) == pytest.approx((max(area - half, 0), min(area + half, 1)), abs=1e-9)


def test_area_needs_both_outcomes() -> None:
    assert delong(np.array([0.1, 0.2]), np.ones(2)) is None


@given(seed=st.integers(0, 10_000), n=st.integers(20, 600), chance=st.floats(0.2, 0.8))
def test_pesaran_timmermann_squared_is_pearsons_chi_square(seed: int, n: int, chance: float) -> None:
    up, calls = coin(seed, n, chance), coin(seed + 1, n, 0.6) == 1
    up[:2], calls[:2] = [0, 1], [True, False]
    found = pesaran_timmermann(calls, up)
    table = [[np.sum((calls == c) & (up == u)) for u in (0, 1)] for c in (False, True)]
    chi_square = stats.chi2_contingency(table, correction=False).statistic
    assert found is not None
    assert found["statistic"] ** 2 * (n - 1) / n == pytest.approx(chi_square, rel=1e-9, abs=1e-12)
    assert found["p_value"] == pytest.approx(stats.norm.sf(found["statistic"]), abs=1e-12)
    assert np.sign(found["statistic"]) == pytest.approx(np.sign(np.corrcoef(calls, up)[0, 1]))


@pytest.mark.parametrize("calls", [np.ones(50, dtype=np.bool_), np.zeros(50, dtype=np.bool_)])
def test_a_forecast_that_never_changes_can_not_be_tested(calls: Any) -> None:
    up = coin(1, 50)
    assert pesaran_timmermann(calls, up) is None
    assert pesaran_timmermann_by_session(calls, up, session=np.arange(50), ticker=np.arange(50) % 2, horizon=2) is None
    assert pesaran_timmermann(up == 1, np.ones(50)) is None


@pytest.mark.parametrize("horizon", [1, 5])
@pytest.mark.parametrize("tickers", [1, 4])
def test_the_form_for_overlap_is_statsmodels_newey_west(horizon: int, tickers: int) -> None:
    rng = np.random.default_rng(horizon * 10 + tickers)
    session = np.repeat(np.arange(150), tickers)
    up, calls = coin(3, len(session), 0.55), rng.random(len(session)) < 0.6
    ticker = np.tile(np.arange(tickers), 150)
    products = np.empty(len(up))
    for one in range(tickers):
        mine = ticker == one
        products[mine] = (calls[mine] - calls[mine].mean()) * (up[mine] - up[mine].mean())
    sums = np.bincount(session, weights=products)
    fitted = sm.OLS(sums, np.ones(len(sums))).fit(cov_type="HAC", cov_kwds={"maxlags": 2 * horizon})
    found = pesaran_timmermann_by_session(calls, up, session=session, ticker=ticker, horizon=horizon)
    assert found is not None
    assert found["statistic"] == pytest.approx(fitted.tvalues[0], rel=1e-10)
    assert found["p_value"] == pytest.approx(stats.norm.sf(fitted.tvalues[0]), abs=1e-12)


def test_knowing_which_ticker_rises_more_often_is_not_knowing_when() -> None:
    """One ticker goes up on 70 % of days, the other on 30 %; calls follow each one's own rate, by their own coin."""
    rng = np.random.default_rng(8)
    ticker = np.tile([0, 1], 2000)
    rate = np.where(ticker == 0, 0.7, 0.3)
    up, calls = (rng.random(4000) < rate).astype(np.float64), rng.random(4000) < rate
    session = np.repeat(np.arange(2000), 2)
    pooled = pesaran_timmermann(calls, up)
    found = pesaran_timmermann_by_session(calls, up, session=session, ticker=ticker, horizon=1)
    assert pooled is not None
    assert pooled["p_value"] < 1e-6
    assert found is not None
    assert found["p_value"] > 0.05
    always = pesaran_timmermann_by_session(ticker == 0, up, session=session, ticker=ticker, horizon=1)
    assert always is None


def test_probabilistic_sharpe_by_its_formula() -> None:
    returns = np.random.default_rng(5).standard_t(4, 900) * 0.01 + 0.0005
    ratio = returns.mean() / returns.std(ddof=1)
    g3, g4 = stats.skew(returns), stats.kurtosis(returns, fisher=False)
    expected = stats.norm.cdf((ratio - 0.01) * np.sqrt(899) / np.sqrt(1 - g3 * ratio + (g4 - 1) / 4 * ratio**2))
    assert probabilistic_sharpe(returns, above=0.01) == pytest.approx(expected, abs=1e-12)
    assert sharpe_per_session(returns) == pytest.approx(ratio)


@pytest.mark.parametrize(("skewness", "kurtosis", "published"), [(0.0, 3.0, 0.982), (-2.448, 10.164, 0.913)])
def test_probabilistic_sharpe_of_the_authors_example(skewness: float, kurtosis: float, published: float) -> None:
    """Bailey and Lopez de Prado 2012: 24 monthly returns with a Sharpe of .458 a month exceed 0 with a probability of
    .982 were they normal, and of .913 with the skewness and kurtosis of a hedge fund."""
    wanted = [0.458, skewness, kurtosis]

    def missed(x: Array) -> Array:
        return np.array([x.mean() / x.std(ddof=1), stats.skew(x), stats.kurtosis(x, fisher=False)]) - wanted

    sample = least_squares(missed, np.random.default_rng(0).normal(size=24) - 0.2, xtol=1e-15).x
    assert missed(sample) == pytest.approx(0, abs=1e-6)
    assert probabilistic_sharpe(sample) == pytest.approx(published, abs=5e-4)


@pytest.mark.parametrize("returns", [np.zeros(50), np.full(50, 0.001), np.array([0.01])])
def test_returns_that_do_not_vary_have_no_sharpe(returns: Array) -> None:
    assert sharpe_per_session(returns) is None
    assert probabilistic_sharpe(returns) is None


def test_52_percent_against_50_takes_3862_sessions() -> None:
    needed = years_needed(0.52, 0.50, sessions_per_year=252)
    assert needed is not None
    assert needed * 252 == pytest.approx(3862, abs=0.5)
    assert years_needed(0.50, 0.50, sessions_per_year=252) is None


SKILLED = Evidence(
    n=2500, accuracy=0.55, accuracy_base_rate=0.52, log_loss=0.685, log_loss_base_rate=0.692, p_value=0.001,
    years_needed=6.0, sharpe_gross=1.2, sharpe_net=1.0, probabilistic_sharpe_gross=0.99,
    probabilistic_sharpe_net=0.97, break_even_cost_bps=12.0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("change", "rule", "says"),
    [
        ({"p_value": None}, "no_evidence_of_skill", "it never changed its call"),
        ({"p_value": 0.05}, "no_evidence_of_skill", "p = 0.050; log loss 0.68500, better than"),
        (
            {"log_loss": 0.691999, "p_value": 0.2},
            "no_evidence_of_skill",
            "log loss 0.69200, hardly better than",
        ),
        ({"p_value": 1e-9, "log_loss": 0.7}, "no_evidence_of_skill", "p < 0.001"),
        ({"log_loss": 0.692}, "no_evidence_of_skill", "log loss 0.69200, no better than the base rate's 0.69200"),
        ({"probabilistic_sharpe_gross": 0.9}, "skill_no_profit", "chance of a positive Sharpe ratio is only 90.0%"),
        ({"probabilistic_sharpe_gross": None}, "skill_no_profit", "undefined"),
        ({"probabilistic_sharpe_net": 0.6}, "costs_eat_it", "breaks even at 12.0 basis points a trade"),
        ({}, "not_tested_further", "Sharpe 1.00 after costs; whether it beats buy and hold"),
    ],
)
def test_the_first_rule_that_applies_gives_the_verdict(change: dict[str, Any], rule: str, says: str) -> None:
    found = verdict(replace(SKILLED, **change))
    assert found.rule == rule
    assert says in found.sentence
    assert found.sentence.endswith(".")


def test_no_evidence_says_how_long_it_would_take_where_it_can() -> None:
    doubtful = replace(SKILLED, p_value=0.3)
    assert "would take about 6 years" in verdict(doubtful).sentence
    assert "years" not in verdict(replace(doubtful, years_needed=None)).sentence
