from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from quantlr.backtest.costs import ExecutionSpec, half_spread
from quantlr.backtest.policies import (
    POLICIES,
    DecisionContext,
    ExpectedValue,
    Kelly,
    Policy,
    Proportional,
    Threshold,
    TopK,
    average_over_tranches,
    decide_positions,
    expected_return,
    hysteresis_positions,
    make_decision_context,
)
from quantlr.core.values import Forecasts

from markets import as_quoted, forecasts, mirrored, random_forecasts, random_walk_prices
from oracles import walked

EXAMPLES = [example for policy in POLICIES for example in policy.examples() if isinstance(example, Policy)]
walk = pytest.mark.parametrize("policy", EXAMPLES, ids=lambda policy: policy.kind)


def known_of(found: Forecasts, **changed: Any) -> DecisionContext:
    """Return what is known at as many closes: 1 % volatility, a round trip of 20 basis points, no interest."""
    n = len(found.ticker)
    known = DecisionContext(
        np.full(n, 0.01), np.full(n, 0.002), horizon_interest=0.0, horizon_borrow_cost=0.0, sessions_per_year=252
    )
    return replace(known, **changed)


def in_a_row(probability: list[float], **keys: Any) -> Forecasts:
    """Return forecasts of one ticker, session after session."""
    return forecasts(probability, ticker=[0] * len(probability), session=list(range(3, 3 + len(probability))), **keys)


def decided(policy: Policy, found: Forecasts, **known: Any) -> list[float]:
    return list(policy.decide(found, known_of(found, **known)))


def test_threshold_by_arithmetic() -> None:
    found = in_a_row([0.4, 0.5, 0.51, 0.6])
    assert decided(Threshold(), found) == [0, 0, 1, 1]
    assert decided(Threshold(short_below=0.5), found) == [-1, 0, 1, 1]
    assert decided(Threshold(long_above=0.55, short_below=0.45), found) == [-1, 0, 0, 1]


def test_bands_keep_a_position_until_it_has_left_them() -> None:
    policy = Threshold(long_above=0.55, exit_long_below=0.5)
    found = in_a_row([0.54, 0.56, 0.51, 0.5, 0.49, 0.52, 0.6])
    assert decided(policy, found) == [0, 1, 1, 1, 0, 0, 1]
    both = Threshold(long_above=0.55, exit_long_below=0.5, short_below=0.45, exit_short_above=0.52)
    found = in_a_row([0.44, 0.51, 0.53, 0.44, 0.56, 0.46, 0.56, 0.44])
    assert decided(both, found) == [-1, -1, 0, -1, 1, 0, 1, -1]


def test_a_band_on_one_side_leaves_the_other_as_it_is() -> None:
    policy = Threshold(long_above=0.55, exit_long_below=0.5, short_below=0.45)
    assert decided(policy, in_a_row([0.44, 0.46, 0.56, 0.52, 0.44, 0.5])) == [-1, 0, 1, 1, -1, 0]
    policy = Threshold(long_above=0.55, short_below=0.45, exit_short_above=0.5)
    assert decided(policy, in_a_row([0.44, 0.46, 0.56, 0.52, 0.44, 0.5])) == [-1, -1, 1, 0, -1, -1]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"short_below": 0.6}, r"must not be above policy\.long_above, 0\.5"),
        ({"exit_long_below": 0.6}, r"must not be above policy\.long_above, 0\.5"),
        ({"exit_long_below": 0.4, "short_below": 0.45}, r"must not be above policy\.exit_long_below, 0\.4"),
        ({"short_below": 0.4, "exit_short_above": 0.3}, r"must not be below policy\.short_below, 0\.4"),
        ({"short_below": 0.4, "exit_short_above": 0.6}, r"must not be above policy\.long_above, 0\.5"),
        ({"exit_short_above": 0.45}, r"needs policy\.short_below, which is null"),
    ],
)
def test_bands_that_overlap_are_refused(keys: dict[str, float], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Threshold.model_validate(keys)


def test_proportional_by_arithmetic() -> None:
    """At .52, 40 % of the way to .55; from a base rate of .54 it is as far on the other side."""
    found = replace(in_a_row([0.52, 0.6, 0.46]), base_rate=np.full(3, 0.54))
    assert decided(Proportional(), found) == pytest.approx([0.4, 1.0, 0.0])
    assert decided(Proportional(cap=0.3), found) == pytest.approx([0.3, 0.3, 0.0])
    around = Proportional(around="base_rate", sides="long_short")
    assert decided(around, found) == pytest.approx([-0.4, 1.0, -1.0])


def test_the_sure_thing_or_the_gamble() -> None:
    """Gain 2 % or lose 1 %: at .4 worth .2 %, what a round trip costs; at .42 .26 %; at .34 .02 %; at .33 none."""
    found = in_a_row([0.4, 0.42, 0.34, 0.33, 0.4], gain=0.02, loss=-0.01)
    assert decided(ExpectedValue(), found, round_trip_cost=np.full(5, 0.0020001)) == [0, 1, 1, 0, 0]


def test_a_sure_prize_of_cash_is_what_the_gamble_must_beat() -> None:
    """Worth .26 % against .2 % of costs: with .1 % of interest over the span it isn't worth getting in; nor is staying
    in for .02 %."""
    found = in_a_row([0.42, 0.5, 0.34], gain=0.02, loss=-0.01)
    assert decided(ExpectedValue(), found, interest=0.001) == [0, 1, 0]


def test_short_is_the_mirror_less_borrow() -> None:
    """Worth -.3 %: a short earns it, less .05 % of borrow; then -.04 % doesn't pay the borrow."""
    found = in_a_row([0.35, 0.48], gain=0.01, loss=-0.01)
    both = ExpectedValue(sides="long_short")
    assert decided(both, found) == [-1, -1]
    assert decided(both, found, borrow=0.0005) == [-1, 0]
    assert decided(ExpectedValue(), found) == [0, 0]


def test_the_way_in_is_paid_at_each_closes_own_price() -> None:
    found = in_a_row([0.6, 0.6], gain=0.01, loss=-0.01)
    assert decided(ExpectedValue(), found, round_trip_cost=np.array([0.0021, 0.0019])) == [0, 1]


def test_expected_value_where_nothing_went_down() -> None:
    """All training rows went up: sure of another, no mean loss is needed; in any doubt there is nothing to go by."""
    found = replace(in_a_row([1.0, 0.9]), mean_loss=np.full(2, np.nan))
    np.testing.assert_array_equal(expected_return(found), [0.01, np.nan])
    assert decided(ExpectedValue(), found) == [1, 0]
    assert decided(Kelly(), found) == [1, 0]


def test_kelly_by_arithmetic() -> None:
    """Worth .0002 with a deviation of .02: half of .0002 / .0004 is a quarter; with interest of .0001, an eighth."""
    found = replace(in_a_row([0.51, 0.49, 0.9], gain=0.01, loss=-0.01), std=np.full(3, 0.02))
    assert decided(Kelly(), found) == pytest.approx([0.25, 0.0, 1.0])
    assert decided(Kelly(sides="long_short"), found) == pytest.approx([0.25, -0.25, 1.0])
    assert decided(Kelly(sides="long_short"), found, interest=0.0001) == pytest.approx([0.125, -0.375, 1.0])
    assert decided(Kelly(sides="long_short"), found, borrow=0.0001) == pytest.approx([0.25, -0.125, 1.0])
    certain = replace(found, std=np.array([0.0, np.nan, 0.02]))
    assert decided(Kelly(), certain) == [0, 0, 1]


def test_kelly_makes_wealth_grow_fastest() -> None:
    """Of all fractions held of small normal returns, mean over variance has the largest mean log growth."""
    mean, deviation = 0.0002, 0.01
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    returns = mean + deviation * nodes
    fractions = np.linspace(0, 4, 401)
    growth = [float(weights @ np.log1p(fraction * returns)) for fraction in fractions]
    p = (mean + 0.01) / 0.02
    found = replace(in_a_row([p], gain=0.01, loss=-0.01), std=np.array([deviation]))
    (quarter,) = decided(Kelly(fraction=0.25), found)
    assert quarter / 0.25 == pytest.approx(fractions[int(np.argmax(growth))], rel=0.01)


def test_the_highest_share_the_capital() -> None:
    found = forecasts([0.6, 0.4, 0.55, 0.5, 0.3], ticker=[0, 0, 1, 1, 2], session=[3, 4, 3, 4, 3])
    weight = decide_positions(TopK(k=1), found, known_of(found)).weight
    np.testing.assert_array_equal(weight[3:5], [[1, 0, 0], [0, 1, np.nan]])
    weight = decide_positions(TopK(k=2), found, known_of(found)).weight
    np.testing.assert_array_equal(weight[3:5], [[0.5, 0.5, 0], [0.5, 0.5, np.nan]])
    weight = decide_positions(TopK(k=1, sides="long_short"), found, known_of(found)).weight
    np.testing.assert_array_equal(weight[3:5], [[0.5, 0, -0.5], [-0.5, 0.5, np.nan]])


def test_equal_probabilities_are_ranked_as_the_config_names_tickers() -> None:
    found = forecasts([0.5] * 4, ticker=[0, 1, 2, 3], session=[3] * 4)
    assert decided(TopK(k=2), found) == [1, 1, 0, 0]
    assert decided(TopK(k=1, sides="long_short"), found) == [1, 0, 0, -1]
    assert decided(TopK(k=9, sides="long_short"), found) == [1, 1, -1, -1]
    alone = forecasts([0.9], ticker=[0], session=[3])
    assert decided(TopK(), alone) == [1]
    assert decided(TopK(sides="long_short"), alone) == [0], "one ticker is not held on both sides"


def test_a_sessions_tickers_share_its_capital() -> None:
    found = forecasts([0.9, 0.9, 0.9], ticker=[0, 0, 1], session=[3, 4, 4])
    weight = decide_positions(Threshold(), found, known_of(found)).weight
    assert weight[3, 0] == 1.0
    assert weight[4].tolist() == [0.5, 0.5]
    assert np.isnan(weight[3, 1])
    assert np.isnan(weight[5:]).all()


def test_a_horizon_of_three_holds_three_tranches_the_missing_ones_empty() -> None:
    found = in_a_row([0.9, 0.9, 0.1, 0.1], horizon=3)
    weight = decide_positions(Threshold(short_below=0.5), found, known_of(found)).weight
    np.testing.assert_allclose(weight[3:7, 0], [1 / 3, 2 / 3, 1 / 3, -1 / 3])


def test_each_tranche_stays_by_what_it_held_itself() -> None:
    """Two tranches: the first enters and stays while the second, which never entered, is flat at the same odds."""
    policy = Threshold(long_above=0.55, exit_long_below=0.45)
    found = in_a_row([0.6, 0.5, 0.5, 0.5, 0.4, 0.6, 0.5, 0.5], horizon=2)
    assert decided(policy, found) == [1, 0, 1, 0, 0, 1, 0, 1]
    weight = decide_positions(policy, found, known_of(found)).weight[3:11, 0]
    np.testing.assert_allclose(weight, [0.5, 0.5, 0.5, 0.5, 0.0, 0.5, 0.5, 0.5])


@given(decision=st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=1, max_size=30), horizon=st.integers(1, 40))
def test_tranches_are_the_mean_of_the_newest_decisions(decision: list[float], horizon: int) -> None:
    held = average_over_tranches(np.array(decision), horizon=horizon)
    for t in range(len(decision)):
        assert held[t] == pytest.approx(sum(decision[max(t - horizon + 1, 0) : t + 1]) / horizon, abs=1e-12)


@given(seed=st.integers(0, 100_000), horizon=st.integers(1, 6), tickers=st.integers(0, 4), quiet=st.floats(0, 1))
def test_sides_are_those_of_a_walk_through_the_decisions(seed: int, horizon: int, tickers: int, quiet: float) -> None:
    rng = np.random.default_rng(seed)
    ticker = np.repeat(np.arange(tickers) * 3, rng.integers(1, 30, tickers))
    n = len(ticker)
    enter = rng.choice([-1, 1], n) * (rng.random(n) > quiet)
    stays_long, stays_short = rng.random(n) < 0.8, rng.random(n) < 0.8
    held = hysteresis_positions(
        enter, may_stay_long=stays_long, may_stay_short=stays_short, ticker_index=ticker, horizon=horizon
    )
    assert held.tolist() == walked(
        ticker.tolist(), enter.tolist(), stays_long.tolist(), stays_short.tolist(), horizon=horizon
    )


@walk
@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), cut=st.integers(2, 38), horizon=st.integers(1, 4))
def test_decisions_do_not_see_later_forecasts(policy: Policy, seed: int, cut: int, horizon: int) -> None:
    found = random_forecasts(seed, horizon=horizon)
    rng = np.random.default_rng(seed + 1)
    later = found.session > cut
    other = replace(
        found,
        probability=np.where(later, rng.random(len(later)), found.probability),
        mean_gain=np.where(later, rng.random(len(later)), found.mean_gain),
        base_rate=np.where(later, rng.random(len(later)), found.base_rate),
    )
    now, changed = (decide_positions(policy, made, known_of(made)).weight for made in (found, other))
    np.testing.assert_array_equal(now[: cut + 1], changed[: cut + 1])


@walk
@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), horizon=st.integers(1, 4))
def test_a_session_never_holds_more_than_its_capital(policy: Policy, seed: int, horizon: int) -> None:
    found = random_forecasts(seed, horizon=horizon, tickers=5)
    assert np.abs(policy.decide(found, known_of(found))).max() <= 1
    # The mean of the last tranches adds up to 1 where each session's do and the same tickers share them.
    weight = decide_positions(policy, replace(found, horizon=1), known_of(found)).weight
    assert np.nansum(np.abs(weight), axis=1).max() <= 1 + 1e-12
    if getattr(policy, "sides", "long_short") == "long" or getattr(policy, "short_below", 0) is None:
        assert np.nanmin(weight) >= 0


@pytest.mark.parametrize(
    "policy",
    [
        Threshold(long_above=0.53, exit_long_below=0.48, short_below=0.47, exit_short_above=0.52),
        Proportional(around="base_rate", sides="long_short"),
        Proportional(sides="long_short"),
        ExpectedValue(sides="long_short"),
        Kelly(sides="long_short", fraction=0.01),
    ],
    ids=lambda policy: policy.kind,
)
@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), horizon=st.integers(1, 3))
def test_in_a_mirrored_market_a_policy_of_both_sides_does_the_opposite(policy: Policy, seed: int, horizon: int) -> None:
    found = random_forecasts(seed, horizon=horizon)
    # Off the rounded probabilities: at a bound itself, above and below are not mirror images.
    found = replace(found, probability=found.probability + 0.0013)
    here, there = decided(policy, found), decided(policy, mirrored(found))
    np.testing.assert_allclose(here, -np.array(there), atol=1e-9)
    assert np.abs(here).sum() > 0


@given(seed=st.integers(0, 10_000))
def test_the_highest_are_the_lowest_of_a_mirrored_market(seed: int) -> None:
    found = random_forecasts(seed, tickers=5)
    distinct = replace(found, probability=np.random.default_rng(seed).random(len(found.ticker)))
    both = TopK(k=2, sides="long_short")
    np.testing.assert_array_equal(decided(both, distinct), -np.array(decided(both, mirrored(distinct))))


@walk
def test_the_policy_is_documented(policy: Policy) -> None:
    assert (type(policy).__doc__ or "").strip()
    for name, field in type(policy).model_fields.items():
        assert name == "kind" or field.description


def test_what_is_known_at_the_close() -> None:
    prices = as_quoted(random_walk_prices(4, n_sessions=60, n_tickers=2), 4)
    found = replace(
        forecasts([0.5] * 4, ticker=[0, 0, 0, 1], session=[10, 20, 45, 45], horizon=5), sessions=prices.sessions
    )
    execution = ExecutionSpec(
        commission_bps=1.0, slippage_bps=2.0, per_share=0.01, spread="corwin_schultz", cash_rate=0.0252
    )
    known = make_decision_context(prices, found, execution, sessions_per_year=252)
    returns = prices.close[1:, 0] / prices.close[:-1, 0] - 1
    assert np.isnan(known.volatility[0])
    assert known.volatility[1] == pytest.approx(returns[:20].std(ddof=1), rel=1e-9)
    assert known.volatility[2] == pytest.approx(returns[25:45].std(ddof=1), rel=1e-9)
    half = half_spread(prices, traded_mask=np.ones(2, dtype=np.bool_))
    for row, (session, ticker) in enumerate([(10, 0), (20, 0), (45, 0), (45, 1)]):
        once = 0.0003 + half[session, ticker] + 0.01 / prices.raw_close[session, ticker]
        assert known.round_trip_cost[row] == pytest.approx(2 * once, rel=1e-12)
    assert known.horizon_interest == pytest.approx(5 * 1e-4)
    assert known.horizon_borrow_cost == pytest.approx(5 * 0.005 / 252)


def test_the_least_fee_is_that_of_a_tranches_share_of_the_capital() -> None:
    """100,000 over two tickers and five tranches are orders of 10,000: at least 5 is 5 basis points, there and back."""
    prices = random_walk_prices(4, n_sessions=60, n_tickers=2)
    found = replace(forecasts([0.5] * 3, ticker=[0, 0, 1], session=[44, 45, 45], horizon=5), sessions=prices.sessions)
    execution = ExecutionSpec(commission_bps=0.0, slippage_bps=0.0, min_per_order=5.0)
    known = make_decision_context(prices, found, execution, sessions_per_year=252)
    np.testing.assert_allclose(known.round_trip_cost, [0.0005, 0.001, 0.001])
