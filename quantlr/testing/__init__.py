"""For the test suite of whoever writes a feature of their own: the contract that the catalogue's features meet.

>>> from quantlr.testing import check_feature
>>> from quantlr.data.features import Momentum
>>> check_feature(Momentum(windows=(5, 20)))
"""

from __future__ import annotations

from quantlr.testing.contract import FEATURE_CHECKS, check_feature
from quantlr.testing.futures import FEATURE_SCENARIOS, AUDIT_SCENARIOS, bar_range_mask, with_halted_bars, apply_scenario
from quantlr.testing.markets import single_ticker_prices, random_walk_bars, random_walk_prices

__all__ = [
    "FEATURE_SCENARIOS",
    "FEATURE_CHECKS",
    "AUDIT_SCENARIOS",
    "single_ticker_prices",
    "bar_range_mask",
    "check_feature",
    "with_halted_bars",
    "random_walk_bars",
    "random_walk_prices",
    "apply_scenario",
]
