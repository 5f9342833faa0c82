from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quantlr.backtest.overlays import (
    OVERLAYS,
    BetaNeutral,
    LeverageCap,
    MinimumHolding,
    NameCap,
    NoTradeBand,
    Overlay,
    VolatilityTarget,
    apply_overlays,
)
from quantlr.backtest.policies import DecisionContext, Proportional, decide_positions
from quantlr.core.values import Array, Forecasts

from markets import forecasts, random_forecasts

EXAMPLES = [example for overlay in OVERLAYS for example in overlay.examples() if isinstance(example, Overlay)]
each_overlay = pytest.mark.parametrize("overlay", EXAMPLES, ids=lambda overlay: overlay.kind)


def context_for(
    sample: Forecasts, volatility: Array | None = None, market_beta: Array | None = None
) -> DecisionContext:
    n = len(sample.ticker)
    moved = np.full(n, 0.01) if volatility is None else volatility
    beta: Array = np.asarray(0.5 + 0.25 * sample.ticker) if market_beta is None else market_beta
    return DecisionContext(
        moved,
        np.full(n, 0.002),
        horizon_interest=0.0,
        horizon_borrow_cost=0.0,
        sessions_per_year=252,
        market_beta=beta,
    )


def apply_overlay(overlay: Overlay, weight: list[float], **keys: Any) -> list[float]:
    sample = forecasts([0.5] * len(weight), ticker=[0] * len(weight), session=list(range(3, 3 + len(weight))))
    return list(overlay.apply(np.array(weight), sample, context_for(sample, **keys)))


def test_volatility_target_by_arithmetic() -> None:
    """10 % a year is .1 / sqrt(252) per session: twice that volatility halves the weight, half doubles it."""
    session = 0.1 / np.sqrt(252)
    volatility = session * np.array([2.0, 1.0, 0.5, 0.0, np.nan])
    weight = [1.0, -1.0, 1.0, 0.5, 1.0]
    assert apply_overlay(VolatilityTarget(), weight, volatility=volatility) == pytest.approx([0.5, -1, 1, 0.5, 0])
    levered = VolatilityTarget(max_leverage=3.0)
    assert apply_overlay(levered, weight, volatility=volatility) == pytest.approx([0.5, -1, 2, 1.5, 0])


def test_leverage_cap_by_arithmetic() -> None:
    sample = forecasts([0.5] * 4, ticker=[0, 0, 1, 1], session=[3, 4, 3, 4])
    weight = LeverageCap(cap=1.0).apply(np.array([1.5, 0.4, -0.5, -0.5]), sample, context_for(sample))
    np.testing.assert_allclose(weight, [0.75, 0.4, -0.25, -0.5])


def test_name_cap_by_arithmetic() -> None:
    """Of 0.6, 0.25 and 0.05 long, 0.2 is above the cap of 0.4; 0.25 is full after 0.15 of it, 0.05 gets the rest."""
    sample = forecasts([0.5] * 5, ticker=[0, 0, 1, 2, 3], session=[3, 4, 3, 3, 3])
    weight = np.array([0.6, 0.2, 0.25, 0.05, -0.1])
    in_cash = NameCap(cap=0.3).apply(weight, sample, context_for(sample))
    np.testing.assert_allclose(in_cash, [0.3, 0.2, 0.25, 0.05, -0.1])
    spread = NameCap(cap=0.3, excess="redistribute").apply(weight, sample, context_for(sample))
    np.testing.assert_allclose(spread, [0.3, 0.2, 0.3, 0.3, -0.1])
    half = NameCap(cap=0.4, excess="redistribute").apply(weight, sample, context_for(sample))
    np.testing.assert_allclose(half, [0.4, 0.2, 0.4, 0.1, -0.1])


def name_cap_loop(weight: list[float], cap: float) -> list[float]:
    """The weights of one session and side: min(cap, factor * weight) with the factor of the same sum, by bisection."""
    total = min(sum(weight), cap * sum(value > 0 for value in weight))
    low, high = 1.0, cap / min(value for value in weight if value > 0) + 1.0
    for _ in range(200):
        middle = (low + high) / 2.0
        low, high = (middle, high) if sum(min(cap, middle * value) for value in weight) < total else (low, middle)
    return [min(cap, high * value) for value in weight]


@given(seed=st.integers(0, 10_000), cap=st.floats(0.05, 1.0))
def test_name_cap_redistributes_as_a_loop_over_sessions_and_sides(seed: int, cap: float) -> None:
    sample = random_forecasts(seed, tickers=6)
    weight = np.random.default_rng(seed).choice([-0.4, -0.1, -0.05, 0.0, 0.02, 0.2, 0.7], len(sample.ticker))
    capped = NameCap(cap=cap, excess="redistribute").apply(weight, sample, context_for(sample))
    for session in np.unique(sample.session):
        for sign in (-1.0, 1.0):
            rows = np.flatnonzero((sample.session == session) & (sign * weight > 0))
            if len(rows):
                expected = name_cap_loop((sign * weight[rows]).tolist(), cap)
                np.testing.assert_allclose(sign * capped[rows], expected, rtol=1e-9)
    assert (capped[weight == 0] == 0).all()


def test_beta_neutral_by_arithmetic() -> None:
    """Betas of 0.5 * 1 + 0.1 * 2 = 0.7 long and 0.3 * 1.5 - 0.1 * 1 = 0.35 short: longs are halved."""
    sample = forecasts([0.5] * 4, ticker=[0, 1, 2, 3], session=[3] * 4)
    beta = np.array([1.0, 2.0, 1.5, -1.0])
    weight = np.array([0.5, 0.1, -0.3, -0.1])
    neutral = BetaNeutral().apply(weight, sample, context_for(sample, market_beta=beta))
    np.testing.assert_allclose(neutral, [0.25, 0.05, -0.3, -0.1])
    opposite = BetaNeutral().apply(weight, sample, context_for(sample, market_beta=np.array([1.0, 2.0, -1.5, 1.0])))
    np.testing.assert_array_equal(opposite, np.zeros(4))  # no scaling of the sides offsets 0.7 and -0.35
    one_side = BetaNeutral().apply(np.abs(weight), sample, context_for(sample, market_beta=beta))
    np.testing.assert_array_equal(one_side, np.zeros(4))
    unknown = BetaNeutral().apply(weight, sample, context_for(sample, market_beta=np.array([1, 2, 1.5, np.nan])))
    np.testing.assert_allclose(unknown, [0.5 * 45 / 70, 0.1 * 45 / 70, -0.3, 0.0])


@given(seed=st.integers(0, 10_000))
def test_beta_neutral_removes_the_beta_and_raises_no_weight(seed: int) -> None:
    sample, rng = random_forecasts(seed, tickers=6), np.random.default_rng(seed)
    weight, beta = rng.normal(0.0, 0.2, len(sample.ticker)), rng.normal(1.0, 0.5, len(sample.ticker))
    neutral = BetaNeutral().apply(weight, sample, context_for(sample, market_beta=beta))
    exposure = np.bincount(sample.session, weights=neutral * beta)
    np.testing.assert_allclose(exposure, 0.0, atol=1e-14)
    assert (np.abs(neutral) <= np.abs(weight) + 1e-15).all()
    for session in np.unique(sample.session):
        rows = sample.session == session
        for side in (rows & (weight > 0), rows & (weight < 0)):
            ratio = neutral[side] / weight[side]
            np.testing.assert_allclose(ratio, ratio[:1].repeat(len(ratio)))
        is_flat = not neutral[rows].any()
        long, short = (np.sum(np.maximum(sign * weight[rows], 0) * beta[rows]) for sign in (1, -1))
        assert is_flat == (long * short <= 0)


def test_no_trade_band_by_arithmetic() -> None:
    target = [0.05, 0.3, 0.35, 0.41, 0.2, 0.0, 0.5, 0.45, -0.02, -0.3]
    assert apply_overlay(NoTradeBand(band=0.1), target) == [0.0, 0.3, 0.3, 0.41, 0.2, 0.0, 0.5, 0.5, -0.02, -0.3]
    leaving = [0.3, -0.02, 0.0]
    assert apply_overlay(NoTradeBand(band=0.1), leaving) == leaving


def test_minimum_holding_by_arithmetic() -> None:
    """Long for three sessions, but for a change of size; then the side that is decided, again for three."""
    target = [0.0, 1.0, 0.5, -1.0, -1.0, 1.0, 0.0, 0.0, 1.0, 0.0]
    assert apply_overlay(MinimumHolding(sessions=3), target) == [0.0, 1.0, 0.5, 0.5, -1.0, -1.0, -1.0, 0.0, 1.0, 1.0]


def minimum_holding_loop(weight: list[float], sessions: int) -> list[float]:
    """Return the weights of a loop over sessions that keeps each side for the minimum number of sessions."""
    current, side_since = 0.0, -1
    weights = []
    for session, target in enumerate(weight):
        leaves = np.sign(target) != np.sign(current)
        if current != 0 and leaves and session - side_since < sessions:
            target = current
        if np.sign(target) != np.sign(current):
            side_since = session
        current = target
        weights.append(current)
    return weights


@given(seed=st.integers(0, 10_000), sessions=st.integers(2, 7))
def test_minimum_holding_equals_loop_over_each_tickers_forecasts(seed: int, sessions: int) -> None:
    sample = random_forecasts(seed)
    weight = np.random.default_rng(seed).choice([-0.5, 0.0, 0.25, 0.5], len(sample.ticker))
    weights = MinimumHolding(sessions=sessions).apply(weight, sample, context_for(sample))
    for ticker in np.unique(sample.ticker):
        is_ticker = sample.ticker == ticker
        assert weights[is_ticker].tolist() == minimum_holding_loop(weight[is_ticker].tolist(), sessions)


@given(seed=st.integers(0, 10_000), band=st.sampled_from([0.1, 0.3]))
def test_no_trade_band_bounds_the_difference_from_the_policys_weight(seed: int, band: float) -> None:
    sample = random_forecasts(seed)
    weight = np.random.default_rng(seed).uniform(-1, 1, len(sample.ticker))
    weights = NoTradeBand(band=band).apply(weight, sample, context_for(sample))
    assert np.abs(weights - weight).max() <= band + 1e-12
    assert (weights * weight >= 0).all()
    for ticker in np.unique(sample.ticker):
        is_ticker = sample.ticker == ticker
        traded, target = (np.abs(np.diff(values[is_ticker], prepend=0.0)).sum() for values in (weights, weight))
        assert traded <= target + 1e-12


@each_overlay
@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), cut=st.integers(2, 38))
def test_overlays_do_not_depend_on_later_rows(overlay: Overlay, seed: int, cut: int) -> None:
    sample = random_forecasts(seed)
    rng = np.random.default_rng(seed)
    n = len(sample.ticker)
    later = sample.session > cut
    weight, volatility = rng.uniform(-1, 1, n), rng.uniform(0.001, 0.03, n)
    other = np.where(later, rng.uniform(-1, 1, n), weight), np.where(later, 0.5, volatility)
    weights = overlay.apply(weight, sample, context_for(sample, volatility))
    changed = overlay.apply(other[0], sample, context_for(sample, other[1]))
    np.testing.assert_array_equal(weights[~later], changed[~later])


@each_overlay
@settings(max_examples=25)
@given(seed=st.integers(0, 10_000))
def test_overlays_are_symmetric_and_bounded(overlay: Overlay, seed: int) -> None:
    sample = random_forecasts(seed)
    weight = np.random.default_rng(seed).uniform(-1, 1, len(sample.ticker))
    weights = overlay.apply(weight, sample, context_for(sample))
    np.testing.assert_array_equal(weights, -overlay.apply(-weight, sample, context_for(sample)))
    assert np.abs(weights).max() <= getattr(overlay, "max_leverage", 1.0)
    assert (overlay.apply(np.zeros_like(weight), sample, context_for(sample)) == 0).all()


def test_overlays_apply_in_order_and_only_to_decided_weights() -> None:
    sample = random_forecasts(3)
    context = context_for(sample, np.full(len(sample.ticker), 0.002))
    positions = decide_positions(Proportional(full_at=0.02), sample, context)
    assert apply_overlays(positions, (), sample, context) is positions
    lever, cap = VolatilityTarget(max_leverage=3.0), LeverageCap(cap=0.5)
    capped = apply_overlays(positions, (lever, cap), sample, context).weight
    levered = apply_overlays(positions, (cap, lever), sample, context).weight
    assert np.nansum(np.abs(capped), axis=1).max() == pytest.approx(0.5)
    assert np.nansum(np.abs(levered), axis=1).max() == pytest.approx(1.5)
    np.testing.assert_array_equal(np.isnan(capped), np.isnan(positions.weight))


@each_overlay
def test_overlay_is_documented(overlay: Overlay) -> None:
    assert (type(overlay).__doc__ or "").strip()
    for name, field in type(overlay).model_fields.items():
        assert name == "kind" or field.description


def test_examples_use_every_parameter() -> None:
    for overlay in OVERLAYS:
        for name, field in overlay.model_fields.items():
            values = {getattr(example, name) for example in overlay.examples()}
            assert name == "kind" or values - {field.default}


def test_minimum_holding_counts_the_tickers_own_sessions() -> None:
    """A session without a forecast of the ticker does not count."""
    sample = forecasts([0.5] * 4, ticker=[0] * 4, session=[3, 7, 8, 20])
    weights = MinimumHolding(sessions=3).apply(np.array([1.0, 0.0, 0.0, 0.0]), sample, context_for(sample))
    assert weights.tolist() == [1, 1, 1, 0]
