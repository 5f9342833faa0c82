"""The levels at which quantlr tests, and the normal distribution that they are taken from."""

from __future__ import annotations

from statistics import NormalDist

NORMAL = NormalDist()
Z95 = NORMAL.inv_cdf(0.975)
SIGNIFICANT = 0.05
POWER = 0.80
TAILS95 = (0.025, 0.975)
