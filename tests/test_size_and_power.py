"""A short run of tests/benchmarks/size_and_power.py: inference on simulated markets whose truth is known."""

from __future__ import annotations

import pytest

from benchmarks.simulation import mean_figure, proportion_figure
from benchmarks.size_and_power import EXPERIMENTS

SERIES = {
    "random forecasts": 200,
    "noise, short": 60,
    "noise, drift": 40,
    "noise, a week": 60,
    "noise, a month": 60,
    "noise, ten tickers": 15,
    "noise, h = 1, 60 forecasts": 60,
    "noise, h = 5, 60 forecasts": 40,
    "noise, h = 21, 250 forecasts": 40,
    "noise, h = 1, balanced": 20,
    "noise, h = 5, half-life": 10,
    "noise, h = 21, Platt": 15,
    "GARCH, Platt": 15,
    "leverage effect, plain": 20,
    "bid-ask bounce, balanced": 20,
    "stale opens, half-life": 10,
    "ten tickers, plain": 4,
    "regimes, pooled": 8,
    "one break, rolling": 6,
    "unequal drifts, pooled": 10,
    "regimes, weekday": 12,
    "regimes, volume of 0.99": 10,
    "local step": 30,
    "power, AR(1) of .05": 30,
    "edge, leverage": 5,
    "edge, volatility target": 10,
    "edge, bid-ask bounce": 4,
    "edge, stale opens": 3,
    "edge, true": 6,
    "edge, between fills": 6,
    "autoregression": 2,
    "coefficient": 60,
    "coverage": 300,
    "coverage, a week": 40,
    "coverage, ten tickers": 30,
    "coverage, fat tails": 60,
    "best of 100": 40,
    "best of 100 rules": 2,
}
"""Number of simulated markets; the experiments left out differ from another by a parameter only."""


@pytest.mark.parametrize("experiment", SERIES)
def test_every_figure_is_within_its_bounds(experiment: str) -> None:
    figures = list(EXPERIMENTS[experiment](SERIES[experiment], 1))
    assert figures
    for figure in figures:
        assert figure.is_within_bounds, figure


def test_bounds_equal_binomial_quantiles() -> None:
    """Of 1,000 at 5 %, chance alone gives 30 to 73 in all but two of a thousand cases."""
    exact = proportion_figure("", 50, 1000, min_rate=0.05, max_rate=0.05)
    assert (exact.low, exact.high, exact.is_within_bounds) == (0.030, 0.073, True)
    assert not proportion_figure("", 74, 1000, max_rate=0.05).is_within_bounds
    assert proportion_figure("", 0, 1000, max_rate=0.05).is_within_bounds
    assert not proportion_figure("", 29, 1000, min_rate=0.05).is_within_bounds
    assert mean_figure("", 1.0, 1.0, 0.1, series=1).high == pytest.approx(1.309, abs=1e-3)
    assert mean_figure("", 1.0, 1.0, 0.1, series=1, shortfall=0.2).low == pytest.approx(0.491, abs=1e-3)
