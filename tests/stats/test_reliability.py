from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantlr.core.arrays import Array
from quantlr.stats.reliability import (
    brier_decomposition,
    isotonic_regression,
    log_loss_decomposition,
    reliability_band,
    reliability_curve,
)
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import brier_score_loss, log_loss


def forecasts(seed: int, n: int, *, digits: int = 12, slope: float = 1.0) -> tuple[Array, Array]:
    """Return probabilities, and outcomes whose log odds are `slope` times the forecast's."""
    rng = np.random.default_rng(seed)
    z = rng.normal(0.1, 0.4, n)
    up = (rng.random(n) < 1 / (1 + np.exp(-slope * z))).astype(np.float64)
    return np.round(1 / (1 + np.exp(-z)), digits), up


@given(
    seed=st.integers(0, 10_000), n=st.integers(1, 300), kind=st.sampled_from(["bits", "normal", "falling", "rising"])
)
def test_isotonic_is_scikit_learns(seed: int, n: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    values = {
        "bits": rng.integers(0, 2, n).astype(np.float64),
        "normal": rng.normal(size=n),
        "falling": -np.arange(n, dtype=np.float64),
        "rising": np.append(np.arange(n - 1.0), -float(n)),
    }[kind]
    weight = rng.integers(1, 5, n).astype(np.float64)
    expected = IsotonicRegression().fit_transform(np.arange(n), values, sample_weight=weight)
    np.testing.assert_allclose(isotonic_regression(values, weight), expected, atol=1e-10)


@given(seed=st.integers(0, 10_000), n=st.integers(1, 400), digits=st.integers(0, 12), slope=st.floats(-2, 2))
def test_the_parts_add_up_and_recalibrated_forecasts_score_as_scikit_learn_has_it(
    seed: int, n: int, digits: int, slope: float
) -> None:
    probability, up = forecasts(seed, n, digits=digits, slope=slope)
    probability = np.clip(probability, 0.01, 0.99)
    recalibrated = IsotonicRegression().fit_transform(probability, up)
    rate = np.full(n, up.mean())
    score = float(log_loss(up, probability, labels=[0, 1]))
    parts = log_loss_decomposition(probability, up, log_loss=score)
    best, plain = (float(log_loss(up, p, labels=[0, 1])) for p in (recalibrated, rate))
    assert parts.miscalibration - parts.discrimination + parts.uncertainty == pytest.approx(score, abs=1e-13)
    assert parts.miscalibration == pytest.approx(score - best, abs=1e-9)
    assert parts.discrimination == pytest.approx(plain - best, abs=1e-9)
    assert min(parts.miscalibration, parts.discrimination, parts.uncertainty) > -1e-12
    squared = float(brier_score_loss(up, probability, labels=[0, 1]))
    brier = brier_decomposition(probability, up, brier=squared)
    assert brier.miscalibration - brier.discrimination + brier.uncertainty == pytest.approx(squared, abs=1e-13)
    assert brier.miscalibration == pytest.approx(squared - np.mean((recalibrated - up) ** 2), abs=1e-10)
    assert brier.uncertainty == pytest.approx(up.mean() * (1 - up.mean()), abs=1e-12)


def test_a_forecast_that_separates_is_all_discrimination() -> None:
    up = np.array([0.0, 0, 1, 1])
    score = float(log_loss(up, [0.2, 0.3, 0.6, 0.9]))
    parts = log_loss_decomposition(np.array([0.2, 0.3, 0.6, 0.9]), up, log_loss=score)
    assert parts.discrimination == pytest.approx(np.log(2))
    assert parts.miscalibration == pytest.approx(score)


def test_pure_noise_has_the_parts_that_are_known() -> None:
    """About .0017 for both of the log score, .0008 of Brier, at n = 2,500."""
    found = []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        probability, up = 0.5 + 1e-6 * rng.normal(size=2500), (rng.random(2500) < 0.5).astype(np.float64)
        log = log_loss_decomposition(probability, up, log_loss=float(np.log(2)))
        square = brier_decomposition(probability, up, brier=0.25)
        found.append([log.miscalibration, log.discrimination, square.miscalibration, square.discrimination])
    np.testing.assert_allclose(np.mean(found, axis=0), [0.0017, 0.0017, 0.0008, 0.0008], atol=0.0002)


def test_the_curve_rises_and_counts_what_was_forecast() -> None:
    curve = reliability_curve(np.array([0.6, 0.4, 0.4, 0.5]), np.array([1.0, 0, 1, 0]))
    np.testing.assert_array_equal(curve.probability, [0.4, 0.5, 0.6])
    np.testing.assert_array_equal(curve.count, [2, 1, 1])
    np.testing.assert_allclose(curve.observed_frequency, [1 / 3, 1 / 3, 1.0])


@pytest.mark.parametrize(("tickers", "horizon"), [(1, 1), (5, 1), (1, 5)])
def test_the_band_holds_the_curve_of_calibrated_forecasts(tickers: int, horizon: int) -> None:
    """Surprises that come together, within a session or over a span, widen it; 95 % of points are inside."""
    inside = []
    for seed in range(15):
        rng = np.random.default_rng([seed, tickers, horizon])
        probability = 1 / (1 + np.exp(-rng.normal(0.1, 0.4, 300 * tickers)))
        session = np.arange(300).repeat(tickers)
        luck = rng.random(300 // horizon).repeat(horizon * tickers)
        up = (luck < probability).astype(np.float64)
        band = reliability_band(probability, up, session=session, horizon=horizon, rng=rng)
        curve = reliability_curve(probability, up)
        share = np.interp(band.probability, curve.probability, curve.observed_frequency)
        inner = (band.probability > np.quantile(probability, 0.1)) & (band.probability < np.quantile(probability, 0.9))
        inside.append(((share >= band.low) & (share <= band.high))[inner].mean())
    assert np.mean(inside) == pytest.approx(0.95, abs=0.05)


@pytest.mark.parametrize("within_a_session", [True, False])
def test_what_is_said_five_times_counts_once(within_a_session: bool) -> None:
    """The same forecasts for five tickers, or on five sessions of one span, leave the band as it is."""
    probability, up = forecasts(1, 200)
    once = reliability_band(probability, up, session=np.arange(200), horizon=1, rng=np.random.default_rng(0))
    again = reliability_band(
        probability.repeat(5),
        up.repeat(5),
        session=np.arange(200).repeat(5) if within_a_session else np.arange(1000),
        horizon=1 if within_a_session else 5,
        rng=np.random.default_rng(0),
    )
    np.testing.assert_allclose([again.low, again.high], [once.low, once.high], atol=1e-9)


def test_the_band_shuts_out_the_curve_of_forecasts_that_say_too_much() -> None:
    probability, up = forecasts(3, 4000, slope=0.2)
    band = reliability_band(probability, up, session=np.arange(4000), horizon=1, rng=np.random.default_rng(0))
    curve = reliability_curve(probability, up)
    share = np.interp(band.probability, curve.probability, curve.observed_frequency)
    far = np.abs(band.probability - 0.5) > 0.15
    assert ((share < band.low) | (share > band.high))[far].mean() > 0.8
    assert (np.diff(band.low) >= -1e-12).all()
    assert (band.low <= band.high).all()
