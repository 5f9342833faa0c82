from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from quantlr.core.arrays import Array, IntArray
from quantlr.stats.directional import (
    clustered_accuracy_interval,
    clustered_auc_interval,
    clustered_pesaran_timmermann_test,
    delong_auc_interval,
    midranks,
    pesaran_timmermann_test,
    roc_auc,
    wilson_interval,
    years_to_significance,
)
from scipy import stats
from sklearn.metrics import roc_auc_score


def coin(seed: int, n: int, chance: float = 0.5) -> Array:
    return (np.random.default_rng(seed).random(n) < chance).astype(np.float64)


@given(n=st.integers(1, 5000), share=st.floats(0, 1))
def test_wilson_is_scipys(n: int, share: float) -> None:
    hits = int(share * n)
    expected = stats.binomtest(hits, n).proportion_ci(method="wilson")
    low, high = wilson_interval(hits, n)
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
    middle, interval = roc_auc(score, up), delong_auc_interval(score, up)
    assert middle is not None
    assert interval is not None
    low, high = interval
    assert middle == pytest.approx(roc_auc_score(up, score), abs=1e-12)
    wins = np.array([[(a > b) + 0.5 * (a == b) for b in score[up == 0]] for a in score[up == 1]])
    variance = wins.mean(axis=1).var(ddof=1) / len(wins) + wins.mean(axis=0).var(ddof=1) / wins.shape[1]
    half = 1.959963984540054 * np.sqrt(variance)
    assert (low, high) == pytest.approx((max(middle - half, 0), min(middle + half, 1)), abs=1e-9)


def test_area_needs_both_outcomes_and_its_interval_two_of_each() -> None:
    score = np.array([0.1, 0.2, 0.3])
    assert roc_auc(score, np.ones(3)) is None
    one = np.array([0.0, 1.0, 1.0])
    assert roc_auc(score, one) == 1.0
    assert delong_auc_interval(score, one) is None
    assert clustered_auc_interval(score, one, session=np.arange(3), horizon=1, rng=np.random.default_rng(0)) is None


@given(seed=st.integers(0, 10_000), n=st.integers(20, 600), chance=st.floats(0.2, 0.8))
def test_pesaran_timmermann_squared_is_pearsons_chi_square(seed: int, n: int, chance: float) -> None:
    up, calls = coin(seed, n, chance), coin(seed + 1, n, 0.6) == 1
    up[:2], calls[:2] = [0, 1], [True, False]
    found = pesaran_timmermann_test(calls, up)
    table = [[np.sum((calls == c) & (up == u)) for u in (0, 1)] for c in (False, True)]
    chi_square = stats.chi2_contingency(table, correction=False).statistic
    assert found is not None
    assert found["statistic"] ** 2 * (n - 1) / n == pytest.approx(chi_square, rel=1e-9, abs=1e-12)
    assert found["p_value"] == pytest.approx(stats.norm.sf(found["statistic"]), abs=1e-12)
    assert np.sign(found["statistic"]) == pytest.approx(np.sign(np.corrcoef(calls, up)[0, 1]))


@pytest.mark.parametrize("calls", [np.ones(50, dtype=np.bool_), np.zeros(50, dtype=np.bool_)])
def test_a_forecast_that_never_changes_can_not_be_tested(calls: Any) -> None:
    up = coin(1, 50)
    assert pesaran_timmermann_test(calls, up) is None
    assert (
        clustered_pesaran_timmermann_test(calls, up, session=np.arange(50), ticker=np.arange(50) % 2, horizon=2) is None
    )
    assert pesaran_timmermann_test(up == 1, np.ones(50)) is None


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
    found = clustered_pesaran_timmermann_test(calls, up, session=session, ticker=ticker, horizon=horizon)
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
    pooled = pesaran_timmermann_test(calls, up)
    found = clustered_pesaran_timmermann_test(calls, up, session=session, ticker=ticker, horizon=1)
    assert pooled is not None
    assert pooled["p_value"] < 1e-6
    assert found is not None
    assert found["p_value"] > 0.05
    always = clustered_pesaran_timmermann_test(ticker == 0, up, session=session, ticker=ticker, horizon=1)
    assert always is None


def test_52_percent_against_50_takes_3862_sessions() -> None:
    needed = years_to_significance(0.52, 0.50, sessions_per_year=252)
    assert needed is not None
    assert needed * 252 == pytest.approx(3862, abs=0.5)
    assert years_to_significance(0.50, 0.50, sessions_per_year=252) is None


def drawn_slowly(session: IntArray, *, block: float, draws: int, seed: int) -> Iterator[IntArray]:
    """Yield the rows of resamples: sessions one after the other, each followed by the next or by any."""
    rng = np.random.default_rng(seed)
    names = np.unique(session)
    rows = [np.flatnonzero(session == name) for name in names]
    for _ in range(draws):
        at = int(rng.integers(len(names)))
        chosen = []
        for _ in names:
            chosen.append(rows[at])
            at = int(rng.integers(len(names))) if rng.random() < 1 / block else (at + 1) % len(names)
        yield np.concatenate(chosen)


def panel(seed: int, *, sessions: int = 60, tickers: int = 3) -> tuple[Array, Array, IntArray]:
    """Return scores, outcomes and sessions that share a cause within each session, some rows missing."""
    rng = np.random.default_rng(seed)
    session = np.repeat(np.arange(sessions), tickers)
    score: Array = np.repeat(rng.normal(size=sessions), tickers) + rng.normal(size=len(session))
    lean = 0.5 * score + 0.7 * np.repeat(rng.normal(size=sessions), tickers) + rng.normal(size=len(session))
    up = (lean > 0).astype(np.float64)
    there = rng.random(len(session)) < 0.8
    return score[there], up[there], session[there]


@pytest.mark.parametrize("horizon", [1, 10])
def test_intervals_by_session_are_those_of_sessions_drawn_one_by_one(horizon: int) -> None:
    """Both are random: percentiles of 400 and of 1,000 resamples, and the area to first order only."""
    score, up, session = panel(horizon)
    hits = (score > 0) == (up == 1)
    block = float(max(horizon, 1))
    slow = np.array(
        [
            (hits[rows].mean(), roc_auc(score[rows], up[rows]) or np.nan)
            for rows in drawn_slowly(session, block=block, draws=400, seed=1)
        ]
    )
    right = clustered_accuracy_interval(hits, session=session, horizon=horizon, rng=np.random.default_rng(2))
    ranked = clustered_auc_interval(score, up, session=session, horizon=horizon, rng=np.random.default_rng(2))
    for found, column in ((right, 0), (ranked, 1)):
        spread = slow[:, column].std()
        assert found is not None
        assert found == pytest.approx(tuple(np.quantile(slow[:, column], [0.025, 0.975])), abs=0.4 * spread)


def test_intervals_of_what_shares_a_session_are_wider_than_those_that_take_it_as_independent() -> None:
    up = np.repeat(coin(1, 400), 5)
    score = np.repeat(np.random.default_rng(2).normal(size=400), 5) + up * 0.2
    hits, session = (score > 0) == (up == 1), np.repeat(np.arange(400), 5)
    rng = np.random.default_rng(3)
    low, high = clustered_accuracy_interval(hits, session=session, horizon=1, rng=rng)
    alone = wilson_interval(int(hits.sum()), len(hits))
    assert (high - low) / (alone[1] - alone[0]) == pytest.approx(np.sqrt(5), rel=0.15)
    together, apart = (
        clustered_auc_interval(score, up, session=session, horizon=1, rng=rng),
        delong_auc_interval(score, up),
    )
    assert together is not None
    assert apart is not None
    assert (together[1] - together[0]) / (apart[1] - apart[0]) == pytest.approx(np.sqrt(5), rel=0.15)


def test_intervals_by_session_agree_with_the_others_where_forecasts_are_independent() -> None:
    up = coin(4, 3000)
    score = np.random.default_rng(5).normal(size=3000) + 0.3 * up
    hits, session = (score > 0.15) == (up == 1), np.arange(3000)
    found = clustered_accuracy_interval(hits, session=session, horizon=1, rng=np.random.default_rng(0))
    assert found == pytest.approx(wilson_interval(int(hits.sum()), 3000), abs=0.003)
    ranked = clustered_auc_interval(score, up, session=session, horizon=1, rng=np.random.default_rng(0))
    expected = delong_auc_interval(score, up)
    assert ranked is not None
    assert expected is not None
    assert ranked == pytest.approx(expected, abs=0.003)
