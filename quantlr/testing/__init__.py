"""Checks for the test suite of a user-defined feature or source: the contract that those of the catalogue meet.

>>> from quantlr.testing import check_feature
>>> from quantlr.data.features import Momentum
>>> check_feature(Momentum(windows=(5, 20)))
"""

from quantlr.data.scenarios import AUDIT_SCENARIOS, FEATURE_SCENARIOS, apply_scenario, bar_range_mask, with_halted_bars
from quantlr.testing.contract import (
    FEATURE_CHECKS,
    check_feature,
    random_walk_bars,
    random_walk_prices,
    single_ticker_prices,
)
from quantlr.testing.source_contract import check_source

__all__ = [
    "AUDIT_SCENARIOS",
    "FEATURE_CHECKS",
    "FEATURE_SCENARIOS",
    "apply_scenario",
    "bar_range_mask",
    "check_feature",
    "check_source",
    "random_walk_bars",
    "random_walk_prices",
    "single_ticker_prices",
    "with_halted_bars",
]
