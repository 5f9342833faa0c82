"""A short run of tests/benchmarks/size_and_power.py: inference on simulated markets whose truth is known."""

from __future__ import annotations

import pytest

from benchmarks.size_and_power import EXPERIMENTS, mean_figure, proportion_figure

SERIES = {
    "random forecasts": 200,
    "noise, short": 60,
    "noise, drift": 40,
    "noise, a week": 60,
    "noise, a month": 60,
    "noise, ten tickers": 15,
    "skill, 60 forecasts": 60,
    "skill, a month": 40,
    "skill, balanced": 20,
    "skill, half-life": 10,
    "skill, Platt": 15,
    "skill, pooled": 10,
    "skill, shifting drift": 12,
    "skill, slow feature": 10,
    "power, AR(1) of .05": 30,
    "edge, leverage": 5,
    "edge, volatility target": 10,
    "edge, true": 6,
    "autoregression": 2,
    "coefficient": 60,
    "coverage": 300,
    "coverage, a week": 40,
    "coverage, ten tickers": 30,
    "coverage, fat tails": 60,
    "best of 100": 40,
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
