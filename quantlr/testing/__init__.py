"""For the test suite of whoever writes a feature of their own: the contract that the catalogue's features meet.

>>> from quantlr.testing import check_feature
>>> from quantlr.data.features import Momentum
>>> check_feature(Momentum(windows=(5, 20)))
"""

from __future__ import annotations

from quantlr.testing.contract import CHECKS, check_feature
from quantlr.testing.futures import ADVERSARIES, FUTURES, bars_between, halted, with_future
from quantlr.testing.markets import alone, random_bars, random_walk

__all__ = [
    "ADVERSARIES",
    "CHECKS",
    "FUTURES",
    "alone",
    "bars_between",
    "check_feature",
    "halted",
    "random_bars",
    "random_walk",
    "with_future",
]
