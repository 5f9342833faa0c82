from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from quantlr.backtest.costs import ExecutionSpec
from quantlr.backtest.policies import POLICIES, Known, Policy, Threshold, decide_positions, known_at_close, tranches
from quantlr.types import Array, BoolArray, Forecasts, IntArray, Refits

from markets import random_walk

EXAMPLES = [example for policy in POLICIES for example in policy.examples() if isinstance(example, Policy)]
walk = pytest.mark.parametrize("policy", EXAMPLES, ids=lambda policy: policy.kind)


def forecasts(probability: list[float], *, ticker: list[int], session: list[int], horizon: int = 1) -> Forecasts:
    n = len(probability)
    prices = random_walk(0, sessions=max(session) + 30, tickers=max(ticker) + 1)
    nothing: Array = np.zeros(n)
    none: IntArray = np.zeros(0, dtype=np.int64)
    no: BoolArray = np.zeros(0, dtype=np.bool_)
    refits = Refits((), none, none, np.zeros((0, 1)), none, np.zeros(0), no, no, np.zeros((0, 2)), np.zeros(0))
    return Forecasts(
        tickers=prices.tickers,
        sessions=prices.sessions,
        ticker=np.array(ticker, dtype=np.int64),
        session=np.array(session, dtype=np.int64),
        log_odds=nothing,
        probability=np.array(probability),
        up=nothing,
        span_return=nothing,
        base_rate=nothing + 0.5,
        mean_gain=nothing + 0.01,
        mean_loss=nothing - 0.01,
        deviation=nothing + 0.01,
        fold=np.zeros(n, dtype=np.int64),
        horizon=horizon,
        refits=refits,
    )


def nothing_known(n: int) -> Known:
    return Known(volatility=np.full(n, 0.01), round_trip_cost=0.0006)


def test_threshold_by_arithmetic() -> None:
    found = forecasts([0.4, 0.5, 0.51, 0.6], ticker=[0, 0, 0, 0], session=[3, 4, 5, 6])
    known = nothing_known(4)
    np.testing.assert_array_equal(Threshold().decide(found, known), [0, 0, 1, 1])
    np.testing.assert_array_equal(Threshold(short_below=0.5).decide(found, known), [-1, 0, 1, 1])
    np.testing.assert_array_equal(Threshold(long_above=0.55, short_below=0.45).decide(found, known), [-1, 0, 0, 1])


def test_bands_that_overlap_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"must not be above policy\.long_above, 0\.5"):
        Threshold(long_above=0.5, short_below=0.6)


def test_a_sessions_tickers_share_its_capital() -> None:
    found = forecasts([0.9, 0.9, 0.9], ticker=[0, 0, 1], session=[3, 4, 4])
    weight = decide_positions(Threshold(), found, nothing_known(3)).weight
    assert weight[3, 0] == 1.0
    assert weight[4].tolist() == [0.5, 0.5]
    assert np.isnan(weight[3, 1])
    assert np.isnan(weight[5:]).all()


def test_a_horizon_of_three_holds_three_tranches_the_missing_ones_empty() -> None:
    found = forecasts([0.9, 0.9, 0.1, 0.1], ticker=[0] * 4, session=[3, 4, 5, 6], horizon=3)
    weight = decide_positions(Threshold(short_below=0.5), found, nothing_known(4)).weight
    np.testing.assert_allclose(weight[3:7, 0], [1 / 3, 2 / 3, 1 / 3, -1 / 3])


@given(decision=st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=1, max_size=30), horizon=st.integers(1, 40))
def test_tranches_are_the_mean_of_the_newest_decisions(decision: list[float], horizon: int) -> None:
    held = tranches(np.array(decision), horizon=horizon)
    for t in range(len(decision)):
        assert held[t] == pytest.approx(sum(decision[max(t - horizon + 1, 0) : t + 1]) / horizon, abs=1e-12)


@walk
@given(seed=st.integers(0, 10_000), cut=st.integers(2, 18))
def test_decisions_do_not_see_later_forecasts(policy: Policy, seed: int, cut: int) -> None:
    rng = np.random.default_rng(seed)
    n = 20
    found = forecasts(rng.random(n).tolist(), ticker=[0] * n, session=list(range(3, 3 + n)), horizon=2)
    later = np.arange(n) > cut
    other = replace(found, probability=np.where(later, rng.random(n), found.probability))
    known = nothing_known(n)
    now, changed = (decide_positions(policy, made, known).weight for made in (found, other))
    np.testing.assert_array_equal(now[: 4 + cut], changed[: 4 + cut])


@walk
def test_decisions_are_within_one_and_the_policy_is_documented(policy: Policy) -> None:
    rng = np.random.default_rng(1)
    found = forecasts(rng.random(200).tolist(), ticker=[0] * 200, session=list(range(200)))
    assert np.abs(policy.decide(found, nothing_known(200))).max() <= 1
    assert (type(policy).__doc__ or "").strip()
    for name, field in type(policy).model_fields.items():
        assert name == "kind" or field.description


def test_what_is_known_at_the_close_is_the_trailing_volatility_and_the_cost_there_and_back() -> None:
    prices = random_walk(4, sessions=60)
    found = replace(forecasts([0.5] * 3, ticker=[0] * 3, session=[10, 20, 45]), sessions=prices.sessions)
    known = known_at_close(prices, found, ExecutionSpec(commission_bps=1.0, slippage_bps=2.0))
    returns = prices.close[1:, 0] / prices.close[:-1, 0] - 1
    assert np.isnan(known.volatility[0])
    assert known.volatility[1] == pytest.approx(returns[:20].std(ddof=1), rel=1e-9)
    assert known.volatility[2] == pytest.approx(returns[25:45].std(ddof=1), rel=1e-9)
    assert known.round_trip_cost == pytest.approx(0.0006)
