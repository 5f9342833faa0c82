from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from quantlr.backtest.costs import ExecutionSpec, half_spread_rates
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
    expected_horizon_return,
    hysteresis_positions,
    make_decision_context,
)
from quantlr.core.values import Forecasts

from markets import forecasts, mirrored, random_forecasts, random_walk_prices, with_unadjusted_quotes
from oracles import hysteresis_positions_by_loop

EXAMPLES = [example for policy in POLICIES for example in policy.examples() if isinstance(example, Policy)]
each_policy = pytest.mark.parametrize("policy", EXAMPLES, ids=lambda policy: policy.kind)


def context_for(sample: Forecasts, **overrides: Any) -> DecisionContext:
    """Return a context for the forecasts: 1 % volatility, a round-trip cost of 20 basis points, no interest."""
    n = len(sample.ticker)
    context = DecisionContext(
        np.full(n, 0.01), np.full(n, 0.002), horizon_interest=0.0, horizon_borrow_cost=0.0, sessions_per_year=252
    )
    return replace(context, **overrides)


def one_ticker(probability: list[float], **keys: Any) -> Forecasts:
    """Return forecasts of one ticker in consecutive sessions."""
    return forecasts(probability, ticker=[0] * len(probability), session=list(range(3, 3 + len(probability))), **keys)


def decide(policy: Policy, sample: Forecasts, **context: Any) -> list[float]:
    return list(policy.decide(sample, context_for(sample, **context)))


def test_threshold_by_arithmetic() -> None:
    sample = one_ticker([0.4, 0.5, 0.51, 0.6])
    assert decide(Threshold(), sample) == [0, 0, 1, 1]
    assert decide(Threshold(short_below=0.5), sample) == [-1, 0, 1, 1]
    assert decide(Threshold(long_above=0.55, short_below=0.45), sample) == [-1, 0, 0, 1]


def test_exit_thresholds_keep_a_position() -> None:
    policy = Threshold(long_above=0.55, exit_long_below=0.5)
    sample = one_ticker([0.54, 0.56, 0.51, 0.5, 0.49, 0.52, 0.6])
    assert decide(policy, sample) == [0, 1, 1, 1, 0, 0, 1]
    both = Threshold(long_above=0.55, exit_long_below=0.5, short_below=0.45, exit_short_above=0.52)
    sample = one_ticker([0.44, 0.51, 0.53, 0.44, 0.56, 0.46, 0.56, 0.44])
    assert decide(both, sample) == [-1, -1, 0, -1, 1, 0, 1, -1]


def test_exit_threshold_of_one_side_does_not_affect_the_other() -> None:
    policy = Threshold(long_above=0.55, exit_long_below=0.5, short_below=0.45)
    assert decide(policy, one_ticker([0.44, 0.46, 0.56, 0.52, 0.44, 0.5])) == [-1, 0, 1, 1, -1, 0]
    policy = Threshold(long_above=0.55, short_below=0.45, exit_short_above=0.5)
    assert decide(policy, one_ticker([0.44, 0.46, 0.56, 0.52, 0.44, 0.5])) == [-1, -1, 1, 0, -1, -1]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"short_below": 0.6}, r"must not be above policy\.long_above, 0\.5"),
        ({"exit_long_below": 0.6}, r"must not be above policy\.long_above, 0\.5"),
        ({"exit_long_below": 0.4, "short_below": 0.45}, r"must not be above policy\.exit_long_below, 0\.4"),
        ({"short_below": 0.4, "exit_short_above": 0.3}, r"must not be below policy\.short_below, 0\.4"),
        ({"short_below": 0.4, "exit_short_above": 0.6}, r"must not be above policy\.long_above, 0\.5"),
        ({"exit_short_above": 0.45}, r"needs policy\.short_below, which is null"),
    ],
)
def test_overlapping_thresholds_raise(keys: dict[str, float], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Threshold.model_validate(keys)


def test_proportional_by_arithmetic() -> None:
    """At .52, 40 % of the way to .55; from a base rate of .54 it is as far on the other side."""
    sample = replace(one_ticker([0.52, 0.6, 0.46]), base_rate=np.full(3, 0.54))
    assert decide(Proportional(), sample) == pytest.approx([0.4, 1.0, 0.0])
    assert decide(Proportional(cap=0.3), sample) == pytest.approx([0.3, 0.3, 0.0])
    assert decide(Proportional(full_at=1e-320), sample) == pytest.approx([1.0, 1.0, 0.0]), "without a warning"
    around = Proportional(around="base_rate", sides="long_short")
    assert decide(around, sample) == pytest.approx([-0.4, 1.0, -1.0])


def test_expected_value_by_arithmetic() -> None:
    """With a gain of 2 % and a loss of 1 % the expected return at .4 is .2 %, the round-trip cost; at .42 .26 %; at .34
    .02 %; at .33 0."""
    sample = one_ticker([0.4, 0.42, 0.34, 0.33, 0.4], gain=0.02, loss=-0.01)
    assert decide(ExpectedValue(), sample, round_trip_cost=np.full(5, 0.0020001)) == [0, 1, 1, 0, 0]


def test_expected_value_is_net_of_interest_on_cash() -> None:
    """An expected return of .26 % less .1 % of interest is below the cost of .2 %; one of .02 % is below interest."""
    sample = one_ticker([0.42, 0.5, 0.34], gain=0.02, loss=-0.01)
    assert decide(ExpectedValue(), sample, horizon_interest=0.001) == [0, 1, 0]


def test_short_value_is_the_negative_less_borrow() -> None:
    """At -.3 % a short earns .25 % after borrow of .05 %; at -.04 % less than the borrow."""
    sample = one_ticker([0.35, 0.48], gain=0.01, loss=-0.01)
    both = ExpectedValue(sides="long_short")
    assert decide(both, sample) == [-1, -1]
    assert decide(both, sample, horizon_borrow_cost=0.0005) == [-1, 0]
    assert decide(ExpectedValue(), sample) == [0, 0]


def test_entry_uses_the_round_trip_cost_of_each_close() -> None:
    sample = one_ticker([0.6, 0.6], gain=0.01, loss=-0.01)
    assert decide(ExpectedValue(), sample, round_trip_cost=np.array([0.0021, 0.0019])) == [0, 1]


def test_expected_value_without_losses_in_training() -> None:
    """All training rows went up: no mean loss is needed at a probability of 1; below it the value is undefined."""
    sample = replace(one_ticker([1.0, 0.9]), mean_loss=np.full(2, np.nan))
    np.testing.assert_array_equal(expected_horizon_return(sample), [0.01, np.nan])
    assert decide(ExpectedValue(), sample) == [1, 0]
    assert decide(Kelly(), sample) == [1, 0]


def test_kelly_by_arithmetic() -> None:
    """An expected return of .0002 at a deviation of .02: half of .0002 / .0004 is 1/4; with interest of .0001, 1/8."""
    sample = replace(one_ticker([0.51, 0.49, 0.9], gain=0.01, loss=-0.01), std=np.full(3, 0.02))
    assert decide(Kelly(), sample) == pytest.approx([0.25, 0.0, 1.0])
    assert decide(Kelly(sides="long_short"), sample) == pytest.approx([0.25, -0.25, 1.0])
    assert decide(Kelly(sides="long_short"), sample, horizon_interest=0.0001) == pytest.approx([0.125, -0.375, 1.0])
    assert decide(Kelly(sides="long_short"), sample, horizon_borrow_cost=0.0001) == pytest.approx([0.25, -0.125, 1.0])
    certain = replace(sample, std=np.array([0.0, np.nan, 0.02]))
    assert decide(Kelly(), certain) == [0, 0, 1]


def test_kelly_maximises_expected_log_growth() -> None:
    """Of all fractions in an asset with small normal returns, mean over variance has the largest mean log growth."""
    mean, deviation = 0.0002, 0.01
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    returns = mean + deviation * nodes
    fractions = np.linspace(0, 4, 401)
    growth = [float(weights @ np.log1p(fraction * returns)) for fraction in fractions]
    p = (mean + 0.01) / 0.02
    sample = replace(one_ticker([p], gain=0.01, loss=-0.01), std=np.array([deviation]))
    (quarter,) = decide(Kelly(fraction=0.25), sample)
    assert quarter / 0.25 == pytest.approx(fractions[int(np.argmax(growth))], rel=0.01)


def test_top_k_tickers_share_the_capital() -> None:
    sample = forecasts([0.6, 0.4, 0.55, 0.5, 0.3], ticker=[0, 0, 1, 1, 2], session=[3, 4, 3, 4, 3])
    weight = decide_positions(TopK(k=1), sample, context_for(sample)).weight
    np.testing.assert_array_equal(weight[3:5], [[1, 0, 0], [0, 1, np.nan]])
    weight = decide_positions(TopK(k=2), sample, context_for(sample)).weight
    np.testing.assert_array_equal(weight[3:5], [[0.5, 0.5, 0], [0.5, 0.5, np.nan]])
    weight = decide_positions(TopK(k=1, sides="long_short"), sample, context_for(sample)).weight
    np.testing.assert_array_equal(weight[3:5], [[0.5, 0, -0.5], [-0.5, 0.5, np.nan]])


def test_top_k_breaks_ties_by_ticker_order() -> None:
    sample = forecasts([0.5] * 4, ticker=[0, 1, 2, 3], session=[3] * 4)
    assert decide(TopK(k=2), sample) == [1, 1, 0, 0]
    assert decide(TopK(k=1, sides="long_short"), sample) == [1, 0, 0, -1]
    assert decide(TopK(k=9, sides="long_short"), sample) == [1, 1, -1, -1]
    alone = forecasts([0.9], ticker=[0], session=[3])
    assert decide(TopK(), alone) == [1]
    assert decide(TopK(sides="long_short"), alone) == [0], "one ticker is not held on both sides"


def test_tickers_of_a_session_share_its_capital() -> None:
    sample = forecasts([0.9, 0.9, 0.9], ticker=[0, 0, 1], session=[3, 4, 4])
    weight = decide_positions(Threshold(), sample, context_for(sample)).weight
    assert weight[3, 0] == 1.0
    assert weight[4].tolist() == [0.5, 0.5]
    assert np.isnan(weight[3, 1])
    assert np.isnan(weight[5:]).all()


def test_horizon_of_three_averages_three_tranches() -> None:
    sample = one_ticker([0.9, 0.9, 0.1, 0.1], horizon=3)
    weight = decide_positions(Threshold(short_below=0.5), sample, context_for(sample)).weight
    np.testing.assert_allclose(weight[3:7, 0], [1 / 3, 2 / 3, 1 / 3, -1 / 3])


def test_hysteresis_applies_to_each_tranche() -> None:
    """Of two tranches the first enters and stays; the second has not entered and is flat at the same probability."""
    policy = Threshold(long_above=0.55, exit_long_below=0.45)
    sample = one_ticker([0.6, 0.5, 0.5, 0.5, 0.4, 0.6, 0.5, 0.5], horizon=2)
    assert decide(policy, sample) == [1, 0, 1, 0, 0, 1, 0, 1]
    weight = decide_positions(policy, sample, context_for(sample)).weight[3:11, 0]
    np.testing.assert_allclose(weight, [0.5, 0.5, 0.5, 0.5, 0.0, 0.5, 0.5, 0.5])


@given(decision=st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=1, max_size=30), horizon=st.integers(1, 40))
def test_tranche_average_equals_loop(decision: list[float], horizon: int) -> None:
    average = average_over_tranches(np.array(decision), horizon=horizon)
    for t in range(len(decision)):
        assert average[t] == pytest.approx(sum(decision[max(t - horizon + 1, 0) : t + 1]) / horizon, abs=1e-12)


@given(seed=st.integers(0, 100_000), horizon=st.integers(1, 6), tickers=st.integers(0, 4), quiet=st.floats(0, 1))
def test_hysteresis_positions_equal_loop_over_decisions(seed: int, horizon: int, tickers: int, quiet: float) -> None:
    rng = np.random.default_rng(seed)
    ticker = np.repeat(np.arange(tickers) * 3, rng.integers(1, 30, tickers))
    n = len(ticker)
    enter = rng.choice([-1, 1], n) * (rng.random(n) > quiet)
    stays_long, stays_short = rng.random(n) < 0.8, rng.random(n) < 0.8
    positions = hysteresis_positions(
        enter, may_stay_long=stays_long, may_stay_short=stays_short, ticker_index=ticker, horizon=horizon
    )
    assert positions.tolist() == hysteresis_positions_by_loop(
        ticker.tolist(), enter.tolist(), stays_long.tolist(), stays_short.tolist(), horizon=horizon
    )


@each_policy
@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), cut=st.integers(2, 38), horizon=st.integers(1, 4))
def test_decisions_do_not_depend_on_later_forecasts(policy: Policy, seed: int, cut: int, horizon: int) -> None:
    sample = random_forecasts(seed, horizon=horizon)
    rng = np.random.default_rng(seed + 1)
    later = sample.session > cut
    other = replace(
        sample,
        probability=np.where(later, rng.random(len(later)), sample.probability),
        mean_gain=np.where(later, rng.random(len(later)), sample.mean_gain),
        base_rate=np.where(later, rng.random(len(later)), sample.base_rate),
    )
    weight, changed_weight = (decide_positions(policy, made, context_for(made)).weight for made in (sample, other))
    np.testing.assert_array_equal(weight[: cut + 1], changed_weight[: cut + 1])


@each_policy
@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), horizon=st.integers(1, 4))
def test_absolute_weights_of_a_session_sum_to_at_most_one(policy: Policy, seed: int, horizon: int) -> None:
    sample = random_forecasts(seed, horizon=horizon, tickers=5)
    assert np.abs(policy.decide(sample, context_for(sample))).max() <= 1
    # The mean of the last tranches adds up to 1 where each session's do and the same tickers share them.
    weight = decide_positions(policy, replace(sample, horizon=1), context_for(sample)).weight
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
def test_long_short_policies_are_antisymmetric(policy: Policy, seed: int, horizon: int) -> None:
    sample = random_forecasts(seed, horizon=horizon)
    # Away from the thresholds: at a threshold itself, above and below are not symmetric.
    sample = replace(sample, probability=sample.probability + 0.0013)
    decisions, mirror_image = decide(policy, sample), decide(policy, mirrored(sample))
    np.testing.assert_allclose(decisions, -np.array(mirror_image), atol=1e-9)
    assert np.abs(decisions).sum() > 0


@given(seed=st.integers(0, 10_000))
def test_top_k_long_short_is_antisymmetric(seed: int) -> None:
    sample = random_forecasts(seed, tickers=5)
    distinct = replace(sample, probability=np.random.default_rng(seed).random(len(sample.ticker)))
    both = TopK(k=2, sides="long_short")
    np.testing.assert_array_equal(decide(both, distinct), -np.array(decide(both, mirrored(distinct))))


@each_policy
def test_policy_is_documented(policy: Policy) -> None:
    assert (type(policy).__doc__ or "").strip()
    for name, field in type(policy).model_fields.items():
        assert name == "kind" or field.description


def test_decision_context_by_arithmetic() -> None:
    prices = with_unadjusted_quotes(random_walk_prices(4, n_sessions=60, n_tickers=2), 4)
    sample = replace(
        forecasts([0.5] * 4, ticker=[0, 0, 0, 1], session=[10, 20, 45, 45], horizon=5), sessions=prices.sessions
    )
    execution = ExecutionSpec(
        commission_bps=1.0, slippage_bps=2.0, per_share=0.01, spread="corwin_schultz", cash_rate=0.0252
    )
    context = make_decision_context(prices, sample, execution, sessions_per_year=252)
    returns = prices.close[1:, 0] / prices.close[:-1, 0] - 1
    assert np.isnan(context.volatility[0])
    assert context.volatility[1] == pytest.approx(returns[:20].std(ddof=1), rel=1e-9)
    assert context.volatility[2] == pytest.approx(returns[25:45].std(ddof=1), rel=1e-9)
    half = half_spread_rates(prices, traded_mask=np.ones(2, dtype=np.bool_))
    for row, (session, ticker) in enumerate([(10, 0), (20, 0), (45, 0), (45, 1)]):
        once = 0.0003 + half[session, ticker] + 0.01 / prices.raw_close[session, ticker]
        assert context.round_trip_cost[row] == pytest.approx(2 * once, rel=1e-12)
    assert context.horizon_interest == pytest.approx(5 * 1e-4)
    assert context.horizon_borrow_cost == pytest.approx(5 * 0.005 / 252)


def test_round_trip_cost_uses_the_minimum_fee_of_a_tranche() -> None:
    """100,000 in two tickers and five tranches are orders of 10,000: a minimum of 5 is 5 basis points per side."""
    prices = random_walk_prices(4, n_sessions=60, n_tickers=2)
    sample = replace(forecasts([0.5] * 3, ticker=[0, 0, 1], session=[44, 45, 45], horizon=5), sessions=prices.sessions)
    execution = ExecutionSpec(commission_bps=0.0, slippage_bps=0.0, min_per_order=5.0)
    context = make_decision_context(prices, sample, execution, sessions_per_year=252)
    np.testing.assert_allclose(context.round_trip_cost, [0.0005, 0.001, 0.001])


def test_policies_that_size_by_probability_are_marked() -> None:
    marked = {policy.model_fields["kind"].default for policy in POLICIES if policy.sizes_by_probability}
    assert marked == {"proportional", "expected_value", "kelly"}
