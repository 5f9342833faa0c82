"""A short run of tests/benchmarks/size_and_power.py: inference on simulated markets whose truth is known."""

from __future__ import annotations

import pytest

from benchmarks.size_and_power import PARTS, near, share

SERIES = {
    "coin": 200,
    "noise, short": 60,
    "noise that drifts": 40,
    "noise, a week": 60,
    "noise, a month": 60,
    "noise, ten tickers": 15,
    "autoregression": 2,
    "weight": 60,
    "coverage": 300,
    "coverage, a week": 40,
    "coverage, ten tickers": 30,
    "coverage, fat tails": 60,
    "luck": 40,
}
"""Markets of each kind; what is left out differs from its neighbour by a parameter."""


@pytest.mark.parametrize("part", SERIES)
def test_every_figure_is_within_its_bounds(part: str) -> None:
    figures = list(PARTS[part](SERIES[part], 1))
    assert figures
    for figure in figures:
        assert figure.met, figure


def test_bounds_equal_binomial_quantiles() -> None:
    """Of 1,000 at 5 %, chance alone gives 30 to 73 in all but two of a thousand cases."""
    exact = share("", 50, 1000, least=0.05, most=0.05)
    assert (exact.low, exact.high, exact.met) == (0.030, 0.073, True)
    assert not share("", 74, 1000, most=0.05).met
    assert share("", 0, 1000, most=0.05).met
    assert not share("", 29, 1000, least=0.05).met
    assert near("", 1.0, 1.0, 0.1, series=1).high == pytest.approx(1.309, abs=1e-3)
    assert near("", 1.0, 1.0, 0.1, series=1, short=0.2).low == pytest.approx(0.491, abs=1e-3)
