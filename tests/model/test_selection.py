"""Choosing among candidates against a nested loop of scikit-learn pipelines, and the bound on a mixture's regret."""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quantlr.config.run_config import RunConfig, load_config
from quantlr.core.values import Array, Dataset, Forecasts, Prices
from quantlr.model.candidates import SelectedForecasts
from quantlr.model.selection import ScoredRows, SelectSpec, weigh_candidates
from quantlr.pipeline.stages import Decisions, forecast_and_decide

from markets import random_walk_prices
from oracles import sklearn_probabilities

LAGS, PENALTIES, WINDOWS = ([1], [1, 2, 3]), (0.001, 0.5), ("expanding", "rolling")
TRAIN, REFIT_EVERY, N_SESSIONS = 100, 20, 260


def make_config(*, n_tickers: int = 1, horizon: int = 1, embargo: int = 0, **select: Any) -> RunConfig:
    over = {"features.0.lags": LAGS, "model.l2": PENALTIES, "walk_forward.window": WINDOWS}
    return load_config(
        {
            "name": "chosen",
            "data": {"source": {"kind": "sample"}, "tickers": [f"T{ticker}" for ticker in range(n_tickers)]},
            "features": [{"kind": "lagged_returns"}],
            "label": {"horizon": horizon},
            "model": {"tol": 1e-12},
            "walk_forward": {"train": TRAIN, "refit_every": REFIT_EVERY, "embargo": embargo},
            "select": {"over": over, **select},
        }
    ).run


def decide(config: RunConfig, prices: Prices) -> tuple[Dataset, SelectedForecasts]:
    decisions = forecast_and_decide(config, prices)
    assert isinstance(decisions.forecasts, SelectedForecasts)
    return decisions.dataset, decisions.forecasts


def log_loss(probability: float, up: float) -> float:
    return 0.0 if math.isnan(up) else -math.log(probability if up else 1.0 - probability)


def choose_by_loop(
    probabilities: Array, up: Array, *, how: str, window: int, horizon: int, embargo: int
) -> tuple[Array, Array]:
    """Return weights and probabilities, session by session, from the candidates' (sessions, candidates)."""
    n, n_candidates = probabilities.shape
    losses = [[log_loss(probabilities[t, k], up[t]) for k in range(n_candidates)] for t in range(n)]
    weights = np.zeros_like(probabilities)
    for t in range(n):
        known = [past for past in range(n) if past + horizon + embargo <= t]
        if how == "mixture":
            known = [past for past in known if (t - past) % (horizon + embargo) == 0]
            product = [math.exp(-sum(losses[past][k] for past in known)) for k in range(n_candidates)]
            weights[t] = np.array(product) / sum(product)
        elif t % REFIT_EVERY:
            weights[t] = weights[t - 1]
        else:
            known = known[-window:] if how == "follow" else known
            totals = [sum(losses[past][k] for past in known) for k in range(n_candidates)]
            weights[t, totals.index(min(totals))] = 1.0
    return weights, (weights * probabilities).sum(axis=1)


@functools.cache
def sklearn_candidates(horizon: int, embargo: int) -> tuple[Array, Array]:
    """Return probabilities (sessions, candidates) and outcomes (sessions,) from prices, without quantlr."""
    close = random_walk_prices(3, n_sessions=N_SESSIONS, n_tickers=1).close[:, 0]
    returns = np.diff(np.log(close), prepend=np.nan)
    features = np.column_stack([np.concatenate([np.full(lag, np.nan), returns])[: len(close)] for lag in range(3)])
    rows = np.arange(3, len(close))  # all candidates have the same rows
    up = np.full(len(close), np.nan)
    up[:-horizon] = close[horizon:] > close[:-horizon]
    columns = []
    for lags, l2, window in itertools.product(LAGS, PENALTIES, WINDOWS):
        test_rows, probabilities = sklearn_probabilities(
            features[rows][:, [lag - 1 for lag in lags]], up[rows], train=TRAIN, refit_every=REFIT_EVERY,
            rolling=window == "rolling", horizon=horizon, embargo=embargo, l2=l2,
        )  # fmt: skip
        columns.append(probabilities)
    return np.array(columns).T, up[rows][test_rows]


@pytest.mark.parametrize(
    ("how", "horizon", "embargo"),
    [("mixture", 1, 0), ("best", 1, 0), ("follow", 1, 0), ("mixture", 3, 2), ("best", 3, 2)],
)
def test_choice_equals_a_nested_loop_of_scikit_learn_pipelines(how: str, horizon: int, embargo: int) -> None:
    prices = random_walk_prices(3, n_sessions=N_SESSIONS, n_tickers=1)
    _, forecasts = decide(make_config(how=how, window=30, horizon=horizon, embargo=embargo), prices)
    probabilities, up = sklearn_candidates(horizon, embargo)
    weights, expected = choose_by_loop(probabilities, up, how=how, window=30, horizon=horizon, embargo=embargo)
    np.testing.assert_allclose(forecasts.probability, expected, rtol=0, atol=1e-8)
    np.testing.assert_allclose(forecasts.selection.weights, weights, rtol=0, atol=1e-8)
    assert len({tuple(row) for row in weights.round(6)}) > 1


def test_candidates_of_several_tickers_are_weighted_by_the_mean_loss_of_each_session() -> None:
    prices = random_walk_prices(5, n_sessions=260, n_tickers=3, with_gaps=True)
    dataset, forecasts = decide(make_config(n_tickers=3, how="mixture"), prices)
    selection, sessions = forecasts.selection, forecasts.selection.session.tolist()
    candidates = [candidate.log_odds for candidate in selection.candidates]
    known_at = {
        (int(dataset.ticker[row]), int(dataset.session[row])): int(dataset.label_known_at[row])
        for row in range(len(dataset.up))
    }
    for t in (0, 1, 40, len(sessions) - 1):
        total = np.zeros(len(candidates))
        for row, (ticker, session) in enumerate(
            zip(forecasts.ticker.tolist(), forecasts.session.tolist(), strict=True)
        ):
            if known_at[ticker, session] <= sessions[t]:
                n_tickers = int((forecasts.session == session).sum())
                z = np.array([log_odds[row] for log_odds in candidates])
                total += (np.logaddexp(0, z) - forecasts.up[row] * z) / n_tickers
        weights = np.exp(total.min() - total)
        np.testing.assert_allclose(selection.weights[t], weights / weights.sum(), rtol=0, atol=1e-10)


def test_a_single_candidate_is_the_run_of_its_own_config() -> None:
    prices = random_walk_prices(7, n_sessions=300, n_tickers=2, with_gaps=True)
    config = make_config(n_tickers=2, how="best")
    config = load_config(config, overrides={"select.over": {"features.0.lags": [[1, 3]], "model.l2": [0.01]}}).run
    _, forecasts = decide(config, prices)
    own = forecast_and_decide(config.candidates()[0].config, prices).forecasts
    for name in ("ticker", "session", "log_odds", "base_rate", "training_probability_std", "mean_loss", "fold"):
        np.testing.assert_array_equal(getattr(forecasts, name), getattr(own, name), err_msg=name)
    np.testing.assert_array_equal(forecasts.refits.coefficients, own.refits.coefficients)


@pytest.mark.parametrize("how", ["mixture", "best"])
def test_only_rows_that_all_candidates_forecast_are_chosen(how: str) -> None:
    prices = random_walk_prices(7, n_sessions=300, n_tickers=2)
    short = Prices.before_session(prices, 300)
    config = make_config(n_tickers=2, how=how)
    over = {
        "walk_forward.train": [100, 170],
        "features": [[{"kind": "lagged_returns", "lags": [1]}], [{"kind": "volatility", "windows": [30]}]],
    }
    config = load_config(config, overrides={"select.over": over}).run
    dataset, forecasts = decide(config, short)
    assert np.bincount(forecasts.ticker).tolist() == [300 - 30 - 170] * 2
    assert dataset.columns == ("lagged_returns_1", "volatility_30")
    for index, candidate in enumerate(config.candidates()):
        own = forecasts.of_candidate(index)
        rows = forecast_and_decide(candidate.config, short).forecasts
        assert own.refits.columns == rows.refits.columns
        assert len(own.up) == len(forecasts.up)
        if "volatility_30" in own.refits.columns:  # its own warm-up is the longest
            kept = np.isin(rows.session, forecasts.session)
            np.testing.assert_array_equal(own.log_odds, rows.log_odds[kept])
            np.testing.assert_array_equal(own.fold, rows.fold[kept])


def test_statistics_of_the_training_rows_are_weighted_as_the_probabilities() -> None:
    prices = random_walk_prices(9, n_sessions=300, n_tickers=1)
    _, forecasts = decide(make_config(how="mixture"), prices)
    weights = forecasts.selection.weights
    parts: list[Forecasts] = [forecasts.of_candidate(index) for index in range(weights.shape[1])]
    for name in ("probability", "base_rate", "mean_gain", "training_probability_mean", "training_up_rate"):
        expected = (weights * np.column_stack([getattr(part, name) for part in parts])).sum(axis=1)
        np.testing.assert_allclose(getattr(forecasts, name), expected, rtol=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    lag=st.integers(1, 6),
    n_candidates=st.integers(1, 8),
    spread=st.sampled_from([0.1, 2.0, 30.0]),
)
def test_regret_of_a_mixture_is_within_its_bound(seed: int, lag: int, n_candidates: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 60))
    log_odds = rng.normal(0.0, spread, (n_candidates, n))
    up = (log_odds[0] > 0).astype(np.float64) if rng.random() < 0.5 else rng.integers(0, 2, n).astype(np.float64)
    session = np.arange(n)
    rows = ScoredRows(up, session, session + lag, n)
    weights = weigh_candidates(list(log_odds), rows, SelectSpec(how="mixture"), refit_every=1, lag=lag)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    losses = np.logaddexp(0, log_odds) - up * log_odds
    mixed = -np.log((weights.T * np.exp(-losses)).sum(axis=0))
    assert mixed.sum() <= losses.sum(axis=1).min() + lag * math.log(n_candidates) + 1e-9


def test_a_single_stream_of_weights_would_exceed_the_bound() -> None:
    """With delays, weights from all losses at once, divided by the delay, can lose more than D ln K."""
    lag, small = 2, 0.17
    session = np.arange(40)
    log_odds = np.stack([np.full(40, 40.0), np.full(40, math.log(small / (1 - small)))])
    losses = np.logaddexp(0, log_odds) - log_odds
    known = np.maximum(session - lag + 1, 0)
    weights = np.exp(-losses[:, :1] * known / lag)
    mixed = -np.log((weights / weights.sum(axis=0) * np.exp(-losses)).sum(axis=0))
    assert mixed.sum() > losses.sum(axis=1).min() + lag * math.log(2) + 0.1
    rows = ScoredRows(np.ones(40), session, session + lag, 40)
    interleaved = weigh_candidates(list(log_odds), rows, SelectSpec(), refit_every=1, lag=lag)
    mixed = -np.log((interleaved.T * np.exp(-losses)).sum(axis=0))
    assert mixed.sum() <= losses.sum(axis=1).min() + lag * math.log(2) + 1e-9


def test_outcomes_that_become_known_late_are_used_late() -> None:
    session, up = np.arange(6), np.array([1.0, 1.0, np.nan, 1.0, 0.0, 1.0])
    usable_from = np.array([1, 4, 3, 4, 6, 6])
    log_odds = [np.full(6, 1.0), np.full(6, -1.0)]
    weights = weigh_candidates(log_odds, ScoredRows(up, session, usable_from, 6), SelectSpec(), refit_every=1, lag=1)
    odds = weights[:, 0] / weights[:, 1]
    np.testing.assert_allclose(np.log(odds), [0.0, 1.0, 1.0, 1.0, 3.0, 3.0])


def test_decisions_follow_the_chosen_probabilities() -> None:
    prices = random_walk_prices(3, n_sessions=300, n_tickers=1)
    decisions: Decisions = forecast_and_decide(make_config(how="mixture"), prices)
    weight = decisions.positions.weight[decisions.forecasts.session, decisions.forecasts.ticker]
    np.testing.assert_array_equal(weight, (decisions.forecasts.probability > 0.5).astype(np.float64))
