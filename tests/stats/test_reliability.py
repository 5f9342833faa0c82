from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantlr.core.values import Array
from quantlr.stats.reliability import (
    brier_decomposition,
    isotonic_regression,
    isotonic_reliability_curve,
    log_loss_decomposition,
    reliability_band,
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
def test_isotonic_regression_equals_scikit_learn(seed: int, n: int, kind: str) -> None:
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
def test_decompositions_add_up_and_equal_scikit_learn_scores(seed: int, n: int, digits: int, slope: float) -> None:
    probability, up = forecasts(seed, n, digits=digits, slope=slope)
    probability = np.clip(probability, 0.01, 0.99)
    recalibrated = IsotonicRegression().fit_transform(probability, up)
    rate = np.full(n, up.mean())
    score = float(log_loss(up, probability, labels=[0, 1]))
    terms = log_loss_decomposition(probability, up, log_loss=score)
    best, plain = (float(log_loss(up, p, labels=[0, 1])) for p in (recalibrated, rate))
    assert terms.miscalibration - terms.discrimination + terms.uncertainty == pytest.approx(score, abs=1e-13)
    assert terms.miscalibration == pytest.approx(score - best, abs=1e-9)
    assert terms.discrimination == pytest.approx(plain - best, abs=1e-9)
    assert min(terms.miscalibration, terms.discrimination, terms.uncertainty) > -1e-12
    squared = float(brier_score_loss(up, probability, labels=[0, 1]))
    brier = brier_decomposition(probability, up, brier=squared)
    assert brier.miscalibration - brier.discrimination + brier.uncertainty == pytest.approx(squared, abs=1e-13)
    assert brier.miscalibration == pytest.approx(squared - np.mean((recalibrated - up) ** 2), abs=1e-10)
    assert brier.uncertainty == pytest.approx(up.mean() * (1 - up.mean()), abs=1e-12)


def test_separating_forecast_is_all_discrimination() -> None:
    up = np.array([0.0, 0, 1, 1])
    score = float(log_loss(up, [0.2, 0.3, 0.6, 0.9]))
    terms = log_loss_decomposition(np.array([0.2, 0.3, 0.6, 0.9]), up, log_loss=score)
    assert terms.discrimination == pytest.approx(np.log(2))
    assert terms.miscalibration == pytest.approx(score)


def test_decomposition_of_noise_has_its_known_values() -> None:
    """About .0017 for both of the log score, .0008 of Brier, at n = 2,500."""
    terms = []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        probability, up = 0.5 + 1e-6 * rng.normal(size=2500), (rng.random(2500) < 0.5).astype(np.float64)
        log_terms = log_loss_decomposition(probability, up, log_loss=float(np.log(2)))
        brier_terms = brier_decomposition(probability, up, brier=0.25)
        terms.append(
            [log_terms.miscalibration, log_terms.discrimination, brier_terms.miscalibration, brier_terms.discrimination]
        )
    np.testing.assert_allclose(np.mean(terms, axis=0), [0.0017, 0.0017, 0.0008, 0.0008], atol=0.0002)


def test_reliability_curve_is_increasing_and_counts_forecasts() -> None:
    curve = isotonic_reliability_curve(np.array([0.6, 0.4, 0.4, 0.5]), np.array([1.0, 0, 1, 0]))
    np.testing.assert_array_equal(curve.probability, [0.4, 0.5, 0.6])
    np.testing.assert_array_equal(curve.count, [2, 1, 1])
    np.testing.assert_allclose(curve.observed_frequency, [1 / 3, 1 / 3, 1.0])


@pytest.mark.parametrize(("tickers", "horizon"), [(1, 1), (5, 1), (1, 5)])
def test_reliability_band_covers_calibrated_forecasts(tickers: int, horizon: int) -> None:
    """Also with residuals that are correlated within a session or a horizon, 95 % of the points are inside."""
    is_inside = []
    for seed in range(15):
        rng = np.random.default_rng([seed, tickers, horizon])
        probability = 1 / (1 + np.exp(-rng.normal(0.1, 0.4, 300 * tickers)))
        session = np.arange(300).repeat(tickers)
        uniform = rng.random(300 // horizon).repeat(horizon * tickers)
        up = (uniform < probability).astype(np.float64)
        band = reliability_band(probability, up, session=session, horizon=horizon, rng=rng)
        curve = isotonic_reliability_curve(probability, up)
        frequency = np.interp(band.probability, curve.probability, curve.observed_frequency)
        inner = (band.probability > np.quantile(probability, 0.1)) & (band.probability < np.quantile(probability, 0.9))
        is_inside.append(((frequency >= band.low) & (frequency <= band.high))[inner].mean())
    assert np.mean(is_inside) == pytest.approx(0.95, abs=0.05)


@pytest.mark.parametrize("within_a_session", [True, False])
def test_repeated_forecasts_leave_the_reliability_band_unchanged(within_a_session: bool) -> None:
    """The same forecasts for five tickers, or in five sessions of one horizon, do not change the band."""
    probability, up = forecasts(1, 200)
    once = reliability_band(probability, up, session=np.arange(200), horizon=1, rng=np.random.default_rng(0))
    repeated = reliability_band(
        probability.repeat(5),
        up.repeat(5),
        session=np.arange(200).repeat(5) if within_a_session else np.arange(1000),
        horizon=1 if within_a_session else 5,
        rng=np.random.default_rng(0),
    )
    np.testing.assert_allclose([repeated.low, repeated.high], [once.low, once.high], atol=1e-9)


def test_reliability_band_excludes_overconfident_forecasts() -> None:
    probability, up = forecasts(3, 4000, slope=0.2)
    band = reliability_band(probability, up, session=np.arange(4000), horizon=1, rng=np.random.default_rng(0))
    curve = isotonic_reliability_curve(probability, up)
    frequency = np.interp(band.probability, curve.probability, curve.observed_frequency)
    is_far = np.abs(band.probability - 0.5) > 0.15
    assert ((frequency < band.low) | (frequency > band.high))[is_far].mean() > 0.8
    assert (np.diff(band.low) >= -1e-12).all()
    assert (band.low <= band.high).all()
