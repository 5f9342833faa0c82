"""The levels at which quantlr tests, and the normal distribution that they are taken from."""

from __future__ import annotations

from statistics import NormalDist

STANDARD_NORMAL = NormalDist()
Z95 = STANDARD_NORMAL.inv_cdf(0.975)
SIGNIFICANCE_LEVEL = 0.05
TEST_POWER = 0.80
INTERVAL_95_QUANTILES = (0.025, 0.975)
