"""ROC curves, their band and the histogram by outcome, against scikit-learn and slow loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quantlr.backtest.forecast_analysis import (
    mean_permuted_discrimination,
    probability_histogram,
    roc_band,
    roc_curve,
)
from quantlr.core.values import Array
from sklearn.metrics import auc as area_below
from sklearn.metrics import roc_auc_score
from sklearn.metrics import roc_curve as sklearn_roc_curve


def forecasts(seed: int, n: int, *, digits: int = 12, slope: float = 1.0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    z = rng.normal(0.1, 0.5, n)
    up = (rng.random(n) < 1 / (1 + np.exp(-slope * z))).astype(np.float64)
    up[:2] = [0, 1]
    return np.round(1 / (1 + np.exp(-z)), digits), up


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), n=st.integers(2, 300), digits=st.integers(0, 12))
def test_roc_curve_equals_scikit_learn(seed: int, n: int, digits: int) -> None:
    probability, up = forecasts(seed, n, digits=digits)
    curve = roc_curve(probability, up)
    false_up, true_up, _ = sklearn_roc_curve(up, probability, drop_intermediate=False)
    assert curve is not None
    np.testing.assert_allclose(curve.false_positive_rate, false_up, atol=1e-12)
    np.testing.assert_allclose(curve.true_positive_rate, true_up, atol=1e-12)


def test_thinned_roc_curve_has_points_of_the_full_curve() -> None:
    probability, up = forecasts(1, 20_000)
    curve = roc_curve(probability, up)
    assert curve is not None
    assert len(curve.true_positive_rate) == 1001
    whole = set(zip(*sklearn_roc_curve(up, probability, drop_intermediate=False)[:2], strict=True))
    assert {
        (round(a, 9), round(b, 9)) for a, b in zip(curve.false_positive_rate, curve.true_positive_rate, strict=True)
    } <= {(round(a, 9), round(b, 9)) for a, b in whole}
    assert area_below(curve.false_positive_rate, curve.true_positive_rate) == pytest.approx(
        roc_auc_score(up, probability), abs=1e-5
    )


@pytest.mark.parametrize("up", [np.ones(5), np.zeros(5)])
def test_single_outcome_has_no_roc_curve_and_no_band(up: Array) -> None:
    probability = np.linspace(0.4, 0.6, 5)
    assert roc_curve(probability, up) is None
    assert roc_band(probability, up, session=np.arange(5), horizon=1, rng=np.random.default_rng(0)) is None


@pytest.mark.parametrize(("tickers", "horizon"), [(1, 1), (2, 5)])
def test_roc_band_equals_loop_over_resampled_blocks(tickers: int, horizon: int) -> None:
    probability, up = forecasts(2, 300, digits=2)
    probability, up, session = probability.repeat(tickers), up.repeat(tickers), np.arange(300).repeat(tickers)
    band = roc_band(probability, up, session=session, horizon=horizon, rng=np.random.default_rng(0))
    assert band is not None
    rng = np.random.default_rng(7)
    rates = np.array([0.2, 0.5, 0.8])
    thresholds = np.append(np.inf, np.unique(probability)[::-1])
    curves = []
    spans = [np.flatnonzero(session // horizon == span) for span in range(300 // horizon)]
    for _ in range(400):
        rows = np.concatenate([spans[span] for span in rng.integers(0, len(spans), len(spans))])
        called = probability[rows] >= thresholds[:, None]
        true_up, false_up = (called[:, up[rows] == outcome].mean(axis=1) for outcome in (1, 0))
        curves.append(np.interp(rates, false_up, true_up))
    low, high = np.quantile(curves, (0.025, 0.975), axis=0)
    np.testing.assert_allclose(np.interp(rates, band.false_positive_rate, band.true_positive_rate_low), low, atol=0.035)
    np.testing.assert_allclose(
        np.interp(rates, band.false_positive_rate, band.true_positive_rate_high), high, atol=0.035
    )


@pytest.mark.parametrize("n_fewer", [9, 10])
@pytest.mark.parametrize("scarce", ["ups", "not-ups", "blocks"])
def test_roc_band_needs_10_of_either_outcome_and_10_blocks(n_fewer: int, scarce: str) -> None:
    probability = np.random.default_rng(3).random(120)
    up = (np.arange(120) < n_fewer).astype(np.float64) if scarce != "blocks" else np.tile([0.0, 1.0], 60)
    session = np.arange(120) % n_fewer if scarce == "blocks" else np.arange(120)
    up = 1.0 - up if scarce == "not-ups" else up
    band = roc_band(probability, up, session=session, horizon=1, rng=np.random.default_rng(0))
    assert (band is None) == (n_fewer < 10)


@pytest.mark.parametrize(("n", "n_bins"), [(7, 8), (1000, 20), (20_000, 40)])
def test_histogram_has_twice_the_cubic_root_of_the_number_of_forecasts_bins(n: int, n_bins: int) -> None:
    probability, up = forecasts(4, n)
    histogram = probability_histogram(probability, up, reference_probability=0.5)
    assert (len(histogram.count), len(histogram.bin_edges)) == (n_bins, n_bins + 1)


def test_repeated_forecasts_do_not_narrow_the_roc_band() -> None:
    probability, up = forecasts(2, 300)
    once = roc_band(probability, up, session=np.arange(300), horizon=1, rng=np.random.default_rng(0))
    repeated = roc_band(
        probability.repeat(4), up.repeat(4), session=np.arange(300).repeat(4), horizon=1, rng=np.random.default_rng(0)
    )
    assert once is not None
    assert repeated is not None
    np.testing.assert_allclose(
        [repeated.true_positive_rate_low, repeated.true_positive_rate_high],
        [once.true_positive_rate_low, once.true_positive_rate_high],
        atol=1e-12,
    )


def test_probability_histogram_counts_each_forecast_once() -> None:
    rng = np.random.default_rng(0)
    probability = np.concatenate([0.53 + 0.01 * rng.normal(size=2000), [0.001, 0.999]])
    up = (rng.random(2002) < 0.5).astype(np.float64)
    spread = probability_histogram(probability, up, reference_probability=0.5)
    assert spread.bin_edges[0] < 0.5 < 0.57 > spread.bin_edges[-1]
    inside = (probability >= spread.bin_edges[0]) & (probability <= spread.bin_edges[-1])
    assert spread.n_outside == (~inside).sum() <= 21
    assert spread.count.sum() == inside.sum()
    for share, mean, outcome in (
        (spread.fraction_given_up, spread.mean_given_up, 1),
        (spread.fraction_given_not_up, spread.mean_given_not_up, 0),
    ):
        assert share is not None
        expected = [
            np.mean((probability[up == outcome] >= low) & (probability[up == outcome] < high))
            for low, high in zip(spread.bin_edges[:-1], spread.bin_edges[1:], strict=True)
        ]
        np.testing.assert_allclose(share, expected, atol=1e-12)
        assert mean == pytest.approx(probability[up == outcome].mean())


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_histogram_of_constant_probabilities_has_an_axis(value: float) -> None:
    spread = probability_histogram(np.full(7, value), np.ones(7), reference_probability=value)
    assert spread.bin_edges[0] < value < spread.bin_edges[-1]
    assert (spread.n_outside, spread.fraction_given_not_up, spread.mean_given_not_up) == (0, None, None)
    assert spread.count.sum() == 7


def test_discrimination_under_no_skill_has_its_known_value() -> None:
    """About .0017 at n = 2,500; 0 for a constant forecast."""
    rng = np.random.default_rng(0)
    up = (rng.random(2500) < 0.5).astype(np.float64)
    assert mean_permuted_discrimination(rng.random(2500), up, rng=rng) == pytest.approx(0.0017, abs=0.0003)
    assert mean_permuted_discrimination(np.full(2500, 0.5), up, rng=rng) == pytest.approx(0.0, abs=1e-12)
