from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantlr.core.values import Array, IntArray
from quantlr.stats.directional import (
    clustered_accuracy_and_auc_intervals,
    clustered_pesaran_timmermann_test,
    delong_auc_interval,
    midranks,
    pesaran_timmermann_test,
    roc_auc,
    wilson_interval,
)
from scipy import stats
from scipy.fft import dct
from sklearn.metrics import roc_auc_score


def random_outcomes(seed: int, n: int, chance: float = 0.5) -> Array:
    return (np.random.default_rng(seed).random(n) < chance).astype(np.float64)


@given(n=st.integers(1, 5000), share=st.floats(0, 1))
def test_wilson_interval_equals_scipy(n: int, share: float) -> None:
    hits = int(share * n)
    expected = stats.binomtest(hits, n).proportion_ci(method="wilson")
    low, high = wilson_interval(hits, n)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)


@given(values=st.lists(st.integers(-3, 3), min_size=1, max_size=40))
def test_midranks_equal_scipy(values: list[int]) -> None:
    array = np.array(values, dtype=np.float64)
    np.testing.assert_array_equal(midranks(array), stats.rankdata(array))


@given(seed=st.integers(0, 10_000), n=st.integers(10, 200), digits=st.integers(0, 3))
def test_auc_equals_scikit_learn_and_its_interval_delong(seed: int, n: int, digits: int) -> None:
    rng = np.random.default_rng(seed)
    up = random_outcomes(seed, n)
    up[:4] = [0, 1, 0, 1]
    score = np.round(rng.normal(size=n) + up, digits)
    auc, interval = roc_auc(score, up), delong_auc_interval(score, up)
    assert auc is not None
    assert interval is not None
    low, high = interval
    assert auc == pytest.approx(roc_auc_score(up, score), abs=1e-12)
    wins = np.array([[(a > b) + 0.5 * (a == b) for b in score[up == 0]] for a in score[up == 1]])
    variance = wins.mean(axis=1).var(ddof=1) / len(wins) + wins.mean(axis=0).var(ddof=1) / wins.shape[1]
    half = 1.959963984540054 * np.sqrt(variance)
    assert (low, high) == pytest.approx((max(auc - half, 0), min(auc + half, 1)), abs=1e-9)


def test_auc_needs_both_outcomes_and_its_interval_two_of_each() -> None:
    score = np.array([0.1, 0.2, 0.3])
    assert roc_auc(score, np.ones(3)) is None
    name = np.array([0.0, 1.0, 1.0])
    assert roc_auc(score, name) == 1.0
    assert delong_auc_interval(score, name) is None
    hits, rng = np.ones(3, dtype=np.bool_), np.random.default_rng(0)
    intervals = clustered_accuracy_and_auc_intervals(score, hits, name, session=np.arange(3), horizon=1, rng=rng)
    assert intervals == ((1.0, 1.0), None)


@given(seed=st.integers(0, 10_000), n=st.integers(20, 600), chance=st.floats(0.2, 0.8))
def test_pesaran_timmermann_squared_equals_pearson_chi_square(seed: int, n: int, chance: float) -> None:
    up, predicted_up = random_outcomes(seed, n, chance), random_outcomes(seed + 1, n, 0.6) == 1
    up[:2], predicted_up[:2] = [0, 1], [True, False]
    actual = pesaran_timmermann_test(predicted_up, up)
    table = [[np.sum((predicted_up == c) & (up == u)) for u in (0, 1)] for c in (False, True)]
    chi_square = stats.chi2_contingency(table, correction=False).statistic
    assert actual is not None
    assert actual["statistic"] ** 2 * (n - 1) / n == pytest.approx(chi_square, rel=1e-9, abs=1e-12)
    assert actual["p_value"] == pytest.approx(stats.norm.sf(actual["statistic"]), abs=1e-12)
    assert np.sign(actual["statistic"]) == pytest.approx(np.sign(np.corrcoef(predicted_up, up)[0, 1]))


@pytest.mark.parametrize("predicted_up", [np.ones(50, dtype=np.bool_), np.zeros(50, dtype=np.bool_)])
def test_constant_forecasts_have_no_test(predicted_up: Any) -> None:
    up = random_outcomes(1, 50)
    assert pesaran_timmermann_test(predicted_up, up) is None
    assert (
        clustered_pesaran_timmermann_test(predicted_up, up, session=np.arange(50), ticker=np.arange(50) % 2, horizon=2)
        is None
    )
    assert pesaran_timmermann_test(up == 1, np.ones(50)) is None


@pytest.mark.parametrize("horizon", [1, 5])
@pytest.mark.parametrize("tickers", [1, 4])
def test_clustered_pesaran_timmermann_is_the_cosine_test_of_session_sums(horizon: int, tickers: int) -> None:
    rng = np.random.default_rng(horizon * 10 + tickers)
    session = np.repeat(np.arange(150), tickers)
    up, predicted_up = random_outcomes(3, len(session), 0.55), rng.random(len(session)) < 0.6
    ticker = np.tile(np.arange(tickers), 150)
    products = np.empty(len(up))
    for name in range(tickers):
        rows = ticker == name
        products[rows] = (predicted_up[rows] - predicted_up[rows].mean()) * (up[rows] - up[rows].mean())
    sums = np.bincount(session, weights=products)
    n_frequencies = min(int(0.4 * 150 ** (2 / 3)), 150 // (2 * horizon))
    transforms = dct(sums, type=2, norm="ortho")[1 : n_frequencies + 1]
    statistic = sums.sum() / np.sqrt(150 * np.mean(transforms**2))
    actual = clustered_pesaran_timmermann_test(predicted_up, up, session=session, ticker=ticker, horizon=horizon)
    assert actual is not None
    assert actual["statistic"] == pytest.approx(statistic, rel=1e-10)
    assert actual["p_value"] == pytest.approx(stats.t.sf(statistic, n_frequencies), abs=1e-12)


def test_clustered_test_ignores_differences_between_tickers() -> None:
    """One ticker rises on 70 % of days, the other on 30 %; random forecasts have the rate of each ticker."""
    rng = np.random.default_rng(8)
    ticker = np.tile([0, 1], 2000)
    rate = np.where(ticker == 0, 0.7, 0.3)
    up, predicted_up = (rng.random(4000) < rate).astype(np.float64), rng.random(4000) < rate
    session = np.repeat(np.arange(2000), 2)
    pooled = pesaran_timmermann_test(predicted_up, up)
    actual = clustered_pesaran_timmermann_test(predicted_up, up, session=session, ticker=ticker, horizon=1)
    assert pooled is not None
    assert pooled["p_value"] < 1e-6
    assert actual is not None
    assert actual["p_value"] > 0.05
    by_ticker = clustered_pesaran_timmermann_test(ticker == 0, up, session=session, ticker=ticker, horizon=1)
    assert by_ticker is None


def slow_resamples(session: IntArray, *, block: float, draws: int, seed: int) -> Iterator[IntArray]:
    """Yield the rows of resamples, session by session: the next session or, at a restart, a random one."""
    rng = np.random.default_rng(seed)
    names = np.unique(session)
    rows = [np.flatnonzero(session == name) for name in names]
    for _ in range(draws):
        position = int(rng.integers(len(names)))
        chosen = []
        for _ in names:
            chosen.append(rows[position])
            position = int(rng.integers(len(names))) if rng.random() < 1 / block else (position + 1) % len(names)
        yield np.concatenate(chosen)


def panel(seed: int, *, sessions: int = 60, tickers: int = 3) -> tuple[Array, Array, IntArray]:
    """Return scores, outcomes and sessions with common components in each session, some rows missing."""
    rng = np.random.default_rng(seed)
    session = np.repeat(np.arange(sessions), tickers)
    score: Array = np.repeat(rng.normal(size=sessions), tickers) + rng.normal(size=len(session))
    lean = 0.5 * score + 0.7 * np.repeat(rng.normal(size=sessions), tickers) + rng.normal(size=len(session))
    up = (lean > 0).astype(np.float64)
    is_kept = rng.random(len(session)) < 0.8
    return score[is_kept], up[is_kept], session[is_kept]


@pytest.mark.parametrize("horizon", [1, 10])
def test_clustered_intervals_equal_loop_over_drawn_sessions(horizon: int) -> None:
    """Both are random: percentiles of 400 and of 1,000 resamples, and the AUC to first order only."""
    score, up, session = panel(horizon)
    hits = (score > 0) == (up == 1)
    block = float(max(horizon, 1))
    slow = np.array(
        [
            (hits[rows].mean(), roc_auc(score[rows], up[rows]) or np.nan)
            for rows in slow_resamples(session, block=block, draws=400, seed=1)
        ]
    )
    rng = np.random.default_rng(2)
    intervals = clustered_accuracy_and_auc_intervals(score, hits, up, session=session, horizon=horizon, rng=rng)
    for column, actual in enumerate(intervals):
        spread = slow[:, column].std()
        assert actual is not None
        assert actual == pytest.approx(tuple(np.quantile(slow[:, column], [0.025, 0.975])), abs=0.4 * spread)


def test_clustered_intervals_are_wider_by_the_cluster_size() -> None:
    up = np.repeat(random_outcomes(1, 400), 5)
    score = np.repeat(np.random.default_rng(2).normal(size=400), 5) + up * 0.2
    hits, session = (score > 0) == (up == 1), np.repeat(np.arange(400), 5)
    rng = np.random.default_rng(3)
    (low, high), clustered = clustered_accuracy_and_auc_intervals(score, hits, up, session=session, horizon=1, rng=rng)
    independent = wilson_interval(int(hits.sum()), len(hits))
    assert (high - low) / (independent[1] - independent[0]) == pytest.approx(np.sqrt(5), rel=0.15)
    independent_auc = delong_auc_interval(score, up)
    assert clustered is not None
    assert independent_auc is not None
    assert (clustered[1] - clustered[0]) / (independent_auc[1] - independent_auc[0]) == pytest.approx(
        np.sqrt(5), rel=0.15
    )


def test_clustered_intervals_of_independent_forecasts_equal_the_others() -> None:
    up = random_outcomes(4, 3000)
    score = np.random.default_rng(5).normal(size=3000) + 0.3 * up
    hits, session = (score > 0.15) == (up == 1), np.arange(3000)
    rng = np.random.default_rng(0)
    actual, auc_interval = clustered_accuracy_and_auc_intervals(score, hits, up, session=session, horizon=1, rng=rng)
    assert actual == pytest.approx(wilson_interval(int(hits.sum()), 3000), abs=0.003)
    expected = delong_auc_interval(score, up)
    assert auc_interval is not None
    assert expected is not None
    assert auc_interval == pytest.approx(expected, abs=0.003)
